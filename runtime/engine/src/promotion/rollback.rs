//! Which policy is the last one known to be good, and whether what acts now is worse.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::sequential::PairedTest;

/// When the last good policy acts again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RollbackConfig {
    /// Episodes in the record of the last good policy, and in the trial of the ones after it; 0: never roll back.
    pub episodes: usize,
    /// Bound on the probability that a trial of policies that are not worse ends in a rollback.
    pub false_alarm: f64,
    /// How much worse is worth finding: the odds of failure, new to old.
    pub odds_ratio: f64,
}

impl Default for RollbackConfig {
    fn default() -> Self {
        Self { episodes: 40, false_alarm: 0.01, odds_ratio: 3.0 }
    }
}

impl RollbackConfig {
    /// Refuses values that mean nothing; `key` is the path of this table in the configuration.
    ///
    /// # Errors
    /// [`EngineError::Config`] with the first such key.
    pub fn check(&self, key: &str) -> Result<(), EngineError> {
        let Self { episodes, false_alarm, odds_ratio } = self;
        if *episodes > crate::MAX_EPISODES {
            let expected = format!("at most {}", crate::MAX_EPISODES);
            return Err(EngineError::setting(format!("{key}.episodes"), &expected, episodes));
        }
        if !(*false_alarm > 0.0 && *false_alarm < 1.0) {
            return Err(EngineError::setting(format!("{key}.false_alarm"), "above 0, below 1", false_alarm));
        }
        if !(odds_ratio.is_finite() && *odds_ratio > 1.0) {
            return Err(EngineError::setting(format!("{key}.odds_ratio"), "a number above 1", odds_ratio));
        }
        Ok(())
    }
}

/// What an episode's outcome led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing yet.
    Open,
    /// The record of the last good policy is complete.
    RecordComplete,
    /// The trial has ended and does not speak against what acts now: that is the last good policy from here on, and the trial its
    /// record.
    Good,
    /// What acts now is worse than the last good policy was.
    Worse,
}

/// Keeps the record of the last good policy and tests what came after it.
///
/// The record is the outcomes of the first `episodes` episodes since [`begin`](Self::begin). Those after it are the trial, of
/// whatever policies act then: outcome by outcome they are paired with the record. A trial of full length whose likelihood ratio
/// is 1 or less makes what acts the last good policy; one above 1 that found nothing starts again against the same record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackWatch {
    record: Vec<bool>,
    trial: Vec<bool>,
    test: PairedTest,
}

impl RollbackWatch {
    /// Starts a new record.
    pub fn begin(&mut self) {
        *self = Self::default();
    }

    /// Whether the record is complete.
    #[must_use]
    pub const fn has_record(&self, config: &RollbackConfig) -> bool {
        self.record.len() >= config.episodes
    }

    /// Successes and episodes of the record.
    #[must_use]
    pub fn record(&self) -> (usize, usize) {
        (self.record.iter().filter(|s| **s).count(), self.record.len())
    }
    /// Successes and episodes of the trial.
    #[must_use]
    pub fn trial(&self) -> (usize, usize) {
        (self.trial.iter().filter(|s| **s).count(), self.trial.len())
    }

    /// Adds the outcome of an episode. `is_last_good`: the last good policy itself acted; its outcomes beyond the record are not tried.
    pub fn observe(&mut self, config: &RollbackConfig, is_last_good: bool, success: bool) -> Standing {
        if config.episodes == 0 {
            return Standing::Open;
        }
        if !self.has_record(config) {
            self.record.push(success);
            return if self.has_record(config) { Standing::RecordComplete } else { Standing::Open };
        }
        if is_last_good {
            return Standing::Open;
        }
        self.test.observe(self.record[self.trial.len()], success, config.odds_ratio);
        self.trial.push(success);
        if self.test.says_worse(config.false_alarm) {
            return Standing::Worse;
        }
        if self.trial.len() < self.record.len() {
            return Standing::Open;
        }
        let trial = std::mem::take(&mut self.trial);
        let test = std::mem::take(&mut self.test);
        if test.log_ratio() > 0.0 {
            return Standing::Open;
        }
        self.record = trial;
        Standing::Good
    }
}

#[cfg(test)]
mod tests {
    use surefoot_core::Stream;

    use super::*;

    const CONFIG: RollbackConfig = RollbackConfig { episodes: 40, false_alarm: 0.01, odds_ratio: 3.0 };

    fn record(successes: usize) -> RollbackWatch {
        let mut watch = RollbackWatch::default();
        for i in 0..40 {
            let standing = watch.observe(&CONFIG, true, i < successes);
            assert_eq!(standing == Standing::RecordComplete, i == 39);
        }
        watch
    }

    #[test]
    fn a_collapse_is_found_and_a_policy_as_good_becomes_the_last_good_one() {
        let mut collapsed = record(40);
        let standings: Vec<Standing> = (0..12).map(|_| collapsed.observe(&CONFIG, false, false)).collect();
        assert_eq!(standings.iter().position(|s| *s == Standing::Worse), Some(11));
        let mut as_good = record(30);
        let standings: Vec<Standing> = (0..40).map(|i| as_good.observe(&CONFIG, false, i < 30)).collect();
        assert_eq!(standings.iter().position(|s| *s != Standing::Open), Some(39));
        assert_eq!(standings[39], Standing::Good);
        assert_eq!((as_good.record(), as_good.trial()), ((30, 40), (0, 0)));
    }

    #[test]
    fn a_doubtful_trial_leaves_the_record_as_it_was() {
        let mut watch = record(30);
        let standings: Vec<Standing> = (0..40).map(|i| watch.observe(&CONFIG, false, i < 24)).collect();
        assert!(standings.iter().all(|s| *s == Standing::Open));
        assert_eq!((watch.record(), watch.trial()), ((30, 40), (0, 0)));
    }

    #[test]
    fn the_last_good_policy_is_not_tried_and_nothing_happens_when_off() {
        let mut watch = record(40);
        assert!((0..100).all(|_| watch.observe(&CONFIG, true, false) == Standing::Open));
        let off = RollbackConfig { episodes: 0, ..CONFIG };
        let mut watch = RollbackWatch::default();
        assert!((0..100).all(|_| watch.observe(&off, false, false) == Standing::Open));
    }

    /// Rollbacks in a long phase of 1000 episodes whose success moves from `from` to `to` evenly.
    fn rollbacks(from: f64, to: f64, runs: u64) -> f64 {
        let mut found = 0;
        for run in 0..runs {
            let mut stream = Stream::new(5, "rollback watch", run);
            let mut watch = RollbackWatch::default();
            for i in 0..1000 {
                let rate = from + (to - from) * f64::from(i) / 1000.0;
                if watch.observe(&CONFIG, false, stream.unit() < rate) == Standing::Worse {
                    found += 1;
                    watch.begin();
                }
            }
        }
        f64::from(found) / runs as f64
    }

    #[test]
    fn long_phases_that_improve_or_stay_are_rarely_disturbed() {
        for (from, to, at_most) in
            [(0.55, 0.95, 0.03), (0.5, 0.5, 0.15), (0.95, 0.95, 0.01), (0.1, 0.9, 0.03)]
        {
            let found = rollbacks(from, to, 400);
            assert!(found <= at_most, "{from} to {to}: {found} rollbacks per 1000 episodes");
        }
    }

    #[test]
    fn an_unusable_setting_is_named() {
        let text = RollbackConfig { false_alarm: 0.0, ..CONFIG }.check("r").unwrap_err().to_string();
        assert!(text.starts_with("r.false_alarm: expected above 0, below 1, found 0"), "{text}");
        assert!(
            RollbackConfig { odds_ratio: 1.0, ..CONFIG }.check("r").is_err() && CONFIG.check("r").is_ok()
        );
    }
}
