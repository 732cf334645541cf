//! From a log to rows on the policy's steps, and what happened meanwhile.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use surefoot_core::DataError;
use surefoot_core::contract::{EventTrigger, Timeline};

use super::align::{Aligner, Moments};
use super::cut::Event;
use super::plan::{EventKind, EventPlan, Plan, Stream};
use super::report::StreamReport;
use crate::streams::{LogEnd, LogSource, Message, Payload, Value, header_nanos};

/// What was found on the way through a log.
#[derive(Debug)]
pub(super) struct Intake {
    pub streams: Vec<StreamReport>,
    pub end: LogEnd,
    pub notes: Vec<String>,
}

/// What is done with the rows of one clock, or of several, when they have ended, and with the events of the same time in order.
pub(super) type OnStretch<'s> = dyn FnMut(&Moments, &[Event]) -> Result<(), DataError> + 's;

/// Reads a log, and gives what it holds as far as the contract asks, one clock after the other. `progress` is told how many more bytes
/// were read; the reading ends with [`DataError::Interrupted`] when `stop` says so.
pub(super) fn read(
    plan: &Plan,
    log: &dyn LogSource,
    progress: &dyn Fn(u64),
    stop: &dyn Fn() -> bool,
    on_stretch: &mut OnStretch<'_>,
) -> Result<Intake, DataError> {
    let mut taker = Taker::new(plan, log);
    let mut done = 0;
    let end = log.read(&|topic| taker_wants(plan, topic), &mut |message| {
        if stop() {
            return Err(DataError::Interrupted);
        }
        if message.offset > done {
            progress(message.offset - done);
            done = message.offset;
        }
        taker.message(message)?;
        taker.hand_on(on_stretch)?;
        Ok(ControlFlow::Continue(()))
    })?;
    progress(log.bytes().saturating_sub(done));
    taker.finish(end, on_stretch)
}

fn taker_wants(plan: &Plan, topic: &str) -> bool {
    plan.streams.iter().any(|s| s.topic == topic) || plan.events.iter().any(|e| e.source.topic == topic)
}

/// The last value of an event's path.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    on: bool,
    number: Option<f64>,
}

struct Taker<'p> {
    log: &'p dyn LogSource,
    streams: Vec<Stream>,
    events: Vec<EventPlan>,
    levels: Vec<Level>,
    event_errors: Vec<(u64, Option<String>)>,
    by_topic: BTreeMap<String, (Vec<usize>, Vec<usize>)>,
    checked: std::collections::BTreeSet<String>,
    aligner: Aligner,
    found: Vec<Event>,
    reports: Vec<StreamReport>,
    paces: Vec<Pace>,
    part: u64,
    silence_nanos: i64,
    row: Vec<f64>,
}

/// Measures a stream's rate.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    last: Option<i64>,
    nanos: i64,
    intervals: u64,
}

impl<'p> Taker<'p> {
    fn new(plan: &'p Plan, log: &'p dyn LogSource) -> Self {
        let mut by_topic: BTreeMap<String, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        for (i, s) in plan.streams.iter().enumerate() {
            by_topic.entry(s.topic.clone()).or_default().0.push(i);
        }
        for (i, e) in plan.events.iter().enumerate() {
            by_topic.entry(e.source.topic.clone()).or_default().1.push(i);
        }
        let report =
            |s: &Stream| StreamReport { at: s.at.clone(), topic: s.topic.clone(), ..StreamReport::default() };
        Self {
            log,
            streams: plan.streams.clone(),
            events: plan.events.clone(),
            levels: vec![Level::default(); plan.events.len()],
            event_errors: vec![(0, None); plan.events.len()],
            by_topic,
            checked: std::collections::BTreeSet::new(),
            aligner: Aligner::new(plan.grid, plan.streams.iter().map(|s| s.rule).collect()),
            found: Vec::new(),
            reports: plan.streams.iter().map(report).collect(),
            paces: vec![Pace::default(); plan.streams.len()],
            part: 0,
            silence_nanos: plan.grid.silence_nanos,
            row: Vec::new(),
        }
    }

    fn mismatch(&self, what: String, expected: impl Into<String>, found: impl Into<String>) -> DataError {
        let (expected, found) = (expected.into(), found.into());
        DataError::Mismatch { path: self.log.path().to_owned(), what, expected, found }
    }

    fn message(&mut self, message: &Message<'_>) -> Result<(), DataError> {
        if message.part != self.part {
            self.part = message.part;
            self.aligner.finish_stretch();
            self.levels.fill(Level::default());
            self.paces.iter_mut().for_each(|p| p.last = None);
        }
        let Some((streams, events)) = self.by_topic.get(message.topic).cloned() else { return Ok(()) };
        if !self.checked.contains(message.topic) {
            self.check_type(message, &streams)?;
            self.checked.insert(message.topic.to_owned());
        }
        for stream in &streams {
            if let Some(report) = self.reports.get_mut(*stream) {
                report.messages += 1;
            }
        }
        let table = matches!(message.payload, Payload::Decoded(_));
        let outcome = message.with_value(|value| {
            // A table's time column is when its rows were measured.
            let stamp = if table { Some(message.receive_nanos) } else { header_nanos(value) };
            let has_header = table || value.part("header").is_some();
            for stream in &streams {
                self.sample(*stream, value, message.receive_nanos, stamp, has_header)?;
            }
            for event in &events {
                self.event(*event, value, message.receive_nanos, stamp, has_header)?;
            }
            Ok::<(), DataError>(())
        });
        match outcome {
            Ok(done) => done,
            Err(why) => {
                for stream in streams {
                    self.unreadable(stream, &why);
                }
                for event in events {
                    if let Some((n, first)) = self.event_errors.get_mut(event) {
                        *n += 1;
                        first.get_or_insert(why.clone());
                    }
                }
                Ok(())
            }
        }
    }

    fn check_type(&self, message: &Message<'_>, streams: &[usize]) -> Result<(), DataError> {
        let found = message.schema.replace("/msg/", "/");
        for stream in streams.iter().filter_map(|s| self.streams.get(*s)) {
            if let Some(expected) = stream.message_type.as_ref().filter(|t| **t != found) {
                let what = format!("type of {} ({})", stream.topic, stream.at);
                return Err(self.mismatch(what, expected, found));
            }
        }
        Ok(())
    }

    fn unreadable(&mut self, stream: usize, why: &str) {
        if let Some(report) = self.reports.get_mut(stream) {
            report.unreadable += 1;
            report.unreadable_because.get_or_insert_with(|| why.to_owned());
        }
    }

    /// The time of a message; `None` where it has no stamp.
    fn time(
        &self,
        timeline: Timeline,
        topic: &str,
        receive: i64,
        stamp: Option<i64>,
        has_header: bool,
    ) -> Result<Option<i64>, DataError> {
        match timeline {
            Timeline::Receive => Ok(Some(receive)),
            Timeline::Header if has_header => Ok(stamp),
            Timeline::Header => Err(self.mismatch(
                format!("timeline of {topic}"),
                "messages with a header, or timeline = \"receive\"",
                "messages without one",
            )),
        }
    }

    fn sample(
        &mut self,
        index: usize,
        value: &Value<'_>,
        receive: i64,
        stamp: Option<i64>,
        has_header: bool,
    ) -> Result<(), DataError> {
        let Some(stream) = self.streams.get_mut(index) else { return Ok(()) };
        self.row.clear();
        let mut wrong = None;
        for (selector, unit) in stream.selectors.iter_mut().zip(&stream.units) {
            match selector.number(value) {
                Ok(x) => self.row.push(unit.forward(x)),
                Err(error) => {
                    wrong = Some(error.to_string());
                    break;
                }
            }
        }
        let (timeline, topic) = (stream.timeline, stream.topic.clone());
        let time = self.time(timeline, &topic, receive, stamp, has_header)?;
        if let Some(why) = wrong {
            self.unreadable(index, &why);
            return Ok(());
        }
        let (Some(report), Some(pace)) = (self.reports.get_mut(index), self.paces.get_mut(index)) else {
            return Ok(());
        };
        let Some(nanos) = time else {
            report.unstamped += 1;
            return Ok(());
        };
        if self.row.iter().any(|x| !x.is_finite()) {
            report.non_finite += 1;
            return Ok(());
        }
        let since = pace.last.map(|t| nanos.saturating_sub(t));
        if let Some(since) = since.filter(|s| (1..=self.silence_nanos).contains(s)) {
            pace.nanos = pace.nanos.saturating_add(since);
            pace.intervals += 1;
            report.longest_gap_secs = report.longest_gap_secs.max(since as f64 * 1e-9);
        }
        pace.last = Some(nanos);
        self.aligner.push(index, nanos, &self.row);
        Ok(())
    }

    fn event(
        &mut self,
        index: usize,
        value: &Value<'_>,
        receive: i64,
        stamp: Option<i64>,
        has_header: bool,
    ) -> Result<(), DataError> {
        let Some(plan) = self.events.get_mut(index) else { return Ok(()) };
        let found = match &plan.source.equals {
            Some(text) => plan.selector.text_is(value, text).map(|on| Level { on, number: None }),
            None => plan.selector.number(value).map(|x| Level { on: x > plan.source.above, number: Some(x) }),
        };
        let (kind, trigger, timeline) = (plan.kind, plan.source.trigger, plan.source.timeline);
        let topic = plan.source.topic.clone();
        let time = self.time(timeline, &topic, receive, stamp, has_header)?;
        let (level, nanos) = match (found, time) {
            (Ok(level), Some(nanos)) => (level, nanos),
            (found, _) => {
                let why = found.err().map_or_else(|| "a message has no stamp".to_owned(), |e| e.to_string());
                if let Some((n, first)) = self.event_errors.get_mut(index) {
                    *n += 1;
                    first.get_or_insert(why);
                }
                return Ok(());
            }
        };
        let Some(before) = self.levels.get_mut(index) else { return Ok(()) };
        let clock = self.aligner.clock();
        if kind == EventKind::Intervention {
            if level.on != before.on {
                self.found.push(Event { clock, nanos, kind, on: level.on });
            }
        } else {
            let happened = match trigger {
                EventTrigger::Rising => level.on && !before.on,
                EventTrigger::Message => level.on,
                EventTrigger::Change => before.number.is_some() && level.number != before.number,
            };
            if happened {
                self.found.push(Event { clock, nanos, kind, on: true });
            }
        }
        *before = level;
        Ok(())
    }

    /// Hands on what has ended, and forgets it.
    fn hand_on(&mut self, on_stretch: &mut OnStretch<'_>) -> Result<(), DataError> {
        let Some(moments) = self.aligner.take_ended() else { return Ok(()) };
        let clock = self.aligner.clock();
        // Events are marked with the clock that runs when they come, so those of an ended one are all there.
        let (mut ended, rest): (Vec<Event>, Vec<Event>) =
            std::mem::take(&mut self.found).into_iter().partition(|e| e.clock < clock);
        self.found = rest;
        ended.sort();
        on_stretch(&moments, &ended)
    }

    fn finish(mut self, end: LogEnd, on_stretch: &mut OnStretch<'_>) -> Result<Intake, DataError> {
        let mut notes = Vec::new();
        let aligner = std::mem::replace(&mut self.aligner, Aligner::new(EMPTY_GRID, Vec::new()));
        let (moments, counts) = aligner.finish();
        for ((report, count), pace) in self.reports.iter_mut().zip(&counts).zip(&self.paces) {
            report.taken = count.taken - count.duplicates;
            report.duplicates = count.duplicates;
            report.reordered = count.reordered;
            report.late = count.late;
            report.resets = count.resets;
            let secs = pace.nanos as f64 * 1e-9;
            report.rate_hz = (pace.intervals > 0).then(|| pace.intervals as f64 / secs);
        }
        for report in &self.reports {
            self.check_stream(report, &mut notes)?;
        }
        for (plan, (n, why)) in self.events.iter().zip(&self.event_errors) {
            if let Some(why) = why {
                notes.push(format!(
                    "{n} messages of {} were no events that could be read: {why}",
                    plan.source.topic
                ));
            }
        }
        self.found.sort();
        on_stretch(&moments, &self.found)?;
        Ok(Intake { streams: self.reports, end, notes })
    }

    /// A stream without samples is a mistake in the contract, or the wrong log.
    fn check_stream(&self, report: &StreamReport, notes: &mut Vec<String>) -> Result<(), DataError> {
        let StreamReport { at, topic, messages, taken, unstamped, unreadable, unreadable_because, .. } =
            report;
        let what = format!("{topic} ({at})");
        if *messages == 0 {
            let known: Vec<String> = self.log.topics()?.into_iter().map(|t| t.name).collect();
            return Err(self.mismatch(what, "messages", format!("none; the log has {}", known.join(", "))));
        }
        if *taken == 0 {
            let found = match unreadable_because {
                Some(why) => why.clone(),
                None if *unstamped == *messages => {
                    "messages whose headers are not stamped; with timeline = \"receive\" they can be used"
                        .into()
                }
                None => "none that could be taken".into(),
            };
            return Err(self.mismatch(what, "samples", found));
        }
        if let Some(why) = unreadable_because {
            notes.push(format!("{unreadable} messages of {what} were not taken; the first because {why}"));
        }
        Ok(())
    }
}

const EMPTY_GRID: super::align::Grid = super::align::Grid { hz: 1.0, reorder_nanos: 0, silence_nanos: 0 };
