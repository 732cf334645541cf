//! Which steps are episodes.
//!
//! Step `k` leads from moment `k` to moment `k + 1`. It can be learned from when the observation is known at both, the action and the
//! reward are known, and the grid does not begin anew between them. An episode is a run of such steps inside a region that the
//! split gives; a region that gaps cut into pieces gives several, and only the one that reaches its end has its label.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Serialize;
use surefoot_core::contract::EpisodeSplit;

use super::align::Moments;
use super::plan::{EventKind, Plan};

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Event {
    pub clock: u32,
    pub nanos: i64,
    pub kind: EventKind,
    /// Of an intervention: whether it is on from now.
    pub on: bool,
}

/// A run of steps that is an episode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub steps: Range<usize>,
    /// Of its region, where it reaches that region's end.
    pub label: Option<bool>,
    /// Number of its region in the log.
    pub region: usize,
    pub reaches_end: bool,
}

/// Steps that did not become part of an episode, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// A stream had a gap.
    pub in_gaps: usize,
    /// Before an episode began, or after it ended.
    pub outside: usize,
    /// Still, at the beginning or end of an episode.
    pub idle: usize,
    /// In episodes of fewer than `min_steps`.
    pub in_short_episodes: usize,
    /// Those episodes.
    pub short_episodes: usize,
    /// Labels of episodes whose end fell into a gap.
    pub labels: usize,
}

impl Dropped {
    pub(super) const fn add(&mut self, other: &Self) {
        self.in_gaps += other.in_gaps;
        self.outside += other.outside;
        self.idle += other.idle;
        self.in_short_episodes += other.in_short_episodes;
        self.short_episodes += other.short_episodes;
        self.labels += other.labels;
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Region {
    steps: Range<usize>,
    label: Option<bool>,
}

/// What is looked at to cut.
pub(super) struct Steps<'m> {
    pub moments: &'m Moments,
    /// `[n - 1]`: whether a step can be learned from.
    pub usable: Vec<bool>,
    /// `[n - 1]`: whether nothing moved in it; empty where nobody asks.
    pub still: Vec<bool>,
}

/// Cuts some clocks of a log. `events` are in order; `sidecar` gives labels by the number of the region, and `number` counts regions
/// through the log.
pub(super) fn cut(
    plan: &Plan,
    steps: &Steps<'_>,
    events: &[Event],
    sidecar: Option<&BTreeMap<usize, bool>>,
    number: &mut usize,
) -> (Vec<Piece>, Dropped) {
    let mut pieces = Vec::new();
    let mut dropped = Dropped::default();
    let clocks = &steps.moments.clock;
    let mut from = 0;
    while let Some(clock) = clocks.get(from) {
        let to = clocks.partition_point(|c| c <= clock);
        let first = events.partition_point(|e| e.clock < *clock);
        let last = events.partition_point(|e| e.clock <= *clock);
        let events = events.get(first..last).unwrap_or_default();
        let regions = regions(plan, steps, from..to.saturating_sub(1), events);
        let usable = steps.usable.get(from..to.saturating_sub(1)).unwrap_or_default();
        dropped.outside += usable.iter().filter(|u| **u).count();
        for region in regions {
            dropped.outside -= count(&steps.usable, region.steps.clone());
            let label = sidecar.map_or(region.label, |s| s.get(&*number).copied());
            pieces_of(plan, steps, &Region { label, ..region }, *number, &mut pieces, &mut dropped);
            *number += 1;
        }
        from = to;
    }
    (pieces, dropped)
}

fn count(flags: &[bool], range: Range<usize>) -> usize {
    flags.get(range).unwrap_or_default().iter().filter(|f| **f).count()
}

/// The regions of one clock, whose steps are `all`.
fn regions(plan: &Plan, steps: &Steps<'_>, all: Range<usize>, events: &[Event]) -> Vec<Region> {
    // The first step that does not begin before `nanos`.
    let times = &steps.moments.nanos;
    let (first, own) = (all.start, times.get(all.clone()).unwrap_or_default());
    let step_at = |nanos: i64| first + own.partition_point(|t| *t < nanos);
    let whole = |steps: Range<usize>| {
        let mut region = Region { steps, label: None };
        // A mark in it ends it.
        let begin = times.get(region.steps.start).copied().unwrap_or(i64::MAX);
        for event in events.iter().filter(|e| e.nanos > begin) {
            let at = step_at(event.nanos);
            let label = match event.kind {
                EventKind::Success => Some(true),
                EventKind::Failure => Some(false),
                EventKind::End => None,
                EventKind::Start | EventKind::Toggle | EventKind::Intervention => continue,
            };
            if at <= region.steps.end {
                region.steps.end = at;
                region.label = label;
            }
            break;
        }
        region
    };
    match plan.cut.split {
        EpisodeSplit::File => vec![whole(all)],
        EpisodeSplit::Events => by_events(plan, all, events, step_at),
        EpisodeSplit::GapSecs(_) => {
            // The grid ends where the streams are silent for so long.
            let begins: Vec<usize> =
                (all.start + 1..all.end).filter(|k| steps.moments.begins.get(*k) == Some(&true)).collect();
            split_at(all, &begins).into_iter().map(whole).collect()
        }
        EpisodeSplit::IdleSecs(_) => {
            let least = plan.idle_steps.unwrap_or(1);
            let mut found = Vec::new();
            let mut begin = all.start;
            let mut k = all.start;
            while k < all.end {
                let run = still_run(&steps.still, k, all.end);
                if run >= least {
                    found.push(begin..k);
                    begin = k + run;
                }
                k += run.max(1);
            }
            found.push(begin..all.end);
            found.into_iter().filter(|r| !r.is_empty()).map(whole).collect()
        }
    }
}

fn split_at(all: Range<usize>, places: &[usize]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut begin = all.start;
    for place in places.iter().copied() {
        ranges.push(begin..place);
        begin = place;
    }
    ranges.push(begin..all.end);
    ranges
}

fn still_run(still: &[bool], from: usize, to: usize) -> usize {
    still.get(from..to).unwrap_or_default().iter().take_while(|s| **s).count()
}

fn by_events(
    plan: &Plan,
    all: Range<usize>,
    events: &[Event],
    step_at: impl Fn(i64) -> usize,
) -> Vec<Region> {
    let marked = plan.events.iter().any(|e| matches!(e.kind, EventKind::Start | EventKind::Toggle));
    let mut regions: Vec<Region> = Vec::new();
    let mut open = (!marked).then_some(all.start);
    for event in events {
        let at = step_at(event.nanos).min(all.end);
        let mut close = |open: &mut Option<usize>, label| {
            if let Some(begin) = open.take() {
                regions.push(Region { steps: begin..at.max(begin), label });
            }
        };
        match event.kind {
            EventKind::Start => {
                close(&mut open, None);
                open = Some(at);
            }
            EventKind::Toggle if open.is_none() => open = Some(at),
            EventKind::Toggle => close(&mut open, None),
            EventKind::End => {
                close(&mut open, None);
                open = (!marked).then_some(at);
            }
            EventKind::Success | EventKind::Failure => {
                let label = Some(event.kind == EventKind::Success);
                if open.is_some() {
                    close(&mut open, label);
                    open = (!marked).then_some(at);
                } else if let Some(last) = regions.last_mut().filter(|r| r.label.is_none()) {
                    // A mark that is given after the end is still this episode's.
                    last.label = label;
                }
            }
            EventKind::Intervention => {}
        }
    }
    if let Some(begin) = open.filter(|begin| *begin < all.end) {
        regions.push(Region { steps: begin..all.end, label: None });
    }
    regions
}

/// A mark that comes this long after the last step is still that step's, s.
const LABEL_SLACK_SECS: f64 = 1.0;

fn pieces_of(
    plan: &Plan,
    steps: &Steps<'_>,
    region: &Region,
    number: usize,
    pieces: &mut Vec<Piece>,
    dropped: &mut Dropped,
) {
    let mut labelled = false;
    let mut k = region.steps.start;
    let last = steps.usable.get(region.steps.clone()).unwrap_or_default().iter().rposition(|u| *u);
    let silent_end = region.steps.len() - last.map_or(0, |last| last + 1);
    let slack = (LABEL_SLACK_SECS * plan.grid.hz).round() as usize;
    // Streams often end a moment before the mark does.
    let end = if silent_end <= slack { region.steps.end - silent_end } else { region.steps.end };
    while k < region.steps.end {
        let flags = steps.usable.get(k..region.steps.end).unwrap_or_default();
        let run = flags.iter().take_while(|u| **u).count();
        if run == 0 {
            dropped.in_gaps += 1;
            k += 1;
            continue;
        }
        let whole = k..k + run;
        k += run;
        let kept = trim(plan, steps, whole.clone());
        dropped.idle += whole.len() - kept.len();
        let reaches_end = whole.end == end;
        let longest = plan.cut.max_steps.unwrap_or(usize::MAX);
        let mut begin = kept.start;
        while begin < kept.end {
            let end = begin.saturating_add(longest).min(kept.end);
            let reaches_end = reaches_end && end == kept.end;
            if end - begin < plan.cut.min_steps {
                dropped.in_short_episodes += end - begin;
                dropped.short_episodes += 1;
            } else {
                let label = region.label.filter(|_| reaches_end);
                labelled |= label.is_some();
                pieces.push(Piece { steps: begin..end, label, region: number, reaches_end });
            }
            begin = end;
        }
    }
    dropped.labels += usize::from(region.label.is_some() && !labelled);
}

/// Cuts the still steps at both ends down to what is to be kept.
fn trim(plan: &Plan, steps: &Steps<'_>, run: Range<usize>) -> Range<usize> {
    let Some(keep) = plan.keep_steps else { return run };
    let still = steps.still.get(run.clone()).unwrap_or_default();
    let before = still.iter().take_while(|s| **s).count();
    if before == still.len() && !still.is_empty() {
        // It never moves: nothing to learn but waiting.
        return run.start..run.start + keep.min(run.len());
    }
    let after = still.iter().rev().take_while(|s| **s).count();
    run.start + before.saturating_sub(keep)..run.end - after.saturating_sub(keep)
}
