//! Robots, learners and Gymnasium environments over zenoh.
//!
//! [`robot`] is the side that drives: a [`Robot`](surefoot_core::Robot) like any other, whose control thread never waits for the
//! network. [`server`] is the robot's side: a filter and a watchdog next to the actuators, and latched stops. What is spoken
//! between them is a [dialect](dialects), one file each; [`wire`] holds the native one's own messages.
//! [`fleet`] is many actors and one learner.
//!
//! [`lockstep`] is the other kind of link: worlds in other processes, which wait for the action; [`envs`] are the environments behind it.

mod bytes;
pub mod channel;
mod clock_offset;
pub mod dialects;
pub mod envs;
pub mod error;
pub mod fleet;
pub mod lockstep;
mod mailbox;
pub mod panel;
pub mod robot;
pub mod ros2;
pub mod server;
pub mod session;
pub mod survey;
pub mod wire;

pub use channel::Channel;
pub use clock_offset::{ClockOffset, Exchange, Offset};
pub use envs::{EnvContext, LinkedEnvConfig};
pub use error::{LinkError, Refusal, WireError};
pub use mailbox::Mailbox;
pub use panel::{Panel, PanelListener};
pub use robot::{Attached, LinkReport, LinkStatus, SceneClient, ZenohRobot, attach};
pub use server::{RealRobot, RobotServer, ServeConfig};
pub use session::{Endpoints, Purpose, SessionConfig, SessionError};
pub use zenoh::Session;
