//! Files as other producers write them.

use surefoot_core::{DataError, EpisodeSource, StepEnd};
use surefoot_datasets::{DoneMeans, OpenOptions, open, open_with};

use crate::episodes::fixture;

const ROBOMIMIC: &str = "robomimic_dones.hdf5";

fn has_note(source: &dyn EpisodeSource, words: &str) -> bool {
    source.meta().notes.iter().any(|n| n.contains(words))
}

#[test]
fn demos_come_in_the_order_of_their_numbers() {
    let source = open(&fixture(ROBOMIMIC)).unwrap();
    let names: Vec<String> = (0..3).map(|i| source.episode(i).unwrap().name).collect();
    assert_eq!(names, ["demo_0", "demo_2", "demo_10"]);
    assert_eq!(source.meta().masks, [("train".to_owned(), vec![0, 2]), ("valid".to_owned(), vec![1])]);
    assert_eq!(source.meta().env.as_deref(), Some("Lift"));
}

#[test]
fn images_and_empty_keys_are_left_out_of_the_row_and_named() {
    let source = open(&fixture(ROBOMIMIC)).unwrap();
    assert_eq!(source.meta().observation_keys, [("a_gripper".to_owned(), 1), ("eef_pos".to_owned(), 3)]);
    assert_eq!(source.meta().observation_dim, 4);
    assert!(has_note(&*source, "camera_image (uint8 [3, 2, 2, 3])"));
    assert!(has_note(&*source, "zero_width"));
    let all = source.episode(0).unwrap();

    let options = OpenOptions {
        observation_keys: Some(vec!["eef_pos".into(), "a_gripper".into()]),
        ..Default::default()
    };
    let chosen = open_with(&fixture(ROBOMIMIC), &options).unwrap().episode(0).unwrap();
    for t in 0..3 {
        assert_eq!(chosen.observation[4 * t..4 * t + 3], all.observation[4 * t + 1..4 * t + 4]);
        assert_eq!(chosen.observation[4 * t + 3], all.observation[4 * t]);
    }
    assert_eq!(all.next_observation[..8], all.observation[4..12], "next_obs is the recorded one");

    for key in ["camera_image", "nose"] {
        let options = OpenOptions { observation_keys: Some(vec![key.into()]), ..Default::default() };
        let error = open_with(&fixture(ROBOMIMIC), &options).err().unwrap().to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn an_ambiguous_done_is_said_and_can_be_chosen() {
    let last = |done_means| -> Vec<StepEnd> {
        let options = OpenOptions { done_means, ..Default::default() };
        let source = open_with(&fixture(ROBOMIMIC), &options).unwrap();
        assert!(has_note(&*source, "ambiguous_done"));
        (0..3).map(|i| *source.episode(i).unwrap().end.last().unwrap()).collect()
    };
    use StepEnd::{Terminated, Truncated};
    // demo_0 and demo_2 end with reward 1, demo_10 with 0.
    assert_eq!(last(DoneMeans::Auto), [Terminated, Terminated, Truncated]);
    assert_eq!(last(DoneMeans::Terminated), [Terminated; 3]);
    assert_eq!(last(DoneMeans::Truncated), [Truncated; 3]);
}

#[test]
fn long_attributes_stay_behind() {
    let source = open(&fixture(ROBOMIMIC)).unwrap();
    assert!(source.episode(0).unwrap().attributes.is_empty());
}

#[test]
fn flags_are_read_from_enums_integers_and_attributes_of_any_type() {
    let source = open(&fixture("robomimic_flags.hdf5")).unwrap();
    assert!(!has_note(&*source, "ambiguous_done"));
    let (first, second) = (source.episode(0).unwrap(), source.episode(1).unwrap());
    assert_eq!((first.success, second.success), (Some(true), Some(false)));
    assert_eq!(first.source.as_deref(), Some("human"));
    assert_eq!(first.attributes["note"], "fixed ascii");
    assert_eq!(first.attributes["gains"], "[1.5,2.5]");
    assert_eq!(first.end[4], StepEnd::Terminated);
    // Without next_obs the last truncated step has no successor and is left out; a terminated one is kept.
    assert_eq!((first.len(), second.len()), (5, 3));
    assert_eq!(second.end[2], StepEnd::Truncated);
    assert_eq!(first.next_observation[..20], first.observation[5..25]);
    assert_eq!(first.next_observation[20..], first.observation[20..], "any row will do beyond a termination");
}

#[test]
fn number_types_and_filters_make_no_difference() {
    let source = open(&fixture("robomimic_flags.hdf5")).unwrap();
    let episode = source.episode(0).unwrap();
    assert_eq!(
        source.meta().observation_keys,
        [("a".to_owned(), 2), ("b".to_owned(), 2), ("c".to_owned(), 1)]
    );
    for t in 0..5 {
        let x = 2.0 * t as f32;
        assert_eq!(episode.observation[5 * t..5 * t + 5], [x, x + 1.0, x, x + 1.0, x]);
        assert_eq!(episode.action[2 * t..2 * t + 2], [x / 16.0, (x + 1.0) / 16.0], "big-endian actions");
        assert_eq!(episode.reward[t], t as f32, "rewards of shape (T, 1) and type int16");
    }
}

#[test]
fn old_robosuite_files_count_from_one_and_lack_actions() {
    let source = open(&fixture("robosuite_0_3.hdf5")).unwrap();
    assert_eq!(source.meta().format, "robosuite");
    assert_eq!(source.meta().env.as_deref(), Some("SawyerLift"));
    assert_eq!((source.len(), source.meta().observation_dim, source.meta().action_dim), (2, 6, 4));
    let episode = source.episode(0).unwrap();
    assert_eq!(episode.name, "demo_1");
    assert_eq!(episode.attributes["model_file"], "model_1.xml", "here it is a file's name");
    assert_eq!(episode.len(), 3, "nothing follows the fourth state");
    assert_eq!(episode.next_observation[..12], episode.observation[6..18]);
    assert!(episode.reward.iter().all(|r| r.is_nan()), "unknown rewards are not zero");
    assert_eq!(*episode.end.last().unwrap(), StepEnd::Truncated);

    let options = OpenOptions {
        action_keys: Some(vec!["joint_velocities".into(), "left_dpos".into()]),
        ..Default::default()
    };
    let source = open_with(&fixture("robosuite_0_3.hdf5"), &options).unwrap();
    assert_eq!(source.meta().action_dim, 3);
    assert!(has_note(&*source, "left_dpos has no columns"));
    assert_eq!(source.episode(1).unwrap().action.len(), 9);
}

#[test]
fn newer_robosuite_files_hold_xml_and_wild_actions() {
    let source = open(&fixture("robosuite_1_4.hdf5")).unwrap();
    assert_eq!(source.meta().format, "robosuite");
    let (first, second) = (source.episode(0).unwrap(), source.episode(1).unwrap());
    assert!(!first.attributes.contains_key("model_file"));
    assert!(second.attributes["model_file"].starts_with("<mujoco>"));
    assert!(first.action.iter().any(|a| a.abs() > 1.0), "values are as in the file");
    assert!(has_note(&*source, "simulator states stand in"));
}

#[test]
fn contradictions_are_errors_unless_asked_otherwise() {
    let path = fixture("contradiction.hdf5");
    let error = open(&path).err().unwrap().to_string();
    assert!(error.contains("data@total") && error.contains("4 steps"), "{error}");
    let options = OpenOptions { lenient: true, ..Default::default() };
    assert_eq!(open_with(&path, &options).unwrap().episode(0).unwrap().len(), 2);
}

#[test]
fn ragged_arrays_are_named_with_both_lengths() {
    let error = open(&fixture("ragged.hdf5")).unwrap().episode(0).unwrap_err();
    let DataError::Shape { item, expected, found, .. } = error else { panic!("{error}") };
    assert_eq!(item, "data/demo_0/rewards");
    assert_eq!((expected.as_str(), found.as_str()), ("4 rows of 1", "3 rows of 1"));
}

#[test]
fn what_is_no_dataset_is_said_in_plain_words() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes.hdf5");
    std::fs::write(&path, "not HDF5 at all").unwrap();
    let error = open(&path).err().unwrap().to_string();
    assert!(error.contains("notes.hdf5") && error.contains("does not start as an HDF5 file"), "{error}");
    std::fs::write(&path, "").unwrap();
    assert!(matches!(open(&path), Err(DataError::Malformed { .. })));
    assert!(matches!(open(&directory.path().join("absent")), Err(DataError::Io { .. })));
}

#[test]
fn terminal_and_timeout_at_once_is_a_terminal_and_columns_of_one_number_are_vectors() {
    let source = open(&fixture("d4rl_columns.hdf5")).unwrap();
    assert_eq!((source.meta().format, source.len()), ("d4rl", 2));
    let (first, second) = (source.episode(0).unwrap(), source.episode(1).unwrap());
    assert_eq!(first.end, [StepEnd::Running, StepEnd::Running, StepEnd::Terminated], "d3rlpy PR 463");
    assert_eq!(
        (first.reward.as_slice(), second.reward.as_slice()),
        ([0.0, 1.0, 2.0].as_slice(), [3.0, 4.0, 5.0].as_slice())
    );
    assert_eq!(second.observation, [6.0, 7.0, 8.0, 9.0, 10.0, 11.0], "chunks that split the columns");
    assert_eq!(second.action[0], 6.0 / 16.0);
}

#[test]
fn layouts_that_are_not_read_are_named_by_what_stands_at_their_top() {
    for (name, top) in [("foreign_dm_control.hdf5", "CMU_001_01"), ("foreign_d3rlpy.hdf5", "actions_0")] {
        let error = open(&fixture(name)).err().unwrap().to_string();
        assert!(error.contains("HDF5 of no known layout") && error.contains(top), "{error}");
        let as_robomimic = OpenOptions { format: Some("robomimic".into()), ..OpenOptions::default() };
        assert!(open_with(&fixture(name), &as_robomimic).is_err());
    }
}

#[test]
fn one_group_under_many_names_does_not_become_many() {
    let path = fixture("hard_links.hdf5");
    let bytes = std::fs::metadata(&path).unwrap().len();
    let error = open(&path).err().unwrap().to_string();
    assert!(
        error.contains("one group stands under many names") && error.contains(&bytes.to_string()),
        "{error}"
    );
}

#[test]
fn a_large_file_that_is_no_hdf5_is_refused_by_its_first_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large.hdf5");
    // It takes no room on the disk, and reading all of it would take an hour.
    std::fs::File::create(&path).unwrap().set_len(4 << 40).unwrap();
    let as_robomimic = OpenOptions { format: Some("robomimic".into()), ..OpenOptions::default() };
    for options in [OpenOptions::default(), as_robomimic] {
        let error = open_with(&path, &options).err().unwrap().to_string();
        assert!(error.contains("does not start as an HDF5 file"), "{error}");
    }
}
