//! `info` on a raw log: its topics, their rates and gaps, and what cannot be decoded.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Serialize;
use surefoot_core::DataError;

use crate::streams::{LogEnd, LogOptions, Payload, header_nanos, open_log};
use crate::table::{number, plain, write_table};

/// A topic of a log.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TopicLine {
    /// Its name.
    pub topic: String,
    /// Type of its messages.
    #[serde(rename = "type")]
    pub message_type: String,
    /// Messages.
    pub messages: u64,
    /// Messages per second between the first and the last, parts of the log with a clock of their own counted apart; `None` for fewer
    /// than two.
    pub rate_hz: Option<f64>,
    /// Longest time between two messages, s.
    pub longest_gap_secs: f64,
    /// When that began, in seconds after the log's first message.
    pub longest_gap_at_secs: f64,
    /// Times a message was received before the one that stands before it.
    pub went_back: u64,
    /// When the first was received, ns.
    pub first_nanos: i64,
    /// When the last was received, ns.
    pub last_nanos: i64,
    /// Whether the first message has a stamp of its own: the timeline `header` is there.
    pub stamped: bool,
    /// Why its first message cannot be decoded.
    pub undecodable: Option<String>,
    #[serde(skip)]
    nanos: i64,
    #[serde(skip)]
    intervals: u64,
    #[serde(skip)]
    last: Option<i64>,
}

/// What is in a log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogInfo {
    /// The file or directory.
    pub path: PathBuf,
    /// Registry name of its format.
    pub format: &'static str,
    /// Its length.
    pub bytes: u64,
    /// Messages.
    pub messages: u64,
    /// When the first was received, ns.
    pub first_nanos: Option<i64>,
    /// Time from the first to the last, s.
    pub secs: f64,
    /// Parts with clocks of their own, such as the episodes of a table.
    pub parts: u64,
    /// Why it is not whole, where it is not.
    pub incomplete: Option<String>,
    /// By name.
    pub topics: Vec<TopicLine>,
}

/// Looks through a log once.
///
/// # Errors
/// When it is no log, is damaged, or is a table whose columns `options` do not explain.
pub fn log_info(path: &Path, options: &LogOptions) -> Result<LogInfo, DataError> {
    let log = open_log(path, options)?;
    let mut topics: BTreeMap<String, TopicLine> = BTreeMap::new();
    let (mut parts, mut part) = (0, None);
    let (mut first, mut last) = (None::<i64>, None::<i64>);
    let end = log.read(&|_| true, &mut |message| {
        if part != Some(message.part) {
            part = Some(message.part);
            parts += 1;
            topics.values_mut().for_each(|t| t.last = None);
        }
        let nanos = message.receive_nanos;
        let begin = *first.get_or_insert(nanos);
        first = first.map(|t| t.min(nanos));
        last = Some(last.map_or(nanos, |t| t.max(nanos)));
        if !topics.contains_key(message.topic) {
            let table = matches!(message.payload, Payload::Decoded(_));
            let stamped = message.with_value(|value| table || header_nanos(value).is_some());
            let line = TopicLine {
                topic: message.topic.to_owned(),
                message_type: message.schema.to_owned(),
                first_nanos: nanos,
                last_nanos: nanos,
                stamped: *stamped.as_ref().unwrap_or(&false),
                undecodable: stamped.err(),
                ..TopicLine::default()
            };
            topics.insert(line.topic.clone(), line);
        }
        if let Some(line) = topics.get_mut(message.topic) {
            line.messages += 1;
            line.first_nanos = line.first_nanos.min(nanos);
            line.last_nanos = line.last_nanos.max(nanos);
            if let Some(since) = line.last.map(|t| nanos.saturating_sub(t)) {
                if since < 0 {
                    line.went_back += 1;
                } else {
                    line.nanos = line.nanos.saturating_add(since);
                    line.intervals += 1;
                    let secs = since as f64 * 1e-9;
                    if secs > line.longest_gap_secs {
                        line.longest_gap_secs = secs;
                        line.longest_gap_at_secs = (nanos - since).saturating_sub(begin) as f64 * 1e-9;
                    }
                }
            }
            line.last = Some(nanos);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let mut topics: Vec<TopicLine> = topics.into_values().collect();
    for line in &mut topics {
        line.rate_hz = (line.intervals > 0 && line.nanos > 0)
            .then(|| line.intervals as f64 / (line.nanos as f64 * 1e-9));
    }
    let incomplete = match end {
        LogEnd::Torn(why) => Some(why),
        LogEnd::Whole | LogEnd::Stopped => None,
    };
    Ok(LogInfo {
        path: path.to_owned(),
        format: log.format(),
        bytes: log.bytes(),
        messages: topics.iter().map(|t| t.messages).sum(),
        first_nanos: first,
        secs: first.zip(last).map_or(0.0, |(a, b)| b.saturating_sub(a) as f64 * 1e-9),
        parts,
        incomplete,
        topics,
    })
}

impl fmt::Display for LogInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, format, bytes, messages, first_nanos, secs, parts, incomplete, topics } = self;
        writeln!(f, "{}", plain(&path.display().to_string()))?;
        let begin = first_nanos.map_or_else(
            || "-".into(),
            |t| format!("{}.{:09} s", t.div_euclid(1_000_000_000), t.rem_euclid(1_000_000_000)),
        );
        let mut lines = vec![
            ("log", (*format).to_owned()),
            ("size", format!("{:.1} MB", *bytes as f64 / 1e6)),
            ("messages", format!("{messages} in {} topics", topics.len())),
            ("begins at", begin),
            ("lasts", format!("{} s", number(*secs))),
        ];
        if *parts > 1 {
            lines.push(("parts", format!("{parts}, each with a clock of its own")));
        }
        for (label, value) in lines {
            writeln!(f, "  {label:<16} {value}")?;
        }
        writeln!(f)?;
        let rows: Vec<Vec<String>> = topics
            .iter()
            .map(|t| {
                let gap = format!("{} at {} s", number(t.longest_gap_secs), number(t.longest_gap_at_secs));
                vec![
                    t.topic.clone(),
                    t.message_type.clone(),
                    t.messages.to_string(),
                    t.rate_hz.map_or_else(|| "-".into(), number),
                    if t.longest_gap_secs > 0.0 { gap } else { "-".into() },
                    if t.stamped { "header" } else { "receive" }.to_owned(),
                ]
            })
            .collect();
        write_table(f, &["topic", "type", "messages", "Hz", "longest gap (s)", "timeline"], &rows)?;
        for topic in topics {
            if let Some(why) = &topic.undecodable {
                writeln!(f, "  cannot be decoded: {}: {}", plain(&topic.topic), plain(why))?;
            }
            if topic.went_back > 0 {
                writeln!(
                    f,
                    "  note: the clock of {} went back {} times",
                    plain(&topic.topic),
                    topic.went_back
                )?;
            }
        }
        if let Some(why) = incomplete {
            writeln!(f, "  INCOMPLETE: {}", plain(why))?;
        }
        writeln!(f, "  note: a raw log; `surefoot data import` makes episodes of it by a robot contract")
    }
}
