//! Which rows a phase draws: its settings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::Learner;

use crate::EngineError;

/// Which rows a phase draws.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SamplingConfig {
    /// Each with the same probability, times the weight of its dataset.
    #[default]
    Uniform,
    /// Those more often whose value the learner was off by more (Schaul and others 2016, arXiv 1511.05952), in the demonstrations and in what
    /// happens online. Needs a learner with TD errors.
    Prioritized(PrioritizedConfig),
    /// Demonstrations of better episodes more often: each row in proportion to `exp(g / temperature)`, `g` the sum of its episode's rewards,
    /// scaled to 0 for the worst and 1 for the best episode (Hong and others 2023, arXiv 2306.13085). Rows from online phases are drawn
    /// evenly, and steps that a person drove as those of the best episode.
    WeightedByReturn(ReturnWeightConfig),
    /// Demonstrations of the best episodes alone, by the sum of their rewards; behaviour cloning on them is 10 % BC and its like (Chen and
    /// others 2021, arXiv 2106.01345). Rows from online phases and steps that a person drove are drawn evenly with them.
    BestEpisodes(BestEpisodesConfig),
}

/// Drawing by priority.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PrioritizedConfig {
    /// A row's probability goes by its error to this power: 0 is uniform, 1 in proportion.
    pub alpha: f64,
    /// How far importance weights undo that in the losses: 0 not at all, 1 in full.
    pub beta: f64,
}

impl Default for PrioritizedConfig {
    fn default() -> Self {
        Self { alpha: 0.6, beta: 0.4 }
    }
}

/// Drawing by what episodes brought.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReturnWeightConfig {
    /// Smaller prefers the best episodes more: the best one's rows are drawn `exp(1 / temperature)` times as often as the worst one's.
    pub temperature: f64,
}

impl Default for ReturnWeightConfig {
    fn default() -> Self {
        Self { temperature: 0.5 }
    }
}

/// Drawing from the best episodes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BestEpisodesConfig {
    /// Part of the episodes that is kept, above 0 and at most 1; one at least is.
    pub fraction: f64,
}

impl Default for BestEpisodesConfig {
    fn default() -> Self {
        Self { fraction: 0.1 }
    }
}

impl BestEpisodesConfig {
    /// Which of the episodes with these sums of rewards are kept; of equal ones the earlier.
    pub(crate) fn kept(self, sums: &[f64]) -> Vec<bool> {
        let mut order: Vec<usize> = (0..sums.len()).collect();
        order.sort_by(|a, b| sums[*b].total_cmp(&sums[*a]));
        let mut kept = vec![false; sums.len()];
        let count = ((self.fraction * sums.len() as f64) as usize).max(1);
        order.iter().take(count).for_each(|i| kept[*i] = true);
        kept
    }
}

/// Weights are not further apart than this: `exp(1 / LEAST_TEMPERATURE)` is finite and leaves the others their digits.
const LEAST_TEMPERATURE: f64 = 0.02;

impl SamplingConfig {
    /// Refuses values that cannot be drawn with; `key` is the path of this value in the configuration.
    ///
    /// # Errors
    /// [`EngineError::Config`] with the first such key.
    pub fn check(&self, key: &str) -> Result<(), EngineError> {
        let part = |name: &str, value: f64| {
            if (0.0..=1.0).contains(&value) {
                Ok(())
            } else {
                Err(EngineError::setting(format!("{key}.{name}"), "0 to 1", &value))
            }
        };
        match self {
            Self::Uniform => Ok(()),
            Self::Prioritized(PrioritizedConfig { alpha, beta }) => {
                part("prioritized.alpha", *alpha)?;
                part("prioritized.beta", *beta)
            }
            Self::BestEpisodes(BestEpisodesConfig { fraction }) => {
                if *fraction > 0.0 && *fraction <= 1.0 {
                    return Ok(());
                }
                let expected = "above 0 and at most 1";
                Err(EngineError::setting(format!("{key}.best_episodes.fraction"), expected, fraction))
            }
            Self::WeightedByReturn(ReturnWeightConfig { temperature }) => {
                if temperature.is_finite() && *temperature >= LEAST_TEMPERATURE {
                    return Ok(());
                }
                let expected = format!("a number of at least {LEAST_TEMPERATURE}");
                Err(EngineError::setting(
                    format!("{key}.weighted_by_return.temperature"),
                    &expected,
                    temperature,
                ))
            }
        }
    }

    /// Refuses a learner that cannot be trained in this way.
    ///
    /// # Errors
    /// [`EngineError::Config`].
    pub fn fits(&self, key: &str, learner: &dyn Learner) -> Result<(), EngineError> {
        if matches!(self, Self::Prioritized(_)) && learner.td_errors().is_none() {
            let expected = "uniform, weighted_by_return or best_episodes for a learner without TD errors";
            let found = format!("prioritized for {}", learner.name());
            return Err(EngineError::setting(format!("{key}.sampling"), expected, &found));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_values_are_refused_by_key() {
        let refused = |s: SamplingConfig| s.check("phase[0].offline.sampling").unwrap_err().to_string();
        let alpha = SamplingConfig::Prioritized(PrioritizedConfig { alpha: 1.5, beta: 0.4 });
        assert_eq!(refused(alpha), "phase[0].offline.sampling.prioritized.alpha: expected 0 to 1, found 1.5");
        let beta = SamplingConfig::Prioritized(PrioritizedConfig { alpha: 0.5, beta: f64::NAN });
        assert!(refused(beta).contains("prioritized.beta"));
        for fraction in [0.0, 1.5, f64::NAN] {
            let none = SamplingConfig::BestEpisodes(BestEpisodesConfig { fraction });
            assert!(refused(none).contains("best_episodes.fraction: expected above 0 and at most 1"));
        }
        let cold = SamplingConfig::WeightedByReturn(ReturnWeightConfig { temperature: 0.0 });
        assert!(refused(cold).contains("weighted_by_return.temperature: expected a number of at least 0.02"));
    }
}
