//! `verify`: everything in a dataset that learning would stumble over, with where it is and how to mend it.

mod channels;
mod episodes;
mod filtered;
mod names;
mod rewards;
mod times;
mod units;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use surefoot_core::{DatasetMeta, RobotContract};

use crate::formats::{AMBIGUOUS_DONE, BAD_ENV_ARGS, INCOMPLETE};
use crate::open::{OpenOptions, open_any};
use crate::survey::Survey;

pub use filtered::{ChangedChannel, FilterBasis, FilterReport};
pub use names::{LINTS, Lint};
pub use units::JointActions;

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
    /// A stable name: one of [`LINTS`].
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
    /// Findings that were allowed and are not among these.
    pub allowed: usize,
    /// Whether warnings count as errors.
    pub deny_warnings: bool,
    /// What the robot's safety filter would have changed, where that was asked for and can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterReport>,
}

impl VerifyReport {
    /// Findings of a severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|f| f.severity == severity).count()
    }
    /// Whether the data can be used: no finding is an error, nor a warning where these are denied.
    #[must_use]
    pub fn passed(&self) -> bool {
        let worst = if self.deny_warnings { Severity::Warning } else { Severity::Error };
        self.findings.iter().all(|f| f.severity < worst)
    }
}

/// What else to look at, and what to overlook.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions<'a> {
    /// Names of [`LINTS`] that are overlooked.
    pub allow: Vec<String>,
    /// Warnings count as errors.
    pub deny_warnings: bool,
    /// The robot whose safety filter the recorded actions are held against.
    pub robot: Option<&'a RobotContract>,
    /// What the action row is, where the dataset does not say: the joints of the robot in its order, in rad and m, or per second.
    pub actions: Option<JointActions>,
    /// Largest share of control ticks that the filter may change without a warning; 0.05 when absent.
    pub max_changed_share: Option<f64>,
}

/// [`verify_with`] without a robot; nothing is overlooked.
#[must_use]
pub fn verify(path: &Path, options: &OpenOptions) -> VerifyReport {
    verify_with(path, options, &VerifyOptions::default())
}

/// Reads all of a dataset and lists what is wrong with it. A file that cannot be opened is a finding, too.
#[must_use]
pub fn verify_with(path: &Path, options: &OpenOptions, look: &VerifyOptions<'_>) -> VerifyReport {
    let mut lints = Lints(Vec::new());
    let mut report = VerifyReport {
        path: path.to_owned(),
        format: None,
        episodes: 0,
        steps: 0,
        findings: Vec::new(),
        allowed: 0,
        deny_warnings: look.deny_warnings,
        filter: None,
    };
    match open_any(path, &OpenOptions { lenient: true, ..options.clone() }) {
        Err(error) => {
            let mend = "give another file, or copy or record this one again";
            lints.error("unreadable", "the file".into(), error.to_string(), mend);
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
            let normalised = meta.spec.is_some() || NORMALISED.contains(&meta.format);
            lints.values(&survey);
            lints.channels(&survey, normalised);
            lints.units(&survey);
            lints.episodes(&survey.briefs);
            lints.numbering(&survey);
            lints.rewards(&survey);
            lints.ends(&survey.briefs);
            lints.success(&survey);
            lints.chains(&survey.briefs);
            lints.times(&opened, options.backend);
            lints.notes(meta);
            if let Some(contract) = look.robot {
                report.filter = lints.filtered(&*opened.source, contract, look);
            }
        }
    }
    report.findings = lints.0;
    let found = report.findings.len();
    report.findings.retain(|f| !look.allow.iter().any(|name| name == f.code));
    report.allowed = found - report.findings.len();
    report.findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
    report
}

/// Formats whose actions are normalised by convention.
const NORMALISED: [&str; 6] = ["recording", "robomimic", "robosuite", "libero", "d4rl", "minari"];

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

    fn notes(&mut self, meta: &DatasetMeta) {
        const CODES: [(&str, &str, &str); 3] = [
            (AMBIGUOUS_DONE, "dones", "store `terminations` and `truncations`, or choose with done_means"),
            (
                BAD_ENV_ARGS,
                "data@env_args",
                "write env_args as a JSON object with env_name, type and env_kwargs, as robomimic does",
            ),
            (
                INCOMPLETE,
                "the recording",
                "what is there is good; recording into the same directory goes on where it was cut off, in a file there is no going on",
            ),
        ];
        for note in &meta.notes {
            let coded = CODES.iter().find_map(|(code, place, mend)| {
                // The code is said beside the severity already.
                Some((code, place, note.strip_prefix(code)?.trim_start_matches([':', ' ']), mend))
            });
            match coded {
                Some((code, place, message, mend)) => {
                    self.warning(code, (*place).into(), message.to_owned(), mend);
                }
                None => self.info("note", "the file".into(), note.clone(), "nothing to do if it is meant"),
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
        if let Some(filter) = &self.filter {
            writeln!(f, "\n{filter}")?;
        }
        let (errors, warnings) = (self.count(Severity::Error), self.count(Severity::Warning));
        write!(f, "{errors} errors, {warnings} warnings, {} notes", self.count(Severity::Info))?;
        if self.allowed > 0 {
            write!(f, ", {} allowed", self.allowed)?;
        }
        writeln!(f)
    }
}
