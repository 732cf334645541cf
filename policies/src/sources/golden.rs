//! What the tests of sources share: golden numbers, and a task that is a spec alone.

use std::sync::Arc;

use serde::Deserialize;
use surefoot_core::{Env, EnvError, EnvSpec, FamilyTask, Field, TaskFamily, TaskSplit};

use super::SourceContext;

/// `tests/golden/sources.json`.
#[derive(Deserialize)]
pub(super) struct Golden {
    pub dqn: Vec<GoldenDqn>,
    pub a2c: GoldenA2c,
}

#[derive(Deserialize)]
pub(super) struct GoldenDqn {
    pub double: bool,
    pub seen: Vec<[f32; 2]>,
    pub after: Vec<[f32; 2]>,
    pub action: Vec<usize>,
    pub reward: Vec<f32>,
    pub continuation: Vec<f32>,
    pub targets: Vec<Vec<f64>>,
    pub theta: Vec<f64>,
}

#[derive(Deserialize)]
pub(super) struct GoldenA2c {
    pub rollouts: Vec<GoldenRollout>,
    pub found: Vec<GoldenAdvantages>,
    pub theta: Vec<f64>,
}

#[derive(Deserialize)]
pub(super) struct GoldenRollout {
    pub seen: Vec<[f32; 2]>,
    pub after: Vec<[f32; 2]>,
    pub actions: Vec<Vec<usize>>,
    pub rewards: Vec<f32>,
    pub continuations: Vec<f32>,
    pub lasts: Vec<bool>,
}

#[derive(Deserialize)]
pub(super) struct GoldenAdvantages {
    pub advantages: Vec<f64>,
    pub returns: Vec<f64>,
}

impl Golden {
    pub(super) fn read() -> Self {
        serde_json::from_str(include_str!("../../tests/golden/sources.json")).unwrap()
    }
}

/// To the precision of 32 bits.
pub(super) fn close(found: &[f32], meant: &[f64]) {
    assert_eq!(found.len(), meant.len());
    for (i, (found, meant)) in found.iter().zip(meant).enumerate() {
        assert!((f64::from(*found) - meant).abs() < 5e-6, "{i}: {found} for {meant}");
    }
}

/// A task of which only the spec is looked at: one of three choices and a quantity to see, these choices to do.
struct SpecAlone(EnvSpec);

impl TaskFamily for SpecAlone {
    fn spec(&self) -> &EnvSpec {
        &self.0
    }
    fn tasks(&self, _: TaskSplit) -> Vec<FamilyTask> {
        Vec::new()
    }
    fn env(&self, _: &[f32]) -> Result<Box<dyn Env>, EnvError> {
        Err(EnvError::Build { env: self.0.name.clone(), reason: "it is a spec alone".into() })
    }
}

pub(super) fn context(choices: &[u32]) -> SourceContext {
    let spec = EnvSpec {
        name: "spec_alone".into(),
        observation: vec![Field::choice("x", 3), Field::bounded("at", "m", 0.0, 2.0)],
        action: choices.iter().map(|n| Field::choice("move", *n)).collect(),
        step_secs: 1.0,
        max_steps: 10,
        reward_range: None,
        contract_hash: None,
    };
    SourceContext { family: Arc::new(SpecAlone(spec)), params: Vec::new(), episodes: 20 }
}
