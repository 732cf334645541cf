//! What is written reads back bit for bit, and never half.

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
