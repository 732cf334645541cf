//! Soft actor-critic (SAC; Haarnoja et al. 2018, arXiv 1812.05905) with an automatic entropy temperature, and by its options REDQ
//! (arXiv 2101.05982), RLPD (Ball et al. 2023, arXiv 2302.02948), BRAC (Wu, Tucker, Nachum 2019, arXiv 1911.11361) and ABM (Siegel et al.
//! 2020, arXiv 2002.08396).
//!
//! One update, all losses from the networks before it, `d` the continuation (0 only after a termination):
//! ```text
//! a' ~ pi(.|s')
//! y  = clamp(r + discount * d * (min_j Qt_j(s', a') - alpha log pi(a'|s')))      j over the critics that were drawn
//! Lq = sum_j mean_batch (Q_j(s, a) - y)^2
//! Lp = mean_batch (alpha log pi(a_pi|s) - actor_q_j Q_j(s, a_pi))                reparameterised
//! La = -log alpha * mean_batch (log pi(a_pi|s) + target_entropy)
//! critics, actor and log alpha step, targets follow: Qt <- Qt + target_rate (Q - Qt)
//! ```
//!
//! | form | how |
//! |---|---|
//! | SAC from scratch | an online phase with `offline_ratio = 0` |
//! | SACfD (prior) | an online phase alone; demonstrations are in the buffer |
//! | SACfD (pretrained) | an offline phase before it, in which `offline_actor = "cloning"` has the policy clone while critics learn |
//! | RLPD | `actor_q = "mean"`, `backup_entropy = false`, `critic = { count = 10, min_over = 2, layer_norm = true }`, `utd_ratio` and `offline_ratio = 0.5` in the phase |
//!
//! | BRAC-v, BRAC-p | `behaviour = { penalty = 0.1, in_targets = true }` (or `false`), `offline_actor = "sac"` |
//! | ABM | `behaviour = { max_divergence = 0.5, in_targets = false, prior = { advantage = {} } }`, `offline_actor = "sac"` |
//!
//! With `behaviour`, `pi_b` clones the data at every update, `Lp` has `penalty * mean (log pi(a_pi|s) - log pi_b(a_pi|s))` more, and
//! `in_targets` takes `penalty * (log pi(a'|s') - log pi_b(a'|s'))` from the next value. The paper trains `pi_b` before, and then keeps it.
//! With `prior = { advantage = {..} }` its loss is `-mean w log pi_b(a|s)`, `w = weight(min_j Q_j(s, a) - min_j Q_j(s, a_pi))`, and with `max_divergence`
//! the penalty's logarithm learns: `-penalty * (divergence - max_divergence)`, kept in `[-5, 10]`. ABM takes its advantage from the returns of the recorded
//! trajectories and a value of the prior, and moves the policy by MPO or by the critics' gradient; this is the latter.
//!
//! | tensor | shape |
//! |---|---|
//! | `actor/layerI` | observation to `hidden` to means and deviations, 2 x action |
//! | `criticJ/layerI` (and `normI`), `target/criticJ` | observation + action to `hidden` to 1 |
//! | `log_temperature` | 1 |
//! | `behaviour/layerI` | as the actor's, with `behaviour` |
//! | `log_penalty` | 1, with `behaviour.max_divergence` |
//!
//! | setting | default | source |
//! |---|---|---|
//! | `target_entropy` | minus the actions' dimension | paper |
//! | `initial_temperature` | 1 | rlkit; RLPD 0.1 |
//! | rates, `discount`, `target_rate`, networks, batch | 3e-4, 0.99, 5e-3, 2x256, 256 | paper |
//! | `backup_entropy` | off | RLPD on sparse tasks; the paper has it on |
//! | `critic.layer_norm`, `critic.q_clamp` | on, reward bounds | RLPD, and the other learners here; the paper has neither |
//! | `offline_actor` | `cloning` | the pretrained form |
//!
//! The paper's form is `backup_entropy = true, critic = { layer_norm = false, q_clamp = "off" }`. Differences beside that: deviations are bounded smoothly to `[exp(-5), exp(2)]` and not clipped to `[exp(-20), exp(2)]`;
//! the temperature's step uses the losses from before the other steps. `q_clamp = "reward_bounds"` bounds targets with their
//! entropy in them, so it fits `backup_entropy = false`. RLPD takes the policy's gradient once for several critic updates; here
//! every update moves both.
//!
//! `returns` sums up several rewards, as AWAC's; importance weights of a batch (prioritised sampling) multiply each row's share in
//! the critics' loss; entropies of the steps between are left out.
//!
//! Metrics: `train/{critic_loss, actor_loss, critic_gradient_norm, actor_gradient_norm, q_mean, target_mean, temperature,
//! temperature_loss, entropy, std_mean, log_likelihood}` (entropy: of the samples, nats; the loss of the temperature where it moved);
//! with `behaviour` `train/behaviour_log_likelihood`, and `train/behaviour_divergence` where the policy did not clone; `train/behaviour_weight`, the mean
//! of `w`, where it weighs; `train/behaviour_penalty` where that learns;
//! `heldout/{log_likelihood, td_error}`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Batch, LearnError, Learner, Metrics};

use crate::LearnerContext;
use crate::nn::actor::{Actor, network_gradient};
use crate::nn::behaviour_clone::{BehaviourClone, BehaviourPenaltyConfig};
use crate::nn::critic::{CriticConfig, Judging, critic_loss, taken_value, target_value};
use crate::nn::inputs::{BatchRows, tensor};
use crate::nn::max_entropy::{PolicyLoss, Temperature, entropy_loss, judge_heldout};
use crate::nn::off_policy::{
    Algorithm, DataSettings, Noise, NoisePlan, OffPolicy, Parts, ReturnSteps, loss_metrics,
};
use crate::nn::squashed::{SquashedActorConfig, SquashedNet};
use crate::nn::trainable::Trainable;
use crate::nn::{Context, mean_of};

const NAME: &str = "sac";

/// What the policy does in an offline phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OfflineActor {
    /// Clones the data: `-mean log pi(a|s)`. The temperature stands still.
    #[default]
    Cloning,
    /// What it does online.
    Sac,
}

/// Soft actor-critic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SacConfig {
    /// The policy network.
    pub actor: SquashedActorConfig,
    /// The critics.
    pub critic: CriticConfig,
    /// Discount per step (the paper's gamma).
    pub discount: f64,
    /// The entropy temperature (the paper's alpha) at the start.
    pub initial_temperature: f64,
    /// Adam's learning rate of the temperature's logarithm; 0 keeps the temperature as it is.
    pub temperature_learning_rate: f64,
    /// Entropy that the temperature works towards, nats; minus the actions' dimension where absent.
    pub target_entropy: Option<f64>,
    /// Whether targets count the entropy of the next step.
    pub backup_entropy: bool,
    /// How critics judge the policy's actions.
    pub actor_q: Judging,
    /// What the policy does in an offline phase.
    pub offline_actor: OfflineActor,
    /// Keeps the policy near the data's (BRAC, ABM).
    pub behaviour: Option<BehaviourPenaltyConfig>,
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

impl Default for SacConfig {
    fn default() -> Self {
        Self {
            actor: SquashedActorConfig::default(),
            critic: CriticConfig::default(),
            discount: 0.99,
            initial_temperature: 1.0,
            temperature_learning_rate: 3e-4,
            target_entropy: None,
            backup_entropy: false,
            actor_q: Judging::Min,
            offline_actor: OfflineActor::default(),
            behaviour: None,
            returns: ReturnSteps::OneStep,
            offline_batch: 256,
            online_batch: 256,
            demo_action_margin: 1e-5,
            normalize_observations: true,
            observation_std_floor: 1e-3,
        }
    }
}

impl SacConfig {
    /// Builds the learner.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn build(&self, context: &LearnerContext) -> Result<Box<dyn Learner>, LearnError> {
        Ok(Box::new(Sac::new(self, context)?))
    }
}

/// The learner.
pub type Sac = OffPolicy<MaximumEntropy>;

/// What makes an actor-critic SAC.
#[derive(Clone, Debug)]
pub struct MaximumEntropy {
    temperature: Temperature,
    backup_entropy: bool,
    actor_q: Judging,
    offline_actor: OfflineActor,
    behaviour: Option<BehaviourClone>,
}

impl Sac {
    /// A fresh learner.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn new(config: &SacConfig, context: &LearnerContext) -> Result<Self, LearnError> {
        let SacConfig {
            actor,
            critic,
            discount,
            initial_temperature,
            temperature_learning_rate,
            target_entropy,
            backup_entropy,
            actor_q,
            offline_actor,
            behaviour,
            returns,
            offline_batch,
            online_batch,
            demo_action_margin,
            normalize_observations,
            observation_std_floor,
        } = config;
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
        let (dims, start) = (context.dims(), &context.start()?);
        let behaviour = behaviour.map(|b| BehaviourClone::new(b, actor, dims, start, NAME)).transpose()?;
        let actor = Actor::<SquashedNet>::new(actor, dims, start, NAME)?;
        let parts = Parts::new(actor, critic, data, context, NAME)?;
        let algorithm = MaximumEntropy {
            temperature,
            backup_entropy: *backup_entropy,
            actor_q: *actor_q,
            offline_actor: *offline_actor,
            behaviour,
        };
        Ok(Self::of(parts, algorithm))
    }
}

impl Algorithm for MaximumEntropy {
    type Net = SquashedNet;
    const NAME: &'static str = NAME;
    const HELDOUT: &'static [&'static str] = &["heldout/log_likelihood", "heldout/td_error"];

    fn noise(&self) -> NoisePlan {
        NoisePlan { next_actions: 1, policy_actions: 1, ..NoisePlan::default() }
    }

    fn update(
        &mut self,
        parts: &mut Parts<SquashedNet>,
        batch: &Batch,
        noise: &Noise,
    ) -> Result<Metrics, LearnError> {
        let rows = parts.take_in(batch)?;
        let (net, dim) = (parts.actor.net(), parts.dims()[0]);
        let temperature = self.temperature.scale.get()?;
        let observed = |rows: &[f32]| tensor(rows.to_vec(), dim).context("policy forward");
        let (next, here) = parts.threads.join(
            || net.infer(&observed(&rows.next_observation)?),
            || net.forward(&observed(&rows.observation)?),
        );
        let (next, (pass, output)) = (next?, here?);
        let next_output = next;
        let next = net.sample(&next_output, &noise.next_action);
        let policy_noise = noise.policy_action.concat();
        let sampled = net.sample(&output, &policy_noise);
        let likelihood = net.log_prob(&output, &rows.action);

        let pair = parts.pair(&rows.next_observation, &next.action)?;
        let weighed = self.behaviour.as_ref().filter(|b| b.weighs()).map(|_| sampled.action.clone());
        let judgements = parts.judge(&rows, pair, weighed.as_slice(), noise)?;
        let entropy = if self.backup_entropy { temperature as f32 } else { 0.0 };
        let value = target_value(&judgements);
        let mut soft: Vec<f32> = value.iter().zip(&next.log_prob).map(|(q, l)| q - entropy * l).collect();
        let clone = match &self.behaviour {
            Some(behaviour) => {
                let raw = net.raw_sample(&next_output, &noise.next_action);
                let penalty = behaviour.target_penalty(&rows.next_observation, dim, &raw, &next)?;
                soft.iter_mut().zip(penalty.iter().flatten()).for_each(|(v, p)| *v -= p);
                Some((behaviour, behaviour.forward(&rows, dim)?))
            }
            None => None,
        };
        let y = parts.bounds.targets(batch, &soft);

        let clones = parts.online_since.is_none() && self.offline_actor == OfflineActor::Cloning;
        let mut divergence = None;
        let policy = if clones {
            let factor = -1.0 / batch.n as f64;
            let gradient = net.log_prob_gradient(&output, &rows.action, factor);
            PolicyLoss { loss: -mean_of(&likelihood), gradient }
        } else {
            let here = (output.as_slice(), policy_noise.as_slice());
            let penalty = self.behaviour.as_ref().map_or(Ok(0.0), BehaviourClone::penalty)?;
            let mut loss = entropy_loss(parts, &rows, here, &sampled, temperature + penalty, self.actor_q)?;
            if let Some((behaviour, clone)) = &clone {
                divergence = Some(behaviour.attract(clone, net, here, &sampled.log_prob, &mut loss)?);
            }
            loss
        };
        let cloned = match &clone {
            Some((behaviour, clone)) => {
                let likelihood = parts.finite("train/behaviour_log_likelihood", clone.log_likelihood)?;
                let step = behaviour.learn(clone, &rows, &judgements, batch.n)?;
                parts.finite("train/behaviour_gradient_norm", step.norm)?;
                Some((step, likelihood))
            }
            None => None,
        };
        let critic_loss = critic_loss(&judgements, &y, &batch.weight);
        parts.finite("train/critic_loss", critic_loss)?;
        parts.finite("train/actor_loss", policy.loss)?;
        let missing = self.temperature.missing(&sampled.log_prob);
        let moves_temperature = self.temperature.learns() && !clones;
        let temperature_loss = parts.finite("train/temperature_loss", -temperature.ln() * missing)?;
        let std_mean = net.std_mean(&output);

        let PolicyLoss { loss, gradient } = policy;
        let norms =
            parts.descend(&judgements, &y, &batch.weight, |_| network_gradient(&pass, gradient).map(Some))?;
        if moves_temperature {
            self.temperature.scale.step(-missing)?;
        }

        let mut of_behaviour = Vec::new();
        if let (Some(behaviour), Some((step, likelihood))) = (&mut self.behaviour, cloned) {
            of_behaviour.push(("train/behaviour_log_likelihood", likelihood));
            of_behaviour.extend(step.weight_mean.map(|mean| ("train/behaviour_weight", mean)));
            of_behaviour.extend(divergence.map(|divergence| ("train/behaviour_divergence", divergence)));
            behaviour.step(step, divergence)?;
            if behaviour.learns_penalty() {
                of_behaviour.push(("train/behaviour_penalty", behaviour.penalty()?));
            }
        }

        let q = taken_value(&judgements, Judging::Min);
        let mut metrics = loss_metrics(critic_loss, Some(loss), norms, &q, &y);
        metrics.push("train/temperature", self.temperature.scale.get()?);
        if moves_temperature {
            metrics.push("train/temperature_loss", temperature_loss);
        }
        metrics.push("train/entropy", -mean_of(&sampled.log_prob));
        metrics.push("train/std_mean", std_mean);
        metrics.push("train/log_likelihood", mean_of(&likelihood));
        of_behaviour.into_iter().for_each(|(name, value)| metrics.push(name, value));
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
        let behaviour = self.behaviour.iter().flat_map(BehaviourClone::trained);
        std::iter::once(self.temperature.scale.trained()).chain(behaviour).collect()
    }

    fn others_mut(&mut self) -> Vec<&mut Trainable> {
        let behaviour = self.behaviour.iter_mut().flat_map(BehaviourClone::trained_mut);
        std::iter::once(self.temperature.scale.trained_mut()).chain(behaviour).collect()
    }
}
