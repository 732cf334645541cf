//! Several files as one dataset: a directory of HDF5 files, or a list of files of any format.
//!
//! All must be of one format and agree in rows, units, spec and environment. Opening looks into each file once and keeps what it says of
//! itself; the files themselves are opened again when their episodes are asked for, and a bounded number of bytes stays open.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use surefoot_core::{DataError, DatasetMeta, Episode, EpisodeSource};

use super::Format;
use crate::input::{Input, hash_of_files};
use crate::open::{OpenOptions, Opened, open_any};

const NAME: &str = "shards";

/// The registry line.
pub const FORMAT: Format = Format {
    name: NAME,
    summary: "a directory of HDF5 files of one format, as one dataset in the order of their names",
    sniff,
    open,
    write: None,
};

/// Open files are kept while they are together no longer than this; one is always kept.
const OPEN_BYTES: u64 = 256 << 20;

/// Different notes that are passed on at most: every file may have its own.
const MAX_NOTES: usize = 32;

/// What a file said of itself.
struct Shard {
    path: PathBuf,
    /// Its episodes in the whole.
    episodes: Range<usize>,
}

/// What opening a file once tells.
struct Header {
    meta: DatasetMeta,
    episodes: usize,
    bytes: u64,
    problems: Vec<DataError>,
}

struct Shards {
    meta: DatasetMeta,
    shards: Vec<Shard>,
    options: OpenOptions,
    /// The most recently used last.
    open: Mutex<Vec<(usize, Arc<Opened>)>>,
}

fn is_hdf5_name(name: &str) -> bool {
    let extension = name.rsplit_once('.').map_or("", |(_, e)| e).to_lowercase();
    !name.starts_with('.') && ["hdf5", "h5"].contains(&extension.as_str())
}

fn sniff(input: &Input) -> Result<bool, DataError> {
    let Input::Directory(directory) = input else { return Ok(false) };
    Ok(directory.names()?.iter().any(|name| is_hdf5_name(name) && directory.file(name).is_some()))
}

fn open(input: Input, options: &OpenOptions) -> Result<Opened, DataError> {
    let directory = input.into_directory(NAME)?;
    let mut names = directory.names()?;
    names.retain(|name| is_hdf5_name(name) && directory.file(name).is_some());
    names.sort_by_cached_key(|name| natural(name));
    let files: Vec<PathBuf> = names.iter().map(|name| directory.path.join(name)).collect();
    // The name of this format says nothing of the files.
    let options = OpenOptions { format: None, ..options.clone() };
    open_list(&directory.path, &files, &options)
}

/// Names in the order of the numbers in them: `part_2` before `part_10`.
pub(crate) fn natural(name: &str) -> Vec<(String, u128)> {
    let mut parts = Vec::new();
    let (mut text, mut digits) = (String::new(), String::new());
    for c in name.chars().chain(std::iter::once('\0')) {
        if c.is_ascii_digit() && digits.len() < 38 {
            digits.push(c);
            continue;
        }
        if !digits.is_empty() {
            parts.push((std::mem::take(&mut text), digits.parse().unwrap_or(u128::MAX)));
            digits.clear();
        }
        text.push(c);
    }
    parts.push((text, 0));
    parts
}

pub(crate) fn open_list(path: &Path, files: &[PathBuf], options: &OpenOptions) -> Result<Opened, DataError> {
    let headers: Vec<Result<Header, DataError>> = files
        .par_iter()
        .map(|file| {
            let opened = open_any(file, options)?;
            let (meta, episodes) = (opened.source.meta().clone(), opened.source.len());
            Ok(Header { meta, episodes, bytes: opened.bytes, problems: opened.problems })
        })
        .collect();
    let mut shards = Vec::with_capacity(files.len());
    let mut hashes = Vec::with_capacity(files.len());
    let mut meta: Option<DatasetMeta> = None;
    let mut notes: Vec<(String, usize)> = Vec::new();
    let (mut problems, mut bytes, mut start, mut unsaid) = (Vec::new(), 0, 0, 0);
    for (file, header) in files.iter().zip(headers) {
        let Header { meta: found, episodes, bytes: length, problems: more } = header?;
        for note in &found.notes {
            match notes.iter().position(|(n, _)| n == note) {
                Some(at) => notes[at].1 += 1,
                None if notes.len() < MAX_NOTES => notes.push((note.clone(), 1)),
                None => unsaid += 1,
            }
        }
        let whole = meta.get_or_insert_with(|| DatasetMeta { masks: Vec::new(), ..found.clone() });
        check_same(whole, &found)?;
        for (mask, members) in found.masks {
            let members = members.into_iter().map(|i| i + start);
            match whole.masks.iter_mut().find(|(name, _)| *name == mask) {
                Some((_, all)) => all.extend(members),
                None => whole.masks.push((mask, members.collect())),
            }
        }
        hashes.push(found.hash);
        problems.extend(more);
        bytes += length;
        shards.push(Shard { path: file.clone(), episodes: start..start + episodes });
        start += episodes;
    }
    let Some(mut meta) = meta else {
        return Err(DataError::Shape {
            path: path.to_owned(),
            item: "files".into(),
            expected: "at least one".into(),
            found: "none".into(),
        });
    };
    meta.path = path.to_owned();
    meta.hash = hash_of_files(files.iter().zip(&hashes).map(|(file, hash)| (file_name(file), hash.as_str())));
    let of = files.len();
    let told = |(note, n)| if n == of { note } else { format!("{note} ({n} of {of} files)") };
    meta.notes = notes.into_iter().map(told).collect();
    if unsaid > 0 {
        meta.notes.push(format!("{unsaid} more notes on single files; open them one by one to see them"));
    }
    let first = Arc::new(open_any(&shards[0].path, options)?);
    let arrays = first.arrays.clone();
    let source = Shards { meta, shards, options: options.clone(), open: Mutex::new(vec![(0, first)]) };
    Ok(Opened { source: Box::new(source), bytes, arrays, problems })
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|n| n.to_str()).unwrap_or_default()
}

/// What all files of a dataset must agree in.
fn check_same(first: &DatasetMeta, found: &DatasetMeta) -> Result<(), DataError> {
    fn keys(m: &DatasetMeta) -> String {
        let keys: Vec<String> = m.observation_keys.iter().map(|(k, w)| format!("{k} [{w}]")).collect();
        keys.join(", ")
    }
    let optional = |o: &Option<String>| o.clone().unwrap_or_else(|| "not stated".into());
    let units =
        |m: &DatasetMeta| m.action_units.as_ref().map_or_else(|| "not stated".into(), |u| u.join(", "));
    let lines = |m: &DatasetMeta| {
        [
            ("format", m.format.to_owned()),
            ("observation keys", keys(m)),
            ("action dimension", m.action_dim.to_string()),
            ("action units", units(m)),
            ("environment", optional(&m.env)),
            ("robot contract", optional(&m.contract_hash)),
        ]
    };
    let mismatch = |what: &str, expected: String, found_there: String| DataError::Mismatch {
        path: found.path.clone(),
        what: format!("{what} (files of one dataset must agree)"),
        expected,
        found: found_there,
    };
    for ((what, expected), (_, there)) in lines(first).into_iter().zip(lines(found)) {
        if expected != there {
            return Err(mismatch(what, expected, there));
        }
    }
    match (&first.spec, &found.spec) {
        (Some(a), Some(b)) if a != b => Err(match a.first_difference(b) {
            Some(d) => mismatch(&d.what, d.expected, d.found),
            None => mismatch("env_spec", "that of the first file".into(), "another".into()),
        }),
        (Some(_), None) => Err(mismatch("env_spec", "that of the first file".into(), "none".into())),
        (None, Some(_)) => Err(mismatch("env_spec", "none".into(), "one".into())),
        _ => Ok(()),
    }
}

impl Shards {
    /// The open file, from those that are kept where possible.
    fn opened(&self, index: usize) -> Result<Arc<Opened>, DataError> {
        let take = |open: &mut Vec<(usize, Arc<Opened>)>| {
            let at = open.iter().position(|(i, _)| *i == index)?;
            let entry = open.remove(at);
            open.push(entry.clone());
            Some(entry.1)
        };
        if let Some(opened) = take(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(opened);
        }
        // Not under the lock: threads open files side by side. Two may open the same one, and one of them is dropped.
        let opened = Arc::new(open_any(&self.shards[index].path, &self.options)?);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = take(&mut open) {
            return Ok(other);
        }
        open.push((index, Arc::clone(&opened)));
        while open.len() > 1 && open.iter().map(|(_, o)| o.bytes).sum::<u64>() > OPEN_BYTES {
            open.remove(0);
        }
        Ok(opened)
    }
}

impl EpisodeSource for Shards {
    fn meta(&self) -> &DatasetMeta {
        &self.meta
    }

    fn len(&self) -> usize {
        self.shards.last().map_or(0, |s| s.episodes.end)
    }

    fn episode(&self, index: usize) -> Result<Episode, DataError> {
        let at = self.shards.partition_point(|s| s.episodes.end <= index);
        let Some(shard) = self.shards.get(at) else {
            return Err(DataError::Shape {
                path: self.meta.path.clone(),
                item: "episode index".into(),
                expected: format!("fewer than {}", self.len()),
                found: index.to_string(),
            });
        };
        let opened = self.opened(at)?;
        if opened.source.len() != shard.episodes.len() {
            return Err(DataError::Mismatch {
                path: shard.path.clone(),
                what: "the file changed while it was read: episodes".into(),
                expected: shard.episodes.len().to_string(),
                found: opened.source.len().to_string(),
            });
        }
        opened.source.episode(index - shard.episodes.start)
    }
}

#[cfg(test)]
mod tests {
    use super::natural;

    #[test]
    fn names_sort_by_their_numbers() {
        let mut names = ["part_10.h5", "part_2.h5", "a.h5", "part_2b.h5", "10.h5", "9.h5"];
        names.sort_by_cached_key(|n| natural(n));
        assert_eq!(names, ["9.h5", "10.h5", "a.h5", "part_2.h5", "part_2b.h5", "part_10.h5"]);
    }
}
