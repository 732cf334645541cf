//! What holds for every learner.

use surefoot_core::{Batch, Blobs, LearnError, Learner, PhaseKind, Returns, SamplePlan};
use surefoot_policies::LearnerConfig;

use crate::data::{batch, context};

/// Every registered learner with small networks.
fn small() -> Vec<LearnerConfig> {
    let small = |config: LearnerConfig| {
        let mut json = serde_json::to_value(&config).unwrap();
        for part in ["actor", "critic"] {
            if let Some(part) = json[config.name()].get_mut(part) {
                part["hidden"] = serde_json::json!([16, 16]);
            }
        }
        json[config.name()]["actor"]["average_rate"] = serde_json::json!(0.1);
        serde_json::from_value(json).unwrap()
    };
    LearnerConfig::NAMES.iter().map(|n| small(LearnerConfig::default_of(n).unwrap())).collect()
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
    let configs = small();
    let saved = build(&configs[0], 1).save().unwrap();
    let text = build(&configs[1], 1).load(&saved).unwrap_err().to_string();
    assert!(text.contains("expected bc, found awac"), "{text}");
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
    for config in small() {
        let mut learner = build(&config, 1);
        let plan = learner.sample_plan(PhaseKind::Offline);
        assert!(plan.batch() > 0);
        assert!(matches!(plan, SamplePlan::Transitions { returns: Returns::OneStep, .. }), "by default");
        update(learner.as_mut(), 0..2);
        let before = learner.save().unwrap();
        let first = learner.evaluate(&batch(50, 5, 3, 1)).unwrap();
        assert_eq!(learner.evaluate(&batch(50, 5, 3, 1)).unwrap(), first);
        assert!(first.get("heldout/log_likelihood").unwrap().is_finite());
        assert_eq!(learner.save().unwrap(), before);
    }
}
