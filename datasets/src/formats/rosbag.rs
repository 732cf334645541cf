//! ROS 1 bags, version 2.0: records of named header fields and data, mostly in chunks (plain, lz4 or bz2).
//!
//! Read as a stream: chunks are decompressed as they come, the index at the end is not needed. A connection record brings the
//! topic, the type and the definition of its messages. A bag that was not closed (`.bag.active`) says so in its first record and
//! is read up to where it ends. Specification: <https://wiki.ros.org/Bags/Format/2.0>.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use surefoot_core::DataError;

use crate::ros::{Definition, Dialect};
use crate::streams::bytes::{Stop, bounded, fill, part, skip};
use crate::streams::{LogEnd, LogFormat, LogOptions, LogSource, Message, Payload, TopicInfo, Visit};

const NAME: &str = "rosbag";
const MAGIC: &[u8] = b"#ROSBAG V2.0\n";

/// Header of a record at most, bytes: connections repeat their definitions in the data, not here.
const MAX_HEADER: u64 = 1 << 20;

const MESSAGE: u8 = 2;
const BAG: u8 = 3;
const CHUNK: u8 = 5;
const CONNECTION: u8 = 7;

/// The registry line.
pub const LOG: LogFormat = LogFormat {
    name: NAME,
    summary: "ROS 1 bags (plain, lz4, bz2), by the definitions in the file",
    sniff: |_, head| head.starts_with(b"#ROSBAG V"),
    open,
};

#[derive(Debug)]
struct Bag {
    path: PathBuf,
    bytes: u64,
}

fn open(path: &Path, _: &LogOptions) -> Result<Box<dyn LogSource>, DataError> {
    let bytes =
        std::fs::metadata(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?.len();
    Ok(Box::new(Bag { path: path.to_owned(), bytes }))
}

impl LogSource for Bag {
    fn path(&self) -> &Path {
        &self.path
    }

    fn format(&self) -> &'static str {
        NAME
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(&self, wanted: &dyn Fn(&str) -> bool, visit: &mut Visit<'_>) -> Result<LogEnd, DataError> {
        let file =
            File::open(&self.path).map_err(|source| DataError::Io { path: self.path.clone(), source })?;
        let reader = BufReader::with_capacity(1 << 20, file);
        let mut pass = Pass {
            wanted,
            connections: BTreeMap::new(),
            header: Vec::new(),
            data: Vec::new(),
            index: None,
            bytes: self.bytes,
        };
        let hint = "copy it again from its source, or mend it with `rosbag reindex`";
        pass.file(reader, visit).or_else(|stop| stop.end(&self.path, NAME, hint))
    }

    fn topics(&self) -> Result<Vec<TopicInfo>, DataError> {
        crate::streams::count_topics(self)
    }
}

struct Connection {
    topic: String,
    schema: String,
    wanted: bool,
    meaning: Result<Definition, String>,
}

struct Pass<'p> {
    wanted: &'p dyn Fn(&str) -> bool,
    connections: BTreeMap<u32, Connection>,
    header: Vec<u8>,
    data: Vec<u8>,
    /// Where the bag says that its index begins: 0 while it is being recorded.
    index: Option<u64>,
    /// Length of the file.
    bytes: u64,
}

/// The value of a named field of a header.
fn field<'h>(header: &'h [u8], name: &str) -> Option<&'h [u8]> {
    let mut rest = header;
    loop {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (field, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let equals = field.iter().position(|b| *b == b'=')?;
        let (key, value) = field.split_at_checked(equals)?;
        if key == name.as_bytes() {
            return value.get(1..);
        }
        rest = after;
    }
}

fn text_field(header: &[u8], name: &str) -> Result<String, Stop> {
    let value = field(header, name).ok_or_else(|| missing(name))?;
    Ok(String::from_utf8_lossy(value).into_owned())
}

fn missing(name: &str) -> Stop {
    Stop::Damaged(format!("a record has no field {name:?}"))
}

fn word(reader: &mut dyn BufRead) -> Result<u64, Stop> {
    let mut word = [0; 4];
    reader.read_exact(&mut word)?;
    Ok(u64::from(u32::from_le_bytes(word)))
}

impl Pass<'_> {
    fn file(&mut self, mut reader: BufReader<File>, visit: &mut Visit<'_>) -> Result<LogEnd, Stop> {
        let mut magic = [0; MAGIC.len()];
        reader.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(Stop::Damaged("it is a bag of another version: expected 2.0".into()));
        }
        let mut at = MAGIC.len() as u64;
        while !reader.fill_buf()?.is_empty() {
            at += self.record(&mut reader, at, true, visit)?;
        }
        match self.index {
            Some(index) if index > 0 && index <= self.bytes => Ok(LogEnd::Whole),
            _ => Err(Stop::Torn("it was not closed: the recorder was cut off".into())),
        }
    }

    /// Reads a record and gives its length.
    fn record(
        &mut self,
        reader: &mut dyn BufRead,
        at: u64,
        chunks: bool,
        visit: &mut Visit<'_>,
    ) -> Result<u64, Stop> {
        let length = word(reader)?;
        if length > MAX_HEADER {
            return Err(Stop::Damaged(format!("a record at byte {at} has a header of {length} bytes")));
        }
        let mut header = std::mem::take(&mut self.header);
        fill(reader, length, &mut header)?;
        let size = word(reader)?;
        let operation = field(&header, "op").and_then(|op| op.first()).copied();
        match operation {
            Some(BAG) => {
                self.index = field(&header, "index_pos").map(|p| u64::from_le_bytes(part(p, 0)));
                skip(reader, size)?;
            }
            Some(CHUNK) if chunks => {
                let mut data = reader.take(size);
                let outcome = self.chunk(&header, &mut data, at, visit);
                let (left, there) = (data.limit(), self.bytes.saturating_sub(at + 8 + length));
                match outcome {
                    // The file ends in it.
                    Err(Stop::Damaged(_) | Stop::Torn(_)) if size > there => {
                        return Err(Stop::Torn(format!(
                            "a chunk at byte {at} has {there} of its {size} bytes"
                        )));
                    }
                    Err(Stop::Torn(why)) => {
                        return Err(Stop::Damaged(format!("a chunk at byte {at}: {why}")));
                    }
                    other => other?,
                }
                skip(reader, left)?;
            }
            Some(CHUNK) => return Err(Stop::Damaged("a chunk in a chunk".into())),
            Some(CONNECTION) => {
                bounded(size, "a connection")?;
                fill(reader, size, &mut self.data)?;
                self.connection(&header)?;
            }
            Some(MESSAGE) => self.message(&header, reader, size, at, visit)?,
            _ => skip(reader, size)?,
        }
        self.header = header;
        Ok(8 + length + size)
    }

    fn chunk(
        &mut self,
        header: &[u8],
        reader: &mut dyn BufRead,
        at: u64,
        visit: &mut Visit<'_>,
    ) -> Result<(), Stop> {
        let promised =
            u64::from(u32::from_le_bytes(part(field(header, "size").ok_or_else(|| missing("size"))?, 0)));
        let compression = text_field(header, "compression")?;
        let records: Box<dyn Read + '_> = match compression.as_str() {
            "none" => Box::new(reader),
            "lz4" => Box::new(lz4_flex::frame::FrameDecoder::new(reader)),
            "bz2" => Box::new(bzip2_rs::DecoderReader::new(reader)),
            other => return Err(Stop::Damaged(format!("compression {other:?} is not known"))),
        };
        // More than was promised is a bomb or a lie; either way it is not read.
        let mut records = BufReader::with_capacity(1 << 16, records.take(promised));
        let mut read = 0;
        while !records.fill_buf()?.is_empty() {
            read += self.record(&mut records, at, false, visit)?;
        }
        if read != promised {
            return Err(Stop::Damaged(format!(
                "a chunk at byte {at} holds {read} bytes of the {promised} that it promises"
            )));
        }
        Ok(())
    }

    fn connection(&mut self, header: &[u8]) -> Result<(), Stop> {
        let id = u32::from_le_bytes(part(field(header, "conn").ok_or_else(|| missing("conn"))?, 0));
        if self.connections.contains_key(&id) {
            return Ok(()); // Repeated in the index.
        }
        let topic = text_field(header, "topic")?;
        let schema = text_field(&self.data, "type")?;
        let wanted = (self.wanted)(&topic);
        let meaning = if wanted {
            let text = text_field(&self.data, "message_definition")?;
            Definition::parse(&schema, &text, Dialect::Ros1)
                .map_err(|e| format!("the definition of {schema} cannot be used: {e}"))
        } else {
            Err(String::new())
        };
        self.connections.insert(id, Connection { topic, schema, wanted, meaning });
        Ok(())
    }

    fn message(
        &mut self,
        header: &[u8],
        reader: &mut dyn BufRead,
        size: u64,
        at: u64,
        visit: &mut Visit<'_>,
    ) -> Result<(), Stop> {
        let id = u32::from_le_bytes(part(field(header, "conn").ok_or_else(|| missing("conn"))?, 0));
        let Some(connection) = self.connections.get(&id) else {
            return Err(Stop::Damaged(format!("a message of connection {id}, which is not declared")));
        };
        if !connection.wanted {
            return skip(reader, size);
        }
        bounded(size, "a message")?;
        fill(reader, size, &mut self.data)?;
        let time = field(header, "time").ok_or_else(|| missing("time"))?;
        let seconds = i64::from(u32::from_le_bytes(part(time, 0)));
        let nanos = i64::from(u32::from_le_bytes(part(time, 4)));
        let payload = match &connection.meaning {
            Ok(definition) => Payload::Ros(definition, &self.data),
            Err(why) => Payload::Unreadable(why),
        };
        let message = Message {
            topic: &connection.topic,
            schema: &connection.schema,
            part: 0,
            receive_nanos: seconds * 1_000_000_000 + nanos,
            offset: at,
            payload,
        };
        Stop::after(visit(&message))
    }
}
