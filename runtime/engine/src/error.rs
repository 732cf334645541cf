//! Why a run cannot go on.

use std::path::{Path, PathBuf};

use crate::collecting::LifeError;
use crate::live::LiveError;
use surefoot_core::{DataError, EnvError, FleetError, LearnError, PolicyError};

/// A checkpoint that was cut or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("checkpoint {name} is damaged: {file}: {what}: expected {expected}, found {found}\n\nhint: {hint}")]
pub struct CheckpointDamage {
    /// Name of the checkpoint.
    pub name: String,
    /// File inside it.
    pub file: String,
    /// Length, hash or content.
    pub what: &'static str,
    /// By the manifest.
    pub expected: String,
    /// On disk.
    pub found: String,
    /// Which checkpoint to resume from instead.
    pub hint: String,
}

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The environment failed.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// A life could not be lived.
    #[error(transparent)]
    Life(#[from] LifeError),
    /// The policy failed.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The robot could not be driven on.
    #[error(transparent)]
    Live(Box<LiveError>),
    /// The link to the actors failed.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The learner failed.
    #[error("stage {stage}: {source}")]
    Learn {
        /// Stage in which it happened.
        stage: String,
        /// What the learner says.
        source: LearnError,
    },
    /// Demonstrations could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// File or directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Stopped on request before the result was complete; nothing was kept of it.
    #[error("interrupted")]
    Interrupted,
    /// A setting cannot be used.
    #[error("{key}: expected {expected}, found {found}")]
    Config {
        /// Path of the key.
        key: String,
        /// What can be used.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A demonstration cannot be learned from.
    #[error("demonstration {episode}: {what}: expected {expected}, found {found}")]
    Demonstration {
        /// Name of the episode.
        episode: String,
        /// Which part.
        what: String,
        /// What fits the task.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A run directory that is there already.
    #[error("run directory {} exists and is never overwritten\n\nhint: choose another name, or continue it with `surefoot resume`", path.display())]
    RunExists {
        /// The directory.
        path: PathBuf,
    },
    /// Another process works in this run directory.
    #[error("run {} is in use by another process\n\nhint: wait until it has ended; `last` can then be resumed", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// Not a run directory, or a damaged one.
    #[error("{}: {what}: expected {expected}, found {found}", path.display())]
    RunDamaged {
        /// File.
        path: PathBuf,
        /// Which part.
        what: String,
        /// What a run has there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A run's settings were changed after it began.
    #[error("{} has changed since the run began: blake3 was {expected}, is {found}\n\nhint: put the original back; other settings make another run: `surefoot train {}`", path.display(), path.display())]
    ConfigChanged {
        /// The run's `config.toml`.
        path: PathBuf,
        /// By `run.json`.
        expected: String,
        /// On disk.
        found: String,
    },
    /// A checkpoint that was cut or changed.
    #[error(transparent)]
    CheckpointDamaged(Box<CheckpointDamage>),
    /// There is nothing to resume from.
    #[error("{}: no checkpoint{}\n\nhint: `ls {0}/checkpoints` shows those there are; without one, start a new run with `surefoot train {0}/config.toml`", path.display(), name.as_ref().map_or(String::new(), |n| format!(" named {n}")))]
    CheckpointMissing {
        /// The run.
        path: PathBuf,
        /// The name that was asked for.
        name: Option<String>,
    },
    /// The checkpoint belongs to another configuration.
    #[error("cannot resume: {what}: the checkpoint has {expected}, this run has {found}")]
    Resume {
        /// What differs.
        what: String,
        /// By the checkpoint.
        expected: String,
        /// Given.
        found: String,
    },
}

impl From<LiveError> for EngineError {
    fn from(error: LiveError) -> Self {
        Self::Live(Box::new(error))
    }
}

impl EngineError {
    /// A setting that cannot be used.
    pub(crate) fn setting<T: ToString + ?Sized>(key: String, expected: &str, found: &T) -> Self {
        Self::Config { key, expected: expected.into(), found: found.to_string() }
    }
    /// For `map_err` on file operations.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
