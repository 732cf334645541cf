//! Training an in-context policy: updates, judged now and then by lives on tasks kept back. The one that learned best in context is the
//! result, and not the one of the smallest loss: learning in context comes, and may go again.

use serde::{Deserialize, Serialize};
use surefoot_core::{
    ActMode, Blobs, FamilyTask, HistoryLearner, LearnError, Metrics, PolicyArtifact, TaskFamily,
};

use super::lives::{LifeConfig, Living, PolicyLife, judge};
use crate::checkpoint::{Checkpoints, policy_files};
use crate::metrics::MetricsLog;
use crate::run_dir::{RunDir, write_atomic};
use crate::{EngineError, Interrupt};

const STATE: &str = "state/state.json";
const LEARNER: &str = "learner/";

/// What a judgement found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationPoint {
    /// After so many updates.
    pub updates: u64,
    /// Mean normalised return of the later half of the episodes: 0 is random, 1 is optimal.
    pub score: f64,
}

/// Where a distillation is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillationState {
    /// All judgements.
    pub validation: Vec<ValidationPoint>,
    /// The best one, to which `checkpoints/best` points.
    pub best: Option<ValidationPoint>,
    metrics_bytes: u64,
    sequence: u64,
}

/// What a distillation is made of.
pub struct DistillationParts<'a> {
    /// What is trained.
    pub learner: Box<dyn HistoryLearner>,
    /// Where it is judged.
    pub family: &'a dyn TaskFamily,
    /// Tasks kept back for it.
    pub validation: Vec<FamilyTask>,
    /// Lives of a judgement.
    pub lives: LifeConfig,
    /// Updates between two judgements.
    pub every_updates: u64,
    /// Updates between two lines of metrics.
    pub log_every_updates: u64,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq)]
pub struct DistillationProgress<'a> {
    /// Updates so far.
    pub updates: u64,
    /// Updates in all.
    pub planned: u64,
    /// Tokens of the last update.
    pub tokens: u64,
    /// Metrics of the last update.
    pub metrics: &'a Metrics,
    /// A judgement, if there was one.
    pub judged: Option<ValidationPoint>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DistillationEnd {
    /// All updates were made.
    Finished,
    /// It goes on from its last checkpoint.
    Interrupted,
}

/// A distillation in its run directory.
pub struct Distillation<'a> {
    parts: DistillationParts<'a>,
    run: RunDir,
    state: DistillationState,
    log: MetricsLog,
}

fn failed(source: LearnError) -> EngineError {
    EngineError::Learn { stage: "distill".into(), source }
}

impl<'a> Distillation<'a> {
    /// A new one.
    ///
    /// # Errors
    /// When its metrics cannot be written.
    pub fn begin(parts: DistillationParts<'a>, run: RunDir) -> Result<Self, EngineError> {
        let log = MetricsLog::open(&run.path().join("metrics.jsonl"), 0)?;
        Ok(Self { parts, run, state: DistillationState::default(), log })
    }

    /// Goes on from a run's last checkpoint, or from its beginning where there is none yet.
    ///
    /// # Errors
    /// When the checkpoint is damaged, or of another distillation.
    pub fn resume(parts: DistillationParts<'a>, run: RunDir) -> Result<Self, EngineError> {
        let checkpoints = Checkpoints::of(run.path());
        if checkpoints.linked("last").is_none() {
            return Self::begin(parts, run);
        }
        let (name, files) = checkpoints.read(None)?;
        let state = files.get(STATE).map(Vec::as_slice).unwrap_or_default();
        let state: DistillationState =
            serde_json::from_slice(state).map_err(|e| EngineError::RunDamaged {
                path: checkpoints.path(&name).join(STATE),
                what: "content".into(),
                expected: "the state of a distillation".into(),
                found: e.to_string(),
            })?;
        let of_learner: Blobs = files
            .iter()
            .filter_map(|(file, bytes)| Some((file.strip_prefix(LEARNER)?.to_owned(), bytes.clone())))
            .collect();
        let mut parts = parts;
        parts.learner.load(&of_learner).map_err(failed)?;
        let log = MetricsLog::open(&run.path().join("metrics.jsonl"), state.metrics_bytes)?;
        Ok(Self { parts, run, state, log })
    }

    /// Where it is.
    #[must_use]
    pub const fn state(&self) -> &DistillationState {
        &self.state
    }

    /// The run's directory.
    #[must_use]
    pub const fn run_dir(&self) -> &RunDir {
        &self.run
    }

    /// Trains to the end or to an interrupt.
    ///
    /// # Errors
    /// When a number is not finite (the last good state is then saved), or something cannot be written.
    pub fn run(
        &mut self,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(&DistillationProgress<'_>),
    ) -> Result<DistillationEnd, EngineError> {
        let planned = self.parts.learner.planned_updates();
        while self.parts.learner.updates() < planned {
            if interrupt.requested() {
                self.checkpoint()?;
                return Ok(DistillationEnd::Interrupted);
            }
            let metrics = match self.parts.learner.update() {
                Ok(metrics) => metrics,
                Err(error) => {
                    self.checkpoint()?;
                    return Err(failed(error));
                }
            };
            let updates = self.parts.learner.updates();
            if updates.is_multiple_of(self.parts.log_every_updates.max(1)) || updates == planned {
                self.log.append("distill", updates, 0, metrics.iter())?;
            }
            let mut judged = None;
            if updates.is_multiple_of(self.parts.every_updates.max(1)) || updates == planned {
                match self.validate(updates, interrupt) {
                    // The update stands; its judgement is made when the run goes on.
                    Err(EngineError::Interrupted) => return Ok(DistillationEnd::Interrupted),
                    point => judged = Some(point?),
                }
            }
            let tokens = self.parts.learner.tokens();
            progress(&DistillationProgress { updates, planned, tokens, metrics: &metrics, judged });
        }
        Ok(DistillationEnd::Finished)
    }

    fn validate(&mut self, updates: u64, interrupt: &Interrupt) -> Result<ValidationPoint, EngineError> {
        let learner = &*self.parts.learner;
        let artifact = learner.artifact().map_err(failed)?;
        let make = |_: &FamilyTask| -> Result<Box<dyn Living>, EngineError> {
            Ok(Box::new(PolicyLife::new(learner.policy(1).map_err(failed)?, ActMode::Exploit)))
        };
        let judged = judge(&make, self.parts.family, &self.parts.validation, self.parts.lives, interrupt)?;
        let scores = judged.iter().map(|j| {
            let late = &j.returns[j.returns.len() / 2..];
            let mean = late.iter().sum::<f64>() / late.len().max(1) as f64;
            f64::from(j.task.normalised(mean as f32))
        });
        let score = scores.sum::<f64>() / judged.len().max(1) as f64;
        let point = ValidationPoint { updates, score };
        self.state.validation.push(point);
        self.log.append("validation", updates, 0, [("validation/score", score)])?;
        let better = self.state.best.is_none_or(|best| score > best.score);
        if better {
            self.state.best = Some(point);
        }
        let name = self.checkpoint()?;
        if better {
            Checkpoints::of(self.run.path()).link("best", &name)?;
            self.write_policy(&artifact)?;
        }
        Checkpoints::of(self.run.path()).prune(2)?;
        Ok(point)
    }

    fn write_policy(&self, artifact: &PolicyArtifact) -> Result<(), EngineError> {
        let mut files = Blobs::new();
        let encode = |e| EngineError::io("encode", self.run.path())(std::io::Error::other(e));
        policy_files("policy", artifact, &mut files).map_err(encode)?;
        let dir = self.run.path().join("policy");
        std::fs::create_dir_all(&dir).map_err(EngineError::io("create", &dir))?;
        files.iter().try_for_each(|(file, bytes)| write_atomic(&self.run.path().join(file), bytes))
    }

    fn checkpoint(&mut self) -> Result<String, EngineError> {
        self.log.flush()?;
        self.state.metrics_bytes = self.log.bytes();
        self.state.sequence += 1;
        let learner = &self.parts.learner;
        let mut files = Blobs::new();
        for (file, bytes) in learner.save().map_err(failed)? {
            files.insert(format!("{LEARNER}{file}"), bytes);
        }
        let encode = |e| EngineError::io("encode", self.run.path())(std::io::Error::other(e));
        policy_files("policy", &learner.artifact().map_err(failed)?, &mut files).map_err(encode)?;
        files.insert(STATE.into(), serde_json::to_vec_pretty(&self.state).map_err(encode)?);
        let name = learner.updates().to_string();
        Ok(Checkpoints::of(self.run.path()).write(&name, self.state.sequence, false, &files)?.name)
    }
}
