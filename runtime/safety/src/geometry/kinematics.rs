//! Forward kinematics of a tree of joints: one arm, or several on one base.

use nalgebra::{Isometry3, Translation3, Unit, UnitQuaternion, Vector3};

use super::GeometryError;
use crate::JointLimits;

/// How a joint moves its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JointKind {
    /// Turns about its axis.
    Revolute,
    /// Slides along its axis.
    Prismatic,
}

/// A joint and the link that it carries; the link has the joint's index.
#[derive(Clone, Debug, PartialEq)]
pub struct Joint {
    parent: Option<usize>,
    origin: Isometry3<f64>,
    axis: Unit<Vector3<f64>>,
    kind: JointKind,
}

impl Joint {
    /// A joint that turns about `axis`. `origin` is its pose in the parent link's frame (in the base's for `None`), as in a URDF.
    ///
    /// # Errors
    /// When the axis has no direction.
    pub fn revolute(
        parent: Option<usize>,
        origin: Isometry3<f64>,
        axis: Vector3<f64>,
    ) -> Result<Self, GeometryError> {
        Self::new(parent, origin, axis, JointKind::Revolute)
    }

    /// A joint that slides along `axis`.
    ///
    /// # Errors
    /// When the axis has no direction.
    pub fn prismatic(
        parent: Option<usize>,
        origin: Isometry3<f64>,
        axis: Vector3<f64>,
    ) -> Result<Self, GeometryError> {
        Self::new(parent, origin, axis, JointKind::Prismatic)
    }

    fn new(
        parent: Option<usize>,
        origin: Isometry3<f64>,
        axis: Vector3<f64>,
        kind: JointKind,
    ) -> Result<Self, GeometryError> {
        let axis = Unit::try_new(axis, 1e-9)
            .filter(|axis| axis.iter().all(|x| x.is_finite()))
            .ok_or(GeometryError::Axis { found: axis.into() })?;
        Ok(Self { parent, origin, axis, kind })
    }
}

/// The joints of a robot, in the order of its commands, each after its parent.
#[derive(Clone, Debug, PartialEq)]
pub struct KinematicTree {
    joints: Vec<Joint>,
}

impl KinematicTree {
    /// A tree of these joints.
    ///
    /// # Errors
    /// When a joint comes before its parent.
    pub fn new(joints: Vec<Joint>) -> Result<Self, GeometryError> {
        for (joint, j) in joints.iter().enumerate() {
            if let Some(parent) = j.parent.filter(|parent| *parent >= joint) {
                return Err(GeometryError::Parent { joint, parent });
            }
        }
        Ok(Self { joints })
    }

    /// Number of joints, and of links.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.joints.len()
    }

    /// Whether there is no joint.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.joints.is_empty()
    }

    /// The links' poses in the base's frame at a position (`[joints]`, rad or m), into `poses` (`[joints]`).
    ///
    /// Real-time safe.
    pub fn forward(&self, position: &[f64], poses: &mut [Isometry3<f64>]) {
        for (i, (joint, q)) in self.joints.iter().zip(position).enumerate() {
            let moved = match joint.kind {
                JointKind::Revolute => joint.origin * UnitQuaternion::from_axis_angle(&joint.axis, *q),
                JointKind::Prismatic => joint.origin * Translation3::from(joint.axis.into_inner() * *q),
            };
            poses[i] = match joint.parent {
                Some(parent) => poses[parent] * moved,
                None => moved,
            };
        }
    }

    /// The way from a link up to the base: the link itself first.
    fn ancestors(&self, link: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(link), |i| self.joints[*i].parent)
    }

    /// How far a point of link `link`, `extent` from its origin, can move per rad (per m) of each joint: raises `reach`. Valid within the
    /// position limits, which bound how far prismatic joints extend the robot.
    pub(super) fn raise_reach(&self, link: usize, extent: f64, limits: &[JointLimits], reach: &mut [f64]) {
        let mut radius = extent;
        for i in self.ancestors(link) {
            let joint = &self.joints[i];
            let moves = match joint.kind {
                JointKind::Revolute => radius,
                JointKind::Prismatic => 1.0,
            };
            reach[i] = reach[i].max(moves);
            radius += joint.origin.translation.vector.norm();
            if joint.kind == JointKind::Prismatic {
                radius += limits[i].min_position.abs().max(limits[i].max_position.abs());
            }
        }
    }
}
