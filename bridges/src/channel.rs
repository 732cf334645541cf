//! A key, and how what goes over it is treated.

use std::fmt;

use zenoh::qos::{CongestionControl, Priority};
use zenoh::{Session, Wait};

use crate::error::LinkError;

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
