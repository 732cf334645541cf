//! How a robot is driven through its control loop.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::control::{ControlConfig, RealtimeConfig};
use crate::limits::EpisodeLimitsConfig;

/// What makes time pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LiveClock {
    /// The machine's monotonic clock: control and policy on threads of their own.
    #[default]
    Real,
    /// Simulated time, as fast as it goes: control and policy by turns, each episode the same bits for the same policy.
    Simulated,
}

/// When an episode waits for a person's start. After a stop, and after a person's hold, one always does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Each episode where a person is there, none where nobody is.
    #[default]
    Attended,
    /// The first episode, and the first after a stop or a hold; the others begin by themselves. Needs a person.
    AfterStops,
}

/// How a robot is driven through its control loop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LiveConfig {
    /// What makes time pass.
    pub clock: LiveClock,
    /// When an episode waits for a person's start.
    pub start: Start,
    /// What the control loop reacts to.
    pub control: ControlConfig,
    /// What is asked of the operating system.
    pub realtime: RealtimeConfig,
}

impl LiveConfig {
    /// Refuses values that mean nothing; `key` is the path of this table in the configuration.
    ///
    /// # Errors
    /// [`EngineError::Config`] with the first such key.
    pub fn check(&self, key: &str) -> Result<(), EngineError> {
        let Self { clock: _, start: _, control, realtime } = self;
        let RealtimeConfig { priority, core: _, lock_memory: _ } = realtime;
        if *priority > 99 {
            return Err(EngineError::setting(format!("{key}.realtime.priority"), "0 to 99", priority));
        }
        if control.episode != EpisodeLimitsConfig::default() {
            let key = format!("{key}.control.episode");
            return Err(EngineError::setting(key, "nothing: the phase's own `limits` hold", "limits"));
        }
        control.check(&format!("{key}.control"))
    }
}
