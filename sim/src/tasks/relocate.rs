//! `relocate`: a seven-joint arm grips a ball with two fingers and brings it to a place over the table.
//!
//! | | |
//! |---|---|
//! | observation | tool position and velocity, opening of the fingers; ball velocity, tool-to-ball, ball-to-target |
//! | action | tool velocity; opening of the fingers |
//! | reward | sparse: -1 for every step that ends with the ball away from the target, 0 for the one that brings it there; dense: below |
//! | success, termination | the ball's centre is within `tolerance_m` of the target |
//! | truncation | `max_steps`; a ball that rolled away is simply never brought |
//!
//! The dense reward of a step is minus the distance from tool to ball, minus the distance from ball to target (m, each at most 0.5).
//! The ball is held by friction alone: two servos press flat fingers on it with at most 25 N each. The target is in the air, so
//! pushing does not do.

use nalgebra::Vector3;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::contract::JointContract;
use surefoot_core::safety::CommandState;
use surefoot_core::{
    Env, EnvError, EnvSpec, Field, Marker, MarkerShape, RobotEnv, RobotState, Stream, Task, TaskOutcome,
};

use crate::arm;
use crate::arm_scene::ArmScene;
use crate::randomisation::Randomisation;
use crate::render::View;
use crate::set_point::SetPoint;
use crate::tasks::{EnvContext, Shaping, build_error, check_ranges};
use crate::tool_drive::{ToolDrive, ToolLimits, tool_fields};

const GRIPPER: &str = include_str!("../../models/gripper.xml");
const BALL: &str = "<body name=\"ball\" pos=\"0.5 0 0.025\"><freejoint/><geom name=\"ball\" type=\"sphere\" size=\"0.025\" \
    mass=\"0.08\" contype=\"3\" conaffinity=\"3\" friction=\"0.8 0.005 0.0001\" rgba=\"0.86 0.20 0.22 1\"/></body>";
const SERVOS: &str = "<position joint=\"finger_left\" kp=\"3000\" kv=\"120\" forcerange=\"-25 25\"/>\
    <position joint=\"finger_right\" kp=\"3000\" kv=\"120\" forcerange=\"-25 25\"/>";
const VIEW: View =
    View { eye: [1.35, -0.95, 0.75], target: [0.40, 0.0, 0.16], field_of_view_rad: 0.55, floor_z: -0.60 };
const BALL_RADIUS: f64 = 0.025;
/// Joints of the arm; the fingers follow.
const ARM: usize = 7;
/// Farthest way of each finger from the middle, m.
const OPEN: f64 = 0.045;
/// Distances above this are worth the same, m.
const FAR: f64 = 0.5;

const CHANNELS: [(&str, &str); 6] = [
    ("ball_x", "m"),
    ("ball_y", "m"),
    ("ball_z", "m"),
    ("ball_vx", "m/s"),
    ("ball_vy", "m/s"),
    ("ball_vz", "m/s"),
];

/// Configuration of [`relocate`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RelocateConfig {
    /// Steps after which an episode is truncated.
    pub max_steps: usize,
    /// What a step is worth.
    pub reward: Shaping,
    /// Distance of the ball from the target that counts as there, m.
    pub tolerance_m: f64,
    /// Tool speed of an action of 1, m/s, per axis.
    pub max_tool_speed_m_per_sec: f64,
    /// Acceleration of the tool, m/s^2.
    pub max_tool_acceleration_m_per_sec2: f64,
    /// Where the ball lies: lowest and highest x, m.
    pub ball_x_m: [f64; 2],
    /// Lowest and highest y, m.
    pub ball_y_m: [f64; 2],
    /// Where the target is: lowest corner, m.
    pub target_low_m: [f64; 3],
    /// Highest corner, m.
    pub target_high_m: [f64; 3],
    /// Where the tool starts: lowest corner, m.
    pub tool_start_low_m: [f64; 3],
    /// Highest corner, m.
    pub tool_start_high_m: [f64; 3],
    /// Where the tool may go: lowest corner, m.
    pub workspace_low_m: [f64; 3],
    /// Highest corner, m.
    pub workspace_high_m: [f64; 3],
    /// What is drawn for every episode.
    #[serde(skip_serializing_if = "Randomisation::is_none")]
    pub randomisation: Randomisation,
}

impl Default for RelocateConfig {
    fn default() -> Self {
        Self {
            max_steps: 100,
            reward: Shaping::Sparse,
            tolerance_m: 0.03,
            max_tool_speed_m_per_sec: 0.35,
            max_tool_acceleration_m_per_sec2: 4.0,
            ball_x_m: [0.38, 0.58],
            ball_y_m: [-0.20, 0.20],
            target_low_m: [0.36, -0.24, 0.12],
            target_high_m: [0.60, 0.24, 0.26],
            tool_start_low_m: [0.36, -0.24, 0.12],
            tool_start_high_m: [0.60, 0.24, 0.24],
            workspace_low_m: [0.32, -0.28, 0.022],
            workspace_high_m: [0.64, 0.28, 0.30],
            randomisation: Randomisation::default(),
        }
    }
}

impl RelocateConfig {
    /// Builds the environment.
    ///
    /// # Errors
    /// When a number is out of range or the workspace out of reach.
    pub fn build(&self, context: &EnvContext) -> Result<Box<dyn Env>, EnvError> {
        let limits = self.check()?;
        let scene = ArmScene {
            name: "relocate",
            surroundings: BALL.to_owned(),
            tool: Some(GRIPPER),
            actuators: SERVOS,
            joints: ["finger_left", "finger_right"].map(finger).to_vec(),
            channels: &CHANNELS,
            stepping: context.stepping,
            view: VIEW,
        };
        let world = scene.world(&self.randomisation)?;
        let task = RelocateTask::new(self.clone(), limits, &scene)?;
        let env = RobotEnv::new(Box::new(task), Box::new(world), arm::TRACKING_TOLERANCE_RAD)?;
        self.randomisation.around(Box::new(env))
    }

    fn check(&self) -> Result<ToolLimits, EnvError> {
        let Self {
            max_steps,
            reward: _,
            tolerance_m,
            max_tool_speed_m_per_sec,
            max_tool_acceleration_m_per_sec2,
            ball_x_m,
            ball_y_m,
            target_low_m,
            target_high_m,
            tool_start_low_m,
            tool_start_high_m,
            workspace_low_m,
            workspace_high_m,
            randomisation: _,
        } = self;
        check_ranges("relocate", *max_steps, &[("ball_x_m", *ball_x_m), ("ball_y_m", *ball_y_m)])?;
        let refuse = |what: String| Err(build_error("relocate", what));
        if !(tolerance_m.is_finite() && *tolerance_m > 0.0) {
            return refuse(format!("tolerance_m must be greater than zero, found {tolerance_m}"));
        }
        if !(0..3).all(|i| {
            workspace_low_m[i] <= target_low_m[i]
                && target_low_m[i] < target_high_m[i]
                && target_high_m[i] <= workspace_high_m[i]
        }) {
            return refuse(format!(
                "target_low_m {target_low_m:?} must be below target_high_m {target_high_m:?}, both in the workspace"
            ));
        }
        if target_low_m[2] < 2.0 * BALL_RADIUS + tolerance_m {
            return refuse(format!(
                "the target must be over the table by more than the ball: target_low_m[2] must be at least {}, found {}",
                2.0 * BALL_RADIUS + tolerance_m,
                target_low_m[2]
            ));
        }
        if tool_start_low_m[2] < 0.10 {
            let what = format!(
                "tool_start_low_m[2] must be at least 0.1, over the ball, found {}",
                tool_start_low_m[2]
            );
            return refuse(what);
        }
        let limits = ToolLimits {
            max_speed: *max_tool_speed_m_per_sec,
            max_acceleration: *max_tool_acceleration_m_per_sec2,
            low: *workspace_low_m,
            high: *workspace_high_m,
        };
        limits.check_start("relocate", *tool_start_low_m, *tool_start_high_m)?;
        Ok(limits)
    }
}

fn finger(name: &str) -> JointContract {
    JointContract {
        name: name.to_owned(),
        unit: "m".to_owned(),
        min_position: 0.0,
        max_position: OPEN,
        max_velocity: 0.2,
        max_acceleration: 4.0,
        max_deceleration: None,
        max_effort: Some(25.0),
        max_jerk: None,
        soft_limits: None,
    }
}

/// The task over any robot with this arm's joints and two fingers, that sees the ball; the target is the task's own.
struct RelocateTask {
    config: RelocateConfig,
    spec: EnvSpec,
    drive: ToolDrive,
    set_point: SetPoint,
    target: Vector3<f64>,
}

impl RelocateTask {
    fn new(config: RelocateConfig, limits: ToolLimits, scene: &ArmScene) -> Result<Self, EnvError> {
        let drive = ToolDrive::new("relocate", limits)?;
        let contract = scene.contract()?;
        let axes = |what: &str, unit: &str, most: f32| {
            ["x", "y", "z"].map(|axis| Field::bounded(format!("{what}{axis}"), unit, -most, most))
        };
        let mut observation = tool_fields();
        observation.push(Field::bounded("opening", "m", -0.1, 0.2));
        observation.extend(axes("ball_v", "m/s", 5.0));
        observation.extend(axes("tool_to_ball_", "m", 2.0));
        observation.extend(axes("ball_to_target_", "m", 2.0));
        let mut action = drive.action_fields();
        action.push(Field::bounded("opening_set_point", "m", 0.0, 2.0 * OPEN as f32));
        let step_secs = 1.0 / contract.policy_hz;
        let ticks = contract.ticks_per_step().map_err(|e| build_error("relocate", e))?;
        let spec = EnvSpec {
            name: "relocate".to_owned(),
            observation,
            action,
            step_secs,
            max_steps: config.max_steps,
            reward_range: Some(match config.reward {
                Shaping::Sparse => (-1.0, 0.0),
                Shaping::Dense => (-2.0 * FAR as f32, 0.0),
            }),
            contract_hash: Some(contract.hash()),
        };
        let set_point = SetPoint::new(step_secs, ticks);
        Ok(Self { config, spec, drive, set_point, target: Vector3::zeros() })
    }
}

fn ball(state: &RobotState) -> Vector3<f64> {
    Vector3::from_fn(|i, _| state.channels[i])
}

impl Task for RelocateTask {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, stream: &mut Stream, initial: &mut RobotState) {
        let c = &self.config;
        let mut within =
            |low: [f64; 3], high: [f64; 3]| Vector3::from_fn(|i, _| stream.uniform(low[i], high[i]));
        let tool = within(c.tool_start_low_m, c.tool_start_high_m);
        self.target = within(c.target_low_m, c.target_high_m);
        let ball =
            [stream.uniform(c.ball_x_m[0], c.ball_x_m[1]), stream.uniform(c.ball_y_m[0], c.ball_y_m[1])];
        initial.channels.fill(0.0);
        initial.channels[..3].copy_from_slice(&[ball[0], ball[1], BALL_RADIUS]);
        self.drive.put(tool, &mut initial.position);
        initial.position[ARM..].fill(OPEN * 0.9);
    }

    fn desired(
        &mut self,
        state: &RobotState,
        command: CommandState<'_>,
        action: &[f32],
        desired: &mut [f64],
    ) {
        self.drive.desired(state, command, action, desired);
        let target = OPEN / 2.0 * (1.0 + f64::from(action[3].clamp(-1.0, 1.0)));
        for (out, position) in desired.iter_mut().zip(command.position).skip(ARM) {
            *out = self.set_point.velocity(target, *position);
        }
    }

    fn executed(&self, before: &[f64], after: &[f64], _: &[f64], step_secs: f64, action: &mut [f32]) {
        self.drive.executed(before, after, step_secs, action);
        let target = self.set_point.target(before[ARM], after[ARM]);
        action[3] = ((2.0 * target / OPEN - 1.0) as f32).clamp(-1.0, 1.0);
    }

    fn observe(&mut self, state: &RobotState, observation: &mut [f32]) {
        let (tool, rate) = (self.drive.tool(&state.position), self.drive.velocity(state));
        let ball = ball(state);
        let (to_ball, to_target) = (ball - tool, self.target - ball);
        let opening = [state.position[ARM] + state.position[ARM + 1]];
        let row = tool.iter().chain(rate.iter()).chain(&opening).chain(&state.channels[3..]);
        let row = row.chain(to_ball.iter()).chain(to_target.iter());
        observation.iter_mut().zip(row).for_each(|(o, value)| *o = *value as f32);
    }

    fn outcome(&mut self, state: &RobotState, _executed: &[f32]) -> TaskOutcome {
        let ball = ball(state);
        let to_target = ball.metric_distance(&self.target);
        let success = to_target <= self.config.tolerance_m;
        let reward = match self.config.reward {
            Shaping::Sparse => -f32::from(u8::from(!success)),
            Shaping::Dense => {
                let to_ball = self.drive.tool(&state.position).metric_distance(&ball);
                -(to_ball.min(FAR) + to_target.min(FAR)) as f32
            }
        };
        TaskOutcome { reward, terminated: success, success }
    }

    fn markers(&self) -> Vec<Marker> {
        let center = [self.target.x as f32, self.target.y as f32, self.target.z as f32];
        vec![Marker { center, shape: MarkerShape::Ball(BALL_RADIUS as f32), rgb: [60, 170, 90] }]
    }
}
