#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot_datasets::ros::{Definition, Dialect, decode};

// A definition, a zero byte, and a message of it.
fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |b| *b == 0);
    let text = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let message = parts.next().unwrap_or_default();
    for dialect in [Dialect::Ros1, Dialect::Ros2] {
        if let Ok(definition) = Definition::parse("fuzz/Message", &text, dialect)
            && let Ok(value) = decode(&definition, message)
        {
            value.leaves(&mut |_, _| {});
        }
    }
});
