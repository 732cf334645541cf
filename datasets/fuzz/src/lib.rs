//! What the fuzz targets share: bytes as a file, and reading all that can be read of it.

use std::ops::ControlFlow;
use std::path::Path;

use surefoot_datasets::streams::{LogOptions, open_log};
use surefoot_datasets::{OpenOptions, info, open_with, verify};

/// Runs `read` on a file of these bytes. With `/dev/shm`, no disk is written to.
pub fn with_file(name: &str, bytes: &[u8], read: impl FnOnce(&Path)) {
    let shm = Path::new("/dev/shm");
    let directory = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() };
    let directory = directory.expect("a temporary directory");
    let path = directory.path().join(name);
    std::fs::create_dir_all(path.parent().expect("a name has a directory")).expect("a directory");
    std::fs::write(&path, bytes).expect("room for a file");
    read(&path);
}

/// Opens a dataset and reads every episode.
pub fn read_dataset(path: &Path) {
    let options = OpenOptions { lenient: true, ..OpenOptions::default() };
    let _ = info(path, &options);
    let _ = verify(path, &OpenOptions::default());
    if let Ok(source) = open_with(path, &options) {
        for i in 0..source.len() {
            let _ = source.episode(i);
        }
    }
}

/// Opens a log and decodes every message.
pub fn read_log(path: &Path) {
    let Ok(log) = open_log(path, &LogOptions::default()) else { return };
    let _ = log.topics();
    let _ = log.read(&|_| true, &mut |message| {
        let _ = message.with_value(|value| value.leaves(&mut |_, _| {}));
        Ok(ControlFlow::Continue(()))
    });
}

/// libFuzzer aborts at every panic, also at those inside the HDF5 and parquet libraries that surefoot catches. After this, only what nobody catches aborts.
pub fn allow_caught_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|_| {})));
}
