//! How a step ends and what it brought.

use serde::{Deserialize, Serialize};
use surefoot_safety::SafetyCounts;

/// How a step leaves the episode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepEnd {
    /// The episode goes on.
    #[default]
    Running,
    /// The task ended: there is no value beyond this step.
    Terminated,
    /// The recording or the clock ended, not the task: the value beyond this step still counts.
    Truncated,
}

impl StepEnd {
    /// From the two flags of the field; where both are set the termination wins.
    #[must_use]
    pub const fn from_flags(terminated: bool, truncated: bool) -> Self {
        match (terminated, truncated) {
            (true, _) => Self::Terminated,
            (false, true) => Self::Truncated,
            (false, false) => Self::Running,
        }
    }
    /// The factor of the next state's value: 0 after `Terminated`, 1 otherwise.
    #[must_use]
    pub const fn continuation(self) -> f32 {
        match self {
            Self::Terminated => 0.0,
            Self::Running | Self::Truncated => 1.0,
        }
    }
    /// Whether the episode is over.
    #[must_use]
    pub const fn is_last(self) -> bool {
        !matches!(self, Self::Running)
    }
}

/// What a step cost the robot: what limits on a whole episode are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepFigures {
    /// Way of all joints together, `sum |velocity| dt`, rad and m: of the commanded motion where motion is commanded, of the
    /// measured one otherwise. 0 where there is no robot.
    pub path: f64,
    /// Work done or taken up by the joints, `sum |effort * velocity| dt`, J; `None` where efforts are not known.
    pub energy_joules: Option<f64>,
    /// Longest run of control ticks with a changed or refused command that reaches into this step, earlier steps' ticks of the
    /// run included.
    pub filter_run_ticks: u64,
    /// Stops that began in this step: refused commands in a row are one stop.
    pub stops: u64,
    /// Take-overs by a person that began in this step.
    pub interventions: u64,
}

/// What a step brought.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Reward of the transition into the new observation.
    pub reward: f32,
    /// How the step leaves the episode.
    pub end: StepEnd,
    /// Whether the task's goal holds after this step.
    pub success: bool,
    /// What the safety chain did during this step, in control ticks.
    pub safety: SafetyCounts,
    /// What it cost.
    pub figures: StepFigures,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_termination_stops_the_bootstrap_and_it_wins_over_truncation() {
        assert_eq!(StepEnd::from_flags(true, true), StepEnd::Terminated);
        assert_eq!(StepEnd::from_flags(false, true), StepEnd::Truncated);
        assert_eq!(StepEnd::Terminated.continuation(), 0.0);
        assert_eq!(StepEnd::Truncated.continuation(), 1.0);
        assert_eq!(StepEnd::default().continuation(), 1.0);
    }
}
