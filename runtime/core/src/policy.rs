//! What acts.

use std::any::Any;

use serde::{Deserialize, Serialize};

use crate::{EnvSpec, Normalizer, Outcome, Rows, RowsMut, SpecDifference};

/// Whether to act for data or for the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActMode {
    /// With the policy's own noise.
    Explore,
    /// Without.
    Exploit,
}

/// What a reset ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetScope {
    /// A new task: an in-context policy forgets.
    Task,
    /// A new episode of the same task: an in-context policy remembers.
    Episode,
}

/// What followed a slot's last action.
#[derive(Clone, Copy, Debug)]
pub struct Feedback<'a> {
    /// Which slot.
    pub slot: usize,
    /// What its step brought.
    pub outcome: Outcome,
    /// What was executed, `[action_dim]`: the safety chain, a late answer or a person may have made something else of the action. `None`
    /// where it was the action itself.
    pub executed: Option<&'a [f32]>,
}

/// Why a policy cannot act.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Rows of the wrong shape.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// What has the wrong shape.
        what: &'static str,
        /// By the policy.
        expected: usize,
        /// Given.
        found: usize,
    },
    /// A setting that cannot be used.
    #[error("{key} {reason}")]
    Setting {
        /// Its key.
        key: &'static str,
        /// What it must be, and what it was.
        reason: String,
    },
    /// The artefact speaks of another robot or task.
    #[error("this policy was trained for something else: {0}")]
    Contract(SpecDifference),
    /// The artefact cannot be read.
    #[error("cannot read policy artefact: {what}: {reason}")]
    Artifact {
        /// Which part.
        what: &'static str,
        /// What was wrong with it.
        reason: String,
    },
}

/// Acts for `slots` robots at once; each row depends on its slot alone. It is [`Any`], so that who gave one away and gets it back knows
/// it again.
pub trait Policy: Any + Send {
    /// How many robots it drives.
    fn slots(&self) -> usize;
    /// Starts a slot anew. `seed` is the slot's noise from here on, so that an episode does not depend on which slot runs it.
    fn reset(&mut self, slot: usize, scope: ResetScope, seed: u64);
    /// Actions for the first `observations.len()` slots: `[n, observation_dim]` to `[n, action_dim]`.
    ///
    /// Real-time safe: does not allocate, lock or block.
    ///
    /// # Errors
    /// When the rows have other shapes than the policy.
    fn act(&mut self, observations: Rows<'_>, mode: ActMode, actions: RowsMut<'_>)
    -> Result<(), PolicyError>;
    /// What followed; in-context policies learn from it, others ignore it.
    ///
    /// Real-time safe: does not allocate, lock or block.
    fn observe(&mut self, _feedback: &[Feedback<'_>]) {}
    /// What somebody else did in a slot's place in one step, a demonstration for one: `action` (`[action_dim]`) on seeing `observation`
    /// (`[observation_dim]`), and what followed. In-context policies learn from it, others ignore it.
    ///
    /// Real-time safe: does not allocate, lock or block.
    fn remember(&mut self, _slot: usize, _observation: &[f32], _action: &[f32], _outcome: &Outcome) {}
}

/// What a policy file says of itself: everything needed to act, and to refuse to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyCard {
    /// `surefoot-policy/1`.
    pub format: String,
    /// The learner that made it.
    pub algorithm: String,
    /// What it sees and does.
    pub spec: EnvSpec,
    /// Applied to observations before the network.
    pub normalizer: Normalizer,
    /// Hashes of the data it was trained on.
    pub data_hashes: Vec<String>,
    /// Updates behind it.
    pub updates: u64,
    /// Shape of the network, for its loader.
    pub architecture: serde_json::Value,
}

impl PolicyCard {
    /// The format that this version reads and writes.
    pub const FORMAT: &'static str = "surefoot-policy/1";

    /// Refuses a spec that differs in anything an action depends on.
    ///
    /// # Errors
    /// [`PolicyError::Contract`] with the first difference.
    pub fn check(&self, spec: &EnvSpec) -> Result<(), PolicyError> {
        self.spec.first_difference(spec).map_or(Ok(()), |d| Err(PolicyError::Contract(d)))
    }
}

/// A deployable policy: `policy.json` and `policy.safetensors`.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyArtifact {
    /// `policy.json`.
    pub card: PolicyCard,
    /// `policy.safetensors`.
    pub weights: Vec<u8>,
}
