//! The MCAP container: writing it, and what stands beside the messages in it.
//!
//! An own writer, as there is an own reader ([`crate::formats::mcap`]). The file only grows: a chunk is put together in memory and
//! appended in one piece, so that whatever a killed program leaves behind is a good file up to its last chunk. (A writer that goes
//! back to fill in a chunk's length leaves one whose last chunk claims to be empty.) Every chunk carries a checksum, and so do the
//! data as a whole and the summary at the end, by which readers find topics, chunks and messages.
//!
//! Specification: <https://mcap.dev/spec>.

pub mod episodes;
mod metadata;
mod write;

pub use metadata::{Metadata, metadata};
pub use write::{Channel, Compression, McapWriter, WriteOptions};

pub(crate) const MAGIC: [u8; 8] = *b"\x89MCAP0\r\n";

/// What a record is.
pub(crate) mod operation {
    pub(crate) const HEADER: u8 = 1;
    pub(crate) const FOOTER: u8 = 2;
    pub(crate) const SCHEMA: u8 = 3;
    pub(crate) const CHANNEL: u8 = 4;
    pub(crate) const MESSAGE: u8 = 5;
    pub(crate) const CHUNK: u8 = 6;
    pub(crate) const MESSAGE_INDEX: u8 = 7;
    pub(crate) const CHUNK_INDEX: u8 = 8;
    pub(crate) const STATISTICS: u8 = 11;
    pub(crate) const METADATA: u8 = 12;
    pub(crate) const METADATA_INDEX: u8 = 13;
    pub(crate) const SUMMARY_OFFSET: u8 = 14;
    pub(crate) const DATA_END: u8 = 15;
}
