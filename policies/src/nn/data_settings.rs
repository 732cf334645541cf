//! How data comes in: the keys that every learner with critics has.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{LearnError, Returns};

use super::require;
use super::size::refuse_batch;

/// Rewards of how many steps the critics' targets sum up before they bootstrap. More carry a reward back faster, and are those of the policy
/// that recorded them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReturnSteps {
    /// One.
    #[default]
    OneStep,
    /// At most this many (2 to 1000).
    NStep(usize),
    /// All to the end of the episode; one that was cut off bootstraps there.
    MonteCarlo,
}

/// Most steps of a target.
const MAX_STEPS: usize = 1_000;

/// How data comes in: the keys that every such learner has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DataSettings {
    /// Discount per step.
    pub discount: f64,
    /// Steps of the critics' targets.
    pub returns: ReturnSteps,
    /// Rows in an offline batch.
    pub offline_batch: usize,
    /// Rows in an online batch.
    pub online_batch: usize,
    /// Actions of the data are clipped to `1 - demo_action_margin` in size.
    pub demo_action_margin: f64,
    /// Whether observations are standardised by the demonstrations.
    pub normalize_observations: bool,
    /// Added to each observation's deviation when standardising.
    pub observation_std_floor: f64,
}

impl DataSettings {
    /// Refuses what cannot be learned with.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn check(&self, learner: &'static str) -> Result<(), LearnError> {
        let Self {
            discount,
            returns,
            offline_batch,
            online_batch,
            demo_action_margin,
            normalize_observations: _,
            observation_std_floor,
        } = *self;
        let check = |ok, key, reason: &str| require(learner, ok, key, reason);
        check((0.0..1.0).contains(&discount), "discount", "must be in [0, 1)")?;
        if let ReturnSteps::NStep(n) = returns {
            check((2..=MAX_STEPS).contains(&n), "returns.n_step", "must be 2 to 1000")?;
        }
        for (key, rows) in [("offline_batch", offline_batch), ("online_batch", online_batch)] {
            if let Some(reason) = refuse_batch(rows) {
                check(false, key, &reason)?;
            }
        }
        check((0.0..1.0).contains(&demo_action_margin), "demo_action_margin", "must be in [0, 1)")?;
        check(observation_std_floor > 0.0, "observation_std_floor", "must be positive")
    }

    /// What the reward of one step is multiplied with, at most, in the sum of a target; `None` where there is no sum.
    #[must_use]
    pub fn most_steps(&self) -> Option<f32> {
        let horizon = 1.0 / (1.0 - self.discount);
        match self.returns {
            ReturnSteps::OneStep => None,
            ReturnSteps::NStep(n) => Some((horizon * (1.0 - self.discount.powf(n as f64))) as f32),
            ReturnSteps::MonteCarlo => Some(horizon as f32),
        }
    }

    /// How a batch's rewards are to be summed up.
    #[must_use]
    pub const fn returns(&self) -> Returns {
        let discount = self.discount as f32;
        match self.returns {
            ReturnSteps::OneStep => Returns::OneStep,
            ReturnSteps::NStep(n) => Returns::NStep { n, discount },
            ReturnSteps::MonteCarlo => Returns::MonteCarlo { discount },
        }
    }
}
