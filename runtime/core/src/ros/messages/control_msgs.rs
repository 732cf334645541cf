use super::{Header, RosMessage};

message! {
    /// Set-points of one interface of some joints, with the time that lets a controller notice that they stopped coming.
    JointCommand {
        /// When it was made.
        header: Header,
        /// Names of the joints.
        joint_names: Vec<String>,
        /// What is commanded: `position`, `velocity`, `effort`.
        interface_name: String,
        /// The set-points, in the order of the names.
        values: Vec<f64>,
    }
}

impl RosMessage for JointCommand {
    definition!(
        "control_msgs/msg/JointCommand",
        "std_msgs/Header header\nstring[] joint_names\nstring interface_name\nfloat64[] values\n",
        "std_msgs/Header": text!(Header),
        "builtin_interfaces/Time": text!(Time)
    );
}
