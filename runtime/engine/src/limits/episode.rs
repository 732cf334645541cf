//! Limits of one episode.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::StepFigures;
use surefoot_safety::SafetyCounts;

use crate::EngineError;
use crate::control::numbers::number;

/// What one training episode may cost at most. An episode that goes beyond is truncated after that step. Steps and time are bounded
/// by the environment's own `max_steps`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EpisodeLimitsConfig {
    /// Way of all joints together (sum of `|dq|`), rad and m; 0: no limit.
    pub max_path: f64,
    /// Work of all joints together (integral of `|effort * velocity|`), J, where efforts are known; 0: no limit.
    pub max_energy_joules: f64,
    /// Share of control ticks in which the safety chain changed or refused the command, 0 to 1; 1: no limit.
    pub max_filter_active_share: f64,
    /// Control ticks before the share is looked at.
    pub filter_share_min_ticks: u64,
    /// Control ticks in a row in which the safety chain changed or refused the command; 0: no limit.
    pub max_filter_run_ticks: u64,
    /// Stops (refused commands in a row are one); the next one ends the episode.
    pub max_stops: u64,
}

impl Default for EpisodeLimitsConfig {
    fn default() -> Self {
        Self {
            max_path: 200.0,
            max_energy_joules: 2_000.0,
            max_filter_active_share: 0.3,
            filter_share_min_ticks: 50,
            max_filter_run_ticks: 100,
            max_stops: 1,
        }
    }
}

impl EpisodeLimitsConfig {
    /// Refuses values that mean nothing; `key` is the path of this table in the configuration.
    ///
    /// # Errors
    /// [`EngineError::Config`] with the first such key.
    pub fn check(&self, key: &str) -> Result<(), EngineError> {
        let Self {
            max_path,
            max_energy_joules,
            max_filter_active_share,
            filter_share_min_ticks: _,
            max_filter_run_ticks: _,
            max_stops: _,
        } = self;
        for (name, value) in [("max_path", max_path), ("max_energy_joules", max_energy_joules)] {
            if !(value.is_finite() && *value >= 0.0) {
                return Err(EngineError::setting(format!("{key}.{name}"), "0 (no limit) or more", value));
            }
        }
        if !(0.0..=1.0).contains(max_filter_active_share) {
            let key = format!("{key}.max_filter_active_share");
            return Err(EngineError::setting(key, "0 to 1", max_filter_active_share));
        }
        Ok(())
    }
}

/// A limit of an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EpisodeLimit {
    /// Steps of the episode, in a control loop; an environment truncates at its `max_steps` by itself.
    Steps,
    /// Stops.
    Stops,
    /// Ticks in a row with an active filter.
    FilterRun,
    /// Share of ticks with an active filter.
    FilterShare,
    /// Way of the joints.
    Path,
    /// Work of the joints.
    Energy,
}

impl EpisodeLimit {
    /// Its name in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::Stops => "stops",
            Self::FilterRun => "filter_run",
            Self::FilterShare => "filter_share",
            Self::Path => "path",
            Self::Energy => "energy",
        }
    }
}

/// A limit that an episode went beyond.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitReached {
    /// Which.
    pub limit: EpisodeLimit,
    /// The episode's figure.
    #[serde(with = "number")]
    pub found: f64,
    /// What was allowed.
    pub allowed: f64,
}

/// Watches one episode at a time. The same object serves a simulated rollout and a robot's control loop.
///
/// ```
/// use surefoot_core::StepFigures;
/// use surefoot_core::safety::SafetyCounts;
/// use surefoot_engine::limits::{EpisodeLimit, EpisodeLimits, EpisodeLimitsConfig};
///
/// let mut limits = EpisodeLimits::new(EpisodeLimitsConfig { max_path: 1.0, ..EpisodeLimitsConfig::default() });
/// limits.begin();
/// let step = StepFigures { path: 0.75, ..StepFigures::default() };
/// assert!(limits.observe(&SafetyCounts::default(), &step).is_none());
/// let reached = limits.observe(&SafetyCounts::default(), &step).map(|r| r.limit);
/// assert_eq!(reached, Some(EpisodeLimit::Path));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct EpisodeLimits {
    config: EpisodeLimitsConfig,
    ticks: u64,
    active: u64,
    stops: u64,
    path: f64,
    energy_joules: Option<f64>,
}

impl EpisodeLimits {
    /// With these limits, at the start of an episode.
    #[must_use]
    pub const fn new(config: EpisodeLimitsConfig) -> Self {
        Self { config, ticks: 0, active: 0, stops: 0, path: 0.0, energy_joules: None }
    }

    /// Starts an episode.
    pub const fn begin(&mut self) {
        *self = Self::new(self.config);
    }

    /// Adds a step; says which limit the episode has gone beyond, if any. Figures that are not finite count as beyond.
    ///
    /// Real-time safe: does not allocate, lock or block.
    pub fn observe(&mut self, safety: &SafetyCounts, figures: &StepFigures) -> Option<LimitReached> {
        self.ticks += safety.ticks;
        self.active += safety.adjusted + safety.stops;
        self.stops += figures.stops;
        self.path += figures.path;
        if let Some(energy) = figures.energy_joules {
            *self.energy_joules.get_or_insert(0.0) += energy;
        }
        let EpisodeLimitsConfig {
            max_path,
            max_energy_joules,
            max_filter_active_share,
            filter_share_min_ticks,
            max_filter_run_ticks,
            max_stops,
        } = self.config;
        let beyond = |limit, found: f64, allowed: f64, applies: bool| {
            // Written so that NaN is beyond.
            let within = found <= allowed;
            (applies && !within).then_some(LimitReached { limit, found, allowed })
        };
        let run = figures.filter_run_ticks;
        beyond(EpisodeLimit::Stops, self.stops as f64, max_stops as f64, true)
            .or_else(|| {
                let applies = max_filter_run_ticks > 0;
                beyond(EpisodeLimit::FilterRun, run as f64, max_filter_run_ticks as f64, applies)
            })
            .or_else(|| {
                let applies = self.ticks > 0 && self.ticks >= filter_share_min_ticks;
                beyond(EpisodeLimit::FilterShare, self.filter_share(), max_filter_active_share, applies)
            })
            .or_else(|| beyond(EpisodeLimit::Path, self.path, max_path, max_path > 0.0))
            .or_else(|| {
                let energy = self.energy_joules.unwrap_or(0.0);
                beyond(EpisodeLimit::Energy, energy, max_energy_joules, max_energy_joules > 0.0)
            })
    }

    /// Way of all joints so far, rad and m.
    #[must_use]
    pub const fn path(&self) -> f64 {
        self.path
    }
    /// Work of all joints so far, J, where efforts are known.
    #[must_use]
    pub const fn energy_joules(&self) -> Option<f64> {
        self.energy_joules
    }
    /// Share of ticks so far with an active filter; 0 before the first.
    #[must_use]
    pub fn filter_share(&self) -> f64 {
        self.active as f64 / self.ticks.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TICKS: u64 = 5;

    fn step(active: u64, path: f64, energy: f64, run: u64, stops: u64) -> (SafetyCounts, StepFigures) {
        let counts = SafetyCounts { ticks: TICKS, adjusted: active, ..SafetyCounts::default() };
        let figures = StepFigures {
            path,
            energy_joules: Some(energy),
            filter_run_ticks: run,
            stops,
            ..StepFigures::default()
        };
        (counts, figures)
    }

    fn config() -> EpisodeLimitsConfig {
        EpisodeLimitsConfig { max_path: 10.0, max_energy_joules: 20.0, ..EpisodeLimitsConfig::default() }
    }

    #[test]
    fn every_limit_acts_and_says_by_how_much() {
        let limits = |config: EpisodeLimitsConfig, steps: usize, each: (SafetyCounts, StepFigures)| {
            let mut limits = EpisodeLimits::new(config);
            limits.begin();
            let seen: Vec<_> = (0..steps).map(|_| limits.observe(&each.0, &each.1)).collect();
            let (last, before) = seen.split_last().unwrap();
            assert!(before.iter().all(Option::is_none), "{seen:?}");
            last.map(|r| (r.limit, r.found, r.allowed))
        };
        let reached = |l, found, allowed| Some((l, found, allowed));
        assert_eq!(limits(config(), 2, step(0, 0.0, 0.0, 0, 1)), reached(EpisodeLimit::Stops, 2.0, 1.0));
        assert_eq!(
            limits(config(), 1, step(0, 0.0, 0.0, 101, 0)),
            reached(EpisodeLimit::FilterRun, 101.0, 100.0)
        );
        assert_eq!(
            limits(config(), 10, step(2, 0.0, 0.0, 2, 0)),
            reached(EpisodeLimit::FilterShare, 0.4, 0.3)
        );
        assert_eq!(limits(config(), 3, step(0, 4.0, 0.0, 0, 0)), reached(EpisodeLimit::Path, 12.0, 10.0));
        assert_eq!(limits(config(), 3, step(0, 0.0, 8.0, 0, 0)), reached(EpisodeLimit::Energy, 24.0, 20.0));
        let nan = limits(config(), 1, step(0, f64::NAN, 0.0, 0, 0)).unwrap();
        assert!(nan.0 == EpisodeLimit::Path && nan.1.is_nan());
        let off = EpisodeLimitsConfig {
            max_path: 0.0,
            max_energy_joules: 0.0,
            max_filter_active_share: 1.0,
            max_filter_run_ticks: 0,
            max_stops: u64::MAX,
            ..config()
        };
        assert_eq!(limits(off, 100, step(5, 1e9, 1e9, 500, 3)), None);
    }

    #[test]
    fn the_filter_share_waits_for_its_minimum_of_ticks() {
        let mut limits = EpisodeLimits::new(config());
        let each = step(TICKS, 0.0, 0.0, 0, 0);
        let seen: Vec<bool> = (0..10).map(|_| limits.observe(&each.0, &each.1).is_some()).collect();
        assert_eq!(seen.iter().position(|s| *s), Some(9), "50 ticks are ten steps of five");
    }

    #[test]
    fn unusable_values_are_refused_by_key() {
        let bad = EpisodeLimitsConfig { max_path: f64::NAN, ..config() };
        let text = bad.check("phase[0].online.limits").unwrap_err().to_string();
        assert!(text.starts_with("phase[0].online.limits.max_path: expected 0 (no limit)"), "{text}");
        let bad = EpisodeLimitsConfig { max_filter_active_share: 1.1, ..config() };
        assert!(bad.check("limits").is_err() && config().check("limits").is_ok());
    }

    proptest! {
        /// Whatever an episode does, no figure goes beyond its limit by more than one step's worth.
        #[test]
        fn an_episode_never_exceeds_a_limit_by_more_than_a_step(
            steps in prop::collection::vec((0..=TICKS, 0.0..3.0_f64, 0.0..3.0_f64, 0_u64..200, 0_u64..2), 1..200)
        ) {
            let config = config();
            let mut limits = EpisodeLimits::new(config);
            let (mut ticks, mut active, mut path, mut energy, mut stops) = (0, 0, 0.0, 0.0, 0);
            for (a, p, e, run, s) in steps {
                let (counts, figures) = step(a, p, e, run, s);
                let before = (active, path, energy, stops);
                (ticks, active, path, energy, stops) = (ticks + TICKS, active + a, path + p, energy + e, stops + s);
                let reached = limits.observe(&counts, &figures);
                let beyond = path > config.max_path
                    || energy > config.max_energy_joules
                    || stops > config.max_stops
                    || run > config.max_filter_run_ticks
                    || (ticks >= config.filter_share_min_ticks
                        && active as f64 / ticks as f64 > config.max_filter_active_share);
                prop_assert_eq!(reached.is_some(), beyond);
                let allowed = config.max_filter_active_share * (ticks - TICKS) as f64;
                let share_held = (before.0 as f64) <= allowed + 1e-9 || ticks - TICKS < config.filter_share_min_ticks;
                prop_assert!(share_held);
                prop_assert!(before.1 <= config.max_path && before.2 <= config.max_energy_joules);
                prop_assert!(before.3 <= config.max_stops);
                if reached.is_some() {
                    break;
                }
            }
        }
    }
}
