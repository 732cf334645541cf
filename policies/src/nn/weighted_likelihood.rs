//! The loss of the advantage-weighted learners: `-mean(w log pi(a|s))`.

use candle_core::{Device, Tensor};
use surefoot_core::{LearnError, Metrics};

use super::gaussian_net::GaussianNet;
use super::inputs::{BatchRows, tensor};
use super::mlp::Pass;
use super::params::Gradients;
use super::{Context, gaussian, mean, mean_of};

/// The policy at `s`, with what its gradient needs.
#[derive(Debug)]
pub struct PolicyPass {
    /// The mean action, rows.
    pub mean: Vec<f32>,
    /// `log pi(a|s)` of the data's actions, `[batch]`.
    pub log_prob_rows: Vec<f32>,
    pass: Pass,
    log_prob: Tensor,
}

impl PolicyPass {
    /// The policy over these rows.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn new(net: &GaussianNet, rows: &BatchRows, observation_dim: usize) -> Result<Self, LearnError> {
        let pass = || {
            let pass = net.mean(&tensor(rows.observation.clone(), observation_dim)?)?;
            let log_prob = gaussian::log_prob(&pass.output, &net.log_std()?, &rows.action)?; // [batch]
            let mean = pass.output.flatten_all()?.to_vec1()?;
            Ok(Self { mean, pass, log_prob_rows: log_prob.to_vec1()?, log_prob })
        };
        pass().context("policy forward")
    }

    /// `-mean(w log pi(a|s))`.
    #[must_use]
    pub fn loss(&self, weights: &[f32]) -> f64 {
        let weighted = self.log_prob_rows.iter().zip(weights);
        -mean(weighted.map(|(l, w)| f64::from(*l) * f64::from(*w)))
    }

    /// Its gradient and the gradient's norm.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn gradient(&self, weights: &[f32], net: &GaussianNet) -> Result<(Gradients, f64), LearnError> {
        let weights = Tensor::from_slice(weights, weights.len(), &Device::Cpu).context("actor loss")?;
        let loss = (&self.log_prob * weights).and_then(|l| l.mean_all()?.neg());
        net.gradients(&loss.context("actor loss")?, &self.pass)
    }

    /// Adds `train/{advantage_mean, advantage_std, effective_sample_size, log_likelihood}`.
    pub fn report(&self, advantage: &[f32], effective_sample_size: f64, metrics: &mut Metrics) {
        let advantage_mean = mean_of(advantage);
        let variance = mean(advantage.iter().map(|a| (f64::from(*a) - advantage_mean).powi(2)));
        metrics.push("train/advantage_mean", advantage_mean);
        metrics.push("train/advantage_std", variance.sqrt());
        metrics.push("train/effective_sample_size", effective_sample_size);
        metrics.push("train/log_likelihood", mean_of(&self.log_prob_rows));
    }
}
