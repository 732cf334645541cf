//! A fixed body of its own for every tree that hangs on the world.
//!
//! rapier joins all trees that hang on one body into a single multibody: what two of them do to each other would be contacts of a
//! robot with itself, and one mass matrix would hold them all. So each tree but the first hangs on a body apart.

use rapier3d::dynamics::RigidBodyBuilder;
use rapier3d_mjcf::{MjcfBody, MjcfRobot};

/// A body of the loader's without name, geoms or mass, beside the body of the file with index `mjcf_body_id`.
pub fn bare(body: &RigidBodyBuilder, mjcf_body_id: usize) -> MjcfBody {
    MjcfBody {
        name: None,
        is_intermediate: true,
        mjcf_body_id,
        body: body.build(),
        colliders: Vec::new(),
        gravcomp: 0.0,
        mass: 0.0,
        visual_meshes: Vec::new(),
    }
}

/// Hangs every tree but the first on a body of its own.
pub fn part_trees(robot: &mut MjcfRobot) {
    let hanging: Vec<usize> = (0..robot.joints.len()).filter(|j| robot.joints[*j].link1 == 0).collect();
    for joint in hanging.into_iter().skip(1) {
        robot.joints[joint].link1 = robot.bodies.len();
        robot.bodies.push(bare(&RigidBodyBuilder::fixed(), 0));
    }
}
