//! ROS 2 whose nodes speak zenoh themselves (`RMW_IMPLEMENTATION=rmw_zenoh_cpp`), from Humble on.
//!
//! ```text
//! <domain>/<topic>/<package>::msg::dds_::<Type>_/<hash>        samples: CDR, and an attachment of 33 bytes
//! @ros2_lv/<domain>/<session>/...                              liveliness tokens: what `ros2 topic list` shows
//! ```
//! The hash must be the peer's to the letter. Commands are stamped by the robot's clock, as it was last read from its states:
//! a trajectory that was held up on its way is then played from where it should be, and never from its beginning.

use std::num::NonZeroU32;

use surefoot_core::RobotContract;
use surefoot_core::clock::unix_time;
use surefoot_core::contract::{LinkContract, RmwZenohLink, TypeHashes};
use surefoot_core::ros::messages::JointState;
use surefoot_core::ros::{RosMessage, TypeHash};

use super::ros_messages::{self, RosMessages, USUAL_STATE_TOPIC};
use super::{Codec, CommandFrame, Dialect, Packet, StateFrame, Supervision};
use crate::channel::{Channel, Keep};
use crate::error::{LinkError, WireError};
use crate::ros2::{Attachment, Endpoint, EndpointKind, Expected, Gid, Node, Qos, Token, TypeName, names};

/// What ROS before Iron writes in the place of a hash.
const NO_HASH: &str = "TypeHashNotSupported";
/// Numbers of the entities in a session: whoever uses it has one node, one state topic and one command topic.
const NODE: u32 = 0;
const STATE: u32 = 1;
const COMMAND: u32 = 2;
/// The newest sample is the only one that matters.
const DEPTH: NonZeroU32 = NonZeroU32::MIN;

/// Keys and codec.
#[derive(Clone, Debug)]
pub struct RmwZenoh {
    contract: RobotContract,
    settings: RmwZenohLink,
    state: Topic,
    command: Topic,
}

/// A topic by its parts.
#[derive(Clone, Debug)]
struct Topic {
    name: String,
    message: TypeName,
    hash: String,
    key: String,
}

impl Topic {
    fn new(
        settings: &RmwZenohLink,
        name: &str,
        message: &'static str,
        definition: &str,
    ) -> Result<Self, LinkError> {
        let setting = |e: names::NameError| LinkError::Topic { name: name.to_owned(), reason: e.to_string() };
        let hash = match settings.type_hashes {
            TypeHashes::NotSupported => NO_HASH.to_owned(),
            TypeHashes::Rihs01 => TypeHash::of_definition(message, definition)
                .map_err(|e| LinkError::Topic { name: name.to_owned(), reason: e.to_string() })?
                .to_string(),
        };
        let message: TypeName = message.parse().map_err(setting)?;
        let key = names::data_key(settings.domain_id, name, &message, &hash).map_err(setting)?;
        let name = names::bare("topic", name).map_err(setting)?.to_owned();
        Ok(Self { name, message, hash, key })
    }

    fn endpoint(&self, id: u32, kind: EndpointKind) -> Endpoint {
        let Self { name, message, hash, key: _ } = self.clone();
        Endpoint { id, kind, topic: name, message, hash, qos: Qos::reliable(DEPTH) }
    }
}

impl RmwZenoh {
    /// For a robot.
    ///
    /// # Errors
    /// When a topic's name is none.
    pub fn new(
        contract: &RobotContract,
        link: &LinkContract,
        settings: RmwZenohLink,
    ) -> Result<Self, LinkError> {
        let name = |given: &Option<String>, usual: &str| given.clone().unwrap_or_else(|| usual.to_owned());
        let state = name(&link.topics.state, USUAL_STATE_TOPIC);
        let command = name(&link.topics.command, ros_messages::usual_command_topic(settings.command));
        Ok(Self {
            contract: contract.clone(),
            settings,
            state: Topic::new(&settings, &state, JointState::TYPE, JointState::DEFINITION)?,
            command: Topic::new(
                &settings,
                &command,
                ros_messages::command_type(settings.command),
                ros_messages::command_definition(settings.command),
            )?,
        })
    }

    fn token(&self, session: &str, name: &str, endpoint: Option<Endpoint>) -> Token {
        let node = Node {
            domain: self.settings.domain_id,
            session: session.to_owned(),
            id: NODE,
            namespace: String::new(),
            name: name.to_owned(),
        };
        Token { node, endpoint }
    }

    /// Node, publisher and subscription, in this order.
    fn tokens(&self, session: &str, side: Side) -> [Token; 3] {
        let (node, published, subscribed) = match side {
            Side::Controller => ("surefoot", (&self.command, COMMAND), (&self.state, STATE)),
            Side::Robot => ("surefoot_robot", (&self.state, STATE), (&self.command, COMMAND)),
        };
        let endpoint = |(topic, id): (&Topic, u32), kind| Some(topic.endpoint(id, kind));
        [
            self.token(session, node, None),
            self.token(session, node, endpoint(published, EndpointKind::Publisher)),
            self.token(session, node, endpoint(subscribed, EndpointKind::Subscription)),
        ]
    }

    fn publisher_gid(&self, session: &str, side: Side) -> Gid {
        let [_, publisher, _] = self.tokens(session, side);
        Gid::of(&publisher)
    }
}

/// Which end of the link.
#[derive(Clone, Copy, Debug)]
enum Side {
    Controller,
    Robot,
}

impl Dialect for RmwZenoh {
    fn name(&self) -> &'static str {
        "rmw_zenoh"
    }
    fn state(&self) -> Channel {
        Channel::control(self.state.key.clone(), Keep::Newest)
    }
    fn command(&self) -> Channel {
        Channel::control(self.command.key.clone(), Keep::Newest)
    }
    fn supervision(&self) -> Option<Supervision> {
        None
    }
    fn controller_tokens(&self, session: &str) -> Result<Vec<String>, LinkError> {
        Ok(self.tokens(session, Side::Controller).map(|t| t.to_string()).into())
    }
    fn robot_tokens(&self, session: &str) -> Result<Vec<String>, LinkError> {
        Ok(self.tokens(session, Side::Robot).map(|t| t.to_string()).into())
    }
    fn expected(&self) -> Option<Expected> {
        Some(Expected {
            domain: self.settings.domain_id,
            state: self.state.endpoint(STATE, EndpointKind::Publisher),
            command: self.command.endpoint(COMMAND, EndpointKind::Subscription),
        })
    }
    fn codec(&self, session: &str) -> Result<Box<dyn Codec>, LinkError> {
        Ok(Box::new(RmwCodec {
            messages: RosMessages::new(&self.contract, self.settings.command),
            state_gid: self.publisher_gid(session, Side::Robot),
            command_gid: self.publisher_gid(session, Side::Controller),
        }))
    }
}

struct RmwCodec {
    messages: RosMessages,
    state_gid: Gid,
    command_gid: Gid,
}

fn attach(seq: u64, gid: Gid, packet: &mut Packet) {
    let source_nanos = i64::try_from(unix_time().as_nanos()).unwrap_or(i64::MAX);
    let seq = i64::try_from(seq).unwrap_or(i64::MAX);
    packet.attachment.clear();
    packet.attachment.extend_from_slice(&Attachment { seq, source_nanos, gid }.to_bytes());
}

/// The number of a sample, and which publisher's it is.
fn attached(attachment: Option<&[u8]>) -> Result<(u64, u64), WireError> {
    let bytes = attachment.ok_or(WireError::NoAttachment)?;
    let Attachment { seq, source_nanos: _, gid: Gid(gid) } = Attachment::from_bytes(bytes)
        .map_err(|e| WireError::Malformed { what: "attachment", reason: e.to_string() })?;
    let number = u64::try_from(seq)
        .map_err(|_| WireError::Code { what: "sequence number", found: seq.cast_unsigned() })?;
    Ok((number, gid.first_chunk().map_or(0, |b| u64::from_le_bytes(*b))))
}

impl Codec for RmwCodec {
    fn write_state(&mut self, frame: &StateFrame, packet: &mut Packet) -> Result<(), WireError> {
        self.messages.write_state(frame, &mut packet.payload);
        attach(frame.meta.seq, self.state_gid, packet);
        Ok(())
    }
    fn read_state(
        &mut self,
        payload: &[u8],
        attachment: Option<&[u8]>,
        frame: &mut StateFrame,
    ) -> Result<(), WireError> {
        let (seq, publisher) = attached(attachment)?;
        self.messages.read_state(payload, frame)?;
        // One that was started anew counts from its beginning.
        (frame.meta.seq, frame.meta.boot_id) = (seq, publisher);
        Ok(())
    }
    fn write_command(&mut self, frame: &CommandFrame, packet: &mut Packet) -> Result<(), WireError> {
        self.messages.write_command(frame, frame.meta.stamp_nanos, &mut packet.payload);
        attach(frame.meta.seq, self.command_gid, packet);
        Ok(())
    }
    fn read_command(
        &mut self,
        payload: &[u8],
        attachment: Option<&[u8]>,
        frame: &mut CommandFrame,
    ) -> Result<(), WireError> {
        let (seq, _) = attached(attachment)?;
        self.messages.read_command(payload, frame)?;
        frame.meta.seq = seq;
        Ok(())
    }
}
