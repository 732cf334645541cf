//! An independent witness: recomputes velocities and accelerations from the positions that were written and counts what
//! went over a limit. It shares no code with the filter.

use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{JointLimits, SafeCommand, Verdict};

/// Relative tolerance for rounding in recomputed differences.
const TOLERANCE: f64 = 1e-6;

/// What the safety chain did, counted in control ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SafetyCounts {
    /// Commands written.
    pub ticks: u64,
    /// Commands that were changed.
    pub adjusted: u64,
    /// Commands that were refused: the robot braked.
    pub stops: u64,
    /// Joint samples, commanded or measured, beyond a limit. Zero, or the filter is broken.
    pub violations: u64,
}

impl SafetyCounts {
    /// Adds another count.
    pub fn add(&mut self, other: &Self) {
        let Self { ticks, adjusted, stops, violations } = other;
        self.ticks += ticks;
        self.adjusted += adjusted;
        self.stops += stops;
        self.violations += violations;
    }
}

/// Watches the commands of one robot.
#[derive(Clone, Debug)]
pub struct LimitMonitor {
    limits: Vec<JointLimits>,
    period_secs: f64,
    last: Vec<f64>,
    last_velocity: Vec<f64>,
    last_acceleration: Vec<f64>,
    counts: SafetyCounts,
}

impl LimitMonitor {
    /// A monitor for joints with these limits, commanded every `period_secs`.
    #[must_use]
    pub fn new(limits: &[JointLimits], period_secs: f64) -> Self {
        let n = limits.len();
        Self {
            limits: limits.to_vec(),
            period_secs,
            last: vec![0.0; n],
            last_velocity: vec![0.0; n],
            last_acceleration: vec![0.0; n],
            counts: SafetyCounts::default(),
        }
    }

    /// Starts from a pose in motion and clears the counts.
    pub fn arm_moving(&mut self, position: &[f64], velocity: &[f64]) {
        self.arm(position);
        self.last_velocity.copy_from_slice(velocity);
    }

    /// Starts from a pose at rest and clears the counts. A joint that starts outside its limits may come back; each step that
    /// takes it farther out is a violation.
    pub fn arm(&mut self, position: &[f64]) {
        self.last.copy_from_slice(position);
        self.last_velocity.fill(0.0);
        self.last_acceleration.fill(0.0);
        self.counts = SafetyCounts::default();
    }

    /// Records a command as it is written.
    pub fn observe(&mut self, command: &SafeCommand<'_>) {
        self.counts.ticks += 1;
        match command.verdict() {
            Verdict::Passed => {}
            Verdict::Adjusted => self.counts.adjusted += 1,
            Verdict::Stopped => self.counts.stops += 1,
        }
        for (joint, effort) in command.effort().iter().enumerate() {
            let within =
                self.limits[joint].max_effort.is_none_or(|max| effort.abs() <= max * (1.0 + TOLERANCE));
            self.counts.violations += u64::from(!within);
        }
        for (joint, position) in command.position().iter().enumerate() {
            let l = &self.limits[joint];
            let velocity = (position - self.last[joint]) / self.period_secs;
            let acceleration = (velocity - self.last_velocity[joint]) / self.period_secs;
            let fastest = l.max_acceleration.max(l.max_deceleration);
            // Differences of positions near 1 rad carry rounding of 1e-16/h in velocity and 1e-16/h^2 in acceleration.
            let noise = 8.0 * f64::EPSILON * position.abs().max(1.0) / self.period_secs;
            let jerk = (acceleration - self.last_acceleration[joint]) / self.period_secs;
            let last = self.last[joint];
            let jerk_noise = 4.0 * noise / (self.period_secs * self.period_secs);
            let within = *position >= l.min_position.min(last)
                && *position <= l.max_position.max(last)
                && l.max_jerk.is_none_or(|max| jerk.abs() <= max * (1.0 + TOLERANCE) + jerk_noise)
                && velocity.abs() <= l.max_velocity * (1.0 + TOLERANCE) + noise
                && acceleration.abs() <= fastest * (1.0 + TOLERANCE) + 2.0 * noise / self.period_secs;
            self.counts.violations += u64::from(!within);
            self.last[joint] = *position;
            self.last_velocity[joint] = velocity;
            self.last_acceleration[joint] = acceleration;
        }
    }

    /// Records a measured pose; `tolerance` (rad or m) is the tracking error that is allowed at a limit.
    pub fn observe_measured(&mut self, position: &[f64], tolerance: f64) {
        for (p, l) in position.iter().zip(&self.limits) {
            let within = *p >= l.min_position - tolerance && *p <= l.max_position + tolerance;
            self.counts.violations += u64::from(!within);
        }
    }

    /// What was counted since the last [`arm`](Self::arm).
    #[must_use]
    pub const fn counts(&self) -> SafetyCounts {
        self.counts
    }
}
