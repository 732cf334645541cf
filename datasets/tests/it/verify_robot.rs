//! What a robot's safety filter would have changed of a recording.

use std::path::Path;

use surefoot_core::{EnvSpec, Episode, Field, RobotContract, StepEnd};
use surefoot_datasets::{
    FilterBasis, JointActions, OpenOptions, Recording, VerifyOptions, VerifyReport, verify_with, write,
};

use crate::episodes::{episode, spec};

/// Two joints; at 100 Hz each can change its velocity by 0.1 rad/s from tick to tick.
const CONTRACT: &str = r#"
name = "two_joints"
control_hz = 100.0
policy_hz = 10.0
scaling = "per_joint"
[[joints]]
name = "a"
unit = "rad"
min_position = -3.0
max_position = 3.0
max_velocity = 1.0
max_acceleration = 10.0
[[joints]]
name = "b"
unit = "rad"
min_position = -3.0
max_position = 3.0
max_velocity = 1.0
max_acceleration = 10.0
"#;

fn contract() -> RobotContract {
    RobotContract::parse(CONTRACT, Path::new("two_joints.toml")).unwrap()
}

fn joint_spec(action: Vec<Field>) -> EnvSpec {
    EnvSpec {
        observation: vec![Field::unbounded("b", "rad"), Field::unbounded("a_position", "rad")],
        action,
        step_secs: 0.1,
        contract_hash: Some(contract().hash()),
        ..spec(2, 2)
    }
}

/// An episode that starts at `start` (a, b) with these actions.
fn acting(start: [f32; 2], actions: &[[f32; 2]]) -> Episode {
    let steps = actions.len();
    let mut end = vec![StepEnd::Running; steps];
    end[steps - 1] = StepEnd::Truncated;
    Episode {
        observation: [start[1], start[0]].repeat(steps),
        next_observation: [start[1], start[0]].repeat(steps),
        action: actions.concat(),
        reward: vec![-1.0; steps],
        end,
        ..Episode::default()
    }
}

fn judged(spec: EnvSpec, episodes: &[Episode], actions: Option<JointActions>) -> VerifyReport {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("teleop.hdf5");
    let episodes: Vec<Episode> = episodes
        .iter()
        .enumerate()
        .map(|(i, e)| Episode { name: format!("demo_{i}"), ..e.clone() })
        .collect();
    write(&path, &Recording::new(spec), &episodes).unwrap();
    let contract = contract();
    let look = VerifyOptions { robot: Some(&contract), actions, ..VerifyOptions::default() };
    verify_with(&path, &OpenOptions::default(), &look)
}

fn message<'a>(report: &'a VerifyReport, code: &str) -> Option<&'a str> {
    report.findings.iter().find(|f| f.code == code).map(|f| f.message.as_str())
}

fn velocities() -> EnvSpec {
    // -1 and 1 stand for 2 rad/s; `b` comes first.
    let field = |name: &str| Field::bounded(name, "rad/s", -2.0, 2.0);
    joint_spec(vec![field("b_velocity"), field("a_velocity")])
}

#[test]
fn the_ticks_that_the_filter_changes_are_counted_by_joint() {
    // Joint a is asked for 0.45, 0.45, 0 and 2 rad/s, for ten ticks each. From rest four ticks fall short of 0.45, and so do four on the way
    // back; of 2 rad/s all do, and the first by 1.9.
    let one = acting([0.0, 0.0], &[[0.0, 0.225], [0.0, 0.225], [0.0, 0.0], [0.0, 1.0]]);
    let calm = acting([0.5, 0.5], &[[0.0, 0.0], [0.0, 0.04]]);
    let report = judged(velocities(), &[one, calm], None);
    let filter = report.filter.as_ref().unwrap();
    assert_eq!(filter.basis, FilterBasis::FilteredTicks);
    assert_eq!(filter.actions, Some(JointActions::Velocities));
    assert_eq!((filter.episodes, filter.judged, filter.changed), (2, 60, 18));
    assert_eq!((filter.channels[0].name.as_str(), filter.channels[0].changed), ("a", 18));
    assert!((filter.channels[0].largest_change - 1.9).abs() < 1e-9, "{filter}");
    assert_eq!((filter.channels[1].changed, filter.channels[1].largest_change), (0, 0.0));
    assert!(message(&report, "safety_filter_changes").unwrap().contains("30.0 %"), "{report}");
    assert!(report.to_string().contains("18 of 60 control ticks changed (30.0 %)"), "{report}");
    assert_eq!(message(&report, "other_contract"), None);
}

#[test]
fn actions_that_the_robot_can_follow_are_not_changed() {
    let calm = acting([0.5, 0.5], &[[0.02, 0.04], [0.0, 0.0]]);
    let report = judged(velocities(), &[calm], None);
    assert_eq!(report.filter.as_ref().unwrap().changed, 0);
    assert_eq!(message(&report, "safety_filter_changes"), None);
}

#[test]
fn positions_are_followed_from_action_to_action() {
    let fields = vec![Field::unbounded("a_target", "rad"), Field::unbounded("b_target", "rad")];
    let slow = acting([0.0, 0.0], &[[0.008, 0.0], [0.016, 0.0], [0.024, 0.0]]);
    let report = judged(joint_spec(fields.clone()), &[slow], None);
    let filter = report.filter.as_ref().unwrap();
    assert_eq!((filter.actions, filter.judged, filter.changed), (Some(JointActions::Positions), 30, 0));
    // A radian in a tenth of a second is ten times too fast: no tick reaches it.
    let jump = acting([0.0, 0.0], &[[1.0, 0.0]]);
    let report = judged(joint_spec(fields), &[jump], None);
    let filter = report.filter.as_ref().unwrap();
    assert_eq!((filter.judged, filter.channels[0].changed, filter.channels[1].changed), (10, 10, 0));
    assert!((filter.channels[0].largest_change - 9.9).abs() < 1e-9, "{filter}");
}

#[test]
fn episodes_that_start_outside_the_limits_are_told() {
    let calm = acting([0.5, 0.5], &[[0.0, 0.0]]);
    let outside = acting([3.5, 0.5], &[[0.0, 0.0]]);
    let report = judged(velocities(), &[calm, outside], None);
    let filter = report.filter.as_ref().unwrap();
    assert_eq!((filter.episodes, filter.not_started, filter.judged), (1, 1, 10));
    assert!(message(&report, "start_outside_limits").unwrap().contains("1 episodes"), "{report}");
}

#[test]
fn what_cannot_be_judged_says_why() {
    let proposals = |with: bool| {
        let mut e = episode(0, 5, 2, 6, 1);
        if !with {
            e.proposed.clear();
        }
        e
    };
    // Actions in task space, without and with what was proposed.
    let report = judged(spec(5, 2), &[proposals(false)], None);
    assert!(report.filter.is_none());
    let why = message(&report, "filter_not_judged").unwrap();
    assert!(why.contains("the robot's joints are a, b, the dataset's actions are v0, v1"), "{why}");
    let report = judged(spec(5, 2), &[proposals(true)], None);
    let filter = report.filter.as_ref().unwrap();
    assert_eq!((filter.basis, filter.judged, filter.changed), (FilterBasis::RecordedSteps, 6, 6));
    assert!(message(&report, "safety_filter_changes").is_some());
    assert!(message(&report, "other_contract").unwrap().starts_with("recorded under contract c0ffee"));
    // Told what they are, they are judged only where an episode says where it starts, and at the robot's rate.
    let report = judged(spec(5, 2), &[proposals(false)], Some(JointActions::Velocities));
    assert!(message(&report, "filter_not_judged").unwrap().contains("joints' positions"), "{report}");
    let slow = EnvSpec { step_secs: 0.2, ..velocities() };
    let report = judged(slow, &[acting([0.0, 0.0], &[[0.0, 0.0]])], None);
    assert!(message(&report, "filter_not_judged").unwrap().contains("resample"), "{report}");
}
