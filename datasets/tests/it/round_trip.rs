//! What is written reads back bit for bit, and never half.

use proptest::prelude::*;
use surefoot_core::{DataError, Episode};
use surefoot_datasets::{LoadOptions, Recording, load, open, overwrite, read_all, write};

use crate::episodes::{episode, spec};

fn three() -> Vec<Episode> {
    (0..3).map(|i| episode(i, 5, 2, 7 + i, 1)).collect()
}

#[test]
fn a_written_file_reads_back_with_everything_it_was_given() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("push.hdf5");
    let episodes = three();
    let recording = Recording::new(spec(5, 2)).with_split(3, 0.3, 0);
    let written = write(&path, &recording, &episodes).unwrap();
    let source = open(&path).unwrap();
    let meta = source.meta();
    assert_eq!(meta.format, "robomimic");
    assert_eq!(meta.env.as_deref(), Some("push"));
    assert_eq!(meta.contract_hash.as_deref(), Some("c0ffee"));
    assert_eq!(meta.observation_keys, [("flat".to_owned(), 5)]);
    assert_eq!(meta.action_units.as_deref(), Some(["rad/s".to_owned(), "rad/s".to_owned()].as_slice()));
    assert_eq!(meta.spec.as_ref(), Some(&recording.spec));
    assert_eq!(meta.hash, written.hash);
    assert_eq!(meta.notes, Vec::<String>::new());
    assert_eq!(meta.masks, recording.masks);
    assert_eq!(read_all(&*source, &[0, 1, 2]).unwrap(), episodes);
    let loaded =
        load(&*source, &recording.spec, &LoadOptions { mask: Some("train".into()), ..Default::default() })
            .unwrap();
    assert_eq!(loaded.report.episodes, 2);
    assert_eq!(loaded.report.clipped, 0);
}

#[test]
fn the_same_episodes_give_the_same_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::new(spec(5, 2));
    let [a, b] =
        ["a", "b"].map(|name| write(&directory.path().join(name), &recording, &three()).unwrap().hash);
    assert_eq!(a, b);
}

#[test]
fn an_existing_file_is_replaced_only_on_demand() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("push.hdf5");
    let recording = Recording::new(spec(5, 2));
    let first = write(&path, &recording, &three()).unwrap();
    let error = write(&path, &recording, &three()[..1]).unwrap_err();
    assert!(
        matches!(&error, DataError::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists)
    );
    assert_eq!(open(&path).unwrap().meta().hash, first.hash);
    overwrite(&path, &recording, &three()[..1]).unwrap();
    assert_eq!(open(&path).unwrap().len(), 1);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file stays");
}

/// Numbers of every kind: ordinary, huge, denormal, infinite, NaN with its payload.
fn any_number() -> impl Strategy<Value = f32> {
    prop_oneof![3 => -2.0_f32..2.0, 1 => any::<u32>().prop_map(f32::from_bits)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn every_bit_of_every_number_survives(
        (observation_dim, action_dim, lengths) in (1_usize..6, 1_usize..4, prop::collection::vec(1_usize..9, 1..5)),
        numbers in prop::collection::vec(any_number(), 64),
        name in "[a-zA-Z0-9 _.-]{1,24}",
        attribute in "\\PC{0,200}",
        proposed in any::<bool>(),
        marked in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut at = 0;
        let mut rows = |n: usize| -> Vec<f32> {
            at += 1;
            (0..n).map(|i| numbers[(at * 7 + i) % numbers.len()]).collect()
        };
        let episodes: Vec<Episode> = lengths
            .iter()
            .enumerate()
            .map(|(i, steps)| {
                let mut e = episode(i, observation_dim, action_dim, *steps, seed);
                e.observation = rows(steps * observation_dim);
                e.next_observation = rows(steps * observation_dim);
                e.action = rows(steps * action_dim);
                e.proposed = if proposed { rows(steps * action_dim) } else { Vec::new() };
                e.human = if marked { (0..*steps).map(|t| (t + i) % 3 == 0).collect() } else { Vec::new() };
                e.reward = rows(*steps);
                e.name = format!("{name}{i}");
                e.success = [None, Some(false), Some(true)][i % 3];
                e.source = [None, Some(attribute.clone())][i % 2].clone();
                e.attributes.insert("remark".into(), attribute.clone());
                e
            })
            .collect();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("any.hdf5");
        // Writing compares what it reads back, so that `Ok` is the property; the counts are compared once more.
        write(&path, &Recording::new(spec(observation_dim, action_dim)), &episodes).unwrap();
        let back = read_all(&*open(&path).unwrap(), &(0..episodes.len()).collect::<Vec<_>>()).unwrap();
        for (b, e) in back.iter().zip(&episodes) {
            prop_assert!(b.action.iter().zip(&e.action).all(|(x, y)| x.to_bits() == y.to_bits()));
            prop_assert_eq!((&b.name, &b.attributes, &b.source), (&e.name, &e.attributes, &e.source));
        }
    }
}

#[test]
fn episodes_that_do_not_fit_are_refused_before_anything_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("push.hdf5");
    let recording = Recording::new(spec(5, 2));
    let refuse = |edit: fn(&mut Vec<Episode>)| {
        let mut episodes = three();
        edit(&mut episodes);
        let error = write(&path, &recording, &episodes).unwrap_err();
        assert!(matches!(error, DataError::Shape { .. }), "{error}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    };
    refuse(Vec::clear);
    refuse(|e| e[1].action.truncate(3));
    refuse(|e| e[2] = Episode::default());
    refuse(|e| e[0].end[2] = surefoot_core::StepEnd::Terminated);
    let mut masked = recording.clone();
    masked.masks.push(("train".into(), vec![3]));
    assert!(matches!(write(&path, &masked, &three()), Err(DataError::Shape { .. })));
}

/// A real file system of 64 KiB, where the system lets us mount one: as root, or in a user namespace of our own.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_leaves_nothing_behind() {
    const FOLDER: &str = "SUREFOOT_FULL_DISK";
    if let Some(folder) = std::env::var_os(FOLDER) {
        // The child: the tiny file system is mounted here.
        let path = std::path::PathBuf::from(folder).join("push.hdf5");
        let small = Recording::new(spec(2, 1));
        let first = write(&path, &small, &[episode(0, 2, 1, 3, 1)]).unwrap();
        let error =
            overwrite(&path, &Recording::new(spec(50, 2)), &[episode(0, 50, 2, 5000, 1)]).unwrap_err();
        let DataError::Io { source, .. } = &error else { panic!("{error}") };
        assert_eq!(source.kind(), std::io::ErrorKind::StorageFull, "{error}");
        assert_eq!(open(&path).unwrap().meta().hash, first.hash, "the old file is as it was");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left behind");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=64k none "$1" || exit 77; exec "$2" --exact round_trip::a_full_disk_leaves_nothing_behind"#;
    let run = |namespace: &[&str]| {
        std::process::Command::new("unshare")
            .args(namespace)
            .args(["sh", "-c", script, "sh"])
            .arg(directory.path())
            .arg(std::env::current_exe().unwrap())
            .env(FOLDER, directory.path())
            .output()
    };
    for namespace in [["--mount"].as_slice(), ["--user", "--map-root-user", "--mount"].as_slice()] {
        let Ok(output) = run(namespace) else { continue };
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.code() == Some(77) || err.starts_with("unshare:") {
            continue;
        }
        assert!(output.status.success() && out.contains("1 passed"), "{out}\n{err}");
        return;
    }
    eprintln!("skipped: no tiny file system can be mounted here, so that a full disk was not tried");
}
