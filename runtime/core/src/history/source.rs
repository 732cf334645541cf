//! Where learning histories come from: the trait over files and memory, and those in memory.

use std::path::PathBuf;

use super::{FamilyTask, HistoryError, LearningHistory};
use crate::{DataError, EnvSpec};

/// What a collection of histories says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryMeta {
    /// What was seen and done.
    pub spec: EnvSpec,
    /// The family that the tasks are of: a registry name.
    pub family: String,
    /// Its settings, JSON.
    pub family_config: String,
    /// Its tasks; a history names one by its index.
    pub tasks: Vec<FamilyTask>,
    /// Blake3 of the collection.
    pub hash: String,
}

/// Learning histories, wherever they are.
pub trait HistorySource: Send + Sync {
    /// What it says of itself.
    fn meta(&self) -> &HistoryMeta;
    /// Histories.
    fn len(&self) -> usize;
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Index of the task of a history, without reading its steps; that of the first history where there is no such history.
    fn task_of(&self, index: usize) -> usize;
    /// Steps of a history, without reading them; 0 where there is no such history.
    fn steps_of(&self, index: usize) -> usize;
    /// Reads one. It is [valid](LearningHistory::validate).
    ///
    /// # Errors
    /// When there is no such history, it cannot be read, or it is not valid.
    fn history(&self, index: usize) -> Result<LearningHistory, DataError>;
}

/// Histories in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Histories {
    meta: HistoryMeta,
    histories: Vec<LearningHistory>,
}

impl Histories {
    /// Gathers histories; the hash of `meta` is made anew.
    ///
    /// # Errors
    /// [`DataError::History`] with the first history that is not valid, or is of a task that is not there.
    pub fn new(mut meta: HistoryMeta, histories: Vec<LearningHistory>) -> Result<Self, DataError> {
        for (index, history) in histories.iter().enumerate() {
            let valid = history.validate(&meta.spec).and_then(|()| {
                let (task, tasks) = (history.task as u64, meta.tasks.len());
                if history.task < tasks { Ok(()) } else { Err(HistoryError::NoSuchTask { task, tasks }) }
            });
            valid.map_err(|source| DataError::History {
                path: PathBuf::from("memory"),
                history: format!("history {index}"),
                source,
            })?;
        }
        meta.hash = hash(&meta, &histories);
        Ok(Self { meta, histories })
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[LearningHistory] {
        &self.histories
    }
}

fn hash(meta: &HistoryMeta, histories: &[LearningHistory]) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut texts = |parts: &[&str]| {
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
    };
    texts(&[&meta.family, &meta.family_config, &format!("{:?}", meta.spec), &format!("{:?}", meta.tasks)]);
    for h in histories {
        hasher.update(h.digest().as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

impl HistorySource for Histories {
    fn meta(&self) -> &HistoryMeta {
        &self.meta
    }
    fn len(&self) -> usize {
        self.histories.len()
    }
    fn task_of(&self, index: usize) -> usize {
        self.histories.get(index).map_or(0, |h| h.task)
    }
    fn steps_of(&self, index: usize) -> usize {
        self.histories.get(index).map_or(0, LearningHistory::len)
    }
    fn history(&self, index: usize) -> Result<LearningHistory, DataError> {
        let found = self.histories.get(index).cloned();
        found.ok_or_else(|| DataError::Shape {
            path: PathBuf::from("memory"),
            item: "history".into(),
            expected: format!("below {}", self.histories.len()),
            found: index.to_string(),
        })
    }
}
