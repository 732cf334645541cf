//! `thompson`: Thompson sampling. Each arm's chance is drawn from what is believed of it, a beta distribution that begins even; the arm with
//! the largest is pulled. A reward between 0 and 1 counts as that part of a success.
//!
//! Thompson, "On the Likelihood that One Unknown Probability Exceeds Another" (1933); Chapelle and Li (2011).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Outcome, SourceAlgorithm, Stream};

use super::table::{argmax, arms};
use super::{SourceContext, SourceError};

const NAME: &str = "thompson";

/// Settings: there are none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ThompsonConfig {}

impl ThompsonConfig {
    /// Builds the learner.
    ///
    /// # Errors
    /// When the task is no bandit.
    pub fn build(&self, context: &SourceContext) -> Result<Box<dyn SourceAlgorithm>, SourceError> {
        let Self {} = self;
        let arms = vec![[1.0; 2]; arms(NAME, context)?];
        Ok(Box::new(Thompson { arms, stream: Stream::new(0, NAME, 0), at: 0, pulls: 0 }))
    }
}

struct Thompson {
    /// One more than the successes and the failures of each arm.
    arms: Vec<[f64; 2]>,
    stream: Stream,
    at: usize,
    pulls: u32,
}

impl SourceAlgorithm for Thompson {
    fn reset(&mut self, seed: u64) {
        self.arms.fill([1.0; 2]);
        (self.stream, self.pulls) = (Stream::new(seed, NAME, 0), 0);
    }

    fn act(&mut self, _observation: &[f32], action: &mut [f32]) {
        let chances: Vec<f64> = self.arms.iter().map(|[won, lost]| self.stream.beta(*won, *lost)).collect();
        self.at = argmax(chances.into_iter(), &mut self.stream);
        action[0] = self.at as f32;
    }

    fn observe(&mut self, _next_observation: &[f32], outcome: &Outcome) {
        let part = f64::from(outcome.reward).clamp(0.0, 1.0);
        let [won, lost] = &mut self.arms[self.at];
        *won += part;
        *lost += 1.0 - part;
        self.pulls += 1;
    }

    fn updates(&self) -> u32 {
        self.pulls
    }
}
