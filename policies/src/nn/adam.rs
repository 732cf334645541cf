//! Adam whose moments can be saved.

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::{CpuStorage, InplaceOp1, Layout, Var};
use surefoot_core::LearnError;

use super::Context;
use super::kernels::{self, AdamStep};
use super::params::{Arrays, Gradients, Params, check_array};
use super::threads::side_by_side;

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
    first: Vec<f32>,
    second: Vec<f32>,
}

impl Adam {
    /// Zero moments for `params`.
    #[must_use]
    pub fn new(params: &Params, learning_rate: f64, weight_decay: f64) -> Self {
        let zeros = |(name, var): (&str, &Var)| {
            let n = var.elem_count();
            (name.to_owned(), Moments { first: vec![0.0; n], second: vec![0.0; n] })
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
    pub fn step(&mut self, params: &Params, gradients: &Gradients) -> Result<(), LearnError> {
        self.steps += 1;
        let t = self.steps.min(i32::MAX as u64) as i32;
        let second_correction = (1.0 - BETA2.powi(t)).sqrt();
        let step = AdamStep {
            beta1: BETA1 as f32,
            beta2: BETA2 as f32,
            rate: (self.learning_rate * second_correction / (1.0 - BETA1.powi(t))) as f32,
            epsilon: (EPSILON * second_correction) as f32,
            weight_decay: self.weight_decay as f32,
        };
        for ((name, var), moments) in params.iter().zip(self.moments.values_mut()) {
            if let Some(gradient) = gradients.get(name) {
                let op = AdamOp { moments: RefCell::new(moments), gradient, step };
                var.inplace_op1(&op).context("optimiser step")?;
            }
        }
        Ok(())
    }

    /// Adds the moments under `prefix`.
    pub fn export(&self, prefix: &str, to: &mut Arrays) {
        for (name, m) in &self.moments {
            to.insert(format!("{prefix}{name}/first"), (vec![m.first.len()], m.first.clone()));
            to.insert(format!("{prefix}{name}/second"), (vec![m.second.len()], m.second.clone()));
        }
    }

    /// Checks that `from` holds all moments, without changing anything.
    ///
    /// # Errors
    /// [`LearnError::State`] naming the first difference.
    pub fn check(&self, prefix: &str, from: &Arrays) -> Result<(), LearnError> {
        for (name, m) in &self.moments {
            check_array(&format!("{prefix}{name}/first"), &[m.first.len()], from)?;
            check_array(&format!("{prefix}{name}/second"), &[m.second.len()], from)?;
        }
        Ok(())
    }

    /// Takes moments and the count of steps back.
    ///
    /// # Errors
    /// When an array is missing or has another shape.
    pub fn import(&mut self, prefix: &str, from: &Arrays, steps: u64) -> Result<(), LearnError> {
        for (name, m) in &mut self.moments {
            for (part, values) in [("first", &mut m.first), ("second", &mut m.second)] {
                let saved = check_array(&format!("{prefix}{name}/{part}"), &[values.len()], from)?;
                values.copy_from_slice(saved);
            }
        }
        self.steps = steps;
        Ok(())
    }
}

struct AdamOp<'a> {
    // candle lends operations immutably.
    moments: RefCell<&'a mut Moments>,
    gradient: &'a [f32],
    step: AdamStep,
}

impl InplaceOp1 for AdamOp<'_> {
    fn name(&self) -> &'static str {
        "adam"
    }
    fn cpu_fwd(&self, values: &mut CpuStorage, _: &Layout) -> candle_core::Result<()> {
        let mut moments = self.moments.borrow_mut();
        let Moments { first, second } = &mut **moments;
        let CpuStorage::F32(values) = values else { candle_core::bail!("parameters are f32") };
        if self.gradient.len() != values.len() {
            candle_core::bail!("{} parameters, {} derivatives", values.len(), self.gradient.len());
        }
        let middle = values.len() / 2;
        let (values, more_values) = values.split_at_mut(middle);
        let (first, more_first) = first.split_at_mut(middle);
        let (second, more_second) = second.split_at_mut(middle);
        let (gradient, more_gradient) = self.gradient.split_at(middle);
        // Every number has a step of its own, so halves change nothing but the speed.
        let step = self.step;
        side_by_side(
            || kernels::adam(values, gradient, [first, second], step),
            || kernels::adam(more_values, more_gradient, [more_first, more_second], step),
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::params::Part;

    /// `f64`, straight from the paper.
    fn reference(x: &mut f64, g: f64, (m, v): (&mut f64, &mut f64), t: i32, [rate, decay]: [f64; 2]) {
        let g = g + decay * *x;
        *m = BETA1 * *m + (1.0 - BETA1) * g;
        *v = BETA2 * *v + (1.0 - BETA2) * g * g;
        let (m, v) = (*m / (1.0 - BETA1.powi(t)), *v / (1.0 - BETA2.powi(t)));
        *x -= rate * m / (v.sqrt() + EPSILON);
    }

    #[test]
    fn steps_agree_with_the_papers_formula() {
        for decay in [0.0, 0.1] {
            let mut params = Params::default();
            let part = Part { name: "x".into(), dims: vec![3], at: 0, by_columns: false };
            let x = params.add("x", vec![part], &[1.0, -2.0, 0.5]).unwrap();
            let mut adam = Adam::new(&params, 0.01, decay);
            let mut expected = [(1.0, 0.0, 0.0), (-2.0, 0.0, 0.0), (0.5, 0.0, 0.0)];
            for t in 1..=20 {
                let values: Vec<f32> = x.to_vec1().unwrap();
                let gradient = values.iter().zip([0.3, 0.1, -0.2]).map(|(x, target)| 2.0 * (x - target));
                adam.step(&params, &Gradients::from([("x".to_owned(), gradient.collect())])).unwrap();
                for ((x, m, v), target) in expected.iter_mut().zip([0.3, 0.1, -0.2]) {
                    let g = 2.0 * (*x - target);
                    reference(x, g, (m, v), t, [0.01, decay]);
                }
            }
            let found: Vec<f32> = x.to_vec1().unwrap();
            for (found, (expected, ..)) in found.iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 2e-6, "{found} {expected}");
            }
        }
    }
}
