//! A heavy carriage across the plane of a planar robot.
//!
//! Where all joints move in one plane, no joint answers a push across it. rapier's friction solves for two directions at once, and
//! divides by what answers: across the plane that is rounding alone, and the friction that should slow a foot all goes into a
//! direction in which nothing moves. A slide across the plane with a great inertia answers in its place; it stays where it is.

use rapier3d::dynamics::{GenericJointBuilder, JointAxesMask, RigidBodyBuilder};
use rapier3d::math::{Pose, Vector};
use rapier3d_mjcf::{MjcfJoint, MjcfRobot};

use super::anchor::bare;

/// Inertia of the carriage, kg: so much that it does not move, so little that rounding pushes less than friction does.
const INERTIA: f32 = 1000.0;
/// Largest sine of the angle at which an axis counts as parallel.
const PARALLEL: f32 = 1e-4;

/// The normal of the plane that every joint of the tree below `root` moves in; `None` when there is none.
fn normal(robot: &MjcfRobot, tree: &[&MjcfJoint]) -> Option<Vector> {
    let axis = |joint: &MjcfJoint| {
        robot.bodies[joint.link1].body.position().rotation * joint.joint.local_frame1.rotation * Vector::X
    };
    let is = |joint: &MjcfJoint, mask| joint.joint.locked_axes == mask;
    let hinge = tree.iter().find(|j| is(j, JointAxesMask::LOCKED_REVOLUTE_AXES))?;
    let normal = axis(hinge);
    let planar = tree.iter().all(|joint| {
        let axis = axis(joint);
        if is(joint, JointAxesMask::LOCKED_REVOLUTE_AXES) {
            axis.cross(normal).length() < PARALLEL
        } else if is(joint, JointAxesMask::LOCKED_PRISMATIC_AXES) {
            axis.dot(normal).abs() < PARALLEL
        } else {
            is(joint, JointAxesMask::LOCKED_FIXED_AXES)
        }
    });
    planar.then_some(normal)
}

/// Puts every planar tree that hangs on the world on a carriage. The new joints are the first ones: their number is returned.
pub fn put_on_rails(robot: &mut MjcfRobot, roots: &[usize]) -> usize {
    let mut rails = Vec::new();
    let mut firsts: Vec<usize> = (0..robot.joints.len()).filter(|j| robot.joints[*j].link1 == 0).collect();
    firsts.dedup();
    for first in firsts {
        let root = robot.joints[first].link2;
        let tree: Vec<&MjcfJoint> = robot.joints.iter().filter(|j| roots[j.link2] == root).collect();
        let Some(normal) = normal(robot, &tree) else { continue };
        let carriage = robot.bodies.len();
        robot.bodies.push(bare(&RigidBodyBuilder::dynamic(), robot.bodies[root].mjcf_body_id));
        robot.joints[first].link1 = carriage;
        let joint = GenericJointBuilder::new(JointAxesMask::LOCKED_PRISMATIC_AXES)
            .local_frame1(Pose::IDENTITY)
            .local_frame2(Pose::IDENTITY)
            .local_axis1(normal)
            .local_axis2(normal)
            .contacts_enabled(false)
            .build();
        rails.push(MjcfJoint {
            name: None,
            link1: 0,
            link2: carriage,
            joint,
            damping_per_dof: 0.0,
            armature_per_dof: INERTIA,
            frictionloss_per_dof: 0.0,
            spring_stiffness_per_dof: 0.0,
            spring_ref: 0.0,
            springdamper: None,
        });
    }
    let count = rails.len();
    robot.joints.splice(0..0, rails);
    count
}
