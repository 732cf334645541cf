//! The backup stop of one joint, and the certificate that it works: the rollout.

use alloc::vec::Vec;

use crate::braking::{braking_distance, into_range};
use crate::limits::Bounds;
use crate::math::{ceil, sqrt};
use crate::{JointLimits, SafetyError};

/// A stop that takes more periods than this is not looked ahead: the memory and time would have no useful bound.
pub(super) const MAX_STOP_TICKS: usize = 100_000;

/// How far rounding may carry an acceleration or a change of it over its limit, relative.
const ROUNDING: f64 = 1e-9;

/// The commanded state of one joint.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Motion {
    pub position: f64,
    pub velocity: f64,
    pub acceleration: f64,
}

/// One joint's limits at one control period, and the policy that stops it.
#[derive(Clone, Debug)]
pub(crate) struct BackupStop {
    pub bounds: Bounds,
    up: f64,
    down: f64,
    /// `J h`, or infinity.
    jerk_step: f64,
    /// `8 / (J h^2)` and `J h / 2`: the constants of the inverse of the ramp-down sum.
    inverse: (f64, f64),
    /// Above this speed rest is certainly not reached within one period.
    ending_speed: f64,
    /// From this speed on the stop certainly brakes at the limit.
    steady_speed: f64,
    period: f64,
    max_ticks: usize,
}

impl BackupStop {
    /// For a joint with these limits.
    pub fn new(joint: usize, limits: &JointLimits, period: f64) -> Result<Self, SafetyError> {
        let (up, down) = (limits.max_acceleration, limits.max_deceleration);
        let jerk = limits.max_jerk.unwrap_or(f64::INFINITY);
        let jerk_step = jerk * period;
        // P4: braking from V at D, and two ramps of the acceleration. The last periods are for where these round up.
        let ticks = ceil(limits.max_velocity / (down * period)) + 2.0 * ceil(up.max(down) / jerk_step) + 4.0;
        if ticks > MAX_STOP_TICKS as f64 {
            return Err(SafetyError::StopTooLong { joint, ticks, largest: MAX_STOP_TICKS });
        }
        let inverse = (8.0 / (jerk * period * period), jerk_step / 2.0);
        let bounds = Bounds::of(limits);
        // Both with room for rounding: in between the exact comparison decides.
        let ending_speed = down.min(jerk_step) * period * (1.0 + 1e-6);
        let steady_speed =
            if jerk_step.is_finite() { braking_distance(down, jerk, period) * (1.0 + 1e-6) } else { 0.0 };
        let max_ticks = ticks as usize;
        Ok(Self { bounds, up, down, jerk_step, inverse, ending_speed, steady_speed, period, max_ticks })
    }

    /// Periods that a stop takes at most: `N` of the theorem.
    pub const fn max_ticks(&self) -> usize {
        self.max_ticks
    }

    /// Whether nothing will move any more.
    pub fn at_rest(&self, x: Motion) -> bool {
        x.velocity == 0.0 && (x.acceleration == 0.0 || self.jerk_step == f64::INFINITY)
    }

    /// The state after one period with this acceleration: the arithmetic of rollout and execution alike.
    pub fn accelerated(&self, x: Motion, acceleration: f64) -> Motion {
        self.moved(x, x.velocity + acceleration * self.period, acceleration)
    }

    /// The state after one period that ends with this velocity.
    pub fn moved(&self, x: Motion, velocity: f64, acceleration: f64) -> Motion {
        Motion { position: x.position + velocity * self.period, velocity, acceleration }
    }

    /// The largest acceleration from which ramping down at `J` changes the velocity by no more than `change` (`>= 0`): the
    /// inverse braking distance, one order up.
    pub fn ramp(&self, change: f64) -> f64 {
        let (scale, half_step) = self.inverse;
        // The number of periods is far below 2^31 by the limit on the stop's length.
        let n = f64::from(((sqrt(1.0 + change * scale) - 1.0) / 2.0) as i32);
        change / ((n + 1.0) * self.period) + n * half_step
    }

    /// The acceleration that reaches a velocity within one period. Finite for every finite velocity.
    pub fn direct(&self, x: Motion, velocity: f64) -> f64 {
        into_range((velocity - x.velocity) / self.period, -1e150, 1e150)
    }

    /// The acceleration that approaches a velocity as fast as the jerk limit allows without going beyond it.
    pub fn approach(&self, x: Motion, velocity: f64) -> f64 {
        if self.jerk_step == f64::INFINITY {
            return self.direct(x, velocity);
        }
        let change = velocity - x.velocity;
        if change < 0.0 { -self.ramp(-change) } else { self.ramp(change) }
    }

    /// Whether two accelerations differ by rounding only.
    pub fn agrees(&self, a: f64, b: f64) -> bool {
        (a - b).abs() <= ROUNDING * self.jerk_step.min(self.up.min(self.down))
    }

    /// `κ`: the next state of the fastest stop that ends without acceleration.
    pub fn stop(&self, x: Motion) -> Motion {
        let speed = x.velocity.abs();
        // Most of a stop is far from its end: no division and no root there.
        if speed <= self.ending_speed
            && let Some(rest) = self.end(x)
        {
            return rest;
        }
        let braking = if speed >= self.steady_speed { self.down } else { self.down.min(self.ramp(speed)) };
        let wanted = if x.velocity > 0.0 { -braking } else { braking };
        let next = self.accelerated(x, self.within_jerk(x, wanted));
        let crossed = next.velocity * x.velocity < 0.0;
        if crossed && next.velocity.abs() <= ROUNDING * self.jerk_step * self.period {
            // A stop never turns round: rounding must not make a joint that may only move one way move back by 1e-18.
            return self.moved(x, 0.0, next.acceleration);
        }
        next
    }

    /// Rest, if one period reaches it. Exactly zero, so that rest is a state and not a tolerance.
    fn end(&self, x: Motion) -> Option<Motion> {
        let ending = -x.velocity / self.period;
        let reachable = (ending - x.acceleration).abs() <= self.jerk_step;
        (reachable && ending.abs() <= self.down.min(self.jerk_step)).then(|| self.moved(x, 0.0, ending))
    }

    /// The acceleration nearest to the one wanted that the jerk limit allows next.
    pub fn within_jerk(&self, x: Motion, wanted: f64) -> f64 {
        wanted.min(x.acceleration + self.jerk_step).max(x.acceleration - self.jerk_step)
    }

    /// The largest acceleration upward from velocity `v`, with the limit for speeding up times `scale`. A period in which the
    /// velocity changes sign is partly braking and partly speeding up.
    pub fn highest_acceleration(&self, v: f64, scale: f64) -> f64 {
        let (up, down) = (self.up * scale, self.down);
        if v >= 0.0 {
            up
        } else if -v >= down * self.period {
            down
        } else {
            up - v / self.period * (1.0 - up / down)
        }
    }

    fn allows_acceleration(&self, v: f64, acceleration: f64) -> bool {
        let tolerance = 1.0 + ROUNDING;
        acceleration <= self.highest_acceleration(v, 1.0) * tolerance
            && -acceleration <= self.highest_acceleration(-v, 1.0) * tolerance
    }

    fn inside(&self, x: Motion, cap: f64) -> bool {
        let b = &self.bounds;
        x.position >= b.min_position
            && x.position <= b.max_position
            && x.velocity >= b.min_velocity.max(-cap)
            && x.velocity <= b.max_velocity.min(cap)
    }

    /// Whether `to` may follow `from`: within the limits of acceleration and jerk, and with a backup stop from there that keeps
    /// every limit and ends in time. `plan` holds the stop after `true`, beginning with `to`; its capacity is never exceeded.
    pub fn certify(&self, from: Motion, to: Motion, cap: f64, plan: &mut Vec<Motion>) -> bool {
        let jerk_kept = (to.acceleration - from.acceleration).abs() <= self.jerk_step * (1.0 + ROUNDING);
        jerk_kept && self.allows_acceleration(from.velocity, to.acceleration) && self.roll(to, cap, plan)
    }

    /// Rolls the backup stop out from `first`; whether it keeps every limit and ends in time.
    pub fn roll(&self, first: Motion, cap: f64, plan: &mut Vec<Motion>) -> bool {
        plan.clear();
        let mut x = first;
        loop {
            if !self.inside(x, cap) {
                return false;
            }
            plan.push(x);
            if self.at_rest(x) {
                return true;
            }
            if plan.len() > self.max_ticks {
                return false;
            }
            let next = self.stop(x);
            if !self.allows_acceleration(x.velocity, next.acceleration) {
                return false;
            }
            x = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{PERIODS, jerk_limits};

    proptest! {
        /// The short cuts of the stop change no bit of it.
        #[test]
        fn the_stop_is_what_it_is_without_short_cuts(
            limits in jerk_limits(),
            period in prop::sample::select(&PERIODS[..]),
            share in -1.2..1.2_f64,
            near in -1e-5..1e-5_f64,
            acceleration in -1.0..1.0_f64,
        ) {
            let stop = BackupStop::new(0, &limits, period).unwrap();
            let mut plain = stop.clone();
            (plain.ending_speed, plain.steady_speed) = (f64::INFINITY, f64::INFINITY);
            let a = acceleration * limits.max_acceleration();
            for velocity in [
                share * limits.max_velocity(),
                stop.ending_speed * (1.0 + near),
                stop.steady_speed * (1.0 + near),
                -stop.steady_speed * (1.0 + near),
                share * stop.steady_speed,
            ] {
                let x = Motion { position: share, velocity, acceleration: a };
                prop_assert_eq!(stop.stop(x), plain.stop(x));
            }
        }
    }
}
