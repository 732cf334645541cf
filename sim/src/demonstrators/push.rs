//! Demonstrator of `push`: goes around the puck to the side away from the goal, then pushes, steering against slip.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::Stream;
use surefoot_core::policy::{Policy, PolicyError};

use super::scripted::{Script, Scripted};
use super::{DemonstratorContext, check_manner, check_range};

/// Distance from the puck's centre at which it is rounded, m.
const ROUNDING_RADIUS: f64 = 0.085;
/// Angle to the pushing side below which the push begins, and above which it is broken off, rad.
const ALIGNED: f64 = 0.30;
const SLIPPED: f64 = 0.70;

/// Configuration of [`push`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PushDemonstratorConfig {
    /// Standard deviation of the noise on each action, in units of the action.
    pub action_noise: f64,
    /// Smallest and largest pace of an episode, in units of the action.
    pub pace: [f64; 2],
    /// Standard deviation of an episode's error in the pushing direction, rad.
    pub aim_error_rad: f64,
    /// Share of episodes that fail on purpose, in equal parts: pushes beside the centre, gives up, drifts.
    pub failure_share: f64,
}

impl Default for PushDemonstratorConfig {
    fn default() -> Self {
        Self { action_noise: 0.3, pace: [0.4, 0.8], aim_error_rad: 0.12, failure_share: 0.55 }
    }
}

impl PushDemonstratorConfig {
    /// Builds the demonstrator.
    ///
    /// # Errors
    /// When the environment is not `push`, or a number is out of range.
    pub fn build(&self, context: &DemonstratorContext) -> Result<Box<dyn Policy>, PolicyError> {
        let Self { action_noise, pace, aim_error_rad, failure_share } = self;
        check_manner(*action_noise, Some(*pace), *failure_share)?;
        check_range("aim_error_rad", *aim_error_rad, 0.0, std::f64::consts::PI)?;
        Ok(Box::new(Scripted::<Slot, 4, 2>::new(self, context)?))
    }
}

#[derive(Clone, Copy, Debug)]
enum Failing {
    No,
    /// Aims this far beside, rad, and does not correct.
    Beside(f64),
    /// Stops acting at this step.
    GivesUp(usize),
    /// Is carried off at this velocity, in units of the action.
    Drifts([f64; 2]),
}

struct Slot {
    noise: Stream,
    pace: f64,
    aim_error: f64,
    failing: Failing,
    pushing: bool,
    step: usize,
}

impl Script<4, 2> for Slot {
    type Config = PushDemonstratorConfig;
    const NAMES: [&'static str; 4] = ["tool_to_puck_x", "tool_to_puck_y", "puck_to_goal_x", "puck_to_goal_y"];

    fn new(config: &PushDemonstratorConfig, seed: u64) -> Self {
        let mut noise = Stream::new(seed, "push demonstrator", 0);
        let pace = noise.uniform(config.pace[0], config.pace[1]);
        let aim_error = config.aim_error_rad * noise.normal();
        let failing = if noise.unit() < config.failure_share {
            let side = if noise.unit() < 0.5 { -1.0 } else { 1.0 };
            match noise.below(3) {
                0 => Failing::Beside(side * noise.uniform(0.6, 1.1)),
                1 => Failing::GivesUp(5 + noise.below(20)),
                _ => {
                    let angle = noise.uniform(0.0, std::f64::consts::TAU);
                    let size = noise.uniform(0.5, 0.9);
                    Failing::Drifts([size * angle.cos(), size * angle.sin()])
                }
            }
        } else {
            Failing::No
        };
        Self { noise, pace, aim_error, failing, pushing: false, step: 0 }
    }

    fn act(&mut self, config: &PushDemonstratorConfig, observation: [f64; 4]) -> [f64; 2] {
        let [to_puck, to_goal] = [[observation[0], observation[1]], [observation[2], observation[3]]];
        let beside = if let Failing::Beside(angle) = self.failing { angle } else { 0.0 };
        let push = to_goal[1].atan2(to_goal[0]) + self.aim_error + beside;
        let at = (-to_puck[1]).atan2(-to_puck[0]);
        let distance = to_puck[0].hypot(to_puck[1]);
        // Angle still to go around the puck until the stick is opposite the goal.
        let behind = push + std::f64::consts::PI;
        let around =
            (behind - at + std::f64::consts::PI).rem_euclid(std::f64::consts::TAU) - std::f64::consts::PI;
        self.pushing = around.abs() < if self.pushing { SLIPPED } else { ALIGNED };
        let (radial, tangential) = if self.pushing {
            (-1.0, if matches!(self.failing, Failing::Beside(_)) { 0.0 } else { 2.5 * around })
        } else {
            let radial = 12.0 * (ROUNDING_RADIUS - distance);
            (radial.clamp(-1.0, 1.0), around.signum() * (around.abs() * 2.0).min(1.0))
        };
        let size = radial.hypot(tangential).max(1e-9);
        let (sin, cos) = at.sin_cos();
        let mut action = [
            self.pace * (radial * cos - tangential * sin) / size,
            self.pace * (radial * sin + tangential * cos) / size,
        ];
        match self.failing {
            Failing::GivesUp(last) if self.step >= last => action = [0.0; 2],
            Failing::Drifts(drift) => {
                action[0] += drift[0];
                action[1] += drift[1];
            }
            _ => {}
        }
        self.step += 1;
        for a in &mut action {
            *a = (*a + config.action_noise * self.noise.normal()).clamp(-1.0, 1.0);
        }
        action
    }
}
