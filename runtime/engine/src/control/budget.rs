//! What the drive that is going on has cost, judged in every period: a limit of the episode brakes at once, also where nobody
//! looks on.

use surefoot_core::StepFigures;
use surefoot_safety::{SafetyCounts, Verdict};

use crate::limits::{EpisodeLimit, EpisodeLimits, EpisodeLimitsConfig, LimitReached};

/// Watches one drive: from the first period of a driver to the last, hand-overs included.
#[derive(Debug)]
pub(super) struct DriveBudget {
    limits: EpisodeLimits,
    max_steps: u64,
    ticks_per_step: u64,
    period_secs: f64,
    ticks: u64,
    filter_run_ticks: u64,
    stopped: bool,
}

impl DriveBudget {
    pub fn new(config: EpisodeLimitsConfig, max_steps: usize, ticks_per_step: u64, period_secs: f64) -> Self {
        Self {
            limits: EpisodeLimits::new(config),
            max_steps: max_steps.max(1) as u64,
            ticks_per_step,
            period_secs,
            ticks: 0,
            filter_run_ticks: 0,
            stopped: false,
        }
    }

    /// A drive begins.
    pub const fn begin(&mut self) {
        self.limits.begin();
        (self.ticks, self.filter_run_ticks, self.stopped) = (0, 0, false);
    }

    /// Adds a period. `filtered` says whether the filter's work counts: not while a driver has yet to say its first word, nor at
    /// a reduced speed, where the filter is the means of reducing it.
    ///
    /// Real-time safe: does not allocate, lock or block.
    pub fn observe(&mut self, verdict: Verdict, filtered: bool, velocity: &[f64]) -> Option<LimitReached> {
        self.ticks += 1;
        let active = filtered && verdict != Verdict::Passed;
        self.filter_run_ticks = if active { self.filter_run_ticks + 1 } else { 0 };
        let stopped = verdict == Verdict::Stopped;
        let counts = SafetyCounts {
            ticks: 1,
            adjusted: u64::from(active && !stopped),
            stops: u64::from(stopped),
            ..SafetyCounts::default()
        };
        let figures = StepFigures {
            path: velocity.iter().map(|v| v.abs() * self.period_secs).sum(),
            filter_run_ticks: self.filter_run_ticks,
            stops: u64::from(stopped && !std::mem::replace(&mut self.stopped, stopped)),
            ..StepFigures::default()
        };
        self.stopped = stopped;
        // The reader of the ticks ends the last step with the first period after it; whoever drives on is stopped here.
        let allowed = self.max_steps.saturating_mul(self.ticks_per_step).saturating_add(1);
        let late = (self.ticks > allowed).then(|| LimitReached {
            limit: EpisodeLimit::Steps,
            found: self.ticks as f64 / self.ticks_per_step as f64,
            allowed: self.max_steps as f64,
        });
        self.limits.observe(&counts, &figures).or(late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(config: EpisodeLimitsConfig) -> DriveBudget {
        let mut budget = DriveBudget::new(config, 10, 5, 0.02);
        budget.begin();
        budget
    }

    fn ends(budget: &mut DriveBudget, verdict: Verdict, filtered: bool, v: f64) -> (u64, EpisodeLimit) {
        for tick in 1..1000 {
            if let Some(reached) = budget.observe(verdict, filtered, &[v, -v]) {
                return (tick, reached.limit);
            }
        }
        panic!("nothing ends it");
    }

    #[test]
    fn each_limit_ends_a_drive_at_its_figure() {
        let config = EpisodeLimitsConfig::default();
        assert_eq!(ends(&mut budget(config), Verdict::Passed, true, 0.1), (52, EpisodeLimit::Steps));
        assert_eq!(ends(&mut budget(config), Verdict::Adjusted, true, 0.1), (50, EpisodeLimit::FilterShare));
        assert_eq!(ends(&mut budget(config), Verdict::Adjusted, false, 0.1), (52, EpisodeLimit::Steps));
        let run = EpisodeLimitsConfig { max_filter_run_ticks: 7, ..config };
        assert_eq!(ends(&mut budget(run), Verdict::Adjusted, true, 0.1), (8, EpisodeLimit::FilterRun));
        let path = EpisodeLimitsConfig { max_path: 1.01, ..config };
        assert_eq!(ends(&mut budget(path), Verdict::Passed, true, 1.0), (26, EpisodeLimit::Path));
    }

    #[test]
    fn refused_commands_in_a_row_are_one_stop_and_a_new_drive_begins_anew() {
        let mut b = budget(EpisodeLimitsConfig::default());
        assert!(b.observe(Verdict::Stopped, true, &[0.0]).is_none());
        assert!(b.observe(Verdict::Stopped, true, &[0.0]).is_none());
        assert!(b.observe(Verdict::Passed, true, &[0.0]).is_none());
        let reached = b.observe(Verdict::Stopped, true, &[0.0]).map(|r| r.limit);
        assert_eq!(reached, Some(EpisodeLimit::Stops));
        b.begin();
        assert!(b.observe(Verdict::Stopped, true, &[0.0]).is_none());
    }
}
