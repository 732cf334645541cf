//! `[link]` of a robot contract: where the robot is on the network, and how it is spoken to.
//!
//! Plain data: nothing in it is run, and it is no part of the contract's hash, for the same robot is the same robot behind any
//! cable. `surefoot-bridges` gives it its meaning.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a robot is reached over zenoh. Only the endpoint has no default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkContract {
    /// What is spoken.
    #[serde(default)]
    pub dialect: LinkDialect,
    /// Where to connect, as `tcp/10.0.0.7:7447`, tried in this order. Nothing is ever looked for on the network.
    pub endpoints: Vec<String>,
    /// How this program takes part.
    #[serde(default)]
    pub mode: LinkMode,
    /// A zenoh session file (JSON5) to begin from: certificates, access control. What is stated here goes over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<PathBuf>,
    /// First part of every key: keeps robots of two laboratories on one router apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The robot's name in keys; the contract's own, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub robot: Option<String>,
    /// Topics, where they have other names than usual.
    #[serde(default)]
    pub topics: LinkTopics,
    /// Without a state for so long the robot is lost, ms.
    #[serde(default = "state_timeout_ms")]
    pub state_timeout_ms: u32,
    /// Without a command for so long the robot's side latches a stop, ms. A command is not followed when it is older than this.
    #[serde(default = "command_timeout_ms")]
    pub command_timeout_ms: u32,
    /// A larger message is not looked at.
    #[serde(default = "max_message_bytes")]
    pub max_message_bytes: usize,
}

impl LinkContract {
    /// The defaults, at one endpoint.
    #[must_use]
    pub fn at(endpoint: impl Into<String>) -> Self {
        Self {
            dialect: LinkDialect::default(),
            endpoints: vec![endpoint.into()],
            mode: LinkMode::default(),
            session: None,
            namespace: None,
            robot: None,
            topics: LinkTopics::default(),
            state_timeout_ms: state_timeout_ms(),
            command_timeout_ms: command_timeout_ms(),
            max_message_bytes: max_message_bytes(),
        }
    }
}

const fn state_timeout_ms() -> u32 {
    200
}

const fn command_timeout_ms() -> u32 {
    250
}

const fn max_message_bytes() -> usize {
    65_536
}

/// How this program takes part in the zenoh network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkMode {
    /// Talks to one endpoint alone: a robot or a router. What a ROS router needs.
    #[default]
    Client,
    /// Talks to every endpoint directly.
    Peer,
}

/// Names of topics; those that are not given are the dialect's usual ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LinkTopics {
    /// Where the robot tells its joints' states.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Where it takes commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// What is spoken over a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LinkDialect {
    /// Ours: commands carry epoch, number, end of validity and stop plan; the robot's side has a filter and a watchdog.
    Native(NativeLink),
    /// ROS 2 with `rmw_zenoh_cpp`.
    RmwZenoh(RmwZenohLink),
    /// ROS 2 behind `zenoh-bridge-ros2dds`.
    Ros2dds(Ros2ddsLink),
}

impl Default for LinkDialect {
    fn default() -> Self {
        Self::Native(NativeLink {})
    }
}

/// Settings of the native dialect: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NativeLink {}

/// Settings of `rmw_zenoh`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RmwZenohLink {
    /// `ROS_DOMAIN_ID`.
    pub domain_id: u32,
    /// Type hashes in keys.
    pub type_hashes: TypeHashes,
    /// What a command is.
    pub command: RosCommand,
}

/// Settings of `zenoh-bridge-ros2dds`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ros2ddsLink {
    /// What a command is.
    pub command: RosCommand,
}

/// Type hashes in the keys of `rmw_zenoh`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TypeHashes {
    /// RIHS01: Iron and later.
    #[default]
    Rihs01,
    /// The words `TypeHashNotSupported`: Humble.
    NotSupported,
}

/// The ROS message that a command is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RosCommand {
    /// `trajectory_msgs/JointTrajectory`: set-point and stop plan, so a robot that hears nothing more comes to rest.
    #[default]
    JointTrajectory,
    /// `control_msgs/JointCommand`, positions: no stop plan.
    JointCommand,
    /// `std_msgs/Float64MultiArray`, positions in the contract's order: no names, no stamp, no stop plan.
    Float64MultiArray,
}
