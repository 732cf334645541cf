//! Files and directories that appear under their names only when they are whole and on the disk.

use std::io::{Error as IoError, ErrorKind, Write};
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

/// The directory that `path` is in, and a name beside it that nobody else uses.
fn beside(path: &Path) -> Result<(&Path, PathBuf), DataError> {
    let directory = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let Some(name) = path.file_name() else {
        let source = IoError::new(ErrorKind::InvalidInput, "this is not the name of a file");
        return Err(DataError::Io { path: path.to_owned(), source });
    };
    let unique = WRITES.fetch_add(1, Ordering::Relaxed);
    let name = format!(".{}.{}-{unique}.tmp", name.to_string_lossy(), std::process::id());
    Ok((directory, directory.join(name)))
}

/// Writes a new directory of files, whose names may lead into directories in it: beside `path`, checked, flushed, renamed. Whatever fails,
/// nothing is left behind.
pub(crate) fn put_directory(
    path: &Path,
    files: &[(&str, &[u8])],
    verify: &dyn Fn(&Path) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    if path.exists() {
        return Err(exists(path));
    }
    let (directory, temporary) = beside(path)?;
    let attempt = || -> Result<(), DataError> {
        for (name, bytes) in files {
            let file = temporary.join(name);
            let parent = file.parent().unwrap_or(&temporary);
            std::fs::create_dir_all(parent).map_err(io)?;
            let mut file = std::fs::File::create(&file).map_err(io)?;
            file.write_all(bytes).map_err(io)?;
            file.sync_all().map_err(io)?;
            sync_directory(parent)?;
        }
        verify(&temporary)?;
        sync_directory(&temporary)?;
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
