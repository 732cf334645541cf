//! A LeRobot dataset as a log: a row of the topic `table` for each frame, so that a robot contract can give its columns units.

use std::ops::ControlFlow;
use std::path::Path;

use surefoot_core::DataError;

use super::{LeRobot, NAME, is_dataset};
use crate::streams::{
    LogEnd, LogFormat, LogOptions, LogSource, Message, Numbers, Payload, TABLE_TOPIC, TopicInfo, Value,
    Visit, count_topics,
};

/// The registry line.
pub const LOG: LogFormat = LogFormat {
    name: NAME,
    summary: "LeRobot v2.1 and v3: a row of the topic `table` for each frame",
    sniff: |path, _| is_dataset(path),
    open,
};

fn open(path: &Path, _: &LogOptions) -> Result<Box<dyn LogSource>, DataError> {
    let dataset = LeRobot::open(path)?;
    match dataset.problems.first() {
        Some(problem) => Err(problem.error()),
        None => Ok(Box::new(dataset)),
    }
}

impl LogSource for LeRobot {
    fn path(&self) -> &Path {
        &self.root
    }

    fn format(&self) -> &'static str {
        NAME
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(&self, wanted: &dyn Fn(&str) -> bool, visit: &mut Visit<'_>) -> Result<LogEnd, DataError> {
        if !wanted(TABLE_TOPIC) {
            return Ok(LogEnd::Whole);
        }
        let count = self.episodes.len().max(1) as u64;
        for (done, (number, places)) in self.episodes.iter().enumerate() {
            let offset = self.bytes / count * done as u64;
            for place in places {
                let table = self.table(place.file)?;
                for row in place.rows.clone() {
                    let columns = table.columns.iter().filter_map(|(name, column)| {
                        let numbers = column.row(row)?;
                        let value = match numbers {
                            [one] => Value::Number(*one),
                            more => Value::Numbers(Numbers::Parsed(more.to_vec())),
                        };
                        Some((name.as_str(), value))
                    });
                    let value = Value::Struct(columns.collect());
                    let message = Message {
                        topic: TABLE_TOPIC,
                        schema: NAME,
                        part: u64::try_from(*number).unwrap_or(u64::MAX),
                        receive_nanos: self.nanos(&value, row - place.rows.start),
                        offset,
                        payload: Payload::Decoded(&value),
                    };
                    if visit(&message)? == ControlFlow::Break(()) {
                        return Ok(LogEnd::Stopped);
                    }
                }
            }
        }
        Ok(LogEnd::Whole)
    }

    fn topics(&self) -> Result<Vec<TopicInfo>, DataError> {
        count_topics(self)
    }
}

impl LeRobot {
    /// Time of a frame in its episode. The column of timestamps is a `float32` of what the frame number says exactly.
    fn nanos(&self, row: &Value<'_>, frame: usize) -> i64 {
        let number = |name: &str| match row.part(name) {
            Some(Value::Number(x)) if x.is_finite() => Some(*x),
            _ => None,
        };
        let by_frame = || number("frame_index").unwrap_or(frame as f64) / self.info.fps;
        let stated = number("timestamp");
        let secs = match stated {
            _ if !(self.info.fps.is_finite() && self.info.fps > 0.0) => stated.unwrap_or(frame as f64),
            // Within what a float32 loses they are the same.
            Some(t) if (t - by_frame()).abs() > 1e-3 + 1e-6 * t.abs() => t,
            _ => by_frame(),
        };
        (secs.clamp(-1e9, 1e9) * 1e9).round() as i64
    }
}
