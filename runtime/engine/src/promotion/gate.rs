//! The questions that can be answered without moving the robot.

use safetensors::{Dtype, SafeTensors};
use serde::Serialize;
use surefoot_core::{ActMode, Policy, PolicyArtifact, PolicyError, ResetScope, Rows, RowsMut};

/// Makes a policy for so many slots from its files.
pub type LoadPolicy = fn(&PolicyArtifact, usize) -> Result<Box<dyn Policy>, PolicyError>;

/// Why new weights may not act.
#[derive(Clone, Debug, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// NaN or an infinity.
    #[error("{what} is not finite")]
    NotFinite {
        /// Which tensor, or which action.
        what: String,
    },
    /// The weights cannot be read, or do not fit their card.
    #[error("the weights cannot be used: {found}")]
    Unreadable {
        /// What is wrong.
        found: String,
    },
    /// Another robot or task.
    #[error("another contract: {what}: expected {expected}, found {found}")]
    Contract {
        /// The first item that differs.
        what: String,
        /// Of the policy that acts.
        expected: String,
        /// Of the candidate.
        found: String,
    },
    /// Another network.
    #[error("another architecture: expected {expected}, found {found}")]
    Architecture {
        /// Of the policy that acts.
        expected: String,
        /// Of the candidate.
        found: String,
    },
    /// Actions changed too much at once.
    #[error("mean change of actions {found:.3}, allowed {allowed}")]
    ActionChange {
        /// Mean absolute change, normalised.
        found: f64,
        /// What is allowed.
        allowed: f64,
    },
    /// A canary episode did not go well.
    #[error("canary episode {episode} of {episodes}: {what}")]
    Canary {
        /// Which, from 1.
        episode: usize,
        /// Of how many.
        episodes: usize,
        /// What happened.
        what: String,
    },
    /// Canary episodes succeeded less often than those of the policy that acts did, from the same starts.
    #[error(
        "{successes} of {episodes} canary episodes succeeded, the policy that acts succeeded in {acting}"
    )]
    CanarySuccess {
        /// Of the candidate.
        successes: usize,
        /// So many were driven until it was clear.
        episodes: usize,
        /// Of the policy that acts, in all of them.
        acting: usize,
    },
}

impl Refusal {
    /// Its name in metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NotFinite { .. } => "not_finite",
            Self::Unreadable { .. } => "unreadable",
            Self::Contract { .. } => "contract",
            Self::Architecture { .. } => "architecture",
            Self::ActionChange { .. } => "action_change",
            Self::Canary { .. } => "canary",
            Self::CanarySuccess { .. } => "canary_success",
        }
    }
}

/// Compares candidates with what acts, on fixed observations.
pub struct PromotionGate {
    observations: Vec<f32>,
    observation_dim: usize,
    max_action_change: f64,
    load: LoadPolicy,
}

impl PromotionGate {
    /// `observations` is `[n, observation_dim]`; a `max_action_change` of 0 lets any change pass.
    #[must_use]
    pub const fn new(
        observations: Vec<f32>,
        observation_dim: usize,
        max_action_change: f64,
        load: LoadPolicy,
    ) -> Self {
        Self { observations, observation_dim, max_action_change, load }
    }

    /// The mean absolute change of actions from `acting` to `candidate`, normalised; or why the candidate may not act.
    ///
    /// # Errors
    /// When the policy that acts cannot be used itself.
    pub fn judge(
        &self,
        candidate: &PolicyArtifact,
        acting: &PolicyArtifact,
    ) -> Result<Result<f64, Refusal>, PolicyError> {
        let expected = self.actions(acting)?;
        Ok(self.judge_against(candidate, acting, &expected))
    }

    fn judge_against(
        &self,
        candidate: &PolicyArtifact,
        acting: &PolicyArtifact,
        expected: &[f32],
    ) -> Result<f64, Refusal> {
        if let Some(d) = acting.card.spec.first_difference(&candidate.card.spec) {
            return Err(Refusal::Contract { what: d.what, expected: d.expected, found: d.found });
        }
        let kind = |a: &PolicyArtifact| format!("{} {}", a.card.format, a.card.architecture);
        let (ours, theirs) = (kind(acting), kind(candidate));
        if ours != theirs {
            return Err(Refusal::Architecture { expected: ours, found: theirs });
        }
        check_finite(candidate)?;
        let found = self.actions(candidate).map_err(|e| Refusal::Unreadable { found: e.to_string() })?;
        let dim = candidate.card.spec.action_dim().max(1);
        if let Some(i) = found.iter().position(|a| !a.is_finite()) {
            let what = format!("action {} on reference observation {}", i % dim, i / dim);
            return Err(Refusal::NotFinite { what });
        }
        let changes = expected.iter().zip(&found).map(|(a, b)| f64::from(a - b).abs());
        let change = changes.sum::<f64>() / found.len().max(1) as f64;
        // Written so that NaN is refused.
        let within = self.max_action_change == 0.0 || change <= self.max_action_change;
        if within {
            Ok(change)
        } else {
            Err(Refusal::ActionChange { found: change, allowed: self.max_action_change })
        }
    }

    /// `[n, action_dim]`, without exploration.
    fn actions(&self, artifact: &PolicyArtifact) -> Result<Vec<f32>, PolicyError> {
        let mut policy = (self.load)(artifact, 1)?;
        let dim = artifact.card.spec.action_dim();
        let rows = self.observations.chunks_exact(self.observation_dim.max(1));
        let mut actions = vec![0.0; rows.len() * dim];
        for (row, action) in rows.zip(actions.chunks_exact_mut(dim.max(1))) {
            // Every row stands alone, also for a policy that remembers.
            policy.reset(0, ResetScope::Task, 0);
            policy.act(Rows::new(row, row.len()), ActMode::Exploit, RowsMut::new(action, dim))?;
        }
        Ok(actions)
    }
}

/// Looks for NaN and infinities in the weights themselves: a network may hide them from its actions.
pub(crate) fn check_finite(artifact: &PolicyArtifact) -> Result<(), Refusal> {
    let unreadable = |found: String| Refusal::Unreadable { found };
    let tensors = SafeTensors::deserialize(&artifact.weights).map_err(|e| unreadable(e.to_string()))?;
    let mut names = tensors.names();
    names.sort_unstable();
    for name in names {
        let tensor = tensors.tensor(name).map_err(|e| unreadable(e.to_string()))?;
        if tensor.dtype() != Dtype::F32 {
            return Err(unreadable(format!("{name} is {:?}, expected F32", tensor.dtype())));
        }
        let (numbers, _) = tensor.data().as_chunks::<4>();
        if !numbers.iter().all(|b| f32::from_le_bytes(*b).is_finite()) {
            return Err(Refusal::NotFinite { what: format!("tensor {name}") });
        }
    }
    Ok(())
}
