//! A learner that learns from what its present policy did, and from each step of it once.

use std::path::Path;

use surefoot_core::SamplePlan;
use surefoot_engine::{FleetConfig, Interrupt, OnlineConfig, PhaseConfig, Schedule, TrainEnd};

use crate::point_robot::Tripwire;
use crate::resume::outcome;
use crate::runs::{Setup, scratch};

const STEPS: usize = 200;

/// Rounds of fewer steps than an update waits for.
fn setup() -> Setup {
    let mut setup = Setup { plan: Some(SamplePlan::FreshEpisodes { steps: STEPS }), ..Setup::small() };
    online(&mut setup, |c| (c.episodes_per_round, c.offline_ratio, c.env_steps) = (2, 0.25, 1000));
    setup.training.log_every_updates = 1;
    setup
}

fn online(setup: &mut Setup, change: impl Fn(&mut OnlineConfig)) {
    for phase in &mut setup.phases {
        if let PhaseConfig::Online(c) = phase {
            change(c);
        }
    }
}

/// Rows of the batches of the online phase: fresh ones, their ends, demonstrations.
fn batches(run: &Path) -> Vec<[f64; 3]> {
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = metrics.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let number = |line: &serde_json::Value, name: &str| line.get(name).and_then(serde_json::Value::as_f64);
    lines
        .filter(|line| line["stage"] == "online")
        .filter_map(|line| {
            let rows = ["train/fresh_rows", "train/fresh_ends", "train/demonstrations"];
            let [Some(fresh), Some(ends), Some(demonstrations)] = rows.map(|name| number(&line, name)) else {
                return None;
            };
            Some([fresh, ends, demonstrations])
        })
        .collect()
}

#[test]
fn every_step_behind_the_warm_up_is_learned_from_once() {
    let dir = scratch();
    let run = dir.path().join("run");
    let mut trainer = setup().start(&run, &Tripwire::default()).unwrap();
    assert_eq!(trainer.run(&Interrupt::new(), &mut ()).unwrap(), TrainEnd::Finished);
    let stage = trainer.results().stages.last().unwrap().clone();
    let found = batches(&run);
    assert_eq!(found.len() as u64, stage.updates);
    assert!(found.len() >= 3, "{found:?}");
    let mut episodes = 0.0;
    for [fresh, ends, demonstrations] in &found {
        assert!(*fresh >= STEPS as f64 && *fresh < (STEPS + 2 * 40) as f64, "{found:?}");
        assert_eq!(*demonstrations, (fresh / 3.0).round());
        assert!(*ends >= fresh / 40.0, "{found:?}");
        episodes += ends;
    }
    let learned: f64 = found.iter().map(|[fresh, ..]| fresh).sum();
    let left = stage.env_steps as f64 - learned;
    // The warm-up, and what came after the last update.
    assert!((200.0..200.0 + 80.0 + (STEPS + 80) as f64).contains(&left), "{left}");
    assert!(episodes < stage.episodes as f64);
}

#[test]
fn canaries_are_not_among_what_is_learned_from() {
    let dir = scratch();
    let run = dir.path().join("run");
    let mut setup = setup();
    online(&mut setup, |c| {
        (c.promotion.canary_episodes, c.promotion.canary_speed_scale, c.offline_ratio) = (1, 1.0, 0.0);
    });
    let mut trainer = setup.start(&run, &Tripwire::default()).unwrap();
    trainer.run(&Interrupt::new(), &mut ()).unwrap();
    let found = batches(&run);
    assert!(found.len() >= 2, "{found:?}");
    for [fresh, _, demonstrations] in &found {
        assert!(*fresh < (STEPS + 2 * 40) as f64 && *demonstrations == 0.0, "{found:?}");
    }
}

#[test]
fn a_run_on_policy_that_was_interrupted_ends_like_one_that_was_not() {
    let dir = scratch();
    let setup = setup();
    let whole = dir.path().join("whole");
    let tripwire = Tripwire::default();
    setup.start(&whole, &tripwire).unwrap().run(&tripwire.interrupt, &mut ()).unwrap();
    let (expected, total) = (outcome(&whole), tripwire.count.load(std::sync::atomic::Ordering::Relaxed));
    let points = 10;
    for i in 0..points {
        let run = dir.path().join(format!("cut{i}"));
        let tripwire = Tripwire::at(1 + i * (total - 1) / points);
        let mut trainer = setup.start(&run, &tripwire).unwrap();
        assert_eq!(trainer.run(&tripwire.interrupt, &mut ()).unwrap(), TrainEnd::Interrupted);
        drop(trainer);
        let none = Tripwire::default();
        let mut resumed = setup.resume(&run, &none, None).unwrap();
        assert_eq!(resumed.run(&none.interrupt, &mut ()).unwrap(), TrainEnd::Finished);
        assert!(outcome(&run) == expected, "interrupted at point {i}");
    }
}

#[test]
fn a_phase_that_would_not_be_on_policy_is_refused_by_key() {
    let dir = scratch();
    let refused = |change: &dyn Fn(&mut OnlineConfig)| {
        let mut setup = setup();
        online(&mut setup, change);
        setup.start(&dir.path().join("refused"), &Tripwire::default()).err().unwrap().to_string()
    };
    let ratio = refused(&|c| c.offline_ratio = 1.0);
    assert!(ratio.contains("phase[1].online.offline_ratio: expected below 1"), "{ratio}");
    let small = refused(&|c| c.replay_capacity = 2 * STEPS - 1);
    assert!(small.contains("replay_capacity: expected at least 400"), "{small}");
    let actors = refused(&|c| c.schedule = Schedule::Fleet(FleetConfig::default()));
    assert!(actors.contains("schedule: expected lockstep"), "{actors}");
}
