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

use candle_core::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{
    Batch, Blobs, LearnError, Learner, Metrics, Normalizer, PhaseKind, Policy, PolicyArtifact, Returns,
    SamplePlan, Stream, TransitionSource,
};

use crate::LearnerContext;
use crate::nn::actor::{Actor, ActorConfig, GaussianNet, positive};
use crate::nn::critic::{CriticConfig, Critics, Judged, Judgement, Weights};
use crate::nn::inputs::{BatchRows, Inputs, side_by_side, tensor};
use crate::nn::mlp::{MlpShape, Pass};
use crate::nn::params::{Arrays, Gradients};
use crate::nn::size::{refuse_batch, refuse_hidden, refuse_parameters};
use crate::nn::state::Counters;
use crate::nn::threads::Threads;
use crate::nn::value_bounds::ValueBounds;
pub use crate::nn::weights::WeightMode;
use crate::nn::weights::{Weighting, effective_sample_size};
use crate::nn::{Context, gaussian};

const NAME: &str = "awac";
/// Most critics, and most samples of `V`: each is a pass over the batch.
const MAX_CRITICS: usize = 64;
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

/// Rewards of how many steps the critics' targets sum up before they bootstrap. More carry a reward back faster, and are those of the policy
/// that recorded them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReturnSteps {
    /// One.
    #[default]
    OneStep,
    /// At most this many (2 to 1000).
    NStep(usize),
    /// All to the end of the episode; one that was cut off bootstraps there.
    MonteCarlo,
}

/// Most steps of a target.
const MAX_STEPS: usize = 1_000;

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
            advantage_q: AdvantageQ::default(),
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
#[derive(Clone, Debug)]
pub struct Awac {
    actor: Actor,
    critics: Critics,
    inputs: Inputs,
    weighting: Weighting,
    discount: f64,
    advantage_q: AdvantageQ,
    value_estimate: ValueEstimate,
    returns: Returns,
    /// Of the last update, one for each row.
    td_errors: Vec<f32>,
    bounds: ValueBounds,
    reset_optimizer_online: bool,
    offline_batch: usize,
    online_batch: usize,
    normalize: bool,
    std_floor: f32,
    threads: Threads,
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
            returns,
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
        let LearnerContext { spec, seed, threads } = context;
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
            match value_estimate {
                ValueEstimate::PolicySamples(n) => (1..=MAX_POLICY_SAMPLES).contains(n),
                ValueEstimate::MeanAction => true,
            },
            "value_estimate",
            "needs 1 to 256 policy samples",
        )?;
        let per_step = *discount as f32;
        let returns = match returns {
            ReturnSteps::OneStep => Returns::OneStep,
            ReturnSteps::NStep(n) => Returns::NStep { n: *n, discount: per_step },
            ReturnSteps::MonteCarlo => Returns::MonteCarlo { discount: per_step },
        };
        if let Returns::NStep { n, .. } = returns {
            check((2..=MAX_STEPS).contains(&n), "returns.n_step", "must be 2 to 1000")?;
        }
        for (key, rows) in [("offline_batch", *offline_batch), ("online_batch", *online_batch)] {
            if let Some(reason) = refuse_batch(rows) {
                check(false, key, &reason)?;
            }
        }
        check((0.0..1.0).contains(demo_action_margin), "demo_action_margin", "must be in [0, 1)")?;
        check(*observation_std_floor > 0.0, "observation_std_floor", "must be positive")?;
        check(positive(*learning_rate), "critic.learning_rate", "must be positive")?;
        check(*target_rate > 0.0 && *target_rate <= 1.0, "critic.target_rate", "must be in (0, 1]")?;
        let dims = [spec.observation_dim(), spec.action_dim()];
        let widths = [&[dims[0] + dims[1]], hidden.as_slice(), &[1]].concat();
        let shape = MlpShape { widths, layer_norm: *layer_norm, tanh_output: false };
        if let Some(reason) = refuse_hidden(hidden) {
            check(false, "critic.hidden", &reason)?;
        }
        check((1..=MAX_CRITICS).contains(count), "critic.count", "must be 1 to 64")?;
        if let Some(reason) = refuse_parameters(&shape, *count) {
            check(false, "critic.hidden", &reason)?;
        }
        Ok(Self {
            actor: Actor::new(actor, dims, *seed, NAME)?,
            critics: Critics::new(*seed, *count, &shape, [*learning_rate, *target_rate])?,
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
            returns,
            td_errors: Vec::new(),
            bounds: ValueBounds::new(*q_clamp, *discount, spec.reward_range),
            reset_optimizer_online: *reset_optimizer_online,
            offline_batch: *offline_batch,
            online_batch: *online_batch,
            normalize: *normalize_observations,
            std_floor: *observation_std_floor as f32,
            threads: Threads::new(*threads)?,
            seed: *seed,
            updates: 0,
        })
    }

    /// `y`, `[batch]`, for these values of the next step.
    fn targets(&self, batch: &Batch, next_value: &[f32]) -> Vec<f32> {
        let bounds = self.bounds.get();
        let rows = batch.reward.iter().zip(&batch.continuation).zip(next_value);
        rows.map(|((reward, continuation), q)| {
            let y = reward + self.discount as f32 * continuation * q;
            bounds.map_or(y, |(low, high)| y.clamp(low, high))
        })
        .collect()
    }

    /// What the reward of one step is multiplied with, at most, in the sum of a target.
    fn most_steps(&self) -> f32 {
        let horizon = 1.0 / (1.0 - self.discount);
        match self.returns {
            Returns::OneStep => 1.0,
            Returns::NStep { n, .. } => (horizon * (1.0 - self.discount.powf(n as f64))) as f32,
            Returns::MonteCarlo { .. } => horizon as f32,
        }
    }

    /// The noise of the present update for a batch of `n` rows.
    fn draw_noise(&self, n: usize) -> Noise {
        let draw = |purpose: &str, samples: usize| {
            let mut stream = Stream::new(self.seed, purpose, self.updates);
            let one = |_| {
                let mut row = vec![0.0; n * self.dims()[1]];
                stream.fill_normal(&mut row);
                row
            };
            (0..samples).map(one).collect::<Vec<_>>()
        };
        let samples = match self.value_estimate {
            ValueEstimate::PolicySamples(n) => n,
            ValueEstimate::MeanAction => 0,
        };
        let (next, value) =
            self.threads.join(|| draw("awac/next_action", 1), || draw("awac/policy_action", samples));
        Noise { next_action: next.concat(), policy_action: value }
    }

    const fn dims(&self) -> [usize; 2] {
        [self.inputs.spec.observation_dim(), self.inputs.spec.action_dim()]
    }

    fn not_finite(&self, what: &'static str, value: f64) -> Result<f64, LearnError> {
        if value.is_finite() {
            Ok(value)
        } else {
            Err(LearnError::NotFinite { what, value, updates: self.updates })
        }
    }

    /// [`Learner::update`] with given noise: what a test against another implementation needs.
    ///
    /// # Errors
    /// As [`Learner::update`].
    pub fn update_with_noise(&mut self, batch: &Batch, noise: &Noise) -> Result<Metrics, LearnError> {
        let threads = self.threads.clone();
        threads.run(|| self.update_here(batch, noise))
    }

    fn update_here(&mut self, batch: &Batch, noise: &Noise) -> Result<Metrics, LearnError> {
        let rows = self.inputs.rows(batch, self.updates)?;
        match self.returns {
            Returns::OneStep => self.bounds.widen(&batch.reward),
            // A sum of as many rewards of the range as there may be: only one beyond it tells of a reward beyond the range.
            Returns::NStep { .. } | Returns::MonteCarlo { .. } => {
                let steps = self.most_steps();
                self.bounds.widen(&batch.reward.iter().map(|sum| sum / steps).collect::<Vec<_>>());
            }
        }
        let (net, dims) = (self.actor.net(), self.dims());
        let log_std = net.log_std_row()?;

        // The policy at s' and at s; the latter is shared by V and the policy's loss.
        let (next_mean, policy) = self.threads.join(
            || {
                let x = tensor(rows.next_observation.clone(), dims[0]).context("next action")?;
                net.infer_mean(&x)
            },
            || PolicyPass::new(net, &rows, dims),
        );
        let (next_mean, policy) = (next_mean?, policy?);
        let next_action = gaussian::sample(&next_mean, &log_std, &noise.next_action);
        let policy_actions = match self.value_estimate {
            ValueEstimate::MeanAction => vec![policy.mean.clone()],
            ValueEstimate::PolicySamples(_) => {
                noise.policy_action.iter().map(|n| gaussian::sample(&policy.mean, &log_std, n)).collect()
            }
        };
        let pair = |observation: &[f32], action: &[f32]| {
            side_by_side(observation, action, dims).context("critic input")
        };
        let judged = Judged {
            next: pair(&rows.next_observation, &next_action)?,
            taken: pair(&rows.observation, &rows.action)?,
            policy: policy_actions
                .iter()
                .map(|a| pair(&rows.observation, a))
                .collect::<Result<_, LearnError>>()?,
        };
        let judgements = self.critics.judge(&judged, &self.threads)?;
        let by_critic = |rows: fn(&Judgement) -> &Vec<f32>| judgements.iter().map(rows).collect::<Vec<_>>();

        let y = self.targets(batch, &least(&by_critic(|j| &j.next), AdvantageQ::Min));
        let q = least(&by_critic(|j| &j.taken), self.advantage_q);
        let mut v = vec![0.0; batch.n];
        for k in 0..policy_actions.len() {
            let values: Vec<&Vec<f32>> = judgements.iter().map(|j| &j.policy[k]).collect();
            for (v, q) in v.iter_mut().zip(least(&values, self.advantage_q)) {
                *v += q / policy_actions.len() as f32;
            }
        }
        let advantage: Vec<f32> = q.iter().zip(&v).map(|(q, v)| q - v).collect();
        let mut weights = self.weighting.weights(&advantage);
        let effective = effective_sample_size(&weights);
        // Importance weights, where there are any: none is the same as 1 for each, bit for bit.
        weights.iter_mut().zip(&batch.weight).for_each(|(w, importance)| *w *= importance);
        let importance = |i: usize| batch.weight.get(i).map_or(1.0, |w| f64::from(*w));

        let squares = |j: &Judgement| {
            let rows = j.taken.iter().zip(&y).enumerate();
            mean(rows.map(|(i, (q, y))| importance(i) * f64::from(q - y).powi(2)))
        };
        let critic_loss = judgements.iter().map(squares).sum::<f64>();
        let weighted = policy.log_prob_rows.iter().zip(&weights);
        let actor_loss = -mean(weighted.map(|(l, w)| f64::from(*l) * f64::from(*w)));
        self.not_finite("train/critic_loss", critic_loss)?;
        self.not_finite("train/actor_loss", actor_loss)?;

        let (critic_gradients, actor_gradient) = self.threads.join(
            || self.critics.gradients(&judgements, &y, &batch.weight, &self.threads),
            || policy.gradient(&weights, net),
        );
        let (critic_gradients, (actor_gradient, actor_norm)) = (critic_gradients?, actor_gradient?);
        let critic_norm = critic_gradients.iter().map(|(_, norm)| norm * norm).sum::<f64>().sqrt();
        self.not_finite("train/critic_gradient_norm", critic_norm)?;
        self.not_finite("train/actor_gradient_norm", actor_norm)?;

        let (critics, actor, threads) = (&mut self.critics, &mut self.actor, &self.threads);
        let (critics, actor) =
            threads.join(|| critics.step(critic_gradients, threads), || actor.step(actor_gradient));
        critics?;
        actor?;
        self.updates += 1;
        self.td_errors.clear();
        self.td_errors.extend((0..batch.n).map(|i| {
            let errors = judgements.iter().map(|j| (j.taken[i] - y[i]).abs());
            errors.sum::<f32>() / judgements.len().max(1) as f32
        }));

        let wide = |rows: &[f32]| mean(rows.iter().map(|x| f64::from(*x)));
        let advantage_mean = wide(&advantage);
        let variance = mean(advantage.iter().map(|a| (f64::from(*a) - advantage_mean).powi(2)));
        let mut metrics = Metrics::new();
        metrics.push("train/critic_loss", critic_loss);
        metrics.push("train/actor_loss", actor_loss);
        metrics.push("train/critic_gradient_norm", critic_norm);
        metrics.push("train/actor_gradient_norm", actor_norm);
        metrics.push("train/q_mean", wide(&q));
        metrics.push("train/target_mean", wide(&y));
        metrics.push("train/advantage_mean", advantage_mean);
        metrics.push("train/advantage_std", variance.sqrt());
        metrics.push("train/effective_sample_size", effective);
        metrics.push("train/log_likelihood", wide(&policy.log_prob_rows));
        self.actor.report(&mut metrics)?;
        Ok(metrics)
    }

    fn evaluate_here(&self, batch: &Batch) -> Result<Metrics, LearnError> {
        let rows = self.inputs.rows(batch, self.updates)?;
        let (net, dims) = (self.actor.acting(), self.dims());
        let means = |rows: &[f32]| net.infer_mean(&tensor(rows.to_vec(), dims[0]).context("evaluation")?);
        let values = |weights, observation: &[f32], action: &[f32], rule| {
            let input = side_by_side(observation, action, dims).context("evaluation")?;
            let q = self.critics.infer(weights, &input)?;
            Ok::<_, LearnError>(least(&q.iter().collect::<Vec<_>>(), rule))
        };
        let next_action = means(&rows.next_observation)?;
        let next = values(Weights::Target, &rows.next_observation, &next_action, AdvantageQ::Min)?;
        let y = self.targets(batch, &next);
        let q = values(Weights::Online, &rows.observation, &rows.action, self.advantage_q)?;
        let v = values(Weights::Online, &rows.observation, &means(&rows.observation)?, self.advantage_q)?;
        let advantage: Vec<f32> = q.iter().zip(&v).map(|(q, v)| q - v).collect();
        let weights = self.weighting.weights(&advantage);
        let mut metrics = Metrics::new();
        metrics.push("heldout/log_likelihood", net.log_likelihood(rows.observation, &rows.action)?);
        metrics.push("heldout/td_error", mean(q.iter().zip(&y).map(|(q, y)| f64::from((q - y).abs()))));
        metrics.push("heldout/effective_sample_size", effective_sample_size(&weights));
        Ok(metrics)
    }
}

/// Standard normal numbers of one update.
#[derive(Clone, Debug, PartialEq)]
pub struct Noise {
    /// For `a'`, `[batch * action_dim]`.
    pub next_action: Vec<f32>,
    /// For every sample of `V`, `[batch * action_dim]` each.
    pub policy_action: Vec<Vec<f32>>,
}

/// The policy at `s`, with what its gradient needs.
struct PolicyPass {
    mean: Vec<f32>,
    pass: Pass,
    log_prob: Tensor,
    log_prob_rows: Vec<f32>,
}

impl PolicyPass {
    fn new(net: &GaussianNet, rows: &BatchRows, dims: [usize; 2]) -> Result<Self, LearnError> {
        let pass = || {
            let pass = net.mean(&tensor(rows.observation.clone(), dims[0])?)?;
            let log_prob = gaussian::log_prob(&pass.output, &net.log_std()?, &rows.action)?; // [batch]
            let mean = pass.output.flatten_all()?.to_vec1()?;
            Ok(Self { mean, pass, log_prob_rows: log_prob.to_vec1()?, log_prob })
        };
        pass().context("policy forward")
    }

    /// The gradient of `-mean(w log pi(a|s))` and its norm.
    fn gradient(&self, weights: &[f32], net: &GaussianNet) -> Result<(Gradients, f64), LearnError> {
        let weights = Tensor::from_slice(weights, weights.len(), &Device::Cpu).context("actor loss")?;
        let loss = (&self.log_prob * weights).and_then(|l| l.mean_all()?.neg());
        net.gradients(&loss.context("actor loss")?, &self.pass)
    }
}

/// One number a row from one list per critic.
fn least(q: &[&Vec<f32>], rule: AdvantageQ) -> Vec<f32> {
    let Some((first, others)) = q.split_first() else { return Vec::new() };
    let mut judged = (*first).clone();
    if rule == AdvantageQ::Min {
        for other in others {
            for (j, q) in judged.iter_mut().zip(*other) {
                // Written so that a NaN wins: it must be seen.
                *j = if *j < *q || j.is_nan() { *j } else { *q };
            }
        }
    }
    judged
}

fn mean(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = numbers.len().max(1) as f64;
    numbers.sum::<f64>() / n
}

impl Learner for Awac {
    fn name(&self) -> &'static str {
        NAME
    }

    fn sample_plan(&self, phase: PhaseKind) -> SamplePlan {
        let batch = match phase {
            PhaseKind::Offline => self.offline_batch,
            PhaseKind::Online => self.online_batch,
        };
        SamplePlan::Transitions { batch, returns: self.returns }
    }

    fn fit(
        &mut self,
        demonstrations: &dyn TransitionSource,
        data_hashes: &[String],
    ) -> Result<(), LearnError> {
        let bounds = &mut self.bounds;
        let widen = |reward: f32| bounds.widen(&[reward]);
        self.inputs.fit(demonstrations, data_hashes, self.normalize, self.std_floor, widen)
    }

    fn td_errors(&self) -> Option<&[f32]> {
        Some(&self.td_errors)
    }

    fn enter_phase(&mut self, phase: PhaseKind) -> Result<(), LearnError> {
        if phase == PhaseKind::Online && self.reset_optimizer_online {
            self.critics.reset_optimizer();
        }
        Ok(())
    }

    fn update(&mut self, batch: &Batch) -> Result<Metrics, LearnError> {
        let threads = self.threads.clone();
        threads.run(|| {
            let noise = self.draw_noise(batch.n);
            self.update_here(batch, &noise)
        })
    }

    fn heldout_metrics(&self) -> &'static [&'static str] {
        &["heldout/log_likelihood", "heldout/td_error", "heldout/effective_sample_size"]
    }

    fn evaluate(&self, batch: &Batch) -> Result<Metrics, LearnError> {
        self.threads.run(|| self.evaluate_here(batch))
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
        self.critics.export(&mut critic)?;
        actor.append(&mut critic);
        let mut counters = Counters::new(NAME, self.seed, &self.inputs);
        counters.updates = self.updates;
        counters.actor_steps = self.actor.steps();
        counters.critic_steps = self.critics.steps();
        counters.reward_range = self.bounds.reward_range();
        counters.save(&actor)
    }

    fn load(&mut self, blobs: &Blobs) -> Result<(), LearnError> {
        let (counters, arrays) = Counters::load(blobs, NAME, &self.inputs)?;
        self.actor.check(&arrays)?;
        self.critics.check(&arrays)?;
        self.actor.import(&arrays, counters.actor_steps)?;
        self.critics.import(&arrays, counters.critic_steps)?;
        self.bounds.restore(counters.reward_range);
        (self.seed, self.updates) = counters.give_back(&mut self.inputs);
        Ok(())
    }
}
