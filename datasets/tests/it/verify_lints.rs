//! Further findings of `verify`, each in a file that has it and none in one that has not; and how findings are overlooked or denied.

use hdf5_pure::GroupBuilder;
use surefoot_core::{EnvSpec, Episode, Field, StepEnd};
use surefoot_datasets::{
    LINTS, OpenOptions, Recording, Severity, VerifyOptions, VerifyReport, verify, verify_with, write,
};

use crate::episodes::{episode, fixture, spec};
use crate::hand_made::{self, array, observed};

fn written_as(spec: EnvSpec, steps: usize, edit: impl Fn(&mut Vec<Episode>)) -> VerifyReport {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("push.hdf5");
    let (o, a) = (spec.observation_dim(), spec.action_dim());
    let mut episodes: Vec<Episode> = (0..6).map(|i| episode(i, o, a, steps, 1)).collect();
    edit(&mut episodes);
    write(&path, &Recording::new(spec), &episodes).unwrap();
    verify(&path, &OpenOptions::default())
}

fn codes(report: &VerifyReport) -> Vec<&'static str> {
    report.findings.iter().map(|f| f.code).collect()
}

#[test]
fn steps_that_repeat_the_step_before_are_found() {
    let report = written_as(spec(5, 2), 6, |e| {
        let e = &mut e[2];
        e.observation.copy_within(0..5, 5);
        e.next_observation.copy_within(5..10, 0);
        e.action.copy_within(0..2, 2);
        e.next_observation[..5].copy_from_slice(&e.observation[5..10]);
    });
    assert_eq!(codes(&report), ["duplicate_row"], "{report}");
    assert_eq!(report.findings[0].place, "first in demo_2");
    assert!(report.findings[0].message.starts_with("1 steps (2.8 %)"));
    // The same observation with another action is a step of its own.
    let report = written_as(spec(5, 2), 6, |e| {
        let e = &mut e[2];
        e.observation.copy_within(0..5, 5);
        e.next_observation[..5].copy_from_slice(&e.observation[5..10]);
    });
    assert_eq!(codes(&report), [""; 0], "{report}");
}

#[test]
fn success_that_the_rewards_deny_is_found() {
    let report = written_as(spec(5, 2), 6, |e| e[4].reward.fill(-1.0));
    assert_eq!(codes(&report), ["success_contradicts_reward"], "{report}");
    assert_eq!(report.findings[0].place, "demo_4");
    let report = written_as(spec(5, 2), 6, |e| e[3].end[5] = StepEnd::Terminated);
    assert_eq!(codes(&report), ["success_contradicts_reward"], "{report}");
    assert_eq!(report.findings[0].place, "demo_3");
    // With rewards of many values nothing can be said.
    let report = written_as(spec(5, 2), 6, |e| {
        e[4].reward = vec![-0.9, -0.8, -0.7, -0.6, -0.5, -0.4];
    });
    assert_eq!(codes(&report), [""; 0], "{report}");
}

#[test]
fn a_channel_that_stands_still_in_one_episode_is_found() {
    let freeze = |e: &mut Episode| {
        e.observation.iter_mut().skip(4).step_by(5).for_each(|x| *x = 2.0);
        e.next_observation.iter_mut().skip(4).step_by(5).for_each(|x| *x = 2.0);
    };
    let report = written_as(spec(5, 2), 25, |e| freeze(&mut e[3]));
    assert_eq!(codes(&report), ["frozen_in_episode"], "{report}");
    assert_eq!(report.findings[0].place, "demo_3");
    assert!(report.findings[0].message.contains("q4 stands still throughout 1 of 6"));
    // A goal stands still in every episode.
    let report = written_as(spec(5, 2), 25, |e| e.iter_mut().for_each(freeze));
    assert_eq!(codes(&report), ["frozen_channel"], "{report}");
    let report = written_as(spec(5, 2), 25, |e| e[..4].iter_mut().for_each(freeze));
    assert_eq!(codes(&report), [""; 0], "{report}");
}

#[test]
fn numbers_that_look_like_another_unit_are_found() {
    let of = |name: &str, unit: &str, value: f32| {
        let spec = EnvSpec { observation: vec![Field::unbounded(name, unit)], ..spec(1, 2) };
        let report = written_as(spec, 6, |e| {
            e[1].observation[2] = value;
            e[1].next_observation[1] = value;
        });
        codes(&report)
    };
    assert_eq!(of("elbow", "rad", 90.0), ["suspect_angle_unit"]);
    assert_eq!(of("elbow", "rad", -12.0), [""; 0]);
    assert_eq!(of("elbow", "deg", 90.0), [""; 0]);
    assert_eq!(of("gripper_opening", "1", 255.0), ["suspect_gripper_unit"]);
    assert_eq!(of("gripper_opening", "1", 1.0), [""; 0]);
    assert_eq!(of("tool_x", "m", 450.0), ["suspect_length_unit"]);
    assert_eq!(of("tool_x", "m", 4.5), [""; 0]);
}

#[test]
fn actions_are_held_to_the_range_only_where_it_is_promised() {
    let report = verify(&fixture("peers/aloha"), &OpenOptions::default());
    assert!(!codes(&report).contains(&"action_out_of_range"), "{report}");
}

/// A file whose two episodes have these times, ns.
fn timed(times: &[i64; 12]) -> VerifyReport {
    let directory = tempfile::tempdir().unwrap();
    let demo = |i: usize, group: &mut GroupBuilder| {
        array(group, "actions", 12, 1);
        array(group, "rewards", 12, 1);
        observed(group, 12, 2);
        let stamps: Vec<i64> = times.iter().map(|t| 1_760_000_000_000_000_000 + t * i as i64).collect();
        let stamps = if i == 0 { (0..12).map(|t| t * 50_000_000).collect() } else { stamps };
        group.create_dataset("timestamps").with_i64_data(&stamps);
    };
    let path = hand_made::file_of(directory.path(), &[], 2, demo, &[]);
    verify(&path, &OpenOptions::default())
}

#[test]
fn times_in_a_file_are_read_with_all_their_digits() {
    let mut times: [i64; 12] = std::array::from_fn(|i| i as i64 * 50_000_000);
    let of = |times: &[i64; 12]| -> Vec<String> {
        let report = timed(times);
        let time = ["time_gap", "clock_jump", "duplicate_stamp", "rate_drift", "rate_mismatch"];
        let found = report.findings.iter().filter(|f| time.contains(&f.code));
        found.map(|f| format!("{} {}", f.code, f.place)).collect()
    };
    assert_eq!(of(&times), [""; 0]);
    times[9..].iter_mut().for_each(|t| *t += 150_000_001);
    assert_eq!(of(&times), ["time_gap data/demo_1/timestamps[8]"]);
    times[4] -= 60_000_000;
    assert_eq!(of(&times)[0], "clock_jump data/demo_1/timestamps[4]");
}

#[test]
fn findings_can_be_overlooked_and_warnings_denied() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("push.hdf5");
    let mut episodes: Vec<Episode> = (0..6).map(|i| episode(i, 5, 2, 6, 1)).collect();
    episodes[2].action[7] = 1.5;
    episodes[3].action[1] = f32::NAN;
    write(&path, &Recording::new(spec(5, 2)), &episodes).unwrap();
    let check = |allow: &[&str], deny_warnings| {
        let allow = allow.iter().map(|name| (*name).to_owned()).collect();
        let look = VerifyOptions { allow, deny_warnings, ..VerifyOptions::default() };
        let report = verify_with(&path, &OpenOptions::default(), &look);
        (report.passed(), report.findings.len(), report.allowed)
    };
    assert_eq!(check(&[], false), (false, 2, 0));
    assert_eq!(check(&["not_finite"], false), (true, 1, 1));
    assert_eq!(check(&["not_finite"], true), (false, 1, 1));
    assert_eq!(check(&["not_finite", "action_out_of_range"], true), (true, 0, 2));
}

#[test]
fn every_finding_has_a_name_in_the_list() {
    for file in [
        "robomimic_dones.hdf5",
        "contradiction.hdf5",
        "ragged.hdf5",
        "robosuite_1_4.hdf5",
        "nowhere.hdf5",
        "peers/aloha",
    ] {
        for finding in verify(&fixture(file), &OpenOptions::default()).findings {
            let lint =
                LINTS.iter().find(|l| l.name == finding.code).unwrap_or_else(|| panic!("{}", finding.code));
            assert!(finding.severity <= lint.severity, "{}", finding.code);
            assert!(finding.severity >= Severity::Info);
        }
    }
}
