//! `surefoot train`: a run from a config file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use surefoot_core::{EnvSpec, Learner, PhaseKind, Returns, SamplePlan};
use surefoot_datasets::CacheOptions;
use surefoot_engine::limits::{SessionLimit, SessionLimitReached};
use surefoot_engine::live::{LiveClock, Start};
use surefoot_engine::{
    Baseline, EngineError, Interrupt, MakeFleet, OnlineConfig, PhaseConfig, Results, RunDir, RunInfo,
    Schedule, TrainEnd, Trainer, TrainerParts, check_plan, report,
};

use crate::args::{OperatorInput, TrainArgs};
use crate::composition::{self, Demonstrations, Needs};
use crate::config::{self, LoadedConfig, RunConfig};
use crate::failure::{CommandResult, Failure, usage};
use crate::keyboard::restore_terminal;
use crate::output::Output;
use crate::progress::Reporter;
use crate::summary;

/// Runs the verb.
pub fn run(args: &TrainArgs, output: Output) -> CommandResult {
    let robot = args
        .robot
        .iter()
        .map(|path| format!("robot.contract={}", toml::Value::String(path.display().to_string())));
    let overrides: Vec<String> = args.overrides.iter().cloned().chain(robot).collect();
    let loaded = config::load(&args.config, &overrides)?;
    let interrupt = on_interrupt()?;
    person_can_act(&loaded.config, args.operator)?;
    no_actors(&loaded.config, "learn")?;
    let surroundings = Surroundings { input: args.operator, ..Surroundings::alone(output) };
    start(&loaded, &args.runs, args.run_dir.as_deref(), surroundings, &interrupt, output)?.print(output);
    Ok(())
}

/// Who is around a run.
pub struct Surroundings {
    /// A person beside its robot.
    pub input: OperatorInput,
    /// Its actors.
    pub fleet: Option<MakeFleet>,
    /// Where words go.
    pub output: Output,
}

impl Surroundings {
    /// Nobody.
    pub const fn alone(output: Output) -> Self {
        Self { input: OperatorInput::None, fleet: None, output }
    }
}

/// Refuses a run whose episodes come from actors.
///
/// # Errors
/// A usage error that names the verb that it needs.
pub fn no_actors(config: &RunConfig, verb: &str) -> CommandResult {
    match composition::episodes_ahead(config) {
        None => Ok(()),
        Some(_) => Err(usage(anyhow::anyhow!(
            "a phase of this run takes its episodes from actors (schedule.fleet)\n\nhint: `surefoot {verb} … --listen tcp/0.0.0.0:7447`, and `surefoot act` on the machines that act"
        ))),
    }
}

/// Refuses a person's input where no phase drives a robot in real time.
///
/// # Errors
/// A usage error that says how to get such a phase.
pub fn person_can_act(config: &RunConfig, input: OperatorInput) -> CommandResult {
    let robots = config.phase.iter().filter_map(|phase| match phase {
        PhaseConfig::Online(OnlineConfig { schedule: Schedule::Async(config), .. }) => Some(&config.robot),
        _ => None,
    });
    if input == OperatorInput::None {
        return match robots.clone().find(|robot| robot.start == Start::AfterStops) {
            None => Ok(()),
            Some(_) => Err(usage(anyhow::anyhow!(
                "schedule.async.robot.start = \"after_stops\" waits for a person\n\nhint: add --operator keyboard"
            ))),
        };
    }
    if robots.clone().any(|robot| robot.clock == LiveClock::Real) {
        return Ok(());
    }
    Err(usage(anyhow::anyhow!(
        "--operator: no phase of this run drives a robot in real time\n\nhint: `schedule = {{ async = {{}} }}` in an online phase"
    )))
}

/// Stops cleanly on the first Ctrl-C (or SIGTERM) and at once on the second.
pub fn on_interrupt() -> Result<Interrupt, Failure> {
    let interrupt = Interrupt::new();
    let requested = interrupt.clone();
    ctrlc::set_handler(move || {
        if requested.requested() {
            exit_now();
        }
        requested.request();
    })?;
    Ok(interrupt)
}

/// The second Ctrl-C: checkpoints are renamed into place whole, so nothing that stands is harmed.
#[allow(clippy::exit)]
fn exit_now() {
    restore_terminal();
    std::process::exit(130);
}

/// A run that has come to its end.
pub struct Finished {
    /// What it found.
    pub results: Results,
    /// Its directory.
    pub path: PathBuf,
}

impl Finished {
    /// Prints the results.
    pub fn print(&self, output: Output) {
        summary::print(&self.results, &self.path, output);
    }
}

/// Starts a new run and sees it to its end.
///
/// # Errors
/// When it cannot be begun, was interrupted, or stopped for safety.
pub fn start(
    loaded: &LoadedConfig,
    runs: &Path,
    run_dir: Option<&Path>,
    surroundings: Surroundings,
    interrupt: &Interrupt,
    output: Output,
) -> Result<Finished, Failure> {
    let config = &loaded.config;
    if let Some(path) = run_dir.filter(|p| p.exists()) {
        return Err(EngineError::RunExists { path: path.to_owned() }.into());
    }
    let spec = composition::spec(config)?;
    let learners = Learners::build(config, &spec)?;
    learners.check(config)?;
    let demonstrations = composition::load(config, &spec, learners.needs(), interrupt, output)
        .map_err(|e| interrupted_early(e, interrupt))?;
    let info = run_info(config, &spec, &demonstrations.hashes);
    with_parts(config, &spec, learners, demonstrations, surroundings, |parts| {
        let run = match run_dir {
            Some(path) => RunDir::create_at(path, &loaded.resolved, &info)?,
            None => RunDir::create(runs, &loaded.resolved, info)?,
        };
        output.note(&format!("run directory {}", run.path().display()));
        let trainer = Trainer::new(parts, run).map_err(configuration)?;
        carry_on(trainer, interrupt, output)
    })
}

/// A run's learners, freshly built: the first thing done, so that a setting they refuse leaves nothing behind.
pub struct Learners {
    main: Box<dyn Learner>,
    baselines: Vec<Baseline>,
}

impl Learners {
    /// Builds them.
    ///
    /// # Errors
    /// When a setting cannot be used.
    pub fn build(config: &RunConfig, spec: &EnvSpec) -> Result<Self, Failure> {
        Ok(Self {
            main: composition::learner(&config.learner, spec, config.seed, config.device)?,
            baselines: composition::baselines(config, spec)?,
        })
    }

    /// What of demonstrations they need.
    pub fn needs(&self) -> Needs {
        let others = self.baselines.iter().map(|b| &b.learner);
        let all = || std::iter::once(&self.main).chain(others.clone());
        let discount = all().find_map(|learner| match learner.sample_plan(PhaseKind::Offline) {
            SamplePlan::Transitions { returns: Returns::MonteCarlo { discount }, .. } => Some(discount),
            SamplePlan::Transitions { beside, .. } => beside.return_to_go,
            _ => None,
        });
        let discount = discount.unwrap_or(CacheOptions::default().discount);
        Needs { rewards: all().any(|learner| learner.needs_rewards()), discount }
    }

    /// Refuses what cannot be run, before any data is recorded or read.
    ///
    /// # Errors
    /// With the first key that cannot be used.
    pub fn check(&self, config: &RunConfig) -> CommandResult {
        let RunConfig { phase, eval, training, env, .. } = config;
        check_plan(phase, &*self.main, &self.baselines, eval, training, env.is_some()).map_err(configuration)
    }
}

fn interrupted_early(failure: Failure, interrupt: &Interrupt) -> Failure {
    if interrupt.requested() { Failure::Interrupted("nothing was begun yet".into()) } else { failure }
}

/// An error of configuration is one of usage.
pub fn configuration(error: EngineError) -> Failure {
    match error {
        EngineError::Config { .. } => usage(error),
        other => other.into(),
    }
}

/// Builds what a run is made of and hands it on.
pub fn with_parts<T>(
    config: &RunConfig,
    spec: &EnvSpec,
    learners: Learners,
    demonstrations: Demonstrations,
    Surroundings { input, fleet, output }: Surroundings,
    then: impl FnOnce(TrainerParts<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let make = config.env.as_ref().map(|env| move |count| composition::worlds(env, count));
    let make = make.as_ref().map(|f| f as &dyn Fn(usize) -> _);
    then(TrainerParts {
        name: config.name.clone(),
        seed: config.seed,
        learner: learners.main,
        baselines: learners.baselines,
        spec: spec.clone(),
        load_policy: surefoot_policies::load_policy,
        make_worlds: make,
        make_live: config.env.as_ref().map(|env| {
            let robot = config.robot.as_ref().map(|r| r.contract.as_path());
            composition::make_live(env, robot, input, output)
        }),
        make_fleet: fleet,
        demonstrations: demonstrations.sets,
        data_hashes: demonstrations.hashes.values().cloned().collect(),
        phases: config.phase.clone(),
        evaluation: config.eval.clone(),
        training: config.training.clone(),
    })
}

/// Trains to the end or to an interrupt, and writes the report.
///
/// # Errors
/// When it was interrupted, stopped for safety, or failed.
pub fn carry_on(mut trainer: Trainer, interrupt: &Interrupt, output: Output) -> Result<Finished, Failure> {
    let mut reporter = Reporter::new(output);
    let end = trainer.run(interrupt, &mut reporter)?;
    let run = trainer.run_dir().path().to_owned();
    // What needs actors goes on with them.
    let verb = if run.join("fleet.jsonl").exists() { "learn" } else { "resume" };
    match end {
        TrainEnd::Interrupted => Err(Failure::Interrupted(format!(
            "state is saved; continue with `surefoot {verb} {}`",
            run.display()
        ))),
        TrainEnd::SafetyStop(reached) => {
            report::write_report(&run)?;
            let SessionLimitReached { limit, found, allowed } = reached;
            let what = match limit {
                SessionLimit::LatchedStop => "the robot is in a latched stop".to_owned(),
                _ => format!("session.{} = {allowed} was reached ({found})", limit.key()),
            };
            Err(Failure::SafetyStop(format!(
                "{what}; look at the robot and at {}, then go on in a new session with `surefoot {verb} {}`",
                run.join("report.html").display(),
                run.display()
            )))
        }
        TrainEnd::Finished => {
            report::write_report(&run)?;
            Ok(Finished { results: trainer.results().clone(), path: run })
        }
    }
}

fn run_info(config: &RunConfig, spec: &EnvSpec, datasets: &BTreeMap<String, String>) -> RunInfo {
    identity(&config.name, config.seed, datasets.clone(), spec.contract_hash.clone())
}

/// Where a run comes from.
pub fn identity(
    name: &str,
    seed: u64,
    datasets: BTreeMap<String, String>,
    contract_hash: Option<String>,
) -> RunInfo {
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let built_with = [
        ("surefoot", env!("CARGO_PKG_VERSION")),
        ("candle-core", env!("SUREFOOT_CANDLE_CORE_VERSION")),
        ("rapier3d", env!("SUREFOOT_RAPIER3D_VERSION")),
        ("hdf5-pure", env!("SUREFOOT_HDF5_PURE_VERSION")),
        ("rustc", env!("SUREFOOT_RUSTC_VERSION")),
    ];
    RunInfo {
        name: name.to_owned(),
        seed,
        started: String::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        git: option_env!("SUREFOOT_GIT").map(str::to_owned),
        versions: built_with.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        host: format!("{} ({} {}, {cores} cores)", host.trim(), std::env::consts::OS, std::env::consts::ARCH),
        argv: std::env::args().collect(),
        datasets,
        contract_hash,
        config_blake3: String::new(),
    }
}
