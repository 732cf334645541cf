//! What the maximum-entropy learners share (Haarnoja et al. 2018, arXiv 1812.05905): the entropy temperature, the policy's loss
//! through the critics, and how held-out rows are judged.

use candle_core::Var;
use surefoot_core::{Batch, LearnError, Metrics};

use super::critic::{Judging, Weights};
use super::inputs::BatchRows;
use super::off_policy::{Parts, td_error};
use super::params::{Gradients, Params, Part};
use super::squashed::{Sampled, SquashedNet};
use super::trainable::Trainable;
use super::{Context, mean, mean_of, positive, require};

/// A positive number that learns by its logarithm.
#[derive(Clone, Debug)]
pub struct LogScale {
    name: &'static str,
    log: Var,
    trained: Trainable,
}

impl LogScale {
    /// `start` at first.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn new(name: &'static str, start: f64, learning_rate: f64) -> Result<Self, LearnError> {
        let mut params = Params::default();
        let part = Part { name: name.into(), dims: vec![1], at: 0, by_columns: false };
        let log = params.add(name, vec![part], &[start.ln() as f32]).context(name)?;
        Ok(Self { name, log, trained: Trainable::new(name, params, learning_rate) })
    }

    /// The number itself.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn get(&self) -> Result<f64, LearnError> {
        let log: Vec<f32> = self.log.to_vec1().context(self.name)?;
        Ok(log.first().map_or(0.0, |l| f64::from(*l).exp()))
    }

    /// One optimiser step down this derivative by the logarithm.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn step(&mut self, gradient: f64) -> Result<(), LearnError> {
        self.trained.step(&Gradients::from([(self.name.to_owned(), vec![gradient as f32])]))
    }

    /// Puts the logarithm between these bounds.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn clamp(&self, low: f64, high: f64) -> Result<(), LearnError> {
        let within = self.log.clamp(low as f32, high as f32).and_then(|log| self.log.set(&log));
        within.context(self.name)
    }

    /// For a checkpoint.
    #[must_use]
    pub const fn trained(&self) -> &Trainable {
        &self.trained
    }

    /// For a checkpoint that is loaded.
    pub const fn trained_mut(&mut self) -> &mut Trainable {
        &mut self.trained
    }
}

/// The entropy temperature: `La = -log alpha * mean_batch (log pi(a_pi|s) + target_entropy)`.
#[derive(Clone, Debug)]
pub struct Temperature {
    /// The temperature.
    pub scale: LogScale,
    learns: bool,
    target_entropy: f64,
}

impl Temperature {
    /// From the settings `initial_temperature`, `temperature_learning_rate` (0 keeps it) and `target_entropy` (minus the actions'
    /// dimension where absent).
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn new(
        initial: f64,
        learning_rate: f64,
        target_entropy: Option<f64>,
        action_dim: usize,
        learner: &'static str,
    ) -> Result<Self, LearnError> {
        let check = |ok, key, reason| require(learner, ok, key, reason);
        check(positive(initial), "initial_temperature", "must be positive")?;
        let rate = learning_rate >= 0.0 && learning_rate.is_finite();
        check(rate, "temperature_learning_rate", "must not be negative")?;
        check(target_entropy.is_none_or(f64::is_finite), "target_entropy", "must be finite")?;
        Ok(Self {
            scale: LogScale::new("log_temperature", initial, learning_rate)?,
            learns: learning_rate > 0.0,
            target_entropy: target_entropy.unwrap_or(-(action_dim as f64)),
        })
    }

    /// Whether it learns.
    #[must_use]
    pub const fn learns(&self) -> bool {
        self.learns
    }

    /// Mean of `log pi + target_entropy` over samples: how much entropy is missing.
    #[must_use]
    pub fn missing(&self, log_prob: &[f32]) -> f64 {
        mean_of(log_prob) + self.target_entropy
    }
}

/// What moves the policy.
#[derive(Debug)]
pub struct PolicyLoss {
    /// The loss.
    pub loss: f64,
    /// By the network's output.
    pub gradient: Vec<f32>,
}

/// `mean_batch (temperature log pi(a_pi|s) - Q(s, a_pi))`, reparameterised; `sampled` are the actions of this output and noise.
///
/// # Errors
/// When the tensor library fails.
pub fn entropy_loss(
    parts: &Parts<SquashedNet>,
    rows: &BatchRows,
    (output, noise): (&[f32], &[f32]),
    sampled: &Sampled,
    temperature: f64,
    actor_q: Judging,
) -> Result<PolicyLoss, LearnError> {
    let pairs = parts.pair(&rows.observation, &sampled.action)?;
    let passes = parts.critics.judge_actions(&pairs, &parts.threads)?;
    let by_critic: Vec<&Vec<f32>> = passes.iter().map(|p| &p.output).collect();
    let q = actor_q.of(&by_critic);
    let rows = q.iter().zip(&sampled.log_prob);
    let loss = mean(rows.map(|(q, l)| temperature * f64::from(*l) - f64::from(*q)));
    let n = q.len() as f64;
    let coefficients = actor_q.gradient(&by_critic, (-1.0 / n) as f32);
    let action_dim = parts.dims()[1];
    let of_action = parts.critics.action_gradient(&passes, coefficients, action_dim, &parts.threads)?;
    let gradient = parts.actor.net().sample_gradient(output, noise, &of_action, temperature / n);
    Ok(PolicyLoss { loss, gradient })
}

/// Adds `heldout/td_error`, with the policy's mean action at `s'`.
///
/// # Errors
/// When the tensor library fails.
pub fn judge_heldout(
    parts: &Parts<SquashedNet>,
    batch: &Batch,
    rows: &BatchRows,
    metrics: &mut Metrics,
) -> Result<(), LearnError> {
    let there = &rows.next_observation;
    let next = parts.value(Weights::Target, there, &parts.acting_mean(there)?, Judging::Min)?;
    let y = parts.bounds.targets(batch, &next);
    let q = parts.value(Weights::Online, &rows.observation, &rows.action, Judging::Min)?;
    metrics.push("heldout/td_error", td_error(&q, &y));
    Ok(())
}
