//! The policy that takes the best of several candidates.

use candle_core::{Device, Tensor};
use serde_json::json;
use surefoot_core::{
    ActMode, Learner, Policy, PolicyArtifact, PolicyError, ResetScope, Rows, RowsMut, Stream,
};
use surefoot_policies::nn::params::{Arrays, from_safetensors, to_safetensors};
use surefoot_policies::{LearnerConfig, load_policy, onnx};

use crate::data::{batch, context};

const OBS: usize = 5;
const ACT: usize = 3;
const CANDIDATES: usize = 8;

fn learner() -> Box<dyn Learner> {
    let config: LearnerConfig = serde_json::from_value(json!({ "bcq": {
        "actor": { "hidden": [12, 9], "learning_rate": 0.02 },
        "critic": { "hidden": [11, 13], "learning_rate": 0.01 },
        "behaviour": { "hidden": [14, 7], "learning_rate": 0.01 },
        "perturbation": 0.3, "act_samples": CANDIDATES,
    } }))
    .unwrap();
    let mut learner = config.build(&context(OBS, ACT, 5)).unwrap();
    for k in 0..20 {
        learner.update(&batch(64, OBS, ACT, k)).unwrap();
    }
    learner
}

fn act(policy: &mut dyn Policy, observations: &[f32], mode: ActMode) -> Vec<f32> {
    let mut actions = vec![0.0; observations.len() / OBS * ACT];
    policy.act(Rows::new(observations, OBS), mode, RowsMut::new(&mut actions, ACT)).unwrap();
    actions
}

/// Rows through a network of an artefact by candle's own operations.
fn network(arrays: &Arrays, name: &str, rows: &[f32], input: usize) -> Vec<f32> {
    let tensor = |part: &str| {
        let (dims, values) = arrays.get(&format!("{name}/{part}"))?;
        Some(Tensor::from_slice(values, dims.as_slice(), &Device::Cpu).unwrap())
    };
    let mut x = Tensor::from_slice(rows, (rows.len() / input, input), &Device::Cpu).unwrap();
    for i in 0..3 {
        let weight = tensor(&format!("layer{i}/weight")).unwrap().t().unwrap();
        let bias = tensor(&format!("layer{i}/bias")).unwrap();
        x = x.matmul(&weight).unwrap().broadcast_add(&bias).unwrap();
        if let (Some(scale), Some(shift)) =
            (tensor(&format!("norm{i}/scale")), tensor(&format!("norm{i}/shift")))
        {
            let centred = x.broadcast_sub(&x.mean_keepdim(1).unwrap()).unwrap();
            let variance = centred.sqr().unwrap().mean_keepdim(1).unwrap();
            let normal = centred.broadcast_div(&(variance + 1e-5).unwrap().sqrt().unwrap()).unwrap();
            x = normal.broadcast_mul(&scale).unwrap().broadcast_add(&shift).unwrap();
        }
        if i < 2 {
            x = x.relu().unwrap();
        }
    }
    x.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn without_exploration_it_takes_the_best_of_the_candidates_of_its_seed() {
    let artifact = learner().artifact().unwrap();
    let arrays = from_safetensors(&artifact.weights).unwrap();
    let mut policy = load_policy(&artifact, 1).unwrap();
    let mut chosen = std::collections::BTreeSet::new();
    for seed in 0..6 {
        policy.reset(0, ResetScope::Episode, seed);
        let mut latents = vec![0.0; CANDIDATES * 2 * ACT];
        Stream::new(seed, "candidates", 0).fill_normal(&mut latents);
        for observation in batch(10, OBS, ACT, seed).observation.chunks_exact(OBS) {
            let rows = |behind: &[f32], width: usize| -> Vec<f32> {
                behind.chunks_exact(width).flat_map(|x| [observation, x].concat()).collect()
            };
            let clipped: Vec<f32> = latents.iter().map(|z| z.clamp(-0.5, 0.5)).collect();
            let decoded = network(&arrays, "behaviour/decoder", &rows(&clipped, 2 * ACT), OBS + 2 * ACT);
            let behaved: Vec<f32> = decoded.iter().map(|u| u.tanh()).collect();
            let moved = network(&arrays, "actor", &rows(&behaved, ACT), OBS + ACT);
            let candidates: Vec<f32> =
                behaved.iter().zip(&moved).map(|(a, u)| (a + 0.3 * u.tanh()).clamp(-1.0, 1.0)).collect();
            let values = network(&arrays, "critic0", &rows(&candidates, ACT), OBS + ACT);
            let best = (0..CANDIDATES).max_by(|a, b| values[*a].total_cmp(&values[*b])).unwrap();
            chosen.insert(best);
            let found = act(policy.as_mut(), observation, ActMode::Exploit);
            for (found, expected) in found.iter().zip(&candidates[best * ACT..]) {
                assert!((found - expected).abs() < 1e-5, "{found} {expected}");
            }
            assert_eq!(act(policy.as_mut(), observation, ActMode::Exploit), found, "a function of its seed");
        }
    }
    assert!(chosen.len() > 2, "{chosen:?}");
}

#[test]
fn exploring_draws_candidates_anew_by_the_slots_seed() {
    let mut policy = learner().policy(2).unwrap();
    let observation = [0.3; OBS];
    let mut run = |slot: usize, seed| {
        policy.reset(slot, ResetScope::Episode, seed);
        let two = observation.repeat(2);
        let at = slot * ACT..(slot + 1) * ACT;
        (0..4).map(|_| act(policy.as_mut(), &two, ActMode::Explore)[at.clone()].to_vec()).collect::<Vec<_>>()
    };
    let first = run(0, 7);
    assert!(first.windows(2).all(|pair| pair[0] != pair[1]), "{first:?}");
    assert_eq!(run(1, 7), first, "whatever the slot");
    assert_ne!(run(0, 8), first);
}

#[test]
fn acting_by_candidates_does_not_allocate() {
    let mut policy = learner().policy(4).unwrap();
    let observations = batch(4, OBS, ACT, 9).observation;
    let mut actions = vec![0.0; 4 * ACT];
    for mode in [ActMode::Explore, ActMode::Exploit] {
        let counted = allocation_counter::measure(|| {
            for _ in 0..20 {
                let rows = RowsMut::new(&mut actions, ACT);
                policy.act(Rows::new(&observations, OBS), mode, rows).unwrap();
            }
        });
        assert_eq!(counted.count_total, 0);
    }
}

#[test]
fn a_nan_observation_gives_nan_actions() {
    let mut policy = learner().policy(1).unwrap();
    let mut observation = [0.0; OBS];
    observation[2] = f32::NAN;
    for mode in [ActMode::Exploit, ActMode::Explore] {
        assert!(act(policy.as_mut(), &observation, mode).iter().all(|a| a.is_nan()));
    }
}

#[test]
fn only_what_acts_is_deployed_and_another_runtime_is_refused_by_name() {
    let artifact = learner().artifact().unwrap();
    let arrays = from_safetensors(&artifact.weights).unwrap();
    let known = ["actor/", "behaviour/decoder/", "critic0/"];
    assert!(arrays.keys().all(|name| known.iter().any(|k| name.starts_with(k))), "{:?}", arrays.keys());
    let text = onnx::to_onnx(&artifact).unwrap_err().to_string();
    assert!(text.contains("candidates") && text.contains("learner.bc"), "{text}");
}

#[test]
fn a_hostile_artefact_of_candidates_is_a_clear_error() {
    let artifact = learner().artifact().unwrap();
    let refused = |change: &dyn Fn(&mut PolicyArtifact)| {
        let mut artifact = artifact.clone();
        change(&mut artifact);
        match load_policy(&artifact, 1) {
            Err(e @ PolicyError::Artifact { .. }) => e.to_string(),
            Err(e) => panic!("{e}"),
            Ok(_) => panic!("accepted"),
        }
    };
    let card = |key: &str, value: serde_json::Value| {
        refused(&|a: &mut PolicyArtifact| a.card.architecture[key] = value.clone())
    };
    assert!(card("candidates", json!(0)).contains("candidates"));
    assert!(card("candidates", json!(1_u64 << 60)).contains("candidates"));
    assert!(card("decoder_hidden", json!([1_u64 << 60])).contains("widths"));
    assert!(card("critic_hidden", json!([11, 12])).contains("critic0/layer1"));
    assert!(card("limit", json!(-1.0)).contains("limit"));
    assert!(card("temperature", json!(1)).contains("temperature"));
    assert!(refused(&|a| a.card.format = "other/9".into()).contains("surefoot-policy/1"));
    assert!(refused(&|a| a.card.normalizer.std = vec![0.0; OBS]).contains("normalizer"));
    let without = |name: &str| {
        let mut arrays = from_safetensors(&artifact.weights).unwrap();
        arrays.remove(name).unwrap();
        let weights = to_safetensors(&arrays).unwrap();
        refused(&|a: &mut PolicyArtifact| a.weights.clone_from(&weights))
    };
    for name in ["behaviour/decoder/layer0/bias", "critic0/norm1/scale", "actor/layer2/weight"] {
        assert!(without(name).contains(name));
    }
    for cut in [0, 7, 100, artifact.weights.len() - 1] {
        refused(&|a| a.weights.truncate(cut));
    }
}
