//! Training on learning histories.

use std::collections::BTreeSet;

use surefoot_core::{
    ActMode, Feedback, HistoryLearner, HistorySource, LearnError, Outcome, Policy, ResetScope, Rows, RowsMut,
    StepEnd, Stream,
};
use surefoot_policies::in_context::data::{Draw, EpisodeOrder, TrainingData};
use surefoot_policies::in_context::network::{Network, Pass};
use surefoot_policies::in_context::shape::TokenShape;
use surefoot_policies::in_context::tokens::Before;
use surefoot_policies::in_context::windows::Window;
use surefoot_policies::in_context::{Distiller, DistillerConfig, ModelConfig, OptimizerConfig, WindowConfig};

use super::bandit::{chances, histories};
use super::gradients::{random_theta, shape, window};

fn config(updates: u64) -> DistillerConfig {
    DistillerConfig {
        model: ModelConfig {
            width: 16,
            layers: 2,
            heads: 2,
            feed_forward: 32,
            window: 20,
            ..ModelConfig::default()
        },
        windows: WindowConfig { tokens: Some(20), token_mask: 0.1, ..WindowConfig::default() },
        optimizer: OptimizerConfig {
            updates,
            batch: 16,
            learning_rate: 5e-3,
            final_learning_rate: 5e-4,
            warm_up_updates: 20,
            ..OptimizerConfig::default()
        },
        ..DistillerConfig::default()
    }
}

fn distiller(updates: u64, threads: usize) -> Distiller {
    let data = histories(60, 3, 20);
    Distiller::new(&config(updates), &data, &BTreeSet::new(), 5, threads).unwrap()
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    let trained = |threads| {
        let mut d = distiller(100, threads);
        let metrics: Vec<_> = (0..7).map(|_| d.update().unwrap()).collect();
        (metrics, d.save().unwrap())
    };
    let one = trained(1);
    assert_eq!(one, trained(2));
    assert_eq!(one, trained(4));
}

#[test]
fn a_resumed_distillation_ends_in_the_same_bits() {
    let mut whole = distiller(100, 1);
    (0..5).for_each(|_| drop(whole.update().unwrap()));
    let saved = whole.save().unwrap();
    (0..5).for_each(|_| drop(whole.update().unwrap()));
    let mut resumed = distiller(100, 1);
    resumed.load(&saved).unwrap();
    assert_eq!(resumed.updates(), 5);
    (0..5).for_each(|_| drop(resumed.update().unwrap()));
    assert_eq!(resumed.save().unwrap(), whole.save().unwrap());
    assert_eq!(resumed.artifact().unwrap(), whole.artifact().unwrap());
}

#[test]
fn state_of_another_distillation_is_refused_by_name() {
    let mut d = distiller(100, 1);
    let saved = d.save().unwrap();
    let other = |data: usize, seed: u64| {
        let data = histories(data, 3, 20);
        let mut other = Distiller::new(&config(100), &data, &BTreeSet::new(), seed, 1).unwrap();
        other.load(&saved).unwrap_err().to_string()
    };
    assert!(other(60, 6).contains("seed: expected 6, found 5"));
    assert!(other(59, 5).contains("histories"));
    let mut cut = saved.clone();
    cut.remove("learner.safetensors");
    assert!(d.load(&cut).unwrap_err().to_string().contains("learner.safetensors"));
    let mut damaged = saved;
    damaged.get_mut("learner.safetensors").unwrap().truncate(50);
    assert!(d.load(&damaged).is_err());
}

#[test]
fn updates_keep_no_memory() {
    let mut d = distiller(100, 1);
    // Buffers have their largest size once a whole window has gone through.
    (0..5).for_each(|_| drop(d.update().unwrap()));
    let counted = allocation_counter::measure(|| (0..10).for_each(|_| drop(d.update().unwrap())));
    // What there is comes from matrix products, which pack their operands, and goes with them.
    assert_eq!(counted.bytes_current, 0);
    assert!(counted.bytes_max < 1 << 20, "{} bytes", counted.bytes_max);
}

#[test]
fn numbers_that_are_not_finite_stop_with_the_last_good_state() {
    let mut config = config(100);
    config.optimizer.learning_rate = 1e30;
    config.optimizer.final_learning_rate = 1e30;
    config.optimizer.warm_up_updates = 0;
    let mut d = Distiller::new(&config, &histories(20, 3, 20), &BTreeSet::new(), 5, 1).unwrap();
    let mut before = d.save().unwrap();
    let error = loop {
        match d.update() {
            Ok(_) => before = d.save().unwrap(),
            Err(e) => break e,
        }
    };
    assert!(matches!(error, LearnError::NotFinite { .. }), "{error}");
    assert_eq!(d.save().unwrap(), before);
}

fn windows(config: &WindowConfig, tokens: usize, count: u64) -> Vec<Window> {
    let source = histories(10, 3, 20);
    let shape = TokenShape::of(&source.meta().spec, &ModelConfig::default());
    let data = TrainingData::read(&source, &shape, config, tokens, &BTreeSet::new()).unwrap();
    let mut draw = Draw::default();
    (0..count)
        .map(|i| {
            let mut window = Window::new(&shape);
            data.draw(&mut Stream::new(1, "w", i), &mut draw, &mut window);
            window
        })
        .collect()
}

#[test]
fn windows_are_stretches_of_one_history_and_some_begin_with_a_life() {
    let config = WindowConfig { token_mask: 0.0, cold_start: 0.25, ..WindowConfig::default() };
    let source = histories(10, 3, 20);
    let all: Vec<_> = (0..10).map(|i| source.history(i).unwrap()).collect();
    let windows = windows(&config, 8, 400);
    let mut cold = 0;
    for w in &windows {
        assert_eq!(w.len(), 8);
        let targets: Vec<f32> = (0..8).map(|i| w.target(i)[0] as f32).collect();
        let rewards: Vec<f32> = (1..8)
            .map(|i| match w.token(i).before {
                Before::Step { reward, action, .. } => {
                    assert_eq!(action[0] as f32, targets[i - 1]);
                    reward
                }
                Before::Nothing => panic!("nothing came before a later token"),
            })
            .collect();
        let first = w.token(0).step;
        let fits = all.iter().any(|h| {
            h.actions[first..first + 8] == targets[..] && h.rewards[first..first + 7] == rewards[..]
        });
        assert!(fits, "a window of no history");
        cold += usize::from(w.token(0).before == Before::Nothing);
        assert_eq!(w.token(0).before == Before::Nothing, first == 0);
    }
    // A quarter, and the chance of a random start at the first step.
    assert!((90..190).contains(&cold), "{cold}");
}

#[test]
fn masks_hide_the_past_and_never_what_is_asked_about() {
    let config = WindowConfig { token_mask: 0.3, ..WindowConfig::default() };
    let (mut hidden, mut all) = (0, 0);
    for w in windows(&config, 20, 100) {
        for i in 0..w.len() {
            let masked = w.token(i).masked;
            assert_eq!(masked.observation, w.weight(i) == 0.0);
            hidden +=
                usize::from(masked.action) + usize::from(masked.reward) + usize::from(masked.observation);
            all += 3;
        }
    }
    let share = hidden as f64 / f64::from(all);
    assert!((share - 0.3).abs() < 0.03, "{share}");
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let refused = |change: &dyn Fn(&mut DistillerConfig)| {
        let mut config = config(10);
        change(&mut config);
        let data = histories(3, 3, 20);
        Distiller::new(&config, &data, &BTreeSet::new(), 0, 1)
            .err()
            .map(|e| e.to_string())
            .unwrap_or_default()
    };
    assert!(refused(&|c| c.model.heads = 3).contains("model.heads"));
    assert!(refused(&|c| c.model.window = 0).contains("model.window"));
    assert!(refused(&|c| c.windows.token_mask = 1.0).contains("windows.token_mask"));
    assert!(refused(&|c| c.windows.part = [0.5, 0.5]).contains("windows.part"));
    assert!(refused(&|c| c.windows.every = [3, 2]).contains("windows.every"));
    assert!(refused(&|c| c.optimizer.betas = [0.9, 1.0]).contains("optimizer.betas"));
    assert!(refused(&|c| c.optimizer.final_learning_rate = 1.0).contains("optimizer.final_learning_rate"));
    assert!(refused(&|c| c.acting.token_stride = 0).contains("acting.token_stride"));
    let expert = refused(&|c| c.windows.imitate = surefoot_policies::in_context::data::Imitated::Expert);
    assert!(expert.contains("history 0") && expert.contains("expert"), "{expert}");
    let _ = EpisodeOrder::Shuffled;
}

/// Mean reward of the last half of an episode of 20 pulls on tasks that nobody has seen.
fn late_reward(policy: &mut dyn Policy, blind: bool) -> f64 {
    let mut sum = 0.0;
    let tasks = 100;
    for task in 1_000..1_000 + tasks {
        let chances = chances(task, 3);
        let mut stream = Stream::new(task, "judge", 0);
        policy.reset(0, ResetScope::Task, task);
        for t in 0..20 {
            let mut action = [0.0];
            policy.act(Rows::new(&[0.0], 1), ActMode::Explore, RowsMut::new(&mut action, 1)).unwrap();
            let reward = f32::from(u8::from(stream.unit() < f64::from(chances[action[0] as usize])));
            let seen = if blind { 0.0 } else { reward };
            let outcome = Outcome { reward: seen, end: StepEnd::Running, ..Outcome::default() };
            policy.observe(&[Feedback { slot: 0, outcome, executed: None }]);
            sum += if t >= 10 { f64::from(reward) } else { 0.0 };
        }
    }
    sum / (10 * tasks) as f64
}

#[test]
fn a_trained_transformer_finds_the_best_arm_of_new_tasks_and_only_by_rewards() {
    let data = histories(400, 3, 20);
    let mut d = Distiller::new(&config(400), &data, &BTreeSet::new(), 1, 1).unwrap();
    let before = late_reward(&mut *d.policy(1).unwrap(), false);
    let mut last = 0.0;
    for _ in 0..400 {
        last = d.update().unwrap().get("train/loss").unwrap();
    }
    let mut policy = d.policy(1).unwrap();
    let (after, blind) = (late_reward(&mut *policy, false), late_reward(&mut *policy, true));
    println!("loss {last:.3}, late reward before {before:.3}, after {after:.3}, blind {blind:.3}");
    // Random pulls bring 0.37, the best arm 0.9.
    assert!(before < 0.5, "{before}");
    assert!(after > 0.7, "{after}");
    assert!(blind < 0.5, "{blind}");
}

/// 95 % of the actions may be predicted by who copies the last one, and knows nothing.
#[test]
fn what_is_right_by_copying_the_action_before_is_no_change_that_was_predicted() {
    let network = Network::new(config(1).model, shape());
    let mut theta = random_theta(&network, 1);
    // The first bin of both dimensions, whatever is seen.
    let head = network.layout.head;
    head.weight.of_mut(&mut theta).fill(0.0);
    for (i, x) in head.bias.of_mut(&mut theta).iter_mut().enumerate() {
        *x = if i == 0 || i == 4 { 1.0 } else { 0.0 };
    }
    let window = window(&network.shape, 40, 1, false);
    let mut pass = Pass::default();
    network.forward(&theta, &window, &mut pass);
    let found = network.loss(&window, 0.0, 1.0, &mut pass);
    let (mut changed, mut right) = (0.0, 0.0);
    for i in 0..window.len() {
        let Before::Step { action, .. } = window.token(i).before else { continue };
        for (_, target) in action.iter().zip(window.target(i)).filter(|(b, t)| b != t) {
            let weight = f64::from(window.weight(i)) / 2.0;
            changed += weight;
            right += if *target == 0 { weight } else { 0.0 };
        }
    }
    assert!(
        (found.changed - changed).abs() < 1e-9 && (found.changed_right - right).abs() < 1e-9,
        "{found:?}"
    );
    assert!(0.0 < right && right < changed && changed < found.weight, "{found:?}");
}
