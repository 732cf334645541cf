//! Files of the three layouts, as h5py wrote them; and what must be refused.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use hdf5_pure::FileBuilder;
use proptest::prelude::*;
use surefoot_core::{DataError, HistorySource, StepEnd};

use super::super::HistoryFile;
use super::{HISTORY_FORMATS, HistoryFormat, ImportedHistories, history_format, import_histories};
use crate::h5::{Backend, Container};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/histories").join(name)
}

const FILES: [(&str, &str); 4] = [
    ("xland.hdf5", "xland_minigrid"),
    ("dicp_darkroom.hdf5", "dicp"),
    ("dicp_metaworld.hdf5", "dicp"),
    ("vintix/ant/trajectory_0.h5", "vintix"),
];

fn layout(name: &str) -> &'static HistoryFormat {
    HISTORY_FORMATS.iter().find(|f| f.name == name).unwrap()
}

fn import(name: &str, files: &[PathBuf], to: &Path) -> Result<ImportedHistories, DataError> {
    import_histories(layout(name), files, to, &|| false)
}

#[test]
fn each_file_looks_like_its_own_layout_alone() {
    for (file, name) in FILES {
        assert_eq!(history_format(&fixture(file), None).unwrap().map(|f| f.name), Some(name), "{file}");
    }
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/d4rl_timeouts.hdf5");
    assert!(history_format(&other, None).unwrap().is_none());
    assert!(history_format(&fixture("vintix"), None).unwrap().is_none(), "a directory");
}

#[test]
fn xland_streams_become_histories_of_whole_episodes() {
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("h.hdf5");
    let imported = import("xland_minigrid", &[fixture("xland.hdf5")], &to).unwrap();
    assert_eq!((imported.format, imported.written.histories), ("xland_minigrid", 6));
    assert!(imported.notes.iter().any(|n| n.contains("steps behind the last end")), "{:?}", imported.notes);
    let file = HistoryFile::open(&to).unwrap();
    file.verify().unwrap();
    let spec = &file.meta().spec;
    assert_eq!((spec.observation_dim(), spec.action[0].choices), (25, Some(6)));
    assert_eq!((spec.name.as_str(), file.meta().tasks.len()), ("XLand-MiniGrid-R1-9x9", 2));
    // Stream 0 of task 0 has ends at 6, 13, 20, 27, 34; odd ones paid.
    let first = file.history(0).unwrap();
    assert_eq!((first.len(), first.task, first.stream), (35, 0, 0));
    let lasts: Vec<StepEnd> = [6, 13, 20, 27, 34].iter().map(|t| first.ends[*t]).collect();
    use StepEnd::{Terminated, Truncated};
    assert_eq!(lasts, [Truncated, Terminated, Truncated, Terminated, Truncated]);
    assert_eq!(first.episode_returns(), [0.0, 0.5, 0.0, 0.5, 0.0]);
    assert!(first.expert_actions.is_some() && first.algorithm_config.contains("\"ruleset-id\":\"100\""));
    let raw = Container::open(&fixture("xland.hdf5"), Backend::Pure).unwrap();
    let states = raw.file().read_f32("1/states").unwrap().data;
    let of_task = file.history(4).unwrap();
    assert_eq!((of_task.task, of_task.stream), (1, 1));
    assert_eq!(of_task.observations[..], states[40 * 25..40 * 25 + of_task.len() * 25]);
    assert_eq!((file.meta().tasks[0].random_return, file.meta().tasks[0].optimal_return), (0.0, 0.5));
}

#[test]
fn dicp_streams_lie_across_the_rows() {
    let directory = tempfile::tempdir().unwrap();
    let raw = Container::open(&fixture("dicp_darkroom.hdf5"), Backend::Pure).unwrap();
    let states = raw.file().read_f32("1/states").unwrap().data;
    let optimal = raw.file().read_f32("1/optimal_actions").unwrap().data;
    let to = directory.path().join("h.hdf5");
    let imported = import("dicp", &[fixture("dicp_darkroom.hdf5")], &to).unwrap();
    assert_eq!((imported.written.histories, imported.written.steps), (6, 6 * 24));
    let file = HistoryFile::open(&to).unwrap();
    let choices: Vec<_> = file.meta().spec.observation.iter().map(|f| f.choices).collect();
    assert_eq!((choices, file.meta().spec.action[0].choices), (vec![Some(9), Some(9)], Some(5)));
    let h = file.history(5).unwrap();
    assert_eq!((h.task, h.stream, h.episodes().count(), file.meta().spec.max_steps), (1, 2, 3, 8));
    for t in 0..24 {
        assert_eq!(h.observations[2 * t..2 * t + 2], states[(t * 3 + 2) * 2..(t * 3 + 2) * 2 + 2]);
    }
    assert_eq!(h.expert_actions.unwrap()[..], optimal[2 * 24..3 * 24]);
    assert!(h.ends.iter().all(|e| *e != StepEnd::Terminated));

    let to = directory.path().join("m.hdf5");
    import("dicp", &[fixture("dicp_metaworld.hdf5")], &to).unwrap();
    let file = HistoryFile::open(&to).unwrap();
    file.verify().unwrap();
    let spec = &file.meta().spec;
    assert_eq!((spec.observation_dim(), spec.action_dim(), spec.first_choice()), (3, 2, None));
    assert_eq!((spec.action[0].low, spec.action[0].high), (Some(-1.0), Some(1.0)));
}

#[test]
fn vintix_files_of_a_directory_are_of_one_task() {
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("h.hdf5");
    let files = ["ant/trajectory_0.h5", "ant/trajectory_1.h5", "reach/trajectory_0.h5"]
        .map(|f| fixture("vintix").join(f));
    let imported = import("vintix", &files, &to).unwrap();
    assert!(imported.notes.iter().any(|n| n.contains("go beyond 1")), "{:?}", imported.notes);
    let file = HistoryFile::open(&to).unwrap();
    file.verify().unwrap();
    let places: Vec<_> =
        (0..3).map(|i| (file.history(i).unwrap().task, file.history(i).unwrap().stream)).collect();
    assert_eq!(places, [(0, 0), (0, 1), (1, 0)]);
    // 50 steps in parts of 20, episodes of 12: the last two steps belong to none that ended.
    let h = file.history(0).unwrap();
    assert_eq!((h.len(), h.episodes().count(), file.meta().spec.max_steps), (48, 4, 12));
    let high = file.meta().spec.action[0].high.unwrap();
    assert!(high > 1.5 && high <= 2.0 && h.actions.iter().all(|a| a.abs() <= 1.0));
    let raw = Container::open(&files[0], Backend::Pure).unwrap();
    let second = raw.file().read_f32("20-40/action").unwrap().data;
    assert!((h.actions[40] * high - second[0]).abs() < 1e-6);
}

/// An array of a fixture on its way into a copy: its numbers, its extents, whether they are quantities.
struct Array {
    data: Vec<f32>,
    shape: Vec<usize>,
    quantities: bool,
}

/// A copy of a fixture, written by our writer, with one array changed.
fn changed(directory: &Path, file: &str, item: &str, change: impl Fn(&mut Array)) -> PathBuf {
    let path = directory.join(format!("changed-{}", file.replace('/', "-")));
    let container = Container::open(&fixture(file), Backend::Pure).unwrap();
    let from = container.file();
    let mut to = FileBuilder::new();
    for group in from.children("").unwrap().into_keys() {
        let mut copy = to.create_group(&group);
        for name in from.children(&group).unwrap().into_keys() {
            let place = format!("{group}/{name}");
            let read = from.read_f32(&place).unwrap();
            let quantities = read.info.element.is_float();
            let mut array = Array { data: read.data, shape: read.info.shape, quantities };
            if place == item {
                change(&mut array);
            }
            let shape: Vec<u64> = array.shape.iter().map(|n| *n as u64).collect();
            let dataset = copy.create_dataset(&name);
            if array.quantities {
                dataset.with_f32_data(&array.data);
            } else {
                dataset.with_i32_data(&array.data.iter().map(|x| *x as i32).collect::<Vec<i32>>());
            }
            dataset.with_shape(&shape);
        }
        to.add_group(copy.finish());
    }
    std::fs::write(&path, to.finish().unwrap()).unwrap();
    path
}

#[test]
fn what_cannot_be_learned_from_is_refused_with_its_place_and_nothing_is_left() {
    type Change = fn(&mut Array);
    let cases: [(&str, &str, &str, Change, &[&str]); 9] = [
        (
            "xland_minigrid",
            "xland.hdf5",
            "1/rewards",
            |a| a.data[43] = f32::NAN,
            &["1, stream 1: rewards[3] is NaN"],
        ),
        (
            "xland_minigrid",
            "xland.hdf5",
            "0/actions",
            |a| a.data[2] = 6.0,
            &["0, stream 0: actions[2]", "is 6, expected a whole number from 0 to 5", "another coding"],
        ),
        (
            "xland_minigrid",
            "xland.hdf5",
            "0/dones",
            |a| a.data[9] = 2.0,
            &["0, stream 0: dones[9] is 2, expected 0 or 1"],
        ),
        (
            "xland_minigrid",
            "xland.hdf5",
            "0/actions",
            |a| {
                a.data.truncate(3 * 39);
                a.shape[1] = 39;
            },
            &["0/actions: expected [3, 40], as its rewards, found [3, 39]"],
        ),
        (
            "dicp",
            "dicp_metaworld.hdf5",
            "0/rewards",
            |a| a.data[4] = f32::INFINITY,
            &["0, stream 1: rewards[1] is inf"],
        ),
        (
            "dicp",
            "dicp_darkroom.hdf5",
            "1/actions",
            |a| a.quantities = true,
            &["1/actions: expected whole numbers [T, streams]", "float32 [24, 3]"],
        ),
        (
            "dicp",
            "dicp_metaworld.hdf5",
            "1/states",
            |a| {
                a.data.truncate(24 * 3 * 2);
                a.shape[2] = 2;
            },
            &["rows as in the environments before", "observation: (2"],
        ),
        (
            "vintix",
            "vintix/ant/trajectory_0.h5",
            "20-40/step_num",
            |a| a.data[1] = 7.0,
            &["step_num: step[21] is 7, expected 9"],
        ),
        (
            "vintix",
            "vintix/ant/trajectory_0.h5",
            "40-50/reward",
            |a| a.data[0] = f32::NEG_INFINITY,
            &["rewards[40] is -inf"],
        ),
    ];
    let directory = tempfile::tempdir().unwrap();
    for (index, (name, file, item, change, expected)) in cases.into_iter().enumerate() {
        let path = changed(directory.path(), file, item, change);
        let to = directory.path().join(format!("to-{index}"));
        let said = import(name, &[path], &to).unwrap_err().to_string();
        assert!(expected.iter().all(|words| said.contains(words)), "{file}: {said}");
        assert!(!to.exists());
    }
    // Files of other rows do not become one.
    let to = directory.path().join("mixed");
    let both = [fixture("dicp_darkroom.hdf5"), fixture("dicp_metaworld.hdf5")];
    let said = import("dicp", &both, &to).unwrap_err().to_string();
    assert!(said.contains("its observation row: expected 2 columns"), "{said}");
    let said = import("vintix", &[fixture("xland.hdf5")], &to).unwrap_err().to_string();
    assert!(said.contains("expected groups of steps, as in 0-10000, found none"), "{said}");
    let stopped = import_histories(layout("dicp"), &both[..1], &to, &|| true);
    assert!(matches!(stopped, Err(DataError::Interrupted)));
    assert!(!to.exists());
}

fn victims() -> &'static [Vec<u8>] {
    static VICTIMS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    VICTIMS.get_or_init(|| FILES.iter().map(|(file, _)| std::fs::read(fixture(file)).unwrap()).collect())
}

/// Whether it could be imported.
fn takes(bytes: &[u8], victim: usize) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    let _ = history_format(&path, None);
    let to = directory.path().join("to");
    let taken = import(FILES[victim].1, &[path], &to).is_ok();
    assert_eq!(taken, to.exists(), "a file is there if and only if all went well");
    taken
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_truncated_file_is_an_error(victim in 0..FILES.len(), share in 0.0_f64..1.0) {
        let bytes = &victims()[victim];
        let length = ((bytes.len() - 1) as f64 * share) as usize;
        prop_assert!(!takes(&bytes[..length], victim), "{} of {} bytes", length, bytes.len());
    }

    #[test]
    fn flipped_bytes_and_lying_lengths_never_crash(
        victim in 0..FILES.len(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        at in any::<prop::sample::Index>(),
        length in prop::sample::select(vec![None, Some(0_u64), Some(1), Some(0xffff_ffff), Some(1 << 40), Some(u64::MAX)]),
    ) {
        let mut bytes = victims()[victim].clone();
        for (at, value) in &flips {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        if let Some(length) = length {
            let at = at.index(bytes.len() / 2 - 4) * 2;
            bytes[at..at + 8].copy_from_slice(&length.to_le_bytes());
        }
        takes(&bytes, victim);
    }
}
