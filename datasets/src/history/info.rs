//! What is in a file of histories, without reading their steps.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use surefoot_core::{DataError, HistorySource, TaskSplit};

use super::read::HistoryFile;
use crate::table::{number, plain, write_table};

/// Fields of a row that are told by name.
const MOST_FIELDS: usize = 48;

/// Tasks of a split.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SplitLine {
    /// Which split.
    pub split: TaskSplit,
    /// Its tasks.
    pub tasks: usize,
    /// Histories of them.
    pub histories: usize,
    /// Steps of those.
    pub steps: usize,
    /// Mean return of random actions.
    pub random_return: f64,
    /// Mean return of whoever knows the task.
    pub optimal_return: f64,
}

/// Histories of an algorithm.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlgorithmLine {
    /// Its name.
    pub algorithm: String,
    /// Its histories.
    pub histories: usize,
    /// Steps of those.
    pub steps: usize,
    /// Episodes of those.
    pub episodes: usize,
    /// Histories that did not come to their end.
    pub incomplete: usize,
    /// Mean of what was learned: 1 from random to optimal.
    pub improvement: f64,
    /// Mean of how steadily: 1 where no episode was worse than one before.
    pub stability: f64,
}

/// What is in a file of histories.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HistoryInfo {
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Blake3 of the file.
    pub hash: String,
    /// `icrl-history`.
    pub format: &'static str,
    /// The program that wrote it.
    pub producer: String,
    /// The family.
    pub family: String,
    /// Its settings, JSON.
    pub family_config: String,
    /// The observation row, and of each field how many choices.
    pub observation: Vec<(String, Option<u32>)>,
    /// The action row likewise.
    pub action: Vec<(String, Option<u32>)>,
    /// By split.
    pub splits: Vec<SplitLine>,
    /// By algorithm.
    pub algorithms: Vec<AlgorithmLine>,
}

/// Looks into a file of histories.
///
/// # Errors
/// When it cannot be opened.
pub fn history_info(path: &Path) -> Result<HistoryInfo, DataError> {
    let file = HistoryFile::open(path)?;
    let meta = file.meta();
    let fields = |row: &[surefoot_core::Field]| row.iter().map(|f| (f.name.clone(), f.choices)).collect();
    let mut splits = Vec::new();
    for split in TaskSplit::ALL {
        let tasks: Vec<_> = meta.tasks.iter().filter(|t| t.split == split).collect();
        if tasks.is_empty() {
            continue;
        }
        let of: Vec<_> = file.entries().iter().filter(|e| meta.tasks[e.task].split == split).collect();
        let mean = |of: &dyn Fn(usize) -> f32| {
            (0..tasks.len()).map(|i| f64::from(of(i))).sum::<f64>() / tasks.len() as f64
        };
        splits.push(SplitLine {
            split,
            tasks: tasks.len(),
            histories: of.len(),
            steps: of.iter().map(|e| e.steps).sum(),
            random_return: mean(&|i| tasks[i].random_return),
            optimal_return: mean(&|i| tasks[i].optimal_return),
        });
    }
    let mut algorithms: BTreeMap<&str, AlgorithmLine> = BTreeMap::new();
    for e in file.entries() {
        let line = algorithms.entry(&e.algorithm).or_insert_with(|| AlgorithmLine {
            algorithm: e.algorithm.clone(),
            histories: 0,
            steps: 0,
            episodes: 0,
            incomplete: 0,
            improvement: 0.0,
            stability: 0.0,
        });
        line.histories += 1;
        line.steps += e.steps;
        line.episodes += e.episodes;
        line.incomplete += usize::from(!e.complete);
        line.improvement += e.improvement;
        line.stability += e.stability;
    }
    let mut algorithms: Vec<AlgorithmLine> = algorithms.into_values().collect();
    for line in &mut algorithms {
        line.improvement /= line.histories as f64;
        line.stability /= line.histories as f64;
    }
    Ok(HistoryInfo {
        path: path.to_owned(),
        bytes: file.bytes(),
        hash: meta.hash.clone(),
        format: super::FORMAT,
        producer: file.producer().to_owned(),
        family: meta.family.clone(),
        family_config: meta.family_config.clone(),
        observation: fields(&meta.spec.observation),
        action: fields(&meta.spec.action),
        splits,
        algorithms,
    })
}

impl fmt::Display for HistoryInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, bytes, hash, format, producer, family, family_config, observation, action, .. } =
            self;
        let row = |fields: &[(String, Option<u32>)]| {
            let one = |(name, choices): &(String, Option<u32>)| {
                choices.map_or_else(|| name.clone(), |n| format!("{name} (one of {n})"))
            };
            // A picture has thousands of them.
            let mut told: Vec<String> = fields.iter().take(MOST_FIELDS).map(one).collect();
            if fields.len() > MOST_FIELDS {
                told.push(format!("and {} more", fields.len() - MOST_FIELDS));
            }
            told.join(", ")
        };
        writeln!(f, "{}", plain(&path.display().to_string()))?;
        for (label, value) in [
            ("format", format!("{format}: learning histories")),
            ("size", format!("{:.1} MB", *bytes as f64 / 1e6)),
            ("blake3", hash.clone()),
            ("written by", producer.clone()),
            ("family", format!("{family} {family_config}")),
            ("observation row", row(observation)),
            ("action row", row(action)),
        ] {
            writeln!(f, "  {label:<16} {}", plain(&value))?;
        }
        writeln!(f)?;
        let rows: Vec<Vec<String>> = self
            .splits
            .iter()
            .map(|s| {
                let [random, optimal] = [s.random_return, s.optimal_return].map(number);
                let counts = [s.tasks, s.histories, s.steps].map(|n| n.to_string());
                [vec![s.split.name().to_owned()], counts.to_vec(), vec![random, optimal]].concat()
            })
            .collect();
        write_table(f, &["split", "tasks", "histories", "steps", "random return", "optimal return"], &rows)?;
        writeln!(f)?;
        let rows: Vec<Vec<String>> = self
            .algorithms
            .iter()
            .map(|a| {
                let counts = [a.histories, a.episodes, a.steps, a.incomplete].map(|n| n.to_string());
                let scores = [a.improvement, a.stability].map(number);
                [vec![a.algorithm.clone()], counts.to_vec(), scores.to_vec()].concat()
            })
            .collect();
        let head = ["algorithm", "histories", "episodes", "steps", "incomplete", "improvement", "stability"];
        write_table(f, &head, &rows)
    }
}
