//! Names of topics, nodes and types, and the keys that are made of them.

use std::fmt;
use std::str::FromStr;

/// Longest name that is taken, bytes: ROS stops at 255.
const MAX_NAME: usize = 255;

/// Why a name is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not the name of a topic, a namespace or a node.
    #[error(
        "{found:?} is not the name of a {what}: expected parts of letters, digits and `_` that do not begin with a digit, \
         with single `/` between them"
    )]
    Name {
        /// What it should name.
        what: &'static str,
        /// The text, cut to a line.
        found: String,
    },
    /// Not the name of a message type.
    #[error("{found:?} is not a message type: expected package/msg/Type, as in sensor_msgs/msg/JointState")]
    Type {
        /// The text, cut to a line.
        found: String,
    },
}

pub(super) fn cut(text: &str) -> String {
    text.chars().take(120).collect()
}

fn part(text: &str) -> bool {
    let mut letters = text.bytes();
    letters.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && letters.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A topic or namespace without slashes at its ends: `/arm/joint_states` gives `arm/joint_states`. The root namespace gives an
/// empty text.
///
/// # Errors
/// When a part is empty or has other characters than ROS names have.
pub fn bare<'n>(what: &'static str, name: &'n str) -> Result<&'n str, NameError> {
    let inner = name.strip_prefix('/').unwrap_or(name);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let empty = inner.is_empty() && what == "namespace";
    if name.len() <= MAX_NAME && (empty || inner.split('/').all(part)) {
        Ok(inner)
    } else {
        Err(NameError::Name { what, found: cut(name) })
    }
}

/// The name of a node: one part.
///
/// # Errors
/// When it is not one.
pub fn node(name: &str) -> Result<&str, NameError> {
    if name.len() <= MAX_NAME && part(name) {
        Ok(name)
    } else {
        Err(NameError::Name { what: "node", found: cut(name) })
    }
}

/// The name of a message type. Its text is ROS's (`sensor_msgs/msg/JointState`); [`TypeName::dds`] is that of keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeName {
    package: String,
    name: String,
}

impl TypeName {
    fn of(package: &str, name: &str) -> Option<Self> {
        (part(package) && part(name) && package.len() + name.len() <= MAX_NAME)
            .then(|| Self { package: package.to_owned(), name: name.to_owned() })
    }

    /// As it stands in keys and tokens: `sensor_msgs::msg::dds_::JointState_`.
    #[must_use]
    pub fn dds(&self) -> String {
        format!("{}::msg::dds_::{}_", self.package, self.name)
    }

    /// Reads what [`dds`](Self::dds) writes.
    ///
    /// # Errors
    /// When it is of another form; services and actions are.
    pub fn from_dds(text: &str) -> Result<Self, NameError> {
        text.split_once("::msg::dds_::")
            .and_then(|(package, name)| Self::of(package, name.strip_suffix('_')?))
            .ok_or_else(|| NameError::Type { found: cut(text) })
    }
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/msg/{}", self.package, self.name)
    }
}

impl FromStr for TypeName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        text.split_once("/msg/")
            .and_then(|(package, name)| Self::of(package, name))
            .ok_or_else(|| NameError::Type { found: cut(text) })
    }
}

/// The key of a topic's samples under rmw_zenoh: `<domain>/<topic>/<type>/<hash>`. Subscribers put `*` for the hash to take any.
///
/// # Errors
/// When the topic is not the name of one.
pub fn data_key(domain: u32, topic: &str, message: &TypeName, hash: &str) -> Result<String, NameError> {
    Ok(format!("{domain}/{}/{}/{hash}", bare("topic", topic)?, message.dds()))
}

/// The key of a topic's samples behind `zenoh-bridge-ros2dds`: the topic below the bridge's namespace.
///
/// # Errors
/// When either is not a name.
pub fn bridge_key(namespace: &str, topic: &str) -> Result<String, NameError> {
    let (namespace, topic) = (bare("namespace", namespace)?, bare("topic", topic)?);
    Ok(if namespace.is_empty() { topic.to_owned() } else { format!("{namespace}/{topic}") })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_those_of_rmw_zenoh_and_of_the_bridge() {
        let string: TypeName = "std_msgs/msg/String".parse().unwrap();
        let key = |domain, topic| data_key(domain, topic, &string, "TypeHashNotSupported").unwrap();
        // As read from a running rmw_zenoh_cpp 0.1.8 and from its sources.
        assert_eq!(key(0, "/chatter"), "0/chatter/std_msgs::msg::dds_::String_/TypeHashNotSupported");
        assert_eq!(
            key(42, "/robot/_hidden/chatter"),
            "42/robot/_hidden/chatter/std_msgs::msg::dds_::String_/TypeHashNotSupported"
        );
        assert_eq!(key(0, "chatter/"), key(0, "/chatter"));
        assert_eq!(bridge_key("/bot1", "/joint_states").unwrap(), "bot1/joint_states");
        assert_eq!(bridge_key("/", "joint_states").unwrap(), "joint_states");
    }

    #[test]
    fn what_would_change_the_key_is_refused() {
        for wrong in
            ["", "/", "a//b", "a/**", "a/*", "a b", "a$*", "a?x", "#", "1a", "a/", "ä", &"a".repeat(300)]
        {
            let result = bare("topic", wrong);
            assert_eq!(result.is_ok(), wrong == "a/", "{wrong:?}");
        }
        for wrong in ["", "sensor_msgs/JointState", "/msg/A", "a/msg/", "a/msg/B/C", "a::msg::dds_::B_"] {
            assert!(
                wrong.parse::<TypeName>().unwrap_err().to_string().contains("package/msg/Type"),
                "{wrong:?}"
            );
        }
        assert!(TypeName::from_dds("a::srv::dds_::B_Request_").is_err());
        assert!(node("a/b").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_name_or_an_error(text in "[a-zA-Z0-9_:/*$#?{}é ]{0,40}") {
            if let Ok(name) = text.parse::<TypeName>() {
                prop_assert_eq!(name.to_string(), text.clone());
                prop_assert_eq!(TypeName::from_dds(&name.dds()), Ok(name));
            }
            if let Ok(name) = TypeName::from_dds(&text) {
                prop_assert_eq!(name.dds(), text.clone());
            }
            if let Ok(inner) = bare("topic", &text) {
                prop_assert!(zenoh::key_expr::keyexpr::new(inner).is_ok_and(|k| !k.is_wild()));
            }
        }
    }
}
