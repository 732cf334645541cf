//! A policy network with its optimiser, its moving average, and how it is deployed. The networks themselves are
//! [`GaussianNet`] and [`SquashedNet`](super::squashed::SquashedNet).

use candle_core::Tensor;
use surefoot_core::{LearnError, PolicyArtifact, PolicyCard};

use super::adam::Adam;
use super::gaussian_net::GaussianNet;
use super::inputs::Inputs;
use super::mlp::Pass;
use super::params::{Arrays, Gradients, Params, gradient_norm, to_safetensors};
use super::{Context, positive, require};

/// Name of the flat parameter of every policy's perceptron.
pub const NETWORK: &str = "actor";

/// A policy's network.
pub trait PolicyNet: Clone + std::fmt::Debug + Send + Sync {
    /// Its parameters.
    fn params(&self) -> &Params;
    /// Gives a gradient's memory back for the next one.
    fn recycle(&self, gradient: Vec<f32>);
    /// From its exported parameters to those that are deployed.
    ///
    /// # Errors
    /// When the tensor library fails.
    fn deploy(&self, arrays: &mut Arrays) -> Result<(), LearnError>;
    /// Mean of `log pi(a|s)` over these rows, nats per step; `None` of a policy whose density nobody knows.
    ///
    /// # Errors
    /// When the shapes do not fit.
    fn log_likelihood(&self, observation: Vec<f32>, action: &[f32]) -> Result<Option<f64>, LearnError>;
}

/// A policy's network that has a middle.
pub trait MeanNet: PolicyNet {
    /// What it does without noise, as rows.
    ///
    /// # Errors
    /// When the shape does not fit.
    fn mean_action(&self, observation: &Tensor) -> Result<Vec<f32>, LearnError>;
}

/// From the gradient of a network's output to that of its flat parameter, with its norm.
///
/// # Errors
/// When the tensor library fails.
pub fn network_gradient(pass: &Pass, of_output: Vec<f32>) -> Result<(Gradients, f64), LearnError> {
    let gradient = pass.pull(of_output).context("actor gradient")?;
    let gradients = Gradients::from([(NETWORK.to_owned(), gradient)]);
    let norm = gradient_norm(&gradients);
    Ok((gradients, norm))
}

/// How fast a policy learns, and how far it explores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActorRates {
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// L2 weight decay, added to the gradient.
    pub weight_decay: f64,
    /// Rate of the moving average, 1 for none.
    pub average_rate: f64,
    /// Largest deviation of exploring actions.
    pub max_explore_std: f64,
}

/// The network, its moving average and its optimiser.
#[derive(Clone, Debug)]
pub struct Actor<N = GaussianNet> {
    net: N,
    average: Option<N>,
    average_rate: f64,
    adam: Adam,
    /// Of the policy card.
    architecture: serde_json::Value,
}

impl<N: PolicyNet> Actor<N> {
    /// Of the network that `build` makes, the same one at every call.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key, and what `build` says.
    pub fn of(
        build: impl Fn() -> Result<N, LearnError>,
        rates: ActorRates,
        architecture: serde_json::Value,
        learner: &'static str,
    ) -> Result<Self, LearnError> {
        let ActorRates { learning_rate, weight_decay, average_rate, max_explore_std } = rates;
        let check = |ok, key, reason| require(learner, ok, key, reason);
        check(positive(learning_rate), "actor.learning_rate", "must be positive")?;
        check(weight_decay >= 0.0 && weight_decay.is_finite(), "actor.weight_decay", "must not be negative")?;
        check(average_rate > 0.0 && average_rate <= 1.0, "actor.average_rate", "must be in (0, 1]")?;
        check(positive(max_explore_std), "actor.max_explore_std", "must be positive")?;
        let net = build()?;
        let average = (average_rate < 1.0).then(build).transpose()?;
        Ok(Self {
            adam: Adam::new(net.params(), learning_rate, weight_decay),
            net,
            average,
            average_rate,
            architecture,
        })
    }

    /// The network that learns.
    #[must_use]
    pub const fn net(&self) -> &N {
        &self.net
    }

    /// The network that acts: the average, or the learning one where there is none.
    #[must_use]
    pub fn acting(&self) -> &N {
        self.average.as_ref().unwrap_or(&self.net)
    }

    /// One optimiser step, and the average follows.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn step(&mut self, gradients: Gradients) -> Result<(), LearnError> {
        self.adam.step(self.net.params(), &gradients)?;
        gradients.into_values().for_each(|g| self.net.recycle(g));
        match &self.average {
            Some(average) => average.params().average_towards(self.net.params(), self.average_rate),
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
        self.net.params().export("", to)?;
        if let Some(average) = &self.average {
            average.params().export("average/", to)?;
        }
        self.adam.export("adam/", to);
        Ok(())
    }

    /// Checks what [`import`](Self::import) takes, without changing anything.
    ///
    /// # Errors
    /// [`LearnError::State`] naming the first difference.
    pub fn check(&self, from: &Arrays) -> Result<(), LearnError> {
        self.net.params().check("", from)?;
        if let Some(average) = &self.average {
            average.params().check("average/", from)?;
        }
        self.adam.check("adam/", from)
    }

    /// Takes everything back.
    ///
    /// # Errors
    /// When an array is missing or has another shape.
    pub fn import(&mut self, from: &Arrays, steps: u64) -> Result<(), LearnError> {
        self.net.params().import("", from)?;
        if let Some(average) = &self.average {
            average.params().import("average/", from)?;
        }
        self.adam.import("adam/", from, steps)
    }

    /// The deployable policy: weights under their learner names, as [`PolicyNet::deploy`] changes them, and those that `beside` adds.
    ///
    /// # Errors
    /// When weights cannot be exported.
    pub fn artifact(
        &self,
        inputs: &Inputs,
        algorithm: &str,
        updates: u64,
        beside: impl FnOnce(&mut Arrays) -> Result<(), LearnError>,
    ) -> Result<PolicyArtifact, LearnError> {
        let net = self.acting();
        let mut arrays = Arrays::new();
        net.params().export("", &mut arrays)?;
        net.deploy(&mut arrays)?;
        beside(&mut arrays)?;
        let weights = to_safetensors(&arrays)
            .map_err(|reason| LearnError::Tensor { context: "policy export", reason })?;
        let card = PolicyCard {
            format: PolicyCard::FORMAT.into(),
            algorithm: algorithm.into(),
            spec: inputs.spec.clone(),
            normalizer: inputs.normalizer.clone(),
            data_hashes: inputs.data_hashes.clone(),
            updates,
            architecture: self.architecture.clone(),
        };
        Ok(PolicyArtifact { card, weights })
    }
}
