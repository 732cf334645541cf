//! Where recorded steps are drawn from, and how rows of it become a batch.
//!
//! A row is `observation, action, next_observation, reward, continuation` and whatever its source keeps behind them, all `f32`. Rows that
//! follow one another without a break are a *run*: an episode, or a part of one.

use std::path::Path;

use crate::{Batch, DataError};

/// Towards what values are learned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Returns {
    /// The reward of one step, and the value after it.
    OneStep,
    /// The discounted rewards of `n` steps and the value after them, or of fewer where their run ends before: a termination ends the sum
    /// without a value behind it, any other end bootstraps from its own next observation (Sutton and Barto, 2nd ed., eq. 7.1).
    NStep {
        /// Steps at most; 0 counts as 1.
        n: usize,
        /// For each step.
        discount: f32,
    },
    /// As many steps as their run has: the whole return where it ends in a termination.
    MonteCarlo {
        /// For each step.
        discount: f32,
    },
}

/// What a transition brings with it, for losses that need more than itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Beside {
    /// The action that was executed behind it ([`Batch::next_action`]).
    pub next_action: bool,
    /// The rewards to the end of its run, discounted by this for each step ([`Batch::return_to_go`]).
    pub return_to_go: Option<f32>,
}

/// Recorded steps, in memory or not. Every row has its number, and the same numbers give the same bits from every source of the same steps.
pub trait TransitionSource: Send + Sync {
    /// Numbers in an observation.
    fn observation_dim(&self) -> usize;
    /// Numbers in an action.
    fn action_dim(&self) -> usize;
    /// Rows.
    fn len(&self) -> usize;
    /// Whether it has none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Rows of the run of `row` from it on, itself included, counted up to `at_most`; 0 where there is no such row.
    fn following(&self, row: usize, at_most: usize) -> usize;
    /// Hands out the rows `first..first + count`, in order. Within a run `first + count` may go beyond the last row, where a source is a ring.
    ///
    /// # Errors
    /// When one of them is not there, or cannot be read.
    fn scan(&self, first: usize, count: usize, take: &mut dyn FnMut(&[f32])) -> Result<(), DataError>;
    /// The discounted rewards from `row` to the end of its run, summed from behind.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    fn return_from(&self, row: usize, discount: f32) -> Result<f32, DataError> {
        let at = 2 * self.observation_dim() + self.action_dim();
        let mut rewards = Vec::new();
        self.scan(row, self.following(row, usize::MAX), &mut |row| rewards.extend(row.get(at)))?;
        Ok(crate::returns::discounted(&rewards, discount))
    }
    /// Steps of the longest run.
    fn longest_run(&self) -> usize {
        let (mut row, mut longest) = (0, 0);
        while row < self.len() {
            let run = self.following(row, usize::MAX).max(1);
            longest = longest.max(run);
            row += run;
        }
        longest
    }
}

/// Appends one transition for each of `rows`.
///
/// # Errors
/// When a row is not there, or cannot be read.
pub fn append_transitions(
    source: &dyn TransitionSource,
    rows: &[usize],
    returns: Returns,
    batch: &mut Batch,
) -> Result<(), DataError> {
    let (o, a) = (source.observation_dim(), source.action_dim());
    for &row in rows {
        there(source, row)?;
        match returns {
            Returns::OneStep => source.scan(row, 1, &mut |step| {
                push_begin(step, o, a, batch);
                push_end(step, o, a, step[2 * o + a], 1.0, batch);
            })?,
            Returns::NStep { n, discount } => {
                let steps = source.following(row, n.max(1));
                let (mut sum, mut factor, mut taken) = (0.0_f64, 1.0_f64, 0);
                source.scan(row, steps, &mut |step| {
                    if taken == 0 {
                        push_begin(step, o, a, batch);
                    } else {
                        factor *= f64::from(discount);
                    }
                    sum += factor * f64::from(step[2 * o + a]);
                    taken += 1;
                    if taken == steps {
                        push_end(step, o, a, sum as f32, factor, batch);
                    }
                })?;
            }
            Returns::MonteCarlo { discount } => {
                let steps = source.following(row, usize::MAX);
                let sum = source.return_from(row, discount)?;
                let factor = f64::from(discount).powf(steps.saturating_sub(1) as f64);
                source.scan(row, 1, &mut |step| push_begin(step, o, a, batch))?;
                source.scan((row + steps).saturating_sub(1), 1, &mut |step| {
                    push_end(step, o, a, sum, factor, batch);
                })?;
            }
        }
    }
    Ok(())
}

/// Appends what [`Beside`] asks for, for transitions from `rows` on that were appended with the same `returns`.
///
/// # Errors
/// When a row is not there, or cannot be read.
pub fn append_beside(
    source: &dyn TransitionSource,
    rows: &[usize],
    returns: Returns,
    beside: Beside,
    batch: &mut Batch,
) -> Result<(), DataError> {
    let (o, a) = (source.observation_dim(), source.action_dim());
    let Beside { next_action, return_to_go } = beside;
    if next_action {
        for &row in rows {
            there(source, row)?;
            let most = match returns {
                Returns::OneStep => 1,
                Returns::NStep { n, .. } => n.max(1),
                Returns::MonteCarlo { .. } => usize::MAX,
            };
            let behind = source.following(row, most.saturating_add(1)) > most;
            if behind {
                source.scan(row + most, 1, &mut |step| {
                    batch.next_action.extend_from_slice(&step[o..o + a]);
                })?;
            } else {
                batch.next_action.resize(batch.next_action.len() + a, 0.0);
            }
            batch.next_action_mask.push(if behind { 1.0 } else { 0.0 });
        }
    }
    if let Some(discount) = return_to_go {
        for &row in rows {
            there(source, row)?;
            let steps = source.following(row, usize::MAX);
            batch.return_to_go.push(source.return_from(row, discount)?);
            let factor = f64::from(discount).powf(steps as f64) as f32;
            source.scan((row + steps).saturating_sub(1), 1, &mut |step| {
                batch.return_continuation.push(step[2 * o + a + 1] * factor);
            })?;
        }
    }
    Ok(())
}

fn there(source: &dyn TransitionSource, row: usize) -> Result<(), DataError> {
    let rows = source.len();
    if row < rows { Ok(()) } else { Err(DataError::no_row(Path::new("transitions"), row, rows)) }
}

fn push_begin(step: &[f32], o: usize, a: usize, batch: &mut Batch) {
    batch.observation.extend_from_slice(&step[..o]);
    batch.action.extend_from_slice(&step[o..o + a]);
}

fn push_end(step: &[f32], o: usize, a: usize, reward: f32, factor: f64, batch: &mut Batch) {
    batch.next_observation.extend_from_slice(&step[o + a..2 * o + a]);
    batch.reward.push(reward);
    batch.continuation.push(step[2 * o + a + 1] * factor as f32);
    batch.n += 1;
}

/// Appends one sequence of `length` steps for each of `rows`, from it on. Where its run ends before, zeros follow, and `mask` says so.
/// The batch must be empty or of sequences of this length.
///
/// # Errors
/// When a row is not there, or cannot be read.
pub fn append_sequences(
    source: &dyn TransitionSource,
    rows: &[usize],
    length: usize,
    batch: &mut Batch,
) -> Result<(), DataError> {
    let (o, a) = (source.observation_dim(), source.action_dim());
    batch.length = length.max(1);
    for &row in rows {
        there(source, row)?;
        let steps = source.following(row, batch.length);
        source.scan(row, steps, &mut |step| {
            batch.observation.extend_from_slice(&step[..o]);
            batch.action.extend_from_slice(&step[o..o + a]);
            batch.next_observation.extend_from_slice(&step[o + a..2 * o + a]);
            batch.reward.push(step[2 * o + a]);
            batch.continuation.push(step[2 * o + a + 1]);
            batch.mask.push(1.0);
        })?;
        batch.n += 1;
        let all = batch.n * batch.length;
        batch.observation.resize(all * o, 0.0);
        batch.action.resize(all * a, 0.0);
        batch.next_observation.resize(all * o, 0.0);
        for column in [&mut batch.reward, &mut batch.continuation, &mut batch.mask] {
            column.resize(all, 0.0);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Episode, ReplayBuffer, StepEnd, Stream};

    const DISCOUNT: f32 = 0.9;

    /// Episodes of random rewards; their observations are numbered, so that a row tells which step it is.
    fn episodes(lengths: &[(usize, StepEnd)], seed: u64) -> Vec<Episode> {
        let mut stream = Stream::new(seed, "episodes", 0);
        let mut first = 0;
        let episode = |&(steps, last): &(usize, StepEnd)| {
            let numbers = |offset: usize| (0..steps).map(|t| (first + t + offset) as f32).collect();
            let mut end = vec![StepEnd::Running; steps];
            *end.last_mut().unwrap() = last;
            let e = Episode {
                observation: numbers(0),
                next_observation: numbers(1),
                action: numbers(0),
                reward: (0..steps).map(|_| stream.normal() as f32).collect(),
                end,
                ..Episode::default()
            };
            // The next observation of a last step is that of no other step.
            first += steps + 1;
            e
        };
        lengths.iter().map(episode).collect()
    }

    /// What a transition over `n` steps from step `t` on is, by the definition: reward, next observation, factor of the value behind it.
    fn naive(e: &Episode, t: usize, n: usize) -> (f64, f32, f64) {
        let mut sum = 0.0;
        for k in 0..n {
            sum += f64::from(DISCOUNT).powi(k as i32) * f64::from(e.reward[t + k]);
            let beyond = f64::from(DISCOUNT).powi(k as i32);
            match e.end[t + k] {
                StepEnd::Terminated => return (sum, e.next_observation[t + k], 0.0),
                StepEnd::Truncated => return (sum, e.next_observation[t + k], beyond),
                StepEnd::Running if k + 1 == n || t + k + 1 == e.len() => {
                    return (sum, e.next_observation[t + k], beyond);
                }
                StepEnd::Running => {}
            }
        }
        unreachable!()
    }

    fn ends() -> impl Strategy<Value = Vec<(usize, StepEnd)>> {
        let end = prop_oneof![Just(StepEnd::Terminated), Just(StepEnd::Truncated), Just(StepEnd::Running)];
        proptest::collection::vec((1_usize..12, end), 1..8)
    }

    proptest! {
        #[test]
        fn several_steps_are_those_of_the_definition(lengths in ends(), n in 1_usize..15, seed: u64, capacity in 1_usize..80) {
            let episodes = episodes(&lengths, seed);
            // A ring that may be smaller than what is pushed: then the oldest steps are gone.
            let mut buffer = ReplayBuffer::new(1, 1, capacity);
            episodes.iter().for_each(|e| buffer.push_episode(e));
            let rows: Vec<usize> = (0..buffer.len()).collect();
            let mut batch = Batch::default();
            for (returns, n) in [
                (Returns::OneStep, 1),
                (Returns::NStep { n, discount: DISCOUNT }, n),
                (Returns::MonteCarlo { discount: DISCOUNT }, 1_000),
            ] {
                batch.clear(1, 1);
                append_transitions(&buffer, &rows, returns, &mut batch).unwrap();
                prop_assert_eq!(batch.n, rows.len());
                for i in 0..batch.n {
                    let (e, t) = episodes
                        .iter()
                        .find_map(|e| Some((e, e.observation.iter().position(|x| *x == batch.observation[i])?)))
                        .unwrap();
                    let (sum, next, factor) = naive(e, t, n);
                    prop_assert!((f64::from(batch.reward[i]) - sum).abs() < 1e-4, "{:?} {} {}", returns, batch.reward[i], sum);
                    prop_assert_eq!(batch.next_observation[i], next);
                    prop_assert!((f64::from(batch.continuation[i]) - factor).abs() < 1e-6);
                    // And what it brings with it.
                    let beside = Beside { next_action: true, return_to_go: Some(DISCOUNT) };
                    if i == 0 {
                        append_beside(&buffer, &rows, returns, beside, &mut batch).unwrap();
                        prop_assert_eq!(batch.next_action.len(), batch.n);
                    }
                    // Actions are numbered as observations are.
                    let end = e.end[t..].iter().position(|end| end.is_last()).map_or(e.len(), |k| t + k + 1);
                    let steps = end - t;
                    let behind = (steps > n).then(|| e.action[t + n]);
                    let found = (batch.next_action_mask[i] > 0.0).then_some(batch.next_action[i]);
                    prop_assert_eq!(found, behind, "{:?}", returns);
                    let (whole, _, factor) = naive(e, t, steps);
                    prop_assert!((f64::from(batch.return_to_go[i]) - whole).abs() < 1e-4);
                    let factor = factor * f64::from(DISCOUNT);
                    prop_assert!((f64::from(batch.return_continuation[i]) - factor).abs() < 1e-6);
                }
            }
        }

        #[test]
        fn sequences_stay_in_their_run_and_say_where_it_ended(lengths in ends(), length in 1_usize..15, seed: u64) {
            let episodes = episodes(&lengths, seed);
            let mut buffer = ReplayBuffer::new(1, 1, 200);
            episodes.iter().for_each(|e| buffer.push_episode(e));
            let rows: Vec<usize> = (0..buffer.len()).collect();
            let mut batch = Batch::default();
            batch.clear(1, 1);
            append_sequences(&buffer, &rows, length, &mut batch).unwrap();
            prop_assert_eq!((batch.n, batch.length), (rows.len(), length));
            let mut i = 0;
            for e in &episodes {
                for t in 0..e.len() {
                    let held = length.min(e.len() - t);
                    let at = i * length..i * length + held;
                    let rest = at.end..(i + 1) * length;
                    prop_assert_eq!(&batch.observation[at.clone()], &e.observation[t..t + held]);
                    prop_assert_eq!(&batch.reward[at.clone()], &e.reward[t..t + held]);
                    prop_assert!(batch.mask[at].iter().all(|m| *m == 1.0));
                    for column in [&batch.mask, &batch.observation, &batch.action, &batch.reward, &batch.continuation] {
                        prop_assert!(column[rest.clone()].iter().all(|x| *x == 0.0));
                    }
                    i += 1;
                }
            }
            prop_assert_eq!(buffer.longest_run(), episodes.iter().map(Episode::len).max().unwrap());
        }
    }

    #[test]
    fn a_row_that_is_not_there_is_an_error() {
        let mut buffer = ReplayBuffer::new(1, 1, 10);
        buffer.push_episode(&episodes(&[(3, StepEnd::Terminated)], 0)[0]);
        let mut batch = Batch::default();
        batch.clear(1, 1);
        for returns in [Returns::OneStep, Returns::MonteCarlo { discount: 1.0 }] {
            let error = append_transitions(&buffer, &[3], returns, &mut batch).unwrap_err().to_string();
            assert!(error.contains("row: expected below 3, found 3"), "{error}");
        }
        assert!(append_sequences(&buffer, &[9], 2, &mut batch).is_err());
    }
}
