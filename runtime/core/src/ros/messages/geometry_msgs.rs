use super::{Header, RosMessage};

message! {
    /// A direction with a length.
    Vector3 {
        /// Along x.
        x: f64,
        /// Along y.
        y: f64,
        /// Along z.
        z: f64,
    }
}

message! {
    /// A place, m.
    Point {
        /// Along x.
        x: f64,
        /// Along y.
        y: f64,
        /// Along z.
        z: f64,
    }
}

message! {
    /// A rotation. The default is that of the wire, all zeros, which is none: ROS's own default is w = 1.
    Quaternion {
        /// Along x.
        x: f64,
        /// Along y.
        y: f64,
        /// Along z.
        z: f64,
        /// The scalar part.
        w: f64,
    }
}

message! {
    /// A place and a rotation.
    Pose {
        /// The place, m.
        position: Point,
        /// The rotation.
        orientation: Quaternion,
    }
}

message! {
    /// A pose at a time in a frame.
    PoseStamped {
        /// When, and in which frame.
        header: Header,
        /// The pose.
        pose: Pose,
    }
}

impl RosMessage for PoseStamped {
    definition!(
        "geometry_msgs/msg/PoseStamped",
        "std_msgs/Header header\nPose pose\n",
        "std_msgs/Header": text!(Header),
        "builtin_interfaces/Time": text!(Time),
        "geometry_msgs/Pose": "Point position\nQuaternion orientation\n",
        "geometry_msgs/Point": "float64 x\nfloat64 y\nfloat64 z\n",
        "geometry_msgs/Quaternion": "float64 x 0\nfloat64 y 0\nfloat64 z 0\nfloat64 w 1\n"
    );
}

message! {
    /// A velocity.
    Twist {
        /// Of the place, m/s.
        linear: Vector3,
        /// Of the rotation, rad/s.
        angular: Vector3,
    }
}

impl RosMessage for Twist {
    definition!(
        "geometry_msgs/msg/Twist",
        "Vector3 linear\nVector3 angular\n",
        "geometry_msgs/Vector3": text!(Vector3)
    );
}

message! {
    /// A velocity at a time in a frame.
    TwistStamped {
        /// When, and in which frame.
        header: Header,
        /// The velocity.
        twist: Twist,
    }
}

impl RosMessage for TwistStamped {
    definition!(
        "geometry_msgs/msg/TwistStamped",
        "std_msgs/Header header\nTwist twist\n",
        "std_msgs/Header": text!(Header),
        "builtin_interfaces/Time": text!(Time),
        "geometry_msgs/Twist": "Vector3 linear\nVector3 angular\n",
        "geometry_msgs/Vector3": text!(Vector3)
    );
}

message! {
    /// A force and a torque.
    Wrench {
        /// Force, N.
        force: Vector3,
        /// Torque, Nm.
        torque: Vector3,
    }
}

message! {
    /// A force and a torque at a time in a frame.
    WrenchStamped {
        /// When, and in which frame.
        header: Header,
        /// The wrench.
        wrench: Wrench,
    }
}

impl RosMessage for WrenchStamped {
    definition!(
        "geometry_msgs/msg/WrenchStamped",
        "std_msgs/Header header\nWrench wrench\n",
        "std_msgs/Header": text!(Header),
        "builtin_interfaces/Time": text!(Time),
        "geometry_msgs/Wrench": "Vector3 force\nVector3 torque\n",
        "geometry_msgs/Vector3": text!(Vector3)
    );
}
