//! The native dialect's own messages, in one place: what goes beside states and commands, and what is asked and told of a robot.
//!
//! Little-endian, packed, each begins with [`VERSION`]; nothing in them has a length that is trusted. The fields of a message stand
//! there in the order in which its `layout!` lists them. States and commands themselves are ROS messages (see [`crate::dialects`]).

mod layout;
mod motion;
mod panel;
mod supervision;

use crate::bytes;
use crate::error::WireError;

pub use layout::Layout;
pub use motion::{CommandMeta, Heartbeat, Source, StateMeta};
pub use panel::{PanelKey, PanelPress, TeleopAction};
pub use supervision::{
    Estop, ModeOp, ModeReply, ModeRequest, RobotMode, SafetyCounters, SafetyStatus, StopCause,
};

/// Version of every message here. Another one is refused by name.
pub const VERSION: u8 = 1;

/// Takes fields off the front of a message.
pub type Reader<'a> = bytes::Reader<'a, WireError>;

/// A message of this room.
pub trait Message: Layout {
    /// What it is called in errors.
    const WHAT: &'static str;

    /// Writes the whole message in the place of what `out` held. Allocates only where `out` is too small.
    fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        out.push(VERSION);
        self.put(out);
    }
    /// The whole message.
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
    /// Reads a whole message. Total: any bytes give a message or an error.
    ///
    /// # Errors
    /// When the bytes are not such a message, or another version's.
    fn read(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let found = reader.u8("version")?;
        if found != VERSION {
            return Err(WireError::Version { what: Self::WHAT, expected: VERSION, found });
        }
        let message = Self::take(&mut reader, Self::WHAT)?;
        match reader.left() {
            0 => Ok(message),
            left => Err(WireError::TooLong { left }),
        }
    }
}

#[cfg(test)]
mod tests;
