//! `door`: a seven-joint arm opens a latched door with a vertical stick: it presses the lever down, and pushes while the bolt is up.
//!
//! | | |
//! |---|---|
//! | observation | tool position and velocity; where the lever is pressed, from the tool; angle and rate of lever and door |
//! | action | tool velocity |
//! | reward | sparse: -1 for every step that ends with the door closed, 0 for the one that opens it; dense: below |
//! | success, termination | the door's angle is at least `open_angle_rad` |
//! | truncation | `max_steps` |
//!
//! The latch is a contact and nothing else: a bolt at the far end of the lever stands before a block of the frame until the lever is
//! pressed by about 0.37 rad, and the door stands ajar behind it when it was let go too early. The dense reward of a step is
//!
//! ```text
//! - distance from tool to lever (m, at most 0.5) - (1 - min(1, door / open_angle_rad)) - 0.5 (1 - min(1, lever / 0.45))
//! ```
//!
//! without its last term once the door is off the latch (0.06 rad). The frame stands somewhere else in every episode.

use nalgebra::Vector3;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::safety::CommandState;
use surefoot_core::{Env, EnvError, EnvSpec, Field, RobotEnv, RobotState, Stream, Task, TaskOutcome};

use crate::arm;
use crate::arm_scene::ArmScene;
use crate::randomisation::Randomisation;
use crate::render::View;
use crate::tasks::{EnvContext, Shaping, build_error, check_ranges};
use crate::tool_drive::{ToolDrive, ToolLimits, tool_fields};

const SURROUNDINGS: &str = include_str!("../../models/door.xml");
const VIEW: View =
    View { eye: [-0.55, -1.15, 0.85], target: [0.36, 0.02, 0.16], field_of_view_rad: 0.62, floor_z: -0.60 };
/// Beyond this angle the bolt is past the strike, rad.
const OFF_THE_LATCH: f64 = 0.06;
/// Angle of the lever that surely frees the door, rad.
const PRESSED: f64 = 0.45;
/// Distances above this are worth the same, m.
const FAR: f64 = 0.5;

/// Frame, then lever and door, then where the lever is pressed.
const CHANNELS: [(&str, &str); 9] = [
    ("frame_x_angle", "m"),
    ("frame_y_angle", "m"),
    ("latch_angle", "rad"),
    ("latch_rate", "rad/s"),
    ("door_hinge_angle", "rad"),
    ("door_hinge_rate", "rad/s"),
    ("handle_x", "m"),
    ("handle_y", "m"),
    ("handle_z", "m"),
];

/// Configuration of [`door`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DoorConfig {
    /// Steps after which an episode is truncated.
    pub max_steps: usize,
    /// What a step is worth.
    pub reward: Shaping,
    /// Angle at which the door counts as open, rad.
    pub open_angle_rad: f64,
    /// Tool speed of an action of 1, m/s, per axis.
    pub max_tool_speed_m_per_sec: f64,
    /// Acceleration of the tool, m/s^2.
    pub max_tool_acceleration_m_per_sec2: f64,
    /// Where the closed door stands: lowest and highest x, m.
    pub door_x_m: [f64; 2],
    /// Lowest and highest y of the middle between hinge and latch, m.
    pub door_y_m: [f64; 2],
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

impl Default for DoorConfig {
    fn default() -> Self {
        Self {
            max_steps: 80,
            reward: Shaping::Sparse,
            open_angle_rad: 0.6,
            max_tool_speed_m_per_sec: 0.35,
            max_tool_acceleration_m_per_sec2: 6.0,
            door_x_m: [0.46, 0.54],
            door_y_m: [-0.06, 0.06],
            tool_start_low_m: [0.30, -0.20, 0.22],
            tool_start_high_m: [0.36, 0.20, 0.30],
            workspace_low_m: [0.28, -0.30, 0.05],
            workspace_high_m: [0.68, 0.30, 0.32],
            randomisation: Randomisation::default(),
        }
    }
}

impl DoorConfig {
    /// Builds the environment.
    ///
    /// # Errors
    /// When a number is out of range or the workspace out of reach.
    pub fn build(&self, context: &EnvContext) -> Result<Box<dyn Env>, EnvError> {
        let scene = scene(context);
        let world = scene.world(&self.randomisation)?;
        let task = DoorTask::new(self.clone(), &scene)?;
        let env = RobotEnv::new(Box::new(task), Box::new(world), arm::TRACKING_TOLERANCE_RAD)?;
        self.randomisation.around(Box::new(env))
    }

    fn check(&self) -> Result<ToolLimits, EnvError> {
        let Self {
            max_steps,
            reward: _,
            open_angle_rad,
            max_tool_speed_m_per_sec,
            max_tool_acceleration_m_per_sec2,
            door_x_m,
            door_y_m,
            tool_start_low_m,
            tool_start_high_m,
            workspace_low_m,
            workspace_high_m,
            randomisation: _,
        } = self;
        check_ranges("door", *max_steps, &[("door_x_m", *door_x_m), ("door_y_m", *door_y_m)])?;
        if !(*open_angle_rad > OFF_THE_LATCH && *open_angle_rad <= 1.2) {
            let what =
                format!("open_angle_rad must be above {OFF_THE_LATCH}, at most 1.2, found {open_angle_rad}");
            return Err(build_error("door", what));
        }
        if door_x_m[0] - tool_start_high_m[0] < 0.08 {
            let what = format!(
                "the tool must start 0.08 m before the door: tool_start_high_m[0] is {}, door_x_m[0] is {}",
                tool_start_high_m[0], door_x_m[0]
            );
            return Err(build_error("door", what));
        }
        let limits = ToolLimits {
            max_speed: *max_tool_speed_m_per_sec,
            max_acceleration: *max_tool_acceleration_m_per_sec2,
            low: *workspace_low_m,
            high: *workspace_high_m,
        };
        limits.check_start("door", *tool_start_low_m, *tool_start_high_m)?;
        Ok(limits)
    }
}

fn scene(context: &EnvContext) -> ArmScene {
    ArmScene {
        name: "door",
        surroundings: SURROUNDINGS.to_owned(),
        tool: None,
        actuators: "",
        joints: Vec::new(),
        channels: &CHANNELS,
        stepping: context.stepping,
        view: VIEW,
    }
}

/// What the channels say.
struct Seen {
    lever: [f64; 2],
    door: [f64; 2],
    handle: Vector3<f64>,
}

impl Seen {
    fn of(state: &RobotState) -> Self {
        let c: [f64; CHANNELS.len()] = std::array::from_fn(|i| state.channels[i]);
        Self { lever: [c[2], c[3]], door: [c[4], c[5]], handle: Vector3::new(c[6], c[7], c[8]) }
    }
}

/// The task over any robot with this arm's joints that sees the door.
struct DoorTask {
    config: DoorConfig,
    spec: EnvSpec,
    drive: ToolDrive,
}

impl DoorTask {
    fn new(config: DoorConfig, scene: &ArmScene) -> Result<Self, EnvError> {
        let drive = ToolDrive::new("door", config.check()?)?;
        let contract = scene.contract()?;
        let place = |name: &str| Field::bounded(name, "m", -2.0, 2.0);
        let mut observation = tool_fields();
        observation.extend(["tool_to_handle_x", "tool_to_handle_y", "tool_to_handle_z"].map(place));
        observation.extend([
            Field::bounded("lever_angle", "rad", -0.5, 1.5),
            Field::bounded("lever_rate", "rad/s", -100.0, 100.0),
            Field::bounded("door_angle", "rad", -0.5, 2.0),
            Field::bounded("door_rate", "rad/s", -50.0, 50.0),
        ]);
        let spec = EnvSpec {
            name: "door".to_owned(),
            observation,
            action: drive.action_fields(),
            step_secs: 1.0 / contract.policy_hz,
            max_steps: config.max_steps,
            reward_range: Some(match config.reward {
                Shaping::Sparse => (-1.0, 0.0),
                Shaping::Dense => (-2.0, 0.0),
            }),
            contract_hash: Some(contract.hash()),
        };
        Ok(Self { config, spec, drive })
    }
}

impl Task for DoorTask {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, stream: &mut Stream, initial: &mut RobotState) {
        let c = &self.config;
        initial.channels.fill(0.0);
        for (channel, [low, high]) in initial.channels.iter_mut().zip([c.door_x_m, c.door_y_m]) {
            *channel = stream.uniform(low, high);
        }
        let (low, high) = (c.tool_start_low_m, c.tool_start_high_m);
        let tool = Vector3::from_fn(|i, _| stream.uniform(low[i], high[i]));
        self.drive.put(tool, &mut initial.position);
    }

    fn desired(
        &mut self,
        state: &RobotState,
        command: CommandState<'_>,
        action: &[f32],
        desired: &mut [f64],
    ) {
        self.drive.desired(state, command, action, desired);
    }

    fn executed(&self, before: &[f64], after: &[f64], _: &[f64], step_secs: f64, action: &mut [f32]) {
        self.drive.executed(before, after, step_secs, action);
    }

    fn observe(&mut self, state: &RobotState, observation: &mut [f32]) {
        let (tool, rate) = (self.drive.tool(&state.position), self.drive.velocity(state));
        let Seen { lever, door, handle } = Seen::of(state);
        let to_handle = handle - tool;
        let row = tool.iter().chain(rate.iter()).chain(to_handle.iter()).chain(&lever).chain(&door);
        observation.iter_mut().zip(row).for_each(|(o, value)| *o = *value as f32);
    }

    fn outcome(&mut self, state: &RobotState, _executed: &[f32]) -> TaskOutcome {
        let Seen { lever: [lever, _], door: [door, _], handle } = Seen::of(state);
        let success = door >= self.config.open_angle_rad;
        let reward = match self.config.reward {
            Shaping::Sparse => -f32::from(u8::from(!success)),
            Shaping::Dense => {
                let to_handle = self.drive.tool(&state.position).metric_distance(&handle).min(FAR);
                let closed = 1.0 - (door / self.config.open_angle_rad).clamp(0.0, 1.0);
                let up = 1.0 - (lever / PRESSED).clamp(0.0, 1.0);
                let latched = if door < OFF_THE_LATCH { 0.5 * up } else { 0.0 };
                -(to_handle + closed + latched) as f32
            }
        };
        TaskOutcome { reward, terminated: success, success }
    }
}
