//! Episodes made from a seed.

use std::collections::BTreeMap;

use surefoot_core::safety::SafetyCounts;
use surefoot_core::{EnvSpec, Episode, Field, StepEnd, Stream};

pub fn spec(observation_dim: usize, action_dim: usize) -> EnvSpec {
    EnvSpec {
        name: "push".into(),
        observation: (0..observation_dim).map(|i| Field::unbounded(format!("q{i}"), "rad")).collect(),
        action: (0..action_dim).map(|i| Field::bounded(format!("v{i}"), "rad/s", -1.5, 1.5)).collect(),
        step_secs: 0.05,
        max_steps: 200,
        reward_range: Some((-1.0, 0.0)),
        contract_hash: Some("c0ffee".into()),
    }
}

pub fn episode(index: usize, observation_dim: usize, action_dim: usize, steps: usize, seed: u64) -> Episode {
    let mut stream = Stream::new(seed, "test_episode", index as u64);
    let mut path = vec![0.0; (steps + 1) * observation_dim];
    stream.fill_normal(&mut path);
    let mut action = |scale: f32| -> Vec<f32> {
        (0..steps * action_dim).map(|_| stream.uniform(-1.0, 1.0) as f32 * scale).collect()
    };
    let (executed, proposed) = (action(1.0), action(1.4));
    let mut end = vec![StepEnd::Running; steps];
    if let Some(last) = end.last_mut() {
        *last = if index.is_multiple_of(2) { StepEnd::Terminated } else { StepEnd::Truncated };
    }
    Episode {
        name: format!("demo_{index}"),
        next_observation: path[observation_dim..].to_vec(),
        observation: path[..steps * observation_dim].to_vec(),
        action: executed,
        proposed,
        reward: (0..steps).map(|t| if t + 1 == steps { 0.0 } else { -1.0 }).collect(),
        human: Vec::new(),
        end,
        success: Some(index.is_multiple_of(2)),
        source: Some("scripted".into()),
        safety: SafetyCounts { ticks: steps as u64, adjusted: 3, stops: 1, violations: 0 },
        seed: Some(u64::MAX - index as u64),
        attributes: BTreeMap::from([("operator".to_owned(), "left-handed".to_owned())]),
    }
}

/// A committed file; `fixtures/make_fixtures.py` makes and describes them.
pub fn fixture(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}
