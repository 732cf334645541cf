//! What `verify` finds, each in a file that has it.

use surefoot_core::{Episode, StepEnd};
use surefoot_datasets::{OpenOptions, Recording, Severity, VerifyReport, info, open, stats, verify, write};

use crate::episodes::{episode, fixture, spec};

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
