#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot_datasets_fuzz::{allow_caught_panics, read_dataset, with_file};

fuzz_target!(|bytes: &[u8]| {
    allow_caught_panics();
    with_file("fuzzed.hdf5", bytes, read_dataset);
});
