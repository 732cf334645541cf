//! Learners side by side: scores of finished runs of several contenders, tasks and seeds, as curves and tables with intervals.

mod curves;
mod page;
pub mod statistics;
mod table;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use curves::MeanPoint;
pub use page::{page, picture};
pub use statistics::{Estimate, Scores};
pub use table::table;

use crate::results::{CurvePoint, Results, StageKind};
use statistics::{aggregate, probability_of_improvement};

/// What an evaluation's score is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ScoreConfig {
    /// The part of its episodes that were solved.
    #[default]
    Success,
    /// Its mean return on a scale of each task's own, by the name of its environment.
    Returns(BTreeMap<String, ReturnScale>),
}

/// A scale of returns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReturnScale {
    /// The return that scores 0, of a random policy for instance.
    pub zero: f64,
    /// The return that scores 1, of an expert for instance.
    pub one: f64,
}

/// Somebody else's figure, shown beside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Whose method, and where it ran.
    pub name: String,
    /// Score on the same scale.
    pub score: f64,
    /// Where it stands.
    pub source: String,
}

/// How runs are judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ComparisonConfig {
    /// What a score is.
    pub score: ScoreConfig,
    /// A run's last score is the mean of so many evaluations.
    pub last_evaluations: usize,
    /// The worst evaluation after the switch is looked for in so many env steps.
    pub switch_env_steps: u64,
    /// Published figures.
    pub published: Vec<Published>,
}

impl Default for ComparisonConfig {
    fn default() -> Self {
        Self {
            score: ScoreConfig::Success,
            last_evaluations: 1,
            switch_env_steps: 10_000,
            published: Vec::new(),
        }
    }
}

/// Finished runs under one name.
#[derive(Clone, Debug)]
pub struct Contender {
    /// Name.
    pub name: String,
    /// Runs of all tasks and seeds.
    pub runs: Vec<Results>,
}

/// One run's figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunScores {
    /// Environment.
    pub task: String,
    /// Seed.
    pub seed: u64,
    /// After the last offline phase.
    pub offline: Option<f64>,
    /// Over the last evaluations.
    pub last: f64,
    /// Of the best evaluation.
    pub best: f64,
    /// Of the worst evaluation soon after learning went online.
    pub after_switch: Option<f64>,
    /// One minus the mean score over the env steps of online learning.
    pub regret: Option<f64>,
    /// Limit violations of robots in training and evaluation.
    pub violations: u64,
}

/// A contender's figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compared {
    /// Name.
    pub name: String,
    /// Runs, by task and seed.
    pub runs: Vec<RunScores>,
    /// Interquartile means, as [`RunScores`] has them.
    pub offline: Option<Estimate>,
    /// Last score.
    pub last: Estimate,
    /// After the switch.
    pub after_switch: Option<Estimate>,
    /// Regret.
    pub regret: Option<Estimate>,
    /// How often a run of this one ends better than one of the first contender.
    pub improvement: Option<Estimate>,
    /// Score over the learner's phases.
    pub curve: Vec<MeanPoint>,
}

/// Contenders side by side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// Name.
    pub name: String,
    /// How runs were judged.
    pub config: ComparisonConfig,
    /// Contenders, in the order given.
    pub contenders: Vec<Compared>,
}

/// Why runs cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum ComparisonError {
    /// A run without evaluations.
    #[error(
        "{contender}, seed {seed}: expected evaluations of the learner, found none\n\nhint: the run needs a world"
    )]
    NoEvaluation {
        /// Contender.
        contender: String,
        /// Seed.
        seed: u64,
    },
    /// Returns of a task that the scale does not name.
    #[error("score.returns: expected a scale for {task:?}, found {found}")]
    NoScale {
        /// Task.
        task: String,
        /// The tasks that have one.
        found: String,
    },
    /// A scale that is none.
    #[error("score.returns.{task}: expected two different finite numbers, found zero = {zero}, one = {one}")]
    BadScale {
        /// Task.
        task: String,
        /// Its zero.
        zero: f64,
        /// Its one.
        one: f64,
    },
    /// Contenders that did not do the same.
    #[error("{contender}: expected the tasks {expected}, found {found}")]
    Tasks {
        /// Contender.
        contender: String,
        /// Of the first contender.
        expected: String,
        /// Of this one.
        found: String,
    },
    /// No contender, or one without runs.
    #[error("expected at least one contender, each with finished runs")]
    Nothing,
}

impl ScoreConfig {
    /// Refuses scales that are none.
    ///
    /// # Errors
    /// [`ComparisonError::BadScale`].
    pub fn check(&self) -> Result<(), ComparisonError> {
        let Self::Returns(scales) = self else { return Ok(()) };
        match scales.iter().find(|(_, s)| !(s.zero.is_finite() && s.one.is_finite() && s.zero != s.one)) {
            None => Ok(()),
            Some((task, ReturnScale { zero, one })) => {
                Err(ComparisonError::BadScale { task: task.clone(), zero: *zero, one: *one })
            }
        }
    }

    fn of(&self, task: &str, point: &CurvePoint) -> Result<f64, ComparisonError> {
        match self {
            Self::Success => Ok(point.evaluation.success_rate),
            Self::Returns(scales) => {
                let Some(ReturnScale { zero, one }) = scales.get(task) else {
                    let found = scales.keys().cloned().collect::<Vec<_>>().join(", ");
                    return Err(ComparisonError::NoScale { task: task.to_owned(), found });
                };
                Ok((point.evaluation.return_mean - zero) / (one - zero))
            }
        }
    }
}

/// A run's evaluations on the way.
#[derive(Clone, Debug, Default, PartialEq)]
struct Way {
    /// `(updates, score)` of offline phases.
    offline: Vec<(f64, f64)>,
    /// `(env_steps, score)` of online phases, from what the last offline phase ended with.
    online: Vec<(f64, f64)>,
}

impl Way {
    fn of(run: &Results, score: &ScoreConfig) -> Result<Self, ComparisonError> {
        let kind = |stage: &str| run.stages.iter().find(|s| s.name == stage).map(|s| s.kind);
        let mut way = Self::default();
        for point in &run.curve {
            let judged = score.of(&run.env, point);
            match kind(&point.stage) {
                Some(StageKind::Offline) => way.offline.push((point.updates as f64, judged?)),
                Some(StageKind::Online) => way.online.push((point.env_steps as f64, judged?)),
                Some(StageKind::Baseline) | None => {}
            }
        }
        if let (Some(before), false) = (way.offline.last(), way.online.is_empty()) {
            way.online.insert(0, (0.0, before.1));
        }
        Ok(way)
    }

    /// The evaluations that online learning itself brought.
    fn brought_online(&self) -> &[(f64, f64)] {
        self.online.get(usize::from(!self.offline.is_empty())..).unwrap_or_default()
    }
}

fn run_scores(
    contender: &str,
    run: &Results,
    config: &ComparisonConfig,
) -> Result<(RunScores, Way), ComparisonError> {
    let way = Way::of(run, &config.score)?;
    let online = way.brought_online();
    let all: Vec<f64> = way.offline.iter().chain(online).map(|(_, score)| *score).collect();
    let ending: Vec<f64> = if online.is_empty() { &way.offline } else { online }
        .iter()
        .rev()
        .take(config.last_evaluations.max(1))
        .map(|(_, score)| *score)
        .collect();
    if ending.is_empty() {
        return Err(ComparisonError::NoEvaluation { contender: contender.to_owned(), seed: run.seed });
    }
    let soon = online.iter().filter(|(steps, _)| *steps <= config.switch_env_steps as f64);
    let trained = run.stages.iter().map(|s| s.training_safety.violations);
    let evaluated = run.curve.iter().map(|p| p.evaluation.safety.violations);
    let scores = RunScores {
        task: run.env.clone(),
        seed: run.seed,
        offline: way.offline.last().map(|(_, score)| *score),
        last: ending.iter().sum::<f64>() / ending.len() as f64,
        best: all.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        after_switch: soon
            .map(|(_, score)| *score)
            .min_by(f64::total_cmp)
            .filter(|_| !way.offline.is_empty()),
        regret: regret(&way.online),
        violations: trained.chain(evaluated).sum(),
    };
    Ok((scores, way))
}

/// One minus the mean of a curve over its horizontal axis.
fn regret(points: &[(f64, f64)]) -> Option<f64> {
    let (first, last) = (points.first()?, points.last()?);
    let span = last.0 - first.0;
    let area = |pair: &[(f64, f64)]| (pair[1].0 - pair[0].0) * 0.5 * (pair[0].1 + pair[1].1);
    (span > 0.0).then(|| 1.0 - points.windows(2).map(area).sum::<f64>() / span)
}

/// Scores by task, in the order of tasks.
fn by_task<'a>(figures: impl Iterator<Item = (&'a str, f64)>) -> Scores {
    let mut tasks: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (task, figure) in figures {
        tasks.entry(task).or_default().push(figure);
    }
    tasks.into_values().collect()
}

/// The last scores of runs by task.
fn last_scores(runs: &[RunScores]) -> Scores {
    by_task(runs.iter().map(|run| (run.task.as_str(), run.last)))
}

fn tasks(runs: &[RunScores]) -> Vec<String> {
    let names: std::collections::BTreeSet<&str> = runs.iter().map(|r| r.task.as_str()).collect();
    names.into_iter().map(str::to_owned).collect()
}

impl Comparison {
    /// Judges finished runs. The first contender is what the others are compared with.
    ///
    /// # Errors
    /// [`ComparisonError`] when a run has no evaluation, or runs are not of the same tasks.
    pub fn of(
        name: &str,
        contenders: &[Contender],
        config: ComparisonConfig,
    ) -> Result<Self, ComparisonError> {
        config.score.check()?;
        let mut judged = Vec::new();
        for Contender { name, runs } in contenders {
            let (scores, ways): (Vec<RunScores>, Vec<Way>) = runs
                .iter()
                .map(|run| run_scores(name, run, &config))
                .collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .unzip();
            judged.push((name.clone(), scores, ways));
        }
        let Some((_, first, _)) = judged.first() else { return Err(ComparisonError::Nothing) };
        let (expected, first) = (tasks(first), last_scores(first));
        let mut compared = Vec::new();
        for (i, (name, runs, ways)) in judged.iter().enumerate() {
            let found = tasks(runs);
            if found.is_empty() {
                return Err(ComparisonError::Nothing);
            }
            if found != expected {
                let [expected, found] = [&expected, &found].map(|t| t.join(", "));
                return Err(ComparisonError::Tasks { contender: name.clone(), expected, found });
            }
            let over = |figure: fn(&RunScores) -> Option<f64>| {
                let figures: Option<Vec<_>> =
                    runs.iter().map(|run| Some((run.task.as_str(), figure(run)?))).collect();
                figures.map(|figures| aggregate(&by_task(figures.into_iter()), name))
            };
            let last = last_scores(runs);
            compared.push(Compared {
                name: name.clone(),
                offline: over(|r| r.offline),
                last: aggregate(&last, name),
                after_switch: over(|r| r.after_switch),
                regret: over(|r| r.regret),
                improvement: (i > 0).then(|| probability_of_improvement(&last, &first, name)),
                curve: curves::mean_curve(ways, runs, name),
                runs: runs.clone(),
            });
        }
        Ok(Self { name: name.to_owned(), config, contenders: compared })
    }
}

#[cfg(test)]
mod tests;
