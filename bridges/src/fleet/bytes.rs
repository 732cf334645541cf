//! Reading little-endian fields out of bytes that anybody may have sent.

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

/// Reads from the front. Nothing is allocated before the bytes for it are known to be there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) const fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn wrong(
        &self,
        field: &'static str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> DecodeError {
        DecodeError { field, at: self.at, expected: expected.into(), found: found.into() }
    }

    pub(crate) fn take(&mut self, field: &'static str, n: usize) -> Result<&'a [u8], DecodeError> {
        if n > self.left() {
            return Err(self.wrong(field, format!("{n} bytes"), format!("{} bytes to the end", self.left())));
        }
        let taken = &self.bytes[self.at..self.at + n];
        self.at += n;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(field, N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(field)?[0])
    }
    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }
    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }
    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(field)?))
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
