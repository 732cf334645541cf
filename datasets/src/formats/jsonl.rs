//! JSON lines: one object for each moment, nested as one likes. Which part is the time, the robot contract says.

use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use surefoot_core::DataError;
use surefoot_core::contract::TableContract;

use crate::streams::{
    LogEnd, LogFormat, LogOptions, LogSource, Message, Parts, Payload, TABLE_TOPIC, TopicInfo, Visit,
    count_topics, from_json, parse_nanos, table_contract,
};

const NAME: &str = "jsonl";

/// Bytes of a line at most.
const MAX_LINE: u64 = 64 << 20;

/// The registry line.
pub const LOG: LogFormat = LogFormat {
    name: NAME,
    summary: "JSON lines: one object for each moment, with a time",
    sniff: |path, _| {
        path.extension().is_some_and(|e| e.eq_ignore_ascii_case("jsonl") || e.eq_ignore_ascii_case("ndjson"))
    },
    open,
};

#[derive(Debug)]
struct JsonLines {
    path: PathBuf,
    bytes: u64,
    table: TableContract,
}

fn open(path: &Path, options: &LogOptions) -> Result<Box<dyn LogSource>, DataError> {
    let table = table_contract(path, NAME, options)?.clone();
    let bytes =
        std::fs::metadata(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?.len();
    Ok(Box::new(JsonLines { path: path.to_owned(), bytes, table }))
}

/// The part at a path of names.
fn part_at<'j>(json: &'j Json, path: &str) -> Option<&'j Json> {
    json.get(path).or_else(|| path.split('.').try_fold(json, |at, name| at.get(name)))
}

impl LogSource for JsonLines {
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
        let io = |source| DataError::Io { path: self.path.clone(), source };
        let damaged = |number: u64, reason: String| DataError::Malformed {
            path: self.path.clone(),
            format: NAME,
            reason: format!("line {number}: {reason}"),
            hint: "every line is a JSON object with the time that [import.table] names",
        };
        if !wanted(TABLE_TOPIC) {
            return Ok(LogEnd::Whole);
        }
        let mut reader = BufReader::new(std::fs::File::open(&self.path).map_err(io)?);
        let (mut line, mut offset, mut number) = (Vec::new(), 0, 0);
        let mut parts = Parts::default();
        loop {
            line.clear();
            let read = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line).map_err(io)?;
            if read == 0 {
                return Ok(LogEnd::Whole);
            }
            number += 1;
            offset += read as u64;
            let cut_off = line.last() != Some(&b'\n');
            if cut_off && read as u64 == MAX_LINE {
                return Err(damaged(number, format!("it is longer than {MAX_LINE} bytes")));
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let json: Json = match serde_json::from_slice(&line) {
                Ok(json) => json,
                Err(_) if cut_off => return Ok(LogEnd::Torn(format!("line {number} is not whole"))),
                Err(error) => return Err(damaged(number, error.to_string())),
            };
            // As text, so that whole nanoseconds stay whole.
            let time = part_at(&json, &self.table.time).filter(|t| t.is_number()).map(Json::to_string);
            let nanos = time.as_deref().and_then(|t| parse_nanos(t, self.table.time_unit));
            let Some(receive_nanos) = nanos else {
                return Err(damaged(number, format!("no number {:?}", self.table.time)));
            };
            let episode = self.table.episode.as_ref().and_then(|e| part_at(&json, e)).map(Json::to_string);
            let part = episode.map_or(0, |e| parts.of(&e));
            let row = from_json(&json);
            let payload = Payload::Decoded(&row);
            let message = Message { topic: TABLE_TOPIC, schema: NAME, part, receive_nanos, offset, payload };
            if visit(&message)? == ControlFlow::Break(()) {
                return Ok(LogEnd::Stopped);
            }
        }
    }

    fn topics(&self) -> Result<Vec<TopicInfo>, DataError> {
        count_topics(self)
    }
}
