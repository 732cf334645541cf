//! What is asked and told of a robot: whether it follows, why it stopped, and how safe it is.

use super::layout::{codes, layout};
use crate::error::Refusal;

codes! {
    /// What the robot's side is doing.
    RobotMode, "robot mode" {
        /// Follows nobody; holds still, or comes to rest.
        Idle = 0,
        /// Follows the commands of one controller and one epoch.
        Armed = 1,
        /// A latched stop: an acknowledgement ends it.
        ProtectiveStop = 2,
        /// A latched stop: a reset by hand ends it.
        EmergencyStop = 3,
    }
}

impl RobotMode {
    /// Whether only a person ends it.
    #[must_use]
    pub const fn is_latched(self) -> bool {
        matches!(self, Self::ProtectiveStop | Self::EmergencyStop)
    }
}

codes! {
    /// Why the robot's side stopped.
    StopCause, "cause of a stop" {
        /// It did not.
        None = 0,
        /// Commands stayed away for longer than `command_timeout_ms`.
        CommandSilence = 1,
        /// Somebody pressed an emergency stop.
        EmergencyStop = 2,
        /// The robot itself did not answer.
        RobotLost = 3,
    }
}

codes! {
    /// What is asked of the robot's side.
    ModeOp, "mode request" {
        /// To be its only controller.
        Claim = 0,
        /// To begin a new epoch, in which commands are followed.
        Arm = 1,
        /// To end the epoch: it comes to rest and holds still.
        Hold = 2,
        /// A person has looked at a protective stop.
        Acknowledge = 3,
        /// A person has looked at a stop of either kind and resets it.
        Reset = 4,
        /// To be its controller no longer.
        Release = 5,
        /// Nothing but how it is.
        Status = 6,
    }
}

impl ModeOp {
    /// Whether it ends a latched stop, which is asked on a key of its own.
    #[must_use]
    pub const fn clears(self) -> bool {
        matches!(self, Self::Acknowledge | Self::Reset)
    }
}

/// Something asked of the robot's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeRequest {
    /// What.
    pub op: ModeOp,
    /// Who asks: drawn anew by each program.
    pub who: u64,
    /// The asker's lease; 0 where it has none. Operators clear stops without one.
    pub lease: u64,
    /// The epoch that it is about; 0 where it is about none.
    pub epoch: u32,
    /// Hash of the asker's contract.
    pub contract_hash: [u8; 32],
}

layout! {
    ModeRequest, "mode request" {
        op: "request",
        who: "asker",
        lease: "lease",
        epoch: "epoch",
        contract_hash: "contract hash",
    }
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeReply {
    /// Why not, where not.
    pub refusal: Option<Refusal>,
    /// What the robot's side is doing now.
    pub mode: RobotMode,
    /// Why it stopped, where it did.
    pub cause: StopCause,
    /// The asker's lease; 0 where it has none.
    pub lease: u64,
    /// The present epoch.
    pub epoch: u32,
    /// The robot's boot.
    pub boot_id: u64,
    /// Robot's monotonic clock, ns.
    pub mono_nanos: i64,
}

layout! {
    ModeReply, "answer to a mode request" {
        refusal: "refusal",
        mode: "mode",
        cause: "cause",
        lease: "lease",
        epoch: "epoch",
        boot_id: "boot",
        mono_nanos: "clock",
    }
}

/// An emergency stop, pressed or as it stands. It is never cleared by this message: [`ModeOp::Reset`] does that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estop {
    /// Whether it is latched. A put with `false` does nothing.
    pub latched: bool,
    /// Why.
    pub cause: String,
    /// By whom.
    pub who: String,
}

layout! {
    Estop, "emergency stop" {
        latched: "latched",
        cause: "cause",
        who: "name",
    }
}

/// What the robot's side counted since it started: for operators and reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SafetyCounters {
    /// Control periods.
    pub ticks: u64,
    /// Commands that were followed.
    pub executed: u64,
    /// Periods of an epoch without a command: the stop plan was played.
    pub missed: u64,
    /// Joint limits that an independent witness found broken by what was commanded or measured. Zero, or the filter, a sensor or the robot's
    /// own servo is broken.
    pub violations: u64,
    /// Commands of an epoch that is over, or of none.
    pub refused_epoch: u64,
    /// Commands of somebody who does not have the robot.
    pub refused_lease: u64,
    /// Commands that came after a newer one.
    pub refused_order: u64,
    /// Commands that came too late.
    pub refused_late: u64,
    /// Messages that could not be read: malformed, oversized, not finite.
    pub refused_malformed: u64,
    /// Commands that came faster than they could be followed.
    pub skipped: u64,
}

layout! {
    SafetyCounters {
        ticks: "periods",
        executed: "followed commands",
        missed: "missed commands",
        violations: "violations",
        refused_epoch: "commands of another epoch",
        refused_lease: "commands of another controller",
        refused_order: "commands out of order",
        refused_late: "late commands",
        refused_malformed: "malformed commands",
        skipped: "skipped commands",
    }
}

/// How safe it is, some times a second.
#[derive(Clone, Debug, PartialEq)]
pub struct SafetyStatus {
    /// What the robot's side is doing.
    pub mode: RobotMode,
    /// Why it stopped, where it did.
    pub cause: StopCause,
    /// The present epoch.
    pub epoch: u32,
    /// Whether its set-points are at rest.
    pub at_rest: bool,
    /// What it counted.
    pub counters: SafetyCounters,
    /// Distance of each joint to its nearer position limit, rad or m.
    pub margins: Vec<f32>,
}

layout! {
    SafetyStatus, "safety status" {
        mode: "mode",
        cause: "cause",
        epoch: "epoch",
        at_rest: "rest",
        counters: "counters",
        margins: "margins",
    }
}
