//! The robot's bodies, how they move, and what they must keep clear of.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_safety::geometry::{
    Capsule, CollisionModel, Contact, Cuboid, GeometryError, Joint, JointKind, KinematicTree, Pose, Zone,
};
use surefoot_safety::{Clearance, JointLimits};

use super::{GeometryProblem, JointContract};

/// Geometry of a robot and of what is at rest around it, in the base's frame: m and rad. Capsules stand for the links.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GeometryContract {
    /// A distance to keep from everything, m: for tracking errors, and for what the capsules leave out.
    #[serde(default)]
    pub margin_m: f64,
    /// Where each joint is on the link that it moves on: one entry for each joint of the contract.
    pub joints: Vec<JointPlacement>,
    /// The bodies.
    pub capsules: Vec<CapsuleContract>,
    /// Boxes that capsules stay inside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workspaces: Vec<WorkspaceContract>,
    /// Zones that capsules stay out of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep_out: Vec<KeepOutContract>,
    /// Which capsules must not touch each other.
    #[serde(default)]
    pub self_collision: SelfCollision,
    /// Poses (`[joints]`, rad or m) that are known to be clear of everything: they are checked whenever the contract is read, so that a
    /// wrong sign or a misplaced zone is found before the robot is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clear_poses: Vec<Vec<f64>>,
}

/// Where a joint is on its parent link, as in a URDF. In rad it turns about its axis, in m it slides along it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JointPlacement {
    /// Name of a joint of the contract.
    pub name: String,
    /// The joint that carries the parent link; the base, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Origin of the joint's frame in the parent link's, m.
    pub origin_m: [f64; 3],
    /// Roll, pitch and yaw of the joint's frame in the parent link's, rad.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rpy_rad: [f64; 3],
    /// Direction of the axis in the joint's frame; any length.
    pub axis: [f64; 3],
}

/// All points within a radius of a segment that is fixed to a link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CapsuleContract {
    /// Name, for the conditions below and for messages.
    pub name: String,
    /// The joint that carries the link.
    pub joint: String,
    /// One end of the segment in the link's frame, m.
    pub from_m: [f64; 3],
    /// The other end, m; the same for a ball.
    pub to_m: [f64; 3],
    /// m.
    pub radius_m: f64,
}

/// A box, in any orientation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BoxContract {
    /// Its centre, m.
    pub center_m: [f64; 3],
    /// Its whole lengths along its axes, m.
    pub size_m: [f64; 3],
    /// Roll, pitch and yaw, rad.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rpy_rad: [f64; 3],
}

/// A box that capsules stay inside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceContract {
    /// Name, for messages.
    pub name: String,
    /// The box.
    #[serde(rename = "box")]
    pub shape: BoxContract,
    /// The capsules that it holds for; all, if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
}

/// A zone that capsules stay out of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeepOutContract {
    /// Name, for messages.
    pub name: String,
    /// Its shape.
    pub shape: ZoneShape,
    /// Capsules that it does not hold for: the foot of a robot that stands on its table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
}

/// The shape of a zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ZoneShape {
    /// A box.
    Box(BoxContract),
    /// A ball.
    #[serde(rename_all = "snake_case")]
    Sphere {
        /// Its centre, m.
        center_m: [f64; 3],
        /// m.
        radius_m: f64,
    },
    /// All points within a radius of a segment.
    Capsule {
        /// One end, m.
        from_m: [f64; 3],
        /// The other end, m.
        to_m: [f64; 3],
        /// m.
        radius_m: f64,
    },
}

/// Which capsules must not touch each other. Capsules of one link, and of links that a joint connects, always may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SelfCollision {
    /// All pairs but these.
    Except(Vec<[String; 2]>),
    /// These pairs.
    Only(Vec<[String; 2]>),
}

impl Default for SelfCollision {
    fn default() -> Self {
        Self::Except(Vec::new())
    }
}

fn is_zero(rpy: &[f64; 3]) -> bool {
    *rpy == [0.0; 3]
}

/// What is wrong, and where in the file.
type Problem = (String, GeometryProblem);

/// Names something in the file.
fn at(list: &str, name: impl std::fmt::Display) -> String {
    format!("geometry.{list} {name}")
}

fn shape<T>(place: String, made: Result<T, GeometryError>) -> Result<T, Problem> {
    made.map_err(|e| (place, e.into()))
}

/// The index of a name.
fn find<'a>(
    what: &'static str,
    name: &str,
    mut names: impl Iterator<Item = &'a str> + Clone,
    place: impl Fn() -> String,
) -> Result<usize, Problem> {
    let known = || names.clone().collect::<Vec<_>>().join(", ");
    let known = known();
    names
        .position(|n| n == name)
        .ok_or_else(|| (place(), GeometryProblem::Unknown { what, name: name.into(), known }))
}

fn check_unique<'a>(list: &str, names: impl Iterator<Item = &'a str>) -> Result<(), Problem> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err((at(list, name), GeometryProblem::Repeated));
        }
    }
    Ok(())
}

impl BoxContract {
    fn cuboid(&self) -> Result<Cuboid, GeometryError> {
        let Self { center_m, size_m, rpy_rad } = self;
        Cuboid::new(Pose::new(*center_m, *rpy_rad), size_m.map(|x| x / 2.0))
    }
}

impl ZoneShape {
    fn zone(&self) -> Result<Zone, GeometryError> {
        Ok(match self {
            Self::Box(shape) => Zone::Box(shape.cuboid()?),
            Self::Sphere { center_m, radius_m } => {
                Zone::Capsule { a: *center_m, b: *center_m, radius: *radius_m }
            }
            Self::Capsule { from_m, to_m, radius_m } => {
                Zone::Capsule { a: *from_m, b: *to_m, radius: *radius_m }
            }
        })
    }
}

impl GeometryContract {
    /// What may be asked of the safety filter, with every name resolved and every stated pose checked.
    pub(super) fn model(
        &self,
        joints: &[JointContract],
        limits: &[JointLimits],
    ) -> Result<CollisionModel, Problem> {
        let Self { margin_m, joints: _, capsules, workspaces, keep_out, self_collision, clear_poses } = self;
        check_unique("capsules", capsules.iter().map(|c| c.name.as_str()))?;
        check_unique("workspaces", workspaces.iter().map(|w| w.name.as_str()))?;
        check_unique("keep_out", keep_out.iter().map(|z| z.name.as_str()))?;
        let tree = self.tree(joints)?;
        let mut model = shape("geometry".into(), CollisionModel::new(tree, limits))?;
        model = shape("geometry.margin_m".into(), model.with_margin(*margin_m))?;
        let mut links = Vec::new();
        for CapsuleContract { name, joint, from_m, to_m, radius_m } in capsules {
            let place = || at("capsules", name);
            let link = find("joint", joint, joints.iter().map(|j| j.name.as_str()), place)?;
            let capsule = Capsule::new(link, *from_m, *to_m, *radius_m);
            model = shape(place(), capsule.and_then(|c| model.with_capsule(c)))?;
            links.push(link);
        }
        for WorkspaceContract { name, shape: inside, only } in workspaces {
            let place = || at("workspaces", name);
            let listed = self.capsules_of(only, &place)?;
            let held = if listed.is_empty() { (0..links.len()).collect() } else { listed };
            model = shape(place(), inside.cuboid().and_then(|b| model.with_workspace(b, held)))?;
        }
        for KeepOutContract { name, shape: zone, except } in keep_out {
            let place = || at("keep_out", name);
            let except = self.capsules_of(except, &place)?;
            let kept = (0..links.len()).filter(|c| !except.contains(c));
            model = shape(place(), zone.zone().and_then(|z| model.with_keep_out(z, kept)))?;
        }
        for (one, other) in self.pairs(self_collision, &links, model.tree())? {
            model = shape("geometry.self_collision".into(), model.with_separation(one, other))?;
        }
        for (index, pose) in clear_poses.iter().enumerate() {
            self.check_clear(&mut model, joints, limits, pose)
                .map_err(|problem| (at("clear_poses", index), problem))?;
        }
        Ok(model)
    }

    /// How the links move, in the order of the contract's joints.
    fn tree(&self, joints: &[JointContract]) -> Result<KinematicTree, Problem> {
        check_unique("joints", self.joints.iter().map(|j| j.name.as_str()))?;
        let names = || joints.iter().map(|j| j.name.as_str());
        for placement in &self.joints {
            find("joint", &placement.name, names(), || at("joints", &placement.name))?;
        }
        let mut placed = Vec::new();
        for (index, joint) in joints.iter().enumerate() {
            let place = || at("joints", &joint.name);
            let unplaced =
                || ("geometry.joints".into(), GeometryProblem::Unplaced { joint: joint.name.clone() });
            let JointPlacement { name: _, parent, origin_m, rpy_rad, axis } =
                self.joints.iter().find(|p| p.name == joint.name).ok_or_else(unplaced)?;
            let parent_index = match parent {
                Some(parent) => Some(find("joint", parent, names(), place)?),
                None => None,
            };
            if let (Some(parent), Some(_)) = (parent, parent_index.filter(|p| *p >= index)) {
                return Err((place(), GeometryProblem::Order { parent: parent.clone() }));
            }
            let kind = match joint.unit.as_str() {
                "rad" => JointKind::Revolute,
                "m" => JointKind::Prismatic,
                unit => return Err((place(), GeometryProblem::Unit { unit: unit.into() })),
            };
            placed
                .push(shape(place(), Joint::new(parent_index, Pose::new(*origin_m, *rpy_rad), *axis, kind))?);
        }
        shape("geometry.joints".into(), KinematicTree::new(placed))
    }

    fn capsules_of(&self, names: &[String], place: &impl Fn() -> String) -> Result<Vec<usize>, Problem> {
        let known = || self.capsules.iter().map(|c| c.name.as_str());
        names.iter().map(|name| find("capsule", name, known(), place)).collect()
    }

    fn pairs(
        &self,
        self_collision: &SelfCollision,
        links: &[usize],
        tree: &KinematicTree,
    ) -> Result<Vec<(usize, usize)>, Problem> {
        let place = || "geometry.self_collision".to_owned();
        let resolved = |pairs: &[[String; 2]]| {
            let pair = |names: &[String; 2]| match self.capsules_of(names, &place)?.as_slice() {
                [one, other] if links[*one] != links[*other] => Ok((*one.min(other), *one.max(other))),
                _ => {
                    let [one, other] = names.clone();
                    Err((place(), GeometryProblem::SameLink { one, other }))
                }
            };
            pairs.iter().map(pair).collect::<Result<Vec<_>, _>>()
        };
        match self_collision {
            SelfCollision::Only(pairs) => resolved(pairs),
            SelfCollision::Except(pairs) => {
                let free = resolved(pairs)?;
                let all = (0..links.len()).flat_map(|one| (one + 1..links.len()).map(move |o| (one, o)));
                let apart = |(one, other): &(usize, usize)| !tree.are_neighbours(links[*one], links[*other]);
                Ok(all.filter(apart).filter(|pair| !free.contains(pair)).collect())
            }
        }
    }

    fn check_clear(
        &self,
        model: &mut CollisionModel,
        joints: &[JointContract],
        limits: &[JointLimits],
        pose: &[f64],
    ) -> Result<(), GeometryProblem> {
        if pose.len() != joints.len() {
            return Err(GeometryProblem::PoseLength { expected: joints.len(), found: pose.len() });
        }
        for ((joint, l), q) in joints.iter().zip(limits).zip(pose) {
            if !(*q >= l.min_position() && *q <= l.max_position()) {
                return Err(GeometryProblem::PoseOutsideLimits { joint: joint.name.clone(), found: *q });
            }
        }
        let clearance = model.clearance(pose);
        if clearance >= 0.0 {
            return Ok(());
        }
        let contact = model.nearest(pose).map_or_else(String::new, |(contact, _)| self.describe(contact));
        Err(GeometryProblem::NotClear { contact, clearance })
    }

    /// A condition by the names in this contract.
    #[must_use]
    pub fn describe(&self, contact: Contact) -> String {
        let capsule = |index: usize| self.capsules.get(index).map_or("?", |c| c.name.as_str());
        match contact {
            Contact::Workspace { capsule: c, workspace } => {
                let name = self.workspaces.get(workspace).map_or("?", |w| w.name.as_str());
                format!("{} and the border of workspace {name}", capsule(c))
            }
            Contact::KeepOut { capsule: c, zone } => {
                let name = self.keep_out.get(zone).map_or("?", |z| z.name.as_str());
                format!("{} and keep-out zone {name}", capsule(c))
            }
            Contact::Separation { one, other } => format!("{} and {}", capsule(one), capsule(other)),
        }
    }
}

#[cfg(test)]
mod tests;
