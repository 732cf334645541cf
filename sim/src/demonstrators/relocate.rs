//! Demonstrator of `relocate`: comes over the ball with open fingers, goes down, closes them, carries; failing episodes grip beside the ball or
//! let go on the way.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::Stream;
use surefoot_core::policy::{Policy, PolicyError};

use super::scripted::{Script, Scripted};
use super::{DemonstratorContext, check_manner};

/// Height over the ball's centre from which it goes down, m.
const OVER: f64 = 0.07;
/// Distance across to the ball within which it goes down, and beyond which it comes up again, m.
const ABOVE_IT: f64 = 0.006;
const BESIDE_IT: f64 = 0.02;
/// Steps for which the fingers close before the ball is lifted.
const CLOSING_STEPS: usize = 5;
/// Set-points of the fingers, in units of the action.
const OPENED: f64 = 0.8;
const CLOSED: f64 = -0.35;

/// Configuration of [`relocate`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RelocateDemonstratorConfig {
    /// Standard deviation of the noise on each action, in units of the action.
    pub action_noise: f64,
    /// Smallest and largest pace of an episode, in units of the action.
    pub pace: [f64; 2],
    /// Share of episodes that fail on purpose, in equal parts: grips beside the ball, lets go.
    pub failure_share: f64,
}

impl Default for RelocateDemonstratorConfig {
    fn default() -> Self {
        Self { action_noise: 0.1, pace: [0.4, 0.8], failure_share: 0.4 }
    }
}

impl RelocateDemonstratorConfig {
    /// Builds the demonstrator.
    ///
    /// # Errors
    /// When the environment is not `relocate`, or a number is out of range.
    pub fn build(&self, context: &DemonstratorContext) -> Result<Box<dyn Policy>, PolicyError> {
        let Self { action_noise, pace, failure_share } = self;
        check_manner(*action_noise, Some(*pace), *failure_share)?;
        Ok(Box::new(Scripted::<Slot, 7, 4>::new(self, context)?))
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Doing {
    Approaching,
    Lowering,
    /// Since this many steps.
    Closing(usize),
    Carrying,
}

struct Slot {
    noise: Stream,
    pace: f64,
    /// Where it grips, from the ball's centre, m.
    beside: [f64; 2],
    /// Steps of carrying after which it lets go.
    lets_go_after: usize,
    carried: usize,
    doing: Doing,
}

impl Script<7, 4> for Slot {
    type Config = RelocateDemonstratorConfig;
    const NAMES: [&'static str; 7] = [
        "tool_to_ball_x",
        "tool_to_ball_y",
        "tool_to_ball_z",
        "ball_to_target_x",
        "ball_to_target_y",
        "ball_to_target_z",
        "opening",
    ];

    fn new(config: &RelocateDemonstratorConfig, seed: u64) -> Self {
        let mut noise = Stream::new(seed, "relocate demonstrator", 0);
        let pace = noise.uniform(config.pace[0], config.pace[1]);
        let (mut beside, mut lets_go_after) = ([0.0; 2], usize::MAX);
        if noise.unit() < config.failure_share {
            if noise.unit() < 0.5 {
                lets_go_after = noise.below(4);
            } else {
                let angle = noise.uniform(0.0, std::f64::consts::TAU);
                let distance = noise.uniform(0.06, 0.09);
                beside = [distance * angle.cos(), distance * angle.sin()];
            }
        }
        Self { noise, pace, beside, lets_go_after, carried: 0, doing: Doing::Approaching }
    }

    fn act(&mut self, config: &RelocateDemonstratorConfig, observation: [f64; 7]) -> [f64; 4] {
        let [x, y, z, to_x, to_y, to_z, opening] = observation;
        let (x, y) = (x + self.beside[0], y + self.beside[1]);
        let across = x.hypot(y);
        self.doing = match self.doing {
            Doing::Approaching if across < ABOVE_IT && -z < OVER + 0.015 => Doing::Lowering,
            Doing::Lowering if across > BESIDE_IT => Doing::Approaching,
            Doing::Lowering if z.abs() < 0.006 => Doing::Closing(0),
            Doing::Closing(steps) if steps >= CLOSING_STEPS => Doing::Carrying,
            Doing::Closing(steps) => Doing::Closing(steps + 1),
            // It has slipped out, or never was between them.
            Doing::Carrying if self.lets_go_after == usize::MAX && (opening < 0.035 || z.abs() > 0.03) => {
                Doing::Approaching
            }
            other => other,
        };
        let toward = |way: f64| (way / (0.07 * self.pace)).clamp(-1.0, 1.0);
        let [wanted_x, wanted_y, wanted_z, fingers] = match self.doing {
            Doing::Approaching => {
                // Across at height alone: the ball is in the way lower down.
                let high = f64::from(u8::from(-z > OVER - 0.015));
                [high * toward(x), high * toward(y), toward(z + OVER), OPENED]
            }
            Doing::Lowering => [toward(x), toward(y), toward(z), OPENED],
            Doing::Closing(_) => [0.0, 0.0, 0.0, CLOSED],
            Doing::Carrying => {
                let lets_go = self.carried >= self.lets_go_after;
                self.carried += 1;
                let fingers = if lets_go { OPENED } else { CLOSED };
                // Up first.
                let up = f64::from(u8::from(to_z < 0.05));
                [up * toward(to_x), up * toward(to_y), toward(to_z), fingers]
            }
        };
        let mut noisy = |wanted: f64| (wanted + config.action_noise * self.noise.normal()).clamp(-1.0, 1.0);
        [
            noisy(self.pace * wanted_x),
            noisy(self.pace * wanted_y),
            noisy(self.pace * wanted_z),
            noisy(fingers),
        ]
    }
}
