//! What a run tells whoever watches it.

use serde::Serialize;
use surefoot_core::{ActorStatus, Episode};

use crate::control::{CadenceReport, Mode};
use crate::evaluation::Evaluation;
use crate::limits::SessionLimitReached;
use crate::promotion::Refusal;
use crate::results::{LimitCounts, StageKind};

/// One thing that happened. Serialises as `{"event": "...", ...}`: a line of NDJSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A stage began, or went on after a resume.
    StageStarted {
        /// Its name: a baseline's, `offline` or `online`.
        stage: String,
        /// What kind of stage.
        kind: StageKind,
        /// The learner's registry name.
        algorithm: String,
        /// Place in the list of stages, from 0.
        index: usize,
        /// Stages in all.
        stages: usize,
        /// Updates planned for the stage, where it is bounded by updates.
        updates: Option<u64>,
        /// Env steps planned for the stage, where it is bounded by env steps.
        env_steps: Option<u64>,
        /// Whether it goes on from a checkpoint.
        resumed: bool,
    },
    /// Work goes on. Sent a few times per second.
    Progress(Progress),
    /// Held-out demonstrations were looked at.
    Heldout {
        /// Stage.
        stage: String,
        /// The learner's updates.
        updates: u64,
        /// Metric that decides about stopping, where one does.
        metric: Option<String>,
        /// Its value.
        value: Option<f64>,
        /// Whether it is the best so far.
        improved: bool,
    },
    /// An evaluation in the environment ended.
    Evaluated {
        /// Stage.
        stage: String,
        /// The learner's updates.
        updates: u64,
        /// Env steps of training.
        env_steps: u64,
        /// What was found.
        evaluation: Evaluation,
    },
    /// A stage ended.
    StageFinished {
        /// Stage.
        stage: String,
        /// Updates done in it.
        updates: u64,
        /// Env steps done in it.
        env_steps: u64,
        /// Whether held-out demonstrations ended it, and the updates of the state that was kept.
        stopped_early_at: Option<u64>,
        /// Wall time of the stage in this process, s.
        wall_secs: f64,
    },
    /// Limits acted in a round of training episodes.
    LimitsActed {
        /// Stage.
        stage: String,
        /// Env steps of training.
        env_steps: u64,
        /// How often, in this round.
        counts: LimitCounts,
    },
    /// New weights were not let through: what acted before goes on acting.
    PromotionRefused {
        /// Stage.
        stage: String,
        /// Updates behind the weights.
        updates: u64,
        /// Env steps of training.
        env_steps: u64,
        /// Why.
        refusal: Refusal,
    },
    /// What acted was worse than the last good policy, which acts again.
    RolledBack {
        /// Stage.
        stage: String,
        /// The learner's updates.
        updates: u64,
        /// Env steps of training.
        env_steps: u64,
        /// Updates behind the policy that was taken back.
        from_updates: u64,
        /// Updates behind the last good policy.
        to_updates: u64,
        /// Successes and episodes in the last good policy's record.
        record: (usize, usize),
        /// Successes and episodes of what came after it.
        trial: (usize, usize),
    },
    /// A limit of the session was reached: the phase stops and waits for a person.
    SafetyStop {
        /// Stage.
        stage: String,
        /// Env steps of training.
        env_steps: u64,
        /// Which limit.
        reached: SessionLimitReached,
    },
    /// The robot of a phase that acts and learns side by side came to rest: the stage, the session or the program ends.
    RobotAtRest {
        /// The mode that its control loop was left in.
        mode: Mode,
        /// How the control period was kept; `None` on simulated time.
        cadence: Option<CadenceReport>,
        /// Commanded joints that an independent witness found beyond a limit, since the last arming.
        violations: u64,
        /// Control ticks that were not recorded because nobody fetched them in time.
        dropped_ticks: u64,
    },
    /// The actors of a run: when one comes or goes, after each round that was taken, and a few times per second while the learner waits
    /// for them.
    Fleet {
        /// Episodes of actors that are kept.
        stored: u64,
        /// Those that were learned from.
        taken: u64,
        /// Everybody who was ever there, by name.
        actors: Vec<ActorStatus>,
        /// Why episodes cannot be kept at present.
        trouble: Option<String>,
    },
    /// Something to know of the worlds: that nothing guards their actions, how their numbers are converted.
    EnvNote {
        /// The sentence.
        note: String,
    },
    /// The process that the worlds live in was lost. What was being collected or evaluated is dropped whole and done again.
    EnvLost {
        /// Stage.
        stage: String,
        /// What was noticed.
        reason: String,
        /// Losses in a row, this one included.
        in_a_row: usize,
    },
    /// A checkpoint was written.
    Checkpointed {
        /// Its name.
        name: String,
        /// Its size.
        bytes: u64,
    },
    /// The run ended.
    Finished {
        /// The run directory.
        run: String,
        /// Whether it was interrupted and can be resumed.
        interrupted: bool,
    },
}

/// What is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// Updating the learner.
    Learning,
    /// Acting for data.
    Collecting,
    /// Running evaluation episodes.
    Evaluating,
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Progress {
    /// Stage.
    pub stage: String,
    /// What is going on.
    pub activity: Activity,
    /// Part of the stage that is done, 0 to 1.
    pub fraction: f64,
    /// Env steps of training, whole run.
    pub env_steps: u64,
    /// The learner's updates.
    pub updates: u64,
    /// Updates per second of learning, in this stage and process.
    pub updates_per_sec: f64,
    /// Env steps per second of acting, in this stage and process.
    pub env_steps_per_sec: f64,
    /// Mean return of the last round, or of the last evaluation.
    pub return_mean: Option<f64>,
    /// Success rate of the last round, or of the last evaluation.
    pub success_rate: Option<f64>,
    /// Part of the last round's commands that the safety chain changed or refused, percent.
    pub filter_active_pct: Option<f64>,
    /// Time left in this stage, s.
    pub stage_eta_secs: Option<f64>,
}

/// Watches a run.
pub trait Observer {
    /// Called for everything that happens.
    fn event(&mut self, event: &Event);
    /// Called with every round of collected episodes that the run keeps: for recording.
    fn episodes(&mut self, _stage: &str, _episodes: &[Episode]) {}
}

/// Watches nothing.
impl Observer for () {
    fn event(&mut self, _event: &Event) {}
}
