//! The limits of one joint, validated once.

use thiserror::Error;

/// What makes limits, or an attempt to arm, unacceptable.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum SafetyError {
    /// A limit that must be positive is not.
    #[error("{limit} must be finite and greater than zero, found {found}")]
    NotPositive {
        /// The limit's name, as in `ros2_control`.
        limit: &'static str,
        /// What it was.
        found: f64,
    },
    /// The position range is empty or not a number.
    #[error("min_position must be below max_position and both finite, found [{min}, {max}]")]
    EmptyRange {
        /// Lower end, rad or m.
        min: f64,
        /// Upper end, rad or m.
        max: f64,
    },
    /// A row has the wrong number of joints.
    #[error("expected {expected} joints, found {found}")]
    JointCount {
        /// Joints in the chain.
        expected: usize,
        /// Joints given.
        found: usize,
    },
    /// The measured pose is outside the limits: the robot must be brought back before it can be armed.
    #[error(
        "joint {joint} is at {position}, outside its limits [{min}, {max}]: move it inside by hand or with the vendor's tools before arming"
    )]
    OutsideLimits {
        /// Index of the joint.
        joint: usize,
        /// Measured position, rad or m.
        position: f64,
        /// Lower limit.
        min: f64,
        /// Upper limit.
        max: f64,
    },
}

/// Limits of one joint, in SI units (rad or m). Names follow `ros2_control`'s `JointLimits`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JointLimits {
    pub(crate) min_position: f64,
    pub(crate) max_position: f64,
    pub(crate) max_velocity: f64,
    pub(crate) max_acceleration: f64,
    pub(crate) max_deceleration: f64,
    pub(crate) max_effort: Option<f64>,
}

pub(crate) fn positive(limit: &'static str, found: f64) -> Result<f64, SafetyError> {
    if found.is_finite() && found > 0.0 { Ok(found) } else { Err(SafetyError::NotPositive { limit, found }) }
}

impl JointLimits {
    /// Limits with equal acceleration and deceleration.
    ///
    /// # Errors
    /// When the range is empty, or a limit is zero, negative or not finite.
    pub fn new(
        min_position: f64,
        max_position: f64,
        max_velocity: f64,
        max_acceleration: f64,
    ) -> Result<Self, SafetyError> {
        if !(min_position.is_finite() && max_position.is_finite() && min_position < max_position) {
            return Err(SafetyError::EmptyRange { min: min_position, max: max_position });
        }
        let max_acceleration = positive("max_acceleration", max_acceleration)?;
        Ok(Self {
            min_position,
            max_position,
            max_velocity: positive("max_velocity", max_velocity)?,
            max_acceleration,
            max_deceleration: max_acceleration,
            max_effort: None,
        })
    }

    /// A braking limit that differs from the acceleration limit, rad/s^2 or m/s^2.
    ///
    /// # Errors
    /// When it is zero, negative or not finite.
    pub fn with_max_deceleration(mut self, max_deceleration: f64) -> Result<Self, SafetyError> {
        self.max_deceleration = positive("max_deceleration", max_deceleration)?;
        Ok(self)
    }

    /// A limit of torque (N m) or force (N).
    ///
    /// # Errors
    /// When it is zero, negative or not finite.
    pub fn with_max_effort(mut self, max_effort: f64) -> Result<Self, SafetyError> {
        self.max_effort = Some(positive("max_effort", max_effort)?);
        Ok(self)
    }

    /// Lower position limit, rad or m.
    #[must_use]
    pub const fn min_position(&self) -> f64 {
        self.min_position
    }
    /// Upper position limit, rad or m.
    #[must_use]
    pub const fn max_position(&self) -> f64 {
        self.max_position
    }
    /// Velocity limit, rad/s or m/s.
    #[must_use]
    pub const fn max_velocity(&self) -> f64 {
        self.max_velocity
    }
    /// Acceleration limit (speeding up), rad/s^2 or m/s^2.
    #[must_use]
    pub const fn max_acceleration(&self) -> f64 {
        self.max_acceleration
    }
    /// Deceleration limit (braking), rad/s^2 or m/s^2.
    #[must_use]
    pub const fn max_deceleration(&self) -> f64 {
        self.max_deceleration
    }
    /// Effort limit, N m or N, where one is known.
    #[must_use]
    pub const fn max_effort(&self) -> Option<f64> {
        self.max_effort
    }
}
