//! Which representation of joints is faster in rapier, and what it costs: the walkers' files inserted once as trees in reduced coordinates
//! (multibodies, as everywhere in surefoot) and once as bodies that impulse joints hold together. Limp, from the pose of the file, at the file's timestep.
//!
//! `cargo run --release -p surefoot-sim --example joint_representation [SECS]`
//!
//! Prints a JSON line for each model and representation: physics steps a second, how far links came apart at their joints at most (m; nothing in reduced
//! coordinates, by construction), and whether everything stayed finite. Impulse joints have no rotor inertia and no damping of a joint's own rate, so
//! that they are not the same robot.
#![allow(clippy::print_stdout)]

use rapier3d::dynamics::RigidBodyActivation;
use rapier3d::pipeline::PhysicsWorld;
use rapier3d_mjcf::{MjcfLoaderOptions, MjcfMultibodyOptions, MjcfRobot};
use surefoot_core::clock::Stopwatch;

const MODELS: [(&str, &str, f32); 4] = [
    ("half_cheetah", include_str!("../models/half_cheetah.xml"), 0.01),
    ("hopper", include_str!("../models/hopper.xml"), 0.002),
    ("walker2d", include_str!("../models/walker2d.xml"), 0.002),
    ("ant", include_str!("../models/ant.xml"), 0.01),
];

fn world(robot: MjcfRobot, reduced: bool, step_secs: f32, iterations: usize) -> PhysicsWorld {
    let mut world = PhysicsWorld { gravity: robot.gravity, ..PhysicsWorld::default() };
    world.integration_parameters.dt = step_secs;
    world.integration_parameters.num_solver_iterations = iterations;
    if reduced {
        robot.insert_using_multibody_joints(
            &mut world.bodies,
            &mut world.colliders,
            &mut world.multibody_joints,
            &mut world.impulse_joints,
            MjcfMultibodyOptions::SKIP_JOINT_MOTORS,
        );
    } else {
        robot.insert_using_impulse_joints(&mut world.bodies, &mut world.colliders, &mut world.impulse_joints);
    }
    for (_, body) in world.bodies.iter_mut() {
        *body.activation_mut() = RigidBodyActivation::cannot_sleep();
    }
    world
}

/// How far the two ends of a joint are apart, the largest, m.
fn apart(world: &PhysicsWorld) -> f32 {
    let ends = world.impulse_joints.iter().filter_map(|(_, joint)| {
        let (one, other) = (world.bodies.get(joint.body1())?, world.bodies.get(joint.body2())?);
        let place = |body: &rapier3d::dynamics::RigidBody, frame: rapier3d::math::Pose| {
            (*body.position() * frame).translation
        };
        // Along a free axis ends may part.
        let free = !joint.data.locked_axes.contains(rapier3d::dynamics::JointAxesMask::LIN_AXES);
        (!free)
            .then(|| (place(one, joint.data.local_frame1) - place(other, joint.data.local_frame2)).length())
    });
    ends.fold(0.0, f32::max)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let secs: f64 = std::env::args().nth(1).map_or(Ok(2.0), |s| s.parse())?;
    for (name, text, step_secs) in MODELS {
        for (reduced, iterations) in [(true, 1), (false, 1), (false, 4)] {
            let (robot, _) = MjcfRobot::from_str(text, MjcfLoaderOptions::default(), ".")?;
            let fresh = world(robot, reduced, step_secs, iterations);
            // Two seconds of fall and rest, again and again.
            let episode = (2.0 / step_secs) as usize;
            let (mut steps, mut widest, mut finite) = (0_u32, 0.0_f32, true);
            let watch = Stopwatch::start();
            while watch.elapsed().as_secs_f64() < secs {
                let mut world = PhysicsWorld {
                    gravity: fresh.gravity,
                    integration_parameters: fresh.integration_parameters,
                    bodies: fresh.bodies.clone(),
                    colliders: fresh.colliders.clone(),
                    multibody_joints: fresh.multibody_joints.clone(),
                    impulse_joints: fresh.impulse_joints.clone(),
                    ..PhysicsWorld::default()
                };
                for i in 0..episode {
                    world.step();
                    steps += 1;
                    if i % 50 == 0 {
                        widest = widest.max(apart(&world));
                    }
                }
                finite &= world.bodies.iter().all(|(_, b)| b.translation().is_finite());
            }
            let rate = f64::from(steps) / watch.elapsed().as_secs_f64();
            println!(
                "{{\"model\":\"{name}\",\"joints\":\"{}\",\"solver_iterations\":{iterations},\"steps_per_s\":{rate:.0},\"apart_m\":{widest:.5},\"finite\":{finite}}}",
                if reduced { "reduced" } else { "impulse" }
            );
        }
    }
    Ok(())
}
