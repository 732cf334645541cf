//! TensorBoard event files: scalars only.
//!
//! A file is a sequence of TFRecords: `length u64le, masked crc32c(length) u32le, payload, masked crc32c(payload) u32le`. The
//! payload is a protobuf `Event { wall_time = 1: double, step = 2: int64, file_version = 3: string, summary = 5: Summary,
//! session_log = 7: SessionLog }`, with `Summary { value = 1: Value { tag = 1: string, simple_value = 2: float } }`.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use surefoot_core::clock::unix_time;

use crate::EngineError;

/// Appends scalars to one event file.
pub struct EventFile {
    path: PathBuf,
    file: BufWriter<File>,
}

impl EventFile {
    /// Creates an event file in `dir`. `resumed_at` is the step that a resumed run goes on from: TensorBoard then drops later
    /// points of earlier files.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(dir: &Path, resumed_at: Option<u64>) -> Result<Self, EngineError> {
        let seconds = unix_time().as_secs();
        // TensorBoard reads the files of a run in the order of their names.
        let mut index = 0;
        let (path, file) = loop {
            let path = dir.join(format!("events.out.tfevents.{seconds:010}.surefoot.{index:03}"));
            match OpenOptions::new().create_new(true).write(true).open(&path) {
                Ok(file) => break (path, file),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => index += 1,
                Err(e) => return Err(EngineError::io("create", &path)(e)),
            }
        };
        let mut events = Self { path, file: BufWriter::new(file) };
        let mut body = Vec::new();
        bytes_field(&mut body, 3, b"brain.Event:2");
        events.event(0, &body)?;
        if let Some(step) = resumed_at {
            let mut session = Vec::new();
            varint_field(&mut session, 1, 1); // SessionStatus::START
            body.clear();
            bytes_field(&mut body, 7, &session);
            events.event(step, &body)?;
        }
        Ok(events)
    }

    /// Adds scalars at a step.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn scalars<'a>(
        &mut self,
        step: u64,
        values: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Result<(), EngineError> {
        let mut summary = Vec::new();
        for (tag, number) in values {
            let mut value = Vec::new();
            bytes_field(&mut value, 1, tag.as_bytes());
            value.push(2 << 3 | 5);
            value.extend_from_slice(&(number as f32).to_le_bytes());
            bytes_field(&mut summary, 1, &value);
        }
        let mut body = Vec::new();
        bytes_field(&mut body, 5, &summary);
        self.event(step, &body)
    }

    /// Hands everything to the system.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&mut self) -> Result<(), EngineError> {
        self.file.flush().map_err(EngineError::io("write", &self.path))
    }

    fn event(&mut self, step: u64, body: &[u8]) -> Result<(), EngineError> {
        let mut payload = vec![1 << 3 | 1];
        payload.extend_from_slice(&unix_time().as_secs_f64().to_le_bytes());
        varint_field(&mut payload, 2, step);
        payload.extend_from_slice(body);
        let length = (payload.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(payload.len() + 16);
        record.extend_from_slice(&length);
        record.extend_from_slice(&masked_crc(&length).to_le_bytes());
        record.extend_from_slice(&payload);
        record.extend_from_slice(&masked_crc(&payload).to_le_bytes());
        self.file.write_all(&record).map_err(EngineError::io("write", &self.path))
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_field(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn bytes_field(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_framed_and_sum_up() {
        // RFC 3720 B.4: CRC32C of 32 zero bytes.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        let dir = tempfile::tempdir().unwrap();
        let mut file = EventFile::create(dir.path(), Some(7)).unwrap();
        file.scalars(300, [("train/loss", 0.5), ("eval/success_rate", 1.0)]).unwrap();
        file.flush().unwrap();
        let second = EventFile::create(dir.path(), None).unwrap();
        assert_ne!(second.path, file.path, "an event file is never written over");
        let bytes = std::fs::read(&file.path).unwrap();
        let mut at = 0;
        let mut payloads = Vec::new();
        while at < bytes.len() {
            let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
            let check = |range: std::ops::Range<usize>| {
                let stored = u32::from_le_bytes(bytes[range.end..range.end + 4].try_into().unwrap());
                assert_eq!(stored, masked_crc(&bytes[range]));
            };
            check(at..at + 8);
            check(at + 12..at + 12 + length);
            payloads.push(bytes[at + 12..at + 12 + length].to_vec());
            at += length + 16;
        }
        assert_eq!(payloads.len(), 3);
        // double wall_time, then step = 300 as a varint, then the summary.
        assert_eq!(payloads[2][9..12], [2 << 3, 0xac, 0x02]);
        assert!(payloads[2].windows(10).any(|w| w == b"train/loss"));
        assert!(payloads[2].windows(4).any(|w| w == 0.5_f32.to_le_bytes()));
    }
}
