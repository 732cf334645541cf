//! Rows that a learner updates from. The caller keeps one and refills it.

/// `n` transitions in columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Rows.
    pub n: usize,
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
    /// `[n]`: 0 after `Terminated`, 1 otherwise.
    pub continuation: Vec<f32>,
}

impl Batch {
    /// Empties it for rows of these dimensions; keeps the memory.
    pub fn clear(&mut self, observation_dim: usize, action_dim: usize) {
        self.n = 0;
        self.observation_dim = observation_dim;
        self.action_dim = action_dim;
        self.observation.clear();
        self.action.clear();
        self.reward.clear();
        self.next_observation.clear();
        self.continuation.clear();
    }
}
