//! Questions to the other end of the link, and their one answer.

use std::time::Duration;

use zenoh::qos::Priority;
use zenoh::{Session, Wait};

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
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

pub(crate) fn zenoh_error(action: &'static str) -> impl FnOnce(zenoh::Error) -> AskError {
    move |e| AskError::Zenoh { action, reason: e.to_string() }
}

/// Asks for one answer.
pub(crate) fn ask(
    session: &Session,
    what: &'static str,
    key: &str,
    payload: Vec<u8>,
    priority: Priority,
    at_most: Duration,
) -> Result<Vec<u8>, AskError> {
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
        Some(reason) => AskError::Error { what, reason },
        None => AskError::Silent { what, secs: at_most.as_secs() },
    })
}
