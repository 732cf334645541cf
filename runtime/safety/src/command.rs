//! What a robot accepts: a command that went through a chain, with the plan for stopping after it.

use crate::{JointLimits, Reasons, Verdict};

/// A command that is safe to execute, and how to stop if no other follows. Only
/// [`SafetyChain::admit`](crate::SafetyChain::admit) makes one.
#[derive(Clone, Copy, Debug)]
pub struct SafeCommand<'a> {
    pub(crate) position: &'a [f64],
    pub(crate) velocity: &'a [f64],
    pub(crate) effort: &'a [f64],
    pub(crate) limits: &'a [JointLimits],
    pub(crate) period_secs: f64,
    pub(crate) verdict: Verdict,
    pub(crate) reasons: Reasons,
}

impl<'a> SafeCommand<'a> {
    /// Set-point positions at the end of this period, `[joints]`, rad or m. Empty for an effort command.
    #[must_use]
    pub const fn position(&self) -> &'a [f64] {
        self.position
    }
    /// Velocities that lead there, `[joints]`, rad/s or m/s. Empty for an effort command.
    #[must_use]
    pub const fn velocity(&self) -> &'a [f64] {
        self.velocity
    }
    /// Efforts, `[joints]`, N m or N. Empty for a motion command.
    #[must_use]
    pub const fn effort(&self) -> &'a [f64] {
        self.effort
    }
    /// What the chain did to the desired command.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }
    /// Why.
    #[must_use]
    pub const fn reasons(&self) -> Reasons {
        self.reasons
    }
    /// How to come to rest from here inside the limits if no other command follows.
    #[must_use]
    pub const fn stop_plan(&self) -> StopPlan<'a> {
        StopPlan {
            position: self.position,
            velocity: self.velocity,
            limits: self.limits,
            period_secs: self.period_secs,
        }
    }
}

/// The braking tail of a command, computed where it is read: nothing is allocated.
#[derive(Clone, Copy, Debug)]
pub struct StopPlan<'a> {
    position: &'a [f64],
    velocity: &'a [f64],
    limits: &'a [JointLimits],
    period_secs: f64,
}

impl StopPlan<'_> {
    /// Periods until every joint is at rest: at most `ceil(V / (D h))`.
    #[must_use]
    pub fn ticks(&self) -> usize {
        self.velocity
            .iter()
            .zip(self.limits)
            .map(|(v, l)| (v.abs() / (l.max_deceleration * self.period_secs)).ceil() as usize)
            .max()
            .unwrap_or(0)
    }

    /// Set-point `(position, velocity)` of a joint, `tick` periods after the command (0 is the command itself).
    #[must_use]
    pub fn at(&self, tick: usize, joint: usize) -> (f64, f64) {
        let (mut p, mut v) = (self.position[joint], self.velocity[joint]);
        let decrement = self.limits[joint].max_deceleration * self.period_secs;
        for _ in 0..tick.min(self.ticks()) {
            v = if v > 0.0 { (v - decrement).max(0.0) } else { (v + decrement).min(0.0) };
            p += v * self.period_secs;
        }
        (p, v)
    }
}
