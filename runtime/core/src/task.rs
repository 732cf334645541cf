//! What is to be done with a robot: the same code over a simulated and a real one.

use surefoot_safety::CommandState;

use crate::{EnvSpec, RobotState, Stream};

/// A task's judgement of a state.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TaskOutcome {
    /// Reward of arriving in this state.
    pub reward: f32,
    /// Whether the task is over (goal reached or lost for good); a time limit is not the task's to judge.
    pub terminated: bool,
    /// Whether the goal holds.
    pub success: bool,
}

/// The outline of a [`Marker`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MarkerShape {
    /// A box along the world's axes: half extents, m. A height of 0 paints the surface below.
    Box([f32; 3]),
    /// A ball: radius, m.
    Ball(f32),
}

/// Something of a task that can be drawn but not touched: a goal region, a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Marker {
    /// Centre, m, world axes.
    pub center: [f32; 3],
    /// Outline.
    pub shape: MarkerShape,
    /// Colour, sRGB.
    pub rgb: [u8; 3],
}

/// Observation, action meaning, reward, termination and success from robot state.
pub trait Task: Send {
    /// What policies of this task see and do.
    fn spec(&self) -> &EnvSpec;
    /// Begins an episode: draws what there is to reach and an initial state, and forgets the episode before. All randomness of the episode
    /// comes from `stream`. Runs in the control tick in which a drive begins, while the robot stands: must not allocate.
    fn reset(&mut self, stream: &mut Stream, initial: &mut RobotState);
    /// [`reset`](Self::reset) by an episode's seed. Environment, scene, control loop and reader of ticks have a copy of the task each: by
    /// this they all do the same one. Not to be implemented.
    fn begin_episode(&mut self, seed: u64, initial: &mut RobotState) {
        self.reset(&mut Stream::new(seed, "reset", 0), initial);
    }
    /// What the joints should do in the next control period for `action` (`[action_dim]`, normalised, finite or not):
    /// velocities for a motion robot, efforts for an effort robot, `[joints]`. Runs in every control tick in which somebody drives, and once more
    /// for each of them where episodes are made of the ticks, so that what a task remembers is the same there: must not allocate.
    fn desired(&mut self, state: &RobotState, command: CommandState<'_>, action: &[f32], desired: &mut [f64]);
    /// The action that the executed command amounts to. `before` and `after` are the commanded positions around one policy
    /// step of `step_secs`; `effort` is the mean effort written. Writes `[action_dim]`. Runs in control ticks: must not allocate.
    fn executed(&self, before: &[f64], after: &[f64], effort: &[f64], step_secs: f64, action: &mut [f32]);
    /// Writes the observation, `[observation_dim]`. Asked once or more often in a step, always after [`outcome`](Self::outcome) of the step before: what a
    /// task remembers must not depend on how often. Runs in control ticks: must not allocate.
    fn observe(&mut self, state: &RobotState, observation: &mut [f32]);
    /// Judges the state after a step in which `executed` was done, once in each step. Runs in control ticks: must not allocate.
    fn outcome(&mut self, state: &RobotState, executed: &[f32]) -> TaskOutcome;
    /// What to draw of the task in a picture of the world.
    fn markers(&self) -> Vec<Marker> {
        Vec::new()
    }
}
