//! `push`: a seven-joint arm pushes a puck over a table into a goal region with a vertical stick.
//!
//! | | |
//! |---|---|
//! | observation | tool position and velocity, puck position and velocity, tool-to-puck, puck-to-goal-centre; all planar |
//! | action | planar tool velocity |
//! | reward | -1 for every step that ends with the puck outside the goal, 0 for the step that brings it in |
//! | success, termination | the puck's centre is in the goal |
//! | truncation | `max_steps`; a puck that is out of reach is simply never brought in |
//!
//! A round stick on a round puck slips off unless the policy steers, and the stick often starts on the goal's side and
//! must first go around.

use nalgebra::Vector3;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::safety::CommandState;
use surefoot_core::{
    Env, EnvError, EnvSpec, Field, Marker, MarkerShape, RobotEnv, RobotState, Stream, Task, TaskOutcome,
};

use crate::arm;
use crate::randomisation::Randomisation;
use crate::tasks::{EnvContext, build_error};
use crate::tool_motion::ToolMotion;

/// Height of the tool's tip over the table, m: the middle of the puck.
const TOOL_HEIGHT: f64 = 0.02;
/// Rate at which a height error is taken back, 1/s.
const HEIGHT_RATE: f64 = 5.0;
/// The tool slows down toward the edge of its workspace with this time constant, s.
const EDGE_SECS: f64 = 0.12;
/// Radius of puck and stick, m; as in the model.
const PUCK_RADIUS: f64 = 0.04;
const TOOL_RADIUS: f64 = 0.012;

/// Configuration of [`push`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PushConfig {
    /// Steps after which an episode is truncated.
    pub max_steps: usize,
    /// Tool speed of an action of 1, m/s, per axis.
    pub max_tool_speed_m_per_sec: f64,
    /// Acceleration of the tool, m/s^2.
    pub max_tool_acceleration_m_per_sec2: f64,
    /// Centre of the goal region, m.
    pub goal_center_m: [f64; 2],
    /// Extent of the goal region, m.
    pub goal_size_m: [f64; 2],
    /// Where the puck starts: lowest and highest x, m.
    pub puck_start_x_m: [f64; 2],
    /// Lowest and highest y, m.
    pub puck_start_y_m: [f64; 2],
    /// Where the tool starts: lowest and highest x, m.
    pub tool_start_x_m: [f64; 2],
    /// Lowest and highest y, m.
    pub tool_start_y_m: [f64; 2],
    /// Gap between stick and puck at the start, at least, m.
    pub start_gap_m: f64,
    /// Where the tool may go: lowest and highest x, m.
    pub workspace_x_m: [f64; 2],
    /// Lowest and highest y, m.
    pub workspace_y_m: [f64; 2],
    /// What is drawn for every episode.
    #[serde(skip_serializing_if = "Randomisation::is_none")]
    pub randomisation: Randomisation,
}

impl Default for PushConfig {
    fn default() -> Self {
        Self {
            max_steps: 60,
            max_tool_speed_m_per_sec: 0.35,
            max_tool_acceleration_m_per_sec2: 6.0,
            goal_center_m: [0.50, 0.24],
            goal_size_m: [0.40, 0.20],
            puck_start_x_m: [0.38, 0.62],
            puck_start_y_m: [-0.22, 0.02],
            tool_start_x_m: [0.34, 0.66],
            tool_start_y_m: [-0.30, 0.25],
            start_gap_m: 0.02,
            workspace_x_m: [0.28, 0.68],
            workspace_y_m: [-0.36, 0.36],
            randomisation: Randomisation::default(),
        }
    }
}

impl PushConfig {
    /// Builds the environment.
    ///
    /// # Errors
    /// When a range is empty or unreachable.
    pub fn build(&self, _context: &EnvContext) -> Result<Box<dyn Env>, EnvError> {
        let world = Box::new(arm::world()?.with_randomisation(&self.randomisation));
        let env = RobotEnv::new(self.task()?, world, arm::TRACKING_TOLERANCE_RAD)?;
        self.randomisation.around(Box::new(env))
    }

    /// The task alone, for a robot that is not this crate's world.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn task(&self) -> Result<Box<dyn Task>, EnvError> {
        Ok(Box::new(PushTask::new(self.clone())?))
    }

    fn check(&self) -> Result<(), EnvError> {
        let Self {
            max_steps,
            max_tool_speed_m_per_sec,
            max_tool_acceleration_m_per_sec2,
            goal_center_m: _,
            goal_size_m,
            puck_start_x_m,
            puck_start_y_m,
            tool_start_x_m,
            tool_start_y_m,
            start_gap_m,
            workspace_x_m,
            workspace_y_m,
            randomisation: _,
        } = self;
        let refuse = |what: String| Err(build_error("push", what));
        let ranges = [
            ("puck_start_x_m", puck_start_x_m),
            ("puck_start_y_m", puck_start_y_m),
            ("tool_start_x_m", tool_start_x_m),
            ("tool_start_y_m", tool_start_y_m),
            ("workspace_x_m", workspace_x_m),
            ("workspace_y_m", workspace_y_m),
        ];
        for (key, [low, high]) in ranges {
            if !(low.is_finite() && high.is_finite() && low < high) {
                return refuse(format!("{key} must be [low, high] with low < high, found [{low}, {high}]"));
            }
        }
        for (key, starts, bounds) in [
            ("tool_start_x_m", tool_start_x_m, workspace_x_m),
            ("tool_start_y_m", tool_start_y_m, workspace_y_m),
        ] {
            if starts[0] < bounds[0] || starts[1] > bounds[1] {
                return refuse(format!("{key} {starts:?} must lie in the workspace {bounds:?}"));
            }
        }
        let positive = [
            ("max_tool_speed_m_per_sec", *max_tool_speed_m_per_sec),
            ("max_tool_acceleration_m_per_sec2", *max_tool_acceleration_m_per_sec2),
            ("goal_size_m", goal_size_m[0].min(goal_size_m[1])),
        ];
        for (key, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                return refuse(format!("{key} must be greater than zero, found {value}"));
            }
        }
        if !(start_gap_m.is_finite() && *start_gap_m >= 0.0) {
            return refuse(format!("start_gap_m must not be negative, found {start_gap_m}"));
        }
        if *max_steps == 0 {
            return refuse("max_steps must be at least 1, found 0".to_owned());
        }
        Ok(())
    }

    /// Where puck and tool start: the puck outside the goal, the stick not on it. `None` when a thousand draws gave no such start.
    fn draw_start(&self, stream: &mut Stream) -> Option<([f64; 2], [f64; 2])> {
        let gap = PUCK_RADIUS + TOOL_RADIUS + self.start_gap_m;
        let mut draw = |[low, high]: [f64; 2]| stream.uniform(low, high);
        for _ in 0..1000 {
            let puck = [draw(self.puck_start_x_m), draw(self.puck_start_y_m)];
            let tool = [draw(self.tool_start_x_m), draw(self.tool_start_y_m)];
            if (tool[0] - puck[0]).hypot(tool[1] - puck[1]) >= gap && !self.in_goal(puck[0], puck[1]) {
                return Some((puck, tool));
            }
        }
        None
    }

    fn in_goal(&self, x: f64, y: f64) -> bool {
        (x - self.goal_center_m[0]).abs() <= self.goal_size_m[0] / 2.0
            && (y - self.goal_center_m[1]).abs() <= self.goal_size_m[1] / 2.0
    }
}

/// The task over any robot with this arm's joints and a puck's planar position and velocity as channels.
pub struct PushTask {
    config: PushConfig,
    spec: EnvSpec,
    motion: ToolMotion,
}

impl PushTask {
    /// The task.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn new(config: PushConfig) -> Result<Self, EnvError> {
        config.check()?;
        if config.draw_start(&mut Stream::new(0, "start check", 0)).is_none() {
            let what =
                "no start has the puck outside the goal and the tool beside it: widen the start ranges";
            return Err(build_error("push", what));
        }
        let contract = arm::contract()?;
        let mut motion = arm::tool_motion()?;
        for x in config.workspace_x_m {
            for y in config.workspace_y_m {
                motion.position_at(Vector3::new(x, y, TOOL_HEIGHT)).map_err(|e| build_error("push", e))?;
            }
        }
        let place = |name: &str| Field::bounded(name, "m", -2.0, 2.0);
        let rate = |name: &str| Field::bounded(name, "m/s", -5.0, 5.0);
        let speed = config.max_tool_speed_m_per_sec as f32;
        let spec = EnvSpec {
            name: "push".to_owned(),
            observation: vec![
                place("tool_x"),
                place("tool_y"),
                rate("tool_vx"),
                rate("tool_vy"),
                place("puck_x"),
                place("puck_y"),
                rate("puck_vx"),
                rate("puck_vy"),
                place("tool_to_puck_x"),
                place("tool_to_puck_y"),
                place("puck_to_goal_x"),
                place("puck_to_goal_y"),
            ],
            action: vec![
                Field::bounded("tool_velocity_x", "m/s", -speed, speed),
                Field::bounded("tool_velocity_y", "m/s", -speed, speed),
            ],
            step_secs: 1.0 / contract.policy_hz,
            max_steps: config.max_steps,
            reward_range: Some((-1.0, 0.0)),
            contract_hash: Some(contract.hash()),
        };
        Ok(Self { config, spec, motion })
    }
}

impl Task for PushTask {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, stream: &mut Stream, initial: &mut RobotState) {
        // `new` has seen that the ranges hold such starts.
        let Some((puck, tool)) = self.config.draw_start(stream) else { return };
        initial.channels.copy_from_slice(&[puck[0], puck[1], 0.0, 0.0]);
        if let Ok(position) = self.motion.position_at(Vector3::new(tool[0], tool[1], TOOL_HEIGHT)) {
            initial.position.copy_from_slice(position);
        }
    }

    fn desired(&mut self, _: &RobotState, command: CommandState<'_>, action: &[f32], desired: &mut [f64]) {
        let c = &self.config;
        let at = self.motion.kinematics().pose(command.position).translation.vector;
        let planar = |i: usize, [low, high]: [f64; 2]| {
            let wanted = f64::from(action[i].clamp(-1.0, 1.0)) * c.max_tool_speed_m_per_sec;
            wanted.clamp((low - at[i]) / EDGE_SECS, (high - at[i]) / EDGE_SECS)
        };
        let height = HEIGHT_RATE * (TOOL_HEIGHT - at.z);
        let wanted = Vector3::new(planar(0, c.workspace_x_m), planar(1, c.workspace_y_m), height);
        let velocity = self.motion.slewed(command, wanted, c.max_tool_acceleration_m_per_sec2);
        self.motion.joint_velocities(command.position, velocity, desired);
    }

    fn executed(&self, before: &[f64], after: &[f64], _effort: &[f64], step_secs: f64, action: &mut [f32]) {
        let kinematics = self.motion.kinematics();
        let moved = kinematics.pose(after).translation.vector - kinematics.pose(before).translation.vector;
        let scale = step_secs * self.config.max_tool_speed_m_per_sec;
        for (i, a) in action.iter_mut().enumerate() {
            *a = ((moved[i] / scale) as f32).clamp(-1.0, 1.0);
        }
    }

    fn observe(&mut self, state: &RobotState, observation: &mut [f32]) {
        let tool = self.motion.kinematics().pose(&state.position).translation.vector;
        let rate = self.motion.kinematics().velocity(&state.position, &state.velocity);
        let [puck_x, puck_y, puck_vx, puck_vy] = std::array::from_fn(|i| state.channels[i]);
        let [goal_x, goal_y] = self.config.goal_center_m;
        let row = [
            tool.x,
            tool.y,
            rate.x,
            rate.y,
            puck_x,
            puck_y,
            puck_vx,
            puck_vy,
            puck_x - tool.x,
            puck_y - tool.y,
            goal_x - puck_x,
            goal_y - puck_y,
        ];
        for (o, value) in observation.iter_mut().zip(row) {
            *o = value as f32;
        }
    }

    fn outcome(&mut self, state: &RobotState, _executed: &[f32]) -> TaskOutcome {
        let success = self.config.in_goal(state.channels[0], state.channels[1]);
        TaskOutcome { reward: if success { 0.0 } else { -1.0 }, terminated: success, success }
    }

    fn markers(&self) -> Vec<Marker> {
        let (center, size) = (self.config.goal_center_m, self.config.goal_size_m);
        let half = [size[0] as f32 / 2.0, size[1] as f32 / 2.0, 0.0];
        let center = [center[0] as f32, center[1] as f32, 0.0];
        vec![Marker { center, shape: MarkerShape::Box(half), rgb: [86, 166, 106] }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use surefoot_core::StepEnd;

    fn env(config: &PushConfig) -> Box<dyn Env> {
        config.build(&EnvContext::default()).unwrap()
    }

    #[test]
    fn an_episode_never_starts_solved_or_touching_and_often_needs_a_detour() {
        let mut env = env(&PushConfig::default());
        let (mut o, mut ahead) = ([0.0; 12], 0);
        for seed in 0..200 {
            env.reset(seed, &mut o).unwrap();
            let config = PushConfig::default();
            assert!(!config.in_goal(f64::from(o[4]), f64::from(o[5])));
            assert!(o[8].hypot(o[9]) > 0.07, "seed {seed}: the stick touches the puck");
            assert_eq!(&o[2..4], &[0.0; 2]);
            assert!(
                (0.339..0.661).contains(&o[0]) && (-0.301..0.251).contains(&o[1]),
                "tool at {:?}",
                &o[..2]
            );
            // The stick is between puck and goal.
            ahead += usize::from(o[8] * o[10] + o[9] * o[11] < 0.0);
        }
        assert!((60..160).contains(&ahead), "{ahead} of 200 start on the goal's side");
    }

    #[test]
    fn pushing_into_the_goal_terminates_with_reward_zero() {
        let config = PushConfig {
            puck_start_x_m: [0.499, 0.501],
            puck_start_y_m: [0.03, 0.031],
            tool_start_x_m: [0.499, 0.501],
            tool_start_y_m: [-0.06, -0.05],
            ..PushConfig::default()
        };
        let mut env = env(&config);
        let (mut o, mut e) = ([0.0; 12], [0.0; 2]);
        env.reset(0, &mut o).unwrap();
        for step in 0..20 {
            let outcome = env.step(&[0.0, 0.7], &mut o, &mut e).unwrap();
            let solved = (o[10].abs() <= 0.2) && (o[11].abs() <= 0.1);
            assert_eq!(outcome.success, solved);
            assert_eq!(outcome.reward, if solved { 0.0 } else { -1.0 });
            assert_eq!(outcome.end, if solved { StepEnd::Terminated } else { StepEnd::Running });
            if solved {
                assert!(step > 3, "not at once");
                return;
            }
        }
        panic!("the puck was not pushed in: {o:?}");
    }

    #[test]
    fn what_was_executed_is_how_the_tool_moved() {
        let mut env = env(&PushConfig::default());
        let (mut o, mut e) = ([0.0; 12], [0.0; 2]);
        env.reset(3, &mut o).unwrap();
        for step in 0..40_i16 {
            let before = [o[0], o[1]];
            let angle = f32::from(step) * 0.4;
            env.step(&[angle.cos(), angle.sin()], &mut o, &mut e).unwrap();
            for i in 0..2 {
                let moved = (o[i] - before[i]) / (0.1 * 0.35);
                assert!((moved - e[i]).abs() < 0.12, "step {step}: moved {moved}, executed {}", e[i]);
            }
        }
    }

    #[test]
    fn a_nan_action_brakes() {
        let mut env = env(&PushConfig::default());
        let (mut o, mut e) = ([0.0; 12], [0.0; 2]);
        env.reset(0, &mut o).unwrap();
        env.step(&[1.0, 0.0], &mut o, &mut e).unwrap();
        let outcome = env.step(&[f32::NAN, 0.0], &mut o, &mut e).unwrap();
        assert_eq!((outcome.safety.stops, outcome.safety.violations), (5, 0));
        let outcome = env.step(&[f32::NAN, f32::INFINITY], &mut o, &mut e).unwrap();
        assert_eq!(outcome.safety.violations, 0);
        assert!(e[0].abs() < 1e-3 && e[1].abs() < 1e-3, "at rest, executed {e:?}");
    }

    #[test]
    fn unusable_configurations_are_refused_by_key() {
        let bad = [
            (PushConfig { max_steps: 0, ..Default::default() }, "max_steps"),
            (PushConfig { puck_start_x_m: [0.5, 0.4], ..Default::default() }, "puck_start_x_m"),
            (PushConfig { tool_start_y_m: [-0.9, 0.0], ..Default::default() }, "tool_start_y_m"),
            (PushConfig { workspace_x_m: [0.28, 1.5], ..Default::default() }, "cannot be put"),
            (PushConfig { puck_start_y_m: [0.20, 0.28], ..Default::default() }, "widen the start ranges"),
            (PushConfig { max_tool_speed_m_per_sec: f64::NAN, ..Default::default() }, "max_tool_speed"),
        ];
        for (config, key) in bad {
            let error = config.build(&EnvContext::default()).err().unwrap().to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        /// Whatever is asked for: nothing beyond a limit, a tool inside its workspace, a finite world.
        #[test]
        fn any_actions_keep_every_limit(
            seed in 0_u64..1000,
            actions in prop::collection::vec(
                prop::array::uniform2(prop_oneof![-1.0_f32..1.0, Just(1.0), Just(-1.0), Just(1e9), Just(f32::NAN)]),
                60,
            ),
        ) {
            let mut env = env(&PushConfig::default());
            let (mut o, mut e) = ([0.0; 12], [0.0; 2]);
            env.reset(seed, &mut o).unwrap();
            for action in actions {
                let outcome = env.step(&action, &mut o, &mut e).unwrap();
                prop_assert_eq!(outcome.safety.violations, 0);
                prop_assert!(o.iter().all(|x| x.is_finite()));
                prop_assert!(e.iter().all(|a| a.abs() <= 1.0));
                prop_assert!((0.26..=0.70).contains(&o[0]) && o[1].abs() <= 0.38, "tool at {:?}", &o[..2]);
                if outcome.end.is_last() {
                    break;
                }
            }
        }
    }
}
