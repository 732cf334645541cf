//! Round trips, and files that must be refused.

use std::path::Path;

use hdf5_pure::{AttrValue, File};
use proptest::prelude::*;
use surefoot_core::{
    EnvSpec, FamilyTask, Field, HistoryMeta, HistoryPhase, HistorySource, LearningHistory, StepEnd, TaskSplit,
};

use super::write::write_in_batches;
use super::{HistoryFile, HistoryHeader, history_info, is_history_file, write_histories};

fn spec(continuous: bool) -> EnvSpec {
    let action = if continuous { Field::bounded("push", "N", -1.0, 1.0) } else { Field::choice("move", 5) };
    EnvSpec {
        name: "room".into(),
        observation: vec![Field::choice("x", 9), Field::choice("y", 9)],
        action: vec![action],
        step_secs: 0.5,
        max_steps: 20,
        reward_range: Some((0.0, 1.0)),
        contract_hash: None,
    }
}

fn header(continuous: bool) -> HistoryHeader {
    // Numbered out of order, as a split leaves them.
    let task = |id: u64, split| FamilyTask {
        id,
        split,
        params: vec![id as f32, 0.5],
        random_return: 0.25,
        optimal_return: 16.0,
    };
    let tasks = vec![task(40, TaskSplit::Train), task(7, TaskSplit::Train), task(12, TaskSplit::TestIn)];
    let meta = HistoryMeta {
        spec: spec(continuous),
        family: "dark_room".into(),
        family_config: "{\"size\":9}".into(),
        tasks,
        hash: String::new(),
    };
    HistoryHeader::new(meta, "{}".into())
}

/// `episodes` with these lengths.
fn history(task: usize, lengths: &[usize], expert: bool) -> LearningHistory {
    let steps: usize = lengths.iter().sum();
    let ends = lengths.iter().enumerate().flat_map(|(e, n)| {
        let last = if e % 2 == 0 { StepEnd::Truncated } else { StepEnd::Terminated };
        std::iter::repeat_n(StepEnd::Running, n - 1).chain([last])
    });
    LearningHistory {
        task,
        algorithm: "tabular_q".into(),
        algorithm_config: "{\"discount\":0.5}".into(),
        seed: u64::MAX - task as u64,
        stream: 3,
        complete: task != 1,
        observations: (0..steps * 2).map(|i| (i % 9) as f32).collect(),
        actions: (0..steps).map(|i| (i % 5) as f32).collect(),
        rewards: (0..steps).map(|i| i as f32 * 0.1).collect(),
        ends: ends.collect(),
        // Beyond what an f32 counts.
        updates: (0..steps as u32).map(|i| (1 << 25) + i).collect(),
        phases: (0..steps).map(|i| HistoryPhase::ALL[i % 3]).collect(),
        final_observations: (0..lengths.len() * 2).map(|i| (i % 9) as f32).collect(),
        expert_actions: expert.then(|| (0..steps).map(|i| (i % 3) as f32).collect()),
    }
}

fn write(path: &Path, histories: &[LearningHistory]) {
    write_histories(path, &header(false), |writer| histories.iter().try_for_each(|h| writer.append(h)))
        .unwrap();
}

#[test]
fn histories_come_back_as_they_were_whatever_the_batches() {
    let directory = tempfile::tempdir().unwrap();
    // Long enough for chunks, and short ones; with an expert and without.
    let all = [history(0, &[20; 300], true), history(2, &[3, 1], false), history(1, &[20], false)];
    let mut files = Vec::new();
    for (name, batch) in [("one", usize::MAX), ("each", 1)] {
        let path = directory.path().join(name);
        let written = write_in_batches(&path, &header(false), batch, |writer| {
            all.iter().try_for_each(|h| writer.append(h))
        });
        assert_eq!(written.as_ref().unwrap().steps, 6024);
        let file = HistoryFile::open(&path).unwrap();
        let meta = HistoryMeta { hash: written.unwrap().hash, ..header(false).meta };
        assert_eq!((file.len(), file.meta()), (3, &meta));
        for (index, meant) in all.iter().enumerate() {
            assert_eq!((file.task_of(index), file.steps_of(index)), (meant.task, meant.len()));
            assert_eq!(file.history(index).unwrap(), *meant);
        }
        assert!(file.history(3).is_err());
        file.verify().unwrap();
        files.push(path);
    }
    let again = directory.path().join("again");
    write_in_batches(&again, &header(false), 1, |w| all.iter().try_for_each(|h| w.append(h))).unwrap();
    assert_eq!(std::fs::read(&again).unwrap(), std::fs::read(&files[1]).unwrap(), "equal bytes");
}

#[test]
fn a_picture_takes_a_byte_for_each_number_and_comes_back_to_the_bit() {
    let directory = tempfile::tempdir().unwrap();
    // The description of so many numbers is longer than the 64 KB that an attribute may have in its object's header.
    let width = 40 * 40;
    let mut header = header(false);
    header.meta.spec.observation =
        (0..width).map(|i| Field::bounded(format!("red_{i}_of_the_picture"), "1", 0.0, 255.0)).collect();
    let mut seen = history(0, &[20], false);
    seen.observations = (0..20 * width).map(|i| (i % 256) as f32).collect();
    seen.final_observations = vec![255.0; width];
    let mut bytes = Vec::new();
    for (name, number) in [("whole", 7.0), ("half", 7.5), ("negative zero", -0.0)] {
        seen.observations[3] = number;
        let path = directory.path().join(name);
        bytes.push(write_histories(&path, &header, |w| w.append(&seen)).unwrap().bytes);
        let file = HistoryFile::open(&path).unwrap();
        assert_eq!(file.meta().spec, header.meta.spec);
        assert_eq!(file.history(0).unwrap().digest(), seen.digest(), "{name}");
    }
    let info = history_info(&directory.path().join("whole")).unwrap().to_string();
    assert!(info.contains("red_47_of_the_picture, and 1552 more\n") && !info.contains("red_48"), "{info}");
    // A number that is no byte needs four, and so do all beside it; where an array begins is a multiple of eight.
    let more = 3 * 20 * width as u64;
    assert!(bytes[1..].iter().all(|b| (more..more + 64).contains(&(b - bytes[0]))), "{bytes:?}");
    // A life is longer than a megabyte soon, and pictures in a row are much alike.
    let mut long = history(0, &[20; 40], false);
    long.observations = vec![7.0; 800 * width];
    long.final_observations = vec![7.0; 40 * width];
    let path = directory.path().join("long");
    let written = write_histories(&path, &header, |w| w.append(&long)).unwrap().bytes;
    assert!(written < 800 * width as u64 / 4, "{written} bytes");
    assert_eq!(HistoryFile::open(&path).unwrap().history(0).unwrap().digest(), long.digest());
}

#[test]
fn a_file_says_what_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("histories.hdf5");
    write(&path, &[history(0, &[20, 20], false), history(2, &[5], false)]);
    assert!(is_history_file(&path).unwrap());
    let info = history_info(&path).unwrap();
    assert_eq!((info.family.as_str(), info.splits.len(), info.algorithms[0].histories), ("dark_room", 2, 2));
    let text = info.to_string();
    assert!(text.contains("learning histories") && text.contains("move (one of 5)"), "{text}");
    let said = crate::open(&path).err().unwrap().to_string();
    assert!(said.contains("it holds learning histories"), "{said}");
}

#[test]
fn nothing_is_left_of_what_failed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("histories.hdf5");
    let mut wrong = history(0, &[20], false);
    wrong.actions[3] = 0.25;
    let failed = write_histories(&path, &header(false), |writer| {
        writer.append(&history(0, &[20], false))?;
        writer.append(&wrong)
    });
    let said = failed.unwrap_err().to_string();
    assert!(said.contains("history 1: actions[3]: move is 0.25"), "{said}");
    let elsewhere = write_histories(&path, &header(false), |w| w.append(&history(3, &[20], false)));
    assert!(elsewhere.unwrap_err().to_string().contains("there is no such task: expected one of 0 to 2"));
    assert!(write_histories(&path, &header(false), |_| Ok(())).is_err(), "no history");
    let stopped = write_histories(&path, &header(false), |_| Err(surefoot_core::DataError::Interrupted));
    assert!(matches!(stopped, Err(surefoot_core::DataError::Interrupted)));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    write(&path, &[history(0, &[20], false)]);
    let before = std::fs::read(&path).unwrap();
    assert!(write_histories(&path, &header(false), |w| w.append(&history(1, &[20], false))).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), before, "a file that is there stays");
}

/// Replaces an array of `histories/0` by another of the same length.
fn damage(path: &Path, array: &str, at: usize, value: f64) {
    let file = File::open_rw(path).unwrap();
    let mut dataset = file.root().group("histories").unwrap().group("0").unwrap().dataset(array).unwrap();
    match array {
        "reward" => {
            let mut data = dataset.read_f32().unwrap();
            data[at] = value as f32;
            dataset.write(&data).unwrap();
        }
        "update" | "episode" | "step" => {
            let mut data = dataset.read_u32().unwrap();
            data[at] = value as u32;
            dataset.write(&data).unwrap();
        }
        _ => {
            let mut data = dataset.read_u8().unwrap();
            data[at] = value as u8;
            let shape = dataset.shape().unwrap();
            dataset
                .write_staged(|b| {
                    b.with_u8_data(&data).with_shape(&shape);
                })
                .unwrap();
        }
    }
    file.commit().unwrap();
}

#[test]
fn what_cannot_be_learned_from_is_refused_with_its_place() {
    let cases = [
        (
            "episode",
            20,
            2.0,
            "histories/0: episode[20] is 2 after 0: the episodes are out of order, or one is missing",
        ),
        ("episode", 45, 0.0, "histories/0: episode[45] is 0 after 2: the episodes are out of order"),
        ("step", 7, 8.0, "histories/0: step[7] is 8, expected 7: there is a gap in the episode"),
        ("update", 30, 5.0, "histories/0: update[30] is 5 after 33554461: updates never go back"),
        ("reward", 11, f64::NAN, "histories/0: rewards[11] is NaN"),
        ("reward", 11, f64::INFINITY, "histories/0: rewards[11] is inf"),
        ("action", 2, 5.0, "histories/0: actions[2]: move is 5, expected a whole number from 0 to 4"),
        ("obs", 3, 200.0, "histories/0: observations[1]: y is 200, expected a whole number from 0 to 8"),
        (
            "truncated",
            5,
            1.0,
            "the end of episode 0 is not at its last step: expected at row 19, found one at row 5",
        ),
        (
            "truncated",
            19,
            0.0,
            "the end of episode 0 is not at its last step: expected at row 19, found none",
        ),
        ("terminated", 4, 3.0, "histories/0: terminated[4] is 3, expected 0 or 1"),
        ("phase", 9, 3.0, "histories/0: phase[9] is 3, expected 0, 1 or 2"),
    ];
    let directory = tempfile::tempdir().unwrap();
    for (index, (array, at, value, expected)) in cases.into_iter().enumerate() {
        let path = directory.path().join(index.to_string());
        write(&path, &[history(0, &[20, 20, 20], false)]);
        damage(&path, array, at, value);
        let said = HistoryFile::open(&path).unwrap().verify().unwrap_err().to_string();
        assert!(said.contains(expected), "{array}: {said}");
    }
}

#[test]
fn what_a_file_says_of_itself_is_checked() {
    type Change = fn(&File);
    let cases: [(Change, &str); 4] = [
        (
            |f| f.root().set_attr("version", AttrValue::U32(2)).unwrap(),
            "it is of version 2, and this program reads up to 1",
        ),
        (
            |f| f.root().set_attr("obs_dim", AttrValue::U32(3)).unwrap(),
            "@obs_dim: expected 2, as in env_spec_json, found 3",
        ),
        (
            |f| set(f, "task_id", AttrValue::U64Array(vec![40, 7])),
            "histories/0: task_id 7 after 40: a history is of one task",
        ),
        (|f| set(f, "task_id", AttrValue::U64(8)), "histories/0: it is of task 8, and there is no such task"),
    ];
    fn set(file: &File, key: &str, value: AttrValue) {
        let group = file.root().group("histories").unwrap().group("0").unwrap();
        group.set_attr(key, value).unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    for (index, (change, expected)) in cases.into_iter().enumerate() {
        let path = directory.path().join(index.to_string());
        write(&path, &[history(0, &[20], false)]);
        let file = File::open_rw(&path).unwrap();
        change(&file);
        file.commit().unwrap();
        let said = HistoryFile::open(&path).err().unwrap().to_string();
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_file_that_was_cut_off_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("whole");
    write(&path, &[history(0, &[20, 20, 20], false)]);
    let bytes = std::fs::read(&path).unwrap();
    for part in [1, 2, 3, 5] {
        let cut = directory.path().join("cut");
        std::fs::write(&cut, &bytes[..bytes.len() * part / 6]).unwrap();
        assert!(HistoryFile::open(&cut).is_err(), "{part} sixths");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_valid_history_comes_back_bit_for_bit(
        lengths in prop::collection::vec(1_usize..=20, 1..8),
        rewards in prop::collection::vec(any::<f32>().prop_filter("finite", |x| x.is_finite()), 160),
        pushes in prop::collection::vec(-1.0_f32..=1.0, 160),
        expert in any::<bool>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("h");
        let mut meant = history(1, &lengths, expert);
        let n = meant.len();
        meant.rewards = rewards[..n].to_vec();
        meant.actions = pushes[..n].to_vec();
        write_histories(&path, &header(true), |writer| writer.append(&meant)).unwrap();
        let found = HistoryFile::open(&path).unwrap().history(0).unwrap();
        prop_assert_eq!(found.digest(), meant.digest());
    }
}
