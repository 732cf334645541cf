use super::{Duration, Header, RosMessage};

message! {
    /// Where joints shall be, and when. Each of the arrays is as long as the trajectory's names, or empty.
    JointTrajectoryPoint {
        /// Positions, rad or m.
        positions: Vec<f64>,
        /// Velocities, rad/s or m/s.
        velocities: Vec<f64>,
        /// Accelerations, rad/s² or m/s².
        accelerations: Vec<f64>,
        /// Efforts, Nm or N.
        effort: Vec<f64>,
        /// When, counted from the stamp of the trajectory.
        time_from_start: Duration,
    }
}

impl RosMessage for JointTrajectoryPoint {
    definition!(
        "trajectory_msgs/msg/JointTrajectoryPoint",
        text!(JointTrajectoryPoint),
        "builtin_interfaces/Duration": text!(Duration)
    );
}

message! {
    /// A path of joints over time.
    JointTrajectory {
        /// The moment that the points' times count from; a stamp of zero means "on arrival".
        header: Header,
        /// Names of the joints.
        joint_names: Vec<String>,
        /// The path, earliest first.
        points: Vec<JointTrajectoryPoint>,
    }
}

impl RosMessage for JointTrajectory {
    definition!(
        "trajectory_msgs/msg/JointTrajectory",
        "std_msgs/Header header\nstring[] joint_names\nJointTrajectoryPoint[] points\n",
        "std_msgs/Header": text!(Header),
        "builtin_interfaces/Time": text!(Time),
        "trajectory_msgs/JointTrajectoryPoint": text!(JointTrajectoryPoint),
        "builtin_interfaces/Duration": text!(Duration)
    );
}
