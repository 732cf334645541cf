//! Raw logs against what other programs wrote and decoded.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use surefoot_datasets::streams::{LogEnd, LogOptions, header_nanos, open_log};

pub fn log(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/logs").join(name)
}

type Leaves = BTreeMap<String, BTreeMap<String, f64>>;

/// All numbers of the last message of each topic, by path.
fn leaves(path: &Path) -> Leaves {
    let log = open_log(path, &LogOptions::default()).unwrap();
    let mut all = Leaves::new();
    let end = log.read(&|_| true, &mut |message| {
        let found = message
            .with_value(|value| {
                let mut found = BTreeMap::new();
                value.leaves(&mut |path, x| {
                    found.insert(path.to_owned(), x);
                });
                found
            })
            .unwrap();
        all.insert(message.topic.to_owned(), found);
        Ok(ControlFlow::Continue(()))
    });
    assert_eq!(end.unwrap(), LogEnd::Whole);
    all
}

#[test]
fn every_kind_of_message_reads_as_the_reference_decoder_reads_it() {
    let golden: Leaves =
        serde_json::from_str(&std::fs::read_to_string(log("messages.json")).unwrap()).unwrap();
    assert_eq!(golden.len(), 11);
    for name in ["messages_zstd", "messages_lz4", "messages_none", "messages_unchunked"] {
        let mut found = leaves(&log(&format!("{name}.mcap")));
        // The byte that DDS gives to an empty message.
        found.get_mut("/empty").unwrap().remove("structure_needs_at_least_one_member");
        assert_eq!(found, golden, "{name}");
    }
}

#[test]
fn topics_are_counted_and_stamps_found() {
    let log = open_log(&log("teleop.mcap"), &LogOptions::default()).unwrap();
    let topics = log.topics().unwrap();
    let counts: Vec<(&str, u64)> = topics.iter().map(|t| (t.name.as_str(), t.messages)).collect();
    let expected = [
        ("/arm/joint_trajectory", 80),
        ("/episode", 4),
        ("/forward/commands", 80),
        ("/joint_states", 400),
        ("/joy", 40),
        ("/success", 1),
    ];
    assert_eq!(counts, expected);
    let states = topics.iter().find(|t| t.name == "/joint_states").unwrap();
    assert_eq!(states.schema, "sensor_msgs/msg/JointState");
    assert_eq!(states.first_nanos, Some(1_700_000_000_002_000_000));
    let mut stamp = None;
    let end = log.read(&|t| t == "/joint_states", &mut |m| {
        stamp = m.with_value(header_nanos).unwrap();
        Ok(ControlFlow::Break(()))
    });
    assert_eq!((end.unwrap(), stamp), (LogEnd::Stopped, Some(1_700_000_000_000_000_000)));
}

#[test]
fn a_rosbag2_directory_is_one_log() {
    let log = open_log(&log("rosbag2"), &LogOptions::default()).unwrap();
    assert_eq!(log.topics().unwrap().iter().map(|t| t.messages).sum::<u64>(), 78);
}

#[test]
fn unknown_encodings_are_said_and_json_is_read() {
    let log = open_log(&log("encodings.mcap"), &LogOptions::default()).unwrap();
    let mut said = BTreeMap::new();
    log.read(&|_| true, &mut |m| {
        said.insert(m.topic.to_owned(), m.with_value(|v| (v.part("on").cloned().is_some(), header_nanos(v))));
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(said["/json"], Ok((true, Some(3_000_000_004))));
    let error = |topic: &str| said[topic].clone().unwrap_err();
    assert!(error("/protobuf").contains("\"protobuf\" are not read: expected cdr, ros1 or json"));
    assert!(error("/idl").contains("schema pkg/msg/Idl is in the encoding \"ros2idl\""));
    assert!(error("/bare").contains("no schema"));
}

#[test]
fn what_is_no_log_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        open_log(&path, &LogOptions::default()).unwrap_err().to_string()
    };
    assert!(at("x.db3", b"SQLite format 3\0").contains("not a readable rosbag2_sqlite file"));
    assert!(at("x.db3.zstd", b"\x28\xb5\x2f\xfd").contains("zstd -d"));
    assert!(at("x.bin", b"nothing").contains("known are mcap"));
    assert!(at("x.csv", b"a,b\n").contains("[import.table]"));
    let empty = tempfile::tempdir().unwrap();
    let error = open_log(empty.path(), &LogOptions::default()).unwrap_err().to_string();
    assert!(error.contains("without MCAP or SQLite"), "{error}");
}

/// Reads all there is and decodes it. Whether it was whole.
fn read_everything(path: &Path) -> bool {
    let Ok(log) = open_log(path, &LogOptions::default()) else { return false };
    let _ = log.topics();
    let end = log.read(&|_| true, &mut |m| {
        let _ = m.with_value(|v| v.leaves(&mut |_, _| {}));
        Ok(ControlFlow::Continue(()))
    });
    matches!(end, Ok(LogEnd::Whole))
}

const VICTIMS: [&str; 8] = [
    "messages_zstd.mcap",
    "messages_lz4.mcap",
    "messages_none.mcap",
    "messages_unchunked.mcap",
    "encodings.mcap",
    "teleop_none.bag",
    "teleop_lz4.bag",
    "teleop_bz2.bag",
];

#[test]
fn a_log_cut_off_anywhere_gives_what_came_before() {
    let directory = tempfile::tempdir().unwrap();
    for name in VICTIMS.iter().chain(&["teleop.mcap"]) {
        let bytes = std::fs::read(log(name)).unwrap();
        let path = directory.path().join(name);
        let mut before = 0;
        for k in 1..16 {
            std::fs::write(&path, &bytes[..bytes.len() * k / 16]).unwrap();
            let log = open_log(&path, &LogOptions::default()).unwrap();
            let mut messages = 0;
            let end = log.read(&|_| true, &mut |_| {
                messages += 1;
                Ok(ControlFlow::Continue(()))
            });
            // The summary at the end is not needed.
            assert!(matches!(end, Ok(LogEnd::Torn(_) | LogEnd::Whole)), "{name} {k}/16: {end:?}");
            assert!(messages >= before, "{name} {k}/16");
            before = messages;
        }
        assert!(before > 0, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bytes_and_lying_lengths_never_crash(
        victim in 0_usize..VICTIMS.len(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        lie in proptest::option::of((any::<prop::sample::Index>(), prop::sample::select(vec![0_u64, 0x7fff_ffff, 1 << 40, u64::MAX]))),
    ) {
        let mut bytes = std::fs::read(log(VICTIMS[victim])).unwrap();
        for (at, value) in &flips {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        if let Some((at, length)) = lie {
            let at = at.index(bytes.len() - 8);
            bytes[at..at + 8].copy_from_slice(&length.to_le_bytes());
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("damaged");
        std::fs::write(&path, &bytes).unwrap();
        read_everything(&path);
    }

    #[test]
    fn arbitrary_bytes_behind_the_magic_never_crash(
        bytes in proptest::collection::vec(prop_oneof![0_u8..16, any::<u8>()], 0..400),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.mcap");
        std::fs::write(&path, [b"\x89MCAP0\r\n".as_slice(), &bytes].concat()).unwrap();
        read_everything(&path);
    }
}
