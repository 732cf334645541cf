//! What is said of a scenario, and of a suite.

use serde::{Deserialize, Serialize};
use surefoot_core::safety::SafetyCounts;

use super::drive::DriveSummary;
use super::episode::{EpisodeEnd, EpisodeRecord};
use super::golden::Provenance;
use super::scenario::{LevelConfig, SeedsConfig};
use super::statistics::{Proportion, StatisticalReport};
use super::tolerance::Divergence;

/// The four ways in which a comparison ends, from the best to the one that counts most for the suite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it was, or not worse by the margin.
    #[default]
    Passed,
    /// Too few episodes to say so.
    Inconclusive,
    /// Golden file and present are of something else.
    NotComparable,
    /// Other than golden, worse than the baseline, unsafe, or diverged.
    Regressed,
}

impl Verdict {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Inconclusive => "inconclusive",
            Self::NotComparable => "not comparable",
            Self::Regressed => "REGRESSED",
        }
    }
    /// What the program exits with.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Regressed => 1,
            Self::Inconclusive => 4,
            Self::NotComparable => 5,
        }
    }
}

/// One side in figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Successes and returns.
    pub solved: Proportion,
    /// Mean time to success of the episodes that were solved, s.
    pub success_secs: Option<f64>,
    /// Mean way of all joints, rad and m.
    pub path: f64,
    /// Mean episode length, env steps.
    pub steps: f64,
    /// Part of the control ticks in which the safety chain changed a command.
    pub filter_active: f64,
    /// What the safety chain did.
    pub safety: SafetyCounts,
    /// Episodes whose robot was lost.
    pub lost: usize,
    /// Episodes whose world left the realm of numbers.
    pub diverged: usize,
    /// What control loops did in them, where they drove.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drives: Option<DriveSummary>,
}

impl Summary {
    /// Of episodes.
    #[must_use]
    pub fn of(episodes: &[&EpisodeRecord]) -> Self {
        let count = episodes.len().max(1) as f64;
        let mean = |of: fn(&EpisodeRecord) -> f64| episodes.iter().map(|e| of(e)).sum::<f64>() / count;
        let ended = |end| episodes.iter().filter(|e| e.end == end).count();
        let times: Vec<f64> = episodes.iter().filter_map(|e| e.success_secs).collect();
        let mut safety = SafetyCounts::default();
        episodes.iter().for_each(|e| safety.add(&e.safety));
        Self {
            solved: Proportion::of(episodes),
            success_secs: (!times.is_empty()).then(|| times.iter().sum::<f64>() / times.len() as f64),
            path: mean(|e| e.path),
            steps: mean(|e| e.steps as f64),
            filter_active: safety.adjusted as f64 / safety.ticks.max(1) as f64,
            safety,
            lost: ended(EpisodeEnd::RobotLost),
            diverged: ended(EpisodeEnd::Diverged),
            drives: DriveSummary::of(episodes),
        }
    }
}

/// What `--bless` did to a golden file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blessing {
    /// There was none.
    New,
    /// It says the same already.
    Unchanged,
    /// It said something else; what, line by line.
    Changed(Vec<String>),
    /// It was not written, and why.
    Refused(String),
}

/// What is said of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScenarioReport {
    /// Name.
    pub name: String,
    /// How it was judged.
    pub level: LevelConfig,
    /// What is said.
    pub verdict: Verdict,
    /// Why, a sentence each.
    pub reasons: Vec<String>,
    /// What else to know: what could not be compared, what differs besides.
    pub notes: Vec<String>,
    /// Seeds, and episodes that there might have been.
    pub seeds: SeedsConfig,
    /// What was judged, made of what.
    pub provenance: Provenance,
    /// What it was compared with, made of what.
    pub against: Option<Provenance>,
    /// What was judged, in figures.
    pub now: Option<Summary>,
    /// What it was compared with, in figures.
    pub baseline: Option<Summary>,
    /// Episodes that are others than the golden ones.
    pub differing: usize,
    /// Where the first of them parts from it.
    pub divergence: Option<Divergence>,
    /// The comparison of paired episodes.
    pub statistics: Option<StatisticalReport>,
    /// What became of the golden file.
    pub blessing: Option<Blessing>,
}

impl ScenarioReport {
    /// Says something worse, or as bad, and why.
    pub fn say(&mut self, verdict: Verdict, reason: String) {
        self.verdict = self.verdict.max(verdict);
        self.reasons.push(reason);
    }

    /// What control loops did in what was judged, in a line, where they drove.
    #[must_use]
    pub fn drives(&self) -> Option<String> {
        self.now.as_ref().and_then(|now| now.drives.as_ref()).map(DriveSummary::line)
    }
}

/// What is said of a suite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteReport {
    /// `surefoot-regression/1`.
    pub format: String,
    /// Name.
    pub name: String,
    /// The worst of its scenarios.
    pub verdict: Verdict,
    /// Version of this program, and the commit where known.
    pub version: String,
    /// Its scenarios.
    pub scenarios: Vec<ScenarioReport>,
}

impl SuiteReport {
    /// How many scenarios ended in each way, those that any did.
    #[must_use]
    pub fn counts(&self) -> Vec<(Verdict, usize)> {
        [Verdict::Regressed, Verdict::NotComparable, Verdict::Inconclusive, Verdict::Passed]
            .into_iter()
            .map(|v| (v, self.scenarios.iter().filter(|s| s.verdict == v).count()))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// The same in words.
    #[must_use]
    pub fn words(&self) -> String {
        let parts: Vec<String> =
            self.counts().into_iter().map(|(v, count)| format!("{count} {}", v.words())).collect();
        parts.join(", ")
    }
}
