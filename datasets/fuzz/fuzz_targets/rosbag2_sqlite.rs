#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot_datasets_fuzz::{read_log, with_file};

// SQLite reads the pages; here rows of them become topics and messages.
fuzz_target!(|bytes: &[u8]| with_file("fuzzed.db3", bytes, read_log));
