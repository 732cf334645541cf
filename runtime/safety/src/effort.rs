//! The envelope of a robot that is commanded by torque or force: finite, and within the effort limit.

use alloc::vec::Vec;

use crate::{CommandState, JointLimits, Reasons, SafetyError, SafetyFilter, Verdict};

/// Clamps efforts. Position and velocity limits of such a robot are its own controller's or world's duty.
#[derive(Clone, Debug)]
pub struct EffortLimiter {
    max_effort: Vec<f64>,
    reasons: Reasons,
}

impl EffortLimiter {
    /// A limiter for joints that all state an effort limit.
    ///
    /// # Errors
    /// When a joint has none.
    pub fn new(limits: &[JointLimits]) -> Result<Self, SafetyError> {
        let max_effort = limits
            .iter()
            .map(|l| l.max_effort.ok_or(SafetyError::NotPositive { limit: "max_effort", found: 0.0 }))
            .collect::<Result<_, _>>()?;
        Ok(Self { max_effort, reasons: Reasons::NONE })
    }

    /// The effort limits, N m or N.
    #[must_use]
    pub fn max_effort(&self) -> &[f64] {
        &self.max_effort
    }
}

impl SafetyFilter for EffortLimiter {
    /// Real-time safe: does not allocate, lock or block.
    fn filter(&mut self, _state: CommandState<'_>, command: &mut [f64]) -> Verdict {
        self.reasons = Reasons::NONE;
        if command.iter().any(|effort| !effort.is_finite()) {
            command.fill(0.0);
            self.reasons = Reasons::NON_FINITE;
            return Verdict::Stopped;
        }
        for (effort, max) in command.iter_mut().zip(&self.max_effort) {
            if effort.abs() > *max {
                *effort = effort.min(*max).max(-max);
                self.reasons = Reasons::EFFORT;
            }
        }
        if self.reasons.is_empty() { Verdict::Passed } else { Verdict::Adjusted }
    }

    fn reset(&mut self) {
        self.reasons = Reasons::NONE;
    }

    fn reasons(&self) -> Reasons {
        self.reasons
    }
}
