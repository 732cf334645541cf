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
    /// They count as training episodes, but no updates are made for them.
    pub canary_episodes: usize,
    /// Speed of canary episodes as part of the velocity limits, above 0 and at most 1. Below 1 the safety chain is at work by
    /// design, so the limits on its share do not apply to them. Robots commanded by effort always go at full speed.
    pub canary_speed_scale: f64,
    /// When the last good policy acts again.
    pub rollback: RollbackConfig,
}

impl Default for PromotionConfig {
    fn default() -> Self {
        Self {
            max_action_change: 0.5,
            reference_rows: 256,
            canary_episodes: 0,
            canary_speed_scale: 0.5,
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
        let Self { max_action_change, reference_rows, canary_episodes, canary_speed_scale, rollback } = self;
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
        rollback.check(&format!("{key}.rollback"))
    }
}

/// Observations that candidates are compared on, at most.
const MAX_REFERENCE_ROWS: usize = 1 << 16;
