//! `exp3`: exponential weights. An arm is pulled with the chance `(1 - mixing) weight / sum + mixing / K`; afterwards its weight is multiplied
//! by `exp(mixing reward / (K chance))`. Rewards are between 0 and 1.
//!
//! Auer, Cesa-Bianchi, Freund and Schapire, "The Nonstochastic Multiarmed Bandit Problem" (2002).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Outcome, SourceAlgorithm, Stream};

use super::table::arms;
use super::{SourceContext, SourceError, within};

const NAME: &str = "exp3";

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Exp3Config {
    /// Share of random pulls, and rate of learning.
    pub mixing: f64,
}

impl Default for Exp3Config {
    fn default() -> Self {
        Self { mixing: 0.3 }
    }
}

impl Exp3Config {
    /// Builds the learner.
    ///
    /// # Errors
    /// When a setting is out of range, or the task is no bandit.
    pub fn build(&self, context: &SourceContext) -> Result<Box<dyn SourceAlgorithm>, SourceError> {
        let Self { mixing } = *self;
        within(NAME, "mixing", mixing, [f64::MIN_POSITIVE, 1.0])?;
        let logs = vec![0.0; arms(NAME, context)?];
        Ok(Box::new(Exp3 { mixing, logs, stream: Stream::new(0, NAME, 0), at: (0, 1.0), pulls: 0 }))
    }
}

struct Exp3 {
    mixing: f64,
    /// Logarithms of the weights.
    logs: Vec<f64>,
    stream: Stream,
    /// The arm of the last pull, and the chance that it had.
    at: (usize, f64),
    pulls: u32,
}

impl SourceAlgorithm for Exp3 {
    fn reset(&mut self, seed: u64) {
        self.logs.fill(0.0);
        (self.stream, self.pulls) = (Stream::new(seed, NAME, 0), 0);
    }

    fn act(&mut self, _observation: &[f32], action: &mut [f32]) {
        let most = self.logs.iter().copied().fold(f64::MIN, f64::max);
        let weights = self.logs.iter().map(|log| (log - most).exp());
        let (sum, count) = (weights.clone().sum::<f64>(), self.logs.len() as f64);
        let draw = self.stream.unit();
        let mut below = 0.0;
        for (arm, weight) in weights.enumerate() {
            let chance = (1.0 - self.mixing) * weight / sum + self.mixing / count;
            below += chance;
            self.at = (arm, chance);
            if draw < below {
                break;
            }
        }
        action[0] = self.at.0 as f32;
    }

    fn observe(&mut self, _next_observation: &[f32], outcome: &Outcome) {
        let (arm, chance) = self.at;
        self.logs[arm] += self.mixing * f64::from(outcome.reward) / (chance * self.logs.len() as f64);
        self.pulls += 1;
    }

    fn updates(&self) -> u32 {
        self.pulls
    }
}
