//! What `metrics.jsonl` holds, laid out over the stages of the learner.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::chart::{Chart, Curve, nice_ticks, number, thin_out};
use crate::EngineError;
use crate::results::{Results, StageKind};

/// Points of a curve in the report, at most.
const POINTS: usize = 240;
/// Points of a curve that stands behind another one: it shows the trend.
const FAINT_POINTS: usize = 40;
/// Share of the horizontal axis that an offline stage takes beside an online one.
const OFFLINE_SHARE: f64 = 0.3;

struct Record {
    stage: String,
    updates: f64,
    env_steps: f64,
    values: BTreeMap<String, f64>,
}

/// The part of the horizontal axis that belongs to a stage.
struct Span {
    stage: String,
    online: bool,
    left: f64,
    right: f64,
    /// Counter at the stage's ends: updates offline, env steps online.
    from: f64,
    to: f64,
}

impl Span {
    fn place(&self, counter: f64) -> f64 {
        let part = (counter - self.from) / (self.to - self.from).max(1.0);
        self.left + part.clamp(0.0, 1.0) * (self.right - self.left)
    }
    const fn class(&self) -> &'static str {
        if self.online { "online" } else { "offline" }
    }
    const fn counter(&self, updates: f64, env_steps: f64) -> f64 {
        if self.online { env_steps } else { updates }
    }
}

/// A figure of an evaluation.
#[derive(Clone, Copy)]
pub struct Judged {
    /// The figure.
    pub value: f64,
    /// Its interval, where it has one.
    pub interval: Option<(f64, f64)>,
}

/// Metrics over a run.
pub struct History {
    records: Vec<Record>,
    spans: Vec<Span>,
}

impl History {
    /// Reads `metrics.jsonl`. A last line without an end is what a crash leaves, and is left out.
    pub fn read(run: &Path, results: &Results) -> Result<Self, EngineError> {
        let path = run.join("metrics.jsonl");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(EngineError::io("read", &path)(e)),
        };
        let mut records = Vec::new();
        for (i, line) in text.split_inclusive('\n').filter(|l| l.ends_with('\n')).enumerate() {
            let damaged = |found: String| EngineError::RunDamaged {
                path: path.clone(),
                what: format!("line {}", i + 1),
                expected: "a line of metrics".into(),
                found,
            };
            records.push(record(line).ok_or_else(|| damaged(line.trim_end().to_owned()))?);
        }
        let spans = spans(&records, results);
        Ok(Self { records, spans })
    }

    /// Names of the learner's metrics in a group.
    pub fn names(&self, group: &str) -> BTreeSet<String> {
        let of_learner = self.records.iter().filter(|r| self.span(&r.stage).is_some());
        of_learner.flat_map(|r| r.values.keys()).filter(|n| n.starts_with(group)).cloned().collect()
    }

    fn span(&self, stage: &str) -> Option<&Span> {
        self.spans.iter().find(|s| s.stage == stage)
    }

    fn chart(&self, title: &str, size: (f64, f64), curves: Vec<Curve>) -> Chart {
        let wide = size.0 > 400.0;
        let mut ticks = Vec::new();
        let mut spans = Vec::new();
        for s in &self.spans {
            let room = (s.right - s.left) * if wide { 8.0 } else { 4.0 };
            let values = nice_ticks(0.0, s.to - s.from, room.round().max(1.0) as usize);
            // The zero of every stage but the first stands where the one before ends.
            ticks.extend(
                values
                    .into_iter()
                    .map(|v| (s.place(s.from + v), number(v)))
                    .filter(|(x, _)| s.left == 0.0 || *x > s.left + 1e-9),
            );
            let what = match (s.online, wide) {
                (true, true) => "online: env steps",
                (true, false) => "env steps",
                (false, true) => "offline: updates",
                (false, false) => "updates",
            };
            spans.push((s.left, s.right, what.to_owned()));
        }
        Chart { title: title.to_owned(), size, range: None, percent: false, ticks, spans, curves }
    }

    /// A metric over the learner's stages, one curve per stage; `None` where it was never reported.
    pub fn metric(&self, title: &str, name: &str, size: (f64, f64)) -> Option<Chart> {
        let curves = self.curves(name, false);
        (!curves.is_empty()).then(|| self.chart(title, size, curves))
    }

    fn curves(&self, name: &str, faint: bool) -> Vec<Curve> {
        let mut curves = Vec::new();
        for span in &self.spans {
            let points: Vec<(f64, f64)> = self
                .records
                .iter()
                .filter(|r| r.stage == span.stage)
                .filter_map(|r| {
                    Some((span.place(span.counter(r.updates, r.env_steps)), *r.values.get(name)?))
                })
                .collect();
            if !points.is_empty() {
                let points = thin_out(&merge(&points), if faint { FAINT_POINTS } else { POINTS });
                curves.push(Curve { class: span.class(), points, band: Vec::new(), dots: false, faint });
            }
        }
        curves
    }

    /// A figure of every evaluation with its interval, over what training episodes brought.
    pub fn evaluations(
        &self,
        title: &str,
        results: &Results,
        rollout_metric: &str,
        of: impl Fn(&crate::Evaluation) -> Judged,
    ) -> Option<Chart> {
        let mut curves = self.curves(rollout_metric, true);
        let mut before: Option<(f64, Judged)> = None;
        let mut any = false;
        for span in &self.spans {
            let mut points: Vec<(f64, Judged)> = results
                .curve
                .iter()
                .filter(|p| p.stage == span.stage)
                .map(|p| (span.place(span.counter(p.updates as f64, p.env_steps as f64)), of(&p.evaluation)))
                .collect();
            any |= !points.is_empty();
            // What a stage starts from is what the one before ended with.
            if let Some((_, value)) = before {
                points.insert(0, (span.left, value));
            }
            before = points.last().copied().or(before);
            let interval = |(x, j): &(f64, Judged)| j.interval.map(|(low, high)| (*x, low, high));
            let band = points.iter().filter_map(interval).collect();
            let points = points.into_iter().map(|(x, judged)| (x, judged.value)).collect();
            curves.push(Curve { class: span.class(), points, band, dots: true, faint: false });
        }
        any.then(|| self.chart(title, (980.0, 280.0), curves))
    }
}

/// One point per place: the mean of what was reported there, such as a round's updates at its env step.
fn merge(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mean =
        |same: &[(f64, f64)]| (same[0].0, same.iter().map(|(_, y)| y).sum::<f64>() / same.len() as f64);
    points.chunk_by(|a, b| a.0 == b.0).map(mean).collect()
}

fn record(line: &str) -> Option<Record> {
    let serde_json::Value::Object(map) = serde_json::from_str(line).ok()? else { return None };
    let stage = map.get("stage")?.as_str()?.to_owned();
    let (updates, env_steps) = (map.get("updates")?.as_f64()?, map.get("env_steps")?.as_f64()?);
    let named = map.into_iter().filter(|(name, _)| name.contains('/'));
    let values = named.filter_map(|(name, value)| Some((name, value.as_f64()?))).collect();
    Some(Record { stage, updates, env_steps, values })
}

fn spans(records: &[Record], results: &Results) -> Vec<Span> {
    let baselines: Vec<&str> =
        results.stages.iter().filter(|s| s.kind == StageKind::Baseline).map(|s| s.name.as_str()).collect();
    let mut spans: Vec<Span> = Vec::new();
    let (mut updates, mut env_steps) = (0.0, 0.0);
    let of_learner = |r: &&Record| r.stage.starts_with("offline") || r.stage.starts_with("online");
    for r in records.iter().filter(of_learner).filter(|r| !baselines.contains(&r.stage.as_str())) {
        if spans.last().is_none_or(|s| s.stage != r.stage) {
            let online = r.stage.starts_with("online");
            let from = if online { env_steps } else { updates };
            spans.push(Span { stage: r.stage.clone(), online, left: 0.0, right: 0.0, from, to: from });
        }
        (updates, env_steps) = (r.updates, r.env_steps);
        if let Some(s) = spans.last_mut() {
            s.to = s.counter(updates, env_steps);
        }
    }
    let offline = spans.iter().filter(|s| !s.online).count() as f64;
    let online = spans.len() as f64 - offline;
    let share = if online == 0.0 { 1.0 } else { (OFFLINE_SHARE * offline).min(0.5) };
    let mut left = 0.0;
    for s in &mut spans {
        s.left = left;
        left += if s.online { (1.0 - share) / online } else { share / offline };
        s.right = left;
    }
    spans
}
