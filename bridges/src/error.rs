//! Why a link does not do what was asked.

use std::path::PathBuf;

use surefoot_core::{ContractError, RobotError};

use crate::bytes::CutOff;
use crate::ros2::PeerProblem;
use crate::session::SessionError;

/// Why a robot cannot be attached, served or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The contract says nothing of a network.
    #[error(
        "the contract of {robot} has no [link]: it does not say where the robot is\n\nhint: add `[link]` with `endpoints = [\"tcp/ADDRESS:7447\"]`"
    )]
    NoLink {
        /// Name of the robot.
        robot: String,
    },
    /// A setting of `[link]` that cannot be used.
    #[error("link.{key}: expected {expected}, found {found}")]
    Setting {
        /// The key.
        key: &'static str,
        /// What would do.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A topic that cannot be.
    #[error("link.topics: {name}: {reason}\n\nhint: a topic reads as \"/arm/joint_states\"")]
    Topic {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Those on the network say of themselves that they do not fit.
    #[error("at {endpoints}: {problem}")]
    Peer {
        /// Where.
        endpoints: String,
        /// What does not fit.
        problem: Box<PeerProblem>,
    },
    /// The session cannot be opened.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// zenoh refuses.
    #[error("zenoh, {what}: {reason}")]
    Zenoh {
        /// What was tried.
        what: &'static str,
        /// What zenoh says.
        reason: String,
    },
    /// There is a network, and nobody on it answers for this robot.
    #[error(
        "nobody answers for {key} at {endpoints} within {waited_ms} ms\n\nhint: the robot is served under another name or namespace (`robot`, `namespace` in [link]), or it speaks another dialect"
    )]
    NoRobot {
        /// What was asked.
        key: String,
        /// Where.
        endpoints: String,
        /// How long.
        waited_ms: u64,
    },
    /// No state comes.
    #[error(
        "no state of robot {robot} on {key} within {waited_ms} ms{}\n\nhint: `surefoot doctor --robot CONTRACT` says who publishes what",
        last.as_ref().map_or(String::new(), |why| format!(" that could be used: {why}"))
    )]
    NoState {
        /// Name of the robot.
        robot: String,
        /// Where it was waited for.
        key: String,
        /// How long.
        waited_ms: u64,
        /// What was wrong with the last message, if any came.
        last: Option<WireError>,
    },
    /// The robot is another one than the contract describes.
    #[error(
        "the robot at {endpoints} has another contract: {what}: expected {expected}, found {found}\n\nhint: `surefoot serve ENV --write-contract FILE` writes the contract that fits a served robot"
    )]
    Contract {
        /// Where.
        endpoints: String,
        /// First difference.
        what: String,
        /// By our contract.
        expected: String,
        /// By the robot's.
        found: String,
    },
    /// The robot's side does not take this program for its controller.
    #[error("robot {robot} refuses: {refusal}{}", hint(*refusal))]
    Refused {
        /// Name of the robot.
        robot: String,
        /// Why.
        refusal: Refusal,
    },
    /// An answer that cannot be read.
    #[error("the answer to {what} cannot be read: {source}")]
    Answer {
        /// What was asked.
        what: &'static str,
        /// What is wrong with it.
        source: WireError,
    },
    /// The robot's contract is unusable.
    #[error(transparent)]
    ContractUnusable(#[from] ContractError),
    /// The robot itself says no.
    #[error(transparent)]
    Robot(#[from] RobotError),
    /// The dialect cannot do what is asked.
    #[error("dialect {dialect} has no {what}\n\nhint: {hint}")]
    NotInDialect {
        /// The dialect.
        dialect: &'static str,
        /// What is missing.
        what: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// The system gives no thread.
    #[error("cannot start a thread: {source}")]
    Thread {
        /// What the system says.
        source: std::io::Error,
    },
    /// The log cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl LinkError {
    /// What zenoh said while `what` was tried.
    pub(crate) fn zenoh(what: &'static str, error: impl std::fmt::Display) -> Self {
        Self::Zenoh { what, reason: error.to_string() }
    }
}

const fn hint(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::OtherController => {
            "\n\nhint: end the other program; the robot is free again when that one says so or has been silent for its lease"
        }
        Refusal::Latched => "\n\nhint: look at the robot; then an operator acknowledges or resets the stop",
        Refusal::OtherContract => "\n\nhint: use the contract that the robot is served with",
        Refusal::NoLease | Refusal::OldEpoch | Refusal::Moving | Refusal::NotLatched | Refusal::Malformed => {
            ""
        }
    }
}

/// Why the robot's side does not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Somebody else drives it.
    #[error("another controller has it")]
    OtherController,
    /// It is in a latched stop.
    #[error("it is in a latched stop")]
    Latched,
    /// Whoever asks has another contract.
    #[error("its contract is another one")]
    OtherContract,
    /// Whoever asks does not have it, or not any more.
    #[error("this program does not have it any more")]
    NoLease,
    /// What was asked belongs to an earlier arming.
    #[error("the epoch is over")]
    OldEpoch,
    /// It is not at rest yet.
    #[error("it is still moving")]
    Moving,
    /// There is no stop to be cleared that way.
    #[error("there is no such stop")]
    NotLatched,
    /// The request cannot be read.
    #[error("the request cannot be read")]
    Malformed,
}

impl Refusal {
    /// Every one: its place here and one more is its byte on the wire.
    pub(crate) const ALL: [Self; 8] = [
        Self::OtherController,
        Self::Latched,
        Self::OtherContract,
        Self::NoLease,
        Self::OldEpoch,
        Self::Moving,
        Self::NotLatched,
        Self::Malformed,
    ];

    /// Its byte; 0 for none.
    pub(crate) fn code(refusal: Option<Self>) -> u8 {
        // There are eight.
        refusal.and_then(|r| Self::ALL.iter().position(|known| *known == r)).map_or(0, |at| at as u8 + 1)
    }

    /// What a byte stands for.
    pub(crate) fn of(code: u8) -> Result<Option<Self>, WireError> {
        let Some(at) = usize::from(code).checked_sub(1) else { return Ok(None) };
        let found = Self::ALL.get(at).copied();
        found.map(Some).ok_or(WireError::Code { what: "refusal", found: u64::from(code) })
    }
}

impl CutOff for WireError {
    fn cut_off(field: &'static str, at: usize, _wanted: usize, _left: usize) -> Self {
        Self::Truncated { at, what: field }
    }
}

/// What is wrong with a message. Made on the way in: nothing in it is allocated but where names must be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// It ends too early.
    #[error("message ends at byte {at}, expected {what} there")]
    Truncated {
        /// Where.
        at: usize,
        /// What was to come.
        what: &'static str,
    },
    /// It does not end where it should.
    #[error("{left} bytes too many")]
    TooLong {
        /// How many.
        left: usize,
    },
    /// Another version of this program's messages.
    #[error(
        "version {found} of {what}: expected {expected}\n\nhint: both sides need the same version of surefoot"
    )]
    Version {
        /// Kind of message.
        what: &'static str,
        /// Ours.
        expected: u8,
        /// Theirs.
        found: u8,
    },
    /// A number that stands for nothing.
    #[error("{what}: {found} stands for nothing")]
    Code {
        /// What it was to be.
        what: &'static str,
        /// The number.
        found: u64,
    },
    /// Larger than may be.
    #[error("{found} bytes, at most {allowed} are looked at (max_message_bytes in [link])")]
    Oversized {
        /// Size.
        found: usize,
        /// Largest size.
        allowed: usize,
    },
    /// NaN or an infinity.
    #[error("{what} is not finite")]
    NotFinite {
        /// What.
        what: &'static str,
    },
    /// Without attachment.
    #[error("message without an attachment: its sender speaks another dialect")]
    NoAttachment,
    /// Not the encoding that was expected.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// Type of the message.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Joints of the contract that the message does not have.
    #[error("joint {missing} of the contract is missing; there are {found}")]
    MissingJoint {
        /// The first one.
        missing: String,
        /// What the message has.
        found: String,
    },
    /// Rows of lengths that do not fit.
    #[error("{what}: expected {expected}, found {found}")]
    Length {
        /// Of what.
        what: &'static str,
        /// By the contract.
        expected: usize,
        /// By the message.
        found: usize,
    },
}
