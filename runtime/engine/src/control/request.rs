//! What may be asked of a control loop, and the answers.

use serde::{Deserialize, Serialize};

/// What a person, or the program around the loop, asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Begin to command, from the measured pose.
    Arm,
    /// Bring a robot that stands outside its limits back inside.
    Recover,
    /// Let the policy drive.
    Run,
    /// Let a person drive, at once.
    TakeOver,
    /// Give the robot back to the policy.
    HandBack,
    /// Come to rest and remember who drove.
    Pause,
    /// Go on after a pause.
    Resume,
    /// Come to rest and hold.
    Hold,
    /// Stop and latch.
    ProtectiveStop,
    /// Stop and latch; outranks everything.
    EmergencyStop,
    /// End a protective stop.
    Acknowledge,
    /// End an emergency stop or a fault.
    Reset,
    /// Stop commanding; only at rest.
    Disarm,
    /// Say how the episode that is being driven ended; it ends, and the robot comes to rest and holds.
    Mark(Label),
    /// Speed scale from here on, 1 to 100 %, kept until the next such request. Velocity limits shrink with it and acceleration
    /// limits with its square; slowing down to it keeps every limit.
    SpeedPercent(u8),
    /// What the task of each drive is drawn from, from the next one on: the seed of the episode.
    Seed(u64),
}

/// A person's verdict on an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// The task was solved.
    Success,
    /// It was not, and will not be.
    Failure,
}

/// What a request is judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Situation {
    /// A finite observation of the expected age is there.
    pub observed: bool,
    /// The measured pose is inside the limits.
    pub inside_limits: bool,
    /// The measured velocities are small enough to arm.
    pub still: bool,
    /// The commanded velocities are zero.
    pub command_at_rest: bool,
}

/// Why a request was not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The mode does not allow it.
    #[error("not possible in this mode")]
    Mode,
    /// No fresh observation.
    #[error("the robot's state is not known: no fresh, finite observation")]
    NotObserved,
    /// The robot moves.
    #[error("the robot moves: wait until it is at rest")]
    Moving,
    /// The robot stands outside its limits.
    #[error("the robot stands outside its limits: ask for recovery, or move it by hand")]
    OutsideLimits,
    /// The robot stands inside its limits: there is nothing to recover from.
    #[error("the robot stands inside its limits: arm it")]
    InsideLimits,
    /// A verdict on an episode that has only just begun.
    #[error("the episode has only just begun")]
    Early,
    /// A speed of nothing, or above the limits.
    #[error("a speed scale is 1 to 100 %")]
    SpeedScale,
}
