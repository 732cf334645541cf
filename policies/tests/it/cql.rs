//! What CQL promises beyond the golden numbers.

use serde_json::{Value, json};
use surefoot_core::{Batch, Learner, Metrics};
use surefoot_policies::LearnerConfig;

use crate::data::{batch, context};

/// The last metrics of many updates on transitions that end in a reward of -0.5.
fn after(settings: Value, updates: usize) -> Metrics {
    let mut config = json!({
        "actor": { "hidden": [16] },
        "critic": { "hidden": [16, 16], "learning_rate": 1e-2 },
        "action_samples": 4,
    });
    for (key, value) in settings.as_object().unwrap() {
        config[key] = value.clone();
    }
    let config: LearnerConfig = serde_json::from_value(json!({ "cql": config })).unwrap();
    let mut learner: Box<dyn Learner> = config.build(&context(5, 3, 1)).unwrap();
    let rows = Batch {
        reward: vec![-0.5; 32],
        continuation: vec![0.0; 32],
        return_to_go: vec![-0.5; 32],
        return_continuation: vec![0.0; 32],
        ..batch(32, 5, 3, 0)
    };
    (1..updates).for_each(|_| drop(learner.update(&rows).unwrap()));
    learner.update(&rows).unwrap()
}

#[test]
fn calibrated_values_are_not_pushed_far_below_the_returns_of_the_data() {
    let run = |calibrated| after(json!({ "conservative_weight": 5.0, "calibrated": calibrated }), 200);
    let (plain, calibrated) = (run(false), run(true));
    let gap = |metrics: &Metrics| metrics.get("train/conservative_gap").unwrap();
    assert!(gap(&plain) < gap(&calibrated) - 1.0, "{} {}", gap(&plain), gap(&calibrated));
    assert_eq!(plain.get("train/bounded_share"), None);
    assert!(calibrated.get("train/bounded_share").unwrap() > 0.5, "{calibrated:?}");
}

#[test]
fn the_penaltys_weight_follows_the_target_of_its_gap() {
    let weight = |target_gap: f64| {
        let lagrange = json!({ "target_gap": target_gap, "learning_rate": 1e-2 });
        after(json!({ "lagrange": lagrange }), 20).get("train/conservative_weight").unwrap()
    };
    let start = std::f64::consts::E;
    assert!(weight(-100.0) > 1.1 * start && weight(100.0) < 0.9 * start);
}
