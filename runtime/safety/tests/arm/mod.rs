//! A seven-joint arm with the joint limits and link lengths of a Franka Research 3, in a cell.

use surefoot_safety::JointLimits;
use surefoot_safety::geometry::{
    Capsule, CollisionModel, Cuboid, GeometryError, Joint, KinematicTree, Pose, Zone,
};

/// A pose clear of everything.
pub const HOME: [f64; 7] = [0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785];

/// Joint limits with this jerk limit, rad/s^3.
pub fn limits(max_jerk: f64) -> Vec<JointLimits> {
    let range = [
        (-2.75, 2.75, 2.62),
        (-1.79, 1.79, 2.62),
        (-2.90, 2.90, 2.62),
        (-3.05, -0.15, 2.62),
        (-2.81, 2.81, 5.26),
        (0.54, 4.52, 4.18),
        (-3.02, 3.02, 5.26),
    ];
    range
        .iter()
        .filter_map(|(min, max, v)| {
            JointLimits::new(*min, *max, *v, 10.0).and_then(|l| l.with_max_jerk(max_jerk)).ok()
        })
        .collect()
}

/// The arm between a table, a shelf and a ball, inside a cell, its hand kept off its shoulder.
pub fn in_a_cell(limits: &[JointLimits]) -> Result<CollisionModel, GeometryError> {
    let quarter = std::f64::consts::FRAC_PI_2;
    let frames = [
        ([0.0, 0.0, 0.333], 0.0),
        ([0.0, 0.0, 0.0], -quarter),
        ([0.0, -0.316, 0.0], quarter),
        ([0.0825, 0.0, 0.0], quarter),
        ([-0.0825, 0.384, 0.0], -quarter),
        ([0.0, 0.0, 0.0], quarter),
        ([0.088, 0.0, 0.0], quarter),
    ];
    let joints = frames.iter().enumerate().map(|(i, (at, roll))| {
        Joint::revolute(i.checked_sub(1), Pose::new(*at, [*roll, 0.0, 0.0]), [0.0, 0.0, 1.0])
    });
    let tree = KinematicTree::new(joints.collect::<Result<_, _>>()?)?;
    let at = |x: f64, y: f64, z: f64| [x, y, z];
    let capsules = [
        (0, at(0.0, 0.0, -0.19), at(0.0, 0.0, 0.0), 0.06),
        (1, at(0.0, 0.0, -0.06), at(0.0, 0.0, 0.06), 0.06),
        (2, at(0.0, 0.0, -0.145), at(0.0, 0.0, 0.0), 0.06),
        (3, at(0.0, 0.0, -0.06), at(0.0, 0.0, 0.06), 0.06),
        (4, at(0.0, 0.0, -0.26), at(0.0, 0.08, -0.13), 0.06),
        (5, at(0.0, 0.0, -0.03), at(0.08, 0.0, 0.0), 0.05),
        (6, at(0.0, 0.0, 0.05), at(0.0, 0.0, 0.21), 0.05),
    ];
    let mut model = CollisionModel::new(tree, limits)?;
    for (link, a, b, radius) in capsules {
        model = model.with_capsule(Capsule::new(link, a, b, radius)?)?;
    }
    let cell = Cuboid::new(Pose::at([0.2, 0.0, 0.6]), [0.8, 0.8, 0.7])?;
    let table = Cuboid::new(Pose::at([0.6, 0.0, -0.1]), [0.4, 0.8, 0.15])?;
    let shelf = Cuboid::new(Pose::new([0.3, 0.7, 0.6], [0.0, 0.0, 0.4]), [0.2, 0.15, 0.3])?;
    let ball = [0.5, -0.5, 0.4];
    model
        .with_workspace(cell, 2..7)?
        .with_keep_out(Zone::Box(table), 0..7)?
        .with_keep_out(Zone::Box(shelf), 0..7)?
        .with_keep_out(Zone::Capsule { a: ball, b: ball, radius: 0.15 }, 0..7)?
        .with_separation(6, 0)?
        .with_separation(6, 2)?
        .with_separation(5, 0)
}
