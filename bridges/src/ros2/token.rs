//! Liveliness tokens: how ROS 2 tools on zenoh know which nodes, publishers and subscriptions there are.

use std::fmt;
use std::str::FromStr;

use super::names::{self, NameError, TypeName, cut};
use super::qos::{Qos, QosError};

/// What all tokens begin with.
pub const PREFIX: &str = "@ros2_lv";

/// What a node does with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointKind {
    /// It publishes messages.
    Publisher,
    /// It subscribes to them.
    Subscription,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// ROS domain.
    pub domain: u32,
    /// Identity of the zenoh session, hexadecimal.
    pub session: String,
    /// Number of the node in the session.
    pub id: u32,
    /// Its namespace without slashes at the ends; empty for the root.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A publisher or subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Number of the endpoint in the session.
    pub id: u32,
    /// What it is.
    pub kind: EndpointKind,
    /// The topic without slashes at the ends.
    pub topic: String,
    /// Type of its messages.
    pub message: TypeName,
    /// Hash of that type, or `TypeHashNotSupported`.
    pub hash: String,
    /// Quality of service.
    pub qos: Qos,
}

/// A liveliness token: of a node, or of an endpoint of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The node.
    pub node: Node,
    /// Its endpoint, if it is the token of one.
    pub endpoint: Option<Endpoint>,
}

/// Why a text is no token that is understood here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Parts are missing, too many, or no numbers where there should be.
    #[error("{found:?} is no liveliness token of ROS 2: its {what} is not as expected")]
    Form {
        /// The text, cut to a line.
        found: String,
        /// Which part.
        what: &'static str,
    },
    /// A service, an action, or something newer.
    #[error("a liveliness token of kind {found:?}: expected NN, MP or MS")]
    Kind {
        /// The kind.
        found: String,
    },
    /// A name in it.
    #[error("in a liveliness token: {0}")]
    Name(#[from] NameError),
    /// The quality of service in it.
    #[error("in a liveliness token: {0}")]
    Qos(#[from] QosError),
}

/// Slashes cannot stand in a part of a key; names with them have `%` instead, and the first one is always there.
fn mangled(bare: &str) -> String {
    format!("%{}", bare.replace('/', "%"))
}

fn plain(what: &'static str, mangled: &str) -> Result<String, NameError> {
    Ok(names::bare(what, &mangled.replace('%', "/"))?.to_owned())
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Node { domain, session, id, namespace, name } = &self.node;
        let (kind, entity) = match &self.endpoint {
            None => ("NN", *id),
            Some(Endpoint { kind: EndpointKind::Publisher, id, .. }) => ("MP", *id),
            Some(Endpoint { kind: EndpointKind::Subscription, id, .. }) => ("MS", *id),
        };
        let namespace = mangled(namespace);
        write!(f, "{PREFIX}/{domain}/{session}/{id}/{entity}/{kind}/%/{namespace}/{name}")?;
        if let Some(Endpoint { topic, message, hash, qos, .. }) = &self.endpoint {
            write!(f, "/{}/{}/{hash}/{qos}", mangled(topic), message.dds())?;
        }
        Ok(())
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let form = |what| TokenError::Form { found: cut(text), what };
        let mut parts = text.split('/');
        let mut part = |what| parts.next().ok_or_else(|| form(what));
        let number = |what, digits: &str| digits.parse().map_err(|_| form(what));
        if part("beginning")? != PREFIX {
            return Err(form("beginning"));
        }
        let domain = number("domain", part("domain")?)?;
        let session = part("session")?;
        if session.is_empty() || session.len() > 32 || !session.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(form("session"));
        }
        let id = number("node number", part("node number")?)?;
        let entity = number("entity number", part("entity number")?)?;
        let kind = match part("kind")? {
            "NN" => None,
            "MP" => Some(EndpointKind::Publisher),
            "MS" => Some(EndpointKind::Subscription),
            found => return Err(TokenError::Kind { found: cut(found) }),
        };
        part("enclave")?;
        let namespace = plain("namespace", part("namespace")?)?;
        let name = names::node(part("node")?)?.to_owned();
        let node = Node { domain, session: session.to_owned(), id, namespace, name };
        let Some(kind) = kind else {
            return if parts.next().is_some() { Err(form("end")) } else { Ok(Self { node, endpoint: None }) };
        };
        let topic = plain("topic", part("topic")?)?;
        let message = TypeName::from_dds(part("type")?)?;
        let hash = part("hash")?.to_owned();
        let qos = part("quality of service")?.parse()?;
        if parts.next().is_some() {
            return Err(form("end"));
        }
        Ok(Self { node, endpoint: Some(Endpoint { id: entity, kind, topic, message, hash, qos }) })
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    /// Captured from rmw_zenoh_cpp 0.1.8 on ROS 2 Humble.
    const CAPTURED: &str = "@ros2_lv/0/9ca0f8facf84ffb1e6bfa4f2500889f0/0/3/MP/%/%/_ros2cli_712/%chatter/\
                            std_msgs::msg::dds_::String_/TypeHashNotSupported/:1:,1:,:,:,,";

    #[test]
    fn a_captured_token_is_read_and_written() {
        let token: Token = CAPTURED.parse().unwrap();
        assert_eq!(token.to_string(), CAPTURED);
        let endpoint = token.endpoint.unwrap();
        assert_eq!((endpoint.topic.as_str(), endpoint.id), ("chatter", 3));
        assert_eq!(endpoint.message.to_string(), "std_msgs/msg/String");
        assert_eq!((token.node.name.as_str(), token.node.namespace.as_str()), ("_ros2cli_712", ""));
    }

    #[test]
    fn a_node_in_a_namespace() {
        let node = Node {
            domain: 3,
            session: "ab12".into(),
            id: 7,
            namespace: "lab/arm".into(),
            name: "surefoot".into(),
        };
        let mut token = Token { node, endpoint: None };
        assert_eq!(token.to_string(), "@ros2_lv/3/ab12/7/7/NN/%/%lab%arm/surefoot");
        token.endpoint = Some(Endpoint {
            id: 8,
            kind: EndpointKind::Subscription,
            topic: "lab/arm/joint_states".into(),
            message: "sensor_msgs/msg/JointState".parse().unwrap(),
            hash: "RIHS01_00".into(),
            qos: Qos::reliable(NonZeroU32::MIN),
        });
        assert_eq!(
            token.to_string(),
            "@ros2_lv/3/ab12/7/8/MS/%/%lab%arm/surefoot/%lab%arm%joint_states/\
             sensor_msgs::msg::dds_::JointState_/RIHS01_00/::,1:,:,:,,"
        );
        assert_eq!(token.to_string().parse(), Ok(token));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| text.parse::<Token>().unwrap_err().to_string();
        assert!(error("ros2").contains("beginning"));
        assert!(error("@ros2_lv/0/zz").contains("session"));
        assert!(error(&CAPTURED.replace("/3/MP", "/x/MP")).contains("entity number"));
        assert!(error(&CAPTURED.replace("MP", "SS")).contains("\"SS\": expected NN, MP or MS"));
        assert!(error(&CAPTURED.replace("/:1:,1:,:,:,,", "")).contains("quality of service"));
        assert!(error(&CAPTURED.replace(":1:,1", ":9:,1")).contains("no quality of service"));
        assert!(error(&format!("{CAPTURED}/more")).contains("end"));
        assert!(error(&CAPTURED.replace("%chatter", "%chat%%ter")).contains("name of a topic"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_token_or_an_error(
            text in prop_oneof![
                "[@ros2_lv/0-9a-fNMPS%:,]{0,80}",
                proptest::sample::subsequence((0..CAPTURED.len()).collect::<Vec<_>>(), CAPTURED.len() - 2)
                    .prop_map(|kept| kept.iter().map(|i| CAPTURED.as_bytes()[*i] as char).collect()),
            ],
        ) {
            if let Ok(token) = text.parse::<Token>() {
                prop_assert_eq!(token.to_string().parse::<Token>(), Ok(token));
            }
        }
    }
}
