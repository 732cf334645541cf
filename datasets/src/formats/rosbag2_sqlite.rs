//! rosbag2 in SQLite (`.db3`): what `ros2 bag record` writes up to Humble when nothing else is asked for.
//!
//! Tables `topics` (name, type, serialization_format) and `messages` (topic_id, timestamp in ns, data), read in the order of their
//! ids, which is that in which they were logged, one row at a time. Newer recorders keep the definitions of the types in
//! `message_definitions`; where they are absent the types that this program knows (`surefoot_core::ros`) are read, and others are named.
//! Messages that rosbag2 compressed one by one (zstd) are unpacked.
//!
//! A database is a small program: it is opened for reading alone and as one that nobody changes, without triggers, views, trusted
//! functions or extensions, and the two tables must be plain ones. What a damaged one claims is bounded by the length of the file.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use surefoot_core::DataError;
use surefoot_core::ros::messages::DEFINITIONS;

use crate::ros::{Definition, Dialect};
use crate::streams::bytes::{MAX_RECORD_BYTES, Stop, part};
use crate::streams::{LogEnd, LogFormat, LogOptions, LogSource, Message, Payload, TopicInfo, Visit};

const NAME: &str = "rosbag2_sqlite";
const MAGIC: &[u8] = b"SQLite format 3\0";
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Topics and definitions that are read at most.
const MAX_TOPICS: usize = 1 << 16;

/// The registry line.
pub const LOG: LogFormat = LogFormat {
    name: NAME,
    summary: "rosbag2 in SQLite (.db3, Humble's default): ROS 2 messages, by the definitions in the file or the known ones",
    sniff: |_, head| head.starts_with(MAGIC),
    open,
};

#[derive(Debug)]
struct Bag {
    path: PathBuf,
    bytes: u64,
}

fn open(path: &Path, _: &LogOptions) -> Result<Box<dyn LogSource>, DataError> {
    let bytes =
        std::fs::metadata(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?.len();
    let bag = Bag { path: path.to_owned(), bytes };
    bag.check_length()?;
    let opened = bag.connect().and_then(|database| bag.channels(&database, &|_| false));
    opened.map_err(|stop| bag.error(stop))?;
    Ok(Box::new(bag))
}

struct Channel {
    topic: String,
    schema: String,
    wanted: bool,
    meaning: Result<Definition, String>,
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl Bag {
    fn error(&self, stop: Stop) -> DataError {
        match self.end(stop) {
            Err(error) => error,
            Ok(_) => DataError::Malformed {
                path: self.path.clone(),
                format: NAME,
                reason: "it ends in the middle".into(),
                hint: HINT,
            },
        }
    }

    fn end(&self, stop: Stop) -> Result<LogEnd, DataError> {
        stop.end(&self.path, NAME, HINT)
    }

    /// Whether all pages are there that the header counts.
    fn check_length(&self) -> Result<(), DataError> {
        let io = |source| DataError::Io { path: self.path.clone(), source };
        let mut head = Vec::new();
        std::fs::File::open(&self.path).map_err(io)?.take(100).read_to_end(&mut head).map_err(io)?;
        let page = match u16::from_be_bytes(part(&head, 16)) {
            1 => 1 << 16,
            bytes => u64::from(bytes),
        };
        let promised = page * u64::from(u32::from_be_bytes(part(&head, 28)));
        // The count is of the writer that left the same number in both places.
        let counted = part::<4>(&head, 24) == part::<4>(&head, 92);
        if head.len() < 100 || counted && promised > self.bytes {
            let promised = promised.max(100);
            return Err(self.error(Stop::Damaged(format!(
                "it was cut off: {} of {promised} bytes are there",
                self.bytes
            ))));
        }
        Ok(())
    }

    fn connect(&self) -> Result<Connection, Stop> {
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Connection::open_with_flags(uri(&self.path), flags)?;
        for (switch, on) in [
            (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
            (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        ] {
            database.set_db_config(switch, on)?;
        }
        let longest = i32::try_from(MAX_RECORD_BYTES.min(self.bytes.max(1 << 16))).unwrap_or(i32::MAX);
        database.set_limit(Limit::SQLITE_LIMIT_LENGTH, longest)?;
        for table in ["topics", "messages"] {
            if !has_table(&database, table)? {
                return Err(Stop::Damaged(format!("it has no table {table}: it is no recording of rosbag2")));
            }
        }
        Ok(database)
    }

    fn definitions(database: &Connection) -> Result<BTreeMap<String, (String, String)>, Stop> {
        let mut found = BTreeMap::new();
        if !has_table(database, "message_definitions")? {
            return Ok(found);
        }
        let mut statement = database.prepare(
            "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions ORDER BY rowid",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if found.len() >= MAX_TOPICS {
                return Err(Stop::Damaged(format!("more than {MAX_TOPICS} definitions")));
            }
            found.insert(text(row, 0)?, (text(row, 1)?, text(row, 2)?));
        }
        Ok(found)
    }

    fn channels(
        &self,
        database: &Connection,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<BTreeMap<i64, Channel>, Stop> {
        let definitions = Self::definitions(database)?;
        let mut statement =
            database.prepare("SELECT id, name, type, serialization_format FROM topics ORDER BY id")?;
        let mut rows = statement.query([])?;
        let mut channels = BTreeMap::new();
        while let Some(row) = rows.next()? {
            if channels.len() >= MAX_TOPICS {
                return Err(Stop::Damaged(format!("more than {MAX_TOPICS} topics")));
            }
            let (id, topic, schema) = (row.get(0)?, text(row, 1)?, text(row, 2)?);
            let wanted = wanted(&topic);
            let meaning =
                if wanted { meaning(&text(row, 3)?, &schema, &definitions) } else { Err(String::new()) };
            channels.insert(id, Channel { topic, schema, wanted, meaning });
        }
        Ok(channels)
    }

    fn messages(&self, wanted: &dyn Fn(&str) -> bool, visit: &mut Visit<'_>) -> Result<(), Stop> {
        let database = self.connect()?;
        let channels = self.channels(&database, wanted)?;
        let mut statement =
            database.prepare("SELECT topic_id, timestamp, data, id FROM messages ORDER BY rowid")?;
        let mut rows = statement.query([])?;
        let mut unpacked = Vec::new();
        // Every row takes a few bytes besides its message.
        let mut claimed = 0_u64;
        while let Some(row) = rows.next()? {
            let (topic, receive_nanos): (i64, i64) = (row.get(0)?, row.get(1)?);
            let number = || row.get_ref(3).ok().and_then(|v| v.as_i64().ok()).unwrap_or(-1);
            let data = match row.get_ref(2)? {
                ValueRef::Blob(data) => data,
                ValueRef::Null => &[],
                other => {
                    return Err(Stop::Damaged(format!(
                        "message {} holds {}, expected a blob",
                        number(),
                        other.data_type()
                    )));
                }
            };
            claimed += 4 + data.len() as u64;
            if claimed > self.bytes {
                return Err(Stop::Damaged(format!(
                    "its messages take more than the {} bytes of the file: its pages are chained wrongly",
                    self.bytes
                )));
            }
            let Some(channel) = channels.get(&topic) else {
                return Err(Stop::Damaged(format!(
                    "message {} is of topic {topic}, which is not declared",
                    number()
                )));
            };
            if !channel.wanted {
                continue;
            }
            let packed = data.starts_with(&ZSTD_MAGIC);
            let payload = match &channel.meaning {
                Ok(definition) if packed => match unpack(data, &mut unpacked) {
                    Ok(()) => Payload::Ros(definition, &unpacked),
                    Err(why) => return Err(Stop::Damaged(format!("message {}: {why}", number()))),
                },
                Ok(definition) => Payload::Ros(definition, data),
                Err(why) => Payload::Unreadable(why),
            };
            let message = Message {
                topic: &channel.topic,
                schema: &channel.schema,
                part: 0,
                receive_nanos,
                offset: claimed,
                payload,
            };
            Stop::after(visit(&message))?;
        }
        Ok(())
    }

    /// What a recorder that was cut off leaves beside the file.
    fn unfinished(&self) -> Option<String> {
        ["-wal", "-journal"].iter().find_map(|ending| {
            let mut beside = self.path.clone().into_os_string();
            beside.push(ending);
            let left = std::fs::metadata(&beside).is_ok_and(|m| m.len() > 0);
            let name = PathBuf::from(beside).file_name()?.to_string_lossy().into_owned();
            left.then(|| {
                format!(
                    "{name} beside it holds what was not taken in when the recorder was cut off: \
                     `sqlite3 FILE.db3 'PRAGMA journal_mode=DELETE'` on a copy of both takes it in"
                )
            })
        })
    }
}

impl LogSource for Bag {
    fn path(&self) -> &Path {
        &self.path
    }

    fn format(&self) -> &'static str {
        NAME
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(&self, wanted: &dyn Fn(&str) -> bool, visit: &mut Visit<'_>) -> Result<LogEnd, DataError> {
        match self.messages(wanted, visit) {
            Ok(()) => Ok(self.unfinished().map_or(LogEnd::Whole, LogEnd::Torn)),
            Err(stop) => self.end(stop),
        }
    }

    fn topics(&self) -> Result<Vec<TopicInfo>, DataError> {
        crate::streams::count_topics(self)
    }
}

const HINT: &str = "copy it again from its source, or save what can be read with `sqlite3 FILE.db3 .recover`";

/// As a URI that says that nobody changes the file: no lock is taken and no journal looked for.
fn uri(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
                uri.push(char::from(*byte));
            }
            other => uri += &format!("%{other:02X}"),
        }
    }
    uri + "?mode=ro&immutable=1"
}

/// Whether there is a plain table of that name: neither a view nor a virtual one.
fn has_table(database: &Connection, name: &str) -> Result<bool, Stop> {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1 AND rootpage > 0";
    let count: i64 = database.query_row(sql, [name], |row| row.get(0))?;
    Ok(count == 1)
}

fn text(row: &rusqlite::Row<'_>, column: usize) -> Result<String, Stop> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    })
}

fn meaning(
    serialization: &str,
    schema: &str,
    definitions: &BTreeMap<String, (String, String)>,
) -> Result<Definition, String> {
    if serialization != "cdr" {
        return Err(format!("messages in the encoding {serialization:?} are not read: expected cdr"));
    }
    let text = match definitions.get(schema) {
        Some((encoding, text)) if encoding == "ros2msg" => text.as_str(),
        Some((encoding, _)) if !encoding.is_empty() => {
            return Err(format!(
                "the definition of {schema} is in the encoding {encoding:?}: expected ros2msg"
            ));
        }
        _ => match DEFINITIONS.iter().find(|(name, _)| *name == schema) {
            Some((_, text)) => text,
            None => {
                return Err(format!(
                    "the bag has no definition of {schema} (recorders before Iron keep none), and it is none of the types known here; \
                     `ros2 bag convert` with `storage_id: mcap`, where the package of the type is installed, writes one"
                ));
            }
        },
    };
    Definition::parse(schema, text, Dialect::Ros2)
        .map_err(|e| format!("the definition of {schema} cannot be used: {e}"))
}

fn unpack(data: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    out.clear();
    let decoder = zstd::stream::read::Decoder::with_buffer(data).map_err(|e| e.to_string())?;
    let read = decoder.take(MAX_RECORD_BYTES + 1).read_to_end(out).map_err(|e| e.to_string())?;
    if read as u64 > MAX_RECORD_BYTES {
        return Err(format!("unpacked it is longer than {MAX_RECORD_BYTES} bytes"));
    }
    Ok(())
}
