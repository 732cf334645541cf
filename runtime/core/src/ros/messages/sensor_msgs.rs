use super::{Header, RosMessage};

message! {
    /// The state of joints. Each of the arrays is as long as `name`, or empty where that is not measured; the order of the joints
    /// is the publisher's.
    JointState {
        /// When it was measured.
        header: Header,
        /// Names of the joints.
        name: Vec<String>,
        /// Positions, rad or m.
        position: Vec<f64>,
        /// Velocities, rad/s or m/s.
        velocity: Vec<f64>,
        /// Efforts, Nm or N.
        effort: Vec<f64>,
    }
}

impl RosMessage for JointState {
    definition!(
        "sensor_msgs/msg/JointState",
        "std_msgs/Header header\nstring[] name\nfloat64[] position\nfloat64[] velocity\nfloat64[] effort\n",
        "std_msgs/Header": text!(Header),
        "builtin_interfaces/Time": text!(Time)
    );
}

message! {
    /// A picture as a file of its own.
    CompressedImage {
        /// When it was taken.
        header: Header,
        /// What kind of file: `png`, `jpeg`.
        format: String,
        /// The file.
        data: Vec<u8>,
    }
}

impl RosMessage for CompressedImage {
    definition!(
        "sensor_msgs/msg/CompressedImage",
        "std_msgs/Header header\nstring format\nuint8[] data\n",
        "std_msgs/Header": text!(Header),
        "builtin_interfaces/Time": text!(Time)
    );
}

message! {
    /// A game pad or joystick.
    Joy {
        /// When it was read.
        header: Header,
        /// Axes, -1 to 1.
        axes: Vec<f32>,
        /// Buttons, 1 while pressed.
        buttons: Vec<i32>,
    }
}

impl RosMessage for Joy {
    definition!(
        "sensor_msgs/msg/Joy",
        "std_msgs/Header header\nfloat32[] axes\nint32[] buttons\n",
        "std_msgs/Header": text!(Header),
        "builtin_interfaces/Time": text!(Time)
    );
}
