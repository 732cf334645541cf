//! The zenoh session of a fleet: bulk traffic only, apart from any robot's control link.

use std::net::{TcpListener, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use zenoh::qos::Priority;
use zenoh::{Config, Session, Wait};

/// A link without a sign of life for so long is dead, ms.
const LEASE_MS: u32 = 2_000;
/// How long one attempt to connect may take, ms.
const CONNECT_MS: u32 = 1_500;
/// Between two attempts to connect, ms: at first, and at most.
const RETRY_MS: (u32, u32) = (100, 1_000);
/// Ports that are tried where the system is to choose one.
const PORTS: usize = 8;

/// Where actors and learner find each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetEndpoints {
    /// Endpoints to listen at, `tcp/0.0.0.0:7447`; port 0 lets the system choose.
    pub listen: Vec<String>,
    /// Endpoints to connect to: a learner that listens, or a router.
    pub connect: Vec<String>,
    /// A zenoh session file (JSON5) to begin from: certificates, access control.
    pub file: Option<PathBuf>,
}

/// Why a session cannot be opened, or a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Nothing there, or not usable.
    #[error(
        "cannot open a zenoh session ({what}): {reason}\n\nhint: endpoints look like tcp/192.168.0.7:7447"
    )]
    Open {
        /// Endpoints or file.
        what: String,
        /// What zenoh says.
        reason: String,
    },
    /// zenoh refused.
    #[error("zenoh: {action}: {reason}")]
    Zenoh {
        /// What was being done.
        action: &'static str,
        /// What it says.
        reason: String,
    },
    /// Nobody answered in time.
    #[error("no answer to {what} within {secs} s")]
    Silent {
        /// What was asked.
        what: &'static str,
        /// How long was waited.
        secs: u64,
    },
    /// The other side answered with an error.
    #[error("{what}: the other side says: {reason}")]
    Error {
        /// What was asked.
        what: &'static str,
        /// What it says.
        reason: String,
    },
}

pub(crate) fn zenoh_error(action: &'static str) -> impl FnOnce(zenoh::Error) -> SessionError {
    move |e| SessionError::Zenoh { action, reason: e.to_string() }
}

impl FleetEndpoints {
    /// Opens a session: a peer where it listens, a client where it only connects. Gives the endpoints that it listens at.
    pub(crate) fn open(&self) -> Result<(Session, Vec<String>), SessionError> {
        let what = || self.listen.iter().chain(&self.connect).cloned().collect::<Vec<_>>().join(", ");
        let failed = |reason: String| SessionError::Open { what: what(), reason };
        if self.listen.is_empty() && self.connect.is_empty() && self.file.is_none() {
            return Err(failed("no endpoint was given".into()));
        }
        let any_port = self.listen.iter().any(|endpoint| endpoint.ends_with(":0"));
        let mut reason = String::new();
        for _ in 0..if any_port { PORTS } else { 1 } {
            let listen =
                self.listen.iter().map(|endpoint| with_port(endpoint)).collect::<Result<Vec<_>, _>>();
            let listen = listen.map_err(&failed)?;
            let config = self.config(&listen).map_err(&failed)?;
            match zenoh::open(config).wait() {
                Ok(session) => return Ok((session, listen)),
                // Another program may have taken the port meanwhile.
                Err(e) => reason = e.to_string(),
            }
        }
        Err(failed(reason))
    }

    fn config(&self, listen: &[String]) -> Result<Config, String> {
        let mut config = match &self.file {
            Some(path) => Config::from_file(path).map_err(|e| format!("{}: {e}", path.display()))?,
            None => Config::default(),
        };
        let mut set = |key: &str, value: serde_json::Value| {
            config.insert_json5(key, &value.to_string()).map_err(|e| format!("{key}: {e}"))
        };
        if self.file.is_none() || !listen.is_empty() || !self.connect.is_empty() {
            set("mode", if listen.is_empty() { "client" } else { "peer" }.into())?;
            set("listen/endpoints", listen.to_vec().into())?;
        }
        if !self.connect.is_empty() {
            set("connect/endpoints", self.connect.clone().into())?;
        }
        set("connect/timeout_ms", CONNECT_MS.into())?;
        set("connect/exit_on_failure", true.into())?;
        set(
            "connect/retry",
            serde_json::json!({ "period_init_ms": RETRY_MS.0, "period_max_ms": RETRY_MS.1 }),
        )?;
        set("scouting/multicast/enabled", false.into())?;
        set("scouting/gossip/enabled", false.into())?;
        set("transport/link/tx/lease", LEASE_MS.into())?;
        Ok(config)
    }
}

/// The endpoint with a port that is free at this moment, where the system is to choose one.
fn with_port(endpoint: &str) -> Result<String, String> {
    let (Some((protocol, address)), true) = (endpoint.split_once('/'), endpoint.ends_with(":0")) else {
        return Ok(endpoint.to_owned());
    };
    let free = || -> std::io::Result<u16> {
        let addresses: Vec<_> = address.to_socket_addrs()?.collect();
        Ok(TcpListener::bind(addresses.as_slice())?.local_addr()?.port())
    };
    let port = free().map_err(|e| format!("{endpoint}: {e}"))?;
    Ok(format!("{protocol}/{}:{port}", address.trim_end_matches(":0")))
}

/// Asks for one answer.
pub(crate) fn ask(
    session: &Session,
    what: &'static str,
    key: &str,
    payload: Vec<u8>,
    priority: Priority,
    at_most: Duration,
) -> Result<Vec<u8>, SessionError> {
    let replies = session
        .get(key)
        .payload(payload)
        .priority(priority)
        .timeout(at_most)
        .wait()
        .map_err(zenoh_error("asking"))?;
    let mut error = None;
    while let Ok(reply) = replies.recv() {
        match reply.result() {
            Ok(sample) => return Ok(sample.payload().to_bytes().into_owned()),
            Err(e) => error = Some(String::from_utf8_lossy(&e.payload().to_bytes()).into_owned()),
        }
    }
    Err(match error {
        Some(reason) => SessionError::Error { what, reason },
        None => SessionError::Silent { what, secs: at_most.as_secs() },
    })
}
