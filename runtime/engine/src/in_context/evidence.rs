//! Does it learn in context? Returns by episode of an in-context policy beside those that should not be able to learn, its source, and what
//! is possible at all.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{FamilyTask, Stream, TaskSplit};

use super::lives::{Judged, LifeCurve};
use crate::comparison::Estimate;

/// What a score is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceScale {
    /// Return as a share of the optimal one.
    #[default]
    Optimal,
    /// 0 is a random policy's return, 1 the source's on the same tasks.
    Source,
}

/// Lives of one policy, or one learning algorithm, on the tasks of a split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitLives {
    /// Which tasks.
    pub split: TaskSplit,
    /// What they brought.
    pub tasks: Vec<Judged>,
}

/// One arm on one split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitEvidence {
    /// Arm.
    pub name: String,
    /// Which tasks.
    pub split: TaskSplit,
    /// Trained models behind it.
    pub seeds: usize,
    /// Tasks.
    pub goals: usize,
    /// Mean score by episode (or by step), with its interval over goals.
    pub curve: Vec<Estimate>,
    /// Over the first two of them (the first one of a short life).
    pub early: Estimate,
    /// Over the last quarter of them.
    pub late: Estimate,
    /// `late - early`.
    pub gain: Estimate,
    /// Mean of all episodes.
    pub whole: f64,
    /// Part of the goals whose late score is above one half.
    pub solved: f64,
    /// The first episode from which on the mean over three episodes is at least 0.75, counted from 1.
    pub episodes_to_three_quarters: Option<usize>,
    /// Late score of each goal.
    pub by_goal: Vec<GoalScore>,
}

/// How one goal went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoalScore {
    /// Number of its task.
    pub task: u64,
    /// What is hidden there: in another split of the tasks the same number may stand for another one.
    pub params: Vec<f32>,
    /// Trained models that were judged on it.
    pub seeds: usize,
    /// Mean score over the last quarter of the episodes.
    pub late: f64,
}

/// One arm: its name and the lives of each of its trained models.
pub struct ArmEvidence {
    /// Name.
    pub name: String,
    /// One entry for each seed.
    pub models: Vec<Vec<SplitLives>>,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Name.
    pub name: String,
    /// What a score is.
    pub scale: EvidenceScale,
    /// What a point of the curves is.
    pub curve: LifeCurve,
    /// What a random search brings that then does the best, by episode, where it is known.
    pub ceiling: Option<Vec<f32>>,
    /// Mean score of random actions, by split.
    pub random: BTreeMap<String, f64>,
    /// Arms on splits.
    pub arms: Vec<SplitEvidence>,
}

/// Why there is no evidence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// A score is of the source, and the source was not judged.
    #[error("the score is relative to the source, which has no life on task {task} ({split})")]
    NoSource {
        /// The task.
        task: u64,
        /// Its split.
        split: &'static str,
    },
    /// Nothing to compare.
    #[error("no arm has a life on a task")]
    Nothing,
}

const RESAMPLES: usize = 2_000;

/// The mean over goals with a bootstrap 95 % interval over them.
fn over_goals(values: &[f64], purpose: &str) -> Estimate {
    let n = values.len().max(1);
    let mean = |sum: f64| sum / n as f64;
    let value = mean(values.iter().sum());
    let mut stream = Stream::new(0, purpose, 0);
    let mut drawn: Vec<f64> = (0..RESAMPLES)
        .map(|_| mean((0..n).map(|_| values.get(stream.below(n)).copied().unwrap_or(value)).sum()))
        .collect();
    drawn.sort_by(f64::total_cmp);
    let at =
        |part: f64| drawn.get((part * (RESAMPLES - 1) as f64).round() as usize).copied().unwrap_or(value);
    Estimate { value, low: at(0.025), high: at(0.975) }
}

/// What tells goals apart: the task's number and the bits of what is hidden there.
type GoalKey = (u64, Vec<u32>);

fn goal_key(task: &FamilyTask) -> GoalKey {
    (task.id, task.params.iter().map(|p| p.to_bits()).collect())
}

/// A goal's scores by episode, summed over models.
struct Goal<'a> {
    task: &'a FamilyTask,
    models: usize,
    sums: Vec<f64>,
}

/// Mean return of a goal over all episodes of the source.
type SourceReturns = BTreeMap<(TaskSplit, GoalKey), f64>;

fn score(
    scale: EvidenceScale,
    judged: &Judged,
    split: TaskSplit,
    source: &SourceReturns,
    returned: f64,
) -> Result<f64, EvidenceError> {
    let random = f64::from(judged.task.random_return);
    Ok(match scale {
        EvidenceScale::Optimal => returned / f64::from(judged.task.optimal_return),
        EvidenceScale::Source => {
            let of_source = source
                .get(&(split, goal_key(&judged.task)))
                .ok_or(EvidenceError::NoSource { task: judged.task.id, split: split.name() })?;
            (returned - random) / (of_source - random)
        }
    })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn split_evidence(
    name: &str,
    split: TaskSplit,
    models: &[&SplitLives],
    scale: EvidenceScale,
    source: &SourceReturns,
) -> Result<SplitEvidence, EvidenceError> {
    // Models that were trained on other splits were judged on other goals.
    let mut sums: BTreeMap<GoalKey, Goal<'_>> = BTreeMap::new();
    for judged in models.iter().flat_map(|m| &m.tasks) {
        let goal = sums.entry(goal_key(&judged.task)).or_insert_with(|| Goal {
            task: &judged.task,
            models: 0,
            sums: vec![0.0; judged.returns.len()],
        });
        goal.models += 1;
        for (sum, returned) in goal.sums.iter_mut().zip(&judged.returns) {
            *sum += score(scale, judged, split, source, *returned)?;
        }
    }
    let goals: Vec<Goal<'_>> = sums.into_values().collect();
    let rows: Vec<Vec<f64>> =
        goals.iter().map(|g| g.sums.iter().map(|sum| sum / g.models as f64).collect()).collect();
    let episodes = rows.iter().map(Vec::len).min().unwrap_or(0);
    if episodes == 0 {
        return Err(EvidenceError::Nothing);
    }
    let over = |what: &str, f: &dyn Fn(&[f64]) -> f64| {
        let values: Vec<f64> = rows.iter().map(|row| f(&row[..episodes])).collect();
        over_goals(&values, &format!("{name} {} {what}", split.name()))
    };
    let first = if episodes >= 4 { 2 } else { 1 };
    let last = episodes - (episodes / 4).max(1);
    let curve: Vec<Estimate> = (0..episodes).map(|e| over("curve", &|row| row[e])).collect();
    let smooth =
        |e: usize| mean(&curve[e..(e + 3).min(episodes)].iter().map(|c| c.value).collect::<Vec<_>>());
    let by_goal: Vec<GoalScore> = goals
        .iter()
        .zip(&rows)
        .map(|(Goal { task, models, sums: _ }, row)| GoalScore {
            task: task.id,
            params: task.params.clone(),
            seeds: *models,
            late: mean(&row[last..episodes]),
        })
        .collect();
    Ok(SplitEvidence {
        name: name.to_owned(),
        split,
        seeds: models.len(),
        goals: goals.len(),
        early: over("early", &|row| mean(&row[..first])),
        late: over("late", &|row| mean(&row[last..])),
        gain: over("gain", &|row| mean(&row[last..]) - mean(&row[..first])),
        whole: over("whole", &mean).value,
        solved: by_goal.iter().filter(|g| g.late > 0.5).count() as f64 / goals.len() as f64,
        episodes_to_three_quarters: (0..episodes).find(|e| smooth(*e) >= 0.75).map(|e| e + 1),
        by_goal,
        curve,
    })
}

impl Evidence {
    /// Puts arms side by side. The source is the arm of the name `source`.
    ///
    /// # Errors
    /// [`EvidenceError`] when there is nothing, or scores are relative to a source that was not judged.
    pub fn of(
        name: &str,
        scale: EvidenceScale,
        curve: LifeCurve,
        ceiling: Option<Vec<f32>>,
        arms: &[ArmEvidence],
    ) -> Result<Self, EvidenceError> {
        let mut source = SourceReturns::new();
        let of_source = arms.iter().filter(|a| a.name == "source").flat_map(|a| &a.models).flatten();
        for (split, judged) in of_source.flat_map(|lives| lives.tasks.iter().map(|t| (lives.split, t))) {
            source.insert((split, goal_key(&judged.task)), mean(&judged.returns));
        }
        let mut found = Vec::new();
        let mut random = BTreeMap::new();
        for split in TaskSplit::ALL {
            for arm in arms {
                let models: Vec<&SplitLives> =
                    arm.models.iter().flatten().filter(|l| l.split == split && !l.tasks.is_empty()).collect();
                if models.is_empty() {
                    continue;
                }
                let scores = models
                    .iter()
                    .flat_map(|lives| &lives.tasks)
                    .map(|j| score(scale, j, split, &source, f64::from(j.task.random_return)))
                    .collect::<Result<Vec<_>, _>>()?;
                random.insert(split.name().to_owned(), mean(&scores));
                found.push(split_evidence(&arm.name, split, &models, scale, &source)?);
            }
        }
        if found.is_empty() {
            return Err(EvidenceError::Nothing);
        }
        Ok(Self { name: name.to_owned(), scale, curve, ceiling, random, arms: found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use surefoot_core::FamilyTask;

    fn lives(split: TaskSplit, rows: &[&[f64]]) -> SplitLives {
        let tasks = rows.iter().enumerate().map(|(id, row)| Judged {
            task: FamilyTask {
                id: id as u64,
                split,
                params: vec![],
                random_return: 1.0,
                optimal_return: 10.0,
            },
            returns: row.to_vec(),
        });
        SplitLives { split, tasks: tasks.collect() }
    }

    fn arm(name: &str, models: Vec<Vec<SplitLives>>) -> ArmEvidence {
        ArmEvidence { name: name.into(), models }
    }

    #[test]
    fn an_arm_that_learns_gains_and_one_that_does_not_does_not() {
        let learns: Vec<f64> = (0..8).map(|e| 1.0 + e as f64).collect();
        let flat = [2.0; 8];
        let split = TaskSplit::TestIn;
        let e = Evidence::of(
            "e",
            EvidenceScale::Optimal,
            LifeCurve::Episode,
            None,
            &[
                arm(
                    "ad",
                    vec![vec![lives(split, &[&learns, &learns])], vec![lives(split, &[&learns, &flat])]],
                ),
                arm("ed", vec![vec![lives(split, &[&flat, &flat])]]),
            ],
        )
        .unwrap();
        let (ad, ed) = (&e.arms[0], &e.arms[1]);
        assert_eq!((ad.seeds, ad.goals, ed.seeds), (2, 2, 1));
        assert!((ad.early.value - 0.25 * (3.0 * 0.15 + 0.2)).abs() < 1e-12, "{:?}", ad.early);
        assert!(ad.gain.low > 0.2 && ed.gain.high.abs() < 1e-12);
        assert_eq!(ad.by_goal.len(), 2);
        assert!((ad.by_goal[0].late - 0.75).abs() < 1e-12 && (ad.by_goal[1].late - 0.475).abs() < 1e-12);
        assert_eq!((ad.solved, ed.solved), (0.5, 0.0));
        assert_eq!(e.random["test_in"], 0.1);
    }

    #[test]
    fn the_same_number_in_two_splits_of_the_tasks_is_two_goals() {
        let split = TaskSplit::TestIn;
        let (one, mut other) = (lives(split, &[&[2.0; 4]]), lives(split, &[&[6.0; 4]]));
        other.tasks[0].task.params = vec![1.0];
        let e = Evidence::of(
            "e",
            EvidenceScale::Optimal,
            LifeCurve::Episode,
            None,
            &[arm("ad", vec![vec![one.clone()], vec![other]])],
        )
        .unwrap();
        let found: Vec<_> =
            e.arms[0].by_goal.iter().map(|g| (g.task, g.params.len(), g.seeds, g.late)).collect();
        assert_eq!(found, [(0, 0, 1, 0.2), (0, 1, 1, 0.6)]);
        assert!((e.arms[0].late.value - 0.4).abs() < 1e-12);
        let e = Evidence::of(
            "e",
            EvidenceScale::Optimal,
            LifeCurve::Episode,
            None,
            &[arm("ad", vec![vec![one.clone()], vec![one]])],
        );
        assert_eq!(e.unwrap().arms[0].by_goal[0].seeds, 2);
    }

    #[test]
    fn scores_relative_to_the_source_need_the_source() {
        let split = TaskSplit::TestOod;
        let ad = || arm("ad", vec![vec![lives(split, &[&[7.0]])]]);
        let nothing =
            Evidence::of("e", EvidenceScale::Source, LifeCurve::Episode, None, &[ad()]).unwrap_err();
        assert_eq!(nothing, EvidenceError::NoSource { task: 0, split: "test_ood" });
        let source = arm("source", vec![vec![lives(split, &[&[9.0]])]]);
        let e = Evidence::of("e", EvidenceScale::Source, LifeCurve::Episode, None, &[source, ad()]).unwrap();
        assert!((e.arms[1].late.value - 0.75).abs() < 1e-12);
        assert_eq!(
            Evidence::of("e", EvidenceScale::Optimal, LifeCurve::Episode, None, &[]).unwrap_err(),
            EvidenceError::Nothing
        );
    }
}
