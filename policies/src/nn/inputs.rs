//! What a learner knows of its data: dimensions, the observation normaliser, and how a batch becomes tensors.

use candle_core::{Device, Tensor};
use surefoot_core::{Batch, EnvSpec, LearnError, Moments, Normalizer, PolicyError, TransitionSource};

/// Turns batches into rows for networks.
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

/// A batch's rows for networks: observations normalised, actions clipped.
#[derive(Debug)]
pub struct BatchRows {
    /// `[n * observation_dim]`.
    pub observation: Vec<f32>,
    /// `[n * action_dim]`.
    pub action: Vec<f32>,
    /// `[n * observation_dim]`.
    pub next_observation: Vec<f32>,
    /// `[n * action_dim]`, or none.
    pub next_action: Vec<f32>,
}

/// `[n, dim]`.
///
/// # Errors
/// When the rows are not whole.
pub fn tensor(rows: Vec<f32>, dim: usize) -> candle_core::Result<Tensor> {
    let n = rows.len() / dim.max(1);
    Tensor::from_vec(rows, (n, dim), &Device::Cpu)
}

/// Rows side by side: `[n, observation_dim + action_dim]`.
///
/// # Errors
/// When the rows are not whole.
pub fn side_by_side(
    observation: &[f32],
    action: &[f32],
    [observation_dim, action_dim]: [usize; 2],
) -> candle_core::Result<Tensor> {
    let mut rows = Vec::with_capacity(observation.len() + action.len());
    for (o, a) in observation.chunks_exact(observation_dim).zip(action.chunks_exact(action_dim)) {
        rows.extend_from_slice(o);
        rows.extend_from_slice(a);
    }
    tensor(rows, observation_dim + action_dim)
}

impl Inputs {
    /// Fits the normaliser when asked to and keeps the hashes. One pass over the data, in which `reward` is given every reward.
    ///
    /// # Errors
    /// When the data is empty, of other dimensions, not finite or not readable.
    pub fn fit(
        &mut self,
        data: &dyn TransitionSource,
        data_hashes: &[String],
        normalize: bool,
        std_floor: f32,
        mut reward: impl FnMut(f32),
    ) -> Result<(), LearnError> {
        let (o, a) = (self.spec.observation_dim(), self.spec.action_dim());
        check("observation dimension", o, data.observation_dim())?;
        check("action dimension", a, data.action_dim())?;
        let mut moments = Moments::new(o);
        data.scan(0, data.len(), &mut |row| {
            if normalize {
                moments.push_rows(&row[..o]);
            }
            reward(row[2 * o + a]);
        })?;
        if normalize {
            let fitted = Normalizer::of(&moments, std_floor);
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

    /// The batch as rows for networks.
    ///
    /// # Errors
    /// When it is empty, its dimensions are not those of the spec, or a number in it is not finite (`updates` is for that
    /// message).
    pub fn rows(&self, batch: &Batch, updates: u64) -> Result<BatchRows, LearnError> {
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
        let not_always = [
            ("batch weights", batch.n, &batch.weight),
            ("batch next action numbers", batch.n * a, &batch.next_action),
            ("batch next action masks", batch.n, &batch.next_action_mask),
            ("batch returns to the end", batch.n, &batch.return_to_go),
            ("batch continuations of returns", batch.n, &batch.return_continuation),
        ];
        for (what, expected, column) in not_always {
            if !column.is_empty() {
                check(what, expected, column.len())?;
            }
        }
        if batch.last.len() > batch.n {
            let (expected, found) = (batch.n, batch.last.len());
            return Err(
                PolicyError::Shape { what: "fresh rows of a batch (at most)", expected, found }.into()
            );
        }
        let columns = [
            ("a batch observation", &batch.observation),
            ("a batch action", &batch.action),
            ("a batch reward", &batch.reward),
            ("a batch next observation", &batch.next_observation),
            ("a batch weight", &batch.weight),
            ("a batch next action", &batch.next_action),
            ("a batch return", &batch.return_to_go),
        ];
        for (what, column) in columns {
            if let Some(value) = column.iter().find(|x| !x.is_finite()) {
                return Err(LearnError::NotFinite { what, value: f64::from(*value), updates });
            }
        }
        let normal = |rows: &[f32]| {
            let mut rows = rows.to_vec();
            self.normalizer.apply_rows(&mut rows);
            rows
        };
        let bound = self.action_bound;
        let clipped = |rows: &[f32]| rows.iter().map(|a| a.clamp(-bound, bound)).collect();
        Ok(BatchRows {
            observation: normal(&batch.observation),
            action: clipped(&batch.action),
            next_observation: normal(&batch.next_observation),
            next_action: clipped(&batch.next_action),
        })
    }
}

fn check(what: &'static str, expected: usize, found: usize) -> Result<(), LearnError> {
    if expected == found { Ok(()) } else { Err(PolicyError::Shape { what, expected, found }.into()) }
}
