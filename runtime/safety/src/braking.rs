//! The position/velocity/acceleration filter: the largest set of states from which braking always suffices.
//!
//! Model (backward differences, period `h`): `v_k = (p_k - p_{k-1})/h`, `a_k = (v_k - v_{k-1})/h`. The state is
//! the *command* `(p, v)`, the decision is `w = v_{k+1}`, and `p' = p + w h`. With braking at `D`:
//!
//! ```text
//! G(w)    = h * sum_{i>=0} max(0, w - i D h)        distance travelled if the next velocity is w and we then brake
//! G⁻¹(d)  = d/((n+1)h) + n D h/2,  n = floor((sqrt(1 + 8d/(D h²)) - 1)/2)
//! hi = min( V, v + A h,  G⁻¹(p_max - p - m))        m = 1e-12, an interior margin for rounding
//! lo = max(-V, v - A h, -G⁻¹(p - p_min - m))
//! w  = clamp(w_desired, lo, hi)
//! ```
//!
//! **Theorem.** Let `S = { |v| <= V, p_min <= p <= p_max, v>0 => p + G(v - D h) <= p_max, v<0 => p - G(-v - D h) >= p_min }`
//! (`G` of a negative number is 0). If `(p, v)` is in `S` then `lo <= hi`, and `(p + w h, w)` is in `S` for every `w` in
//! `[lo, hi]`.
//!
//! *Proof* (`m = 0`; `v >= 0`, the other case is symmetric). Take `w0 = max(0, v - D h)`. It is an allowed decision,
//! `0 <= w0 <= V`, and `p + G(w0) <= p_max` by membership, so `w0 <= G⁻¹(p_max - p)`; and `w0 >= 0 >= -G⁻¹(p - p_min)`.
//! Hence `w0` is in `[lo, hi]`. For `w >= 0` in `[lo, hi]`: `p' + G(w - D h) = p + w h + G(w - D h) = p + G(w) <= p_max`, and
//! `p' >= p >= p_min`. For `w < 0` the mirror image. ∎
//!
//! So position, velocity and acceleration limits hold for ever, for *any* sequence of inputs; and since braking at `D` is
//! the fastest stop, `S` is the largest such set: the filter never interferes earlier than it must.
//!
//! **Speed scale and soft limits.** A scale `s` makes `s V` the velocity and `s² A` the acceleration that a command may ask for, as
//! if time were stretched by `1/s`; `D` stays whole. The choice is then made from `[lo', hi']`, where `hi'` is the smaller of
//! `s V` and the soft limit, put into `[lo, hi]`, and `lo'` likewise. This interval is a part of `[lo, hi]` and not empty, and
//! `s² A <= A` only removes choices that speed up, never `w0`; `S` itself mentions neither `s` nor `A`. So the theorem holds
//! for any sequence of scales, and lowering `s` needs no ramp of its own: where `v > s V`, `hi' = max(s V, v - D h)`, that
//! is, braking at `D` until the new bound is met. Scaling `D` as well would break it: a velocity that was admitted because `D` stops
//! it in time may not be stoppable with less.

use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::limits::Bounds;
use crate::math::{floor, sqrt};
use crate::{CommandState, JointLimits, Reasons, SafetyFilter, Verdict};

/// Keeps the command strictly inside the position range in spite of rounding, rad or m.
const INTERIOR_MARGIN: f64 = 1e-12;

/// How a command of several joints is brought inside the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scaling {
    /// Each joint is clamped by itself: the best tracking of each joint.
    PerJoint,
    /// All joints are slowed by one factor, so that the command keeps its direction wherever a factor can do that.
    #[default]
    Synchronized,
}

/// Distance travelled when the next velocity is `w` (`>= 0`) and every later one is `decel * h` less, until rest.
#[must_use]
pub fn braking_distance(w: f64, decel: f64, h: f64) -> f64 {
    if w <= 0.0 {
        return 0.0;
    }
    let n = floor(w / (decel * h));
    h * ((n + 1.0) * w - decel * h * n * (n + 1.0) / 2.0)
}

/// The largest next velocity from which braking at `decel` stays within `d`: the inverse of [`braking_distance`].
#[must_use]
pub fn braking_velocity(d: f64, decel: f64, h: f64) -> f64 {
    if d <= 0.0 {
        return 0.0;
    }
    let n = floor((sqrt(1.0 + 8.0 * d / (decel * h * h)) - 1.0) / 2.0);
    d / ((n + 1.0) * h) + n * decel * h / 2.0
}

/// The velocity change allowed in one period from `v`, upward: braking while it reduces the speed, accelerating after.
fn highest_next(v: f64, limits: &JointLimits, scale: f64, h: f64) -> f64 {
    let (up, down) = (limits.max_acceleration * (scale * scale) * h, limits.max_deceleration * h);
    if v >= 0.0 {
        v + up
    } else if -v >= down {
        v + down
    } else {
        (1.0 + v / down) * up
    }
}

/// The set-points that one joint may take next: `[lo, hi]`, never empty.
#[must_use]
pub fn admissible(limits: &JointLimits, position: f64, velocity: f64, h: f64) -> (f64, f64) {
    admissible_within(limits, &Bounds::of(limits), 1.0, position, velocity, h)
}

fn admissible_within(
    limits: &JointLimits,
    bounds: &Bounds,
    scale: f64,
    position: f64,
    velocity: f64,
    h: f64,
) -> (f64, f64) {
    let decel = limits.max_deceleration;
    let to_max = braking_velocity(bounds.max_position - position - INTERIOR_MARGIN, decel, h);
    let to_min = braking_velocity(position - bounds.min_position - INTERIOR_MARGIN, decel, h);
    let hi = bounds.max_velocity.min(highest_next(velocity, limits, scale, h)).min(to_max);
    let lo = bounds.min_velocity.max(-highest_next(-velocity, limits, scale, h)).max(-to_min);
    if lo <= hi {
        (lo, hi)
    } else {
        // Only rounding brings us here, by parts in 1e-16.
        let middle = f64::midpoint(lo, hi);
        (middle, middle)
    }
}

/// Puts a number into a range. Unlike `f64::clamp` it has no way to panic.
pub(crate) fn into_range(x: f64, lo: f64, hi: f64) -> f64 {
    if x < lo {
        lo
    } else if x > hi {
        hi
    } else {
        x
    }
}

/// The largest velocity toward a target `distance` away (signed) that reaches it as fast as the limits allow without
/// overshoot. Use it to turn a position target into the desired velocity of [`SafetyChain::admit`](crate::SafetyChain::admit).
#[must_use]
pub fn velocity_toward(distance: f64, limits: &JointLimits, h: f64) -> f64 {
    let speed = braking_velocity(distance.abs(), limits.max_deceleration, h).min(limits.max_velocity);
    if distance < 0.0 { -speed } else { speed }
}

/// Where the share of a synchronized command is counted from.
#[derive(Clone, Copy)]
enum Base {
    Zero,
    Present,
}

/// The braking filter over all joints of a robot: the last envelope of a chain.
#[derive(Clone, Debug)]
pub struct BrakingFilter {
    limits: Vec<JointLimits>,
    bounds: Vec<Bounds>,
    scaling: Scaling,
    scale: f64,
    lo: Vec<f64>,
    hi: Vec<f64>,
    reasons: Reasons,
}

impl BrakingFilter {
    /// A filter for joints with these limits.
    #[must_use]
    pub fn new(limits: Vec<JointLimits>, scaling: Scaling) -> Self {
        let n = limits.len();
        let bounds = limits.iter().map(Bounds::of).collect();
        Self {
            limits,
            bounds,
            scaling,
            scale: 1.0,
            lo: vec![0.0; n],
            hi: vec![0.0; n],
            reasons: Reasons::NONE,
        }
    }

    /// The limits, one per joint.
    #[must_use]
    pub fn limits(&self) -> &[JointLimits] {
        &self.limits
    }

    pub(crate) fn set_bounds(&mut self, joint: usize, bounds: Bounds) {
        self.bounds[joint] = bounds;
    }

    pub(crate) const fn set_speed_scale(&mut self, scale: f64) {
        self.scale = scale;
    }

    /// Whether a joint can be stopped from here inside its bounds: membership in `S`.
    pub(crate) fn can_stop(&self, joint: usize, position: f64, velocity: f64, h: f64) -> bool {
        let (bounds, decel) = (&self.bounds[joint], self.limits[joint].max_deceleration);
        let ahead = braking_distance(velocity.abs() - decel * h, decel, h);
        let end = if velocity < 0.0 { position - ahead } else { position + ahead };
        let inside = bounds.min_position..=bounds.max_position;
        (bounds.min_velocity..=bounds.max_velocity).contains(&velocity)
            && inside.contains(&position)
            && inside.contains(&end)
    }

    /// Brakes every joint as fast as it may.
    pub(crate) fn brake(&mut self, state: CommandState<'_>, command: &mut [f64]) -> Verdict {
        self.find_admissible(state);
        for (i, w) in command.iter_mut().enumerate() {
            *w = into_range(0.0, self.lo[i], self.hi[i]);
        }
        self.reasons = Reasons::STOP;
        Verdict::Stopped
    }

    fn find_admissible(&mut self, state: CommandState<'_>) {
        for (i, limits) in self.limits.iter().enumerate() {
            let (p, v) = (state.position[i], state.velocity[i]);
            (self.lo[i], self.hi[i]) =
                admissible_within(limits, &self.bounds[i], self.scale, p, v, state.period_secs);
        }
    }

    /// How much of a desired command every joint allows at once, and from where that share is counted.
    ///
    /// The shares `s` with `s * desired` inside all limits form an interval. Where it meets `[0, 1]` its largest element keeps the
    /// direction exactly. Where it does not (a joint cannot slow down fast enough for that direction) no scaling can, and the
    /// share is counted from the present velocity instead: each joint goes the same part of the way to its desired velocity.
    fn synchronized_share(&self, desired: &[f64], velocity: &[f64]) -> (f64, Base) {
        let (mut least, mut most) = (0.0_f64, 1.0_f64);
        for (i, w) in desired.iter().enumerate() {
            let (lo, hi) = (self.lo[i], self.hi[i]);
            if *w > 0.0 {
                (least, most) = (least.max(lo / w), most.min(hi / w));
            } else if *w < 0.0 {
                (least, most) = (least.max(hi / w), most.min(lo / w));
            } else if lo > 0.0 || hi < 0.0 {
                most = f64::NEG_INFINITY;
            }
        }
        if least <= most {
            return (most, Base::Zero);
        }
        let mut share = 1.0_f64;
        for (i, w) in desired.iter().enumerate() {
            let from = into_range(velocity[i], self.lo[i], self.hi[i]);
            if *w > self.hi[i] {
                share = share.min((self.hi[i] - from) / (w - from));
            } else if *w < self.lo[i] {
                share = share.min((self.lo[i] - from) / (w - from));
            }
        }
        (share, Base::Present)
    }

    fn reasons_for(&self, i: usize, desired: f64, state: CommandState<'_>) -> Reasons {
        let (limits, bounds, v) = (&self.limits[i], &self.bounds[i], state.velocity[i]);
        let mut reasons = Reasons::NONE;
        if desired.abs() > limits.max_velocity {
            reasons = reasons.union(Reasons::VELOCITY);
        } else if desired > bounds.max_velocity || desired < bounds.min_velocity {
            reasons = reasons.union(Reasons::RECOVERY);
        } else if desired.abs() > self.scale * limits.max_velocity {
            reasons = reasons.union(Reasons::SPEED_SCALE);
        }
        let (slowest, fastest) = limits.comfortable(state.position[i], 1.0);
        if limits.soft.is_some() && !(slowest..=fastest).contains(&desired) {
            reasons = reasons.union(Reasons::SOFT_LIMIT);
        }
        let h = state.period_secs;
        let within = -highest_next(-v, limits, self.scale, h)..=highest_next(v, limits, self.scale, h);
        if !within.contains(&desired) {
            reasons = reasons.union(Reasons::ACCELERATION);
        }
        if reasons.is_empty() { Reasons::POSITION } else { reasons }
    }
}

impl SafetyFilter for BrakingFilter {
    /// Real-time safe: does not allocate, lock or block.
    fn filter(&mut self, state: CommandState<'_>, command: &mut [f64]) -> Verdict {
        if command.iter().any(|w| !w.is_finite()) {
            // One bad number condemns the whole command: its other joints were computed by the same broken source.
            self.brake(state, command);
            self.reasons = Reasons::NON_FINITE;
            return Verdict::Stopped;
        }
        self.reasons = Reasons::NONE;
        self.find_admissible(state);
        for i in 0..command.len() {
            let (slowest, fastest) = self.limits[i].comfortable(state.position[i], self.scale);
            let (lo, hi) = (self.lo[i], self.hi[i]);
            (self.lo[i], self.hi[i]) = (into_range(slowest, lo, hi), into_range(fastest, lo, hi));
        }
        for (i, w) in command.iter().enumerate() {
            if *w < self.lo[i] || *w > self.hi[i] {
                self.reasons = self.reasons.union(self.reasons_for(i, *w, state));
            }
        }
        if self.reasons.is_empty() {
            return Verdict::Passed;
        }
        match self.scaling {
            Scaling::PerJoint => {
                for (i, w) in command.iter_mut().enumerate() {
                    *w = into_range(*w, self.lo[i], self.hi[i]);
                }
            }
            Scaling::Synchronized => {
                let (share, base) = self.synchronized_share(command, state.velocity);
                for (i, w) in command.iter_mut().enumerate() {
                    let from = match base {
                        Base::Zero => 0.0,
                        Base::Present => into_range(state.velocity[i], self.lo[i], self.hi[i]),
                    };
                    *w = into_range(from + share * (*w - from), self.lo[i], self.hi[i]);
                }
                if command.len() > 1 {
                    self.reasons = self.reasons.union(Reasons::DIRECTION);
                }
            }
        }
        Verdict::Adjusted
    }

    fn reset(&mut self) {
        self.reasons = Reasons::NONE;
    }

    fn reasons(&self) -> Reasons {
        self.reasons
    }
}

#[cfg(test)]
mod tests;
