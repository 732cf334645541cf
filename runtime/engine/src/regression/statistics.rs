//! Whether a policy is worse than another, from paired episodes.
//!
//! Two bets decide ([`BettingTest`]), and either may end the episodes early: one against "not worse", whose winning says *regressed*, and
//! one against "worse by the margin or more", whose winning says *passed*. Neither is *inconclusive*. Everything else here
//! describes and decides nothing: intervals of Wilson, the exact test of McNemar, a paired bootstrap, interquartile means.

use serde::{Deserialize, Serialize};
use surefoot_core::Stream;

use super::episode::EpisodeRecord;
use super::scenario::{MetricConfig, StatisticalConfig};
use crate::comparison::statistics::{Estimate, bootstrap, interquartile_mean};
use crate::sequential::BettingTest;
use crate::wilson_interval;

/// Chance of seeing the minimum detectable drop.
pub const POWER: f64 = 0.8;
/// Simulated suites behind it.
const SIMULATIONS: u64 = 200;

/// What the bets say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Worse.
    Worse,
    /// Not worse by the margin.
    NotWorse,
}

/// Paired episodes so far.
#[derive(Clone, Debug)]
pub struct Evidence {
    config: StatisticalConfig,
    worse: BettingTest,
    not_worse: BettingTest,
    pairs: Vec<(EpisodeRecord, EpisodeRecord)>,
    decision: Option<Decision>,
}

impl MetricConfig {
    /// An episode's worth, 0 to 1.
    fn of(self, episode: &EpisodeRecord) -> f64 {
        match self {
            Self::Success => f64::from(u8::from(episode.success)),
            // What could not go on is worth what the worst is.
            Self::Returns { .. } if episode.failure.is_some() => 0.0,
            Self::Returns { low, high } => ((episode.episode_return - low) / (high - low)).clamp(0.0, 1.0),
        }
    }
}

impl Evidence {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(config: StatisticalConfig) -> Self {
        let (worse, not_worse) = (BettingTest::new(), BettingTest::new());
        Self { config, worse, not_worse, pairs: Vec::new(), decision: None }
    }

    /// Adds a pair, unless it is decided already, and gives the decision, if there is one.
    pub fn observe(&mut self, baseline: &EpisodeRecord, now: &EpisodeRecord) -> Option<Decision> {
        if self.decision.is_some() {
            return self.decision;
        }
        self.pairs.push((baseline.clone(), now.clone()));
        let StatisticalConfig { metric, margin, false_alarm, miss, noise: _ } = self.config;
        let difference = metric.of(now) - metric.of(baseline);
        self.worse.observe(-difference);
        // What is above 1 is cut off: that can only make the bet smaller.
        self.not_worse.observe(difference + margin);
        if self.worse.rejects(false_alarm) {
            self.decision = Some(Decision::Worse);
        } else if self.not_worse.rejects(miss) {
            self.decision = Some(Decision::NotWorse);
        }
        self.decision
    }

    /// What it says, if anything.
    #[must_use]
    pub const fn decision(&self) -> Option<Decision> {
        self.decision
    }

    /// The pairs, baseline first.
    #[must_use]
    pub fn pairs(&self) -> &[(EpisodeRecord, EpisodeRecord)] {
        &self.pairs
    }

    /// All of it, in figures. `episodes`: how many pairs there may be.
    #[must_use]
    pub fn report(&self, episodes: usize) -> StatisticalReport {
        let metric = self.config.metric;
        let differences: Vec<f64> = self.pairs.iter().map(|(b, n)| metric.of(n) - metric.of(b)).collect();
        let count = |keep: fn(&EpisodeRecord, &EpisodeRecord) -> bool| {
            self.pairs.iter().filter(|(b, n)| keep(b, n)).count()
        };
        let wins = count(|b, n| n.success && !b.success);
        let losses = count(|b, n| b.success && !n.success);
        let side = |pick: fn(&(EpisodeRecord, EpisodeRecord)) -> &EpisodeRecord| {
            let episodes: Vec<&EpisodeRecord> = self.pairs.iter().map(pick).collect();
            Proportion::of(&episodes)
        };
        let mean = |drawn: &[f64]| drawn.iter().sum::<f64>() / drawn.len().max(1) as f64;
        StatisticalReport {
            config: self.config,
            pairs: self.pairs.len(),
            episodes,
            decision: self.decision,
            baseline: side(|p| &p.0),
            now: side(|p| &p.1),
            wins,
            losses,
            difference: bootstrap(&differences, "paired difference", mean),
            mcnemar_worse: mcnemar(losses, wins).0,
            mcnemar_two_sided: mcnemar(losses, wins).1,
            wealth_worse: self.worse.highest_log_wealth().exp(),
            wealth_not_worse: self.not_worse.highest_log_wealth().exp(),
            minimum_detectable_drop: minimum_detectable_drop(&self.config, &differences, episodes),
        }
    }
}

/// One side of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proportion {
    /// Episodes solved.
    pub successes: usize,
    /// Episodes.
    pub episodes: usize,
    /// Wilson 95 % interval of the success rate.
    pub wilson: (f64, f64),
    /// Interquartile mean of returns with its bootstrap 95 % interval.
    pub return_iqm: Estimate,
}

impl Proportion {
    /// Of episodes.
    #[must_use]
    pub fn of(episodes: &[&EpisodeRecord]) -> Self {
        let successes = episodes.iter().filter(|e| e.success).count();
        let returns: Vec<f64> = episodes.iter().map(|e| e.episode_return).collect();
        Self {
            successes,
            episodes: episodes.len(),
            wilson: wilson_interval(successes, episodes.len()),
            return_iqm: bootstrap(&returns, "returns", interquartile_mean),
        }
    }

    /// `87.0 % [79, 92] of 100`: never a bare percentage.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { successes, episodes, wilson: (low, high), .. } = self;
        let rate = *successes as f64 / (*episodes).max(1) as f64;
        format!("{:.1} % [{:.0}, {:.0}] of {episodes}", 100.0 * rate, 100.0 * low, 100.0 * high)
    }
}

/// A comparison in figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatisticalReport {
    /// How it was judged.
    pub config: StatisticalConfig,
    /// Pairs that were looked at.
    pub pairs: usize,
    /// Pairs that there might have been.
    pub episodes: usize,
    /// What the bets say.
    pub decision: Option<Decision>,
    /// What is compared with.
    pub baseline: Proportion,
    /// What is judged.
    pub now: Proportion,
    /// Pairs that only the new one solved.
    pub wins: usize,
    /// Pairs that only the baseline solved.
    pub losses: usize,
    /// Mean paired difference of the metric, new minus baseline, with its bootstrap 95 % interval.
    pub difference: Estimate,
    /// p of McNemar's exact test against "not worse"; as if the number of pairs had been chosen beforehand.
    pub mcnemar_worse: f64,
    /// p against "no difference".
    pub mcnemar_two_sided: f64,
    /// Highest wealth of the bet against "not worse"; `1 / false_alarm` decides.
    pub wealth_worse: f64,
    /// Highest wealth of the bet against "worse by the margin"; `1 / miss` decides.
    pub wealth_not_worse: f64,
    /// The smallest drop that so many episodes would show with a probability of [`POWER`], at the noise that was seen; `None` where even
    /// a drop to nothing would not show.
    pub minimum_detectable_drop: Option<f64>,
}

/// p of McNemar's exact test on pairs of which one alone was solved: against "not worse", and against "no difference".
#[must_use]
pub fn mcnemar(losses: usize, wins: usize) -> (f64, f64) {
    let n = losses + wins;
    let tail = |from: usize| upper_tail(n, from);
    let worse = tail(losses);
    (worse, (2.0 * worse.min(tail(wins))).min(1.0))
}

/// `P(X >= from)` of a binomial with `n` fair coins.
fn upper_tail(n: usize, from: usize) -> f64 {
    let mut log_choose = 0.0; // ln C(n, n)
    let mut sum = 0.0;
    // From the largest down: k successes, C(n, k - 1) = C(n, k) k / (n - k + 1).
    for k in (from..=n).rev() {
        sum += (log_choose - n as f64 * std::f64::consts::LN_2).exp();
        log_choose += (k as f64).ln() - ((n - k + 1) as f64).ln();
    }
    f64::min(sum, 1.0)
}

/// The smallest drop, in steps of a hundredth, that `episodes` pairs find worse with a probability of [`POWER`]. The noise is that of the
/// differences seen, made symmetric.
#[must_use]
pub fn minimum_detectable_drop(
    config: &StatisticalConfig,
    differences: &[f64],
    episodes: usize,
) -> Option<f64> {
    if differences.is_empty() {
        return None;
    }
    let noise = differences.iter().map(|d| d.abs()).sum::<f64>() / differences.len() as f64 / 2.0;
    let draw = |stream: &mut Stream, drop: f64| match config.metric {
        // Pairs that differ by chance go either way, and those of the drop one way.
        MetricConfig::Success => {
            let noise = noise.min((1.0 - drop) / 2.0);
            let u = stream.unit();
            if u < noise + drop { 1.0 } else { -f64::from(u8::from(u < 2.0 * noise + drop)) }
        }
        MetricConfig::Returns { .. } => {
            let seen = differences.get(stream.below(differences.len())).copied().unwrap_or(0.0);
            drop + if stream.unit() < 0.5 { seen } else { -seen }
        }
    };
    let found = |hundredths: u32| {
        let drop = f64::from(hundredths) / 100.0;
        let found = (0..SIMULATIONS).filter(|simulation| {
            let mut stream = Stream::new(*simulation, "minimum detectable drop", 0);
            let mut test = BettingTest::new();
            (0..episodes).any(|_| {
                test.observe(draw(&mut stream, drop));
                test.rejects(config.false_alarm)
            })
        });
        found.count() as f64 >= POWER * SIMULATIONS as f64
    };
    if !found(100) {
        return None;
    }
    let (mut low, mut high) = (0, 100);
    while high - low > 1 {
        let middle = (low + high) / 2;
        if found(middle) { high = middle } else { low = middle }
    }
    Some(f64::from(high) / 100.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn episode(success: bool) -> EpisodeRecord {
        EpisodeRecord { success, episode_return: f64::from(u8::from(success)), ..EpisodeRecord::default() }
    }

    /// Sums of Pascal's triangle: another way to the same tail.
    fn pascal_tail(n: usize, from: usize) -> f64 {
        let mut row = vec![1.0_f64];
        for _ in 0..n {
            let shifted = std::iter::once(0.0).chain(row.iter().copied());
            row = row.iter().copied().chain([0.0]).zip(shifted).map(|(a, b)| 0.5 * (a + b)).collect();
        }
        row[from.min(n + 1)..].iter().sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn mcnemar_is_the_binomial_tail(losses in 0_usize..60, wins in 0_usize..60) {
            let (worse, two_sided) = mcnemar(losses, wins);
            let n = losses + wins;
            prop_assert!((worse - pascal_tail(n, losses)).abs() < 1e-12);
            let smaller = pascal_tail(n, losses.max(wins));
            prop_assert!((two_sided - (2.0 * smaller).min(1.0)).abs() < 1e-12);
            prop_assert_eq!(mcnemar(wins, losses).1, two_sided);
        }

        #[test]
        fn a_wilson_interval_solves_its_own_equation(n in 1_usize..500, share in 0.0_f64..=1.0) {
            let k = (share * n as f64).round() as usize;
            let (p, z) = (k as f64 / n as f64, 1.959_963_984_540_054_f64);
            let (low, high) = wilson_interval(k, n);
            // Its ends are where the score test just rejects: (p - q)^2 = z^2 q (1 - q) / n.
            for q in [low, high] {
                prop_assert!(((p - q).powi(2) - z * z * q * (1.0 - q) / n as f64).abs() < 1e-9, "{q}");
            }
        }
    }

    #[test]
    fn known_values_of_the_exact_test_come_out() {
        // scipy.stats.binomtest(k, n, 0.5).pvalue; 1, 5: statsmodels' mcnemar(exact=True).
        let close =
            |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        close(mcnemar(5, 1).1, 0.21875);
        close(mcnemar(10, 2).1, 0.038_574_218_75);
        close(mcnemar(6, 0).0, 0.015625);
        close(mcnemar(0, 0).0, 1.0);
        close(mcnemar(0, 6).0, 1.0);
        assert!(mcnemar(40_000, 39_000).0 < 0.001 && mcnemar(40_000, 40_000).1 > 0.99);
    }

    #[test]
    fn the_paired_bootstrap_has_the_width_of_the_mean() {
        // A mean of n numbers of deviation s is off by s / sqrt(n).
        let mut stream = Stream::new(3, "bootstrap", 0);
        let differences: Vec<f64> = (0..400).map(|_| 0.1 + 0.2 * stream.normal()).collect();
        let mean = |d: &[f64]| d.iter().sum::<f64>() / d.len() as f64;
        let e = bootstrap(&differences, "width", mean);
        let width = 2.0 * 1.96 * 0.2 / 20.0;
        assert!(((e.high - e.low) / width - 1.0).abs() < 0.15, "{e:?} {width}");
        assert!((e.value - mean(&differences)).abs() < 1e-12 && e.low < 0.1 && 0.1 < e.high);
    }

    /// What comes of `suites` comparisons of up to `pairs` independent episodes: parts that end worse, not worse, undecided, and mean pairs.
    fn judged(baseline: f64, now: f64, pairs: usize, suites: u64) -> (f64, f64, f64) {
        let (mut worse, mut passed, mut looked_at) = (0, 0, 0);
        for suite in 0..suites {
            let mut stream = Stream::new(21, "judged", suite);
            let mut evidence = Evidence::new(StatisticalConfig::default());
            for _ in 0..pairs {
                let (b, n) = (episode(stream.unit() < baseline), episode(stream.unit() < now));
                if evidence.observe(&b, &n).is_some() {
                    break;
                }
            }
            worse += u32::from(evidence.decision() == Some(Decision::Worse));
            passed += u32::from(evidence.decision() == Some(Decision::NotWorse));
            looked_at += evidence.pairs().len();
        }
        let part = |n: u32| f64::from(n) / suites as f64;
        (part(worse), part(passed), looked_at as f64 / suites as f64)
    }

    #[test]
    fn equal_policies_are_rarely_called_worse_and_worse_ones_rarely_passed() {
        let (suites, limit) = (1_000, 0.05 + 4.0 * (0.05_f64 * 0.95 / 1_000.0).sqrt());
        // Where half of the episodes are solved a pair says least: not worse by 15 points takes some 300 of them.
        for (rate, at_least) in [(0.5, 0.55), (0.9, 0.9)] {
            let (worse, passed, pairs) = judged(rate, rate, 300, suites);
            assert!(worse <= limit, "{rate}: {worse}");
            assert!(passed > at_least && pairs < 220.0, "{rate}: passed {passed} after {pairs} pairs");
        }
        let (worse, passed, pairs) = judged(0.9, 0.75, 300, suites);
        assert!(worse > 0.9 && passed <= limit, "worse {worse}, passed {passed}");
        assert!(pairs < 150.0, "stops early: {pairs}");
        // A catastrophe is seen at once.
        assert!(judged(1.0, 0.0, 300, 10).2 < 12.0);
    }

    #[test]
    fn what_is_the_same_passes_after_some_thirty_episodes() {
        let mut evidence = Evidence::new(StatisticalConfig::default());
        let pairs = (1..).find(|_| evidence.observe(&episode(true), &episode(true)).is_some()).unwrap();
        assert_eq!(evidence.decision(), Some(Decision::NotWorse));
        assert!((20..40).contains(&pairs), "{pairs}");
        let report = evidence.report(100);
        assert_eq!((report.wins, report.losses, report.pairs), (0, 0, pairs));
        assert!(report.now.words().starts_with("100.0 % ["), "{}", report.now.words());
        // Nothing was decided by what came after.
        assert_eq!(evidence.observe(&episode(true), &episode(false)), Some(Decision::NotWorse));
    }

    #[test]
    fn the_minimum_detectable_drop_is_one_that_is_detected() {
        let config = StatisticalConfig::default();
        let mut stream = Stream::new(5, "noise", 0);
        let differences: Vec<f64> = (0..400)
            .map(|_| f64::from(u8::from(stream.unit() < 0.9)) - f64::from(u8::from(stream.unit() < 0.9)))
            .collect();
        let drop = |episodes| minimum_detectable_drop(&config, &differences, episodes);
        let (few, many) = (drop(60).unwrap(), drop(400).unwrap());
        assert!(many < few && (0.05..0.13).contains(&many) && few < 0.4, "{few} {many}");
        assert_eq!(drop(3), None, "three pairs show nothing");
        // Independent episodes that drop by as much are found about as often as promised.
        let (worse, ..) = judged(0.9, 0.9 - many, 400, 400);
        assert!(worse > 0.65, "{worse}");
        let returns = StatisticalConfig { metric: MetricConfig::Returns { low: -60.0, high: 0.0 }, ..config };
        let noise: Vec<f64> = (0..100).map(|_| 0.1 * stream.normal()).collect();
        assert!(minimum_detectable_drop(&returns, &noise, 200).unwrap() < 0.1);
    }
}
