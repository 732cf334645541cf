//! A state value that is fitted to returns by regression: the baseline of learners on policy.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{LearnError, Stream};

use super::compute::Start;
use super::critic::Critics;
use super::inputs::tensor;
use super::mlp::Mlp;
use super::params::{Gradients, Params, gradient_norm};
use super::size::{refuse_batch, refuse_hidden, refuse_parameters};
use super::trainable::Trainable;
use super::{Context, mean, positive, require};

const NAME: &str = "value";

/// The value and how it is fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ValueConfig {
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// Passes over the fresh steps at every update.
    pub epochs: usize,
    /// Rows of one of its steps.
    pub batch: usize,
}

impl Default for ValueConfig {
    fn default() -> Self {
        Self { hidden: vec![128, 128], learning_rate: 1e-3, epochs: 5, batch: 128 }
    }
}

/// The value.
#[derive(Clone, Debug)]
pub struct ValueBaseline {
    network: Mlp,
    trained: Trainable,
    epochs: usize,
    batch: usize,
    observation_dim: usize,
}

impl ValueBaseline {
    /// A seeded one.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn new(
        config: &ValueConfig,
        observation_dim: usize,
        start: &Start,
        learner: &'static str,
    ) -> Result<Self, LearnError> {
        let ValueConfig { hidden, learning_rate, epochs, batch } = config;
        let check = |ok, key, reason: &str| require(learner, ok, key, reason);
        check(positive(*learning_rate), "value.learning_rate", "must be positive")?;
        check((1..=1_000).contains(epochs), "value.epochs", "must be 1 to 1000")?;
        if let Some(reason) = refuse_batch(*batch) {
            check(false, "value.batch", &reason)?;
        }
        let shape = Critics::shape(hidden, observation_dim, false);
        if let Some(reason) = refuse_hidden(hidden).or_else(|| refuse_parameters(&shape, 1)) {
            check(false, "value.hidden", &reason)?;
        }
        let mut params = Params::default();
        let network = Mlp::new(&mut params, start, NAME, shape).context("value")?.in_halves();
        let trained = Trainable::new(NAME, params, *learning_rate);
        Ok(Self { network, trained, epochs: *epochs, batch: *batch, observation_dim })
    }

    /// Values of these observations, `[n]`.
    ///
    /// # Errors
    /// When the rows are not whole.
    pub fn values(&self, observation: &[f32]) -> Result<Vec<f32>, LearnError> {
        let rows = tensor(observation.to_vec(), self.observation_dim).context("value")?;
        self.network.infer(&rows).context("value")
    }

    /// Fits it to these returns, `[n]`, in batches of an order that `stream` draws; gives the mean squared error on the way.
    ///
    /// # Errors
    /// [`LearnError::NotFinite`] (`updates` is for that message), and when the tensor library fails.
    pub fn fit(
        &mut self,
        observation: &[f32],
        returns: &[f32],
        stream: &mut Stream,
        updates: u64,
    ) -> Result<f64, LearnError> {
        let dim = self.observation_dim;
        let mut order: Vec<usize> = (0..returns.len()).collect();
        let mut losses = Vec::new();
        for _ in 0..self.epochs {
            for i in (1..order.len()).rev() {
                order.swap(i, stream.below(i + 1));
            }
            for rows in order.chunks(self.batch) {
                let states = rows.iter().flat_map(|i| &observation[i * dim..(i + 1) * dim]).copied();
                let states = tensor(states.collect(), dim).context("value")?;
                let pass = self.network.forward(&states).context("value")?;
                let values: Vec<f32> =
                    pass.output.flatten_all().and_then(|v| v.to_vec1()).context("value")?;
                let apart: Vec<f32> = values.iter().zip(rows).map(|(v, i)| v - returns[*i]).collect();
                let loss = mean(apart.iter().map(|d| f64::from(*d).powi(2)));
                let factor = 2.0 / apart.len().max(1) as f32;
                let of_output = apart.iter().map(|d| factor * d).collect();
                let gradient = pass.pull(of_output).context("value gradient")?;
                let gradients = Gradients::from([(NAME.to_owned(), gradient)]);
                let norm = gradient_norm(&gradients);
                for (what, value) in [("train/value_loss", loss), ("train/value_gradient_norm", norm)] {
                    if !value.is_finite() {
                        return Err(LearnError::NotFinite { what, value, updates });
                    }
                }
                self.trained.step(&gradients)?;
                gradients.into_values().for_each(|g| self.network.recycle(g));
                losses.push(loss);
            }
        }
        Ok(mean(losses.into_iter()))
    }

    /// For a checkpoint.
    #[must_use]
    pub const fn trained(&self) -> &Trainable {
        &self.trained
    }

    /// For a checkpoint that is loaded.
    pub const fn trained_mut(&mut self) -> &mut Trainable {
        &mut self.trained
    }
}
