//! Many actors and one learner: what the learner's side of a link to actors owes whoever learns.
//!
//! Actors send whole episodes and are sent policies. Every episode that an actor was told of as kept stands in an
//! [`EpisodeStore`], in the order of its arrival, before it was told so; learning reads that store from the beginning and by number, so
//! what is learned from is a function of the store alone, whoever sent what when, and however often anybody died.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::{DataError, Episode, PolicyArtifact};

/// Episodes that stay, numbered from 0 in the order in which they came.
pub trait EpisodeStore: Send {
    /// Episodes in it.
    fn count(&self) -> u64;
    /// Adds an episode, which gets the next number. When this returns, the episode survives a killed program and a power cut.
    ///
    /// # Errors
    /// When it could not be kept: nothing of it is left behind, and those before it are as they were.
    fn append(&mut self, episode: &Episode) -> Result<(), DataError>;
    /// Reads the episode of a number, as it was added.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    fn read(&self, index: u64) -> Result<Episode, DataError>;
}

/// A policy for actors, and how they shall act with it.
#[derive(Clone, Debug)]
pub struct PolicyOffer {
    /// Its number: the same weights always have the same one, and newer weights a higher one. A policy that acts again after a
    /// rollback keeps the number that it had.
    pub version: u64,
    /// What acts.
    pub policy: Arc<PolicyArtifact>,
    /// The centre of the trust region.
    pub reference: Arc<PolicyArtifact>,
    /// How to act, for the actor's own program.
    pub terms: serde_json::Value,
    /// What is known of it.
    pub metrics: BTreeMap<String, f64>,
}

/// An actor, as the learner knows it.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct ActorStatus {
    /// Its name.
    pub name: String,
    /// Whether it is there now.
    pub connected: bool,
    /// Episodes of it that were kept since the learner's program began.
    pub episodes: u64,
    /// Steps in them.
    pub env_steps: u64,
    /// Deliveries of episodes that were kept already: answered like the first one, and dropped.
    pub duplicates: u64,
    /// Deliveries that cannot be learned from.
    pub refused: u64,
    /// Version of the policy that drove its newest episode; `None` before the first.
    pub policy_version: Option<u64>,
    /// Time since its newest episode came, s.
    pub idle_secs: Option<f64>,
    /// Episodes on its disk that were not acknowledged yet, as it said last.
    pub spooled: u64,
}

/// Why the link to the actors does not work any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// An episode could not be read.
    #[error(transparent)]
    Store(#[from] DataError),
    /// A policy cannot be offered.
    #[error("the policy of {version} updates cannot be offered to actors: {reason}")]
    Offer {
        /// Its number.
        version: u64,
        /// Why.
        reason: String,
    },
    /// It cannot be begun.
    #[error("cannot listen for actors: {reason}")]
    Begin {
        /// Why.
        reason: String,
    },
    /// No further episode can come.
    #[error("no further episode can come: {reason}")]
    Ended {
        /// Why.
        reason: String,
    },
}

/// The learner's side of a link to actors. Episodes go on coming in while nobody calls it.
pub trait Fleet: Send {
    /// Episodes kept so far, those of earlier programs on this run included.
    fn stored(&self) -> u64;
    /// Waits, at most so long, until more than `count` episodes are kept; whether that is so.
    ///
    /// # Errors
    /// [`FleetError::Ended`] when none can come.
    fn wait_beyond(&mut self, count: u64, at_most: Duration) -> Result<bool, FleetError>;
    /// The episode of a number.
    ///
    /// # Errors
    /// When it cannot be read.
    fn episode(&mut self, index: u64) -> Result<Episode, FleetError>;
    /// How many episodes were learned from, which is what actors are paced by.
    fn taken(&mut self, count: u64);
    /// Offers a policy to all actors.
    ///
    /// # Errors
    /// When it cannot be offered. Actors keep what they have.
    fn offer(&mut self, offer: PolicyOffer) -> Result<(), FleetError>;
    /// The actors that were ever there, by name.
    fn actors(&self) -> Vec<ActorStatus>;
    /// Why episodes cannot be kept at present, a full disk for one. Actors keep them meanwhile.
    fn trouble(&self) -> Option<String> {
        None
    }
    /// Tells actors that nothing more is needed, and waits a moment for what they still hold.
    fn finish(&mut self);
}

/// What actors sent to an earlier run: the same episodes in the same order, and nobody behind them.
pub struct RecordedFleet(Box<dyn EpisodeStore>);

impl RecordedFleet {
    /// From the store of that run.
    #[must_use]
    pub fn new(store: Box<dyn EpisodeStore>) -> Self {
        Self(store)
    }
}

impl Fleet for RecordedFleet {
    fn stored(&self) -> u64 {
        self.0.count()
    }
    fn wait_beyond(&mut self, count: u64, _at_most: Duration) -> Result<bool, FleetError> {
        let stored = self.0.count();
        if stored > count {
            return Ok(true);
        }
        Err(FleetError::Ended {
            reason: format!("the recorded run has {stored} episodes, and all were used"),
        })
    }
    fn episode(&mut self, index: u64) -> Result<Episode, FleetError> {
        Ok(self.0.read(index)?)
    }
    fn taken(&mut self, _count: u64) {}
    fn offer(&mut self, _offer: PolicyOffer) -> Result<(), FleetError> {
        Ok(())
    }
    fn actors(&self) -> Vec<ActorStatus> {
        Vec::new()
    }
    fn finish(&mut self) {}
}
