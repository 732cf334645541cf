//! Several files as one dataset.

use std::path::{Path, PathBuf};

use surefoot_core::EnvSpec;
use surefoot_datasets::{OpenOptions, Recording, open, open_files, verify, write};

use crate::episodes::{episode, fixture, spec};

/// `part_<i>.hdf5` with two episodes each.
fn parts(directory: &Path, count: usize) -> Vec<PathBuf> {
    (0..count)
        .map(|i| {
            let path = directory.join(format!("part_{i}.hdf5"));
            let episodes = [2 * i, 2 * i + 1].map(|k| episode(k, 5, 2, 7 + k, 1));
            write(&path, &Recording::new(spec(5, 2)).with_split(2, 0.5, i as u64), &episodes).unwrap();
            path
        })
        .collect()
}

#[test]
fn a_directory_of_files_is_one_dataset() {
    let directory = tempfile::tempdir().unwrap();
    parts(directory.path(), 12);
    std::fs::write(directory.path().join("README.md"), "about").unwrap();
    let source = open(directory.path()).unwrap();
    let meta = source.meta();
    assert_eq!((source.len(), meta.format, meta.observation_dim), (24, "robomimic", 5));
    assert_eq!(meta.path, directory.path());
    for i in 0..24 {
        assert_eq!(source.episode(i).unwrap(), episode(i, 5, 2, 7 + i, 1), "part_10 comes after part_9");
    }
    assert!(source.episode(24).is_err());
    let mut all: Vec<usize> = meta.masks.iter().flat_map(|(_, members)| members.clone()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..24).collect::<Vec<_>>(), "masks count through all files");
    assert!(verify(directory.path(), &OpenOptions::default()).passed());
}

#[test]
fn a_list_of_files_comes_in_the_order_given() {
    let directory = tempfile::tempdir().unwrap();
    let mut files = parts(directory.path(), 3);
    files.reverse();
    let source = open_files(&files, &OpenOptions::default()).unwrap();
    let names: Vec<String> = (0..6).map(|i| source.episode(i).unwrap().name).collect();
    assert_eq!(names, ["demo_4", "demo_5", "demo_2", "demo_3", "demo_0", "demo_1"]);
    assert!(open_files(&[], &OpenOptions::default()).is_err());
    assert_eq!(open_files(&files[..1], &OpenOptions::default()).unwrap().len(), 2);
}

#[test]
fn files_that_differ_are_no_dataset() {
    let directory = tempfile::tempdir().unwrap();
    let files = parts(directory.path(), 1);
    let differ = |other: PathBuf| {
        let files = [files[0].clone(), other.clone()];
        let error = open_files(&files, &OpenOptions::default()).err().unwrap().to_string();
        assert!(error.contains(&other.display().to_string()), "{error}");
        error
    };
    let other = |name: &str, spec: EnvSpec| {
        let path = directory.path().join(name);
        let e = episode(0, spec.observation_dim(), spec.action_dim(), 4, 1);
        write(&path, &Recording::new(spec), &[e]).unwrap();
        path
    };
    let error = differ(other("wide.hdf5", spec(6, 2)));
    assert!(
        error.contains("observation keys") && error.contains("flat [5]") && error.contains("flat [6]"),
        "{error}"
    );
    let error = differ(other("slow.hdf5", EnvSpec { step_secs: 0.5, ..spec(5, 2) }));
    assert!(error.contains("step_secs") && error.contains("0.05") && error.contains("0.5"), "{error}");
    let error = differ(other("contract.hdf5", EnvSpec { contract_hash: None, ..spec(5, 2) }));
    assert!(error.contains("robot contract") && error.contains("c0ffee"), "{error}");
    assert!(differ(fixture("d4rl_next.hdf5")).contains("format"));
    // One damaged file is named, too.
    let cut = directory.path().join("cut.hdf5");
    std::fs::write(&cut, &std::fs::read(&files[0]).unwrap()[..500]).unwrap();
    differ(cut);
}
