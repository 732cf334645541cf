//! Many worlds at once, on all cores. Each world depends on its own seed and actions alone, so results are the same on one thread
//! and on many.

use rayon::prelude::*;

use crate::{Env, EnvError, EnvSpec, Frame, Outcome};

struct Slot {
    env: Box<dyn Env>,
    action: Vec<f32>,
    executed: Vec<f32>,
    observation: Vec<f32>,
    outcome: Outcome,
}

/// `n` worlds of one spec.
pub struct VecEnv {
    slots: Vec<Slot>,
    spec: EnvSpec,
}

impl VecEnv {
    /// Gathers worlds; all must share the first one's spec.
    ///
    /// # Errors
    /// When there is none or the specs differ.
    pub fn new(envs: Vec<Box<dyn Env>>) -> Result<Self, EnvError> {
        let build = |env: String, reason: &str| EnvError::Build { env, reason: reason.to_owned() };
        let Some(first) = envs.first() else {
            return Err(build("vec_env".into(), "no worlds were given"));
        };
        let spec = first.spec().clone();
        if let Some(other) = envs.iter().find(|e| *e.spec() != spec) {
            return Err(build(other.spec().name.clone(), "its spec differs from the first world's"));
        }
        let slots = envs
            .into_iter()
            .map(|env| Slot {
                action: vec![0.0; spec.action_dim()],
                executed: vec![0.0; spec.action_dim()],
                observation: vec![0.0; spec.observation_dim()],
                outcome: Outcome::default(),
                env,
            })
            .collect();
        Ok(Self { slots, spec })
    }

    /// Worlds.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.slots.len()
    }
    /// Never true.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
    /// The spec of every world.
    #[must_use]
    pub const fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    /// Sets the speed scale of every world, see [`Env::set_speed_scale`].
    ///
    /// # Errors
    /// What the first world that refuses says.
    pub fn set_speed_scale(&mut self, scale: f64) -> Result<(), EnvError> {
        self.slots.iter_mut().try_for_each(|s| s.env.set_speed_scale(scale))
    }

    /// Starts an episode in one slot.
    ///
    /// # Errors
    /// What the world says.
    pub fn reset(&mut self, slot: usize, seed: u64) -> Result<&[f32], EnvError> {
        let s = &mut self.slots[slot];
        s.env.reset(seed, &mut s.observation)?;
        Ok(&s.observation)
    }

    /// The action row of a slot, to be filled before [`step`](Self::step).
    pub fn action_mut(&mut self, slot: usize) -> &mut [f32] {
        &mut self.slots[slot].action
    }

    /// Steps the slots of which `active` is true, in parallel.
    ///
    /// # Errors
    /// The first error by slot order.
    pub fn step(&mut self, active: &[bool]) -> Result<(), EnvError> {
        let one = |(slot, active): (&mut Slot, &bool)| {
            if *active {
                slot.outcome = slot.env.step(&slot.action, &mut slot.observation, &mut slot.executed)?;
            }
            Ok(())
        };
        // Errors are collected by position, so the one reported does not depend on timing.
        let results: Vec<Result<(), EnvError>> =
            self.slots.par_iter_mut().zip(active).with_max_len(1).map(one).collect();
        results.into_iter().collect()
    }

    /// Observation, action asked for, action executed and outcome of a slot's last step.
    #[must_use]
    pub fn last(&self, slot: usize) -> (&[f32], &[f32], &[f32], Outcome) {
        let s = &self.slots[slot];
        (&s.observation, &s.action, &s.executed, s.outcome)
    }

    /// Draws a slot's world.
    #[must_use]
    pub fn render(&self, slot: usize, width: usize, height: usize) -> Option<Frame> {
        self.slots[slot].env.render(width, height)
    }
}
