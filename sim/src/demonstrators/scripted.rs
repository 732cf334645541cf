//! A script per episode, made into a policy: picks named observations, keeps one script a slot.

use surefoot_core::policy::{ActMode, Policy, PolicyError, ResetScope};
use surefoot_core::{Rows, RowsMut};

use super::{DemonstratorContext, check_shapes, observation_indices};

/// What a demonstrator does in one episode.
pub trait Script<const OBSERVATIONS: usize, const ACTIONS: usize>: Send {
    /// Its settings.
    type Config: Clone + Send;
    /// Names of the observations that it acts on.
    const NAMES: [&'static str; OBSERVATIONS];
    /// For one episode.
    fn new(config: &Self::Config, seed: u64) -> Self;
    /// The next action, normalised, from the named observations.
    fn act(&mut self, config: &Self::Config, observation: [f64; OBSERVATIONS]) -> [f64; ACTIONS];
}

/// The policy.
pub struct Scripted<S: Script<O, A>, const O: usize, const A: usize> {
    config: S::Config,
    indices: [usize; O],
    observation_dim: usize,
    slots: Vec<S>,
}

impl<S: Script<O, A>, const O: usize, const A: usize> Scripted<S, O, A> {
    /// One script a slot.
    ///
    /// # Errors
    /// When the environment lacks a named observation.
    pub fn new(config: &S::Config, context: &DemonstratorContext) -> Result<Self, PolicyError> {
        Ok(Self {
            config: config.clone(),
            indices: observation_indices(&context.spec, S::NAMES)?,
            observation_dim: context.spec.observation_dim(),
            slots: (0..context.slots).map(|_| S::new(config, 0)).collect(),
        })
    }
}

impl<S: Script<O, A> + 'static, const O: usize, const A: usize> Policy for Scripted<S, O, A> {
    fn slots(&self) -> usize {
        self.slots.len()
    }

    fn reset(&mut self, slot: usize, _scope: ResetScope, seed: u64) {
        self.slots[slot] = S::new(&self.config, seed);
    }

    fn act(
        &mut self,
        observations: Rows<'_>,
        _: ActMode,
        mut actions: RowsMut<'_>,
    ) -> Result<(), PolicyError> {
        check_shapes(&observations, &actions, self.observation_dim, A, self.slots.len())?;
        for (i, slot) in self.slots.iter_mut().enumerate().take(observations.len()) {
            let row = observations.row(i);
            let action = slot.act(&self.config, self.indices.map(|k| f64::from(row[k])));
            actions.row(i).copy_from_slice(&action.map(|a| a as f32));
        }
        Ok(())
    }
}
