//! What holds for every learner.

use serde_json::json;
use surefoot_core::{Batch, Beside, Blobs, LearnError, Learner, PhaseKind, Returns, SamplePlan};
use surefoot_policies::{Device, LearnerConfig};

use crate::data::{batch, context};

/// Every registered learner with small networks, and some by options that need more of a batch.
fn small() -> Vec<LearnerConfig> {
    let small = |config: LearnerConfig| {
        let mut json = serde_json::to_value(&config).unwrap();
        for part in ["actor", "critic", "behaviour", "value"] {
            let part = json[config.name()].get_mut(part).filter(|part| part.get("hidden").is_some());
            if let Some(part) = part {
                part["hidden"] = serde_json::json!([16, 16]);
            }
        }
        if let Some(rate) = json[config.name()]["actor"].get_mut("average_rate") {
            *rate = serde_json::json!(0.1);
        }
        serde_json::from_value(json).unwrap()
    };
    let by_options = [
        json!({ "cql": { "calibrated": true, "max_target_backup": true, "lagrange": { "target_gap": 0.5 } } }),
        json!({ "td3_bc": { "critic_penalty": 0.3 } }),
        json!({ "awr": { "returns": { "td_lambda": {} } } }),
        json!({ "sac": { "behaviour": { "penalty": 0.2 }, "offline_actor": "sac" } }),
        json!({ "sac": {
            "behaviour": { "penalty": 0.2, "max_divergence": 0.5, "prior": { "advantage": {} } }, "offline_actor": "sac",
        } }),
        json!({ "bear": { "warmup_updates": 0, "kernel": "gaussian" } }),
    ];
    let defaults = LearnerConfig::NAMES.iter().map(|n| LearnerConfig::default_of(n).unwrap());
    defaults.chain(by_options.map(|json| serde_json::from_value(json).unwrap())).map(small).collect()
}

/// Whether a learner has values of actions, by its name.
fn has_critics(name: &str) -> bool {
    !["bc", "dapg"].contains(&name)
}

fn build(config: &LearnerConfig, seed: u64) -> Box<dyn Learner> {
    config.build(&context(5, 3, seed)).unwrap()
}

fn update(learner: &mut dyn Learner, range: std::ops::Range<u64>) -> Vec<(&'static str, f64)> {
    range.flat_map(|k| learner.update(&batch(32, 5, 3, k)).unwrap().iter().collect::<Vec<_>>()).collect()
}

#[test]
fn a_saved_and_loaded_learner_continues_bit_for_bit() {
    for config in small() {
        let mut whole = build(&config, 1);
        update(whole.as_mut(), 0..5);
        whole.enter_phase(PhaseKind::Online).unwrap();
        update(whole.as_mut(), 5..8);
        let saved = whole.save().unwrap();
        let rest = update(whole.as_mut(), 8..12);

        let mut resumed = build(&config, 99);
        resumed.load(&saved).unwrap();
        assert_eq!(resumed.save().unwrap(), saved, "{}", config.name());
        assert_eq!(update(resumed.as_mut(), 8..12), rest, "{}", config.name());
        assert_eq!(resumed.save().unwrap(), whole.save().unwrap(), "{}", config.name());
        assert_eq!(resumed.artifact().unwrap(), whole.artifact().unwrap());
        assert_eq!(resumed.updates(), 12);
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_seed_does_not() {
    for config in small() {
        let run = |seed| {
            let mut learner = build(&config, seed);
            update(learner.as_mut(), 0..3);
            learner.save().unwrap()
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }
}

#[test]
fn damaged_or_foreign_state_is_refused_and_changes_nothing() {
    for config in small() {
        let mut learner = build(&config, 1);
        update(learner.as_mut(), 0..2);
        let before = learner.save().unwrap();
        let other = config.build(&context(6, 3, 1)).unwrap().save().unwrap();
        let mut missing = before.clone();
        missing.remove("learner.safetensors");
        let cut = |name: &str| -> Blobs {
            let mut blobs = before.clone();
            let half = blobs[name].len() / 2;
            blobs.get_mut(name).unwrap().truncate(half);
            blobs
        };
        let cases = [other, missing, Blobs::new(), cut("learner.json"), cut("learner.safetensors")];
        for blobs in &cases {
            let error = learner.load(blobs).unwrap_err();
            assert!(matches!(error, LearnError::State { .. }), "{error}");
            assert_eq!(learner.save().unwrap(), before);
        }
    }
    let defaults = || small().into_iter().take(LearnerConfig::NAMES.len());
    for (mine, other) in defaults().zip(defaults().cycle().skip(1)) {
        let saved = build(&mine, 1).save().unwrap();
        let text = build(&other, 1).load(&saved).unwrap_err().to_string();
        let expected = format!("expected {}, found {}", other.name(), mine.name());
        assert!(text.contains(&expected), "{text}");
    }
}

#[test]
fn nan_in_a_batch_is_an_error_and_changes_nothing() {
    for config in small() {
        let mut learner = build(&config, 1);
        update(learner.as_mut(), 0..2);
        let before = learner.save().unwrap();
        let columns: [fn(&mut Batch) -> &mut Vec<f32>; 4] =
            [|b| &mut b.observation, |b| &mut b.action, |b| &mut b.reward, |b| &mut b.next_observation];
        for column in columns {
            let mut bad = batch(32, 5, 3, 9);
            column(&mut bad)[7] = f32::NAN;
            let error = learner.update(&bad).unwrap_err();
            assert!(matches!(error, LearnError::NotFinite { updates: 2, .. }), "{error}");
            assert_eq!(learner.save().unwrap(), before);
        }
    }
}

#[test]
fn batches_of_another_shape_are_refused() {
    for config in small() {
        let mut learner = build(&config, 1);
        for bad in [batch(32, 4, 3, 0), batch(32, 5, 2, 0), batch(0, 5, 3, 0)] {
            assert!(matches!(learner.update(&bad), Err(LearnError::Policy(_))));
        }
        let mut ragged = batch(32, 5, 3, 0);
        ragged.reward.pop();
        assert!(learner.update(&ragged).is_err());
    }
}

#[test]
fn every_learner_names_its_batch_and_evaluates_without_changing() {
    for (i, config) in small().into_iter().enumerate() {
        let mut learner = build(&config, 1);
        let plan = learner.sample_plan(PhaseKind::Offline);
        assert!(plan.batch() > 0);
        let by_options = i >= LearnerConfig::NAMES.len();
        if let SamplePlan::Transitions { returns, beside, .. } = plan {
            let expected = match config.name() {
                "awr" => Returns::MonteCarlo { discount: 0.99 },
                _ => Returns::OneStep,
            };
            assert_eq!(returns, expected, "{} by default", config.name());
            assert!(by_options || beside == Beside::default(), "{} by default", config.name());
        } else {
            assert!(by_options, "{}", config.name());
        }
        update(learner.as_mut(), 0..2);
        let before = learner.save().unwrap();
        let first = learner.evaluate(&batch(50, 5, 3, 1)).unwrap();
        assert_eq!(learner.evaluate(&batch(50, 5, 3, 1)).unwrap(), first);
        for name in learner.heldout_metrics() {
            assert!(first.get(name).unwrap().is_finite(), "{}: {name}", config.name());
        }
        // Early stopping goes by this one by default.
        let density = config.name() != "bcq";
        assert_eq!(first.get("heldout/log_likelihood").is_some(), density, "{}", config.name());
        assert_eq!(learner.save().unwrap(), before);
    }
}

#[test]
fn results_are_the_same_bits_on_any_number_of_threads() {
    for config in small() {
        let run = |threads| {
            let mut learner = config.build(&context(5, 3, 1).with_threads(threads)).unwrap();
            learner.enter_phase(PhaseKind::Online).unwrap();
            let metrics = update(learner.as_mut(), 0..4);
            (metrics, learner.save().unwrap())
        };
        let one = run(1);
        assert!(run(2) == one, "{} on 2 threads", config.name());
        assert!(run(4) == one, "{} on 4 threads", config.name());
    }
}

#[test]
fn another_device_gives_nearly_the_same_numbers_and_one_that_is_not_there_is_named() {
    for config in small() {
        let run = |device| {
            let mut learner = config.build(&context(5, 3, 1).on(device)).unwrap();
            update(learner.as_mut(), 0..3)
        };
        for ((name, a), (_, b)) in run(Device::Cpu).iter().zip(run(Device::CpuAutograd)) {
            assert!((a - b).abs() < 1e-3 * b.abs().max(1.0), "{} {name}: {a} {b}", config.name());
        }
        if cfg!(not(feature = "cuda")) {
            let text = config.build(&context(5, 3, 1).on(Device::Cuda)).err().unwrap().to_string();
            assert!(text.contains("--features cuda"), "{text}");
        }
    }
}

#[test]
fn only_termination_stops_the_bootstrap_of_learners_with_critics() {
    for config in small().iter().filter(|c| has_critics(c.name())) {
        let target_mean = |continuation: f32| {
            let rows =
                Batch { continuation: vec![continuation; 16], reward: vec![-1.0; 16], ..batch(16, 5, 3, 0) };
            build(config, 1).update(&rows).unwrap().get("train/target_mean").unwrap()
        };
        assert_eq!(target_mean(0.0), -1.0, "{}", config.name());
        assert_ne!(target_mean(1.0), -1.0, "{}", config.name());
    }
}

#[test]
fn an_unusable_setting_of_any_learner_names_its_key() {
    let cases = [
        ("awr", json!({ "weight_clip": 0.0 }), "weight_clip"),
        ("awr", json!({ "returns": { "td_lambda": { "lambda": 1.5 } } }), "returns.td_lambda.lambda"),
        ("awr", json!({ "returns": { "td_lambda": { "steps": 1 } } }), "returns.td_lambda.steps"),
        ("bcq", json!({ "perturbation": -0.1 }), "perturbation"),
        ("bcq", json!({ "next_samples": 0 }), "next_samples"),
        ("bcq", json!({ "act_samples": 0 }), "act_samples"),
        ("bcq", json!({ "q_mix": -0.5 }), "q_mix"),
        ("bcq", json!({ "actor": { "hidden": [0] } }), "actor.hidden"),
        ("bcq", json!({ "actor": { "learning_rate": 0.0 } }), "actor.learning_rate"),
        ("bear", json!({ "mmd_target": 0.0 }), "mmd_target"),
        ("bear", json!({ "mmd_bandwidth": 0.0 }), "mmd_bandwidth"),
        ("bear", json!({ "match_samples": 0 }), "match_samples"),
        ("bear", json!({ "next_samples": 101 }), "next_samples"),
        ("bear", json!({ "q_mix": 1.5 }), "q_mix"),
        ("bear", json!({ "behaviour": { "hidden": [0] } }), "behaviour.hidden"),
        ("bear", json!({ "behaviour": { "kl_weight": -1.0 } }), "behaviour.kl_weight"),
        ("cql", json!({ "conservative_weight": -1.0 }), "conservative_weight"),
        ("cql", json!({ "online_conservative_weight": -1.0 }), "online_conservative_weight"),
        ("cql", json!({ "conservative_temperature": 0.0 }), "conservative_temperature"),
        ("cql", json!({ "action_samples": 0 }), "action_samples"),
        ("cql", json!({ "lagrange": { "target_gap": 0.8, "learning_rate": 0.0 } }), "lagrange.learning_rate"),
        ("cql", json!({ "initial_temperature": 0.0 }), "initial_temperature"),
        ("dapg", json!({ "discount": 1.0 }), "discount"),
        ("dapg", json!({ "gae_lambda": 1.5 }), "gae_lambda"),
        ("dapg", json!({ "kl_step": 0.0 }), "kl_step"),
        ("dapg", json!({ "conjugate_gradient_steps": 0 }), "conjugate_gradient_steps"),
        ("dapg", json!({ "damping": 0.0 }), "damping"),
        ("dapg", json!({ "demonstration_weight": -1.0 }), "demonstration_weight"),
        ("dapg", json!({ "demonstration_decay": 1.1 }), "demonstration_decay"),
        ("dapg", json!({ "update_env_steps": 0 }), "update_env_steps"),
        ("dapg", json!({ "offline_batch": 0 }), "offline_batch"),
        ("dapg", json!({ "value": { "epochs": 0 } }), "value.epochs"),
        ("dapg", json!({ "value": { "hidden": [0] } }), "value.hidden"),
        ("dapg", json!({ "actor": { "initial_std": 2.0 } }), "actor.initial_std"),
        ("iql", json!({ "expectile": 1.0 }), "expectile"),
        ("iql", json!({ "temperature": 0.0 }), "temperature"),
        ("iql", json!({ "discount": 1.0 }), "discount"),
        ("sac", json!({ "behaviour": { "penalty": -1.0 } }), "behaviour.penalty"),
        ("sac", json!({ "behaviour": { "learning_rate": 0.0 } }), "behaviour.learning_rate"),
        ("sac", json!({ "behaviour": { "max_divergence": 0.0 } }), "behaviour.max_divergence"),
        ("sac", json!({ "behaviour": { "max_divergence": 1.0, "penalty": 0.0 } }), "behaviour.penalty"),
        (
            "sac",
            json!({ "behaviour": { "prior": { "advantage": { "temperature": 0.0 } } } }),
            "behaviour.prior.advantage.temperature",
        ),
        ("sac", json!({ "initial_temperature": 0.0 }), "initial_temperature"),
        ("sac", json!({ "temperature_learning_rate": -1.0 }), "temperature_learning_rate"),
        ("sac", json!({ "actor": { "min_log_std": 3.0 } }), "actor.min_log_std"),
        ("sac", json!({ "actor": { "hidden": [0] } }), "actor.hidden"),
        ("sac", json!({ "critic": { "min_over": 3 } }), "critic.min_over"),
        ("sac", json!({ "critic": { "min_over": 0 } }), "critic.min_over"),
        ("td3_bc", json!({ "cloning": -0.1 }), "cloning"),
        ("td3_bc", json!({ "critic_penalty": -0.1 }), "critic_penalty"),
        ("td3_bc", json!({ "cloning_decay": { "to": 2.0, "updates": 9 } }), "cloning_decay"),
        ("td3_bc", json!({ "smoothing_clip": 0.0 }), "smoothing_clip"),
        ("td3_bc", json!({ "actor_period": 0 }), "actor_period"),
    ];
    for (name, settings, key) in cases {
        let config: LearnerConfig = serde_json::from_value(json!({ name: settings })).unwrap();
        match config.build(&context(5, 3, 1)) {
            Err(LearnError::Config { key: found, learner, .. }) => assert_eq!((learner, found), (name, key)),
            Err(e) => panic!("{key}: {e}"),
            Ok(_) => panic!("{key} was accepted"),
        }
    }
}

#[test]
fn a_diverging_loss_names_its_tensor_and_changes_nothing() {
    for config in small().iter().filter(|c| has_critics(c.name())) {
        let mut learner = build(config, 1);
        update(learner.as_mut(), 0..2);
        let before = learner.save().unwrap();
        // Finite numbers, but the square of a critic's error is not.
        let rows = Batch { reward: vec![-1e30; 32], continuation: vec![0.0; 32], ..batch(32, 5, 3, 2) };
        let text = learner.update(&rows).unwrap_err().to_string();
        assert!(text.contains("train/critic_"), "{}: {text}", config.name());
        let arrays = |blobs: &Blobs| blobs["learner.safetensors"].clone();
        let after = learner.save().unwrap();
        let value_alone = config.name() == "iql";
        assert!(value_alone || arrays(&after) == arrays(&before), "{}", config.name());
        assert_eq!(learner.updates(), 2);
    }
}

#[test]
fn learners_with_critics_take_importance_weights_and_tell_their_errors() {
    for config in small().iter().filter(|c| has_critics(c.name())) {
        let run = |weight: Vec<f32>| {
            let mut learner = build(config, 1);
            let rows = Batch { weight, ..batch(16, 5, 3, 0) };
            let loss = learner.update(&rows).unwrap().get("train/critic_loss").unwrap();
            let errors = learner.td_errors().unwrap().len();
            (loss, errors, learner.save().unwrap())
        };
        let ((plain, errors, saved), (_, _, ones), (half, ..)) =
            (run(Vec::new()), run(vec![1.0; 16]), run(vec![0.5; 16]));
        assert!(ones == saved && errors == 16, "{}", config.name());
        // IQL's value has stepped by then, which is part of its targets.
        let within = if config.name() == "iql" { 1e-2 } else { 1e-6 };
        assert!((half / plain - 0.5).abs() < within, "{}: {half} {plain}", config.name());
    }
}

#[test]
fn learners_with_critics_ask_for_returns_over_several_steps() {
    for name in LearnerConfig::NAMES.iter().filter(|n| has_critics(n)) {
        let learner = |returns| {
            let config: LearnerConfig =
                serde_json::from_value(json!({ *name: { "returns": returns, "discount": 0.5 } })).unwrap();
            config.build(&context(5, 3, 1))
        };
        let SamplePlan::Transitions { returns, .. } =
            learner(json!({ "n_step": 3 })).unwrap().sample_plan(PhaseKind::Online)
        else {
            panic!("{name}")
        };
        assert_eq!(returns, Returns::NStep { n: 3, discount: 0.5 });
        assert!(matches!(
            learner(json!({ "n_step": 1 })),
            Err(LearnError::Config { key: "returns.n_step", .. })
        ));
    }
}

#[test]
fn what_a_transition_brings_with_it_is_asked_for_and_missed_by_name() {
    let cases = [
        (
            json!({ "cql": { "calibrated": true, "discount": 0.5 } }),
            Beside { next_action: false, return_to_go: Some(0.5) },
        ),
        (json!({ "td3_bc": { "critic_penalty": 0.1 } }), Beside { next_action: true, return_to_go: None }),
    ];
    for (config, expected) in cases {
        let config: LearnerConfig = serde_json::from_value(config).unwrap();
        let mut learner = build(&config, 1);
        let SamplePlan::Transitions { beside, .. } = learner.sample_plan(PhaseKind::Online) else { panic!() };
        assert_eq!(beside, expected);
        let mut bare = batch(16, 5, 3, 0);
        let columns = [&mut bare.next_action, &mut bare.next_action_mask, &mut bare.return_to_go];
        columns.into_iter().for_each(Vec::clear);
        bare.return_continuation.clear();
        let before = learner.save().unwrap();
        let text = learner.update(&bare).unwrap_err().to_string();
        assert!(text.contains("batch next action") || text.contains("batch returns"), "{text}");
        assert_eq!(learner.save().unwrap(), before);
    }
}
