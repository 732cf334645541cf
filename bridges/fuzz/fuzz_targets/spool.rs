#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot_bridges::fleet::spool::Spool;
use surefoot_bridges_fuzz::{SPOOL, hashed, with_directory};

// A spool that anything may have happened to: its header, or an episode in it, has these bytes.
fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else { return };
    with_directory(|directory| {
        drop(Spool::open(directory, "arm", 1 << 20, SPOOL).expect("a new spool"));
        let (name, bytes) = match which % 3 {
            0 => ("spool.json", bytes.to_vec()),
            1 => ("ep_0000000000.sfep", bytes.to_vec()),
            _ => ("ep_0000000000.sfep", hashed(bytes)),
        };
        std::fs::write(directory.join(name), &bytes).expect("room for a file");
        let Ok(mut spool) = Spool::open(directory, "arm", 1 << 20, SPOOL) else { return };
        assert_eq!(spool.len() + spool.refused(), usize::from(which % 3 > 0));
        if let Some(oldest) = spool.oldest().expect("it was read before") {
            assert_eq!(oldest.bytes, bytes);
            spool.acknowledged(oldest.number).expect("renamed");
        }
        assert!(spool.is_empty() && spool.bytes() == 0);
    });
});
