//! Formats that can be written: what went in comes back.

use surefoot_core::{Episode, StepEnd};
use surefoot_datasets::{FORMATS, Format, OpenOptions, Recording, open, open_with, read_all, verify};

use crate::episodes::{episode, fixture, spec};

fn named(name: &str) -> &'static Format {
    FORMATS.iter().find(|f| f.name == name).unwrap()
}

fn write(
    format: &str,
    path: &std::path::Path,
    recording: &Recording,
    episodes: &[Episode],
) -> Result<surefoot_datasets::Written, surefoot_core::DataError> {
    let write = named(format).write.unwrap();
    write(path, recording, &mut episodes.iter().cloned().map(Ok))
}

fn three() -> Vec<Episode> {
    let mut episodes: Vec<Episode> = (0..3).map(|i| episode(i, 5, 2, 7 + i, 1)).collect();
    episodes[1].human = vec![true, false, true, true, false, false, false, true];
    episodes[2].proposed.clear();
    episodes[2].success = None;
    episodes
}

#[test]
fn minari_keeps_everything() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("push-v3");
    let recording = Recording::new(spec(5, 2));
    let written = write("minari", &path, &recording, &three()).unwrap();
    assert_eq!((written.episodes, written.steps, written.lost.len()), (3, 24, 0));
    let source = open(&path).unwrap();
    let meta = source.meta();
    assert_eq!((meta.format, meta.env.as_deref()), ("minari", Some("push")));
    assert_eq!((meta.spec.as_ref(), meta.contract_hash.as_deref()), (Some(&recording.spec), Some("c0ffee")));
    assert_eq!(read_all(&*source, &[0, 1, 2]).unwrap(), three());
    assert!(verify(&path, &OpenOptions::default()).passed());
    let text = std::fs::read_to_string(path.join("data/metadata.json")).unwrap();
    assert!(text.contains("\"dataset_id\": \"push-v3\"") && text.contains("[-Infinity, "), "{text}");

    let error = write("minari", &path, &recording, &three()).unwrap_err().to_string();
    assert!(error.contains("there is a file of this name already"), "{error}");
    let mut broken = three();
    broken[1].next_observation[12] += 1.0;
    let error = write("minari", &directory.path().join("new"), &recording, &broken).unwrap_err().to_string();
    assert!(error.contains("episode 1 (demo_1) next_observation[2]: expected observation[3]"), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left behind");
    // Values that are no numbers are kept as well.
    let mut odd = three();
    (odd[0].reward[3], odd[0].action[1]) = (f32::NAN, f32::NEG_INFINITY);
    write("minari", &directory.path().join("odd"), &recording, &odd).unwrap();
}

#[test]
fn d4rl_keeps_every_step_and_says_what_it_cannot_hold() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("push.hdf5");
    let mut episodes = three();
    episodes[2].end[8] = StepEnd::Running;
    let written = write("d4rl", &path, &Recording::new(spec(5, 2)), &episodes).unwrap();
    for what in ["proposed actions", "who drove", "success", "reset seeds", "names of the episodes"] {
        assert!(written.lost.iter().any(|l| l.contains(what)), "{:?}", written.lost);
    }
    let source = open(&path).unwrap();
    assert_eq!((source.meta().format, source.len(), source.meta().env.as_deref()), ("d4rl", 3, Some("push")));
    for (i, meant) in episodes.iter().enumerate() {
        let found = source.episode(i).unwrap();
        assert_eq!(found.observation, meant.observation);
        assert_eq!(found.next_observation, meant.next_observation);
        assert_eq!((found.action, found.reward), (meant.action.clone(), meant.reward.clone()));
    }
    let ends: Vec<StepEnd> = (0..3).map(|i| *source.episode(i).unwrap().end.last().unwrap()).collect();
    assert_eq!(ends, [StepEnd::Terminated, StepEnd::Truncated, StepEnd::Truncated]);
    assert!(
        write("d4rl", &path, &Recording::new(spec(5, 2)), &episodes).is_err(),
        "an existing file is left alone"
    );
}

#[test]
fn an_episode_that_cannot_be_read_stops_the_writing() {
    let directory = tempfile::tempdir().unwrap();
    for format in FORMATS.iter().filter(|f| f.write.is_some()) {
        let path = directory.path().join(format.name);
        let source = open(&fixture("ragged.hdf5")).unwrap();
        let mut episodes = [Ok(episode(0, 5, 2, 4, 1)), source.episode(0)].into_iter();
        let error = format.write.unwrap()(&path, &Recording::new(spec(5, 2)), &mut episodes).unwrap_err();
        assert!(error.to_string().contains("ragged.hdf5"), "{error}");
        assert!(!path.exists());
    }
}

#[test]
fn peers_can_be_converted_into_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let source = open(&fixture("peers/minari/rows")).unwrap();
    let episodes = read_all(&*source, &[0, 1]).unwrap();
    let recording = Recording::new(spec(3, 2));
    for format in ["robomimic", "minari", "d4rl"] {
        let path = directory.path().join(format);
        write(format, &path, &recording, &episodes).unwrap();
        let options = OpenOptions { format: Some(format.into()), ..OpenOptions::default() };
        let again = read_all(&*open_with(&path, &options).unwrap(), &[0, 1]).unwrap();
        for (a, b) in again.iter().zip(&episodes) {
            assert_eq!(
                (&a.observation, &a.next_observation, &a.end),
                (&b.observation, &b.next_observation, &b.end)
            );
        }
    }
}
