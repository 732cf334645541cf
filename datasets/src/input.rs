//! What a path leads to, looked at just far enough to tell formats apart.

use std::io::{Error as IoError, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use surefoot_core::DataError;

use crate::h5::{Backend, Container};

/// Bytes of a file that formats are told apart by.
const HEAD_BYTES: u64 = 4096;

/// Entries of a directory that are listed at most.
const MAX_ENTRIES: usize = 1 << 20;

/// A text file beside the data, such as a manifest, may be this long.
const MAX_TEXT_BYTES: u64 = 1 << 30;

/// How an HDF5 file starts, at byte 0 or behind a user block of 512, 1024, 2048, ... bytes.
const HDF5_SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

/// What a format is asked about, and opens.
#[derive(Debug)]
pub enum Input {
    /// An HDF5 file.
    Hdf5(Arc<Container>),
    /// A directory.
    Directory(Directory),
    /// Any other file.
    File(PlainFile),
}

/// A file that is not HDF5.
#[derive(Clone, Debug)]
pub struct PlainFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its first 4096 bytes, or all of a shorter one.
    pub head: Vec<u8>,
    hdf5: bool,
}

/// A directory. Nothing in it was looked at.
#[derive(Clone, Debug)]
pub struct Directory {
    /// Where it is.
    pub path: PathBuf,
}

fn io(path: &Path) -> impl Fn(IoError) -> DataError {
    move |source| DataError::Io { path: path.to_owned(), source }
}

/// Opening a pipe would wait for its other end, and reading a device may never end. A directory is as little a file.
///
/// # Errors
/// When it is not a regular file or a link to one.
pub fn check_regular(path: &Path) -> Result<(), DataError> {
    let kind = std::fs::metadata(path).map_err(io(path))?.file_type();
    if kind.is_file() {
        return Ok(());
    }
    Err(io(path)(if kind.is_dir() {
        IoError::new(ErrorKind::IsADirectory, "is a directory; name the HDF5 file in it")
    } else {
        let reason = "is not a regular file but a pipe, socket or device; save the data to a file first";
        IoError::new(ErrorKind::InvalidInput, reason)
    }))
}

impl Input {
    /// Looks at what `path` leads to; an HDF5 file is opened.
    ///
    /// # Errors
    /// When it is neither a regular file nor a directory, cannot be read, or is a damaged HDF5 file.
    pub fn open(path: &Path, backend: Backend) -> Result<Self, DataError> {
        if std::fs::metadata(path).map_err(io(path))?.is_dir() {
            return Ok(Self::Directory(Directory { path: path.to_owned() }));
        }
        let file = PlainFile::open(path)?;
        if file.hdf5 {
            return Ok(Self::Hdf5(Arc::new(Container::open(path, backend)?)));
        }
        Ok(Self::File(file))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Hdf5(container) => container.path(),
            Self::Directory(directory) => &directory.path,
            Self::File(file) => &file.path,
        }
    }

    /// As an HDF5 file.
    ///
    /// # Errors
    /// When it is not one.
    pub fn into_hdf5(self, backend: Backend) -> Result<Arc<Container>, DataError> {
        match self {
            Self::Hdf5(container) => Ok(container),
            // The words of the one who knows why not.
            other => Container::open(other.path(), backend).map(Arc::new),
        }
    }

    /// As a directory.
    ///
    /// # Errors
    /// When it is not one.
    pub fn into_directory(self, format: &'static str) -> Result<Directory, DataError> {
        match self {
            Self::Directory(directory) => Ok(directory),
            other => Err(other.not_a("a directory", format)),
        }
    }

    /// As a file that is not HDF5.
    ///
    /// # Errors
    /// When it is not one.
    pub fn into_file(self, format: &'static str) -> Result<PlainFile, DataError> {
        match self {
            Self::File(file) => Ok(file),
            other => Err(other.not_a("another kind of file", format)),
        }
    }

    fn not_a(&self, expected: &str, format: &'static str) -> DataError {
        let found = match self {
            Self::Hdf5(_) => "an HDF5 file",
            Self::Directory(_) => "a directory",
            Self::File(_) => "a file that is not HDF5",
        };
        DataError::Malformed {
            path: self.path().to_owned(),
            format,
            reason: format!("expected {expected}, found {found}"),
            hint: "leave --format out to have the format found out",
        }
    }
}

impl PlainFile {
    /// Reads the start of a regular file.
    ///
    /// # Errors
    /// When it is not a regular file or cannot be read.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        check_regular(path)?;
        let mut file = std::fs::File::open(path).map_err(io(path))?;
        let bytes = file.metadata().map_err(io(path))?.len();
        let mut head = Vec::with_capacity(HEAD_BYTES.min(bytes) as usize);
        file.by_ref().take(HEAD_BYTES).read_to_end(&mut head).map_err(io(path))?;
        let mut hdf5 = head.starts_with(&HDF5_SIGNATURE);
        let mut at = 512;
        while !hdf5 && at < bytes {
            let mut start = Vec::with_capacity(HDF5_SIGNATURE.len());
            file.seek(SeekFrom::Start(at)).map_err(io(path))?;
            file.by_ref().take(HDF5_SIGNATURE.len() as u64).read_to_end(&mut start).map_err(io(path))?;
            hdf5 = start == HDF5_SIGNATURE;
            at = at.saturating_mul(2);
        }
        Ok(Self { path: path.to_owned(), bytes, head, hdf5 })
    }

    /// Whether it begins as an HDF5 file, behind a user block or not.
    #[must_use]
    pub const fn is_hdf5(&self) -> bool {
        self.hdf5
    }

    /// What follows the last dot of its name, in lower case; empty where there is none.
    #[must_use]
    pub fn extension(&self) -> String {
        self.path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default()
    }

    /// Blake3 of all of it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn hash(&self) -> Result<String, DataError> {
        Ok(hash_file(&self.path)?.0)
    }
}

impl Directory {
    /// The path of a regular file in it, `name` written with `/`; `None` where there is none.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        let path = self.path.join(name);
        check_regular(&path).is_ok().then_some(path)
    }

    /// A text file in it; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be read, is not UTF-8, or is longer than any such file should be.
    pub fn read_text(&self, name: &str) -> Result<Option<String>, DataError> {
        let Some(path) = self.file(name) else { return Ok(None) };
        let file = std::fs::File::open(&path).map_err(io(&path))?;
        let mut text = String::new();
        let read = file.take(MAX_TEXT_BYTES).read_to_string(&mut text).map_err(io(&path))?;
        if read as u64 == MAX_TEXT_BYTES {
            let reason = format!("is longer than {MAX_TEXT_BYTES} bytes");
            return Err(io(&path)(IoError::new(ErrorKind::InvalidData, reason)));
        }
        Ok(Some(text))
    }

    /// Names of what is in it, sorted; those that are not UTF-8 are left out.
    ///
    /// # Errors
    /// When it cannot be listed, or holds more than a million entries.
    pub fn names(&self) -> Result<Vec<String>, DataError> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(io(&self.path))? {
            if names.len() >= MAX_ENTRIES {
                let reason = format!("holds more than {MAX_ENTRIES} entries; split it");
                return Err(io(&self.path)(IoError::new(ErrorKind::InvalidData, reason)));
            }
            if let Ok(name) = entry.map_err(io(&self.path))?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// Blake3 of a file and its length, read in pieces.
///
/// # Errors
/// When it is not a regular file or cannot be read.
pub fn hash_file(path: &Path) -> Result<(String, u64), DataError> {
    check_regular(path)?;
    let mut file = std::fs::File::open(path).map_err(io(path))?;
    let mut hasher = blake3::Hasher::new();
    let bytes = std::io::copy(&mut file, &mut hasher).map_err(io(path))?;
    Ok((hasher.finalize().to_hex().to_string(), bytes))
}

/// One hash for several files: of their names and hashes, in the order given.
#[must_use]
pub fn hash_of_files<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, hash) in files {
        // The lengths keep two lists from looking alike.
        for part in [name, hash] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// Whether reading it may need HDF5.
#[cfg(feature = "libhdf5")]
pub(crate) fn may_hold_hdf5(path: &Path) -> bool {
    path.is_dir() || PlainFile::open(path).is_ok_and(|file| file.hdf5)
}
