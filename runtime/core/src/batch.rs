//! Rows that a learner updates from. The caller keeps one and refills it.

/// `n` transitions, or `n` sequences of `length` steps each, in columns.
///
/// Every column has `length` rows for each of the `n`, a sequence's steps one after the other: shapes below are `[n * length, …]`, and
/// `length` is 1 for transitions. A sequence that ends before its length is filled up with zeros, where `mask` is 0.
///
/// A transition over several steps has the discounted sum of their rewards, the observation after the last of them, and
/// `discount^(steps - 1)` (0 after a termination) as its continuation: a learner that adds `discount * continuation * value` then bootstraps
/// over all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Transitions or sequences.
    pub n: usize,
    /// Steps of each sequence; 1 for transitions (and 0 in a batch that was never filled).
    pub length: usize,
    /// Numbers in an observation.
    pub observation_dim: usize,
    /// Numbers in an action.
    pub action_dim: usize,
    /// `[n, observation_dim]`.
    pub observation: Vec<f32>,
    /// `[n, action_dim]`, executed.
    pub action: Vec<f32>,
    /// `[n]`.
    pub reward: Vec<f32>,
    /// `[n, observation_dim]`.
    pub next_observation: Vec<f32>,
    /// `[n]`: 0 after `Terminated`, 1 otherwise; `discount^(steps - 1)` over several steps.
    pub continuation: Vec<f32>,
    /// `[n, length]`: 1 where there is a step, 0 behind its end; empty for transitions.
    pub mask: Vec<f32>,
    /// `[n]`: what each counts in a loss, above 0 and at most 1, where rows were not drawn evenly and that is to be undone; empty where each
    /// counts 1.
    pub weight: Vec<f32>,
    /// `[n, action_dim]`: executed in the step behind the transition, zeros where its run ended; empty where it was not asked for
    /// ([`Beside`](crate::Beside)).
    pub next_action: Vec<f32>,
    /// `[n]`: 1 where there is such a step, 0 where the run ended; empty with `next_action`.
    pub next_action_mask: Vec<f32>,
    /// `[n]`: discounted rewards from the step to the end of its run; empty where they were not asked for.
    pub return_to_go: Vec<f32>,
    /// `[n]`: what a value behind that end counts: `discount^steps`, 0 after a termination; empty with `return_to_go`.
    pub return_continuation: Vec<f32>,
    /// `[fresh]`: of a batch on policy ([`SamplePlan::FreshEpisodes`](crate::SamplePlan)), whose last `fresh` rows are all steps that were acted since
    /// the update before, in order: 1 where the next row does not follow, 0 elsewhere. The rows before them are demonstrations. Empty in any
    /// other batch.
    pub last: Vec<f32>,
}

impl Batch {
    /// The steps of sequences one after the other, as transitions, and how many each has; a sequence's weight is that of each of its steps. What
    /// transitions bring beside them is left out.
    #[must_use]
    pub fn unrolled(&self) -> (Self, Vec<usize>) {
        let length = self.length.max(1);
        let held = |i: usize| self.mask.get(i).is_none_or(|mask| *mask > 0.0);
        let lengths: Vec<usize> =
            (0..self.n).map(|k| (k * length..(k + 1) * length).filter(|i| held(*i)).count()).collect();
        let kept: Vec<usize> = (0..self.n * length).filter(|i| held(*i)).collect();
        let rows = |column: &[f32], dim: usize| -> Vec<f32> {
            kept.iter()
                .flat_map(|i| column.get(i * dim..(i + 1) * dim).unwrap_or_default())
                .copied()
                .collect()
        };
        let steps = Self {
            n: kept.len(),
            length: 1,
            observation_dim: self.observation_dim,
            action_dim: self.action_dim,
            observation: rows(&self.observation, self.observation_dim),
            action: rows(&self.action, self.action_dim),
            reward: rows(&self.reward, 1),
            next_observation: rows(&self.next_observation, self.observation_dim),
            continuation: rows(&self.continuation, 1),
            weight: kept.iter().filter_map(|i| self.weight.get(i / length)).copied().collect(),
            ..Self::default()
        };
        (steps, lengths)
    }

    /// Empties it for rows of these dimensions; keeps the memory.
    pub fn clear(&mut self, observation_dim: usize, action_dim: usize) {
        self.n = 0;
        self.length = 1;
        self.observation_dim = observation_dim;
        self.action_dim = action_dim;
        self.observation.clear();
        self.action.clear();
        self.reward.clear();
        self.next_observation.clear();
        self.continuation.clear();
        self.mask.clear();
        self.weight.clear();
        self.next_action.clear();
        self.next_action_mask.clear();
        self.return_to_go.clear();
        self.return_continuation.clear();
        self.last.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_unroll_to_their_steps_without_what_fills_them_up() {
        let column = |dim: usize| (0..4 * dim).map(|i| i as f32).collect::<Vec<f32>>();
        let batch = Batch {
            n: 2,
            length: 2,
            observation_dim: 2,
            action_dim: 1,
            observation: column(2),
            action: column(1),
            reward: column(1),
            next_observation: column(2),
            continuation: vec![1.0, 0.0, 1.0, 0.0],
            mask: vec![1.0, 0.0, 1.0, 1.0],
            weight: vec![0.5, 0.25],
            ..Batch::default()
        };
        let (steps, lengths) = batch.unrolled();
        assert_eq!((lengths, steps.n, steps.length), (vec![1, 2], 3, 1));
        assert_eq!(steps.observation, [0.0, 1.0, 4.0, 5.0, 6.0, 7.0]);
        assert_eq!((steps.reward, steps.continuation), (vec![0.0, 2.0, 3.0], vec![1.0, 1.0, 0.0]));
        assert_eq!(steps.weight, [0.5, 0.25, 0.25]);
        // Transitions are sequences of one step.
        let flat = Batch { n: 4, length: 1, mask: Vec::new(), weight: Vec::new(), ..batch };
        let (again, lengths) = flat.unrolled();
        assert_eq!((again, lengths), (flat, vec![1; 4]));
    }
}
