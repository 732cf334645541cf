//! A robot contract made of what a model says, for a model without a contract of its own.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::RobotContract;
use surefoot_core::contract::{ChannelContract, CommandKind, JointContract};

use super::{JointActuator, Model, ModelError};

/// Rates, and the limits that a model does not state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DerivedLimits {
    /// Commands per second.
    pub control_hz: f64,
    /// Actions per second; divides `control_hz`.
    pub policy_hz: f64,
    /// Velocity limit of joints whose model states none, rad/s or m/s.
    pub max_velocity: f64,
    /// Acceleration limit, rad/s^2 or m/s^2.
    pub max_acceleration: f64,
}

impl Default for DerivedLimits {
    fn default() -> Self {
        Self { control_hz: 100.0, policy_hz: 20.0, max_velocity: 2.0, max_acceleration: 10.0 }
    }
}

/// Position limit of a joint that has none, rad or m: beyond what an episode reaches.
const UNLIMITED: f64 = 1e6;
/// Limits of a joint that nothing drives: it is watched, and never commanded.
const SWINGS_FREELY: f64 = 1e4;

impl Model {
    /// A contract for the joints of this model: all hinges and slides where motors drive it, those that are driven where servos
    /// do. `channels` are what else is to be seen.
    ///
    /// # Errors
    /// When motors and servos are mixed, a motor states no limit of what it does, or a joint has no name.
    pub fn contract(
        &self,
        name: &str,
        limits: &DerivedLimits,
        channels: Vec<ChannelContract>,
    ) -> Result<RobotContract, ModelError> {
        let DerivedLimits { control_hz, policy_hz, max_velocity, max_acceleration } = limits;
        let refuse = |item: String| ModelError::Unsupported { model: self.name.clone(), item };
        let driven: Vec<&str> = self.actuated_joints().collect();
        let mut commands = Vec::new();
        for joint in &driven {
            commands.push(match self.actuator(joint)? {
                JointActuator::Motor { .. } => CommandKind::Effort,
                JointActuator::Servo { .. } => CommandKind::Motion,
            });
        }
        let command =
            commands.first().copied().ok_or_else(|| refuse("a model without actuators".to_owned()))?;
        if commands.iter().any(|c| *c != command) {
            return Err(refuse("a mixture of motors and position servos".to_owned()));
        }
        let mut joints = Vec::new();
        for (id, entry) in self.mjcf.bodies_iter() {
            for joint in &entry.body.joints {
                let Some(joint_name) = joint.name.as_deref() else { continue };
                let index = self.joint_index(joint_name).ok();
                let Some(axis) = index.and_then(|i| self.axis(i)) else { continue };
                let is_driven = driven.contains(&joint_name);
                if command == CommandKind::Motion && !is_driven {
                    continue;
                }
                let limited = joint.limited.resolve(self.mjcf.compiler.autolimits, joint.range.is_some());
                let actuator = if is_driven { Some(self.actuator(joint_name)?) } else { None };
                let (targets, max_effort) = match actuator {
                    Some(JointActuator::Motor { gear, control_range, max_effort }) => {
                        let by_control = control_range.map(|[low, high]| gear.abs() * high.min(-low));
                        let most = match (by_control, max_effort) {
                            (Some(a), Some(b)) => Some(a.min(b)),
                            (a, b) => a.or(b),
                        };
                        let most = most.filter(|m| *m > 0.0).ok_or_else(|| {
                            refuse(format!(
                                "the motor of joint {joint_name} (body {id}) without a ctrlrange or forcerange around zero"
                            ))
                        })?;
                        (None, Some(most))
                    }
                    Some(JointActuator::Servo { max_effort, control_range, .. }) => {
                        (control_range, max_effort)
                    }
                    // Nothing drives it; a chain of efforts wants a limit all the same.
                    None => (None, Some(1.0)),
                };
                let [low, high] =
                    joint.range.filter(|_| limited).or(targets).unwrap_or([-UNLIMITED, UNLIMITED]);
                let stated = self.velocity_limits.get(joint_name).copied();
                let (velocity, acceleration) = match command {
                    CommandKind::Motion => (stated.unwrap_or(*max_velocity), *max_acceleration),
                    CommandKind::Effort => (SWINGS_FREELY, SWINGS_FREELY),
                };
                // Limits are soft in the world: where efforts move it, it is watched a little beyond them.
                let beyond = if command == CommandKind::Effort { UNLIMITED } else { 0.0 };
                joints.push(JointContract {
                    name: joint_name.to_owned(),
                    unit: if axis == rapier3d::prelude::JointAxis::LinX { "m" } else { "rad" }.to_owned(),
                    min_position: low - beyond,
                    max_position: high + beyond,
                    max_velocity: velocity,
                    max_acceleration: acceleration,
                    max_deceleration: None,
                    max_effort,
                    max_jerk: None,
                    soft_limits: None,
                });
            }
        }
        if let Some(joint) = driven.iter().find(|j| joints.iter().all(|k| k.name != **j)) {
            return Err(refuse(format!("driving joint {joint}")));
        }
        let contract = RobotContract {
            name: name.to_owned(),
            command,
            control_hz: *control_hz,
            policy_hz: *policy_hz,
            action_delay_ticks: 0,
            scaling: Default::default(),
            joints,
            channels,
            geometry: None,
            import: None,
            link: None,
        };
        // The same checks as for a file.
        let invalid = |e: surefoot_core::ContractError| refuse(format!("a contract made of it: {e}"));
        let text = toml::to_string(&contract).map_err(|e| refuse(e.to_string()))?;
        RobotContract::parse(&text, Path::new(&self.name)).map_err(invalid)
    }
}
