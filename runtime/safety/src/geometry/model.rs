//! Links as capsules, and what they must keep clear of.

use alloc::vec;
use alloc::vec::Vec;

use super::kinematics::middle;
use super::pose::{Vector, norm, norm_squared, sub};
use super::{GeometryError, KinematicTree, Pose, ROUNDING_MARGIN, distance};
use crate::{Clearance, JointLimits};

/// All points within `radius` of a segment, fixed to a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capsule {
    link: usize,
    a: Vector,
    b: Vector,
    radius: f64,
}

impl Capsule {
    /// The capsule around the segment from `a` to `b` (m, in the frame of the link that joint `link` carries). A ball, if they are the same.
    ///
    /// # Errors
    /// When a number is not finite or the radius is negative.
    pub fn new(link: usize, a: [f64; 3], b: [f64; 3], radius: f64) -> Result<Self, GeometryError> {
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
    center: Vector,
    from_base: Pose,
    half_extents: Vector,
}

impl Cuboid {
    /// The box with its centre and axes at `pose` (in the base's frame) and these half extents, m.
    ///
    /// # Errors
    /// When a number is not finite or a half extent is not positive.
    pub fn new(pose: Pose, half_extents: [f64; 3]) -> Result<Self, GeometryError> {
        if !pose.is_finite() {
            return Err(GeometryError::Length { what: "a box's pose", least: "a number", found: f64::NAN });
        }
        for x in half_extents {
            length("a box's half extent", x, f64::MIN_POSITIVE)?;
        }
        Ok(Self { center: pose.translation(), from_base: pose.inverse(), half_extents })
    }
}

/// Something at rest in the base's frame that capsules keep out of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Zone {
    /// A box.
    Box(Cuboid),
    /// All points within `radius` of the segment from `a` to `b`, m. A ball, if they are the same.
    Capsule {
        /// One end, m.
        a: [f64; 3],
        /// The other end, m.
        b: [f64; 3],
        /// m.
        radius: f64,
    },
}

impl Zone {
    fn check(&self) -> Result<(), GeometryError> {
        if let Self::Capsule { a, b, radius } = self {
            length("a keep-out radius", *radius, 0.0)?;
            for x in a.iter().chain(b) {
                length("a keep-out zone's end", x.abs(), 0.0)?;
            }
        }
        Ok(())
    }

    /// Centre and radius of a ball around it.
    fn ball(&self) -> (Vector, f64) {
        match self {
            Self::Box(b) => (b.center, norm(b.half_extents)),
            Self::Capsule { a, b, radius } => (middle(*a, *b), norm(sub(*a, *b)) / 2.0 + radius),
        }
    }

    fn distance(&self, a: Vector, b: Vector) -> f64 {
        match self {
            Self::Box(zone) => {
                let (a, b) = (zone.from_base.apply(a), zone.from_base.apply(b));
                distance::to_box(a, b, zone.half_extents)
            }
            Self::Capsule { a: c, b: d, radius } if c == d => distance::to_point(a, b, *c) - radius,
            Self::Capsule { a: c, b: d, radius } => distance::to_segment(a, b, *c, *d) - radius,
        }
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

/// Two things whose distance is a condition, by their numbers in the order in which they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// A capsule and the inside of a workspace.
    Workspace {
        /// The capsule.
        capsule: usize,
        /// The workspace.
        workspace: usize,
    },
    /// A capsule and a keep-out zone.
    KeepOut {
        /// The capsule.
        capsule: usize,
        /// The zone.
        zone: usize,
    },
    /// Two capsules.
    Separation {
        /// One capsule.
        one: usize,
        /// The other.
        other: usize,
    },
}

/// A capsule in the base's frame, and a ball around it.
#[derive(Clone, Copy, Debug)]
struct Placed {
    a: Vector,
    b: Vector,
    center: Vector,
    ball: f64,
}

/// The geometry of a robot and of what surrounds it, at rest in the base's frame.
#[derive(Clone, Debug)]
pub struct CollisionModel {
    tree: KinematicTree,
    limits: Vec<JointLimits>,
    capsules: Vec<Capsule>,
    workspaces: Vec<Cuboid>,
    zones: Vec<Zone>,
    /// Centres and radii of balls around the zones.
    zone_balls: Vec<(Vector, f64)>,
    contacts: Vec<Contact>,
    margin: f64,
    reach: Vec<f64>,
    poses: Vec<Pose>,
    placed: Vec<Placed>,
    /// The contact that was nearest last: looked at first, it spares most of the others.
    nearest: usize,
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
            workspaces: Vec::new(),
            zones: Vec::new(),
            zone_balls: Vec::new(),
            contacts: Vec::new(),
            margin: ROUNDING_MARGIN,
            reach: vec![0.0; n],
            poses: vec![Pose::IDENTITY; n],
            placed: Vec::new(),
            nearest: 0,
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
        self.capsules.push(capsule);
        self.placed.push(Placed { a, b, center: middle(a, b), ball: norm(sub(a, b)) / 2.0 + radius });
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
        let index = self.workspaces.len();
        self.workspaces.push(workspace);
        for capsule in capsules {
            self.add(Contact::Workspace { capsule, workspace: index })?;
        }
        Ok(self)
    }

    /// Keeps these capsules out of a zone.
    ///
    /// # Errors
    /// When a capsule does not exist, a number of the zone is not finite or its radius is negative.
    pub fn with_keep_out(
        mut self,
        zone: Zone,
        capsules: impl IntoIterator<Item = usize>,
    ) -> Result<Self, GeometryError> {
        zone.check()?;
        let index = self.zones.len();
        self.zones.push(zone);
        self.zone_balls.push(zone.ball());
        for capsule in capsules {
            self.add(Contact::KeepOut { capsule, zone: index })?;
        }
        Ok(self)
    }

    /// Keeps two capsules apart. List pairs of links that are not neighbours: neighbours always touch.
    ///
    /// # Errors
    /// When a capsule does not exist.
    pub fn with_separation(mut self, one: usize, other: usize) -> Result<Self, GeometryError> {
        self.add(Contact::Separation { one, other })?;
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

    fn add(&mut self, contact: Contact) -> Result<(), GeometryError> {
        let bodies = match contact {
            Contact::Workspace { capsule, .. } | Contact::KeepOut { capsule, .. } => [capsule; 2],
            Contact::Separation { one, other } => [one, other],
        };
        for index in bodies {
            let count = self.capsules.len();
            let Some(Capsule { link, a, b, radius }) = self.capsules.get(index).copied() else {
                return Err(GeometryError::Missing { what: "capsule", index, count });
            };
            self.tree.raise_reach(link, (a, b, radius), &self.limits, &mut self.reach);
        }
        self.contacts.push(contact);
        Ok(())
    }

    /// Number of capsules.
    #[must_use]
    pub const fn capsules(&self) -> usize {
        self.capsules.len()
    }

    /// How the links move.
    #[must_use]
    pub const fn tree(&self) -> &KinematicTree {
        &self.tree
    }

    /// What is nearest to being violated at a pose, and how far it is from it, m; `None` where there are no conditions or the pose is
    /// not one.
    pub fn nearest(&mut self, position: &[f64]) -> Option<(Contact, f64)> {
        let clearance = self.clearance(position);
        let contact = self.contacts.get(self.nearest)?;
        (!clearance.is_nan()).then_some((*contact, clearance))
    }

    /// The oracle of the shortcuts.
    #[cfg(test)]
    pub(super) fn clearance_without_shortcuts(&mut self, position: &[f64]) -> f64 {
        self.place(position);
        let all = self.contacts.iter().map(|contact| self.distance(*contact, f64::INFINITY));
        all.fold(f64::INFINITY, f64::min) - self.margin
    }

    fn place(&mut self, position: &[f64]) {
        self.tree.forward(position, &mut self.poses);
        for (placed, capsule) in self.placed.iter_mut().zip(&self.capsules) {
            let pose = &self.poses[capsule.link];
            (placed.a, placed.b) = (pose.apply(capsule.a), pose.apply(capsule.b));
            placed.center = middle(placed.a, placed.b);
        }
    }

    /// The distance of a contact, or anything from `enough` on if that is certain to be less than it.
    fn distance(&self, contact: Contact, enough: f64) -> f64 {
        match contact {
            Contact::Workspace { capsule, workspace } => {
                let (body, zone) = (&self.placed[capsule], &self.workspaces[workspace]);
                let inside = |end: Vector| {
                    let p = zone.from_base.apply(end);
                    let left = [0, 1, 2].map(|i| zone.half_extents[i] - p[i].abs());
                    left[0].min(left[1]).min(left[2])
                };
                inside(body.a).min(inside(body.b)) - self.capsules[capsule].radius
            }
            Contact::KeepOut { capsule, zone } => {
                let (body, (center, ball)) = (&self.placed[capsule], &self.zone_balls[zone]);
                if apart(body.center, *center, body.ball + ball, enough) {
                    return enough;
                }
                let radius = self.capsules[capsule].radius;
                if let Zone::Box(zone) = &self.zones[zone] {
                    let beyond = distance::outside(zone.from_base.apply(body.center), zone.half_extents);
                    if norm_squared(beyond) >= squared(enough + body.ball) {
                        return enough;
                    }
                }
                self.zones[zone].distance(body.a, body.b) - radius
            }
            Contact::Separation { one, other } => {
                let (p, q) = (&self.placed[one], &self.placed[other]);
                if apart(p.center, q.center, p.ball + q.ball, enough) {
                    return enough;
                }
                let radii = self.capsules[one].radius + self.capsules[other].radius;
                distance::to_segment(p.a, p.b, q.a, q.b) - radii
            }
        }
    }
}

fn squared(x: f64) -> f64 {
    let x = x.max(0.0);
    x * x
}

/// Whether two balls, whose radii have this sum, are certain to be `enough` apart.
fn apart(one: Vector, other: Vector, radii: f64, enough: f64) -> bool {
    enough + radii >= 0.0 && norm_squared(sub(one, other)) >= squared(enough + radii)
}

impl Clearance for CollisionModel {
    fn clearance(&mut self, position: &[f64]) -> f64 {
        // `f64::min` would drop a NaN.
        if position.len() != self.tree.len() || position.iter().any(|q| !q.is_finite()) {
            return f64::NAN;
        }
        self.place(position);
        let Some(first) = self.contacts.get(self.nearest) else { return f64::INFINITY };
        let mut least = self.distance(*first, f64::INFINITY);
        for (index, contact) in self.contacts.iter().enumerate() {
            let found = self.distance(*contact, least);
            if found < least {
                (least, self.nearest) = (found, index);
            }
        }
        least - self.margin
    }

    fn reach(&self) -> &[f64] {
        &self.reach
    }
}
