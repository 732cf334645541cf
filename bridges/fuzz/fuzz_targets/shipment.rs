#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot_bridges::fleet::shipment::Shipment;
use surefoot_bridges_fuzz::hashed;

// An episode on the wire, with the right hash behind it: without one nothing else would be looked at.
fuzz_target!(|bytes: &[u8]| {
    let _ = Shipment::decode(bytes);
    let whole = hashed(bytes);
    if let Ok((shipment, hash)) = Shipment::decode(&whole) {
        // One content has one encoding, and so one hash: what is sent twice is recognised by it.
        assert_eq!(shipment.encode(), (whole, hash));
    }
});
