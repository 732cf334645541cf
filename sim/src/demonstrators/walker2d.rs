//! Demonstrator of `walker2d`: a [linear gait](super::linear_gait) that was learned; failing episodes let go after a while.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::policy::{Policy, PolicyError};

use super::DemonstratorContext;
use super::linear_gait::{GaitManner, LinearGait};

const GAIT: &str = include_str!("../../models/gaits/walker2d.toml");

/// Configuration of [`walker2d`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Walker2dDemonstratorConfig {
    /// Standard deviation of the noise on each action, in units of the action.
    pub action_noise: f64,
    /// Share of episodes that fail on purpose: it lets go after a while.
    pub failure_share: f64,
}

impl Default for Walker2dDemonstratorConfig {
    fn default() -> Self {
        // It falls of its own in a third of its episodes.
        Self { action_noise: 0.05, failure_share: 0.1 }
    }
}

impl Walker2dDemonstratorConfig {
    /// Builds the demonstrator.
    ///
    /// # Errors
    /// When the environment is not `walker2d`, or a number is out of range.
    pub fn build(&self, context: &DemonstratorContext) -> Result<Box<dyn Policy>, PolicyError> {
        let Self { action_noise, failure_share } = *self;
        let manner = GaitManner { action_noise, failure_share, lets_go_within: 400 };
        LinearGait::demonstrator(GAIT, manner, context)
    }
}
