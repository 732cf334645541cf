//! Many worlds at once. Each world depends on its own seed and actions alone, so results are the same on one thread and on many,
//! in this process and in others.

use crate::env_batch::LocalWorlds;
use crate::{Env, EnvBatch, EnvError, EnvSpec, Frame, Outcome, Overlay, TrainingProgress, WorldStep};

/// `n` worlds of one spec, with the rows of each one's last step.
pub struct VecEnv {
    batch: Box<dyn EnvBatch>,
    steps: Vec<WorldStep>,
    spec: EnvSpec,
}

impl VecEnv {
    /// Gathers worlds of this process, stepped on all cores; all must share the first one's spec.
    ///
    /// # Errors
    /// When there is none or the specs differ.
    pub fn new(envs: Vec<Box<dyn Env>>) -> Result<Self, EnvError> {
        Ok(Self::of(Box::new(LocalWorlds::new(envs)?)))
    }

    /// Worlds that are stepped together in their own way.
    #[must_use]
    pub fn of(batch: Box<dyn EnvBatch>) -> Self {
        let spec = batch.spec().clone();
        let steps = (0..batch.worlds()).map(|_| WorldStep::new(&spec)).collect();
        Self { batch, steps, spec }
    }

    /// Worlds.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.steps.len()
    }
    /// Whether there is no world: never so for [`new`](Self::new).
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
    /// The spec of every world.
    #[must_use]
    pub const fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    /// What whoever uses these worlds should know, a sentence each.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.batch.notes()
    }

    /// Sets the speed scale of every world, see [`Env::set_speed_scale`].
    ///
    /// # Errors
    /// What the first world that refuses says.
    pub fn set_speed_scale(&mut self, scale: f64) -> Result<(), EnvError> {
        self.batch.set_speed_scale(scale)
    }

    /// Says to every world how far training has come, see [`Env::set_progress`].
    pub fn set_progress(&mut self, progress: Option<TrainingProgress<'_>>) -> Option<f64> {
        self.batch.set_progress(progress)
    }

    /// Says what pictures of every world show, see [`Env::set_overlay`].
    pub fn set_overlay(&mut self, overlay: Overlay) {
        self.batch.set_overlay(overlay);
    }

    /// Starts an episode in one slot.
    ///
    /// # Errors
    /// What the world says.
    pub fn reset(&mut self, slot: usize, seed: u64) -> Result<&[f32], EnvError> {
        let row = &mut self.steps[slot].observation;
        self.batch.reset(slot, seed, row)?;
        Ok(row)
    }

    /// The action row of a slot, to be filled before [`step`](Self::step).
    pub fn action_mut(&mut self, slot: usize) -> &mut [f32] {
        &mut self.steps[slot].action
    }

    /// Steps the slots of which `active` is true, together. Slots that `active` does not reach stay as they are.
    ///
    /// # Errors
    /// The first error by slot order.
    pub fn step(&mut self, active: &[bool]) -> Result<(), EnvError> {
        let active = active.iter().copied().chain(std::iter::repeat(false));
        for (step, active) in self.steps.iter_mut().zip(active) {
            step.active = active;
        }
        self.batch.step(&mut self.steps)
    }

    /// Observation, action asked for, action executed and outcome of a slot's last step.
    #[must_use]
    pub fn last(&self, slot: usize) -> (&[f32], &[f32], &[f32], Outcome) {
        let s = &self.steps[slot];
        (&s.observation, &s.action, &s.executed, s.outcome)
    }

    /// Draws a slot's world.
    #[must_use]
    pub fn render(&self, slot: usize, width: usize, height: usize) -> Option<Frame> {
        self.batch.render(slot, width, height)
    }
}
