//! The metadata records of a file: what belongs to it as a whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use surefoot_core::DataError;

use super::{MAGIC, operation};
use crate::streams::LogEnd;
use crate::streams::bytes::{Fields, Stop, fill, part};

/// All metadata records together hold at most this many bytes here: a spec of ten thousand channels has a hundredth.
const MAX_BYTES: u64 = 64 << 20;

/// One metadata record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// What it says.
    pub entries: BTreeMap<String, String>,
}

/// Reads the metadata records of an MCAP file in their order, chunks left out, and tells whether the file is whole. A file that was cut
/// off gives those before the tear.
///
/// # Errors
/// When it cannot be read, is no MCAP file, or a metadata record is damaged.
pub fn metadata(path: &Path) -> Result<(Vec<Metadata>, LogEnd), DataError> {
    let mut found = Vec::new();
    let end = read(path, &mut found).or_else(|stop| {
        stop.end(path, "mcap", "copy it again from its source, or mend it with `mcap recover`")
    })?;
    Ok((found, end))
}

fn read(path: &Path, found: &mut Vec<Metadata>) -> Result<LogEnd, Stop> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut magic = [0; 8];
    reader.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(Stop::Damaged("it does not begin as an MCAP file does".into()));
    }
    let mut at = MAGIC.len() as u64;
    let (mut buffer, mut taken) = (Vec::new(), 0_u64);
    loop {
        if reader.fill_buf()?.is_empty() {
            return Ok(LogEnd::Torn("it has no end mark: the recorder was cut off".into()));
        }
        let mut head = [0; 9];
        reader.read_exact(&mut head)?;
        let length = u64::from_le_bytes(part(&head, 1));
        at = at.saturating_add(9);
        let left = bytes.saturating_sub(at);
        if length > left {
            return Ok(LogEnd::Torn(format!("a record at byte {at} has {left} of its {length} bytes")));
        }
        match head[0] {
            operation::DATA_END => return Ok(LogEnd::Whole),
            operation::METADATA => {
                taken = taken.saturating_add(length);
                if taken > MAX_BYTES {
                    return Err(Stop::Damaged(format!("more than {MAX_BYTES} bytes of metadata")));
                }
                fill(&mut reader, length, &mut buffer)?;
                found.push(parse(&buffer)?);
            }
            _ => {
                // Within the buffer where it can be.
                let offset =
                    i64::try_from(length).map_err(|_| Stop::Damaged("a record beyond all files".into()))?;
                reader.seek_relative(offset)?;
            }
        }
        at = at.saturating_add(length);
    }
}

fn parse(record: &[u8]) -> Result<Metadata, Stop> {
    let mut fields = Fields(record);
    let name = fields.text()?;
    let mut content = Fields(fields.bytes()?);
    let mut entries = BTreeMap::new();
    while !content.0.is_empty() {
        let (key, value) = (content.text()?, content.text()?);
        entries.insert(key, value);
    }
    Ok(Metadata { name, entries })
}
