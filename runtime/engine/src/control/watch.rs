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

/// Judges the age of observations without trusting that the robot's clock and ours agree: the first sample fixes the
/// offset, and an age is the larger of the time since a newer sample came and its delay beyond the first one's.
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
            Some(last) => stamp.seq - last.seq - 1,
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

/// Counts missed deadlines: in a row, and in a window of ticks.
#[derive(Clone, Debug)]
pub struct OverrunWatch {
    in_a_row: u32,
    window: Vec<bool>,
    at: usize,
    in_window: u32,
    seen: usize,
}

impl OverrunWatch {
    /// A watch over a window of `ticks` (at least one).
    #[must_use]
    pub fn new(ticks: usize) -> Self {
        Self { in_a_row: 0, window: vec![false; ticks.max(1)], at: 0, in_window: 0, seen: 0 }
    }

    /// Takes note of a tick. Returns overruns in a row and the share of ticks in the window that overran; the share is 0
    /// until the window has been filled once.
    pub fn judge(&mut self, overran: bool) -> (u32, f64) {
        self.in_a_row = if overran { self.in_a_row.saturating_add(1) } else { 0 };
        self.in_window -= u32::from(self.window[self.at]);
        self.in_window += u32::from(overran);
        self.window[self.at] = overran;
        self.at = (self.at + 1) % self.window.len();
        self.seen = (self.seen + 1).min(self.window.len());
        let full = self.seen == self.window.len();
        let share = if full { f64::from(self.in_window) / self.window.len() as f64 } else { 0.0 };
        (self.in_a_row, share)
    }

    /// Starts anew.
    pub fn reset(&mut self) {
        self.window.fill(false);
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
    fn overruns_are_counted_in_a_row_and_in_a_window() {
        let mut watch = OverrunWatch::new(4);
        assert_eq!(watch.judge(true), (1, 0.0));
        assert_eq!(watch.judge(true), (2, 0.0));
        assert_eq!(watch.judge(false), (0, 0.0));
        assert_eq!(watch.judge(false), (0, 0.5));
        assert_eq!(watch.judge(false), (0, 0.25));
    }
}
