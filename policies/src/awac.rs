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
//! Metrics: `train/{critic_loss, actor_loss, q_mean, target_mean, advantage_mean, advantage_std, effective_sample_size,
//! log_likelihood, entropy, std_mean}`; `heldout/{log_likelihood, td_error, effective_sample_size}`, all deterministic, by the
//! policy that acts and its mean action.

use candle_core::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{
    Batch, Blobs, LearnError, Learner, Metrics, Normalizer, PhaseKind, Policy, PolicyArtifact, ReplayBuffer,
    SamplePlan, Stream,
};

use crate::LearnerContext;
use crate::nn::actor::{Actor, ActorConfig, positive};
use crate::nn::critic::{Critic, Ensemble};
use crate::nn::inputs::{BatchTensors, Inputs};
use crate::nn::params::Arrays;
use crate::nn::state::Counters;
pub use crate::nn::weights::WeightMode;
use crate::nn::weights::{Weighting, effective_sample_size};
use crate::nn::{Context, gaussian, scalar};

const NAME: &str = "awac";

/// How `V(s)` is estimated from `Q(s, .)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ValueEstimate {
    /// Mean over this many sampled actions.
    PolicySamples(usize),
    /// At the policy's mean action.
    MeanAction,
}

/// Which critics judge an advantage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdvantageQ {
    /// The smallest of all.
    #[default]
    Min,
    /// The first alone.
    First,
}

/// Whether values are kept within what the rewards allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QClamp {
    /// Targets stay within the sums of discounted rewards that are possible: by the environment's stated range, widened by what
    /// the data shows.
    #[default]
    RewardBounds,
    /// No bounds.
    Off,
}

/// The critics and how they learn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CriticConfig {
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Critics; the smallest of their values counts.
    pub count: usize,
    /// Layer normalisation before each ReLU.
    pub layer_norm: bool,
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// How far targets follow at each update (the paper's tau).
    pub target_rate: f64,
    /// Bounds on targets.
    pub q_clamp: QClamp,
    /// Whether the optimiser starts anew when the first online phase begins.
    pub reset_optimizer_online: bool,
}

impl Default for CriticConfig {
    fn default() -> Self {
        Self {
            hidden: vec![256, 256],
            count: 2,
            layer_norm: true,
            learning_rate: 3e-4,
            target_rate: 5e-3,
            q_clamp: QClamp::default(),
            reset_optimizer_online: true,
        }
    }
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
    pub advantage_q: AdvantageQ,
    /// How `V(s)` is estimated.
    pub value_estimate: ValueEstimate,
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
            advantage_q: AdvantageQ::default(),
            value_estimate: ValueEstimate::PolicySamples(1),
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
#[derive(Clone, Debug)]
pub struct Awac {
    actor: Actor,
    critic: Critic,
    inputs: Inputs,
    weighting: Weighting,
    discount: f64,
    advantage_q: AdvantageQ,
    value_estimate: ValueEstimate,
    q_clamp: QClamp,
    /// Smallest and largest reward promised or seen.
    reward_range: Option<(f32, f32)>,
    reset_optimizer_online: bool,
    offline_batch: usize,
    online_batch: usize,
    normalize: bool,
    std_floor: f32,
    seed: u64,
    updates: u64,
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
            offline_batch,
            online_batch,
            demo_action_margin,
            normalize_observations,
            observation_std_floor,
        } = config;
        let CriticConfig {
            hidden,
            count,
            layer_norm,
            learning_rate,
            target_rate,
            q_clamp,
            reset_optimizer_online,
        } = critic;
        let LearnerContext { spec, seed, threads: _ } = context;
        let check = |ok: bool, key, reason: &str| {
            if ok {
                Ok(())
            } else {
                Err(LearnError::Config { learner: NAME, key, reason: reason.to_owned() })
            }
        };
        check((0.0..1.0).contains(discount), "discount", "must be in [0, 1)")?;
        check(positive(*temperature), "temperature", "must be positive")?;
        check(positive(*weight_clip), "weight_clip", "must be positive")?;
        check(advantage_clip.is_none_or(f64::is_finite), "advantage_clip", "must be finite")?;
        check(
            *value_estimate != ValueEstimate::PolicySamples(0),
            "value_estimate",
            "needs at least one policy sample",
        )?;
        check(*offline_batch > 0, "offline_batch", "must be at least 1")?;
        check(*online_batch > 0, "online_batch", "must be at least 1")?;
        check((0.0..1.0).contains(demo_action_margin), "demo_action_margin", "must be in [0, 1)")?;
        check(*observation_std_floor > 0.0, "observation_std_floor", "must be positive")?;
        check(hidden.iter().all(|h| *h > 0), "critic.hidden", "must hold positive widths")?;
        check(*count > 0, "critic.count", "must be at least 1")?;
        check(positive(*learning_rate), "critic.learning_rate", "must be positive")?;
        check(*target_rate > 0.0 && *target_rate <= 1.0, "critic.target_rate", "must be in (0, 1]")?;
        let dims = [spec.observation_dim(), spec.action_dim()];
        Ok(Self {
            actor: Actor::new(actor, dims, *seed, NAME)?,
            critic: Critic::new(
                *seed,
                *count,
                dims[0] + dims[1],
                hidden,
                *layer_norm,
                [*learning_rate, *target_rate],
            )?,
            inputs: Inputs {
                spec: spec.clone(),
                normalizer: Normalizer::default(),
                data_hashes: Vec::new(),
                action_bound: (1.0 - demo_action_margin) as f32,
            },
            weighting: Weighting {
                mode: *weight,
                temperature: *temperature,
                advantage_clip: *advantage_clip,
                weight_clip: *weight_clip,
            },
            discount: *discount,
            advantage_q: *advantage_q,
            value_estimate: *value_estimate,
            q_clamp: *q_clamp,
            reward_range: spec.reward_range,
            reset_optimizer_online: *reset_optimizer_online,
            offline_batch: *offline_batch,
            online_batch: *online_batch,
            normalize: *normalize_observations,
            std_floor: *observation_std_floor as f32,
            seed: *seed,
            updates: 0,
        })
    }

    /// Smallest and largest sum of discounted rewards over any horizon of at least one step.
    fn value_bounds(&self) -> Option<(f32, f32)> {
        let bounds = |(low, high): (f32, f32)| {
            let horizon = 1.0 / (1.0 - self.discount);
            let (low, high) = (f64::from(low), f64::from(high));
            (low.min(low * horizon) as f32, high.max(high * horizon) as f32)
        };
        match self.q_clamp {
            QClamp::RewardBounds => self.reward_range.map(bounds),
            QClamp::Off => None,
        }
    }

    /// `y`, `[batch]`, for these next actions.
    fn targets(
        &self,
        batch: &Batch,
        critics: &Ensemble,
        next_observation: &Tensor,
        next_action: &Tensor,
    ) -> Result<Vec<f32>, LearnError> {
        let q = self.values(critics, next_observation, next_action, AdvantageQ::Min)?;
        let bounds = self.value_bounds();
        let rows = batch.reward.iter().zip(&batch.continuation).zip(q);
        Ok(rows
            .map(|((reward, continuation), q)| {
                let y = reward + self.discount as f32 * continuation * q;
                bounds.map_or(y, |(low, high)| y.clamp(low, high))
            })
            .collect())
    }

    /// `Q(s, a)` by the stated rule, `[batch]`, without a gradient.
    fn values(
        &self,
        critics: &Ensemble,
        observation: &Tensor,
        action: &Tensor,
        rule: AdvantageQ,
    ) -> Result<Vec<f32>, LearnError> {
        let q = || {
            let input = Tensor::cat(&[observation, action], 1)?;
            critics.forward(&input)?.iter().map(Tensor::to_vec1).collect::<Result<Vec<_>, _>>()
        };
        Ok(judge(&q().context("critic forward")?, rule))
    }

    /// `V(s)`, `[batch]`, for policy means `[batch, action_dim]`.
    fn state_values(
        &self,
        batch: &BatchTensors,
        mean: &Tensor,
        log_std: &[f32],
        estimate: ValueEstimate,
        noise: &mut Stream,
    ) -> Result<Vec<f32>, LearnError> {
        let value =
            |action: &Tensor| self.values(self.critic.online(), &batch.observation, action, self.advantage_q);
        match estimate {
            ValueEstimate::MeanAction => value(mean),
            ValueEstimate::PolicySamples(count) => {
                let mut sum = vec![0.0; mean.dim(0).context("state value")?];
                for _ in 0..count {
                    let sampled = sample(mean, log_std, noise).context("policy sample")?;
                    for (sum, v) in sum.iter_mut().zip(value(&sampled)?) {
                        *sum += v / count as f32;
                    }
                }
                Ok(sum)
            }
        }
    }

    fn not_finite(&self, what: &'static str, value: f64) -> Result<f64, LearnError> {
        if value.is_finite() {
            Ok(value)
        } else {
            Err(LearnError::NotFinite { what, value, updates: self.updates })
        }
    }
}

/// One number a row from one list per critic.
fn judge(q: &[Vec<f32>], rule: AdvantageQ) -> Vec<f32> {
    let Some((first, others)) = q.split_first() else { return Vec::new() };
    let mut judged = first.clone();
    if rule == AdvantageQ::Min {
        for other in others {
            for (j, q) in judged.iter_mut().zip(other) {
                // Written so that a NaN wins: it must be seen.
                *j = if *j < *q || j.is_nan() { *j } else { *q };
            }
        }
    }
    judged
}

/// A sampled action row for every mean row, inside `[-1, 1]`.
fn sample(mean: &Tensor, log_std: &[f32], stream: &mut Stream) -> candle_core::Result<Tensor> {
    let means: Vec<f32> = mean.flatten_all()?.to_vec1()?;
    let mut noise = vec![0.0; means.len()];
    stream.fill_normal(&mut noise);
    let mut actions = Vec::with_capacity(means.len());
    gaussian::sample_into(&means, log_std, &noise, &mut actions);
    Tensor::from_vec(actions, mean.dims(), &Device::Cpu)
}

fn mean(rows: &[f32]) -> f64 {
    rows.iter().map(|x| f64::from(*x)).sum::<f64>() / rows.len().max(1) as f64
}

impl Learner for Awac {
    fn name(&self) -> &'static str {
        NAME
    }

    fn sample_plan(&self, phase: PhaseKind) -> SamplePlan {
        match phase {
            PhaseKind::Offline => SamplePlan::Transitions { batch: self.offline_batch },
            PhaseKind::Online => SamplePlan::Transitions { batch: self.online_batch },
        }
    }

    fn fit(&mut self, demonstrations: &ReplayBuffer, data_hashes: &[String]) -> Result<(), LearnError> {
        self.inputs.fit(demonstrations, data_hashes, self.normalize, self.std_floor)?;
        let mut all = Batch::default();
        all.clear(demonstrations.observation_dim(), demonstrations.action_dim());
        for i in 0..demonstrations.len() {
            demonstrations.append_row(i, &mut all);
        }
        self.reward_range = widen(self.reward_range, &all.reward);
        Ok(())
    }

    fn enter_phase(&mut self, phase: PhaseKind) -> Result<(), LearnError> {
        if phase == PhaseKind::Online && self.reset_optimizer_online {
            self.critic.reset_optimizer();
        }
        Ok(())
    }

    fn update(&mut self, batch: &Batch) -> Result<Metrics, LearnError> {
        let rows = self.inputs.tensors(batch, self.updates)?;
        self.reward_range = widen(self.reward_range, &batch.reward);
        let mut noise = Stream::new(self.seed, NAME, self.updates);
        let net = self.actor.net();
        let log_std = net.log_std().context("deviation")?;
        let log_std_row: Vec<f32> = log_std.to_vec1().context("deviation")?;

        let next_action = net
            .mean(&rows.next_observation)
            .and_then(|mean| sample(&mean.detach(), &log_std_row, &mut noise))
            .context("next action")?;
        let y = self.targets(batch, self.critic.target(), &rows.next_observation, &next_action)?;

        let critic_losses = || {
            let target = Tensor::from_slice(&y, batch.n, &Device::Cpu)?;
            let q = self.critic.online().forward(&Tensor::cat(&[&rows.observation, &rows.action], 1)?)?;
            let mut loss = Tensor::zeros((), candle_core::DType::F32, &Device::Cpu)?;
            for q in &q {
                loss = (loss + (q - &target)?.sqr()?.mean_all()?)?;
            }
            let q = q.iter().map(Tensor::to_vec1).collect::<Result<Vec<Vec<f32>>, _>>()?;
            Ok((loss, q))
        };
        let (critic_loss, q) = critic_losses().context("critic loss")?;

        let policy_mean = net.mean(&rows.observation).context("policy mean")?;
        let detached = policy_mean.detach();
        let v = self.state_values(&rows, &detached, &log_std_row, self.value_estimate, &mut noise)?;
        let q = judge(&q, self.advantage_q);
        let advantage: Vec<f32> = q.iter().zip(&v).map(|(q, v)| q - v).collect();
        let weights = self.weighting.weights(&advantage);
        let actor_losses = || {
            let log_prob = gaussian::log_prob(&policy_mean, &log_std, &rows.action)?;
            let weights = Tensor::from_slice(&weights, batch.n, &Device::Cpu)?;
            let loss = (&log_prob * weights)?.mean_all()?.neg()?;
            Ok((loss, scalar(&log_prob.mean_all()?)?))
        };
        let (actor_loss, log_likelihood) = actor_losses().context("actor loss")?;

        let critic_value =
            self.not_finite("train/critic_loss", scalar(&critic_loss).context("critic loss")?)?;
        let actor_value = self.not_finite("train/actor_loss", scalar(&actor_loss).context("actor loss")?)?;
        let critic_gradients = critic_loss.backward().context("critic gradient")?;
        let actor_gradients = actor_loss.backward().context("actor gradient")?;
        self.critic.step(&critic_gradients)?;
        self.actor.step(&actor_gradients)?;
        self.critic.follow()?;
        self.updates += 1;

        let advantage_mean = mean(&advantage);
        let variance = advantage.iter().map(|a| (f64::from(*a) - advantage_mean).powi(2)).sum::<f64>();
        let mut metrics = Metrics::new();
        metrics.push("train/critic_loss", critic_value);
        metrics.push("train/actor_loss", actor_value);
        metrics.push("train/q_mean", mean(&q));
        metrics.push("train/target_mean", mean(&y));
        metrics.push("train/advantage_mean", advantage_mean);
        metrics.push("train/advantage_std", (variance / batch.n as f64).sqrt());
        metrics.push("train/effective_sample_size", effective_sample_size(&weights));
        metrics.push("train/log_likelihood", log_likelihood);
        self.actor.report(&mut metrics)?;
        Ok(metrics)
    }

    fn evaluate(&self, batch: &Batch) -> Result<Metrics, LearnError> {
        let rows = self.inputs.tensors(batch, self.updates)?;
        let net = self.actor.acting();
        let mean_action = net.mean(&rows.observation).context("policy mean")?;
        let log_likelihood = net
            .log_std()
            .and_then(|s| gaussian::log_prob(&mean_action, &s, &rows.action)?.mean_all())
            .and_then(|l| scalar(&l))
            .context("evaluation")?;
        let next_action = net.mean(&rows.next_observation).context("next action")?;
        let y = self.targets(batch, self.critic.target(), &rows.next_observation, &next_action)?;
        let q = self.values(self.critic.online(), &rows.observation, &rows.action, self.advantage_q)?;
        let v = self.values(self.critic.online(), &rows.observation, &mean_action, self.advantage_q)?;
        let advantage: Vec<f32> = q.iter().zip(&v).map(|(q, v)| q - v).collect();
        let error: Vec<f32> = q.iter().zip(&y).map(|(q, y)| (q - y).abs()).collect();
        let mut metrics = Metrics::new();
        metrics.push("heldout/log_likelihood", log_likelihood);
        metrics.push("heldout/td_error", mean(&error));
        metrics.push(
            "heldout/effective_sample_size",
            effective_sample_size(&self.weighting.weights(&advantage)),
        );
        Ok(metrics)
    }

    fn updates(&self) -> u64 {
        self.updates
    }

    fn policy(&self, slots: usize) -> Result<Box<dyn Policy>, LearnError> {
        Ok(Box::new(self.actor.policy(&self.inputs, NAME, self.updates, slots)?))
    }

    fn artifact(&self) -> Result<PolicyArtifact, LearnError> {
        self.actor.artifact(&self.inputs, NAME, self.updates)
    }

    fn save(&self) -> Result<Blobs, LearnError> {
        let (mut actor, mut critic) = (Arrays::new(), Arrays::new());
        self.actor.export(&mut actor)?;
        self.critic.export(&mut critic)?;
        actor.append(&mut critic);
        let mut counters = Counters::new(NAME, self.seed, &self.inputs);
        counters.updates = self.updates;
        counters.actor_steps = self.actor.steps();
        counters.critic_steps = self.critic.steps();
        counters.reward_range = self.reward_range;
        counters.save(&actor)
    }

    fn load(&mut self, blobs: &Blobs) -> Result<(), LearnError> {
        let (counters, arrays) = Counters::load(blobs, NAME, &self.inputs)?;
        self.actor.check(&arrays)?;
        self.critic.check(&arrays)?;
        self.actor.import(&arrays, counters.actor_steps)?;
        self.critic.import(&arrays, counters.critic_steps)?;
        self.seed = counters.seed;
        self.updates = counters.updates;
        self.reward_range = counters.reward_range;
        self.inputs.normalizer = counters.normalizer;
        self.inputs.data_hashes = counters.data_hashes;
        Ok(())
    }
}

/// The range that also holds these rewards.
fn widen(range: Option<(f32, f32)>, rewards: &[f32]) -> Option<(f32, f32)> {
    rewards
        .iter()
        .filter(|r| r.is_finite())
        .fold(range, |range, r| Some(range.map_or((*r, *r), |(low, high)| (low.min(*r), high.max(*r)))))
}
