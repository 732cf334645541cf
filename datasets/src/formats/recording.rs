//! A recording: the directory that [`crate::EpisodeRecorder`] writes, one episode in each file.
//!
//! The manifest says which files there are, so that a recording of any size opens without looking into them; an episode's file is read
//! when it is asked for, and its hash is held against the manifest. A recording that was cut off reads as far as it got, with a note
//! that begins with `incomplete`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use surefoot_core::{DataError, DatasetMeta, EnvSpec, Episode, EpisodeSource};

use super::{Format, robomimic};
use crate::h5::Container;
use crate::input::{Directory, Input, hash_file, hash_of_files};
use crate::open::{Arrays, OpenOptions, Opened};
use crate::recorder::{
    HEADER, Header, MANIFEST, ManifestContent, ShardLine, check_shard, is_leftover, read_header, shard_index,
    shard_name,
};

const NAME: &str = "recording";

/// Begins the notes on a recording that was cut off.
pub(crate) const INCOMPLETE: &str = "incomplete";

/// The registry line.
pub const FORMAT: Format = Format {
    name: NAME,
    summary: "surefoot recording: a directory of ep_<i>.hdf5, crash-safe while it is written; read and written",
    sniff,
    open,
    write: None,
};

#[derive(Debug)]
struct Shard {
    index: u64,
    /// Blake3 by the manifest, or of the file.
    hash: String,
}

struct RecordingSource {
    directory: PathBuf,
    meta: DatasetMeta,
    shards: Vec<Shard>,
    options: OpenOptions,
}

fn sniff(input: &Input) -> Result<bool, DataError> {
    let Input::Directory(directory) = input else { return Ok(false) };
    Ok(directory.file(HEADER).is_some() || directory.names()?.iter().any(|n| shard_index(n).is_some()))
}

fn open(input: Input, options: &OpenOptions) -> Result<Opened, DataError> {
    let directory = input.into_directory(NAME)?;
    let options = OpenOptions { format: Some(robomimic::FORMAT.name.into()), ..options.clone() };
    let header = directory.file(HEADER).map(|path| read_header(&path)).transpose()?;
    let mut notes = Vec::new();
    let mut problems = Vec::new();
    let listed = list(&directory, header.as_ref(), &mut notes, &mut problems)?;
    let bytes = listed.values().map(|s| s.bytes).sum();
    let mut arrays = Arrays::Listed(Vec::new());
    // The first episode whose file is there tells what a row is.
    let first = listed.values().find(|s| check_shard(&directory.path, s).is_ok());
    let mut meta = match (first, &header) {
        (Some(shard), _) => {
            let opened = shard_at(&directory.path.join(&shard.file), &options)?;
            problems.extend(opened.problems);
            arrays = opened.arrays;
            opened.source.meta().clone()
        }
        (None, Some(header)) => empty(&header.spec),
        (None, None) => {
            return Err(DataError::Shape {
                path: directory.path,
                item: HEADER.into(),
                expected: "present, or episodes beside it".into(),
                found: "neither".into(),
            });
        }
    };
    if let Some(header) = header
        && meta.spec.as_ref() != Some(&header.spec)
        && let Some(shard) = first
    {
        problems.push(differs(&directory.path, shard, "env_spec", HEADER));
    }
    meta.path.clone_from(&directory.path);
    meta.format = NAME;
    meta.hash = hash_of_files(listed.values().map(|s| (s.file.as_str(), s.blake3.as_str())));
    meta.notes.extend(notes);
    let shards = listed.into_iter().map(|(index, s)| Shard { index, hash: s.blake3 }).collect();
    let source = RecordingSource { directory: directory.path, meta, shards, options };
    Ok(Opened { source: Box::new(source), bytes, arrays, problems })
}

fn empty(spec: &EnvSpec) -> DatasetMeta {
    DatasetMeta {
        env: Some(spec.name.clone()),
        contract_hash: spec.contract_hash.clone(),
        observation_keys: vec![("flat".into(), spec.observation_dim())],
        observation_dim: spec.observation_dim(),
        action_dim: spec.action_dim(),
        action_units: Some(spec.action.iter().map(|f| f.unit.clone()).collect()),
        spec: Some(spec.clone()),
        ..DatasetMeta::default()
    }
}

/// Every shard that the manifest lists or the directory holds, and what does not fit together.
fn list(
    directory: &Directory,
    header: Option<&Header>,
    notes: &mut Vec<String>,
    problems: &mut Vec<DataError>,
) -> Result<BTreeMap<u64, ShardLine>, DataError> {
    let incomplete = |what: String| format!("{INCOMPLETE}: {what}");
    let path = directory.path.join(MANIFEST);
    let content = match ManifestContent::read(&path) {
        Ok(content) => content,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            if directory.names()?.iter().any(|n| shard_index(n).is_some()) {
                notes.push(incomplete(format!(
                    "{MANIFEST} is missing; the episodes that are there were taken"
                )));
            }
            ManifestContent::default()
        }
        Err(source) => return Err(DataError::Io { path, source }),
    };
    if header.is_none() {
        notes.push(incomplete(format!("{HEADER} is missing; the first episode tells the spec")));
    }
    if let Some(line) = content.bad_lines.first() {
        let what = match content.bad_lines.len() {
            1 => format!("line {line} of {MANIFEST} is torn or damaged"),
            n => format!("{n} lines of {MANIFEST} are torn or damaged, the first is line {line}"),
        };
        notes.push(incomplete(what));
    }
    if !content.finished && path.exists() {
        notes.push(incomplete(
            "the recording was not finished: it still goes on, or the program that wrote it was killed"
                .into(),
        ));
    }
    let mut shards = content.shards;
    problems.extend(shards.values().filter_map(|s| check_shard(&directory.path, s).err()));
    let (mut unlisted, mut leftovers) = (0, 0);
    for name in directory.names()? {
        leftovers += usize::from(is_leftover(&name));
        let Some(index) = shard_index(&name).filter(|i| !shards.contains_key(i)) else { continue };
        let (blake3, bytes) = hash_file(&directory.path.join(&name))?;
        let line = ShardLine::of(&name, &Episode::default(), bytes, blake3);
        shards.insert(index, line);
        unlisted += 1;
    }
    if unlisted > 0 && path.exists() {
        notes.push(incomplete(format!("{unlisted} episodes are not listed in {MANIFEST}; they were taken")));
    }
    if leftovers > 0 {
        notes.push(incomplete(format!("{leftovers} half-written files were left out")));
    }
    if let (Some(first), Some(last)) = (shards.first_key_value(), shards.last_key_value()) {
        let gaps = last.0 - first.0 + 1 - shards.len() as u64;
        if gaps > 0 {
            notes.push(incomplete(format!("{gaps} numbers between {} and {} are missing", first.0, last.0)));
        }
    }
    Ok(shards)
}

fn shard_at(path: &Path, options: &OpenOptions) -> Result<Opened, DataError> {
    (robomimic::FORMAT.open)(Input::Hdf5(Container::open(path, options.backend)?.into()), options)
}

fn differs(directory: &Path, shard: &ShardLine, item: &str, expected: &str) -> DataError {
    DataError::Mismatch {
        path: directory.join(&shard.file),
        what: item.to_owned(),
        expected: format!("that of {expected}"),
        found: "another".into(),
    }
}

impl EpisodeSource for RecordingSource {
    fn meta(&self) -> &DatasetMeta {
        &self.meta
    }

    fn len(&self) -> usize {
        self.shards.len()
    }

    fn episode(&self, index: usize) -> Result<Episode, DataError> {
        let Some(shard) = self.shards.get(index) else {
            return Err(DataError::Shape {
                path: self.directory.clone(),
                item: "episode index".into(),
                expected: format!("fewer than {}", self.shards.len()),
                found: index.to_string(),
            });
        };
        let path = self.directory.join(shard_name(shard.index));
        let opened = shard_at(&path, &self.options)?;
        let meta = opened.source.meta();
        let differs = |what: &str, expected: String, found: String| DataError::Mismatch {
            path: path.clone(),
            what: what.to_owned(),
            expected,
            found,
        };
        if meta.hash != shard.hash {
            return Err(DataError::Malformed {
                path,
                format: NAME,
                reason: format!("its blake3 is {}, {MANIFEST} says {}", meta.hash, shard.hash),
                hint: "the file was changed or damaged after it was recorded: restore it from a copy, or remove it and its line",
            });
        }
        if opened.source.len() != 1 {
            return Err(differs("episodes in one file", "1".into(), opened.source.len().to_string()));
        }
        let rows = |m: &DatasetMeta| format!("rows of {} and {}", m.observation_dim, m.action_dim);
        if (meta.observation_dim, meta.action_dim) != (self.meta.observation_dim, self.meta.action_dim) {
            return Err(differs("observations and actions", rows(&self.meta), rows(meta)));
        }
        if meta.spec != self.meta.spec {
            return Err(differs("env_spec", "that of the recording".into(), "another".into()));
        }
        if !self.options.lenient
            && let Some(problem) = opened.problems.into_iter().next()
        {
            return Err(problem);
        }
        opened.source.episode(0)
    }
}
