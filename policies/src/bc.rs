//! Behaviour cloning: the policy network of [`awac`](crate::awac), fitted to the data's actions.
//!
//! `log_likelihood`: `L = -mean(log pi(a|s))`; `mean_squared_error`: `L = mean((tanh(mlp(s)) - a)^2)`, which leaves the deviation as
//! it started.
//!
//! Metrics: `train/actor_loss`, `train/actor_gradient_norm`, `train/log_likelihood`, `train/entropy`, `train/std_mean`; `heldout/log_likelihood` (nats per
//! step, of the policy that acts).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{
    Batch, Beside, Blobs, LearnError, Learner, Metrics, Normalizer, PhaseKind, Policy, PolicyArtifact,
    Returns, SamplePlan, TransitionSource,
};

use crate::LearnerContext;
use crate::nn::actor::{Actor, PolicyNet};
use crate::nn::gaussian_net::{ActorConfig, GaussianNet};
use crate::nn::inputs::{Inputs, tensor};
use crate::nn::params::Arrays;
use crate::nn::size::refuse_batch;
use crate::nn::state::Counters;
use crate::nn::{Context, gaussian, require, scalar};

const NAME: &str = "bc";

/// What is minimised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BcLoss {
    /// Negative log-likelihood: learns the deviation too.
    #[default]
    LogLikelihood,
    /// Squared distance of the mean action.
    MeanSquaredError,
}

/// Behaviour cloning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BcConfig {
    /// The policy network.
    pub actor: ActorConfig,
    /// What is minimised.
    pub loss: BcLoss,
    /// Rows in a batch.
    pub batch: usize,
    /// Actions of the data are clipped to `1 - demo_action_margin` in size.
    pub demo_action_margin: f64,
    /// Whether observations are standardised by the demonstrations.
    pub normalize_observations: bool,
    /// Added to each observation's deviation when standardising.
    pub observation_std_floor: f64,
}

impl Default for BcConfig {
    fn default() -> Self {
        Self {
            actor: ActorConfig::default(),
            loss: BcLoss::default(),
            batch: 256,
            demo_action_margin: 1e-5,
            normalize_observations: true,
            observation_std_floor: 1e-3,
        }
    }
}

impl BcConfig {
    /// Builds the learner.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn build(&self, context: &LearnerContext) -> Result<Box<dyn Learner>, LearnError> {
        Ok(Box::new(Bc::new(self, context)?))
    }
}

/// The learner.
#[derive(Clone, Debug)]
pub struct Bc {
    actor: Actor,
    inputs: Inputs,
    loss: BcLoss,
    batch: usize,
    normalize: bool,
    std_floor: f32,
    seed: u64,
    updates: u64,
}

impl Bc {
    /// A fresh learner.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn new(config: &BcConfig, context: &LearnerContext) -> Result<Self, LearnError> {
        let BcConfig {
            actor,
            loss,
            batch,
            demo_action_margin,
            normalize_observations,
            observation_std_floor,
        } = config;
        let LearnerContext { spec, seed, threads: _, device: _ } = context;
        let check = |ok, key, reason: &str| require(NAME, ok, key, reason);
        if let Some(reason) = refuse_batch(*batch) {
            check(false, "batch", &reason)?;
        }
        check((0.0..1.0).contains(demo_action_margin), "demo_action_margin", "must be in [0, 1)")?;
        check(*observation_std_floor > 0.0, "observation_std_floor", "must be positive")?;
        Ok(Self {
            actor: Actor::<GaussianNet>::new(
                actor,
                [spec.observation_dim(), spec.action_dim()],
                &context.start()?,
                NAME,
            )?,
            inputs: Inputs {
                spec: spec.clone(),
                normalizer: Normalizer::default(),
                data_hashes: Vec::new(),
                action_bound: (1.0 - demo_action_margin) as f32,
            },
            loss: *loss,
            batch: *batch,
            normalize: *normalize_observations,
            std_floor: *observation_std_floor as f32,
            seed: *seed,
            updates: 0,
        })
    }
}

impl Learner for Bc {
    fn name(&self) -> &'static str {
        NAME
    }

    fn sample_plan(&self, _phase: PhaseKind) -> SamplePlan {
        SamplePlan::Transitions { batch: self.batch, returns: Returns::OneStep, beside: Beside::default() }
    }

    fn needs_rewards(&self) -> bool {
        false
    }

    fn fit(
        &mut self,
        demonstrations: &dyn TransitionSource,
        data_hashes: &[String],
    ) -> Result<(), LearnError> {
        self.inputs.fit(demonstrations, data_hashes, self.normalize, self.std_floor, |_| {})
    }

    fn enter_phase(&mut self, _phase: PhaseKind) -> Result<(), LearnError> {
        Ok(())
    }

    fn update(&mut self, batch: &Batch) -> Result<Metrics, LearnError> {
        let rows = self.inputs.rows(batch, self.updates)?;
        let net = self.actor.net();
        let forward = || {
            let pass = net.mean(&tensor(rows.observation, self.inputs.spec.observation_dim())?)?;
            let log_prob = gaussian::log_prob(&pass.output, &net.log_std()?, &rows.action)?.mean_all()?;
            let loss = match self.loss {
                BcLoss::LogLikelihood => log_prob.neg()?,
                BcLoss::MeanSquaredError => {
                    (&pass.output - tensor(rows.action, self.inputs.spec.action_dim())?)?.sqr()?.mean_all()?
                }
            };
            Ok((scalar(&loss)?, scalar(&log_prob)?, loss, pass))
        };
        let (value, log_likelihood, loss, pass) = forward().context("bc loss")?;
        let (gradients, norm) = net.gradients(&loss, &pass)?;
        for (what, value) in [("train/actor_loss", value), ("train/actor_gradient_norm", norm)] {
            if !value.is_finite() {
                return Err(LearnError::NotFinite { what, value, updates: self.updates });
            }
        }
        self.actor.step(gradients)?;
        self.updates += 1;
        let mut metrics = Metrics::new();
        metrics.push("train/actor_loss", value);
        metrics.push("train/actor_gradient_norm", norm);
        metrics.push("train/log_likelihood", log_likelihood);
        self.actor.report(&mut metrics)?;
        Ok(metrics)
    }

    fn heldout_metrics(&self) -> &'static [&'static str] {
        &["heldout/log_likelihood"]
    }

    fn evaluate(&self, batch: &Batch) -> Result<Metrics, LearnError> {
        let rows = self.inputs.rows(batch, self.updates)?;
        let mut metrics = Metrics::new();
        let log_likelihood = self.actor.acting().log_likelihood(rows.observation, &rows.action)?;
        if let Some(log_likelihood) = log_likelihood {
            metrics.push("heldout/log_likelihood", log_likelihood);
        }
        Ok(metrics)
    }

    fn updates(&self) -> u64 {
        self.updates
    }

    fn policy(&self, slots: usize) -> Result<Box<dyn Policy>, LearnError> {
        Ok(crate::load_policy(&self.artifact()?, slots)?)
    }

    fn artifact(&self) -> Result<PolicyArtifact, LearnError> {
        self.actor.artifact(&self.inputs, NAME, self.updates, |_| Ok(()))
    }

    fn save(&self) -> Result<Blobs, LearnError> {
        let mut arrays = Arrays::new();
        self.actor.export(&mut arrays)?;
        let mut counters = Counters::new(NAME, self.seed, &self.inputs);
        counters.updates = self.updates;
        counters.actor_steps = self.actor.steps();
        counters.save(&arrays)
    }

    fn load(&mut self, blobs: &Blobs) -> Result<(), LearnError> {
        let (counters, arrays) = Counters::load(blobs, NAME, &self.inputs)?;
        self.actor.check(&arrays)?;
        self.actor.import(&arrays, counters.actor_steps)?;
        (self.seed, self.updates) = counters.give_back(&mut self.inputs);
        Ok(())
    }
}
