//! What is refused before a robot moves.

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
    /// The soft position range is not inside the hard one.
    #[error("the soft range [{soft_min}, {soft_max}] must lie inside the hard range [{min}, {max}]")]
    SoftOutsideHard {
        /// Lower end of the soft range, rad or m.
        soft_min: f64,
        /// Upper end of the soft range, rad or m.
        soft_max: f64,
        /// Lower end of the hard range, rad or m.
        min: f64,
        /// Upper end of the hard range, rad or m.
        max: f64,
    },
    /// Slowing down as steeply as `k_position` asks would exceed the deceleration limit, or overshoot within one period.
    #[error(
        "k_position is {found}/s, but the largest that the deceleration limit and the control period can follow is {largest}/s"
    )]
    SoftGain {
        /// What was asked, 1/s.
        found: f64,
        /// The largest usable gain, 1/s: `max_deceleration / max_velocity`, and one per control period.
        largest: f64,
    },
    /// The speed scale is outside `(0, 1]`.
    #[error("the speed scale must be above 0 and at most 1, found {found}")]
    SpeedScale {
        /// What it was.
        found: f64,
    },
    /// The jerk limit is so low that a stop takes longer than the filter is willing to look ahead.
    #[error(
        "joint {joint} may need {ticks:.0} periods to stop, more than the {largest} that are looked ahead: its max_jerk, or its max_deceleration, is too low for its max_velocity"
    )]
    StopTooLong {
        /// Index of the joint.
        joint: usize,
        /// Periods that a stop may take.
        ticks: f64,
        /// Periods that are looked ahead at most.
        largest: usize,
    },
    /// A row has the wrong number of joints.
    #[error("expected {expected} joints, found {found}")]
    JointCount {
        /// Joints in the chain.
        expected: usize,
        /// Joints given.
        found: usize,
    },
    /// A measured value is NaN or infinite.
    #[error("joint {joint}: measured {quantity} is {found}, which is not a finite number")]
    NotFinite {
        /// Index of the joint.
        joint: usize,
        /// `position` or `velocity`.
        quantity: &'static str,
        /// What it was.
        found: f64,
    },
    /// The measured pose is outside the limits: the robot must be brought back before it can be armed.
    #[error(
        "joint {joint} is at {position}, outside its limits [{min}, {max}]: move it inside by hand, with the vendor's tools or in recovery mode before arming"
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
    /// The joint moves so fast, or so near to a limit, that it cannot be stopped inside its limits.
    #[error("joint {joint} at {position} with velocity {velocity} cannot be stopped inside its limits")]
    CannotStop {
        /// Index of the joint.
        joint: usize,
        /// Position, rad or m.
        position: f64,
        /// Velocity, rad/s or m/s.
        velocity: f64,
    },
    /// The pose, or the way to rest from it, violates a geometric condition.
    #[error(
        "geometric condition {condition} is violated at this pose or on the way to rest: the clearance here is {clearance} m"
    )]
    NotClear {
        /// Index of the condition, in the order in which they were added.
        condition: usize,
        /// Clearance at the pose, m; below zero is a collision.
        clearance: f64,
    },
    /// A chain for efforts cannot predict where the robot will be, and so cannot keep clear of anything.
    #[error("a chain for efforts commands no positions: it cannot keep clear of geometry or start in motion")]
    EffortChain,
    /// Limits cannot be exchanged while a joint is being brought back inside the present ones.
    #[error("limits cannot be changed during recovery: bring every joint inside first")]
    InRecovery,
}

pub(crate) fn positive(limit: &'static str, found: f64) -> Result<f64, SafetyError> {
    if found.is_finite() && found > 0.0 { Ok(found) } else { Err(SafetyError::NotPositive { limit, found }) }
}
