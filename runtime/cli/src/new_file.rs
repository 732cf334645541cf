//! A file that was not there before.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use crate::failure::Failure;

/// Made at once, so that a bad path is known before the work is done, and never over something else. Removed again when nothing
/// was written to it.
pub struct NewFile {
    path: PathBuf,
    file: File,
    keep: bool,
}

impl NewFile {
    /// Makes it, empty.
    ///
    /// # Errors
    /// When there is something of that name, or the system refuses.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create_new(path).map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => {
                anyhow!("{} exists and is not overwritten\n\nhint: choose another name", path.display())
            }
            _ => anyhow!(e).context(format!("cannot create {}", path.display())),
        })?;
        Ok(Self { path: path.to_owned(), file, keep: false })
    }

    /// Waits until what was written is on the disk.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn sync_data(&self) -> std::io::Result<()> {
        self.file.sync_data()
    }

    /// Writes all there will be; a part of it is not left behind.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn write_whole(mut self, bytes: &[u8]) -> Result<PathBuf, Failure> {
        self.file.write_all(bytes).with_context(|| format!("cannot write {}", self.path.display()))?;
        self.keep = true;
        Ok(self.path.clone())
    }
}

/// A record that grows: what was written of it stays, whatever happens later.
impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.keep |= written > 0;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.keep {
            // What went wrong is reported already.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
