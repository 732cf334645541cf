//! BEAR (Kumar et al. 2019, arXiv 1906.00949): a policy that climbs the critics as long as its actions have the support of the data's,
//! by samples of an autoencoder of the data's actions ([`behaviour_vae`](crate::nn::behaviour_vae)).
//!
//! One update, all losses from the networks before it, `d` the continuation (0 only after a termination):
//! ```text
//! a'_k ~ pi(.|s'), k over next_samples
//! y  = clamp(r + discount * d * max_k (mix min_j Qt_j(s', a'_k) + (1 - mix) max_j Qt_j(s', a'_k)))
//! Lq = sum_j mean_batch (Q_j(s, a) - y)^2
//! u_k of pi(.|s) and v_k of the behaviour, before squashing, k over match_samples
//! Lp = mean_batch (multiplier * (mmd({u_k}, {v_k}) - mmd_target) - actor_q_j Q_j(s, tanh(u_1)))     the last term after warmup_updates
//! Lm = -log-multiplier's: -multiplier * (mean_batch mmd - mmd_target)      its logarithm is kept in [-5, 10]
//! Lb = the autoencoder's
//! critics, actor, autoencoder and log multiplier step, targets follow: Qt <- Qt + target_rate (Q - Qt)
//! ```
//!
//! | tensor | shape |
//! |---|---|
//! | `actor/layerI` | observation to `hidden` to means and deviations, 2 x action |
//! | `criticJ/layerI` (and `normI`), `target/criticJ` | observation + action to `hidden` to 1 |
//! | `behaviour/encoder/layerI` | observation + action to `behaviour.hidden` to 4 x action |
//! | `behaviour/decoder/layerI` | observation + 2 x action to `behaviour.hidden` to action |
//! | `log_multiplier` | 1 |
//!
//! | setting | default | source |
//! |---|---|---|
//! | `mmd_target`, `kernel`, `mmd_bandwidth` | 0.05, `laplacian`, 20 | paper |
//! | `match_samples`, `next_samples`, `q_mix` | 4, 10, 0.75 | d3rlpy, authors' code |
//! | `warmup_updates` | 5 000 | d3rlpy: 40 000 of 500 000 |
//! | `multiplier_learning_rate` | 1e-3 | authors' code |
//! | `behaviour` | 2x256, 1e-3, 0.5 | authors' code: 2x750 |
//! | rates, `discount`, `target_rate`, networks, batch | 3e-4, 0.99, 5e-3, 2x256, 256 | d3rlpy has 1e-4 for the actor |
//!
//! Differences from the authors' code: the policy acts by its mean or a sample, not by the best of ten samples; its deviations are
//! bounded smoothly; there is no entropy bonus (d3rlpy has one); critics have layer normalisation and bounded targets, both options.
//!
//! `returns` sums up several rewards, as AWAC's; importance weights of a batch (prioritised sampling) multiply each row's share in
//! the critics' loss. Targets mix the critics that are drawn, where `critic.min_over` is given.
//!
//! Metrics: AWAC's without those of weights; `train/{behaviour_loss, mmd, multiplier, std_mean, log_likelihood}`;
//! `heldout/{log_likelihood, td_error}`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Batch, LearnError, Learner, Metrics, PolicyError};

use crate::LearnerContext;
use crate::nn::actor::{Actor, network_gradient};
use crate::nn::behaviour_vae::{BehaviourConfig, BehaviourVae};
use crate::nn::critic::{CriticConfig, Judging, critic_loss, soft_clipped_maximum, taken_value};
use crate::nn::inputs::{BatchRows, tensor};
use crate::nn::max_entropy::{LogScale, PolicyLoss, entropy_loss, judge_heldout};
use crate::nn::mmd::{Kernel, discrepancy};
use crate::nn::off_policy::{
    Algorithm, DataSettings, Noise, NoisePlan, OffPolicy, Parts, ReturnSteps, loss_metrics,
};
use crate::nn::squashed::{SquashedActorConfig, SquashedNet};
use crate::nn::trainable::Trainable;
use crate::nn::{Context, mean_of, positive, require};

const NAME: &str = "bear";
/// Most samples of each kind.
const MAX_SAMPLES: usize = 100;
/// Bounds of the multiplier's logarithm.
const LOG_MULTIPLIER: [f64; 2] = [-5.0, 10.0];

/// BEAR.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BearConfig {
    /// The policy network.
    pub actor: SquashedActorConfig,
    /// The critics.
    pub critic: CriticConfig,
    /// The autoencoder of the data's actions.
    pub behaviour: BehaviourConfig,
    /// Discount per step (the paper's gamma).
    pub discount: f64,
    /// Discrepancy from the behaviour's actions that is allowed (the paper's epsilon).
    pub mmd_target: f64,
    /// How near two samples are.
    pub kernel: Kernel,
    /// Over which distances (the paper's sigma).
    pub mmd_bandwidth: f64,
    /// Actions at each state, of the policy and of the behaviour, that the discrepancy is of.
    pub match_samples: usize,
    /// Next actions of which the best one is the target's.
    pub next_samples: usize,
    /// Weight of the smallest value in targets; the largest has the rest.
    pub q_mix: f64,
    /// Updates before the policy climbs the critics; until then it only matches the behaviour.
    pub warmup_updates: u64,
    /// The multiplier of the discrepancy at the start.
    pub initial_multiplier: f64,
    /// Adam's learning rate of its logarithm; 0 keeps it.
    pub multiplier_learning_rate: f64,
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

impl Default for BearConfig {
    fn default() -> Self {
        Self {
            actor: SquashedActorConfig::default(),
            critic: CriticConfig::default(),
            behaviour: BehaviourConfig::default(),
            discount: 0.99,
            mmd_target: 0.05,
            kernel: Kernel::Laplacian,
            mmd_bandwidth: 20.0,
            match_samples: 4,
            next_samples: 10,
            q_mix: 0.75,
            warmup_updates: 5_000,
            initial_multiplier: 1.0,
            multiplier_learning_rate: 1e-3,
            actor_q: Judging::Min,
            returns: ReturnSteps::OneStep,
            offline_batch: 256,
            online_batch: 256,
            demo_action_margin: 1e-5,
            normalize_observations: true,
            observation_std_floor: 1e-3,
        }
    }
}

impl BearConfig {
    /// Builds the learner.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn build(&self, context: &LearnerContext) -> Result<Box<dyn Learner>, LearnError> {
        Ok(Box::new(Bear::new(self, context)?))
    }
}

/// The learner.
pub type Bear = OffPolicy<SupportMatching>;

/// What makes an actor-critic BEAR.
#[derive(Clone, Debug)]
pub struct SupportMatching {
    behaviour: BehaviourVae,
    multiplier: LogScale,
    learns_multiplier: bool,
    mmd_target: f64,
    kernel: (Kernel, f64),
    match_samples: usize,
    next_samples: usize,
    q_mix: f32,
    warmup_updates: u64,
    actor_q: Judging,
}

impl Bear {
    /// A fresh learner.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn new(config: &BearConfig, context: &LearnerContext) -> Result<Self, LearnError> {
        let BearConfig {
            actor,
            critic,
            behaviour,
            discount,
            mmd_target,
            kernel,
            mmd_bandwidth,
            match_samples,
            next_samples,
            q_mix,
            warmup_updates,
            initial_multiplier,
            multiplier_learning_rate,
            actor_q,
            returns,
            offline_batch,
            online_batch,
            demo_action_margin,
            normalize_observations,
            observation_std_floor,
        } = config;
        let check = |ok, key, reason| require(NAME, ok, key, reason);
        check(positive(*mmd_target), "mmd_target", "must be positive")?;
        check(positive(*mmd_bandwidth), "mmd_bandwidth", "must be positive")?;
        check((1..=MAX_SAMPLES).contains(match_samples), "match_samples", "must be 1 to 100")?;
        check((1..=MAX_SAMPLES).contains(next_samples), "next_samples", "must be 1 to 100")?;
        check((0.0..=1.0).contains(q_mix), "q_mix", "must be in [0, 1]")?;
        check(positive(*initial_multiplier), "initial_multiplier", "must be positive")?;
        let rate = *multiplier_learning_rate;
        check(rate >= 0.0 && rate.is_finite(), "multiplier_learning_rate", "must not be negative")?;
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
        let actor = Actor::<SquashedNet>::new(actor, dims, start, NAME)?;
        let parts = Parts::new(actor, critic, data, context, NAME)?;
        let algorithm = SupportMatching {
            behaviour: BehaviourVae::new(behaviour, dims, start, NAME)?,
            multiplier: LogScale::new("log_multiplier", *initial_multiplier, rate)?,
            learns_multiplier: rate > 0.0,
            mmd_target: *mmd_target,
            kernel: (*kernel, *mmd_bandwidth),
            match_samples: *match_samples,
            next_samples: *next_samples,
            q_mix: *q_mix as f32,
            warmup_updates: *warmup_updates,
            actor_q: *actor_q,
        };
        Ok(Self::of(parts, algorithm))
    }
}

impl SupportMatching {
    /// `Lp`, its derivative by the network's output, and the mean discrepancy.
    fn policy_loss(
        &self,
        parts: &Parts<SquashedNet>,
        rows: &BatchRows,
        output: &[f32],
        noise: &Noise,
        multiplier: f64,
    ) -> Result<(PolicyLoss, f64), LearnError> {
        let net = parts.actor.net();
        let ours: Vec<Vec<f32>> = noise.policy_action.iter().map(|n| net.raw_sample(output, n)).collect();
        let latents = noise.latent.get(1..).unwrap_or_default();
        let theirs: Vec<Vec<f32>> = latents
            .iter()
            .map(|z| self.behaviour.sample(&rows.observation, z))
            .collect::<Result<_, LearnError>>()?;
        let apart = discrepancy(self.kernel, &ours, &theirs, parts.dims()[1]);
        let mut policy = PolicyLoss { loss: 0.0, gradient: vec![0.0; output.len()] };
        let first = noise.policy_action.first().filter(|_| parts.updates >= self.warmup_updates);
        if let Some(first) = first {
            let sampled = net.sample(output, first);
            policy = entropy_loss(parts, rows, (output, first), &sampled, 0.0, self.actor_q)?;
        }
        policy.loss += multiplier * (apart.mean - self.mmd_target);
        for (noise, of_raw) in noise.policy_action.iter().zip(apart.gradient) {
            let of_raw: Vec<f32> = of_raw.iter().map(|g| (multiplier * f64::from(*g)) as f32).collect();
            let of_output = net.raw_gradient(output, noise, &of_raw);
            policy.gradient.iter_mut().zip(of_output).for_each(|(sum, g)| *sum += g);
        }
        Ok((policy, apart.mean))
    }
}

impl Algorithm for SupportMatching {
    type Net = SquashedNet;
    const NAME: &'static str = NAME;
    const HELDOUT: &'static [&'static str] = &["heldout/log_likelihood", "heldout/td_error"];

    fn noise(&self) -> NoisePlan {
        NoisePlan {
            next_actions: self.next_samples,
            policy_actions: self.match_samples,
            uniform_actions: 0,
            latents: 1 + self.match_samples,
        }
    }

    fn update(
        &mut self,
        parts: &mut Parts<SquashedNet>,
        batch: &Batch,
        noise: &Noise,
    ) -> Result<Metrics, LearnError> {
        let rows = parts.take_in(batch)?;
        let (net, dims) = (parts.actor.net(), parts.dims());
        let multiplier = self.multiplier.get()?;
        let Some(encoder_noise) = noise.latent.first() else {
            return Err(PolicyError::Shape { what: "latents (at least)", expected: 1, found: 0 }.into());
        };
        let observed = |rows: &[f32]| tensor(rows.to_vec(), dims[0]).context("policy forward");
        let (next, (behaviour, here)) = parts.threads.join(
            || {
                let output = net.infer(&observed(&rows.next_observation)?)?;
                let draws = noise.next_action.chunks_exact(batch.n * dims[1]);
                let actions: Vec<f32> = draws.flat_map(|n| net.sample(&output, n).action).collect();
                let samples = actions.len() / (batch.n * dims[1]).max(1);
                let pairs = parts.pair(&rows.next_observation.repeat(samples), &actions)?;
                parts.judge(&rows, pairs, &[], noise)
            },
            || {
                parts.threads.join(
                    || self.behaviour.loss(&rows, encoder_noise),
                    || {
                        let (pass, output) = net.forward(&observed(&rows.observation)?)?;
                        let policy = self.policy_loss(parts, &rows, &output, noise, multiplier)?;
                        Ok::<_, LearnError>((pass, output, policy))
                    },
                )
            },
        );
        let (judgements, behaviour, (pass, output, (policy, mmd))) = (next?, behaviour?, here?);
        let y = parts.bounds.targets(batch, &soft_clipped_maximum(&judgements, self.q_mix, batch.n));
        let critic_loss = critic_loss(&judgements, &y, &batch.weight);
        parts.finite("train/critic_loss", critic_loss)?;
        parts.finite("train/actor_loss", policy.loss)?;
        let behaviour_loss = parts.finite("train/behaviour_loss", behaviour.loss)?;
        parts.finite("train/behaviour_gradient_norm", behaviour.norm)?;
        let (std_mean, likelihood) = (net.std_mean(&output), mean_of(&net.log_prob(&output, &rows.action)));

        let PolicyLoss { loss, gradient } = policy;
        let norms =
            parts.descend(&judgements, &y, &batch.weight, |_| network_gradient(&pass, gradient).map(Some))?;
        self.behaviour.step(behaviour)?;
        if self.learns_multiplier {
            self.multiplier.step(-multiplier * (mmd - self.mmd_target))?;
            self.multiplier.clamp(LOG_MULTIPLIER[0], LOG_MULTIPLIER[1])?;
        }

        let q = taken_value(&judgements, Judging::Min);
        let mut metrics = loss_metrics(critic_loss, Some(loss), norms, &q, &y);
        metrics.push("train/behaviour_loss", behaviour_loss);
        metrics.push("train/mmd", mmd);
        metrics.push("train/multiplier", self.multiplier.get()?);
        metrics.push("train/std_mean", std_mean);
        metrics.push("train/log_likelihood", likelihood);
        Ok(metrics)
    }

    fn evaluate(
        &self,
        parts: &Parts<SquashedNet>,
        batch: &Batch,
        rows: &BatchRows,
        metrics: &mut Metrics,
    ) -> Result<(), LearnError> {
        judge_heldout(parts, batch, rows, metrics)
    }

    fn others(&self) -> Vec<&Trainable> {
        vec![self.behaviour.trained(), self.multiplier.trained()]
    }

    fn others_mut(&mut self) -> Vec<&mut Trainable> {
        vec![self.behaviour.trained_mut(), self.multiplier.trained_mut()]
    }
}
