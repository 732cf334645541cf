//! The policy network that BC and AWAC train: a Gaussian with mean `tanh(mlp(s))` and a bounded, state-independent deviation
//! `log_std = min + sigmoid(p) (max - min)`. The distribution itself is not squashed.

use candle_core::{Tensor, Var};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{LearnError, PolicyArtifact, PolicyCard};

use super::adam::Adam;
use super::gaussian_policy::{Architecture, GaussianPolicy};
use super::inputs::{Inputs, tensor};
use super::mlp::{Mlp, MlpShape, Pass};
use super::params::{Arrays, Gradients, Params, Part, gradient_norm, to_safetensors};
use super::size::{refuse_hidden, refuse_parameters};
use super::{Context, gaussian, scalar};

/// Names of the flat parameters.
const NETWORK: &str = "actor";
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

    /// Mean of `log pi(a|s)` over these rows, nats per step.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn log_likelihood(&self, observation: Vec<f32>, action: &[f32]) -> Result<f64, LearnError> {
        let log_std = self.log_std().context("deviation")?;
        let dim = log_std.elem_count();
        let observation_dim = observation.len() / (action.len() / dim.max(1)).max(1);
        let means = tensor(observation, observation_dim).context("log-likelihood")?;
        let means = tensor(self.infer_mean(&means)?, dim).context("log-likelihood")?;
        let log_prob = gaussian::log_prob(&means, &log_std, action).and_then(|l| scalar(&l.mean_all()?));
        log_prob.context("log-likelihood")
    }

    /// Its parameters.
    #[must_use]
    pub const fn params(&self) -> &Params {
        &self.params
    }
}

/// The network, its moving average and its optimiser.
#[derive(Clone, Debug)]
pub struct Actor {
    net: GaussianNet,
    average: Option<GaussianNet>,
    average_rate: f64,
    adam: Adam,
    architecture: Architecture,
}

impl Actor {
    /// A seeded actor for `[observation_dim, action_dim]`.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn new(
        config: &ActorConfig,
        [observation_dim, action_dim]: [usize; 2],
        seed: u64,
        learner: &'static str,
    ) -> Result<Self, LearnError> {
        let ActorConfig {
            hidden,
            min_log_std,
            max_log_std,
            initial_std,
            learning_rate,
            weight_decay,
            average_rate,
            max_explore_std,
        } = config;
        let check = |ok: bool, key, reason: &str| {
            if ok { Ok(()) } else { Err(LearnError::Config { learner, key, reason: reason.to_owned() }) }
        };
        let widths = [&[observation_dim], hidden.as_slice(), &[action_dim]].concat();
        let shape = MlpShape { widths, layer_norm: false, tanh_output: true };
        if let Some(reason) = refuse_hidden(hidden).or_else(|| refuse_parameters(&shape, 1)) {
            check(false, "actor.hidden", &reason)?;
        }
        check(
            min_log_std.is_finite() && max_log_std.is_finite() && min_log_std < max_log_std,
            "actor.min_log_std",
            "must be below max_log_std",
        )?;
        let part = (initial_std.ln() - min_log_std) / (max_log_std - min_log_std);
        check(
            part > 0.0 && part < 1.0,
            "actor.initial_std",
            "must lie between exp(min_log_std) and exp(max_log_std)",
        )?;
        check(positive(*learning_rate), "actor.learning_rate", "must be positive")?;
        check(
            *weight_decay >= 0.0 && weight_decay.is_finite(),
            "actor.weight_decay",
            "must not be negative",
        )?;
        check(*average_rate > 0.0 && *average_rate <= 1.0, "actor.average_rate", "must be in (0, 1]")?;
        check(positive(*max_explore_std), "actor.max_explore_std", "must be positive")?;
        let build = || {
            let mut params = Params::default();
            let mlp = Mlp::new(&mut params, seed, NETWORK, shape.clone())?;
            let start = (part / (1.0 - part)).ln() as f32;
            let part = Part { name: LOG_STD.into(), dims: vec![action_dim], at: 0 };
            let log_std_parameter = params.add(LOG_STD, vec![part], &vec![start; action_dim])?;
            let log_std_bounds = [*min_log_std, *max_log_std];
            Ok(GaussianNet { params, mlp, log_std_parameter, log_std_bounds })
        };
        let net = build().context("actor")?;
        // Built from the same seed: the average starts as the policy.
        let average = (*average_rate < 1.0).then(build).transpose().context("actor average")?;
        Ok(Self {
            adam: Adam::new(&net.params, *learning_rate, *weight_decay),
            net,
            average,
            average_rate: *average_rate,
            architecture: Architecture::new(hidden.clone(), *max_explore_std),
        })
    }

    /// The network that learns.
    #[must_use]
    pub const fn net(&self) -> &GaussianNet {
        &self.net
    }

    /// The network that acts: the average, or the learning one where there is none.
    #[must_use]
    pub fn acting(&self) -> &GaussianNet {
        self.average.as_ref().unwrap_or(&self.net)
    }

    /// One optimiser step, and the average follows.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn step(&mut self, gradients: Gradients) -> Result<(), LearnError> {
        self.adam.step(&self.net.params, &gradients)?;
        gradients.into_values().for_each(|g| self.net.mlp.recycle(g));
        match &self.average {
            Some(average) => average.params.average_towards(&self.net.params, self.average_rate),
            None => Ok(()),
        }
    }

    /// Optimiser steps so far.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.adam.steps()
    }

    /// Adds weights, average and moments.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn export(&self, to: &mut Arrays) -> Result<(), LearnError> {
        self.net.params.export("", to)?;
        if let Some(average) = &self.average {
            average.params.export("average/", to)?;
        }
        self.adam.export("adam/", to);
        Ok(())
    }

    /// Checks what [`import`](Self::import) takes, without changing anything.
    ///
    /// # Errors
    /// [`LearnError::State`] naming the first difference.
    pub fn check(&self, from: &Arrays) -> Result<(), LearnError> {
        self.net.params.check("", from)?;
        if let Some(average) = &self.average {
            average.params.check("average/", from)?;
        }
        self.adam.check("adam/", from)
    }

    /// Takes everything back.
    ///
    /// # Errors
    /// When an array is missing or has another shape.
    pub fn import(&mut self, from: &Arrays, steps: u64) -> Result<(), LearnError> {
        self.net.params.import("", from)?;
        if let Some(average) = &self.average {
            average.params.import("average/", from)?;
        }
        self.adam.import("adam/", from, steps)
    }

    /// The deployable policy: weights under their learner names, and `actor/log_std` `[action_dim]`, resolved.
    ///
    /// # Errors
    /// When weights cannot be exported.
    pub fn artifact(
        &self,
        inputs: &Inputs,
        algorithm: &str,
        updates: u64,
    ) -> Result<PolicyArtifact, LearnError> {
        let net = self.acting();
        let mut arrays = Arrays::new();
        net.params.export("", &mut arrays)?;
        arrays.remove(LOG_STD);
        let log_std = net.log_std_row()?;
        arrays.insert("actor/log_std".into(), (vec![log_std.len()], log_std));
        let weights = to_safetensors(&arrays)
            .map_err(|reason| LearnError::Tensor { context: "policy export", reason })?;
        let card = PolicyCard {
            format: PolicyCard::FORMAT.into(),
            algorithm: algorithm.into(),
            spec: inputs.spec.clone(),
            normalizer: inputs.normalizer.clone(),
            data_hashes: inputs.data_hashes.clone(),
            updates,
            architecture: self.architecture.to_json(),
        };
        Ok(PolicyArtifact { card, weights })
    }

    /// The policy ready to act, built from its own artefact: what acts in training is what will be deployed.
    ///
    /// # Errors
    /// When weights cannot be exported.
    pub fn policy(
        &self,
        inputs: &Inputs,
        algorithm: &str,
        updates: u64,
        slots: usize,
    ) -> Result<GaussianPolicy, LearnError> {
        let artifact = self.artifact(inputs, algorithm, updates)?;
        Ok(GaussianPolicy::from_artifact(&artifact, slots)?)
    }

    /// Adds `train/entropy` (nats) and `train/std_mean`.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn report(&self, metrics: &mut surefoot_core::Metrics) -> Result<(), LearnError> {
        let log_std = self.net.log_std_row()?;
        metrics.push("train/entropy", gaussian::entropy(&log_std));
        let sum: f64 = log_std.iter().map(|s| f64::from(*s).exp()).sum();
        metrics.push("train/std_mean", sum / log_std.len().max(1) as f64);
        Ok(())
    }
}

/// Positive and finite.
pub(crate) const fn positive(x: f64) -> bool {
    x > 0.0 && x.is_finite()
}
