//! What AWAC promises beyond the golden numbers.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use surefoot_core::{Batch, LearnError, Learner, PhaseKind, Returns, SamplePlan};
use surefoot_policies::LearnerConfig;
use surefoot_policies::awac::{Awac, AwacConfig, Noise, ReturnSteps, ValueEstimate, WeightMode};
use surefoot_policies::nn::params::from_safetensors;

use crate::data::{batch, context};

fn small() -> AwacConfig {
    let mut config = AwacConfig::default();
    config.actor.hidden = vec![16, 12];
    config.critic.hidden = vec![16, 12];
    config
}

fn arrays(learner: &dyn Learner) -> BTreeMap<String, Vec<f32>> {
    let arrays = from_safetensors(&learner.save().unwrap()["learner.safetensors"]).unwrap();
    arrays.into_iter().map(|(name, (_, values))| (name, values)).collect()
}

#[test]
fn every_parameter_receives_a_gradient() {
    for layer_norm in [true, false] {
        let mut config = small();
        config.actor.weight_decay = 0.0;
        config.actor.average_rate = 0.5;
        config.critic.layer_norm = layer_norm;
        let mut learner = Awac::new(&config, &context(5, 3, 1)).unwrap();
        let before = arrays(&learner);
        learner.update(&batch(64, 5, 3, 0)).unwrap();
        let after = arrays(&learner);
        let expected = [
            "actor/log_std_parameter",
            "actor/layer0/weight",
            "critic1/layer2/bias",
            "target/critic0/layer0/weight",
        ];
        assert!(expected.iter().all(|name| before.contains_key(*name)));
        assert_eq!(before.contains_key("critic0/norm1/scale"), layer_norm);
        for (name, values) in &before {
            assert_ne!(values, &after[name], "{name} did not move");
        }
    }
}

#[test]
fn results_are_the_same_bits_on_any_number_of_threads() {
    for count in [1, 2, 3] {
        let run = |threads| {
            let mut config = small();
            config.actor.hidden = vec![96, 64];
            config.critic.hidden = vec![96, 64];
            config.critic.count = count;
            let mut learner = Awac::new(&config, &context(11, 4, 1).with_threads(threads)).unwrap();
            let metrics: Vec<_> = (0..4).map(|k| learner.update(&batch(128, 11, 4, k)).unwrap()).collect();
            (metrics, learner.save().unwrap())
        };
        let one = run(1);
        assert!(run(2) == one, "{count} critics on 2 threads");
        assert!(run(4) == one, "{count} critics on 4 threads");
    }
}

#[test]
fn the_gradient_does_not_grow_with_a_batch_of_repeated_rows() {
    for weight in [WeightMode::Softmax, WeightMode::Exp, WeightMode::Whiten, WeightMode::None] {
        let norms = |repeats: usize| {
            let mut config = small();
            config.weight = weight;
            let mut learner = Awac::new(&config, &context(5, 3, 1)).unwrap();
            let rows = batch(8, 5, 3, 0);
            let repeated = Batch {
                n: 8 * repeats,
                observation: rows.observation.repeat(repeats),
                action: rows.action.repeat(repeats),
                reward: rows.reward.repeat(repeats),
                next_observation: rows.next_observation.repeat(repeats),
                continuation: rows.continuation.repeat(repeats),
                observation_dim: 5,
                action_dim: 3,
                ..Batch::default()
            };
            let draw = batch(8, 1, 3, 1).action.repeat(repeats);
            let noise = Noise { next_action: draw.clone(), policy_action: vec![draw], ..Noise::default() };
            let metrics = learner.update_with_noise(&repeated, &noise).unwrap();
            ["train/actor_gradient_norm", "train/critic_gradient_norm"].map(|m| metrics.get(m).unwrap())
        };
        for (one, many) in norms(1).iter().zip(norms(16)) {
            assert!((one / many - 1.0).abs() < 1e-4, "{weight:?}: {one} {many}");
        }
    }
}

#[test]
fn only_termination_stops_the_bootstrap() {
    let target_mean = |continuation: f32| {
        let mut learner = Awac::new(&small(), &context(5, 3, 1)).unwrap();
        let rows =
            Batch { continuation: vec![continuation; 16], reward: vec![-1.0; 16], ..batch(16, 5, 3, 0) };
        learner.update(&rows).unwrap().get("train/target_mean").unwrap()
    };
    assert_eq!(target_mean(0.0), -1.0);
    assert_ne!(target_mean(1.0), -1.0);
}

#[test]
fn importance_weights_scale_losses_and_gradients_row_by_row() {
    let mut config = small();
    config.weight = WeightMode::None;
    config.critic.count = 1;
    let names = ["critic_loss", "actor_loss", "critic_gradient_norm", "actor_gradient_norm"];
    let update = |rows: &Batch, noise: &Noise| {
        let mut learner = Awac::new(&config, &context(5, 3, 1)).unwrap();
        let metrics = learner.update_with_noise(rows, noise).unwrap();
        let squares = learner.td_errors().unwrap().iter().map(|e| f64::from(*e).powi(2)).collect::<Vec<_>>();
        (names.map(|n| metrics.get(&format!("train/{n}")).unwrap()), squares, learner.save().unwrap())
    };
    let draw = |n| batch(n, 1, 3, 1).action;
    let noise = Noise { next_action: draw(16), policy_action: vec![draw(16)], ..Noise::default() };
    let rows = batch(16, 5, 3, 0);
    let (plain, squares, saved) = update(&rows, &noise);
    assert!((squares.iter().sum::<f64>() / 16.0 - plain[0]).abs() < 1e-6, "td errors are those of the loss");
    let (_, _, ones) = update(&Batch { weight: vec![1.0; 16], ..rows.clone() }, &noise);
    assert!(ones == saved, "1 for every row is the same as none, bit for bit");
    let (halves, _, _) = update(&Batch { weight: vec![0.5; 16], ..rows.clone() }, &noise);
    for (half, whole) in halves.iter().zip(plain) {
        assert!((half / whole - 0.5).abs() < 1e-5, "{halves:?} {plain:?}");
    }
    // A row that hardly counts is hardly there: the mean is still over all rows.
    let first: Vec<f32> = (0..16).map(|i| if i < 8 { 1.0 } else { 1e-9 }).collect();
    let (found, _, _) = update(&Batch { weight: first, ..rows.clone() }, &noise);
    let expected = squares[..8].iter().sum::<f64>() / 16.0;
    assert!((found[0] - expected).abs() < 1e-6, "{} {expected}", found[0]);
    let mut learner = Awac::new(&config, &context(5, 3, 1)).unwrap();
    for weight in [vec![1.0; 15], vec![f32::NAN; 16]] {
        assert!(learner.update(&Batch { weight, ..rows.clone() }).is_err());
    }
}

#[test]
fn targets_over_several_steps_stay_within_the_rewards_and_bootstrap_by_the_steps_taken() {
    let mut config = small();
    config.discount = 0.5;
    config.returns = ReturnSteps::NStep(3);
    let SamplePlan::Transitions { returns, .. } =
        Awac::new(&config, &context(5, 3, 1)).unwrap().sample_plan(PhaseKind::Offline)
    else {
        panic!()
    };
    assert_eq!(returns, Returns::NStep { n: 3, discount: 0.5 });
    let target_mean = |reward: f32, continuation: f32| {
        let mut learner = Awac::new(&config, &context(5, 3, 1)).unwrap();
        let rows =
            Batch { reward: vec![reward; 16], continuation: vec![continuation; 16], ..batch(16, 5, 3, 0) };
        learner.update(&rows).unwrap().get("train/target_mean").unwrap()
    };
    // Three rewards of -1, then the end: a sum within [-2, 0], and no sign of a reward beyond the promised [-1, 0].
    assert_eq!(target_mean(-1.75, 0.0), -1.75);
    // A reward beyond the promised range is seen through the sum, and not cut off.
    assert_eq!(target_mean(-7.0, 0.0), -7.0);
    let beyond = |continuation| target_mean(-1.0, continuation) + 1.0;
    assert!((beyond(0.25) / beyond(0.5) - 0.5).abs() < 1e-3, "{} {}", beyond(0.25), beyond(0.5));
}

#[test]
fn targets_stay_inside_what_rewards_allow() {
    // Rewards in [-1, 0] and a discount of 0.5: values lie in [-2, 0].
    let target_mean = |clamp: &str| {
        let mut config = serde_json::to_value(small()).unwrap();
        config["discount"] = json!(0.5);
        config["critic"]["q_clamp"] = json!(clamp);
        config["critic"]["learning_rate"] = json!(0.5);
        config["critic"]["target_rate"] = json!(1.0);
        let config: AwacConfig = serde_json::from_value(config).unwrap();
        let mut learner = Awac::new(&config, &context(5, 3, 1)).unwrap();
        let mut rows = batch(16, 5, 3, 0);
        let mut all = vec![];
        for k in 0..20 {
            rows.reward.fill(if k % 2 == 0 { -1.0 } else { 0.0 });
            all.push(learner.update(&rows).unwrap().get("train/target_mean").unwrap());
        }
        all
    };
    assert!(target_mean("reward_bounds").iter().all(|y| (-2.0..=0.0).contains(y)));
    assert!(!target_mean("off").iter().all(|y| (-2.0..=0.0).contains(y)));
}

#[test]
fn the_critics_optimiser_starts_anew_when_the_robot_goes_online() {
    for reset in [true, false] {
        let mut config = small();
        config.critic.reset_optimizer_online = reset;
        let mut learner = Awac::new(&config, &context(5, 3, 1)).unwrap();
        learner.enter_phase(PhaseKind::Offline).unwrap();
        learner.update(&batch(16, 5, 3, 0)).unwrap();
        learner.enter_phase(PhaseKind::Online).unwrap();
        let after = arrays(&learner);
        let zero = |name: &str| after[name].iter().all(|m| *m == 0.0);
        assert_eq!(zero("adam/critic0/first") && zero("adam/critic1/second"), reset);
        assert!(!zero("adam/actor/first"));
    }
}

#[test]
fn an_unusable_configuration_names_its_key() {
    let cases = [
        (json!({ "discount": 1.0 }), "discount"),
        (json!({ "temperature": 0.0 }), "temperature"),
        (json!({ "weight_clip": -1.0 }), "weight_clip"),
        (json!({ "value_estimate": { "policy_samples": 0 } }), "value_estimate"),
        (json!({ "returns": { "n_step": 1 } }), "returns.n_step"),
        (json!({ "offline_batch": 0 }), "offline_batch"),
        (json!({ "critic": { "count": 0 } }), "critic.count"),
        (json!({ "critic": { "hidden": [16, 0] } }), "critic.hidden"),
        (json!({ "critic": { "target_rate": 1.5 } }), "critic.target_rate"),
        (json!({ "actor": { "initial_std": 2.0 } }), "actor.initial_std"),
        (json!({ "actor": { "min_log_std": 1.0 } }), "actor.min_log_std"),
        (json!({ "actor": { "average_rate": 0.0 } }), "actor.average_rate"),
    ];
    for (config, key) in cases {
        let config: LearnerConfig = serde_json::from_value(json!({ "awac": config })).unwrap();
        match config.build(&context(5, 3, 1)) {
            Err(LearnError::Config { key: found, .. }) => assert_eq!(found, key),
            Err(e) => panic!("{key}: {e}"),
            Ok(_) => panic!("{key} was accepted"),
        }
    }
    assert!(serde_json::from_value::<LearnerConfig>(json!({ "awac": { "n_critic": 2 } })).is_err());
}

/// Everything that a learner does in a short life.
fn life(config: &LearnerConfig) -> Vec<u8> {
    let mut learner = config.build(&context(5, 3, 1)).unwrap();
    let mut data = surefoot_core::ReplayBuffer::new(5, 3, 1000);
    let rows = batch(100, 5, 3, 50);
    data.push_episode(&surefoot_core::Episode {
        observation: rows.observation,
        next_observation: rows.next_observation,
        action: rows.action,
        reward: rows.reward,
        end: vec![surefoot_core::StepEnd::Running; 100],
        ..Default::default()
    });
    let mut trace =
        format!("{:?}", [PhaseKind::Offline, PhaseKind::Online].map(|p| learner.sample_plan(p))).into_bytes();
    learner.fit(&data, &[]).unwrap();
    let mut update = |learner: &mut Box<dyn Learner>, k| {
        let mut rows = batch(32, 5, 3, k);
        // Some beyond the robot's range, some rewards that drive values to their bounds.
        rows.action.iter_mut().for_each(|a| *a *= 3.0);
        if k > 2 && learner.sample_plan(PhaseKind::Online).waits_for().is_some() {
            rows.last = (0..24).map(|i| if i % 6 == 5 { 1.0 } else { 0.0 }).collect();
        }
        trace.extend(format!("{:?}", learner.update(&rows).unwrap()).into_bytes());
    };
    for k in 0..3 {
        update(&mut learner, k);
    }
    learner.enter_phase(PhaseKind::Online).unwrap();
    for k in 3..6 {
        update(&mut learner, k);
    }
    trace.extend(learner.save().unwrap().remove("learner.safetensors").unwrap());
    trace.extend(serde_json::to_vec(&learner.artifact().unwrap().card.architecture).unwrap());
    trace
}

/// Paths of all settings, depth first; a list or a choice with a number is one setting.
fn leaves(json: &Value, path: &str, all: &mut Vec<String>) {
    match json.as_object() {
        Some(fields) if !fields.contains_key("policy_samples") => {
            for (key, value) in fields {
                leaves(value, &format!("{path}/{key}"), all);
            }
        }
        _ => all.push(path.to_owned()),
    }
}

#[test]
fn every_setting_of_every_learner_changes_what_it_does() {
    let others: BTreeMap<&str, Value> = BTreeMap::from([
        ("hidden", json!([8])),
        ("min_log_std", json!(-5.0)),
        ("max_log_std", json!(-0.5)),
        ("initial_std", json!(0.1)),
        ("learning_rate", json!(1e-3)),
        ("weight_decay", json!(0.1)),
        ("average_rate", json!(0.1)),
        ("max_explore_std", json!(0.2)),
        ("loss", json!("mean_squared_error")),
        ("batch", json!(7)),
        ("demo_action_margin", json!(0.1)),
        ("normalize_observations", json!(false)),
        ("observation_std_floor", json!(0.1)),
        ("count", json!(3)),
        ("min_over", json!(1)),
        ("layer_norm", json!(false)),
        ("target_rate", json!(0.5)),
        ("q_clamp", json!("off")),
        ("reset_optimizer_online", json!(false)),
        ("discount", json!(0.5)),
        ("temperature", json!(0.3)),
        ("weight", json!("exp")),
        ("weight_clip", json!(0.5)),
        ("advantage_clip", json!(-0.1)),
        ("advantage_q", json!("first")),
        ("value_estimate", json!("mean_action")),
        ("returns", json!("monte_carlo")),
        ("expectile", json!(0.9)),
        ("initial_temperature", json!(0.3)),
        ("temperature_learning_rate", json!(1e-2)),
        ("target_entropy", json!(3.0)),
        ("backup_entropy", json!(false)),
        ("actor_q", json!("mean")),
        ("offline_actor", json!("sac")),
        ("cloning", json!(0.1)),
        ("cloning_decay", json!({ "to": 0.5, "updates": 4 })),
        ("smoothing_std", json!(0.1)),
        ("smoothing_clip", json!(0.1)),
        ("actor_period", json!(1)),
        ("conservative_weight", json!(0.3)),
        ("online_conservative_weight", json!(0.3)),
        ("conservative_temperature", json!(0.3)),
        ("action_samples", json!(3)),
        ("calibrated", json!(true)),
        ("behaviour", json!({ "penalty": 0.2 })),
        ("lagrange", json!({ "target_gap": 0.5 })),
        ("max_target_backup", json!(true)),
        ("critic_penalty", json!(0.5)),
        ("mmd_target", json!(0.2)),
        ("kernel", json!("gaussian")),
        ("mmd_bandwidth", json!(1.0)),
        ("match_samples", json!(3)),
        ("next_samples", json!(3)),
        ("q_mix", json!(0.3)),
        ("warmup_updates", json!(4)),
        ("initial_multiplier", json!(0.3)),
        ("multiplier_learning_rate", json!(1e-2)),
        ("kl_weight", json!(0.1)),
        ("perturbation", json!(0.3)),
        ("act_samples", json!(7)),
        ("epochs", json!(2)),
        ("gae_lambda", json!(0.5)),
        ("update_env_steps", json!(100)),
        ("kl_step", json!(0.1)),
        ("conjugate_gradient_steps", json!(3)),
        ("damping", json!(0.1)),
        ("demonstration_weight", json!(0.5)),
        ("demonstration_decay", json!(0.5)),
        ("offline_batch", json!(7)),
        ("online_batch", json!(7)),
    ]);
    for name in LearnerConfig::NAMES {
        let mut default = serde_json::to_value(LearnerConfig::default_of(name).unwrap()).unwrap();
        if let Some(warmup) = default.pointer_mut("/bear/warmup_updates") {
            // Within this short life.
            *warmup = json!(2);
        }
        let base = life(&serde_json::from_value(default.clone()).unwrap());
        let mut paths = Vec::new();
        leaves(&default, "", &mut paths);
        for path in paths {
            let key = path.rsplit('/').next().unwrap();
            let mut other =
                others.get(key).unwrap_or_else(|| panic!("{path}: say here what else it can be")).clone();
            let mut changed = default.clone();
            let here = changed.pointer_mut(&path).unwrap();
            if *here == other {
                other = match here {
                    Value::Bool(on) => json!(!*on),
                    Value::String(s) if s == "off" => json!("reward_bounds"),
                    Value::String(s) if s == "exp" => json!("whiten"),
                    Value::String(s) if s == "monte_carlo" => json!("one_step"),
                    Value::Number(_) => json!(0.2),
                    _ => panic!("{path}: say here what else it can be"),
                };
            }
            *here = other;
            assert!(life(&serde_json::from_value(changed).unwrap()) != base, "{path} changes nothing");
        }
    }
}

#[test]
fn several_policy_samples_are_averaged() {
    let mean_advantage = |samples| {
        let config = AwacConfig { value_estimate: ValueEstimate::PolicySamples(samples), ..small() };
        let mut learner = Awac::new(&config, &context(5, 3, 1)).unwrap();
        let draw = batch(16, 1, 3, 1).action;
        let noise =
            Noise { next_action: draw.clone(), policy_action: vec![draw; samples], ..Noise::default() };
        learner.update_with_noise(&batch(16, 5, 3, 0), &noise).unwrap().get("train/advantage_mean").unwrap()
    };
    assert!((mean_advantage(1) - mean_advantage(4)).abs() < 1e-6);
}
