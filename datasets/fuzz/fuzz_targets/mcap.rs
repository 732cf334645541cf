#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot_datasets_fuzz::{read_log, with_file};

fuzz_target!(|bytes: &[u8]| with_file("fuzzed.mcap", bytes, read_log));
