//! Demonstrator of `pendulum`: pumps energy until it suffices to stand, then balances by linear feedback (Åström and Furuta,
//! Swinging up a pendulum by energy control, Automatica 36, 2000).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::Stream;
use surefoot_core::policy::{Policy, PolicyError};

use super::scripted::{Script, Scripted};
use super::{DemonstratorContext, check_manner};

/// `m g l` and the inertia about the pivot, over the largest torque: as in the model.
const WEIGHT: f64 = 4.905 / 1.5;
const INERTIA: f64 = 0.27 / 1.5;
/// Angle from upright below which it balances, rad.
const BALANCING: f64 = 0.35;
/// Feedback of angle and velocity while balancing, in units of the action.
const ANGLE_GAIN: f64 = 9.0;
const VELOCITY_GAIN: f64 = 2.2;

/// Configuration of [`pendulum`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PendulumDemonstratorConfig {
    /// Standard deviation of the noise on each action, in units of the action.
    pub action_noise: f64,
    /// Share of episodes that fail on purpose: it lets go after a while.
    pub failure_share: f64,
}

impl Default for PendulumDemonstratorConfig {
    fn default() -> Self {
        Self { action_noise: 0.1, failure_share: 0.4 }
    }
}

impl PendulumDemonstratorConfig {
    /// Builds the demonstrator.
    ///
    /// # Errors
    /// When the environment is not `pendulum`, or a number is out of range.
    pub fn build(&self, context: &DemonstratorContext) -> Result<Box<dyn Policy>, PolicyError> {
        let Self { action_noise, failure_share } = self;
        check_manner(*action_noise, None, *failure_share)?;
        Ok(Box::new(Scripted::<Slot, 3, 1>::new(self, context)?))
    }
}

struct Slot {
    noise: Stream,
    lets_go_at: usize,
    step: usize,
}

impl Script<3, 1> for Slot {
    type Config = PendulumDemonstratorConfig;
    const NAMES: [&'static str; 3] = ["cos_angle", "sin_angle", "angular_velocity"];

    fn new(config: &PendulumDemonstratorConfig, seed: u64) -> Self {
        let mut noise = Stream::new(seed, "pendulum demonstrator", 0);
        let fails = noise.unit() < config.failure_share;
        let lets_go_at = if fails { 5 + noise.below(30) } else { usize::MAX };
        Self { noise, lets_go_at, step: 0 }
    }

    fn act(&mut self, config: &PendulumDemonstratorConfig, [cos, sin, velocity]: [f64; 3]) -> [f64; 1] {
        let angle = sin.atan2(cos);
        // 0 when it stands still upright, negative below.
        let energy = 0.5 * INERTIA * velocity * velocity + WEIGHT * (cos - 1.0);
        let wanted = if angle.abs() < BALANCING && velocity.abs() < 2.5 {
            -(ANGLE_GAIN * angle + VELOCITY_GAIN * velocity)
        } else {
            // At rest a push either way begins the swing.
            let way = if velocity == 0.0 { 1.0 } else { velocity.signum() };
            if energy < 0.0 { way } else { -way * (energy / 0.5).min(1.0) }
        };
        let held = self.step < self.lets_go_at;
        self.step += 1;
        let noise = config.action_noise * self.noise.normal();
        [if held { (wanted.clamp(-1.0, 1.0) + noise).clamp(-1.0, 1.0) } else { 0.0 }]
    }
}
