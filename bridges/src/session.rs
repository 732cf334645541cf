//! Opening a zenoh session: explicit endpoints, nothing that scouts, and links that notice when they are dead.
//!
//! The one place where endpoints and session files become sessions, whatever they are for. Control and bulk traffic have sessions of
//! their own, so that a large transfer, or a receiver that stalls one, never touches the control link: zenoh waits for a slow
//! receiver on the whole link.

use std::net::{TcpListener, ToSocketAddrs, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use surefoot_core::contract::{LinkContract, LinkMode};
use zenoh::{Config, Session, Wait};

/// Between two attempts to connect, ms: at first, and at most.
const RETRY_MS: (u32, u32) = (100, 1_000);
/// Longest message, bytes, that may go over zenoh's `lowlatency` transport, which cannot cut one up. zenoh's TCP links take the largest
/// multiple of half a segment that is below 64 KiB, so never less than 32 000; the rest is for zenoh's own part of a message.
const MAX_WHOLE_BYTES: usize = 30_000;
/// Ports that are tried where the system is to choose one.
const PORTS: usize = 8;

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// States and commands: what is late is dropped.
    Control,
    /// Episodes and weights: what is large may wait.
    Bulk,
    /// Worlds that wait for their actions: nothing is dropped, and a message has every world's rows.
    Lockstep {
        /// Whoever sends writes to the socket itself, and no thread in between is woken; there are no priorities then, and a link ends by a
        /// message that is too long. Both sides have to want it: a client always does, and the server says by its longest message.
        low_latency: bool,
    },
}

impl Purpose {
    /// For a server of worlds, no message of which is longer than so many bytes.
    pub(crate) const fn lockstep(longest_message: usize) -> Self {
        Self::Lockstep { low_latency: longest_message <= MAX_WHOLE_BYTES }
    }

    /// A link without a word for so long is dead, ms. Stops do not wait for it: they are timed by what robots and controllers hear.
    const fn lease_ms(self) -> u32 {
        match self {
            Self::Control => 1_000,
            Self::Bulk => 2_000,
            // Who steps worlds may have every core busy meanwhile; a process that ends is noticed at once, by its connection.
            Self::Lockstep { .. } => 10_000,
        }
    }

    /// What else zenoh is told.
    fn settings(self) -> Vec<(&'static str, serde_json::Value)> {
        match self {
            // How long a message that may be dropped waits for room, us. zenoh's own 1 ms is a whole control period.
            Self::Control => {
                vec![("transport/link/tx/queue/congestion_control/drop/wait_before_drop", 100.into())]
            }
            Self::Bulk => Vec::new(),
            // Longest message, bytes, that is put together from fragments; beyond it zenoh drops what comes.
            Self::Lockstep { low_latency } => {
                let mut settings = vec![("transport/link/rx/max_message_size", (1 << 28).into())];
                if low_latency {
                    settings.push(("transport/unicast/qos/enabled", false.into()));
                    settings.push(("transport/unicast/lowlatency", true.into()));
                }
                settings
            }
        }
    }

    /// How long to try to connect, where nothing else is said.
    const fn connect_timeout(self) -> Duration {
        Duration::from_millis(match self {
            Self::Control | Self::Lockstep { .. } => 3_000,
            // An actor tries again by itself, and looks at its spool meanwhile.
            Self::Bulk => 1_500,
        })
    }
}

/// Where those who share a session's keys meet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// To listen at, `tcp/0.0.0.0:7447`; port 0 lets the system choose.
    pub listen: Vec<String>,
    /// To connect to: whoever listens, or a router.
    pub connect: Vec<String>,
    /// A zenoh session file (JSON5) to begin from: certificates, access control. Its own endpoints stand where none is stated here.
    pub file: Option<PathBuf>,
}

impl Endpoints {
    /// To listen at one endpoint.
    #[must_use]
    pub fn listening(endpoint: impl Into<String>) -> Self {
        Self { listen: vec![endpoint.into()], ..Self::default() }
    }
    /// To connect to one endpoint.
    #[must_use]
    pub fn connecting(endpoint: impl Into<String>) -> Self {
        Self { connect: vec![endpoint.into()], ..Self::default() }
    }

    /// Refuses endpoints that no session could be opened with.
    fn check(&self) -> Result<(), SessionError> {
        let Self { listen, connect, file } = self;
        if listen.is_empty() && connect.is_empty() && file.is_none() {
            return Err(SessionError::NoEndpoint);
        }
        connect.iter().chain(listen).try_for_each(|endpoint| check_endpoint(endpoint))
    }
}

/// Why a session cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Nothing says where.
    #[error("no endpoint was given\n\nhint: an endpoint looks like tcp/10.0.0.7:7447")]
    NoEndpoint,
    /// An endpoint that is none.
    #[error("endpoint {found:?}: expected PROTOCOL/ADDRESS:PORT, as \"tcp/10.0.0.7:7447\"")]
    Endpoint {
        /// What was given.
        found: String,
    },
    /// A protocol that is left out on purpose.
    #[error(
        "endpoint {found:?}: TLS over TCP is not built in, because zenoh 1.10's link of that kind can crash the process (zenoh issue 2557)\n\n\
         hint: `quic/HOST:PORT` is TLS 1.3 with the same certificates and settings, over UDP; see docs/zenoh-security.md"
    )]
    Tls {
        /// What was given.
        found: String,
    },
    /// A part of a key that cannot be one.
    #[error("{part} {found:?}: expected a name without wild cards, as \"lab1\"")]
    Name {
        /// Which part.
        part: &'static str,
        /// What was given.
        found: String,
    },
    /// The session file cannot be used.
    #[error("zenoh session file {}: {reason}\n\nhint: `configs/zenoh/` has files to begin from", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// zenoh refuses a setting.
    #[error("zenoh refuses {key} = {value}: {reason}")]
    Setting {
        /// Its key.
        key: &'static str,
        /// What it was to be.
        value: String,
        /// What zenoh says.
        reason: String,
    },
    /// Nothing answers at the endpoints.
    #[error(
        "no zenoh at {endpoints}: {reason}\n\nhint: is what listens there (a robot, a learner, a router) running, and is the port open?"
    )]
    Unreachable {
        /// Where.
        endpoints: String,
        /// What zenoh says.
        reason: String,
    },
    /// An endpoint cannot be listened at.
    #[error(
        "cannot listen at {endpoint}: {reason}\n\nhint: {}", if is_quic(endpoint) {
            "QUIC needs certificates: name a session file that has them, as configs/zenoh/fleet-tls.json5 does; and is the port taken?"
        } else {
            "is the port taken? Port 0 lets the system choose"
        }
    )]
    Listen {
        /// Where.
        endpoint: String,
        /// What zenoh says.
        reason: String,
    },
}

impl SessionError {
    /// Whether the user's own words are at fault, and not the network.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        match self {
            Self::NoEndpoint
            | Self::Endpoint { .. }
            | Self::Tls { .. }
            | Self::Name { .. }
            | Self::File { .. } => true,
            Self::Setting { .. } | Self::Unreachable { .. } | Self::Listen { .. } => false,
        }
    }
}

/// How to open a session.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Where.
    pub at: Endpoints,
    /// How it takes part; as a peer where it listens and as a client where it only connects, if nothing is said.
    pub mode: Option<LinkMode>,
    /// First part of every key.
    pub namespace: Option<String>,
    /// What it is for.
    pub purpose: Purpose,
    /// How long to try to connect.
    pub connect_timeout: Duration,
}

impl SessionConfig {
    /// With nothing but what its purpose asks for.
    #[must_use]
    pub fn new(at: Endpoints, purpose: Purpose) -> Self {
        Self { at, mode: None, namespace: None, purpose, connect_timeout: purpose.connect_timeout() }
    }

    /// To a robot, as its contract says.
    #[must_use]
    pub fn to_robot(link: &LinkContract, purpose: Purpose) -> Self {
        let LinkContract { endpoints, mode, session, namespace, .. } = link;
        let at = Endpoints { listen: Vec::new(), connect: endpoints.clone(), file: session.clone() };
        Self { mode: Some(*mode), namespace: namespace.clone(), ..Self::new(at, purpose) }
    }

    /// A robot's side that listens at one endpoint.
    #[must_use]
    pub fn listening(endpoint: impl Into<String>, namespace: Option<String>) -> Self {
        Self { namespace, ..Self::new(Endpoints::listening(endpoint), Purpose::Control) }
    }

    /// Everything that zenoh is told, in its own words.
    fn zenoh(&self, listen: &[String]) -> Result<Config, SessionError> {
        let Self { at: Endpoints { listen: _, connect, file }, mode, namespace, purpose, connect_timeout } =
            self;
        let mut config = match file {
            None => Config::default(),
            Some(path) => Config::from_file(path)
                .map_err(|e| SessionError::File { path: path.clone(), reason: e.to_string() })?,
        };
        let mut set = |key: &'static str, value: serde_json::Value| {
            let value = value.to_string();
            config.insert_json5(key, &value).map_err(|e| SessionError::Setting {
                key,
                reason: e.to_string(),
                value: value.clone(),
            })
        };
        let stated = !listen.is_empty() || !connect.is_empty();
        let usual = if listen.is_empty() { LinkMode::Client } else { LinkMode::Peer };
        if let Some(mode) = mode.or((stated || file.is_none()).then_some(usual)) {
            let mode = match mode {
                LinkMode::Client => "client",
                LinkMode::Peer => "peer",
            };
            set("mode", mode.into())?;
        }
        if stated {
            set("listen/endpoints", listen.to_vec().into())?;
        }
        if !connect.is_empty() {
            set("connect/endpoints", connect.clone().into())?;
        }
        let millis = u64::try_from(connect_timeout.as_millis()).unwrap_or(u64::MAX);
        let (first, most) = RETRY_MS;
        let retry = serde_json::json!({
            "period_init_ms": first, "period_max_ms": most, "period_increase_factor": 2,
        });
        for (key, value) in [
            ("connect/timeout_ms", millis.into()),
            ("connect/exit_on_failure", true.into()),
            ("connect/retry", retry),
            ("scouting/multicast/enabled", false.into()),
            ("scouting/gossip/enabled", false.into()),
            ("transport/link/tx/lease", purpose.lease_ms().into()),
            ("transport/link/tx/keep_alive", 4.into()),
        ]
        .into_iter()
        .chain(purpose.settings())
        {
            set(key, value)?;
        }
        if let Some(namespace) = namespace {
            set("namespace", namespace.clone().into())?;
        }
        Ok(config)
    }

    /// Refuses what no session could be opened with, as far as that can be known without a network.
    ///
    /// # Errors
    /// When nothing says where, an endpoint or the namespace is malformed, or the file or a setting cannot be used.
    pub fn check(&self) -> Result<(), SessionError> {
        self.at.check()?;
        if let Some(namespace) = &self.namespace {
            check_name("namespace", namespace)?;
        }
        let config = self.zenoh(&self.at.listen)?;
        // A session file may say where, too.
        for key in ["listen/endpoints", "connect/endpoints"] {
            if let Some(found) = config.get_json(key).ok().and_then(|text| over_tls(&text)) {
                return Err(SessionError::Tls { found });
            }
        }
        Ok(())
    }

    /// Opens the session. Gives it and where others meet it: what it listens at, with ports, or else what it connects to.
    ///
    /// # Errors
    /// When the file or a setting cannot be used, nothing answers at the endpoints, or one cannot be listened at.
    pub fn open(&self) -> Result<(Session, Vec<String>), SessionError> {
        let Endpoints { listen, connect, .. } = &self.at;
        self.check()?;
        let chosen = listen.iter().any(|endpoint| port_is_open(endpoint));
        let mut last = None;
        for _ in 0..if chosen { PORTS } else { 1 } {
            let listen = listen.iter().map(|e| with_port(e)).collect::<Result<Vec<_>, _>>()?;
            match zenoh::open(self.zenoh(&listen)?).wait() {
                Ok(session) => {
                    let met_at = if listen.is_empty() { connect.clone() } else { listen };
                    return Ok((session, met_at));
                }
                // Another program may have taken the port meanwhile.
                Err(e) => last = Some(e.to_string()),
            }
        }
        let reason = last.unwrap_or_default();
        Err(if connect.is_empty() && !listen.is_empty() {
            SessionError::Listen { endpoint: listen.join(", "), reason }
        } else {
            let stated = self.at.file.as_ref().map_or(String::new(), |file| file.display().to_string());
            let endpoints = if connect.is_empty() { stated } else { connect.join(", ") };
            SessionError::Unreachable { endpoints, reason }
        })
    }
}

/// `tcp/HOST:PORT`, and what else zenoh knows.
fn check_endpoint(endpoint: &str) -> Result<(), SessionError> {
    let parsed: Result<zenoh::config::EndPoint, _> = endpoint.parse();
    let address = endpoint.split_once('/').map(|(_, address)| address);
    if endpoint.starts_with("tls/") {
        return Err(SessionError::Tls { found: endpoint.to_owned() });
    }
    if parsed.is_ok() && address.is_some_and(|a| a.contains(':')) {
        return Ok(());
    }
    Err(SessionError::Endpoint { found: endpoint.to_owned() })
}

/// The first endpoint in a setting of zenoh (a list, or one list for each mode) that is TLS over TCP.
fn over_tls(setting: &str) -> Option<String> {
    fn find(value: &serde_json::Value) -> Option<&str> {
        match value {
            serde_json::Value::String(text) => text.starts_with("tls/").then_some(text),
            serde_json::Value::Array(values) => values.iter().find_map(find),
            serde_json::Value::Object(values) => values.values().find_map(find),
            _ => None,
        }
    }
    find(&serde_json::from_str(setting).ok()?).map(str::to_owned)
}

/// A part of a key: no wild cards, nothing empty.
pub(crate) fn check_name(part: &'static str, name: &str) -> Result<(), SessionError> {
    let plain = !name.contains(['*', '$', '?', '#', '@']) && zenoh::key_expr::KeyExpr::try_from(name).is_ok();
    if plain {
        return Ok(());
    }
    Err(SessionError::Name { part, found: name.to_owned() })
}

fn is_quic(endpoints: &str) -> bool {
    endpoints.contains("quic/")
}

fn port_is_open(endpoint: &str) -> bool {
    endpoint.ends_with(":0")
}

/// The endpoint with a port that is free at this moment, where the system is to choose.
fn with_port(endpoint: &str) -> Result<String, SessionError> {
    let (Some((protocol, address)), true) = (endpoint.split_once('/'), port_is_open(endpoint)) else {
        return Ok(endpoint.to_owned());
    };
    let refused =
        |e: std::io::Error| SessionError::Listen { endpoint: endpoint.to_owned(), reason: e.to_string() };
    let addresses: Vec<_> = address.to_socket_addrs().map_err(refused)?.collect();
    let bound = match protocol {
        "quic" | "udp" => UdpSocket::bind(addresses.as_slice()).and_then(|socket| socket.local_addr()),
        _ => TcpListener::bind(addresses.as_slice()).and_then(|socket| socket.local_addr()),
    };
    let bound = bound.map_err(refused)?;
    let host = address.strip_suffix(":0").unwrap_or(address);
    Ok(format!("{protocol}/{host}:{}", bound.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_and_names_that_cannot_be_used_are_named() {
        for endpoint in ["10.0.0.7:7447", "tcp/", "tcp/somewhere", "", "tcp/*"] {
            for at in [Endpoints::connecting(endpoint), Endpoints::listening(endpoint)] {
                let error = SessionConfig::new(at, Purpose::Bulk).open().err().unwrap();
                assert_eq!(error, SessionError::Endpoint { found: endpoint.into() });
            }
        }
        for namespace in ["", "a/*", "a//b", "/a", "@x"] {
            let config = SessionConfig::listening("tcp/127.0.0.1:0", Some(namespace.to_owned()));
            let error = config.open().err().unwrap();
            assert_eq!(error, SessionError::Name { part: "namespace", found: namespace.into() });
        }
        for at in [Endpoints::connecting("tls/127.0.0.1:1"), Endpoints::listening("tls/127.0.0.1:0")] {
            let error = SessionConfig::new(at, Purpose::Control).open().err().unwrap();
            assert!(matches!(error, SessionError::Tls { .. }), "{error}");
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("fleet.json5");
        std::fs::write(
            &file,
            "{ mode: \"client\", connect: { endpoints: { client: [\"tls/127.0.0.1:1\"] } } }",
        )
        .unwrap();
        let at = Endpoints { file: Some(file), ..Endpoints::default() };
        let error = SessionConfig::new(at, Purpose::Bulk).open().err();
        assert_eq!(error, Some(SessionError::Tls { found: "tls/127.0.0.1:1".into() }));
        let bare = SessionConfig::new(Endpoints::listening("quic/127.0.0.1:0"), Purpose::Control);
        let error = bare.open().err().unwrap().to_string();
        assert!(error.contains("QUIC needs certificates"), "{error}");
        let none = SessionConfig::new(Endpoints::default(), Purpose::lockstep(100));
        assert_eq!(none.open().err(), Some(SessionError::NoEndpoint));
    }

    #[test]
    fn what_zenoh_is_told_scouts_nothing_and_dies_quickly() {
        for (purpose, lease) in [
            (Purpose::Control, "1000"),
            (Purpose::Bulk, "2000"),
            (Purpose::lockstep(100), "10000"),
            (Purpose::lockstep(100_000), "10000"),
        ] {
            let config = SessionConfig {
                namespace: Some("lab1".to_owned()),
                ..SessionConfig::new(Endpoints::listening("tcp/127.0.0.1:0"), purpose)
            };
            let told = config.zenoh(&config.at.listen).unwrap();
            for (key, expected) in [
                ("scouting/multicast/enabled", "false"),
                ("scouting/gossip/enabled", "false"),
                ("adminspace/enabled", "false"),
                ("transport/link/tx/lease", lease),
                ("namespace", "\"lab1\""),
                ("mode", "\"peer\""),
            ] {
                assert_eq!(told.get_json(key).unwrap(), expected, "{purpose:?}: {key}");
            }
            let key = "transport/link/tx/queue/congestion_control/drop/wait_before_drop";
            let expected = if purpose == Purpose::Control { "100" } else { "1000" };
            assert_eq!(told.get_json(key).unwrap(), expected, "{purpose:?}");
            let whole = purpose == Purpose::Lockstep { low_latency: true };
            assert_eq!(
                told.get_json("transport/unicast/lowlatency").unwrap(),
                whole.to_string(),
                "{purpose:?}"
            );
        }
    }

    #[test]
    fn what_is_stated_goes_over_the_file_and_without_it_the_file_stands() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("lab.json5");
        let text = "{ mode: \"peer\", listen: { endpoints: [\"tcp/127.0.0.1:1\"] }, scouting: { multicast: { enabled: true } } }";
        std::fs::write(&file, text).unwrap();
        let told = |at: Endpoints, mode: Option<LinkMode>| {
            let at = Endpoints { file: Some(file.clone()), ..at };
            let config = SessionConfig { mode, ..SessionConfig::new(at, Purpose::Bulk) };
            let told = config.zenoh(&config.at.listen).unwrap();
            let [mode, listen, connect, scouting] =
                ["mode", "listen/endpoints", "connect/endpoints", "scouting/multicast/enabled"]
                    .map(|key| told.get_json(key).unwrap());
            assert_eq!(scouting, "false");
            (mode, listen, connect)
        };
        let three = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(told(Endpoints::default(), None), three("\"peer\"", "[\"tcp/127.0.0.1:1\"]", "[]"));
        assert_eq!(told(Endpoints::default(), Some(LinkMode::Client)).0, "\"client\"");
        let router = "tcp/127.0.0.1:2";
        let expected = three("\"client\"", "[]", "[\"tcp/127.0.0.1:2\"]");
        assert_eq!(told(Endpoints::connecting(router), None), expected);
        assert_eq!(told(Endpoints::connecting(router), Some(LinkMode::Peer)).0, "\"peer\"");
    }

    #[test]
    fn a_session_file_that_is_none_is_named_and_nobody_at_an_endpoint_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lab.json5");
        std::fs::write(&path, "{ mode: \"clint\" }").unwrap();
        let mut config = SessionConfig::listening("tcp/127.0.0.1:0", None);
        config.at.file = Some(path);
        let message = config.open().err().unwrap().to_string();
        assert!(message.contains("lab.json5"), "{message}");
        // Bound and not listening: refused at once.
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = SessionConfig::listening(format!("tcp/{}", taken.local_addr().unwrap()), None);
        assert!(matches!(config.open(), Err(SessionError::Listen { .. })));
        let config = SessionConfig::new(Endpoints::connecting("tcp/127.0.0.1:1"), Purpose::Control);
        let message = config.open().err().unwrap().to_string();
        assert!(message.contains("tcp/127.0.0.1:1") && message.contains("hint"), "{message}");
    }
}
