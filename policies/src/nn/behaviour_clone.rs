//! A clone of the policy that recorded the data, learned beside another policy that is kept near it (BRAC; Wu, Tucker, Nachum 2019,
//! arXiv 1911.11361): `Lb = -mean log pi_b(a|s)`, and the divergence `KL(pi, pi_b)` by the policy's own samples.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::LearnError;

use super::actor::PolicyNet;
use super::inputs::{BatchRows, tensor};
use super::max_entropy::PolicyLoss;
use super::mlp::Pass;
use super::params::{Gradients, gradient_norm};
use super::squashed::{Sampled, SquashedActorConfig, SquashedNet};
use super::trainable::Trainable;
use super::{Context, mean, mean_of, positive, require};

const NAME: &str = "behaviour";

/// How far a policy is kept near the data's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BehaviourPenaltyConfig {
    /// Weight of the divergence from the data's policy (the paper's alpha).
    pub penalty: f64,
    /// Whether targets count the divergence at the next step too (BRAC-v), or the policy's loss alone (BRAC-p).
    pub in_targets: bool,
    /// Adam's learning rate of the clone, whose network is that of the policy.
    pub learning_rate: f64,
}

impl Default for BehaviourPenaltyConfig {
    fn default() -> Self {
        Self { penalty: 0.1, in_targets: true, learning_rate: 3e-4 }
    }
}

/// The clone.
#[derive(Clone, Debug)]
pub struct BehaviourClone {
    net: SquashedNet,
    trained: Trainable,
    penalty: f64,
    in_targets: bool,
}

/// The clone at `s`, on its way to an update.
#[derive(Debug)]
pub struct ClonePass {
    pass: Pass,
    output: Vec<f32>,
    /// Mean of `log pi_b(a|s)`.
    pub log_likelihood: f64,
}

impl BehaviourClone {
    /// A seeded one for a policy of these settings.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn new(
        config: BehaviourPenaltyConfig,
        policy: &SquashedActorConfig,
        dims: [usize; 2],
        seed: u64,
        learner: &'static str,
    ) -> Result<Self, LearnError> {
        let BehaviourPenaltyConfig { penalty, in_targets, learning_rate } = config;
        let check = |ok, key, reason| require(learner, ok, key, reason);
        check(penalty >= 0.0 && penalty.is_finite(), "behaviour.penalty", "must not be negative")?;
        check(positive(learning_rate), "behaviour.learning_rate", "must be positive")?;
        let net = SquashedNet::new(NAME, policy, dims, seed, learner)?;
        let trained = Trainable::new(NAME, net.params().clone(), learning_rate);
        Ok(Self { net, trained, penalty, in_targets })
    }

    /// Weight of the divergence.
    #[must_use]
    pub const fn penalty(&self) -> f64 {
        self.penalty
    }

    /// What targets lose by the divergence of these samples at `s'`, `[batch]`; nothing where they do not count it.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn target_penalty(
        &self,
        next_observation: &[f32],
        observation_dim: usize,
        raw: &[f32],
        sampled: &Sampled,
    ) -> Result<Option<Vec<f32>>, LearnError> {
        if !self.in_targets {
            return Ok(None);
        }
        let there = tensor(next_observation.to_vec(), observation_dim).context("behaviour")?;
        let (theirs, _) = self.net.raw_log_prob(&self.net.infer(&there)?, raw);
        let apart = sampled.log_prob.iter().zip(theirs).map(|(ours, theirs)| ours - theirs);
        Ok(Some(apart.map(|apart| self.penalty as f32 * apart).collect()))
    }

    /// The clone over these rows.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn forward(&self, rows: &BatchRows, observation_dim: usize) -> Result<ClonePass, LearnError> {
        let here = tensor(rows.observation.clone(), observation_dim).context("behaviour")?;
        let (pass, output) = self.net.forward(&here)?;
        let log_likelihood = mean_of(&self.net.log_prob(&output, &rows.action));
        Ok(ClonePass { pass, output, log_likelihood })
    }

    /// Adds `-penalty * mean log pi_b(a_pi|s)` to a policy's loss in which `penalty * mean log pi(a_pi|s)` is already; gives the mean
    /// divergence. `output` and `noise` are those of `policy`, `log_prob` of its samples.
    pub fn attract(
        &self,
        clone: &ClonePass,
        policy: &SquashedNet,
        (output, noise): (&[f32], &[f32]),
        log_prob: &[f32],
        loss: &mut PolicyLoss,
    ) -> f64 {
        let raw = policy.raw_sample(output, noise);
        let (theirs, of_raw) = self.net.raw_log_prob(&clone.output, &raw);
        loss.loss -= self.penalty * mean_of(&theirs);
        let factor = -self.penalty / theirs.len().max(1) as f64;
        let of_raw: Vec<f32> = of_raw.iter().map(|g| (factor * f64::from(*g)) as f32).collect();
        let of_output = policy.raw_gradient(output, noise, &of_raw);
        loss.gradient.iter_mut().zip(of_output).for_each(|(sum, g)| *sum += g);
        mean(log_prob.iter().zip(&theirs).map(|(ours, theirs)| f64::from(*ours) - f64::from(*theirs)))
    }

    /// The gradient of its own loss, with the norm.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn gradient(
        &self,
        clone: &ClonePass,
        rows: &BatchRows,
        n: usize,
    ) -> Result<(Gradients, f64), LearnError> {
        let of_output = self.net.log_prob_gradient(&clone.output, &rows.action, -1.0 / n.max(1) as f64);
        let gradient = clone.pass.pull(of_output).context("behaviour gradient")?;
        let gradients = Gradients::from([(NAME.to_owned(), gradient)]);
        let norm = gradient_norm(&gradients);
        Ok((gradients, norm))
    }

    /// One optimiser step.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn step(&mut self, gradients: Gradients) -> Result<(), LearnError> {
        self.trained.step(&gradients)?;
        gradients.into_values().for_each(|g| self.net.recycle(g));
        Ok(())
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
