//! The squashed Gaussian of the maximum-entropy learners (Haarnoja et al. 2018, arXiv 1812.05905, appendix C):
//! ```text
//! (m, p) = mlp(s)     log_std = low + (high - low) (tanh(p) + 1) / 2     u = m + exp(log_std) noise     a = tanh(u)
//! log pi(a|s) = log N(u; m, std) - sum log(1 - tanh(u)^2)     log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u))
//! ```
//! The paper clips `log_std` to `[-20, 2]`; the smooth bounds here keep a gradient everywhere. Derivatives are written out: of a
//! sample with its noise held fixed (the reparameterised gradient), and of the density of given actions.

use std::f64::consts::{LN_2, PI};

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::LearnError;

use super::actor::{Actor, ActorRates, MeanNet, NETWORK, PolicyNet};
use super::compute::Start;
use super::inputs::tensor;
use super::mlp::{Mlp, MlpShape, Pass};
use super::params::{Arrays, Params};
use super::policy_network::Architecture;
use super::size::{refuse_hidden, refuse_parameters};
use super::{Context, mean_of, require};

/// Actions of the data are at least this far inside `(-1, 1)` before `atanh`.
const EDGE: f64 = 1e-6;

/// A policy network that is squashed as a whole, and how it learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SquashedActorConfig {
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Smallest logarithm of the deviation before squashing.
    pub min_log_std: f64,
    /// Largest logarithm of the deviation before squashing.
    pub max_log_std: f64,
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// L2 weight decay, added to the gradient.
    pub weight_decay: f64,
    /// The policy that acts and is saved is a moving average of the trained one, moved by this part at every update.
    /// 1 is no averaging; 0.001 smooths over about a thousand updates.
    pub average_rate: f64,
    /// Largest deviation of exploring actions, before squashing.
    pub max_explore_std: f64,
}

impl Default for SquashedActorConfig {
    fn default() -> Self {
        Self {
            hidden: vec![256, 256],
            min_log_std: -5.0,
            max_log_std: 2.0,
            learning_rate: 3e-4,
            weight_decay: 0.0,
            average_rate: 1.0,
            max_explore_std: 10.0,
        }
    }
}

/// From a network's output to the logarithm of a deviation.
#[must_use]
pub fn bounded_log_std(raw: f64, [low, high]: [f64; 2]) -> f64 {
    low + 0.5 * (high - low) * (raw.tanh() + 1.0)
}

/// `log(1 - tanh(u)^2)` without cancellation.
fn log_slope(u: f64) -> f64 {
    let x = -2.0 * u;
    let softplus = if x > 0.0 { x + (-x).exp().ln_1p() } else { x.exp().ln_1p() };
    2.0 * (LN_2 - u - softplus)
}

/// One number of an action's distribution.
#[derive(Clone, Copy, Debug)]
struct Component {
    mean: f64,
    log_std: f64,
    /// `d log_std / d output`.
    slope: f64,
}

/// Actions with the logarithm of their density.
#[derive(Clone, Debug)]
pub struct Sampled {
    /// Rows of `action_dim`.
    pub action: Vec<f32>,
    /// `[batch]`.
    pub log_prob: Vec<f32>,
}

/// The network itself.
#[derive(Clone, Debug)]
pub struct SquashedNet {
    params: Params,
    mlp: Mlp,
    log_std_bounds: [f64; 2],
    action_dim: usize,
}

impl SquashedNet {
    /// A seeded network of this name for `[observation_dim, action_dim]`; rates are not looked at.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn new(
        name: &'static str,
        config: &SquashedActorConfig,
        [observation_dim, action_dim]: [usize; 2],
        start: &Start,
        learner: &'static str,
    ) -> Result<Self, LearnError> {
        let SquashedActorConfig { hidden, min_log_std, max_log_std, .. } = config;
        let widths = [&[observation_dim], hidden.as_slice(), &[2 * action_dim]].concat();
        let shape = MlpShape { widths, layer_norm: false, tanh_output: false };
        if let Some(reason) = refuse_hidden(hidden).or_else(|| refuse_parameters(&shape, 1)) {
            require(learner, false, "actor.hidden", &reason)?;
        }
        let bounds = min_log_std.is_finite() && max_log_std.is_finite() && min_log_std < max_log_std;
        require(learner, bounds, "actor.min_log_std", "must be below max_log_std")?;
        let mut params = Params::default();
        let mlp = Mlp::new(&mut params, start, name, shape).context("actor")?.in_halves();
        Ok(Self { params, mlp, log_std_bounds: [*min_log_std, *max_log_std], action_dim })
    }

    /// The network's output `[batch, 2 action_dim]`, to be differentiated.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn forward(&self, observation: &Tensor) -> Result<(Pass, Vec<f32>), LearnError> {
        let run = || {
            let pass = self.mlp.forward(observation)?;
            let output = pass.output.flatten_all()?.to_vec1()?;
            Ok((pass, output))
        };
        run().context("policy forward")
    }

    /// The same as rows alone.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn infer(&self, observation: &Tensor) -> Result<Vec<f32>, LearnError> {
        self.mlp.infer(observation).context("policy forward")
    }

    /// The components of every row of the network's output.
    fn rows<'a>(&self, output: &'a [f32]) -> impl Iterator<Item = Vec<Component>> + use<'a> {
        let (bounds, dim) = (self.log_std_bounds, self.action_dim);
        let half = 0.5 * (bounds[1] - bounds[0]);
        output.chunks_exact(2 * dim).map(move |row| {
            let (means, raw) = row.split_at(dim);
            let component = |(mean, raw): (&f32, &f32)| {
                let raw = f64::from(*raw);
                let slope = half * (1.0 - raw.tanh().powi(2));
                Component { mean: f64::from(*mean), log_std: bounded_log_std(raw, bounds), slope }
            };
            means.iter().zip(raw).map(component).collect()
        })
    }

    /// Actions for this noise, rows of `action_dim`.
    #[must_use]
    pub fn sample(&self, output: &[f32], noise: &[f32]) -> Sampled {
        let mut action = Vec::with_capacity(noise.len());
        let rows = self.rows(output).zip(noise.chunks_exact(self.action_dim));
        let log_prob = rows.map(|(row, noise)| {
            let density = row.iter().zip(noise).map(|(c, noise)| {
                let noise = f64::from(*noise);
                let u = c.mean + c.log_std.exp() * noise;
                action.push(u.tanh() as f32);
                -0.5 * noise * noise - c.log_std - 0.5 * (2.0 * PI).ln() - log_slope(u)
            });
            density.sum::<f64>() as f32
        });
        let log_prob = log_prob.collect();
        Sampled { action, log_prob }
    }

    /// The gradient of the network's output, of a loss whose derivatives by sampled actions (rows) and by their `log_prob` (the
    /// same for all rows) are given; the noise is held fixed.
    #[must_use]
    pub fn sample_gradient(
        &self,
        output: &[f32],
        noise: &[f32],
        of_action: &[f32],
        of_log_prob: f64,
    ) -> Vec<f32> {
        let dim = self.action_dim;
        let rows = self.rows(output).zip(noise.chunks_exact(dim)).zip(of_action.chunks_exact(dim));
        let mut gradient = Vec::with_capacity(output.len());
        for ((row, noise), of_action) in rows {
            let mut of_raw = Vec::with_capacity(dim);
            for ((c, noise), of_action) in row.iter().zip(noise).zip(of_action) {
                let spread = c.log_std.exp() * f64::from(*noise);
                let a = (c.mean + spread).tanh();
                // d log pi / d u = 2 tanh(u); d log pi / d log_std is -1 beside it.
                let of_u = f64::from(*of_action) * (1.0 - a * a) + of_log_prob * 2.0 * a;
                gradient.push(of_u as f32);
                of_raw.push(((of_u * spread - of_log_prob) * c.slope) as f32);
            }
            gradient.append(&mut of_raw);
        }
        gradient
    }

    /// Samples before squashing for this noise, rows of `action_dim`.
    #[must_use]
    pub fn raw_sample(&self, output: &[f32], noise: &[f32]) -> Vec<f32> {
        let rows = self.rows(output).zip(noise.chunks_exact(self.action_dim));
        let raw = |(row, noise): (Vec<Component>, &[f32])| {
            let one = |(c, n): (&Component, &f32)| (c.mean + c.log_std.exp() * f64::from(*n)) as f32;
            row.iter().zip(noise).map(one).collect::<Vec<f32>>()
        };
        rows.flat_map(raw).collect()
    }

    /// The gradient of the network's output for this one of samples before squashing; the noise is held fixed.
    #[must_use]
    pub fn raw_gradient(&self, output: &[f32], noise: &[f32], of_raw: &[f32]) -> Vec<f32> {
        let dim = self.action_dim;
        let rows = self.rows(output).zip(noise.chunks_exact(dim)).zip(of_raw.chunks_exact(dim));
        let mut gradient = Vec::with_capacity(output.len());
        for ((row, noise), of_raw) in rows {
            gradient.extend_from_slice(of_raw);
            let spreads = row.iter().zip(noise).zip(of_raw);
            let of_log_std = |((c, n), g): ((&Component, &f32), &f32)| {
                (f64::from(*g) * c.log_std.exp() * f64::from(*n) * c.slope) as f32
            };
            gradient.extend(spreads.map(of_log_std));
        }
        gradient
    }

    /// `log pi(tanh(u)|s)` of given samples before squashing, `[batch]`, and its derivatives by them, rows.
    #[must_use]
    pub fn raw_log_prob(&self, output: &[f32], raw: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let mut gradient = Vec::with_capacity(raw.len());
        let density = |(row, raw): (Vec<Component>, &[f32])| {
            let one = |(c, u): (&Component, &f32)| {
                let (u, precision) = (f64::from(*u), (-c.log_std).exp());
                let z = (u - c.mean) * precision;
                gradient.push((2.0 * u.tanh() - z * precision) as f32);
                -0.5 * z * z - c.log_std - 0.5 * (2.0 * PI).ln() - log_slope(u)
            };
            row.iter().zip(raw).map(one).sum::<f64>() as f32
        };
        let log_prob = self.rows(output).zip(raw.chunks_exact(self.action_dim)).map(density).collect();
        (log_prob, gradient)
    }

    /// `log pi(a|s)` of given actions, `[batch]`.
    #[must_use]
    pub fn log_prob(&self, output: &[f32], action: &[f32]) -> Vec<f32> {
        let rows = self.rows(output).zip(action.chunks_exact(self.action_dim));
        let density = |(row, action): (Vec<Component>, &[f32])| {
            let one = |(c, a): (&Component, &f32)| {
                let u = unsquashed(*a);
                let z = (u - c.mean) * (-c.log_std).exp();
                -0.5 * z * z - c.log_std - 0.5 * (2.0 * PI).ln() - log_slope(u)
            };
            row.iter().zip(action).map(one).sum::<f64>() as f32
        };
        rows.map(density).collect()
    }

    /// The gradient of the network's output, of `factor` times the sum of [`log_prob`](Self::log_prob).
    #[must_use]
    pub fn log_prob_gradient(&self, output: &[f32], action: &[f32], factor: f64) -> Vec<f32> {
        let mut gradient = Vec::with_capacity(output.len());
        for (row, action) in self.rows(output).zip(action.chunks_exact(self.action_dim)) {
            let mut of_raw = Vec::with_capacity(self.action_dim);
            for (c, a) in row.iter().zip(action) {
                let precision = (-c.log_std).exp();
                let z = (unsquashed(*a) - c.mean) * precision;
                gradient.push((factor * z * precision) as f32);
                of_raw.push((factor * (z * z - 1.0) * c.slope) as f32);
            }
            gradient.append(&mut of_raw);
        }
        gradient
    }

    /// Mean deviation before squashing.
    #[must_use]
    pub fn std_mean(&self, output: &[f32]) -> f64 {
        let std: Vec<f32> = self.rows(output).flatten().map(|c| c.log_std.exp() as f32).collect();
        mean_of(&std)
    }
}

fn unsquashed(action: f32) -> f64 {
    f64::from(action).clamp(EDGE - 1.0, 1.0 - EDGE).atanh()
}

impl PolicyNet for SquashedNet {
    fn params(&self) -> &Params {
        &self.params
    }

    fn recycle(&self, gradient: Vec<f32>) {
        self.mlp.recycle(gradient);
    }

    fn deploy(&self, _arrays: &mut Arrays) -> Result<(), LearnError> {
        Ok(())
    }

    fn log_likelihood(&self, observation: Vec<f32>, action: &[f32]) -> Result<Option<f64>, LearnError> {
        let rows = action.len() / self.action_dim.max(1);
        let dim = observation.len() / rows.max(1);
        let output = self.infer(&tensor(observation, dim).context("log-likelihood")?)?;
        Ok(Some(mean_of(&self.log_prob(&output, action))))
    }
}

impl MeanNet for SquashedNet {
    fn mean_action(&self, observation: &Tensor) -> Result<Vec<f32>, LearnError> {
        let output = self.infer(observation)?;
        Ok(self.rows(&output).flatten().map(|c| c.mean.tanh() as f32).collect())
    }
}

impl Actor<SquashedNet> {
    /// A seeded actor for `[observation_dim, action_dim]`.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn new(
        config: &SquashedActorConfig,
        dims: [usize; 2],
        start: &Start,
        learner: &'static str,
    ) -> Result<Self, LearnError> {
        let SquashedActorConfig {
            hidden,
            min_log_std,
            max_log_std,
            learning_rate,
            weight_decay,
            average_rate,
            max_explore_std,
        } = config;
        let rates = ActorRates {
            learning_rate: *learning_rate,
            weight_decay: *weight_decay,
            average_rate: *average_rate,
            max_explore_std: *max_explore_std,
        };
        let bounds = [*min_log_std, *max_log_std];
        let architecture = Architecture::squashed(hidden.clone(), *max_explore_std, bounds).to_json();
        Self::of(|| SquashedNet::new(NETWORK, config, dims, start, learner), rates, architecture, learner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: [usize; 2] = [2, 1];

    fn net() -> SquashedNet {
        let config = SquashedActorConfig { hidden: vec![4], ..SquashedActorConfig::default() };
        SquashedNet::new(NETWORK, &config, CONFIG, &0.into(), "test").unwrap()
    }

    #[test]
    fn density_integrates_to_one() {
        let (n, output) = (40_000, [0.4_f32, -0.3]);
        let width = 2.0 / f64::from(n);
        let mass: f64 = (0..n)
            .map(|i| {
                let a = -1.0 + (f64::from(i) + 0.5) * width;
                f64::from(net().log_prob(&output, &[a as f32])[0]).exp() * width
            })
            .sum();
        assert!((mass - 1.0).abs() < 1e-4, "{mass}");
    }

    #[test]
    fn a_samples_density_is_that_of_its_action() {
        for (output, noise) in [([0.2_f32, 0.1], 0.7_f32), ([-1.5, -2.0], -1.1)] {
            let sampled = net().sample(&output, &[noise]);
            let again = net().log_prob(&output, &sampled.action);
            assert!((sampled.log_prob[0] - again[0]).abs() < 1e-3, "{sampled:?} {again:?}");
        }
    }

    #[test]
    fn densities_stay_finite_where_tanh_saturates() {
        let sampled = net().sample(&[40.0, 0.0], &[0.0]);
        assert!(sampled.action == [1.0] && sampled.log_prob[0].is_finite());
    }

    #[test]
    fn written_out_derivatives_equal_differences() {
        let (output, noise, of_action, of_log_prob) = ([0.3_f32, -0.4], [0.8_f32], [1.7_f32], -0.6);
        let loss = |output: &[f32]| {
            let s = net().sample(output, &noise);
            1.7 * f64::from(s.action[0]) - 0.6 * f64::from(s.log_prob[0])
        };
        let density = |output: &[f32]| 0.5 * f64::from(net().log_prob(output, &[0.35])[0]);
        let ours = net().sample_gradient(&output, &noise, &of_action, of_log_prob);
        let ours_density = net().log_prob_gradient(&output, &[0.35], 0.5);
        for i in 0..2 {
            let step = |by: f32| {
                let mut moved = output;
                moved[i] += by;
                (loss(&moved), density(&moved))
            };
            let ((up, up_density), (down, down_density)) = (step(1e-2), step(-1e-2));
            assert!((f64::from(ours[i]) - (up - down) / 2e-2).abs() < 1e-3, "{i}: {ours:?}");
            let difference = (up_density - down_density) / 2e-2;
            assert!((f64::from(ours_density[i]) - difference).abs() < 1e-3, "{i}: {ours_density:?}");
        }
    }
}
