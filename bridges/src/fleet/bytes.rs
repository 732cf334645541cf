//! Fields of episodes and policies: texts and rows behind their lengths, and what is wrong with them.

use crate::bytes::{self, CutOff};

/// Why bytes cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} at byte {at}: expected {expected}, found {found}")]
pub struct DecodeError {
    /// Which field.
    pub field: &'static str,
    /// Where it begins.
    pub at: usize,
    /// What stands there in a message of this version.
    pub expected: String,
    /// What stands there.
    pub found: String,
}

impl CutOff for DecodeError {
    fn cut_off(field: &'static str, at: usize, wanted: usize, left: usize) -> Self {
        let (expected, found) = (format!("{wanted} bytes"), format!("{left} bytes to the end"));
        Self { field, at, expected, found }
    }
}

/// Takes fields off the front.
pub(crate) type Reader<'a> = bytes::Reader<'a, DecodeError>;

impl<'a> Reader<'a> {
    pub(crate) fn wrong(
        &self,
        field: &'static str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> DecodeError {
        DecodeError { field, at: self.at(), expected: expected.into(), found: found.into() }
    }

    /// The four letters that a message of this kind begins with.
    pub(crate) fn magic(&mut self, expected: &[u8; 4]) -> Result<(), DecodeError> {
        let at = *self;
        let found = self.array::<4>("magic")?;
        if found == *expected {
            return Ok(());
        }
        let text = String::from_utf8_lossy;
        Err(at.wrong("magic", text(expected), text(&found)))
    }

    /// Refuses another version than ours.
    pub(crate) fn version(&self, field: &'static str, expected: u32, found: u32) -> Result<(), DecodeError> {
        if found == expected {
            return Ok(());
        }
        Err(self.wrong(field, expected.to_string(), found.to_string()))
    }

    /// `rows` times `width` numbers.
    pub(crate) fn f32s(
        &mut self,
        field: &'static str,
        rows: usize,
        width: usize,
    ) -> Result<Vec<f32>, DecodeError> {
        let bytes = rows.checked_mul(width).and_then(|n| n.checked_mul(4)).unwrap_or(usize::MAX);
        let bytes = self.take(field, bytes)?;
        Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    /// UTF-8 text behind its length.
    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let n = self.u32(field)? as usize;
        let at = *self;
        let bytes = self.take(field, n)?;
        std::str::from_utf8(bytes).map_err(|e| at.wrong(field, "UTF-8 text", e.to_string()))
    }
}

pub(crate) fn put_text(bytes: &mut Vec<u8>, text: &str) {
    // A text of 4 GiB is beyond every cap, and is refused for its size.
    bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

pub(crate) fn put_f32s(bytes: &mut Vec<u8>, numbers: &[f32]) {
    bytes.reserve(4 * numbers.len());
    for x in numbers {
        bytes.extend_from_slice(&x.to_le_bytes());
    }
}
