//! From advantages to regression weights.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::LearnError;

use super::{positive, require};

/// How an advantage `A` becomes a weight `w`. `temperature` divides `A`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeightMode {
    /// `exp(z / temperature)` of the batch's standardised advantages `z`: does not depend on the reward's scale.
    #[default]
    Whiten,
    /// `batch * softmax(A / temperature)` over the batch: mean 1 before the clip.
    Softmax,
    /// `exp(A / temperature)`.
    Exp,
    /// 1 where `A > 0`, else 0.
    Binary,
    /// 1: behaviour cloning, with critics trained beside it.
    None,
}

/// How weights are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weighting {
    /// The formula.
    pub mode: WeightMode,
    /// Divides advantages.
    pub temperature: f64,
    /// Advantages above this are cut to it before the division.
    pub advantage_clip: Option<f64>,
    /// Weights above this are cut to it.
    pub weight_clip: f64,
}

/// Added to the deviation of advantages.
const WHITEN_FLOOR: f64 = 1e-5;

impl Weighting {
    /// Refuses what cannot be a weighting.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn check(&self, learner: &'static str) -> Result<(), LearnError> {
        let Self { mode: _, temperature, advantage_clip, weight_clip } = self;
        require(learner, positive(*temperature), "temperature", "must be positive")?;
        require(learner, positive(*weight_clip), "weight_clip", "must be positive")?;
        require(learner, advantage_clip.is_none_or(f64::is_finite), "advantage_clip", "must be finite")
    }

    /// Weights of a batch, `[batch]`. Computed in `f64`; NaN in gives NaN out.
    #[must_use]
    pub fn weights(&self, advantage: &[f32]) -> Vec<f32> {
        let Self { mode, temperature, advantage_clip, weight_clip } = *self;
        let clipped: Vec<f64> = advantage
            .iter()
            .map(|a| advantage_clip.map_or(f64::from(*a), |c| cap(f64::from(*a), c)))
            .collect();
        let n = clipped.len().max(1) as f64;
        let raw: Vec<f64> = match mode {
            WeightMode::Whiten => {
                let mean = clipped.iter().sum::<f64>() / n;
                let variance = clipped.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / n;
                let scale = temperature * (variance.sqrt() + WHITEN_FLOOR);
                clipped.iter().map(|a| ((a - mean) / scale).exp()).collect()
            }
            WeightMode::Softmax => {
                let top = clipped.iter().fold(f64::NEG_INFINITY, |m, a| m.max(*a));
                let e: Vec<f64> = clipped.iter().map(|a| ((a - top) / temperature).exp()).collect();
                let sum: f64 = e.iter().sum();
                e.iter().map(|e| n * e / sum).collect()
            }
            WeightMode::Exp => clipped.iter().map(|a| (a / temperature).exp()).collect(),
            WeightMode::Binary => clipped.iter().map(|a| if *a > 0.0 { 1.0 } else { *a * 0.0 }).collect(),
            WeightMode::None => vec![1.0; clipped.len()],
        };
        raw.iter().map(|w| cap(*w, weight_clip) as f32).collect()
    }
}

/// The smaller one, but NaN stays NaN: a broken advantage must be seen.
const fn cap(x: f64, most: f64) -> f64 {
    if x > most { most } else { x }
}

/// `(sum w)^2 / sum w^2 / n`: 1 when all weights are equal, `1 / n` when one has it all, 0 when all are zero.
#[must_use]
pub fn effective_sample_size(weights: &[f32]) -> f64 {
    let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
    let square: f64 = weights.iter().map(|w| f64::from(*w).powi(2)).sum();
    if square == 0.0 { 0.0 } else { sum * sum / square / weights.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weighting(mode: WeightMode) -> Weighting {
        Weighting { mode, temperature: 0.5, advantage_clip: None, weight_clip: 1e9 }
    }

    #[test]
    fn softmax_weights_have_mean_one_and_ignore_a_shift() {
        let w = weighting(WeightMode::Softmax).weights(&[1.0, 0.0, -1.0, 2.0]);
        let shifted = weighting(WeightMode::Softmax).weights(&[11.0, 10.0, 9.0, 12.0]);
        assert!((w.iter().sum::<f32>() - 4.0).abs() < 1e-5);
        assert!(w.iter().zip(&shifted).all(|(a, b)| (a - b).abs() < 1e-5));
        assert!((w[0] / w[1] - (2.0_f32).exp()).abs() < 1e-3);
    }

    #[test]
    fn whitened_weights_ignore_the_rewards_scale() {
        let w = weighting(WeightMode::Whiten).weights(&[1.0, 0.0, -1.0, 2.0]);
        let scaled = weighting(WeightMode::Whiten).weights(&[1e3, 0.0, -1e3, 2e3]);
        assert!(w.iter().zip(&scaled).all(|(a, b)| (a / b - 1.0).abs() < 1e-3));
    }

    #[test]
    fn clips_bind() {
        let w = Weighting { advantage_clip: Some(0.5), ..weighting(WeightMode::Exp) }.weights(&[0.5, 9.0]);
        assert_eq!(w[0], w[1]);
        let w = Weighting { weight_clip: 3.0, ..weighting(WeightMode::Exp) }.weights(&[100.0, 1e9, 0.0]);
        assert_eq!(w, [3.0, 3.0, 1.0]);
    }

    #[test]
    fn nan_is_not_hidden() {
        for mode in [WeightMode::Whiten, WeightMode::Softmax, WeightMode::Exp, WeightMode::Binary] {
            assert!(weighting(mode).weights(&[f32::NAN, 1.0]).iter().any(|w| w.is_nan()), "{mode:?}");
        }
    }

    #[test]
    fn effective_sample_size_counts() {
        assert_eq!(effective_sample_size(&[2.0, 2.0, 2.0, 2.0]), 1.0);
        assert_eq!(effective_sample_size(&[0.0, 5.0, 0.0, 0.0]), 0.25);
        assert_eq!(effective_sample_size(&[0.0, 0.0]), 0.0);
    }
}
