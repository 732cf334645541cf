//! CSV: a table with a heading, one row for each moment. Which column is what, the robot contract says.
//!
//! Cells that are numbers, `true` or `false` are numbers; empty ones are gaps. The separator is a comma, in `.tsv` files a tab.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use surefoot_core::DataError;
use surefoot_core::contract::TableContract;

use crate::streams::{
    LogEnd, LogFormat, LogOptions, LogSource, Message, Parts, Payload, TABLE_TOPIC, TopicInfo, Value, Visit,
    count_topics, parse_nanos, table_contract,
};

const NAME: &str = "csv";

/// The registry line.
pub const LOG: LogFormat = LogFormat {
    name: NAME,
    summary: "CSV: a table with a heading and a column of time",
    sniff: |path, _| {
        path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv") || e.eq_ignore_ascii_case("tsv"))
    },
    open,
};

#[derive(Debug)]
struct Csv {
    path: PathBuf,
    bytes: u64,
    table: TableContract,
}

fn open(path: &Path, options: &LogOptions) -> Result<Box<dyn LogSource>, DataError> {
    let table = table_contract(path, NAME, options)?.clone();
    let bytes =
        std::fs::metadata(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?.len();
    Ok(Box::new(Csv { path: path.to_owned(), bytes, table }))
}

fn cell(text: &str) -> Value<'_> {
    let text = text.trim();
    match text {
        "" => Value::Missing,
        "true" | "True" | "TRUE" => Value::Number(1.0),
        "false" | "False" | "FALSE" => Value::Number(0.0),
        other => other.parse().map_or(Value::Text(other.as_bytes()), Value::Number),
    }
}

impl LogSource for Csv {
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
        let damaged = |reason: String| DataError::Malformed {
            path: self.path.clone(),
            format: NAME,
            reason,
            hint: "every row needs as many cells as the heading, and a time",
        };
        if !wanted(TABLE_TOPIC) {
            return Ok(LogEnd::Whole);
        }
        let tab = self.path.extension().is_some_and(|e| e.eq_ignore_ascii_case("tsv"));
        let file = std::fs::File::open(&self.path)
            .map_err(|source| DataError::Io { path: self.path.clone(), source })?;
        let mut reader =
            csv::ReaderBuilder::new().delimiter(if tab { b'\t' } else { b',' }).from_reader(file);
        let heading = reader.headers().map_err(|e| damaged(e.to_string()))?.clone();
        let names: Vec<&str> = heading.iter().map(str::trim).collect();
        let column = |name: &String| {
            names.iter().position(|n| n == name).ok_or_else(|| DataError::Shape {
                path: self.path.clone(),
                item: "heading".into(),
                expected: format!("a column {name:?}"),
                found: names.iter().take(20).copied().collect::<Vec<_>>().join(", "),
            })
        };
        let time = column(&self.table.time)?;
        let episode = self.table.episode.as_ref().map(column).transpose()?;
        let mut parts = Parts::default();
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(|e| damaged(e.to_string()))? {
            let offset = record.position().map_or(0, csv::Position::byte);
            let line = record.position().map_or(0, csv::Position::line);
            let text = record.get(time).unwrap_or_default();
            let Some(receive_nanos) = parse_nanos(text, self.table.time_unit) else {
                return Err(damaged(format!("line {line}: the time {text:?} is no number")));
            };
            let part = episode.map_or(0, |e| parts.of(record.get(e).unwrap_or_default()));
            let row = Value::Struct(names.iter().copied().zip(record.iter().map(cell)).collect());
            let payload = Payload::Decoded(&row);
            let message = Message { topic: TABLE_TOPIC, schema: NAME, part, receive_nanos, offset, payload };
            if visit(&message)? == ControlFlow::Break(()) {
                return Ok(LogEnd::Stopped);
            }
        }
        Ok(LogEnd::Whole)
    }

    fn topics(&self) -> Result<Vec<TopicInfo>, DataError> {
        count_topics(self)
    }
}
