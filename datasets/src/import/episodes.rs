//! Episodes from the rows of a log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use surefoot_core::contract::SuccessFrom;
use surefoot_core::{DataError, EnvSpec, Episode, StepEnd};

use super::align::Moments;
use super::cut::{Dropped, Event, Piece, Steps, cut};
use super::intake;
use super::plan::{ActionPlan, EventKind, Making, Plan, RewardPlan};
use super::report::{ImportReport, LogReport};
use crate::streams::{LogEnd, LogOptions, open_log};

/// Episodes and what they mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// In the order of the logs.
    pub episodes: Vec<Episode>,
    /// Names, units and bounds of their rows.
    pub spec: EnvSpec,
    /// What was found, kept and dropped.
    pub report: ImportReport,
}

/// Who is told how an import goes on, and may end it.
#[derive(Clone, Copy)]
pub struct Watch<'w> {
    /// Is told how many more bytes were read.
    pub progress: &'w (dyn Fn(u64) + Sync),
    /// Ends the import when it says so.
    pub stop: &'w (dyn Fn() -> bool + Sync),
}

impl std::fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// Imports logs, several at a time, into memory. The outcome does not depend on how many. `progress` is told how many more bytes were
/// read; with `skip_unreadable` a log that cannot be read is said in the report instead of ending the import.
///
/// # Errors
/// When a log is no log, is damaged, or lacks what the contract asks for; the first in the order of `paths`.
pub fn import(
    plan: &Plan,
    paths: &[PathBuf],
    options: &LogOptions,
    skip_unreadable: bool,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Imported, DataError> {
    let watch = Watch { progress, stop: &|| false };
    let (episodes, spec, report) = import_each(plan, paths, options, skip_unreadable, watch, &Ok)?;
    Ok(Imported { episodes, spec, report })
}

/// Imports logs and keeps each episode, as soon as it is known, by `keep`, from several threads at once. What `keep` made of them is given
/// in the order of the logs, with what they mean. An episode of a log that cannot be read after all is not among them.
///
/// Held in memory are, for each thread, the rows of the stretch of one clock that it reads, and its episodes one at a time.
pub(crate) fn import_each<T: Send>(
    plan: &Plan,
    paths: &[PathBuf],
    options: &LogOptions,
    skip_unreadable: bool,
    watch: Watch<'_>,
    keep: &(dyn Fn(Episode) -> Result<T, DataError> + Sync),
) -> Result<(Vec<T>, EnvSpec, ImportReport), DataError> {
    // The first log that failed: those behind it need not be read.
    let failed = AtomicUsize::new(usize::MAX);
    let outcomes: Vec<Result<LogImport<T>, Failed>> = paths
        .par_iter()
        .enumerate()
        .map(|(i, path)| {
            let stop = || (watch.stop)() || failed.load(Ordering::Relaxed) < i;
            let outcome = LogImport::run(plan, path, options, &|n| (watch.progress)(n), &stop, keep);
            if outcome.as_ref().is_err_and(|f| !(skip_unreadable && f.is_of_the_log())) {
                failed.fetch_min(i, Ordering::Relaxed);
            }
            outcome
        })
        .collect();
    let mut kept = Vec::new();
    let mut report = ImportReport { actions: plan.words().to_vec(), ..ImportReport::default() };
    let mut sums = Sums::new(plan);
    for (outcome, path) in outcomes.into_iter().zip(paths) {
        match outcome {
            Ok(LogImport { kept: found, sums: of_log, report: log }) => {
                kept.extend(found);
                sums.add(&of_log);
                report.dropped.add(&log.dropped);
                report.logs.push(log);
            }
            Err(why) if skip_unreadable && why.is_of_the_log() => report.logs.push(LogReport {
                path: path.clone(),
                failed: Some(why.error.to_string()),
                ..LogReport::default()
            }),
            Err(why) => return Err(why.error),
        }
    }
    let mut spec = plan.spec().clone();
    spec.max_steps = sums.longest;
    sums.tell(&mut report, &spec, plan);
    Ok((kept, spec, report))
}

/// What is counted over episodes.
struct Sums {
    episodes: usize,
    steps: usize,
    longest: usize,
    successes: usize,
    failures: usize,
    human: usize,
    /// Of each number of the action: how many were beyond its bounds, and the largest.
    beyond: Vec<(usize, f32)>,
}

impl Sums {
    fn new(plan: &Plan) -> Self {
        let beyond = vec![(0, 0.0); plan.spec().action_dim()];
        Self { episodes: 0, steps: 0, longest: 0, successes: 0, failures: 0, human: 0, beyond }
    }

    fn episode(&mut self, e: &Episode) {
        self.episodes += 1;
        self.steps += e.len();
        self.longest = self.longest.max(e.len());
        self.successes += usize::from(e.success == Some(true));
        self.failures += usize::from(e.success == Some(false));
        self.human += e.human.iter().filter(|h| **h).count();
        let width = self.beyond.len().max(1);
        for (i, x) in e.action.iter().enumerate() {
            // Limits are reached in f64 and stored in f32.
            if x.abs() > 1.0 + 1e-6
                && let Some((n, largest)) = self.beyond.get_mut(i % width)
            {
                *n += 1;
                *largest = largest.max(x.abs());
            }
        }
    }

    fn add(&mut self, other: &Self) {
        let Self { episodes, steps, longest, successes, failures, human, beyond } = other;
        self.episodes += episodes;
        self.steps += steps;
        self.longest = self.longest.max(*longest);
        self.successes += successes;
        self.failures += failures;
        self.human += human;
        for ((n, largest), (more, larger)) in self.beyond.iter_mut().zip(beyond) {
            *n += more;
            *largest = largest.max(*larger);
        }
    }

    fn tell(&self, report: &mut ImportReport, spec: &EnvSpec, plan: &Plan) {
        report.episodes = self.episodes;
        report.steps = self.steps;
        report.secs = self.steps as f64 * spec.step_secs;
        report.successes = self.successes;
        report.failures = self.failures;
        report.unknown = self.episodes - self.successes - self.failures;
        if plan.events.iter().any(|e| e.kind == EventKind::Intervention) {
            report.human_steps = Some(self.human);
        }
        for (field, (n, largest)) in spec.action.iter().zip(&self.beyond) {
            if *n > 0 {
                report.beyond_bounds.push((field.name.clone(), *n, *largest));
            }
        }
    }
}

/// Why nothing came of a log.
struct Failed {
    error: DataError,
    /// An episode of it was not kept.
    unkept: bool,
}

impl Failed {
    /// Whether the log is to blame, and others may still be read.
    const fn is_of_the_log(&self) -> bool {
        !self.unkept && !matches!(self.error, DataError::Interrupted)
    }
}

impl From<DataError> for Failed {
    fn from(error: DataError) -> Self {
        Self { error, unkept: false }
    }
}

/// What came of one log.
struct LogImport<T> {
    kept: Vec<T>,
    sums: Sums,
    report: LogReport,
}

impl<T> LogImport<T> {
    fn run(
        plan: &Plan,
        path: &Path,
        options: &LogOptions,
        progress: &dyn Fn(u64),
        stop: &dyn Fn() -> bool,
        keep: &(dyn Fn(Episode) -> Result<T, DataError> + Sync),
    ) -> Result<Self, Failed> {
        if stop() {
            return Err(DataError::Interrupted.into());
        }
        let log = open_log(path, options)?;
        let sidecar = match &plan.success {
            SuccessFrom::Sidecar(suffix) => Some(read_sidecar(path, suffix)?),
            _ => None,
        };
        let stem = path.file_stem().map_or_else(|| "log".into(), |s| s.to_string_lossy().into_owned());
        let (mut kept, mut sums, mut dropped) = (Vec::new(), Sums::new(plan), Dropped::default());
        let (mut regions, mut labelled, mut unkept) = (0, 0, false);
        let mut stretch = |moments: &Moments, events: &[Event]| -> Result<(), DataError> {
            let rows = Rows { plan, moments };
            let count = moments.len().saturating_sub(1);
            let usable = (0..count).map(|k| rows.is_usable(k)).collect();
            let still = if plan.still.is_some() {
                (0..count).map(|k| rows.is_still(k)).collect()
            } else {
                Vec::new()
            };
            let steps = Steps { moments, usable, still };
            let (pieces, lost) = cut(plan, &steps, events, sidecar.as_ref(), &mut regions);
            dropped.add(&lost);
            for piece in &pieces {
                if stop() {
                    return Err(DataError::Interrupted);
                }
                labelled = labelled.max(piece.region + 1);
                let episode = rows.episode(piece, events, format!("{stem}_{}", kept.len()), &stem);
                sums.episode(&episode);
                kept.push(keep(episode).inspect_err(|_| unkept = true)?);
            }
            Ok(())
        };
        let read = intake::read(plan, &*log, progress, stop, &mut stretch);
        let intake::Intake { streams, end, mut notes } = read.map_err(|error| Failed { error, unkept })?;
        if let Some((last, _)) =
            sidecar.as_ref().and_then(BTreeMap::last_key_value).filter(|(last, _)| **last >= labelled)
        {
            notes.push(format!("the sidecar labels episode {last}; the log has {labelled} episodes"));
        }
        if let LogEnd::Torn(why) = &end {
            notes.push(format!("the recording is INCOMPLETE: {why}"));
        }
        if kept.is_empty() {
            notes.push("no episode came of it".into());
        }
        let report = LogReport {
            path: path.to_owned(),
            format: log.format(),
            bytes: log.bytes(),
            episodes: sums.episodes,
            steps: sums.steps,
            dropped,
            streams,
            notes,
            torn: matches!(end, LogEnd::Torn(_)),
            failed: None,
        };
        Ok(Self { kept, sums, report })
    }
}

struct Rows<'r> {
    plan: &'r Plan,
    moments: &'r Moments,
}

impl Rows<'_> {
    fn row(&self, stream: usize, moment: usize) -> Option<&[f64]> {
        self.moments.streams.get(stream)?.row(moment)
    }

    fn observation(&self, moment: usize, out: &mut Vec<f64>) -> Option<()> {
        out.clear();
        for (stream, _) in &self.plan.observation {
            out.extend_from_slice(self.row(*stream, moment)?);
        }
        Some(())
    }

    /// The action of a step, `[action_dim]`, in `[-1, 1]` where it is inside its bounds.
    fn action(&self, step: usize, observation: &[f64], out: &mut Vec<f32>) -> Option<()> {
        for ActionPlan { stream, making, range } in &self.plan.action {
            let now = || self.row(*stream, step);
            let next = || self.row(*stream, step + 1);
            for (i, (middle, half)) in range.iter().enumerate() {
                let value = match making {
                    Making::Now => *now()?.get(i)?,
                    Making::Next => *next()?.get(i)?,
                    Making::Difference => next()?.get(i)? - now()?.get(i)?,
                    Making::Relative { column, next: later } => {
                        let row = if *later { next()? } else { now()? };
                        row.get(i)? - observation.get(column + i)?
                    }
                };
                out.push(((value - middle) / half) as f32);
            }
        }
        Some(())
    }

    fn is_usable(&self, step: usize) -> bool {
        let check = || {
            if self.moments.begins.get(step + 1).copied().unwrap_or(true) {
                return None;
            }
            let mut observation = Vec::new();
            self.observation(step + 1, &mut observation)?;
            self.observation(step, &mut observation)?;
            self.action(step, &observation, &mut Vec::new())?;
            if let RewardPlan::Stream(stream) = self.plan.reward {
                self.row(stream, step + 1)?;
            }
            Some(())
        };
        check().is_some()
    }

    fn is_still(&self, step: usize) -> bool {
        let Some((from, to, below)) = self.plan.still else { return false };
        let (mut now, mut next) = (Vec::new(), Vec::new());
        if self.observation(step, &mut now).is_none() || self.observation(step + 1, &mut next).is_none() {
            return false;
        }
        (from..to).all(|i| match (now.get(i), next.get(i)) {
            (Some(a), Some(b)) => (b - a).abs() < below,
            _ => false,
        })
    }

    fn episode(&self, piece: &Piece, events: &[Event], name: String, log: &str) -> Episode {
        let plan = self.plan;
        let mut episode = Episode { name, ..Episode::default() };
        let mut row = Vec::new();
        let begin = piece.steps.start;
        let nanos = |moment: usize| self.moments.nanos.get(moment).copied().unwrap_or(0);
        let clock = self.moments.clock.get(begin).copied().unwrap_or(0);
        let hands: Vec<&Event> =
            events.iter().filter(|e| e.clock == clock && e.kind == EventKind::Intervention).collect();
        let knows_hands = plan.events.iter().any(|e| e.kind == EventKind::Intervention);
        for step in piece.steps.clone() {
            // Cutting took only steps that have all of this.
            let _ = self.observation(step, &mut row);
            episode.observation.extend(row.iter().map(|x| *x as f32));
            let _ = self.action(step, &row, &mut episode.action);
            let _ = self.observation(step + 1, &mut row);
            episode.next_observation.extend(row.iter().map(|x| *x as f32));
            let reward = match plan.reward {
                RewardPlan::None => f32::NAN,
                RewardPlan::Stream(stream) => {
                    self.row(stream, step + 1).and_then(|r| r.first()).map_or(f32::NAN, |r| *r as f32)
                }
                RewardPlan::Label { otherwise, .. } if piece.label.is_some() => otherwise,
                RewardPlan::Label { .. } => f32::NAN,
            };
            episode.reward.push(reward);
            episode.end.push(StepEnd::Running);
            if knows_hands {
                // On when the step begins, or switched on in it.
                let (from, to) = (nanos(step), nanos(step + 1));
                let began = hands.partition_point(|e| e.nanos <= from);
                let held = began.checked_sub(1).and_then(|i| hands.get(i)).is_some_and(|e| e.on);
                let taken = hands.iter().skip(began).take_while(|e| e.nanos <= to).any(|e| e.on);
                episode.human.push(held || taken);
            }
        }
        episode.success = match plan.success {
            SuccessFrom::LastRewardAbove(bar) if piece.reaches_end => {
                episode.reward.last().filter(|r| r.is_finite()).map(|r| f64::from(*r) > bar)
            }
            SuccessFrom::LastRewardAbove(_) | SuccessFrom::Unknown => None,
            SuccessFrom::Events | SuccessFrom::Sidecar(_) => piece.label,
        };
        if let (RewardPlan::Label { success, .. }, Some(true)) = (plan.reward, episode.success)
            && let Some(last) = episode.reward.last_mut()
        {
            *last = success;
        }
        if let Some(last) = episode.end.last_mut() {
            let ended = episode.success.is_some() && plan.labelled_episodes_terminate;
            *last = if ended { StepEnd::Terminated } else { StepEnd::Truncated };
        }
        episode.attributes.insert("log".into(), log.to_owned());
        episode.attributes.insert("log_nanos".into(), nanos(begin).to_string());
        episode
    }
}

/// Labels from the table beside a log: `episode,success` with a heading, `1`, `true` or `success` for a success.
fn read_sidecar(log: &Path, suffix: &str) -> Result<BTreeMap<usize, bool>, DataError> {
    let mut path = log.as_os_str().to_owned();
    path.push(suffix);
    let path = PathBuf::from(path);
    let text =
        std::fs::read_to_string(&path).map_err(|source| DataError::Io { path: path.clone(), source })?;
    let mut labels = BTreeMap::new();
    for (i, line) in text.lines().enumerate().skip(1).filter(|(_, l)| !l.trim().is_empty()) {
        let label = line.split_once(',').and_then(|(episode, label)| {
            let success = match label.trim() {
                "1" | "true" | "True" | "success" => true,
                "0" | "false" | "False" | "failure" => false,
                _ => return None,
            };
            Some((episode.trim().parse::<usize>().ok()?, success))
        });
        let Some((episode, success)) = label else {
            return Err(DataError::Shape {
                path,
                item: format!("line {}", i + 1),
                expected: "episode,success with a number and 1, 0, true, false, success or failure".into(),
                found: line.chars().take(60).collect(),
            });
        };
        labels.insert(episode, success);
    }
    Ok(labels)
}
