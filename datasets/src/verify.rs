//! `verify`: everything in a dataset that learning would stumble over, with where it is and how to mend it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use surefoot_core::{DataError, DatasetMeta, StepEnd};

use crate::formats::{AMBIGUOUS_DONE, BAD_ENV_ARGS, INCOMPLETE, demo_number};
use crate::open::{OpenOptions, open_any};
use crate::survey::{Brief, Channel, Survey};
use crate::table::percent;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Learning works, but perhaps on something else than was meant.
    Warning,
    /// The data cannot be used as it is.
    Error,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A stable name.
    pub code: &'static str,
    /// Where it is.
    pub place: String,
    /// What it is.
    pub message: String,
    /// How to mend it.
    pub mend: &'static str,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerifyReport {
    /// The file.
    pub path: PathBuf,
    /// Format, when it could be opened.
    pub format: Option<&'static str>,
    /// Episodes that could be read.
    pub episodes: usize,
    /// Their steps.
    pub steps: usize,
    /// Worst first.
    pub findings: Vec<Finding>,
}

impl VerifyReport {
    /// Findings of a severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|f| f.severity == severity).count()
    }
    /// Whether the data can be used: no finding is an error.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.count(Severity::Error) == 0
    }
}

/// Reads all of a dataset and lists what is wrong with it. A file that cannot be opened is a finding, too.
#[must_use]
pub fn verify(path: &Path, options: &OpenOptions) -> VerifyReport {
    let mut lints = Lints(Vec::new());
    let mut report =
        VerifyReport { path: path.to_owned(), format: None, episodes: 0, steps: 0, findings: Vec::new() };
    match open_any(path, &OpenOptions { lenient: true, ..options.clone() }) {
        Err(error) => {
            lints.error(
                "unreadable",
                "the file".into(),
                error.to_string(),
                "give another file, or copy or record this one again",
            );
        }
        Ok(opened) => {
            let meta = opened.source.meta();
            for problem in &opened.problems {
                let mend = "correct the attribute or the mask, or find the missing episodes (links need `--features libhdf5`)";
                lints.error("contradiction", "the header".into(), problem.to_string(), mend);
            }
            let survey = Survey::of(&*opened.source);
            report.format = Some(meta.format);
            report.episodes = survey.briefs.len();
            report.steps = survey.steps;
            lints.values(&survey);
            lints.channels(&survey);
            lints.episodes(&survey.briefs);
            lints.numbering(&survey);
            lints.rewards(&survey);
            lints.ends(&survey.briefs);
            lints.chains(&survey.briefs);
            lints.notes(meta);
        }
    }
    report.findings = lints.0;
    report.findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
    report
}

/// Names shown of a long list.
const SHOWN: usize = 8;

/// Names the first few of a list.
fn some(names: &[String]) -> String {
    first_of(names.iter().cloned(), names.len() as u64)
}

fn first_of(names: impl Iterator<Item = String>, count: u64) -> String {
    let shown = names.take(SHOWN).collect::<Vec<_>>().join(", ");
    match count.saturating_sub(SHOWN as u64) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

struct Lints(Vec<Finding>);

impl Lints {
    fn push(
        &mut self,
        severity: Severity,
        code: &'static str,
        place: String,
        message: String,
        mend: &'static str,
    ) {
        self.0.push(Finding { severity, code, place, message, mend });
    }
    fn error(&mut self, code: &'static str, place: String, message: String, mend: &'static str) {
        self.push(Severity::Error, code, place, message, mend);
    }
    fn warning(&mut self, code: &'static str, place: String, message: String, mend: &'static str) {
        self.push(Severity::Warning, code, place, message, mend);
    }
    fn info(&mut self, code: &'static str, place: String, message: String, mend: &'static str) {
        self.push(Severity::Info, code, place, message, mend);
    }

    fn values(&mut self, survey: &Survey) {
        for failure in &survey.failures {
            let (code, mend) = if matches!(failure, DataError::Shape { .. }) {
                (
                    "ragged",
                    "make all arrays of the episode numbers and as long as its actions, or remove the episode",
                )
            } else {
                ("unreadable_episode", "copy the file again from its source, or remove the episode")
            };
            self.error(code, "an episode".into(), failure.to_string(), mend);
        }
        for (place, value, count) in &survey.non_finite {
            let message = format!("{count} values are not finite; the first is {value}");
            let mend = "remove the episodes, or cut them before the first such row";
            self.error(
                "not_finite",
                format!("{} {}[{}]", place.episode, place.array, place.row),
                message,
                mend,
            );
        }
    }

    fn channels(&mut self, survey: &Survey) {
        let beyond: Vec<&Channel> = survey.action.iter().filter(|c| c.out_of_range > 0).collect();
        let numbers: usize = survey.action.iter().map(|c| c.count).sum();
        if !beyond.is_empty() {
            let count: usize = beyond.iter().map(|c| c.out_of_range).sum();
            let low = beyond.iter().map(|c| c.min).fold(f32::INFINITY, f32::min);
            let high = beyond.iter().map(|c| c.max).fold(f32::NEG_INFINITY, f32::max);
            let share = percent(count, numbers);
            let message = format!("{count} numbers ({share}) lie outside [-1, 1], from {low} to {high}");
            let names: Vec<String> = beyond.iter().map(|c| c.name.clone()).collect();
            let mend = "actions are normalised to [-1, 1]: rescale them, or let loading clip and count them";
            self.warning("action_out_of_range", some(&names), message, mend);
        }
        let saturated: usize = survey.action.iter().map(|c| c.saturated - c.out_of_range).sum();
        if saturated > 0 {
            let most: Vec<String> =
                survey.action.iter().filter(|c| c.saturated * 2 > c.count).map(|c| c.name.clone()).collect();
            let share = percent(saturated, numbers);
            let message = format!("{saturated} numbers ({share}) are exactly -1 or 1");
            if most.is_empty() {
                self.info(
                    "action_saturated",
                    "actions".into(),
                    message,
                    "nothing to do if the controller clips there",
                );
            } else {
                let message = format!("{message}; more than half of these channels");
                let mend =
                    "check the scale of the actions: a bang-bang or clipped channel teaches only its limits";
                self.warning("action_saturated", some(&most), message, mend);
            }
        }
        for (what, channels) in [("observation", &survey.observation), ("action", &survey.action)] {
            let frozen: Vec<String> = channels
                .iter()
                .filter(|c| c.is_frozen())
                .map(|c| format!("{} = {}", c.name, c.min))
                .collect();
            if !frozen.is_empty() {
                let message = format!("{} of {} {what} channels never change", frozen.len(), channels.len());
                let mend = "a dead sensor or an unused joint: leave the channel out, or make sure that it is constant online too";
                self.warning("frozen_channel", some(&frozen), message, mend);
            }
        }
    }

    fn episodes(&mut self, briefs: &[Brief]) {
        let empty: Vec<String> = briefs.iter().filter(|b| b.len == 0).map(|b| b.name.clone()).collect();
        if !empty.is_empty() {
            let message = format!("{} episodes hold no step that can be learned from", empty.len());
            self.warning("empty_episode", some(&empty), message, "remove them");
        }
        let mut seen: BTreeMap<[u8; 32], &str> = BTreeMap::new();
        let mut twins = Vec::new();
        for b in briefs.iter().filter(|b| b.len > 0) {
            match seen.get(b.digest.as_bytes()) {
                Some(first) => twins.push(format!("{} = {first}", b.name)),
                None => {
                    seen.insert(*b.digest.as_bytes(), &b.name);
                }
            }
        }
        if !twins.is_empty() {
            let message = format!("{} episodes repeat another, bit for bit", twins.len());
            let mend = "remove the copies: they weigh double, and leak between training and validation";
            self.warning("duplicate_episode", some(&twins), message, mend);
        }
        if !briefs.is_empty() && briefs.iter().all(|b| b.success.is_none()) {
            let mend = "set the attribute `success` of each episode to show success rates";
            self.info(
                "success_unknown",
                "episodes".into(),
                "no episode says whether it succeeded".into(),
                mend,
            );
        }
        let (steps, repeated) = briefs.iter().fold((0, 0), |(n, r), b| (n + b.len, r + b.repeated_rows));
        if repeated * 5 > steps {
            let message = format!("{} of all observations equal the one before", percent(repeated, steps));
            let mend = "the recorder may have run faster than the sensors: check its rate";
            self.warning("repeated_observation", "episodes".into(), message, mend);
        }
    }

    /// Names count from 0 or 1. An episode that cannot be read is not missing.
    fn numbering(&mut self, survey: &Survey) {
        let numbers: Option<BTreeSet<u64>> = survey.briefs.iter().map(|b| demo_number(&b.name)).collect();
        let Some(numbers) = numbers.filter(|_| survey.failures.is_empty()) else { return };
        let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { return };
        let start = *first.min(&1);
        let missing = (last - start).saturating_sub(numbers.len() as u64 - 1);
        if missing > 0 {
            let gaps = (start..=*last).filter(|n| !numbers.contains(n)).map(|n| format!("demo_{n}"));
            let message = format!("{missing} numbers are missing in the names");
            let mend =
                "look whether episodes were removed on purpose, or are links that need `--features libhdf5`";
            self.warning("numbering_gap", first_of(gaps, missing), message, mend);
        }
    }

    fn rewards(&mut self, survey: &Survey) {
        if let (Some((low, high)), Some((place, value, count))) =
            (survey.reward_range, &survey.reward_outside)
        {
            let message = format!(
                "{count} of {} rewards lie outside the file's own range, {low} to {high}; the first is {value}",
                survey.reward.count
            );
            let place = format!("{} {}[{}]", place.episode, place.array, place.row);
            let mend =
                "correct the rewards or `reward_range` in data@env_spec: learning bounds its targets by it";
            self.error("reward_out_of_range", place, message, mend);
        }
        let without = survey.briefs.iter().filter(|b| b.unrewarded).count();
        if without > 0 {
            let message = format!("{without} of {} episodes have no rewards", survey.briefs.len());
            let mend = "fit for imitation; for reinforcement learning, label rewards first";
            self.warning("no_reward", "rewards".into(), message, mend);
        }
        if survey.reward.is_frozen() {
            let message = format!("every reward is {}", survey.reward.min);
            let mend = "no value can be learned from a constant reward: check the labels";
            self.warning("constant_reward", "rewards".into(), message, mend);
        }
    }

    fn ends(&mut self, briefs: &[Brief]) {
        let early: Vec<String> = briefs.iter().filter(|b| b.early_ends > 0).map(|b| b.name.clone()).collect();
        if !early.is_empty() {
            let message = format!("{} episodes are marked as ended before their last step", early.len());
            let mend = "split them there, or correct the flags: what follows an end is another episode";
            self.warning("early_end", some(&early), message, mend);
        }
        let lens: Vec<usize> = briefs.iter().map(|b| b.len).collect();
        let same = lens.iter().all(|n| Some(n) == lens.first());
        if briefs.len() >= 5 && same && briefs.iter().all(|b| b.last == Some(StepEnd::Terminated)) {
            let message = format!("all {} episodes terminate after {} steps", briefs.len(), lens[0]);
            let mend = "this looks like a time limit: store it as truncation, or values beyond it are lost";
            self.warning("time_limit_as_termination", "ends".into(), message, mend);
        }
    }

    fn chains(&mut self, briefs: &[Brief]) {
        let broken: Vec<(&Brief, (usize, usize, f32))> =
            briefs.iter().filter_map(|b| Some((b, b.broken_chain?))).collect();
        if let Some((first, (_, row, _))) = broken.first() {
            let count: usize = broken.iter().map(|(_, (n, _, _))| n).sum();
            let largest = broken.iter().map(|(_, (_, _, d))| *d).fold(0.0, f32::max);
            let place = format!("{} next_observation[{row}]", first.name);
            let message = format!(
                "{count} steps in {} episodes do not lead to the following observation; largest difference {largest}",
                broken.len()
            );
            let mend =
                "steps are missing or shifted, or two episodes are joined: check the recorder's alignment";
            self.warning("broken_chain", place, message, mend);
        }
        let repeated: Vec<String> =
            briefs.iter().filter(|b| b.repeated_last).map(|b| b.name.clone()).collect();
        if !repeated.is_empty() {
            let message = format!(
                "in {} truncated episodes the last next observation repeats the last observation",
                repeated.len()
            );
            let mend =
                "it was not recorded, and learning would look there: remove the last step of these episodes";
            self.warning("repeated_last_observation", some(&repeated), message, mend);
        }
    }

    fn notes(&mut self, meta: &DatasetMeta) {
        for note in &meta.notes {
            if note.starts_with(AMBIGUOUS_DONE) {
                let mend = "store `terminations` and `truncations`, or choose with done_means";
                self.warning(AMBIGUOUS_DONE, "dones".into(), note.clone(), mend);
            } else if note.starts_with(BAD_ENV_ARGS) {
                let mend =
                    "write env_args as a JSON object with env_name, type and env_kwargs, as robomimic does";
                self.warning(BAD_ENV_ARGS, "data@env_args".into(), note.clone(), mend);
            } else if note.starts_with(INCOMPLETE) {
                let mend = "record into it again, or finish it: the recorder mends what a crash left behind";
                self.warning(INCOMPLETE, "the recording".into(), note.clone(), mend);
            } else {
                self.info("note", "the file".into(), note.clone(), "nothing to do if it is meant");
            }
        }
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = self.format.unwrap_or("not readable");
        writeln!(f, "{} ({format}): {} episodes, {} steps", self.path.display(), self.episodes, self.steps)?;
        for finding in &self.findings {
            let Finding { severity, code, place, message, mend } = finding;
            let severity = match severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Info => "info",
            };
            writeln!(f, "{severity}[{code}]: {message}\n  at:   {place}\n  mend: {mend}")?;
        }
        let (errors, warnings) = (self.count(Severity::Error), self.count(Severity::Warning));
        writeln!(f, "{errors} errors, {warnings} warnings, {} notes", self.count(Severity::Info))
    }
}
