//! What makes an in-context policy of learning histories.

use crate::{Blobs, LearnError, Metrics, Policy, PolicyArtifact};

/// A learner whose data are the lives of other learners. It owns its histories: they are read once and never grow.
pub trait HistoryLearner: Send + Sync {
    /// One update.
    ///
    /// # Errors
    /// [`LearnError::NotFinite`] when a number left the realm of finite ones; the state is then the one before the update.
    fn update(&mut self) -> Result<Metrics, LearnError>;
    /// Updates so far.
    fn updates(&self) -> u64;
    /// Updates in all.
    fn planned_updates(&self) -> u64;
    /// Tokens of the last update.
    fn tokens(&self) -> u64;
    /// The policy as it is now, for `slots` robots.
    ///
    /// # Errors
    /// When it cannot be built.
    fn policy(&self, slots: usize) -> Result<Box<dyn Policy>, LearnError>;
    /// The policy as it is now, to be deployed.
    ///
    /// # Errors
    /// When it cannot be written down.
    fn artifact(&self) -> Result<PolicyArtifact, LearnError>;
    /// Everything that [`load`](Self::load) needs to go on to the same bits.
    ///
    /// # Errors
    /// When it cannot be written down.
    fn save(&self) -> Result<Blobs, LearnError>;
    /// Goes on from saved state; nothing has changed when it cannot.
    ///
    /// # Errors
    /// [`LearnError::State`] when it is missing, damaged, or of other histories or settings.
    fn load(&mut self, blobs: &Blobs) -> Result<(), LearnError>;
}
