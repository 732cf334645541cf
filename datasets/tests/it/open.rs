//! What is opened, what is refused, and in which words.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use surefoot_core::DataError;
use surefoot_datasets::{OpenOptions, info, open, open_with, stats, verify};

use crate::episodes::fixture;
use crate::hand_made::{array, file, no_columns, observed, sound};

fn refused(path: &Path) -> String {
    open(path).err().unwrap().to_string()
}

fn format(name: &str) -> OpenOptions {
    OpenOptions { format: Some(name.into()), ..Default::default() }
}

#[test]
fn the_named_format_is_used_by_open_info_verify_and_stats() {
    // Both formats can read it; robomimic is what it is taken for.
    let path = fixture("robomimic_dones.hdf5");
    assert_eq!(open(&path).unwrap().meta().format, "robomimic");
    let source = open_with(&path, &format("robosuite")).unwrap();
    assert_eq!(source.meta().format, "robosuite");
    assert_eq!(stats(&*source).unwrap().total.episodes, 3);
    assert_eq!(info(&path, &format("robosuite")).unwrap().format, "robosuite");
    assert_eq!(verify(&path, &format("robosuite")).format, Some("robosuite"));

    // D4RL has no such arrays.
    let error = info(&path, &format("d4rl")).unwrap_err().to_string();
    assert!(error.contains("observations: expected present"), "{error}");
    assert!(!verify(&path, &format("d4rl")).passed());
}

#[test]
fn an_unknown_format_is_refused_with_the_known_ones() {
    let path = fixture("robomimic_dones.hdf5");
    let errors =
        [open_with(&path, &format("rosbag")).err().unwrap(), info(&path, &format("rosbag")).unwrap_err()];
    for error in errors {
        let DataError::Shape { item, expected, found, .. } = &error else { panic!("{error}") };
        assert!(item.contains("format") && expected.contains("robomimic, robosuite, d4rl"), "{error}");
        assert_eq!(found, "rosbag");
    }
    let report = verify(&path, &format("rosbag"));
    assert!(
        !report.passed() && report.findings[0].message.contains("robomimic, robosuite, d4rl"),
        "{report}"
    );
}

#[test]
fn what_is_not_a_regular_file_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    assert!(refused(directory.path()).contains("is a directory"), "{}", refused(directory.path()));
    let pipe = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let socket = directory.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    for path in [&pipe, &socket, Path::new("/dev/zero")] {
        let error = refused(path);
        assert!(error.contains("is not a regular file") && error.contains("save the data"), "{error}");
        assert!(matches!(open(path), Err(DataError::Io { .. })));
        assert!(!verify(path, &OpenOptions::default()).passed());
    }
    let link = directory.path().join("link.hdf5");
    symlink(fixture("robomimic_dones.hdf5"), &link).unwrap();
    assert_eq!(open(&link).unwrap().len(), 3);
    let loose = directory.path().join("loose.hdf5");
    symlink(directory.path().join("absent"), &loose).unwrap();
    assert!(
        matches!(open(&loose), Err(DataError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound)
    );
}

#[test]
fn a_named_format_is_told_what_it_was_given_instead() {
    let directory = tempfile::tempdir().unwrap();
    let error = open_with(directory.path(), &format("robomimic")).err().unwrap().to_string();
    assert!(error.contains("is a directory"), "{error}");
    let text = directory.path().join("notes.txt");
    std::fs::write(&text, "hello").unwrap();
    let error = open_with(&text, &format("d4rl")).err().unwrap().to_string();
    assert!(error.contains("does not start as an HDF5 file"), "{error}");
    let error = refused(&text);
    assert!(error.contains("[68 65 6c 6c 6f]") && error.contains("robomimic, robosuite, d4rl"), "{error}");
    let error = refused(directory.path());
    assert!(error.contains("is a directory of no known layout; it holds [notes.txt]"), "{error}");
}

#[test]
fn hdf5_behind_a_user_block_is_seen_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("behind.hdf5");
    for block in [512, 2048, 65536] {
        let mut bytes = vec![0; block];
        bytes.extend(std::fs::read(fixture("robomimic_dones.hdf5")).unwrap());
        std::fs::write(&path, bytes).unwrap();
        // The addresses inside are those of the file without the block, so it need not be readable.
        assert!(!open(&path).err().is_some_and(|e| e.to_string().contains("nor is it of another known")));
    }
}

#[test]
fn text_in_place_of_numbers_is_named_as_text_with_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let words = ["up", "down", "left", "right"];
    let fixed = file(directory.path(), &[], |demo| {
        demo.create_dataset("actions").with_ascii_strings(&words).unwrap();
        array(demo, "rewards", 4, 1);
        observed(demo, 4, 2);
    });
    let expected = "data/demo_0/actions: expected numbers (write the array as float32), found text";
    assert!(refused(&fixed).contains(expected), "{}", refused(&fixed));
    let flexible = file(directory.path(), &[], |demo| {
        demo.create_dataset("actions").with_vlen_strings(&words);
        observed(demo, 4, 2);
    });
    assert!(refused(&flexible).contains(expected), "{}", refused(&flexible));
    assert!(!refused(&flexible).contains("damaged"), "nothing is damaged");

    let rewards = file(directory.path(), &[], |demo| {
        array(demo, "actions", 4, 1);
        demo.create_dataset("rewards").with_ascii_strings(&words).unwrap();
        observed(demo, 4, 2);
    });
    let error = open(&rewards).unwrap().episode(0).unwrap_err().to_string();
    assert!(
        error.contains("data/demo_0/rewards: expected numbers") && error.contains("found text"),
        "{error}"
    );
}

#[test]
fn rows_without_columns_are_refused_however_many_are_claimed() {
    let directory = tempfile::tempdir().unwrap();
    let actions = file(directory.path(), &[], |demo| {
        no_columns(demo, "actions", 1 << 60);
        observed(demo, 4, 2);
    });
    let error = refused(&actions);
    assert!(
        error.contains("data/demo_0/actions: expected rows of 1 to 65536 numbers, found rows of 0"),
        "{error}"
    );
    let states = file(directory.path(), &[], |demo| {
        array(demo, "actions", 4, 1);
        no_columns(demo, "states", 1 << 60);
    });
    assert!(refused(&states).contains("data/demo_0/states: expected rows of 1"), "{}", refused(&states));
    let beside = file(directory.path(), &[], |demo| {
        no_columns(demo, "none", 1 << 60);
        sound(demo);
    });
    let options =
        OpenOptions { action_keys: Some(vec!["none".into(), "actions".into()]), ..Default::default() };
    let error = open_with(&beside, &options).unwrap().episode(0).unwrap_err().to_string();
    assert!(
        error.contains("data/demo_0/actions: expected 1152921504606846976 rows of 1, found 4"),
        "{error}"
    );
}

#[test]
fn groups_that_contain_themselves_are_listed_once_and_soon() {
    let report = info(&fixture("loops.hdf5"), &OpenOptions::default()).unwrap();
    assert!(report.arrays.iter().any(|a| a.path == "data/demo_0/actions"));
    assert!(report.arrays.len() <= 200, "{}", report.arrays.len());
}
