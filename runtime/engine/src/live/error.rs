//! Why a robot can be driven no further.

use surefoot_core::{ContractError, DataError};

use crate::control::{ControlError, Mode, Refusal, Request};

/// Why a session cannot go on. The robot is brought to rest in any case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// Robot, task and settings do not fit together.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The robot's contract is unusable.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The system gives no thread.
    #[error("cannot start a thread: {source}")]
    Thread {
        /// What the system says.
        source: std::io::Error,
    },
    /// The control thread has ended by itself; the robot was stopped.
    #[error("the control loop ended by itself: the robot was stopped")]
    Ended,
    /// The control loop gives no sign of life.
    #[error(
        "the control loop gave no sign for {secs} s: the robot's link hangs\n\nhint: look at the robot; its own watchdog brakes it when commands stay away"
    )]
    Silent {
        /// For how long.
        secs: f64,
    },
    /// The robot, or what is kept of it, could not be set up.
    #[error("{reason}")]
    Parts {
        /// Why.
        reason: String,
    },
    /// The robot cannot be made ready.
    #[error("the robot could not be driven: it is {mode:?}{}", refusal.map_or(String::new(), |(what, why)| format!(", and {what:?} was refused: {why}")))]
    NotReady {
        /// The mode that it stays in.
        mode: Mode,
        /// What was refused last.
        refusal: Option<(Request, Refusal)>,
    },
    /// The robot tells nothing of itself.
    #[error(
        "the robot has not told its state for more than {secs} s\n\nhint: its link is down, or its own side has ended; when it is back, look at it: that side may be in a latched stop"
    )]
    Unseen {
        /// For how long.
        secs: f64,
    },
    /// A finished episode could not be kept.
    #[error("a finished episode could not be kept: {source}")]
    Record {
        /// What the recorder says.
        #[from]
        source: DataError,
    },
    /// A tick could not be kept.
    #[error("a tick could not be kept: {source}")]
    Tick {
        /// What the system says.
        source: std::io::Error,
    },
}
