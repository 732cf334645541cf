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
}

impl Batch {
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
    }
}
