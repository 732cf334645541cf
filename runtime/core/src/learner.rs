//! What improves a policy from data: the same object offline and online.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Batch, Beside, DataError, Metrics, Policy, PolicyArtifact, PolicyError, Returns, TransitionSource,
};

/// Named byte files of a learner's state.
pub type Blobs = BTreeMap<String, Vec<u8>>;

/// Which data a phase learns from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseKind {
    /// Demonstrations only.
    Offline,
    /// Demonstrations and what the policy itself does.
    Online,
}

/// What batches a learner wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SamplePlan {
    /// Independent transitions.
    Transitions {
        /// Rows in a batch.
        batch: usize,
        /// Over how many steps each.
        returns: Returns,
        /// What each brings with it.
        beside: Beside,
    },
    /// Steps that follow one another; see [`Batch`] for how they stand in it.
    Sequences {
        /// Sequences in a batch.
        batch: usize,
        /// Steps of each, fewer where its episode ends before.
        length: usize,
    },
    /// Whole episodes of the policy that the update before left behind, each step once, in order, with demonstrations before them: what a
    /// learner on policy wants. See [`Batch::last`].
    FreshEpisodes {
        /// Steps at least; the last round of episodes is finished.
        steps: usize,
    },
}

impl SamplePlan {
    /// Rows that are drawn for a batch; of fresh episodes, those that it waits for.
    #[must_use]
    pub const fn batch(&self) -> usize {
        match self {
            Self::Transitions { batch, .. } | Self::Sequences { batch, .. } => *batch,
            Self::FreshEpisodes { steps } => *steps,
        }
    }
    /// Steps of fresh episodes that an update waits for; `None` where it takes what is there.
    #[must_use]
    pub const fn waits_for(&self) -> Option<usize> {
        match self {
            Self::FreshEpisodes { steps } => Some(*steps),
            Self::Transitions { .. } | Self::Sequences { .. } => None,
        }
    }
    /// Adds what begins at these rows to a batch; the fresh rows themselves are
    /// [`append_newest`](crate::ReplayBuffer::append_newest)'s.
    ///
    /// # Errors
    /// When a row is not there, or cannot be read.
    pub fn append(
        &self,
        source: &dyn TransitionSource,
        rows: &[usize],
        batch: &mut Batch,
    ) -> Result<(), DataError> {
        match self {
            Self::Transitions { batch: _, returns, beside } => {
                crate::transitions::append_transitions(source, rows, *returns, batch)?;
                crate::transitions::append_beside(source, rows, *returns, *beside, batch)
            }
            Self::Sequences { batch: _, length } => {
                crate::transitions::append_sequences(source, rows, *length, batch)
            }
            Self::FreshEpisodes { steps: _ } => {
                crate::transitions::append_transitions(source, rows, Returns::OneStep, batch)
            }
        }
    }
}

/// Why learning cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LearnError {
    /// A value left the realm of finite numbers.
    #[error(
        "{what} became {value} at update {updates}: lower the learning rate, or look at the data with `surefoot data verify`"
    )]
    NotFinite {
        /// Which value.
        what: &'static str,
        /// What it was.
        value: f64,
        /// Updates so far.
        updates: u64,
    },
    /// Saved state does not fit.
    #[error("cannot load learner state: {what}: expected {expected}, found {found}")]
    State {
        /// Which part.
        what: String,
        /// What this learner needs.
        expected: String,
        /// What the state holds.
        found: String,
    },
    /// A configuration cannot be built.
    #[error("learner {learner}: {key} {reason}")]
    Config {
        /// Name of the learner.
        learner: &'static str,
        /// Offending key.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The tensor library failed.
    #[error("tensor operation failed in {context}: {reason}")]
    Tensor {
        /// Where.
        context: &'static str,
        /// What it said.
        reason: String,
    },
    /// The policy could not be built.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The data could not be read.
    #[error(transparent)]
    Data(Box<DataError>),
}

impl From<DataError> for LearnError {
    fn from(source: DataError) -> Self {
        Self::Data(Box::new(source))
    }
}

/// An algorithm with its networks.
pub trait Learner: Send {
    /// Registry name.
    fn name(&self) -> &'static str;
    /// What batches it wants in a phase.
    fn sample_plan(&self, phase: PhaseKind) -> SamplePlan;
    /// Whether rewards are learned from; an imitator takes data without them.
    fn needs_rewards(&self) -> bool {
        true
    }
    /// Called once, before the first phase of a new run: fits what is fitted to data (normaliser, value bounds), in one pass over it.
    ///
    /// # Errors
    /// When the data is unusable or cannot be read.
    fn fit(
        &mut self,
        demonstrations: &dyn TransitionSource,
        data_hashes: &[String],
    ) -> Result<(), LearnError>;
    /// Called when a phase begins (not when it resumes).
    ///
    /// # Errors
    /// When an optimiser cannot be reset.
    fn enter_phase(&mut self, phase: PhaseKind) -> Result<(), LearnError>;
    /// One update.
    ///
    /// # Errors
    /// When a loss is not finite or the tensor library fails.
    fn update(&mut self, batch: &Batch) -> Result<Metrics, LearnError>;
    /// By how much the value of each row (or sequence) of the last update's batch was off, `[n]`: what prioritised sampling goes by. `None`
    /// of a learner that has no such errors; no rows before the first update.
    fn td_errors(&self) -> Option<&[f32]> {
        None
    }
    /// Names of the metrics that [`evaluate`](Self::evaluate) gives: what early stopping can go by.
    fn heldout_metrics(&self) -> &'static [&'static str];
    /// Judges held-out data without changing anything: `heldout/log_likelihood` (nats per step), `heldout/td_error`,
    /// `heldout/effective_sample_size` where they apply.
    ///
    /// # Errors
    /// When the tensor library fails.
    fn evaluate(&self, batch: &Batch) -> Result<Metrics, LearnError>;
    /// Updates so far.
    fn updates(&self) -> u64;
    /// The present policy for `slots` robots, ready for a control thread.
    ///
    /// # Errors
    /// When weights cannot be exported.
    fn policy(&self, slots: usize) -> Result<Box<dyn Policy>, LearnError>;
    /// The present policy as files.
    ///
    /// # Errors
    /// When weights cannot be exported.
    fn artifact(&self) -> Result<PolicyArtifact, LearnError>;
    /// Everything that the next update depends on: weights, targets, moments, normaliser, counters.
    ///
    /// # Errors
    /// When weights cannot be exported.
    fn save(&self) -> Result<Blobs, LearnError>;
    /// Takes over a saved state, bit for bit.
    ///
    /// # Errors
    /// When the state is of another architecture or damaged; the learner is then unchanged.
    fn load(&mut self, blobs: &Blobs) -> Result<(), LearnError>;
}
