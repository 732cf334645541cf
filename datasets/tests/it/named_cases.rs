//! Bad input that has a name: cut at every sixteenth, texts of every kind, a million episodes, claims beyond memory.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

use hdf5_pure::FileBuilder;
use surefoot_datasets::streams::{LogOptions, open_log};
use surefoot_datasets::{LoadOptions, OpenOptions, info, load_each, open, open_with, stats, verify};

use crate::episodes::{fixture, spec};
use crate::logs::log;

const HDF5: [&str; 13] = [
    "contradiction.hdf5",
    "d4rl_next.hdf5",
    "d4rl_timeouts.hdf5",
    "robomimic_dones.hdf5",
    "robomimic_flags.hdf5",
    "robosuite_0_3.hdf5",
    "robosuite_1_4.hdf5",
    "texts.hdf5",
    "peers/aloha/episode_0.hdf5",
    "peers/libero_demo.hdf5",
    "peers/robosuite_two_arm.hdf5",
    "peers/droid/Fri_0/trajectory.h5",
    "peers/minari/rows/data/main_data.hdf5",
];

const LOGS: [&str; 9] = [
    "encodings.mcap",
    "messages_lz4.mcap",
    "messages_none.mcap",
    "messages_unchunked.mcap",
    "messages_zstd.mcap",
    "teleop.mcap",
    "teleop_bz2.bag",
    "teleop_lz4.bag",
    "teleop_none.bag",
];

/// Whether every episode could be read.
fn read_episodes(path: &Path) -> bool {
    let options = OpenOptions { lenient: true, ..OpenOptions::default() };
    let _ = info(path, &options);
    let sound = verify(path, &options).passed();
    let source = open_with(path, &options);
    source.is_ok_and(|s| (0..s.len()).all(|i| s.episode(i).is_ok())) && sound
}

#[test]
fn hdf5_files_cut_at_every_sixteenth_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    for name in HDF5 {
        let whole = std::fs::read(fixture(name)).unwrap();
        for cut in 0..16 {
            let path = directory.path().join("cut.hdf5");
            std::fs::write(&path, &whole[..whole.len() * cut / 16]).unwrap();
            assert!(!read_episodes(&path), "{name} cut at {cut}/16 reads as if it were whole");
        }
    }
}

#[test]
fn tables_cut_at_every_sixteenth_are_errors() {
    let table = "data/chunk-000/episode_000001.parquet";
    let directory = tempfile::tempdir().unwrap();
    for name in ["meta/info.json", "meta/episodes.jsonl", "meta/tasks.jsonl"]
        .into_iter()
        .map(str::to_owned)
        .chain((0..3).map(|i| format!("data/chunk-000/episode_{i:06}.parquet")))
    {
        let to = directory.path().join(&name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(fixture("lerobot/v21").join(name), to).unwrap();
    }
    let whole = std::fs::read(directory.path().join(table)).unwrap();
    let count = open(directory.path()).unwrap().len();
    for cut in 0..16 {
        std::fs::write(directory.path().join(table), &whole[..whole.len() * cut / 16]).unwrap();
        let read = open(directory.path()).is_ok_and(|s| (0..count).all(|i| s.episode(i).is_ok()));
        assert!(!read, "cut at {cut}/16 it reads as if it were whole");
    }
}

/// Messages that could be read. What follows the cut is lost, what stands before it need not be.
fn messages(path: &Path) -> usize {
    let mut count = 0;
    if let Ok(log) = open_log(path, &LogOptions::default()) {
        let _ = log.topics();
        let _ = log.read(&|_| true, &mut |message| {
            let _ = message.with_value(|value| value.leaves(&mut |_, _| {}));
            count += 1;
            Ok(ControlFlow::Continue(()))
        });
    }
    count
}

#[test]
fn logs_cut_at_every_sixteenth_give_no_more_than_was_before() {
    let directory = tempfile::tempdir().unwrap();
    for name in LOGS {
        let whole = std::fs::read(log(name)).unwrap();
        let all = messages(&log(name));
        let extension = name.rsplit_once('.').unwrap().1;
        let mut before = 0;
        for cut in 0..16 {
            let path = directory.path().join(format!("cut.{extension}"));
            std::fs::write(&path, &whole[..whole.len() * cut / 16]).unwrap();
            let count = messages(&path);
            assert!(
                count >= before && count <= all,
                "{name} cut at {cut}/16: {count} after {before} of {all}"
            );
            before = count;
        }
    }
}

#[test]
fn text_attributes_of_every_kind_are_read_or_left_out() {
    let e = open(&fixture("texts.hdf5")).unwrap().episode(0).unwrap();
    let text = |name: &str| e.attributes.get(name).map(String::as_str);
    assert_eq!(text("vlen_utf8"), Some("grüß dich"));
    assert_eq!(text("fixed_utf8"), Some("grüß"));
    for name in ["vlen_ascii", "fixed_nul_padded", "fixed_nul_ended", "fixed_full"] {
        assert_eq!(text(name), Some("plain"), "{name}");
    }
    assert_eq!(text("fixed_space_padded").map(str::trim_end), Some("plain"));
    assert_eq!(text("array_fixed"), Some(r#"["a","bc"]"#));
    assert_eq!(text("empty_text"), Some(""));
    // These are no text of any use; the episode is read all the same.
    for name in ["compound", "reference"] {
        assert_eq!(text(name), None, "{name}");
    }
    // Of three truncated steps without next_obs, the last is left out.
    assert_eq!(e.len(), 2);
}

const MILLION: usize = 1_000_000;

/// Run by the test below in a process with little memory.
#[test]
fn child_counts_a_million_episodes() {
    let Ok(path) = std::env::var("SUREFOOT_MILLION_EPISODES") else { return };
    let source = open(Path::new(&path)).unwrap();
    assert_eq!(source.len(), MILLION);
    let report = stats(&*source).unwrap();
    assert_eq!((report.total.episodes, report.total.steps, report.terminated), (MILLION, MILLION, MILLION));
    let spec = surefoot_core::EnvSpec { reward_range: None, ..spec(1, 1) };
    let loaded = load_each(&*source, &spec, &LoadOptions::default(), |_| Ok(())).unwrap();
    assert_eq!((loaded.episodes, loaded.steps), (MILLION, MILLION));
}

#[cfg(unix)]
fn child(test: &str, limit_mib: usize, name: &str, value: &Path) {
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!("ulimit -v {} && exec \"$0\" {test} --test-threads 1", limit_mib << 10))
        .arg(std::env::current_exe().unwrap())
        .env(name, value)
        .env("RAYON_NUM_THREADS", "2")
        .env("MALLOC_ARENA_MAX", "2")
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !text.contains(" 0 passed"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_million_tiny_episodes_are_counted_in_bounded_memory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tiny.hdf5");
    let numbers: Vec<f32> = (0..MILLION).map(|i| (i % 1000) as f32 / 1000.0).collect();
    let mut file = FileBuilder::new();
    for name in ["observations", "actions", "next_observations"] {
        file.create_dataset(name).with_f32_data(&numbers).with_shape(&[MILLION as u64, 1]);
    }
    file.create_dataset("rewards").with_f32_data(&numbers);
    file.create_dataset("terminals").with_u8_data(&vec![1; MILLION]);
    file.create_dataset("timeouts").with_u8_data(&vec![0; MILLION]);
    std::fs::write(&path, file.finish().unwrap()).unwrap();
    child("named_cases::child_counts_a_million_episodes --exact", 512, "SUREFOOT_MILLION_EPISODES", &path);
}

/// All the tests with hostile bytes once more, where no claim of a file can be believed beyond 256 MiB. An allocation that fails ends the process.
#[cfg(all(unix, not(feature = "libhdf5")))]
#[test]
fn hostile_bytes_stay_within_memory() {
    child("damage::lengths_that_lie", 256, "PROPTEST_CASES", Path::new("96"));
}

#[test]
fn an_empty_dataset_is_said() {
    let directory = tempfile::tempdir().unwrap();
    // A D4RL file of no rows, a file of no demos, a directory of nothing.
    let path = directory.path().join("empty.hdf5");
    let mut file = FileBuilder::new();
    for name in ["observations", "actions"] {
        file.create_dataset(name).with_f32_data(&[]).with_shape(&[0, 2]);
    }
    for name in ["rewards", "terminals"] {
        file.create_dataset(name).with_f32_data(&[]).with_shape(&[0]);
    }
    std::fs::write(&path, file.finish().unwrap()).unwrap();
    let source = open(&path).unwrap();
    assert_eq!(source.len(), 0);
    assert!(!verify(&path, &OpenOptions::default()).findings.is_empty(), "verify says that there is nothing");
    let to = directory.path().join("new");
    for format in surefoot_datasets::FORMATS.iter().filter(|f| f.write.is_some()).map(|f| f.name) {
        let error = surefoot_datasets::convert(&*source, format, &to).unwrap_err().to_string();
        assert!(error.contains("at least one"), "{format}: {error}");
        assert!(!to.exists());
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left behind");
    let none = tempfile::tempdir().unwrap();
    assert!(open(none.path()).is_err());
    // A recording that was ended before its first episode.
    let path = none.path().join("begun.hdf5");
    let mut file = FileBuilder::new();
    let data = file.create_group("data");
    file.add_group(data.finish());
    std::fs::write(&path, file.finish().unwrap()).unwrap();
    let error = open(&path).err().unwrap().to_string();
    assert!(error.contains("a dataset without episodes"), "{error}");
}
