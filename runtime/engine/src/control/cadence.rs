//! Did the loop keep its rate? Histograms that are filled without allocating, and the report made from them.

use std::fmt;

use hdrhistogram::{CreationError, Histogram};
use serde::{Deserialize, Serialize};

/// Longest time that is told apart, ns: one minute.
const LONGEST_NANOS: u64 = 60_000_000_000;
/// Significant figures of a time.
const FIGURES: u8 = 3;

/// Times of one period of a loop, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeriodTimes {
    /// When it began.
    pub began: i64,
    /// How long after its deadline that was.
    pub jitter: i64,
    /// How long it worked.
    pub work: i64,
    /// Deadlines that passed unused before it.
    pub overruns: u32,
    /// How long the policy took for an answer that came in this period; 0 where none came.
    pub policy_latency: i64,
}

/// What is measured of a loop. Recording neither allocates nor fails.
#[derive(Clone, Debug)]
pub struct Cadence {
    period_nanos: i64,
    periods: Histogram<u64>,
    work: Histogram<u64>,
    jitter: Histogram<u64>,
    latency: Histogram<u64>,
    overruns: u64,
    first: Option<i64>,
    last: i64,
}

impl Cadence {
    /// For a loop of this period.
    ///
    /// # Errors
    /// When the histogram library refuses its bounds.
    pub fn new(period_nanos: i64) -> Result<Self, CreationError> {
        let histogram = || Histogram::new_with_bounds(1, LONGEST_NANOS, FIGURES);
        Ok(Self {
            period_nanos: period_nanos.max(1),
            periods: histogram()?,
            work: histogram()?,
            jitter: histogram()?,
            latency: histogram()?,
            overruns: 0,
            first: None,
            last: 0,
        })
    }

    /// Takes note of a period.
    ///
    /// Real-time safe: does not allocate, lock or block.
    pub fn record(&mut self, times: PeriodTimes) {
        let PeriodTimes { began, jitter, work, overruns, policy_latency } = times;
        let nanos = |t: i64| t.max(0).unsigned_abs();
        if self.first.is_some() {
            self.periods.saturating_record(nanos(began - self.last));
        } else {
            self.first = Some(began);
        }
        self.last = began;
        self.jitter.saturating_record(nanos(jitter));
        self.work.saturating_record(nanos(work));
        self.overruns += u64::from(overruns);
        if policy_latency > 0 {
            self.latency.saturating_record(nanos(policy_latency));
        }
    }

    /// The figures so far.
    #[must_use]
    pub fn report(&self) -> CadenceReport {
        let span = self.last.saturating_sub(self.first.unwrap_or(self.last)) as f64 * 1e-9;
        let work = Quantiles::of(&self.work);
        CadenceReport {
            wanted_hz: 1e9 / self.period_nanos as f64,
            effective_hz: if span > 0.0 { self.periods.len() as f64 / span } else { 0.0 },
            periods: self.work.len(),
            overruns: self.overruns,
            period_us: Quantiles::of(&self.periods),
            jitter_us: Quantiles::of(&self.jitter),
            headroom: 1.0 - work.p999 * 1e3 / self.period_nanos as f64,
            work_us: work,
            policy_latency_us: Quantiles::of(&self.latency),
        }
    }
}

/// A distribution of times, us; zeros where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantiles {
    /// Half are below.
    pub p50: f64,
    /// 99 of 100 are below.
    pub p99: f64,
    /// 999 of 1000 are below.
    pub p999: f64,
    /// The largest.
    pub max: f64,
}

impl Quantiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |q| histogram.value_at_quantile(q) as f64 * 1e-3;
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: histogram.max() as f64 * 1e-3 }
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p99, p999, max } = self;
        write!(f, "p50 {p50:9.1}  p99 {p99:9.1}  p99.9 {p999:9.1}  max {max:9.1}")
    }
}

/// How a loop kept its rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CadenceReport {
    /// What it was asked for.
    pub wanted_hz: f64,
    /// What it did.
    pub effective_hz: f64,
    /// Periods worked.
    pub periods: u64,
    /// Deadlines that passed unused.
    pub overruns: u64,
    /// Between two beginnings.
    pub period_us: Quantiles,
    /// Beginning after the deadline.
    pub jitter_us: Quantiles,
    /// Work of a period.
    pub work_us: Quantiles,
    /// The policy's answers.
    pub policy_latency_us: Quantiles,
    /// Part of the period that 999 of 1000 periods leave free.
    pub headroom: f64,
}

impl fmt::Display for CadenceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:.1} Hz of {:.1}, {} periods, {} overruns, headroom {:.1} %",
            self.effective_hz,
            self.wanted_hz,
            self.periods,
            self.overruns,
            self.headroom * 100.0
        )?;
        writeln!(f, "  period  us  {}", self.period_us)?;
        writeln!(f, "  jitter  us  {}", self.jitter_us)?;
        write!(f, "  work    us  {}", self.work_us)?;
        if self.policy_latency_us.max > 0.0 {
            write!(f, "\n  policy  us  {}", self.policy_latency_us)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_says_what_was_recorded() {
        let mut cadence = Cadence::new(1_000_000).unwrap();
        for i in 0..1001_i64 {
            let late = i64::from(i == 500) * 300_000;
            cadence.record(PeriodTimes {
                began: i * 1_000_000 + late,
                jitter: late,
                work: 100_000,
                overruns: u32::from(i == 700),
                policy_latency: 0,
            });
        }
        let report = cadence.report();
        assert_eq!((report.periods, report.overruns), (1001, 1));
        assert!((report.effective_hz - 1000.0).abs() < 1e-6);
        assert!((report.headroom - 0.9).abs() < 1e-3, "{report}");
        assert!(report.jitter_us.p99 < 1.0 && (report.jitter_us.max - 300.0).abs() < 1.0, "{report}");
        assert_eq!(report.policy_latency_us, Quantiles::default());
    }
}
