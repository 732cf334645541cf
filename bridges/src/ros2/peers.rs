//! What the liveliness tokens of others say against talking to them: another type, another hash, another topic, another domain.
//!
//! zenoh matches keys to the letter, so each of these shows as silence and nothing else.

use std::time::Duration;

use zenoh::{Session, Wait};

use super::names::TypeName;
use super::token::{Endpoint, EndpointKind, Token};

use crate::error::LinkError;

/// What all tokens match.
const ALL_TOKENS: &str = "@ros2_lv/**";
/// How long tokens are waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// The endpoints that others must have for a robot to be read and commanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// ROS domain.
    pub domain: u32,
    /// Who publishes the state.
    pub state: Endpoint,
    /// Who subscribes to commands.
    pub command: Endpoint,
}

impl Expected {
    /// What stands against state and command; `own` is our session.
    #[must_use]
    pub fn problems(&self, tokens: &[Token], own: &str) -> (Option<PeerProblem>, Option<PeerProblem>) {
        let Self { domain, state, command } = self;
        (problem(tokens, own, *domain, state), problem(tokens, own, *domain, command))
    }
}

/// The tokens of everybody on the network; those that are not understood are passed over.
///
/// # Errors
/// When zenoh refuses to ask.
pub fn tokens(session: &Session) -> Result<Vec<Token>, LinkError> {
    let replies = session.liveliness().get(ALL_TOKENS).timeout(PATIENCE).wait();
    let replies = replies.map_err(|e| LinkError::zenoh("asking for liveliness tokens", e))?;
    let token =
        |reply: zenoh::query::Reply| reply.result().ok().and_then(|s| s.key_expr().as_str().parse().ok());
    Ok(std::iter::from_fn(|| replies.recv().ok()).filter_map(token).collect())
}

/// Why an endpoint of ours and the network do not meet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerProblem {
    /// The topic has another type.
    #[error("node {node} {does} /{topic} as {found}, expected {expected}{}", command_hint(expected, found))]
    Type {
        /// Who.
        node: String,
        /// What it does with it.
        does: &'static str,
        /// The topic.
        topic: String,
        /// Our type.
        expected: TypeName,
        /// Theirs.
        found: TypeName,
    },
    /// The type has another hash.
    #[error(
        "node {node} {does} /{topic} with type hash {found}, expected {expected}\n\nhint: ROS before Iron has no hashes: \
         `type_hashes = \"not_supported\"` under the dialect in [link]; two real hashes mean two versions of {message}"
    )]
    Hash {
        /// Who.
        node: String,
        /// What it does with it.
        does: &'static str,
        /// The topic.
        topic: String,
        /// Its type.
        message: TypeName,
        /// Our hash.
        expected: String,
        /// Theirs.
        found: String,
    },
    /// Nobody has the topic, and these have the type.
    #[error("nobody {does} /{topic}; {message} is on {}\n\nhint: `topics` in [link] names them", elsewhere.join(", "))]
    Topic {
        /// What somebody should do with it.
        does: &'static str,
        /// The topic.
        topic: String,
        /// Its type.
        message: TypeName,
        /// Where the type is.
        elsewhere: Vec<String>,
    },
    /// Nobody has the topic, nor the type.
    #[error(
        "nobody {does} /{topic} in ROS domain {domain}{}",
        if domains.is_empty() { " or any other".to_owned() } else { format!("; there are nodes in {}", list(domains)) }
    )]
    Nobody {
        /// What somebody should do with it.
        does: &'static str,
        /// The topic.
        topic: String,
        /// Our domain.
        domain: u32,
        /// Domains with nodes.
        domains: Vec<u32>,
    },
}

fn list(domains: &[u32]) -> String {
    domains.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn command_hint(expected: &TypeName, found: &TypeName) -> String {
    let known = [
        ("trajectory_msgs/msg/JointTrajectory", "joint_trajectory"),
        ("control_msgs/msg/JointCommand", "joint_command"),
        ("std_msgs/msg/Float64MultiArray", "float64_multi_array"),
    ];
    let setting = |name: &TypeName| known.iter().find(|(known, _)| name.to_string() == *known);
    match (setting(expected), setting(found)) {
        (Some(_), Some((_, kind))) => format!("\n\nhint: `command = \"{kind}\"` under the dialect in [link]"),
        _ => String::new(),
    }
}

pub(crate) const fn does(kind: EndpointKind) -> &'static str {
    match kind {
        EndpointKind::Publisher => "publishes",
        EndpointKind::Subscription => "subscribes to",
    }
}

/// What stands against an endpoint that others should have: `expected` is theirs as it would have to be. `None` where somebody has it.
/// Tokens that are not understood are passed over; those of `own` session are ours.
#[must_use]
pub fn problem(tokens: &[Token], own: &str, domain: u32, expected: &Endpoint) -> Option<PeerProblem> {
    let others = || tokens.iter().filter(|t| t.node.session != own);
    let mut endpoints = others()
        .filter(|t| t.node.domain == domain)
        .filter_map(|t| t.endpoint.as_ref().map(|e| (t, e)))
        .filter(|(_, e)| e.kind == expected.kind);
    let Endpoint { topic, message, hash, kind, .. } = expected;
    let does = does(*kind);
    let on_topic: Vec<_> = endpoints.clone().filter(|(_, e)| e.topic == *topic).collect();
    if on_topic.iter().any(|(_, e)| e.message == *message && e.hash == *hash) {
        return None;
    }
    if let Some((token, found)) = on_topic.first() {
        let (node, topic) = (token.node.name.clone(), topic.clone());
        let same = found.message == *message;
        return Some(if same {
            let (expected, found) = (hash.clone(), found.hash.clone());
            PeerProblem::Hash { node, does, topic, message: message.clone(), expected, found }
        } else {
            PeerProblem::Type { node, does, topic, expected: message.clone(), found: found.message.clone() }
        });
    }
    let mut elsewhere: Vec<String> = Vec::new();
    for (_, e) in endpoints.by_ref().filter(|(_, e)| e.message == *message) {
        let name = format!("/{}", e.topic);
        if !elsewhere.contains(&name) {
            elsewhere.push(name);
        }
    }
    if !elsewhere.is_empty() {
        return Some(PeerProblem::Topic { does, topic: topic.clone(), message: message.clone(), elsewhere });
    }
    let mut domains: Vec<u32> = others().map(|t| t.node.domain).collect();
    domains.sort_unstable();
    domains.dedup();
    Some(PeerProblem::Nobody { does, topic: topic.clone(), domain, domains })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "RIHS01_a13ee3a330e346c9d87b5aa18d24e11690752bd33a0350f11c5882bc9179260e";

    fn tokens(texts: &[(&str, &str, &str)]) -> Vec<Token> {
        texts
            .iter()
            .map(|(topic, message, hash)| {
                format!("@ros2_lv/0/ab/0/1/MP/%/%/driver/%{topic}/{message}/{hash}/::,1:,:,:,,")
                    .parse()
                    .unwrap()
            })
            .collect()
    }

    fn found(texts: &[(&str, &str, &str)], own: &str, domain: u32) -> Option<String> {
        let [expected] =
            tokens(&[("joint_states", "sensor_msgs::msg::dds_::JointState_", HASH)]).try_into().unwrap();
        problem(&tokens(texts), own, domain, &expected.endpoint.unwrap()).map(|p| p.to_string())
    }

    #[test]
    fn silence_has_a_reason() {
        let state = "sensor_msgs::msg::dds_::JointState_";
        assert_eq!(found(&[("joint_states", state, HASH)], "cd", 0), None);
        let why = |texts: &[_], own, domain| found(texts, own, domain).unwrap();
        let humble = why(&[("joint_states", state, "TypeHashNotSupported")], "cd", 0);
        assert!(
            humble.contains("node driver publishes /joint_states with type hash TypeHashNotSupported"),
            "{humble}"
        );
        assert!(humble.contains("type_hashes = \"not_supported\""), "{humble}");
        let other = why(&[("joint_states", "std_msgs::msg::dds_::String_", HASH)], "cd", 0);
        assert!(other.contains("as std_msgs/msg/String, expected sensor_msgs/msg/JointState"), "{other}");
        let elsewhere = why(&[("arm%states", state, HASH), ("arm%states", state, HASH)], "cd", 0);
        assert!(
            elsewhere.starts_with(
                "nobody publishes /joint_states; sensor_msgs/msg/JointState is on /arm/states\n"
            ),
            "{elsewhere}"
        );
        assert!(why(&[("joint_states", state, HASH)], "cd", 5).contains("domain 5; there are nodes in 0"));
        assert!(
            why(&[("joint_states", state, HASH)], "ab", 0).contains("domain 0 or any other"),
            "our own does not count"
        );
    }

    #[test]
    fn another_kind_of_command_says_what_to_set() {
        let found = "std_msgs/msg/Float64MultiArray".parse().unwrap();
        let expected = "trajectory_msgs/msg/JointTrajectory".parse().unwrap();
        let problem =
            PeerProblem::Type { node: "c".into(), does: "subscribes to", topic: "t".into(), expected, found };
        assert!(problem.to_string().contains("command = \"float64_multi_array\""), "{problem}");
    }
}
