//! Parts of learners: seeded parameters, networks, an optimiser that can be saved, and the forward pass that acts.

pub mod actor;
pub mod actor_critic;
pub mod adam;
pub mod behaviour_clone;
pub mod behaviour_vae;
pub mod candidate_policy;
pub mod compute;
pub mod conservative;
pub mod critic;
pub mod data_settings;
pub mod dense;
pub mod gaussian;
pub mod gaussian_net;
pub mod gaussian_policy;
pub mod generalized_advantage;
pub mod init;
pub mod input_pass;
pub mod inputs;
pub mod kernels;
pub mod max_entropy;
pub mod mlp;
pub mod mmd;
pub mod natural_gradient;
pub mod off_policy;
pub mod params;
pub mod policy_network;
pub mod size;
pub mod squashed;
pub mod state;
pub mod threads;
pub mod trainable;
pub mod value_baseline;
pub mod value_bounds;
pub mod weighted_likelihood;
pub mod weights;

use candle_core::Tensor;
use surefoot_core::LearnError;

/// Says in which context the tensor library failed.
pub(crate) trait Context<T> {
    fn context(self, context: &'static str) -> Result<T, LearnError>;
}

impl<T> Context<T> for candle_core::Result<T> {
    fn context(self, context: &'static str) -> Result<T, LearnError> {
        self.map_err(|e| LearnError::Tensor { context, reason: e.to_string() })
    }
}

/// The number in a tensor of one.
pub(crate) fn scalar(tensor: &Tensor) -> candle_core::Result<f64> {
    Ok(f64::from(tensor.to_scalar::<f32>()?))
}

/// Refuses a setting of a learner.
pub(crate) fn require(
    learner: &'static str,
    ok: bool,
    key: &'static str,
    reason: &str,
) -> Result<(), LearnError> {
    if ok { Ok(()) } else { Err(LearnError::Config { learner, key, reason: reason.to_owned() }) }
}

/// Positive and finite.
pub(crate) const fn positive(x: f64) -> bool {
    x > 0.0 && x.is_finite()
}

pub(crate) fn mean(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = numbers.len().max(1) as f64;
    numbers.sum::<f64>() / n
}

/// The mean of a row, in `f64`.
pub(crate) fn mean_of(rows: &[f32]) -> f64 {
    mean(rows.iter().map(|x| f64::from(*x)))
}
