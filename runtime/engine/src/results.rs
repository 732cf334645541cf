//! What a run found, as it stands in `results.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use surefoot_safety::SafetyCounts;

use crate::evaluation::Evaluation;

/// What kind of stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    /// Another learner on the same demonstrations, to compare with.
    Baseline,
    /// The learner on demonstrations.
    Offline,
    /// The learner on demonstrations and its own experience.
    Online,
}

/// A filmed evaluation episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilmResult {
    /// Path in the run directory.
    pub file: String,
    /// Which evaluation episode.
    pub episode: usize,
    /// Its reset seed.
    pub seed: u64,
    /// Whether it was solved.
    pub success: bool,
    /// Sum of rewards.
    pub episode_return: f64,
    /// Length, env steps.
    pub steps: usize,
}

/// What a stage found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageResult {
    /// Name, unique in the run.
    pub name: String,
    /// Kind.
    pub kind: StageKind,
    /// The learner's registry name.
    pub algorithm: String,
    /// Updates done in it.
    pub updates: u64,
    /// Env steps done in it.
    pub env_steps: u64,
    /// Training episodes done in it.
    pub episodes: u64,
    /// Where held-out demonstrations chose the state that was kept: the stage's updates at that point.
    pub kept_updates: Option<u64>,
    /// Whether held-out demonstrations ended it before its last update.
    pub stopped_early: bool,
    /// Fixed-seed evaluation at its end; absent without an environment.
    pub evaluation: Option<Evaluation>,
    /// Held-out demonstrations at its end.
    pub heldout: BTreeMap<String, f64>,
    /// What the safety chain did while training data was collected.
    pub training_safety: SafetyCounts,
    /// Filmed evaluation episodes.
    pub films: Vec<FilmResult>,
}

/// A point of the learning curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurvePoint {
    /// Stage.
    pub stage: String,
    /// The learner's updates.
    pub updates: u64,
    /// Env steps of training.
    pub env_steps: u64,
    /// What was found.
    pub evaluation: Evaluation,
}

/// What the demonstrations were.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemonstrationSummary {
    /// Episodes learned from.
    pub episodes: usize,
    /// Steps learned from.
    pub steps: usize,
    /// Episodes held out.
    pub heldout_episodes: usize,
    /// Steps held out.
    pub heldout_steps: usize,
    /// Solved episodes among those of which it is known, and how many those are.
    pub successes: Option<(usize, usize)>,
}

/// What a run found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// Run name.
    pub name: String,
    /// Run seed.
    pub seed: u64,
    /// Environment's name.
    pub env: String,
    /// Demonstrations.
    pub demonstrations: DemonstrationSummary,
    /// Stages that have ended, in order.
    pub stages: Vec<StageResult>,
    /// Every evaluation, in order.
    pub curve: Vec<CurvePoint>,
    /// Whether all stages have ended.
    pub finished: bool,
}
