//! Whether a plan keeps a geometric condition, also between its ticks, with as few evaluations of the condition as that takes.
//!
//! Write `c(q)` for the clearance at a pose and `m(q, r) = sum_j reach_j |q_j - r_j|`, which bounds how much it can change between two
//! poses. A segment of motion from `q` to `r` is free when `c(q) + c(r) >= m(q, r)`: a pose between them is some `x <= m` away from `q` and
//! `m - x` from `r`, so its clearance is at least the larger of `c(q) - x` and `c(r) - (m - x)`, whose mean is `(c(q) + c(r) - m) / 2 >= 0`.
//! A plan is accepted if this holds for each of its segments, beginning with the one from the present pose.
//!
//! Evaluating `c` is what costs. Instead of `c` a lower bound `f <= c` is kept for each state of a plan, and `c` is evaluated only where
//! the bounds do not suffice. Bounds come
//! * along a plan: `c(r) >= f(q) - m(q, r)`, in both directions: far from obstacles one evaluation covers a long way;
//! * from plan to plan: the bounds of a plan that was accepted before, in the last tick or in this one, less `m` between its states and
//!   those of the plan that is tried, which differs from it by a little: what was evaluated once serves for many ticks.
//!
//! *The decision is that of evaluating every state.* Where bounds suffice, so does `c >= f`. Where they do not, both ends are
//! evaluated, and refused only if `c(q) + c(r) < m(q, r)`. ∎ Only when the [work of a tick](Work) is spent is a plan refused unseen, which is
//! as safe: the stored plan is then followed, and needs no evaluation.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use crate::Clearance;
use crate::certified::backup::Motion;

/// No clearance counts for more than this, m: so that bounds stay finite.
const FAR: f64 = 1e6;

/// Rounding of a bound when it is taken over, relative: so that it is still one after any number of ticks.
const ROUNDING: f64 = 8.0 * f64::EPSILON;

/// Evaluations in a tick: how many there were, and how many there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    pub evaluations: u64,
    pub most: u64,
}

impl Work {
    pub const fn is_spent(&self) -> bool {
        self.evaluations >= self.most
    }
}

/// A plan that was accepted before, and the tick of it with which the first state of the plan that is tried goes together.
#[derive(Clone, Copy)]
pub(super) enum Like<'a> {
    /// The stored plan, one tick on.
    Stored(&'a [Vec<Motion>]),
    /// The best plan of this tick.
    Best(&'a [Vec<Motion>]),
}

/// A geometric condition, and lower bounds of its clearance along the plans: NaN nowhere.
pub(super) struct PlanClearance {
    pub condition: Box<dyn Clearance>,
    /// For each tick of the stored plan; the first is the present pose.
    stored: Vec<f64>,
    /// For each tick of the best plan.
    best: Vec<f64>,
    /// For each tick of the plan that is tried.
    trial: Vec<f64>,
    /// Where `trial` is the clearance itself.
    exact: Vec<bool>,
    /// Motion from the state before to each state of the plan that is tried, m.
    motion: Vec<f64>,
    present_is_exact: bool,
    /// Where the last refused plan failed: the next one is likely to fail there, too.
    suspect: usize,
    position: Vec<f64>,
}

/// A joint's position at a tick of its plan.
fn at(plan: &[Motion], tick: usize) -> f64 {
    plan.get(tick).or_else(|| plan.last()).map_or(f64::NAN, |x| x.position)
}

/// Ticks of the longest plan.
fn length(plans: &[Vec<Motion>]) -> usize {
    plans.iter().map(Vec::len).max().unwrap_or(0)
}

/// A bound at a tick; nothing is known beyond.
fn bound(bounds: &[f64], tick: usize) -> f64 {
    bounds.get(tick).or_else(|| bounds.last()).copied().unwrap_or(f64::NEG_INFINITY)
}

/// A clearance as a bound; NaN is a violation.
const fn known(clearance: f64) -> f64 {
    if clearance.is_nan() { f64::NEG_INFINITY } else { clearance.min(FAR) }
}

impl PlanClearance {
    /// Nothing is known yet. Plans have at most `ticks` states.
    pub fn new(condition: Box<dyn Clearance>, ticks: usize) -> Self {
        let joints = condition.reach().len();
        let row = || Vec::with_capacity(ticks);
        let (stored, best, trial, motion, exact) = (row(), row(), row(), row(), Vec::with_capacity(ticks));
        let position = vec![0.0; joints];
        Self {
            condition,
            stored,
            best,
            trial,
            exact,
            motion,
            present_is_exact: false,
            suspect: usize::MAX,
            position,
        }
    }

    /// The clearance at the first states of these plans, which are where the robot is. Forgets what was known.
    pub fn start(&mut self, plans: &[Vec<Motion>]) -> f64 {
        for (q, plan) in self.position.iter_mut().zip(plans) {
            *q = at(plan, 0);
        }
        self.forget();
        let clearance = self.condition.clearance(&self.position);
        self.know_present(plans, clearance);
        clearance
    }

    /// Forgets what is known: everything is evaluated when it is needed.
    pub fn forget(&mut self) {
        self.stored.clear();
        self.present_is_exact = false;
    }

    /// A new tick: the present pose is the first of the stored plan.
    pub const fn begin(&mut self) {
        self.present_is_exact = false;
    }

    /// Whether the plans in `trial`, executed from the first states of `stored` on, keep the condition.
    pub fn keeps(
        &mut self,
        stored: &[Vec<Motion>],
        trial: &[Vec<Motion>],
        like: Like<'_>,
        work: &mut Work,
    ) -> bool {
        let ticks = length(trial);
        self.trace(stored, trial, ticks);
        self.inherit(trial, like, ticks);
        let Some(end) = ticks.checked_sub(1) else { return false };
        // Most plans that fail do so at their end, or where the last one did: one evaluation then spares the way.
        if self.trial[end] < 0.0 {
            if !self.evaluate(end, trial, work) {
                return false;
            }
            for tick in (0..end).rev() {
                let from_behind = self.trial[tick + 1] - self.motion[tick + 1];
                if from_behind <= self.trial[tick] {
                    break;
                }
                self.trial[tick] = from_behind;
            }
        }
        let suspect = self.suspect;
        if suspect < end && self.trial[suspect] < 0.0 && !self.evaluate(suspect, trial, work) {
            return false;
        }
        let mut before = bound(&self.stored, 0);
        for tick in 0..ticks {
            let motion = self.motion[tick];
            let along = before - motion;
            if along > self.trial[tick] {
                self.trial[tick] = along;
            }
            if !free(before, self.trial[tick], motion) {
                if !self.exact[tick] && !self.evaluate(tick, trial, work) {
                    self.suspect = tick;
                    return false;
                }
                if !free(before, self.trial[tick], motion) {
                    before = match tick.checked_sub(1) {
                        Some(last) if self.exact[last] || self.evaluate(last, trial, work) => {
                            self.trial[last]
                        }
                        None if self.evaluate_present(stored, work) => bound(&self.stored, 0),
                        _ => f64::NEG_INFINITY,
                    };
                }
                if !free(before, self.trial[tick], motion) {
                    self.suspect = tick;
                    return false;
                }
            }
            before = self.trial[tick];
        }
        true
    }

    /// The motion of each tick.
    fn trace(&mut self, stored: &[Vec<Motion>], trial: &[Vec<Motion>], ticks: usize) {
        self.motion.clear();
        self.motion.resize(ticks, 0.0);
        for ((reach, plan), now) in self.condition.reach().iter().zip(trial).zip(stored) {
            let mut last = at(now, 0);
            for (motion, x) in self.motion.iter_mut().zip(plan) {
                *motion += reach * (x.position - last).abs();
                last = x.position;
            }
        }
    }

    /// The bounds that another plan's bounds are for this one.
    fn inherit(&mut self, trial: &[Vec<Motion>], like: Like<'_>, ticks: usize) {
        let (plans, bounds, first) = match like {
            Like::Stored(plans) => (plans, &self.stored, 1),
            Like::Best(plans) => (plans, &self.best, 0),
        };
        self.exact.clear();
        self.exact.resize(ticks, false);
        self.trial.clear();
        self.trial.resize(ticks, 0.0);
        for ((reach, plan), other) in self.condition.reach().iter().zip(trial).zip(plans) {
            // Both plans go on; then one rests; then both do.
            let other = other.get(first..).filter(|rest| !rest.is_empty()).unwrap_or(other);
            let both = plan.len().min(other.len());
            for ((apart, x), y) in self.trial.iter_mut().zip(plan).zip(other) {
                *apart += reach * (x.position - y.position).abs();
            }
            for (tick, apart) in self.trial.iter_mut().enumerate().skip(both) {
                *apart += reach * (at(plan, tick) - at(other, tick)).abs();
            }
        }
        for (tick, value) in self.trial.iter_mut().enumerate() {
            let (bound, apart) = (bound(bounds, tick + first), *value);
            *value = bound - apart - ROUNDING * (bound.abs() + apart);
        }
    }

    /// Evaluates a state of the plan that is tried; whether it is allowed by itself.
    fn evaluate(&mut self, tick: usize, trial: &[Vec<Motion>], work: &mut Work) -> bool {
        if work.is_spent() {
            return false;
        }
        work.evaluations += 1;
        for (q, plan) in self.position.iter_mut().zip(trial) {
            *q = at(plan, tick);
        }
        let known = known(self.condition.clearance(&self.position));
        (self.trial[tick], self.exact[tick]) = (known, true);
        known >= 0.0
    }

    fn evaluate_present(&mut self, stored: &[Vec<Motion>], work: &mut Work) -> bool {
        if self.present_is_exact || work.is_spent() {
            return self.present_is_exact;
        }
        work.evaluations += 1;
        for (q, plan) in self.position.iter_mut().zip(stored) {
            *q = at(plan, 0);
        }
        let clearance = self.condition.clearance(&self.position);
        self.know_present(stored, clearance);
        true
    }

    fn know_present(&mut self, stored: &[Vec<Motion>], clearance: f64) {
        // Of the rest of the plan what is known, or nothing.
        self.stored.resize(length(stored), f64::NEG_INFINITY);
        if let Some(present) = self.stored.first_mut() {
            *present = known(clearance);
        }
        self.present_is_exact = true;
    }

    /// The plan that was tried last is the best one.
    pub const fn accept(&mut self) {
        core::mem::swap(&mut self.best, &mut self.trial);
    }

    /// The best plan is the rest of the stored one.
    pub fn replay(&mut self) {
        self.best.clear();
        let stored = self.stored.as_slice();
        self.best.extend_from_slice(if stored.len() > 1 { &stored[1..] } else { stored });
    }

    /// The best plan is executed.
    pub const fn commit(&mut self) {
        core::mem::swap(&mut self.stored, &mut self.best);
    }
}

/// Whether all poses between two are allowed, by their clearances and the motion from one to the other. False for NaN.
fn free(one: f64, other: f64, motion: f64) -> bool {
    one + other >= motion && other >= 0.0
}

#[cfg(test)]
mod tests;
