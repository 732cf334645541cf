//! Raw logs: topics of time-stamped messages, read in the order in which they were logged, with bounded memory.
//!
//! A log is what was recorded (MCAP, a ROS 1 bag, a table); a dataset is what a policy learns from. `import` makes one of the
//! other by a robot contract.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Serialize;
use surefoot_core::DataError;

pub(crate) use crate::formats::shards::natural;
use crate::ros::{Definition, decode};

pub(crate) mod bytes;
mod selector;
mod split;
mod table;
mod value;

pub use selector::{SelectError, Selector};
pub use table::TABLE_TOPIC;
pub(crate) use table::{Parts, contract as table_contract, parse_nanos};
pub use value::{Numbers, Scalar, Value};

/// A stream of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// Type of its messages, `package/msg/Type` in ROS 2.
    pub schema: String,
    /// How they are serialised: `cdr`, `ros1`, `json`, `table`.
    pub encoding: String,
    /// Messages.
    pub messages: u64,
    /// When the first was received, ns.
    pub first_nanos: Option<i64>,
    /// When the last was received, ns.
    pub last_nanos: Option<i64>,
}

/// What a message is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Payload<'m> {
    /// Bytes and what they mean.
    Ros(&'m Definition, &'m [u8]),
    /// A JSON text.
    Json(&'m [u8]),
    /// Decoded already.
    Decoded(&'m Value<'m>),
    /// Bytes that nothing here understands, and why.
    Unreadable(&'m str),
}

/// A message of a log.
#[derive(Clone, Copy, Debug)]
pub struct Message<'m> {
    /// Its topic.
    pub topic: &'m str,
    /// Its type.
    pub schema: &'m str,
    /// Stretch of the log with a clock of its own: no episode crosses from one to the next.
    pub part: u64,
    /// When it was received, ns.
    pub receive_nanos: i64,
    /// How far into the log it stands, bytes: for progress.
    pub offset: u64,
    pub(crate) payload: Payload<'m>,
}

impl<'m> Message<'m> {
    /// Its payload as it is in the log; `None` where that is no matter of bytes, or nothing here understands them.
    #[must_use]
    pub const fn bytes(&self) -> Option<&'m [u8]> {
        match self.payload {
            Payload::Ros(_, bytes) | Payload::Json(bytes) => Some(bytes),
            Payload::Decoded(_) | Payload::Unreadable(_) => None,
        }
    }

    /// Decodes it, and hands on what it holds: JSON is borrowed from a text that ends with the call.
    ///
    /// # Errors
    /// A sentence that says why it cannot be decoded.
    pub fn with_value<T>(&self, look: impl FnOnce(&Value<'_>) -> T) -> Result<T, String> {
        match self.payload {
            Payload::Ros(definition, bytes) => {
                decode(definition, bytes).map(|v| look(&v)).map_err(|e| e.to_string())
            }
            Payload::Json(text) => {
                let json: serde_json::Value = serde_json::from_slice(text).map_err(|e| e.to_string())?;
                Ok(look(&from_json(&json)))
            }
            Payload::Decoded(value) => Ok(look(value)),
            Payload::Unreadable(why) => Err(why.to_owned()),
        }
    }
}

/// A JSON text as a value. `serde_json` bounds its depth.
pub(crate) fn from_json(json: &serde_json::Value) -> Value<'_> {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::Missing,
        Json::Bool(flag) => Value::Number(f64::from(u8::from(*flag))),
        Json::Number(number) => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => Value::Text(text.as_bytes()),
        Json::Array(items) => {
            if items.iter().all(|i| i.is_number() || i.is_boolean()) {
                let number = |i: &Json| match i {
                    Json::Bool(flag) => f64::from(u8::from(*flag)),
                    other => other.as_f64().unwrap_or(f64::NAN),
                };
                Value::Numbers(Numbers::Parsed(items.iter().map(number).collect()))
            } else if items.iter().all(Json::is_string) {
                Value::Texts(items.iter().map(|i| i.as_str().unwrap_or_default().as_bytes()).collect())
            } else {
                Value::List(items.iter().map(from_json).collect())
            }
        }
        Json::Object(parts) => Value::Struct(parts.iter().map(|(n, v)| (n.as_str(), from_json(v))).collect()),
    }
}

/// The stamp of a message's header, ns; `None` where it has none, or 0, which drivers write for "not stamped".
#[must_use]
pub fn header_nanos(message: &Value<'_>) -> Option<i64> {
    let stamp = message.part("header")?.part("stamp")?;
    let number = |names: [&str; 2]| match names.iter().find_map(|n| stamp.part(n))? {
        Value::Number(x) if x.fract() == 0.0 && x.abs() < 1e10 => Some(*x as i64),
        _ => None,
    };
    let seconds = number(["sec", "secs"])?;
    let nanos = number(["nanosec", "nsecs"])?;
    let stamp = seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?;
    (stamp > 0).then_some(stamp)
}

/// How a log ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEnd {
    /// As its writer meant it.
    Whole,
    /// In the middle: the writer was cut off. What came before is good.
    Torn(String),
    /// The reader had seen enough.
    Stopped,
}

/// What a reader does with each message.
pub type Visit<'v> = dyn FnMut(&Message<'_>) -> Result<ControlFlow<()>, DataError> + 'v;

/// A raw log of any format.
pub trait LogSource: Send + Sync + std::fmt::Debug {
    /// Where it is.
    fn path(&self) -> &Path;
    /// Registry name of its format.
    fn format(&self) -> &'static str;
    /// Its length, for progress.
    fn bytes(&self) -> u64;
    /// Reads all messages of the wanted topics, in the order in which they were logged, holding one at a time.
    ///
    /// # Errors
    /// When the log is damaged, and whatever `visit` says.
    fn read(&self, wanted: &dyn Fn(&str) -> bool, visit: &mut Visit<'_>) -> Result<LogEnd, DataError>;
    /// Its topics, by name. Reads the log where it says nothing of itself.
    ///
    /// # Errors
    /// When the log is damaged.
    fn topics(&self) -> Result<Vec<TopicInfo>, DataError>;
}

/// A log format.
#[derive(Clone, Copy, Debug)]
pub struct LogFormat {
    /// Registry name.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Whether a file looks like one, by its path and first bytes.
    pub sniff: fn(&Path, &[u8]) -> bool,
    /// Opens one.
    pub open: OpenLog,
}

/// Opens a log of one format.
pub type OpenLog = fn(&Path, &LogOptions) -> Result<Box<dyn LogSource>, DataError>;

/// What a log does not say of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogOptions {
    /// How a table's columns are to be read.
    pub table: Option<surefoot_core::contract::TableContract>,
}

impl LogOptions {
    /// What a robot contract says of it.
    #[must_use]
    pub fn of(contract: &surefoot_core::RobotContract) -> Self {
        Self { table: contract.import.as_ref().and_then(|i| i.table.clone()) }
    }
}

/// Every log format, in the order in which a file is held against them.
pub const LOG_FORMATS: &[LogFormat] = &[
    crate::formats::mcap::LOG,
    crate::formats::rosbag::LOG,
    crate::formats::rosbag2_sqlite::LOG,
    crate::formats::lerobot::LOG,
    crate::formats::csv::LOG,
    crate::formats::jsonl::LOG,
];

/// First bytes of a file that formats are told apart by.
const HEAD: usize = 64;

/// Opens a log of any known format. A directory is a rosbag2 recording: its MCAP or SQLite files, in the order of its
/// metadata.yaml, or of their numbers where there is none.
///
/// # Errors
/// When it cannot be read or is no log.
pub fn open_log(path: &Path, options: &LogOptions) -> Result<Box<dyn LogSource>, DataError> {
    use std::io::Read;
    let io = |source| DataError::Io { path: path.to_owned(), source };
    if path.is_dir() {
        return match LOG_FORMATS.iter().find(|f| (f.sniff)(path, &[])) {
            Some(format) => (format.open)(path, options),
            None => split::open(path, options),
        };
    }
    let mut head = Vec::new();
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(HEAD as u64).read_to_end(&mut head).map_err(io)?;
    match LOG_FORMATS.iter().find(|f| (f.sniff)(path, &head)) {
        Some(format) => (format.open)(path, options),
        None if path.to_string_lossy().ends_with(".db3.zstd")
            || path.to_string_lossy().ends_with(".mcap.zstd") =>
        {
            Err(DataError::Malformed {
                path: path.to_owned(),
                format: "log",
                reason: "a file that rosbag2 compressed as a whole".into(),
                hint: "unpack it: `zstd -d FILE`",
            })
        }
        None => Err(DataError::Malformed {
            path: path.to_owned(),
            format: "log",
            reason: format!(
                "of no known format; known are {}",
                LOG_FORMATS.iter().map(|f| f.name).collect::<Vec<_>>().join(", ")
            ),
            hint: "HDF5 datasets are no logs: `surefoot data info` looks at them",
        }),
    }
}

/// Whether a path looks like a log, by its name and first bytes; a directory, by the names in it.
#[must_use]
pub fn looks_like_log(path: &Path) -> bool {
    use std::io::Read;
    if path.is_dir() {
        return split::files(path).is_ok_and(|files| !files.is_empty());
    }
    let mut head = Vec::new();
    let read = std::fs::File::open(path).and_then(|f| f.take(HEAD as u64).read_to_end(&mut head));
    path.is_file() && read.is_ok() && LOG_FORMATS.iter().any(|f| (f.sniff)(path, &head))
}

/// Counts what [`LogSource::topics`] tells of a log that keeps no account of itself.
pub(crate) fn count_topics(log: &dyn LogSource) -> Result<Vec<TopicInfo>, DataError> {
    let mut topics: std::collections::BTreeMap<String, TopicInfo> = std::collections::BTreeMap::new();
    log.read(&|_| true, &mut |message| {
        if !topics.contains_key(message.topic) {
            let encoding = match message.payload {
                Payload::Ros(..) => "ros",
                Payload::Json(_) => "json",
                Payload::Decoded(_) => "table",
                Payload::Unreadable(_) => "unknown",
            };
            let info = TopicInfo {
                name: message.topic.to_owned(),
                schema: message.schema.to_owned(),
                encoding: encoding.to_owned(),
                ..TopicInfo::default()
            };
            topics.insert(info.name.clone(), info);
        }
        if let Some(topic) = topics.get_mut(message.topic) {
            topic.count(message.receive_nanos);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(topics.into_values().collect())
}

impl TopicInfo {
    pub(crate) fn count(&mut self, nanos: i64) {
        self.messages += 1;
        self.first_nanos = Some(self.first_nanos.map_or(nanos, |t| t.min(nanos)));
        self.last_nanos = Some(self.last_nanos.map_or(nanos, |t| t.max(nanos)));
    }
}

/// Files of a directory whose names end so, numbers in names counted as numbers.
pub(crate) fn files_of(directory: &Path, extension: &str) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_file() && path.extension().is_some_and(|e| e.eq_ignore_ascii_case(extension)) {
            files.push(path);
        }
    }
    files.sort_by_cached_key(|p| natural(&p.to_string_lossy()));
    Ok(files)
}
