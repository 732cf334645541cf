//! The experiment file: what a run is made of. Defaults live in code, files list deviations.

mod bench;
mod collect;
mod distill;
mod env;
mod overrides;
mod suggest;
mod suite;

pub use bench::{BenchConfig, BenchContender, BenchRun, load_bench};
pub use collect::{CollectConfig, SourceSection, load_collect};
pub use distill::{
    DistillConfig, HistoriesConfig, LivedConfig, LoadedDistill, arms, load_distill, parse_arms, parse_distill,
};
pub use env::EnvConfig;
pub use suggest::nearest;
pub use suite::{ScenarioConfig, SuiteConfig, SuitePolicyConfig, load_suite};

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_datasets::{DoneMeans, OpenOptions};
use surefoot_engine::control::ControlConfig;
use surefoot_engine::live::LiveClock;
use surefoot_engine::{
    EvalConfig, MAX_EPISODES, MAX_WORLDS, OfflineConfig, OnlineConfig, PhaseConfig, Schedule, TrainingConfig,
};
use surefoot_policies::{Device, LearnerConfig};
use surefoot_sim::DemonstratorConfig;

use crate::failure::{Failure, usage};

/// One experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Begins the run directory's name.
    pub name: String,
    /// Seed of everything but evaluation.
    #[serde(default)]
    pub seed: u64,
    /// The world; absent for a run on recorded data alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<EnvConfig>,
    /// The robot at the other end of a link that phases with `schedule = { async = {} }` drive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub robot: Option<RobotRunConfig>,
    /// What the data is of, where there is no world to say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<RecordedConfig>,
    /// The algorithm.
    pub learner: LearnerConfig,
    /// What the networks of learners run on.
    #[serde(default, skip_serializing_if = "Device::is_cpu")]
    pub device: Device,
    /// Demonstrations.
    pub data: Vec<DataConfig>,
    /// Where demonstrations are while a run learns from them. Changes speed and memory and nothing else.
    #[serde(default)]
    pub loading: LoadingConfig,
    /// Learners that are trained on the same data for comparison.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub baseline: Vec<BaselineConfig>,
    /// What is done, in order.
    pub phase: Vec<PhaseConfig>,
    /// How policies are judged.
    #[serde(default)]
    pub eval: EvalConfig,
    /// How the run is carried out.
    #[serde(default)]
    pub training: TrainingConfig,
}

/// A robot that a run drives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RobotRunConfig {
    /// Its contract, with [link], relative to the working directory.
    pub contract: PathBuf,
}

/// A task that is known from recordings alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordedConfig {
    /// Name of the task.
    pub name: String,
    /// Time between two actions, s.
    pub step_secs: f64,
    /// Smallest and largest reward of a step; taken from the data when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward_range: Option<(f32, f32)>,
}

/// Where the rows of demonstrations are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheConfig {
    /// In memory if they fit into `max_memory_mib`, on the disk otherwise; which of the two is said when a run begins.
    #[default]
    Auto,
    /// In memory, however many there are.
    Memory,
    /// In files of `directory`, made once for each dataset, of which `max_memory_mib` are held in memory.
    Disk,
}

/// How demonstrations are held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoadingConfig {
    /// Where rows are.
    pub cache: CacheConfig,
    /// Where files of rows are made, relative to the working directory. They may be removed when no run uses them.
    pub directory: PathBuf,
    /// Memory that the rows of all datasets may take together, MiB; half of what is free when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory_mib: Option<u64>,
}

impl Default for LoadingConfig {
    fn default() -> Self {
        Self { cache: CacheConfig::Auto, directory: ".surefoot-cache".into(), max_memory_mib: None }
    }
}

const fn one() -> f64 {
    1.0
}

/// A file of demonstrations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The file, relative to the working directory.
    pub path: PathBuf,
    /// Observation keys in row order; all low-dimensional ones by name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observation_keys: Option<Vec<String>>,
    /// Only the episodes of this mask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
    /// How often each of its steps is drawn, beside those of the other files.
    #[serde(default = "one")]
    pub weight: f64,
    /// What a `dones` flag means where the file does not say.
    #[serde(default)]
    pub done_means: DoneMeans,
    /// Recorded with a scripted demonstrator when the file does not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordConfig>,
}

impl DataConfig {
    /// How the file is opened.
    pub fn open_options(&self) -> OpenOptions {
        OpenOptions {
            observation_keys: self.observation_keys.clone(),
            done_means: self.done_means,
            ..OpenOptions::default()
        }
    }
}

/// How demonstrations are recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordConfig {
    /// Who demonstrates.
    pub demonstrator: DemonstratorConfig,
    /// Episodes.
    pub episodes: usize,
    /// Seed of starts and of the demonstrator's noise; the run's seed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// A learner for comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BaselineConfig {
    /// The algorithm.
    pub learner: LearnerConfig,
    /// How it is trained.
    #[serde(default)]
    pub offline: OfflineConfig,
}

/// A config and the text it came from.
pub struct LoadedConfig {
    /// The config.
    pub config: RunConfig,
    /// The config with every default filled in, as TOML.
    pub resolved: String,
}

/// Reads a file and applies overrides.
///
/// # Errors
/// `Failure::Usage` with line, caret and suggestion, or with the override's key path.
pub fn load(path: &Path, overrides: &[String]) -> Result<LoadedConfig, Failure> {
    let text = std::fs::read_to_string(path)
        .with_context(|| {
            format!(
                "cannot read config {}\n\nhint: `surefoot train FILE.toml`; examples are in configs/",
                path.display()
            )
        })
        .map_err(usage)?;
    parse(&text, &path.display().to_string(), overrides)
}

/// Parses a config's text; `origin` names it in messages.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, origin: &str, overrides: &[String]) -> Result<LoadedConfig, Failure> {
    let config: RunConfig = typed(text, origin, overrides)?;
    check(&config).map_err(|e| usage(e.context(origin.to_owned())))?;
    let resolved = toml::to_string_pretty(&config).context("cannot write the resolved config")?;
    Ok(LoadedConfig { config, resolved })
}

/// A config's text with overrides, as what it is to be; nothing of it is checked beyond its form.
///
/// # Errors
/// As [`load`].
fn typed<T: serde::de::DeserializeOwned>(
    text: &str,
    origin: &str,
    overrides: &[String],
) -> Result<T, Failure> {
    // The text alone first: its errors carry line and caret.
    let config: T = toml::from_str(text)
        .map_err(|e| usage(anyhow!("{origin}: {}", suggest::with_suggestion(&e.to_string()))))?;
    if overrides.is_empty() {
        return Ok(config);
    }
    overridden(text, overrides)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChosenEnv {
    env: EnvConfig,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DrivenEnv {
    env: EnvConfig,
    #[serde(default)]
    control: ControlConfig,
}

/// An environment and the settings of a control loop that drives its robot, with overrides such as `env.push.max_steps=30` and
/// `control.startup_max_speed=2.0` put in.
///
/// # Errors
/// `Failure::Usage` with the override's key path.
pub fn driven_env_with(env: EnvConfig, overrides: &[String]) -> Result<(EnvConfig, ControlConfig), Failure> {
    let given = DrivenEnv { env, control: ControlConfig::default() };
    if overrides.is_empty() {
        return Ok((given.env, given.control));
    }
    let DrivenEnv { env, control } = overridden(&toml::to_string(&given)?, overrides)?;
    control.check("control").map_err(|e| usage(anyhow!("override: {e}")))?;
    Ok((env, control))
}

/// An environment by its name, with overrides such as `env.push.max_steps=30`.
///
/// # Errors
/// `Failure::Usage` with the override's key path.
pub fn env(name: &str, overrides: &[String]) -> Result<EnvConfig, Failure> {
    one_of(name, &EnvConfig::names())?;
    overridden::<ChosenEnv>(&format!("[env.{name}]\n"), overrides).map(|chosen| chosen.env)
}

/// An environment of this process by name, with such overrides put in.
///
/// # Errors
/// `Failure::Usage` with the names that there are, or with the override's key path.
pub fn local_env(name: &str, overrides: &[String]) -> Result<EnvConfig, Failure> {
    one_of(name, EnvConfig::local_names())?;
    env(name, overrides)
}

fn one_of(name: &str, names: &[&'static str]) -> Result<(), Failure> {
    if names.contains(&name) {
        return Ok(());
    }
    let hint = nearest(name, names.iter().copied())
        .map_or(String::new(), |n| format!("\n\nhint: did you mean `{n}`?"));
    Err(usage(anyhow!("unknown environment {name:?}: expected one of {}{hint}", names.join(", "))))
}

/// An environment with such overrides put in.
///
/// # Errors
/// `Failure::Usage` with the override's key path.
pub fn env_with(env: EnvConfig, overrides: &[String]) -> Result<EnvConfig, Failure> {
    if overrides.is_empty() {
        return Ok(env);
    }
    overridden::<ChosenEnv>(&toml::to_string(&ChosenEnv { env })?, overrides).map(|chosen| chosen.env)
}

/// A text with overrides put in, as what it is to be.
fn overridden<T: serde::de::DeserializeOwned>(text: &str, overrides: &[String]) -> Result<T, Failure> {
    let table = overrides::apply(text, overrides)?;
    serde_path_to_error::deserialize(toml::Value::Table(table)).map_err(|e| {
        let path = e.path().to_string();
        let inner = e.into_inner().to_string();
        usage(anyhow!("override: at {path}: {}", suggest::with_suggestion(inner.trim())))
    })
}

/// What serde cannot check: everything that is wrong, at once.
fn check(config: &RunConfig) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    if config.name.is_empty()
        || config.name.contains(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)))
    {
        wrong.push(format!("name = {:?}: use letters, digits, '-', '_' and '.'", config.name));
    }
    if config.env.is_some() == config.recorded.is_some() {
        wrong.push("give either [env.NAME] (a world) or [recorded] (recordings alone)".to_owned());
    }
    if config.data.is_empty() {
        wrong.push("[[data]]: at least one file of demonstrations is needed".to_owned());
    }
    if config.phase.is_empty() {
        wrong.push("[[phase]]: at least one phase is needed".to_owned());
    }
    let online = config.phase.iter().any(|p| matches!(p, PhaseConfig::Online(_)));
    if config.env.is_none() && online {
        wrong.push("[[phase]] online: needs a world, [env.NAME]".to_owned());
    }
    if config.env.is_none() && config.data.iter().any(|d| d.record.is_some()) {
        wrong.push("[[data]] record: needs a world, [env.NAME]".to_owned());
    }
    let drives = |phase: &PhaseConfig| {
        matches!(phase, PhaseConfig::Online(OnlineConfig { schedule: Schedule::Async(live), .. })
            if live.robot.clock == LiveClock::Real)
    };
    if config.robot.is_some() && !config.phase.iter().any(drives) {
        wrong
            .push("[robot]: no phase drives a robot in real time, with schedule = { async = {} }".to_owned());
    }
    if !(1..=MAX_WORLDS).contains(&config.training.worlds) {
        wrong.push(format!("training.worlds = {}: 1 to {MAX_WORLDS}", config.training.worlds));
    }
    for (index, phase) in config.phase.iter().enumerate() {
        wrong.extend(phase.check(index).err().map(|e| e.to_string()));
    }
    if !(1..=MAX_EPISODES).contains(&config.eval.episodes) {
        wrong.push(format!("eval.episodes = {}: 1 to {MAX_EPISODES}", config.eval.episodes));
    }
    for (index, data) in config.data.iter().enumerate().filter(|(_, d)| d.path.as_os_str().is_empty()) {
        wrong.push(format!("data[{index}].path = {:?}: the path of a file", data.path));
    }
    for (index, data) in config.data.iter().enumerate() {
        if !(data.weight.is_finite() && data.weight > 0.0) {
            wrong.push(format!("data[{index}].weight = {}: a positive number", data.weight));
        }
    }
    if config.loading.directory.as_os_str().is_empty() {
        wrong.push("loading.directory = \"\": the path of a directory".to_owned());
    }
    for record in config.data.iter().filter_map(|d| d.record.as_ref()) {
        if !(1..=MAX_EPISODES).contains(&record.episodes) {
            wrong.push(format!("data record.episodes = {}: 1 to {MAX_EPISODES}", record.episodes));
        }
    }
    if let Some(recorded) = &config.recorded {
        if !(recorded.step_secs.is_finite() && recorded.step_secs > 0.0) {
            wrong.push(format!("recorded.step_secs = {}: a positive number of seconds", recorded.step_secs));
        }
        if let Some((low, high)) =
            recorded.reward_range.filter(|(low, high)| !(low.is_finite() && high.is_finite() && low <= high))
        {
            wrong.push(format!("recorded.reward_range = [{low}, {high}]: finite, lowest first"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(anyhow!("{}", wrong.join("\n  "))) }
}
