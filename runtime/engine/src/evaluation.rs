//! Judging a policy on fixed evaluation seeds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{ActMode, Episode, Policy, Stream, VecEnv};
use surefoot_safety::SafetyCounts;

use crate::rollout::{EpisodeSeeds, Watch, rollout};
use crate::{EngineError, RolloutProgress};

/// How policies are judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EvalConfig {
    /// Episodes. Below 50 the interval is too wide to tell policies apart.
    pub episodes: usize,
    /// The evaluation seeds: the same for every stage, learner and run seed, and never used in training.
    pub seed: u64,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self { episodes: 100, seed: 10_007 }
    }
}

impl EvalConfig {
    /// The seeds of the evaluation episodes, in order.
    #[must_use]
    pub fn seeds(&self) -> Vec<EpisodeSeeds> {
        let Self { episodes, seed } = self;
        (0..*episodes as u64)
            .map(|i| {
                let mut stream = Stream::new(*seed, "evaluation", i);
                EpisodeSeeds { reset: stream.bits(), noise: stream.bits() }
            })
            .collect()
    }
}

/// What an evaluation found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// Episodes run.
    pub episodes: usize,
    /// Episodes solved.
    pub successes: usize,
    /// `successes / episodes`.
    pub success_rate: f64,
    /// Lower end of the Wilson 95 % interval.
    pub wilson_low: f64,
    /// Upper end.
    pub wilson_high: f64,
    /// Mean of the episodes' returns.
    pub return_mean: f64,
    /// Sample standard deviation of the returns; 0 for one episode.
    pub return_std: f64,
    /// Mean episode length, env steps.
    pub length_mean: f64,
    /// What the safety chain did.
    pub safety: SafetyCounts,
}

impl Evaluation {
    /// Summarises finished episodes.
    #[must_use]
    pub fn of(episodes: &[Episode]) -> Self {
        let n = episodes.len();
        let count = n.max(1) as f64;
        let successes = episodes.iter().filter(|e| e.success == Some(true)).count();
        let (wilson_low, wilson_high) = wilson_interval(successes, n);
        let return_mean = episodes.iter().map(Episode::episode_return).sum::<f64>() / count;
        let squares: f64 = episodes.iter().map(|e| (e.episode_return() - return_mean).powi(2)).sum();
        let mut safety = SafetyCounts::default();
        for e in episodes {
            safety.add(&e.safety);
        }
        Self {
            episodes: n,
            successes,
            success_rate: successes as f64 / count,
            wilson_low,
            wilson_high,
            return_mean,
            return_std: (squares / (count - 1.0).max(1.0)).sqrt(),
            length_mean: episodes.iter().map(|e| e.len() as f64).sum::<f64>() / count,
            safety,
        }
    }
}

/// Runs the fixed evaluation episodes without exploration.
///
/// # Errors
/// As [`rollout`].
pub fn evaluate(
    envs: &mut VecEnv,
    policy: &mut dyn Policy,
    config: &EvalConfig,
    watch: &mut Watch<'_>,
) -> Result<Evaluation, EngineError> {
    let episodes = rollout(envs, policy, ActMode::Exploit, &config.seeds(), "evaluation", watch)?;
    Ok(Evaluation::of(&episodes))
}

/// The Wilson score interval of a proportion at 95 %. `(0, 1)` when nothing was tried.
#[must_use]
pub fn wilson_interval(successes: usize, trials: usize) -> (f64, f64) {
    const Z: f64 = 1.959_963_984_540_054;
    if trials == 0 {
        return (0.0, 1.0);
    }
    let n = trials as f64;
    let p = successes as f64 / n;
    let z2 = Z * Z;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    // Rounding must not put the ends outside the proportion itself.
    ((centre - half).max(0.0).min(p), (centre + half).min(1.0).max(p))
}

/// A progress callback that does nothing.
pub fn quiet(_: RolloutProgress) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_matches_known_values() {
        // Newcombe 1998, table I, method 3 (Wilson score without continuity correction).
        for (successes, trials, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let (l, h) = wilson_interval(successes, trials);
            assert!((l - low).abs() < 6e-5 && (h - high).abs() < 6e-5, "{successes}/{trials}: {l} {h}");
        }
        assert_eq!(wilson_interval(0, 0), (0.0, 1.0));
        assert_eq!(wilson_interval(7, 7).1, 1.0);
    }

    #[test]
    fn evaluation_seeds_do_not_move_when_more_are_asked_for() {
        let few = EvalConfig { episodes: 3, seed: 1 }.seeds();
        let many = EvalConfig { episodes: 9, seed: 1 }.seeds();
        assert_eq!(few[..], many[..3]);
        assert_ne!(few[0].reset, EvalConfig { episodes: 1, seed: 2 }.seeds()[0].reset);
    }
}
