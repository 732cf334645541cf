use super::{RosMessage, Time};

message! {
    /// When and in which frame something was measured.
    Header {
        /// When.
        stamp: Time,
        /// Which coordinate frame.
        frame_id: std::string::String,
    }
}

impl RosMessage for Header {
    definition!("std_msgs/msg/Header", text!(Header), "builtin_interfaces/Time": text!(Time));
}

message! {
    /// A flag.
    Bool {
        /// The flag.
        data: bool,
    }
}

impl RosMessage for Bool {
    definition!("std_msgs/msg/Bool", "bool data\n");
}

message! {
    /// A text.
    String {
        /// The text.
        data: std::string::String,
    }
}

impl RosMessage for String {
    definition!("std_msgs/msg/String", "string data\n");
}

message! {
    /// A small number.
    UInt8 {
        /// The number.
        data: u8,
    }
}

impl RosMessage for UInt8 {
    definition!("std_msgs/msg/UInt8", "uint8 data\n");
}

message! {
    /// A number.
    Float64 {
        /// The number.
        data: f64,
    }
}

impl RosMessage for Float64 {
    definition!("std_msgs/msg/Float64", "float64 data\n");
}

message! {
    /// One dimension of an array.
    MultiArrayDimension {
        /// Its name.
        label: std::string::String,
        /// Elements along it.
        size: u32,
        /// Elements from one index to the next.
        stride: u32,
    }
}

message! {
    /// How an array lies in memory.
    MultiArrayLayout {
        /// Its dimensions, outermost first.
        dim: Vec<MultiArrayDimension>,
        /// Elements before the first.
        data_offset: u32,
    }
}

message! {
    /// An array of numbers.
    Float64MultiArray {
        /// Its shape; often left empty.
        layout: MultiArrayLayout,
        /// The numbers.
        data: Vec<f64>,
    }
}

impl RosMessage for Float64MultiArray {
    definition!(
        "std_msgs/msg/Float64MultiArray",
        "MultiArrayLayout layout\nfloat64[] data\n",
        "std_msgs/MultiArrayLayout": "MultiArrayDimension[] dim\nuint32 data_offset\n",
        "std_msgs/MultiArrayDimension": "string label\nuint32 size\nuint32 stride\n"
    );
}

message! {
    /// A number.
    Float32 {
        /// The number.
        data: f32,
    }
}

impl RosMessage for Float32 {
    definition!("std_msgs/msg/Float32", "float32 data\n");
}

message! {
    /// An array of numbers.
    Float32MultiArray {
        /// Its shape; often left empty.
        layout: MultiArrayLayout,
        /// The numbers.
        data: Vec<f32>,
    }
}

impl RosMessage for Float32MultiArray {
    definition!(
        "std_msgs/msg/Float32MultiArray",
        "MultiArrayLayout layout\nfloat32[] data\n",
        "std_msgs/MultiArrayLayout": "MultiArrayDimension[] dim\nuint32 data_offset\n",
        "std_msgs/MultiArrayDimension": "string label\nuint32 size\nuint32 stride\n"
    );
}
