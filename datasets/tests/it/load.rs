//! What learning is protected from.

use surefoot_core::{DataError, EnvSpec, Episode};
use surefoot_datasets::{LoadOptions, OutOfRange, Recording, load, open, write};

use crate::episodes::{episode, fixture, spec};

fn file(directory: &tempfile::TempDir, edit: impl Fn(&mut Episode)) -> std::path::PathBuf {
    let path = directory.path().join("push.hdf5");
    let mut episodes: Vec<Episode> = (0..3).map(|i| episode(i, 5, 2, 6, 1)).collect();
    edit(&mut episodes[1]);
    write(&path, &Recording::new(spec(5, 2)), &episodes).unwrap();
    path
}

fn refused(edit: impl Fn(&mut Episode), task: &EnvSpec, options: &LoadOptions) -> DataError {
    let directory = tempfile::tempdir().unwrap();
    load(&*open(&file(&directory, edit)).unwrap(), task, options).unwrap_err()
}

#[test]
fn nan_is_refused_with_its_file_array_and_row() {
    type Edit = fn(&mut Episode);
    let edits: [(&str, Edit); 4] = [
        ("observation", |e| e.observation[5 * 3] = f32::NAN),
        ("next_observation", |e| e.next_observation[5 * 3 + 4] = f32::INFINITY),
        ("action", |e| e.action[2 * 3 + 1] = f32::NAN),
        ("reward", |e| e.reward[3] = f32::NEG_INFINITY),
    ];
    for (array, edit) in edits {
        let error = refused(edit, &spec(5, 2), &LoadOptions::default());
        let DataError::NotFinite { item, row, path, .. } = &error else { panic!("{error}") };
        assert_eq!((item.as_str(), *row), (format!("episode 1 (demo_1) {array}").as_str(), 3));
        assert!(path.ends_with("push.hdf5"));
    }
}

#[test]
fn another_task_is_refused_with_the_first_difference() {
    let same = spec(5, 2);
    let other = |edit: fn(&mut EnvSpec)| {
        let mut s = spec(5, 2);
        edit(&mut s);
        refused(|_| {}, &s, &LoadOptions::default()).to_string()
    };
    assert!(
        refused(|_| {}, &spec(5, 3), &LoadOptions::default())
            .to_string()
            .contains("action dimension: expected 3, found 2")
    );
    assert!(
        refused(|_| {}, &spec(4, 2), &LoadOptions::default())
            .to_string()
            .contains("observation dimension: expected 4, found 5")
    );
    assert!(
        other(|s| s.action[1].unit = "N m".into()).contains("action[1] (v1) unit: expected N m, found rad/s")
    );
    assert!(other(|s| s.observation[0].name = "elbow".into()).contains("observation[0] name"));
    assert!(other(|s| s.action[0].high = Some(9.0)).contains("bounds"));
    assert!(other(|s| s.step_secs = 0.1).contains("step_secs"));
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory, |_| {});
    let changed = EnvSpec { contract_hash: Some("other".into()), ..same };
    let loaded = load(&*open(&path).unwrap(), &changed, &LoadOptions::default()).unwrap();
    assert!(loaded.report.notes.iter().any(|n| n.contains("contract changed")));
}

#[test]
fn actions_beyond_the_range_are_clipped_and_counted_or_refused() {
    let edit = |e: &mut Episode| {
        e.action[4] = -3.75;
        e.action[5] = 1.001;
    };
    let error =
        refused(edit, &spec(5, 2), &LoadOptions { out_of_range: OutOfRange::Reject, ..Default::default() });
    assert!(error.to_string().contains("episode 1 (demo_1) action[2][0]"), "{error}");
    let directory = tempfile::tempdir().unwrap();
    let loaded =
        load(&*open(&file(&directory, edit)).unwrap(), &spec(5, 2), &LoadOptions::default()).unwrap();
    assert_eq!(loaded.report.clipped, 2);
    assert_eq!(loaded.episodes[1].action[4..6], [-1.0, 1.0]);
}

#[test]
fn missing_rewards_are_refused_unless_a_value_is_given() {
    let source = open(&fixture("robosuite_1_4.hdf5")).unwrap();
    let task = spec(6, 2);
    let error = load(&*source, &task, &LoadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("missing_reward"), "{error}");
    let options = LoadOptions { missing_reward: Some(0.0), max_episodes: Some(1), ..Default::default() };
    let loaded = load(&*source, &task, &options).unwrap();
    assert_eq!((loaded.report.episodes, loaded.report.filled_rewards), (1, 1));
    assert_eq!(loaded.episodes[0].reward, [0.0; 3]);
}

#[test]
fn an_unknown_mask_is_refused_with_the_known_ones() {
    let source = open(&fixture("robomimic_dones.hdf5")).unwrap();
    let options = LoadOptions { mask: Some("test".into()), ..Default::default() };
    let error = load(&*source, &spec(4, 2), &options).unwrap_err().to_string();
    assert!(error.contains("mask: expected train, valid, found test"), "{error}");
}

#[test]
fn rewards_outside_the_range_of_the_task_are_refused_with_their_place() {
    let narrow = |low, high| EnvSpec { reward_range: Some((low, high)), ..spec(5, 2) };
    let error = refused(|_| {}, &narrow(-0.5, 0.0), &LoadOptions::default()).to_string();
    assert!(error.contains("episode 0 (demo_0) step 0 reward: expected -0.5 to 0"), "{error}");
    assert!(
        error.contains("found -1") && error.contains("`reward_range` (widen it, or leave it out"),
        "{error}"
    );
    let error = refused(|e| e.reward[3] = 2.5, &spec(5, 2), &LoadOptions::default()).to_string();
    assert!(error.contains("episode 1 (demo_1) step 3 reward: expected -1 to 0"), "{error}");
    assert!(error.contains("push.hdf5") && error.contains("found 2.5"), "{error}");

    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory, |e| e.reward[3] = 2.5);
    for range in [None, Some((-1.0, 2.5)), Some((f32::NEG_INFINITY, 2.5))] {
        let task = EnvSpec { reward_range: range, ..spec(5, 2) };
        load(&*open(&path).unwrap(), &task, &LoadOptions::default()).unwrap();
    }
}

#[test]
fn rewards_are_held_against_the_range_up_to_rounding() {
    for (excess, fits) in [(5e-7, true), (2e-6, false)] {
        let directory = tempfile::tempdir().unwrap();
        let path = file(&directory, |e| e.reward[3] = excess);
        let loaded = load(&*open(&path).unwrap(), &spec(5, 2), &LoadOptions::default());
        assert_eq!(loaded.is_ok(), fits, "{excess}");
    }
}

#[test]
fn a_filled_in_reward_is_held_against_the_range_too() {
    let source = open(&fixture("robosuite_1_4.hdf5")).unwrap();
    let options = LoadOptions { missing_reward: Some(1.0), ..Default::default() };
    let error = load(&*source, &spec(6, 2), &options).unwrap_err().to_string();
    assert!(error.contains("step 0 reward: expected -1 to 0") && error.contains("found 1"), "{error}");
}
