//! Links as capsules, and what they must keep clear of.

use nalgebra::{Isometry3, Point3, Vector3};

use super::{GeometryError, KinematicTree, ROUNDING_MARGIN, distance};
use crate::{Clearance, JointLimits};

/// All points within `radius` of a segment, fixed to a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capsule {
    link: usize,
    a: Point3<f64>,
    b: Point3<f64>,
    radius: f64,
}

impl Capsule {
    /// The capsule around the segment from `a` to `b` (m, in the frame of the link that joint `link` carries). A ball, if they are the same.
    ///
    /// # Errors
    /// When a number is not finite or the radius is negative.
    pub fn new(link: usize, a: Point3<f64>, b: Point3<f64>, radius: f64) -> Result<Self, GeometryError> {
        length("a capsule's radius", radius, 0.0)?;
        for x in a.iter().chain(b.iter()) {
            length("a capsule's end", x.abs(), 0.0)?;
        }
        Ok(Self { link, a, b, radius })
    }
}

/// A box, in any orientation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cuboid {
    from_base: Isometry3<f64>,
    half_extents: Vector3<f64>,
}

impl Cuboid {
    /// The box with its centre and axes at `pose` (in the base's frame) and these half extents, m.
    ///
    /// # Errors
    /// When a number is not finite or a half extent is not positive.
    pub fn new(pose: Isometry3<f64>, half_extents: Vector3<f64>) -> Result<Self, GeometryError> {
        for x in pose.translation.vector.iter().chain(pose.rotation.coords.iter()) {
            length("a box's pose", x.abs(), 0.0)?;
        }
        for x in half_extents.iter() {
            length("a box's half extent", *x, f64::MIN_POSITIVE)?;
        }
        Ok(Self { from_base: pose.inverse(), half_extents })
    }
}

fn length(what: &'static str, found: f64, least: f64) -> Result<f64, GeometryError> {
    if found.is_finite() && found >= least {
        Ok(found)
    } else {
        let least = if least > 0.0 { "above 0" } else { "at least 0" };
        Err(GeometryError::Length { what, least, found })
    }
}

/// The geometry of a robot and of what surrounds it, at rest in the base's frame.
#[derive(Clone, Debug)]
pub struct CollisionModel {
    tree: KinematicTree,
    limits: Vec<JointLimits>,
    capsules: Vec<Capsule>,
    workspace: Vec<(usize, Cuboid)>,
    keep_out_boxes: Vec<Cuboid>,
    keep_out_balls: Vec<(Point3<f64>, f64)>,
    pairs: Vec<(usize, usize)>,
    margin: f64,
    reach: Vec<f64>,
    poses: Vec<Isometry3<f64>>,
    /// The capsules' ends in the base's frame.
    ends: Vec<(Point3<f64>, Point3<f64>)>,
}

impl CollisionModel {
    /// A robot without bodies. The limits bound how far prismatic joints extend it.
    ///
    /// # Errors
    /// When tree and limits differ in their number of joints.
    pub fn new(tree: KinematicTree, limits: &[JointLimits]) -> Result<Self, GeometryError> {
        let n = tree.len();
        if n != limits.len() {
            return Err(GeometryError::JointCount { expected: n, found: limits.len() });
        }
        Ok(Self {
            tree,
            limits: limits.to_vec(),
            capsules: Vec::new(),
            workspace: Vec::new(),
            keep_out_boxes: Vec::new(),
            keep_out_balls: Vec::new(),
            pairs: Vec::new(),
            margin: ROUNDING_MARGIN,
            reach: vec![0.0; n],
            poses: vec![Isometry3::identity(); n],
            ends: Vec::new(),
        })
    }

    /// Adds a body; capsules are counted from 0 in the order in which they are added.
    ///
    /// # Errors
    /// When its link does not exist.
    pub fn with_capsule(mut self, capsule: Capsule) -> Result<Self, GeometryError> {
        let Capsule { link, a, b, radius } = capsule;
        if link >= self.tree.len() {
            return Err(GeometryError::Missing { what: "joint", index: link, count: self.tree.len() });
        }
        let extent = a.coords.norm().max(b.coords.norm()) + radius;
        self.tree.raise_reach(link, extent, &self.limits, &mut self.reach);
        self.capsules.push(capsule);
        self.ends.push((a, b));
        Ok(self)
    }

    /// Keeps these capsules inside a box.
    ///
    /// # Errors
    /// When a capsule does not exist.
    pub fn with_workspace(
        mut self,
        workspace: Cuboid,
        capsules: impl IntoIterator<Item = usize>,
    ) -> Result<Self, GeometryError> {
        for capsule in capsules {
            self.check_capsule(capsule)?;
            self.workspace.push((capsule, workspace));
        }
        Ok(self)
    }

    /// Keeps every capsule out of a box.
    #[must_use]
    pub fn with_keep_out_box(mut self, zone: Cuboid) -> Self {
        self.keep_out_boxes.push(zone);
        self
    }

    /// Keeps every capsule out of a ball.
    ///
    /// # Errors
    /// When a number is not finite or the radius is negative.
    pub fn with_keep_out_ball(mut self, center: Point3<f64>, radius: f64) -> Result<Self, GeometryError> {
        length("a ball's radius", radius, 0.0)?;
        for x in center.iter() {
            length("a ball's centre", x.abs(), 0.0)?;
        }
        self.keep_out_balls.push((center, radius));
        Ok(self)
    }

    /// Keeps two capsules apart. List pairs of links that are not neighbours: neighbours always touch.
    ///
    /// # Errors
    /// When a capsule does not exist.
    pub fn with_separation(mut self, one: usize, other: usize) -> Result<Self, GeometryError> {
        self.check_capsule(one)?;
        self.check_capsule(other)?;
        self.pairs.push((one, other));
        Ok(self)
    }

    /// A distance to keep from everything, m, above the rounding margin.
    ///
    /// # Errors
    /// When it is not finite or negative.
    pub fn with_margin(mut self, margin: f64) -> Result<Self, GeometryError> {
        self.margin = length("a margin", margin, 0.0)? + ROUNDING_MARGIN;
        Ok(self)
    }

    fn check_capsule(&self, index: usize) -> Result<(), GeometryError> {
        let count = self.capsules.len();
        if index < count { Ok(()) } else { Err(GeometryError::Missing { what: "capsule", index, count }) }
    }

    fn place(&mut self, position: &[f64]) {
        self.tree.forward(position, &mut self.poses);
        for (ends, capsule) in self.ends.iter_mut().zip(&self.capsules) {
            let pose = &self.poses[capsule.link];
            *ends = (pose * capsule.a, pose * capsule.b);
        }
    }
}

impl Clearance for CollisionModel {
    fn clearance(&mut self, position: &[f64]) -> f64 {
        // `f64::min` would drop a NaN.
        if position.len() != self.tree.len() || position.iter().any(|q| !q.is_finite()) {
            return f64::NAN;
        }
        self.place(position);
        let mut least = f64::INFINITY;
        for (index, zone) in &self.workspace {
            let (a, b) = self.ends[*index];
            for end in [zone.from_base * a, zone.from_base * b] {
                let inside = zone.half_extents - end.coords.abs();
                least = least.min(inside.min() - self.capsules[*index].radius);
            }
        }
        for (capsule, (a, b)) in self.capsules.iter().zip(&self.ends) {
            for zone in &self.keep_out_boxes {
                let (a, b) = (zone.from_base * a, zone.from_base * b);
                if distance::to_box_at_least(&a, &b, &zone.half_extents) - capsule.radius >= least {
                    continue;
                }
                let apart = distance::to_box(&a, &b, &zone.half_extents);
                least = least.min(apart - capsule.radius);
            }
            for (center, radius) in &self.keep_out_balls {
                least = least.min(distance::to_point(a, b, center) - radius - capsule.radius);
            }
        }
        for (one, other) in &self.pairs {
            let ((a, b), (c, d)) = (&self.ends[*one], &self.ends[*other]);
            let radii = self.capsules[*one].radius + self.capsules[*other].radius;
            least = least.min(distance::to_segment(a, b, c, d) - radii);
        }
        least - self.margin
    }

    fn reach(&self) -> &[f64] {
        &self.reach
    }
}
