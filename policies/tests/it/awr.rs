//! Returns between one step and all of them.

use serde_json::json;
use surefoot_core::{Batch, Episode, Learner, PhaseKind, ReplayBuffer, SamplePlan, StepEnd};
use surefoot_policies::LearnerConfig;

use crate::data::{batch, context};

fn build(returns: &serde_json::Value) -> Box<dyn Learner> {
    let config: LearnerConfig = serde_json::from_value(json!({ "awr": {
        "actor": { "hidden": [16, 16] }, "critic": { "hidden": [16, 16] }, "discount": 0.9, "returns": returns, "offline_batch": 24,
    } }))
    .unwrap();
    config.build(&context(5, 3, 1)).unwrap()
}

fn td_lambda(lambda: f64) -> Box<dyn Learner> {
    build(&json!({ "td_lambda": { "lambda": lambda, "steps": 6 } }))
}

/// Four episodes of 6, 3, 6 and 2 steps, which all end in a termination.
fn episodes() -> ReplayBuffer {
    let mut buffer = ReplayBuffer::new(5, 3, 100);
    for (k, steps) in [6, 3, 6, 2].into_iter().enumerate() {
        let rows = batch(steps, 5, 3, k as u64);
        buffer.push_episode(&Episode {
            observation: rows.observation,
            next_observation: rows.next_observation,
            action: rows.action,
            reward: rows.reward,
            end: (0..steps).map(|t| StepEnd::from_flags(t + 1 == steps, false)).collect(),
            ..Episode::default()
        });
    }
    buffer
}

fn drawn(learner: &dyn Learner, buffer: &ReplayBuffer, rows: &[usize]) -> Batch {
    let mut batch = Batch::default();
    batch.clear(5, 3);
    learner.sample_plan(PhaseKind::Offline).append(buffer, rows, &mut batch).unwrap();
    batch
}

/// The first rows of the four episodes, and all rows.
const FIRST: [usize; 4] = [0, 6, 9, 15];

#[test]
fn sequences_of_as_many_rows_are_asked_for() {
    let plan = td_lambda(0.95).sample_plan(PhaseKind::Offline);
    assert_eq!(plan, SamplePlan::Sequences { batch: 4, length: 6 });
}

#[test]
fn without_lambda_it_is_one_step_and_with_all_of_it_the_whole_return() {
    let (buffer, all) = (episodes(), (0..17).collect::<Vec<usize>>());
    for (lambda, name) in [(0.0, "one_step"), (1.0, "monte_carlo")] {
        let (mut ours, mut theirs) = (td_lambda(lambda), build(&json!(name)));
        let (sequences, transitions) = (drawn(&*ours, &buffer, &FIRST), drawn(&*theirs, &buffer, &all));
        assert_eq!((sequences.n, transitions.n), (4, 17));
        for _ in 0..3 {
            let (ours, theirs) = (ours.update(&sequences).unwrap(), theirs.update(&transitions).unwrap());
            for ((name, a), (_, b)) in ours.iter().zip(theirs.iter()) {
                assert!((a - b).abs() < 1e-5 * b.abs().max(1.0), "{lambda} {name}: {a} {b}");
            }
        }
        assert_eq!((ours.td_errors().unwrap().len(), theirs.td_errors().unwrap().len()), (4, 17));
    }
}

#[test]
fn a_return_between_them_is_that_of_its_recursion() {
    // Zero rewards but for the last step, which ends: targets are values of the network at the start alone.
    let buffer = episodes();
    let mut learner = td_lambda(0.5);
    let mut batch = drawn(&*learner, &buffer, &FIRST[1..2]);
    batch.reward = vec![0.0, 0.0, -1.0, 0.0, 0.0, 0.0];
    let target = learner.update(&batch).unwrap().get("train/target_mean").unwrap();
    // The first values are near zero (a small last layer), so that R = -1, -0.45, -0.2025.
    assert!((target + (1.0 + 0.45 + 0.2025) / 3.0).abs() < 0.02, "{target}");
}

#[test]
fn importance_weights_are_those_of_whole_sequences() {
    let buffer = episodes();
    let run = |weight: Vec<f32>| {
        let mut learner = td_lambda(0.7);
        let batch = Batch { weight, ..drawn(&*learner, &buffer, &FIRST) };
        learner.update(&batch).unwrap().get("train/critic_loss").unwrap()
    };
    let (plain, half) = (run(Vec::new()), run(vec![0.5; 4]));
    assert!((half / plain - 0.5).abs() < 1e-6, "{half} {plain}");
    assert_ne!(run(vec![1.0, 0.5, 0.5, 0.5]), plain);
}
