//! `ucb`: UCB1. Every arm once, then the arm with the largest `mean + exploration sqrt(ln t / pulls)`.
//!
//! Auer, Cesa-Bianchi and Fischer, "Finite-time Analysis of the Multiarmed Bandit Problem" (2002); their `exploration` is the root of 2.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Outcome, SourceAlgorithm, Stream};

use super::table::{argmax, arms};
use super::{SourceContext, SourceError, within};

const NAME: &str = "ucb";

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UcbConfig {
    /// Weight of what is not known of an arm.
    pub exploration: f64,
}

impl Default for UcbConfig {
    fn default() -> Self {
        Self { exploration: std::f64::consts::SQRT_2 }
    }
}

impl UcbConfig {
    /// Builds the learner.
    ///
    /// # Errors
    /// When a setting is out of range, or the task is no bandit.
    pub fn build(&self, context: &SourceContext) -> Result<Box<dyn SourceAlgorithm>, SourceError> {
        let Self { exploration } = *self;
        within(NAME, "exploration", exploration, [0.0, 1e6])?;
        let arms = vec![[0.0; 2]; arms(NAME, context)?];
        Ok(Box::new(Ucb { exploration, arms, stream: Stream::new(0, NAME, 0), at: 0, pulls: 0 }))
    }
}

struct Ucb {
    exploration: f64,
    /// Pulls and reward of each arm.
    arms: Vec<[f64; 2]>,
    stream: Stream,
    at: usize,
    pulls: u32,
}

impl SourceAlgorithm for Ucb {
    fn reset(&mut self, seed: u64) {
        self.arms.fill([0.0; 2]);
        (self.stream, self.pulls) = (Stream::new(seed, NAME, 0), 0);
    }

    fn act(&mut self, _observation: &[f32], action: &mut [f32]) {
        let log = f64::from(self.pulls.max(1)).ln();
        let bound = |[pulls, reward]: &[f64; 2]| {
            if *pulls == 0.0 {
                f64::INFINITY
            } else {
                reward / pulls + self.exploration * (log / pulls).sqrt()
            }
        };
        self.at = argmax(self.arms.iter().map(bound), &mut self.stream);
        action[0] = self.at as f32;
    }

    fn observe(&mut self, _next_observation: &[f32], outcome: &Outcome) {
        let [pulls, reward] = &mut self.arms[self.at];
        *pulls += 1.0;
        *reward += f64::from(outcome.reward);
        self.pulls += 1;
    }

    fn updates(&self) -> u32 {
        self.pulls
    }
}
