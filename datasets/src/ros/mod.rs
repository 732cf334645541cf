//! ROS messages, decoded by the definition that the file itself carries.

mod decode;
mod definition;

pub use decode::{DecodeError, Wire, decode};
pub use definition::{Definition, DefinitionError, Dialect};
