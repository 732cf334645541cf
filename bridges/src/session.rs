//! Opening a zenoh session: explicit endpoints, nothing that scouts, and links that notice quickly when they are dead.
//!
//! Control and bulk traffic have sessions of their own, so that a large transfer, or a receiver that stalls one, never touches the
//! control link: zenoh waits for a slow receiver on the whole link.

use std::fmt;
use std::net::{TcpListener, ToSocketAddrs};
use std::path::PathBuf;

use surefoot_core::contract::{LinkContract, LinkMode};
use zenoh::qos::{CongestionControl, Priority};
use zenoh::{Config, Session, Wait};

use crate::error::LinkError;

/// A link without a word for so long is dead, ms. Stops do not wait for it: they are timed by what robots and controllers hear.
const LEASE_MS: u32 = 1000;
/// Signs of life in a lease.
const KEEP_ALIVE: u32 = 4;
/// How long a message that may be dropped waits for room, us. zenoh's own 1 ms is a whole control period.
const WAIT_BEFORE_DROP_US: u32 = 100;
/// How long to try to connect, ms.
const CONNECT_MS: u32 = 3000;
/// Between two attempts, ms.
const RETRY_MS: u32 = 100;
/// Ports that are tried where the system is to choose one.
const PORTS: usize = 8;

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// States and commands: what is late is dropped.
    Control,
    /// Episodes, weights: what is large may wait.
    Bulk,
}

/// How to open a session.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// How it takes part.
    pub mode: LinkMode,
    /// Where to connect.
    pub connect: Vec<String>,
    /// Where to listen; port 0 lets the system choose one.
    pub listen: Vec<String>,
    /// A zenoh session file (JSON5) to begin from.
    pub file: Option<PathBuf>,
    /// First part of every key.
    pub namespace: Option<String>,
    /// What it is for.
    pub purpose: Purpose,
}

impl SessionConfig {
    /// To a robot, as its contract says.
    #[must_use]
    pub fn to_robot(link: &LinkContract, purpose: Purpose) -> Self {
        let LinkContract { endpoints, mode, session, namespace, .. } = link;
        Self {
            mode: *mode,
            connect: endpoints.clone(),
            listen: Vec::new(),
            file: session.clone(),
            namespace: namespace.clone(),
            purpose,
        }
    }

    /// Listens at one endpoint, as a peer.
    #[must_use]
    pub fn listening(endpoint: impl Into<String>, namespace: Option<String>) -> Self {
        Self {
            mode: LinkMode::Peer,
            connect: Vec::new(),
            listen: vec![endpoint.into()],
            file: None,
            namespace,
            purpose: Purpose::Control,
        }
    }

    /// Everything that zenoh is told, in its own words.
    fn zenoh(&self, listen: &[String]) -> Result<Config, LinkError> {
        let Self { mode, connect, listen: _, file, namespace, purpose } = self;
        let mut config = match file {
            None => Config::default(),
            Some(path) => Config::from_file(path)
                .map_err(|e| LinkError::SessionFile { path: path.clone(), reason: e.to_string() })?,
        };
        let mode = match mode {
            LinkMode::Client => "client",
            LinkMode::Peer => "peer",
        };
        let mut set = |key: &str, value: serde_json::Value| {
            config.insert_json5(key, &value.to_string()).map_err(|e| LinkError::zenoh("configuration", e))
        };
        set("mode", mode.into())?;
        if !connect.is_empty() {
            set("connect/endpoints", connect.clone().into())?;
            set("connect/timeout_ms", CONNECT_MS.into())?;
            set("connect/exit_on_failure", true.into())?;
            let retry = serde_json::json!({
                "period_init_ms": RETRY_MS, "period_max_ms": 10 * RETRY_MS, "period_increase_factor": 2,
            });
            set("connect/retry", retry)?;
        }
        set("listen/endpoints", listen.to_vec().into())?;
        set("scouting/multicast/enabled", false.into())?;
        set("scouting/gossip/enabled", false.into())?;
        set("transport/link/tx/lease", LEASE_MS.into())?;
        set("transport/link/tx/keep_alive", KEEP_ALIVE.into())?;
        if *purpose == Purpose::Control {
            let key = "transport/link/tx/queue/congestion_control/drop/wait_before_drop";
            set(key, WAIT_BEFORE_DROP_US.into())?;
        }
        if let Some(namespace) = namespace {
            set("namespace", namespace.clone().into())?;
        }
        Ok(config)
    }

    /// Opens the session. Gives it and the endpoints that it listens on, with their ports.
    ///
    /// # Errors
    /// When the file or a setting cannot be used, nothing answers at the endpoints, or one cannot be listened on.
    pub fn open(&self) -> Result<(Session, Vec<String>), LinkError> {
        if self.connect.is_empty() && self.listen.is_empty() && self.file.is_none() {
            let (expected, found) = ("at least one, as \"tcp/10.0.0.7:7447\"", "none".into());
            return Err(LinkError::Setting { key: "endpoints", expected, found });
        }
        for endpoint in self.connect.iter().chain(&self.listen) {
            check_endpoint(endpoint)?;
        }
        if let Some(namespace) = &self.namespace {
            check_key("namespace", namespace)?;
        }
        let chosen = self.listen.iter().any(|endpoint| port_is_open(endpoint));
        let mut last = None;
        for _ in 0..if chosen { PORTS } else { 1 } {
            let listen = self.listen.iter().map(|e| with_port(e)).collect::<Result<Vec<_>, _>>()?;
            match zenoh::open(self.zenoh(&listen)?).wait() {
                Ok(session) => return Ok((session, listen)),
                // Another program may have taken the port meanwhile.
                Err(e) => last = Some(e.to_string()),
            }
        }
        let reason = last.unwrap_or_default();
        Err(if self.connect.is_empty() {
            LinkError::Listen { endpoint: self.listen.join(", "), reason }
        } else {
            LinkError::Unreachable { endpoints: self.connect.join(", "), reason }
        })
    }
}

/// `tcp/HOST:PORT`, and what else zenoh knows.
fn check_endpoint(endpoint: &str) -> Result<(), LinkError> {
    let parsed: Result<zenoh::config::EndPoint, _> = endpoint.parse();
    let address = endpoint.split_once('/').map(|(_, address)| address);
    if parsed.is_ok() && address.is_some_and(|a| a.contains(':')) {
        return Ok(());
    }
    let expected = "PROTOCOL/ADDRESS:PORT, as \"tcp/10.0.0.7:7447\"";
    Err(LinkError::Setting { key: "endpoints", expected, found: format!("{endpoint:?}") })
}

/// A part of a key: no wild cards, nothing empty.
pub(crate) fn check_key(key: &'static str, part: &str) -> Result<(), LinkError> {
    let plain = !part.contains(['*', '$', '?', '#', '@']) && zenoh::key_expr::KeyExpr::try_from(part).is_ok();
    if plain {
        return Ok(());
    }
    let expected = "a name without wild cards, as \"lab1\"";
    Err(LinkError::Setting { key, expected, found: format!("{part:?}") })
}

fn port_is_open(endpoint: &str) -> bool {
    endpoint.ends_with(":0")
}

/// The endpoint with a port that is free at this moment, where the system is to choose.
fn with_port(endpoint: &str) -> Result<String, LinkError> {
    let (Some((protocol, address)), true) = (endpoint.split_once('/'), port_is_open(endpoint)) else {
        return Ok(endpoint.to_owned());
    };
    let refused =
        |e: std::io::Error| LinkError::Listen { endpoint: endpoint.to_owned(), reason: e.to_string() };
    let addresses: Vec<_> = address.to_socket_addrs().map_err(refused)?.collect();
    let bound = TcpListener::bind(addresses.as_slice()).map_err(refused)?.local_addr().map_err(refused)?;
    let host = address.strip_suffix(":0").unwrap_or(address);
    Ok(format!("{protocol}/{host}:{}", bound.port()))
}

/// How a received message waits for its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Only the newest is kept.
    Newest,
    /// In order, as many as there are places; then the newest is dropped and counted.
    Places(usize),
    /// Judged as it comes.
    None,
}

/// A key and how what goes over it is treated: what zenoh was told, not what is hoped for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The key, without the namespace of the session.
    pub key: String,
    /// Of all that waits to be sent.
    pub priority: Priority,
    /// What happens when there is no room.
    pub congestion: CongestionControl,
    /// Sent at once, not gathered with others.
    pub express: bool,
    /// At the receiver.
    pub keep: Keep,
}

impl Channel {
    /// States, commands and signs of life: before everything else, at once, and dropped rather than late.
    #[must_use]
    pub const fn control(key: String, keep: Keep) -> Self {
        let (priority, congestion) = (Priority::RealTime, CongestionControl::Drop);
        Self { key, priority, congestion, express: true, keep }
    }
    /// Stops and presses of keys: rare, and not to be lost.
    #[must_use]
    pub const fn stop(key: String) -> Self {
        let (priority, congestion) = (Priority::InteractiveHigh, CongestionControl::Block);
        Self { key, priority, congestion, express: true, keep: Keep::None }
    }
    /// Status for people.
    #[must_use]
    pub const fn status(key: String) -> Self {
        let (priority, congestion) = (Priority::DataHigh, CongestionControl::Drop);
        Self { key, priority, congestion, express: false, keep: Keep::Newest }
    }

    /// Declares a publisher of it.
    ///
    /// # Errors
    /// When zenoh refuses the key.
    pub fn publisher(&self, session: &Session) -> Result<zenoh::pubsub::Publisher<'static>, LinkError> {
        let Self { key, priority, congestion, express, keep: _ } = self;
        session
            .declare_publisher(key.clone())
            .priority(*priority)
            .congestion_control(*congestion)
            .express(*express)
            .wait()
            .map_err(|e| LinkError::zenoh("declaring a publisher", e))
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, priority, congestion, express, keep } = self;
        let keep = match keep {
            Keep::Newest => "keeps the newest".to_owned(),
            Keep::Places(places) => format!("keeps {places}"),
            Keep::None => "judged as it comes".to_owned(),
        };
        let express = if *express { "express" } else { "batched" };
        write!(f, "{key}  {priority:?}, {congestion:?}, {express}; {keep}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_and_names_that_cannot_be_used_are_named() {
        for endpoint in ["10.0.0.7:7447", "tcp/", "tcp/somewhere", "", "tcp/*"] {
            let mut config = SessionConfig::listening("tcp/127.0.0.1:0", None);
            config.connect = vec![endpoint.to_owned()];
            let message = config.open().err().unwrap().to_string();
            assert!(
                message.contains("link.endpoints") && message.contains(endpoint),
                "{endpoint}: {message}"
            );
        }
        for namespace in ["", "a/*", "a//b", "/a", "@x"] {
            let config = SessionConfig::listening("tcp/127.0.0.1:0", Some(namespace.to_owned()));
            let message = config.open().err().unwrap().to_string();
            assert!(message.contains("link.namespace"), "{namespace}: {message}");
        }
    }

    #[test]
    fn what_zenoh_is_told_scouts_nothing_and_dies_quickly() {
        let config = SessionConfig::listening("tcp/127.0.0.1:0", Some("lab1".to_owned()));
        let told = config.zenoh(&config.listen).unwrap();
        for (key, expected) in [
            ("scouting/multicast/enabled", "false"),
            ("scouting/gossip/enabled", "false"),
            ("transport/link/tx/lease", "1000"),
            ("transport/link/tx/queue/congestion_control/drop/wait_before_drop", "100"),
            ("namespace", "\"lab1\""),
            ("mode", "\"peer\""),
        ] {
            assert_eq!(told.get_json(key).unwrap(), expected, "{key}");
        }
    }

    #[test]
    fn a_session_file_that_is_none_is_named_and_nobody_at_an_endpoint_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lab.json5");
        std::fs::write(&path, "{ mode: \"clint\" }").unwrap();
        let mut config = SessionConfig::listening("tcp/127.0.0.1:0", None);
        config.file = Some(path);
        let message = config.open().err().unwrap().to_string();
        assert!(message.contains("lab.json5"), "{message}");
        // Bound and not listening: refused at once.
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = SessionConfig::listening(format!("tcp/{}", taken.local_addr().unwrap()), None);
        assert!(matches!(config.open(), Err(LinkError::Listen { .. })));
        config.listen.clear();
        (config.mode, config.connect) = (LinkMode::Client, vec!["tcp/127.0.0.1:1".to_owned()]);
        let message = config.open().err().unwrap().to_string();
        assert!(message.contains("tcp/127.0.0.1:1") && message.contains("hint"), "{message}");
    }
}
