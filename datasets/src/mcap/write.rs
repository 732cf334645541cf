//! Writing an MCAP file, front to back.

use std::collections::BTreeMap;
use std::io::{Error as IoError, ErrorKind, Result as IoResult, Write};

use super::{MAGIC, operation};

/// How chunks are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// Fast, larger.
    Lz4,
    /// Smaller.
    #[default]
    Zstd,
}

impl Compression {
    const fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// Level of zstd: the fastest of its ordinary ones, for a recorder must keep up.
const ZSTD_LEVEL: i32 = 1;

/// How a file is written.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// The program that writes, with its version.
    pub library: String,
    /// How chunks are compressed.
    pub compression: Compression,
    /// A chunk is closed when it has so many bytes, before compression.
    pub chunk_bytes: usize,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            library: concat!("surefoot-datasets ", env!("CARGO_PKG_VERSION")).to_owned(),
            compression: Compression::default(),
            chunk_bytes: 1 << 20,
        }
    }
}

/// A topic of the file that is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Channel(u16);

struct Topic {
    /// Schema and channel records, for the first chunk that needs them and for the summary.
    schema: u16,
    record: Vec<u8>,
    announced: bool,
    messages: u64,
    /// Times and places of its messages in the present chunk, as they are written behind it.
    index: Vec<u8>,
    sequence: u32,
}

struct Schema {
    name: String,
    record: Vec<u8>,
    announced: bool,
}

/// First and last of some log times, ns.
#[derive(Clone, Copy, Default)]
struct Span(Option<(u64, u64)>);

impl Span {
    fn add(&mut self, nanos: u64) {
        let (first, last) = self.0.unwrap_or((nanos, nanos));
        self.0 = Some((first.min(nanos), last.max(nanos)));
    }
    fn ends(self) -> (u64, u64) {
        self.0.unwrap_or_default()
    }
}

/// Writes an MCAP file of profile `ros2`: CDR messages with `ros2msg` schemas.
///
/// Each chunk goes to `out` in one [`Write::write_all`], when it is full or [`flush`](Self::flush)ed. Memory: a chunk and its
/// compressed form, and of each chunk its line in the summary, some hundred bytes. A file that was not [`finish`](Self::finish)ed
/// reads up to its last whole chunk. After an error nothing more is written: what follows a torn record could not be read.
pub struct McapWriter<W: Write> {
    out: W,
    /// Bytes written, and their checksum.
    at: u64,
    crc: crc32fast::Hasher,
    options: WriteOptions,
    failed: bool,
    schemas: Vec<Schema>,
    topics: Vec<Topic>,
    chunk: Vec<u8>,
    chunk_span: Span,
    /// What is written for the present chunk.
    block: Vec<u8>,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    /// Chunk indexes and metadata indexes, as the summary will have them.
    chunk_indexes: Vec<u8>,
    metadata_indexes: Vec<u8>,
    chunks: u32,
    metadata: u32,
    messages: u64,
    span: Span,
}

impl<W: Write> std::fmt::Debug for McapWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("McapWriter").field("at", &self.at).field("messages", &self.messages).finish()
    }
}

impl<W: Write> McapWriter<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new(out: W, options: WriteOptions) -> IoResult<Self> {
        let zstd = (options.compression == Compression::Zstd)
            .then(|| zstd::bulk::Compressor::new(ZSTD_LEVEL))
            .transpose()?;
        let mut head = MAGIC.to_vec();
        record(&mut head, operation::HEADER, |out| {
            text(out, "ros2")?;
            text(out, &options.library)
        })?;
        let mut writer = Self {
            out,
            at: 0,
            crc: crc32fast::Hasher::new(),
            options,
            failed: false,
            schemas: Vec::new(),
            topics: Vec::new(),
            chunk: Vec::new(),
            chunk_span: Span::default(),
            block: Vec::new(),
            zstd,
            chunk_indexes: Vec::new(),
            metadata_indexes: Vec::new(),
            chunks: 0,
            metadata: 0,
            messages: 0,
            span: Span::default(),
        };
        writer.append(&head)?;
        Ok(writer)
    }

    /// Appends to the file.
    fn append(&mut self, bytes: &[u8]) -> IoResult<()> {
        if self.failed {
            return Err(IoError::other(
                "writing to this file has failed before; nothing more is written to it",
            ));
        }
        let written = self.out.write_all(bytes);
        self.failed = written.is_err();
        written?;
        self.crc.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Declares a topic of ROS 2 messages: its type, and that type's `ros2msg` definition with everything it is made of. It appears in
    /// the file with its first message.
    ///
    /// # Errors
    /// When there are more than 65 535 topics, or the definition is longer than 4 GB.
    pub fn topic(&mut self, topic: &str, message_type: &str, definition: &str) -> IoResult<Channel> {
        let schema = match self.schemas.iter().position(|s| s.name == message_type) {
            Some(at) => at,
            None => {
                let id = small(self.schemas.len() + 1)?;
                let mut bytes = Vec::new();
                record(&mut bytes, operation::SCHEMA, |out| {
                    out.extend_from_slice(&id.to_le_bytes());
                    text(out, message_type)?;
                    text(out, "ros2msg")?;
                    text(out, definition)
                })?;
                let name = message_type.to_owned();
                self.schemas.push(Schema { name, record: bytes, announced: false });
                self.schemas.len() - 1
            }
        };
        let (id, schema_id) = (small(self.topics.len())?, small(schema + 1)?);
        let mut bytes = Vec::new();
        record(&mut bytes, operation::CHANNEL, |out| {
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&schema_id.to_le_bytes());
            text(out, topic)?;
            text(out, "cdr")?;
            map(out, &BTreeMap::new())
        })?;
        self.topics.push(Topic {
            schema: schema_id - 1,
            record: bytes,
            announced: false,
            messages: 0,
            index: Vec::new(),
            sequence: 0,
        });
        Ok(Channel(id))
    }

    /// Adds a message: when it was logged and published, ns, and its payload (CDR with its encapsulation header). It is in memory until
    /// the chunk is full or flushed.
    ///
    /// # Errors
    /// When the chunk was full and could not be written, or the topic is of another file.
    pub fn message(
        &mut self,
        channel: Channel,
        log_nanos: u64,
        publish_nanos: u64,
        payload: &[u8],
    ) -> IoResult<()> {
        let Self { topics, schemas, chunk, .. } = self;
        let Some(topic) = topics.get_mut(usize::from(channel.0)) else {
            return Err(IoError::new(ErrorKind::InvalidInput, "this topic was declared in another file"));
        };
        if !topic.announced {
            if let Some(schema) = schemas.get_mut(usize::from(topic.schema)).filter(|s| !s.announced) {
                chunk.extend_from_slice(&schema.record);
                schema.announced = true;
            }
            chunk.extend_from_slice(&topic.record);
            topic.announced = true;
        }
        topic.index.extend_from_slice(&log_nanos.to_le_bytes());
        topic.index.extend_from_slice(&(chunk.len() as u64).to_le_bytes());
        chunk.push(operation::MESSAGE);
        chunk.extend_from_slice(&(22 + payload.len() as u64).to_le_bytes());
        chunk.extend_from_slice(&channel.0.to_le_bytes());
        chunk.extend_from_slice(&topic.sequence.to_le_bytes());
        chunk.extend_from_slice(&log_nanos.to_le_bytes());
        chunk.extend_from_slice(&publish_nanos.to_le_bytes());
        chunk.extend_from_slice(payload);
        topic.sequence = topic.sequence.wrapping_add(1);
        topic.messages += 1;
        self.messages += 1;
        self.chunk_span.add(log_nanos);
        self.span.add(log_nanos);
        if self.chunk.len() >= self.options.chunk_bytes { self.flush() } else { Ok(()) }
    }

    /// Bytes of messages that are in memory only.
    #[must_use]
    pub const fn pending_bytes(&self) -> usize {
        self.chunk.len()
    }

    /// Bytes written to the file.
    #[must_use]
    pub const fn written_bytes(&self) -> u64 {
        self.at
    }

    /// What is written to.
    pub const fn get_ref(&self) -> &W {
        &self.out
    }

    /// Closes the present chunk and writes it down, with its indexes.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn flush(&mut self) -> IoResult<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let (first, last) = self.chunk_span.ends();
        let name = self.options.compression.name();
        let mut block = std::mem::take(&mut self.block);
        block.clear();
        block.push(operation::CHUNK);
        // The length, when it is known.
        block.extend_from_slice(&[0; 8]);
        block.extend_from_slice(&first.to_le_bytes());
        block.extend_from_slice(&last.to_le_bytes());
        block.extend_from_slice(&(self.chunk.len() as u64).to_le_bytes());
        block.extend_from_slice(&crc32fast::hash(&self.chunk).to_le_bytes());
        text(&mut block, name)?;
        let size_at = block.len();
        block.extend_from_slice(&[0; 8]);
        let begin = block.len();
        self.compress_into(&mut block)?;
        let compressed = (block.len() - begin) as u64;
        put(&mut block, size_at, compressed);
        let length = block.len() as u64;
        put(&mut block, 1, length - 9);
        let chunk_at = self.at;
        // What tells a reader where each topic's messages are.
        let mut offsets = Vec::new();
        for (id, topic) in (0_u16..).zip(&mut self.topics).filter(|(_, t)| !t.index.is_empty()) {
            offsets.extend_from_slice(&id.to_le_bytes());
            offsets.extend_from_slice(&(chunk_at + block.len() as u64).to_le_bytes());
            let index = &topic.index;
            record(&mut block, operation::MESSAGE_INDEX, |out| {
                out.extend_from_slice(&id.to_le_bytes());
                bytes(out, index)
            })?;
            topic.index.clear();
        }
        let uncompressed = self.chunk.len() as u64;
        let index_length = block.len() as u64 - length;
        record(&mut self.chunk_indexes, operation::CHUNK_INDEX, |out| {
            for number in [first, last, chunk_at, length] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            bytes(out, &offsets)?;
            out.extend_from_slice(&index_length.to_le_bytes());
            text(out, name)?;
            out.extend_from_slice(&compressed.to_le_bytes());
            out.extend_from_slice(&uncompressed.to_le_bytes());
            Ok(())
        })?;
        self.chunks = self.chunks.saturating_add(1);
        self.chunk.clear();
        self.chunk_span = Span::default();
        let written = self.append(&block);
        self.block = block;
        written
    }

    fn compress_into(&mut self, out: &mut Vec<u8>) -> IoResult<()> {
        match (self.options.compression, &mut self.zstd) {
            (Compression::Zstd, Some(zstd)) => {
                out.extend_from_slice(&zstd.compress(&self.chunk)?);
                Ok(())
            }
            (Compression::Lz4, _) => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(out);
                encoder.write_all(&self.chunk)?;
                encoder.finish().map_err(IoError::other)?;
                Ok(())
            }
            _ => {
                out.extend_from_slice(&self.chunk);
                Ok(())
            }
        }
    }

    /// Writes down what belongs to the file as a whole. A chunk that is open is flushed first.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn metadata(&mut self, name: &str, entries: &BTreeMap<String, String>) -> IoResult<()> {
        self.flush()?;
        let mut block = Vec::new();
        record(&mut block, operation::METADATA, |out| {
            text(out, name)?;
            map(out, entries)
        })?;
        let (at, length) = (self.at, block.len() as u64);
        record(&mut self.metadata_indexes, operation::METADATA_INDEX, |out| {
            out.extend_from_slice(&at.to_le_bytes());
            out.extend_from_slice(&length.to_le_bytes());
            text(out, name)
        })?;
        self.metadata = self.metadata.saturating_add(1);
        self.append(&block)
    }

    /// Writes the rest: the open chunk, the end mark, the summary and the footer. Gives back what was written to, and how many bytes.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn finish(mut self) -> IoResult<(W, u64)> {
        self.flush()?;
        let mut block = Vec::new();
        let checksum = self.crc.clone().finalize();
        record(&mut block, operation::DATA_END, |out| {
            out.extend_from_slice(&checksum.to_le_bytes());
            Ok(())
        })?;
        self.append(&block)?;
        let summary_at = self.at;
        let mut summary = Vec::new();
        let mut groups: Vec<(u8, usize, usize)> = Vec::new();
        let mut group =
            |kind: u8, summary: &mut Vec<u8>, records: &mut dyn FnMut(&mut Vec<u8>) -> IoResult<()>| {
                let from = summary.len();
                records(summary)?;
                if summary.len() > from {
                    groups.push((kind, from, summary.len() - from));
                }
                IoResult::Ok(())
            };
        group(operation::SCHEMA, &mut summary, &mut |out| {
            self.schemas.iter().filter(|s| s.announced).for_each(|s| out.extend_from_slice(&s.record));
            Ok(())
        })?;
        group(operation::CHANNEL, &mut summary, &mut |out| {
            self.topics.iter().filter(|t| t.announced).for_each(|t| out.extend_from_slice(&t.record));
            Ok(())
        })?;
        group(operation::STATISTICS, &mut summary, &mut |out| self.statistics(out))?;
        group(operation::CHUNK_INDEX, &mut summary, &mut |out| {
            out.extend_from_slice(&self.chunk_indexes);
            Ok(())
        })?;
        group(operation::METADATA_INDEX, &mut summary, &mut |out| {
            out.extend_from_slice(&self.metadata_indexes);
            Ok(())
        })?;
        let offsets_at = summary_at + summary.len() as u64;
        for (kind, from, length) in groups {
            record(&mut summary, operation::SUMMARY_OFFSET, |out| {
                out.push(kind);
                out.extend_from_slice(&(summary_at + from as u64).to_le_bytes());
                out.extend_from_slice(&(length as u64).to_le_bytes());
                Ok(())
            })?;
        }
        summary.push(operation::FOOTER);
        summary.extend_from_slice(&20_u64.to_le_bytes());
        summary.extend_from_slice(&summary_at.to_le_bytes());
        summary.extend_from_slice(&offsets_at.to_le_bytes());
        // Of the summary and the footer up to here.
        let checksum = crc32fast::hash(&summary);
        summary.extend_from_slice(&checksum.to_le_bytes());
        summary.extend_from_slice(&MAGIC);
        self.append(&summary)?;
        self.out.flush()?;
        Ok((self.out, self.at))
    }

    fn statistics(&self, out: &mut Vec<u8>) -> IoResult<()> {
        let announced = || (0_u16..).zip(&self.topics).filter(|(_, t)| t.announced);
        let (first, last) = self.span.ends();
        let mut counts = Vec::new();
        for (id, topic) in announced() {
            counts.extend_from_slice(&id.to_le_bytes());
            counts.extend_from_slice(&topic.messages.to_le_bytes());
        }
        let schemas = small(self.schemas.iter().filter(|s| s.announced).count())?;
        let channels = announced().count() as u32;
        record(out, operation::STATISTICS, |out| {
            out.extend_from_slice(&self.messages.to_le_bytes());
            out.extend_from_slice(&schemas.to_le_bytes());
            for count in [channels, 0, self.metadata, self.chunks] {
                out.extend_from_slice(&count.to_le_bytes());
            }
            out.extend_from_slice(&first.to_le_bytes());
            out.extend_from_slice(&last.to_le_bytes());
            bytes(out, &counts)
        })
    }
}

/// Appends a record whose content `fill` writes.
fn record(out: &mut Vec<u8>, operation: u8, fill: impl FnOnce(&mut Vec<u8>) -> IoResult<()>) -> IoResult<()> {
    out.push(operation);
    let at = out.len();
    out.extend_from_slice(&[0; 8]);
    fill(out)?;
    let length = (out.len() - at - 8) as u64;
    put(out, at, length);
    Ok(())
}

/// Fills in a number that was left open.
fn put(out: &mut [u8], at: usize, number: u64) {
    if let Some(place) = out.get_mut(at..at + 8) {
        place.copy_from_slice(&number.to_le_bytes());
    }
}

fn bytes(out: &mut Vec<u8>, content: &[u8]) -> IoResult<()> {
    let length = u32::try_from(content.len())
        .map_err(|_| IoError::new(ErrorKind::InvalidInput, "MCAP holds no texts and indexes of 4 GB"))?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(content);
    Ok(())
}

fn text(out: &mut Vec<u8>, content: &str) -> IoResult<()> {
    bytes(out, content.as_bytes())
}

fn map(out: &mut Vec<u8>, entries: &BTreeMap<String, String>) -> IoResult<()> {
    let mut content = Vec::new();
    for (key, value) in entries {
        text(&mut content, key)?;
        text(&mut content, value)?;
    }
    bytes(out, &content)
}

fn small(number: usize) -> IoResult<u16> {
    u16::try_from(number)
        .map_err(|_| IoError::new(ErrorKind::InvalidInput, "MCAP holds at most 65535 topics"))
}
