//! The chain between whoever decides and the robot.

use crate::braking::check_period;
use crate::{BrakingFilter, EffortLimiter, JointLimits, Reasons, SafeCommand, SafetyError, Scaling, Verdict};

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
    Effort(EffortLimiter),
}

/// Filters in order, and the envelope that has the last word. The only maker of [`SafeCommand`].
pub struct SafetyChain {
    filters: Vec<Box<dyn SafetyFilter>>,
    envelope: Envelope,
    limits: Vec<JointLimits>,
    position: Vec<f64>,
    velocity: Vec<f64>,
    command: Vec<f64>,
    period_secs: f64,
}

impl SafetyChain {
    /// A chain for a robot that follows position and velocity set-points every `period_secs`.
    ///
    /// # Errors
    /// When the period is zero, negative or not finite.
    pub fn motion(limits: Vec<JointLimits>, scaling: Scaling, period_secs: f64) -> Result<Self, SafetyError> {
        let envelope = Envelope::Motion(BrakingFilter::new(limits.clone(), scaling));
        Self::new(envelope, limits, period_secs)
    }

    /// A chain for a robot that takes torques or forces.
    ///
    /// # Errors
    /// When the period is not positive or a joint states no effort limit.
    pub fn effort(limits: Vec<JointLimits>, period_secs: f64) -> Result<Self, SafetyError> {
        let envelope = Envelope::Effort(EffortLimiter::new(&limits)?);
        Self::new(envelope, limits, period_secs)
    }

    fn new(envelope: Envelope, limits: Vec<JointLimits>, period_secs: f64) -> Result<Self, SafetyError> {
        let period_secs = check_period(period_secs)?;
        let n = limits.len();
        Ok(Self {
            filters: Vec::new(),
            envelope,
            position: vec![0.0; n],
            velocity: vec![0.0; n],
            command: vec![0.0; n],
            limits,
            period_secs,
        })
    }

    /// Adds a filter ahead of the envelope. Whatever it does, the envelope still holds.
    #[must_use]
    pub fn with_filter(mut self, filter: Box<dyn SafetyFilter>) -> Self {
        self.filters.push(filter);
        self
    }

    /// Starts commanding from a measured pose at rest.
    ///
    /// # Errors
    /// When the pose is not finite, outside the limits, or of another number of joints.
    pub fn arm(&mut self, measured_position: &[f64]) -> Result<(), SafetyError> {
        if measured_position.len() != self.limits.len() {
            return Err(SafetyError::JointCount {
                expected: self.limits.len(),
                found: measured_position.len(),
            });
        }
        for (joint, (position, l)) in measured_position.iter().zip(&self.limits).enumerate() {
            if !(*position >= l.min_position && *position <= l.max_position) {
                return Err(SafetyError::OutsideLimits {
                    joint,
                    position: *position,
                    min: l.min_position,
                    max: l.max_position,
                });
            }
        }
        self.position.copy_from_slice(measured_position);
        self.velocity.fill(0.0);
        for filter in &mut self.filters {
            filter.reset();
        }
        match &mut self.envelope {
            Envelope::Motion(f) => f.reset(),
            Envelope::Effort(f) => f.reset(),
        }
        Ok(())
    }

    /// Turns what is desired into what may be executed. Total: any input, of any length, gives a safe command; missing joints
    /// count as NaN and so brake.
    ///
    /// `desired` is `[joints]`, rad/s or m/s for a motion chain, N m or N for an effort chain.
    ///
    /// Real-time safe: does not allocate, lock or block.
    pub fn admit(&mut self, desired: &[f64]) -> SafeCommand<'_> {
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
        match &mut self.envelope {
            Envelope::Motion(filter) => {
                verdict = verdict.max(filter.filter(state, &mut self.command));
                reasons = reasons.union(filter.reasons());
                for joint in 0..self.command.len() {
                    self.velocity[joint] = self.command[joint];
                    self.position[joint] += self.command[joint] * self.period_secs;
                }
                SafeCommand {
                    position: &self.position,
                    velocity: &self.velocity,
                    effort: &[],
                    limits: &self.limits,
                    period_secs: self.period_secs,
                    verdict,
                    reasons,
                }
            }
            Envelope::Effort(filter) => {
                verdict = verdict.max(filter.filter(state, &mut self.command));
                reasons = reasons.union(filter.reasons());
                SafeCommand {
                    position: &[],
                    velocity: &[],
                    effort: &self.command,
                    limits: &self.limits,
                    period_secs: self.period_secs,
                    verdict,
                    reasons,
                }
            }
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
}
