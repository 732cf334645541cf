//! The chain between whoever decides and the robot.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use crate::certified::Motion;
use crate::command::Plan;
use crate::error::positive;
use crate::{
    BrakingFilter, CertifiedFilter, Clearance, EffortLimiter, JointLimits, Reasons, SafeCommand, SafetyError,
    Scaling, StopPlan, Verdict,
};

mod arming;

use arming::Mode;

/// The commanded state that a filter judges from.
#[derive(Clone, Copy, Debug)]
pub struct CommandState<'a> {
    /// Last commanded positions, `[joints]`.
    pub position: &'a [f64],
    /// Last commanded velocities, `[joints]`.
    pub velocity: &'a [f64],
    /// Control period, s.
    pub period_secs: f64,
}

/// One link of a chain. Total: for any input it leaves a command and a verdict; it has no error to return.
///
/// Real-time contract: must not allocate, lock or block.
pub trait SafetyFilter: Send {
    /// Changes `command` (`[joints]`; velocities for a motion chain, efforts for an effort chain) where it must.
    fn filter(&mut self, state: CommandState<'_>, command: &mut [f64]) -> Verdict;
    /// Forgets what it remembers: the robot was armed anew.
    fn reset(&mut self);
    /// Why the last command was changed.
    fn reasons(&self) -> Reasons;
}

enum Envelope {
    Motion(BrakingFilter),
    Certified(Box<CertifiedFilter>),
    Effort(EffortLimiter),
}

impl Envelope {
    /// The certified filter where a joint has a jerk limit or there is geometry, the closed form otherwise.
    fn motion(
        limits: Vec<JointLimits>,
        scaling: Scaling,
        period_secs: f64,
        conditions: Vec<Box<dyn Clearance>>,
    ) -> Result<Self, SafetyError> {
        if conditions.is_empty() && limits.iter().all(|l| l.max_jerk.is_none()) {
            return Ok(Self::Motion(BrakingFilter::new(limits, scaling)));
        }
        let filter = CertifiedFilter::new(limits, scaling, period_secs, conditions)?;
        Ok(Self::Certified(Box::new(filter)))
    }

    const fn set_speed_scale(&mut self, scale: f64) {
        match self {
            Self::Motion(f) => f.set_speed_scale(scale),
            Self::Certified(f) => f.set_speed_scale(scale),
            Self::Effort(_) => {}
        }
    }
}

/// Filters in order, and the envelope that has the last word. The only maker of [`SafeCommand`].
pub struct SafetyChain {
    filters: Vec<Box<dyn SafetyFilter>>,
    envelope: Envelope,
    mode: Mode,
    scaling: Scaling,
    speed_scale: f64,
    limits: Vec<JointLimits>,
    position: Vec<f64>,
    velocity: Vec<f64>,
    command: Vec<f64>,
    period_secs: f64,
}

impl SafetyChain {
    /// A chain for a robot that follows position and velocity set-points every `period_secs`.
    ///
    /// Its envelope is the [braking](crate::braking) filter, or the [certified](crate::certified) one where a joint has a jerk limit.
    ///
    /// # Errors
    /// When the period is zero, negative or not finite, or limits cannot be kept at this period.
    pub fn motion(limits: Vec<JointLimits>, scaling: Scaling, period_secs: f64) -> Result<Self, SafetyError> {
        let period_secs = check_motion(&limits, period_secs)?;
        let envelope = Envelope::motion(limits.clone(), scaling, period_secs, Vec::new())?;
        Ok(Self::new(envelope, limits, scaling, period_secs))
    }

    /// A chain for a robot that takes torques or forces.
    ///
    /// # Errors
    /// When the period is not positive or a joint states no effort limit.
    pub fn effort(limits: Vec<JointLimits>, period_secs: f64) -> Result<Self, SafetyError> {
        let period_secs = positive("period_secs", period_secs)?;
        let envelope = Envelope::Effort(EffortLimiter::new(&limits)?);
        Ok(Self::new(envelope, limits, Scaling::PerJoint, period_secs))
    }

    fn new(envelope: Envelope, limits: Vec<JointLimits>, scaling: Scaling, period_secs: f64) -> Self {
        let n = limits.len();
        Self {
            filters: Vec::new(),
            envelope,
            mode: Mode::Normal,
            scaling,
            speed_scale: 1.0,
            position: vec![0.0; n],
            velocity: vec![0.0; n],
            command: vec![0.0; n],
            limits,
            period_secs,
        }
    }

    /// Adds a filter ahead of the envelope. Whatever it does, the envelope still holds.
    #[must_use]
    pub fn with_filter(mut self, filter: Box<dyn SafetyFilter>) -> Self {
        self.filters.push(filter);
        self
    }

    /// Adds a geometric condition; the envelope becomes the [certified](crate::certified) one. Before the chain is armed.
    ///
    /// # Errors
    /// For a chain of efforts, and when the condition is for another number of joints.
    pub fn with_clearance(mut self, condition: Box<dyn Clearance>) -> Result<Self, SafetyError> {
        let mut conditions = match &mut self.envelope {
            Envelope::Effort(_) => return Err(SafetyError::EffortChain),
            Envelope::Motion(_) => Vec::new(),
            Envelope::Certified(f) => f.take_conditions(),
        };
        conditions.push(condition);
        self.envelope = Envelope::motion(self.limits.clone(), self.scaling, self.period_secs, conditions)?;
        self.envelope.set_speed_scale(self.speed_scale);
        Ok(self)
    }

    /// Scales the velocity limits by `scale` and the acceleration (not the braking) limits by its square, from the next command
    /// on. Where the robot is faster, it brakes to the new velocity within its limits. Does nothing in a chain of efforts.
    ///
    /// Real-time safe.
    ///
    /// # Errors
    /// When it is not in `(0, 1]`; the scale stays what it was.
    pub fn set_speed_scale(&mut self, scale: f64) -> Result<(), SafetyError> {
        if !(scale > 0.0 && scale <= 1.0) {
            return Err(SafetyError::SpeedScale { found: scale });
        }
        self.speed_scale = scale;
        self.envelope.set_speed_scale(scale);
        Ok(())
    }

    /// The speed scale in force.
    #[must_use]
    pub const fn speed_scale(&self) -> f64 {
        self.speed_scale
    }

    /// Turns what is desired into what may be executed. Total: any input, of any length, gives a safe command; missing joints
    /// count as NaN and so brake.
    ///
    /// `desired` is `[joints]`, rad/s or m/s for a motion chain, N m or N for an effort chain.
    ///
    /// Real-time safe: does not allocate, lock or block.
    pub fn admit(&mut self, desired: &[f64]) -> SafeCommand<'_> {
        if matches!(self.mode, Mode::Stopping) {
            return self.brake();
        }
        for (joint, command) in self.command.iter_mut().enumerate() {
            *command = desired.get(joint).copied().unwrap_or(f64::NAN);
        }
        let state = CommandState {
            position: &self.position,
            velocity: &self.velocity,
            period_secs: self.period_secs,
        };
        let (mut verdict, mut reasons) = (Verdict::Passed, Reasons::NONE);
        for filter in &mut self.filters {
            let v = filter.filter(state, &mut self.command);
            if v > Verdict::Passed {
                reasons = reasons.union(Reasons::FILTER).union(filter.reasons());
            }
            verdict = verdict.max(v);
        }
        let (v, r) = match &mut self.envelope {
            Envelope::Motion(f) => (f.filter(state, &mut self.command), f.reasons()),
            Envelope::Certified(f) => (f.filter(&mut self.command), f.reasons()),
            Envelope::Effort(f) => (f.filter(state, &mut self.command), f.reasons()),
        };
        self.executed(verdict.max(v), reasons.union(r))
    }

    /// Executes the stop plan: every joint brakes as fast as its limits allow. A chain of efforts commands none.
    ///
    /// Real-time safe: does not allocate, lock or block.
    pub fn brake(&mut self) -> SafeCommand<'_> {
        let state = CommandState {
            position: &self.position,
            velocity: &self.velocity,
            period_secs: self.period_secs,
        };
        let verdict = match &mut self.envelope {
            Envelope::Motion(f) => f.brake(state, &mut self.command),
            Envelope::Certified(f) => f.brake(&mut self.command),
            Envelope::Effort(_) => {
                self.command.fill(0.0);
                Verdict::Stopped
            }
        };
        self.executed(verdict, Reasons::STOP)
    }

    /// Takes over what the envelope left in `command`.
    fn executed(&mut self, verdict: Verdict, reasons: Reasons) -> SafeCommand<'_> {
        match &self.envelope {
            Envelope::Effort(_) => {}
            Envelope::Motion(_) => {
                for (position, w) in self.position.iter_mut().zip(&self.command) {
                    *position += w * self.period_secs;
                }
                self.velocity.copy_from_slice(&self.command);
            }
            Envelope::Certified(f) => {
                for (joint, position) in self.position.iter_mut().enumerate() {
                    *position = f.now(joint).position;
                }
                self.velocity.copy_from_slice(&self.command);
            }
        }
        self.follow_mode();
        let (position, velocity) = (self.position.as_slice(), self.velocity.as_slice());
        let plan = match &self.envelope {
            Envelope::Effort(_) => Plan::None,
            Envelope::Motion(_) => {
                Plan::Braking { position, velocity, limits: &self.limits, period_secs: self.period_secs }
            }
            Envelope::Certified(f) => Plan::Stored(f.plans()),
        };
        let (position, velocity, effort): (&[f64], &[f64], &[f64]) = match &self.envelope {
            Envelope::Effort(_) => (&[], &[], &self.command),
            _ => (position, velocity, &[]),
        };
        SafeCommand { position, velocity, effort, plan: StopPlan(plan), verdict, reasons }
    }

    /// Exchanges limits and control period between two commands. Not real-time safe: it allocates.
    ///
    /// # Errors
    /// When they are unusable, for another number of joints, or when the present motion cannot be stopped inside the new limits;
    /// then the old ones stay in force.
    pub fn set_limits(&mut self, limits: Vec<JointLimits>, period_secs: f64) -> Result<(), SafetyError> {
        if self.is_recovering() {
            return Err(SafetyError::InRecovery);
        }
        if limits.len() != self.limits.len() {
            return Err(SafetyError::JointCount { expected: self.limits.len(), found: limits.len() });
        }
        if matches!(self.envelope, Envelope::Effort(_)) {
            let period_secs = positive("period_secs", period_secs)?;
            self.envelope = Envelope::Effort(EffortLimiter::new(&limits)?);
            self.period_secs = period_secs;
            self.limits = limits;
            return Ok(());
        }
        let period_secs = check_motion(&limits, period_secs)?;
        let conditions = match &mut self.envelope {
            Envelope::Certified(f) => f.take_conditions(),
            _ => Vec::new(),
        };
        // A filter without conditions first: they must not be lost to an error.
        let jerk = limits.iter().any(|l| l.max_jerk.is_some());
        if conditions.is_empty() && !jerk {
            let filter = BrakingFilter::new(limits.clone(), self.scaling);
            check_can_stop(&filter, &self.position, &self.velocity, period_secs)?;
            self.envelope = Envelope::Motion(filter);
        } else {
            let replaced = self.certified_from_here(&limits, period_secs, conditions)?;
            self.envelope = Envelope::Certified(Box::new(replaced));
        }
        self.envelope.set_speed_scale(self.speed_scale);
        self.limits = limits;
        self.period_secs = period_secs;
        Ok(())
    }

    fn certified_from_here(
        &mut self,
        limits: &[JointLimits],
        period_secs: f64,
        conditions: Vec<Box<dyn Clearance>>,
    ) -> Result<CertifiedFilter, SafetyError> {
        let mut replaced = match CertifiedFilter::new(limits.to_vec(), self.scaling, period_secs, Vec::new())
        {
            Ok(filter) => filter,
            Err(e) => {
                self.put_conditions(conditions);
                return Err(e);
            }
        };
        replaced.put_conditions(conditions);
        let now = |joint: usize| match &self.envelope {
            Envelope::Certified(f) => f.now(joint),
            _ => Motion { position: self.position[joint], velocity: self.velocity[joint], acceleration: 0.0 },
        };
        if let Err(e) = replaced.start((0..limits.len()).map(now)) {
            self.put_conditions(replaced.take_conditions());
            return Err(e);
        }
        Ok(replaced)
    }

    fn put_conditions(&mut self, conditions: Vec<Box<dyn Clearance>>) {
        if let Envelope::Certified(f) = &mut self.envelope {
            f.put_conditions(conditions);
        }
    }

    /// The commanded state: where the robot was last told to be.
    #[must_use]
    pub fn state(&self) -> CommandState<'_> {
        CommandState { position: &self.position, velocity: &self.velocity, period_secs: self.period_secs }
    }

    /// The limits, one per joint.
    #[must_use]
    pub fn limits(&self) -> &[JointLimits] {
        &self.limits
    }

    /// The certified envelope, where the chain has one: for its figures.
    #[must_use]
    pub fn certified(&self) -> Option<&CertifiedFilter> {
        match &self.envelope {
            Envelope::Certified(f) => Some(f),
            _ => None,
        }
    }
}

fn check_motion(limits: &[JointLimits], period_secs: f64) -> Result<f64, SafetyError> {
    let period_secs = positive("period_secs", period_secs)?;
    limits.iter().try_for_each(|l| l.check_soft_gain(period_secs))?;
    Ok(period_secs)
}

fn check_can_stop(
    filter: &BrakingFilter,
    position: &[f64],
    velocity: &[f64],
    period_secs: f64,
) -> Result<(), SafetyError> {
    for (joint, (position, velocity)) in position.iter().zip(velocity).enumerate() {
        if !filter.can_stop(joint, *position, *velocity, period_secs) {
            return Err(SafetyError::CannotStop { joint, position: *position, velocity: *velocity });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
