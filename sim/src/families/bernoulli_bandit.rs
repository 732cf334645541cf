//! `bernoulli_bandit`: arms that pay 1 with chances drawn evenly from 0 to 1.
//!
//! | | |
//! |---|---|
//! | observation | nothing (a choice of one) |
//! | action | an arm (a choice) |
//! | reward | 1 with the arm's chance, otherwise 0 |
//! | truncation | after `trials` pulls |
//! | hidden | the chances: `params`, one for each arm |

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Env, EnvError, Stream, TaskFamily, TaskSplit};

use super::FamilyContext;
use super::bandit::{Bandits, Counts, bandit, spec};
use crate::tasks::{EnvContext, build_error};

const NAME: &str = "bernoulli_bandit";

/// Configuration of one [bandit](self): `[env.bernoulli_bandit]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BernoulliBanditConfig {
    /// Pulls of an episode.
    pub trials: usize,
    /// Each arm's chance to pay.
    pub chances: Vec<f32>,
}

impl Default for BernoulliBanditConfig {
    fn default() -> Self {
        let chances = vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9, 0.3, 0.2, 0.1];
        Self { trials: 100, chances }
    }
}

impl BernoulliBanditConfig {
    /// Builds the environment.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, _context: &EnvContext) -> Result<Box<dyn Env>, EnvError> {
        let Self { trials, chances } = self;
        bandit(&spec(NAME, chances.len(), *trials)?, chances)
    }
}

/// Configuration of the [family](self): `[family.bernoulli_bandit]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BernoulliBanditFamilyConfig {
    /// Arms.
    pub arms: usize,
    /// Pulls of an episode.
    pub trials: usize,
    /// Bandits that are trained on.
    pub train_tasks: usize,
    /// Bandits that are kept for judging.
    pub test_tasks: usize,
    /// Which ones: another seed is another split.
    pub split_seed: u64,
}

impl Default for BernoulliBanditFamilyConfig {
    fn default() -> Self {
        Self { arms: 10, trials: 100, train_tasks: 5000, test_tasks: 200, split_seed: 0 }
    }
}

impl BernoulliBanditFamilyConfig {
    /// Builds the family.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, _context: &FamilyContext) -> Result<Box<dyn TaskFamily>, EnvError> {
        let Self { arms, trials, train_tasks, test_tasks, split_seed } = *self;
        if train_tasks == 0 || test_tasks == 0 {
            return Err(build_error(NAME, "train_tasks and test_tasks must be at least 1"));
        }
        let draw = move |_: TaskSplit, stream: &mut Stream| (0..arms).map(|_| stream.unit() as f32).collect();
        let counts = Counts { train: train_tasks, test_in: test_tasks, test_ood: 0 };
        Ok(Box::new(Bandits { spec: spec(NAME, arms, trials)?, counts, split_seed, draw: Box::new(draw) }))
    }
}
