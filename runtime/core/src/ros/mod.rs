//! ROS 2 messages without ROS: CDR, the message types that robots speak, their definitions and their type hashes.
//!
//! One codec for the wire, for logs and for ROS itself. [`messages`] are plain structs that are written into and read out of
//! buffers of the caller; [`definition`] understands message texts that a file or a user brings along; [`type_hash`] makes of
//! such a text the name by which ROS 2 peers check that they mean the same type.

pub mod cdr;
pub mod definition;
pub mod messages;
mod scalar;
pub mod type_hash;

pub use cdr::{Cdr, CdrError, CdrReader, CdrWriter};
pub use definition::{
    Count, Definition, DefinitionError, Dialect, Element, FieldDefinition, StructDefinition,
};
pub use messages::RosMessage;
pub use scalar::Scalar;
pub use type_hash::{TypeHash, TypeHashError};
