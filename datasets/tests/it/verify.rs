//! What `verify` finds, each in a file that has it.

use hdf5_pure::GroupBuilder;
use surefoot_core::{EnvSpec, Episode, StepEnd};
use surefoot_datasets::{
    OpenOptions, Recording, Severity, VerifyReport, info, open, open_with, stats, verify, write,
};

use crate::episodes::{episode, fixture, spec};
use crate::hand_made::{self, array, observed, sound};

fn check(path: &std::path::Path) -> VerifyReport {
    verify(path, &OpenOptions::default())
}

fn found(report: &VerifyReport, code: &str) -> Option<(Severity, String, String)> {
    let f = report.findings.iter().find(|f| f.code == code)?;
    Some((f.severity, f.place.clone(), f.message.clone()))
}

fn written(edit: impl Fn(&mut Vec<Episode>)) -> VerifyReport {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("push.hdf5");
    let mut episodes: Vec<Episode> = (0..6).map(|i| episode(i, 5, 2, 6, 1)).collect();
    edit(&mut episodes);
    write(&path, &Recording::new(spec(5, 2)), &episodes).unwrap();
    check(&path)
}

#[test]
fn a_sound_file_passes_without_a_finding() {
    let report = written(|_| {});
    assert_eq!(report.findings, []);
    assert!(report.passed());
    assert_eq!((report.episodes, report.steps), (6, 36));
}

#[test]
fn each_fault_is_found_where_it_is() {
    type Edit = fn(&mut Vec<Episode>);
    let faults: [(&str, Severity, &str, Edit); 9] = [
        ("not_finite", Severity::Error, "demo_2 action[3]", |e| e[2].action[7] = f32::NAN),
        ("action_out_of_range", Severity::Warning, "v1", |e| e[2].action[7] = 1.5),
        ("action_saturated", Severity::Info, "actions", |e| e[2].action[7] = -1.0),
        ("frozen_channel", Severity::Warning, "q4 = 2", |e| {
            for e in e {
                e.observation.iter_mut().skip(4).step_by(5).for_each(|x| *x = 2.0);
                e.next_observation.iter_mut().skip(4).step_by(5).for_each(|x| *x = 2.0);
            }
        }),
        ("duplicate_episode", Severity::Warning, "demo_4 = demo_1", |e| {
            let name = e[4].name.clone();
            e[4] = Episode { name, ..e[1].clone() };
        }),
        ("numbering_gap", Severity::Warning, "demo_5, demo_6, demo_7", |e| e[5].name = "demo_8".into()),
        ("constant_reward", Severity::Warning, "rewards", |e| e.iter_mut().for_each(|e| e.reward.fill(-1.0))),
        ("broken_chain", Severity::Warning, "demo_3 next_observation[2]", |e| {
            e[3].next_observation[11] += 1.0;
        }),
        ("time_limit_as_termination", Severity::Warning, "ends", |e| {
            e.iter_mut().for_each(|e| e.end[5] = StepEnd::Terminated);
        }),
    ];
    for (code, severity, place, edit) in faults {
        let report = written(edit);
        let (s, p, _) = found(&report, code).unwrap_or_else(|| panic!("{code} not found: {report}"));
        assert_eq!((s, p.as_str()), (severity, place), "{code}");
        assert_eq!(report.passed(), severity < Severity::Error, "{report}");
    }
}

#[test]
fn faults_of_the_file_itself_are_errors() {
    let report = check(&fixture("contradiction.hdf5"));
    let messages: Vec<&str> = report.findings.iter().map(|f| f.message.as_str()).collect();
    assert_eq!(report.count(Severity::Error), 2, "{report}");
    assert!(messages[0].contains("data@total") && messages[1].contains("demo_7"));
    assert!(found(&check(&fixture("ragged.hdf5")), "ragged").unwrap().2.contains("data/demo_0/rewards"));
    assert!(!check(&fixture("nowhere.hdf5")).passed());
    assert_eq!(
        found(&check(&fixture("robomimic_dones.hdf5")), "ambiguous_done").unwrap().0,
        Severity::Warning
    );
    assert!(
        found(&check(&fixture("robomimic_dones.hdf5")), "numbering_gap").unwrap().2.contains("8 numbers")
    );
    assert!(found(&check(&fixture("robosuite_1_4.hdf5")), "no_reward").is_some());
}

#[test]
fn reports_are_readable_and_serialise() {
    let path = fixture("robomimic_dones.hdf5");
    let i = info(&path, &OpenOptions::default()).unwrap();
    assert!(
        i.arrays.iter().any(|a| a.path == "data/demo_0/obs/camera_image" && a.info.shape == [3, 2, 2, 3])
    );
    let text = i.to_string();
    assert!(text.contains("eef_pos [3]") && text.contains("train (2), valid (1)"), "{text}");
    let s = stats(&*open(&path).unwrap()).unwrap();
    assert_eq!(s.total.episodes, 3);
    assert_eq!(s.total.length.unwrap().mean, 3.0);
    assert_eq!(s.reward_values, Some(vec![0.0, 1.0]));
    assert!(s.to_string().contains("eef_pos[2]"));
    let v = check(&path);
    assert!(v.to_string().contains("warning[ambiguous_done]"));
    for json in [
        serde_json::to_value(&i).unwrap(),
        serde_json::to_value(&s).unwrap(),
        serde_json::to_value(&v).unwrap(),
    ] {
        assert!(json.get("path").is_some());
    }
}

#[test]
fn rewards_outside_the_recorded_range_are_found() {
    let report = written(|e| {
        e[2].reward[3] = 2.0;
        e[4].reward[0] = -1.5;
        e[5].reward[0] = 5e-7;
    });
    let (severity, place, message) = found(&report, "reward_out_of_range").unwrap();
    assert_eq!((severity, place.as_str()), (Severity::Error, "demo_2 reward[3]"));
    assert_eq!(message, "2 of 36 rewards lie outside the file's own range, -1 to 0; the first is 2");
    assert!(!report.passed());
}

#[test]
fn a_header_whose_rows_are_not_those_of_the_arrays_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let header = |observation_dim, action_dim, units: &str| {
        let spec =
            serde_json::to_string(&EnvSpec { reward_range: None, ..spec(observation_dim, action_dim) });
        hand_made::file(directory.path(), &[("env_spec", &spec.unwrap()), ("action_units", units)], sound)
    };
    assert!(check(&header(2, 1, "rad/s")).passed());
    let path = header(3, 2, "rad/s");
    let report = check(&path);
    let of: Vec<&str> =
        report.findings.iter().filter(|f| f.code == "contradiction").map(|f| f.message.as_str()).collect();
    assert_eq!(of.len(), 2, "{report}");
    assert!(
        of[0].contains("data@env_spec: observation: expected a row of 3, found arrays with rows of 2"),
        "{report}"
    );
    assert!(
        of[1].contains("data@env_spec: action: expected a row of 2, found arrays with rows of 1"),
        "{report}"
    );
    assert!(!report.passed());
    assert_eq!(info(&path, &OpenOptions::default()).unwrap().problems.len(), 2);
    assert!(open(&path).is_err(), "such a file is not read without being told to");

    // Whoever chooses keys chooses another row than was recorded.
    let options = OpenOptions {
        observation_keys: Some(vec!["flat".into()]),
        action_keys: Some(vec!["actions".into()]),
        ..OpenOptions::default()
    };
    assert_eq!(found(&verify(&path, &options), "contradiction"), None);
}

#[test]
fn units_that_are_not_one_for_each_action_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = hand_made::file(directory.path(), &[("action_units", "rad")], |demo| {
        array(demo, "actions", 4, 2);
        observed(demo, 4, 2);
    });
    let (severity, _, message) = found(&check(&path), "contradiction").unwrap();
    assert_eq!(severity, Severity::Error);
    assert!(
        message.contains("data@action_units: expected a row of 1, found arrays with rows of 2"),
        "{message}"
    );
}

#[test]
fn env_args_that_are_not_json_are_found() {
    let directory = tempfile::tempdir().unwrap();
    for (text, why) in [("{'env_name': 'Lift'}", "line 1 column 2"), ("[3]", "expected a map"), ("", "EOF")] {
        let report = check(&hand_made::file(directory.path(), &[("env_args", text)], sound));
        let (severity, place, message) = found(&report, "bad_env_args").unwrap();
        assert_eq!((severity, place.as_str()), (Severity::Warning, "data@env_args"));
        assert!(message.contains("not a JSON object") && message.contains(why), "{message}");
        assert!(report.passed(), "the episodes can be used");
    }
    let sound_args = r#"{"env_name": "Lift", "type": 1, "env_kwargs": {}}"#;
    let report = check(&hand_made::file(directory.path(), &[("env_args", sound_args)], sound));
    assert_eq!(found(&report, "bad_env_args"), None);
}

#[test]
fn an_episode_that_cannot_be_read_is_not_called_missing() {
    let directory = tempfile::tempdir().unwrap();
    let demo = |i: usize, group: &mut GroupBuilder| {
        array(group, "actions", 4, 1);
        array(group, "rewards", 4 + usize::from(i == 1), 1);
        observed(group, 4, 2);
    };
    let report = check(&hand_made::file_of(directory.path(), &[], 3, demo, &[]));
    assert!(found(&report, "ragged").unwrap().2.contains("data/demo_1/rewards"), "{report}");
    assert_eq!(found(&report, "numbering_gap"), None);
}

#[test]
fn a_gap_of_any_size_is_counted_and_its_start_is_named() {
    let report = written(|e| e[5].name = "demo_4000000000".into());
    let (_, place, message) = found(&report, "numbering_gap").unwrap();
    assert_eq!(message, "3999999995 numbers are missing in the names");
    assert!(place.starts_with("demo_5, demo_6") && place.ends_with("demo_12 and 3999999987 more"), "{place}");
}

#[test]
fn an_episode_that_a_mask_lists_twice_is_found_and_taken_once() {
    let directory = tempfile::tempdir().unwrap();
    let mask = ["demo_0", "demo_2", "demo_2"];
    let path = hand_made::file_of(directory.path(), &[], 3, |_, group| sound(group), &mask);
    let message = found(&check(&path), "contradiction").unwrap().2;
    assert!(message.contains("mask/train: expected every episode once, found 1 listed again"), "{message}");
    let lenient = OpenOptions { lenient: true, ..OpenOptions::default() };
    assert_eq!(open_with(&path, &lenient).unwrap().meta().masks, [("train".to_owned(), vec![0, 2])]);

    let recording = Recording { masks: vec![("train".into(), vec![0, 2, 2])], ..Recording::new(spec(5, 2)) };
    let episodes: Vec<Episode> = (0..3).map(|i| episode(i, 5, 2, 6, 1)).collect();
    let error = write(&directory.path().join("push.hdf5"), &recording, &episodes).unwrap_err().to_string();
    assert!(error.contains("mask/train: expected every episode once, found episode 2 twice"), "{error}");
}
