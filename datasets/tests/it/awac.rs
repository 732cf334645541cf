//! The recordings that the project works with, where they are.

use std::path::PathBuf;

use surefoot_core::StepEnd;
use surefoot_datasets::{OpenOptions, open, read_all, verify};

/// The folder of recordings: `SUREFOOT_DATA`, or beside the repository.
pub fn folder() -> Option<PathBuf> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data"));
    let folder = std::env::var_os("SUREFOOT_DATA").map_or_else(beside, PathBuf::from).join("awac");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no recordings at {}; set SUREFOOT_DATA", folder.display());
    None
}

#[test]
fn the_human_door_demonstrations_load() {
    let Some(folder) = folder() else { return };
    let source = open(&folder.join("adroit_door_human_binary.hdf5")).unwrap();
    let meta = source.meta();
    assert_eq!((meta.observation_dim, meta.action_dim, source.len()), (39, 28, 25));
    assert_eq!(meta.env.as_deref(), Some("AdroitHandDoorSparse-v1"));
    assert_eq!(meta.notes, Vec::<String>::new());
    assert_eq!(meta.masks, [("demos".to_owned(), (0..25).collect::<Vec<_>>())]);
    let episodes = read_all(&*source, &(0..25).collect::<Vec<_>>()).unwrap();
    assert_eq!(episodes.iter().map(|e| e.len()).sum::<usize>(), 6704);
    assert_eq!(episodes.iter().filter(|e| e.success == Some(true)).count(), 7);
    assert!(episodes.iter().all(|e| e.source.as_deref() == Some("human")));
    assert!(episodes.iter().all(|e| e.end.last() == Some(&StepEnd::Truncated)));
    let solved: Vec<&str> =
        episodes.iter().filter(|e| e.success == Some(true)).map(|e| e.name.as_str()).collect();
    assert_eq!(solved, ["demo_8", "demo_11", "demo_16", "demo_18", "demo_22", "demo_23", "demo_24"]);
}

#[test]
fn every_recording_verifies_without_an_error() {
    let Some(folder) = folder() else { return };
    let expected = [
        ("adroit_door_bc_binary", 500, 100_000),
        ("adroit_door_human_binary", 25, 6704),
        ("adroit_pen_expert_binary", 525, 52_500),
        ("adroit_relocate_expert_binary", 525, 105_000),
        ("ant_15expert_100bc", 115, 112_140),
        ("half_cheetah_15expert_100bc", 115, 115_000),
        ("walker2d_15expert_100bc", 115, 65_345),
    ];
    for (name, episodes, steps) in expected {
        let report = verify(&folder.join(format!("{name}.hdf5")), &OpenOptions::default());
        assert!(report.passed(), "{report}");
        assert_eq!((report.episodes, report.steps), (episodes, steps), "{name}");
    }
}

#[test]
fn walkers_that_fell_are_terminated_and_the_others_truncated() {
    let Some(folder) = folder() else { return };
    let source = open(&folder.join("walker2d_15expert_100bc.hdf5")).unwrap();
    let ends: Vec<StepEnd> =
        (0..source.len()).map(|i| *source.episode(i).unwrap().end.last().unwrap()).collect();
    assert_eq!(ends.iter().filter(|e| **e == StepEnd::Terminated).count(), 90);
    let masks: Vec<(&str, usize)> = source.meta().masks.iter().map(|(n, m)| (n.as_str(), m.len())).collect();
    assert_eq!(masks, [("demos", 15), ("suboptimal", 100)]);
}
