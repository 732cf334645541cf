//! `tabular_q`: Q-learning on a table, with random actions that become fewer.
//!
//! `Q(s, a) <- Q(s, a) + learning_rate (r + discount max_a' Q(s', a') - Q(s, a))`, after every step; the last term only where the step did not
//! terminate. The share of random actions falls in a straight line, episode by episode, from `first_random_share` to 0, over
//! `random_episodes_share` of the episodes. Watkins and Dayan, "Q-learning" (1992). The defaults are those of the headless variant of
//! algorithm distillation (arXiv 2312.13327) on dark rooms.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Outcome, SourceAlgorithm, Stream};

use super::table::{Codes, argmax, codes};
use super::{SourceContext, SourceError, within};

const NAME: &str = "tabular_q";

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TabularQConfig {
    /// How far a value moves to its new estimate.
    pub learning_rate: f64,
    /// What a reward of the next step is worth now.
    pub discount: f64,
    /// Value of everything before anything is known; above 0 it makes a greedy learner explore.
    pub initial_value: f64,
    /// Share of random actions in the first episode.
    pub first_random_share: f64,
    /// Share of the episodes after which no action is random.
    pub random_episodes_share: f64,
}

impl Default for TabularQConfig {
    fn default() -> Self {
        Self {
            learning_rate: 0.9933,
            discount: 0.6238,
            initial_value: 0.0,
            first_random_share: 1.0,
            random_episodes_share: 0.9,
        }
    }
}

impl TabularQConfig {
    /// Builds the learner.
    ///
    /// # Errors
    /// When a setting is out of range, or the task has something else than choices.
    pub fn build(&self, context: &SourceContext) -> Result<Box<dyn SourceAlgorithm>, SourceError> {
        let Self { learning_rate, discount, initial_value, first_random_share, random_episodes_share } = self;
        within(NAME, "learning_rate", *learning_rate, [f64::MIN_POSITIVE, 1.0])?;
        within(NAME, "discount", *discount, [0.0, 1.0])?;
        within(NAME, "initial_value", *initial_value, [-1e6, 1e6])?;
        within(NAME, "first_random_share", *first_random_share, [0.0, 1.0])?;
        within(NAME, "random_episodes_share", *random_episodes_share, [0.0, 1.0])?;
        let [observations, actions] = codes(NAME, context)?;
        let mut learner = TabularQ {
            config: self.clone(),
            fewer_per_episode: first_random_share
                / (random_episodes_share * context.episodes as f64).max(1.0),
            values: Vec::new(),
            observations,
            actions,
            stream: Stream::new(0, NAME, 0),
            episode: 0,
            at: [0, 0],
            updates: 0,
        };
        learner.reset(0);
        Ok(Box::new(learner))
    }
}

struct TabularQ {
    config: TabularQConfig,
    /// By how much the share of random actions falls.
    fewer_per_episode: f64,
    /// `[observations, actions]`.
    values: Vec<f64>,
    observations: Codes,
    actions: Codes,
    stream: Stream,
    episode: u32,
    /// The observation and the action of the step that is under way.
    at: [usize; 2],
    updates: u32,
}

impl TabularQ {
    fn row(&self, observation: usize) -> &[f64] {
        let n = self.actions.count();
        &self.values[observation * n..(observation + 1) * n]
    }
}

impl SourceAlgorithm for TabularQ {
    fn reset(&mut self, seed: u64) {
        let entries = self.observations.count() * self.actions.count();
        self.values = vec![self.config.initial_value; entries];
        (self.stream, self.episode, self.updates) = (Stream::new(seed, NAME, 0), 0, 0);
    }

    fn act(&mut self, observation: &[f32], action: &mut [f32]) {
        let seen = self.observations.index(observation);
        let random = self.config.first_random_share - self.fewer_per_episode * f64::from(self.episode);
        let n = self.actions.count();
        let chosen = if self.stream.unit() < random {
            self.stream.below(n)
        } else {
            argmax(self.values[seen * n..(seen + 1) * n].iter().copied(), &mut self.stream)
        };
        self.at = [seen, chosen];
        self.actions.write(chosen, action);
    }

    fn observe(&mut self, next_observation: &[f32], outcome: &Outcome) {
        let next =
            self.row(self.observations.index(next_observation)).iter().copied().fold(f64::MIN, f64::max);
        let continuation = f64::from(outcome.end.continuation());
        let target = f64::from(outcome.reward) + self.config.discount * continuation * next;
        let [seen, chosen] = self.at;
        let entry = seen * self.actions.count() + chosen;
        let step = self.config.learning_rate * (target - self.values[entry]);
        self.values[entry] += step;
        self.updates += u32::from(step != 0.0);
        self.episode += u32::from(outcome.end.is_last());
    }

    fn updates(&self) -> u32 {
        self.updates
    }
}
