//! The message types that robots speak, one file per ROS package.
//!
//! A message is a struct of public fields with ROS's names. [`RosMessage::encode`] writes it into a buffer of the caller,
//! [`RosMessage::decode`] reads into the struct itself: neither allocates when sizes repeat. Field names, order and types are those
//! of the public message specifications (common_interfaces, control_msgs, rcl_interfaces).

use super::cdr::{Cdr, CdrError, CdrReader, CdrWriter};

/// A message type as a whole: what can be a topic.
pub trait RosMessage: Cdr + Default {
    /// Its name, `package/msg/Type`.
    const TYPE: &'static str;
    /// Its definition with everything it is made of, as bags and MCAP files carry it (`ros2msg`).
    const DEFINITION: &'static str;

    /// Writes the message into a buffer, which is emptied first.
    fn encode(&self, out: &mut Vec<u8>) {
        self.write(&mut CdrWriter::new(out));
    }

    /// Reads a payload into this message.
    ///
    /// # Errors
    /// When the payload is not such a message. The message is then partly what it was, and must not be used.
    fn decode(&mut self, payload: &[u8]) -> Result<(), CdrError> {
        let mut reader = CdrReader::new(payload)?;
        self.read(&mut reader)?;
        reader.finish()
    }
}

/// A struct with its codec; with a type name and parts, a message.
macro_rules! message {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $kind,)*
        }
        impl $crate::ros::Cdr for $name {
            const LEAST_BYTES: usize = 0 $(+ <$kind as $crate::ros::Cdr>::LEAST_BYTES)*;
            fn write(&self, writer: &mut $crate::ros::CdrWriter<'_>) {
                let Self { $($field),* } = self;
                $($crate::ros::Cdr::write($field, writer);)*
            }
            fn read(
                &mut self,
                reader: &mut $crate::ros::CdrReader<'_>,
            ) -> Result<(), $crate::ros::CdrError> {
                let Self { $($field),* } = self;
                $($crate::ros::Cdr::read($field, reader)?;)*
                Ok(())
            }
        }
    };
}

/// The definition of a message: its own text, and of each part a heading and the text.
macro_rules! definition {
    ($type:literal, $own:expr $(, $part:literal: $text:expr)*) => {
        const TYPE: &'static str = $type;
        const DEFINITION: &'static str = concat!(
            $own,
            $(
                "================================================================================\nMSG: ",
                $part, "\n", $text
            ),*
        );
    };
}

/// Texts that stand in several definitions.
macro_rules! text {
    (Time) => {
        "int32 sec\nuint32 nanosec\n"
    };
    (Duration) => {
        "int32 sec\nuint32 nanosec\n"
    };
    (Header) => {
        "builtin_interfaces/Time stamp\nstring frame_id\n"
    };
    (JointTrajectoryPoint) => {
        "float64[] positions\nfloat64[] velocities\nfloat64[] accelerations\nfloat64[] effort\n\
         builtin_interfaces/Duration time_from_start\n"
    };
    (Vector3) => {
        "float64 x\nfloat64 y\nfloat64 z\n"
    };
}

mod builtin_interfaces;
mod control_msgs;
mod diagnostic_msgs;
mod geometry_msgs;
mod sensor_msgs;
mod std_msgs;
mod surefoot_msgs;
mod trajectory_msgs;

pub use builtin_interfaces::{Duration, Time};
pub use control_msgs::JointCommand;
pub use diagnostic_msgs::{DiagnosticArray, DiagnosticStatus, KeyValue};
pub use geometry_msgs::{
    Point, Pose, PoseStamped, Quaternion, Twist, TwistStamped, Vector3, Wrench, WrenchStamped,
};
pub use sensor_msgs::{CompressedImage, JointState, Joy};
pub use std_msgs::{
    Bool, Float32, Float32MultiArray, Float64, Float64MultiArray, Header, MultiArrayDimension,
    MultiArrayLayout, String, UInt8,
};
pub use surefoot_msgs::ControlTick;
pub use trajectory_msgs::{JointTrajectory, JointTrajectoryPoint};

macro_rules! definitions {
    ($($message:ty),* $(,)?) => {
        /// Every message type here: its name and its definition.
        pub const DEFINITIONS: &[(&str, &str)] = &[$((<$message>::TYPE, <$message>::DEFINITION)),*];
    };
}

definitions![
    Bool,
    CompressedImage,
    ControlTick,
    DiagnosticArray,
    Duration,
    Float32,
    Float32MultiArray,
    Float64,
    Float64MultiArray,
    Header,
    JointCommand,
    JointState,
    JointTrajectory,
    JointTrajectoryPoint,
    Joy,
    PoseStamped,
    String,
    Time,
    Twist,
    TwistStamped,
    UInt8,
    WrenchStamped,
];

#[cfg(test)]
mod tests;
