//! Two updates of learners with critics against numbers from independent float64 programs (`tests/golden/make_golden*.py`).

use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use surefoot_core::{Batch, Learner};
use surefoot_policies::LearnerConfig;
use surefoot_policies::awac::{Awac, AwacConfig};
use surefoot_policies::awr::Awr;
use surefoot_policies::bcq::Bcq;
use surefoot_policies::bear::Bear;
use surefoot_policies::cql::Cql;
use surefoot_policies::iql::Iql;
use surefoot_policies::nn::off_policy::{Algorithm, Noise, OffPolicy};
use surefoot_policies::nn::params::{from_safetensors, to_safetensors};
use surefoot_policies::sac::Sac;
use surefoot_policies::td3_bc::Td3Bc;

use crate::data::context;

#[derive(Deserialize)]
struct Golden {
    head: Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    case: Value,
    #[serde(flatten)]
    trace: Trace,
}

#[derive(Deserialize)]
struct Trace {
    normalizer: Value,
    before: BTreeMap<String, Vec<f32>>,
    updates: Vec<Update>,
    after: BTreeMap<String, Vec<f32>>,
}

#[derive(Deserialize)]
struct Update {
    batch: Columns,
    noise: Draws,
    metrics: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Columns {
    observation: Vec<f32>,
    action: Vec<f32>,
    reward: Vec<f32>,
    next_observation: Vec<f32>,
    continuation: Vec<f32>,
    #[serde(default)]
    next_action: Vec<f32>,
    #[serde(default)]
    next_action_mask: Vec<f32>,
    #[serde(default)]
    return_to_go: Vec<f32>,
    #[serde(default)]
    return_continuation: Vec<f32>,
}

#[derive(Clone, Deserialize)]
struct Draws {
    next_action: Vec<f32>,
    policy_action: Vec<Vec<f32>>,
    #[serde(default)]
    uniform_action: Vec<Vec<f32>>,
    #[serde(default)]
    latent: Vec<Vec<f32>>,
    #[serde(default)]
    target_critics: Vec<usize>,
}

fn config(head: &Value, case: &Value) -> AwacConfig {
    let mut json = serde_json::to_value(AwacConfig::default()).unwrap();
    for key in ["discount", "demo_action_margin"] {
        json[key] = head[key].clone();
    }
    for part in ["actor", "critic"] {
        json[part]["hidden"] = head["hidden"].clone();
        for (key, value) in head[part].as_object().unwrap() {
            json[part][key] = value.clone();
        }
    }
    for key in ["min_log_std", "max_log_std"] {
        json["actor"][key] = head[key].clone();
    }
    for (key, value) in case.as_object().unwrap() {
        match key.as_str() {
            "critics" => json["critic"]["count"] = value.clone(),
            "layer_norm" | "q_clamp" => json["critic"][key] = value.clone(),
            _ => json[key] = value.clone(),
        }
    }
    serde_json::from_value(json).unwrap()
}

#[test]
fn two_updates_equal_an_independent_float64_program() {
    let golden: Golden = serde_json::from_str(include_str!("../golden/awac.json")).unwrap();
    let (obs, act) = (golden.head["obs"].as_u64().unwrap(), golden.head["act"].as_u64().unwrap());
    let (obs, act) = (obs as usize, act as usize);
    for (index, case) in golden.cases.iter().enumerate() {
        let learner = Awac::new(&config(&golden.head, &case.case), &context(obs, act, 0)).unwrap();
        check(learner, &format!("case {index}"), [obs, act], &case.trace);
    }
}

#[test]
fn two_updates_of_the_other_learners_equal_an_independent_float64_program() {
    let golden: Golden = serde_json::from_str(include_str!("../golden/learners.json")).unwrap();
    let dims = [golden.head["obs"].as_u64().unwrap() as usize, golden.head["act"].as_u64().unwrap() as usize];
    for (index, Case { case, trace }) in golden.cases.iter().enumerate() {
        let name = case["learner"].as_str().unwrap();
        let (label, context) = (format!("case {index}, {name}"), context(dims[0], dims[1], 0));
        let config = json!({ name: case["config"] });
        match serde_json::from_value(config).unwrap() {
            LearnerConfig::Awr(c) => check(Awr::new(&c, &context).unwrap(), &label, dims, trace),
            LearnerConfig::Bcq(c) => check(Bcq::new(&c, &context).unwrap(), &label, dims, trace),
            LearnerConfig::Bear(c) => check(Bear::new(&c, &context).unwrap(), &label, dims, trace),
            LearnerConfig::Cql(c) => check(Cql::new(&c, &context).unwrap(), &label, dims, trace),
            LearnerConfig::Iql(c) => check(Iql::new(&c, &context).unwrap(), &label, dims, trace),
            LearnerConfig::Sac(c) => check(Sac::new(&c, &context).unwrap(), &label, dims, trace),
            LearnerConfig::Td3Bc(c) => check(Td3Bc::new(&c, &context).unwrap(), &label, dims, trace),
            other => panic!("{other:?} has a fixture of its own"),
        }
    }
}

/// Both updates of a trace: metrics, and every array in the end.
fn check<A: Algorithm>(mut learner: OffPolicy<A>, label: &str, [obs, act]: [usize; 2], trace: &Trace) {
    let mut state = learner.save().unwrap();
    let mut arrays = from_safetensors(&state["learner.safetensors"]).unwrap();
    for (name, (_, values)) in &mut arrays {
        if !name.starts_with("adam/") {
            values.copy_from_slice(&trace.before[name]);
        }
    }
    state.insert("learner.safetensors".into(), to_safetensors(&arrays).unwrap());
    let mut counters: Value = serde_json::from_slice(&state["learner.json"]).unwrap();
    counters["normalizer"] = trace.normalizer.clone();
    state.insert("learner.json".into(), serde_json::to_vec(&counters).unwrap());
    learner.load(&state).unwrap();

    for (k, update) in trace.updates.iter().enumerate() {
        let Columns {
            observation,
            action,
            reward,
            next_observation,
            continuation,
            next_action,
            next_action_mask,
            return_to_go,
            return_continuation,
        } = &update.batch;
        let batch = Batch {
            n: reward.len(),
            observation_dim: obs,
            action_dim: act,
            observation: observation.clone(),
            action: action.clone(),
            reward: reward.clone(),
            next_observation: next_observation.clone(),
            continuation: continuation.clone(),
            next_action: next_action.clone(),
            next_action_mask: next_action_mask.clone(),
            return_to_go: return_to_go.clone(),
            return_continuation: return_continuation.clone(),
            ..Batch::default()
        };
        let Draws { next_action, policy_action, uniform_action, latent, target_critics } =
            update.noise.clone();
        let noise = Noise { next_action, policy_action, uniform_action, latent, target_critics };
        let metrics = learner.update_with_noise(&batch, &noise).unwrap();
        assert_eq!(metrics.iter().count(), update.metrics.len(), "{label}: {metrics:?}");
        for (name, expected) in &update.metrics {
            let found = metrics.get(name).unwrap_or_else(|| panic!("{label}: no {name}"));
            let tolerance = 2e-5 * expected.abs().max(0.1);
            assert!((found - expected).abs() < tolerance, "{label} update {k} {name}: {found} {expected}");
        }
    }
    let arrays = from_safetensors(&learner.save().unwrap()["learner.safetensors"]).unwrap();
    let mut compared = 0;
    for (name, expected) in &trace.after {
        for (found, expected) in arrays[name].1.iter().zip(expected) {
            // A step moves a weight by 1e-2 to 2e-2.
            assert!((found - expected).abs() < 2e-5, "{label} {name}: {found} {expected}");
            compared += 1;
        }
    }
    assert!(compared > 200, "{compared}");
}

#[test]
fn the_fixture_exercises_what_it_claims() {
    let golden: Golden = serde_json::from_str(include_str!("../golden/awac.json")).unwrap();
    let modes: Vec<&Value> = golden.cases.iter().map(|c| &c.case["weight"]).collect();
    for mode in ["softmax", "exp", "whiten", "binary", "none"] {
        assert!(modes.contains(&&json!(mode)), "{mode}");
    }
    let batch = &golden.cases[0].trace.updates[0].batch;
    assert_ne!(batch.observation, batch.next_observation);
    assert!(batch.continuation.contains(&0.0) && batch.continuation.last() == Some(&1.0));
    assert!(batch.action.iter().any(|a| a.abs() > 1.0));
}
