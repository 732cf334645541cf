//! Natural policy gradients on fresh episodes.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use surefoot_core::{Batch, LearnError, Learner, PhaseKind, SamplePlan};
use surefoot_policies::LearnerConfig;
use surefoot_policies::nn::params::{from_safetensors, to_safetensors};

use crate::data::{batch, context};

/// A batch on policy: `demonstrated` rows, then `fresh` ones in runs of seven.
pub fn fresh_batch(demonstrated: usize, fresh: usize, observation: usize, action: usize, k: u64) -> Batch {
    let mut rows = batch(demonstrated + fresh, observation, action, k);
    rows.last = (0..fresh).map(|i| if i % 7 == 6 || i + 1 == fresh { 1.0 } else { 0.0 }).collect();
    rows.continuation.fill(1.0);
    rows
}

fn build(settings: &Value, threads: usize) -> Box<dyn Learner> {
    let config: LearnerConfig = serde_json::from_value(json!({ "dapg": settings })).unwrap();
    config.build(&context(5, 3, 1).with_threads(threads)).unwrap()
}

fn small() -> Value {
    json!({ "actor": { "hidden": [16, 16] }, "value": { "hidden": [16], "batch": 9 } })
}

#[derive(Deserialize)]
struct Golden {
    head: Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    case: Value,
    normalizer: Value,
    before: BTreeMap<String, Vec<f32>>,
    updates: Vec<Update>,
    after: BTreeMap<String, Vec<f32>>,
}

#[derive(Deserialize)]
struct Update {
    batch: Columns,
    metrics: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Columns {
    observation: Vec<f32>,
    action: Vec<f32>,
    reward: Vec<f32>,
    next_observation: Vec<f32>,
    continuation: Vec<f32>,
    last: Vec<f32>,
}

#[test]
fn two_natural_steps_equal_an_independent_float64_program() {
    let golden: Golden = serde_json::from_str(include_str!("../golden/dapg.json")).unwrap();
    let head = &golden.head;
    let (obs, act) = (head["obs"].as_u64().unwrap() as usize, head["act"].as_u64().unwrap() as usize);
    for case in &golden.cases {
        let mut settings = case.case.clone();
        settings["actor"] = json!({ "hidden": head["hidden"], "min_log_std": -6.0, "max_log_std": 0.0 });
        for key in ["discount", "demo_action_margin", "value"] {
            settings[key] = head[key].clone();
        }
        let config: LearnerConfig = serde_json::from_value(json!({ "dapg": settings })).unwrap();
        let mut learner = config.build(&context(obs, act, 0)).unwrap();
        let mut state = learner.save().unwrap();
        let mut arrays = from_safetensors(&state["learner.safetensors"]).unwrap();
        for (name, (_, values)) in arrays.iter_mut().filter(|(name, _)| !name.starts_with("adam/")) {
            values.copy_from_slice(&case.before[name]);
        }
        state.insert("learner.safetensors".into(), to_safetensors(&arrays).unwrap());
        let mut counters: Value = serde_json::from_slice(&state["learner.json"]).unwrap();
        counters["normalizer"] = case.normalizer.clone();
        state.insert("learner.json".into(), serde_json::to_vec(&counters).unwrap());
        learner.load(&state).unwrap();
        for Update { batch: columns, metrics } in &case.updates {
            let Columns { observation, action, reward, next_observation, continuation, last } = columns;
            let rows = Batch {
                n: reward.len(),
                observation_dim: obs,
                action_dim: act,
                observation: observation.clone(),
                action: action.clone(),
                reward: reward.clone(),
                next_observation: next_observation.clone(),
                continuation: continuation.clone(),
                last: last.clone(),
                ..Batch::default()
            };
            let found = learner.update(&rows).unwrap();
            assert_eq!(found.iter().count(), metrics.len(), "{found:?}");
            for (name, expected) in metrics {
                let found = found.get(name).unwrap();
                assert!(
                    (found - expected).abs() < 2e-4 * expected.abs().max(0.1),
                    "{name}: {found} {expected}"
                );
            }
        }
        let arrays = from_safetensors(&learner.save().unwrap()["learner.safetensors"]).unwrap();
        let mut furthest = 0.0_f32;
        for (name, expected) in &case.after {
            for ((found, expected), before) in arrays[name].1.iter().zip(expected).zip(&case.before[name]) {
                assert!((found - expected).abs() < 2e-4, "{name}: {found} {expected}");
                furthest = furthest.max((expected - before).abs());
            }
        }
        assert!(furthest > 0.02, "{furthest}");
    }
}

#[test]
fn a_learner_that_was_saved_between_natural_steps_goes_on_bit_for_bit_on_any_number_of_threads() {
    let run = |learner: &mut dyn Learner, range: std::ops::Range<u64>| {
        range
            .flat_map(|k| {
                let rows = if k < 2 { batch(32, 5, 3, k) } else { fresh_batch(10, 30, 5, 3, k) };
                learner.update(&rows).unwrap().iter().collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
    };
    let mut whole = build(&small(), 1);
    let mut metrics = run(whole.as_mut(), 0..4);
    let saved = whole.save().unwrap();
    let rest = run(whole.as_mut(), 4..7);
    let mut resumed = build(&small(), 1);
    resumed.load(&saved).unwrap();
    assert!(run(resumed.as_mut(), 4..7) == rest);
    assert!(resumed.save().unwrap() == whole.save().unwrap());
    metrics.extend(rest);
    for threads in [2, 4] {
        let mut other = build(&small(), threads);
        assert!(run(other.as_mut(), 0..7) == metrics, "{threads} threads");
        assert!(other.save().unwrap() == whole.save().unwrap(), "{threads} threads");
    }
}

#[test]
fn demonstrations_weigh_less_at_every_step_and_nothing_where_they_are_not_wanted() {
    let weights = |weight: f64| {
        let mut settings = small();
        settings["demonstration_weight"] = json!(weight);
        settings["demonstration_decay"] = json!(0.5);
        let mut learner = build(&settings, 1);
        let rows = fresh_batch(10, 30, 5, 3, 1);
        (0..3)
            .map(|_| learner.update(&rows).unwrap().get("train/demonstration_weight").unwrap())
            .collect::<Vec<f64>>()
    };
    let found = weights(0.2);
    // The largest standardised advantage is above 1 and does not change much.
    assert!(found[0] > 0.2 && found[1] < 0.8 * found[0] && found[2] < 0.8 * found[1], "{found:?}");
    assert_eq!(weights(0.0), [0.0; 3]);
    // With no weight they do not even move the policy: the direction is that of the fresh steps alone.
    let mut settings = small();
    settings["demonstration_weight"] = json!(0.0);
    let (mut with, mut without) = (build(&settings, 1), build(&settings, 1));
    let rows = fresh_batch(10, 30, 5, 3, 1);
    let alone = Batch {
        n: 30,
        observation: rows.observation[50..].to_vec(),
        action: rows.action[30..].to_vec(),
        reward: rows.reward[10..].to_vec(),
        next_observation: rows.next_observation[50..].to_vec(),
        continuation: rows.continuation[10..].to_vec(),
        last: rows.last.clone(),
        observation_dim: 5,
        action_dim: 3,
        ..Batch::default()
    };
    with.update(&rows).unwrap();
    without.update(&alone).unwrap();
    let arrays = |l: &dyn Learner| from_safetensors(&l.artifact().unwrap().weights).unwrap();
    for ((name, (_, a)), (_, b)) in arrays(with.as_ref()).iter().zip(arrays(without.as_ref()).values()) {
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() < 2e-3, "{name}: {a} {b}");
        }
    }
}

#[test]
fn a_step_has_the_divergence_that_was_asked_for_and_one_that_is_too_long_is_halved() {
    let run = |kl_step: f64, damping: f64| {
        let mut settings = small();
        settings["kl_step"] = json!(kl_step);
        settings["damping"] = json!(damping);
        settings["conjugate_gradient_steps"] = json!(30);
        let mut learner = build(&settings, 1);
        let mut kl = Vec::new();
        for k in 0..3 {
            let metrics = learner.update(&fresh_batch(0, 200, 5, 3, k)).unwrap();
            kl.push((metrics.get("train/kl").unwrap(), metrics.get("train/halvings").unwrap()));
        }
        kl
    };
    for kl_step in [0.003, 0.03] {
        // Damped as little as by default, the small last layer of the start calls for long steps of the layers before it.
        let found = run(kl_step, 1e-4);
        assert!(found.iter().all(|(kl, _)| *kl > 0.0 && *kl <= 1.5 * kl_step), "{found:?}");
        assert!(found[0].1 > 0.0, "{found:?}");
    }
    let found = run(0.003, 0.1);
    assert!(found.iter().all(|(kl, halvings)| *kl > 0.0005 && *halvings == 0.0), "{found:?}");
}

#[test]
fn it_clones_offline_and_waits_for_fresh_episodes_online() {
    let mut learner = build(&json!({ "update_env_steps": 123, "offline_batch": 7 }), 1);
    let plan = learner.sample_plan(PhaseKind::Offline);
    assert!(matches!(plan, SamplePlan::Transitions { batch: 7, .. }), "{plan:?}");
    assert_eq!(learner.sample_plan(PhaseKind::Online), SamplePlan::FreshEpisodes { steps: 123 });
    let likelihood = |learner: &dyn Learner| {
        learner.evaluate(&batch(50, 5, 3, 1)).unwrap().get("heldout/log_likelihood").unwrap()
    };
    let before = likelihood(learner.as_ref());
    for _ in 0..50 {
        learner.update(&batch(50, 5, 3, 1)).unwrap();
    }
    assert!(likelihood(learner.as_ref()) > before + 0.1);
    let mut long = fresh_batch(0, 8, 5, 3, 0);
    long.last.push(1.0);
    assert!(matches!(learner.update(&long), Err(LearnError::Policy(_))));
    let mut nan = fresh_batch(0, 8, 5, 3, 0);
    nan.reward[3] = f32::NAN;
    let before = learner.save().unwrap();
    assert!(matches!(learner.update(&nan), Err(LearnError::NotFinite { .. })));
    assert_eq!(learner.save().unwrap(), before);
}
