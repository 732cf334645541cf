#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot_datasets_fuzz::{read_dataset, with_file};

// The container is fuzzed by `mcap`; here episodes and their metadata are made of what is in it.
fuzz_target!(|bytes: &[u8]| with_file("fuzzed.mcap", bytes, |path| {
    let _ = surefoot_datasets::mcap::metadata(path);
    read_dataset(path);
}));
