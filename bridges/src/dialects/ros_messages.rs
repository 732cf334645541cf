//! States and commands as ROS 2 messages, for the dialects that differ in their keys and in what goes beside a message.
//!
//! * **State**: `sensor_msgs/JointState`, joints found by their names in any order; further channels of the contract are further
//!   names with positions. Where a publisher tells no velocities, they are the differences of its positions over its own stamps.
//! * **Command**: `trajectory_msgs/JointTrajectory` with the set-point, the stop plan after it and a stamp, so that a robot that
//!   hears nothing more comes to rest inside its limits. `control_msgs/JointCommand` and `std_msgs/Float64MultiArray` are the
//!   set-point's positions alone: limits then hold only while messages flow, and the robot must time out by itself.

use std::fmt;

use surefoot_core::RobotContract;
use surefoot_core::contract::RosCommand;
use surefoot_core::ros::messages::{
    Duration, Float64MultiArray, Header, JointCommand, JointState, JointTrajectory, JointTrajectoryPoint,
    Time,
};
use surefoot_core::ros::{CdrError, RosMessage};

use super::joints::{JointOrder, check_length};
use super::{CommandFrame, StateFrame};
use crate::error::WireError;
use crate::wire::CommandMeta;

/// A stamp that no message may have: robots take zero for "now".
const LEAST_STAMP: i64 = 1;
/// How far points may be from where they should be in time, ns: stamps of ROS have whole nanoseconds, periods need not.
const GRID_NANOS: u64 = 1000;

/// The message that a command is.
#[must_use]
pub const fn command_type(command: RosCommand) -> &'static str {
    match command {
        RosCommand::JointTrajectory => JointTrajectory::TYPE,
        RosCommand::JointCommand => JointCommand::TYPE,
        RosCommand::Float64MultiArray => Float64MultiArray::TYPE,
    }
}

/// Its definition.
#[must_use]
pub const fn command_definition(command: RosCommand) -> &'static str {
    match command {
        RosCommand::JointTrajectory => JointTrajectory::DEFINITION,
        RosCommand::JointCommand => JointCommand::DEFINITION,
        RosCommand::Float64MultiArray => Float64MultiArray::DEFINITION,
    }
}

/// The topic that `ros2_control` listens on under its controllers' usual names.
#[must_use]
pub const fn usual_command_topic(command: RosCommand) -> &'static str {
    match command {
        RosCommand::JointTrajectory => "/joint_trajectory_controller/joint_trajectory",
        RosCommand::JointCommand | RosCommand::Float64MultiArray => "/forward_position_controller/commands",
    }
}

/// The topic that `joint_state_broadcaster` publishes.
pub const USUAL_STATE_TOPIC: &str = "/joint_states";

/// Writes and reads the messages.
#[derive(Debug)]
pub struct RosMessages {
    joints: usize,
    command: RosCommand,
    order: JointOrder,
    command_order: JointOrder,
    state: JointState,
    speeds: SpeedsOfPositions,
    trajectory: JointTrajectory,
    joint_command: JointCommand,
    array: Float64MultiArray,
}

fn malformed(what: &'static str, reason: impl fmt::Display) -> WireError {
    WireError::Malformed { what, reason: reason.to_string() }
}

fn cdr(what: &'static str) -> impl Fn(CdrError) -> WireError {
    move |e| malformed(what, e)
}

/// The stamp that messages carry for this moment.
fn stamp(nanos: i64) -> Time {
    Time::from_nanos(nanos.max(LEAST_STAMP))
}

impl RosMessages {
    /// For a robot.
    #[must_use]
    pub fn new(contract: &RobotContract, command: RosCommand) -> Self {
        let command_order = JointOrder::joints(contract);
        Self {
            joints: contract.joints.len(),
            command,
            order: JointOrder::joints_and_channels(contract),
            state: JointState::default(),
            speeds: SpeedsOfPositions::default(),
            trajectory: JointTrajectory::default(),
            joint_command: JointCommand {
                header: Header::default(),
                joint_names: command_order.names().to_vec(),
                interface_name: "position".to_owned(),
                values: Vec::new(),
            },
            array: Float64MultiArray::default(),
            command_order,
        }
    }

    /// Writes a state.
    pub fn write_state(&mut self, frame: &StateFrame, payload: &mut Vec<u8>) {
        let StateFrame { meta, state: from, received_nanos: _ } = frame;
        let to = &mut self.state;
        to.header.stamp = stamp(meta.stamp_nanos);
        if to.name.is_empty() {
            to.name = self.order.names().to_vec();
        }
        to.position.clear();
        to.position.extend(from.position.iter().chain(&from.channels));
        to.velocity.clear();
        to.velocity.extend(from.velocity.iter().copied().chain(from.channels.iter().map(|_| 0.0)));
        to.encode(payload);
    }

    /// Reads a state; its stamp goes to `meta`, and nothing else there is touched.
    ///
    /// # Errors
    /// When the payload is none, its arrays do not fit each other, or a name of the contract is missing.
    pub fn read_state(&mut self, payload: &[u8], frame: &mut StateFrame) -> Result<(), WireError> {
        let from = &mut self.state;
        from.decode(payload).map_err(cdr(JointState::TYPE))?;
        let names = from.name.len();
        check_length("positions of a state", names, from.position.len())?;
        if !from.velocity.is_empty() {
            check_length("velocities of a state", names, from.velocity.len())?;
        }
        let places = self.order.places(&from.name)?;
        let (joints, channels) = places.split_at(self.joints.min(places.len()));
        let nanos = from.header.stamp.nanos();
        let StateFrame { meta, state: to, received_nanos: _ } = frame;
        for ((p, v), at) in to.position.iter_mut().zip(&mut to.velocity).zip(joints) {
            // As many positions as names, and places are among the names.
            *p = from.position[*at];
            *v = from.velocity.get(*at).copied().unwrap_or(0.0);
        }
        for (c, at) in to.channels.iter_mut().zip(channels) {
            *c = from.position[*at];
        }
        if from.velocity.is_empty() {
            self.speeds.observe(nanos, &to.position, &mut to.velocity)?;
        }
        meta.stamp_nanos = nanos;
        Ok(())
    }

    /// Writes a command, stamped `stamp_nanos` by the robot's clock.
    pub fn write_command(&mut self, frame: &CommandFrame, stamp_nanos: i64, payload: &mut Vec<u8>) {
        let CommandFrame { meta, rows } = frame;
        let set_point = rows.get(..self.joints.min(rows.len())).unwrap_or_default();
        match self.command {
            RosCommand::JointTrajectory => {
                let to = &mut self.trajectory;
                to.header.stamp = stamp(stamp_nanos);
                if to.joint_names.is_empty() {
                    to.joint_names = self.command_order.names().to_vec();
                }
                let points = rows.chunks_exact(self.joints.max(1));
                to.points.resize_with(points.len(), JointTrajectoryPoint::default);
                for ((point, row), n) in to.points.iter_mut().zip(points).zip(1_i64..) {
                    point.positions.clear();
                    point.positions.extend(row.iter().map(|(p, _)| *p));
                    point.velocities.clear();
                    point.velocities.extend(row.iter().map(|(_, v)| *v));
                    point.time_from_start = Duration::from_nanos(n * i64::from(meta.period_nanos));
                }
                to.encode(payload);
            }
            RosCommand::JointCommand => {
                let to = &mut self.joint_command;
                to.header.stamp = stamp(stamp_nanos);
                to.values.clear();
                to.values.extend(set_point.iter().map(|(p, _)| *p));
                to.encode(payload);
            }
            RosCommand::Float64MultiArray => {
                self.array.data.clear();
                self.array.data.extend(set_point.iter().map(|(p, _)| *p));
                self.array.encode(payload);
            }
        }
    }

    /// Reads a command. Stamp and period go to `meta` where the message tells them, and nothing else there is touched.
    ///
    /// # Errors
    /// When the payload is none, a joint is missing, a number is not finite, or the points of a trajectory are not one period apart.
    pub fn read_command(&mut self, payload: &[u8], frame: &mut CommandFrame) -> Result<(), WireError> {
        let CommandFrame { meta, rows } = frame;
        rows.clear();
        match self.command {
            RosCommand::JointTrajectory => {
                self.trajectory.decode(payload).map_err(cdr(JointTrajectory::TYPE))?;
                let places = self.command_order.places(&self.trajectory.joint_names)?;
                read_trajectory(&self.trajectory, places, meta, rows)?;
            }
            RosCommand::JointCommand => {
                let from = &mut self.joint_command;
                from.decode(payload).map_err(cdr(JointCommand::TYPE))?;
                check_length("values of a command", from.joint_names.len(), from.values.len())?;
                if from.interface_name != "position" {
                    let found: String = from.interface_name.chars().take(40).collect();
                    let reason = format!("expected interface \"position\", found {found:?}");
                    return Err(malformed(JointCommand::TYPE, reason));
                }
                let places = self.command_order.places(&from.joint_names)?;
                rows.extend(places.iter().map(|at| (from.values[*at], 0.0)));
                meta.stamp_nanos = from.header.stamp.nanos();
            }
            RosCommand::Float64MultiArray => {
                self.array.decode(payload).map_err(cdr(Float64MultiArray::TYPE))?;
                check_length("values of a command", self.joints, self.array.data.len())?;
                rows.extend(self.array.data.iter().map(|p| (*p, 0.0)));
            }
        }
        if rows.iter().any(|(p, v)| !(p.is_finite() && v.is_finite())) {
            return Err(WireError::NotFinite { what: "a command" });
        }
        Ok(())
    }
}

/// Velocities for publishers that tell none: differences of positions over the publisher's stamps.
#[derive(Debug, Default)]
struct SpeedsOfPositions {
    then: Option<i64>,
    positions: Vec<f64>,
}

impl SpeedsOfPositions {
    /// Takes positions of a moment in and gives the velocities since those before.
    fn observe(&mut self, nanos: i64, positions: &[f64], velocities: &mut [f64]) -> Result<(), WireError> {
        let then = self.then.replace(nanos);
        let known = then.filter(|then| nanos > *then && self.positions.len() == positions.len());
        if let Some(then) = known {
            let secs = nanos.saturating_sub(then) as f64 * 1e-9;
            for ((v, p), before) in velocities.iter_mut().zip(positions).zip(&self.positions) {
                *v = (p - before) / secs;
            }
        }
        self.positions.clear();
        self.positions.extend_from_slice(positions);
        match (known, then) {
            (Some(_), _) => Ok(()),
            (None, None) => Err(malformed(
                JointState::TYPE,
                "the first without velocities: they are known from the next one on",
            )),
            (None, Some(then)) => Err(malformed(
                JointState::TYPE,
                format_args!(
                    "it has no velocities, and its stamp, {nanos} ns, is not after the last one's, {then} ns"
                ),
            )),
        }
    }
}

/// The points of a trajectory as rows of one period each.
fn read_trajectory(
    from: &JointTrajectory,
    places: &[usize],
    meta: &mut CommandMeta,
    rows: &mut Vec<(f64, f64)>,
) -> Result<(), WireError> {
    let wrong = |reason: String| malformed(JointTrajectory::TYPE, reason);
    let names = from.joint_names.len();
    let period = match from.points.as_slice() {
        [] => return Err(WireError::Length { what: "points of a command", expected: 1, found: 0 }),
        [only] if only.time_from_start.nanos() == 0 => i64::from(meta.period_nanos),
        [first, ..] => first.time_from_start.nanos(),
    };
    let period_nanos = u32::try_from(period).ok().filter(|p| *p > 0);
    let period_nanos =
        period_nanos.ok_or_else(|| wrong(format!("its first point is {period} ns after the start")))?;
    for (n, point) in from.points.iter().enumerate() {
        let (at, expected) = (point.time_from_start.nanos(), (n as i64 + 1).saturating_mul(period));
        if from.points.len() > 1 && at.abs_diff(expected) > GRID_NANOS {
            let reason = format!(
                "point {n} is {at} ns after the start: expected {expected}, points one period apart (hint: a planned path is for a \
                 trajectory controller; what is served here follows a stream of set-points)"
            );
            return Err(wrong(reason));
        }
        check_length("positions of a point", names, point.positions.len())?;
        if point.velocities.is_empty() {
            let after = from.points.get(n + 1).unwrap_or(point);
            check_length("positions of a point", names, after.positions.len())?;
            let secs = f64::from(period_nanos) * 1e-9;
            rows.extend(places.iter().map(|i| {
                let p = point.positions[*i];
                (p, (after.positions[*i] - p) / secs)
            }));
        } else {
            check_length("velocities of a point", names, point.velocities.len())?;
            rows.extend(places.iter().map(|i| (point.positions[*i], point.velocities[*i])));
        }
    }
    meta.period_nanos = period_nanos;
    meta.stamp_nanos = from.header.stamp.nanos();
    Ok(())
}

#[cfg(test)]
mod tests;
