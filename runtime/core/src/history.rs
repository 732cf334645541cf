//! Learning histories: all that one learning algorithm lived through on one task, from knowing nothing on, across episodes.
//!
//! What an in-context policy is trained on. A history is of one task and holds whole episodes in the order in which they were lived.

mod error;
mod source;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use error::HistoryError;
pub use source::{Histories, HistoryMeta, HistorySource};

use crate::{EnvSpec, Field, StepEnd};

/// What a task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskSplit {
    /// Its histories are trained on.
    Train,
    /// Kept back, of the same distribution.
    TestIn,
    /// Kept back, from outside of what was trained on.
    TestOod,
}

impl TaskSplit {
    /// Every split, by code.
    pub const ALL: [Self; 3] = [Self::Train, Self::TestIn, Self::TestOod];

    /// Its number in a file.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
    /// The split of a number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
    /// Its name in configurations and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::TestIn => "test_in",
            Self::TestOod => "test_ood",
        }
    }
}

/// One task of a family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FamilyTask {
    /// Number of the task, unique in its family whatever the split.
    pub id: u64,
    /// What it is for.
    pub split: TaskSplit,
    /// What is hidden: the family says what the numbers mean.
    pub params: Vec<f32>,
    /// Mean return of an episode of random actions.
    pub random_return: f32,
    /// Mean return of an episode of the best policy that knows the task.
    pub optimal_return: f32,
}

impl FamilyTask {
    /// A return as a share of the optimal one: 1 is optimal, 0 is random.
    #[must_use]
    pub fn normalised(&self, episode_return: f32) -> f32 {
        (episode_return - self.random_return) / (self.optimal_return - self.random_return)
    }
}

/// When in its life a learner made a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryPhase {
    /// Data that it was given.
    Offline,
    /// While it learned.
    #[default]
    Online,
    /// While it was judged.
    Eval,
}

impl HistoryPhase {
    /// Every phase, by code.
    pub const ALL: [Self; 3] = [Self::Offline, Self::Online, Self::Eval];

    /// Its number in a file.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
    /// The phase of a number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

/// One learning algorithm's life on one task: `T` steps in `E` whole episodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LearningHistory {
    /// Index of the task among [`HistoryMeta::tasks`].
    pub task: usize,
    /// Who learned: a registry name.
    pub algorithm: String,
    /// Its settings, JSON.
    pub algorithm_config: String,
    /// Of its randomness and the task's.
    pub seed: u64,
    /// Which of several histories of this task.
    pub stream: u32,
    /// Whether it went on for as long as was planned.
    pub complete: bool,
    /// What was seen before each action, `[T, observation_dim]`.
    pub observations: Vec<f32>,
    /// What was done, `[T, action_dim]`; an index where a field is a choice.
    pub actions: Vec<f32>,
    /// What it brought, `[T]`.
    pub rewards: Vec<f32>,
    /// How each step left its episode, `[T]`.
    pub ends: Vec<StepEnd>,
    /// Version of the learner that chose the action, `[T]`; never decreases.
    pub updates: Vec<u32>,
    /// What the step was for, `[T]`.
    pub phases: Vec<HistoryPhase>,
    /// What was seen after each episode's last action, `[E, observation_dim]`.
    pub final_observations: Vec<f32>,
    /// What somebody who knows the task would have done, `[T, action_dim]`.
    pub expert_actions: Option<Vec<f32>>,
}

impl LearningHistory {
    /// Steps.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rewards.len()
    }
    /// Whether there is no step.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rewards.is_empty()
    }

    /// The steps of each episode, in order. Steps behind the last end are none's.
    pub fn episodes(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let mut start = 0;
        self.ends.iter().enumerate().filter(|(_, end)| end.is_last()).map(move |(last, _)| {
            let range = start..last + 1;
            start = last + 1;
            range
        })
    }

    /// Return of each episode.
    #[must_use]
    pub fn episode_returns(&self) -> Vec<f32> {
        let of = |range: Range<usize>| self.rewards.get(range).unwrap_or_default();
        self.episodes().map(|e| of(e).iter().map(|r| f64::from(*r)).sum::<f64>() as f32).collect()
    }

    /// How much was learned: mean return of the last quarter of the episodes less that of the first quarter, as a share of what
    /// there was to learn in `task`. 0 where nothing was; 1 from random to optimal.
    #[must_use]
    pub fn score_improvement(&self, task: &FamilyTask) -> f32 {
        let returns = self.episode_returns();
        let quarter = (returns.len() / 4).max(1);
        if returns.len() < 2 {
            return 0.0;
        }
        let mean = |part: &[f32]| part.iter().map(|r| f64::from(*r)).sum::<f64>() / part.len() as f64;
        let gain = mean(&returns[returns.len() - quarter..]) - mean(&returns[..quarter]);
        (gain / f64::from(task.optimal_return - task.random_return)) as f32
    }

    /// How steadily it was learned: 1 less the mean of what each episode's return falls short of the best one before it, as a share of
    /// what there was to learn in `task`. 1 where no episode was worse than one before it.
    #[must_use]
    pub fn score_stability(&self, task: &FamilyTask) -> f32 {
        let returns = self.episode_returns();
        let mut best = f32::NEG_INFINITY;
        let mut short = 0.0;
        for r in &returns {
            best = best.max(*r);
            short += f64::from(best - r);
        }
        let mean = short / returns.len().max(1) as f64;
        (1.0 - mean / f64::from(task.optimal_return - task.random_return)) as f32
    }

    /// Refuses what cannot be learned from.
    ///
    /// # Errors
    /// The first thing that is wrong, by step.
    pub fn validate(&self, spec: &EnvSpec) -> Result<(), HistoryError> {
        let (steps, o, a) = (self.len(), spec.observation_dim(), spec.action_dim());
        if steps == 0 {
            return Err(HistoryError::Empty);
        }
        let episodes = self.ends.iter().filter(|e| e.is_last()).count();
        let expert = self.expert_actions.as_ref();
        for (what, expected, found) in [
            ("ends", steps, self.ends.len()),
            ("observations", steps * o, self.observations.len()),
            ("actions", steps * a, self.actions.len()),
            ("updates", steps, self.updates.len()),
            ("phases", steps, self.phases.len()),
            ("final_observations", episodes * o, self.final_observations.len()),
            ("expert_actions", steps * a, expert.map_or(steps * a, Vec::len)),
        ] {
            if expected != found {
                return Err(HistoryError::Length { what, expected, found });
            }
        }
        let mut start = 0;
        for episode in self.episodes() {
            if episode.len() > spec.max_steps {
                let (steps, most) = (episode.len(), spec.max_steps);
                return Err(HistoryError::TooLong { start: episode.start, steps, most });
            }
            start = episode.end;
        }
        if start != steps {
            return Err(HistoryError::OpenEpisode { start });
        }
        for (step, pair) in self.updates.windows(2).enumerate() {
            if pair[1] < pair[0] {
                let (before, found) = (pair[0], pair[1]);
                return Err(HistoryError::UpdateWentBack { step: step + 1, before, found });
            }
        }
        if let Some((step, found)) = self.rewards.iter().enumerate().find(|(_, r)| !r.is_finite()) {
            return Err(HistoryError::NotFinite { what: "rewards", step, found: *found });
        }
        check_rows("observations", &spec.observation, &self.observations)?;
        check_rows("final_observations", &spec.observation, &self.final_observations)?;
        check_rows("actions", &spec.action, &self.actions)?;
        expert.map_or(Ok(()), |rows| check_rows("expert_actions", &spec.action, rows))
    }

    /// Blake3 of all of it, bit for bit.
    #[must_use]
    pub fn digest(&self) -> blake3::Hash {
        let Self {
            task,
            algorithm,
            algorithm_config,
            seed,
            stream,
            complete,
            observations,
            actions,
            rewards,
            ends,
            updates,
            phases,
            final_observations,
            expert_actions,
        } = self;
        let mut hasher = blake3::Hasher::new();
        let expert = expert_actions.is_some();
        for text in [algorithm, algorithm_config, &format!("{task} {seed} {stream} {complete} {expert}")] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        let expert = expert_actions.as_deref().unwrap_or_default();
        for rows in [observations.as_slice(), actions, rewards, final_observations, expert] {
            hasher.update(&(rows.len() as u64).to_le_bytes());
            for x in rows {
                hasher.update(&x.to_le_bytes());
            }
        }
        for ((end, phase), update) in ends.iter().zip(phases).zip(updates) {
            hasher.update(&[*end as u8, phase.code()]);
            hasher.update(&update.to_le_bytes());
        }
        hasher.finalize()
    }

    /// The same learning, faster: every `k`th episode from the first on. 0 counts as 1.
    #[must_use]
    pub fn subsample(&self, k: usize) -> Self {
        let per_step = |all: usize| if self.is_empty() { 0 } else { all / self.len() };
        let (o, a) = (per_step(self.observations.len()), per_step(self.actions.len()));
        let mut kept = Self {
            task: self.task,
            algorithm: self.algorithm.clone(),
            algorithm_config: self.algorithm_config.clone(),
            seed: self.seed,
            stream: self.stream,
            complete: self.complete,
            expert_actions: self.expert_actions.as_ref().map(|_| Vec::new()),
            ..Self::default()
        };
        for (index, episode) in self.episodes().enumerate().step_by(k.max(1)) {
            let rows = |width: usize| episode.start * width..episode.end * width;
            kept.observations.extend_from_slice(&self.observations[rows(o)]);
            kept.actions.extend_from_slice(&self.actions[rows(a)]);
            kept.rewards.extend_from_slice(&self.rewards[rows(1)]);
            kept.ends.extend_from_slice(&self.ends[rows(1)]);
            kept.updates.extend_from_slice(&self.updates[rows(1)]);
            kept.phases.extend_from_slice(&self.phases[rows(1)]);
            kept.final_observations.extend_from_slice(&self.final_observations[index * o..(index + 1) * o]);
            if let (Some(to), Some(from)) = (&mut kept.expert_actions, &self.expert_actions) {
                to.extend_from_slice(&from[rows(a)]);
            }
        }
        kept
    }
}

/// Finite, and an index where a field is a choice.
fn check_rows(what: &'static str, fields: &[Field], rows: &[f32]) -> Result<(), HistoryError> {
    if fields.is_empty() {
        return Ok(());
    }
    for (step, row) in rows.chunks_exact(fields.len()).enumerate() {
        for (field, value) in fields.iter().zip(row) {
            if !value.is_finite() {
                return Err(HistoryError::NotFinite { what, step, found: *value });
            }
            field.index(*value).map_err(|choice| HistoryError::Coding { what, step, choice })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> EnvSpec {
        EnvSpec {
            name: "corridor".into(),
            observation: vec![Field::choice("x", 9)],
            action: vec![Field::choice("move", 2)],
            step_secs: 1.0,
            max_steps: 3,
            reward_range: Some((0.0, 1.0)),
            contract_hash: None,
        }
    }

    fn task() -> FamilyTask {
        FamilyTask {
            id: 3,
            split: TaskSplit::Train,
            params: vec![4.0],
            random_return: 0.0,
            optimal_return: 2.0,
        }
    }

    /// Four episodes of three steps, with returns 0, 1, 0, 2.
    fn history() -> LearningHistory {
        use StepEnd::{Running, Terminated, Truncated};
        LearningHistory {
            algorithm: "tabular_q".into(),
            algorithm_config: "{}".into(),
            complete: true,
            observations: (0..12).map(|i| (i % 9) as f32).collect(),
            actions: (0..12).map(|i| (i % 2) as f32).collect(),
            rewards: vec![0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0],
            ends: [Running, Running, Truncated, Running, Running, Terminated].repeat(2),
            updates: vec![0, 1, 1, 2, 3, 4, 5, 6, 7, 7, 7, 8],
            phases: vec![HistoryPhase::Online; 12],
            final_observations: vec![3.0, 6.0, 0.0, 3.0],
            expert_actions: Some(vec![1.0; 12]),
            ..LearningHistory::default()
        }
    }

    fn meta() -> HistoryMeta {
        let (family, family_config) = ("corridor".to_owned(), "{}".to_owned());
        HistoryMeta { spec: spec(), family, family_config, tasks: vec![task()], hash: String::new() }
    }

    #[test]
    fn a_history_is_made_of_whole_episodes() {
        let history = history();
        history.validate(&spec()).unwrap();
        let episodes: Vec<_> = history.episodes().collect();
        assert_eq!(episodes, [0..3, 3..6, 6..9, 9..12]);
        assert_eq!(history.episode_returns(), [0.0, 1.0, 0.0, 2.0]);
        assert_eq!(history.score_improvement(&task()), 1.0, "from 0 to 2 of 2");
        assert_eq!(
            history.score_stability(&task()),
            1.0 - 0.25 / 2.0,
            "one of four episodes fell short by 1"
        );
    }

    #[test]
    fn subsampling_keeps_every_kth_episode_with_all_that_belongs_to_it() {
        let half = history().subsample(2);
        half.validate(&spec()).unwrap();
        assert_eq!((half.len(), half.episode_returns()), (6, vec![0.0, 0.0]));
        assert_eq!(half.observations, [0.0, 1.0, 2.0, 6.0, 7.0, 8.0]);
        assert_eq!((half.updates, half.final_observations), (vec![0, 1, 1, 5, 6, 7], vec![3.0, 0.0]));
        assert_eq!(half.expert_actions.unwrap().len(), 6);
        assert_eq!((history().subsample(1), history().subsample(0)), (history(), history()));
        assert_eq!(history().subsample(100).episode_returns(), [0.0]);
    }

    #[test]
    fn what_cannot_be_learned_from_is_refused_and_named() {
        type Damage = fn(&mut LearningHistory);
        let cases: [(Damage, &str); 10] = [
            (|h| h.updates[4] = 1, "update[4] is 1 after 2: updates never go back"),
            (|h| h.rewards[7] = f32::NAN, "rewards[7] is NaN"),
            (|h| h.observations[5] = f32::INFINITY, "observations[5] is inf"),
            (|h| h.actions[2] = 0.25, "actions[2]: move is 0.25, expected a whole number from 0 to 1"),
            (|h| h.actions[2] = -1.0, "actions[2]: move is -1"),
            (|h| h.final_observations[1] = 9.0, "final_observations[1]: x is 9"),
            (|h| h.ends[11] = StepEnd::Running, "final_observations: expected 3 numbers, found 4"),
            (
                |h| {
                    h.ends[11] = StepEnd::Running;
                    h.final_observations.pop();
                },
                "the episode that begins at step 9 has no end",
            ),
            (
                |h| {
                    h.ends[2] = StepEnd::Running;
                    h.final_observations.pop();
                },
                "the episode that begins at step 0 has 6 steps, and an episode of this task at most 3",
            ),
            (|h| h.updates.truncate(11), "updates: expected 12 numbers, found 11"),
        ];
        for (damage, expected) in cases {
            let mut history = history();
            damage(&mut history);
            let said = history.validate(&spec()).unwrap_err().to_string();
            assert!(said.starts_with(expected), "{said}");
        }
        assert_eq!(LearningHistory::default().validate(&spec()), Err(HistoryError::Empty));
    }

    #[test]
    fn histories_in_memory_know_their_tasks_and_are_hashed() {
        let histories = Histories::new(meta(), vec![history(), history()]).unwrap();
        assert_eq!((histories.len(), histories.task_of(1), histories.steps_of(1)), (2, 0, 12));
        assert_eq!(histories.history(1).unwrap(), history());
        assert!(histories.history(2).unwrap_err().to_string().contains("expected below 2, found 2"));
        assert_eq!(histories.meta().hash.len(), 64);
        let mut other = history();
        other.rewards[0] = 1.0;
        assert_ne!(
            Histories::new(meta(), vec![history(), other]).unwrap().meta().hash,
            histories.meta().hash
        );
        let elsewhere = LearningHistory { task: 1, ..history() };
        let said = Histories::new(meta(), vec![elsewhere]).unwrap_err().to_string();
        assert_eq!(
            said,
            "memory: history 0: it is of task 1, and there is no such task: expected one of 0 to 0"
        );
    }

    #[test]
    fn codes_and_names_go_there_and_back() {
        for split in TaskSplit::ALL {
            assert_eq!(TaskSplit::from_code(split.code()), Some(split));
            assert_eq!(serde_json::to_value(split).unwrap(), split.name());
        }
        for phase in HistoryPhase::ALL {
            assert_eq!(HistoryPhase::from_code(phase.code()), Some(phase));
        }
        assert_eq!((TaskSplit::from_code(3), HistoryPhase::from_code(3)), (None, None));
    }
}
