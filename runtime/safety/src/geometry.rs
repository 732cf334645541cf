//! Geometric conditions of a robot whose links are capsules: workspace, keep-out zones, self-collision.
//!
//! [`KinematicTree`] says how the links move, [`CollisionModel`] what they are made of and what they must keep clear of; it is a
//! [`Clearance`] for [`SafetyChain::with_clearance`](crate::SafetyChain::with_clearance). One forward-kinematics pass per
//! evaluation serves all conditions. Distances are closed forms in `f64` (segment to segment, segment to box, segment to point), so
//! there is no iteration that could stop early; [`ROUNDING_MARGIN`] is taken off every clearance for rounding.
//!
//! ```
//! use surefoot_safety::geometry::{Capsule, CollisionModel, Cuboid, Joint, KinematicTree, Pose, Zone};
//! use surefoot_safety::{JointLimits, SafetyChain, Scaling};
//!
//! // A planar arm of two links of half a metre.
//! let tree = KinematicTree::new(vec![
//!     Joint::revolute(None, Pose::IDENTITY, [0.0, 0.0, 1.0])?,
//!     Joint::revolute(Some(0), Pose::at([0.5, 0.0, 0.0]), [0.0, 0.0, 1.0])?,
//! ])?;
//! let limits = vec![JointLimits::new(-3.0, 3.0, 2.0, 5.0)?.with_max_jerk(100.0)?; 2];
//! let link = |joint| Capsule::new(joint, [0.0; 3], [0.5, 0.0, 0.0], 0.05);
//! let post = Cuboid::new(Pose::at([0.0, 0.8, 0.0]), [0.2, 0.2, 0.2])?;
//! let model = CollisionModel::new(tree, &limits)?
//!     .with_capsule(link(0)?)?
//!     .with_capsule(link(1)?)?
//!     .with_keep_out(Zone::Box(post), [0, 1])?;
//! let mut chain = SafetyChain::motion(limits, Scaling::PerJoint, 0.01)?.with_clearance(Box::new(model))?;
//! chain.arm(&[0.0, 0.0])?;
//! for _ in 0..500 {
//!     chain.admit(&[2.0, 0.0]); // straight at the box
//! }
//! assert!(chain.state().position[0] < 1.2 && chain.state().velocity[0] < 1e-3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod distance;
mod kinematics;
mod model;
mod pose;

#[cfg(test)]
mod tests;

pub use kinematics::{Joint, JointKind, KinematicTree};
pub use model::{Capsule, CollisionModel, Contact, Cuboid, Zone};
pub use pose::Pose;

#[cfg(doc)]
use crate::Clearance;

/// Taken off every clearance, m: rounding of forward kinematics in `f64` is below a thousandth of it for robots of up to 100 m.
pub const ROUNDING_MARGIN: f64 = 1e-9;

/// What makes a model of a robot's geometry unusable.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// A joint's axis is zero or not finite.
    #[error("an axis must have a direction, found {found:?}")]
    Axis {
        /// What it was.
        found: [f64; 3],
    },
    /// A joint names a parent that does not come before it.
    #[error("joint {joint} names joint {parent} as its parent: parents must come first")]
    Parent {
        /// Index of the joint.
        joint: usize,
        /// The parent it names.
        parent: usize,
    },
    /// The number of joints differs from the number of limits.
    #[error("the tree has {expected} joints, but there are limits for {found}")]
    JointCount {
        /// Joints of the tree.
        expected: usize,
        /// Limits given.
        found: usize,
    },
    /// A length is not finite or too small.
    #[error("{what} must be finite and {least}, found {found} m")]
    Length {
        /// Which length.
        what: &'static str,
        /// `at least 0`, `above 0` or `a number`.
        least: &'static str,
        /// What it was.
        found: f64,
    },
    /// Something refers to a link or capsule that does not exist.
    #[error("there is no {what} {index}: there are {count}")]
    Missing {
        /// `joint` or `capsule`.
        what: &'static str,
        /// The index used.
        index: usize,
        /// How many exist.
        count: usize,
    },
}
