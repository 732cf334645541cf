//! The crash-safe recorder: a directory with one immutable file for each episode.
//!
//! ```text
//! recording/
//!   recording.json     what all episodes have in common: schema, env_spec, env_kwargs, producer
//!   manifest.jsonl     one line for each committed episode: file, bytes, blake3, episode, steps, return, success, interventions,
//!                      source, policy_version, seed; last `{"finished":N}` when the recording was finished
//!   ep_000000.hdf5     one episode in the native layout, see [`crate::write`]
//! ```
//!
//! A shard is written under another name, read back and compared bit for bit, flushed to the disk, given its name, and the
//! directory flushed; then its line is appended to the manifest and flushed. When [`EpisodeRecorder::record`] returns, the episode
//! survives a killed program and a power cut. Nothing that was committed is ever opened for writing again.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{File, TryLockError};
use std::io::{Error as IoError, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use surefoot_core::{DataError, EnvSpec, Episode, EpisodeSink};

mod manifest;
mod store;

pub use manifest::ShardLine;
pub(crate) use manifest::{MANIFEST, ManifestContent, shard_index, shard_name};
use manifest::{Manifest, manifest_text};

use crate::durable::{put, sync_directory};
use crate::formats::robomimic;
use crate::input::{Directory, hash_file};
use crate::open::{OpenOptions, open_with};
use crate::writer::{Recording, write_numbered};

/// The version of the layout.
pub const RECORDING_SCHEMA: &str = "surefoot-recording/1";

/// Name of the file that all shards of a recording have in common.
pub(crate) const HEADER: &str = "recording.json";

/// What `recording.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) schema: String,
    pub(crate) spec: EnvSpec,
    pub(crate) env_kwargs: serde_json::Value,
    pub(crate) producer: String,
}

/// What was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The shard.
    pub file: PathBuf,
    /// Number of the episode in the recording, from 0.
    pub index: usize,
}

/// What a recorder found to mend when it opened an existing recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Half-written files that were removed.
    pub removed: Vec<String>,
    /// Whole shards that the manifest did not list yet: they were read, and listed.
    pub listed: Vec<String>,
    /// Lines of the manifest that were torn or damaged and were cut out.
    pub cut_lines: usize,
}

impl Recovery {
    /// Whether there was nothing to mend.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.listed.is_empty() && self.cut_lines == 0
    }
}

/// Writes episodes as they end, each of them safe from then on.
#[derive(Debug)]
pub struct EpisodeRecorder {
    directory: PathBuf,
    recording: Recording,
    manifest: Manifest,
    /// Number of the next shard.
    next: u64,
    /// Numbers of the shards, in the order in which they were recorded.
    shards: Vec<u64>,
    recovery: Recovery,
    /// Locked for as long as this recorder lives; the system unlocks it when the program dies.
    _lock: File,
}

fn io(path: &Path) -> impl Fn(IoError) -> DataError {
    move |source| DataError::Io { path: path.to_owned(), source }
}

impl EpisodeRecorder {
    /// Makes a new recording in `directory`, or goes on with the one that is there: removes what a crash left half-written, checks and
    /// lists whole shards that the manifest does not know yet, and numbers on from the last.
    ///
    /// # Errors
    /// When the directory holds something else, a recording of another spec, or one that another recorder is writing to; when the
    /// manifest lists shards that are gone or of another length; when an unlisted shard does not read; when `recording` has
    /// masks (episodes are still to come); when the system refuses.
    pub fn create(directory: &Path, recording: Recording) -> Result<Self, DataError> {
        if let Some((mask, _)) = recording.masks.first() {
            return Err(DataError::Shape {
                path: directory.to_owned(),
                item: format!("mask/{mask}"),
                expected: "no masks in a recording that grows".into(),
                found: "one".into(),
            });
        }
        std::fs::create_dir_all(directory).map_err(io(directory))?;
        let header = directory.join(HEADER);
        if !header.exists() {
            start(directory, &header, &recording)?;
        }
        let lock = lock(&header)?;
        let present = read_header(&header)?;
        check_same(directory, &present.spec, &recording.spec)?;
        let mut recovery = Recovery::default();
        let shards = recover(directory, &recording, &mut recovery)?;
        let manifest = Manifest::open(&directory.join(MANIFEST))?;
        sync_directory(directory)?;
        let next = shards.last_key_value().map_or(0, |(index, _)| index + 1);
        Ok(Self {
            directory: directory.to_owned(),
            recording,
            manifest,
            next,
            shards: shards.into_keys().collect(),
            recovery,
            _lock: lock,
        })
    }

    /// Writes an episode as a shard of its own. When this returns, the episode is on the disk.
    ///
    /// # Errors
    /// When it does not fit the spec or the system refuses, a full disk for example: the episodes before it are whole, nothing of this
    /// one is left behind, and the next may succeed.
    pub fn record(&mut self, episode: &Episode) -> Result<Recorded, DataError> {
        // What an earlier failure could not remove keeps its number.
        while self.directory.join(shard_name(self.next)).exists() {
            self.next += 1;
        }
        let name = shard_name(self.next);
        let file = self.directory.join(&name);
        let written = write_numbered(&file, &self.recording, episode, self.next)?;
        if let Err(error) = self.manifest.append(ShardLine::written(&name, episode, &written)) {
            // What was refused shall not turn up later.
            let _ = std::fs::remove_file(&file).and_then(|()| File::open(&self.directory)?.sync_all());
            return Err(error);
        }
        self.shards.push(self.next);
        self.next += 1;
        Ok(Recorded { file, index: self.shards.len() - 1 })
    }

    /// Notes in the manifest that no episode is missing. Without it the recording reads as incomplete. Recording may go on later.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn finish(&mut self) -> Result<(), DataError> {
        self.manifest.finish(self.shards.len())
    }

    /// Where it records.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }
    /// Episodes in the recording.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.shards.len()
    }
    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }
    /// What was mended when it was opened.
    #[must_use]
    pub const fn recovery(&self) -> &Recovery {
        &self.recovery
    }
}

impl EpisodeSink for EpisodeRecorder {
    fn record(&mut self, episode: &Episode) -> Result<(), DataError> {
        Self::record(self, episode).map(|_| ())
    }
    fn finish(&mut self) -> Result<(), DataError> {
        Self::finish(self)
    }
}

/// Makes the header in a directory that holds nothing but what an earlier attempt left half-written.
fn start(directory: &Path, header: &Path, recording: &Recording) -> Result<(), DataError> {
    let names = Directory { path: directory.to_owned() }.names()?;
    if let Some(other) = names.iter().find(|name| !is_leftover(name) && *name != HEADER) {
        let reason = format!("is not empty and no recording: it holds {other}; name a new directory");
        return Err(io(directory)(IoError::new(ErrorKind::AlreadyExists, reason)));
    }
    let Recording { spec, env_kwargs, producer, masks: _, observation_keys: _, import_hash: _, stated: _ } =
        recording;
    let content = Header {
        schema: RECORDING_SCHEMA.into(),
        spec: spec.clone(),
        env_kwargs: env_kwargs.clone(),
        producer: producer.clone(),
    };
    let mut text = serde_json::to_vec_pretty(&content).map_err(|e| io(header)(e.into()))?;
    text.push(b'\n');
    match put(header, &text, false, &|_| Ok(())) {
        // Another recorder was faster: the lock decides.
        Err(DataError::Io { source, .. }) if source.kind() == ErrorKind::AlreadyExists => {}
        other => other?,
    }
    // The directory's own name is to survive, too.
    sync_directory(directory.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

fn lock(header: &Path) -> Result<File, DataError> {
    let file = File::open(header).map_err(io(header))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let reason = "another recorder is writing to this recording; stop it, or name another directory";
            Err(io(header)(IoError::new(ErrorKind::ResourceBusy, reason)))
        }
        // A file system without locks keeps nobody from recording.
        Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(e)) => Err(io(header)(e)),
    }
}

pub(crate) fn read_header(path: &Path) -> Result<Header, DataError> {
    let text = std::fs::read(path).map_err(io(path))?;
    let malformed = |reason: String| DataError::Malformed {
        path: path.to_owned(),
        format: "recording",
        reason,
        hint: "the episodes beside it are whole files: open them one by one, or restore recording.json",
    };
    let header: Header = serde_json::from_slice(&text)
        .map_err(|e| malformed(format!("it is not the JSON of a header: {e}")))?;
    if header.schema != RECORDING_SCHEMA {
        return Err(malformed(format!("its schema is {}, expected {RECORDING_SCHEMA}", header.schema)));
    }
    Ok(header)
}

fn check_same(directory: &Path, present: &EnvSpec, ours: &EnvSpec) -> Result<(), DataError> {
    if present == ours {
        return Ok(());
    }
    let difference = present.first_difference(ours);
    let (what, expected, found) = difference.map_or_else(
        || {
            let line =
                |s: &EnvSpec| format!("{}, {} steps, rewards {:?}", s.name, s.max_steps, s.reward_range);
            ("environment".to_owned(), line(present), line(ours))
        },
        |d| (d.what, d.expected, d.found),
    );
    Err(DataError::Mismatch {
        path: directory.to_owned(),
        what: format!("this recording was begun with another {what}"),
        expected,
        found,
    })
}

/// Whether a file is one that [`put`] had not given its name yet.
pub(crate) fn is_leftover(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".tmp")
}

/// Brings directory and manifest together again after a crash.
fn recover(
    directory: &Path,
    recording: &Recording,
    recovery: &mut Recovery,
) -> Result<BTreeMap<u64, ShardLine>, DataError> {
    let mut present = Vec::new();
    for name in (Directory { path: directory.to_owned() }).names()? {
        if is_leftover(&name) {
            let path = directory.join(&name);
            std::fs::remove_file(&path).map_err(io(&path))?;
            recovery.removed.push(name);
        } else if let Some(index) = shard_index(&name) {
            present.push((index, name));
        }
    }
    let path = directory.join(MANIFEST);
    let content = match ManifestContent::read(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => ManifestContent::default(),
        other => other.map_err(io(&path))?,
    };
    let mut shards = content.shards;
    for shard in shards.values() {
        check_shard(directory, shard)?;
    }
    recovery.cut_lines = content.bad_lines.len();
    for (index, name) in present {
        if let Entry::Vacant(entry) = shards.entry(index) {
            entry.insert(read_shard(directory, &name, recording)?);
            recovery.listed.push(name);
        }
    }
    if recovery.cut_lines > 0 || !recovery.listed.is_empty() {
        let text = manifest_text(shards.values()).map_err(io(&path))?;
        put(&path, &text, true, &|_| Ok(()))?;
    }
    Ok(shards)
}

/// Whether the file that a line names is there, and as long as it says.
pub(crate) fn check_shard(directory: &Path, shard: &ShardLine) -> Result<(), DataError> {
    let path = directory.join(&shard.file);
    let (reason, hint) = match std::fs::metadata(&path) {
        Ok(m) if m.is_file() && m.len() == shard.bytes => return Ok(()),
        Ok(m) => (
            format!("{MANIFEST} says that it has {} bytes, it has {}", shard.bytes, m.len()),
            "the file was changed or damaged after it was recorded: restore it from a copy, or remove it and its line",
        ),
        Err(e) if e.kind() == ErrorKind::NotFound => (
            format!("{MANIFEST} lists it, and it is not there"),
            "restore the file, or remove its line from manifest.jsonl if the episode was removed on purpose",
        ),
        Err(e) => return Err(io(&path)(e)),
    };
    Err(DataError::Malformed { path, format: "recording", reason, hint })
}

/// Reads a shard that the manifest does not list, all of it.
fn read_shard(directory: &Path, name: &str, recording: &Recording) -> Result<ShardLine, DataError> {
    let path = directory.join(name);
    let options = OpenOptions { format: Some(robomimic::FORMAT.name.into()), ..OpenOptions::default() };
    let source = open_with(&path, &options)?;
    if source.len() != 1 {
        let (expected, found) = ("one episode".into(), source.len().to_string());
        return Err(DataError::Shape { path, item: "data".into(), expected, found });
    }
    let spec = source.meta().spec.as_ref().unwrap_or(&recording.spec);
    check_same(&path, &recording.spec, spec)?;
    let episode = source.episode(0)?;
    let (hash, bytes) = hash_file(&path)?;
    Ok(ShardLine::of(name, &episode, bytes, hash))
}
