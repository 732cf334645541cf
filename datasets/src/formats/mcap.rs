//! MCAP: channels of time-stamped messages with their schemas, in chunks. What `ros2 bag record` writes, and Foxglove.
//!
//! An own reader: a record is an operation, a length and that many bytes, and reading it as a stream needs no index, no mapping
//! and one message of memory. Chunks are decompressed as they are read (zstd needs at most [`ZSTD_WINDOW_LOG`] bits of window,
//! LZ4 a block) and their checksums looked at. A file that was cut off is read up to the tear. Messages of more than
//! `MAX_RECORD_BYTES` are refused.
//!
//! Messages are decoded by `message_encoding`: `cdr` with a `ros2msg` schema, `ros1` with a `ros1msg` one, and `json`.
//! Specification: <https://mcap.dev/spec>.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use surefoot_core::DataError;

use crate::mcap::MAGIC;
use crate::mcap::operation::{CHANNEL, CHUNK, DATA_END, MESSAGE, SCHEMA};
use crate::ros::{Definition, Dialect};
use crate::streams::bytes::{Fields, Stop, bounded, fill, part, skip};
use crate::streams::{LogEnd, LogFormat, LogOptions, LogSource, Message, Payload, TopicInfo, Visit};

const NAME: &str = "mcap";
/// Window of zstd at most, in bits: what its highest level uses.
const ZSTD_WINDOW_LOG: u32 = 27;

/// The registry line.
pub const LOG: LogFormat = LogFormat {
    name: NAME,
    summary: "MCAP: ROS 2 messages by the schemas in the file (rosbag2, Foxglove), ROS 1 and JSON ones as well",
    sniff: |_, head| head.starts_with(&MAGIC),
    open,
};

#[derive(Debug)]
struct Mcap {
    path: PathBuf,
    bytes: u64,
}

fn open(path: &Path, _: &LogOptions) -> Result<Box<dyn LogSource>, DataError> {
    let bytes =
        std::fs::metadata(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?.len();
    Ok(Box::new(Mcap { path: path.to_owned(), bytes }))
}

impl LogSource for Mcap {
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
        read_from(&self.path, 0, &mut Known::default(), wanted, visit)
    }

    fn topics(&self) -> Result<Vec<TopicInfo>, DataError> {
        crate::streams::count_topics(self)
    }
}

/// What the file has declared so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    schemas: BTreeMap<u16, Schema>,
    channels: BTreeMap<u16, Channel>,
}

/// Bytes in front of a record's content: its operation and length. A chunk's [`Message::offset`] is where its content begins.
pub(crate) const RECORD_HEAD: u64 = 9;

/// Reads the messages of the wanted topics, from the beginning (`offset` 0) or from the record at this offset on. `known` is what the
/// part before has declared, with what was wanted then, and what this part declares.
pub(crate) fn read_from(
    path: &Path,
    offset: u64,
    known: &mut Known,
    wanted: &dyn Fn(&str) -> bool,
    visit: &mut Visit<'_>,
) -> Result<LogEnd, DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    if offset > 0 {
        file.seek(SeekFrom::Start(offset)).map_err(io)?;
    }
    // A part of the file is an episode, which may be short.
    let reader = BufReader::with_capacity(if offset > 0 { 1 << 16 } else { 1 << 20 }, file);
    let mut pass = Pass { wanted, known, buffer: Vec::new() };
    let hint = "copy it again from its source, or mend it with `mcap recover`";
    pass.file(reader, offset, bytes, visit).or_else(|stop| stop.end(path, NAME, hint))
}

#[derive(Clone, Debug)]
struct Schema {
    name: String,
    encoding: String,
    text: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Channel {
    topic: String,
    schema: String,
    wanted: bool,
    meaning: Meaning,
}

#[derive(Clone, Debug)]
enum Meaning {
    Ros(Definition),
    Json,
    Unreadable(String),
}

struct Pass<'p> {
    wanted: &'p dyn Fn(&str) -> bool,
    known: &'p mut Known,
    /// The record in hand.
    buffer: Vec<u8>,
}

impl Pass<'_> {
    fn file(
        &mut self,
        mut reader: BufReader<File>,
        offset: u64,
        bytes: u64,
        visit: &mut Visit<'_>,
    ) -> Result<LogEnd, Stop> {
        let mut at = offset;
        if offset == 0 {
            let mut magic = [0; 8];
            reader.read_exact(&mut magic)?;
            if magic != MAGIC {
                return Err(Stop::Damaged("it does not begin as an MCAP file does".into()));
            }
            at = MAGIC.len() as u64;
        }
        while let Some((operation, length)) = next_record(&mut reader)? {
            at = at.saturating_add(RECORD_HEAD);
            let left = bytes.saturating_sub(at);
            let torn = length > left;
            // A power cut may leave the last record as long as it was to be, and without its content.
            let last = length >= left;
            let outcome = match operation {
                CHUNK => {
                    let mut record = (&mut reader).take(length);
                    let outcome = self.chunk(&mut record, length, at, visit);
                    // Decompressors stop reading when they have all they promised.
                    let left = record.limit();
                    outcome.and_then(|()| skip(&mut reader, left))
                }
                DATA_END => return Ok(LogEnd::Whole),
                _ => self.record(operation, length, &mut reader, at, visit),
            };
            match outcome {
                Err(Stop::Damaged(_) | Stop::Torn(_)) if torn => {
                    return Err(Stop::Torn(format!(
                        "a record at byte {at} has {left} of its {length} bytes"
                    )));
                }
                Err(Stop::Damaged(why)) if last => {
                    return Err(Stop::Torn(format!("the last record, at byte {at}, is damaged: {why}")));
                }
                Err(Stop::Torn(why)) => return Err(Stop::Damaged(format!("a record at byte {at}: {why}"))),
                other => other?,
            }
            if torn {
                return Err(Stop::Torn(format!("a record at byte {at} has {left} of its {length} bytes")));
            }
            at = at.saturating_add(length);
        }
        Err(Stop::Torn("it has no end mark: the recorder was cut off".into()))
    }

    /// Reads the records of a chunk as they are decompressed. `reader` holds the chunk record and no more.
    fn chunk(
        &mut self,
        reader: &mut dyn BufRead,
        length: u64,
        at: u64,
        visit: &mut Visit<'_>,
    ) -> Result<(), Stop> {
        let mut head = [0; 28];
        reader.read_exact(&mut head)?;
        let size = u64::from_le_bytes(part(&head, 16));
        let checksum = u32::from_le_bytes(part(&head, 24));
        let mut word = [0; 4];
        reader.read_exact(&mut word)?;
        let name = u64::from(u32::from_le_bytes(word));
        if name > 64 {
            return Err(Stop::Damaged(format!("a chunk's compression has a name of {name} bytes")));
        }
        fill(reader, name, &mut self.buffer)?;
        let compression = String::from_utf8_lossy(&self.buffer).into_owned();
        let mut long = [0; 8];
        reader.read_exact(&mut long)?;
        let stored = u64::from_le_bytes(long);
        if stored.checked_add(40 + name) != Some(length) {
            return Err(Stop::Damaged(format!("a chunk of {length} bytes says that it holds {stored}")));
        }
        let records: Box<dyn Read + '_> = match compression.as_str() {
            "" => Box::new(reader),
            "lz4" => Box::new(lz4_flex::frame::FrameDecoder::new(reader)),
            "zstd" => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
            other => return Err(Stop::Damaged(format!("compression {other:?} is not known"))),
        };
        // More than was promised is a bomb or a lie; either way it is not read.
        let summed = Checked { inner: records.take(size), hasher: crc32fast::Hasher::new(), read: 0 };
        let mut records = BufReader::with_capacity(1 << 16, summed);
        while let Some((operation, length)) = next_record(&mut records)? {
            if operation == CHUNK {
                return Err(Stop::Damaged("a chunk in a chunk".into()));
            }
            self.record(operation, length, &mut records, at, visit)?;
        }
        let Checked { hasher, read, .. } = records.into_inner();
        if read != size {
            return Err(Stop::Damaged(format!("a chunk holds {read} bytes of the {size} that it promises")));
        }
        if checksum != 0 && hasher.finalize() != checksum {
            return Err(Stop::Damaged("the checksum of a chunk is wrong".into()));
        }
        Ok(())
    }

    fn record(
        &mut self,
        operation: u8,
        length: u64,
        reader: &mut dyn BufRead,
        at: u64,
        visit: &mut Visit<'_>,
    ) -> Result<(), Stop> {
        match operation {
            SCHEMA => {
                bounded(length, "a schema")?;
                fill(reader, length, &mut self.buffer)?;
                self.schema()?;
            }
            CHANNEL => {
                bounded(length, "a channel")?;
                fill(reader, length, &mut self.buffer)?;
                self.channel()?;
            }
            MESSAGE => {
                let Some(rest) = length.checked_sub(22) else {
                    return Err(Stop::Damaged(format!(
                        "a message of {length} bytes has no room for its header"
                    )));
                };
                let mut head = [0; 22];
                reader.read_exact(&mut head)?;
                let id = u16::from_le_bytes(part(&head, 0));
                let Some(channel) = self.known.channels.get(&id) else {
                    return Err(Stop::Damaged(format!("a message of channel {id}, which is not declared")));
                };
                if !channel.wanted {
                    return skip(reader, rest);
                }
                bounded(rest, "a message")?;
                fill(reader, rest, &mut self.buffer)?;
                let receive = u64::from_le_bytes(part(&head, 6));
                let receive_nanos = i64::try_from(receive)
                    .map_err(|_| Stop::Damaged(format!("a message was logged at {receive} ns")))?;
                let payload = match &channel.meaning {
                    Meaning::Ros(definition) => Payload::Ros(definition, &self.buffer),
                    Meaning::Json => Payload::Json(&self.buffer),
                    Meaning::Unreadable(why) => Payload::Unreadable(why),
                };
                let message = Message {
                    topic: &channel.topic,
                    schema: &channel.schema,
                    part: 0,
                    receive_nanos,
                    offset: at,
                    payload,
                };
                Stop::after(visit(&message))?;
            }
            _ => skip(reader, length)?,
        }
        Ok(())
    }

    fn schema(&mut self) -> Result<(), Stop> {
        let mut fields = Fields(&self.buffer);
        let (id, name, encoding) = (fields.id()?, fields.text()?, fields.text()?);
        let text = fields.bytes()?.to_vec();
        self.known.schemas.insert(id, Schema { name, encoding, text });
        Ok(())
    }

    fn channel(&mut self) -> Result<(), Stop> {
        let mut fields = Fields(&self.buffer);
        let (id, schema, topic, encoding) = (fields.id()?, fields.id()?, fields.text()?, fields.text()?);
        if self.known.channels.contains_key(&id) {
            return Ok(()); // Repeated in the chunks that use it.
        }
        let schema = self.known.schemas.get(&schema);
        let wanted = (self.wanted)(&topic);
        let meaning = if wanted { meaning(&encoding, schema) } else { Meaning::Unreadable(String::new()) };
        let schema = schema.map_or(String::new(), |s| s.name.clone());
        self.known.channels.insert(id, Channel { topic, schema, wanted, meaning });
        Ok(())
    }
}

fn meaning(encoding: &str, schema: Option<&Schema>) -> Meaning {
    let dialect = match encoding {
        "json" => return Meaning::Json,
        "cdr" => Dialect::Ros2,
        "ros1" => Dialect::Ros1,
        other => {
            return Meaning::Unreadable(format!(
                "messages in the encoding {other:?} are not read: expected cdr, ros1 or json"
            ));
        }
    };
    let Some(Schema { name, encoding, text }) = schema else {
        return Meaning::Unreadable("the channel has no schema".into());
    };
    if !matches!(encoding.as_str(), "ros2msg" | "ros1msg") {
        return Meaning::Unreadable(format!(
            "the schema {name} is in the encoding {encoding:?}: expected ros2msg or ros1msg"
        ));
    }
    match Definition::parse(name, &String::from_utf8_lossy(text), dialect) {
        Ok(definition) => Meaning::Ros(definition),
        Err(error) => Meaning::Unreadable(format!("the schema {name} cannot be used: {error}")),
    }
}

/// The next record's operation and length; `None` at the end.
fn next_record(reader: &mut dyn BufRead) -> Result<Option<(u8, u64)>, Stop> {
    if reader.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut head = [0; 9];
    reader.read_exact(&mut head)?;
    Ok(Some((head[0], u64::from_le_bytes(part(&head, 1)))))
}

/// Sums up what is read through it.
struct Checked<R> {
    inner: R,
    hasher: crc32fast::Hasher,
    read: u64,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..n).unwrap_or_default());
        self.read += n as u64;
        Ok(n)
    }
}
