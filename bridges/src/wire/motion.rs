//! What goes beside states and commands, and signs of life.

use super::layout::{codes, layout};
use super::supervision::{RobotMode, StopCause};

codes! {
    /// Whose decision a command is, for the robot's log.
    Source, "source of a command" {
        /// Not told.
        Program = 0,
        /// A policy.
        Policy = 1,
        /// A person.
        Human = 2,
    }
}

/// Beside each command: which arming it belongs to, its number, and until when it may be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandMeta {
    /// The arming that it belongs to. An earlier one's commands are never followed.
    pub epoch: u32,
    /// What the robot's side gave its controller when it took it.
    pub lease: u64,
    /// Counts from 1 in each epoch.
    pub seq: u64,
    /// Controller's monotonic clock, ns.
    pub stamp_nanos: i64,
    /// Robot's monotonic clock after which it is not followed, ns.
    pub valid_until_nanos: i64,
    /// Period of its rows, ns.
    pub period_nanos: u32,
    /// Whose decision it is.
    pub source: Source,
}

layout! {
    CommandMeta, "command" {
        epoch: "epoch",
        lease: "lease",
        seq: "number",
        stamp_nanos: "stamp",
        valid_until_nanos: "end of validity",
        period_nanos: "period",
        source: "source",
    }
}

/// Beside each state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateMeta {
    /// Drawn anew whenever the robot's side starts.
    pub boot_id: u64,
    /// The present epoch.
    pub epoch: u32,
    /// Counts from 1 since the robot's side started.
    pub seq: u64,
    /// Robot's monotonic clock when it was measured, ns.
    pub stamp_nanos: i64,
    /// What the robot's side is doing.
    pub mode: RobotMode,
    /// Why it stopped, where it did.
    pub cause: StopCause,
    /// Number of the command that was followed last in this epoch; 0 before the first.
    pub executed_seq: u64,
    /// Stamp of that command, by its sender's clock, ns.
    pub executed_stamp_nanos: i64,
}

layout! {
    StateMeta, "state" {
        boot_id: "boot",
        epoch: "epoch",
        seq: "number",
        stamp_nanos: "stamp",
        mode: "mode",
        cause: "cause",
        executed_seq: "executed number",
        executed_stamp_nanos: "executed stamp",
    }
}

/// A sign of life, both ways; what it echoes gives the offset of the two clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// The robot's boot, or who the controller is.
    pub boot_id: u64,
    /// The controller's lease; 0 from the robot.
    pub lease: u64,
    /// Counts from 1.
    pub seq: u64,
    /// Sender's monotonic clock, ns.
    pub mono_nanos: i64,
    /// `boot_id` of the other side, whose last heartbeat is echoed; 0 where none came.
    pub echo_id: u64,
    /// Its number.
    pub echo_seq: u64,
    /// Its clock.
    pub echo_mono_nanos: i64,
    /// Sender's clock when it came.
    pub echo_received_nanos: i64,
}

layout! {
    Heartbeat, "heartbeat" {
        boot_id: "boot",
        lease: "lease",
        seq: "number",
        mono_nanos: "clock",
        echo_id: "echoed sender",
        echo_seq: "echoed number",
        echo_mono_nanos: "echoed clock",
        echo_received_nanos: "time of receipt",
    }
}
