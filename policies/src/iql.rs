//! Implicit Q-learning (IQL; Kostrikov, Nair, Levine 2021, arXiv 2110.06169): values from the data's actions alone.
//!
//! One update, `d` the continuation (0 only after a termination), in the order of the authors' code:
//! ```text
//! u  = min_j Qt_j(s, a) - V(s)
//! Lv = mean_batch |expectile - 1(u < 0)| u^2                         V steps first
//! A  = min_j Qt_j(s, a) - V(s)           w = weight(min(A, advantage_clip) / temperature), new V
//! Lp = -mean_batch (w * log pi(a|s))                                 no gradient through w
//! y  = clamp(r + discount * d * V(s'))                               new V
//! Lq = sum_j mean_batch (Q_j(s, a) - y)^2
//! critics and actor step, targets follow: Qt <- Qt + target_rate (Q - Qt)
//! ```
//!
//! | tensor | shape |
//! |---|---|
//! | `actor/layerI`, `actor/log_std_parameter` | observation to `hidden` to action; action |
//! | `criticJ/layerI` (and `normI`), `target/criticJ` | observation + action to `hidden` to 1 |
//! | `value/layerI` (and `normI`) | observation to `critic.hidden` to 1, no target |
//!
//! | setting | default | source |
//! |---|---|---|
//! | `expectile` | 0.7 | paper, locomotion; 0.9 for AntMaze |
//! | `temperature` | 1/3 | paper's inverse temperature 3; 10 for AntMaze, 0.5 for Adroit (divide here: 0.1, 2) |
//! | `weight`, `weight_clip` | `exp`, 100 | authors' code |
//! | `critic.hidden`, rates, `discount`, `target_rate`, batch | 2x256, 3e-4, 0.99, 5e-3, 256 | paper |
//!
//! Differences from the authors' code: critics and `V` have layer normalisation and targets are clamped to what the rewards allow
//! (both are options); the actor's learning rate does not decay by a cosine, its deviation has the bounds and its weights
//! the decay of the other learners, and there is no dropout. Weights may be whitened (`weight = "whiten"`), which makes them free of the reward's scale.
//!
//! `returns` sums up several rewards, as AWAC's; importance weights of a batch (prioritised sampling) multiply each row's share in
//! all three losses.
//!
//! Metrics: AWAC's, and `train/{value_loss, value_gradient_norm, value_mean}`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Batch, LearnError, Learner, Metrics};

use crate::LearnerContext;
use crate::nn::actor::Actor;
use crate::nn::critic::{CriticConfig, Critics, Judging, Weights, critic_loss, taken_value, target_value};
use crate::nn::gaussian_net::{ActorConfig, GaussianNet};
use crate::nn::inputs::{BatchRows, tensor};
use crate::nn::mlp::Mlp;
use crate::nn::off_policy::{
    Algorithm, DataSettings, Noise, NoisePlan, OffPolicy, Parts, ReturnSteps, loss_metrics, td_error,
};
use crate::nn::params::{Gradients, Params, gradient_norm};
use crate::nn::trainable::Trainable;
use crate::nn::weighted_likelihood::PolicyPass;
use crate::nn::weights::{WeightMode, Weighting, effective_sample_size};
use crate::nn::{Context, mean, mean_of, require};

const NAME: &str = "iql";
/// Name of the state value's flat parameter.
const VALUE: &str = "value";

/// Implicit Q-learning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IqlConfig {
    /// The policy network.
    pub actor: ActorConfig,
    /// The critics; the state value has their layers and learning rate.
    pub critic: CriticConfig,
    /// Discount per step (the paper's gamma).
    pub discount: f64,
    /// Which expectile of `Q` over the data's actions `V` is, in (0, 1): 0.5 is the mean, towards 1 the best action.
    pub expectile: f64,
    /// Divides advantages (1 over the paper's beta): smaller is greedier.
    pub temperature: f64,
    /// From advantages to weights.
    pub weight: WeightMode,
    /// Weights above this are cut to it.
    pub weight_clip: f64,
    /// Advantages above this are cut to it.
    pub advantage_clip: Option<f64>,
    /// Steps of the critics' targets.
    pub returns: ReturnSteps,
    /// Rows in an offline batch.
    pub offline_batch: usize,
    /// Rows in an online batch.
    pub online_batch: usize,
    /// Actions of the data are clipped to `1 - demo_action_margin` in size.
    pub demo_action_margin: f64,
    /// Whether observations are standardised by the demonstrations.
    pub normalize_observations: bool,
    /// Added to each observation's deviation when standardising.
    pub observation_std_floor: f64,
}

impl Default for IqlConfig {
    fn default() -> Self {
        Self {
            actor: ActorConfig::default(),
            critic: CriticConfig::default(),
            discount: 0.99,
            expectile: 0.7,
            temperature: 1.0 / 3.0,
            weight: WeightMode::Exp,
            weight_clip: 100.0,
            advantage_clip: None,
            returns: ReturnSteps::OneStep,
            offline_batch: 256,
            online_batch: 256,
            demo_action_margin: 1e-5,
            normalize_observations: true,
            observation_std_floor: 1e-3,
        }
    }
}

impl IqlConfig {
    /// Builds the learner.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn build(&self, context: &LearnerContext) -> Result<Box<dyn Learner>, LearnError> {
        Ok(Box::new(Iql::new(self, context)?))
    }
}

/// The learner.
pub type Iql = OffPolicy<Implicit>;

/// What makes an actor-critic IQL.
#[derive(Clone, Debug)]
pub struct Implicit {
    value: Mlp,
    trained: Trainable,
    expectile: f64,
    weighting: Weighting,
}

impl Iql {
    /// A fresh learner.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn new(config: &IqlConfig, context: &LearnerContext) -> Result<Self, LearnError> {
        let IqlConfig {
            actor,
            critic,
            discount,
            expectile,
            temperature,
            weight,
            weight_clip,
            advantage_clip,
            returns,
            offline_batch,
            online_batch,
            demo_action_margin,
            normalize_observations,
            observation_std_floor,
        } = config;
        let weighting = Weighting {
            mode: *weight,
            temperature: *temperature,
            advantage_clip: *advantage_clip,
            weight_clip: *weight_clip,
        };
        weighting.check(NAME)?;
        require(NAME, *expectile > 0.0 && *expectile < 1.0, "expectile", "must be in (0, 1)")?;
        let data = DataSettings {
            discount: *discount,
            returns: *returns,
            offline_batch: *offline_batch,
            online_batch: *online_batch,
            demo_action_margin: *demo_action_margin,
            normalize_observations: *normalize_observations,
            observation_std_floor: *observation_std_floor,
        };
        let actor = Actor::<GaussianNet>::new(actor, context.dims(), &context.start()?, NAME)?;
        let parts = Parts::new(actor, critic, data, context, NAME)?;
        let mut params = Params::default();
        let shape = Critics::shape(&critic.hidden, context.dims()[0], critic.layer_norm);
        let value = Mlp::new(&mut params, &context.start()?, VALUE, shape).context("value")?;
        let trained = Trainable::new(VALUE, params, critic.learning_rate);
        Ok(Self::of(parts, Implicit { value, trained, expectile: *expectile, weighting }))
    }
}

/// What an update of `V` came to.
struct ValueStep {
    loss: f64,
    norm: f64,
}

impl Implicit {
    fn values(&self, observation: &[f32], dim: usize) -> Result<Vec<f32>, LearnError> {
        let rows = tensor(observation.to_vec(), dim).context("value")?;
        self.value.infer(&rows).context("value")
    }

    /// `|expectile - 1(u < 0)|`.
    fn side(&self, u: f64) -> f64 {
        if u < 0.0 { 1.0 - self.expectile } else { self.expectile }
    }

    /// `V` steps towards the expectile of these values of the data's actions, each row by its `importance` (1 where there is none).
    fn step_value(
        &mut self,
        parts: &Parts,
        observation: &[f32],
        q: &[f32],
        importance: &[f32],
    ) -> Result<ValueStep, LearnError> {
        let rows = tensor(observation.to_vec(), parts.dims()[0]).context("value")?;
        let pass = self.value.forward(&rows).context("value")?;
        let v: Vec<f32> = pass.output.flatten_all().and_then(|v| v.to_vec1()).context("value")?;
        let u = || q.iter().zip(&v).map(|(q, v)| f64::from(q - v));
        let counts = |i: usize| importance.get(i).map_or(1.0, |w| f64::from(*w));
        let loss = mean(u().enumerate().map(|(i, u)| counts(i) * self.side(u) * u * u));
        let n = v.len() as f64;
        let of_v = u().enumerate().map(|(i, u)| (-2.0 * counts(i) * self.side(u) * u / n) as f32).collect();
        let gradients = Gradients::from([(VALUE.to_owned(), pass.pull(of_v).context("value gradient")?)]);
        let norm = gradient_norm(&gradients);
        parts.finite("train/value_loss", loss)?;
        parts.finite("train/value_gradient_norm", norm)?;
        self.trained.step(&gradients)?;
        gradients.into_values().for_each(|g| self.value.recycle(g));
        Ok(ValueStep { loss, norm })
    }
}

impl Algorithm for Implicit {
    type Net = GaussianNet;
    const NAME: &'static str = NAME;
    const HELDOUT: &'static [&'static str] =
        &["heldout/log_likelihood", "heldout/td_error", "heldout/effective_sample_size"];

    fn noise(&self) -> NoisePlan {
        NoisePlan::default()
    }

    fn update(&mut self, parts: &mut Parts, batch: &Batch, noise: &Noise) -> Result<Metrics, LearnError> {
        let rows = parts.take_in(batch)?;
        let dim = parts.dims()[0];
        let (judgements, policy) = parts.threads.join(
            || parts.judge(&rows, parts.pair(&rows.observation, &rows.action)?, &[], noise),
            || PolicyPass::new(parts.actor.net(), &rows, dim),
        );
        let (judgements, policy) = (judgements?, policy?);
        let q_target = target_value(&judgements);
        let value = self.step_value(parts, &rows.observation, &q_target, &batch.weight)?;

        let (v, next) = parts
            .threads
            .join(|| self.values(&rows.observation, dim), || self.values(&rows.next_observation, dim));
        let (v, next) = (v?, next?);
        let advantage: Vec<f32> = q_target.iter().zip(&v).map(|(q, v)| q - v).collect();
        let mut weights = self.weighting.weights(&advantage);
        let effective = effective_sample_size(&weights);
        // Importance weights, where there are any: none is the same as 1 for each, bit for bit.
        weights.iter_mut().zip(&batch.weight).for_each(|(w, importance)| *w *= importance);
        let y = parts.bounds.targets(batch, &next);
        let (critic_loss, actor_loss) = (critic_loss(&judgements, &y, &batch.weight), policy.loss(&weights));
        parts.finite("train/critic_loss", critic_loss)?;
        parts.finite("train/actor_loss", actor_loss)?;
        let norms = parts.descend(&judgements, &y, &batch.weight, |parts| {
            policy.gradient(&weights, parts.actor.net()).map(Some)
        })?;

        let q = taken_value(&judgements, Judging::Min);
        let mut metrics = loss_metrics(critic_loss, Some(actor_loss), norms, &q, &y);
        metrics.push("train/value_loss", value.loss);
        metrics.push("train/value_gradient_norm", value.norm);
        metrics.push("train/value_mean", mean_of(&v));
        policy.report(&advantage, effective, &mut metrics);
        parts.actor.report(&mut metrics)?;
        Ok(metrics)
    }

    fn evaluate(
        &self,
        parts: &Parts,
        batch: &Batch,
        rows: &BatchRows,
        metrics: &mut Metrics,
    ) -> Result<(), LearnError> {
        let dim = parts.dims()[0];
        let y = parts.bounds.targets(batch, &self.values(&rows.next_observation, dim)?);
        let q = parts.value(Weights::Online, &rows.observation, &rows.action, Judging::Min)?;
        let v = self.values(&rows.observation, dim)?;
        let advantage: Vec<f32> = q.iter().zip(&v).map(|(q, v)| q - v).collect();
        metrics.push("heldout/td_error", td_error(&q, &y));
        let weights = self.weighting.weights(&advantage);
        metrics.push("heldout/effective_sample_size", effective_sample_size(&weights));
        Ok(())
    }

    fn reset_value_optimizer(&mut self) {
        self.trained.reset_optimizer();
    }

    fn others(&self) -> Vec<&Trainable> {
        vec![&self.trained]
    }

    fn others_mut(&mut self) -> Vec<&mut Trainable> {
        vec![&mut self.trained]
    }
}
