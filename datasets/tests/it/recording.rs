//! Recordings: what is refused, what is mended, and what a reader is told.

use std::path::Path;

use surefoot_core::{DataError, EnvSpec, EpisodeSink, EpisodeSource};
use surefoot_datasets::{
    EpisodeRecorder, LoadOptions, OpenOptions, Recording, info, load, open, open_with, stats, verify, write,
};

use crate::episodes::{episode, spec};

fn recorder(directory: &Path) -> EpisodeRecorder {
    EpisodeRecorder::create(directory, Recording::new(spec(5, 2))).unwrap()
}

fn recorded(episodes: usize) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut recorder = recorder(directory.path());
    for i in 0..episodes {
        recorder.record(&episode(i, 5, 2, 7 + i, 1)).unwrap();
    }
    recorder.finish().unwrap();
    directory
}

fn refused(directory: &Path, spec: EnvSpec) -> String {
    EpisodeRecorder::create(directory, Recording::new(spec)).unwrap_err().to_string()
}

fn notes(source: &dyn EpisodeSource) -> String {
    source.meta().notes.join("; ")
}

const LENIENT: fn() -> OpenOptions = || OpenOptions { lenient: true, ..OpenOptions::default() };

#[test]
fn a_recording_is_one_dataset() {
    let directory = recorded(3);
    let path = directory.path();
    let source = open(path).unwrap();
    let meta = source.meta();
    assert_eq!((meta.format, meta.env.as_deref(), source.len()), ("recording", Some("push"), 3));
    assert_eq!(meta.spec, Some(spec(5, 2)));
    assert_eq!(meta.notes, [""; 0]);
    for i in 0..3 {
        assert_eq!(source.episode(i).unwrap(), episode(i, 5, 2, 7 + i, 1));
    }
    assert!(matches!(source.episode(3), Err(DataError::Shape { .. })));
    assert_eq!(load(&*source, &spec(5, 2), &LoadOptions::default()).unwrap().report.episodes, 3);
    assert_eq!(stats(&*source).unwrap().total.steps, 24);
    let report = verify(path, &OpenOptions::default());
    assert_eq!((report.findings.len(), report.episodes), (0, 3), "{report}");
    let report = info(path, &OpenOptions::default()).unwrap();
    assert!(report.arrays.iter().any(|a| a.path == "data/demo_0/obs/flat" && a.info.shape == [7, 5]));
    let files: u64 = (0..3).map(|i| path.join(format!("ep_{i:06}.hdf5")).metadata().unwrap().len()).sum();
    assert_eq!(report.bytes, files);
    // Every shard is a dataset of its own.
    assert_eq!(open(&path.join("ep_000001.hdf5")).unwrap().episode(0).unwrap().name, "demo_1");
}

#[test]
fn the_manifest_says_what_is_in_each_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut recorder = recorder(directory.path());
    let mut e = episode(0, 5, 2, 4, 1);
    e.human = vec![false, true, true, false];
    e.seed = Some(17);
    e.attributes.insert("policy_version".into(), "900".into());
    let sink: &mut dyn EpisodeSink = &mut recorder;
    sink.record(&e).unwrap();
    sink.finish().unwrap();
    let text = std::fs::read_to_string(directory.path().join("manifest.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let file = std::fs::read(directory.path().join("ep_000000.hdf5")).unwrap();
    let expected = serde_json::json!({
        "file": "ep_000000.hdf5", "bytes": file.len(), "blake3": blake3::hash(&file).to_hex().as_str(), "episode": "demo_0", "steps": 4,
        "return": -3.0, "success": true, "interventions": 2, "source": "scripted", "policy_version": "900", "seed": 17,
    });
    assert_eq!(lines, [expected, serde_json::json!({ "finished": 1 })]);
}

#[test]
fn recording_goes_on_after_the_last_episode() {
    let directory = recorded(2);
    let mut again = recorder(directory.path());
    assert!(again.recovery().is_empty() && again.len() == 2);
    let third = again.record(&episode(2, 5, 2, 9, 1)).unwrap();
    assert_eq!((third.index, third.file), (2, directory.path().join("ep_000002.hdf5")));
    assert!(notes(&*open(directory.path()).unwrap()).contains("incomplete: the recording was not finished"));
    again.finish().unwrap();
    assert_eq!(notes(&*open(directory.path()).unwrap()), "");
}

#[test]
fn what_a_crash_leaves_behind_is_told_and_mended() {
    let directory = recorded(3);
    let path = directory.path();
    let manifest = path.join("manifest.jsonl");
    let whole = std::fs::read_to_string(&manifest).unwrap();
    // Killed while it appended the third line, and once before in the middle of a shard.
    let torn = &whole[..whole.match_indices('\n').nth(2).unwrap().0 - 30];
    std::fs::write(&manifest, torn).unwrap();
    std::fs::write(path.join(".ep_000001.hdf5.7-0.tmp"), "half").unwrap();
    let source = open(path).unwrap();
    assert_eq!(source.len(), 3);
    for words in ["line 3 of manifest.jsonl is torn", "1 episodes are not listed", "1 half-written files"] {
        assert!(notes(&*source).contains(words), "{}", notes(&*source));
    }
    assert!(verify(path, &OpenOptions::default()).findings.iter().any(|f| f.code == "incomplete"));

    let mut mended = recorder(path);
    let recovery = mended.recovery();
    assert_eq!(recovery.removed, [".ep_000001.hdf5.7-0.tmp"]);
    assert_eq!(
        (recovery.listed.as_slice(), recovery.cut_lines),
        (["ep_000002.hdf5".to_owned()].as_slice(), 1)
    );
    mended.finish().unwrap();
    assert_eq!(std::fs::read_to_string(&manifest).unwrap(), whole, "nothing of the manifest is lost");
    assert_eq!(notes(&*open(path).unwrap()), "");
    drop(mended);

    // Without any manifest.
    std::fs::remove_file(&manifest).unwrap();
    assert!(notes(&*open(path).unwrap()).contains("incomplete: manifest.jsonl is missing"));
    let mut mended = recorder(path);
    assert_eq!(mended.recovery().listed.len(), 3);
    mended.finish().unwrap();
    assert_eq!(std::fs::read_to_string(&manifest).unwrap(), whole);
}

#[test]
fn damage_in_the_middle_of_the_manifest_is_mended_from_the_shards() {
    let directory = recorded(3);
    let manifest = directory.path().join("manifest.jsonl");
    let whole = std::fs::read_to_string(&manifest).unwrap();
    for damage in ["\0\0\0\0", "{\"file\":\"../../etc/passwd\",\"bytes\":1}", &"x".repeat(200_000)] {
        let mut lines: Vec<&str> = whole.lines().collect();
        lines[1] = damage;
        std::fs::write(&manifest, lines.join("\n") + "\n").unwrap();
        assert_eq!(open(directory.path()).unwrap().len(), 3);
        let mut mended = recorder(directory.path());
        assert_eq!(mended.recovery().listed, ["ep_000001.hdf5"]);
        mended.finish().unwrap();
        assert_eq!(std::fs::read_to_string(&manifest).unwrap(), whole);
    }
}

#[test]
fn shards_that_are_gone_or_changed_are_errors_with_their_names() {
    let directory = recorded(3);
    let path = directory.path();
    let shard = path.join("ep_000001.hdf5");
    let bytes = std::fs::read(&shard).unwrap();
    std::fs::remove_file(&shard).unwrap();
    let ours = open(path).err().unwrap().to_string();
    for error in [refused(path, spec(5, 2)), ours] {
        assert!(error.contains("ep_000001.hdf5") && error.contains("manifest.jsonl lists it"), "{error}");
        assert!(error.contains("restore the file, or remove its line"), "{error}");
    }
    let lenient = open_with(path, &LENIENT()).unwrap();
    assert!(lenient.episode(1).is_err() && lenient.episode(2).is_ok());
    let report = verify(path, &OpenOptions::default());
    assert!(!report.passed() && report.episodes == 2, "{report}");

    std::fs::write(&shard, &bytes[..bytes.len() - 9]).unwrap();
    for error in [refused(path, spec(5, 2)), open(path).err().unwrap().to_string()] {
        assert!(error.contains(&format!("{} bytes, it has {}", bytes.len(), bytes.len() - 9)), "{error}");
    }

    // Of the same length, but another: seen when it is read.
    std::fs::write(&shard, std::fs::read(path.join("ep_000000.hdf5")).unwrap()).unwrap();
    let mut flipped = bytes;
    let at = flipped.len() / 2;
    flipped[at] ^= 1;
    std::fs::write(&shard, flipped).unwrap();
    let error = open(path).unwrap().episode(1).unwrap_err().to_string();
    assert!(error.contains("ep_000001.hdf5") && error.contains("blake3"), "{error}");
    assert!(!verify(path, &OpenOptions::default()).passed());
}

#[test]
fn only_a_recording_of_the_same_spec_is_continued() {
    let directory = recorded(1);
    let error = refused(directory.path(), spec(5, 3));
    assert!(error.contains("another action dimension: expected 2, found 3"), "{error}");
    let other = EnvSpec { contract_hash: Some("decaf".into()), ..spec(5, 2) };
    let error = refused(directory.path(), other);
    assert!(error.contains("robot contract hash: expected c0ffee, found decaf"), "{error}");
    let error = refused(directory.path(), EnvSpec { name: "reach".into(), ..spec(5, 2) });
    assert!(error.contains("another environment"), "{error}");

    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("thesis.tex"), "precious").unwrap();
    let error = refused(other.path(), spec(5, 2));
    assert!(error.contains("is not empty and no recording: it holds thesis.tex"), "{error}");
    assert!(refused(&other.path().join("thesis.tex"), spec(5, 2)).contains("thesis.tex"));

    let recording = Recording::new(spec(5, 2)).with_split(2, 0.5, 0);
    let error = EpisodeRecorder::create(&other.path().join("new"), recording).unwrap_err().to_string();
    assert!(error.contains("no masks"), "{error}");

    let header = directory.path().join("recording.json");
    let text = std::fs::read_to_string(&header).unwrap().replace("recording/1", "recording/9");
    std::fs::write(&header, text).unwrap();
    let error = refused(directory.path(), spec(5, 2));
    assert!(error.contains("surefoot-recording/9"), "{error}");
}

#[test]
fn two_recorders_do_not_write_to_one_recording() {
    let directory = tempfile::tempdir().unwrap();
    let first = recorder(directory.path());
    let error = refused(directory.path(), spec(5, 2));
    assert!(error.contains("another recorder is writing"), "{error}");
    drop(first);
    recorder(directory.path());
}

#[test]
fn an_episode_that_does_not_fit_is_refused_and_the_next_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let mut recorder = recorder(directory.path());
    recorder.record(&episode(0, 5, 2, 4, 1)).unwrap();
    assert!(recorder.record(&episode(1, 4, 2, 4, 1)).is_err());
    assert!(recorder.record(&episode(1, 5, 2, 0, 1)).is_err(), "no step");
    assert_eq!(recorder.record(&episode(1, 5, 2, 4, 1)).unwrap().index, 1);
    recorder.finish().unwrap();
    assert_eq!(notes(&*open(directory.path()).unwrap()), "");
}

#[test]
fn a_shard_of_another_spec_is_refused() {
    let directory = recorded(1);
    let path = directory.path();
    let other = EnvSpec { max_steps: 1, ..spec(5, 2) };
    write(&path.join("ep_000001.hdf5"), &Recording::new(other), &[episode(1, 5, 2, 4, 1)]).unwrap();
    assert!(refused(path, spec(5, 2)).contains("ep_000001.hdf5"));
    let error = open(path).unwrap().episode(1).unwrap_err().to_string();
    assert!(error.contains("ep_000001.hdf5") && error.contains("env_spec"), "{error}");
}

#[test]
fn ten_thousand_shards_open_without_being_read() {
    let directory = recorded(1);
    let path = directory.path();
    let line = std::fs::read_to_string(path.join("manifest.jsonl")).unwrap();
    let line = line.lines().next().unwrap().to_owned();
    let shard = path.join("ep_000000.hdf5");
    let mut manifest = format!("{line}\n");
    for i in 1..10_000 {
        let name = format!("ep_{i:06}.hdf5");
        std::fs::hard_link(&shard, path.join(&name)).unwrap();
        manifest += &line.replace("ep_000000.hdf5", &name);
        manifest.push('\n');
    }
    std::fs::write(path.join("manifest.jsonl"), manifest + "{\"finished\":10000}\n").unwrap();
    // Were they read, this one would not be.
    let last = path.join("ep_009999.hdf5");
    let bytes = std::fs::read(&shard).unwrap();
    std::fs::remove_file(&last).unwrap();
    std::fs::write(&last, vec![0; bytes.len()]).unwrap();
    let source = open(path).unwrap();
    assert_eq!((source.len(), notes(&*source).as_str()), (10_000, ""));
    assert_eq!(source.episode(5000).unwrap().len(), 7);
    assert!(source.episode(9999).is_err());
}
