//! Demonstrator of `reach`: goes straight to the target, or, in failing episodes, to a place beside it, or not at all.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::policy::{ActMode, Policy, PolicyError, ResetScope};
use surefoot_core::{Rows, RowsMut, Stream};

use super::{DemonstratorContext, check_range, observation_indices};

/// Configuration of [`reach`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReachDemonstratorConfig {
    /// Standard deviation of the noise on each action, in units of the action.
    pub action_noise: f64,
    /// Smallest and largest pace of an episode, in units of the action.
    pub pace: [f64; 2],
    /// Share of episodes that fail on purpose, in equal parts: aims beside the target, gives up.
    pub failure_share: f64,
}

impl Default for ReachDemonstratorConfig {
    fn default() -> Self {
        Self { action_noise: 0.3, pace: [0.3, 0.8], failure_share: 0.45 }
    }
}

impl ReachDemonstratorConfig {
    /// Builds the demonstrator.
    ///
    /// # Errors
    /// When the environment is not `reach`, or a number is out of range.
    pub fn build(&self, context: &DemonstratorContext) -> Result<Box<dyn Policy>, PolicyError> {
        let Self { action_noise, pace, failure_share } = self;
        check_range("action_noise", *action_noise, 0.0, 10.0)?;
        check_range("pace[0]", pace[0], 0.0, pace[1])?;
        check_range("pace[1]", pace[1], pace[0], 1.0)?;
        check_range("failure_share", *failure_share, 0.0, 1.0)?;
        let names = ["tool_to_target_x", "tool_to_target_y", "tool_to_target_z"];
        Ok(Box::new(ReachDemonstrator {
            config: self.clone(),
            indices: observation_indices(&context.spec, names)?,
            observation_dim: context.spec.observation_dim(),
            slots: (0..context.slots).map(|_| Slot::new(self, 0)).collect(),
        }))
    }
}

struct Slot {
    noise: Stream,
    pace: f64,
    /// Where it aims, from the target, m.
    beside: [f64; 3],
    gives_up_at: usize,
    step: usize,
}

impl Slot {
    fn new(config: &ReachDemonstratorConfig, seed: u64) -> Self {
        let mut noise = Stream::new(seed, "reach demonstrator", 0);
        let pace = noise.uniform(config.pace[0], config.pace[1]);
        let (mut beside, mut gives_up_at) = ([0.0; 3], usize::MAX);
        if noise.unit() < config.failure_share {
            if noise.unit() < 0.5 {
                gives_up_at = 2 + noise.below(8);
            } else {
                let direction = [noise.normal(), noise.normal(), noise.normal()];
                let size = direction.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-9);
                let distance = noise.uniform(0.05, 0.12);
                beside = direction.map(|x| distance * x / size);
            }
        }
        Self { noise, pace, beside, gives_up_at, step: 0 }
    }
}

struct ReachDemonstrator {
    config: ReachDemonstratorConfig,
    indices: [usize; 3],
    observation_dim: usize,
    slots: Vec<Slot>,
}

impl Policy for ReachDemonstrator {
    fn slots(&self) -> usize {
        self.slots.len()
    }

    fn reset(&mut self, slot: usize, _scope: ResetScope, seed: u64) {
        self.slots[slot] = Slot::new(&self.config, seed);
    }

    fn act(
        &mut self,
        observations: Rows<'_>,
        _: ActMode,
        mut actions: RowsMut<'_>,
    ) -> Result<(), PolicyError> {
        super::check_shapes(&observations, &actions, self.observation_dim, 3, self.slots.len())?;
        for (i, slot) in self.slots.iter_mut().enumerate().take(observations.len()) {
            let row = observations.row(i);
            let mut to_target = self.indices.map(|k| f64::from(row[k]));
            for (t, b) in to_target.iter_mut().zip(slot.beside) {
                *t += b;
            }
            let distance = to_target.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-9);
            // Slows down over the last five centimetres.
            let pace = slot.pace * (distance / 0.05).min(1.0);
            for (a, t) in actions.row(i).iter_mut().zip(to_target) {
                let wanted = if slot.step >= slot.gives_up_at { 0.0 } else { pace * t / distance };
                *a = (wanted + self.config.action_noise * slot.noise.normal()).clamp(-1.0, 1.0) as f32;
            }
            slot.step += 1;
        }
        Ok(())
    }
}
