//! What an import found, kept and dropped.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::cut::Dropped;
use crate::table::{number, write_table};

/// What came of a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StreamReport {
    /// Its key in the contract.
    pub at: String,
    /// Topic.
    pub topic: String,
    /// Messages of the topic.
    pub messages: u64,
    /// Samples that were taken.
    pub taken: u64,
    /// Messages without a stamp, on the header timeline.
    pub unstamped: u64,
    /// Messages with NaN or an infinity among the selected numbers.
    pub non_finite: u64,
    /// Messages that could not be decoded, or had nothing at the path.
    pub unreadable: u64,
    /// Why, of the first of them.
    pub unreadable_because: Option<String>,
    /// Samples of the same stamp as another.
    pub duplicates: u64,
    /// Samples that were put in their place.
    pub reordered: u64,
    /// Samples that came too late for that.
    pub late: u64,
    /// Times the clock went back.
    pub resets: u64,
    /// Samples per second, silences left out.
    pub rate_hz: Option<f64>,
    /// Longest time between two samples, silences left out, s.
    pub longest_gap_secs: f64,
}

/// What came of a log.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LogReport {
    /// Where it is.
    pub path: PathBuf,
    /// Format.
    pub format: &'static str,
    /// Its length.
    pub bytes: u64,
    /// Episodes that came of it.
    pub episodes: usize,
    /// Their steps.
    pub steps: usize,
    /// What did not.
    pub dropped: Dropped,
    /// What happened to each stream.
    pub streams: Vec<StreamReport>,
    /// Things a person should know.
    pub notes: Vec<String>,
    /// Whether it ended in the middle: the recording is not complete.
    pub torn: bool,
    /// Why nothing came of it, where it could not be read and that was allowed.
    pub failed: Option<String>,
}

/// What came of all of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ImportReport {
    /// The logs, in the order given.
    pub logs: Vec<LogReport>,
    /// Episodes kept.
    pub episodes: usize,
    /// Their steps.
    pub steps: usize,
    /// Seconds of all of them.
    pub secs: f64,
    /// Labelled as successes.
    pub successes: usize,
    /// Labelled as failures.
    pub failures: usize,
    /// Not labelled.
    pub unknown: usize,
    /// Steps that were not kept.
    pub dropped: Dropped,
    /// Numbers in the actions outside `[-1, 1]`, by name, with the largest magnitude.
    pub beyond_bounds: Vec<(String, usize, f32)>,
    /// How actions were read.
    pub actions: Vec<String>,
    /// Steps in which a person drove, where the contract says how to know.
    pub human_steps: Option<usize>,
}

impl LogReport {
    /// Whether something of it was lost that was recorded: it ended in the middle, or could not be read.
    #[must_use]
    pub const fn incomplete(&self) -> bool {
        self.torn || self.failed.is_some()
    }
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            logs,
            episodes,
            steps,
            secs,
            successes,
            failures,
            unknown,
            dropped,
            beyond_bounds,
            actions,
            human_steps,
        } = self;
        let count = logs.len();
        writeln!(f, "{episodes} episodes, {steps} steps ({} s) from {count} logs", number(*secs))?;
        writeln!(f, "{successes} successes, {failures} failures, {unknown} without a label")?;
        if let Some(human) = human_steps {
            writeln!(f, "a person drove in {human} steps")?;
        }
        for words in actions {
            writeln!(f, "action {words}")?;
        }
        let Dropped { in_gaps, outside, idle, in_short_episodes, short_episodes, labels } = dropped;
        for (n, why) in [
            (*in_gaps, "a stream had a gap".to_owned()),
            (*outside, "outside episodes".to_owned()),
            (*idle, "still, at the ends of episodes".to_owned()),
            (*in_short_episodes, format!("in {short_episodes} episodes that were too short")),
        ] {
            if n > 0 {
                writeln!(f, "dropped {n} steps: {why}")?;
            }
        }
        if *labels > 0 {
            writeln!(f, "lost {labels} labels: the end of their episode fell into a gap")?;
        }
        for (name, n, largest) in beyond_bounds {
            writeln!(f, "action {name}: {n} numbers beyond its bounds, up to {largest} of 1")?;
        }
        for log in logs {
            let LogReport { path, format, bytes, episodes, steps, streams, notes, torn, failed, dropped: _ } =
                log;
            let incomplete = if *torn { "INCOMPLETE, " } else { "" };
            writeln!(
                f,
                "\n{} ({incomplete}{format}, {} MB): {episodes} episodes, {steps} steps",
                path.display(),
                number(*bytes as f64 / 1e6)
            )?;
            if let Some(why) = failed {
                writeln!(f, "  NOT READ: {why}")?;
            }
            let rows: Vec<Vec<String>> = streams.iter().map(row).collect();
            if !rows.is_empty() {
                let head = ["topic", "messages", "taken", "Hz", "longest gap (s)", "not taken because"];
                write_table(f, &head, &rows)?;
            }
            for note in notes {
                writeln!(f, "  note: {note}")?;
            }
        }
        Ok(())
    }
}

fn row(s: &StreamReport) -> Vec<String> {
    let mut why: Vec<String> = [
        (s.unstamped, "no stamp"),
        (s.non_finite, "not finite"),
        (s.unreadable, "not readable"),
        (s.late, "too late"),
        (s.duplicates, "same stamp"),
    ]
    .iter()
    .filter(|(n, _)| *n > 0)
    .map(|(n, why)| format!("{n} {why}"))
    .collect();
    if s.resets > 0 {
        why.push(format!("clock went back {} times", s.resets));
    }
    vec![
        format!("{} ({})", s.topic, s.at),
        s.messages.to_string(),
        s.taken.to_string(),
        s.rate_hz.map_or_else(|| "-".into(), number),
        number(s.longest_gap_secs),
        why.join(", "),
    ]
}
