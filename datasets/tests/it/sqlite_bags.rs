//! rosbag2 in SQLite, as rosbags writes it and as others damage it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use proptest::prelude::*;
use rusqlite::Connection;
use surefoot_datasets::import::{Plan, import};
use surefoot_datasets::log_info;
use surefoot_datasets::streams::{LogEnd, LogOptions, open_log};

use crate::import::{TELEOP, contract};
use crate::logs::log;

type Messages = Vec<(String, i64, Result<BTreeMap<String, u64>, String>)>;

/// Every message: topic, time, numbers bit for bit.
fn messages(path: &Path) -> Result<(Messages, LogEnd), String> {
    let log = open_log(path, &LogOptions::default()).map_err(|e| e.to_string())?;
    let mut all = Messages::new();
    let end = log.read(&|_| true, &mut |m| {
        let numbers = m.with_value(|value| {
            let mut numbers = BTreeMap::new();
            value.leaves(&mut |path, x| {
                numbers.insert(path.to_owned(), x.to_bits());
            });
            numbers
        });
        all.push((m.topic.to_owned(), m.receive_nanos, numbers));
        Ok(ControlFlow::Continue(()))
    });
    Ok((all, end.map_err(|e| e.to_string())?))
}

#[test]
fn sqlite_says_the_same_as_mcap_with_and_without_definitions() {
    let (meant, _) = messages(&log("rosbag2")).unwrap();
    assert_eq!(meant.len(), 78);
    for name in ["sqlite", "sqlite/sqlite.db3", "sqlite_zstd"] {
        let (found, end) = messages(&log(name)).unwrap();
        assert_eq!((&found, end), (&meant, LogEnd::Whole), "{name}");
    }
    let (mut found, _) = messages(&log("humble")).unwrap();
    let unknown = found.pop().unwrap();
    assert_eq!(found, meant);
    let why = unknown.2.unwrap_err();
    assert!(
        why.contains("no definition of test_msgs/msg/Everything") && why.contains("storage_id: mcap"),
        "{why}"
    );
}

#[test]
fn a_recording_in_several_files_is_one_log_and_a_lost_file_is_said() {
    let (found, end) = messages(&log("sqlite_split")).unwrap();
    assert_eq!((found.len(), end), (156, LogEnd::Whole));
    let (first, second) = found.split_at(78);
    assert!(first.iter().map(|m| m.1).max() < second.iter().map(|m| m.1).min());
    let directory = tempfile::tempdir().unwrap();
    for name in ["metadata.yaml", "sqlite_split_1.db3"] {
        std::fs::copy(log("sqlite_split").join(name), directory.path().join(name)).unwrap();
    }
    let (found, end) = messages(directory.path()).unwrap();
    assert_eq!(found.len(), 78);
    let LogEnd::Torn(why) = end else { panic!("{end:?}") };
    assert!(why.contains("lists 1 files that are not there, the first is sqlite_split_0.db3"), "{why}");
    // Without the list, what is there is the recording.
    std::fs::remove_file(directory.path().join("metadata.yaml")).unwrap();
    assert_eq!(messages(directory.path()).unwrap().1, LogEnd::Whole);
}

#[test]
fn episodes_come_out_of_sqlite_as_out_of_mcap() {
    let plan = Plan::new(&contract(TELEOP)).unwrap();
    let episodes =
        |name: &str| import(&plan, &[log(name)], &LogOptions::default(), false, &|_| {}).unwrap().episodes;
    let (mcap, sqlite) = (episodes("rosbag2"), episodes("humble"));
    assert_eq!(mcap.len(), 1);
    assert_eq!((&mcap[0].observation, &mcap[0].action), (&sqlite[0].observation, &sqlite[0].action));
}

#[test]
fn what_lies_beside_a_database_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x?#%41 y.db3");
    std::fs::copy(log("sqlite/sqlite.db3"), &path).unwrap();
    assert_eq!(messages(&path).unwrap().1, LogEnd::Whole, "the name is no part of a URI");
    std::fs::write(directory.path().join("x?#%41 y.db3-wal"), b"not taken in").unwrap();
    let (found, end) = messages(&path).unwrap();
    assert_eq!(found.len(), 78);
    assert!(matches!(&end, LogEnd::Torn(why) if why.contains("db3-wal beside it")), "{end:?}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "nothing is made beside it");
}

/// A bag in which something was changed by SQL.
fn changed(directory: &Path, sql: &str) -> Result<(Messages, LogEnd), String> {
    let path = directory.join("changed.db3");
    std::fs::copy(log("sqlite/sqlite.db3"), &path).unwrap();
    let database = Connection::open(&path).unwrap();
    database.execute_batch(sql).unwrap();
    drop(database);
    messages(&path)
}

#[test]
fn a_database_that_is_no_recording_is_refused_in_one_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let error = |sql: &str| changed(directory.path(), sql).unwrap_err();
    assert!(error("DROP TABLE messages").contains("no table messages"));
    // A view could compute for ever.
    let view = "DROP TABLE messages; CREATE VIEW messages AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id FROM n) \
                SELECT id, id AS topic_id, id AS timestamp, x'00' AS data FROM n";
    assert!(error(view).contains("no table messages"));
    assert!(error("UPDATE messages SET data = 'text'").contains("expected a blob"));
    assert!(error("UPDATE messages SET topic_id = 99").contains("topic 99, which is not declared"));
    assert!(error("ALTER TABLE messages RENAME COLUMN data TO payload").contains("no such column"));
    // Bytes that pretend to be compressed.
    assert!(error("UPDATE messages SET data = x'28b52ffdffff'").contains("message 1: "));
    let (empty, _) = changed(directory.path(), "UPDATE messages SET data = x''").unwrap();
    assert!(empty.iter().all(|m| m.2.is_err()));
    let (none, end) = changed(directory.path(), "DELETE FROM messages").unwrap();
    assert_eq!((none.len(), end), (0, LogEnd::Whole));
    let (binary, _) = changed(directory.path(), "UPDATE topics SET serialization_format = 'xcdr2'").unwrap();
    assert!(binary[0].2.as_ref().unwrap_err().contains("\"xcdr2\" are not read"));
    let (idl, _) = changed(directory.path(), "UPDATE message_definitions SET encoding = 'ros2idl'").unwrap();
    assert!(idl[0].2.as_ref().unwrap_err().contains("\"ros2idl\": expected ros2msg"));
}

#[test]
fn a_bag_cut_off_at_every_sixteenth_is_an_error_and_no_crash() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cut.db3");
    let bytes = std::fs::read(log("sqlite/sqlite.db3")).unwrap();
    for k in 1..16 {
        std::fs::write(&path, &bytes[..bytes.len() * k / 16]).unwrap();
        let error = messages(&path).unwrap_err();
        assert!(
            error.contains("not a readable rosbag2_sqlite file") && error.contains("hint: "),
            "{k}/16: {error}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn damaged_bags_never_crash_and_end(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut bytes = std::fs::read(log("sqlite/sqlite.db3")).unwrap();
        for (at, value) in &flips {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("damaged.db3");
        std::fs::write(&path, &bytes).unwrap();
        let _ = messages(&path);
    }

    #[test]
    fn arbitrary_bytes_behind_the_magic_are_no_bag(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.db3");
        std::fs::write(&path, [b"SQLite format 3\0".as_slice(), &bytes].concat()).unwrap();
        prop_assert!(messages(&path).is_err());
    }
}

#[test]
fn info_on_logs_tells_topics_rates_gaps_and_what_cannot_be_decoded() {
    let info = log_info(&log("humble"), &LogOptions::default()).unwrap();
    assert_eq!((info.format, info.messages, info.topics.len()), ("rosbag2_sqlite", 79, 7));
    let topic = |name: &str| info.topics.iter().find(|t| t.topic == name).unwrap();
    let states = topic("/joint_states");
    assert_eq!((states.messages, states.message_type.as_str()), (50, "sensor_msgs/msg/JointState"));
    assert!((states.rate_hz.unwrap() - 100.0).abs() < 1e-6 && states.stamped);
    assert!((states.longest_gap_secs - 0.01).abs() < 1e-9);
    assert!(topic("/everything").undecodable.as_ref().unwrap().contains("no definition"));
    assert!(!topic("/success").stamped && topic("/success").rate_hz.is_none());
    let text = info.to_string();
    assert!(
        text.contains("cannot be decoded: /everything") && text.contains("surefoot data import"),
        "{text}"
    );
    let gap = log_info(&log("sqlite_split"), &LogOptions::default()).unwrap();
    let states = gap.topics.iter().find(|t| t.topic == "/joint_states").unwrap();
    assert!(
        (states.longest_gap_secs - 0.51).abs() < 1e-6 && (states.longest_gap_at_secs - 0.492).abs() < 1e-6,
        "{states:?}"
    );
    let encodings = log_info(&log("encodings.mcap"), &LogOptions::default()).unwrap();
    assert_eq!(encodings.topics.iter().filter(|t| t.undecodable.is_some()).count(), 3);
    // Whoever takes a log for a dataset is told what it is.
    for name in ["sqlite", "teleop.mcap", "teleop_none.bag"] {
        let error = surefoot_datasets::open(&log(name)).err().unwrap().to_string();
        assert!(error.contains("it is a raw log") && error.contains("data import"), "{error}");
    }
}
