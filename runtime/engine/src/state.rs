//! Where a run is: everything that decides what comes next, besides the learner and the replay buffer.
//!
//! [`TrainState::next`] is a function of this state alone, and every random number is a function of the run's seed and these
//! counters. That is why a resumed run goes on bit for bit as if it had never stopped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use surefoot_core::{Metrics, PhaseKind, SuccessHistory};
use surefoot_safety::SafetyCounts;

use crate::evaluation::{EvalConfig, Evaluation};
use crate::limits::SessionLimits;
use crate::phases::{OnlineConfig, PhaseConfig};
use crate::promotion::RollbackWatch;
use crate::results::{LimitCounts, Results, StageKind};

/// Which learner a stage trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LearnerId {
    Baseline(usize),
    Main,
}

/// A stage as it will be run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StagePlan {
    pub name: String,
    pub kind: StageKind,
    pub algorithm: String,
    pub learner: LearnerId,
    pub phase: PhaseConfig,
    /// Fresh steps that every update of the stage waits for, of a learner on policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh_env_steps: Option<u64>,
}

/// What a checkpoint must agree with the configuration on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    pub seed: u64,
    pub env: String,
    pub stages: Vec<StagePlan>,
    pub evaluation: EvalConfig,
    pub holdout_fraction: f64,
    pub log_every_updates: u64,
    pub data_hashes: Vec<String>,
    pub data_weights: Vec<f64>,
    pub has_env: bool,
}

/// The run's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    /// Training steps in the environment.
    pub env_steps: u64,
    /// Updates of the present learner.
    pub updates: u64,
    /// Control ticks behind `env_steps`.
    pub ticks: u64,
    /// Training episodes.
    pub episodes: u64,
}

/// Where the present stage is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StageProgress {
    pub entered: bool,
    pub updates: u64,
    pub env_steps: u64,
    pub episodes: u64,
    /// Env steps that updates are owed for: those after the warm-up.
    pub paid_env_steps: u64,
    /// Of those, the ones since the last update by the policy that acts now: what a learner on policy learns from next.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fresh_env_steps: u64,
    /// Counter value at which the next periodic evaluation is due.
    pub next_eval: u64,
    /// Updates at which the held-out demonstrations were last looked at.
    pub heldout_at: u64,
    pub best_value: Option<f64>,
    pub best_updates: u64,
    pub without_improvement: u32,
    pub stopped: bool,
    pub restored: bool,
    /// The last evaluation of exactly the present policy.
    pub evaluated: Option<Evaluation>,
    pub safety: SafetyCounts,
    pub limits: LimitCounts,
}

/// Where an online phase's line of policies is; the policies themselves stand beside it, see `PolicyLine`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OnlineState {
    /// Updates of the stage behind the newest candidate that was let through or refused.
    pub considered_updates: u64,
    /// Env steps of the stage at that point.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub considered_env_steps: u64,
    /// Whether what acts is the last good policy.
    pub acting_is_last_good: bool,
    /// After a rollback, until the last good policy has a new record: candidates wait.
    pub withheld: bool,
    /// Canary episodes so far.
    pub canaries: u64,
    /// In how many of them the policy that acts succeeded, where candidates are held to that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acting_canary_successes: Option<usize>,
    /// Updates behind the newest policy that was taken back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub withdrawn_updates: u64,
    pub watch: RollbackWatch,
    pub session: SessionLimits,
}

/// Means of what updates reported since they were last written down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Means(BTreeMap<String, (f64, u64)>);

impl Means {
    /// Adds one update's numbers; those that are not finite are left out.
    pub fn add(&mut self, metrics: &Metrics) {
        for (name, value) in metrics.iter().filter(|(_, v)| v.is_finite()) {
            if let Some((sum, n)) = self.0.get_mut(name) {
                *sum += value;
                *n += 1;
            } else {
                self.0.insert(name.to_owned(), (value, 1));
            }
        }
    }

    /// The means, by name; empty afterwards.
    pub fn take(&mut self) -> Vec<(String, f64)> {
        std::mem::take(&mut self.0).into_iter().map(|(name, (sum, n))| (name, sum / n as f64)).collect()
    }
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Enter,
    Update,
    Promote,
    Collect,
    Heldout,
    Evaluate,
    Restore,
    Close,
    Finished,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrainState {
    pub format: String,
    pub identity: Identity,
    pub checkpoints: u64,
    pub stage: usize,
    pub counters: Counters,
    pub progress: StageProgress,
    /// Of the newest online phase that was entered.
    pub online: Option<OnlineState>,
    pub means: Means,
    pub results: Results,
    pub best_success: Option<f64>,
    /// Length of `metrics.jsonl` at this point.
    pub metrics_bytes: u64,
    /// Rows ever pushed to the replay buffer.
    pub replay_written: u64,
    /// Whether each training episode of the run was solved, canaries left out.
    #[serde(default, skip_serializing_if = "SuccessHistory::is_empty")]
    pub successes: SuccessHistory,
    /// Episodes of actors that were learned from, whole run.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fleet_taken: u64,
    /// Whose state stands in the checkpoint.
    pub saved_learner: LearnerId,
}

impl StagePlan {
    /// Which data the stage learns from.
    pub const fn phase_kind(&self) -> PhaseKind {
        match self.phase {
            PhaseConfig::Offline(_) => PhaseKind::Offline,
            PhaseConfig::Online(_) => PhaseKind::Online,
        }
    }
}

impl TrainState {
    pub const FORMAT: &'static str = "surefoot-train-state/3";

    /// The present stage; `None` when all have ended.
    pub fn plan(&self) -> Option<&StagePlan> {
        self.identity.stages.get(self.stage)
    }

    /// What is to be done next.
    pub fn next(&self) -> Next {
        let Some(plan) = self.plan() else { return Next::Finished };
        let p = &self.progress;
        if !p.entered {
            return Next::Enter;
        }
        match &plan.phase {
            PhaseConfig::Offline(c) => {
                let look = c.early_stop.as_ref().map(|e| e.every_updates);
                let ended = p.stopped || p.updates >= c.updates;
                if look.is_some_and(|every| {
                    p.updates > p.heldout_at && (p.updates.is_multiple_of(every) || ended)
                }) {
                    return Next::Heldout;
                }
                if !ended && self.evaluation_due(c.eval_every_updates, p.updates) {
                    return Next::Evaluate;
                }
                if !ended {
                    return Next::Update;
                }
                if look.is_some() && !p.restored && p.best_updates != p.updates {
                    return Next::Restore;
                }
            }
            PhaseConfig::Online(c) => {
                if owed(plan, c, p) > 0 {
                    return Next::Update;
                }
                if self.online.as_ref().is_some_and(|o| candidate_due(c, p, o)) {
                    return Next::Promote;
                }
                if p.env_steps < c.env_steps {
                    if self.evaluation_due(c.eval_every_env_steps, p.env_steps) {
                        return Next::Evaluate;
                    }
                    return Next::Collect;
                }
            }
        }
        // The training of this stage is done.
        if self.identity.has_env && p.evaluated.is_none() { Next::Evaluate } else { Next::Close }
    }

    fn evaluation_due(&self, every: u64, counter: u64) -> bool {
        self.identity.has_env && every > 0 && counter > 0 && counter >= self.progress.next_eval.max(every)
    }

    /// Part of the present stage that is done, 0 to 1.
    pub fn fraction(&self) -> f64 {
        let p = &self.progress;
        let part = |done: u64, of: u64| (done as f64 / of.max(1) as f64).min(1.0);
        let Some(plan) = self.plan() else { return 1.0 };
        match &plan.phase {
            PhaseConfig::Offline(c) => {
                if p.stopped {
                    1.0
                } else {
                    part(p.updates, c.updates)
                }
            }
            PhaseConfig::Online(c) => {
                // Updates of the present round are still owed for steps that were taken.
                let owed = match plan.fresh_env_steps {
                    None => owed(plan, c, p) as f64 / c.utd_ratio,
                    Some(_) => 0.0,
                };
                ((p.env_steps as f64 - owed) / c.env_steps.max(1) as f64).clamp(0.0, 1.0)
            }
        }
    }
}

pub(crate) const fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Whether the learner's newest policy is to be looked at now.
const fn candidate_due(c: &OnlineConfig, p: &StageProgress, o: &OnlineState) -> bool {
    let waited = p.env_steps - o.considered_env_steps >= c.promotion.every_env_steps;
    !o.withheld && o.considered_updates != p.updates && (waited || p.env_steps >= c.env_steps)
}

/// Updates that the steps taken so far pay for and that were not done yet.
fn owed(plan: &StagePlan, c: &OnlineConfig, p: &StageProgress) -> u64 {
    if let Some(fresh) = plan.fresh_env_steps {
        return u64::from(p.fresh_env_steps >= fresh);
    }
    ((p.paid_env_steps as f64 * c.utd_ratio).floor() as u64).saturating_sub(p.updates)
}
