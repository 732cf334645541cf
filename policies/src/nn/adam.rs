//! Adam whose moments can be saved.

use std::collections::BTreeMap;

use candle_core::Tensor;
use candle_core::backprop::GradStore;
use surefoot_core::LearnError;

use super::Context;
use super::params::{Arrays, Params, check_array};

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Adam (Kingma and Ba) with L2 weight decay added to the gradient, over one set of parameters.
#[derive(Clone, Debug)]
pub struct Adam {
    learning_rate: f64,
    weight_decay: f64,
    steps: u64,
    moments: BTreeMap<String, Moments>,
}

#[derive(Clone, Debug)]
struct Moments {
    dims: Vec<usize>,
    first: Vec<f32>,
    second: Vec<f32>,
}

impl Adam {
    /// Zero moments for `params`.
    #[must_use]
    pub fn new(params: &Params, learning_rate: f64, weight_decay: f64) -> Self {
        let zeros = |(name, var): (&str, &candle_core::Var)| {
            let n = var.elem_count();
            let moments = Moments { dims: var.dims().to_vec(), first: vec![0.0; n], second: vec![0.0; n] };
            (name.to_owned(), moments)
        };
        Self { learning_rate, weight_decay, steps: 0, moments: params.iter().map(zeros).collect() }
    }

    /// Forgets all moments.
    pub fn reset(&mut self) {
        self.steps = 0;
        for m in self.moments.values_mut() {
            m.first.fill(0.0);
            m.second.fill(0.0);
        }
    }

    /// Steps so far.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// One step down the gradients. A parameter without a gradient stands still.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn step(&mut self, params: &Params, gradients: &GradStore) -> Result<(), LearnError> {
        self.steps += 1;
        let t = self.steps.min(i32::MAX as u64) as i32;
        let rate = self.learning_rate * (1.0 - BETA2.powi(t)).sqrt() / (1.0 - BETA1.powi(t));
        let epsilon = EPSILON * (1.0 - BETA2.powi(t)).sqrt();
        for ((_, var), m) in params.iter().zip(self.moments.values_mut()) {
            let Some(gradient) = gradients.get(var) else { continue };
            let gradient: Vec<f32> =
                gradient.flatten_all().and_then(|g| g.to_vec1()).context("optimiser step")?;
            let mut values: Vec<f32> =
                var.flatten_all().and_then(|v| v.to_vec1()).context("optimiser step")?;
            let state = m.first.iter_mut().zip(&mut m.second);
            for ((x, g), (first, second)) in values.iter_mut().zip(gradient).zip(state) {
                let g = g + self.weight_decay as f32 * *x;
                *first = BETA1 as f32 * *first + (1.0 - BETA1) as f32 * g;
                *second = BETA2 as f32 * *second + (1.0 - BETA2) as f32 * g * g;
                *x -= rate as f32 * *first / (second.sqrt() + epsilon as f32);
            }
            let next = Tensor::from_vec(values, var.dims(), var.device()).context("optimiser step")?;
            var.set(&next).context("optimiser step")?;
        }
        Ok(())
    }

    /// Adds the moments under `prefix`.
    pub fn export(&self, prefix: &str, to: &mut Arrays) {
        for (name, m) in &self.moments {
            to.insert(format!("{prefix}{name}/first"), (m.dims.clone(), m.first.clone()));
            to.insert(format!("{prefix}{name}/second"), (m.dims.clone(), m.second.clone()));
        }
    }

    /// Checks that `from` holds all moments, without changing anything.
    ///
    /// # Errors
    /// [`LearnError::State`] naming the first difference.
    pub fn check(&self, prefix: &str, from: &Arrays) -> Result<(), LearnError> {
        for (name, m) in &self.moments {
            check_array(&format!("{prefix}{name}/first"), &m.dims, from)?;
            check_array(&format!("{prefix}{name}/second"), &m.dims, from)?;
        }
        Ok(())
    }

    /// Takes moments and the count of steps back.
    ///
    /// # Errors
    /// When an array is missing or has another shape.
    pub fn import(&mut self, prefix: &str, from: &Arrays, steps: u64) -> Result<(), LearnError> {
        for (name, m) in &mut self.moments {
            m.first.copy_from_slice(check_array(&format!("{prefix}{name}/first"), &m.dims, from)?);
            m.second.copy_from_slice(check_array(&format!("{prefix}{name}/second"), &m.dims, from)?);
        }
        self.steps = steps;
        Ok(())
    }
}
