//! Reading records of logs whose lengths may lie.

use std::io::{BufRead, ErrorKind};
use std::ops::ControlFlow;
use std::path::Path;

use surefoot_core::DataError;

use super::LogEnd;

/// A schema, channel or message larger than this is refused: nothing that a policy learns from is.
pub(crate) const MAX_RECORD_BYTES: u64 = 256 << 20;

/// Why reading ended before the end.
pub(crate) enum Stop {
    /// The file ends in the middle.
    Torn(String),
    /// The visitor has seen enough.
    Enough,
    /// The visitor's own error.
    Visitor(DataError),
    /// The system refused.
    Io(std::io::Error),
    /// The bytes are wrong.
    Damaged(String),
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof => Self::Torn("it ends in the middle of a record".into()),
            // What decompressors say of bytes that are none of theirs.
            ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::Other => {
                Self::Damaged(error.to_string())
            }
            _ => Self::Io(error),
        }
    }
}

impl Stop {
    /// What the visitor wants.
    pub(crate) fn after(visit: Result<ControlFlow<()>, DataError>) -> Result<(), Self> {
        match visit {
            Ok(ControlFlow::Continue(())) => Ok(()),
            Ok(ControlFlow::Break(())) => Err(Self::Enough),
            Err(error) => Err(Self::Visitor(error)),
        }
    }

    /// How the log ended, or the caller's error.
    pub(crate) fn end(
        self,
        path: &Path,
        format: &'static str,
        hint: &'static str,
    ) -> Result<LogEnd, DataError> {
        match self {
            Self::Torn(why) => Ok(LogEnd::Torn(why)),
            Self::Enough => Ok(LogEnd::Stopped),
            Self::Visitor(error) => Err(error),
            Self::Io(source) => Err(DataError::Io { path: path.to_owned(), source }),
            Self::Damaged(reason) => {
                Err(DataError::Malformed { path: path.to_owned(), format, reason, hint })
            }
        }
    }
}

/// Bytes at a fixed place of a header whose length is known.
pub(crate) fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|b| b.first_chunk()).copied().unwrap_or([0; N])
}

/// Refuses a record that nothing could need.
pub(crate) fn bounded(length: u64, what: &str) -> Result<(), Stop> {
    if length > MAX_RECORD_BYTES {
        return Err(Stop::Damaged(format!("{what} of {length} bytes: expected at most {MAX_RECORD_BYTES}")));
    }
    Ok(())
}

/// Reads `length` bytes. The buffer grows with what arrives, not with what was promised.
pub(crate) fn fill(reader: &mut dyn BufRead, length: u64, buffer: &mut Vec<u8>) -> Result<(), Stop> {
    buffer.clear();
    let mut left = length;
    while left > 0 {
        let ready = reader.fill_buf()?;
        if ready.is_empty() {
            return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into());
        }
        let n = ready.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        buffer.extend_from_slice(ready.get(..n).unwrap_or_default());
        reader.consume(n);
        left -= n as u64;
    }
    Ok(())
}

/// Leaves out `length` bytes.
pub(crate) fn skip(reader: &mut dyn BufRead, length: u64) -> Result<(), Stop> {
    let mut left = length;
    while left > 0 {
        let ready = reader.fill_buf()?.len();
        if ready == 0 {
            return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into());
        }
        let n = ready.min(usize::try_from(left).unwrap_or(usize::MAX));
        reader.consume(n);
        left -= n as u64;
    }
    Ok(())
}

/// Fields of a record that is in memory: little-endian numbers, and texts behind their lengths.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Stop> {
        let (taken, rest) = self
            .0
            .split_at_checked(n)
            .ok_or_else(|| Stop::Damaged("it claims a longer text than it has".into()))?;
        self.0 = rest;
        Ok(taken)
    }
    pub(crate) fn id(&mut self) -> Result<u16, Stop> {
        Ok(u16::from_le_bytes(part(self.take(2)?, 0)))
    }
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Stop> {
        let length = u32::from_le_bytes(part(self.take(4)?, 0));
        self.take(length as usize)
    }
    pub(crate) fn text(&mut self) -> Result<String, Stop> {
        Ok(String::from_utf8_lossy(self.bytes()?).into_owned())
    }
}
