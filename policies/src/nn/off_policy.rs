//! What all learners with critics share: a policy, an ensemble of critics, their optimiser steps, and the duties of a
//! [`Learner`]: fitting to data, phases, evaluation, checkpoints. An [`Algorithm`] says what an update minimises.

use std::collections::BTreeMap;

use surefoot_core::{
    Batch, Beside, Blobs, LearnError, Learner, Metrics, PhaseKind, Policy, PolicyArtifact, SamplePlan,
    Stream, TransitionSource,
};

use super::actor::PolicyNet;
pub use super::actor_critic::{Norms, Parts, loss_metrics, td_error};
use super::behaviour_vae::latent_dim;
pub use super::data_settings::{DataSettings, ReturnSteps};
use super::inputs::BatchRows;
use super::params::Arrays;
use super::state::Counters;
use super::trainable::Trainable;

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
