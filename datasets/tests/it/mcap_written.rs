//! MCAP files that we write: read back bit for bit, as far as they go, and by the importer as any other log.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use proptest::prelude::*;
use surefoot_core::ros::RosMessage;
use surefoot_core::ros::messages::{Float64, JointState, String as Text};
use surefoot_core::{Episode, RobotContract, StepEnd};
use surefoot_datasets::import::{Plan, import};
use surefoot_datasets::mcap::episodes::{DATASET, EpisodeTopics, Stamps, StepRow, dataset_metadata};
use surefoot_datasets::mcap::{Compression, McapWriter, WriteOptions, metadata};
use surefoot_datasets::streams::{LogEnd, LogOptions, open_log};
use surefoot_datasets::{
    FORMATS, OpenOptions, Recording, Written, convert, info, open, open_with, read_all, verify, write,
};

use crate::episodes::{episode, fixture, spec};

fn write_mcap(path: &Path, recording: &Recording, episodes: &[Episode]) -> Written {
    let format = FORMATS.iter().find(|f| f.name == "mcap").unwrap();
    format.write.unwrap()(path, recording, &mut episodes.iter().cloned().map(Ok)).unwrap()
}

fn bits(rows: &[f32]) -> Vec<u32> {
    rows.iter().map(|x| x.to_bits()).collect()
}

/// Numbers of every kind: ordinary, huge, denormal, infinite, NaN with its payload.
fn any_number() -> impl Strategy<Value = f32> {
    prop_oneof![3 => -2.0_f32..2.0, 1 => any::<u32>().prop_map(f32::from_bits)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn every_bit_of_an_episode_survives(
        (observation_dim, action_dim, lengths) in (1_usize..6, 1_usize..4, prop::collection::vec(1_usize..9, 1..5)),
        numbers in prop::collection::vec(any_number(), 64),
        name in "\\PC{1,24}",
        attribute in "\\PC{0,200}",
        (proposed, human, chained, stated) in any::<(bool, bool, bool, bool)>(),
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
                if !chained {
                    e.observation = rows(steps * observation_dim);
                    e.next_observation = rows(steps * observation_dim);
                }
                e.action = rows(steps * action_dim);
                e.proposed = if proposed { rows(steps * action_dim) } else { Vec::new() };
                e.human = if human { (0..*steps).map(|t| (t + i) % 3 == 0).collect() } else { Vec::new() };
                e.reward = rows(*steps);
                e.name = format!("{name}{i}");
                e.success = [None, Some(false), Some(true)][i % 3];
                e.source = [None, Some(attribute.clone())][i % 2].clone();
                e.seed = [Some(seed), None][i % 2];
                e.attributes.insert(attribute.clone(), name.clone());
                e
            })
            .collect();
        let recording = Recording {
            stated,
            observation_keys: vec![("first".into(), 1), ("rest".into(), observation_dim - 1)],
            masks: vec![("all".into(), (0..episodes.len()).collect()), ("none".into(), Vec::new())],
            ..Recording::new(spec(observation_dim, action_dim))
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("any.mcap");
        let written = write_mcap(&path, &recording, &episodes);
        prop_assert_eq!(&written.lost, &Vec::<String>::new());
        let source = open(&path).unwrap();
        let meta = source.meta();
        prop_assert_eq!(meta.spec.as_ref(), stated.then_some(&recording.spec));
        prop_assert_eq!(&meta.observation_keys, &recording.observation_keys);
        prop_assert_eq!(&meta.masks[..], &recording.masks[..1]);
        prop_assert_eq!((&meta.notes, &meta.hash), (&Vec::new(), &written.hash));
        prop_assert_eq!(meta.contract_hash.as_deref(), Some("c0ffee"));
        prop_assert_eq!(source.len(), episodes.len());
        for (i, meant) in episodes.iter().enumerate() {
            let found = source.episode(i).unwrap();
            for (a, b) in [
                (&found.observation, &meant.observation),
                (&found.next_observation, &meant.next_observation),
                (&found.action, &meant.action),
                (&found.proposed, &meant.proposed),
                (&found.reward, &meant.reward),
            ] {
                prop_assert_eq!(bits(a), bits(b));
            }
            prop_assert_eq!((&found.end, &found.human, found.success), (&meant.end, &meant.human, meant.success));
            prop_assert_eq!((&found.name, &found.source, found.seed), (&meant.name, &meant.source, meant.seed));
            prop_assert_eq!((&found.attributes, &found.safety), (&meant.attributes, &meant.safety));
        }
        // Once more from what was read: the same bytes, for nothing was lost and nothing made up.
        let again = directory.path().join("again.mcap");
        convert(&*source, "mcap", &again).unwrap();
        if stated {
            prop_assert_eq!(read_all(&*open(&again).unwrap(), &[0]).unwrap().len(), 1);
        }
    }

    /// Whatever the payloads and however they are compressed, a reader sees what was written, and of a file that was cut anywhere a
    /// prefix of it.
    #[test]
    fn a_file_reads_up_to_where_it_was_cut(
        payloads in prop::collection::vec((0_usize..3, "\\PC{0,60}"), 1..40),
        compression in prop_oneof![Just(Compression::None), Just(Compression::Lz4), Just(Compression::Zstd)],
        chunk_bytes in 1_usize..2000,
        cut in 0.0_f64..1.0,
    ) {
        let mut file = McapWriter::new(
            Vec::new(),
            WriteOptions { compression, chunk_bytes, ..WriteOptions::default() },
        ).unwrap();
        let topics: Vec<_> =
            ["/a", "/b", "/c"].iter().map(|t| file.topic(t, Text::TYPE, Text::DEFINITION).unwrap()).collect();
        let mut payload = Vec::new();
        for (i, (topic, text)) in payloads.iter().enumerate() {
            Text { data: text.clone() }.encode(&mut payload);
            file.message(topics[*topic], i as u64, i as u64, &payload).unwrap();
        }
        let (bytes, length) = file.finish().unwrap();
        prop_assert_eq!(bytes.len() as u64, length);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("any.mcap");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let mut found = Vec::new();
            let end = open_log(&path, &LogOptions::default()).and_then(|log| log.read(&|_| true, &mut |message| {
                let mut text = Text::default();
                text.decode(message.bytes().unwrap()).unwrap();
                found.push((message.topic.to_owned(), message.receive_nanos as usize, text.data));
                Ok(ControlFlow::Continue(()))
            }));
            (found, end)
        };
        let meant: Vec<_> = payloads
            .iter()
            .enumerate()
            .map(|(i, (topic, text))| (["/a", "/b", "/c"][*topic].to_owned(), i, text.clone()))
            .collect();
        let (found, end) = read(&bytes);
        prop_assert_eq!(end.unwrap(), LogEnd::Whole);
        prop_assert_eq!(&found, &meant);
        let at = 8 + ((bytes.len() - 9) as f64 * cut) as usize;
        let (found, end) = read(&bytes[..at]);
        prop_assert!(found.len() <= meant.len() && found == meant[..found.len()]);
        prop_assert!(end.is_ok());
        prop_assert!(found.len() == meant.len() || matches!(end, Ok(LogEnd::Torn(_))));
    }

    /// Nothing that a file may hold makes the dataset reader panic, or believe a length.
    #[test]
    fn damaged_datasets_are_errors_or_shorter(at in 0.0_f64..1.0, value in any::<u8>(), keep in 0.0_f64..1.0) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("any.mcap");
        write_mcap(&path, &Recording::new(spec(3, 2)), &[episode(0, 3, 2, 5, 1), episode(1, 3, 2, 6, 1)]);
        let mut bytes = std::fs::read(&path).unwrap();
        let place = ((bytes.len() - 1) as f64 * at) as usize;
        bytes[place] = value;
        bytes.truncate((bytes.len() as f64 * (0.5 + keep)) as usize);
        std::fs::write(&path, &bytes).unwrap();
        let _ = info(&path, &OpenOptions::default());
        if let Ok(source) = open(&path) {
            for i in 0..source.len() {
                let _ = source.episode(i);
            }
        }
    }
}

#[test]
fn the_same_episodes_give_the_same_bytes_and_an_existing_file_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let episodes: Vec<Episode> = (0..3).map(|i| episode(i, 5, 2, 7 + i, 1)).collect();
    let recording = Recording::new(spec(5, 2));
    let [a, b] = ["a", "b"].map(|name| write_mcap(&directory.path().join(name), &recording, &episodes).hash);
    assert_eq!(a, b);
    let format = FORMATS.iter().find(|f| f.name == "mcap").unwrap().write.unwrap();
    let path = directory.path().join("a");
    let error = format(&path, &recording, &mut std::iter::empty()).unwrap_err().to_string();
    assert!(error.contains("there is a file of this name already"), "{error}");
    let error = format(&directory.path().join("c"), &recording, &mut std::iter::empty()).unwrap_err();
    assert!(error.to_string().contains("at least one"), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "nothing is left behind");
}

#[test]
fn a_dataset_goes_through_mcap_and_back_without_a_difference() {
    let directory = tempfile::tempdir().unwrap();
    let (native, mcap, back) =
        (directory.path().join("a.hdf5"), directory.path().join("b.mcap"), directory.path().join("c.hdf5"));
    let episodes: Vec<Episode> = (0..40).map(|i| episode(i, 5, 2, 30 + i, 1)).collect();
    let recording = Recording::new(spec(5, 2)).with_split(40, 0.25, 3);
    write(&native, &recording, &episodes).unwrap();
    convert(&*open(&native).unwrap(), "mcap", &mcap).unwrap();
    convert(&*open(&mcap).unwrap(), "robomimic", &back).unwrap();
    assert_eq!(std::fs::read(&native).unwrap(), std::fs::read(&back).unwrap());
    let report = verify(&mcap, &OpenOptions::default());
    assert!(report.passed(), "{report}");
    let said = info(&mcap, &OpenOptions::default()).unwrap().to_string();
    for word in ["mcap", "/observation", "/action_proposed", "push"] {
        assert!(said.contains(word), "no {word} in {said}");
    }
}

#[test]
fn a_dataset_that_was_cut_off_reads_as_far_as_it_goes_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.mcap");
    let episodes: Vec<Episode> = (0..40).map(|i| episode(i, 5, 2, 100, 1)).collect();
    write_mcap(&path, &Recording::new(spec(5, 2)), &episodes);
    let bytes = std::fs::read(&path).unwrap();
    let mut lengths = Vec::new();
    for sixteenth in 1..16 {
        std::fs::write(&path, &bytes[..bytes.len() * sixteenth / 16]).unwrap();
        let source = open(&path).unwrap();
        let notes = &source.meta().notes;
        assert!(matches!(notes.as_slice(), [note] if note.starts_with("incomplete: ")), "{notes:?}");
        assert!(source.len() <= episodes.len());
        for (i, episode) in episodes.iter().enumerate().take(source.len()) {
            assert_eq!(source.episode(i).unwrap(), *episode);
        }
        lengths.push(source.len());
        let report = verify(&path, &OpenOptions::default()).to_string();
        assert!(report.contains("warning[incomplete]"), "{report}");
        assert!(info(&path, &OpenOptions::default()).unwrap().to_string().contains("incomplete"));
    }
    assert!(lengths.is_sorted() && lengths[14] > lengths[0], "{lengths:?}");
}

#[test]
fn a_log_without_episodes_is_sent_to_the_importer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bag.mcap");
    let mut file = McapWriter::new(std::fs::File::create(&path).unwrap(), WriteOptions::default()).unwrap();
    let topic = file.topic("/joint_states", JointState::TYPE, JointState::DEFINITION).unwrap();
    let mut payload = Vec::new();
    JointState { name: vec!["a".into()], position: vec![1.5], ..JointState::default() }.encode(&mut payload);
    file.message(topic, 5, 6, &payload).unwrap();
    file.metadata("about", &BTreeMap::from([("key".to_owned(), "value".to_owned())])).unwrap();
    file.finish().unwrap();
    let error = open(&path).err().unwrap().to_string();
    assert!(error.contains("raw log") && error.contains("surefoot data import"), "{error}");
    let options = OpenOptions { format: Some("mcap".into()), ..OpenOptions::default() };
    let error = open_with(&path, &options).err().unwrap().to_string();
    assert!(error.contains("no episodes") && error.contains("surefoot data import"), "{error}");
    let (records, end) = metadata(&path).unwrap();
    assert_eq!((records[0].name.as_str(), records[0].entries["key"].as_str()), ("about", "value"));
    assert_eq!(end, LogEnd::Whole);
    let topics = open_log(&path, &LogOptions::default()).unwrap().topics().unwrap();
    assert_eq!((topics[0].schema.as_str(), topics[0].messages), ("sensor_msgs/msg/JointState", 1));
}

#[test]
fn nothing_is_written_behind_a_torn_record() {
    struct Small(Vec<u8>);
    impl std::io::Write for Small {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let left = 400 - self.0.len();
            if left == 0 {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            let n = bytes.len().min(left);
            self.0.extend_from_slice(&bytes[..n]);
            Ok(n)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let options =
        WriteOptions { compression: Compression::None, chunk_bytes: 100, ..WriteOptions::default() };
    let mut file = McapWriter::new(Small(Vec::new()), options).unwrap();
    let topic = file.topic("/x", Float64::TYPE, Float64::DEFINITION).unwrap();
    let mut payload = Vec::new();
    Float64 { data: 1.0 }.encode(&mut payload);
    let error = (0..50).find_map(|i| file.message(topic, i, i, &payload).err()).unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    let before = file.get_ref().0.len();
    let error = file.flush().and_then(|()| file.metadata("m", &BTreeMap::new())).unwrap_err();
    assert!(error.to_string().contains("failed before"), "{error}");
    assert_eq!(file.get_ref().0.len(), before);
}

#[test]
fn an_episode_that_was_not_finished_is_none_and_one_that_was_judged_later_is_as_it_was_judged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("live.mcap");
    let recording = Recording::new(spec(2, 1));
    let mut file = McapWriter::new(std::fs::File::create(&path).unwrap(), WriteOptions::default()).unwrap();
    file.metadata(DATASET, &dataset_metadata(&recording, Stamps::Measured).unwrap()).unwrap();
    let mut topics = EpisodeTopics::declare(&mut file).unwrap();
    let step = StepRow {
        span_nanos: (1, 2),
        action: &[0.5],
        proposed: Some(&[0.75]),
        human: Some(true),
        reward: -1.0,
        end: StepEnd::Running,
        next_observation: &[3.0, 4.0],
        following: None,
    };
    topics.begin(&mut file, 1, &[1.0, 2.0]).unwrap();
    topics.step(&mut file, &step).unwrap();
    // Abandoned. The next one is cut short after its only step.
    topics.begin(&mut file, 3, &[5.0, 6.0]).unwrap();
    topics.step(&mut file, &step).unwrap();
    let meant = Episode {
        name: "second".into(),
        observation: vec![5.0, 6.0],
        next_observation: vec![3.0, 4.0],
        action: vec![0.5],
        proposed: vec![0.75],
        reward: vec![-1.0],
        end: vec![StepEnd::Terminated],
        human: vec![true],
        success: Some(true),
        attributes: BTreeMap::from([("marked".to_owned(), "by a person".to_owned())]),
        ..Episode::default()
    };
    topics.end(&mut file, 4, &meant).unwrap();
    topics.begin(&mut file, 5, &[0.0, 0.0]).unwrap();
    topics.close(&mut file, Some("7 ticks were lost"), &[]).unwrap();
    file.finish().unwrap();
    let source = open(&path).unwrap();
    assert_eq!(source.meta().notes, ["incomplete: 7 ticks were lost"]);
    assert_eq!(read_all(&*source, &[0]).unwrap(), [meant]);
    let mut marks = Vec::new();
    let log = open_log(&path, &LogOptions::default()).unwrap();
    log.read(&|topic| topic == "/mark", &mut |message| {
        let mut text = Text::default();
        text.decode(message.bytes().unwrap()).unwrap();
        marks.push(text.data);
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(marks, ["success"]);
}

/// `surefoot data filter push.hdf5 --to episodes.mcap` of scripted demonstrations: what was written once is read for as long as it says
/// the same schema.
#[test]
fn a_file_of_the_first_version_is_read() {
    let source = open(&fixture("episodes.mcap")).unwrap();
    assert_eq!((source.len(), source.meta().env.as_deref()), (1, Some("push")));
    let e = source.episode(0).unwrap();
    assert_eq!((e.len(), e.success, e.end.last()), (32, Some(true), Some(&StepEnd::Terminated)));
    assert_eq!(e.observation[12..], e.next_observation[..e.next_observation.len() - 12]);
}

const CONTRACT: &str = r#"
name = "two_links"
control_hz = 100.0
policy_hz = 20.0
[[joints]]
name = "shoulder"
unit = "rad"
min_position = -30.0
max_position = 30.0
max_velocity = 2.0
max_acceleration = 10.0
[import]
action_shift = "hold"
success = "events"
reward = { topic = { topic = "/reward", select = "data", align = { strategy = "hold", timeline = "receive" } } }
episodes = { split = "events", min_steps = 2 }
[[import.observation]]
name = "row"
topic = "/observation"
type = "std_msgs/msg/Float32MultiArray"
align = { strategy = "hold", timeline = "receive" }
select = ["data[0]", "data[1]", "data[2]"]
unit = "1"
[[import.action]]
name = "target"
topic = "/action"
align = { strategy = "hold", timeline = "receive" }
select = ["data[0]"]
unit = "rad/s"
definition = "commanded"
bounds = { range = { low = [-1.0], high = [1.0] } }
[import.events]
start_episode = { topic = "/event", select = "data", timeline = "receive", trigger = "message", equals = "begin" }
success = { topic = "/event", select = "data", timeline = "receive", trigger = "message", equals = "success" }
failure = { topic = "/event", select = "data", timeline = "receive", trigger = "message", equals = "failure" }
"#;

#[test]
fn the_importer_takes_such_a_file_like_any_other_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.mcap");
    let episodes: Vec<Episode> = (0..2).map(|i| episode(i, 3, 1, 20, 1)).collect();
    write_mcap(&path, &Recording::new(spec(3, 1)), &episodes);
    let contract = RobotContract::parse(CONTRACT, Path::new("c.toml")).unwrap();
    let plan = Plan::new(&contract).unwrap();
    let imported = import(&plan, &[path], &LogOptions::of(&contract), false, &|_| {}).unwrap();
    assert_eq!(imported.episodes.len(), 2, "{}", imported.report);
    for (found, meant) in imported.episodes.iter().zip(&episodes) {
        assert_eq!(found.success, meant.success);
        // Steps are laid on the contract's clock, which begins with the episode.
        let rows = |e: &Episode| -> Vec<Vec<u32>> { e.observation.chunks(3).map(bits).collect() };
        let (found_rows, meant_rows) = (rows(found), rows(meant));
        assert!(found_rows.len() >= 18, "{}", found_rows.len());
        assert!(found_rows.iter().all(|row| meant_rows.contains(row)));
        let near = |a: &f32| meant.action.iter().any(|b| (a - b).abs() < 1e-6);
        assert!(found.action.iter().all(near));
    }
}
