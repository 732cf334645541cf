//! What is spoken over a link: one file a dialect, and one line in [`dialect`].
//!
//! A dialect says under which keys states and commands go and how they are written. What is the same for all of them (threads, ages,
//! order, mailboxes) stands in [`crate::robot`] and [`crate::server`].

pub mod joints;
pub mod native;
pub mod rmw_zenoh;
pub mod ros2dds;
mod ros_messages;

use surefoot_core::contract::{LinkContract, LinkDialect};
use surefoot_core::{RobotContract, RobotState};

use crate::channel::Channel;
use crate::error::{LinkError, WireError};
use crate::ros2::Expected;
use crate::session::check_name;
use crate::wire::{CommandMeta, RobotMode, Source, StateMeta, StopCause};

/// A state on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct StateFrame {
    /// What goes beside it. A dialect that has none fills in number and stamp, and [`RobotMode::Armed`].
    pub meta: StateMeta,
    /// Joints and channels, in the contract's order.
    pub state: RobotState,
    /// Receiver's monotonic clock when it came, ns.
    pub received_nanos: i64,
}

impl StateFrame {
    /// Room for a state of this robot.
    #[must_use]
    pub fn new(contract: &RobotContract) -> Self {
        let meta = StateMeta {
            boot_id: 0,
            epoch: 0,
            seq: 0,
            stamp_nanos: 0,
            mode: RobotMode::Armed,
            cause: StopCause::None,
            executed_seq: 0,
            executed_stamp_nanos: 0,
        };
        Self { meta, state: RobotState::zeros(contract), received_nanos: 0 }
    }
}

/// A command on its way: a set-point, and how to come to rest after it.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandFrame {
    /// What goes beside it. A dialect that has none fills in what its messages say.
    pub meta: CommandMeta,
    /// Position and velocity of each joint in the contract's order, period by period `[1 + stop plan, joints]`, the first row being the
    /// set-point; the last row is rest.
    pub rows: Vec<(f64, f64)>,
}

impl CommandFrame {
    /// Room for a command with this many rows.
    #[must_use]
    pub fn with_room(contract: &RobotContract, rows: usize) -> Self {
        let meta = CommandMeta {
            epoch: 0,
            lease: 0,
            seq: 0,
            stamp_nanos: 0,
            valid_until_nanos: 0,
            period_nanos: (contract.control_secs() * 1e9).round() as u32,
            source: Source::Program,
        };
        Self { meta, rows: Vec::with_capacity(rows * contract.joints.len()) }
    }
}

/// A message as it goes over the wire. The room is used again and again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Payload.
    pub payload: Vec<u8>,
    /// Attachment; none where it is empty.
    pub attachment: Vec<u8>,
}

/// Writes and reads a dialect's messages. Each thread has its own, so they keep what they need between messages.
///
/// Readers are total: any bytes give a frame or an error, and no length in them is trusted.
pub trait Codec: Send {
    /// Writes a state in the place of what `packet` held.
    ///
    /// # Errors
    /// When the dialect has no such message.
    fn write_state(&mut self, frame: &StateFrame, packet: &mut Packet) -> Result<(), WireError>;
    /// Reads a state. Joints are found by their names, whatever their order. Numbers may be anything; `received_nanos` is left alone.
    ///
    /// # Errors
    /// When the bytes are no state, or a joint of the contract is missing.
    fn read_state(
        &mut self,
        payload: &[u8],
        attachment: Option<&[u8]>,
        frame: &mut StateFrame,
    ) -> Result<(), WireError>;
    /// Writes a command in the place of what `packet` held.
    ///
    /// # Errors
    /// When the dialect has no such message.
    fn write_command(&mut self, frame: &CommandFrame, packet: &mut Packet) -> Result<(), WireError>;
    /// Reads a command. Numbers are finite, and there is at least one row.
    ///
    /// # Errors
    /// When the bytes are no command, a joint of the contract is missing, or a number is not finite.
    fn read_command(
        &mut self,
        payload: &[u8],
        attachment: Option<&[u8]>,
        frame: &mut CommandFrame,
    ) -> Result<(), WireError>;
}

/// Keys of what the native dialect adds: who may move the robot, and stops. A dialect without them leaves that to the robot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supervision {
    /// Who serves the robot, and its contract: a query.
    pub contract: String,
    /// What is asked of the robot's side: a query.
    pub mode: String,
    /// Ending a latched stop: a query, on a key of its own so that access control can give it to operators alone.
    pub clear: String,
    /// Signs of life of the robot.
    pub robot_heartbeat: Channel,
    /// Signs of life of its controller.
    pub controller_heartbeat: Channel,
    /// Emergency stops: a put latches one, a query tells.
    pub estop: Channel,
    /// Status some times a second.
    pub safety: Channel,
    /// Putting the scene of a simulated robot back: a query.
    pub scene: String,
}

/// A way of speaking with a robot.
pub trait Dialect: Send + Sync {
    /// Its name in contracts.
    fn name(&self) -> &'static str;
    /// Where the robot tells its state.
    fn state(&self) -> Channel;
    /// Where it takes commands.
    fn command(&self) -> Channel;
    /// The keys that only the native dialect has.
    fn supervision(&self) -> Option<Supervision>;
    /// Liveliness tokens that whoever commands declares, so that the dialect's tools list it; `session` is its zenoh id.
    ///
    /// # Errors
    /// When a token cannot be written.
    fn controller_tokens(&self, session: &str) -> Result<Vec<String>, LinkError> {
        let _ = session;
        Ok(Vec::new())
    }
    /// The same for the robot's side.
    ///
    /// # Errors
    /// When a token cannot be written.
    fn robot_tokens(&self, session: &str) -> Result<Vec<String>, LinkError> {
        let _ = session;
        Ok(Vec::new())
    }
    /// What others must say of themselves, where they say anything: `None` where the dialect has no such thing.
    fn expected(&self) -> Option<Expected> {
        None
    }
    /// A writer and reader of its messages; `session` is the zenoh id of whoever will use it.
    ///
    /// # Errors
    /// When the contract does not fit the dialect.
    fn codec(&self, session: &str) -> Result<Box<dyn Codec>, LinkError>;
}

/// The dialect of a link. One line each.
///
/// # Errors
/// When contract and dialect do not fit together.
pub fn dialect(contract: &RobotContract, link: &LinkContract) -> Result<Box<dyn Dialect>, LinkError> {
    check_name("robot", link.robot.as_deref().unwrap_or(&contract.name))?;
    Ok(match &link.dialect {
        LinkDialect::Native(_) => Box::new(native::Native::new(contract, link)),
        LinkDialect::RmwZenoh(settings) => Box::new(rmw_zenoh::RmwZenoh::new(contract, link, *settings)?),
        LinkDialect::Ros2dds(settings) => Box::new(ros2dds::Ros2dds::new(contract, link, *settings)?),
    })
}
