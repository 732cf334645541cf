//! What an update of policy and critics is made of: both networks, how batches become rows, bounds of values, and the steps of their
//! optimisers.

use candle_core::Tensor;
use surefoot_core::{Batch, LearnError, Metrics, Normalizer};

use super::actor::{Actor, MeanNet, PolicyNet};
use super::critic::{CriticConfig, Critics, Judged, Judgement, Judging, Weights, td_errors};
use super::data_settings::DataSettings;
use super::gaussian_net::GaussianNet;
use super::inputs::{BatchRows, Inputs, side_by_side, tensor};
use super::off_policy::Noise;
use super::params::Gradients;
use super::threads::Threads;
use super::value_bounds::ValueBounds;
use super::{Context, mean, mean_of};
use crate::LearnerContext;

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
    pub(super) td_errors: Vec<f32>,
    pub(super) data: DataSettings,
    pub(super) reset_optimizer_online: bool,
    pub(super) seed: u64,
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
