//! The filter over all joints: proposals, bisection, and the stored stop plan.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use crate::braking::into_range;
use crate::certified::backup::{BackupStop, Motion};
use crate::certified::plan_clearance::{Like, PlanClearance, Work};
use crate::limits::Bounds;
use crate::{Clearance, JointLimits, Reasons, SafetyError, Scaling, Verdict};

/// Halvings of the interval between one joint's stored stop and its wish: what is executed is within 1/4096 of it, and the next
/// tick makes good for it.
const BISECTIONS_ALONE: usize = 12;

/// Halvings for all joints together, where each costs as much as all joints.
const BISECTIONS_TOGETHER: usize = 8;

/// Evaluations of geometric conditions in one tick, over all of them. What is not certified by then is not executed: the stored plan
/// is, which needs none.
const MOST_EVALUATIONS: u64 = 400;

/// The certified envelope of a motion chain: see the [module](crate::certified).
pub struct CertifiedFilter {
    limits: Vec<JointLimits>,
    joints: Vec<BackupStop>,
    scaling: Scaling,
    scale: f64,
    conditions: Vec<PlanClearance>,
    /// Per joint: the commanded state, and the stop from there. Never empty once armed.
    stored: Vec<Vec<Motion>>,
    /// Per joint: the best plan that was certified in this tick.
    best: Vec<Vec<Motion>>,
    /// Per joint: the plan that is being tried.
    trial: Vec<Vec<Motion>>,
    wanted: Vec<Motion>,
    caps: Vec<f64>,
    reasons: Reasons,
    rollout_ticks: u64,
    work: Work,
}

impl CertifiedFilter {
    pub(crate) fn new(
        limits: Vec<JointLimits>,
        scaling: Scaling,
        period: f64,
        conditions: Vec<Box<dyn Clearance>>,
    ) -> Result<Self, SafetyError> {
        let joints = limits
            .iter()
            .enumerate()
            .map(|(joint, l)| BackupStop::new(joint, l, period))
            .collect::<Result<Vec<_>, _>>()?;
        let n = joints.len();
        if let Some(bad) = conditions.iter().find(|c| c.reach().len() != n) {
            return Err(SafetyError::JointCount { expected: n, found: bad.reach().len() });
        }
        let plans = || joints.iter().map(|j| Vec::with_capacity(j.max_ticks() + 1)).collect::<Vec<_>>();
        let mut filter = Self {
            stored: plans(),
            best: plans(),
            trial: plans(),
            wanted: vec![Motion::default(); n],
            caps: limits.iter().map(|l| l.max_velocity).collect(),
            limits,
            joints,
            scaling,
            scale: 1.0,
            conditions: Vec::new(),
            reasons: Reasons::NONE,
            rollout_ticks: 0,
            work: Work { evaluations: 0, most: MOST_EVALUATIONS },
        };
        filter.put_conditions(conditions);
        for plan in &mut filter.stored {
            plan.push(Motion::default());
        }
        Ok(filter)
    }

    /// Periods in which every stop ends: `N` of the theorem, the largest over the joints.
    #[must_use]
    pub fn max_stop_ticks(&self) -> usize {
        self.joints.iter().map(BackupStop::max_ticks).max().unwrap_or(0)
    }

    /// States that were rolled out, over all joints, in the last call: the work that was done.
    #[must_use]
    pub const fn rollout_ticks(&self) -> u64 {
        self.rollout_ticks
    }

    /// Evaluations of geometric conditions in the last call: at most [`max_evaluations`](Self::max_evaluations).
    #[must_use]
    pub const fn evaluations(&self) -> u64 {
        self.work.evaluations
    }

    /// Evaluations of geometric conditions in a call at most: the bound of the work.
    #[must_use]
    pub const fn max_evaluations(&self) -> u64 {
        self.work.most
    }

    pub(crate) const fn reasons(&self) -> Reasons {
        self.reasons
    }

    pub(crate) fn plans(&self) -> &[Vec<Motion>] {
        &self.stored
    }

    pub(crate) fn now(&self, joint: usize) -> Motion {
        self.stored[joint].first().copied().unwrap_or_default()
    }

    /// What the stored plan does next.
    fn fallback(&self, joint: usize) -> Motion {
        let plan = &self.stored[joint];
        plan.get(1).or_else(|| plan.first()).copied().unwrap_or_default()
    }

    pub(crate) fn set_bounds(&mut self, joint: usize, bounds: Bounds) {
        self.joints[joint].bounds = bounds;
    }

    pub(crate) const fn set_speed_scale(&mut self, scale: f64) {
        self.scale = scale;
    }

    pub(crate) fn take_conditions(&mut self) -> Vec<Box<dyn Clearance>> {
        self.conditions.drain(..).map(|watched| watched.condition).collect()
    }

    pub(crate) fn put_conditions(&mut self, conditions: Vec<Box<dyn Clearance>>) {
        let ticks = self.max_stop_ticks() + 1;
        self.conditions = conditions.into_iter().map(|c| PlanClearance::new(c, ticks)).collect();
    }

    /// Starts from these states, or keeps what was and says why not. The induction's first step: they are certified here.
    pub(crate) fn start(&mut self, states: impl Iterator<Item = Motion>) -> Result<(), SafetyError> {
        for (j, x) in states.enumerate().take(self.joints.len()) {
            let cap = self.limits[j].max_velocity;
            if !self.joints[j].roll(x, cap, &mut self.trial[j]) {
                return Err(SafetyError::CannotStop { joint: j, position: x.position, velocity: x.velocity });
            }
        }
        // Not in a tick: as many evaluations as it takes.
        let mut work = Work { evaluations: 0, most: u64::MAX };
        let mut started = Ok(());
        for (condition, c) in self.conditions.iter_mut().enumerate() {
            let clearance = c.start(&self.trial);
            let clear = clearance >= 0.0;
            if !clear || !c.keeps(&self.trial, &self.trial, Like::Stored(&self.trial), &mut work) {
                started = Err(SafetyError::NotClear { condition, clearance });
                break;
            }
            c.accept();
            c.commit();
        }
        if started.is_err() {
            // What was known was of plans that stay in force, and is lost.
            for c in &mut self.conditions {
                c.forget();
            }
            return started;
        }
        core::mem::swap(&mut self.stored, &mut self.trial);
        self.reasons = Reasons::NONE;
        Ok(())
    }

    /// Whether the trial plans keep all geometric conditions.
    fn trial_is_clear(&mut self, like_stored: bool) -> bool {
        let like = if like_stored { Like::Stored(&self.stored) } else { Like::Best(&self.best) };
        for condition in &mut self.conditions {
            if !condition.keeps(&self.stored, &self.trial, like, &mut self.work) {
                return false;
            }
        }
        self.conditions.iter_mut().for_each(PlanClearance::accept);
        true
    }

    /// Executes the stored plan: bit for bit what was certified.
    pub(crate) fn brake(&mut self, command: &mut [f64]) -> Verdict {
        self.begin();
        self.replay_all();
        self.commit(command);
        self.reasons = Reasons::STOP;
        Verdict::Stopped
    }

    fn begin(&mut self) {
        (self.rollout_ticks, self.work.evaluations) = (0, 0);
        self.conditions.iter_mut().for_each(PlanClearance::begin);
    }

    fn replay(&mut self, joint: usize) {
        let (stored, best) = (&self.stored[joint], &mut self.best[joint]);
        best.clear();
        best.extend_from_slice(if stored.len() > 1 { &stored[1..] } else { stored });
    }

    fn replay_all(&mut self) {
        for joint in 0..self.joints.len() {
            self.replay(joint);
        }
        self.conditions.iter_mut().for_each(PlanClearance::replay);
    }

    fn commit(&mut self, command: &mut [f64]) {
        core::mem::swap(&mut self.stored, &mut self.best);
        self.conditions.iter_mut().for_each(PlanClearance::commit);
        for (w, plan) in command.iter_mut().zip(&self.stored) {
            *w = plan.first().map_or(0.0, |x| x.velocity);
        }
    }

    /// Real-time safe: does not allocate, lock or block.
    pub(crate) fn filter(&mut self, command: &mut [f64]) -> Verdict {
        if command.iter().any(|w| !w.is_finite()) {
            self.brake(command);
            self.reasons = Reasons::NON_FINITE;
            return Verdict::Stopped;
        }
        self.begin();
        self.reasons = Reasons::NONE;
        for (joint, w) in command.iter().enumerate() {
            self.cap(joint);
            self.propose(joint, *w);
            if !self.certified_alone(joint) {
                self.reasons = self.reasons.union(Reasons::POSITION);
                self.bisect_alone(joint);
            }
        }
        if !self.reasons.is_empty() && self.scaling == Scaling::Synchronized && command.len() > 1 {
            self.reasons = self.reasons.union(Reasons::DIRECTION);
            self.synchronize(command);
        }
        self.keep_clear();
        self.commit(command);
        if self.reasons.is_empty() { Verdict::Passed } else { Verdict::Adjusted }
    }

    /// The velocity that candidates of this tick may reach: the scaled limit, or what the stored plan cannot avoid.
    fn cap(&mut self, joint: usize) {
        let limit = self.limits[joint].max_velocity;
        self.caps[joint] = if self.scale < 1.0 {
            let planned = self.stored[joint].iter().map(|x| x.velocity.abs());
            planned.fold(self.scale * limit, f64::max)
        } else {
            limit
        };
    }

    /// Notes the state that a joint should go to next for a desired velocity, as far as comfort, acceleration and jerk allow.
    fn propose(&mut self, joint: usize, desired: f64) {
        let (stop, limits, x) = (&self.joints[joint], &self.limits[joint], self.now(joint));
        let mut reasons = Reasons::NONE;
        let (slowest, fastest) = limits.comfortable(x.position, self.scale);
        let comfortable = into_range(desired, slowest, fastest);
        let w = into_range(comfortable, stop.bounds.min_velocity, stop.bounds.max_velocity);
        if w != desired {
            let fastest = limits.max_velocity;
            reasons = reasons.union(if desired.abs() > fastest {
                Reasons::VELOCITY
            } else if w != comfortable {
                Reasons::RECOVERY
            } else if desired.abs() > self.scale * fastest {
                Reasons::SPEED_SCALE
            } else {
                Reasons::SOFT_LIMIT
            });
        }
        let direct = stop.direct(x, w);
        let speeding = self.scale * self.scale;
        let (up, down) = (
            stop.highest_acceleration(x.velocity, speeding),
            stop.highest_acceleration(-x.velocity, speeding),
        );
        let within = into_range(direct, -down, up);
        let reached = stop.within_jerk(x, within);
        if stop.agrees(reached, direct) {
            self.wanted[joint] = stop.moved(x, w, reached);
        } else {
            let toward = stop.approach(x, w);
            let wanted = stop.within_jerk(x, into_range(toward, -down, up));
            self.wanted[joint] = stop.accelerated(x, wanted);
            reasons = reasons.union(if within == direct { Reasons::JERK } else { Reasons::ACCELERATION });
        }
        self.reasons = self.reasons.union(reasons);
    }

    /// Tries what one joint wants, by itself; a success is its best plan.
    fn certified_alone(&mut self, joint: usize) -> bool {
        let (from, to) = (self.now(joint), self.wanted[joint]);
        self.try_alone(joint, from, to)
    }

    fn try_alone(&mut self, joint: usize, from: Motion, to: Motion) -> bool {
        let plan = &mut self.trial[joint];
        let certified = self.joints[joint].certify(from, to, self.caps[joint], plan);
        self.rollout_ticks += plan.len() as u64;
        if certified {
            core::mem::swap(&mut self.best[joint], plan);
        }
        certified
    }

    /// As near to what the joint wants as can be certified.
    fn bisect_alone(&mut self, joint: usize) {
        let (x, fallback, wanted) = (self.now(joint), self.fallback(joint), self.wanted[joint]);
        self.replay(joint);
        let (mut certified, mut refused) = (0.0_f64, 1.0_f64);
        for _ in 0..BISECTIONS_ALONE {
            let share = f64::midpoint(certified, refused);
            let to = self.joints[joint].accelerated(x, between(fallback, wanted, share));
            if self.try_alone(joint, x, to) {
                certified = share;
            } else {
                refused = share;
            }
        }
    }

    /// Tries the states in `wanted` for all joints; a success is the best plan of all.
    fn try_together(&mut self, with_conditions: bool, target: impl Fn(&Self, usize) -> Motion) -> bool {
        for joint in 0..self.joints.len() {
            let (from, to) = (self.now(joint), target(self, joint));
            let plan = &mut self.trial[joint];
            let certified = self.joints[joint].certify(from, to, self.caps[joint], plan);
            self.rollout_ticks += plan.len() as u64;
            if !certified {
                return false;
            }
        }
        if with_conditions && !self.trial_is_clear(false) {
            return false;
        }
        core::mem::swap(&mut self.best, &mut self.trial);
        true
    }

    /// Goes from the stored plan toward `wanted` with all joints by one share, at most `most`.
    fn bisect_together(&mut self, with_conditions: bool, most: f64) {
        self.replay_all();
        let (mut certified, mut refused) = (0.0_f64, most);
        for _ in 0..BISECTIONS_TOGETHER {
            if with_conditions && self.work.is_spent() {
                return;
            }
            let share = f64::midpoint(certified, refused);
            if self.try_together(with_conditions, |f, j| f.toward_wanted(j, share)) {
                certified = share;
            } else {
                refused = share;
            }
        }
    }

    fn toward_wanted(&self, joint: usize, share: f64) -> Motion {
        let acceleration = between(self.fallback(joint), self.wanted[joint], share);
        self.joints[joint].accelerated(self.now(joint), acceleration)
    }

    /// Slows all joints by one factor, if that keeps the limits; otherwise lets each go the same part of the way from its stored stop
    /// to what is desired.
    fn synchronize(&mut self, desired: &[f64]) {
        let mut factor = 1.0_f64;
        for (w, plan) in desired.iter().zip(&self.best) {
            if *w != 0.0 {
                factor = factor.min(plan.first().map_or(0.0, |x| x.velocity) / w);
            }
        }
        let factor = factor.max(0.0);
        let scaled = |f: &Self, j: usize| {
            let (stop, x, w) = (&f.joints[j], f.now(j), factor * desired[j]);
            match f.best[j].first() {
                // The joint that sets the factor: recomputed from it, its state could be off a limit by rounding.
                Some(best) if (best.velocity - w).abs() <= 1e-12 * w.abs() => *best,
                _ => stop.moved(x, w, stop.direct(x, w)),
            }
        };
        if self.try_together(false, scaled) {
            return;
        }
        let mut share = 1.0_f64;
        for (joint, w) in desired.iter().enumerate() {
            let (stop, x) = (&self.joints[joint], self.now(joint));
            let (direct, from) = (stop.direct(x, *w), self.fallback(joint).acceleration);
            let reached = self.best[joint].first().map_or(from, |x| x.acceleration);
            self.wanted[joint].acceleration = direct;
            if direct != from {
                share = share.min((reached - from) / (direct - from));
            }
        }
        let share = share.max(0.0);
        if !self.try_together(false, |f, j| f.toward_wanted(j, share)) {
            self.bisect_together(false, share);
        }
    }

    /// Gives up as much of the joints' best plans as the geometric conditions demand.
    fn keep_clear(&mut self) {
        if self.conditions.is_empty() {
            return;
        }
        core::mem::swap(&mut self.trial, &mut self.best);
        if self.trial_is_clear(true) {
            core::mem::swap(&mut self.trial, &mut self.best);
            return;
        }
        self.reasons = self.reasons.union(Reasons::GEOMETRY);
        for (wanted, plan) in self.wanted.iter_mut().zip(&self.trial) {
            *wanted = plan.first().copied().unwrap_or_default();
        }
        self.bisect_together(true, 1.0);
    }
}

/// The acceleration a share of the way from one state's to another's.
fn between(from: Motion, to: Motion, share: f64) -> f64 {
    from.acceleration + share * (to.acceleration - from.acceleration)
}
