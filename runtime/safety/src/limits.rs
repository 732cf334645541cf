//! The limits of one joint, validated once.

use crate::SafetyError;
use crate::error::positive;

/// A comfort layer inside the hard position limits, after `ros2_control`'s `SoftJointLimits`: the velocity is kept within
/// `-k_position * (q - max_position)` and `-k_position * (q - min_position)`, so that a joint slows down gently toward the
/// end of its soft range. Beyond that range outward motion stops; unlike in `ros2_control` the joint is not driven
/// back by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoftJointLimits {
    /// Lower end of the soft range, rad or m.
    pub min_position: f64,
    /// Upper end of the soft range, rad or m.
    pub max_position: f64,
    /// How steeply the allowed velocity grows with the distance from an end, 1/s.
    pub k_position: f64,
}

/// Limits of one joint, in SI units (rad or m). Names follow `ros2_control`'s `JointLimits`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JointLimits {
    pub(crate) min_position: f64,
    pub(crate) max_position: f64,
    pub(crate) max_velocity: f64,
    pub(crate) max_acceleration: f64,
    pub(crate) max_deceleration: f64,
    pub(crate) max_jerk: Option<f64>,
    pub(crate) max_effort: Option<f64>,
    pub(crate) soft: Option<SoftJointLimits>,
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
            max_jerk: None,
            max_effort: None,
            soft: None,
        })
    }

    /// A braking limit that differs from the acceleration limit, rad/s^2 or m/s^2.
    ///
    /// # Errors
    /// When it is zero, negative or not finite, or too low for soft limits that were given before.
    pub fn with_max_deceleration(mut self, max_deceleration: f64) -> Result<Self, SafetyError> {
        self.max_deceleration = positive("max_deceleration", max_deceleration)?;
        match self.soft {
            Some(soft) => self.with_soft_limits(soft),
            None => Ok(self),
        }
    }

    /// A limit of jerk, rad/s^3 or m/s^3. With one, a motion chain uses the [certified](crate::certified) filter.
    ///
    /// # Errors
    /// When it is zero, negative or not finite.
    pub fn with_max_jerk(mut self, max_jerk: f64) -> Result<Self, SafetyError> {
        self.max_jerk = Some(positive("max_jerk", max_jerk)?);
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

    /// A comfort layer inside the position limits.
    ///
    /// # Errors
    /// When its range is empty or not inside the hard one, or `k_position` is not positive or above
    /// `max_deceleration / max_velocity`: along `v = k d` the deceleration is `k v`, which must stay within the limit.
    pub fn with_soft_limits(mut self, soft: SoftJointLimits) -> Result<Self, SafetyError> {
        let SoftJointLimits { min_position, max_position, k_position } = soft;
        if !(min_position.is_finite() && max_position.is_finite() && min_position < max_position) {
            return Err(SafetyError::EmptyRange { min: min_position, max: max_position });
        }
        if min_position < self.min_position || max_position > self.max_position {
            return Err(SafetyError::SoftOutsideHard {
                soft_min: min_position,
                soft_max: max_position,
                min: self.min_position,
                max: self.max_position,
            });
        }
        let found = positive("k_position", k_position)?;
        let largest = self.max_deceleration / self.max_velocity;
        if found > largest {
            return Err(SafetyError::SoftGain { found, largest });
        }
        self.soft = Some(soft);
        Ok(self)
    }

    /// Whether a soft limit, where there is one, can be followed at this control period.
    pub(crate) fn check_soft_gain(&self, period_secs: f64) -> Result<(), SafetyError> {
        match self.soft {
            Some(soft) if soft.k_position * period_secs > 1.0 => {
                Err(SafetyError::SoftGain { found: soft.k_position, largest: 1.0 / period_secs })
            }
            _ => Ok(()),
        }
    }

    /// The velocities that comfort allows at a position: the soft limits, and the velocity limit times a speed scale. Both
    /// hold zero, so that this layer never moves a joint by itself.
    pub(crate) fn comfortable(&self, position: f64, scale: f64) -> (f64, f64) {
        let fastest = scale * self.max_velocity;
        match self.soft {
            None => (-fastest, fastest),
            Some(soft) => (
                (-soft.k_position * (position - soft.min_position)).min(0.0).max(-fastest),
                (-soft.k_position * (position - soft.max_position)).max(0.0).min(fastest),
            ),
        }
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
    /// Jerk limit, rad/s^3 or m/s^3, where there is one.
    #[must_use]
    pub const fn max_jerk(&self) -> Option<f64> {
        self.max_jerk
    }
    /// Effort limit, N m or N, where one is known.
    #[must_use]
    pub const fn max_effort(&self) -> Option<f64> {
        self.max_effort
    }
    /// The comfort layer, where there is one.
    #[must_use]
    pub const fn soft_limits(&self) -> Option<SoftJointLimits> {
        self.soft
    }
}

/// The range that holds for one joint now: its limits, or narrower ones while it is brought back from outside them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bounds {
    pub min_position: f64,
    pub max_position: f64,
    pub min_velocity: f64,
    pub max_velocity: f64,
}

impl Bounds {
    pub const fn of(limits: &JointLimits) -> Self {
        Self {
            min_position: limits.min_position,
            max_position: limits.max_position,
            min_velocity: -limits.max_velocity,
            max_velocity: limits.max_velocity,
        }
    }

    /// Bounds for a joint found at `position`: slow, and only inward where it is outside. Since such a joint never moves
    /// outward, a plan that keeps these bounds keeps the joint's own limits from the moment on when it is inside.
    pub const fn recovering(limits: &JointLimits, position: f64, speed: f64) -> Self {
        let mut bounds = Self::of(limits);
        let speed = speed.min(limits.max_velocity);
        bounds.min_velocity = -speed;
        bounds.max_velocity = speed;
        if position > limits.max_position {
            bounds.max_position = position;
            bounds.max_velocity = 0.0;
        } else if position < limits.min_position {
            bounds.min_position = position;
            bounds.min_velocity = 0.0;
        }
        bounds
    }
}
