//! What a LeRobot dataset says of itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use surefoot_core::safety::SafetyCounts;
use surefoot_core::{DataError, EnvSpec, Episode};

use super::NAME;
use super::columns::Columns;
use crate::h5::Element;
use crate::input::Directory;
use crate::streams::files_of;

/// A column of the data.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Feature {
    dtype: String,
    #[serde(default)]
    shape: Vec<usize>,
}

impl Feature {
    /// Numbers of a row; it may claim any number.
    pub fn width(&self) -> usize {
        self.shape.iter().fold(1, |n, d| n.saturating_mul(*d))
    }
    pub fn element(&self) -> Element {
        super::element(&self.dtype)
    }
    pub fn is_numeric(&self) -> bool {
        self.element().is_numeric()
    }
    pub fn is_picture(&self) -> bool {
        matches!(self.dtype.as_str(), "video" | "image")
    }
}

/// `meta/info.json`, as far as it is needed.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Info {
    codebase_version: String,
    #[serde(default)]
    pub robot_type: Option<String>,
    #[serde(default)]
    pub fps: f64,
    #[serde(default)]
    pub total_episodes: Option<u64>,
    #[serde(default)]
    pub total_frames: u64,
    pub features: BTreeMap<String, Feature>,
}

impl Info {
    pub fn read(root: &Path) -> Result<Self, DataError> {
        let path = root.join("meta/info.json");
        let fail =
            |reason: String, hint| DataError::Malformed { path: path.clone(), format: NAME, reason, hint };
        let directory = Directory { path: root.to_owned() };
        let text = directory.read_text("meta/info.json")?.unwrap_or_default();
        let hint = "it must say codebase_version, fps and features";
        let mut info: Self = serde_json::from_str(&text).map_err(|e| fail(e.to_string(), hint))?;
        let version = info.codebase_version.clone();
        if !(version.starts_with("v2") || version.starts_with("v3")) {
            let hint = "convert it with LeRobot's own scripts to v2.1 or v3.0";
            return Err(fail(format!("version {version}: expected v2.x or v3.x"), hint));
        }
        // Every file has it, whether it is listed or not.
        let index = Feature { dtype: "int64".into(), shape: vec![1] };
        info.features.entry("episode_index".into()).or_insert(index);
        Ok(info)
    }

    /// Columns of numbers, in name order.
    pub fn numeric(&self) -> impl Iterator<Item = &str> {
        self.features.iter().filter(|(_, f)| f.is_numeric()).map(|(name, _)| name.as_str())
    }
}

/// Parquet files in the chunks of a directory, in order.
pub(super) fn parquet_files(directory: &Path) -> Result<Vec<PathBuf>, DataError> {
    let io = |source| DataError::Io { path: directory.to_owned(), source };
    let mut chunks = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.is_dir() {
            chunks.push(path);
        }
    }
    chunks.sort_by_cached_key(|c| crate::streams::natural(&c.to_string_lossy()));
    let mut files = Vec::new();
    for chunk in chunks {
        files.extend(files_of(&chunk, "parquet").map_err(io)?);
    }
    Ok(files)
}

/// Lengths of episodes, by their numbers, as the metadata has them.
pub(super) fn lengths(root: &Path) -> Result<Vec<(i64, u64)>, DataError> {
    #[derive(Deserialize)]
    struct Line {
        episode_index: i64,
        length: u64,
    }
    let directory = Directory { path: root.to_owned() };
    if let Some(text) = directory.read_text("meta/episodes.jsonl")? {
        let lines = json_lines::<Line>(&root.join("meta/episodes.jsonl"), &text)?;
        return Ok(lines.into_iter().map(|l| (l.episode_index, l.length)).collect());
    }
    let mut all = Vec::new();
    if root.join("meta/episodes").is_dir() {
        for file in parquet_files(&root.join("meta/episodes"))? {
            let columns = Columns::open(&file)?;
            let (episode, length) = (columns.numbers("episode_index")?, columns.numbers("length")?);
            for row in 0..episode.rows() {
                if let (Some(episode), Some(length)) = (episode.one(row), length.one(row)) {
                    all.push((episode as i64, length as u64));
                }
            }
        }
    }
    Ok(all)
}

/// Sentences of the tasks, by their numbers.
pub(super) fn tasks(root: &Path) -> Result<BTreeMap<i64, String>, DataError> {
    #[derive(Deserialize)]
    struct Line {
        task_index: i64,
        task: String,
    }
    let directory = Directory { path: root.to_owned() };
    if let Some(text) = directory.read_text("meta/tasks.jsonl")? {
        let lines = json_lines::<Line>(&root.join("meta/tasks.jsonl"), &text)?;
        return Ok(lines.into_iter().map(|l| (l.task_index, l.task)).collect());
    }
    let Some(path) = directory.file("meta/tasks.parquet") else { return Ok(BTreeMap::new()) };
    let columns = Columns::open(&path)?;
    // The sentence is the table's index, which pandas stores under a name of its own.
    let name = if columns.has("task") { "task" } else { "__index_level_0__" };
    let (index, texts) = (columns.numbers("task_index")?, columns.texts(name)?);
    Ok(texts.into_iter().enumerate().filter_map(|(row, t)| Some((index.one(row)? as i64, t))).collect())
}

fn json_lines<T: for<'de> Deserialize<'de>>(path: &Path, text: &str) -> Result<Vec<T>, DataError> {
    let lines = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty());
    lines
        .map(|(i, line)| {
            serde_json::from_str(line).map_err(|e| DataError::Malformed {
                path: path.to_owned(),
                format: NAME,
                reason: format!("line {}: {e}", i + 1),
                hint: "every line is a JSON object; the last one may have been cut off",
            })
        })
        .collect()
}

/// What LeRobot has no place for, beside its own metadata.
pub(super) const EXTRAS: &str = "meta/surefoot.json";
/// Column that says whether the task ended in a frame.
pub(super) const TERMINATED: &str = "next.terminated";

/// The content of [`EXTRAS`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Extras {
    pub producer: String,
    pub spec: Option<EnvSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import_hash: Option<String>,
    pub masks: Vec<(String, Vec<usize>)>,
    /// By the number of the episode.
    pub episodes: Vec<ExtrasOfEpisode>,
}

/// What is known of an episode.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ExtrasOfEpisode {
    pub name: String,
    pub success: Option<bool>,
    pub source: Option<String>,
    pub seed: Option<u64>,
    pub safety: SafetyCounts,
    pub attributes: BTreeMap<String, String>,
}

impl ExtrasOfEpisode {
    pub fn of(episode: &Episode) -> Self {
        let Episode { name, success, source, seed, safety, attributes, .. } = episode.clone();
        Self { name, success, source, seed, safety, attributes }
    }
}

/// What this program wrote beside LeRobot's own metadata, where it did.
pub(super) fn extras(root: &Path) -> Result<Option<Extras>, DataError> {
    let directory = Directory { path: root.to_owned() };
    let Some(text) = directory.read_text(EXTRAS)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|e| DataError::Malformed {
        path: root.join(EXTRAS),
        format: NAME,
        reason: e.to_string(),
        hint: "it is needed for names and labels only: without the file the dataset reads as any other of LeRobot's",
    })
}
