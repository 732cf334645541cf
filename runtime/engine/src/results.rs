//! What a run found, as it stands in `results.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use surefoot_safety::SafetyCounts;

use crate::evaluation::Evaluation;
use crate::limits::EpisodeLimit;

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

/// How often the limits on learning acted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitCounts {
    /// Training episodes that a limit ended, by limit.
    pub episodes_ended: BTreeMap<EpisodeLimit, u64>,
    /// Training steps whose action was moved into the trust region.
    pub clipped_steps: u64,
    /// Candidates that were not let through, by reason.
    pub refusals: BTreeMap<String, u64>,
    /// Times that the last good policy took over again.
    pub rollbacks: u64,
    /// Times that the session ended and a person was waited for.
    pub session_stops: u64,
}

impl LimitCounts {
    /// Adds another count.
    pub fn add(&mut self, other: &Self) {
        let Self { episodes_ended, clipped_steps, refusals, rollbacks, session_stops } = other;
        for (limit, n) in episodes_ended {
            *self.episodes_ended.entry(*limit).or_default() += n;
        }
        for (reason, n) in refusals {
            *self.refusals.entry(reason.clone()).or_default() += n;
        }
        self.clipped_steps += clipped_steps;
        self.rollbacks += rollbacks;
        self.session_stops += session_stops;
    }

    /// What acted, in words; empty when nothing did.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let Self { episodes_ended, clipped_steps, refusals, rollbacks, session_stops } = self;
        let count = |n: u64, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let mut words: Vec<String> = Vec::new();
        for (limit, n) in episodes_ended {
            words.push(format!("{} ended by {}", count(*n, "episode"), limit.name()));
        }
        for (reason, n) in refusals {
            words.push(format!("{} refused ({reason})", count(*n, "policy update")));
        }
        for (n, what) in [
            (*clipped_steps, "step moved into the trust region"),
            (*rollbacks, "rollback"),
            (*session_stops, "session stop"),
        ] {
            if n > 0 {
                let (first, rest) = what.split_once(' ').map_or((what, ""), |(f, r)| (f, r));
                words.push(format!("{} {rest}", count(n, first)).trim_end().to_owned());
            }
        }
        words
    }
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
    /// How often the limits on learning acted.
    #[serde(default)]
    pub limits: LimitCounts,
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
