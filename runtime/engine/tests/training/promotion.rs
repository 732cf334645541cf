//! What lets new weights act, and what takes them back.

use surefoot_core::{Learner, PolicyArtifact};
use surefoot_engine::promotion::{PromotionGate, Refusal};
use surefoot_engine::{
    CanarySuccess, Event, ExploreWith, Interrupt, OnlineConfig, PhaseConfig, PromotionConfig, RollbackConfig,
    TrainEnd,
};

use crate::linear::{Fault, Linear, load};
use crate::point_robot::Tripwire;
use crate::resume::outcome;
use crate::runs::{Recorder, Setup, scratch};

fn artifact(fault: Option<Fault>, scale: f32) -> PolicyArtifact {
    let mut learner = Linear::new("weighted", 0.02, Tripwire::default());
    let floats = |v: [f32; 10]| v.iter().flat_map(|x| (x * scale).to_le_bytes()).collect::<Vec<u8>>();
    let weights = floats([-0.9, 0.05, 0.9, 0.0, 0.02, 0.0, -0.8, 0.1, 0.8, 0.05]);
    let mut saved = learner.save().unwrap();
    saved.insert("weights".into(), weights);
    learner.load(&saved).unwrap();
    learner.fault = fault.map(|f| (f, 0..u64::MAX));
    learner.artifact().unwrap()
}

fn gate() -> PromotionGate {
    PromotionGate::new(vec![0.5, -0.5, 0.3, 0.9, -1.0, 0.0, 1.0, 0.2], 4, 0.5, load)
}

#[test]
fn the_gate_refuses_what_must_not_act_and_lets_the_rest_through() {
    let acting = artifact(None, 1.0);
    let judge = |candidate: &PolicyArtifact| gate().judge(candidate, &acting).unwrap();
    assert_eq!(judge(&acting), Ok(0.0));
    assert!(judge(&artifact(None, 1.1)).is_ok_and(|change| change > 0.0 && change < 0.2));
    let refusal = |candidate: &PolicyArtifact| judge(candidate).unwrap_err();
    assert_eq!(
        refusal(&artifact(Some(Fault::Nan), 1.0)),
        Refusal::NotFinite { what: "tensor weights".into() }
    );
    assert!(matches!(refusal(&artifact(Some(Fault::Architecture), 1.0)), Refusal::Architecture { .. }));
    let Refusal::ActionChange { found, allowed } = refusal(&artifact(Some(Fault::Backwards), 1.0)) else {
        panic!()
    };
    assert!(found > 0.5 && allowed == 0.5);
    let mut other = artifact(None, 1.0);
    other.card.spec.action[0].unit = "mm/s".into();
    assert!(refusal(&other).to_string().contains("action[0] (x_velocity) unit: expected m/s, found mm/s"));
    let mut cut = artifact(None, 1.0);
    cut.weights.pop();
    assert!(matches!(refusal(&cut), Refusal::Unreadable { .. }));
    let any_change = PromotionGate::new(vec![0.5; 4], 4, 0.0, load);
    assert!(any_change.judge(&artifact(Some(Fault::Backwards), 1.0), &acting).unwrap().is_ok());
}

fn setup(fault: Option<(Fault, std::ops::Range<u64>)>, promotion: PromotionConfig) -> Setup {
    let mut setup = Setup { fault, ..Setup::small() };
    setup.phases = vec![
        setup.phases.remove(0),
        PhaseConfig::Online(OnlineConfig {
            env_steps: 2_400,
            warmup_env_steps: 300,
            episodes_per_round: 4,
            utd_ratio: 0.3,
            eval_every_env_steps: 800,
            replay_capacity: 500,
            promotion,
            ..OnlineConfig::default()
        }),
    ];
    setup
}

/// Quick to decide: the point robot solves one episode in four when it explores.
fn eager() -> PromotionConfig {
    PromotionConfig {
        max_action_change: 0.0,
        rollback: RollbackConfig { episodes: 32, false_alarm: 0.1, odds_ratio: 9.0 },
        ..PromotionConfig::default()
    }
}

#[test]
fn weights_that_are_refused_never_act_and_learning_goes_on() {
    let dir = scratch();
    for (name, fault) in
        [("nan", Fault::Nan), ("architecture", Fault::Architecture), ("jump", Fault::Backwards)]
    {
        let path = dir.path().join(name);
        let setup = setup(Some((fault, 200..400)), PromotionConfig::default());
        let mut recorder = Recorder::default();
        let mut trainer = setup.start(&path, &Tripwire::default()).unwrap();
        assert_eq!(trainer.run(&Interrupt::new(), &mut recorder).unwrap(), TrainEnd::Finished);
        let stage = &trainer.results().stages[2];
        let refused: u64 = stage.limits.refusals.values().sum();
        let events = recorder.events.iter().filter(|e| matches!(e, Event::PromotionRefused { .. })).count();
        assert!(refused > 2 && refused == events as u64, "{name}: {:?}", stage.limits);
        assert!(trainer.counters().updates > 500, "learning went on");
        // A policy that was NaN or drove away would show.
        assert_eq!(stage.training_safety.stops, 0);
        let metrics = std::fs::read_to_string(path.join("metrics.jsonl")).unwrap();
        assert!(metrics.contains("\"promotion/refused\":1"));
    }
}

#[test]
fn what_acts_is_what_may_be_deployed() {
    let dir = scratch();
    let path = dir.path().join("run");
    // From here to the end the learner's own policy is broken.
    let setup = setup(Some((Fault::Nan, 300..u64::MAX)), PromotionConfig::default());
    setup.start(&path, &Tripwire::default()).unwrap().run(&Interrupt::new(), &mut ()).unwrap();
    let card = std::fs::read_to_string(path.join("checkpoints/last/policy/policy.json")).unwrap();
    let card: serde_json::Value = serde_json::from_str(&card).unwrap();
    assert!(card["updates"].as_u64().unwrap() < 300, "{}", card["updates"]);
}

#[test]
fn a_worse_policy_is_taken_back_and_a_resumed_run_does_the_same_bit_for_bit() {
    let dir = scratch();
    let mut setup = setup(Some((Fault::Backwards, 200..600)), eager());
    let PhaseConfig::Online(online) = &mut setup.phases[1] else { panic!() };
    (online.env_steps, online.warmup_env_steps) = (4_000, 1_300);
    let whole = dir.path().join("whole");
    let mut recorder = Recorder::default();
    let tripwire = Tripwire::default();
    let mut trainer = setup.start(&whole, &tripwire).unwrap();
    trainer.run(&Interrupt::new(), &mut recorder).unwrap();
    let total = tripwire.count.load(std::sync::atomic::Ordering::Relaxed);
    let stage = trainer.results().stages[2].clone();
    assert!(stage.limits.rollbacks >= 1, "{:?}", stage.limits);
    let rolled_back = recorder.events.iter().find_map(|e| match e {
        Event::RolledBack { from_updates, to_updates, record, trial, .. } => {
            Some((*from_updates, *to_updates, *record, *trial))
        }
        _ => None,
    });
    let (from, to, record, trial) = rolled_back.unwrap();
    assert!((200..600).contains(&from) && to < 200, "from {from} to {to}");
    assert!(record.0 > trial.0 && record.1 == 32 && trial.1 <= 32, "{record:?} {trial:?}");
    drop(trainer);
    let expected = outcome(&whole);
    let points = 6;
    for i in 0..points {
        let run = dir.path().join(format!("cut{i}"));
        // The second half of the run: from before the fault to its end.
        let tripwire = Tripwire::at(total / 3 + i * (2 * total / 3 - 2) / points);
        let mut trainer = setup.start(&run, &tripwire).unwrap();
        assert_eq!(trainer.run(&tripwire.interrupt, &mut ()).unwrap(), TrainEnd::Interrupted);
        drop(trainer);
        loop {
            let tripwire = Tripwire::at(1_900 + 53 * i);
            let mut trainer = setup.resume(&run, &tripwire, None).unwrap();
            if trainer.run(&tripwire.interrupt, &mut ()).unwrap() == TrainEnd::Finished {
                break;
            }
        }
        for (file, bytes) in outcome(&run) {
            assert!(bytes == expected[file], "{file} differs after an interrupt at point {i}");
        }
    }
}

#[test]
fn canaries_go_slowly_and_keep_a_bad_policy_from_the_robot() {
    let dir = scratch();
    let canaries = PromotionConfig { canary_episodes: 2, ..PromotionConfig::default() };
    let mut setup = setup(None, canaries);
    let run = |setup: &Setup, name: &str| {
        let path = dir.path().join(name);
        let mut recorder = Recorder::default();
        let mut trainer = setup.start(&path, &Tripwire::default()).unwrap();
        assert_eq!(trainer.run(&Interrupt::new(), &mut recorder).unwrap(), TrainEnd::Finished);
        let stage = trainer.results().stages[2].clone();
        assert_eq!(stage.episodes as usize, recorder.episodes, "canaries are training episodes too");
        assert_eq!(trainer.counters().env_steps, stage.env_steps);
        (stage, std::fs::read(path.join("metrics.jsonl")).unwrap())
    };
    let (calm, metrics) = run(&setup, "calm");
    assert_eq!(calm.limits.refusals.len(), 0, "{:?}", calm.limits);
    assert!(run(&setup, "again").1 == metrics);
    // At full speed the way of an episode is longer than this; a canary at a tenth of it gets nowhere near.
    let PhaseConfig::Online(online) = &mut setup.phases[1] else { panic!() };
    online.limits.max_path = 0.3;
    online.promotion.canary_speed_scale = 1.0;
    let (refused, _) = run(&setup, "refused");
    assert!(refused.limits.refusals["canary"] > 3, "{:?}", refused.limits);
    let PhaseConfig::Online(online) = &mut setup.phases[1] else { panic!() };
    // 40 steps of 0.1 s at 0.01 m/s and axis.
    online.promotion.canary_speed_scale = 0.02;
    let (slow, _) = run(&setup, "slow");
    assert_eq!(slow.limits.refusals.len(), 0, "{:?}", slow.limits);
}

/// Nothing but successes of canary episodes can keep a candidate from acting.
fn as_good_as_what_acts() -> PromotionConfig {
    PromotionConfig {
        max_action_change: 0.0,
        canary_episodes: 10,
        canary_speed_scale: 1.0,
        canary_success: CanarySuccess::NotBelowActing,
        every_env_steps: 200,
        rollback: RollbackConfig { episodes: 0, ..RollbackConfig::default() },
        ..PromotionConfig::default()
    }
}

#[test]
fn a_policy_that_succeeds_less_often_never_acts() {
    let dir = scratch();
    let drives = |promotion: PromotionConfig, name: &str| {
        let setup = setup(Some((Fault::Backwards, 200..u64::MAX)), promotion);
        let mut trainer = setup.start(&dir.path().join(name), &Tripwire::default()).unwrap();
        assert_eq!(trainer.run(&Interrupt::new(), &mut ()).unwrap(), TrainEnd::Finished);
        let stage = trainer.results().stages[2].clone();
        let curve = trainer.results().curve.iter().filter(|p| p.stage == stage.name);
        (curve.map(|p| p.evaluation.success_rate).collect::<Vec<_>>(), stage.limits)
    };
    let (open, _) =
        drives(PromotionConfig { canary_success: CanarySuccess::Any, ..as_good_as_what_acts() }, "open");
    assert!(open.last().is_some_and(|last| *last < 0.2), "what learning came to acts: {open:?}");
    let (held, limits) = drives(as_good_as_what_acts(), "held");
    assert!(limits.refusals["canary_success"] >= 2, "{limits:?}");
    assert!(held.iter().all(|rate| *rate >= 0.3), "{held:?}, and without it {open:?}");
    let newest = PromotionConfig { explore_with: ExploreWith::Newest, ..as_good_as_what_acts() };
    let (explored, limits) = drives(newest, "explored");
    assert!(limits.refusals["canary_success"] >= 2, "{limits:?}");
    assert!(explored.iter().all(|rate| *rate >= 0.3), "what explores is not what is deployed: {explored:?}");
}

#[test]
fn canaries_of_two_policies_begin_alike_and_resume_bit_for_bit() {
    let dir = scratch();
    let newest = PromotionConfig { explore_with: ExploreWith::Newest, ..as_good_as_what_acts() };
    let setup = setup(Some((Fault::Backwards, 250..450)), newest);
    let whole = dir.path().join("whole");
    let tripwire = Tripwire::default();
    setup.start(&whole, &tripwire).unwrap().run(&Interrupt::new(), &mut ()).unwrap();
    let total = tripwire.count.load(std::sync::atomic::Ordering::Relaxed);
    let expected = outcome(&whole);
    for i in 0..4 {
        let run = dir.path().join(format!("cut{i}"));
        let tripwire = Tripwire::at(total / 2 + i * total / 9);
        let mut trainer = setup.start(&run, &tripwire).unwrap();
        assert_eq!(trainer.run(&tripwire.interrupt, &mut ()).unwrap(), TrainEnd::Interrupted);
        drop(trainer);
        setup.resume(&run, &Tripwire::default(), None).unwrap().run(&Interrupt::new(), &mut ()).unwrap();
        for (file, bytes) in outcome(&run) {
            assert!(bytes == expected[file], "{file} differs after an interrupt at point {i}");
        }
    }
}

#[test]
fn successes_without_canary_episodes_are_refused() {
    let text =
        PromotionConfig { canary_episodes: 0, ..as_good_as_what_acts() }.check("p").unwrap_err().to_string();
    assert!(text.starts_with("p.canary_episodes: expected at least 1 where canary_success"), "{text}");
}
