//! Specs and batches for tests.

use surefoot_core::{Batch, EnvSpec, Field, Stream};
use surefoot_policies::LearnerContext;

/// A spec of these dimensions with rewards in `[-1, 0]`.
pub fn spec(observation_dim: usize, action_dim: usize) -> EnvSpec {
    let row = |name: &str, n| (0..n).map(|i| Field::bounded(format!("{name}{i}"), "1", -1.0, 1.0)).collect();
    EnvSpec {
        name: "test".into(),
        observation: row("observation", observation_dim),
        action: row("action", action_dim),
        step_secs: 0.1,
        max_steps: 10,
        reward_range: Some((-1.0, 0.0)),
        contract_hash: None,
    }
}

/// A context of these dimensions.
pub fn context(observation_dim: usize, action_dim: usize, seed: u64) -> LearnerContext {
    LearnerContext::new(spec(observation_dim, action_dim), seed)
}

/// `n` random transitions; every fifth one is terminal.
pub fn batch(n: usize, observation_dim: usize, action_dim: usize, index: u64) -> Batch {
    let mut stream = Stream::new(7, "test batch", index);
    let mut rows =
        |n: usize, scale: f64| -> Vec<f32> { (0..n).map(|_| (stream.normal() * scale) as f32).collect() };
    Batch {
        n,
        length: 1,
        observation_dim,
        action_dim,
        observation: rows(n * observation_dim, 1.0),
        action: rows(n * action_dim, 0.5),
        reward: rows(n, 0.2).iter().map(|r| r.clamp(-1.0, 0.0)).collect(),
        next_observation: rows(n * observation_dim, 1.0),
        continuation: (0..n).map(|i| if i % 5 == 4 { 0.0 } else { 1.0 }).collect(),
        next_action: rows(n * action_dim, 0.5),
        next_action_mask: (0..n).map(|i| if i % 5 == 4 { 0.0 } else { 1.0 }).collect(),
        return_to_go: rows(n, 1.0).iter().map(|r| r.clamp(-3.0, 0.0)).collect(),
        return_continuation: (0..n).map(|i| if i % 2 == 0 { 0.0 } else { 0.5 }).collect(),
        ..Batch::default()
    }
}
