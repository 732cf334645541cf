//! What is known of one control period: the record that everything else (transitions, reports, replays) is made from.

use serde::{Deserialize, Serialize};
use surefoot_core::{EnvSpec, RobotContract, RobotState, Stamp};
use surefoot_safety::{Reasons, Verdict};

use crate::control::mode::{Driver, Mode, Transition};
use crate::control::numbers::{number, row};
use crate::control::request::{Label, Refusal, Request};
use crate::limits::LimitReached;

/// One control period. Rows keep their length, so a tick can be filled again without allocating.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// Control periods since the loop was made.
    pub tick: u64,
    /// Monotonic clock at the beginning of the period, ns.
    pub now_nanos: i64,
    /// Of the state that was used.
    pub stamp_nanos: i64,
    /// Sample number of that state.
    pub stamp_seq: u64,
    /// At the end of the period.
    pub mode: Mode,
    /// What the task of the drive that is going on, or of the last one, was drawn from; 0 before the first.
    #[serde(default)]
    pub seed: u64,
    /// Changes of mode in this period, in order.
    pub transitions: [Option<Transition>; 4],
    /// A request that was not followed in this period, the last one.
    pub refusal: Option<(Request, Refusal)>,
    /// A person's verdict on the episode that ends with this period.
    pub mark: Option<Label>,
    /// The limit of the episode that was reached in this period.
    pub limit: Option<LimitReached>,
    /// Who decided.
    pub driver: Option<Driver>,
    /// Version of the policy whose action was used; 0 where none was.
    pub policy_version: u64,
    /// Age of the state that was used, ns.
    pub observation_age_nanos: i64,
    /// From an observation to the policy's answer to it, ns; 0 where none came.
    pub policy_latency_nanos: i64,
    /// Beginning of this period after its deadline, ns.
    pub jitter_nanos: i64,
    /// Deadlines that passed unused before this period.
    pub overruns: u32,
    /// What the safety chain did.
    pub verdict: Verdict,
    /// Why: a set of [`Reasons`], as bits.
    pub reasons: u16,
    /// Largest difference between desired and executed joint command, rad/s, m/s, N m or N.
    #[serde(with = "number")]
    pub filter_delta: f64,
    /// Commanded joints that an independent witness found beyond a limit. Zero, or the filter is broken.
    pub violations: u64,
    /// Whether a command was written.
    pub commanded: bool,
    /// The action that was acted on, `[action_dim]`; zeros where none was.
    #[serde(with = "row")]
    pub action: Vec<f32>,
    /// The policy's newest answer, `[action_dim]`: with a declared delay not in force yet, and also while a person drives.
    #[serde(with = "row")]
    pub policy_action: Vec<f32>,
    /// What the joints were asked to do, `[joints]`.
    #[serde(with = "row")]
    pub desired: Vec<f64>,
    /// Commanded positions, `[joints]`, rad or m.
    #[serde(with = "row")]
    pub command_position: Vec<f64>,
    /// Commanded velocities, `[joints]`.
    #[serde(with = "row")]
    pub command_velocity: Vec<f64>,
    /// Measured positions, `[joints]`.
    #[serde(with = "row")]
    pub position: Vec<f64>,
    /// Measured velocities, `[joints]`.
    #[serde(with = "row")]
    pub velocity: Vec<f64>,
    /// Measured channels.
    #[serde(with = "row")]
    pub channels: Vec<f64>,
}

impl Tick {
    /// An empty tick for a robot and a task.
    #[must_use]
    pub fn new(contract: &RobotContract, spec: &EnvSpec) -> Self {
        let (joints, actions) = (contract.joints.len(), spec.action_dim());
        Self {
            tick: 0,
            now_nanos: 0,
            stamp_nanos: 0,
            stamp_seq: 0,
            mode: Mode::Idle,
            seed: 0,
            transitions: [None; 4],
            refusal: None,
            mark: None,
            limit: None,
            driver: None,
            policy_version: 0,
            observation_age_nanos: 0,
            policy_latency_nanos: 0,
            jitter_nanos: 0,
            overruns: 0,
            verdict: Verdict::Passed,
            reasons: 0,
            filter_delta: 0.0,
            violations: 0,
            commanded: false,
            action: vec![0.0; actions],
            policy_action: vec![0.0; actions],
            desired: vec![0.0; joints],
            command_position: vec![0.0; joints],
            command_velocity: vec![0.0; joints],
            position: vec![0.0; joints],
            velocity: vec![0.0; joints],
            channels: vec![0.0; contract.channels.len()],
        }
    }

    /// Puts the measured state in.
    pub(crate) fn set_state(&mut self, state: &RobotState, stamp: Stamp) {
        self.position.copy_from_slice(&state.position);
        self.velocity.copy_from_slice(&state.velocity);
        self.channels.copy_from_slice(&state.channels);
        (self.stamp_nanos, self.stamp_seq) = (stamp.nanos, stamp.seq);
    }

    /// The measured state, into `state`.
    pub fn state(&self, state: &mut RobotState) {
        state.position.copy_from_slice(&self.position);
        state.velocity.copy_from_slice(&self.velocity);
        state.channels.copy_from_slice(&self.channels);
    }

    /// Whether all rows have the lengths of another tick's: a tick that was read from a file may be of another robot.
    #[must_use]
    pub fn has_shape_of(&self, other: &Self) -> bool {
        let rows = |t: &Self| {
            let actions = [t.action.len(), t.policy_action.len()];
            let joints = [&t.desired, &t.command_position, &t.command_velocity, &t.position, &t.velocity];
            (actions, joints.map(Vec::len), t.channels.len())
        };
        rows(self) == rows(other)
    }

    /// Why the command was changed.
    #[must_use]
    pub const fn reasons(&self) -> Reasons {
        Reasons::from_bits(self.reasons)
    }
}
