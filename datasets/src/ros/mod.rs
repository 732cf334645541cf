//! ROS messages, decoded by the definition that the file itself carries.

mod decode;

pub use decode::{DecodeError, Wire, decode};
pub use surefoot_core::ros::{Definition, DefinitionError, Dialect};
