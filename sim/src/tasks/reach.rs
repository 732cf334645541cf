//! `reach`: the tool of the seven-joint arm goes to a place in the space over the table.
//!
//! | | |
//! |---|---|
//! | observation | tool position and velocity, tool-to-target |
//! | action | tool velocity |
//! | reward | sparse: -1 for every step that ends farther than `tolerance_m`, 0 for the one that ends within; dense: minus the distance in metres |
//! | success, termination | the tool is within `tolerance_m` of the target |
//! | truncation | `max_steps` |

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

/// The tool slows down toward the edge of its workspace with this time constant, s.
const EDGE_SECS: f64 = 0.12;
/// Where the puck rests meanwhile, out of the way, m.
const PUCK_REST: [f64; 2] = [0.55, 0.46];

/// What a step is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReachReward {
    /// -1 until the target is reached.
    #[default]
    Sparse,
    /// Minus the distance, m.
    Dense,
}

/// Configuration of [`reach`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReachConfig {
    /// Steps after which an episode is truncated.
    pub max_steps: usize,
    /// What a step is worth.
    pub reward: ReachReward,
    /// Distance at which the target counts as reached, m.
    pub tolerance_m: f64,
    /// Tool speed of an action of 1, m/s, per axis.
    pub max_tool_speed_m_per_sec: f64,
    /// Acceleration of the tool, m/s^2.
    pub max_tool_acceleration_m_per_sec2: f64,
    /// Where tool and target may be: lowest corner, m.
    pub workspace_low_m: [f64; 3],
    /// Highest corner, m.
    pub workspace_high_m: [f64; 3],
    /// What is drawn for every episode.
    #[serde(skip_serializing_if = "Randomisation::is_none")]
    pub randomisation: Randomisation,
}

impl Default for ReachConfig {
    fn default() -> Self {
        Self {
            max_steps: 50,
            reward: ReachReward::Sparse,
            tolerance_m: 0.025,
            max_tool_speed_m_per_sec: 0.35,
            max_tool_acceleration_m_per_sec2: 6.0,
            workspace_low_m: [0.30, -0.34, 0.05],
            workspace_high_m: [0.62, 0.34, 0.30],
            randomisation: Randomisation::default(),
        }
    }
}

impl ReachConfig {
    /// Builds the environment.
    ///
    /// # Errors
    /// When a number is out of range or the workspace out of reach.
    pub fn build(&self, _context: &EnvContext) -> Result<Box<dyn Env>, EnvError> {
        let Self {
            max_steps,
            reward: _,
            tolerance_m,
            max_tool_speed_m_per_sec,
            max_tool_acceleration_m_per_sec2,
            workspace_low_m: low,
            workspace_high_m: high,
            randomisation,
        } = self;
        let positive = [
            ("tolerance_m", *tolerance_m),
            ("max_tool_speed_m_per_sec", *max_tool_speed_m_per_sec),
            ("max_tool_acceleration_m_per_sec2", *max_tool_acceleration_m_per_sec2),
        ];
        for (key, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                return Err(build_error("reach", format!("{key} must be greater than zero, found {value}")));
            }
        }
        if !low.iter().zip(high).all(|(l, h)| l.is_finite() && h.is_finite() && l < h) || low[2] < 0.0 {
            let what = format!(
                "workspace_low_m must be below workspace_high_m and over the table, found {low:?} and {high:?}"
            );
            return Err(build_error("reach", what));
        }
        if *max_steps == 0 {
            return Err(build_error("reach", "max_steps must be at least 1, found 0"));
        }
        let task = ReachTask::new(self.clone())?;
        let world = arm::world()?.with_randomisation(randomisation);
        let env = RobotEnv::new(Box::new(task), Box::new(world), arm::TRACKING_TOLERANCE_RAD)?;
        randomisation.around(Box::new(env))
    }
}

/// The task over any robot with this arm's joints; the target is the task's own.
struct ReachTask {
    config: ReachConfig,
    spec: EnvSpec,
    motion: ToolMotion,
    target: Vector3<f64>,
}

impl ReachTask {
    fn new(config: ReachConfig) -> Result<Self, EnvError> {
        let contract = arm::contract()?;
        let mut motion = arm::tool_motion()?;
        let (low, high) = (config.workspace_low_m, config.workspace_high_m);
        for corner in 0..8 {
            let at = |axis: usize| if corner & (1 << axis) == 0 { low[axis] } else { high[axis] };
            motion.position_at(Vector3::new(at(0), at(1), at(2))).map_err(|e| build_error("reach", e))?;
        }
        let place = |name: &str| Field::bounded(name, "m", -2.0, 2.0);
        let rate = |name: &str| Field::bounded(name, "m/s", -5.0, 5.0);
        let speed = config.max_tool_speed_m_per_sec as f32;
        let action = |name: &str| Field::bounded(name, "m/s", -speed, speed);
        let farthest = Vector3::from(high).metric_distance(&Vector3::from(low)) as f32;
        let spec = EnvSpec {
            name: "reach".to_owned(),
            observation: vec![
                place("tool_x"),
                place("tool_y"),
                place("tool_z"),
                rate("tool_vx"),
                rate("tool_vy"),
                rate("tool_vz"),
                place("tool_to_target_x"),
                place("tool_to_target_y"),
                place("tool_to_target_z"),
            ],
            action: ["tool_velocity_x", "tool_velocity_y", "tool_velocity_z"].map(action).to_vec(),
            step_secs: 1.0 / contract.policy_hz,
            max_steps: config.max_steps,
            reward_range: Some(match config.reward {
                ReachReward::Sparse => (-1.0, 0.0),
                ReachReward::Dense => (-farthest - 0.05, 0.0),
            }),
            contract_hash: Some(contract.hash()),
        };
        Ok(Self { config, spec, motion, target: Vector3::zeros() })
    }

    fn tool(&self, position: &[f64]) -> Vector3<f64> {
        self.motion.kinematics().pose(position).translation.vector
    }
}

impl Task for ReachTask {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, stream: &mut Stream, initial: &mut RobotState) {
        let c = &self.config;
        let mut draw =
            || Vector3::from_fn(|i, _| stream.uniform(c.workspace_low_m[i], c.workspace_high_m[i]));
        let tool = draw();
        self.target = draw();
        // Never already there.
        for _ in 0..1000 {
            if self.target.metric_distance(&tool) > 2.0 * c.tolerance_m {
                break;
            }
            self.target = draw();
        }
        if let Ok(position) = self.motion.position_at(tool) {
            initial.position.copy_from_slice(position);
        }
        initial.channels.copy_from_slice(&[PUCK_REST[0], PUCK_REST[1], 0.0, 0.0]);
    }

    fn desired(&mut self, _: &RobotState, command: CommandState<'_>, action: &[f32], desired: &mut [f64]) {
        let c = &self.config;
        let at = self.tool(command.position);
        let wanted = Vector3::from_fn(|i, _| {
            let (low, high) = (c.workspace_low_m[i], c.workspace_high_m[i]);
            let wanted = f64::from(action[i].clamp(-1.0, 1.0)) * c.max_tool_speed_m_per_sec;
            wanted.clamp((low - at[i]) / EDGE_SECS, (high - at[i]) / EDGE_SECS)
        });
        let velocity = self.motion.slewed(command, wanted, c.max_tool_acceleration_m_per_sec2);
        self.motion.joint_velocities(command.position, velocity, desired);
    }

    fn executed(&self, before: &[f64], after: &[f64], _effort: &[f64], step_secs: f64, action: &mut [f32]) {
        let moved = self.tool(after) - self.tool(before);
        let scale = step_secs * self.config.max_tool_speed_m_per_sec;
        for (i, a) in action.iter_mut().enumerate() {
            *a = ((moved[i] / scale) as f32).clamp(-1.0, 1.0);
        }
    }

    fn observe(&mut self, state: &RobotState, observation: &mut [f32]) {
        let tool = self.tool(&state.position);
        let rate = self.motion.kinematics().velocity(&state.position, &state.velocity);
        let row = tool.iter().chain(rate.iter()).copied().chain((0..3).map(|i| self.target[i] - tool[i]));
        for (o, value) in observation.iter_mut().zip(row) {
            *o = value as f32;
        }
    }

    fn outcome(&mut self, state: &RobotState, _executed: &[f32]) -> TaskOutcome {
        let distance = self.tool(&state.position).metric_distance(&self.target);
        let success = distance <= self.config.tolerance_m;
        let reward = match self.config.reward {
            ReachReward::Sparse => -f32::from(u8::from(!success)),
            ReachReward::Dense => -distance as f32,
        };
        TaskOutcome { reward, terminated: success, success }
    }

    fn markers(&self) -> Vec<Marker> {
        let center = [self.target.x as f32, self.target.y as f32, self.target.z as f32];
        let shape = MarkerShape::Ball(self.config.tolerance_m as f32);
        vec![Marker { center, shape, rgb: [60, 170, 90] }]
    }
}
