//! The ROS 2 dialects over real zenoh on loopback: a served robot and the side that drives it, and what is said when they do not fit.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use surefoot_bridges::survey::{Obstacle, survey};
use surefoot_bridges::{
    Attached, LinkError, Purpose, RealRobot, RobotServer, ServeConfig, SessionConfig, attach,
};
use surefoot_core::clock::MonotonicClock;
use surefoot_core::contract::{LinkContract, LinkDialect, RmwZenohLink, Ros2ddsLink, RosCommand, TypeHashes};
use surefoot_core::{IdealRobot, Robot, RobotContract, RobotState};
use zenoh::Wait;

/// Nothing here takes so long; a test that waits longer has failed.
const PATIENCE_NANOS: i64 = 20_000_000_000;

fn contract() -> RobotContract {
    let joint = |name: &str| {
        format!(
            "[[joints]]\nname = \"{name}\"\nunit = \"rad\"\nmin_position = -1.5\nmax_position = 1.5\n\
             max_velocity = 2.0\nmax_acceleration = 12.0\n"
        )
    };
    let head = "name = \"arm\"\ncontrol_hz = 100.0\npolicy_hz = 10.0\n";
    let text = format!("{head}{}{}", joint("shoulder"), joint("elbow"));
    RobotContract::parse(&text, Path::new("arm.toml")).unwrap()
}

/// A served robot, and the contract by which it is attached.
fn served(dialect: LinkDialect) -> (RobotServer, RobotContract) {
    let link = LinkContract { dialect, ..LinkContract::at("tcp/127.0.0.1:0") };
    let config = ServeConfig {
        link: link.clone(),
        session: SessionConfig::listening("tcp/127.0.0.1:0", None),
        tracking_tolerance: 1e-9,
        resettable: false,
        log: None,
    };
    let world = RealRobot(Box::new(IdealRobot::new(contract()).at(&[0.3, -0.2]).live()));
    let server = RobotServer::start(Box::new(world), &config).unwrap();
    // The machine may be busy: what is judged here is not how fast it is.
    let link = LinkContract { endpoints: server.endpoints().to_vec(), state_timeout_ms: 20_000, ..link };
    (server, RobotContract { link: Some(link), ..contract() })
}

fn rmw(settings: RmwZenohLink) -> LinkDialect {
    LinkDialect::RmwZenoh(settings)
}

fn with(contract: &RobotContract, change: impl FnOnce(&mut LinkContract)) -> RobotContract {
    let mut changed = contract.clone();
    change(changed.link.as_mut().unwrap());
    changed
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let clock = MonotonicClock::start();
    let until = clock.now_nanos() + PATIENCE_NANOS;
    while !done() {
        assert!(clock.now_nanos() < until, "waited in vain: {what}");
        clock.sleep_until(clock.now_nanos() + 10_000_000);
    }
}

#[test]
fn a_robot_is_driven_in_every_dialect_and_by_every_kind_of_command() {
    for command in [RosCommand::JointTrajectory, RosCommand::JointCommand, RosCommand::Float64MultiArray] {
        for dialect in [
            rmw(RmwZenohLink { command, ..RmwZenohLink::default() }),
            LinkDialect::Ros2dds(Ros2ddsLink { command }),
        ] {
            let (server, contract) = served(dialect);
            let Attached { mut robot, scene, description, .. } = attach(&contract).unwrap();
            assert!(scene.is_none() && description.is_none(), "a ROS robot says nothing of either");
            let mut state = RobotState::zeros(&contract);
            robot.read(&mut state).unwrap();
            assert_eq!(state.position, [0.3, -0.2]);
            let mut chain = contract.safety_chain().unwrap();
            chain.arm(&state.position).unwrap();
            wait_for("the robot to follow", || {
                robot.write(chain.admit(&[0.5, -0.5])).unwrap();
                robot.read(&mut state).unwrap();
                state.position[0] > 0.35 && state.position[1] < -0.25
            });
            drop(robot);
            assert_eq!(server.stop().unwrap().counters.violations, 0, "{command:?}");
        }
    }
}

#[test]
fn a_wrong_hash_topic_or_type_is_told_and_not_waited_for_in_silence() {
    let (_server, contract) = served(rmw(RmwZenohLink::default()));
    let refused = |contract: &RobotContract| match attach(contract).err().unwrap() {
        LinkError::Peer { problem, .. } => problem.to_string(),
        other => panic!("{other}"),
    };
    let humble = RmwZenohLink { type_hashes: TypeHashes::NotSupported, ..RmwZenohLink::default() };
    let hash = refused(&with(&contract, |link| link.dialect = rmw(humble)));
    assert!(
        hash.contains("node surefoot_robot publishes /joint_states with type hash RIHS01_a13ee3a3"),
        "{hash}"
    );
    let topic = refused(&with(&contract, |link| link.topics.state = Some("/arm/joint_states".into())));
    assert!(
        topic.contains("nobody publishes /arm/joint_states; sensor_msgs/msg/JointState is on /joint_states"),
        "{topic}"
    );
    // States come; commands would not.
    let array = RmwZenohLink { command: RosCommand::Float64MultiArray, ..RmwZenohLink::default() };
    let same_topic = Some("/joint_trajectory_controller/joint_trajectory".to_owned());
    let kind = refused(&with(&contract, |link| {
        link.dialect = rmw(array);
        link.topics.command = same_topic;
    }));
    assert!(kind.contains("subscribes to") && kind.contains("command = \"joint_trajectory\""), "{kind}");
}

#[test]
fn names_that_do_not_fit_are_told() {
    let (_server, contract) = served(rmw(RmwZenohLink::default()));
    let mut other = contract;
    other.joints[1].name = "wrist".into();
    let message = attach(&other).err().unwrap().to_string();
    assert!(
        message.contains("joint wrist of the contract is missing; there are shoulder, elbow"),
        "{message}"
    );
}

#[test]
fn what_is_no_command_is_counted_and_moves_nothing() {
    let (server, contract) = served(rmw(RmwZenohLink::default()));
    let (session, _) =
        SessionConfig::to_robot(contract.link.as_ref().unwrap(), Purpose::Control).open().unwrap();
    let key = "0/joint_trajectory_controller/joint_trajectory/trajectory_msgs::msg::dds_::JointTrajectory_/\
               RIHS01_179b33eba59d676f6d967ac71fe35e7ca2f64b2f3928f4a018cec115e213796e";
    wait_for("every refusal", || {
        session.put(key, vec![0_u8; 100_000]).attachment([0_u8; 33]).wait().unwrap();
        session.put(key, [0_u8, 1, 0, 0, 9, 9]).attachment([0_u8; 33]).wait().unwrap();
        session.put(key, "no attachment").wait().unwrap();
        server.status().counters.refused_malformed >= 30
    });
    let status = server.stop().unwrap();
    assert_eq!((status.counters.executed, status.counters.violations), (0, 0));
}

#[test]
fn a_survey_says_who_publishes_what_and_what_stands_against_arming() {
    let (_server, contract) = served(rmw(RmwZenohLink::default()));
    let found = survey(&contract, 1.0).unwrap();
    let text = found.to_string();
    assert_eq!(found.state.unwrap().position, [0.3, -0.2]);
    assert!(found.heard.iter().any(|h| h.key.contains("/joint_states/") && h.hz > 0.0), "{text}");
    assert!(text.contains("node /surefoot_robot publishes /joint_states"), "{text}");
    // A busy machine may be slow.
    let grave = |o: &&Obstacle| !matches!(o, Obstacle::Rate { .. });
    assert_eq!(found.obstacles.iter().filter(grave).count(), 0, "{text}");
    let elsewhere = survey(&with(&contract, |link| link.topics.state = Some("/other".into())), 0.2).unwrap();
    let text = elsewhere.to_string();
    assert!(text.contains("nobody publishes /other"), "{text}");

    let (server, contract) = served(LinkDialect::default());
    let found = survey(&contract, 1.0).unwrap();
    assert_eq!(found.obstacles.iter().filter(grave).count(), 0, "{found}");
    assert!(found.clock.unwrap().bound_nanos.is_some(), "{found}");
    let mut narrow = contract.clone();
    narrow.joints[0].max_position = 0.2;
    let found = survey(&narrow, 0.2).unwrap();
    let other = |o: &Obstacle| matches!(o, Obstacle::Link(LinkError::Contract { .. }));
    assert!(found.obstacles.iter().any(other), "{found}");
    assert!(found.obstacles.iter().any(|o| matches!(o, Obstacle::Pose(_))), "{found}");
    let robot = attach(&contract).unwrap().robot;
    let found = survey(&contract, 1.0).unwrap();
    assert!(found.obstacles.iter().any(|o| matches!(o, Obstacle::Driven { .. })), "{found}");
    drop((robot, server));
}
