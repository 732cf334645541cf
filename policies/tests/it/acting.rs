//! Policies as they act and as they are deployed.

use candle_core::{Device, Tensor};
use proptest::prelude::*;
use surefoot_core::{
    ActMode, Learner, Normalizer, Policy, PolicyArtifact, PolicyError, ReplayBuffer, ResetScope, Rows,
    RowsMut,
};
use surefoot_policies::nn::params::{Arrays, from_safetensors, to_safetensors};
use surefoot_policies::{LearnerConfig, load_policy};

use crate::data::{batch, context};

const OBS: usize = 7;
const ACT: usize = 3;

/// A trained learner with a fitted normaliser.
fn learner(name: &str, actor: serde_json::Value) -> Box<dyn Learner> {
    let config: LearnerConfig =
        serde_json::from_value(serde_json::json!({ name: { "actor": actor } })).unwrap();
    let mut learner = config.build(&context(OBS, ACT, 5)).unwrap();
    let mut data = ReplayBuffer::new(OBS, ACT, 1000);
    let rows = batch(200, OBS, ACT, 0);
    data.push_episode(&surefoot_core::Episode {
        observation: rows.observation.iter().map(|x| 3.0 * x + 1.0).collect(),
        next_observation: rows.next_observation,
        action: rows.action,
        reward: rows.reward,
        end: vec![surefoot_core::StepEnd::Running; 200],
        ..Default::default()
    });
    learner.fit(&data, &["hash".into()]).unwrap();
    for k in 0..5 {
        learner.update(&batch(64, OBS, ACT, k)).unwrap();
    }
    learner
}

fn small() -> serde_json::Value {
    serde_json::json!({ "hidden": [40, 24], "learning_rate": 0.01 })
}

fn act(policy: &mut dyn Policy, observations: &[f32], mode: ActMode) -> Vec<f32> {
    let mut actions = vec![0.0; observations.len() / OBS * ACT];
    policy.act(Rows::new(observations, OBS), mode, RowsMut::new(&mut actions, ACT)).unwrap();
    actions
}

/// `tanh(mlp((x - mean) / std))` by candle's own operations from an artefact's files.
fn by_candle(artifact: &PolicyArtifact, observations: &[f32]) -> Vec<f32> {
    let arrays = from_safetensors(&artifact.weights).unwrap();
    let tensor = |name: &str| {
        let (dims, values) = &arrays[name];
        Tensor::from_slice(values, dims.as_slice(), &Device::Cpu).unwrap()
    };
    let mut rows = observations.to_vec();
    artifact.card.normalizer.apply_rows(&mut rows);
    let mut x = Tensor::from_vec(rows, (observations.len() / OBS, OBS), &Device::Cpu).unwrap();
    for i in 0..3 {
        let weight = tensor(&format!("actor/layer{i}/weight")).t().unwrap();
        x = x.matmul(&weight).unwrap().broadcast_add(&tensor(&format!("actor/layer{i}/bias"))).unwrap();
        if i < 2 {
            x = x.relu().unwrap();
        }
    }
    // A squashed policy's deviations come after its means.
    x.narrow(1, 0, ACT).unwrap().tanh().unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn acting_equals_candles_forward() {
    // What takes the best of candidates has a test of its own.
    for name in LearnerConfig::NAMES.iter().filter(|name| **name != "bcq") {
        let learner = learner(name, small());
        let artifact = learner.artifact().unwrap();
        assert_eq!(artifact.card.normalizer.mean.len(), OBS);
        let observations = batch(50, OBS, ACT, 9).observation;
        let mut policy = learner.policy(50).unwrap();
        let found = act(policy.as_mut(), &observations, ActMode::Exploit);
        for (found, expected) in found.iter().zip(by_candle(&artifact, &observations)) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }
}

#[test]
fn a_loaded_artefact_acts_with_the_same_bits() {
    for name in LearnerConfig::NAMES {
        let learner = learner(name, small());
        let artifact = learner.artifact().unwrap();
        assert_eq!((artifact.card.algorithm.as_str(), artifact.card.updates), (*name, 5));
        assert_eq!(artifact.card.data_hashes, ["hash"]);
        // Through the files' text, as a deployment would.
        let card = serde_json::from_str(&serde_json::to_string(&artifact.card).unwrap()).unwrap();
        let mut loaded = load_policy(&PolicyArtifact { card, weights: artifact.weights }, 4).unwrap();
        let mut ours = learner.policy(4).unwrap();
        let observations = batch(4, OBS, ACT, 9).observation;
        for slot in 0..4 {
            loaded.reset(slot, ResetScope::Task, slot as u64);
            ours.reset(slot, ResetScope::Task, slot as u64);
        }
        for mode in [ActMode::Exploit, ActMode::Explore] {
            assert_eq!(act(loaded.as_mut(), &observations, mode), act(ours.as_mut(), &observations, mode));
        }
    }
}

#[test]
fn acting_does_not_allocate() {
    for (name, mode) in [
        ("awac", ActMode::Explore),
        ("awac", ActMode::Exploit),
        ("sac", ActMode::Explore),
        ("sac", ActMode::Exploit),
    ] {
        let mut policy = learner(name, small()).policy(4).unwrap();
        policy.reset(0, ResetScope::Task, 1);
        let observations = batch(4, OBS, ACT, 9).observation;
        let mut actions = vec![0.0; 4 * ACT];
        let counted = allocation_counter::measure(|| {
            for _ in 0..100 {
                let rows = RowsMut::new(&mut actions, ACT);
                policy.act(Rows::new(&observations, OBS), mode, rows).unwrap();
            }
        });
        assert_eq!(counted.count_total, 0);
    }
}

#[test]
fn exploration_belongs_to_the_slots_seed_and_moves_on() {
    let learner = learner("bc", small());
    let observation = vec![0.3; OBS];
    let two: Vec<f32> = observation.repeat(2);
    let mut policy = learner.policy(2).unwrap();
    policy.reset(0, ResetScope::Task, 1);
    policy.reset(1, ResetScope::Task, 2);
    let (first, second) =
        (act(policy.as_mut(), &two, ActMode::Explore), act(policy.as_mut(), &two, ActMode::Explore));
    assert_ne!(first[..ACT], first[ACT..], "two seeds");
    assert_ne!(first, second, "two steps");
    // The same seeds in the other slots, and one robot alone: the same actions.
    policy.reset(0, ResetScope::Episode, 2);
    policy.reset(1, ResetScope::Episode, 1);
    let swapped = act(policy.as_mut(), &two, ActMode::Explore);
    assert_eq!((&swapped[..ACT], &swapped[ACT..]), (&first[ACT..], &first[..ACT]));
    let mut alone = learner.policy(1).unwrap();
    alone.reset(0, ResetScope::Task, 1);
    assert_eq!(act(alone.as_mut(), &observation, ActMode::Explore), first[..ACT]);
}

#[test]
fn exploration_has_the_policys_deviation_up_to_the_cap() {
    let spread = |actor: serde_json::Value| {
        let mut policy = learner("bc", actor).policy(1).unwrap();
        let observation = [0.3; OBS];
        let mean = act(policy.as_mut(), &observation, ActMode::Exploit)[0];
        let n = 4000;
        let square: f32 =
            (0..n).map(|_| (act(policy.as_mut(), &observation, ActMode::Explore)[0] - mean).powi(2)).sum();
        (square / n as f32).sqrt()
    };
    let with_std = |std: f64, cap: f64| serde_json::json!({ "hidden": [8], "learning_rate": 1e-9, "initial_std": std, "max_explore_std": cap });
    assert!((spread(with_std(0.1, 1.0)) - 0.1).abs() < 0.01);
    assert!((spread(with_std(0.1, 0.02)) - 0.02).abs() < 0.002);
}

#[test]
fn a_squashed_policys_exploration_obeys_its_cap() {
    let spread = |cap: f64| {
        let actor = serde_json::json!({ "hidden": [8], "learning_rate": 1e-9, "max_explore_std": cap });
        let mut policy = learner("sac", actor).policy(1).unwrap();
        let observation = [0.3; OBS];
        let mean = act(policy.as_mut(), &observation, ActMode::Exploit)[0].atanh();
        let square = |_| (act(policy.as_mut(), &observation, ActMode::Explore)[0].atanh() - mean).powi(2);
        ((0..4000).map(square).sum::<f32>() / 4000.0).sqrt()
    };
    // The deviation begins in the middle of its bounds: exp((-5 + 2) / 2).
    assert!((spread(10.0) - 0.223).abs() < 0.02);
    assert!((spread(0.02) - 0.02).abs() < 0.002);
}

#[test]
fn rows_of_another_shape_are_refused() {
    let mut policy = learner("bc", small()).policy(2).unwrap();
    let mut actions = [0.0; 9 * ACT];
    let mut refused = |observations: usize, obs: usize, rows: usize, act: usize| {
        let data = vec![0.0; observations * obs];
        let rows = RowsMut::new(&mut actions[..rows * act], act);
        matches!(policy.act(Rows::new(&data, obs), ActMode::Exploit, rows), Err(PolicyError::Shape { .. }))
    };
    assert!(refused(1, OBS + 1, 1, ACT));
    assert!(refused(1, OBS, 1, ACT - 1));
    assert!(refused(2, OBS, 1, ACT));
    assert!(refused(3, OBS, 3, ACT));
}

#[test]
fn a_nan_observation_gives_nan_actions_for_the_safety_chain_to_see() {
    for name in ["bc", "sac"] {
        let mut policy = learner(name, small()).policy(1).unwrap();
        let mut observation = [0.0; OBS];
        observation[2] = f32::NAN;
        for mode in [ActMode::Exploit, ActMode::Explore] {
            assert!(act(policy.as_mut(), &observation, mode).iter().all(|a| a.is_nan()));
        }
    }
}

#[test]
fn a_hostile_artefact_is_a_clear_error() {
    let artifact = learner("awac", small()).artifact().unwrap();
    let refused = |change: &dyn Fn(&mut PolicyArtifact)| {
        let mut artifact = artifact.clone();
        change(&mut artifact);
        match load_policy(&artifact, 1) {
            Err(e @ PolicyError::Artifact { .. }) => e.to_string(),
            Err(e) => panic!("{e}"),
            Ok(_) => panic!("accepted"),
        }
    };
    let with = |change: &dyn Fn(&mut Arrays)| {
        let mut arrays = from_safetensors(&artifact.weights).unwrap();
        change(&mut arrays);
        to_safetensors(&arrays).unwrap()
    };
    assert!(refused(&|a| a.card.format = "other/9".into()).contains("surefoot-policy/1"));
    assert!(refused(&|a| a.card.architecture["kind"] = "transformer".into()).contains("transformer"));
    assert!(refused(&|a| a.card.architecture["hidden"] = serde_json::json!([40, 25])).contains("layer1"));
    assert!(
        refused(&|a| a.card.architecture["hidden"] = serde_json::json!([1_u64 << 60])).contains("widths")
    );
    assert!(refused(&|a| a.card.architecture = serde_json::json!([])).contains("architecture"));
    assert!(
        refused(&|a| {
            a.card.spec.action.pop();
        })
        .contains("layer2")
    );
    assert!(refused(&|a| a.card.normalizer.std[1] = 0.0).contains("normalizer"));
    assert!(
        refused(&|a| a.card.normalizer = Normalizer { mean: vec![0.0], std: vec![1.0] })
            .contains("normalizer")
    );
    assert!(
        refused(&|a| a.weights = with(&|w| {
            w.remove("actor/log_std");
        }))
        .contains("log_std")
    );
    let nan = |w: &mut Arrays| {
        if let Some((_, values)) = w.get_mut("actor/layer0/bias") {
            values[0] = f32::NAN;
        }
    };
    assert!(refused(&|a| a.weights = with(&nan)).contains("NaN"));
    let bounds = |json: serde_json::Value| refused(&|a| a.card.architecture["log_std_bounds"] = json.clone());
    assert!(bounds(serde_json::json!([-5.0, 2.0])).contains("architecture"), "a head with another's bounds");
    assert!(refused(&|a| a.card.architecture["kind"] = "squashed_gaussian".into()).contains("bounds None"));
    for cut in [0, 7, 8, 100, artifact.weights.len() - 1] {
        refused(&|a| a.weights.truncate(cut));
    }
    refused(&|a| a.weights[..8].fill(0xff));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn actions_stay_in_range_for_any_finite_observation(
        observation in proptest::collection::vec(-1e6_f32..1e6, OBS), seed: u64,
    ) {
        let mut policy = learner("bc", serde_json::json!({ "hidden": [8], "initial_std": 0.9 })).policy(1).unwrap();
        policy.reset(0, ResetScope::Task, seed);
        for mode in [ActMode::Exploit, ActMode::Explore] {
            prop_assert!(act(policy.as_mut(), &observation, mode).iter().all(|a| (-1.0..=1.0).contains(a)));
        }
    }
}
