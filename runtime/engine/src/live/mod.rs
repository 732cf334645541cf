//! A robot that works through episodes by way of its control loop: for rollouts, and beside a learner.
//!
//! ```text
//! Session: scene -> arm -> (a person's start) -> run -> episode -> EpisodeSink -> next
//!    | ticks, requests, a person's actions, policies            | finished episodes
//! RunningLoop: on simulated time by turns, or a control and a policy thread      SessionThread -> learner
//! ```
//! The control loop decides what moves; a session only asks. It never clears a stop: a person does, or the session ends.

pub mod config;
pub mod error;
pub mod operator;
pub mod running_loop;
pub mod scene;
pub mod session;
pub mod session_thread;
pub mod tick_sink;

pub use config::{LiveClock, LiveConfig, Start};
pub use error::LiveError;
pub use operator::{Operator, OperatorEvent, Unattended};
pub use running_loop::{LoopEnd, RunningLoop};
pub use scene::{ResettableRobot, Scene, SimulatedScene, StandingScene, resettable};
pub use session::{Driven, Order, Session, SessionParts};
pub use session_thread::SessionThread;
pub use tick_sink::TickSink;
