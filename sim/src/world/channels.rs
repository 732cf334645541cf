//! Channels of a contract in a world: components of the motion of bodies, sites and joints, and contacts.
//!
//! A channel is called `SUBJECT_component`. Of a body or a site: `x y z` (m), `qw qx qy qz`, `vx vy vz` (m/s, of its origin),
//! `wx wy wz` (rad/s), all in world axes. Of a joint that the contract does not list: `angle`, `rate`. Of a body or a geom:
//! `touch` (1 while something touches it), `fx fy fz` (N) and `tx ty tz` (N m, about the centre of mass of the whole tree that it
//! belongs to): what contacts do to it. A name is that of a body, where a geom has the same.

use rapier3d::dynamics::{MultibodyJointHandle, RigidBodyHandle};
use rapier3d::geometry::ColliderHandle;
use rapier3d::math::{Pose, Rotation, Vector};
use rapier3d::pipeline::PhysicsWorld;

use crate::model::{Model, ModelError};

/// What of a subject a channel is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Component {
    Position(usize),
    /// Of the quaternion x, y, z, w.
    Orientation(usize),
    Velocity(usize),
    AngularVelocity(usize),
    Force(usize),
    Torque(usize),
}

#[derive(Clone, Debug, PartialEq)]
enum Source {
    /// Something fixed to a body (index among the loader's bodies), at this pose in the body's frame.
    Frame { body: usize, at: Pose, component: Component },
    /// Index among the loader's joints; whether it is the rate.
    Joint { joint: usize, reference: f64, rate: bool },
    /// A body, and a collider of it where a geom is meant.
    Touch { body: usize, collider: Option<usize> },
    /// Force or torque on them.
    Wrench { body: usize, collider: Option<usize>, component: Component },
}

/// A contract channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel(Source);

/// Handles of what was inserted, by the loader's indices.
#[derive(Clone, Debug, Default)]
pub struct Handles {
    /// By body.
    pub bodies: Vec<Option<RigidBodyHandle>>,
    /// By body and collider.
    pub colliders: Vec<Vec<ColliderHandle>>,
    /// By joint.
    pub joints: Vec<Option<MultibodyJointHandle>>,
}

const AXES: [&str; 3] = ["x", "y", "z"];

fn axis_of(name: &str) -> Option<usize> {
    AXES.iter().position(|a| *a == name)
}

fn component(name: &str) -> Option<Component> {
    if let Some(axis) = axis_of(name) {
        return Some(Component::Position(axis));
    }
    let (kind, rest) = name.split_at_checked(1)?;
    match (kind, axis_of(rest)) {
        ("q", None) if rest == "w" => Some(Component::Orientation(3)),
        ("q", Some(axis)) => Some(Component::Orientation(axis)),
        ("v", Some(axis)) => Some(Component::Velocity(axis)),
        ("w", Some(axis)) => Some(Component::AngularVelocity(axis)),
        ("f", Some(axis)) => Some(Component::Force(axis)),
        ("t", Some(axis)) => Some(Component::Torque(axis)),
        _ => None,
    }
}

impl Channel {
    /// `puck_vx` is the x velocity of body `puck`.
    pub fn parse(model: &Model, name: &str) -> Result<Self, ModelError> {
        let unsupported = || ModelError::Unsupported {
            model: model.name.clone(),
            item: format!(
                "channel {name}: expected BODY_ or SITE_ with x y z, qw qx qy qz, vx vy vz, wx wy wz, BODY_ with fx fy fz, tx ty tz or \
                 touch, GEOM_touch, JOINT_angle or JOINT_rate"
            ),
        };
        let (subject, what) = name.rsplit_once('_').ok_or_else(unsupported)?;
        match what {
            "touch" => {
                let (body, collider) = model.touchable(subject)?;
                Ok(Self(Source::Touch { body, collider }))
            }
            "angle" | "rate" => {
                let joint = model.joint_index(subject)?;
                Ok(Self(Source::Joint {
                    joint,
                    reference: model.joint_reference(joint),
                    rate: what == "rate",
                }))
            }
            _ => {
                let component = component(what).ok_or_else(unsupported)?;
                if matches!(component, Component::Force(_) | Component::Torque(_)) {
                    let (body, collider) = model.touchable(subject)?;
                    return Ok(Self(Source::Wrench { body, collider, component }));
                }
                let (body, at) = model.frame(subject)?;
                Ok(Self(Source::Frame { body, at, component }))
            }
        }
    }

    /// Whether reading it looks at contacts.
    pub const fn needs_contacts(&self) -> bool {
        matches!(self.0, Source::Wrench { .. } | Source::Touch { .. })
    }

    /// Reads it from a world.
    pub fn read(&self, physics: &PhysicsWorld, handles: &Handles, contacts: &Contacts) -> Option<f64> {
        Some(match &self.0 {
            Source::Frame { body, at, component } => {
                let rigid = physics.bodies.get(handles.bodies[*body]?)?;
                let pose = rigid.position() * at;
                f64::from(match *component {
                    Component::Position(axis) => pose.translation[axis],
                    Component::Orientation(i) => pose.rotation.to_array()[i],
                    Component::Velocity(axis) => rigid.velocity_at_point(pose.translation)[axis],
                    Component::AngularVelocity(axis) => rigid.angvel()[axis],
                    Component::Force(_) | Component::Torque(_) => return None,
                })
            }
            Source::Joint { joint, reference, rate } => {
                let (multibody, link) = physics.multibody_joints.get(handles.joints[*joint]?)?;
                let link = multibody.link(link)?;
                if *rate {
                    f64::from(multibody.joint_velocity(link)[0])
                } else {
                    let angular = link.joint().data.locked_axes.bits() & 0b111 == 0b111;
                    f64::from(link.joint().coords()[if angular { 3 } else { 0 }]) + reference
                }
            }
            Source::Wrench { body, collider, component } => {
                let all = contacts.wrench.get(*body)?;
                let (force, torque) = match collider {
                    Some(collider) => *all.get(*collider)?,
                    None => all.iter().fold((Vector::ZERO, Vector::ZERO), |(f, t), w| (f + w.0, t + w.1)),
                };
                f64::from(match *component {
                    Component::Torque(axis) => torque[axis],
                    Component::Force(axis) => force[axis],
                    _ => return None,
                })
            }
            Source::Touch { body, collider } => {
                let touched = match collider {
                    Some(collider) => contacts.touched.get(*body)?.get(*collider).copied().unwrap_or(false),
                    None => contacts.touched.get(*body)?.iter().any(|t| *t),
                };
                f64::from(u8::from(touched))
            }
        })
    }

    /// Takes `value` into the start of a free body, if it is a channel of one; others follow from the joints.
    pub fn set(&self, value: f64, starts: &mut [FreeStart], joints: &mut [JointStart]) {
        let value = value as f32;
        match &self.0 {
            Source::Frame { body, at, component } if *at == Pose::IDENTITY => {
                let Some(start) = starts.iter_mut().find(|s| s.body == *body) else { return };
                match *component {
                    Component::Position(axis) => start.pose.translation[axis] = value,
                    Component::Orientation(i) => {
                        start.quaternion.get_or_insert([0.0, 0.0, 0.0, 0.0])[i] = value;
                    }
                    Component::Velocity(axis) => start.velocity[axis] = value,
                    Component::AngularVelocity(axis) => start.angular_velocity[axis] = value,
                    Component::Force(_) | Component::Torque(_) => {}
                }
            }
            Source::Joint { joint, reference, rate } => {
                let Some(start) = joints.iter_mut().find(|s| s.joint == *joint) else { return };
                if *rate {
                    start.rate = value;
                } else {
                    start.coordinate = value - *reference as f32;
                }
            }
            _ => {}
        }
    }

    /// The loader's joint that it is an angle or a rate of.
    pub const fn joint(&self) -> Option<usize> {
        match self.0 {
            Source::Joint { joint, .. } => Some(joint),
            _ => None,
        }
    }
}

/// Where a joint starts that the contract does not list.
#[derive(Clone, Copy, Debug, Default)]
pub struct JointStart {
    /// Index among the loader's joints.
    pub joint: usize,
    pub coordinate: f32,
    pub rate: f32,
}

/// Where a body without a joint starts.
#[derive(Clone, Copy, Debug)]
pub struct FreeStart {
    /// Index among the loader's bodies.
    pub body: usize,
    pub pose: Pose,
    quaternion: Option<[f32; 4]>,
    pub velocity: Vector,
    pub angular_velocity: Vector,
}

impl FreeStart {
    pub fn at(body: usize, pose: Pose) -> Self {
        Self { body, pose, quaternion: None, velocity: Vector::ZERO, angular_velocity: Vector::ZERO }
    }

    /// The pose with the orientation that channels gave; as the model has it where they gave none, or zeros.
    pub fn pose(&self) -> Pose {
        let mut pose = self.pose;
        if let Some(q) = self.quaternion {
            let rotation = Rotation::from_array(q);
            if rotation.length_squared() > 1e-12 {
                pose.rotation = rotation.normalize();
            }
        }
        pose
    }
}

/// Two colliders that push each other at a point.
pub struct Push {
    /// The first and the second.
    pub colliders: [ColliderHandle; 2],
    /// Where each of them is touched, m, world axes.
    pub at: [Vector; 2],
    /// What the second one is pushed with, N; the first one is pushed back.
    pub force: Vector,
}

/// Looks at every contact of the last physics step that pushes. Friction is that of its last sub-step.
pub fn each_push(physics: &PhysicsWorld, mut push: impl FnMut(Push)) {
    let secs = physics.integration_parameters.dt;
    let substeps = physics.integration_parameters.num_solver_iterations as f32;
    for pair in physics.narrow_phase.contact_pairs() {
        let Some(rigid) = pair.rigid() else { continue };
        for manifold in rigid.solver_manifolds() {
            let normal = manifold.data.normal;
            for contact in &manifold.points {
                let pressing = contact.data.impulse;
                // Speculative contacts have a distance and do not push.
                if pressing <= 0.0 && contact.dist > 0.0 {
                    continue;
                }
                // The normal points from the first collider to the second, which is pushed along it.
                let friction = contact.data.warmstart_tangent_world * substeps;
                let force = (normal * pressing - friction) / secs;
                let at = |collider, part: Option<&Pose>, local| {
                    let pose = physics.colliders.get(collider)?.position();
                    Some(pose * (part.copied().unwrap_or(Pose::IDENTITY) * local))
                };
                let first = at(pair.collider1, manifold.subshape_pos1(), contact.local_p1);
                let second = at(pair.collider2, manifold.subshape_pos2(), contact.local_p2);
                if let Some((first, second)) = first.zip(second) {
                    push(Push { colliders: [pair.collider1, pair.collider2], at: [first, second], force });
                }
            }
        }
    }
}

/// What contacts did in the last physics step, by the loader's bodies.
#[derive(Clone, Debug, Default)]
pub struct Contacts {
    touched: Vec<Vec<bool>>,
    /// Force, and torque about the centre of mass of the tree.
    wrench: Vec<Vec<(Vector, Vector)>>,
    /// The root of each body's tree.
    root: Vec<usize>,
    centers: Vec<(Vector, f32)>,
}

impl Contacts {
    pub fn new(model: &Model) -> Self {
        Self {
            touched: model.robot.bodies.iter().map(|b| vec![false; b.colliders.len()]).collect(),
            wrench: model
                .robot
                .bodies
                .iter()
                .map(|b| vec![(Vector::ZERO, Vector::ZERO); b.colliders.len()])
                .collect(),
            root: model.roots(),
            centers: vec![(Vector::ZERO, 0.0); model.robot.bodies.len()],
        }
    }

    /// Looks at every contact of the last step.
    pub fn update(&mut self, physics: &PhysicsWorld, handles: &Handles) {
        let Self { touched, wrench, root: roots, centers } = self;
        wrench.iter_mut().for_each(|w| w.fill((Vector::ZERO, Vector::ZERO)));
        centers.fill((Vector::ZERO, 0.0));
        touched.iter_mut().for_each(|t| t.fill(false));
        for (body, root) in roots.iter().enumerate() {
            if let Some(rigid) = handles.bodies[body].and_then(|h| physics.bodies.get(h)) {
                let (sum, mass) = &mut centers[*root];
                *sum += rigid.center_of_mass() * rigid.mass();
                *mass += rigid.mass();
            }
        }
        let find = |collider: ColliderHandle| {
            handles.colliders.iter().enumerate().find_map(|(body, colliders)| {
                colliders.iter().position(|c| *c == collider).map(|index| (body, index))
            })
        };
        each_push(physics, |Push { colliders, at, force }| {
            for ((collider, at), sign) in colliders.into_iter().zip(at).zip([-1.0, 1.0]) {
                let Some((body, index)) = find(collider) else { continue };
                touched[body][index] = true;
                let (sum, mass) = centers[roots[body]];
                let center = if mass > 0.0 { sum / mass } else { Vector::ZERO };
                let (f, t) = &mut wrench[body][index];
                *f += force * sign;
                *t += (at - center).cross(force * sign);
            }
        });
    }
}
