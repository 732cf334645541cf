//! Demonstrator of `door`: comes over the lever, presses it, pushes the door along its arc; failing episodes press too little or give up.

use nalgebra::{Vector2, Vector3};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::Stream;
use surefoot_core::policy::{Policy, PolicyError};

use super::scripted::{Script, Scripted};
use super::{DemonstratorContext, check_manner};

/// Height over the lever at which it is approached, m: the stick's tip reaches 12 mm below the tool.
const OVER: f64 = 0.045;
/// Distance beside the pressing place within which the stick goes down, and beyond which it comes up again, m.
const ABOVE_IT: f64 = 0.015;
const BESIDE_IT: f64 = 0.035;
/// Angle of the lever that is held while the bolt passes the strike, rad.
const HELD: f64 = 0.55;
/// Angle of the lever at which the push begins, rad.
const FREE: f64 = 0.42;
/// Angle of the door at which the lever may be let go, rad.
const PAST_THE_STRIKE: f64 = 0.12;

/// Configuration of [`door`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DoorDemonstratorConfig {
    /// Standard deviation of the noise on each action, in units of the action.
    pub action_noise: f64,
    /// Smallest and largest pace of an episode, in units of the action.
    pub pace: [f64; 2],
    /// Share of episodes that fail on purpose, in equal parts: presses too little, gives up.
    pub failure_share: f64,
}

impl Default for DoorDemonstratorConfig {
    fn default() -> Self {
        Self { action_noise: 0.2, pace: [0.4, 0.8], failure_share: 0.4 }
    }
}

impl DoorDemonstratorConfig {
    /// Builds the demonstrator.
    ///
    /// # Errors
    /// When the environment is not `door`, or a number is out of range.
    pub fn build(&self, context: &DemonstratorContext) -> Result<Box<dyn Policy>, PolicyError> {
        let Self { action_noise, pace, failure_share } = self;
        check_manner(*action_noise, Some(*pace), *failure_share)?;
        Ok(Box::new(Scripted::<Slot, 5, 3>::new(self, context)?))
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Doing {
    Approaching,
    Pressing,
    Pushing,
}

struct Slot {
    noise: Stream,
    pace: f64,
    /// Share of the lever's way that is pressed.
    presses: f64,
    gives_up_at: usize,
    doing: Doing,
    step: usize,
}

impl Script<5, 3> for Slot {
    type Config = DoorDemonstratorConfig;
    const NAMES: [&'static str; 5] =
        ["tool_to_handle_x", "tool_to_handle_y", "tool_to_handle_z", "lever_angle", "door_angle"];

    fn new(config: &DoorDemonstratorConfig, seed: u64) -> Self {
        let mut noise = Stream::new(seed, "door demonstrator", 0);
        let pace = noise.uniform(config.pace[0], config.pace[1]);
        let (mut presses, mut gives_up_at) = (1.0, usize::MAX);
        if noise.unit() < config.failure_share {
            if noise.unit() < 0.5 {
                presses = noise.uniform(0.1, 0.35);
            } else {
                gives_up_at = 3 + noise.below(9);
            }
        }
        Self { noise, pace, presses, gives_up_at, doing: Doing::Approaching, step: 0 }
    }

    fn act(&mut self, config: &DoorDemonstratorConfig, observation: [f64; 5]) -> [f64; 3] {
        let [x, y, z, lever, door] = observation;
        let beside = x.hypot(y);
        let held = HELD * self.presses;
        self.doing = match self.doing {
            Doing::Approaching if beside < ABOVE_IT => Doing::Pressing,
            Doing::Pressing if beside > BESIDE_IT && lever < 0.1 => Doing::Approaching,
            Doing::Pressing if lever > FREE * self.presses => Doing::Pushing,
            // It has slipped off.
            Doing::Pushing if door < PAST_THE_STRIKE && lever < 0.2 * self.presses => Doing::Approaching,
            other => other,
        };
        // Velocities in units of the pace; proportional over the last centimetres.
        let toward = |way: f64| (way / 0.05).clamp(-1.0, 1.0);
        let mut wanted = match self.doing {
            Doing::Approaching => {
                let height = z + OVER;
                // Not through the lever from below: up first.
                let level = if height > 0.03 { 0.0 } else { 1.0 };
                Vector3::new(level * toward(x), level * toward(y), toward(height))
            }
            Doing::Pressing => Vector3::new(toward(x), toward(y), -toward((held - lever) * 0.1 + 0.02)),
            Doing::Pushing => {
                // Along the arc, and back to the pressing place along the door.
                let (sin, cos) = door.sin_cos();
                let (arc, along) = (Vector2::new(cos, sin), Vector2::new(-sin, cos));
                let slip = along.dot(&Vector2::new(x, y));
                let planar = arc + along * toward(slip);
                let down = if door < PAST_THE_STRIKE { -4.0 * (held - lever) } else { 0.0 };
                Vector3::new(planar.x, planar.y, down.clamp(-1.0, 1.0))
            }
        };
        wanted *= self.pace;
        if self.step >= self.gives_up_at {
            wanted.fill(0.0);
        }
        self.step += 1;
        let mut noisy = |w: f64| (w + config.action_noise * self.noise.normal()).clamp(-1.0, 1.0);
        [noisy(wanted.x), noisy(wanted.y), noisy(wanted.z)]
    }
}
