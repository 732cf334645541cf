//! Forward kinematics of a tree of joints: one arm, or several on one base.

use alloc::vec::Vec;

use super::pose::{Turning, Vector, add, dot, norm, scaled, sub};
use super::{GeometryError, Pose};
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
    origin: Pose,
    axis: Vector,
    kind: JointKind,
    turning: Turning,
}

impl Joint {
    /// A joint that turns about `axis`. `origin` is its pose in the parent link's frame (in the base's for `None`), as in a URDF.
    ///
    /// # Errors
    /// When the axis has no direction or a number is not finite.
    pub fn revolute(parent: Option<usize>, origin: Pose, axis: [f64; 3]) -> Result<Self, GeometryError> {
        Self::new(parent, origin, axis, JointKind::Revolute)
    }

    /// A joint that slides along `axis`.
    ///
    /// # Errors
    /// When the axis has no direction or a number is not finite.
    pub fn prismatic(parent: Option<usize>, origin: Pose, axis: [f64; 3]) -> Result<Self, GeometryError> {
        Self::new(parent, origin, axis, JointKind::Prismatic)
    }

    /// A joint of either kind.
    ///
    /// # Errors
    /// When the axis has no direction or a number is not finite.
    pub fn new(
        parent: Option<usize>,
        origin: Pose,
        axis: [f64; 3],
        kind: JointKind,
    ) -> Result<Self, GeometryError> {
        if !origin.is_finite() {
            return Err(GeometryError::Length {
                what: "a joint's origin",
                least: "a number",
                found: f64::NAN,
            });
        }
        let length = norm(axis);
        if !(length.is_finite() && length > 1e-9) {
            return Err(GeometryError::Axis { found: axis });
        }
        let axis = scaled(axis, 1.0 / length);
        Ok(Self { parent, origin, axis, kind, turning: Turning::new(&origin, axis) })
    }

    fn moved(&self, q: f64) -> Pose {
        match self.kind {
            JointKind::Revolute => self.turning.by(q, self.origin.translation()),
            JointKind::Prismatic => self.origin * Pose::at(scaled(self.axis, q)),
        }
    }

    /// How far a point of this joint's link is from its axis.
    fn off_axis(&self, point: Vector) -> f64 {
        let along = scaled(self.axis, dot(self.axis, point));
        norm(sub(point, along))
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

    /// Whether two links are the same or joined to each other.
    #[must_use]
    pub fn are_neighbours(&self, one: usize, other: usize) -> bool {
        let parent = |link: usize| self.joints.get(link).and_then(|j| j.parent);
        one == other || parent(one) == Some(other) || parent(other) == Some(one)
    }

    /// The links' poses in the base's frame at a position (`[joints]`, rad or m), into `poses` (`[joints]`).
    ///
    /// Real-time safe.
    pub fn forward(&self, position: &[f64], poses: &mut [Pose]) {
        for (i, (joint, q)) in self.joints.iter().zip(position).enumerate() {
            let moved = joint.moved(*q);
            poses[i] = match joint.parent {
                Some(parent) => poses[parent] * moved,
                None => moved,
            };
        }
    }

    /// How far the points of a capsule of link `link`, from `a` to `b` and `radius` around, can move per rad (per m) of each joint:
    /// raises `reach`. Valid within the position limits, which bound how far prismatic joints extend the robot.
    ///
    /// A point moves by its distance from a joint's axis. On the joint's own link that distance is known; beyond, it is at most that
    /// of the next joint's origin and the lengths from there on.
    pub(super) fn raise_reach(
        &self,
        link: usize,
        (a, b, radius): (Vector, Vector, f64),
        limits: &[JointLimits],
        reach: &mut [f64],
    ) {
        let own = &self.joints[link];
        let off_axis = own.off_axis(a).max(own.off_axis(b)) + radius;
        // From the origin of the joint to any of its points.
        let mut extent = norm(a).max(norm(b)) + radius;
        let (mut joint, mut moves) = (link, off_axis);
        loop {
            let j = &self.joints[joint];
            let per_unit = if j.kind == JointKind::Revolute { moves } else { 1.0 };
            reach[joint] = reach[joint].max(per_unit);
            let Some(parent) = j.parent else { return };
            let slide = match j.kind {
                JointKind::Revolute => 0.0,
                JointKind::Prismatic => {
                    limits[joint].min_position.abs().max(limits[joint].max_position.abs())
                }
            };
            let origin = j.origin.translation();
            moves = self.joints[parent].off_axis(origin) + slide + extent;
            extent += norm(origin) + slide;
            joint = parent;
        }
    }
}

/// The point half way.
pub(super) fn middle(a: Vector, b: Vector) -> Vector {
    scaled(add(a, b), 0.5)
}
