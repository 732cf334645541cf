//! `peg_insert`: a seven-joint arm puts the round peg in its hand into a square hole that is a little wider.
//!
//! | | |
//! |---|---|
//! | observation | peg tip's position and velocity; the bottom of the hole, from the tip |
//! | action | tool velocity |
//! | reward | sparse: -1 for every step that ends with the peg outside, 0 for the one that brings it in; dense: below |
//! | success, termination | the tip is between the walls, within `depth_tolerance_m` of the bottom |
//! | truncation | `max_steps` |
//!
//! The dense reward of a step is minus the way over the rim and down: the distance across to the hole's axis (m, at most 0.5), and
//! the height of the tip over the bottom, which counts from the rim on where the tip is not yet over the hole. The block with the hole
//! stands somewhere else in every episode. What a real robot does not know of that is `randomisation.observation_noise`.

use std::fmt::Write;

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

const VIEW: View =
    View { eye: [1.35, -0.95, 0.75], target: [0.40, 0.0, 0.16], field_of_view_rad: 0.52, floor_z: -0.60 };
/// Radius of the peg, m; the stick of arm7.xml, whose end is round, and reaches as much below the site `tool`.
const PEG_RADIUS: f64 = 0.012;
/// Top of the block, and of the plate at the bottom of the hole, m.
const RIM: f64 = 0.060;
const BOTTOM: f64 = 0.010;
/// Half the width of the block, m.
const BLOCK: f64 = 0.060;
/// Distances above this are worth the same, m.
const FAR: f64 = 0.5;

const CHANNELS: [(&str, &str); 2] = [("block_x_angle", "m"), ("block_y_angle", "m")];

/// Configuration of [`peg_insert`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PegInsertConfig {
    /// Steps after which an episode is truncated.
    pub max_steps: usize,
    /// What a step is worth.
    pub reward: Shaping,
    /// Room between peg and wall on each side, m.
    pub clearance_m: f64,
    /// Height of the tip over the bottom at which the peg counts as in, m.
    pub depth_tolerance_m: f64,
    /// Tool speed of an action of 1, m/s, per axis.
    pub max_tool_speed_m_per_sec: f64,
    /// Acceleration of the tool, m/s^2.
    pub max_tool_acceleration_m_per_sec2: f64,
    /// Where the hole is: lowest and highest x, m.
    pub hole_x_m: [f64; 2],
    /// Lowest and highest y, m.
    pub hole_y_m: [f64; 2],
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

impl Default for PegInsertConfig {
    fn default() -> Self {
        Self {
            max_steps: 80,
            reward: Shaping::Sparse,
            clearance_m: 0.0015,
            depth_tolerance_m: 0.008,
            max_tool_speed_m_per_sec: 0.25,
            max_tool_acceleration_m_per_sec2: 6.0,
            hole_x_m: [0.40, 0.56],
            hole_y_m: [-0.18, 0.18],
            tool_start_low_m: [0.36, -0.22, 0.12],
            tool_start_high_m: [0.60, 0.22, 0.22],
            workspace_low_m: [0.32, -0.28, 0.02],
            workspace_high_m: [0.64, 0.28, 0.26],
            randomisation: Randomisation::default(),
        }
    }
}

impl PegInsertConfig {
    /// Builds the environment.
    ///
    /// # Errors
    /// When a number is out of range or the workspace out of reach.
    pub fn build(&self, context: &EnvContext) -> Result<Box<dyn Env>, EnvError> {
        let limits = self.check()?;
        let scene = ArmScene {
            name: "peg_insert",
            surroundings: block(PEG_RADIUS + self.clearance_m),
            tool: None,
            actuators: "",
            joints: Vec::new(),
            channels: &CHANNELS,
            stepping: context.stepping,
            view: VIEW,
        };
        let world = scene.world(&self.randomisation)?;
        let task = PegInsertTask::new(self.clone(), limits, &scene)?;
        let env = RobotEnv::new(Box::new(task), Box::new(world), arm::TRACKING_TOLERANCE_RAD)?;
        self.randomisation.around(Box::new(env))
    }

    fn check(&self) -> Result<ToolLimits, EnvError> {
        let Self {
            max_steps,
            reward: _,
            clearance_m,
            depth_tolerance_m,
            max_tool_speed_m_per_sec,
            max_tool_acceleration_m_per_sec2,
            hole_x_m,
            hole_y_m,
            tool_start_low_m,
            tool_start_high_m,
            workspace_low_m,
            workspace_high_m,
            randomisation: _,
        } = self;
        check_ranges("peg_insert", *max_steps, &[("hole_x_m", *hole_x_m), ("hole_y_m", *hole_y_m)])?;
        let refuse = |what: String| Err(build_error("peg_insert", what));
        for (key, value, most) in
            [("clearance_m", *clearance_m, 0.02), ("depth_tolerance_m", *depth_tolerance_m, RIM - BOTTOM)]
        {
            if !(value > 0.0 && value <= most) {
                return refuse(format!("{key} must be above 0, at most {most}, found {value}"));
            }
        }
        if tool_start_low_m[2] - PEG_RADIUS < RIM + 0.01 {
            return refuse(format!(
                "the peg must start over the block: tool_start_low_m[2] must be at least {}, found {}",
                RIM + 0.01 + PEG_RADIUS,
                tool_start_low_m[2]
            ));
        }
        let limits = ToolLimits {
            max_speed: *max_tool_speed_m_per_sec,
            max_acceleration: *max_tool_acceleration_m_per_sec2,
            low: *workspace_low_m,
            high: *workspace_high_m,
        };
        limits.check_start("peg_insert", *tool_start_low_m, *tool_start_high_m)?;
        Ok(limits)
    }
}

/// MJCF of the block: four walls around a hole of half width `half`, and a plate under it, on slides that dry friction holds.
fn block(half: f64) -> String {
    let mut text = String::from(
        "<body name=\"block\">\
         <joint name=\"block_x\" type=\"slide\" axis=\"1 0 0\" armature=\"100\" frictionloss=\"2000\"/>\
         <joint name=\"block_y\" type=\"slide\" axis=\"0 1 0\" armature=\"100\" frictionloss=\"2000\"/>",
    );
    let (wall, middle) = ((BLOCK - half) / 2.0, (BLOCK + half) / 2.0);
    let walls = [
        ([middle, 0.0], [wall, BLOCK]),
        ([-middle, 0.0], [wall, BLOCK]),
        ([0.0, middle], [half, wall]),
        ([0.0, -middle], [half, wall]),
    ];
    let z = RIM / 2.0;
    for ([x, y], [dx, dy]) in walls {
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "<geom type=\"box\" pos=\"{x} {y} {z}\" size=\"{dx} {dy} {z}\" mass=\"0.5\" contype=\"2\" conaffinity=\"2\" \
             friction=\"0.35 0.005 0.0001\" rgba=\"0.20 0.45 0.75 1\"/>"
        );
    }
    let z = BOTTOM / 2.0;
    let _ = write!(
        text,
        "<geom type=\"box\" pos=\"0 0 {z}\" size=\"{half} {half} {z}\" mass=\"0.1\" contype=\"2\" conaffinity=\"2\" \
         rgba=\"0.24 0.67 0.35 1\"/></body>"
    );
    text
}

/// The task over any robot with this arm's joints that sees the block.
struct PegInsertTask {
    config: PegInsertConfig,
    spec: EnvSpec,
    drive: ToolDrive,
}

impl PegInsertTask {
    fn new(config: PegInsertConfig, limits: ToolLimits, scene: &ArmScene) -> Result<Self, EnvError> {
        let drive = ToolDrive::new("peg_insert", limits)?;
        let contract = scene.contract()?;
        let mut observation = tool_fields();
        observation
            .extend(["x", "y", "z"].map(|a| Field::bounded(format!("tip_to_bottom_{a}"), "m", -2.0, 2.0)));
        let spec = EnvSpec {
            name: "peg_insert".to_owned(),
            observation,
            action: drive.action_fields(),
            step_secs: 1.0 / contract.policy_hz,
            max_steps: config.max_steps,
            reward_range: Some(match config.reward {
                Shaping::Sparse => (-1.0, 0.0),
                Shaping::Dense => (-2.0 * FAR as f32, 0.0),
            }),
            contract_hash: Some(contract.hash()),
        };
        Ok(Self { config, spec, drive })
    }

    /// From the peg's tip to the middle of the hole's bottom, m.
    fn to_bottom(&self, state: &RobotState) -> Vector3<f64> {
        let tool = self.drive.tool(&state.position);
        Vector3::new(state.channels[0], state.channels[1], BOTTOM) - (tool - Vector3::z() * PEG_RADIUS)
    }
}

impl Task for PegInsertTask {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, stream: &mut Stream, initial: &mut RobotState) {
        let c = &self.config;
        for (channel, [low, high]) in initial.channels.iter_mut().zip([c.hole_x_m, c.hole_y_m]) {
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
        let to_bottom = self.to_bottom(state);
        let row = tool.iter().chain(rate.iter()).chain(to_bottom.iter());
        observation.iter_mut().zip(row).for_each(|(o, value)| *o = *value as f32);
    }

    fn outcome(&mut self, state: &RobotState, _executed: &[f32]) -> TaskOutcome {
        let c = &self.config;
        let to_bottom = self.to_bottom(state);
        let across = to_bottom.xy().norm();
        // As wide as the hole, and a little for tools that lean.
        let within = to_bottom.x.abs().max(to_bottom.y.abs()) <= c.clearance_m + 0.001;
        let height = -to_bottom.z;
        let success = within && height <= c.depth_tolerance_m;
        let reward = match c.reward {
            Shaping::Sparse => -f32::from(u8::from(!success)),
            Shaping::Dense => {
                let height = if within { height.max(0.0) } else { height.max(RIM - BOTTOM) };
                -(across.min(FAR) + height.min(FAR)) as f32
            }
        };
        TaskOutcome { reward, terminated: success, success }
    }
}
