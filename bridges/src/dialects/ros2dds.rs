//! ROS 2 on DDS behind `zenoh-bridge-ros2dds`: topics are keys, payloads are CDR, and nothing goes beside them.
//!
//! The bridge's `namespace`, if it has one, is `namespace` of the link. Without numbers on samples, states are put in
//! order by their stamps.

use surefoot_core::RobotContract;
use surefoot_core::contract::{LinkContract, Ros2ddsLink};

use super::ros_messages::{self, RosMessages, USUAL_STATE_TOPIC};
use super::{Codec, CommandFrame, Dialect, Packet, StateFrame, Supervision};
use crate::channel::{Channel, Keep};
use crate::error::{LinkError, WireError};
use crate::ros2::names;

/// Keys and codec.
#[derive(Clone, Debug)]
pub struct Ros2dds {
    contract: RobotContract,
    settings: Ros2ddsLink,
    state: String,
    command: String,
}

impl Ros2dds {
    /// For a robot.
    ///
    /// # Errors
    /// When a topic's name is none.
    pub fn new(
        contract: &RobotContract,
        link: &LinkContract,
        settings: Ros2ddsLink,
    ) -> Result<Self, LinkError> {
        let key = |given: &Option<String>, usual: &str| {
            let name = given.as_deref().unwrap_or(usual);
            let bare = names::bare("topic", name);
            bare.map(ToOwned::to_owned)
                .map_err(|e| LinkError::Topic { name: name.to_owned(), reason: e.to_string() })
        };
        Ok(Self {
            contract: contract.clone(),
            settings,
            state: key(&link.topics.state, USUAL_STATE_TOPIC)?,
            command: key(&link.topics.command, ros_messages::usual_command_topic(settings.command))?,
        })
    }
}

impl Dialect for Ros2dds {
    fn name(&self) -> &'static str {
        "ros2dds"
    }
    fn state(&self) -> Channel {
        Channel::control(self.state.clone(), Keep::Newest)
    }
    fn command(&self) -> Channel {
        Channel::control(self.command.clone(), Keep::Newest)
    }
    fn supervision(&self) -> Option<Supervision> {
        None
    }
    fn codec(&self, _session: &str) -> Result<Box<dyn Codec>, LinkError> {
        let messages = RosMessages::new(&self.contract, self.settings.command);
        Ok(Box::new(Ros2ddsCodec { messages, received: 0, newest_nanos: i64::MIN }))
    }
}

struct Ros2ddsCodec {
    messages: RosMessages,
    /// Counts what was read: samples have no numbers of their own.
    received: u64,
    /// Stamp of the newest state.
    newest_nanos: i64,
}

impl Codec for Ros2ddsCodec {
    fn write_state(&mut self, frame: &StateFrame, packet: &mut Packet) -> Result<(), WireError> {
        packet.attachment.clear();
        self.messages.write_state(frame, &mut packet.payload);
        Ok(())
    }
    fn read_state(
        &mut self,
        payload: &[u8],
        _attachment: Option<&[u8]>,
        frame: &mut StateFrame,
    ) -> Result<(), WireError> {
        self.messages.read_state(payload, frame)?;
        // One that was overtaken gets no number of its own, so it is known to be late.
        if frame.meta.stamp_nanos >= self.newest_nanos {
            self.newest_nanos = frame.meta.stamp_nanos;
            self.received += 1;
        }
        frame.meta.seq = self.received;
        Ok(())
    }
    fn write_command(&mut self, frame: &CommandFrame, packet: &mut Packet) -> Result<(), WireError> {
        packet.attachment.clear();
        self.messages.write_command(frame, frame.meta.stamp_nanos, &mut packet.payload);
        Ok(())
    }
    fn read_command(
        &mut self,
        payload: &[u8],
        _attachment: Option<&[u8]>,
        frame: &mut CommandFrame,
    ) -> Result<(), WireError> {
        self.messages.read_command(payload, frame)?;
        self.received += 1;
        frame.meta.seq = self.received;
        Ok(())
    }
}
