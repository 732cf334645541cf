//! Why a link to worlds in another process cannot be used.

use std::time::Duration;

use surefoot_core::{EnvError, SpecDifference};

use super::codec::{CodecError, Refusal};
use crate::session::SessionError;

/// Why a link to worlds in another process cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockstepError {
    /// A name that cannot be part of a key.
    #[error("{what} = {found:?}: expected letters, digits, '-', '_' and '.'")]
    Name {
        /// Which name.
        what: &'static str,
        /// The name.
        found: String,
    },
    /// The session cannot be opened.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// zenoh refused.
    #[error("zenoh cannot {action}: {reason}")]
    Zenoh {
        /// What was being done.
        action: &'static str,
        /// What zenoh says.
        reason: String,
    },
    /// Nobody answers.
    #[error(
        "no environment {id:?} answers at {at} within {secs:.0} s\n\nhint: start it with `surefoot serve-env NAME --listen ENDPOINT` or `python -m surefoot_gym serve ENV_ID --listen ENDPOINT`"
    )]
    NobodyThere {
        /// The environment asked for.
        id: String,
        /// Where.
        at: String,
        /// How long was waited, s.
        secs: f64,
    },
    /// Several servers answer.
    #[error("{count} servers answer for {id:?}, expected one\n\nhint: give each its own --id")]
    Several {
        /// The environment asked for.
        id: String,
        /// Servers.
        count: usize,
    },
    /// The other side's description of itself is unusable.
    #[error("spec of the environment: {what}: expected {expected}, found {found}")]
    Spec {
        /// Which part.
        what: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A server that came back with another environment than it had before.
    #[error("the environment that came back is another one: {0}")]
    Changed(SpecDifference),
    /// A message that is none.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The server refused.
    #[error("{sentence}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// In its words.
        sentence: String,
    },
    /// The server has gone.
    #[error("its server has gone")]
    ServerGone,
    /// The server is silent.
    #[error("no reply within {:.0} s", after.as_secs_f64())]
    Silent {
        /// How long was waited.
        after: Duration,
    },
    /// The server's process could not be started.
    #[error("cannot start `{command}`: {reason}\n\nhint: {hint}")]
    Spawn {
        /// The command line.
        command: String,
        /// What went wrong.
        reason: String,
        /// What may help.
        hint: &'static str,
    },
}

impl LockstepError {
    pub(crate) fn zenoh(action: &'static str) -> impl Fn(zenoh::Error) -> Self {
        move |e| Self::Zenoh { action, reason: e.to_string() }
    }

    /// Whether the server is not there any more, or does not know this client any more.
    pub(crate) const fn is_loss(&self) -> bool {
        matches!(
            self,
            Self::ServerGone
                | Self::Silent { .. }
                | Self::Zenoh { .. }
                | Self::Refused { refusal: Refusal::OtherServer | Refusal::UnknownClient, .. }
        )
    }

    /// As an error of the environment `env`: during an episode.
    pub(crate) fn into_env(self, env: &str) -> EnvError {
        let (env, lost, reason) = (env.to_owned(), self.is_loss(), self.to_string());
        if lost { EnvError::Lost { env, reason } } else { EnvError::Refused { env, reason } }
    }
}
