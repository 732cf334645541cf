//! A sequential test that a newer record of successes is worse than an older one.

use serde::{Deserialize, Serialize};

/// Wald's sequential probability ratio test on pairs of outcomes, one-sided ("double dichotomies": A. Wald, Sequential Analysis,
/// 1947, ch. 6).
///
/// Each new outcome is paired with one of the reference. Only pairs that differ say anything: under "not worse" such a pair went
/// against the newer one with probability 1/2 at most, under "worse" with `u / (1 + u)` for an odds ratio of `u`. The
/// success rates themselves do not enter. The likelihood ratio is a non-negative supermartingale under "not worse", so by Ville's
/// inequality it *ever* reaches `1 / false_alarm` with probability `false_alarm` at most, however often one looks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairedTest {
    log_ratio: f64,
}

impl Default for PairedTest {
    fn default() -> Self {
        Self::new()
    }
}

impl PairedTest {
    /// Nothing seen yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { log_ratio: 0.0 }
    }

    /// Adds a pair of outcomes.
    pub fn observe(&mut self, reference: bool, newer: bool, odds_ratio: f64) {
        let worse = odds_ratio / (1.0 + odds_ratio);
        match (reference, newer) {
            (true, false) => self.log_ratio += (2.0 * worse).ln(),
            (false, true) => self.log_ratio += (2.0 * (1.0 - worse)).ln(),
            (true, true) | (false, false) => {}
        }
    }

    /// Natural logarithm of the likelihood ratio of "worse" to "not worse".
    #[must_use]
    pub const fn log_ratio(&self) -> f64 {
        self.log_ratio
    }

    /// Whether the test says worse.
    #[must_use]
    pub fn says_worse(&self, false_alarm: f64) -> bool {
        self.log_ratio >= -false_alarm.ln()
    }
}

#[cfg(test)]
mod tests {
    use surefoot_core::Stream;

    use super::*;

    const ODDS: f64 = 3.0;

    /// Part of `runs` in which the test ever says worse within `pairs` pairs, and the mean pairs it took then.
    fn alarms(reference: f64, newer: f64, pairs: usize, false_alarm: f64, runs: u64) -> (f64, f64) {
        let (mut alarms, mut took) = (0, 0);
        for run in 0..runs {
            let mut stream = Stream::new(11, "paired test", run);
            let mut test = PairedTest::new();
            for pair in 1..=pairs {
                let (r, n) = (stream.unit() < reference, stream.unit() < newer);
                test.observe(r, n, ODDS);
                if test.says_worse(false_alarm) {
                    alarms += 1;
                    took += pair;
                    break;
                }
            }
        }
        (f64::from(alarms) / runs as f64, took as f64 / f64::from(alarms.max(1)))
    }

    #[test]
    fn a_policy_that_is_not_worse_is_rarely_called_worse_however_long_one_looks() {
        for (rate, better) in [(0.5, 0.5), (0.1, 0.1), (0.9, 0.9), (0.5, 0.8), (0.02, 0.05)] {
            for false_alarm in [0.05, 0.01] {
                let (found, _) = alarms(rate, better, 2_000, false_alarm, 4_000);
                // Four standard errors of the estimate above the bound.
                let bound = false_alarm + 4.0 * (false_alarm * (1.0 - false_alarm) / 4_000.0).sqrt();
                assert!(found <= bound, "{rate} against {better}: {found} at {false_alarm}");
            }
        }
    }

    #[test]
    fn a_policy_that_is_worse_is_found_soon() {
        for (good, bad, at_least, within) in
            [(0.9, 0.3, 0.99, 25.0), (0.9, 0.5, 0.97, 40.0), (0.6, 0.1, 0.97, 40.0), (1.0, 0.0, 1.0, 12.1)]
        {
            let (found, took) = alarms(good, bad, 200, 0.01, 2_000);
            assert!(found >= at_least && took <= within, "{good} to {bad}: {found} in {took} pairs");
        }
    }
}
