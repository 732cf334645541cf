//! Episodes from the rows of a log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use surefoot_core::contract::SuccessFrom;
use surefoot_core::{DataError, EnvSpec, Episode, StepEnd};

use super::align::Moments;
use super::cut::{Event, Piece, Steps, cut};
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

/// Imports logs, several at a time. The outcome does not depend on how many. `progress` is told how many more bytes were read;
/// with `skip_unreadable` a log that cannot be read is said in the report instead of ending the import.
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
    let outcomes: Vec<Result<(Vec<Episode>, LogReport), DataError>> =
        paths.par_iter().map(|path| import_log(plan, path, options, &|n| progress(n))).collect();
    let mut episodes = Vec::new();
    let mut report = ImportReport { actions: plan.words().to_vec(), ..ImportReport::default() };
    for (outcome, path) in outcomes.into_iter().zip(paths) {
        match outcome {
            Ok((found, log)) => {
                episodes.extend(found);
                report.dropped.add(&log.dropped);
                report.logs.push(log);
            }
            Err(error) if skip_unreadable => report.logs.push(LogReport {
                path: path.clone(),
                failed: Some(error.to_string()),
                ..LogReport::default()
            }),
            Err(error) => return Err(error),
        }
    }
    let mut spec = plan.spec().clone();
    spec.max_steps = episodes.iter().map(Episode::len).max().unwrap_or(0);
    summarise(&mut report, &episodes, &spec, plan);
    Ok(Imported { episodes, spec, report })
}

fn summarise(report: &mut ImportReport, episodes: &[Episode], spec: &EnvSpec, plan: &Plan) {
    report.episodes = episodes.len();
    report.steps = episodes.iter().map(Episode::len).sum();
    report.secs = report.steps as f64 * spec.step_secs;
    let labelled = |label| episodes.iter().filter(|e| e.success == label).count();
    report.successes = labelled(Some(true));
    report.failures = labelled(Some(false));
    report.unknown = labelled(None);
    if plan.events.iter().any(|e| e.kind == EventKind::Intervention) {
        report.human_steps = Some(episodes.iter().flat_map(|e| &e.human).filter(|h| **h).count());
    }
    for (i, field) in spec.action.iter().enumerate() {
        let column = || episodes.iter().flat_map(|e| e.action.iter().skip(i).step_by(spec.action_dim()));
        // Limits are reached in f64 and stored in f32.
        let beyond = column().filter(|x| x.abs() > 1.0 + 1e-6).count();
        if beyond > 0 {
            let largest = column().fold(0.0_f32, |m, x| m.max(x.abs()));
            report.beyond_bounds.push((field.name.clone(), beyond, largest));
        }
    }
}

fn import_log(
    plan: &Plan,
    path: &Path,
    options: &LogOptions,
    progress: &dyn Fn(u64),
) -> Result<(Vec<Episode>, LogReport), DataError> {
    let log = open_log(path, options)?;
    let intake::Intake { moments, events, streams, end, mut notes } = intake::read(plan, &*log, progress)?;
    let sidecar = match &plan.success {
        SuccessFrom::Sidecar(suffix) => Some(read_sidecar(path, suffix)?),
        _ => None,
    };
    let rows = Rows { plan, moments: &moments };
    let count = moments.len().saturating_sub(1);
    let usable = (0..count).map(|k| rows.is_usable(k)).collect();
    let still =
        if plan.still.is_some() { (0..count).map(|k| rows.is_still(k)).collect() } else { Vec::new() };
    let steps = Steps { moments: &moments, usable, still };
    let (pieces, dropped) = cut(plan, &steps, &events, sidecar.as_ref());
    if let Some(known) = &sidecar {
        let regions = pieces.iter().map(|p| p.region + 1).max().unwrap_or(0);
        if let Some((last, _)) = known.last_key_value().filter(|(last, _)| **last >= regions) {
            notes.push(format!("the sidecar labels episode {last}; the log has {regions} episodes"));
        }
    }
    let stem = path.file_stem().map_or_else(|| "log".into(), |s| s.to_string_lossy().into_owned());
    let mut episodes = Vec::with_capacity(pieces.len());
    for (i, piece) in pieces.iter().enumerate() {
        episodes.push(rows.episode(piece, &events, format!("{stem}_{i}"), &stem));
    }
    if let LogEnd::Torn(why) = &end {
        notes.push(format!("the recording is INCOMPLETE: {why}"));
    }
    if episodes.is_empty() {
        notes.push("no episode came of it".into());
    }
    let report = LogReport {
        path: path.to_owned(),
        format: log.format(),
        bytes: log.bytes(),
        episodes: episodes.len(),
        steps: episodes.iter().map(Episode::len).sum(),
        dropped,
        streams,
        notes,
        torn: matches!(end, LogEnd::Torn(_)),
        failed: None,
    };
    Ok((episodes, report))
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
