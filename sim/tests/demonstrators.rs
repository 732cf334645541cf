//! Demonstrators: partly failing, reproducible per slot and seed, and refused where they do not fit.

#![allow(clippy::unwrap_used)]

use surefoot_core::{ActMode, ResetScope, Rows, RowsMut};
use surefoot_sim::{DemonstratorConfig, DemonstratorContext, EnvConfig, EnvContext};

/// Share of successes, and violations, over `episodes` seeds.
fn rate(name: &str, episodes: u64) -> (f64, u64) {
    let mut env = EnvConfig::default_of(name).unwrap().build(&EnvContext::default()).unwrap();
    let spec = env.spec().clone();
    let context = DemonstratorContext { spec: spec.clone(), slots: 1 };
    let mut policy = DemonstratorConfig::default_of(name).unwrap().build(&context).unwrap();
    let mut observation = vec![0.0; spec.observation_dim()];
    let (mut action, mut executed) = (vec![0.0; spec.action_dim()], vec![0.0; spec.action_dim()]);
    let (mut successes, mut violations) = (0_u32, 0);
    for seed in 0..episodes {
        env.reset(seed, &mut observation).unwrap();
        policy.reset(0, ResetScope::Task, seed);
        loop {
            let rows = Rows::new(&observation, spec.observation_dim());
            policy.act(rows, ActMode::Explore, RowsMut::new(&mut action, spec.action_dim())).unwrap();
            let outcome = env.step(&action, &mut observation, &mut executed).unwrap();
            violations += outcome.safety.violations;
            if outcome.end.is_last() {
                successes += u32::from(outcome.success);
                break;
            }
        }
    }
    (f64::from(successes) / episodes as f64, violations)
}

#[test]
fn about_half_of_the_demonstrations_succeed_and_none_breaks_a_limit() {
    // A cheetah runs as far as it comes: see sim/tests/reference_controllers.rs.
    let without_a_goal = ["random", "half_cheetah"];
    for name in DemonstratorConfig::NAMES.iter().filter(|n| !without_a_goal.contains(n)) {
        // Seconds of a gait are many steps.
        let walks = ["quadruped", "hopper", "walker2d", "ant"].contains(name);
        let (success, violations) = rate(name, if walks { 40 } else { 80 });
        assert!((0.45..0.75).contains(&success), "{name}: {success}");
        assert_eq!(violations, 0, "{name}");
    }
}

#[test]
fn whoever_acts_without_a_thought_fits_any_environment_and_holds_its_actions() {
    for name in EnvConfig::NAMES {
        let spec = EnvConfig::default_of(name).unwrap().build(&EnvContext::default()).unwrap().spec().clone();
        let (observations, dim) = (vec![0.0; 2 * spec.observation_dim()], spec.action_dim());
        let config: DemonstratorConfig = toml::from_str("random = { size = 0.5, hold_steps = 3 }").unwrap();
        let mut policy = config.build(&DemonstratorContext { spec: spec.clone(), slots: 2 }).unwrap();
        policy.reset(0, ResetScope::Task, 4);
        policy.reset(1, ResetScope::Task, 5);
        let mut act = || {
            let mut actions = vec![0.0; 2 * dim];
            let rows = Rows::new(&observations, spec.observation_dim());
            policy.act(rows, ActMode::Explore, RowsMut::new(&mut actions, dim)).unwrap();
            actions
        };
        let actions: Vec<Vec<f32>> = (0..6).map(|_| act()).collect();
        assert!(actions[0] == actions[2] && actions[2] != actions[3] && actions[3] == actions[5], "{name}");
        assert_ne!(actions[0][..dim], actions[0][dim..], "{name}");
        assert!(actions.iter().flatten().all(|a| a.abs() <= 0.5), "{name}");
    }
}

#[test]
fn a_slot_acts_by_its_seed_alone_and_a_wrong_spec_is_refused() {
    let spec = EnvConfig::default_of("push").unwrap().build(&EnvContext::default()).unwrap().spec().clone();
    let config = DemonstratorConfig::default_of("push").unwrap();
    let build = |slots| config.build(&DemonstratorContext { spec: spec.clone(), slots }).unwrap();
    let row: Vec<f32> = (0..12_u8).map(|i| 0.02 * f32::from(i)).collect();
    let rows = [row.clone(), row.clone(), row.clone()].concat();
    let (mut three, mut one) = (build(3), build(1));
    for slot in 0..3 {
        three.reset(slot, ResetScope::Task, 10 + slot as u64);
    }
    one.reset(0, ResetScope::Task, 12);
    for _ in 0..30 {
        let (mut many, mut single) = ([0.0; 6], [0.0; 2]);
        three.act(Rows::new(&rows, 12), ActMode::Explore, RowsMut::new(&mut many, 2)).unwrap();
        one.act(Rows::new(&row, 12), ActMode::Explore, RowsMut::new(&mut single, 2)).unwrap();
        assert_eq!(many[4..], single);
        assert_ne!(many[..2], many[2..4]);
    }
    let other =
        EnvConfig::default_of("pendulum").unwrap().build(&EnvContext::default()).unwrap().spec().clone();
    let error = config.build(&DemonstratorContext { spec: other, slots: 1 }).err().unwrap().to_string();
    assert!(error.contains("tool_to_puck_x"), "{error}");
    let wrong = one.act(Rows::new(&row[..10], 10), ActMode::Explore, RowsMut::new(&mut [0.0; 2], 2));
    assert!(wrong.is_err());
}
