//! Between the learner and the robot: new weights act only after they were looked at, and stop acting when they do worse.
//!
//! Before a round of episodes the learner's newest policy is a *candidate*. It acts only when its weights are finite, its contract
//! and architecture are those of the policy that acts now, its actions on fixed observations of the demonstrations have not
//! jumped, and, where asked for, some canary episodes without exploration went well. What acts is then compared, episode by episode,
//! with the record of the last policy known to be good; when a sequential test says worse, that one acts again while
//! learning goes on.

mod gate;
mod rollback;

pub(crate) use gate::check_finite;
pub use gate::{LoadPolicy, PromotionGate, Refusal};
pub use rollback::{RollbackConfig, RollbackWatch, Standing};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::EngineError;

/// What new weights must pass before they act, and when they are taken back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PromotionConfig {
    /// Mean absolute change of actions (normalised, without exploration) against the policy that acts, over
    /// `reference_rows` observations of the demonstrations; 0: not looked at.
    pub max_action_change: f64,
    /// Observations of the demonstrations that candidates are compared on.
    pub reference_rows: usize,
    /// Episodes without exploration that a candidate must go through without a limit ending one, a stop or a violation; 0: none.
    /// They count as training episodes, but updates are made for them only where `every_env_steps` is above 0.
    pub canary_episodes: usize,
    /// Speed of canary episodes as part of the velocity limits, above 0 and at most 1. Below 1 the safety chain is at work by
    /// design, so the limits on its share do not apply to them. Robots commanded by effort always go at full speed.
    pub canary_speed_scale: f64,
    /// How often canary episodes must succeed.
    #[serde(skip_serializing_if = "CanarySuccess::is_any")]
    pub canary_success: CanarySuccess,
    /// Who acts in training episodes.
    #[serde(skip_serializing_if = "ExploreWith::is_promoted")]
    pub explore_with: ExploreWith,
    /// Env steps of the phase between two candidates at least; 0: every block of updates ends with one. Where canary episodes cost
    /// much, fewer candidates have more of them. The last policy of the phase is looked at in any case.
    #[serde(skip_serializing_if = "crate::state::is_zero")]
    pub every_env_steps: u64,
    /// When the last good policy acts again.
    pub rollback: RollbackConfig,
}

/// How often canary episodes must succeed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CanarySuccess {
    /// It does not matter.
    #[default]
    Any,
    /// At least as often as those of the policy that acts did, from the same starts. A candidate that can no longer get there is driven no
    /// further.
    NotBelowActing,
}

impl CanarySuccess {
    const fn is_any(&self) -> bool {
        matches!(self, Self::Any)
    }
}

/// Who acts in training episodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExploreWith {
    /// The policy that was let through: the robot never does worse than it can, and what is learned from is that policy's.
    #[default]
    Promoted,
    /// The learner's newest one, inside the same limits, while the one that was let through is evaluated and deployed: a learner sees what its own
    /// policy leads to. Its weights must be finite; its episodes count neither for nor against the policy that was let through.
    Newest,
}

impl ExploreWith {
    const fn is_promoted(&self) -> bool {
        matches!(self, Self::Promoted)
    }
}

impl Default for PromotionConfig {
    fn default() -> Self {
        Self {
            max_action_change: 0.5,
            reference_rows: 256,
            canary_episodes: 0,
            canary_speed_scale: 0.5,
            canary_success: CanarySuccess::Any,
            explore_with: ExploreWith::Promoted,
            every_env_steps: 0,
            rollback: RollbackConfig::default(),
        }
    }
}

impl PromotionConfig {
    /// Refuses values that mean nothing; `key` is the path of this table in the configuration.
    ///
    /// # Errors
    /// [`EngineError::Config`] with the first such key.
    pub fn check(&self, key: &str) -> Result<(), EngineError> {
        let Self {
            max_action_change,
            reference_rows,
            canary_episodes,
            canary_speed_scale,
            canary_success,
            explore_with: _,
            every_env_steps: _,
            rollback,
        } = self;
        if !(max_action_change.is_finite() && *max_action_change >= 0.0) {
            let key = format!("{key}.max_action_change");
            return Err(EngineError::setting(key, "0 (not looked at) or more", max_action_change));
        }
        if !(1..=MAX_REFERENCE_ROWS).contains(reference_rows) {
            let expected = format!("1 to {MAX_REFERENCE_ROWS}");
            return Err(EngineError::setting(format!("{key}.reference_rows"), &expected, reference_rows));
        }
        if *canary_episodes > crate::MAX_EPISODES {
            let expected = format!("at most {}", crate::MAX_EPISODES);
            return Err(EngineError::setting(format!("{key}.canary_episodes"), &expected, canary_episodes));
        }
        if !(*canary_speed_scale > 0.0 && *canary_speed_scale <= 1.0) {
            let key = format!("{key}.canary_speed_scale");
            return Err(EngineError::setting(key, "above 0, at most 1", canary_speed_scale));
        }
        if *canary_success != CanarySuccess::Any && *canary_episodes == 0 {
            let expected = "at least 1 where canary_success asks for successes";
            return Err(EngineError::setting(format!("{key}.canary_episodes"), expected, canary_episodes));
        }
        rollback.check(&format!("{key}.rollback"))
    }
}

/// Observations that candidates are compared on, at most.
const MAX_REFERENCE_ROWS: usize = 1 << 16;
