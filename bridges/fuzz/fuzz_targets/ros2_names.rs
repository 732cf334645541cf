#![no_main]

use std::fmt::Display;
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use surefoot_bridges::ros2::{Attachment, Qos, Token, TypeName};

/// What was understood and written down is understood once more, and then means the same.
fn understand<T: FromStr + Display + PartialEq + std::fmt::Debug>(text: &str) {
    let Ok(meant) = text.parse::<T>() else { return };
    let written = meant.to_string();
    let again = written.parse::<T>().ok();
    assert_eq!(again.as_ref(), Some(&meant), "{text:?} as {written:?}");
}

// Attachments, liveliness tokens and what stands in them: whatever anybody on the network declares.
fuzz_target!(|bytes: &[u8]| {
    if let Ok(attachment) = Attachment::from_bytes(bytes) {
        assert_eq!(attachment.to_bytes(), bytes);
    }
    let text = String::from_utf8_lossy(bytes);
    understand::<Token>(&text);
    understand::<Qos>(&text);
    let _ = text.parse::<TypeName>();
    let _ = TypeName::from_dds(&text);
});
