//! The names that ROS 2 gives things on zenoh, as pure functions over text and bytes: keys of topics, liveliness tokens of nodes
//! and endpoints, quality of service, and the attachment of a sample.
//!
//! Source: the design of rmw_zenoh (`rmw_zenoh_cpp`, Humble to Kilted) and captures of it, which are in the tests.

pub mod attachment;
pub mod names;
pub mod peers;
pub mod qos;
pub mod token;

pub use attachment::{Attachment, AttachmentError, Gid};
pub use names::{NameError, TypeName};
pub use peers::{Expected, PeerProblem};
pub use qos::{Durability, History, Qos, QosError, Reliability};
pub use token::{Endpoint, EndpointKind, Node, Token, TokenError};
