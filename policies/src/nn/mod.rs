//! Parts of learners: seeded parameters, networks, an optimiser that can be saved, and the forward pass that acts.

pub mod actor;
pub mod adam;
pub mod critic;
pub mod dense;
pub mod gaussian;
pub mod gaussian_policy;
pub mod init;
pub mod inputs;
pub mod kernels;
pub mod mlp;
pub mod params;
pub mod size;
pub mod state;
pub mod threads;
pub mod value_bounds;
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
