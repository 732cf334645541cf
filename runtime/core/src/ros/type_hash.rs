//! Type hashes: the name by which ROS 2 peers check that they mean the same message (REP 2016, version 1).
//!
//! A hash is the SHA-256 of a JSON text that describes the message and all that it is made of: names, types and bounds of the
//! fields in order. Comments, constants and default values are not in it.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::definition::{Count, Definition, DefinitionError, Dialect, Element, StructDefinition};
use super::{RosMessage, Scalar};

const PREFIX: &str = "RIHS01_";

/// The hash of a message type. Its text is `RIHS01_` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeHash([u8; 32]);

/// Why a text is no type hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no type hash: expected RIHS01_ and 64 lower-case hexadecimal digits")]
pub struct TypeHashError {
    /// What was there, cut to a line.
    found: String,
}

/// Adding one of these to the number of an element's type makes it the number of its array's.
const FIXED_ARRAY: u16 = 48;
const BOUNDED_SEQUENCE: u16 = 96;
const SEQUENCE: u16 = 144;

impl TypeHash {
    /// The hash of the message type `name`, by its definition and those of its parts.
    ///
    /// # Errors
    /// When the text is no definition.
    pub fn of_definition(name: &str, text: &str) -> Result<Self, DefinitionError> {
        let definition = Definition::parse(name, text, Dialect::Ros2)?;
        Ok(Self::of(&definition))
    }

    /// The hash of a message type.
    ///
    /// # Errors
    /// Never for the types of this crate, whose definitions are tested.
    pub fn of_message<M: RosMessage>() -> Result<Self, DefinitionError> {
        Self::of_definition(M::TYPE, M::DEFINITION)
    }

    /// The hash of a parsed definition.
    #[must_use]
    pub fn of(definition: &Definition) -> Self {
        Self(Sha256::digest(description(definition).as_bytes()).into())
    }
}

/// The JSON text that is hashed: its separators and the order of its keys count.
fn description(definition: &Definition) -> String {
    let structs = definition.structs();
    let root = structs.get(definition.root());
    let root_name = root.map_or("", |s| s.name.as_str());
    let mut parts: Vec<&StructDefinition> = structs.iter().filter(|s| s.name != root_name).collect();
    parts.sort_by_key(|s| full_name(&s.name));
    let mut out = String::from("{\"type_description\": ");
    if let Some(root) = root {
        individual(root, structs, &mut out);
    }
    out.push_str(", \"referenced_type_descriptions\": [");
    for (i, part) in parts.iter().enumerate() {
        out.push_str(if i == 0 { "" } else { ", " });
        individual(part, structs, &mut out);
    }
    out.push_str("]}");
    out
}

fn individual(part: &StructDefinition, structs: &[StructDefinition], out: &mut String) {
    out.push_str("{\"type_name\": ");
    quoted(&full_name(&part.name), out);
    out.push_str(", \"fields\": [");
    for (i, field) in part.fields.iter().enumerate() {
        let (element, text_bytes) = match field.element {
            Element::Scalar(scalar) => (scalar_id(scalar), 0),
            Element::Text(0) => (17, 0),
            Element::Text(longest) => (21, longest),
            Element::Time(_) | Element::Struct(_) => (1, 0),
        };
        let (array, capacity) = match field.count {
            Count::One => (0, 0),
            Count::Fixed(n) => (FIXED_ARRAY, n),
            Count::Bounded(n) => (BOUNDED_SEQUENCE, n),
            Count::Sequence => (SEQUENCE, 0),
        };
        let nested = match field.element {
            Element::Struct(index) => structs.get(index).map_or(String::new(), |s| full_name(&s.name)),
            _ => String::new(),
        };
        out.push_str(if i == 0 { "{\"name\": " } else { ", {\"name\": " });
        quoted(&field.name, out);
        // Writing to a String does not fail.
        let _ = write!(
            out,
            ", \"type\": {{\"type_id\": {}, \"capacity\": {capacity}, \"string_capacity\": {text_bytes}, \
             \"nested_type_name\": ",
            element + array,
        );
        quoted(&nested, out);
        out.push_str("}}");
    }
    out.push_str("]}");
}

/// `package/msg/Type` of `package/Type`.
fn full_name(short: &str) -> String {
    short.split_once('/').map_or_else(|| short.to_owned(), |(package, name)| format!("{package}/msg/{name}"))
}

fn quoted(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

const fn scalar_id(scalar: Scalar) -> u16 {
    match scalar {
        Scalar::I8 => 2,
        Scalar::U8 => 3,
        Scalar::I16 => 4,
        Scalar::U16 => 5,
        Scalar::I32 => 6,
        Scalar::U32 => 7,
        Scalar::I64 => 8,
        Scalar::U64 => 9,
        Scalar::F32 => 10,
        Scalar::F64 => 11,
        Scalar::Bool => 15,
        Scalar::Octet => 16,
    }
}

impl fmt::Display for TypeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TypeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TypeHash {
    type Err = TypeHashError;

    fn from_str(text: &str) -> Result<Self, TypeHashError> {
        let error = || TypeHashError { found: text.chars().take(100).collect() };
        let digits = text.strip_prefix(PREFIX).filter(|d| d.len() == 64).ok_or_else(error)?.as_bytes();
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            for digit in pair {
                let value = match digit {
                    b'0'..=b'9' => digit - b'0',
                    b'a'..=b'f' => digit - b'a' + 10,
                    _ => return Err(error()),
                };
                *byte = *byte << 4 | value;
            }
        }
        Ok(Self(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::super::messages::DEFINITIONS;
    use super::*;

    const STAMPED: &str = "=====\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n\
        =====\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n";

    /// Public hashes, and those of another implementation of the algorithm over the messages of ROS 2 Jazzy.
    const KNOWN: &[(&str, &str)] = &[
        ("sensor_msgs/msg/JointState", "a13ee3a330e346c9d87b5aa18d24e11690752bd33a0350f11c5882bc9179260e"),
        (
            "std_msgs/msg/Float64MultiArray",
            "1025ddc6b9552d191f89ef1a8d2f60f3d373e28b283d8891ddcc974e8c55397f",
        ),
        ("control_msgs/msg/JointCommand", "6080a1df9d28b6badffa5efb27d4ba4ae657c4f6dd2b519b178a32db12405985"),
        (
            "trajectory_msgs/msg/JointTrajectory",
            "179b33eba59d676f6d967ac71fe35e7ca2f64b2f3928f4a018cec115e213796e",
        ),
        (
            "trajectory_msgs/msg/JointTrajectoryPoint",
            "de8907036d8bd45aac6f30cc9044a3d4a329c42cbf719aff7d95a584cfa532d7",
        ),
        ("std_msgs/msg/Bool", "feb91e995ff9ebd09c0cb3d2aed18b11077585839fb5db80193b62d74528f6c9"),
        ("std_msgs/msg/Float64", "705ba9c3d1a09df43737eb67095534de36fd426c0587779bda2bc51fe790182a"),
        ("std_msgs/msg/String", "df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18"),
        ("std_msgs/msg/UInt8", "6138bd83d8c3569cb80a667db03cfc1629f529fee79d944c39c34e352e72f010"),
        ("geometry_msgs/msg/Twist", "9c45bf16fe0983d80e3cfe750d6835843d265a9a6c46bd2e609fcddde6fb8d2a"),
        (
            "geometry_msgs/msg/TwistStamped",
            "5f0fcd4f81d5d06ad9b4c4c63e3ea51b82d6ae4d0558f1d475229b1121db6f64",
        ),
        ("geometry_msgs/msg/PoseStamped", "10f3786d7d40fd2b54367835614bff85d4ad3b5dab62bf8bca0cc232d73b4cd8"),
        (
            "geometry_msgs/msg/WrenchStamped",
            "8dc3deaf06b2ab281f9f9a742a8961c328ca7cec16e3fd6586d3a5c83fa78f77",
        ),
        (
            "sensor_msgs/msg/CompressedImage",
            "15640771531571185e2efc8a100baf923961a4d15d5569652e6cb6691e8e371a",
        ),
        ("sensor_msgs/msg/Joy", "0d356c79cad3401e35ffeb75a96a96e08be3ef896b8b83841d73e890989372c5"),
        (
            "diagnostic_msgs/msg/DiagnosticArray",
            "5a8a36efb05fb25070fa0fb3810290c0e6cd4862b54a8fb975a1ee8dc55a333e",
        ),
    ];

    #[test]
    fn the_messages_here_have_the_hashes_that_ros_gives_them() {
        for (name, hash) in KNOWN {
            let (_, text) = DEFINITIONS.iter().find(|(known, _)| known == name).unwrap();
            assert_eq!(
                TypeHash::of_definition(name, text).unwrap().to_string(),
                format!("RIHS01_{hash}"),
                "{name}"
            );
        }
    }

    #[test]
    fn fixed_arrays_bytes_and_comments_are_hashed_as_ros_does() {
        let known = [
            (
                "sensor_msgs/msg/Imu",
                "std_msgs/Header header\ngeometry_msgs/Quaternion orientation\n\
                 float64[9] orientation_covariance # Row major\ngeometry_msgs/Vector3 angular_velocity\n\
                 float64[9] angular_velocity_covariance\ngeometry_msgs/Vector3 linear_acceleration\n\
                 float64[9] linear_acceleration_covariance\n====\nMSG: geometry_msgs/Quaternion\n\
                 float64 x 0\nfloat64 y 0\nfloat64 z 0\nfloat64 w 1\n====\nMSG: geometry_msgs/Vector3\n\
                 float64 x\nfloat64 y\nfloat64 z\n",
                STAMPED,
                "7d9a00ff131080897a5ec7e26e315954b8eae3353c3f995c55faf71574000b5b",
            ),
            (
                "sensor_msgs/msg/Image",
                "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\n\
                 uint32 step\nuint8[] data\n",
                STAMPED,
                "d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47",
            ),
            (
                "sensor_msgs/msg/CompressedImage",
                "Header header\nstring format\nuint8[] data\n",
                STAMPED,
                "15640771531571185e2efc8a100baf923961a4d15d5569652e6cb6691e8e371a",
            ),
            (
                "rosgraph_msgs/msg/Clock",
                "builtin_interfaces/Time clock\n",
                "",
                "692f7a66e93a3c83e71765d033b60349ba68023a8c689a79e48078bcb5c58564",
            ),
        ];
        for (name, own, parts, hash) in known {
            let found = TypeHash::of_definition(name, &format!("{own}{parts}")).unwrap();
            assert_eq!(found.to_string(), format!("RIHS01_{hash}"), "{name}");
        }
    }

    #[test]
    fn what_is_hashed_is_this_text() {
        let text =
            "string<=4 s\nB[<=2] b\nint8[3] n\nEmpty[] e\n====\nMSG: p/B\nbyte x\n====\nMSG: p/Empty\n";
        let definition = Definition::parse("p/msg/A", text, Dialect::Ros2).unwrap();
        let field = |name: &str, id: u16, capacity: u64, text: u64, nested: &str| {
            format!(
                "{{\"name\": \"{name}\", \"type\": {{\"type_id\": {id}, \"capacity\": {capacity}, \
                 \"string_capacity\": {text}, \"nested_type_name\": \"{nested}\"}}}}"
            )
        };
        let expected = format!(
            "{{\"type_description\": {{\"type_name\": \"p/msg/A\", \"fields\": [{}, {}, {}, {}]}}, \
             \"referenced_type_descriptions\": [{{\"type_name\": \"p/msg/B\", \"fields\": [{}]}}, \
             {{\"type_name\": \"p/msg/Empty\", \"fields\": [{}]}}]}}",
            field("s", 21, 0, 4, ""),
            field("b", 97, 2, 0, "p/msg/B"),
            field("n", 50, 3, 0, ""),
            field("e", 145, 0, 0, "p/msg/Empty"),
            field("x", 16, 0, 0, ""),
            field("structure_needs_at_least_one_member", 3, 0, 0, ""),
        );
        assert_eq!(description(&definition), expected);
    }

    #[test]
    fn a_hash_is_read_back_and_what_is_none_is_refused() {
        let hash = TypeHash::of_message::<super::super::messages::Bool>().unwrap();
        assert_eq!(hash.to_string().parse(), Ok(hash));
        let upper = hash.to_string().to_uppercase();
        for wrong in ["", "TypeHashNotSupported", "RIHS01_12", &upper, &hash.to_string().replace('f', "é")] {
            assert!(wrong.parse::<TypeHash>().unwrap_err().to_string().contains("64 lower-case"), "{wrong}");
        }
    }
}
