//! A suite of `surefoot regress`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::ScheduledFault;
use surefoot_engine::MAX_EPISODES;
use surefoot_engine::regression::{
    ControlLoopConfig, LevelConfig, NoiseConfig, SeedsConfig, StatisticalConfig,
};
use surefoot_sim::DemonstratorConfig;

use super::{EnvConfig, suggest};
use crate::failure::{Failure, usage};

/// A suite: scenarios, each judged by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuiteConfig {
    /// Name, of letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Where golden files are, relative to the suite's directory; `golden/NAME` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub golden: Option<PathBuf>,
    /// What is run.
    pub scenario: Vec<ScenarioConfig>,
}

/// A world, a policy, seeds and faults, and how they are judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScenarioConfig {
    /// Name, of letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// How it is judged.
    pub level: LevelConfig,
    /// The world; that of a trained policy's own run when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<EnvConfig>,
    /// What acts.
    pub policy: SuitePolicyConfig,
    /// What it is compared with, at level `statistical`; the golden file when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<SuitePolicyConfig>,
    /// Its episodes.
    pub seeds: SeedsConfig,
    /// What goes wrong in each episode, by its control periods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<ScheduledFault>,
    /// Drives the robot through the control loop, with its modes and latched stops; absent: an episode is a task's, as in training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_loop: Option<ControlLoopConfig>,
}

/// What acts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SuitePolicyConfig {
    /// A trained one: a run directory, a checkpoint of one, or a directory with policy.json and policy.safetensors, relative to the
    /// suite's directory.
    Trained(PathBuf),
    /// A scripted one.
    Demonstrator(DemonstratorConfig),
    /// The same action in every step, normalised.
    Constant(Vec<f32>),
}

/// Reads a suite.
///
/// # Errors
/// `Failure::Usage` with line, caret and suggestion, or with everything else that is wrong.
pub fn load_suite(path: &Path) -> Result<SuiteConfig, Failure> {
    let text = std::fs::read_to_string(path)
        .with_context(|| {
            format!("cannot read suite {}\n\nhint: examples are in configs/suites/", path.display())
        })
        .map_err(usage)?;
    let origin = path.display();
    let suite: SuiteConfig = toml::from_str(&text)
        .map_err(|e| usage(anyhow!("{origin}: {}", suggest::with_suggestion(&e.to_string()))))?;
    check(&suite).map_err(|e| usage(e.context(origin.to_string())))?;
    Ok(suite)
}

fn check(suite: &SuiteConfig) -> anyhow::Result<()> {
    let SuiteConfig { name, golden: _, scenario } = suite;
    let mut wrong = Vec::new();
    let plain =
        |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    for name in std::iter::once(name).chain(scenario.iter().map(|s| &s.name)) {
        if !plain(name) || name.starts_with('.') {
            wrong.push(format!("name = {name:?}: use letters, digits, '-', '_' and '.'"));
        }
    }
    if scenario.is_empty() {
        wrong.push("[[scenario]]: at least one is needed".into());
    }
    let mut names = BTreeSet::new();
    for ScenarioConfig { name, level, env, policy, baseline, seeds, faults, control_loop } in scenario {
        let mut say = |what: String| wrong.push(format!("scenario {name:?}: {what}"));
        if !names.insert(name) {
            say("another one has the same name".into());
        }
        if !(1..=MAX_EPISODES).contains(&seeds.episodes) {
            say(format!("seeds.episodes = {}: 1 to {MAX_EPISODES}", seeds.episodes));
        }
        if env.is_none() && !matches!(policy, SuitePolicyConfig::Trained(_)) {
            say("env: expected a world, such as env.push = {}, for a policy that was not trained in one"
                .into());
        }
        if baseline.is_some() && !matches!(level, LevelConfig::Statistical(_)) {
            say(format!(
                "baseline: level {} compares with a golden file; a baseline needs level = {{ statistical = {{}} }}",
                level.name()
            ));
        }
        if let LevelConfig::Statistical(statistical) = level {
            if let Err(why) = statistical.check() {
                say(format!("level.statistical.{why}"));
            }
            let StatisticalConfig { noise, .. } = statistical;
            if baseline.is_none() && *noise == NoiseConfig::Independent {
                say("level.statistical.noise = \"independent\": needs a baseline policy".into());
            }
        }
        for (i, fault) in faults.iter().enumerate() {
            if let Err(why) = fault.check(usize::MAX) {
                say(format!("faults[{i}]: {why}"));
            }
        }
        if let Some(Err(why)) = control_loop.as_ref().map(|c| c.check(faults)) {
            say(why.to_string());
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(anyhow!("{}", wrong.join("\n  "))) }
}
