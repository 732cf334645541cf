//! What all learners with critics share: a policy, an ensemble of critics, their optimiser steps, and the duties of a
//! [`Learner`]: fitting to data, phases, evaluation, checkpoints. An [`Algorithm`] says what an update minimises.

use std::collections::BTreeMap;

use candle_core::Tensor;
use surefoot_core::{
    Batch, Beside, Blobs, LearnError, Learner, Metrics, Normalizer, PhaseKind, Policy, PolicyArtifact,
    SamplePlan, Stream, TransitionSource,
};

use super::actor::{Actor, MeanNet, PolicyNet};
use super::behaviour_vae::latent_dim;
use super::critic::{CriticConfig, Critics, Judged, Judgement, Judging, Weights, td_errors};
pub use super::data_settings::{DataSettings, ReturnSteps};
use super::gaussian_net::GaussianNet;
use super::inputs::{BatchRows, Inputs, side_by_side, tensor};
use super::params::{Arrays, Gradients};
use super::state::Counters;
use super::threads::Threads;
use super::trainable::Trainable;
use super::value_bounds::ValueBounds;
use super::{Context, mean, mean_of};
use crate::LearnerContext;

/// Standard normal numbers of one update, and the critics that were drawn for its targets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Noise {
    /// For every sample of `a'`, one after the other, `[samples * batch * action_dim]`.
    pub next_action: Vec<f32>,
    /// For every sample of the policy at `s`, `[batch * action_dim]` each.
    pub policy_action: Vec<Vec<f32>>,
    /// Actions at `s`, even in `[-1, 1]`, `[batch * action_dim]` each.
    pub uniform_action: Vec<Vec<f32>>,
    /// For an autoencoder of actions, `[batch * 2 action_dim]` each.
    pub latent: Vec<Vec<f32>>,
    /// The critics whose smallest value is the target; all where empty.
    pub target_critics: Vec<usize>,
}

/// How much noise an update needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoisePlan {
    /// Samples at `s'`.
    pub next_actions: usize,
    /// Samples at `s`.
    pub policy_actions: usize,
    /// Actions at `s` that do not come from the policy.
    pub uniform_actions: usize,
    /// Latents of an autoencoder of actions.
    pub latents: usize,
}

/// What an update minimises.
pub trait Algorithm: Send + Sync {
    /// The policy's network.
    type Net: PolicyNet;
    /// Registry name.
    const NAME: &'static str;
    /// Metrics of [`evaluate`](Self::evaluate).
    const HELDOUT: &'static [&'static str];
    /// The noise of an update.
    fn noise(&self) -> NoisePlan;
    /// What its transitions bring with them.
    fn beside(&self, _data: &DataSettings) -> Beside {
        Beside::default()
    }
    /// Steps of the sequences that it learns from; `None` where it learns from transitions.
    fn sequence_steps(&self) -> Option<usize> {
        None
    }
    /// One update with this noise. Everything is checked before anything is changed, where the equations allow it.
    ///
    /// # Errors
    /// When a loss is not finite or the tensor library fails.
    fn update(
        &mut self,
        parts: &mut Parts<Self::Net>,
        batch: &Batch,
        noise: &Noise,
    ) -> Result<Metrics, LearnError>;
    /// Judges held-out rows; `heldout/log_likelihood` is there already, of a policy that has one.
    ///
    /// # Errors
    /// When the tensor library fails.
    fn evaluate(
        &self,
        parts: &Parts<Self::Net>,
        batch: &Batch,
        rows: &BatchRows,
        metrics: &mut Metrics,
    ) -> Result<(), LearnError>;
    /// Adds weights that the policy acts by, beside those of its network.
    ///
    /// # Errors
    /// When the tensor library fails.
    fn deploy(&self, _parts: &Parts<Self::Net>, _arrays: &mut Arrays) -> Result<(), LearnError> {
        Ok(())
    }
    /// Forgets the moments of a value that learns beside the critics.
    fn reset_value_optimizer(&mut self) {}
    /// What it learns besides policy and critics.
    fn others(&self) -> Vec<&Trainable> {
        Vec::new()
    }
    /// The same, to be changed.
    fn others_mut(&mut self) -> Vec<&mut Trainable> {
        Vec::new()
    }
}

/// Policy, critics and data.
#[derive(Clone, Debug)]
pub struct Parts<N = GaussianNet> {
    /// The policy.
    pub actor: Actor<N>,
    /// The critics.
    pub critics: Critics,
    /// How batches become rows.
    pub inputs: Inputs,
    /// Bounds of values, and targets.
    pub bounds: ValueBounds,
    /// What an update may use.
    pub threads: Threads,
    /// Updates so far.
    pub updates: u64,
    /// Updates when the first online phase began.
    pub online_since: Option<u64>,
    /// Of the last update, one for each row.
    td_errors: Vec<f32>,
    data: DataSettings,
    reset_optimizer_online: bool,
    seed: u64,
}

impl<N: PolicyNet> Parts<N> {
    /// Fresh ones around this policy, with critics of states and actions.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn new(
        actor: Actor<N>,
        critic: &CriticConfig,
        data: DataSettings,
        context: &LearnerContext,
        learner: &'static str,
    ) -> Result<Self, LearnError> {
        Self::judging(context.dims(), actor, critic, data, context, learner)
    }

    /// The same with critics of so many numbers of an observation and of an action.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn judging(
        judged: [usize; 2],
        actor: Actor<N>,
        critic: &CriticConfig,
        data: DataSettings,
        context: &LearnerContext,
        learner: &'static str,
    ) -> Result<Self, LearnError> {
        data.check(learner)?;
        let LearnerContext { spec, seed, threads, device: _ } = context;
        Ok(Self {
            actor,
            critics: Critics::new(critic, judged, &context.start()?, learner)?,
            inputs: Inputs {
                spec: spec.clone(),
                normalizer: Normalizer::default(),
                data_hashes: Vec::new(),
                action_bound: (1.0 - data.demo_action_margin) as f32,
            },
            bounds: ValueBounds::new(critic.q_clamp, data.discount, spec.reward_range),
            threads: Threads::new(*threads)?,
            updates: 0,
            online_since: None,
            td_errors: Vec::new(),
            data,
            reset_optimizer_online: critic.reset_optimizer_online,
            seed: *seed,
        })
    }

    /// `[observation_dim, action_dim]`.
    #[must_use]
    pub const fn dims(&self) -> [usize; 2] {
        [self.inputs.spec.observation_dim(), self.inputs.spec.action_dim()]
    }

    /// The batch as rows for networks; its rewards widen the bounds of values.
    ///
    /// # Errors
    /// When the batch does not fit or is not finite.
    pub fn take_in(&mut self, batch: &Batch) -> Result<BatchRows, LearnError> {
        let rows = self.inputs.rows(batch, self.updates)?;
        match self.data.most_steps() {
            None => self.bounds.widen(&batch.reward),
            // A sum of as many rewards of the range as there may be: only one beyond it tells of a reward beyond the range.
            Some(steps) => {
                self.bounds.widen(&batch.reward.iter().map(|sum| sum / steps).collect::<Vec<_>>());
            }
        }
        Ok(rows)
    }

    /// Observations beside actions, for a critic.
    ///
    /// # Errors
    /// When the rows are not whole.
    pub fn pair(&self, observation: &[f32], action: &[f32]) -> Result<Tensor, LearnError> {
        side_by_side(observation, action, self.dims()).context("critic input")
    }

    /// Every critic on the data's actions and on these of the policy; the targets on rows of their own.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn judge(
        &self,
        rows: &BatchRows,
        target: Tensor,
        policy_actions: &[Vec<f32>],
        noise: &Noise,
    ) -> Result<Vec<Judgement>, LearnError> {
        let mut target_by = noise.target_critics.clone();
        if target_by.is_empty() {
            target_by = (0..self.critics.count()).collect();
        }
        let judged = Judged {
            target,
            target_by,
            taken: self.pair(&rows.observation, &rows.action)?,
            policy: policy_actions
                .iter()
                .map(|a| self.pair(&rows.observation, a))
                .collect::<Result<_, LearnError>>()?,
        };
        self.critics.judge(&judged, &self.threads)
    }

    /// One value a row of these weights.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn value(
        &self,
        weights: Weights,
        observation: &[f32],
        action: &[f32],
        judging: Judging,
    ) -> Result<Vec<f32>, LearnError> {
        let q = self.critics.infer(weights, &self.pair(observation, action)?)?;
        Ok(judging.of(&q.iter().collect::<Vec<_>>()))
    }

    /// From errors of steps to the mean error of each of the sequences that they are of.
    pub fn average_td_errors(&mut self, lengths: &[usize]) {
        let mut rest = self.td_errors.as_slice();
        let mean = |length: &usize| {
            let (steps, behind) = rest.split_at((*length).min(rest.len()));
            rest = behind;
            mean_of(steps) as f32
        };
        let errors: Vec<f32> = lengths.iter().map(mean).collect();
        self.td_errors = errors;
    }

    /// The value itself, or an error that names it.
    ///
    /// # Errors
    /// [`LearnError::NotFinite`].
    pub fn finite(&self, what: &'static str, value: f64) -> Result<f64, LearnError> {
        if value.is_finite() {
            Ok(value)
        } else {
            Err(LearnError::NotFinite { what, value, updates: self.updates })
        }
    }

    /// The critics step towards `y`, each row by its `importance` (1 where there is none), the actor down `actor_gradient` (where this update has one), targets and average follow.
    /// Norms of both gradients. Nothing is changed when one is not finite.
    ///
    /// # Errors
    /// When a gradient is not finite or the tensor library fails.
    pub fn descend(
        &mut self,
        judgements: &[Judgement],
        y: &[f32],
        importance: &[f32],
        actor_gradient: impl FnOnce(&Self) -> Result<Option<(Gradients, f64)>, LearnError> + Send,
    ) -> Result<Norms, LearnError> {
        let this = &*self;
        let of_critics = || this.critics.gradients(judgements, y, importance, &this.threads);
        // Where critics fill the threads alone, the policy comes after them, in halves; beside them it would leave a thread idle.
        let (critics, actor) = if this.threads.count() > this.critics.count() {
            this.threads.join(of_critics, || actor_gradient(this))
        } else {
            (of_critics(), actor_gradient(this))
        };
        self.step(critics?, actor?, td_errors(judgements, y))
    }

    /// Critics and actor step down these gradients, targets and average follow; `td_errors` are those of the rows. Norms of both
    /// gradients. Nothing is changed when one is not finite.
    ///
    /// # Errors
    /// As [`descend`](Self::descend).
    pub fn step(
        &mut self,
        critic_gradients: Vec<(Gradients, f64)>,
        actor_gradient: Option<(Gradients, f64)>,
        td_errors: Vec<f32>,
    ) -> Result<Norms, LearnError> {
        let critic = critic_gradients.iter().map(|(_, norm)| norm * norm).sum::<f64>().sqrt();
        self.finite("train/critic_gradient_norm", critic)?;
        let actor = actor_gradient.as_ref().map(|(_, norm)| *norm);
        self.finite("train/actor_gradient_norm", actor.unwrap_or_default())?;
        let (critics, policy, threads) = (&mut self.critics, &mut self.actor, &self.threads);
        let count = critics.count();
        let step_critics = || critics.step(critic_gradients, threads);
        let step_policy = || actor_gradient.map_or(Ok(()), |(gradient, _)| policy.step(gradient));
        let (critics, policy) = if threads.count() > count {
            threads.join(step_critics, step_policy)
        } else {
            (step_critics(), step_policy())
        };
        critics?;
        policy?;
        self.updates += 1;
        self.td_errors = td_errors;
        Ok(Norms { critic, actor })
    }
}

impl<N: MeanNet> Parts<N> {
    /// What the policy that acts does without noise.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn acting_mean(&self, observation: &[f32]) -> Result<Vec<f32>, LearnError> {
        let rows = tensor(observation.to_vec(), self.dims()[0]).context("evaluation")?;
        self.actor.acting().mean_action(&rows)
    }
}

/// Norms of the gradients of an update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norms {
    /// Of all critics together.
    pub critic: f64,
    /// Of the policy, where it moved.
    pub actor: Option<f64>,
}

/// `train/{critic_loss, actor_loss, critic_gradient_norm, actor_gradient_norm, q_mean, target_mean}`; those of the actor where it
/// moved.
#[must_use]
pub fn loss_metrics(
    critic_loss: f64,
    actor_loss: Option<f64>,
    norms: Norms,
    q: &[f32],
    y: &[f32],
) -> Metrics {
    let mut metrics = Metrics::new();
    metrics.push("train/critic_loss", critic_loss);
    if let Some(actor_loss) = actor_loss {
        metrics.push("train/actor_loss", actor_loss);
    }
    metrics.push("train/critic_gradient_norm", norms.critic);
    if let Some(actor) = norms.actor {
        metrics.push("train/actor_gradient_norm", actor);
    }
    metrics.push("train/q_mean", mean_of(q));
    metrics.push("train/target_mean", mean_of(y));
    metrics
}

/// Mean of `|q - y|`.
#[must_use]
pub fn td_error(q: &[f32], y: &[f32]) -> f64 {
    mean(q.iter().zip(y).map(|(q, y)| f64::from((q - y).abs())))
}

/// A learner: an algorithm over its parts.
#[derive(Clone, Debug)]
pub struct OffPolicy<A: Algorithm> {
    parts: Parts<A::Net>,
    algorithm: A,
}

impl<A: Algorithm> OffPolicy<A> {
    /// Of both.
    #[must_use]
    pub const fn of(parts: Parts<A::Net>, algorithm: A) -> Self {
        Self { parts, algorithm }
    }

    /// [`Learner::update`] with given noise: what a test against another implementation needs.
    ///
    /// # Errors
    /// As [`Learner::update`].
    pub fn update_with_noise(&mut self, batch: &Batch, noise: &Noise) -> Result<Metrics, LearnError> {
        let Self { parts, algorithm } = self;
        parts.threads.clone().run(|| algorithm.update(parts, batch, noise))
    }

    /// The noise of the present update for a batch of `n` rows.
    fn draw_noise(&self, n: usize) -> Noise {
        let parts = &self.parts;
        let action = n * parts.dims()[1];
        let draw = |purpose: &str, samples: usize, numbers: usize, fill: fn(&mut Stream, &mut [f32])| {
            let mut stream = Stream::new(parts.seed, &format!("{}/{purpose}", A::NAME), parts.updates);
            let one = |_| {
                let mut row = vec![0.0; numbers];
                fill(&mut stream, &mut row);
                row
            };
            (0..samples).map(one).collect::<Vec<_>>()
        };
        let NoisePlan { next_actions, policy_actions, uniform_actions, latents } = self.algorithm.noise();
        let (next, policy_action) = parts.threads.join(
            || draw("next_action", next_actions, action, Stream::fill_normal),
            || draw("policy_action", policy_actions, action, Stream::fill_normal),
        );
        let even = |stream: &mut Stream, row: &mut [f32]| {
            row.iter_mut().for_each(|x| *x = stream.uniform(-1.0, 1.0) as f32);
        };
        let uniform_action = draw("uniform_action", uniform_actions, action, even);
        let latent = draw("latent", latents, latent_dim(action), Stream::fill_normal);
        let mut stream = Stream::new(parts.seed, &format!("{}/target_critics", A::NAME), parts.updates);
        let target_critics = parts.critics.drawn(&mut stream);
        Noise { next_action: next.concat(), policy_action, uniform_action, latent, target_critics }
    }
}

impl<A: Algorithm> Learner for OffPolicy<A> {
    fn name(&self) -> &'static str {
        A::NAME
    }

    fn sample_plan(&self, phase: PhaseKind) -> SamplePlan {
        let DataSettings { offline_batch, online_batch, .. } = self.parts.data;
        let batch = match phase {
            PhaseKind::Offline => offline_batch,
            PhaseKind::Online => online_batch,
        };
        if let Some(length) = self.algorithm.sequence_steps() {
            return SamplePlan::Sequences { batch: (batch / length).max(1), length };
        }
        let beside = self.algorithm.beside(&self.parts.data);
        SamplePlan::Transitions { batch, returns: self.parts.data.returns(), beside }
    }

    fn fit(
        &mut self,
        demonstrations: &dyn TransitionSource,
        data_hashes: &[String],
    ) -> Result<(), LearnError> {
        let DataSettings { normalize_observations, observation_std_floor, .. } = self.parts.data;
        let Parts { inputs, bounds, .. } = &mut self.parts;
        let widen = |reward: f32| bounds.widen(&[reward]);
        let floor = observation_std_floor as f32;
        inputs.fit(demonstrations, data_hashes, normalize_observations, floor, widen)
    }

    fn td_errors(&self) -> Option<&[f32]> {
        Some(&self.parts.td_errors)
    }

    fn enter_phase(&mut self, phase: PhaseKind) -> Result<(), LearnError> {
        if phase == PhaseKind::Online {
            if self.parts.reset_optimizer_online {
                self.parts.critics.reset_optimizer();
                self.algorithm.reset_value_optimizer();
            }
            self.parts.online_since.get_or_insert(self.parts.updates);
        }
        Ok(())
    }

    fn update(&mut self, batch: &Batch) -> Result<Metrics, LearnError> {
        self.parts.threads.clone().run(|| {
            let noise = self.draw_noise(batch.n);
            self.algorithm.update(&mut self.parts, batch, &noise)
        })
    }

    fn heldout_metrics(&self) -> &'static [&'static str] {
        A::HELDOUT
    }

    fn evaluate(&self, batch: &Batch) -> Result<Metrics, LearnError> {
        let Self { parts, algorithm } = self;
        parts.threads.run(|| {
            let rows = parts.inputs.rows(batch, parts.updates)?;
            let mut metrics = Metrics::new();
            let likelihood = parts.actor.acting().log_likelihood(rows.observation.clone(), &rows.action)?;
            if let Some(likelihood) = likelihood {
                metrics.push("heldout/log_likelihood", likelihood);
            }
            algorithm.evaluate(parts, batch, &rows, &mut metrics)?;
            Ok(metrics)
        })
    }

    fn updates(&self) -> u64 {
        self.parts.updates
    }

    fn policy(&self, slots: usize) -> Result<Box<dyn Policy>, LearnError> {
        // Built from its own artefact: what acts in training is what will be deployed.
        Ok(crate::load_policy(&self.artifact()?, slots)?)
    }

    fn artifact(&self) -> Result<PolicyArtifact, LearnError> {
        let Self { parts, algorithm } = self;
        let beside = |arrays: &mut Arrays| algorithm.deploy(parts, arrays);
        parts.actor.artifact(&parts.inputs, A::NAME, parts.updates, beside)
    }

    fn save(&self) -> Result<Blobs, LearnError> {
        let parts = &self.parts;
        let mut arrays = Arrays::new();
        parts.actor.export(&mut arrays)?;
        parts.critics.export(&mut arrays)?;
        let mut other_steps = BTreeMap::new();
        for other in self.algorithm.others() {
            other.export(&mut arrays)?;
            other_steps.insert(other.name().to_owned(), other.steps());
        }
        let mut counters = Counters::new(A::NAME, parts.seed, &parts.inputs);
        counters.updates = parts.updates;
        counters.actor_steps = parts.actor.steps();
        counters.critic_steps = parts.critics.steps();
        counters.other_steps = other_steps;
        counters.online_since = parts.online_since;
        counters.reward_range = parts.bounds.reward_range();
        counters.save(&arrays)
    }

    fn load(&mut self, blobs: &Blobs) -> Result<(), LearnError> {
        let Self { parts, algorithm } = self;
        let (counters, arrays) = Counters::load(blobs, A::NAME, &parts.inputs)?;
        parts.actor.check(&arrays)?;
        parts.critics.check(&arrays)?;
        for other in algorithm.others() {
            other.check(&arrays)?;
        }
        parts.actor.import(&arrays, counters.actor_steps)?;
        parts.critics.import(&arrays, counters.critic_steps)?;
        for other in algorithm.others_mut() {
            let steps = counters.other_steps.get(other.name()).copied().unwrap_or_default();
            other.import(&arrays, steps)?;
        }
        parts.bounds.restore(counters.reward_range);
        parts.online_since = counters.online_since;
        (parts.seed, parts.updates) = counters.give_back(&mut parts.inputs);
        Ok(())
    }
}
