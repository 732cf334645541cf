//! What `surefoot collect` collects.

use std::path::Path;

use anyhow::{Context, anyhow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::TaskSplit;
use surefoot_policies::SourceConfig;
use surefoot_sim::FamilyConfig;

use super::typed;
use crate::failure::{Failure, usage};

/// Histories of one task and source at most.
const MAX_HISTORIES: usize = 1_000_000;
/// Episodes of a history at most.
const MAX_EPISODES: usize = 10_000_000;

/// Learning histories of a family's tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CollectConfig {
    /// Name, of letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Seed of the histories; which tasks there are is the family's `split_seed`.
    #[serde(default)]
    pub seed: u64,
    /// The family.
    pub family: FamilyConfig,
    /// Whose tasks are learned. All tasks are described in the file.
    #[serde(default = "train_alone")]
    pub splits: Vec<Split>,
    /// Who learns them.
    pub source: Vec<SourceSection>,
}

/// Tasks of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Those that are trained on.
    Train,
    /// Those that are kept for judging, of the same distribution.
    TestIn,
    /// Those that are kept for judging, from outside of it.
    TestOod,
}

impl Split {
    /// As the waist says it.
    pub const fn task_split(self) -> TaskSplit {
        match self {
            Self::Train => TaskSplit::Train,
            Self::TestIn => TaskSplit::TestIn,
            Self::TestOod => TaskSplit::TestOod,
        }
    }
}

fn train_alone() -> Vec<Split> {
    vec![Split::Train]
}

/// A source algorithm, and how much it learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceSection {
    /// The algorithm.
    pub algorithm: SourceConfig,
    /// How often each task is learned anew.
    pub histories_per_task: usize,
    /// Episodes of each history.
    pub episodes: usize,
    /// Every so many-th episode is kept, drawn for each history from this range: histories that learn faster than their source.
    #[serde(default = "every")]
    pub keep_every: [usize; 2],
}

const fn every() -> [usize; 2] {
    [1, 1]
}

/// Reads the file, with overrides put in. Gives it with all defaults as text, too.
///
/// # Errors
/// `Failure::Usage` with the first thing that is wrong.
pub fn load_collect(path: &Path, given: &[String]) -> Result<(CollectConfig, String), Failure> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read {}\n\nhint: examples are in configs/ad/", path.display()))
        .map_err(usage)?;
    let origin = path.display().to_string();
    let config: CollectConfig = typed(&text, &origin, given)?;
    check(&config).map_err(|e| usage(e.context(origin)))?;
    let resolved = toml::to_string_pretty(&config).context("cannot write the resolved config")?;
    Ok((config, resolved))
}

fn check(config: &CollectConfig) -> anyhow::Result<()> {
    let CollectConfig { name, seed: _, family: _, splits, source } = config;
    let mut wrong = Vec::new();
    if name.is_empty() || name.contains(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))) {
        wrong.push(format!("name = {name:?}: use letters, digits, '-', '_' and '.'"));
    }
    if splits.is_empty() || splits.iter().enumerate().any(|(i, s)| splits[..i].contains(s)) {
        wrong.push("splits: at least one of train, test_in and test_ood, each once".to_owned());
    }
    if source.is_empty() {
        wrong.push("[[source]]: at least one is needed".to_owned());
    }
    for (index, section) in source.iter().enumerate() {
        let SourceSection { algorithm: _, histories_per_task, episodes, keep_every: [least, most] } = section;
        for (key, value, limit) in
            [("histories_per_task", histories_per_task, MAX_HISTORIES), ("episodes", episodes, MAX_EPISODES)]
        {
            if !(1..=limit).contains(value) {
                wrong.push(format!("source.{index}.{key} = {value}: 1 to {limit}"));
            }
        }
        if *least == 0 || least > most {
            wrong.push(format!("source.{index}.keep_every = [{least}, {most}]: from 1 on, least first"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(anyhow!("{}", wrong.join("\n  "))) }
}
