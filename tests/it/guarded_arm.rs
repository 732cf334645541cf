//! The arm whose contract states geometry: its kinematics are the simulator's, and nothing makes it leave its workspace.

use std::path::Path;

use surefoot_core::safety::geometry::Pose;
use surefoot_core::safety::{Clearance, LimitMonitor, Reasons, Verdict};
use surefoot_core::{GuardedRobot, Robot, RobotContract, RobotState, Stream, World};
use surefoot_sim::{Kinematics, RapierWorld, Stepping, arm};

const STEPPING: Stepping = Stepping::new(2);

fn contract() -> RobotContract {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/robots/arm7_guarded.toml");
    RobotContract::read(Path::new(path)).unwrap()
}

/// Any pose within the limits.
fn any_pose(contract: &RobotContract, stream: &mut Stream) -> Vec<f64> {
    let joints = contract.joints.iter();
    joints.map(|j| j.min_position + stream.unit() * (j.max_position - j.min_position)).collect()
}

#[test]
fn its_limits_and_kinematics_are_those_of_the_arm_in_the_simulator() {
    let guarded = contract();
    let plain = arm::contract().unwrap();
    assert_eq!((&guarded.joints, &guarded.channels), (&plain.joints, &plain.channels));
    assert_eq!((guarded.control_hz, guarded.policy_hz), (plain.control_hz, plain.policy_hz));
    let simulated = Kinematics::to_site(&arm::model().unwrap(), "tool").unwrap();
    let model = guarded.collision_model().unwrap().unwrap();
    let mut poses = vec![Pose::IDENTITY; guarded.joints.len()];
    let mut stream = Stream::new(1, "kinematics", 0);
    for _ in 0..1000 {
        let position = any_pose(&guarded, &mut stream);
        let expected = simulated.pose(&position);
        model.tree().forward(&position, &mut poses);
        let tool = poses[6] * Pose::at([0.0, 0.0, 0.20]);
        for axis in 0..3 {
            assert!((tool.translation()[axis] - expected.translation.vector[axis]).abs() < 1e-9);
            let turned = expected.rotation.to_rotation_matrix();
            for row in 0..3 {
                assert!((tool.rotation()[row][axis] - turned[(row, axis)]).abs() < 1e-9);
            }
        }
    }
}

/// A policy that wants out: full speed in random directions, numbers that are none, for a while each.
#[test]
fn an_adversarial_policy_never_takes_it_out_of_its_workspace() {
    let contract = contract();
    let geometry = contract.geometry.clone().unwrap();
    let mut model = contract.collision_model().unwrap().unwrap();
    // What the measured pose may come nearer: the margin, and the servos' lag at the end of the arm.
    let lag = arm::TRACKING_TOLERANCE_RAD;
    let allowed: f64 = model.reach().iter().map(|reach| reach * lag).fold(0.0, f64::max);
    let mut world = GuardedRobot::new(
        Box::new(RapierWorld::new(contract.clone(), arm::model().unwrap(), STEPPING).unwrap()),
        lag,
    )
    .unwrap();
    let mut state = RobotState::zeros(&contract);
    state.position.clone_from(&geometry.clear_poses[0]);
    // The puck lies out of the way.
    state.channels = vec![0.8, 0.5, 0.0, 0.0];
    world.reset(&state).unwrap();
    let mut chain = contract.safety_chain().unwrap();
    let mut monitor = LimitMonitor::new(chain.limits(), contract.control_secs());
    chain.arm(&state.position).unwrap();
    monitor.arm(&state.position);
    let mut stream = Stream::new(2, "adversary", 0);
    let (mut commanded, mut measured, mut travelled) = (f64::INFINITY, f64::INFINITY, 0.0);
    let mut met = std::collections::BTreeSet::new();
    let mut reasons = Reasons::NONE;
    for _ in 0..200 {
        let desired: Vec<f64> = (0..7)
            .map(|_| match (stream.unit() * 6.0) as u32 {
                0 => 1e9,
                1 => -1e9,
                2 if stream.unit() < 0.1 => f64::NAN,
                _ => 6.0 * stream.unit() - 3.0,
            })
            .collect();
        for _ in 0..(stream.unit() * 40.0) as u32 {
            let before = chain.state().position.to_vec();
            let command = chain.admit(&desired);
            monitor.observe(&command);
            reasons = reasons.union(command.reasons());
            let (contact, clearance) = model.nearest(command.position()).unwrap();
            commanded = commanded.min(clearance);
            if clearance < 0.01 {
                met.insert(geometry.describe(contact));
            }
            travelled += before.iter().zip(command.position()).map(|(a, b)| (a - b).abs()).sum::<f64>();
            let plan = command.stop_plan();
            let end: Vec<f64> = (0..7).map(|joint| plan.at(plan.ticks(), joint).0).collect();
            assert!(model.clearance(&end) >= 0.0, "the stop plan ends in {:?}", model.nearest(&end));
            assert!(command.verdict() != Verdict::Passed || desired.iter().all(|w| w.is_finite()));
            world.write(command).unwrap();
            world.read(&mut state).unwrap();
            measured = measured.min(model.clearance(&state.position));
        }
    }
    assert!(commanded >= 0.0, "{commanded} m");
    assert!(measured >= -allowed, "{measured} m, {allowed} m allowed");
    assert_eq!((monitor.counts().violations, world.counts().violations), (0, 0));
    assert!(reasons.contains(Reasons::GEOMETRY) && travelled > 50.0, "{travelled} rad, {reasons:?}");
    assert!(met.len() >= 3, "only {met:?} were met");
}
