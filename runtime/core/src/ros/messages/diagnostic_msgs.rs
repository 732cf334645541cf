use super::{Header, RosMessage};

message! {
    /// A name and a value.
    KeyValue {
        /// The name.
        key: String,
        /// The value.
        value: String,
    }
}

message! {
    /// How one part of a robot is.
    DiagnosticStatus {
        /// One of [`DiagnosticStatus::OK`], [`WARN`](DiagnosticStatus::WARN), [`ERROR`](DiagnosticStatus::ERROR),
        /// [`STALE`](DiagnosticStatus::STALE).
        level: u8,
        /// What reports.
        name: String,
        /// What it says.
        message: String,
        /// Which device.
        hardware_id: String,
        /// Details.
        values: Vec<KeyValue>,
    }
}

impl DiagnosticStatus {
    /// All is well.
    pub const OK: u8 = 0;
    /// Something may become a problem.
    pub const WARN: u8 = 1;
    /// Something is wrong.
    pub const ERROR: u8 = 2;
    /// Nothing was heard for too long.
    pub const STALE: u8 = 3;
}

message! {
    /// How the parts of a robot are.
    DiagnosticArray {
        /// When.
        header: Header,
        /// The parts.
        status: Vec<DiagnosticStatus>,
    }
}

impl RosMessage for DiagnosticArray {
    definition!(
        "diagnostic_msgs/msg/DiagnosticArray",
        "std_msgs/Header header\nDiagnosticStatus[] status\n",
        "std_msgs/Header": text!(Header),
        "builtin_interfaces/Time": text!(Time),
        "diagnostic_msgs/DiagnosticStatus":
            "byte OK=0\nbyte WARN=1\nbyte ERROR=2\nbyte STALE=3\nbyte level\nstring name\nstring message\n\
             string hardware_id\nKeyValue[] values\n",
        "diagnostic_msgs/KeyValue": "string key\nstring value\n"
    );
}
