//! Learning histories, the tasks they are of and who lived them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use surefoot_core::{
    FamilyTask, Histories, HistoryMeta, HistorySource, LearningHistory, SourceAlgorithm, Stream, TaskFamily,
    TaskSplit,
};
use surefoot_datasets::history::HistoryFile;
use surefoot_engine::collecting::{Beginning, Life, LifeError, collect, live};
use surefoot_engine::{EngineError, Interrupt};
use surefoot_policies::sources::{SourceConfig, SourceContext, SourceError};
use surefoot_sim::FamilyContext;

use crate::config::{CollectConfig, HistoriesConfig, LivedConfig};
use crate::failure::{Failure, usage};

/// What a distillation learns from.
pub struct Learnt {
    /// The histories.
    pub histories: Box<dyn HistorySource>,
    /// Their tasks.
    pub family: Arc<dyn TaskFamily>,
    /// Who lived them.
    pub teacher: Teacher,
}

/// A source algorithm.
#[derive(Clone)]
pub struct Teacher {
    config: SourceConfig,
    /// Episodes of a life.
    pub episodes: usize,
}

impl Teacher {
    /// Made for one task.
    ///
    /// # Errors
    /// When it cannot learn such a task.
    pub fn build(
        &self,
        family: &Arc<dyn TaskFamily>,
        task: &FamilyTask,
    ) -> Result<Box<dyn SourceAlgorithm>, SourceError> {
        let (params, episodes) = (task.params.clone(), self.episodes);
        self.config.build(&SourceContext { family: Arc::clone(family), params, episodes })
    }
}

impl Learnt {
    /// Two episodes of the source's life on a task, from this part of the life on.
    ///
    /// # Errors
    /// When the source cannot learn such a task, or the world fails.
    pub fn shown(&self, task: &FamilyTask, part: f64) -> Result<LearningHistory, EngineError> {
        let episodes = self.teacher.episodes;
        let life = Life {
            task: 0,
            stream: 0,
            seed: Stream::new(task.id, "shown", 0).bits() >> 1,
            episodes,
            keep_every: 1,
            source: 0,
            algorithm: String::new(),
            algorithm_config: String::new(),
        };
        let source = self.teacher.build(&self.family, task).map_err(|e| unfit(&e))?;
        let Beginning { mut worlds, mut source } = Beginning::new(source, &*self.family, &task.params)?;
        let h = live(&life, &mut worlds, &mut *source)?.into_iter().next().unwrap_or_default();
        let first = (part * episodes.saturating_sub(2) as f64).round() as usize;
        let (mut from, mut to) = (0, 0);
        for (index, episode) in h.episodes().enumerate().skip(first).take(2) {
            from = if index == first { episode.start } else { from };
            to = episode.end;
        }
        let [o, a] = [&h.observations, &h.actions].map(|rows| rows.len() / h.len().max(1));
        Ok(LearningHistory {
            observations: h.observations[from * o..to * o].to_vec(),
            actions: h.actions[from * a..to * a].to_vec(),
            rewards: h.rewards[from..to].to_vec(),
            ends: h.ends[from..to].to_vec(),
            ..LearningHistory::default()
        })
    }
}

/// A source that cannot learn a task of its own family.
pub fn unfit(error: &SourceError) -> EngineError {
    EngineError::Config {
        key: "source".into(),
        expected: "one that can learn these tasks".into(),
        found: error.to_string(),
    }
}

enum Lost {
    Life(LifeError),
    Source(SourceError),
}

impl From<LifeError> for Lost {
    fn from(error: LifeError) -> Self {
        Self::Life(error)
    }
}

/// Reads or lives them.
///
/// # Errors
/// When a setting cannot be used, or it was interrupted.
pub fn learnt(config: &HistoriesConfig, seed: u64, interrupt: &Interrupt) -> Result<Learnt, Failure> {
    match config {
        HistoriesConfig::File(path) => read(path),
        HistoriesConfig::Lived(config) => lived(config, seed, interrupt),
    }
}

/// The family that histories are of, without reading or living them.
///
/// # Errors
/// When it cannot be built, or the file is none.
pub fn family(config: &HistoriesConfig) -> Result<Arc<dyn TaskFamily>, Failure> {
    match config {
        HistoriesConfig::File(path) => Ok(read(path)?.family),
        HistoriesConfig::Lived(config) => {
            Ok(Arc::from(config.family.build(&FamilyContext {}).map_err(usage)?))
        }
    }
}

/// A file of `surefoot collect`: the file says how it was made.
fn read(path: &Path) -> Result<Learnt, Failure> {
    let file = HistoryFile::open(path)?;
    if file.collect_config().starts_with("{\"imported\"") {
        return Err(anyhow!(
            "{}: these histories were imported ({}), and the worlds that a policy would be judged in are not here\n\nhint: `surefoot collect` makes histories of families that are",
            path.display(),
            file.meta().family
        )
        .into());
    }
    let config: CollectConfig = serde_json::from_str(file.collect_config())
        .with_context(|| format!("{}: how it was collected is not known to this program", path.display()))?;
    let family: Arc<dyn TaskFamily> = Arc::from(config.family.build(&FamilyContext {})?);
    let first = config.source.first().with_context(|| format!("{}: nobody lived it", path.display()))?;
    let teacher = Teacher { config: first.algorithm.clone(), episodes: first.episodes };
    Ok(Learnt { histories: Box::new(file), family, teacher })
}

fn inner<T: serde::Serialize>(config: &T, name: &str) -> Result<String, Failure> {
    let value = serde_json::to_value(config).context("cannot write settings")?;
    Ok(value.get(name).map_or_else(|| "{}".to_owned(), ToString::to_string))
}

fn lived(config: &LivedConfig, seed: u64, interrupt: &Interrupt) -> Result<Learnt, Failure> {
    let LivedConfig { family, source, per_task, episodes, keep_every } = config;
    let (family_name, family_config) = (family.name(), inner(family, family.name())?);
    let (source_name, source_config) = (source.algorithm(), inner(source, source.name())?);
    let family: Arc<dyn TaskFamily> = Arc::from(family.build(&FamilyContext {}).map_err(usage)?);
    let tasks = family.tasks(TaskSplit::Train);
    let teacher = Teacher { config: source.clone(), episodes: *episodes };
    let lives: Vec<Life> = (0..tasks.len())
        .flat_map(|task| (0..*per_task as u32).map(move |stream| (task, stream)))
        .map(|(task, stream)| Life {
            task,
            stream,
            seed: Stream::new(seed, "lived", (task * per_task) as u64 + u64::from(stream)).bits() >> 1,
            episodes: *episodes,
            keep_every: *keep_every,
            source: 0,
            algorithm: source_name.to_owned(),
            algorithm_config: source_config.clone(),
        })
        .collect();
    let begin = |life: &Life| -> Result<Beginning, Lost> {
        let task = &tasks[life.task];
        let source = teacher.build(&family, task).map_err(Lost::Source)?;
        Ok(Beginning::new(source, &*family, &task.params).map_err(LifeError::Env)?)
    };
    let mut all: Vec<LearningHistory> = Vec::with_capacity(lives.len());
    let through = collect(&lives, rayon::current_num_threads(), begin, interrupt, |_, history| {
        all.push(history);
        Ok(())
    });
    match through {
        Ok(true) => {}
        Ok(false) => return Err(Failure::Interrupted("nothing was begun yet".into())),
        Err(Lost::Life(e)) => return Err(e.into()),
        Err(Lost::Source(e)) => return Err(usage(e)),
    }
    let meta = HistoryMeta {
        spec: family.spec().clone(),
        family: family_name.to_owned(),
        family_config,
        tasks: tasks.clone(),
        hash: String::new(),
    };
    let histories: Box<dyn HistorySource> = Box::new(Histories::new(meta, all)?);
    Ok(Learnt { histories, family, teacher })
}

/// Tasks of the training that are kept back for validation, evenly over all of them; and the indices of those that nothing is learnt from,
/// the tests' among them.
///
/// # Errors
/// When nothing would be left to train on.
pub fn kept_back(
    tasks: &[FamilyTask],
    count: usize,
    seed: u64,
) -> Result<(Vec<FamilyTask>, BTreeSet<usize>), Failure> {
    let train: Vec<usize> = (0..tasks.len()).filter(|i| tasks[*i].split == TaskSplit::Train).collect();
    let n = train.len();
    if count >= n {
        return Err(usage(anyhow!(
            "evaluation.validation_tasks = {count}: there are {n} tasks to train on, and some must be left"
        )));
    }
    let offset = Stream::new(seed, "kept back", 0).below(n);
    let chosen: BTreeSet<usize> = (0..count).map(|i| train[(offset + i * n / count) % n]).collect();
    let validation = chosen.iter().map(|i| tasks[*i].clone()).collect();
    let without = (0..tasks.len()).filter(|i| chosen.contains(i) || tasks[*i].split != TaskSplit::Train);
    Ok((validation, without.collect()))
}
