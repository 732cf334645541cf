//! What a learner knows of its data: dimensions, the observation normaliser, and how a batch becomes tensors.

use candle_core::{Device, Tensor};
use surefoot_core::{Batch, EnvSpec, LearnError, Normalizer, PolicyError, ReplayBuffer};

use super::Context;

/// Turns batches into tensors.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// What the policy sees and does.
    pub spec: EnvSpec,
    /// Applied to observations.
    pub normalizer: Normalizer,
    /// Hashes of the data that was fitted to.
    pub data_hashes: Vec<String>,
    /// Actions are clipped to `[-action_bound, action_bound]`.
    pub action_bound: f32,
}

/// A batch as tensors; observations are normalised, actions clipped.
#[derive(Debug)]
pub struct BatchTensors {
    /// `[n, observation_dim]`.
    pub observation: Tensor,
    /// `[n, action_dim]`.
    pub action: Tensor,
    /// `[n, observation_dim]`.
    pub next_observation: Tensor,
}

impl Inputs {
    /// Fits the normaliser when asked to and keeps the hashes.
    ///
    /// # Errors
    /// When the data is empty, of other dimensions or not finite.
    pub fn fit(
        &mut self,
        data: &ReplayBuffer,
        data_hashes: &[String],
        normalize: bool,
        std_floor: f32,
    ) -> Result<(), LearnError> {
        check("observation dimension", self.spec.observation_dim(), data.observation_dim())?;
        check("action dimension", self.spec.action_dim(), data.action_dim())?;
        if normalize {
            let fitted = Normalizer::fit(data, std_floor);
            let usable = |row: &[f32]| row.iter().all(|x| x.is_finite());
            if data.is_empty() || !usable(&fitted.mean) || !usable(&fitted.std) {
                return Err(LearnError::State {
                    what: "observation normaliser".into(),
                    expected: "at least one row of finite observations".into(),
                    found: if data.is_empty() { "no data" } else { "NaN or an infinity" }.into(),
                });
            }
            self.normalizer = fitted;
        }
        self.data_hashes = data_hashes.to_vec();
        Ok(())
    }

    /// The batch as tensors.
    ///
    /// # Errors
    /// When it is empty, its dimensions are not those of the spec, or a number in it is not finite (`updates` is for that
    /// message).
    pub fn tensors(&self, batch: &Batch, updates: u64) -> Result<BatchTensors, LearnError> {
        let (o, a) = (self.spec.observation_dim(), self.spec.action_dim());
        check("batch observation dimension", o, batch.observation_dim)?;
        check("batch action dimension", a, batch.action_dim)?;
        if batch.n == 0 {
            return Err(PolicyError::Shape { what: "batch rows (at least)", expected: 1, found: 0 }.into());
        }
        check("batch observation numbers", batch.n * o, batch.observation.len())?;
        check("batch action numbers", batch.n * a, batch.action.len())?;
        check("batch next observation numbers", batch.n * o, batch.next_observation.len())?;
        check("batch rewards", batch.n, batch.reward.len())?;
        check("batch continuations", batch.n, batch.continuation.len())?;
        let columns = [
            ("a batch observation", &batch.observation),
            ("a batch action", &batch.action),
            ("a batch reward", &batch.reward),
            ("a batch next observation", &batch.next_observation),
        ];
        for (what, column) in columns {
            if let Some(value) = column.iter().find(|x| !x.is_finite()) {
                return Err(LearnError::NotFinite { what, value: f64::from(*value), updates });
            }
        }
        let tensor =
            |rows: Vec<f32>, dim| Tensor::from_vec(rows, (batch.n, dim), &Device::Cpu).context("batch");
        let normal = |rows: &[f32]| {
            let mut rows = rows.to_vec();
            self.normalizer.apply_rows(&mut rows);
            tensor(rows, o)
        };
        let action = batch.action.iter().map(|a| a.clamp(-self.action_bound, self.action_bound)).collect();
        Ok(BatchTensors {
            observation: normal(&batch.observation)?,
            action: tensor(action, a)?,
            next_observation: normal(&batch.next_observation)?,
        })
    }
}

fn check(what: &'static str, expected: usize, found: usize) -> Result<(), LearnError> {
    if expected == found { Ok(()) } else { Err(PolicyError::Shape { what, expected, found }.into()) }
}
