//! The policy network that most learners train: a Gaussian with mean `tanh(mlp(s))` and a bounded, state-independent deviation
//! `log_std = min + sigmoid(p) (max - min)`. The distribution itself is not squashed.

use candle_core::{Tensor, Var};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::LearnError;

use super::actor::{Actor, ActorRates, MeanNet, NETWORK, PolicyNet};
use super::compute::Start;
use super::inputs::tensor;
use super::mlp::{Mlp, MlpShape, Pass};
use super::params::{Arrays, Gradients, Params, Part, gradient_norm};
use super::policy_network::Architecture;
use super::size::{refuse_hidden, refuse_parameters};
use super::{Context, gaussian, require, scalar};

const LOG_STD: &str = "actor/log_std_parameter";

/// The policy network and how it learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ActorConfig {
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Smallest logarithm of the deviation.
    pub min_log_std: f64,
    /// Largest logarithm of the deviation.
    pub max_log_std: f64,
    /// Deviation at the start, between the two.
    pub initial_std: f64,
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// L2 weight decay, added to the gradient.
    pub weight_decay: f64,
    /// The policy that acts and is saved is a moving average of the trained one, moved by this part at every update.
    /// 1 is no averaging; 0.001 smooths over about a thousand updates.
    pub average_rate: f64,
    /// Largest deviation of exploring actions, in units of the normalised action.
    pub max_explore_std: f64,
}

impl Default for ActorConfig {
    fn default() -> Self {
        Self {
            hidden: vec![256, 256],
            min_log_std: -6.0,
            max_log_std: 0.0,
            initial_std: 0.05,
            learning_rate: 3e-4,
            weight_decay: 1e-4,
            average_rate: 1.0,
            max_explore_std: 1.0,
        }
    }
}

/// The network itself.
#[derive(Clone, Debug)]
pub struct GaussianNet {
    params: Params,
    mlp: Mlp,
    log_std_parameter: Var,
    log_std_bounds: [f64; 2],
}

impl GaussianNet {
    /// Mean of the action, `[batch, action_dim]` in `(-1, 1)`.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn mean(&self, observation: &Tensor) -> candle_core::Result<Pass> {
        self.mlp.forward(observation)
    }

    /// A seeded network for `[observation_dim, action_dim]`: the same seed gives the same numbers.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn new(
        config: &ActorConfig,
        [observation_dim, action_dim]: [usize; 2],
        start: &Start,
        learner: &'static str,
    ) -> Result<Self, LearnError> {
        let ActorConfig { hidden, min_log_std, max_log_std, initial_std, .. } = config;
        let widths = [&[observation_dim], hidden.as_slice(), &[action_dim]].concat();
        let shape = MlpShape { widths, layer_norm: false, tanh_output: true };
        if let Some(reason) = refuse_hidden(hidden).or_else(|| refuse_parameters(&shape, 1)) {
            require(learner, false, "actor.hidden", &reason)?;
        }
        require(
            learner,
            min_log_std.is_finite() && max_log_std.is_finite() && min_log_std < max_log_std,
            "actor.min_log_std",
            "must be below max_log_std",
        )?;
        let part = (initial_std.ln() - min_log_std) / (max_log_std - min_log_std);
        require(
            learner,
            part > 0.0 && part < 1.0,
            "actor.initial_std",
            "must lie between exp(min_log_std) and exp(max_log_std)",
        )?;
        let build = || {
            let mut params = Params::default();
            let mlp = Mlp::new(&mut params, start, NETWORK, shape)?.in_halves();
            let start = (part / (1.0 - part)).ln() as f32;
            let part = Part { name: LOG_STD.into(), dims: vec![action_dim], at: 0, by_columns: false };
            let log_std_parameter = params.add(LOG_STD, vec![part], &vec![start; action_dim])?;
            let log_std_bounds = [*min_log_std, *max_log_std];
            Ok(Self { params, mlp, log_std_parameter, log_std_bounds })
        };
        build().context("actor")
    }

    /// Gradients of a loss that was made of this pass and of [`log_std`](Self::log_std), with their norm.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn gradients(&self, loss: &Tensor, pass: &Pass) -> Result<(Gradients, f64), LearnError> {
        let store = loss.backward().context("actor gradient")?;
        let mut gradients = Gradients::new();
        if let Some(gradient) = pass.take_gradient() {
            gradients.insert(NETWORK.into(), gradient);
        }
        if let Some(gradient) = store.get(&self.log_std_parameter) {
            gradients.insert(LOG_STD.into(), gradient.to_vec1().context("actor gradient")?);
        }
        let norm = gradient_norm(&gradients);
        Ok((gradients, norm))
    }

    /// The Fisher matrix times `v` over these observations ([`natural_gradient`](super::natural_gradient)); `v` names every parameter.
    ///
    /// # Errors
    /// When a shape does not fit.
    pub fn fisher_product(&self, observation: &Tensor, v: &Gradients) -> Result<Gradients, LearnError> {
        let along = |name: &str| v.get(name).map_or(&[][..], Vec::as_slice);
        let precision: Vec<f32> = self.log_std_row()?.iter().map(|s| (-2.0 * s).exp()).collect();
        let mut moved = self.mlp.tangent(observation, along(NETWORK)).context("fisher product")?;
        let rows = (moved.len() / precision.len().max(1)).max(1) as f32;
        for row in moved.chunks_exact_mut(precision.len().max(1)) {
            row.iter_mut().zip(&precision).for_each(|(m, p)| *m *= p / rows);
        }
        let pass = self.mean(observation).context("fisher product")?;
        let of_network = pass.pull(moved).context("fisher product")?;
        let slope = self.log_std_slope()?;
        let of_log_std = slope.iter().zip(along(LOG_STD)).map(|(s, v)| 2.0 * s * s * v).collect();
        Ok(Gradients::from([(NETWORK.to_owned(), of_network), (LOG_STD.to_owned(), of_log_std)]))
    }

    /// Adds `factor` times `direction` to the parameters.
    ///
    /// # Errors
    /// When a length does not fit.
    pub fn shift(&self, direction: &Gradients, factor: f64) -> Result<(), LearnError> {
        self.params.shift(direction, factor)
    }

    /// Its parameters by name.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn values(&self) -> Result<Gradients, LearnError> {
        self.params.values()
    }

    /// Takes its parameters back, bit for bit.
    ///
    /// # Errors
    /// When a length does not fit.
    pub fn set_values(&self, values: &Gradients) -> Result<(), LearnError> {
        self.params.set_values(values)
    }

    /// Names of its parameters with their numbers.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, usize)> {
        self.params.iter().map(|(name, var)| (name, var.elem_count()))
    }

    /// `d log_std / d parameter`, `[action_dim]`.
    fn log_std_slope(&self) -> Result<Vec<f32>, LearnError> {
        let [min, max] = self.log_std_bounds;
        let parameter: Vec<f32> = self.log_std_parameter.to_vec1().context("deviation")?;
        let slope = |p: &f32| {
            let sigmoid = 1.0 / (1.0 + (-f64::from(*p)).exp());
            ((max - min) * sigmoid * (1.0 - sigmoid)) as f32
        };
        Ok(parameter.iter().map(slope).collect())
    }

    /// The same without a gradient, as rows.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn infer_mean(&self, observation: &Tensor) -> Result<Vec<f32>, LearnError> {
        self.mlp.infer(observation).context("policy mean")
    }

    /// Logarithm of the deviation as a row, `[action_dim]`.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn log_std_row(&self) -> Result<Vec<f32>, LearnError> {
        self.log_std().and_then(|t| t.to_vec1()).context("deviation")
    }

    /// Logarithm of the deviation, `[action_dim]`.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn log_std(&self) -> candle_core::Result<Tensor> {
        let [min, max] = self.log_std_bounds;
        let sigmoid = (self.log_std_parameter.neg()?.exp()? + 1.0)?.recip()?;
        sigmoid.affine(max - min, min)
    }
}

impl PolicyNet for GaussianNet {
    fn params(&self) -> &Params {
        &self.params
    }

    fn recycle(&self, gradient: Vec<f32>) {
        self.mlp.recycle(gradient);
    }

    /// `actor/log_std` `[action_dim]`, resolved, in the place of its parameter.
    fn deploy(&self, arrays: &mut Arrays) -> Result<(), LearnError> {
        arrays.remove(LOG_STD);
        let log_std = self.log_std_row()?;
        arrays.insert("actor/log_std".into(), (vec![log_std.len()], log_std));
        Ok(())
    }

    fn log_likelihood(&self, observation: Vec<f32>, action: &[f32]) -> Result<Option<f64>, LearnError> {
        let log_std = self.log_std().context("deviation")?;
        let dim = log_std.elem_count();
        let observation_dim = observation.len() / (action.len() / dim.max(1)).max(1);
        let means = tensor(observation, observation_dim).context("log-likelihood")?;
        let means = tensor(self.infer_mean(&means)?, dim).context("log-likelihood")?;
        let log_prob = gaussian::log_prob(&means, &log_std, action).and_then(|l| scalar(&l.mean_all()?));
        log_prob.context("log-likelihood").map(Some)
    }
}

impl MeanNet for GaussianNet {
    fn mean_action(&self, observation: &Tensor) -> Result<Vec<f32>, LearnError> {
        self.infer_mean(observation)
    }
}

impl Actor<GaussianNet> {
    /// A seeded actor for `[observation_dim, action_dim]`.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn new(
        config: &ActorConfig,
        dims: [usize; 2],
        start: &Start,
        learner: &'static str,
    ) -> Result<Self, LearnError> {
        let ActorConfig {
            hidden,
            min_log_std: _,
            max_log_std: _,
            initial_std: _,
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
        let architecture = Architecture::tanh_mean(hidden.clone(), *max_explore_std).to_json();
        Self::of(|| GaussianNet::new(config, dims, start, learner), rates, architecture, learner)
    }

    /// Adds `train/entropy` (nats) and `train/std_mean`.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn report(&self, metrics: &mut surefoot_core::Metrics) -> Result<(), LearnError> {
        let log_std = self.net().log_std_row()?;
        metrics.push("train/entropy", gaussian::entropy(&log_std));
        let sum: f64 = log_std.iter().map(|s| f64::from(*s).exp()).sum();
        metrics.push("train/std_mean", sum / log_std.len().max(1) as f64);
        Ok(())
    }
}
