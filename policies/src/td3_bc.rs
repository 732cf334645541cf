//! TD3+BC (Fujimoto, Gu 2021, arXiv 2106.06860): a deterministic policy that climbs the critics and clones at once, with the options
//! that ReBRAC (Tarasov et al. 2023, arXiv 2305.09836) fine-tunes with.
//!
//! One update, all losses from the networks before it, `d` the continuation (0 only after a termination), `pi = tanh(mlp(s))`:
//! ```text
//! a' = clip(pit(s') + clip(smoothing_std * noise, -smoothing_clip, smoothing_clip))
//! y  = clamp(r + discount * d * (min_j Qt_j(s', a') - critic_penalty * mean (a' - a'_data)^2))
//! Lq = sum_j mean_batch (Q_j(s, a) - y)^2
//! Lp = cloning * mean (pi(s) - a)^2 - mean_batch(Q) / mean_batch |Q|      Q = actor_q_j Q_j(s, pi(s)), at every actor_period-th
//!      update; no gradient through the divisor
//! a'_data is the action that was executed at s'; where an episode ended there is none, and no penalty
//! critics and actor step; Qt <- Qt + target_rate (Q - Qt) at every update, pit the same when the actor moved
//! ```
//!
//! | tensor | shape |
//! |---|---|
//! | `actor/layerI`, `target/actor/layerI` | observation to `hidden` to action |
//! | `actor/log_std_parameter` | action; stands still: `actor.initial_std` is the noise of exploring |
//! | `criticJ/layerI` (and `normI`), `target/criticJ` | observation + action to `hidden` to 1 |
//!
//! | setting | default | source |
//! |---|---|---|
//! | `cloning` | 0.4 | TD3+BC: 1 / alpha with alpha 2.5. ReBRAC sums over the action where this is the mean: its beta times the action's dimension |
//! | `critic_penalty` | 0 | TD3+BC; ReBRAC's second beta times the action's dimension |
//! | `cloning_decay` | none | ReBRAC fine-tuning: to 0.5 over the online phase |
//! | `smoothing_std`, `smoothing_clip`, `actor_period` | 0.2, 0.5, 2 | TD3 |
//! | `actor_q` | `first` | TD3+BC; ReBRAC `min` |
//! | `actor.initial_std` | 0.05 | that of the other learners; TD3 explores with 0.1, ReBRAC without noise |
//!
//! Differences from TD3+BC: critics have layer normalisation (as ReBRAC's) and bounded targets, both options; the targets of critics
//! follow at every update. From ReBRAC: bounded targets hold the penalty too (`critic = { q_clamp = "off" }` is as published), and at
//! the last step of an episode that was cut off its code takes the next episode's first action for the next one.
//!
//! `returns` sums up several rewards, as AWAC's; importance weights of a batch (prioritised sampling) multiply each row's share in
//! the critics' loss.
//!
//! Metrics: AWAC's without those of weights; `train/{actor_loss, actor_gradient_norm, cloning_error, cloning}` where the actor moved; `train/next_action_error`, the mean
//! distance that is penalised, where `critic_penalty` is not 0;
//! `heldout/{log_likelihood, td_error}`, the first by the exploring deviation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Batch, Beside, LearnError, Learner, Metrics, PolicyError};

use crate::LearnerContext;
use crate::nn::actor::{Actor, PolicyNet, network_gradient};
use crate::nn::critic::{CriticConfig, Judging, Weights, critic_loss, taken_value, target_value};
use crate::nn::gaussian_net::{ActorConfig, GaussianNet};
use crate::nn::inputs::{BatchRows, tensor};
use crate::nn::mlp::Pass;
use crate::nn::off_policy::{
    Algorithm, DataSettings, Noise, NoisePlan, OffPolicy, Parts, ReturnSteps, loss_metrics, td_error,
};
use crate::nn::trainable::Trainable;
use crate::nn::{Context, mean, mean_of, positive, require};

const NAME: &str = "td3_bc";
/// Least divisor of values.
const SCALE_FLOOR: f64 = 1e-6;

/// How the cloning term gets weaker online.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloningDecay {
    /// Part of `cloning` that is left in the end.
    pub to: f64,
    /// Online updates over which it falls, linearly.
    pub updates: u64,
}

/// TD3+BC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Td3BcConfig {
    /// The policy network; `initial_std` is the deviation of exploring actions.
    pub actor: ActorConfig,
    /// The critics.
    pub critic: CriticConfig,
    /// Discount per step.
    pub discount: f64,
    /// Weight of the mean squared distance to the data's actions, beside values of mean size 1.
    pub cloning: f64,
    /// How that weight falls in online phases.
    pub cloning_decay: Option<CloningDecay>,
    /// Weight of the mean squared distance of the next action to the data's, taken from its value (ReBRAC).
    pub critic_penalty: f64,
    /// Deviation of the noise on the next action.
    pub smoothing_std: f64,
    /// That noise is cut to this size.
    pub smoothing_clip: f64,
    /// The actor moves once in so many updates.
    pub actor_period: u64,
    /// How critics judge the policy's actions.
    pub actor_q: Judging,
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

impl Default for Td3BcConfig {
    fn default() -> Self {
        Self {
            actor: ActorConfig::default(),
            critic: CriticConfig::default(),
            discount: 0.99,
            cloning: 0.4,
            cloning_decay: None,
            critic_penalty: 0.0,
            smoothing_std: 0.2,
            smoothing_clip: 0.5,
            actor_period: 2,
            actor_q: Judging::First,
            returns: ReturnSteps::OneStep,
            offline_batch: 256,
            online_batch: 256,
            demo_action_margin: 1e-5,
            normalize_observations: true,
            observation_std_floor: 1e-3,
        }
    }
}

impl Td3BcConfig {
    /// Builds the learner.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn build(&self, context: &LearnerContext) -> Result<Box<dyn Learner>, LearnError> {
        Ok(Box::new(Td3Bc::new(self, context)?))
    }
}

/// The learner.
pub type Td3Bc = OffPolicy<Deterministic>;

/// What makes an actor-critic TD3+BC.
#[derive(Clone, Debug)]
pub struct Deterministic {
    target: GaussianNet,
    target_state: Trainable,
    target_rate: f64,
    cloning: f64,
    cloning_decay: Option<CloningDecay>,
    critic_penalty: f64,
    smoothing_std: f32,
    smoothing_clip: f32,
    actor_period: u64,
    actor_q: Judging,
}

impl Td3Bc {
    /// A fresh learner.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn new(config: &Td3BcConfig, context: &LearnerContext) -> Result<Self, LearnError> {
        let Td3BcConfig {
            actor,
            critic,
            discount,
            cloning,
            cloning_decay,
            critic_penalty,
            smoothing_std,
            smoothing_clip,
            actor_period,
            actor_q,
            returns,
            offline_batch,
            online_batch,
            demo_action_margin,
            normalize_observations,
            observation_std_floor,
        } = config;
        let check = |ok, key, reason| require(NAME, ok, key, reason);
        let not_negative = |x: f64| x >= 0.0 && x.is_finite();
        check(not_negative(*cloning), "cloning", "must not be negative")?;
        let falls = cloning_decay.is_none_or(|d| (0.0..=1.0).contains(&d.to) && d.updates > 0);
        check(falls, "cloning_decay", "must go to 0 to 1 in at least one update")?;
        check(not_negative(*critic_penalty), "critic_penalty", "must not be negative")?;
        check(not_negative(*smoothing_std), "smoothing_std", "must not be negative")?;
        check(positive(*smoothing_clip), "smoothing_clip", "must be positive")?;
        check(*actor_period > 0, "actor_period", "must be at least 1")?;
        let data = DataSettings {
            discount: *discount,
            returns: *returns,
            offline_batch: *offline_batch,
            online_batch: *online_batch,
            demo_action_margin: *demo_action_margin,
            normalize_observations: *normalize_observations,
            observation_std_floor: *observation_std_floor,
        };
        let (dims, start) = (context.dims(), &context.start()?);
        // Of the same seed: it starts as the policy.
        let target = GaussianNet::new(actor, dims, start, NAME)?;
        let actor = Actor::<GaussianNet>::new(actor, dims, start, NAME)?;
        let algorithm = Deterministic {
            target_state: Trainable::target("target/actor", target.params().clone()),
            target,
            target_rate: critic.target_rate,
            cloning: *cloning,
            cloning_decay: *cloning_decay,
            critic_penalty: *critic_penalty,
            smoothing_std: *smoothing_std as f32,
            smoothing_clip: *smoothing_clip as f32,
            actor_period: *actor_period,
            actor_q: *actor_q,
        };
        Ok(Self::of(Parts::new(actor, critic, data, context, NAME)?, algorithm))
    }
}

/// The policy at `s` and what moves it.
struct PolicyLoss {
    pass: Pass,
    loss: f64,
    cloning: f64,
    cloning_error: f64,
    /// Of the mean action.
    gradient: Vec<f32>,
}

impl Deterministic {
    /// The weight of the cloning term now.
    fn cloning(&self, parts: &Parts) -> f64 {
        match (self.cloning_decay, parts.online_since) {
            (Some(CloningDecay { to, updates }), Some(since)) => {
                let done = ((parts.updates - since) as f64 / updates as f64).min(1.0);
                self.cloning * (1.0 - done * (1.0 - to))
            }
            _ => self.cloning,
        }
    }

    fn next_action(&self, rows: &BatchRows, noise: &[f32], dim: usize) -> Result<Vec<f32>, LearnError> {
        let x = tensor(rows.next_observation.clone(), dim).context("next action")?;
        let mut action = self.target.infer_mean(&x)?;
        let (std, clip) = (self.smoothing_std, self.smoothing_clip);
        for (a, n) in action.iter_mut().zip(noise) {
            *a = (*a + (std * n).clamp(-clip, clip)).clamp(-1.0, 1.0);
        }
        Ok(action)
    }

    /// Mean squared distance of the next action to the data's, `[batch]`; 0 where the data has none.
    fn apart(&self, batch: &Batch, rows: &BatchRows, next_action: &[f32]) -> Result<Vec<f32>, LearnError> {
        let found = rows.next_action.len();
        if found != next_action.len() {
            let what = "batch next action numbers (critic_penalty)";
            return Err(PolicyError::Shape { what, expected: next_action.len(), found }.into());
        }
        let dim = (found / batch.n.max(1)).max(1);
        let pairs = next_action.chunks_exact(dim).zip(rows.next_action.chunks_exact(dim));
        let distance = |((ours, theirs), mask): ((&[f32], &[f32]), &f32)| {
            let squares = ours.iter().zip(theirs).map(|(a, b)| f64::from(a - b).powi(2));
            mean(squares) as f32 * mask
        };
        Ok(pairs.zip(&batch.next_action_mask).map(distance).collect())
    }

    fn policy_loss(&self, parts: &Parts, rows: &BatchRows) -> Result<PolicyLoss, LearnError> {
        let [observation_dim, action_dim] = parts.dims();
        let x = tensor(rows.observation.clone(), observation_dim).context("policy forward")?;
        let pass = parts.actor.net().mean(&x).context("policy forward")?;
        let action: Vec<f32> =
            pass.output.flatten_all().and_then(|a| a.to_vec1()).context("policy forward")?;
        let pairs = parts.pair(&rows.observation, &action)?;
        let passes = parts.critics.judge_actions(&pairs, &parts.threads)?;
        let by_critic: Vec<&Vec<f32>> = passes.iter().map(|p| &p.output).collect();
        let q = self.actor_q.of(&by_critic);
        let scale = mean(q.iter().map(|q| f64::from(q.abs()))).max(SCALE_FLOOR);
        let cloning = self.cloning(parts);
        let apart = || action.iter().zip(&rows.action).map(|(p, a)| f64::from(p - a));
        let cloning_error = mean(apart().map(|d| d * d));
        let loss = cloning * cloning_error - mean_of(&q) / scale;
        let factor = (-1.0 / (scale * q.len() as f64)) as f32;
        let coefficients = self.actor_q.gradient(&by_critic, factor);
        let of_q = parts.critics.action_gradient(&passes, coefficients, action_dim, &parts.threads)?;
        let pull = 2.0 * cloning / action.len() as f64;
        let gradient = of_q.iter().zip(apart()).map(|(g, d)| g + (pull * d) as f32).collect();
        Ok(PolicyLoss { pass, loss, cloning, cloning_error, gradient })
    }
}

impl Algorithm for Deterministic {
    type Net = GaussianNet;
    const NAME: &'static str = NAME;
    const HELDOUT: &'static [&'static str] = &["heldout/log_likelihood", "heldout/td_error"];

    fn noise(&self) -> NoisePlan {
        NoisePlan { next_actions: 1, ..NoisePlan::default() }
    }

    fn beside(&self, _data: &DataSettings) -> Beside {
        Beside { next_action: self.critic_penalty > 0.0, ..Beside::default() }
    }

    fn update(&mut self, parts: &mut Parts, batch: &Batch, noise: &Noise) -> Result<Metrics, LearnError> {
        let rows = parts.take_in(batch)?;
        let moves = parts.updates.is_multiple_of(self.actor_period);
        let next_action = self.next_action(&rows, &noise.next_action, parts.dims()[0])?;
        let apart =
            if self.critic_penalty > 0.0 { Some(self.apart(batch, &rows, &next_action)?) } else { None };
        let next = parts.pair(&rows.next_observation, &next_action)?;
        let (judgements, policy) = parts.threads.join(
            || parts.judge(&rows, next, &[], noise),
            || moves.then(|| self.policy_loss(parts, &rows)).transpose(),
        );
        let (judgements, policy) = (judgements?, policy?);
        let mut value = target_value(&judgements);
        let penalty = self.critic_penalty as f32;
        value.iter_mut().zip(apart.iter().flatten()).for_each(|(v, apart)| *v -= penalty * apart);
        let y = parts.bounds.targets(batch, &value);
        let critic_loss = critic_loss(&judgements, &y, &batch.weight);
        parts.finite("train/critic_loss", critic_loss)?;
        let actor_loss = policy.as_ref().map(|p| p.loss);
        parts.finite("train/actor_loss", actor_loss.unwrap_or_default())?;
        let norms = parts.descend(&judgements, &y, &batch.weight, |_| {
            policy.as_ref().map(|p| network_gradient(&p.pass, p.gradient.clone())).transpose()
        })?;
        if moves {
            self.target_state.follow(parts.actor.net().params(), self.target_rate)?;
        }

        let q = taken_value(&judgements, Judging::Min);
        let mut metrics = loss_metrics(critic_loss, actor_loss, norms, &q, &y);
        if let Some(PolicyLoss { cloning, cloning_error, .. }) = policy {
            metrics.push("train/cloning_error", cloning_error);
            metrics.push("train/cloning", cloning);
        }
        if let Some(apart) = apart {
            metrics.push("train/next_action_error", mean_of(&apart));
        }
        Ok(metrics)
    }

    fn evaluate(
        &self,
        parts: &Parts,
        batch: &Batch,
        rows: &BatchRows,
        metrics: &mut Metrics,
    ) -> Result<(), LearnError> {
        let there = tensor(rows.next_observation.clone(), parts.dims()[0]).context("evaluation")?;
        let next_action = self.target.infer_mean(&there)?;
        let next = parts.value(Weights::Target, &rows.next_observation, &next_action, Judging::Min)?;
        let y = parts.bounds.targets(batch, &next);
        let q = parts.value(Weights::Online, &rows.observation, &rows.action, Judging::Min)?;
        metrics.push("heldout/td_error", td_error(&q, &y));
        Ok(())
    }

    fn others(&self) -> Vec<&Trainable> {
        vec![&self.target_state]
    }

    fn others_mut(&mut self) -> Vec<&mut Trainable> {
        vec![&mut self.target_state]
    }
}
