//! Environments in another process, in lockstep: the worlds wait for the action, simulated time stands still meanwhile.
//!
//! A [`LockstepServer`] has worlds, a [`LockstepBatch`] steps them as a [`surefoot_core::EnvBatch`]: one message and one reply for all of
//! a process's active worlds. Every episode stays a function of its seed and actions: there is no automatic reset, a reply to an
//! older request is never taken, and what was begun with a server that died is lost as a whole ([`surefoot_core::EnvError::Lost`]).
//!
//! Keys, below a namespace (default `surefoot`) and the environment's id:
//!
//! | key | what |
//! |---|---|
//! | `{ns}/env/{id}/spec` | queryable: [`ServedSpec`] as JSON |
//! | `{ns}/env/{id}/request` | requests, see [`codec`] |
//! | `{ns}/env/{id}/reply/{client}` | their replies |
//! | `{ns}/env/{id}/@server/{server}`, `{ns}/env/{id}/@client/{client}` | liveliness tokens: who is gone |
//!
//! Requests and replies are published and not queried: a round trip takes a little more than half the time. The link is one of zenoh's
//! low latency where every message fits it (`bridges/src/session.rs`). The server in Python is
//! `bridges/python`; `docs/gymnasium.md` is the user's side.

mod batch;
pub mod codec;
mod error;
mod link;
mod served_spec;
mod server;
mod spawn;

pub use batch::{LockstepBatch, RewardSource};
pub use error::LockstepError;
pub use link::LinkConfig;
pub use served_spec::{PROTOCOL, ServedSpec};
pub use server::{LockstepServer, ServeConfig};
pub use spawn::SpawnConfig;

/// The namespace that both sides use unless told otherwise.
pub const NAMESPACE: &str = "surefoot";

/// The keys of one environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keys(String);

impl Keys {
    /// Checks both parts.
    pub(crate) fn new(namespace: &str, id: &str) -> Result<Self, LockstepError> {
        for (what, part) in [("namespace", namespace), ("id", id)] {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if part.is_empty() || !part.chars().all(plain) {
                return Err(LockstepError::Name { what, found: part.to_owned() });
            }
        }
        Ok(Self(format!("{namespace}/env/{id}")))
    }
    pub(crate) fn spec(&self) -> String {
        format!("{}/spec", self.0)
    }
    pub(crate) fn request(&self) -> String {
        format!("{}/request", self.0)
    }
    pub(crate) fn reply(&self, client: &str) -> String {
        format!("{}/reply/{client}", self.0)
    }
    pub(crate) fn server(&self, server: &str) -> String {
        format!("{}/@server/{server}", self.0)
    }
    pub(crate) fn client(&self, client: &str) -> String {
        format!("{}/@client/{client}", self.0)
    }
}
