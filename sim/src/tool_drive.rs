//! Actions that are velocities of an arm's tool in space, kept in a box, for tasks in which the tool may press on something.
//!
//! An arm of position servos presses the harder, the farther its set-point runs into what it touches. The set-point may therefore
//! run ahead of the measured tool by [`LEAD_M`] alone: that bounds the force to the lead times the servos' stiffness at the tool.

use nalgebra::Vector3;
use surefoot_core::safety::CommandState;
use surefoot_core::{EnvError, Field, RobotState};

use crate::arm;
use crate::tasks::build_error;
use crate::tool_motion::ToolMotion;

/// The tool slows down toward the edge of its workspace with this time constant, s.
const EDGE_SECS: f64 = 0.12;
/// Largest distance of the commanded tool from the measured one, along each axis, m.
pub const LEAD_M: f64 = 0.015;
/// Time in which the lead that is left may be used up, s.
const LEAD_SECS: f64 = 0.03;

/// How a tool may move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ToolLimits {
    /// Speed of an action of 1, m/s, per axis.
    pub max_speed: f64,
    /// m/s^2.
    pub max_acceleration: f64,
    /// Lowest corner of the workspace, m.
    pub low: [f64; 3],
    /// Highest corner, m.
    pub high: [f64; 3],
}

impl ToolLimits {
    /// Refuses a start outside the workspace.
    ///
    /// # Errors
    /// Naming `tool_start_low_m` and `tool_start_high_m`.
    pub fn check_start(&self, env: &str, low: [f64; 3], high: [f64; 3]) -> Result<(), EnvError> {
        let inside = (0..3).all(|i| self.low[i] <= low[i] && low[i] < high[i] && high[i] <= self.high[i]);
        if inside {
            return Ok(());
        }
        let Self { low: from, high: to, .. } = self;
        let what = format!(
            "tool_start_low_m {low:?} must be below tool_start_high_m {high:?}, both in the workspace {from:?} to {to:?}"
        );
        Err(build_error(env, what))
    }
}

/// The tool of the seven-joint arm under actions `[3]`: its velocity in units of the largest.
#[derive(Clone, Debug)]
pub struct ToolDrive {
    motion: ToolMotion,
    limits: ToolLimits,
}

impl ToolDrive {
    /// The drive of environment `env`.
    ///
    /// # Errors
    /// When a limit is out of range, or the workspace out of reach.
    pub fn new(env: &str, limits: ToolLimits) -> Result<Self, EnvError> {
        let ToolLimits { max_speed, max_acceleration, low, high } = limits;
        for (key, value) in
            [("max_tool_speed_m_per_sec", max_speed), ("max_tool_acceleration_m_per_sec2", max_acceleration)]
        {
            if !(value.is_finite() && value > 0.0) {
                return Err(build_error(env, format!("{key} must be greater than zero, found {value}")));
            }
        }
        if !low.iter().zip(&high).all(|(l, h)| l.is_finite() && h.is_finite() && l < h) || low[2] < 0.0 {
            let what = format!(
                "workspace_low_m must be below workspace_high_m and over the table, found {low:?} and {high:?}"
            );
            return Err(build_error(env, what));
        }
        let mut motion = arm::tool_motion()?;
        for corner in 0..8 {
            let at = Vector3::from_fn(|i, _| if corner & (1 << i) == 0 { low[i] } else { high[i] });
            motion.position_at(at).map_err(|e| build_error(env, e))?;
        }
        Ok(Self { motion, limits })
    }

    /// Where the tool is at these joint positions, m.
    ///
    /// Real-time safe: does not allocate, lock or block.
    #[must_use]
    pub fn tool(&self, position: &[f64]) -> Vector3<f64> {
        self.motion.kinematics().pose(position).translation.vector
    }

    /// Its velocity, m/s.
    ///
    /// Real-time safe: does not allocate, lock or block.
    #[must_use]
    pub fn velocity(&self, state: &RobotState) -> Vector3<f64> {
        self.motion.kinematics().velocity(&state.position, &state.velocity)
    }

    /// Puts the arm's joints (the first of `position`) where the tool is at `target`, m. Of no effect where it is out of reach, which
    /// [`new`](Self::new) has excluded within the workspace.
    ///
    /// Real-time safe: does not allocate, lock or block.
    pub fn put(&mut self, target: Vector3<f64>, position: &mut [f64]) {
        if let Ok(found) = self.motion.position_at(target) {
            position.iter_mut().zip(found).for_each(|(p, f)| *p = *f);
        }
    }

    /// Joint velocities of the arm for the action's first three numbers, into the first of `desired`, rad/s.
    ///
    /// Real-time safe: does not allocate, lock or block.
    pub fn desired(
        &mut self,
        state: &RobotState,
        command: CommandState<'_>,
        action: &[f32],
        desired: &mut [f64],
    ) {
        let ToolLimits { max_speed, max_acceleration, low, high } = self.limits;
        let (at, measured) = (self.tool(command.position), self.tool(&state.position));
        let wanted = Vector3::from_fn(|i, _| {
            let wanted = f64::from(action[i].clamp(-1.0, 1.0)) * max_speed;
            let wanted = wanted.clamp((low[i] - at[i]) / EDGE_SECS, (high[i] - at[i]) / EDGE_SECS);
            let ahead = at[i] - measured[i];
            wanted.clamp((-LEAD_M - ahead) / LEAD_SECS, (LEAD_M - ahead) / LEAD_SECS)
        });
        let velocity = self.motion.slewed(command, wanted, max_acceleration);
        let joints = self.motion.kinematics().joints();
        self.motion.joint_velocities(&command.position[..joints], velocity, &mut desired[..joints]);
    }

    /// The action that the way from `before` to `after` amounts to, into the first three numbers of `action`.
    pub fn executed(&self, before: &[f64], after: &[f64], step_secs: f64, action: &mut [f32]) {
        let moved = self.tool(after) - self.tool(before);
        let scale = step_secs * self.limits.max_speed;
        for (a, moved) in action.iter_mut().zip(moved.iter()) {
            *a = ((moved / scale) as f32).clamp(-1.0, 1.0);
        }
    }

    /// The fields of the action.
    #[must_use]
    pub fn action_fields(&self) -> Vec<Field> {
        let speed = self.limits.max_speed as f32;
        let field = |axis| Field::bounded(format!("tool_velocity_{axis}"), "m/s", -speed, speed);
        ["x", "y", "z"].map(field).to_vec()
    }
}

/// Fields of the observation for tool position and velocity.
#[must_use]
pub fn tool_fields() -> Vec<Field> {
    let place = |axis| Field::bounded(format!("tool_{axis}"), "m", -2.0, 2.0);
    let rate = |axis| Field::bounded(format!("tool_v{axis}"), "m/s", -5.0, 5.0);
    ["x", "y", "z"].map(place).into_iter().chain(["x", "y", "z"].map(rate)).collect()
}
