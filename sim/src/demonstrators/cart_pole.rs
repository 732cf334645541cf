//! Demonstrator of `cart_pole`: linear feedback of the whole state; failing episodes let go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::Stream;
use surefoot_core::policy::{Policy, PolicyError};

use super::scripted::{Script, Scripted};
use super::{DemonstratorContext, check_manner};

/// Feedback of cart position and velocity, pole angle and velocity, in units of the action.
const GAINS: [f64; 4] = [0.1, 0.3, 3.0, 0.8];

/// Configuration of [`cart_pole`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CartPoleDemonstratorConfig {
    /// Standard deviation of the noise on each action, in units of the action.
    pub action_noise: f64,
    /// Share of episodes that fail on purpose: it lets go after a while.
    pub failure_share: f64,
}

impl Default for CartPoleDemonstratorConfig {
    fn default() -> Self {
        Self { action_noise: 0.1, failure_share: 0.4 }
    }
}

impl CartPoleDemonstratorConfig {
    /// Builds the demonstrator.
    ///
    /// # Errors
    /// When the environment is not `cart_pole`, or a number is out of range.
    pub fn build(&self, context: &DemonstratorContext) -> Result<Box<dyn Policy>, PolicyError> {
        let Self { action_noise, failure_share } = self;
        check_manner(*action_noise, None, *failure_share)?;
        Ok(Box::new(Scripted::<Slot, 4, 1>::new(self, context)?))
    }
}

struct Slot {
    noise: Stream,
    lets_go_at: usize,
    step: usize,
}

impl Script<4, 1> for Slot {
    type Config = CartPoleDemonstratorConfig;
    const NAMES: [&'static str; 4] = ["cart_position", "cart_velocity", "pole_angle", "pole_velocity"];

    fn new(config: &CartPoleDemonstratorConfig, seed: u64) -> Self {
        let mut noise = Stream::new(seed, "cart_pole demonstrator", 0);
        let fails = noise.unit() < config.failure_share;
        let lets_go_at = if fails { 20 + noise.below(200) } else { usize::MAX };
        Self { noise, lets_go_at, step: 0 }
    }

    fn act(&mut self, config: &CartPoleDemonstratorConfig, state: [f64; 4]) -> [f64; 1] {
        let wanted: f64 = GAINS.iter().zip(state).map(|(gain, x)| gain * x).sum();
        let held = self.step < self.lets_go_at;
        self.step += 1;
        let noise = config.action_noise * self.noise.normal();
        [if held { (wanted.clamp(-1.0, 1.0) + noise).clamp(-1.0, 1.0) } else { 0.0 }]
    }
}
