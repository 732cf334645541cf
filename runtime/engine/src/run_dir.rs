//! The run directory: everything about a run, never overwritten, used by one process at a time.
//!
//! `<root>/<name>-s<seed>-<utc>/{config.toml, run.json, results.json, metrics.jsonl, log.jsonl, tb/, checkpoints/,
//! films/, report.html}`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use surefoot_core::clock::unix_time;

use crate::EngineError;

/// Where a run came from, as it stands in `run.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunInfo {
    /// Run name.
    pub name: String,
    /// Run seed.
    pub seed: u64,
    /// When it began, UTC.
    pub started: String,
    /// Version of this program.
    pub version: String,
    /// Commit it was built from, where known.
    pub git: Option<String>,
    /// Names and versions of what the results depend on (rustc, candle, rapier3d, …).
    pub versions: BTreeMap<String, String>,
    /// Machine: operating system, processor, cores.
    pub host: String,
    /// The command line.
    pub argv: Vec<String>,
    /// Dataset files and their hashes.
    pub datasets: BTreeMap<String, String>,
    /// Hash of the robot contract, where a robot is behind the task.
    pub contract_hash: Option<String>,
    /// blake3 of `config.toml`: results mean something only beside the settings they came from.
    pub config_blake3: String,
}

/// An open run directory. Holds its lock until dropped.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    _lock: File,
}

impl RunDir {
    /// Makes `<root>/<name>-s<seed>-<utc>` with `config.toml` and `run.json`; fills in `started`. Runs that begin in the same
    /// second get a number added.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(root: &Path, config: &str, mut info: RunInfo) -> Result<Self, EngineError> {
        let now = unix_time();
        info.started = utc(now);
        let compact: String = info.started.chars().filter(|c| !matches!(c, '-' | ':')).collect();
        let name = format!("{}-s{}-{compact}", info.name, info.seed);
        let mut number = 1;
        loop {
            let suffix = if number == 1 { String::new() } else { format!("-{number}") };
            match Self::create_at(&root.join(format!("{name}{suffix}")), config, &info) {
                Err(EngineError::RunExists { .. }) if number < 1000 => number += 1,
                made => return made,
            }
        }
    }

    /// Makes a run directory of exactly this path; `started` is filled in where it is empty, `config_blake3` always.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_at(path: &Path, config: &str, info: &RunInfo) -> Result<Self, EngineError> {
        if let Some(root) = path.parent() {
            std::fs::create_dir_all(root).map_err(EngineError::io("create", root))?;
        }
        std::fs::create_dir(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => EngineError::RunExists { path: path.to_owned() },
            _ => EngineError::io("create", path)(e),
        })?;
        for sub in ["checkpoints", "tb", "films"] {
            let sub = path.join(sub);
            std::fs::create_dir(&sub).map_err(EngineError::io("create", &sub))?;
        }
        let run = Self { _lock: lock(path)?, path: path.to_owned() };
        run.write_atomic("config.toml", config.as_bytes())?;
        let mut info = info.clone();
        if info.started.is_empty() {
            info.started = utc(unix_time());
        }
        info.config_blake3 = blake3::hash(config.as_bytes()).to_hex().to_string();
        run.write_json("run.json", &info)?;
        Ok(run)
    }

    /// Opens a run to resume it.
    ///
    /// # Errors
    /// When it is no run directory, or another process works in it.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        read_info(path)?;
        Ok(Self { _lock: lock(path)?, path: path.to_owned() })
    }

    /// Removes a run that never began: one without a checkpoint. Anything else stays.
    pub(crate) fn discard_if_unused(path: &Path) {
        let empty = |dir: &str| std::fs::read_dir(path.join(dir)).is_ok_and(|mut d| d.next().is_none());
        if empty("checkpoints") {
            // The caller reports why the run could not begin; an empty directory left over is no second error.
            let _ = std::fs::remove_dir_all(path);
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file of the run so that it is there whole or not at all.
    ///
    /// # Errors
    /// What the system says.
    pub fn write_atomic(&self, name: &str, bytes: &[u8]) -> Result<(), EngineError> {
        write_atomic(&self.path.join(name), bytes)
    }

    /// Writes a value as indented JSON.
    ///
    /// # Errors
    /// What the system says.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), EngineError> {
        let path = self.path.join(name);
        let mut bytes = serde_json::to_vec_pretty(value)
            .map_err(|e| EngineError::io("encode", &path)(std::io::Error::other(e)))?;
        bytes.push(b'\n');
        write_atomic(&path, &bytes)
    }

    /// Adds a line to `log.jsonl`, with the time.
    ///
    /// # Errors
    /// What the system says.
    pub fn log(&self, value: &impl Serialize) -> Result<(), EngineError> {
        let path = self.path.join("log.jsonl");
        let line = serde_json::json!({ "utc": utc(unix_time()), "event": value }).to_string() + "\n";
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(EngineError::io("open", &path))?;
        file.write_all(line.as_bytes()).map_err(EngineError::io("write", &path))
    }
}

/// Reads a run's `run.json`.
///
/// # Errors
/// When it is missing or malformed.
pub fn read_info(run: &Path) -> Result<RunInfo, EngineError> {
    read_json(&run.join("run.json"), "a run directory with run.json")
}

/// Reads a run's `config.toml`, as text.
///
/// # Errors
/// When it is missing, or is not the one that the run began with.
pub fn read_config(run: &Path) -> Result<String, EngineError> {
    let path = run.join("config.toml");
    let text = std::fs::read_to_string(&path).map_err(EngineError::io("read", &path))?;
    let expected = read_info(run)?.config_blake3;
    let found = blake3::hash(text.as_bytes()).to_hex().to_string();
    if expected == found { Ok(text) } else { Err(EngineError::ConfigChanged { path, expected, found }) }
}

/// Reads a JSON file that should hold `expected`.
///
/// # Errors
/// When it cannot be read or is something else.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path, expected: &str) -> Result<T, EngineError> {
    let bytes = std::fs::read(path).map_err(EngineError::io("read", path))?;
    serde_json::from_slice(&bytes).map_err(|e| EngineError::RunDamaged {
        path: path.to_owned(),
        what: "content".into(),
        expected: expected.into(),
        found: e.to_string(),
    })
}

fn lock(run: &Path) -> Result<File, EngineError> {
    let path = run.join("run.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(EngineError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(EngineError::Locked { path: run.to_owned() }),
        Err(TryLockError::Error(e)) => Err(EngineError::io("lock", &path)(e)),
    }
}

pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
    let mut file = File::create(path).map_err(EngineError::io("create", path))?;
    file.write_all(bytes).map_err(EngineError::io("write", path))?;
    file.sync_all().map_err(EngineError::io("write", path))
}

pub(crate) fn sync_dir(path: &Path) -> Result<(), EngineError> {
    File::open(path).and_then(|d| d.sync_all()).map_err(EngineError::io("sync", path))
}

/// Writes a file whole, in place of one that may be there: a reader finds the old one or the new one.
///
/// # Errors
/// When the system refuses.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let written = write_synced(&temporary, bytes)
        .and_then(|()| std::fs::rename(&temporary, path).map_err(EngineError::io("rename to", path)));
    if written.is_err() {
        // The old file stays; what matters is the error that is returned.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// `2026-02-03T04:05:06Z`.
fn utc(since_epoch: Duration) -> String {
    let secs = since_epoch.as_secs();
    let (days, day_secs) = (secs / 86_400, secs % 86_400);
    // Civil date from days: eras of 400 years beginning on 1 March, so that the leap day is the last day of a year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (day_secs / 3_600, day_secs / 60 % 60, day_secs % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        let at = |secs| utc(Duration::from_secs(secs));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(951_868_800), "2000-03-01T00:00:00Z");
        assert_eq!(at(1_798_761_599), "2026-12-31T23:59:59Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn a_run_is_never_overwritten_and_has_one_owner() {
        let root = tempfile::tempdir().unwrap();
        let info = RunInfo { name: "push".into(), seed: 3, ..RunInfo::default() };
        let run = RunDir::create(root.path(), "seed = 3\n", info.clone()).unwrap();
        let name = run.path().file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with("push-s3-2") && name.ends_with('Z') && !name.contains(':'), "{name}");
        let again = RunDir::create_at(run.path(), "seed = 4\n", &info).unwrap_err();
        assert!(matches!(again, EngineError::RunExists { .. }), "{again}");
        assert_eq!(read_config(run.path()).unwrap(), "seed = 3\n");
        let second = RunDir::open(run.path()).unwrap_err();
        assert!(matches!(second, EngineError::Locked { .. }), "{second}");
        let path = run.path().to_owned();
        drop(run);
        assert_eq!(read_info(RunDir::open(&path).unwrap().path()).unwrap().seed, 3);
        assert!(RunDir::open(root.path()).unwrap_err().to_string().contains("run.json"));
    }
}
