//! Demonstrator of `half_cheetah`: gallops by a gait of six sines; failing episodes let go after a while. Every joint is pulled by a spring and
//! damper toward an angle that swings:
//!
//! ```text
//! torque = clamp(stiffness (offset + amplitude sin(2 pi hz t + phase) - angle) - damping rate, -1, 1)      in units of the action
//! ```
//!
//! The numbers were found by a search for the return of 7.5 s (cross-entropy method over all 21 of them, 22 rounds of 30 gaits, two starts each).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::Stream;
use surefoot_core::policy::{Policy, PolicyError};

use super::scripted::{Script, Scripted};
use super::{DemonstratorContext, check_manner};

/// Strides a second.
const STRIDE_HZ: f64 = 2.85;
/// Action per rad off the angle, and per rad/s.
const STIFFNESS: f64 = 1.559;
const DAMPING: f64 = 0.032;
/// Offset, amplitude and phase of each joint, rad, in the order of the actions.
const SWINGS: [[f64; 3]; 6] = [
    [-0.361, 0.592, 0.132],
    [-0.207, 0.686, 1.043],
    [0.316, 0.200, -0.021],
    [-0.229, 0.261, 1.651],
    [0.010, 0.117, -0.167],
    [0.163, 0.222, 1.227],
];
/// An env step, s.
const STEP_SECS: f64 = 0.05;

/// Configuration of [`half_cheetah`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HalfCheetahDemonstratorConfig {
    /// Standard deviation of the noise on each action, in units of the action.
    pub action_noise: f64,
    /// Share of episodes that fail on purpose: it lets go after a while.
    pub failure_share: f64,
}

impl Default for HalfCheetahDemonstratorConfig {
    fn default() -> Self {
        Self { action_noise: 0.1, failure_share: 0.3 }
    }
}

impl HalfCheetahDemonstratorConfig {
    /// Builds the demonstrator.
    ///
    /// # Errors
    /// When the environment is not `half_cheetah`, or a number is out of range.
    pub fn build(&self, context: &DemonstratorContext) -> Result<Box<dyn Policy>, PolicyError> {
        let Self { action_noise, failure_share } = self;
        check_manner(*action_noise, None, *failure_share)?;
        Ok(Box::new(Scripted::<Slot, 12, 6>::new(self, context)?))
    }
}

struct Slot {
    noise: Stream,
    lets_go_at: usize,
    step: usize,
}

impl Script<12, 6> for Slot {
    type Config = HalfCheetahDemonstratorConfig;
    const NAMES: [&'static str; 12] = [
        "bthigh_position",
        "bshin_position",
        "bfoot_position",
        "fthigh_position",
        "fshin_position",
        "ffoot_position",
        "bthigh_velocity",
        "bshin_velocity",
        "bfoot_velocity",
        "fthigh_velocity",
        "fshin_velocity",
        "ffoot_velocity",
    ];

    fn new(config: &HalfCheetahDemonstratorConfig, seed: u64) -> Self {
        let mut noise = Stream::new(seed, "gait demonstrator", 0);
        let fails = noise.unit() < config.failure_share;
        let lets_go_at = if fails { 20 + noise.below(400) } else { usize::MAX };
        Self { noise, lets_go_at, step: 0 }
    }

    fn act(&mut self, config: &HalfCheetahDemonstratorConfig, observation: [f64; 12]) -> [f64; 6] {
        let stride = std::f64::consts::TAU * STRIDE_HZ * (self.step as f64 * STEP_SECS);
        let held = self.step < self.lets_go_at;
        self.step += 1;
        std::array::from_fn(|j| {
            let [offset, amplitude, phase] = SWINGS[j];
            let wanted = offset + amplitude * (stride + phase).sin();
            let torque = STIFFNESS * (wanted - observation[j]) - DAMPING * observation[6 + j];
            let noise = config.action_noise * self.noise.normal();
            if held { (torque.clamp(-1.0, 1.0) + noise).clamp(-1.0, 1.0) } else { 0.0 }
        })
    }
}
