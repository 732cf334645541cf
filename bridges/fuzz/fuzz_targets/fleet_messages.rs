#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot_bridges::fleet::package::unpack;
use surefoot_bridges::fleet::shipment::{ContentHash, SpoolId};
use surefoot_bridges::fleet::wire::{Chunk, Hello, JoinReply, Manifest, UploadReply};
use surefoot_bridges_fuzz::{intake, with_directory};

// Chunks, policies and JSON messages, as anybody may send them.
fuzz_target!(|bytes: &[u8]| {
    if let Ok(chunk) = Chunk::decode(bytes) {
        assert_eq!(chunk.encode(), bytes);
    }
    let _ = unpack(bytes);
    let _ = serde_json::from_slice::<JoinReply>(bytes);
    let _ = serde_json::from_slice::<Manifest>(bytes);
    let _ = serde_json::from_slice::<UploadReply>(bytes);
    if let Ok(hello) = serde_json::from_slice::<Hello>(bytes) {
        with_directory(|directory| {
            let _ = intake(directory).join(&hello, |_, _| false);
        });
    }
    let text = String::from_utf8_lossy(bytes);
    if let Some(hash) = ContentHash::from_hex(&text) {
        assert_eq!(hash.to_string(), text.to_lowercase());
    }
    if let Some(id) = SpoolId::from_hex(&text) {
        assert_eq!(id.to_string(), text.to_lowercase());
    }
});
