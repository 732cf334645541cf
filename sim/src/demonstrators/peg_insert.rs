//! Demonstrator of `peg_insert`: goes over the hole, waits until it is aligned, pushes down; failing episodes miss the hole or give up.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::Stream;
use surefoot_core::policy::{Policy, PolicyError};

use super::scripted::{Script, Scripted};
use super::{DemonstratorContext, check_manner};

/// Height of the tip over the hole's bottom at which it is aligned, m: the rim is at 0.05.
const OVER: f64 = 0.065;
/// Distance to the hole's axis within which the peg goes down, and beyond which it comes up again, m.
const ALIGNED: f64 = 0.0025;
const BESIDE: f64 = 0.012;

/// Configuration of [`peg_insert`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PegInsertDemonstratorConfig {
    /// Standard deviation of the noise on each action, in units of the action.
    pub action_noise: f64,
    /// Smallest and largest pace of an episode, in units of the action.
    pub pace: [f64; 2],
    /// Share of episodes that fail on purpose, in equal parts: aims beside the hole, gives up.
    pub failure_share: f64,
}

impl Default for PegInsertDemonstratorConfig {
    fn default() -> Self {
        Self { action_noise: 0.1, pace: [0.4, 0.8], failure_share: 0.4 }
    }
}

impl PegInsertDemonstratorConfig {
    /// Builds the demonstrator.
    ///
    /// # Errors
    /// When the environment is not `peg_insert`, or a number is out of range.
    pub fn build(&self, context: &DemonstratorContext) -> Result<Box<dyn Policy>, PolicyError> {
        let Self { action_noise, pace, failure_share } = self;
        check_manner(*action_noise, Some(*pace), *failure_share)?;
        Ok(Box::new(Scripted::<Slot, 3, 3>::new(self, context)?))
    }
}

struct Slot {
    noise: Stream,
    pace: f64,
    /// Where it aims, from the hole's axis, m.
    beside: [f64; 2],
    gives_up_at: usize,
    inserting: bool,
    step: usize,
}

impl Script<3, 3> for Slot {
    type Config = PegInsertDemonstratorConfig;
    const NAMES: [&'static str; 3] = ["tip_to_bottom_x", "tip_to_bottom_y", "tip_to_bottom_z"];

    fn new(config: &PegInsertDemonstratorConfig, seed: u64) -> Self {
        let mut noise = Stream::new(seed, "peg_insert demonstrator", 0);
        let pace = noise.uniform(config.pace[0], config.pace[1]);
        let (mut beside, mut gives_up_at) = ([0.0; 2], usize::MAX);
        if noise.unit() < config.failure_share {
            if noise.unit() < 0.5 {
                gives_up_at = 3 + noise.below(15);
            } else {
                let angle = noise.uniform(0.0, std::f64::consts::TAU);
                let distance = noise.uniform(0.016, 0.03);
                beside = [distance * angle.cos(), distance * angle.sin()];
            }
        }
        Self { noise, pace, beside, gives_up_at, inserting: false, step: 0 }
    }

    fn act(&mut self, config: &PegInsertDemonstratorConfig, observation: [f64; 3]) -> [f64; 3] {
        let [x, y, z] = [observation[0] + self.beside[0], observation[1] + self.beside[1], observation[2]];
        let across = x.hypot(y);
        let over = -z < OVER + 0.01;
        self.inserting = if self.inserting { across < BESIDE } else { across < ALIGNED && over };
        // Proportional over the last centimetres: 0.1 s later half of the way is left.
        let toward = |way: f64| (way / (0.05 * self.pace)).clamp(-1.0, 1.0);
        let wanted = if self.inserting {
            [toward(x), toward(y), -0.5]
        } else {
            // Across at height alone: the block's rim is in the way lower down.
            let high = f64::from(u8::from(-z > OVER - 0.01));
            [high * toward(x), high * toward(y), toward(z + OVER)]
        };
        let stopped = self.step >= self.gives_up_at;
        self.step += 1;
        wanted.map(|w| {
            let wanted = if stopped { 0.0 } else { self.pace * w };
            (wanted + config.action_noise * self.noise.normal()).clamp(-1.0, 1.0)
        })
    }
}
