#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot_bridges::fleet::shipment::{ContentHash, SpoolId};
use surefoot_bridges::fleet::wire::{Chunk, UploadAnswer};
use surefoot_bridges_fuzz::{INSTANCE, MAX_EPISODE_BYTES, SPOOL, hashed, intake, joined, with_directory};

// Uploads of an actor that was taken in: each a byte of kind, a length and its bytes, as a chunk that is whole or one that is not.
fuzz_target!(|bytes: &[u8]| {
    with_directory(|directory| {
        let mut intake = intake(directory);
        joined(&mut intake);
        let mut rest = bytes;
        let mut number = 0;
        while let [kind, length, after @ ..] = rest {
            let (part, after) = after.split_at(after.len().min(8 * usize::from(*length)));
            rest = after;
            let whole = hashed(part);
            let message = match kind % 4 {
                // As it came.
                0 => part.to_vec(),
                // A whole episode, with a hash that is right or is not, or of another number.
                kind => {
                    let hash = if kind == 2 { ContentHash([7; 32]) } else { ContentHash::of(part) };
                    let total = whole.len() as u64;
                    let (spool, instance) = (SPOOL, if kind == 3 { SpoolId([9; 16]) } else { INSTANCE });
                    Chunk { spool, instance, number, hash, total, index: 0, spooled: 0, bytes: &whole }
                        .encode()
                }
            };
            let before = intake.stored();
            let answer = intake.chunk("arm", &message);
            let kept = matches!(answer, UploadAnswer::Kept { duplicate: false, .. });
            assert_eq!(intake.stored(), before + u64::from(kept), "{answer:?}");
            number += u64::from(kept);
            assert!(whole.len() as u64 <= MAX_EPISODE_BYTES || !kept);
        }
        for index in 0..intake.stored() {
            let episode = intake.episode(index).expect("what was kept is there");
            assert!(episode.observation.iter().chain(&episode.action).all(|x| x.is_finite()));
        }
    });
});
