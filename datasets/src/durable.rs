//! Files and directories that appear under their names only when they are whole and on the disk.

use std::io::{Error as IoError, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use surefoot_core::DataError;

pub(crate) fn exists(path: &Path) -> DataError {
    let source =
        IoError::new(ErrorKind::AlreadyExists, "there is a file of this name already; it was left as it is");
    DataError::Io { path: path.to_owned(), source }
}

/// Tells the temporary files of concurrent writers in one process apart.
static WRITES: AtomicU64 = AtomicU64::new(0);

/// The directory that `path` is in, and its name there.
fn directory_and_name(path: &Path) -> Result<(&Path, String), DataError> {
    let directory = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let Some(name) = path.file_name() else {
        let source = IoError::new(ErrorKind::InvalidInput, "this is not the name of a file");
        return Err(DataError::Io { path: path.to_owned(), source });
    };
    Ok((directory, name.to_string_lossy().into_owned()))
}

/// The directory that `path` is in, made where it is not there, and a name beside it that nobody else uses.
pub(crate) fn beside(path: &Path) -> Result<(&Path, PathBuf), DataError> {
    let (directory, name) = directory_and_name(path)?;
    std::fs::create_dir_all(directory)
        .map_err(|source| DataError::Io { path: directory.to_owned(), source })?;
    let unique = WRITES.fetch_add(1, Ordering::Relaxed);
    let name = format!(".{name}.{}-{unique}.tmp", std::process::id());
    Ok((directory, directory.join(name)))
}

/// A file on the disk of `path` that is gone when it is dropped. It has no name for as long as the system allows that (a name is removed
/// at once where open files can be), so that a program that is killed leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Unnamed {
    pub file: std::fs::File,
    /// Where it is still to be removed.
    named: Option<PathBuf>,
}

impl Unnamed {
    pub(crate) fn beside(path: &Path) -> Result<Self, DataError> {
        let io = |source| DataError::Io { path: path.to_owned(), source };
        let (_, temporary) = beside(path)?;
        let file = std::fs::File::options().read(true).write(true).create_new(true).open(&temporary);
        let file = file.map_err(io)?;
        let named = std::fs::remove_file(&temporary).is_err().then_some(temporary);
        Ok(Self { file, named })
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if let Some(path) = &self.named {
            // Nobody is left to tell.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Has a new directory written by `write`, which also checks it: beside `path`, flushed, renamed. Whatever fails, nothing is left behind.
pub(crate) fn put_directory(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    if path.exists() {
        return Err(exists(path));
    }
    let (directory, temporary) = beside(path)?;
    let attempt = || -> Result<(), DataError> {
        std::fs::create_dir(&temporary).map_err(io)?;
        write(&temporary)?;
        sync_all(&temporary)?;
        std::fs::rename(&temporary, path).map_err(io)?;
        sync_directory(directory)
    };
    let result = attempt();
    if result.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_dir_all(&temporary);
    }
    result
}

/// Flushes a directory with all that is in it.
fn sync_all(directory: &Path) -> Result<(), DataError> {
    let io = |source| DataError::Io { path: directory.to_owned(), source };
    for entry in std::fs::read_dir(directory).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.is_dir() {
            sync_all(&path)?;
        } else {
            // Flushing through another handle flushes the file all the same.
            std::fs::File::options().append(true).open(&path).and_then(|f| f.sync_all()).map_err(io)?;
        }
    }
    sync_directory(directory)
}

/// Writes a file in a directory that is being put together, with the directories that it is in.
pub(crate) fn write_in(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), DataError> {
    let file = directory.join(name);
    let io = |source| DataError::Io { path: file.clone(), source };
    std::fs::create_dir_all(file.parent().unwrap_or(directory)).map_err(io)?;
    std::fs::write(&file, bytes).map_err(io)
}

/// Writes beside `path`, checks, flushes, renames. Whatever fails, nothing is left behind.
pub(crate) fn put(
    path: &Path,
    bytes: &[u8],
    replace: bool,
    verify: &dyn Fn(&Path) -> Result<(), DataError>,
) -> Result<(), DataError> {
    put_with(path, replace, |temporary| {
        std::fs::write(temporary, bytes).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
        verify(temporary)
    })
}

/// As [`put`], where `write` writes the file beside and checks it.
pub(crate) fn put_with(
    path: &Path,
    replace: bool,
    write: impl FnOnce(&Path) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let (directory, temporary) = beside(path)?;
    let mut linked = false;
    let attempt = || -> Result<(), DataError> {
        write(&temporary)?;
        // Flushing through another handle flushes the file all the same.
        std::fs::File::options().append(true).open(&temporary).and_then(|f| f.sync_all()).map_err(io)?;
        if replace {
            std::fs::rename(&temporary, path).map_err(io)?;
        } else {
            // A link, unlike a rename, cannot replace a file that appeared meanwhile. Some file systems have none.
            match std::fs::hard_link(&temporary, path) {
                Ok(()) => {
                    linked = true;
                    std::fs::remove_file(&temporary).map_err(io)?;
                }
                Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(exists(path)),
                Err(_) if !path.exists() => std::fs::rename(&temporary, path).map_err(io)?,
                Err(_) => return Err(exists(path)),
            }
        }
        sync_directory(directory)
    };
    let result = attempt();
    if result.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&temporary);
        if linked {
            let _ = std::fs::remove_file(path);
        }
    }
    result
}

/// Flushes the names in a directory to the disk.
pub(crate) fn sync_directory(directory: &Path) -> Result<(), DataError> {
    let io = |source| DataError::Io { path: directory.to_owned(), source };
    std::fs::File::open(directory).and_then(|d| d.sync_all()).map_err(io)
}

/// Files and directories beside `path` that a program left which was killed while it wrote `path`. One that is still at work has such,
/// too.
#[must_use]
pub fn leftovers(path: &Path) -> Vec<PathBuf> {
    let Ok((directory, name)) = directory_and_name(path) else { return Vec::new() };
    let begin = format!(".{name}.");
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let is_one = |name: &str| {
        let middle = name.strip_prefix(begin.as_str()).and_then(|rest| rest.strip_suffix(".tmp"));
        middle.and_then(|m| m.split_once('-')).is_some_and(|(process, unique)| {
            [process, unique].iter().all(|part| part.bytes().all(|b| b.is_ascii_digit()) && !part.is_empty())
        })
    };
    let mut found: Vec<PathBuf> =
        entries.filter(|e| is_one(&e.file_name().to_string_lossy())).map(|e| e.path()).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_writer_left_is_found_by_the_name_it_was_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.hdf5");
        let (_, left) = beside(&path).unwrap();
        std::fs::write(&left, "half").unwrap();
        for other in [".out.hdf5.tmp", ".out.hdf5.12-x.tmp", ".other.hdf5.12-3.tmp", ".out.hdf5.12-3.tmp.gz"]
        {
            std::fs::write(directory.path().join(other), "").unwrap();
        }
        assert_eq!(leftovers(&path), [left]);
        assert!(leftovers(&directory.path().join("new")).is_empty());
        assert!(leftovers(&directory.path().join("not-there/new")).is_empty());
        assert!(!directory.path().join("not-there").exists(), "looking makes no directory");
    }
}
