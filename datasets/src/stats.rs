//! `stats`: what the numbers of a dataset look like.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use surefoot_core::{DataError, EpisodeSource, StepEnd};

use crate::survey::{Brief, Channel, Survey};
use crate::table::{number, percent, write_table};

/// Smallest, mean and largest of something per episode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Smallest.
    pub min: f64,
    /// Mean.
    pub mean: f64,
    /// Largest.
    pub max: f64,
    /// Standard deviation.
    pub std: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        let n = values.clone().count();
        if n == 0 {
            return None;
        }
        let mean = values.clone().sum::<f64>() / n as f64;
        let variance = values.clone().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
        let min = values.clone().fold(f64::INFINITY, f64::min);
        let max = values.fold(f64::NEG_INFINITY, f64::max);
        Some(Self { min, mean, max, std: variance.sqrt() })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, mean, max, std } = *self;
        write!(f, "{} .. {}, mean {} +- {}", number(min), number(max), number(mean), number(std))
    }
}

/// The episodes of one source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceStats {
    /// Who acted; `unknown` where the file does not say.
    pub source: String,
    /// Episodes.
    pub episodes: usize,
    /// Steps.
    pub steps: usize,
    /// Episodes known to have succeeded.
    pub successes: usize,
    /// Episodes of which success or failure is known.
    pub judged: usize,
    /// Lengths, steps.
    pub length: Option<Spread>,
    /// Returns of the episodes whose rewards are recorded.
    pub episode_return: Option<Spread>,
}

impl SourceStats {
    fn of(source: String, briefs: &[&Brief]) -> Self {
        let rewarded = briefs.iter().filter(|b| !b.unrewarded && b.len > 0);
        Self {
            source,
            episodes: briefs.len(),
            steps: briefs.iter().map(|b| b.len).sum(),
            successes: briefs.iter().filter(|b| b.success == Some(true)).count(),
            judged: briefs.iter().filter(|b| b.success.is_some()).count(),
            length: Spread::of(briefs.iter().map(|b| b.len as f64)),
            episode_return: Spread::of(rewarded.map(|b| b.episode_return)),
        }
    }
}

/// What the numbers of a dataset look like.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StatsReport {
    /// The file.
    pub path: std::path::PathBuf,
    /// All episodes.
    pub total: SourceStats,
    /// The episodes by who acted.
    pub sources: Vec<SourceStats>,
    /// Episodes that end because the task ended.
    pub terminated: usize,
    /// Episodes that end because the recording did.
    pub truncated: usize,
    /// Rewards of steps.
    pub reward: Channel,
    /// The distinct rewards, when there are at most eight.
    pub reward_values: Option<Vec<f32>>,
    /// The observation row.
    pub observation: Vec<Channel>,
    /// The action row.
    pub action: Vec<Channel>,
}

/// Reads all of a dataset and counts.
///
/// # Errors
/// When an episode cannot be read.
pub fn stats(source: &dyn EpisodeSource) -> Result<StatsReport, DataError> {
    let mut survey = Survey::of(source);
    if !survey.failures.is_empty() {
        return Err(survey.failures.swap_remove(0));
    }
    let mut by_source: BTreeMap<String, Vec<&Brief>> = BTreeMap::new();
    for b in &survey.briefs {
        by_source.entry(b.source.clone().unwrap_or_else(|| "unknown".into())).or_default().push(b);
    }
    let all: Vec<&Brief> = survey.briefs.iter().collect();
    let ended = |end: StepEnd| survey.briefs.iter().filter(|b| b.last == Some(end)).count();
    Ok(StatsReport {
        path: source.meta().path.clone(),
        total: SourceStats::of("all".into(), &all),
        sources: by_source.into_iter().map(|(name, briefs)| SourceStats::of(name, &briefs)).collect(),
        terminated: ended(StepEnd::Terminated),
        truncated: ended(StepEnd::Truncated),
        reward_values: survey.reward_values.take().map(|mut v| {
            v.sort_by(f32::total_cmp);
            v
        }),
        reward: survey.reward,
        observation: survey.observation,
        action: survey.action,
    })
}

impl fmt::Display for StatsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.path.display())?;
        let rows: Vec<Vec<String>> = self
            .sources
            .iter()
            .chain((self.sources.len() > 1).then_some(&self.total))
            .map(|s| {
                let spread = |s: &Option<Spread>| s.as_ref().map_or_else(|| "-".into(), ToString::to_string);
                let success = if s.judged == 0 {
                    "unknown".into()
                } else {
                    format!("{}/{} ({})", s.successes, s.judged, percent(s.successes, s.judged))
                };
                vec![
                    s.source.clone(),
                    s.episodes.to_string(),
                    s.steps.to_string(),
                    success,
                    spread(&s.length),
                    spread(&s.episode_return),
                ]
            })
            .collect();
        write_table(f, &["source", "episodes", "steps", "success", "length (steps)", "return"], &rows)?;
        writeln!(f, "\n  ends: {} terminated, {} truncated", self.terminated, self.truncated)?;
        if let Some(values) = &self.reward_values {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            writeln!(f, "  rewards: only {}", values.join(", "))?;
        } else {
            let r = &self.reward;
            let (low, high, mean) = (f64::from(r.min), f64::from(r.max), r.mean);
            writeln!(f, "  rewards: {} .. {}, mean {}", number(low), number(high), number(mean))?;
        }
        for (title, channels, action) in
            [("observation", &self.observation, false), ("action", &self.action, true)]
        {
            let rows: Vec<Vec<String>> = channels
                .iter()
                .enumerate()
                .map(|(i, c)| {
                    let n = c.count + c.non_finite;
                    let mut row =
                        vec![i.to_string(), c.name.clone(), c.unit.clone().unwrap_or_else(|| "-".into())];
                    row.extend([f64::from(c.min), f64::from(c.max), c.mean, c.std].map(number));
                    row.push(if c.non_finite > 0 { c.non_finite.to_string() } else { String::new() });
                    if action {
                        row.push(percent(c.saturated, n));
                        row.push(percent(c.out_of_range, n));
                    } else {
                        row.push(if c.is_frozen() { "frozen".into() } else { String::new() });
                    }
                    row
                })
                .collect();
            writeln!(f, "\n  {title}")?;
            let mut head = vec!["#", "name", "unit", "min", "max", "mean", "std", "not finite"];
            head.extend(if action { vec!["saturated", "beyond +-1"] } else { vec![""] });
            write_table(f, &head, &rows)?;
        }
        Ok(())
    }
}
