//! Recorded episodes, whatever file they are in.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::{EnvSpec, Episode, StepEnd};

/// What a dataset says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DatasetMeta {
    /// Where it is.
    pub path: PathBuf,
    /// Format's registry name.
    pub format: &'static str,
    /// Environment name, where stated.
    pub env: Option<String>,
    /// Hash of the robot contract it was recorded under, where stated.
    pub contract_hash: Option<String>,
    /// Hash of the import section of the robot contract that it was made of logs by, where stated.
    pub import_hash: Option<String>,
    /// Observation keys in row order, with their widths.
    pub observation_keys: Vec<(String, usize)>,
    /// Numbers in an observation row.
    pub observation_dim: usize,
    /// Numbers in an action row.
    pub action_dim: usize,
    /// Units of the action row, where stated.
    pub action_units: Option<Vec<String>>,
    /// Names, units and bounds of both rows, where stated in full.
    pub spec: Option<EnvSpec>,
    /// Named subsets: episode indices.
    pub masks: Vec<(String, Vec<usize>)>,
    /// Blake3 of the file.
    pub hash: String,
    /// Things a user should know that are not errors (ambiguous ends, skipped keys).
    pub notes: Vec<String>,
}

/// Why data cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The system refused.
    #[error("{}: {source}{}", path.display(), way_out(source))]
    Io {
        /// File.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Not a file of any known format, or a damaged one.
    #[error("{}: not a readable {format} file: {reason}\n\nhint: {hint}", path.display())]
    Malformed {
        /// File.
        path: PathBuf,
        /// Format that was tried.
        format: &'static str,
        /// What is wrong.
        reason: String,
        /// How to mend it.
        hint: &'static str,
    },
    /// An array is missing, or has another shape than its neighbours.
    #[error("{}: {item}: expected {expected}, found {found}", path.display())]
    Shape {
        /// File.
        path: PathBuf,
        /// Path inside the file.
        item: String,
        /// What was expected.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A value that cannot be learned from.
    #[error("{}: {item}[{row}] is {value}\n\nhint: run `surefoot data verify` to list all such rows", path.display())]
    NotFinite {
        /// File.
        path: PathBuf,
        /// Path inside the file.
        item: String,
        /// Row.
        row: usize,
        /// NaN or an infinity.
        value: f32,
    },
    /// The data is of another task or robot.
    #[error("{}: this data does not fit the task: {what}: expected {expected}, found {found}", path.display())]
    Mismatch {
        /// File.
        path: PathBuf,
        /// What differs.
        what: String,
        /// By the task.
        expected: String,
        /// By the data.
        found: String,
    },
    /// A learning history that cannot be learned from.
    #[error("{}: {history}: {source}", path.display())]
    History {
        /// File.
        path: PathBuf,
        /// Which history, as in the file.
        history: String,
        /// What is wrong with it.
        source: crate::HistoryError,
    },
    /// A person ended it.
    #[error("interrupted")]
    Interrupted,
}

/// What can be done about what the system says.
fn way_out(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "\n\nhint: the disk is full, and what was begun was removed: make room or write to another disk, and run it again"
        }
        _ => "",
    }
}

impl DataError {
    /// A row was asked for that is not there.
    #[must_use]
    pub fn no_row(path: &Path, row: usize, rows: usize) -> Self {
        let (expected, found) = (format!("below {rows}"), row.to_string());
        Self::Shape { path: path.to_owned(), item: "row".into(), expected, found }
    }
}

/// An episode among the rows of a dataset, where it is known only by what is kept of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EpisodeRows {
    /// Steps, one row each, behind those of the episode before.
    pub steps: usize,
    /// Sum of its rewards.
    pub reward_sum: f64,
    /// Whether the task was solved; unknown stays unknown.
    pub success: Option<bool>,
    /// Whether one of its steps is a termination.
    pub terminated: bool,
}

impl EpisodeRows {
    /// What is kept of an episode.
    #[must_use]
    pub fn of(episode: &Episode) -> Self {
        Self {
            steps: episode.len(),
            reward_sum: episode.episode_return(),
            success: episode.success,
            terminated: episode.end.contains(&StepEnd::Terminated),
        }
    }
}

/// A dataset of any format.
pub trait EpisodeSource: Send + Sync {
    /// What it says of itself.
    fn meta(&self) -> &DatasetMeta;
    /// Episodes.
    fn len(&self) -> usize;
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Reads one. Values are as in the file: NaN is not hidden, nothing is clipped.
    ///
    /// # Errors
    /// When it is damaged or ragged.
    fn episode(&self, index: usize) -> Result<Episode, DataError>;
}

/// Where finished episodes are kept: what it said `Ok` to survives the end of the program.
pub trait EpisodeSink: Send {
    /// Keeps an episode.
    ///
    /// # Errors
    /// When it could not be kept; those before it still are.
    fn record(&mut self, episode: &Episode) -> Result<(), DataError>;
    /// Says that no episode is to follow. What ends without it may read as incomplete.
    ///
    /// # Errors
    /// When that could not be kept.
    fn finish(&mut self) -> Result<(), DataError> {
        Ok(())
    }
}
