//! Sequential tests that one policy is worse than another: valid however often one looks, and stopped as soon as they say so.
//!
//! Both are bets at fair odds against "not worse". Each pair multiplies a wealth of 1 by `1 + stake * difference`, which on average does
//! not grow as long as the differences are not above zero on average. So the wealth is a non-negative supermartingale, and by Ville's
//! inequality it *ever* reaches `1 / false_alarm` with probability `false_alarm` at most (A. Ramdas, P. Grunwald, V. Vovk, G. Shafer,
//! Game-theoretic statistics and safe anytime-valid inference, Statistical Science 38, 2023).

use serde::{Deserialize, Serialize};

/// Wald's sequential probability ratio test on pairs of outcomes, one-sided ("double dichotomies": A. Wald, Sequential Analysis,
/// 1947, ch. 6).
///
/// Each new outcome is paired with one of the reference. Only pairs that differ say anything: under "not worse" such a pair went
/// against the newer one with probability 1/2 at most, under "worse" with `u / (1 + u)` for an odds ratio of `u`. The
/// success rates themselves do not enter. The likelihood ratio is the wealth of a bet with the stake `(u - 1) / (u + 1)`.
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
        let stake = (odds_ratio - 1.0) / (odds_ratio + 1.0);
        if reference != newer {
            self.log_ratio += log_growth(stake, f64::from(u8::from(reference)) - f64::from(u8::from(newer)));
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

/// Logarithm of what a bet multiplies its wealth with.
fn log_growth(stake: f64, difference: f64) -> f64 {
    (stake * difference).ln_1p()
}

/// Bets of a mixture: one that is near the best for a small difference, one for a large one, and those between.
const STAKES: usize = 10;

/// The bet on differences in `[-1, 1]` (of successes, or of returns on a scale) with stakes spread over `(0, 1)`, whose mean wealth
/// counts: no odds ratio has to be chosen beforehand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BettingTest {
    log_wealth: [f64; STAKES],
    highest: f64,
}

impl Default for BettingTest {
    fn default() -> Self {
        Self::new()
    }
}

impl BettingTest {
    /// Nothing seen yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { log_wealth: [0.0; STAKES], highest: 0.0 }
    }

    /// Adds a difference; what is beyond `[-1, 1]` counts as its end. Above zero it speaks against "on average not above zero".
    pub fn observe(&mut self, difference: f64) {
        let difference = difference.clamp(-1.0, 1.0);
        for (i, log_wealth) in self.log_wealth.iter_mut().enumerate() {
            *log_wealth += log_growth((i as f64 + 0.5) / STAKES as f64, difference);
        }
        self.highest = self.highest.max(self.log_wealth());
    }

    /// Natural logarithm of the mean wealth.
    #[must_use]
    pub fn log_wealth(&self) -> f64 {
        let largest = self.log_wealth.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = self.log_wealth.iter().map(|w| (w - largest).exp()).sum();
        largest + (sum / STAKES as f64).ln()
    }

    /// The highest it ever was; at least 0.
    #[must_use]
    pub const fn highest_log_wealth(&self) -> f64 {
        self.highest
    }

    /// Whether it has ever been high enough to reject.
    #[must_use]
    pub fn rejects(&self, false_alarm: f64) -> bool {
        self.highest >= -false_alarm.ln()
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
    fn the_paired_test_is_the_bet_of_one_stake() {
        // Wald's own form: each pair that differs brings ln(2 u / (1 + u)) or ln(2 / (1 + u)).
        let mut test = PairedTest::new();
        for (reference, newer) in [(true, false), (true, true), (false, true), (true, false)] {
            test.observe(reference, newer, ODDS);
        }
        let expected = 2.0 * (2.0 * ODDS / (1.0 + ODDS)).ln() + (2.0 / (1.0 + ODDS)).ln();
        assert!((test.log_ratio() - expected).abs() < 1e-12);
    }

    #[test]
    fn the_wealth_of_a_mixture_is_the_mean_of_products() {
        let differences = [1.0, -1.0, 0.25, 0.0, 1.0, -0.5];
        let mut test = BettingTest::new();
        let mut products = [1.0_f64; STAKES];
        let mut highest = 1.0_f64;
        for d in differences {
            test.observe(d);
            for (i, p) in products.iter_mut().enumerate() {
                *p *= 1.0 + (0.05 + 0.1 * i as f64) * d;
            }
            highest = highest.max(products.iter().sum::<f64>() / STAKES as f64);
        }
        let mean = products.iter().sum::<f64>() / STAKES as f64;
        assert!((test.log_wealth() - mean.ln()).abs() < 1e-12);
        assert!((test.highest_log_wealth() - highest.ln()).abs() < 1e-12);
    }

    /// Part of `runs` in which a bet on `loss - win` ever rejects within `pairs`.
    fn betting_alarms(loss: f64, win: f64, pairs: usize, false_alarm: f64, runs: u64) -> f64 {
        let rejected = (0..runs).filter(|run| {
            let mut stream = Stream::new(12, "betting test", *run);
            let mut test = BettingTest::new();
            (0..pairs).any(|_| {
                let draw = stream.unit();
                test.observe(if draw < loss { 1.0 } else { -f64::from(u8::from(draw < loss + win)) });
                test.rejects(false_alarm)
            })
        });
        rejected.count() as f64 / runs as f64
    }

    #[test]
    fn a_bet_is_rarely_won_by_chance_and_soon_against_a_real_drop() {
        for rate in [0.02, 0.1, 0.25, 0.5] {
            let found = betting_alarms(rate, rate, 1_000, 0.05, 2_000);
            assert!(found <= 0.05 + 4.0 * (0.05_f64 * 0.95 / 2_000.0).sqrt(), "{rate}: {found}");
        }
        // A drop of 15 points, of 90 % with independent noise.
        let power = betting_alarms(0.225, 0.075, 300, 0.05, 1_000);
        assert!(power > 0.95, "{power}");
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
