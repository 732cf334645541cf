//! Advantage-weighted actor-critic (AWAC; Nair, Gupta, Dalal, Levine 2020, arXiv 2006.09359).
//!
//! One update, all losses from the networks before it, `d` the continuation (0 only after a termination):
//! ```text
//! a' = clip(mean(s') + std * noise)
//! y  = clamp(r + discount * d * min_j Qt_j(s', a'))                    no entropy term
//! Lq = sum_j mean_batch (Q_j(s, a) - y)^2
//! V  = min_j Q_j(s, a_pi), a_pi a policy sample (mean over n) or the mean action
//! A  = min_j Q_j(s, a) - V  (or Q_0 alone)          w = weight(min(A, advantage_clip) / temperature)
//! Lp = -mean_batch (w * log pi(a|s))                no gradient through w
//! critics step, actor steps, targets follow: Qt <- Qt + target_rate (Q - Qt)
//! ```
//! Differences from the paper's released code: the default weight is the whitened advantage (scale-free) and not the softmax;
//! critics have layer normalisation; targets are clamped to what the rewards allow; sampled actions and the data's actions are
//! clipped to `[-1, 1]`, as the robot would execute them. Each is an option. Truncated steps bootstrap.
//!
//! With `returns`, `r` is the discounted sum of several rewards, `s'` the observation after the last of them and `d` the factor of the value
//! there. Where a batch has importance weights (prioritised sampling), each row's share in both losses is multiplied by its own.
//!
//! Metrics: `train/{critic_loss, actor_loss, critic_gradient_norm, actor_gradient_norm, q_mean, target_mean, advantage_mean, advantage_std, effective_sample_size,
//! log_likelihood, entropy, std_mean}`; `heldout/{log_likelihood, td_error, effective_sample_size}`, all deterministic, by the
//! policy that acts and its mean action.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Batch, LearnError, Learner, Metrics};

use crate::LearnerContext;
use crate::nn::actor::Actor;
use crate::nn::critic::{CriticConfig, Judgement, Judging, Weights, critic_loss, taken_value, target_value};
use crate::nn::gaussian_net::{ActorConfig, GaussianNet};
use crate::nn::inputs::{BatchRows, tensor};
use crate::nn::off_policy::{Algorithm, DataSettings, NoisePlan, OffPolicy, Parts, loss_metrics, td_error};
pub use crate::nn::off_policy::{Noise, ReturnSteps};
use crate::nn::weighted_likelihood::PolicyPass;
pub use crate::nn::weights::WeightMode;
use crate::nn::weights::{Weighting, effective_sample_size};
use crate::nn::{Context, gaussian, require};

const NAME: &str = "awac";
/// Most samples of `V`: each is a pass over the batch.
const MAX_POLICY_SAMPLES: usize = 256;

/// How `V(s)` is estimated from `Q(s, .)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ValueEstimate {
    /// Mean over this many sampled actions.
    PolicySamples(usize),
    /// At the policy's mean action.
    MeanAction,
}

/// Advantage-weighted actor-critic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AwacConfig {
    /// The policy network.
    pub actor: ActorConfig,
    /// The critics.
    pub critic: CriticConfig,
    /// Discount per step (the paper's gamma).
    pub discount: f64,
    /// Divides advantages (the paper's lambda): smaller is greedier.
    pub temperature: f64,
    /// From advantages to weights.
    pub weight: WeightMode,
    /// Weights above this are cut to it.
    pub weight_clip: f64,
    /// Advantages above this are cut to it.
    pub advantage_clip: Option<f64>,
    /// Which critics judge an advantage.
    pub advantage_q: Judging,
    /// How `V(s)` is estimated.
    pub value_estimate: ValueEstimate,
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

impl Default for AwacConfig {
    fn default() -> Self {
        Self {
            actor: ActorConfig::default(),
            critic: CriticConfig::default(),
            discount: 0.99,
            temperature: 1.0,
            weight: WeightMode::default(),
            weight_clip: 100.0,
            advantage_clip: None,
            advantage_q: Judging::default(),
            value_estimate: ValueEstimate::PolicySamples(1),
            returns: ReturnSteps::OneStep,
            offline_batch: 256,
            online_batch: 256,
            demo_action_margin: 1e-5,
            normalize_observations: true,
            observation_std_floor: 1e-3,
        }
    }
}

impl AwacConfig {
    /// Builds the learner.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn build(&self, context: &LearnerContext) -> Result<Box<dyn Learner>, LearnError> {
        Ok(Box::new(Awac::new(self, context)?))
    }
}

/// The learner.
pub type Awac = OffPolicy<AdvantageWeighting>;

/// What makes an actor-critic AWAC.
#[derive(Clone, Debug)]
pub struct AdvantageWeighting {
    weighting: Weighting,
    advantage_q: Judging,
    value_estimate: ValueEstimate,
}

impl Awac {
    /// A fresh learner.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn new(config: &AwacConfig, context: &LearnerContext) -> Result<Self, LearnError> {
        let AwacConfig {
            actor,
            critic,
            discount,
            temperature,
            weight,
            weight_clip,
            advantage_clip,
            advantage_q,
            value_estimate,
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
        let samples = match value_estimate {
            ValueEstimate::PolicySamples(n) => (1..=MAX_POLICY_SAMPLES).contains(n),
            ValueEstimate::MeanAction => true,
        };
        require(NAME, samples, "value_estimate", "needs 1 to 256 policy samples")?;
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
        let (advantage_q, value_estimate) = (*advantage_q, *value_estimate);
        Ok(Self::of(parts, AdvantageWeighting { weighting, advantage_q, value_estimate }))
    }
}

impl Algorithm for AdvantageWeighting {
    type Net = GaussianNet;
    const NAME: &'static str = NAME;
    const HELDOUT: &'static [&'static str] =
        &["heldout/log_likelihood", "heldout/td_error", "heldout/effective_sample_size"];

    fn noise(&self) -> NoisePlan {
        let policy_actions = match self.value_estimate {
            ValueEstimate::PolicySamples(n) => n,
            ValueEstimate::MeanAction => 0,
        };
        NoisePlan { next_actions: 1, policy_actions, ..NoisePlan::default() }
    }

    fn update(&mut self, parts: &mut Parts, batch: &Batch, noise: &Noise) -> Result<Metrics, LearnError> {
        let rows = parts.take_in(batch)?;
        let (net, dims) = (parts.actor.net(), parts.dims());
        let log_std = net.log_std_row()?;

        // The policy at s' and at s; the latter is shared by V and the policy's loss.
        let (next_mean, policy) = parts.threads.join(
            || {
                let x = tensor(rows.next_observation.clone(), dims[0]).context("next action")?;
                net.infer_mean(&x)
            },
            || PolicyPass::new(net, &rows, dims[0]),
        );
        let (next_mean, policy) = (next_mean?, policy?);
        let next_action = gaussian::sample(&next_mean, &log_std, &noise.next_action);
        let policy_actions = match self.value_estimate {
            ValueEstimate::MeanAction => vec![policy.mean.clone()],
            ValueEstimate::PolicySamples(_) => {
                noise.policy_action.iter().map(|n| gaussian::sample(&policy.mean, &log_std, n)).collect()
            }
        };
        let next = parts.pair(&rows.next_observation, &next_action)?;
        let judgements = parts.judge(&rows, next, &policy_actions, noise)?;
        let y = parts.bounds.targets(batch, &target_value(&judgements));
        let q = taken_value(&judgements, self.advantage_q);
        let v = self.value(&judgements, batch.n);
        let advantage: Vec<f32> = q.iter().zip(&v).map(|(q, v)| q - v).collect();
        let mut weights = self.weighting.weights(&advantage);
        let effective = effective_sample_size(&weights);
        // Importance weights, where there are any: none is the same as 1 for each, bit for bit.
        weights.iter_mut().zip(&batch.weight).for_each(|(w, importance)| *w *= importance);

        let (critic_loss, actor_loss) = (critic_loss(&judgements, &y, &batch.weight), policy.loss(&weights));
        parts.finite("train/critic_loss", critic_loss)?;
        parts.finite("train/actor_loss", actor_loss)?;
        let norms = parts.descend(&judgements, &y, &batch.weight, |parts| {
            policy.gradient(&weights, parts.actor.net()).map(Some)
        })?;

        let mut metrics = loss_metrics(critic_loss, Some(actor_loss), norms, &q, &y);
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
        let (here, there) = (&rows.observation, &rows.next_observation);
        let next = parts.value(Weights::Target, there, &parts.acting_mean(there)?, Judging::Min)?;
        let y = parts.bounds.targets(batch, &next);
        let q = parts.value(Weights::Online, here, &rows.action, self.advantage_q)?;
        let v = parts.value(Weights::Online, here, &parts.acting_mean(here)?, self.advantage_q)?;
        let advantage: Vec<f32> = q.iter().zip(&v).map(|(q, v)| q - v).collect();
        metrics.push("heldout/td_error", td_error(&q, &y));
        let weights = self.weighting.weights(&advantage);
        metrics.push("heldout/effective_sample_size", effective_sample_size(&weights));
        Ok(())
    }
}

impl AdvantageWeighting {
    /// `V(s)`, `[batch]`: the mean over the policy's actions.
    fn value(&self, judgements: &[Judgement], rows: usize) -> Vec<f32> {
        let samples = judgements.first().map_or(0, |j| j.policy.len());
        let mut v = vec![0.0; rows];
        for k in 0..samples {
            let values: Vec<&Vec<f32>> = judgements.iter().map(|j| &j.policy[k]).collect();
            for (v, q) in v.iter_mut().zip(self.advantage_q.of(&values)) {
                *v += q / samples as f32;
            }
        }
        v
    }
}
