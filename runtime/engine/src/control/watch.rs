//! What the control loop watches: how old observations are, whether the robot follows, whether deadlines are met.

use surefoot_core::{RobotState, Stamp};

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Observed {
    /// A newer state than the last one; so many samples were lost between the two.
    New {
        /// Samples that never came.
        lost: u64,
    },
    /// The same sample again, or an older one that came late: not used.
    Old,
    /// NaN or an infinity: not used.
    NotFinite,
}

/// Two clocks may differ by one part in this.
const DRIFT: i64 = 10_000;

/// Judges the age of observations without trusting that the robot's clock and ours agree: the fastest samples fix the
/// offset, and an age is the larger of the time since a newer sample came and its delay beyond theirs.
#[derive(Clone, Debug, Default)]
pub struct ObservationWatch {
    last: Option<Stamp>,
    received_nanos: i64,
    offset_nanos: i64,
}

impl ObservationWatch {
    /// Judges what was read at `now_nanos`.
    pub fn judge(&mut self, stamp: Stamp, state: &RobotState, now_nanos: i64) -> Observed {
        if !state.is_finite() {
            return Observed::NotFinite;
        }
        let lost = match self.last {
            None => {
                self.offset_nanos = now_nanos.saturating_sub(stamp.nanos);
                0
            }
            Some(last) if stamp.seq <= last.seq => return Observed::Old,
            Some(last) => {
                // The fastest sample tells the offset best; clocks that drift apart may do so by 100 ppm.
                let drift = now_nanos.saturating_sub(self.received_nanos) / DRIFT;
                let offset = now_nanos.saturating_sub(stamp.nanos);
                self.offset_nanos = self.offset_nanos.saturating_add(drift).min(offset);
                stamp.seq - last.seq - 1
            }
        };
        self.last = Some(stamp);
        self.received_nanos = now_nanos;
        Observed::New { lost }
    }

    /// The stamp of the state in use.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.last.unwrap_or_default()
    }

    /// Age of the state in use, ns; `None` before the first.
    #[must_use]
    pub fn age_nanos(&self, now_nanos: i64) -> Option<i64> {
        let last = self.last?;
        let waiting = now_nanos.saturating_sub(self.received_nanos);
        let delayed = now_nanos.saturating_sub(last.nanos).saturating_sub(self.offset_nanos);
        Some(waiting.max(delayed).max(0))
    }

    /// Forgets everything: the robot is armed anew.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Counts ticks in which the robot is not where it was commanded to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrackingWatch {
    ticks: u32,
}

impl TrackingWatch {
    /// The largest error of a joint, and for how many ticks in a row it was above `threshold`.
    pub fn judge(&mut self, commanded: &[f64], measured: &[f64], threshold: f64) -> (f64, u32) {
        let error = commanded.iter().zip(measured).map(|(c, m)| (c - m).abs()).fold(0.0, f64::max);
        self.ticks = if error > threshold { self.ticks.saturating_add(1) } else { 0 };
        (error, self.ticks)
    }
    /// Starts anew.
    pub const fn reset(&mut self) {
        self.ticks = 0;
    }
}

/// Overruns of one tick that a window counts, at most.
const MOST_IN_A_SLOT: u32 = 1_000;

/// Counts missed deadlines: in a row, and in a window of ticks.
#[derive(Clone, Debug)]
pub struct OverrunWatch {
    in_a_row: u32,
    window: Vec<u32>,
    at: usize,
    in_window: u32,
    seen: usize,
}

impl OverrunWatch {
    /// A watch over a window of `ticks` (at least one).
    #[must_use]
    pub fn new(ticks: usize) -> Self {
        Self { in_a_row: 0, window: vec![0; ticks.max(1)], at: 0, in_window: 0, seen: 0 }
    }

    /// Takes note of the deadlines that passed unused before a tick. Returns overruns in a row (a stall of many periods is as
    /// many) and their number as a share of the window, at most 1; the share is 0 until the window has been filled once.
    pub fn judge(&mut self, overruns: u32) -> (u32, f64) {
        self.in_a_row = if overruns > 0 { self.in_a_row.saturating_add(overruns) } else { 0 };
        // What is counted of one stall fits the window, so that sums of it never overflow.
        let counted = overruns.min(MOST_IN_A_SLOT);
        self.in_window = self.in_window - self.window[self.at] + counted;
        self.window[self.at] = counted;
        self.at = (self.at + 1) % self.window.len();
        self.seen = (self.seen + 1).min(self.window.len());
        let full = self.seen == self.window.len();
        let share = if full { (f64::from(self.in_window) / self.window.len() as f64).min(1.0) } else { 0.0 };
        (self.in_a_row, share)
    }

    /// Starts anew.
    pub fn reset(&mut self) {
        self.window.fill(0);
        (self.in_a_row, self.at, self.in_window, self.seen) = (0, 0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(x: f64) -> RobotState {
        RobotState { position: vec![x], velocity: vec![0.0], channels: vec![] }
    }

    #[test]
    fn repeated_late_and_missing_observations_age() {
        let mut watch = ObservationWatch::default();
        assert_eq!(watch.age_nanos(5), None);
        // The robot's clock is 1000 ahead of ours.
        assert_eq!(watch.judge(Stamp { nanos: 1000, seq: 7 }, &state(0.0), 0), Observed::New { lost: 0 });
        assert_eq!(watch.judge(Stamp { nanos: 1000, seq: 7 }, &state(0.0), 10), Observed::Old);
        assert_eq!(watch.age_nanos(10), Some(10));
        assert_eq!(watch.judge(Stamp { nanos: 1020, seq: 9 }, &state(0.0), 20), Observed::New { lost: 1 });
        assert_eq!(watch.age_nanos(20), Some(0));
        // Reordered: an older sample changes nothing.
        assert_eq!(watch.judge(Stamp { nanos: 1010, seq: 8 }, &state(0.0), 30), Observed::Old);
        // Newer, but thirty late.
        assert_eq!(watch.judge(Stamp { nanos: 1030, seq: 10 }, &state(0.0), 60), Observed::New { lost: 0 });
        assert_eq!(watch.age_nanos(60), Some(30));
        assert_eq!(watch.judge(Stamp { nanos: 1070, seq: 11 }, &state(f64::NAN), 70), Observed::NotFinite);
        assert_eq!(watch.age_nanos(70), Some(40));
    }

    #[test]
    fn a_clock_that_drifts_makes_no_observation_old() {
        let (mut watch, period) = (ObservationWatch::default(), 1_000_000_i64);
        for tick in 1..1_000_000_i64 {
            // The robot's clock loses 50 ppm.
            let stamp = Stamp { nanos: tick * (period - 50), seq: tick as u64 };
            watch.judge(stamp, &state(0.0), tick * period);
            assert!(watch.age_nanos(tick * period).is_some_and(|age| age < 1_000), "tick {tick}");
        }
    }

    #[test]
    fn overruns_are_counted_in_a_row_and_in_a_window() {
        let mut watch = OverrunWatch::new(4);
        assert_eq!(watch.judge(1), (1, 0.0));
        assert_eq!(watch.judge(1), (2, 0.0));
        assert_eq!(watch.judge(0), (0, 0.0));
        assert_eq!(watch.judge(0), (0, 0.5));
        assert_eq!(watch.judge(0), (0, 0.25));
        assert_eq!(watch.judge(100), (100, 1.0), "one long stall is as many overruns");
    }
}
