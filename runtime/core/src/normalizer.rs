//! Observation scaling that travels with the policy.

use serde::{Deserialize, Serialize};

use crate::ReplayBuffer;

/// `(x - mean) / std`, per observation number. The identity when empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalizer {
    /// `[observation_dim]`, or empty for the identity.
    pub mean: Vec<f32>,
    /// `[observation_dim]`, every entry positive.
    pub std: Vec<f32>,
}

impl Normalizer {
    /// Mean and standard deviation of the buffer's observations; `floor` is added to each deviation, so that a constant
    /// channel stays finite.
    #[must_use]
    pub fn fit(data: &ReplayBuffer, floor: f32) -> Self {
        let (n, dim) = (data.len().max(1) as f64, data.observation_dim());
        let mut mean = vec![0.0_f64; dim];
        for i in 0..data.len() {
            for (m, x) in mean.iter_mut().zip(data.observation(i)) {
                *m += f64::from(*x) / n;
            }
        }
        let mut variance = vec![0.0_f64; dim];
        for i in 0..data.len() {
            for ((v, m), x) in variance.iter_mut().zip(&mean).zip(data.observation(i)) {
                *v += (f64::from(*x) - m).powi(2) / n;
            }
        }
        Self {
            mean: mean.iter().map(|m| *m as f32).collect(),
            std: variance.iter().map(|v| v.sqrt() as f32 + floor).collect(),
        }
    }

    /// Normalises one row in place. Real-time safe: does not allocate, lock or block.
    pub fn apply(&self, row: &mut [f32]) {
        for ((x, m), s) in row.iter_mut().zip(&self.mean).zip(&self.std) {
            *x = (*x - m) / s;
        }
    }

    /// Normalises `[n, dim]` in place.
    pub fn apply_rows(&self, rows: &mut [f32]) {
        if !self.mean.is_empty() {
            for row in rows.chunks_exact_mut(self.mean.len()) {
                self.apply(row);
            }
        }
    }
}
