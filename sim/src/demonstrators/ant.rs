//! Demonstrator of `ant`: a [linear gait](super::linear_gait) with a clock that was learned, from a trot of sines on; failing episodes let go after a while.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::policy::{Policy, PolicyError};

use super::DemonstratorContext;
use super::linear_gait::{GaitManner, LinearGait};

const GAIT: &str = include_str!("../../models/gaits/ant.toml");

/// Configuration of [`ant`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AntDemonstratorConfig {
    /// Standard deviation of the noise on each action, in units of the action.
    pub action_noise: f64,
    /// Share of episodes that fail on purpose: it lets go after a while.
    pub failure_share: f64,
}

impl Default for AntDemonstratorConfig {
    fn default() -> Self {
        Self { action_noise: 0.05, failure_share: 0.4 }
    }
}

impl AntDemonstratorConfig {
    /// Builds the demonstrator.
    ///
    /// # Errors
    /// When the environment is not `ant`, or a number is out of range.
    pub fn build(&self, context: &DemonstratorContext) -> Result<Box<dyn Policy>, PolicyError> {
        let Self { action_noise, failure_share } = *self;
        // It needs about 200 steps for the 25 m that count as success.
        let manner = GaitManner { action_noise, failure_share, lets_go_within: 150 };
        LinearGait::demonstrator(GAIT, manner, context)
    }
}
