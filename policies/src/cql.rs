//! Conservative Q-learning (CQL; Kumar et al. 2020, arXiv 2006.04779) over soft actor-critic, calibrated by an option (Cal-QL;
//! Nakamoto et al. 2023, arXiv 2303.05479).
//!
//! One update, all losses from the networks before it, `d` the continuation (0 only after a termination), `k` over `action_samples`:
//! ```text
//! a_u uniform in [-1, 1]      a_k ~ pi(.|s)      a'_k ~ pi(.|s')
//! y     = clamp(r + discount * d * min_j Qt_j(s', a'_1))        the largest over k where max_target_backup
//! gap_j = mean_batch ( T log sum exp((B_j(s, .) - log mu) / T) - Q_j(s, a) )    over a_u, a'_k and a_k at s, mu their densities
//! B_j   = Q_j; of a'_k and a_k max(Q_j, floor) where calibrated
//! floor = rewards to the end of the episode; where it was cut off, with the worst that rewards allow behind it
//! L_j   = mean_batch (Q_j(s, a) - y)^2 + weight * gap_j         weight = conservative_weight * multiplier
//! Lp    = mean_batch (alpha log pi(a_1|s) - actor_q_j Q_j(s, a_1))       reparameterised
//! La    = -log alpha * mean_batch (log pi(a_1|s) + target_entropy)
//! Lm    = -multiplier * conservative_weight * (mean_j gap_j - target_gap)     where there is a target, else the multiplier is 1
//! critics, actor, log alpha and log multiplier step, targets follow: Qt <- Qt + target_rate (Q - Qt)
//! ```
//!
//! | tensor | shape |
//! |---|---|
//! | `actor/layerI` | observation to `hidden` to means and deviations, 2 x action |
//! | `criticJ/layerI` (and `normI`), `target/criticJ` | observation + action to `hidden` to 1 |
//! | `log_temperature`, `log_multiplier` | 1; the latter where `lagrange` is there |
//!
//! | setting | default | source |
//! |---|---|---|
//! | `conservative_weight` | 1 | Cal-QL on Adroit; 5 on AntMaze, and in the CQL paper |
//! | `action_samples`, `conservative_temperature` | 10, 1 | authors' code |
//! | `calibrated`, `lagrange`, `max_target_backup` | off | Cal-QL has the first on, and on AntMaze `lagrange = { target_gap = 0.8 }` with a backup of the largest |
//! | `actor.learning_rate` | 3e-4 | authors of Cal-QL: 1e-4 |
//! | rates of critics, `discount`, `target_rate`, networks, batch | 3e-4, 0.99, 5e-3, 2x256, 256 | authors' code |
//!
//! Differences from the authors' code: the same samples at `s'` serve target and gap, and the first at `s` the policy's loss; the
//! temperature's step uses the losses from before the other steps; critics have layer normalisation and bounded targets (both
//! options); the floor of an episode that was cut off is a bound of what could follow (the authors take the recorded rewards alone,
//! and an endless run of the worst reward where a sparse task was failed, which is this rule for rewards of one sign). Online the
//! penalty stays, with `online_conservative_weight` where given.
//!
//! `returns` sums up several rewards, as AWAC's; importance weights of a batch (prioritised sampling) multiply each row's share in
//! the critics' loss.
//!
//! Metrics: SAC's, `critic_loss` without the gap; `train/{conservative_gap, conservative_weight}`, and `train/bounded_share` where
//! calibrated: the part of the policy's actions whose value is the floor; `heldout/{log_likelihood, td_error}`.

use std::f64::consts::LN_2;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Batch, Beside, LearnError, Learner, Metrics, PolicyError};

use crate::LearnerContext;
use crate::nn::actor::{Actor, network_gradient};
use crate::nn::conservative::{Candidates, Penalty};
use crate::nn::critic::{CriticConfig, Judging, critic_loss, taken_value, target_value, td_errors};
use crate::nn::inputs::{BatchRows, tensor};
use crate::nn::max_entropy::{LogScale, Temperature, entropy_loss, judge_heldout};
use crate::nn::off_policy::{
    Algorithm, DataSettings, Noise, NoisePlan, OffPolicy, Parts, ReturnSteps, loss_metrics,
};
use crate::nn::squashed::{Sampled, SquashedActorConfig, SquashedNet};
use crate::nn::trainable::Trainable;
use crate::nn::{Context, mean_of, positive, require};

const NAME: &str = "cql";
/// Most samples of each kind: a critic judges three times as many actions of every state.
const MAX_ACTION_SAMPLES: usize = 100;
/// The multiplier at the start, and at most.
const MULTIPLIER: [f64; 2] = [std::f64::consts::E, 1e6];

/// A penalty that is as strong as a target asks for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LagrangeConfig {
    /// Gap that the weight is raised above and lowered below.
    pub target_gap: f64,
    /// Adam's learning rate of the multiplier's logarithm.
    #[serde(default = "LagrangeConfig::default_learning_rate")]
    pub learning_rate: f64,
}

impl LagrangeConfig {
    const fn default_learning_rate() -> f64 {
        3e-4
    }
}

/// Conservative Q-learning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CqlConfig {
    /// The policy network.
    pub actor: SquashedActorConfig,
    /// The critics.
    pub critic: CriticConfig,
    /// Discount per step (the paper's gamma).
    pub discount: f64,
    /// Weight of the penalty on values of actions that are not the data's (the paper's alpha).
    pub conservative_weight: f64,
    /// The same in online phases, where it is to be another.
    pub online_conservative_weight: Option<f64>,
    /// Temperature of the penalty's soft maximum.
    pub conservative_temperature: f64,
    /// Actions at each state for the penalty, of each kind: uniform, of the policy at the next state, of the policy.
    pub action_samples: usize,
    /// Whether the penalty leaves values alone that are below the returns of the data (Cal-QL).
    pub calibrated: bool,
    /// The penalty's weight follows a target of the gap.
    pub lagrange: Option<LagrangeConfig>,
    /// Whether targets take the largest value of all sampled next actions, and not that of one.
    pub max_target_backup: bool,
    /// The entropy temperature at the start.
    pub initial_temperature: f64,
    /// Adam's learning rate of the temperature's logarithm; 0 keeps the temperature as it is.
    pub temperature_learning_rate: f64,
    /// Entropy that the temperature works towards, nats; minus the actions' dimension where absent.
    pub target_entropy: Option<f64>,
    /// Whether targets count the entropy of the next step.
    pub backup_entropy: bool,
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

impl Default for CqlConfig {
    fn default() -> Self {
        Self {
            actor: SquashedActorConfig::default(),
            critic: CriticConfig::default(),
            discount: 0.99,
            conservative_weight: 1.0,
            online_conservative_weight: None,
            conservative_temperature: 1.0,
            action_samples: 10,
            calibrated: false,
            lagrange: None,
            max_target_backup: false,
            initial_temperature: 1.0,
            temperature_learning_rate: 3e-4,
            target_entropy: None,
            backup_entropy: false,
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

impl CqlConfig {
    /// Builds the learner.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn build(&self, context: &LearnerContext) -> Result<Box<dyn Learner>, LearnError> {
        Ok(Box::new(Cql::new(self, context)?))
    }
}

/// The learner.
pub type Cql = OffPolicy<ConservativeEntropy>;

/// What makes an actor-critic CQL.
#[derive(Clone, Debug)]
pub struct ConservativeEntropy {
    temperature: Temperature,
    /// With the gap that it works towards.
    multiplier: Option<(LogScale, f64)>,
    conservative_weight: f64,
    online_conservative_weight: Option<f64>,
    conservative_temperature: f64,
    action_samples: usize,
    calibrated: bool,
    max_target_backup: bool,
    backup_entropy: bool,
    actor_q: Judging,
}

impl Cql {
    /// A fresh learner.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn new(config: &CqlConfig, context: &LearnerContext) -> Result<Self, LearnError> {
        let CqlConfig {
            actor,
            critic,
            discount,
            conservative_weight,
            online_conservative_weight,
            conservative_temperature,
            action_samples,
            calibrated,
            lagrange,
            max_target_backup,
            initial_temperature,
            temperature_learning_rate,
            target_entropy,
            backup_entropy,
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
        check(not_negative(*conservative_weight), "conservative_weight", "must not be negative")?;
        let online = online_conservative_weight.is_none_or(not_negative);
        check(online, "online_conservative_weight", "must not be negative")?;
        check(positive(*conservative_temperature), "conservative_temperature", "must be positive")?;
        let samples = (1..=MAX_ACTION_SAMPLES).contains(action_samples);
        check(samples, "action_samples", "must be 1 to 100")?;
        let multiplier = lagrange
            .map(|LagrangeConfig { target_gap, learning_rate }| {
                check(target_gap.is_finite(), "lagrange.target_gap", "must be finite")?;
                check(positive(learning_rate), "lagrange.learning_rate", "must be positive")?;
                Ok::<_, LearnError>((
                    LogScale::new("log_multiplier", MULTIPLIER[0], learning_rate)?,
                    target_gap,
                ))
            })
            .transpose()?;
        let temperature = Temperature::new(
            *initial_temperature,
            *temperature_learning_rate,
            *target_entropy,
            context.dims()[1],
            NAME,
        )?;
        let data = DataSettings {
            discount: *discount,
            returns: *returns,
            offline_batch: *offline_batch,
            online_batch: *online_batch,
            demo_action_margin: *demo_action_margin,
            normalize_observations: *normalize_observations,
            observation_std_floor: *observation_std_floor,
        };
        let actor = Actor::<SquashedNet>::new(actor, context.dims(), &context.start()?, NAME)?;
        let parts = Parts::new(actor, critic, data, context, NAME)?;
        let algorithm = ConservativeEntropy {
            temperature,
            multiplier,
            conservative_weight: *conservative_weight,
            online_conservative_weight: *online_conservative_weight,
            conservative_temperature: *conservative_temperature,
            action_samples: *action_samples,
            calibrated: *calibrated,
            max_target_backup: *max_target_backup,
            backup_entropy: *backup_entropy,
            actor_q: *actor_q,
        };
        Ok(Self::of(parts, algorithm))
    }
}

impl ConservativeEntropy {
    /// The gap's weight before the multiplier.
    fn weight(&self, parts: &Parts<SquashedNet>) -> f64 {
        let online = self.online_conservative_weight.filter(|_| parts.online_since.is_some());
        online.unwrap_or(self.conservative_weight)
    }

    fn multiplier(&self) -> Result<f64, LearnError> {
        let scale = self.multiplier.as_ref().map(|(scale, _)| scale.get());
        Ok(scale.transpose()?.map_or(1.0, |m| m.min(MULTIPLIER[1])))
    }

    /// Values of the policy's actions count at least this in the gap, `[batch]`.
    fn floor(&self, parts: &Parts<SquashedNet>, batch: &Batch) -> Result<Option<Vec<f32>>, LearnError> {
        if !self.calibrated {
            return Ok(None);
        }
        let found = batch.return_to_go.len().min(batch.return_continuation.len());
        if found != batch.n {
            let what = "batch returns to the end (calibrated)";
            return Err(PolicyError::Shape { what, expected: batch.n, found }.into());
        }
        let lowest = parts.bounds.lowest();
        let rows = batch.return_to_go.iter().zip(&batch.return_continuation);
        Ok(Some(rows.map(|(sum, continuation)| sum + continuation * lowest).collect()))
    }

    /// `V(s')`, `[batch]`, of the targets' values of the sampled next actions.
    fn next_value(&self, q: &[f32], next: &[Sampled], temperature: f64) -> Vec<f32> {
        let entropy = if self.backup_entropy { temperature as f32 } else { 0.0 };
        let n = next.first().map_or(0, |s| s.log_prob.len());
        let row = |i: usize| {
            let judged = q.chunks_exact(n.max(1)).zip(next).map(|(q, s)| (q[i], s.log_prob[i]));
            // A NaN wins: it must be seen.
            let best =
                judged.reduce(|best, other| if best.0 >= other.0 || best.0.is_nan() { best } else { other });
            best.map_or(0.0, |(q, log_prob)| q - entropy * log_prob)
        };
        (0..n).map(row).collect()
    }
}

impl Algorithm for ConservativeEntropy {
    type Net = SquashedNet;
    const NAME: &'static str = NAME;
    const HELDOUT: &'static [&'static str] = &["heldout/log_likelihood", "heldout/td_error"];

    fn noise(&self) -> NoisePlan {
        let samples = self.action_samples;
        NoisePlan { next_actions: samples, policy_actions: samples, uniform_actions: samples, latents: 0 }
    }

    fn beside(&self, data: &DataSettings) -> Beside {
        Beside { return_to_go: self.calibrated.then_some(data.discount as f32), ..Beside::default() }
    }

    fn update(
        &mut self,
        parts: &mut Parts<SquashedNet>,
        batch: &Batch,
        noise: &Noise,
    ) -> Result<Metrics, LearnError> {
        let rows = parts.take_in(batch)?;
        let floor = self.floor(parts, batch)?;
        let (net, dims) = (parts.actor.net(), parts.dims());
        let (temperature, multiplier) = (self.temperature.scale.get()?, self.multiplier()?);
        let base = self.weight(parts);
        let observed = |rows: &[f32]| tensor(rows.to_vec(), dims[0]).context("policy forward");
        let (next, here) = parts.threads.join(
            || {
                let output = net.infer(&observed(&rows.next_observation)?)?;
                let noise = noise.next_action.chunks_exact(batch.n * dims[1]);
                Ok::<Vec<Sampled>, LearnError>(noise.map(|noise| net.sample(&output, noise)).collect())
            },
            || {
                let (pass, output) = net.forward(&observed(&rows.observation)?)?;
                let sampled = noise.policy_action.iter().map(|noise| net.sample(&output, noise));
                Ok::<_, LearnError>((sampled.collect::<Vec<_>>(), pass, output))
            },
        );
        let (next, (sampled, pass, output)) = (next?, here?);
        let (Some(first), Some(policy_noise)) = (sampled.first(), noise.policy_action.first()) else {
            return Err(
                PolicyError::Shape { what: "sampled actions (at least)", expected: 1, found: 0 }.into()
            );
        };
        let likelihood = net.log_prob(&output, &rows.action);

        let judged = if self.max_target_backup { &next[..] } else { &next[..1] };
        let next_actions: Vec<f32> = judged.iter().flat_map(|s| s.action.iter().copied()).collect();
        let there = rows.next_observation.repeat(judged.len());
        let judgements = parts.judge(&rows, parts.pair(&there, &next_actions)?, &[], noise)?;
        let value = self.next_value(&target_value(&judgements), judged, temperature);
        let y = parts.bounds.targets(batch, &value);
        let critic_loss = critic_loss(&judgements, &y, &batch.weight);
        parts.finite("train/critic_loss", critic_loss)?;

        let even = vec![(-(dims[1] as f64) * LN_2) as f32; batch.n];
        let uniform: Vec<_> = noise.uniform_action.iter().map(|a| (a.as_slice(), even.as_slice())).collect();
        let of_policy = next.iter().chain(&sampled).map(|s| (s.action.as_slice(), s.log_prob.as_slice()));
        let candidates = Candidates::new(&rows.observation, dims, &uniform, &of_policy.collect::<Vec<_>>());
        let penalty = Penalty {
            candidates: &candidates,
            floor: floor.as_deref(),
            temperature: self.conservative_temperature,
            weight: base * multiplier,
        };
        let (conservative, policy) = parts.threads.join(
            || parts.critics.conservative(&judgements, &y, &batch.weight, &penalty, &parts.threads),
            || {
                let here = (output.as_slice(), policy_noise.as_slice());
                entropy_loss(parts, &rows, here, first, temperature, self.actor_q)
            },
        );
        let (conservative, policy) = (conservative?, policy?);
        let gap = parts.finite("train/conservative_gap", conservative.gap)?;
        parts.finite("train/actor_loss", policy.loss)?;
        let missing = self.temperature.missing(&first.log_prob);
        let temperature_loss = parts.finite("train/temperature_loss", -temperature.ln() * missing)?;
        let std_mean = net.std_mean(&output);

        let gradient = network_gradient(&pass, policy.gradient)?;
        let errors = td_errors(&judgements, &y);
        let norms = parts.step(conservative.gradients, Some(gradient), errors)?;
        if self.temperature.learns() {
            self.temperature.scale.step(-missing)?;
        }
        if let Some((scale, target_gap)) = &mut self.multiplier {
            // At its bound the loss does not depend on it.
            let within = multiplier < MULTIPLIER[1];
            scale.step(if within { -multiplier * base * (gap - *target_gap) } else { 0.0 })?;
        }

        let q = taken_value(&judgements, Judging::Min);
        let mut metrics = loss_metrics(critic_loss, Some(policy.loss), norms, &q, &y);
        metrics.push("train/conservative_gap", gap);
        metrics.push("train/conservative_weight", base * multiplier);
        if self.calibrated {
            metrics.push("train/bounded_share", conservative.bounded);
        }
        metrics.push("train/temperature", self.temperature.scale.get()?);
        if self.temperature.learns() {
            metrics.push("train/temperature_loss", temperature_loss);
        }
        metrics.push("train/entropy", -mean_of(&first.log_prob));
        metrics.push("train/std_mean", std_mean);
        metrics.push("train/log_likelihood", mean_of(&likelihood));
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
        let multiplier = self.multiplier.iter().map(|(scale, _)| scale.trained());
        std::iter::once(self.temperature.scale.trained()).chain(multiplier).collect()
    }

    fn others_mut(&mut self) -> Vec<&mut Trainable> {
        let multiplier = self.multiplier.iter_mut().map(|(scale, _)| scale.trained_mut());
        std::iter::once(self.temperature.scale.trained_mut()).chain(multiplier).collect()
    }
}
