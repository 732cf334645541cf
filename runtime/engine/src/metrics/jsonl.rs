//! `metrics.jsonl`: one flat JSON object per line.
//!
//! Nothing in it depends on the wall clock, so two runs of one seed write the same bytes, interrupted or not.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::EngineError;

/// Appends to `metrics.jsonl`.
pub struct MetricsLog {
    path: PathBuf,
    file: BufWriter<File>,
    bytes: u64,
    line: String,
}

impl MetricsLog {
    /// Opens the file and cuts it to the length that a checkpoint remembers (0 for a new run): what was written after that
    /// checkpoint will be written again.
    ///
    /// # Errors
    /// When it cannot be opened, or is shorter than the checkpoint remembers.
    pub fn open(path: &Path, bytes: u64) -> Result<Self, EngineError> {
        let io = |action| EngineError::io(action, path);
        let mut file =
            OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(io("open"))?;
        let found = file.metadata().map_err(io("read"))?.len();
        if found < bytes {
            return Err(EngineError::RunDamaged {
                path: path.to_owned(),
                what: "length".into(),
                expected: format!("at least {bytes} bytes"),
                found: format!("{found} bytes"),
            });
        }
        file.set_len(bytes).map_err(io("truncate"))?;
        file.seek(SeekFrom::Start(bytes)).map_err(io("seek in"))?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file), bytes, line: String::new() })
    }

    /// Adds a line. Values that are not finite are written as `null`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append<'a>(
        &mut self,
        stage: &str,
        updates: u64,
        env_steps: u64,
        values: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Result<(), EngineError> {
        let text = |s: &str| serde_json::Value::from(s).to_string();
        self.line.clear();
        // Writing to a String cannot fail.
        let _ =
            write!(self.line, "{{\"stage\":{},\"updates\":{updates},\"env_steps\":{env_steps}", text(stage));
        for (name, value) in values {
            let _ = write!(self.line, ",{}:{}", text(name), serde_json::Value::from(value));
        }
        self.line.push_str("}\n");
        self.file.write_all(self.line.as_bytes()).map_err(EngineError::io("write", &self.path))?;
        self.bytes += self.line.len() as u64;
        Ok(())
    }

    /// Length of the file with everything appended so far.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Hands everything to the system, so that others can read it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&mut self) -> Result<(), EngineError> {
        self.file.flush().map_err(EngineError::io("write", &self.path))
    }

    /// Brings everything to the disk.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn sync(&mut self) -> Result<(), EngineError> {
        self.flush()?;
        self.file.get_ref().sync_all().map_err(EngineError::io("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reopened_log_goes_on_at_the_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut log = MetricsLog::open(&path, 0).unwrap();
        log.append("offline", 1, 0, [("train/loss", 0.5), ("train/odd", f64::NAN)]).unwrap();
        let kept = log.bytes();
        log.append("offline", 2, 0, [("train/loss", 0.25)]).unwrap();
        log.sync().unwrap();
        drop(log);
        let mut log = MetricsLog::open(&path, kept).unwrap();
        log.append("offline", 2, 7, []).unwrap();
        log.flush().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "{\"stage\":\"offline\",\"updates\":1,\"env_steps\":0,\"train/loss\":0.5,\"train/odd\":null}\n\
             {\"stage\":\"offline\",\"updates\":2,\"env_steps\":7}\n"
        );
        let short = MetricsLog::open(&path, 10_000).err().unwrap().to_string();
        assert!(short.contains("expected at least 10000 bytes"), "{short}");
    }
}
