//! `manifest.jsonl`: one line for each episode that was committed, appended and flushed before the recorder says so.

use std::fs::File;
use std::io::{BufRead, BufReader, Error as IoError, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use surefoot_core::{DataError, Episode};

use crate::writer::Written;

/// Name of the manifest in its recording.
pub(crate) const MANIFEST: &str = "manifest.jsonl";

/// Numbers beyond this are no shards of ours.
const MAX_SHARDS: u64 = 1 << 48;

/// A longer line is damage.
const MAX_LINE_BYTES: u64 = 1 << 16;

/// What the manifest says of a shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardLine {
    /// Name of the file beside the manifest.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Blake3 of its bytes.
    pub blake3: String,
    /// The episode's name.
    pub episode: String,
    /// Its steps.
    pub steps: usize,
    /// Sum of its rewards; absent where that is no number.
    #[serde(rename = "return")]
    pub episode_return: Option<f64>,
    /// Whether the task was solved, where known.
    pub success: Option<bool>,
    /// Steps that a person drove, where known.
    pub interventions: Option<usize>,
    /// Who acted, where known.
    pub source: Option<String>,
    /// The episode's attribute of that name.
    pub policy_version: Option<String>,
    /// The reset seed, where known.
    pub seed: Option<u64>,
}

/// A line of the manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Shard(ShardLine),
    /// The recording was finished with that many episodes in it.
    Finished {
        finished: usize,
    },
}

impl ShardLine {
    pub(crate) fn of(file: &str, episode: &Episode, bytes: u64, blake3: String) -> Self {
        let episode_return = episode.episode_return();
        Self {
            file: file.to_owned(),
            bytes,
            blake3,
            episode: episode.name.clone(),
            steps: episode.len(),
            episode_return: episode_return.is_finite().then_some(episode_return),
            success: episode.success,
            interventions: (!episode.human.is_empty()).then(|| episode.human.iter().filter(|h| **h).count()),
            source: episode.source.clone(),
            policy_version: episode.attributes.get("policy_version").cloned(),
            seed: episode.seed,
        }
    }

    pub(crate) fn written(file: &str, episode: &Episode, written: &Written) -> Self {
        Self::of(file, episode, written.bytes, written.hash.clone())
    }
}

/// `12` -> `ep_000012.hdf5`.
pub(crate) fn shard_name(index: u64) -> String {
    format!("ep_{index:06}.hdf5")
}

/// `ep_000012.hdf5` -> 12; `None` for every other name, and for numbers written in another way.
pub(crate) fn shard_index(name: &str) -> Option<u64> {
    let index = name.strip_prefix("ep_")?.strip_suffix(".hdf5")?.parse().ok()?;
    (index < MAX_SHARDS && shard_name(index) == name).then_some(index)
}

/// What a manifest says, read once from start to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct ManifestContent {
    /// Its shards, in the order of their numbers; of two lines for one shard the later.
    pub(crate) shards: std::collections::BTreeMap<u64, ShardLine>,
    /// Lines that are none: torn by a crash, or damaged. Numbers from 1.
    pub(crate) bad_lines: Vec<usize>,
    /// Whether its last line says that the recording was finished, with as many shards as it lists.
    pub(crate) finished: bool,
}

impl ManifestContent {
    /// Reads a manifest; memory grows with the number of good lines only.
    pub(crate) fn read(path: &Path) -> Result<Self, IoError> {
        let mut reader = BufReader::new(File::open(path)?);
        let mut content = Self::default();
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            if reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            // Without its line feed the line was torn, even if it looks whole.
            match line.ends_with(b"\n").then(|| serde_json::from_slice(&line)) {
                Some(Ok(Line::Shard(shard))) if shard_index(&shard.file).is_some() => {
                    content.finished = false;
                    content.shards.insert(shard_index(&shard.file).unwrap_or_default(), shard);
                }
                Some(Ok(Line::Finished { finished })) => content.finished = finished == content.shards.len(),
                _ => {
                    content.finished = false;
                    content.bad_lines.push(number);
                }
            }
        }
        Ok(content)
    }
}

/// A manifest that is being appended to.
#[derive(Debug)]
pub(crate) struct Manifest {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Manifest {
    pub(crate) fn open(path: &Path) -> Result<Self, DataError> {
        let io = |source| DataError::Io { path: path.to_owned(), source };
        let file = File::options().append(true).create(true).open(path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        Ok(Self { path: path.to_owned(), file, bytes })
    }

    pub(crate) fn append(&mut self, shard: ShardLine) -> Result<(), DataError> {
        self.append_line(&Line::Shard(shard))
    }

    pub(crate) fn finish(&mut self, episodes: usize) -> Result<(), DataError> {
        self.append_line(&Line::Finished { finished: episodes })
    }

    /// Appends a line and flushes it to the disk; on failure the manifest is as it was.
    fn append_line(&mut self, line: &Line) -> Result<(), DataError> {
        let attempt = |file: &mut File| -> Result<u64, IoError> {
            let mut text = serde_json::to_vec(line)?;
            text.push(b'\n');
            file.write_all(&text)?;
            file.sync_data()?;
            Ok(text.len() as u64)
        };
        match attempt(&mut self.file) {
            Ok(bytes) => {
                self.bytes += bytes;
                Ok(())
            }
            Err(source) => {
                // The first error is the one to report; a torn line that stays is cut off at the next start.
                let _ = self.file.set_len(self.bytes).and_then(|()| self.file.sync_data());
                Err(DataError::Io { path: self.path.clone(), source })
            }
        }
    }
}

/// The text of a whole manifest.
pub(crate) fn manifest_text<'a>(shards: impl Iterator<Item = &'a ShardLine>) -> Result<Vec<u8>, IoError> {
    let mut text = Vec::new();
    for shard in shards {
        serde_json::to_writer(&mut text, shard)?;
        text.push(b'\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::{shard_index, shard_name};

    #[test]
    fn only_names_that_the_recorder_writes_are_shards() {
        for index in [0, 7, 999_999, 1_000_000, (1 << 48) - 1] {
            assert_eq!(shard_index(&shard_name(index)), Some(index));
        }
        let others = [
            "ep_7.hdf5",
            "ep_+00007.hdf5",
            "ep_0000007.hdf5",
            "ep_18446744073709551615.hdf5",
            "../ep_000007.hdf5",
            "ep_000007.h5",
        ];
        for name in others {
            assert_eq!(shard_index(name), None, "{name}");
        }
    }
}
