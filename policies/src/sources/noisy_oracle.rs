//! `noisy_oracle`: nobody learns. Somebody who knows the task acts, and a share of the actions is random instead; the share falls in a straight
//! line, episode by episode, from 1 to `last_random_share`, so that it looks as if somebody learned.
//!
//! Zisman et al., "Emergence of In-Context Reinforcement Learning from Noise Distillation" (arXiv 2312.12275).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Outcome, SourceAlgorithm, Stream};

use super::{SourceContext, SourceError, within};

const NAME: &str = "noisy_oracle";

/// Settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NoisyOracleConfig {
    /// Share of random actions in the last episode: 0 ends with the best there is, 1 never gets better than random.
    pub last_random_share: f64,
}

impl NoisyOracleConfig {
    /// Builds the source.
    ///
    /// # Errors
    /// When a setting is out of range, nobody knows the tasks, or an action is a quantity without bounds.
    pub fn build(&self, context: &SourceContext) -> Result<Box<dyn SourceAlgorithm>, SourceError> {
        let Self { last_random_share } = *self;
        within(NAME, "last_random_share", last_random_share, [0.0, 1.0])?;
        let intervals = context.episodes.saturating_sub(1).max(1) as f64;
        oracle(context, NAME, [1.0, last_random_share], intervals)
    }

    /// The same with this share in every episode, for `source_name`.
    pub(super) fn build_even(
        &self,
        context: &SourceContext,
        source_name: &'static str,
    ) -> Result<Box<dyn SourceAlgorithm>, SourceError> {
        let Self { last_random_share } = *self;
        oracle(context, source_name, [last_random_share; 2], 1.0)
    }
}

fn oracle(
    context: &SourceContext,
    source_name: &'static str,
    random_shares: [f64; 2],
    intervals: f64,
) -> Result<Box<dyn SourceAlgorithm>, SourceError> {
    let spec = context.spec();
    let oracle = context.family.oracle(&context.params).ok_or_else(|| SourceError::Family {
        source_name,
        family: spec.name.clone(),
        needs: "somebody who knows the task",
        found: "nobody".into(),
    })?;
    let choices = spec.action.iter().map(|f| f.choices.map(|n| n as usize)).collect();
    let stream = Stream::new(0, NAME, 0);
    Ok(Box::new(NoisyOracle { random_shares, intervals, oracle, choices, stream, episode: 0 }))
}

struct NoisyOracle {
    /// In the first episode and in the last.
    random_shares: [f64; 2],
    /// Episodes less one.
    intervals: f64,
    oracle: Box<dyn SourceAlgorithm>,
    /// Of each number of an action; none where it is a quantity in `[-1, 1]`.
    choices: Vec<Option<usize>>,
    stream: Stream,
    episode: u32,
}

impl NoisyOracle {
    fn random_share(&self) -> f64 {
        let lived = (f64::from(self.episode) / self.intervals).min(1.0);
        let [first, last] = self.random_shares;
        first - (first - last) * lived
    }
}

impl SourceAlgorithm for NoisyOracle {
    fn reset(&mut self, seed: u64) {
        self.oracle.reset(seed);
        (self.stream, self.episode) = (Stream::new(seed, NAME, 0), 0);
    }

    fn act(&mut self, observation: &[f32], action: &mut [f32]) {
        // It follows the episode whether it is heard or not.
        self.oracle.act(observation, action);
        if self.stream.unit() < self.random_share() {
            for (number, choices) in action.iter_mut().zip(&self.choices) {
                *number = match choices {
                    Some(n) => self.stream.below(*n) as f32,
                    None => self.stream.uniform(-1.0, 1.0) as f32,
                };
            }
        }
    }

    fn observe(&mut self, next_observation: &[f32], outcome: &Outcome) {
        self.oracle.observe(next_observation, outcome);
        self.episode += u32::from(outcome.end.is_last());
    }

    /// The share of random actions changes once an episode.
    fn updates(&self) -> u32 {
        self.episode
    }
}
