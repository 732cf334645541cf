//! Batch-constrained Q-learning (BCQ; Fujimoto, Meger, Precup 2019, arXiv 1812.02900, algorithm 1): values of actions that the data's behaviour is
//! likely to take, by samples of an autoencoder of its actions ([`behaviour_vae`](crate::nn::behaviour_vae)) that a second network moves a little.
//!
//! One update, all losses from the networks before it, `d` the continuation (0 only after a termination):
//! ```text
//! b(s, z)  = tanh(decoder(s, clip(z, -0.5, 0.5)))                 z normal
//! xi(s, a) = clip(a + perturbation * tanh(mlp(s, a)), -1, 1)      xit: the same by the slowly following network
//! a'_k = xit(s', b(s', z_k)), k over next_samples
//! y  = clamp(r + discount * d * max_k (mix min_j Qt_j(s', a'_k) + (1 - mix) max_j Qt_j(s', a'_k)))
//! Lq = sum_j mean_batch (Q_j(s, a) - y)^2
//! Lp = -mean_batch actor_q_j Q_j(s, xi(s, b(s, z)))               no gradient through b
//! Lb = the autoencoder's
//! critics, actor and autoencoder step; targets follow: Qt <- Qt + target_rate (Q - Qt), xit the same
//! ```
//! It acts by the best of `act_samples` candidates, `argmax_k Q_0(s, xi(s, b(s, z_k)))` ([`candidate_policy`](crate::nn::candidate_policy)).
//!
//! | tensor | shape |
//! |---|---|
//! | `actor/layerI`, `target/actor/layerI` | observation + action to `actor.hidden` to action |
//! | `criticJ/layerI` (and `normI`), `target/criticJ` | observation + action to `hidden` to 1 |
//! | `behaviour/encoder/layerI` | observation + action to `behaviour.hidden` to 4 x action |
//! | `behaviour/decoder/layerI` | observation + 2 x action to `behaviour.hidden` to action |
//!
//! | setting | default | source |
//! |---|---|---|
//! | `perturbation`, `q_mix`, `next_samples` | 0.05, 0.75, 10 | paper (its Phi, lambda, n) |
//! | `act_samples` | 100 | authors' code; the paper's text has the 10 of `next_samples` |
//! | `actor_q` | `first` | authors' code |
//! | `behaviour` | 2x256, 1e-3, 0.5 | authors' code: 2x750 |
//! | rates, `discount`, `target_rate`, networks, batch | 3e-4, 0.99, 5e-3, 2x256, 256 | those of the other learners; the authors' code: 1e-3, 400-300, 100 |
//!
//! Differences from the authors' code: all losses are of the networks before the update, where it takes the autoencoder's step first; the
//! deviation of a latent is bounded where its logarithm is (both the code's); critics have layer normalisation and bounded targets, both options.
//!
//! `returns` sums up several rewards, as AWAC's; importance weights of a batch (prioritised sampling) multiply each row's share in
//! the critics' loss. Targets mix the critics that are drawn, where `critic.min_over` is given.
//!
//! Metrics: AWAC's without those of weights; `train/behaviour_loss`; `train/perturbation_mean`, the mean size of what the policy adds to an action
//! of the behaviour; `heldout/{behaviour_loss, td_error}`. There is no `heldout/log_likelihood`: nobody knows the density of such a policy.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Batch, LearnError, Learner, Metrics, PolicyError, Stream};

use crate::LearnerContext;
use crate::nn::actor::{Actor, ActorRates, NETWORK, PolicyNet, network_gradient};
use crate::nn::behaviour_vae::{BehaviourConfig, BehaviourVae, latent_dim};
use crate::nn::candidate_policy::{CandidateArchitecture, MAX_CANDIDATES};
use crate::nn::compute::Start;
use crate::nn::critic::{CriticConfig, Judging, Weights, critic_loss, soft_clipped_maximum, taken_value};
use crate::nn::inputs::{BatchRows, side_by_side};
use crate::nn::mlp::{Mlp, MlpShape, Pass};
use crate::nn::off_policy::{
    Algorithm, DataSettings, Noise, NoisePlan, OffPolicy, Parts, ReturnSteps, loss_metrics, td_error,
};
use crate::nn::params::{Arrays, Params};
use crate::nn::size::{refuse_hidden, refuse_parameters};
use crate::nn::trainable::Trainable;
use crate::nn::{Context, mean, mean_of, require};

const NAME: &str = "bcq";
/// Most samples of a target.
const MAX_SAMPLES: usize = 100;
/// Latents of an update: the encoder's noise, the policy's, then those of targets.
const FIRST_NEXT: usize = 2;

/// The perturbation and how it learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PerturbationConfig {
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// The perturbation that acts and is saved is a moving average of the trained one, moved by this part at every update; 1 is no averaging.
    pub average_rate: f64,
}

impl Default for PerturbationConfig {
    fn default() -> Self {
        Self { hidden: vec![256, 256], learning_rate: 3e-4, average_rate: 1.0 }
    }
}

/// BCQ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BcqConfig {
    /// The network that moves the behaviour's actions.
    pub actor: PerturbationConfig,
    /// The critics.
    pub critic: CriticConfig,
    /// The autoencoder of the data's actions.
    pub behaviour: BehaviourConfig,
    /// Discount per step.
    pub discount: f64,
    /// How far an action of the behaviour may be moved, in units of the normalised action (the paper's Phi).
    pub perturbation: f64,
    /// Next actions of which the best one is the target's.
    pub next_samples: usize,
    /// Weight of the smallest value in targets; the largest has the rest (the paper's lambda).
    pub q_mix: f64,
    /// Actions of which the policy takes the best one. Each costs a pass of three networks at every step.
    pub act_samples: usize,
    /// How critics judge what the perturbation climbs. The policy that acts goes by the first.
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

impl Default for BcqConfig {
    fn default() -> Self {
        Self {
            actor: PerturbationConfig::default(),
            critic: CriticConfig::default(),
            behaviour: BehaviourConfig::default(),
            discount: 0.99,
            perturbation: 0.05,
            next_samples: 10,
            q_mix: 0.75,
            act_samples: 100,
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

impl BcqConfig {
    /// Builds the learner.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn build(&self, context: &LearnerContext) -> Result<Box<dyn Learner>, LearnError> {
        Ok(Box::new(Bcq::new(self, context)?))
    }
}

/// The network that moves actions: `tanh(mlp(s, a))`.
#[derive(Clone, Debug)]
pub struct PerturbationNet {
    params: Params,
    mlp: Mlp,
    limit: f32,
    dims: [usize; 2],
}

impl PerturbationNet {
    fn new(hidden: &[usize], limit: f64, dims: [usize; 2], start: &Start) -> Result<Self, LearnError> {
        let widths = [&[dims[0] + dims[1]], hidden, &[dims[1]]].concat();
        let shape = MlpShape { widths, layer_norm: false, tanh_output: true };
        if let Some(reason) = refuse_hidden(hidden).or_else(|| refuse_parameters(&shape, 1)) {
            require(NAME, false, "actor.hidden", &reason)?;
        }
        let mut params = Params::default();
        let mlp = Mlp::new(&mut params, start, NETWORK, shape).context("perturbation")?.in_halves();
        Ok(Self { params, mlp, limit: limit as f32, dims })
    }

    /// `xi(s, a)` for these tanh outputs, rows.
    fn moved(&self, action: &[f32], output: &[f32]) -> Vec<f32> {
        let moved = |(a, p): (&f32, &f32)| (a + self.limit * p).clamp(-1.0, 1.0);
        action.iter().zip(output).map(moved).collect()
    }

    /// `xi(s, a)`, rows.
    fn perturb(&self, observation: &[f32], action: &[f32]) -> Result<Vec<f32>, LearnError> {
        let pairs = side_by_side(observation, action, self.dims).context("perturbation")?;
        Ok(self.moved(action, &self.mlp.infer(&pairs).context("perturbation")?))
    }
}

impl PolicyNet for PerturbationNet {
    fn params(&self) -> &Params {
        &self.params
    }

    fn recycle(&self, gradient: Vec<f32>) {
        self.mlp.recycle(gradient);
    }

    fn deploy(&self, _arrays: &mut Arrays) -> Result<(), LearnError> {
        Ok(())
    }

    fn log_likelihood(&self, _observation: Vec<f32>, _action: &[f32]) -> Result<Option<f64>, LearnError> {
        Ok(None)
    }
}

/// The learner.
pub type Bcq = OffPolicy<BatchConstrained>;

/// What makes an actor-critic BCQ.
#[derive(Clone, Debug)]
pub struct BatchConstrained {
    behaviour: BehaviourVae,
    target: PerturbationNet,
    target_state: Trainable,
    target_rate: f64,
    next_samples: usize,
    q_mix: f32,
    actor_q: Judging,
}

impl Bcq {
    /// A fresh learner.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn new(config: &BcqConfig, context: &LearnerContext) -> Result<Self, LearnError> {
        let BcqConfig {
            actor,
            critic,
            behaviour,
            discount,
            perturbation,
            next_samples,
            q_mix,
            act_samples,
            actor_q,
            returns,
            offline_batch,
            online_batch,
            demo_action_margin,
            normalize_observations,
            observation_std_floor,
        } = config;
        let check = |ok, key, reason| require(NAME, ok, key, reason);
        check((0.0..=2.0).contains(perturbation), "perturbation", "must be in [0, 2]")?;
        check((1..=MAX_SAMPLES).contains(next_samples), "next_samples", "must be 1 to 100")?;
        check((0.0..=1.0).contains(q_mix), "q_mix", "must be in [0, 1]")?;
        check((1..=MAX_CANDIDATES).contains(act_samples), "act_samples", "must be 1 to 10000")?;
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
        let PerturbationConfig { hidden, learning_rate, average_rate } = actor;
        let net = || PerturbationNet::new(hidden, *perturbation, dims, start);
        let rates = ActorRates {
            learning_rate: *learning_rate,
            weight_decay: 0.0,
            average_rate: *average_rate,
            max_explore_std: 1.0,
        };
        let widths: [&[usize]; 3] = [&behaviour.hidden, hidden, &critic.hidden];
        let architecture =
            CandidateArchitecture::new(widths, critic.layer_norm, *perturbation as f32, *act_samples);
        let actor = Actor::of(net, rates, architecture.to_json(), NAME)?;
        // Of the same seed: it starts as the policy.
        let target = net()?;
        let algorithm = BatchConstrained {
            behaviour: BehaviourVae::new(behaviour, dims, start, NAME)?,
            target_state: Trainable::target("target/actor", target.params.clone()),
            target,
            target_rate: critic.target_rate,
            next_samples: *next_samples,
            q_mix: *q_mix as f32,
            actor_q: *actor_q,
        };
        Ok(Self::of(Parts::new(actor, critic, data, context, NAME)?, algorithm))
    }
}

/// The perturbation at `s` and what moves it.
struct PolicyLoss {
    pass: Pass,
    loss: f64,
    perturbation_mean: f64,
    /// Of the network's output.
    gradient: Vec<f32>,
}

impl BatchConstrained {
    /// `b(s, z)`, rows.
    fn behave(&self, observation: &[f32], latents: &[f32]) -> Result<Vec<f32>, LearnError> {
        let mut action = self.behaviour.sample(observation, latents)?;
        action.iter_mut().for_each(|u| *u = u.tanh());
        Ok(action)
    }

    /// For each of the latents the next actions, one after the other, with the target's perturbation.
    fn next_actions(&self, next_observation: &[f32], latents: &[Vec<f32>]) -> Result<Vec<f32>, LearnError> {
        let mut actions = Vec::new();
        for z in latents {
            let behaved = self.behave(next_observation, z)?;
            actions.extend(self.target.perturb(next_observation, &behaved)?);
        }
        Ok(actions)
    }

    fn policy_loss(
        &self,
        parts: &Parts<PerturbationNet>,
        rows: &BatchRows,
        latents: &[f32],
    ) -> Result<PolicyLoss, LearnError> {
        let net = parts.actor.net();
        let behaved = self.behave(&rows.observation, latents)?;
        let pass = net.mlp.forward(&parts.pair(&rows.observation, &behaved)?).context("perturbation")?;
        let output: Vec<f32> = pass.output.flatten_all().and_then(|p| p.to_vec1()).context("perturbation")?;
        let action = net.moved(&behaved, &output);
        let pairs = parts.pair(&rows.observation, &action)?;
        let passes = parts.critics.judge_actions(&pairs, &parts.threads)?;
        let by_critic: Vec<&Vec<f32>> = passes.iter().map(|p| &p.output).collect();
        let q = self.actor_q.of(&by_critic);
        let coefficients = self.actor_q.gradient(&by_critic, -1.0 / q.len().max(1) as f32);
        let of_action =
            parts.critics.action_gradient(&passes, coefficients, parts.dims()[1], &parts.threads)?;
        let moves = behaved.iter().zip(&output).map(|(a, p)| a + net.limit * p);
        // A clipped action does not depend on the network.
        let gradient = of_action
            .iter()
            .zip(moves)
            .map(|(g, moved)| if (-1.0..=1.0).contains(&moved) { net.limit * g } else { 0.0 })
            .collect();
        let sizes = output.iter().map(|p| f64::from((net.limit * p).abs()));
        Ok(PolicyLoss { loss: -mean_of(&q), perturbation_mean: mean(sizes), pass, gradient })
    }
}

impl Algorithm for BatchConstrained {
    type Net = PerturbationNet;
    const NAME: &'static str = NAME;
    const HELDOUT: &'static [&'static str] = &["heldout/behaviour_loss", "heldout/td_error"];

    fn noise(&self) -> NoisePlan {
        NoisePlan { latents: FIRST_NEXT + self.next_samples, ..NoisePlan::default() }
    }

    fn update(
        &mut self,
        parts: &mut Parts<PerturbationNet>,
        batch: &Batch,
        noise: &Noise,
    ) -> Result<Metrics, LearnError> {
        let rows = parts.take_in(batch)?;
        let [encoder_noise, policy_latents, next_latents @ ..] = noise.latent.as_slice() else {
            let found = noise.latent.len();
            return Err(PolicyError::Shape { what: "latents (at least)", expected: FIRST_NEXT, found }.into());
        };
        let (judgements, (behaviour, policy)) = parts.threads.join(
            || {
                let actions = self.next_actions(&rows.next_observation, next_latents)?;
                let there = rows.next_observation.repeat(next_latents.len());
                parts.judge(&rows, parts.pair(&there, &actions)?, &[], noise)
            },
            || {
                parts.threads.join(
                    || self.behaviour.loss(&rows, encoder_noise),
                    || self.policy_loss(parts, &rows, policy_latents),
                )
            },
        );
        let (judgements, behaviour, policy) = (judgements?, behaviour?, policy?);
        let y = parts.bounds.targets(batch, &soft_clipped_maximum(&judgements, self.q_mix, batch.n));
        let critic_loss = critic_loss(&judgements, &y, &batch.weight);
        parts.finite("train/critic_loss", critic_loss)?;
        let PolicyLoss { pass, loss, perturbation_mean, gradient } = policy;
        parts.finite("train/actor_loss", loss)?;
        let behaviour_loss = parts.finite("train/behaviour_loss", behaviour.loss)?;
        parts.finite("train/behaviour_gradient_norm", behaviour.norm)?;
        let norms =
            parts.descend(&judgements, &y, &batch.weight, |_| network_gradient(&pass, gradient).map(Some))?;
        self.behaviour.step(behaviour)?;
        self.target_state.follow(parts.actor.net().params(), self.target_rate)?;

        let q = taken_value(&judgements, Judging::Min);
        let mut metrics = loss_metrics(critic_loss, Some(loss), norms, &q, &y);
        metrics.push("train/behaviour_loss", behaviour_loss);
        metrics.push("train/perturbation_mean", perturbation_mean);
        Ok(metrics)
    }

    fn evaluate(
        &self,
        parts: &Parts<PerturbationNet>,
        batch: &Batch,
        rows: &BatchRows,
        metrics: &mut Metrics,
    ) -> Result<(), LearnError> {
        // The same latents whenever it is asked.
        let mut stream = Stream::new(0, "bcq/heldout", 0);
        let numbers = batch.n * latent_dim(parts.dims()[1]);
        let mut latents = || {
            let mut row = vec![0.0; numbers];
            stream.fill_normal(&mut row);
            row
        };
        metrics.push("heldout/behaviour_loss", self.behaviour.loss(rows, &latents())?.loss);
        let mut next: Vec<f32> = Vec::new();
        for _ in 0..self.next_samples {
            let actions = self.next_actions(&rows.next_observation, &[latents()])?;
            let value = parts.value(Weights::Target, &rows.next_observation, &actions, Judging::Min)?;
            next.resize(value.len(), f32::NEG_INFINITY);
            next.iter_mut().zip(value).for_each(|(best, value)| {
                if value > *best || value.is_nan() {
                    *best = value;
                }
            });
        }
        let y = parts.bounds.targets(batch, &next);
        let q = parts.value(Weights::Online, &rows.observation, &rows.action, Judging::Min)?;
        metrics.push("heldout/td_error", td_error(&q, &y));
        Ok(())
    }

    fn deploy(&self, parts: &Parts<PerturbationNet>, arrays: &mut Arrays) -> Result<(), LearnError> {
        parts.critics.deploy_first(arrays)?;
        self.behaviour.deploy_decoder(arrays)
    }

    fn others(&self) -> Vec<&Trainable> {
        vec![self.behaviour.trained(), &self.target_state]
    }

    fn others_mut(&mut self) -> Vec<&mut Trainable> {
        vec![self.behaviour.trained_mut(), &mut self.target_state]
    }
}
