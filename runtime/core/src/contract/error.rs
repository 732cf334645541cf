//! What makes a robot contract unusable.

use std::path::PathBuf;

use surefoot_safety::SafetyError;
use surefoot_safety::geometry::GeometryError;

use super::MAX_DELAY_TICKS;

/// Why a contract cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContractError {
    /// The file cannot be read.
    #[error("cannot read robot contract {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Not the TOML that was expected.
    #[error("robot contract {}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, column and expectation.
        source: Box<toml::de::Error>,
    },
    /// A joint's limits are unusable.
    #[error("joint {joint}: {source}")]
    Limits {
        /// Name of the joint.
        joint: String,
        /// Which limit, and what it was.
        source: SafetyError,
    },
    /// A rate is zero, negative, not finite, or not a divisor.
    #[error("rates: policy_hz {policy_hz} must be positive and divide control_hz {control_hz}")]
    Rates {
        /// Ticks of the control loop per second.
        control_hz: f64,
        /// Actions per second.
        policy_hz: f64,
    },
    /// A delay that no robot could be driven with.
    #[error("action_delay_ticks {found}: expected at most {MAX_DELAY_TICKS}")]
    Delay {
        /// What was given.
        found: usize,
    },
    /// The geometry is unusable.
    #[error("{at}: {source}")]
    Geometry {
        /// Where in the file, as `geometry.capsules hand`.
        at: String,
        /// What is wrong there.
        source: GeometryProblem,
    },
}

/// What makes the geometry of a contract unusable.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryProblem {
    /// A name that nothing has.
    #[error("there is no {what} {name}; there are {known}")]
    Unknown {
        /// `joint` or `capsule`.
        what: &'static str,
        /// The name.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// A name that two things have.
    #[error("the name is used twice")]
    Repeated,
    /// A joint of the contract that has no place.
    #[error("joint {joint} is missing: every joint of the contract needs its place")]
    Unplaced {
        /// Name of the joint.
        joint: String,
    },
    /// A joint whose unit does not tell whether it turns or slides.
    #[error("a joint with geometry is in rad (it turns) or m (it slides), found {unit:?}")]
    Unit {
        /// Its unit.
        unit: String,
    },
    /// A joint that comes before its parent.
    #[error("its parent {parent} comes after it in the order of the joints")]
    Order {
        /// Name of the parent.
        parent: String,
    },
    /// A capsule that is to be kept apart from itself, or from one of the same link.
    #[error("{one} and {other} are fixed to each other: they cannot be kept apart")]
    SameLink {
        /// One capsule.
        one: String,
        /// The other.
        other: String,
    },
    /// A number or a shape.
    #[error(transparent)]
    Shape(#[from] GeometryError),
    /// A pose that is said to be clear has the wrong number of joints.
    #[error("expected {expected} joint positions, found {found}")]
    PoseLength {
        /// Joints of the contract.
        expected: usize,
        /// Positions given.
        found: usize,
    },
    /// A pose that is said to be clear is not.
    #[error("not clear: {contact}, clearance {clearance:.4} m")]
    NotClear {
        /// What is nearest or touches, as `hand and keep-out zone table`.
        contact: String,
        /// Below zero, m.
        clearance: f64,
    },
    /// A pose that is said to be clear is no pose, or outside the joints' limits.
    #[error("joint {joint} is at {found}, outside its limits")]
    PoseOutsideLimits {
        /// Name of the joint.
        joint: String,
        /// Where it would be, rad or m.
        found: f64,
    },
    /// A robot that takes efforts.
    #[error(
        "a robot that takes efforts cannot be kept clear of anything: geometry needs command = \"motion\""
    )]
    Effort,
}
