//! Demonstrator of `reach`: goes straight to the target, or, in failing episodes, to a place beside it, or not at all.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::Stream;
use surefoot_core::policy::{Policy, PolicyError};

use super::scripted::{Script, Scripted};
use super::{DemonstratorContext, check_manner};

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
        check_manner(*action_noise, Some(*pace), *failure_share)?;
        Ok(Box::new(Scripted::<Slot, 3, 3>::new(self, context)?))
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

impl Script<3, 3> for Slot {
    type Config = ReachDemonstratorConfig;
    const NAMES: [&'static str; 3] = ["tool_to_target_x", "tool_to_target_y", "tool_to_target_z"];

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

    fn act(&mut self, config: &ReachDemonstratorConfig, mut to_target: [f64; 3]) -> [f64; 3] {
        for (t, b) in to_target.iter_mut().zip(self.beside) {
            *t += b;
        }
        let distance = to_target.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-9);
        // Slows down over the last five centimetres.
        let pace = self.pace * (distance / 0.05).min(1.0);
        let stopped = self.step >= self.gives_up_at;
        self.step += 1;
        to_target.map(|t| {
            let wanted = if stopped { 0.0 } else { pace * t / distance };
            (wanted + config.action_noise * self.noise.normal()).clamp(-1.0, 1.0)
        })
    }
}
