//! Actors and a learner: robots and simulators on any machine that act, and one program that learns from all of them.
//!
//! | room | subject |
//! |---|---|
//! | [`shipment`] | an episode on the disk and on the wire |
//! | [`wire`] | keys and messages |
//! | [`spool`] | finished episodes on an actor's disk |
//! | [`intake`], [`ledger`] | how an episode is kept exactly once |
//! | [`package`], [`fetched`] | policies as blobs, verified by their hash |
//! | [`learner`], [`actor`] | the two ends of the link |
//! | [`ask`] | a question between them, and its one answer |
//!
//! What holds: an episode that an actor finished is on its disk before anything else is done with it, and goes from there only when
//! the learner has it on its own disk; the learner keeps each exactly once, whatever is sent twice; a policy acts only when all of
//! its bytes hash to what the manifest says. Anyone may die at any moment and come back.

pub mod actor;
pub mod ask;
mod bytes;
pub mod fetched;
pub mod intake;
pub mod learner;
pub mod ledger;
pub mod package;
pub mod shipment;
pub mod spool;
pub mod wire;

pub use actor::{ActorConfig, ActorError, ActorLink, Situation};
pub use ask::AskError;
pub use bytes::DecodeError;
pub use fetched::ActingPolicy;
pub use learner::{LearnerConfig, LearnerError, LearnerLink};
