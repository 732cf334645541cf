//! What the control loop reacts to, and when. Every reaction is on by default.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::limits::EpisodeLimitsConfig;

/// Thresholds of the control loop. Ages in periods, so that they fit every rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ControlConfig {
    /// An observation older than this many control periods brakes.
    pub observation_max_age_periods: f64,
    /// More samples than this lost between two observations brakes.
    pub observation_max_gap: u64,
    /// A policy's action older than this many policy periods is faded out, to rest at `policy_brake_periods`.
    pub policy_fade_periods: f64,
    /// A policy's action older than this many policy periods brakes.
    pub policy_brake_periods: f64,
    /// A person's action older than this many policy periods brakes: the dead man's switch.
    pub human_brake_periods: f64,
    /// Largest difference of measured and commanded position, rad or m.
    pub max_tracking_error: f64,
    /// Ticks in a row above it that lead to a protective stop.
    pub tracking_error_ticks: u32,
    /// Commands with NaN or an infinity, since a person last acknowledged or reset a stop, that lead to a protective stop. Each one brakes.
    pub max_not_finite_commands: u32,
    /// Missed deadlines in a row that lead to a protective stop.
    pub max_overruns_in_a_row: u32,
    /// Share of missed deadlines in `overrun_window_secs` that leads to a protective stop.
    pub max_overrun_share: f64,
    /// Window of `max_overrun_share`, s.
    pub overrun_window_secs: f64,
    /// Reads or writes that fail in a row and lead to a fault.
    pub max_robot_failures: u32,
    /// The startup guard: held still for this long before the robot may run, s.
    pub startup_secs: f64,
    /// Largest measured joint speed at which the robot may be armed, rad/s or m/s.
    pub startup_max_speed: f64,
    /// Time over which a new driver's motion replaces the old one's, s.
    pub handover_secs: f64,
    /// Largest joint speed of recovery, rad/s or m/s.
    pub recovery_max_speed: f64,
    /// What one episode may cost; beyond it the robot comes to rest and the episode is truncated.
    pub episode: EpisodeLimitsConfig,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            observation_max_age_periods: 3.0,
            observation_max_gap: 10,
            policy_fade_periods: 2.0,
            policy_brake_periods: 4.0,
            human_brake_periods: 4.0,
            max_tracking_error: 0.1,
            tracking_error_ticks: 5,
            max_not_finite_commands: 3,
            max_overruns_in_a_row: 5,
            max_overrun_share: 0.01,
            overrun_window_secs: 5.0,
            max_robot_failures: 5,
            startup_secs: 0.2,
            startup_max_speed: 0.02,
            handover_secs: 0.3,
            recovery_max_speed: 0.1,
            episode: EpisodeLimitsConfig::default(),
        }
    }
}

impl ControlConfig {
    /// Refuses what would switch a reaction off by accident; `key` is the path of this table.
    ///
    /// # Errors
    /// [`EngineError::Config`] with the first such key.
    pub fn check(&self, key: &str) -> Result<(), EngineError> {
        let Self {
            observation_max_age_periods,
            observation_max_gap: _,
            policy_fade_periods,
            policy_brake_periods,
            human_brake_periods,
            max_tracking_error,
            tracking_error_ticks,
            max_not_finite_commands,
            max_overruns_in_a_row,
            max_overrun_share,
            overrun_window_secs,
            max_robot_failures,
            startup_secs,
            startup_max_speed,
            handover_secs,
            recovery_max_speed,
            episode,
        } = self;
        episode.check(&format!("{key}.episode"))?;
        let refuse = |name: &str, expected: &str, found: String| {
            Err(EngineError::Config { key: format!("{key}.{name}"), expected: expected.into(), found })
        };
        for (name, value) in [
            ("observation_max_age_periods", observation_max_age_periods),
            ("policy_fade_periods", policy_fade_periods),
            ("policy_brake_periods", policy_brake_periods),
            ("human_brake_periods", human_brake_periods),
            ("max_tracking_error", max_tracking_error),
            ("overrun_window_secs", overrun_window_secs),
            ("startup_max_speed", startup_max_speed),
            ("recovery_max_speed", recovery_max_speed),
        ] {
            if !(value.is_finite() && *value > 0.0) {
                return refuse(name, "a positive number", value.to_string());
            }
        }
        for (name, value) in [("startup_secs", startup_secs), ("handover_secs", handover_secs)] {
            if !(value.is_finite() && *value >= 0.0) {
                return refuse(name, "a number that is not negative", value.to_string());
            }
        }
        for (name, value) in [
            ("tracking_error_ticks", tracking_error_ticks),
            ("max_not_finite_commands", max_not_finite_commands),
            ("max_overruns_in_a_row", max_overruns_in_a_row),
            ("max_robot_failures", max_robot_failures),
        ] {
            if *value == 0 {
                return refuse(name, "at least 1", value.to_string());
            }
        }
        if !(*max_overrun_share > 0.0 && *max_overrun_share <= 1.0) {
            return refuse("max_overrun_share", "above 0, at most 1", max_overrun_share.to_string());
        }
        if policy_fade_periods > policy_brake_periods {
            let found = policy_fade_periods.to_string();
            return refuse("policy_fade_periods", "at most policy_brake_periods", found);
        }
        Ok(())
    }
}
