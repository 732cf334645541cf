//! Small networks of sources: rows of fields as inputs, and one perceptron with its optimiser, over slices.

use surefoot_core::Field;

use super::{SourceError, within};
use crate::nn::kernels::{self, AdamStep};
use crate::nn::mlp::{MlpShape, Workspace};

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
/// Inputs of a network at most: a choice takes one for each of its values, a picture of 72 x 96 pixels 20 736.
const MAX_INPUTS: usize = 1 << 15;
/// Layers, and numbers in one, at most.
const MAX_LAYERS: usize = 16;
const MAX_WIDTH: f64 = 4096.0;

/// Rows of fields as a network sees them: a choice is one 1 among zeros, a bounded quantity runs from -1 to 1, another one is as it is.
#[derive(Clone, Debug)]
pub(super) struct Inputs {
    fields: Vec<Field>,
    len: usize,
}

impl Inputs {
    /// For rows of these fields.
    pub(super) fn new(
        source_name: &'static str,
        family: &str,
        fields: &[Field],
    ) -> Result<Self, SourceError> {
        let len = fields.iter().fold(0_usize, |n, f| n.saturating_add(f.choices.map_or(1, |c| c as usize)));
        if (1..=MAX_INPUTS).contains(&len) && fields.iter().all(|f| f.choices != Some(0)) {
            return Ok(Self { fields: fields.to_vec(), len });
        }
        Err(SourceError::Family {
            source_name,
            family: family.to_owned(),
            needs: "something to see, of at most 32768 choices and quantities together",
            found: len.to_string(),
        })
    }

    /// Numbers in a row.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Appends a row.
    pub(super) fn append(&self, row: &[f32], to: &mut Vec<f32>) {
        for (field, x) in self.fields.iter().zip(row) {
            match (field.choices, field.low, field.high) {
                (Some(n), ..) => {
                    let first = to.len();
                    to.resize(first + n as usize, 0.0);
                    // A choice that is none counts as the nearest.
                    to[first + (*x as usize).min(n as usize - 1)] = 1.0;
                }
                (None, Some(low), Some(high)) if high > low => to.push((x - low) / (high - low) * 2.0 - 1.0),
                _ => to.push(*x),
            }
        }
    }
}

/// How a network learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Descent {
    /// Of Adam.
    pub learning_rate: f64,
    /// Added to the root of Adam's second moment.
    pub epsilon: f64,
    /// Longer gradients are shortened to this.
    pub max_gradient_norm: f64,
}

impl Descent {
    /// Refuses what cannot be used.
    pub(super) fn check(self, source_name: &'static str) -> Result<(), SourceError> {
        let Self { learning_rate, epsilon, max_gradient_norm } = self;
        within(source_name, "learning_rate", learning_rate, [f64::MIN_POSITIVE, 1.0])?;
        within(source_name, "adam_epsilon", epsilon, [f64::MIN_POSITIVE, 1.0])?;
        within(source_name, "max_gradient_norm", max_gradient_norm, [f64::MIN_POSITIVE, 1e9])
    }
}

/// Refuses hidden layers that are too many, empty or too wide.
pub(super) fn check_hidden(source_name: &'static str, hidden: &[usize]) -> Result<(), SourceError> {
    within(source_name, "hidden", hidden.len() as f64, [0.0, MAX_LAYERS as f64])?;
    hidden.iter().try_for_each(|n| within(source_name, "hidden", *n as f64, [1.0, MAX_WIDTH]))
}

/// A perceptron that learns by Adam (Kingma and Ba).
pub(super) struct Network {
    shape: MlpShape,
    descent: Descent,
    /// `[parameters]`.
    pub theta: Vec<f32>,
    moments: [Vec<f32>; 2],
    steps: i32,
    workspace: Workspace,
}

impl Network {
    /// From inputs over the hidden layers to outputs; without values until it is [reset](Self::reset).
    pub(super) fn new(inputs: usize, hidden: &[usize], outputs: usize, descent: Descent) -> Self {
        let widths = [&[inputs], hidden, &[outputs]].concat();
        Self {
            shape: MlpShape { widths, layer_norm: false, tanh_output: false },
            descent,
            theta: Vec::new(),
            moments: [Vec::new(), Vec::new()],
            steps: 0,
            workspace: Workspace::default(),
        }
    }

    /// Fresh values.
    pub(super) fn reset(&mut self, seed: u64, name: &str) {
        self.theta = self.shape.initial(seed, name);
        self.moments = [vec![0.0; self.theta.len()], vec![0.0; self.theta.len()]];
        self.steps = 0;
    }

    /// Rows `[n * inputs]` to rows `[n * outputs]`, by this parameter.
    pub(super) fn infer_by(&self, theta: &[f32], x: &[f32]) -> Vec<f32> {
        self.shape.infer_rows(x, theta, &self.workspace)
    }

    /// Rows `[n * inputs]` to rows `[n * outputs]`.
    pub(super) fn infer(&self, x: &[f32]) -> Vec<f32> {
        self.infer_by(&self.theta, x)
    }

    /// One step down the gradient of a loss: `of_output` makes that of the output rows of themselves. What it became, where the gradient is
    /// not finite; nothing is changed then.
    pub(super) fn descend(
        &mut self,
        x: &[f32],
        of_output: impl FnOnce(&[f32]) -> Vec<f32>,
    ) -> Result<(), f32> {
        let mut gradient = self.shape.gradient_of_rows(x, &self.theta, &self.workspace, of_output);
        let norm = kernels::sum_of_squares(&gradient).sqrt();
        if !norm.is_finite() {
            return Err(norm);
        }
        let Descent { learning_rate, epsilon, max_gradient_norm } = self.descent;
        let most = max_gradient_norm as f32;
        if norm > most {
            gradient.iter_mut().for_each(|g| *g *= most / norm);
        }
        self.steps = self.steps.saturating_add(1);
        let correction = (1.0 - BETA2.powi(self.steps)).sqrt();
        let step = AdamStep {
            beta1: BETA1 as f32,
            beta2: BETA2 as f32,
            rate: (learning_rate * correction / (1.0 - BETA1.powi(self.steps))) as f32,
            epsilon: (epsilon * correction) as f32,
            weight_decay: 0.0,
        };
        let [first, second] = &mut self.moments;
        kernels::adam(&mut self.theta, &gradient, [first, second], step);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_one_among_zeros_and_bounded_quantities_run_from_minus_one_to_one() {
        let fields =
            [Field::choice("x", 3), Field::bounded("at", "m", 1.0, 3.0), Field::unbounded("speed", "m/s")];
        let inputs = Inputs::new("dqn", "test", &fields).unwrap();
        let mut row = Vec::new();
        inputs.append(&[2.0, 1.5, -7.0], &mut row);
        assert_eq!((inputs.len(), row), (5, vec![0.0, 0.0, 1.0, -0.5, -7.0]));
        let said = Inputs::new("dqn", "test", &[Field::choice("x", 40_000)]).unwrap_err().to_string();
        assert!(said.starts_with("dqn cannot learn test: it needs something to see"), "{said}");
        assert!(Inputs::new("dqn", "test", &[]).is_err());
    }

    #[test]
    fn a_gradient_that_is_not_finite_changes_nothing() {
        let descent = Descent { learning_rate: 0.1, epsilon: 1e-8, max_gradient_norm: 1.0 };
        let mut network = Network::new(2, &[4], 1, descent);
        network.reset(3, "net");
        let before = network.theta.clone();
        assert!(network.descend(&[1.0, 2.0], |_| vec![f32::NAN]).is_err());
        assert_eq!(network.theta, before);
        network.descend(&[1.0, 2.0], |y| y.to_vec()).unwrap();
        assert_ne!(network.theta, before);
    }
}
