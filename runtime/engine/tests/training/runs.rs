//! Whole runs: what they leave behind and what they refuse.

use std::path::{Path, PathBuf};

use surefoot_core::{EnvError, Episode, SamplePlan, VecEnv};
use surefoot_engine::{
    Baseline, DemonstrationSet, EarlyStopConfig, EngineError, EvalConfig, Event, Interrupt, MakeFleet,
    Observer, OfflineConfig, OnlineConfig, PhaseConfig, RunDir, RunInfo, StageKind, TrainEnd, Trainer,
    TrainerParts, TrainingConfig,
};

use crate::actors::Depot;
use crate::linear::{Fault, Linear};
use crate::point_robot::{PointRobot, Tripwire, demonstrations, spec};

/// A small run with everything in it.
pub struct Setup {
    pub demonstrations: Vec<Episode>,
    pub phases: Vec<PhaseConfig>,
    pub training: TrainingConfig,
    pub evaluation: EvalConfig,
    pub has_env: bool,
    /// What batches the learner wants, where not what it wants otherwise.
    pub plan: Option<SamplePlan>,
    /// Of the policies that the learner hands out.
    pub fault: Option<(Fault, std::ops::Range<u64>)>,
    /// What actors have sent, for a phase with actors.
    pub depot: Option<Depot>,
}

impl Setup {
    pub fn small() -> Self {
        let early_stop = EarlyStopConfig { every_updates: 8, patience: 2, ..EarlyStopConfig::default() };
        Self {
            demonstrations: demonstrations(20),
            phases: vec![
                PhaseConfig::Offline(OfflineConfig {
                    updates: 60,
                    early_stop: Some(early_stop),
                    eval_every_updates: 25,
                    ..OfflineConfig::default()
                }),
                PhaseConfig::Online(OnlineConfig {
                    env_steps: 700,
                    warmup_env_steps: 200,
                    episodes_per_round: 4,
                    utd_ratio: 0.3,
                    eval_every_env_steps: 400,
                    replay_capacity: 500,
                    ..OnlineConfig::default()
                }),
            ],
            training: TrainingConfig {
                worlds: 3,
                log_every_updates: 7,
                checkpoint_every_updates: 20,
                films: 1,
                ..TrainingConfig::default()
            },
            evaluation: EvalConfig { episodes: 6, ..EvalConfig::default() },
            has_env: true,
            plan: None,
            fault: None,
            depot: None,
        }
    }

    pub fn with_trainer<T>(
        &self,
        tripwire: &Tripwire,
        use_parts: impl FnOnce(TrainerParts<'_>) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let make =
            |worlds| VecEnv::new((0..worlds).map(|_| PointRobot::boxed(tripwire)).collect::<Result<_, _>>()?);
        let make_worlds: &dyn Fn(usize) -> Result<VecEnv, EnvError> = &make;
        let mut learner = Linear::new("weighted", 0.02, tripwire.clone());
        learner.fault.clone_from(&self.fault);
        learner.plan = self.plan.unwrap_or(learner.plan);
        use_parts(TrainerParts {
            name: "point".into(),
            seed: 3,
            spec: spec(),
            learner: Box::new(learner),
            baselines: vec![Baseline {
                name: "bc".into(),
                learner: Box::new(Linear::new("bc", 0.0, tripwire.clone())),
                offline: OfflineConfig { updates: 30, ..OfflineConfig::default() },
            }],
            load_policy: crate::linear::load,
            make_worlds: self.has_env.then_some(make_worlds),
            make_live: None,
            make_fleet: self
                .depot
                .clone()
                .map(|depot| -> MakeFleet { Box::new(move |_| Ok(Box::new(depot.clone()))) }),
            demonstrations: vec![DemonstrationSet::in_memory(&self.demonstrations, &spec())?],
            data_hashes: vec!["abc".into()],
            phases: self.phases.clone(),
            evaluation: self.evaluation.clone(),
            training: self.training.clone(),
        })
    }

    pub fn start(&self, path: &Path, tripwire: &Tripwire) -> Result<Trainer, EngineError> {
        let info = RunInfo { name: "point".into(), seed: 3, ..RunInfo::default() };
        let run = RunDir::create_at(path, "seed = 3\n", &info)?;
        self.with_trainer(tripwire, |parts| Trainer::new(parts, run))
    }

    pub fn resume(
        &self,
        path: &Path,
        tripwire: &Tripwire,
        checkpoint: Option<&str>,
    ) -> Result<Trainer, EngineError> {
        let run = RunDir::open(path)?;
        self.with_trainer(tripwire, |parts| Trainer::resume(parts, run, checkpoint))
    }
}

/// A directory for runs: in memory where there is such a place, because a run waits for the disk many times.
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

#[derive(Default)]
pub struct Recorder {
    pub events: Vec<Event>,
    pub episodes: usize,
}

impl Observer for Recorder {
    fn event(&mut self, event: &Event) {
        self.events.push(event.clone());
    }
    fn episodes(&mut self, _stage: &str, episodes: &[Episode]) {
        self.episodes += episodes.len();
    }
}

fn checkpoint_names(run: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(run.join("checkpoints"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_run_leaves_a_directory_that_explains_itself() {
    let dir = scratch();
    let run = dir.path().join("run");
    let setup = Setup::small();
    let mut recorder = Recorder::default();
    let mut trainer = setup.start(&run, &Tripwire::default()).unwrap();
    assert_eq!(trainer.run(&Interrupt::new(), &mut recorder).unwrap(), TrainEnd::Finished);

    let results = trainer.results();
    assert!(results.finished);
    let stages: Vec<(&str, StageKind)> = results.stages.iter().map(|s| (s.name.as_str(), s.kind)).collect();
    assert_eq!(
        stages,
        [("bc", StageKind::Baseline), ("offline", StageKind::Offline), ("online", StageKind::Online)]
    );
    let [bc, offline, online] = &results.stages[..] else { panic!() };
    assert_eq!((bc.updates, bc.env_steps, bc.kept_updates), (30, 0, None));
    assert!(offline.kept_updates.is_some_and(|u| u % 8 == 0 || u == 60));
    assert!(online.env_steps >= 700 && online.env_steps < 700 + 4 * 40);
    assert_eq!(online.episodes as usize, recorder.episodes);
    assert_eq!(online.training_safety.ticks, online.env_steps);
    let warmup_round_steps = 4 * 40;
    let paid = (online.updates as f64 / 0.3).ceil() as u64;
    assert!(paid + 200 <= online.env_steps + 4 && paid + 200 + warmup_round_steps >= online.env_steps);
    for stage in &results.stages {
        let e = stage.evaluation.as_ref().unwrap();
        assert_eq!(e.episodes, 6);
        assert_eq!(e.safety.violations + stage.training_safety.violations, 0);
        assert!(stage.heldout.contains_key("heldout/log_likelihood"));
        assert_eq!(stage.films.len(), 1);
        assert!(run.join(&stage.films[0].file).is_file());
    }
    assert!(results.curve.len() >= 5, "periodic evaluations: {}", results.curve.len());
    assert_eq!(trainer.counters().env_steps, online.env_steps);
    assert_eq!(trainer.replay().written(), online.env_steps);
    assert_eq!(trainer.replay().len(), 500);

    let read: surefoot_engine::Results =
        serde_json::from_slice(&std::fs::read(run.join("results.json")).unwrap()).unwrap();
    assert_eq!(&read, results);
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    for line in metrics.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["stage"].is_string() && line["updates"].is_u64() && line["env_steps"].is_u64());
    }
    for name in ["train/actor_loss", "rollout/return_mean", "eval/success_rate", "safety/adjusted_ratio"] {
        assert!(metrics.contains(name), "{name}");
    }
    let names = checkpoint_names(&run);
    for name in ["best", "last", "bc-000000030"] {
        assert!(names.contains(&name.to_owned()), "{names:?}");
    }
    assert_eq!(
        names.iter().filter(|n| n.contains('-')).count(),
        3 + 2,
        "stage ends and the newest two: {names:?}"
    );
    assert!(run.join("checkpoints/last/policy/policy.json").is_file());
    let finished = |e: &Event| matches!(e, Event::Finished { interrupted: false, .. });
    assert!(recorder.events.last().is_some_and(finished));
    let log = std::fs::read_to_string(run.join("log.jsonl")).unwrap();
    assert!(log.contains("\"event\":\"stage_finished\"") && !log.contains("\"event\":\"progress\""));

    drop(trainer);
    let mut again = setup.resume(&run, &Tripwire::default(), None).unwrap();
    assert_eq!(again.run(&Interrupt::new(), &mut ()).unwrap(), TrainEnd::Finished);
    assert_eq!(std::fs::read_to_string(run.join("metrics.jsonl")).unwrap(), metrics, "nothing left to do");
}

#[test]
fn recordings_alone_give_heldout_metrics() {
    let dir = scratch();
    let mut setup = Setup { has_env: false, ..Setup::small() };
    let refused = setup.start(&dir.path().join("online"), &Tripwire::default()).err().unwrap().to_string();
    assert!(refused.starts_with("phase[1].online: expected an environment"), "{refused}");
    assert!(!dir.path().join("online").exists(), "a run that cannot begin leaves nothing behind");
    setup.phases.truncate(1);
    let mut trainer = setup.start(&dir.path().join("offline"), &Tripwire::default()).unwrap();
    assert_eq!(trainer.run(&Interrupt::new(), &mut ()).unwrap(), TrainEnd::Finished);
    for stage in &trainer.results().stages {
        assert!(stage.evaluation.is_none() && stage.films.is_empty());
        assert!(stage.heldout["heldout/log_likelihood"] < 0.0);
    }
    assert!(trainer.results().curve.is_empty());
}

#[test]
fn early_stopping_keeps_the_best_state() {
    let dir = scratch();
    let mut setup = Setup::small();
    // A learner that looks better the less it was trained: the first look is the best one.
    setup.phases = vec![PhaseConfig::Offline(OfflineConfig {
        updates: 1000,
        early_stop: Some(EarlyStopConfig {
            better: surefoot_engine::Better::Lower,
            every_updates: 10,
            patience: 3,
            ..EarlyStopConfig::default()
        }),
        eval_every_updates: 0,
        ..OfflineConfig::default()
    })];
    let run = dir.path().join("run");
    let mut trainer = setup.start(&run, &Tripwire::default()).unwrap();
    trainer.run(&Interrupt::new(), &mut ()).unwrap();
    let stage = &trainer.results().stages[1];
    assert_eq!((stage.updates, stage.kept_updates, stage.stopped_early), (40, Some(10), true));
    let card = std::fs::read_to_string(run.join("checkpoints/last/policy/policy.json")).unwrap();
    assert!(card.contains("\"updates\": 10"), "{card}");

    setup.phases = vec![PhaseConfig::Offline(OfflineConfig {
        early_stop: Some(EarlyStopConfig { metric: "heldout/td_error".into(), ..EarlyStopConfig::default() }),
        ..OfflineConfig::default()
    })];
    let typo = dir.path().join("typo");
    let e = setup.start(&typo, &Tripwire::default()).err().unwrap().to_string();
    assert!(e.contains("heldout/log_likelihood") && e.contains("heldout/td_error"), "{e}");
    assert!(!typo.exists(), "a setting that cannot be used leaves nothing behind");
}

#[test]
fn the_number_of_worlds_does_not_change_a_run() {
    let dir = scratch();
    let outputs: Vec<(String, Vec<u8>)> = [1, 8]
        .into_iter()
        .map(|worlds| {
            let mut setup = Setup::small();
            setup.training.worlds = worlds;
            let run: PathBuf = dir.path().join(worlds.to_string());
            setup.start(&run, &Tripwire::default()).unwrap().run(&Interrupt::new(), &mut ()).unwrap();
            let weights = run.join("checkpoints/last/policy/policy.safetensors");
            (std::fs::read_to_string(run.join("metrics.jsonl")).unwrap(), std::fs::read(weights).unwrap())
        })
        .collect();
    assert_eq!(outputs[0], outputs[1]);
}
