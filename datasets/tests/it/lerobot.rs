//! LeRobot datasets, as pyarrow wrote them.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use surefoot_core::{Episode, StepEnd};
use surefoot_datasets::import::{Plan, import};
use surefoot_datasets::streams::LogOptions;
use surefoot_datasets::{DoneMeans, FORMATS, OpenOptions, Recording, info, open_with, read_all, verify};

use crate::episodes::{episode, spec};
use crate::import::contract;

fn dataset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lerobot").join(name)
}

/// A copy that can be damaged.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn both_versions_hold_the_same_episodes() {
    let read = |name: &str| {
        let source = open_with(&dataset(name), &OpenOptions::default()).unwrap();
        assert_eq!(source.meta().format, "lerobot");
        assert_eq!(source.meta().observation_dim, 4);
        assert!(source.meta().notes.iter().any(|n| n.contains("observation.images.top")));
        read_all(&*source, &[0, 1, 2]).unwrap()
    };
    let (old, new) = (read("v21"), read("v30"));
    assert_eq!(old, new);
    // The first ends in success; of the others, what followed the last frame is not known.
    assert_eq!(old.iter().map(|e| e.len()).collect::<Vec<_>>(), [30, 24, 39]);
    assert_eq!(old[0].end.last(), Some(&StepEnd::Terminated));
    assert_eq!(old[1].end.last(), Some(&StepEnd::Truncated));
    assert_eq!(old[0].success, Some(true));
    assert_eq!(old[1].success, Some(false));
    assert_eq!(old[1].attributes["task"], "open the drawer");
    // Names in order: force, then state.
    assert_eq!(old[2].observation[..4], [50.0, 200.0, -200.0, 0.5]);
    assert_eq!(old[2].next_observation[..4], [50.25, 201.0, -201.0, 0.5]);
    assert_eq!(old[2].action[2..4], [201.5, 1.0]);
    assert_eq!(old[0].reward.iter().sum::<f32>(), 1.0);
    let options = OpenOptions { done_means: DoneMeans::Terminated, ..OpenOptions::default() };
    let source = open_with(&dataset("v30"), &options).unwrap();
    assert_eq!(source.episode(1).unwrap().end.last(), Some(&StepEnd::Terminated));
    let report = info(&dataset("v30"), &OpenOptions::default()).unwrap();
    assert_eq!(report.format, "lerobot");
    let keys = Some(vec!["observation.images.top".to_owned()]);
    let options = OpenOptions { observation_keys: keys, ..OpenOptions::default() };
    assert!(open_with(&dataset("v30"), &options).err().unwrap().to_string().contains("one of action"));
}

#[test]
fn a_contract_gives_its_columns_units() {
    let section = r#"
[import]
action_shift = "hold"
episodes = { split = "file" }
success = { last_reward_above = 0.5 }
reward = { topic = { topic = "table", select = "next.reward", align = { strategy = "hold", timeline = "header" } } }
[[import.observation]]
name = "state"
topic = "table"
align = { strategy = "asof", tolerance_ms = 10.0, timeline = "header" }
select = ["observation.state[0]", "observation.force"]
apply = [{ scale_each = [0.01, 1.0] }]
unit = "1"
[[import.action]]
name = "action"
topic = "table"
align = { strategy = "hold", timeline = "header" }
select = ["action[0]"]
unit = "deg/s"
definition = "commanded"
bounds = { range = { low = [0.0], high = [1000.0] } }
"#;
    let contract = contract(section);
    let plan = Plan::new(&contract).unwrap();
    for name in ["v21", "v30"] {
        let imported = import(&plan, &[dataset(name)], &LogOptions::default(), false, &|_| {}).unwrap();
        assert_eq!(imported.episodes.len(), 3, "{}", imported.report);
        let success: Vec<Option<bool>> = imported.episodes.iter().map(|e| e.success).collect();
        assert_eq!(success, [Some(true), Some(false), Some(false)]);
        assert_eq!(imported.episodes[2].observation[..2], [2.0, 50.0]);
        assert!((imported.episodes[2].action[1] - (201.5 / 500.0 - 1.0)).abs() < 1e-6);
    }
}

#[test]
fn a_file_without_a_footer_is_named_and_nobody_moves_into_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("lost");
    copy(&dataset("v21"), &root);
    let file = root.join("data/chunk-000/episode_000001.parquet");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 100]).unwrap();
    let error = open_with(&root, &OpenOptions::default()).err().unwrap().to_string();
    assert!(error.contains("episode_000001.parquet") && error.contains("no readable footer"), "{error}");
    let lenient = OpenOptions { lenient: true, ..OpenOptions::default() };
    let source = open_with(&root, &lenient).unwrap();
    let names: Vec<String> = read_all(&*source, &[0, 1]).unwrap().into_iter().map(|e| e.name).collect();
    assert_eq!((source.len(), names), (2, vec!["episode_0".to_owned(), "episode_2".to_owned()]));
    let report = verify(&root, &OpenOptions::default());
    assert!(
        !report.passed() && report.to_string().contains("total_episodes: expected 3, found 2"),
        "{report}"
    );
}

#[test]
fn metadata_that_contradicts_the_data_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str, file: &str, from: &str, to: &str| {
        let root = directory.path().join(name);
        copy(&dataset("v21"), &root);
        let path = root.join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let source = open_with(&root, &OpenOptions::default());
        match source {
            Err(e) => e.to_string(),
            Ok(source) => source.episode(0).unwrap_err().to_string(),
        }
    };
    let said = at("length", "meta/episodes.jsonl", "\"length\": 25", "\"length\": 24");
    assert!(said.contains("length of episode 1: expected 24, found 25"), "{said}");
    let said = at("version", "meta/info.json", "v2.1", "v1.6");
    assert!(said.contains("version v1.6: expected v2.x or v3.x"), "{said}");
    let said = at("cut", "meta/episodes.jsonl", "\"length\": 40}", "\"len");
    assert!(said.contains("episodes.jsonl") && said.contains("line 3"), "{said}");
    let said = at(
        "shape",
        "meta/info.json",
        "3\n   ],\n   \"names\": [\n    \"x\"",
        "4\n   ],\n   \"names\": [\n    \"x\"",
    );
    assert!(said.contains("expected 5 numbers in each row"), "{said}");
}

/// Opens and reads all there is. Whether all of it could be.
fn read_everything(root: &Path) -> bool {
    let options = OpenOptions { lenient: true, ..OpenOptions::default() };
    let _ = verify(root, &options);
    let Ok(source) = open_with(root, &OpenOptions::default()) else { return false };
    let indices: Vec<usize> = (0..source.len()).collect();
    read_all(&*source, &indices).is_ok()
}

#[test]
fn parquet_cut_off_anywhere_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("cut");
    copy(&dataset("v30"), &root);
    let file = root.join("data/chunk-000/file-000.parquet");
    let bytes = std::fs::read(&file).unwrap();
    for k in 0..16 {
        std::fs::write(&file, &bytes[..bytes.len() * k / 16]).unwrap();
        assert!(!read_everything(&root), "{k}/16");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn parquet_that_lies_never_crashes(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        footer in any::<bool>(),
        which in 0_usize..3,
    ) {
        let name = ["data/chunk-000/file-000.parquet", "data/chunk-000/file-001.parquet", "meta/episodes/chunk-000/file-000.parquet"][which];
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("lying");
        copy(&dataset("v30"), &root);
        let file = root.join(name);
        let mut bytes = std::fs::read(&file).unwrap();
        let length = u32::from_le_bytes(bytes[bytes.len() - 8..bytes.len() - 4].try_into().unwrap()) as usize;
        let from = if footer { bytes.len() - 8 - length } else { 4 };
        for (at, value) in &flips {
            let at = from + at.index(bytes.len() - from);
            bytes[at] = *value;
        }
        std::fs::write(&file, &bytes).unwrap();
        read_everything(&root);
    }
}

#[test]
fn what_is_written_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("written");
    let mut episodes: Vec<Episode> = (0..4).map(|i| episode(i, 3, 2, 5 + i, 7)).collect();
    episodes[1].attributes.insert("task".into(), "open the door".into());
    let recording = Recording::new(spec(3, 2)).with_split(4, 0.5, 0);
    let format = FORMATS.iter().find(|f| f.name == "lerobot").unwrap();
    let write = format.write.unwrap();
    let written = write(&path, &recording, &mut episodes.iter().cloned().map(Ok)).unwrap();
    // Nobody looks beyond a terminal step, and a LeRobot frame has no place for it.
    assert_eq!(written.lost, ["observations that followed a terminal step"]);
    let source = open_with(&path, &OpenOptions::default()).unwrap();
    assert_eq!(source.meta().spec, Some(spec(3, 2)));
    assert_eq!(source.meta().masks, recording.masks);
    let again = read_all(&*source, &[0, 1, 2, 3]).unwrap();
    for (found, meant) in again.iter().zip(&episodes) {
        assert_eq!(
            (&found.observation, &found.action, &found.proposed),
            (&meant.observation, &meant.action, &meant.proposed)
        );
        assert_eq!((&found.end, &found.reward, &found.name), (&meant.end, &meant.reward, &meant.name));
        assert_eq!((found.success, found.seed, found.safety), (meant.success, meant.seed, meant.safety));
        assert_eq!(found.attributes, meant.attributes);
        let kept = if meant.end.last() == Some(&StepEnd::Terminated) { meant.len() - 1 } else { meant.len() };
        assert_eq!(found.next_observation[..3 * kept], meant.next_observation[..3 * kept]);
    }
    assert!(
        write(&path, &recording, &mut episodes.into_iter().map(Ok))
            .unwrap_err()
            .to_string()
            .contains("already")
    );
    if let Ok(keep) = std::env::var("SUREFOOT_KEEP_LEROBOT") {
        copy(&path, Path::new(&keep));
    }
}
