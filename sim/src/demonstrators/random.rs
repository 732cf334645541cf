//! Demonstrator `random`: acts without a thought, in any environment. It is what a run begins with where nobody has shown anything.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::policy::{ActMode, Policy, PolicyError, ResetScope};
use surefoot_core::{Rows, RowsMut, Stream};

use super::{DemonstratorContext, check_range, check_shapes};

/// Configuration of [`random`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RandomDemonstratorConfig {
    /// Largest action, in units of the action.
    pub size: f64,
    /// Steps for which an action is held.
    pub hold_steps: usize,
}

impl Default for RandomDemonstratorConfig {
    fn default() -> Self {
        Self { size: 1.0, hold_steps: 1 }
    }
}

impl RandomDemonstratorConfig {
    /// Builds the demonstrator.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, context: &DemonstratorContext) -> Result<Box<dyn Policy>, PolicyError> {
        let Self { size, hold_steps } = self;
        check_range("size", *size, 0.0, 1.0)?;
        check_range("hold_steps", *hold_steps as f64, 1.0, 1e6)?;
        let slot = || Slot { draw: Stream::new(0, "random demonstrator", 0), step: 0 };
        Ok(Box::new(Random {
            config: self.clone(),
            observation_dim: context.spec.observation_dim(),
            action_dim: context.spec.action_dim(),
            held: vec![0.0; context.slots * context.spec.action_dim()],
            slots: (0..context.slots).map(|_| slot()).collect(),
        }))
    }
}

struct Slot {
    draw: Stream,
    step: usize,
}

struct Random {
    config: RandomDemonstratorConfig,
    observation_dim: usize,
    action_dim: usize,
    /// The action of each slot, `[slots, action_dim]`.
    held: Vec<f32>,
    slots: Vec<Slot>,
}

impl Policy for Random {
    fn slots(&self) -> usize {
        self.slots.len()
    }

    fn reset(&mut self, slot: usize, _scope: ResetScope, seed: u64) {
        self.slots[slot] = Slot { draw: Stream::new(seed, "random demonstrator", 0), step: 0 };
    }

    fn act(
        &mut self,
        observations: Rows<'_>,
        _: ActMode,
        mut actions: RowsMut<'_>,
    ) -> Result<(), PolicyError> {
        check_shapes(&observations, &actions, self.observation_dim, self.action_dim, self.slots.len())?;
        let held = self.held.chunks_mut(self.action_dim.max(1));
        for (i, (slot, held)) in self.slots.iter_mut().zip(held).enumerate().take(observations.len()) {
            if slot.step.is_multiple_of(self.config.hold_steps) {
                let size = self.config.size;
                held.iter_mut().for_each(|a| *a = slot.draw.uniform(-size, size) as f32);
            }
            slot.step += 1;
            actions.row(i).copy_from_slice(held);
        }
        Ok(())
    }
}
