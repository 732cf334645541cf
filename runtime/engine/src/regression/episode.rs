//! One episode of a scenario: on what it is run, and what is kept of it.

use serde::{Deserialize, Serialize};
use surefoot_core::safety::SafetyCounts;
use surefoot_core::{EnvSpec, ScheduledFault};

use super::drive::{ControlLoopConfig, DriveRecord};
use super::driven::DrivenStage;
use super::scenario::Parts;
use super::stepped::SteppedStage;
use super::trace::Trace;
use crate::{EngineError, EpisodeSeeds, Interrupt};

/// How an episode ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EpisodeEnd {
    /// By its task.
    Terminated,
    /// By its time limit, or by the control loop's coming to rest.
    #[default]
    Truncated,
    /// The robot was lost, or refused.
    RobotLost,
    /// The world left the realm of finite numbers.
    Diverged,
}

/// What came of an episode.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpisodeRecord {
    /// Place among the scenario's seeds.
    pub episode: usize,
    /// Seed of its start.
    pub seed: u64,
    /// Env steps.
    pub steps: usize,
    /// How it ended.
    pub end: EpisodeEnd,
    /// Whether it was solved.
    pub success: bool,
    /// When it was, s; where a control loop drives, of the drive and at its end.
    pub success_secs: Option<f64>,
    /// Sum of rewards.
    pub episode_return: f64,
    /// Way of all joints, rad and m.
    pub path: f64,
    /// What the safety chain did, in control ticks; violations as the robot's own side saw them.
    pub safety: SafetyCounts,
    /// Why it could not go on, where it could not.
    pub failure: Option<String>,
    /// blake3 of its signals.
    pub trace: String,
    /// What the control loop did, where one drove.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drive: Option<DriveRecord>,
}

/// A world with a policy in it, ready for an episode. Each is a function of its own seeds.
pub struct Stage(Kind);

enum Kind {
    Stepped(Box<SteppedStage>),
    Driven(Box<DrivenStage>),
}

impl Stage {
    /// Builds both, as an environment or, with `control_loop`, as a robot that its control loop drives.
    ///
    /// # Errors
    /// When one cannot be built.
    pub fn new(
        parts: &dyn Parts,
        faults: &[ScheduledFault],
        control_loop: Option<&ControlLoopConfig>,
    ) -> Result<Self, EngineError> {
        Ok(Self(match control_loop {
            None => Kind::Stepped(Box::new(SteppedStage::new(parts, faults)?)),
            Some(config) => Kind::Driven(Box::new(DrivenStage::new(parts, faults, config)?)),
        }))
    }

    /// What the policy sees and does.
    #[must_use]
    pub fn spec(&self) -> &EnvSpec {
        match &self.0 {
            Kind::Stepped(stage) => stage.spec(),
            Kind::Driven(stage) => stage.spec(),
        }
    }

    /// Names of all signals.
    #[must_use]
    pub fn signals(&self) -> Vec<String> {
        match &self.0 {
            Kind::Stepped(stage) => stage.signals(),
            Kind::Driven(stage) => stage.signals(),
        }
    }

    /// Runs one, and gives the stage back where another one can follow on it.
    ///
    /// # Errors
    /// What the policy says, a world of another shape or process, and [`EngineError::Interrupted`]. A robot that is lost and a world that
    /// diverges end the episode.
    pub fn run(
        self,
        episode: usize,
        seeds: EpisodeSeeds,
        interrupt: &Interrupt,
    ) -> Result<(EpisodeRecord, Trace, Option<Self>), EngineError> {
        match self.0 {
            Kind::Stepped(mut stage) => {
                let (record, trace) = stage.run(episode, seeds, interrupt)?;
                let again = (!stage.is_broken()).then_some(Self(Kind::Stepped(stage)));
                Ok((record, trace, again))
            }
            // What a loop does depends on all that it has seen: each episode has one of its own.
            Kind::Driven(stage) => {
                let (record, trace) = stage.run(episode, seeds, interrupt)?;
                Ok((record, trace, None))
            }
        }
    }
}

/// Names of what is recorded of an env step.
pub fn step_signals(spec: &EnvSpec) -> Vec<String> {
    let actions = spec.action.iter().map(|f| format!("action/{}", f.name));
    let observations = spec.observation.iter().map(|f| format!("observation/{}", f.name));
    actions.chain(observations).chain(["reward".to_owned()]).collect()
}
