//! A suite of `surefoot bench`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_engine::comparison::ComparisonConfig;

use super::{LoadedConfig, load, suggest};
use crate::failure::{Failure, usage};

/// A suite: contenders, each trained with every seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BenchConfig {
    /// Name, of letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Seeds of the runs.
    pub seeds: Vec<u64>,
    /// What is compared; the first one is what the others are compared with.
    pub contender: Vec<ContenderConfig>,
    /// How runs are judged.
    #[serde(default)]
    pub comparison: ComparisonConfig,
}

/// A learner with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContenderConfig {
    /// Name, of letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// One experiment for each task, relative to the suite's directory.
    pub configs: Vec<PathBuf>,
    /// Overrides for all of them, as on the command line.
    #[serde(default)]
    pub overrides: Vec<String>,
}

/// A run of a suite.
pub struct BenchRun {
    /// Name of its directory.
    pub directory: String,
    /// Its configuration.
    pub loaded: LoadedConfig,
}

/// A contender's runs.
pub struct BenchContender {
    /// Name.
    pub name: String,
    /// Runs of all configs and seeds.
    pub runs: Vec<BenchRun>,
}

/// Reads a suite and the configurations of all of its runs.
///
/// # Errors
/// `Failure::Usage` with the first thing that is wrong, before any run is begun.
pub fn load_bench(path: &Path, overrides: &[String]) -> Result<(BenchConfig, Vec<BenchContender>), Failure> {
    let text = std::fs::read_to_string(path)
        .with_context(|| {
            format!("cannot read suite {}\n\nhint: examples are in configs/bench/", path.display())
        })
        .map_err(usage)?;
    let origin = path.display();
    let suite: BenchConfig = toml::from_str(&text)
        .map_err(|e| usage(anyhow!("{origin}: {}", suggest::with_suggestion(&e.to_string()))))?;
    check(&suite).map_err(|e| usage(e.context(origin.to_string())))?;
    let beside = path.parent().unwrap_or(Path::new(""));
    let mut contenders = Vec::new();
    for ContenderConfig { name, configs, overrides: own } in &suite.contender {
        let mut runs = Vec::new();
        for config in configs {
            for seed in &suite.seeds {
                let all: Vec<String> =
                    own.iter().chain(overrides).cloned().chain([format!("seed={seed}")]).collect();
                let loaded = load(&beside.join(config), &all)?;
                let directory = format!("{name}-{}-s{seed}", loaded.config.name);
                runs.push(BenchRun { directory, loaded });
            }
        }
        contenders.push(BenchContender { name: name.clone(), runs });
    }
    let mut directories = BTreeSet::new();
    for run in contenders.iter().flat_map(|c| &c.runs) {
        if !directories.insert(&run.directory) {
            return Err(usage(anyhow!(
                "{origin}: two runs would stand in {}: give contenders, and the configs of one contender, names of their own",
                run.directory
            )));
        }
    }
    Ok((suite, contenders))
}

fn check(suite: &BenchConfig) -> anyhow::Result<()> {
    let BenchConfig { name, seeds, contender, comparison } = suite;
    let plain =
        |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    for name in std::iter::once(name).chain(contender.iter().map(|c| &c.name)) {
        if !plain(name) {
            return Err(anyhow!("name = {name:?}: use letters, digits, '-', '_' and '.'"));
        }
    }
    if seeds.is_empty() || seeds.iter().collect::<BTreeSet<_>>().len() != seeds.len() {
        return Err(anyhow!("seeds = {seeds:?}: expected at least one, each once"));
    }
    if contender.is_empty() {
        return Err(anyhow!("[[contender]]: at least one is needed"));
    }
    if let Some(c) = contender.iter().find(|c| c.configs.is_empty()) {
        return Err(anyhow!("contender {:?}: configs: at least one experiment is needed", c.name));
    }
    if let Some(key) = contender.iter().flat_map(|c| &c.overrides).find(|o| o.starts_with("seed=")) {
        return Err(anyhow!("overrides: {key}: seeds stand in `seeds`"));
    }
    if comparison.last_evaluations == 0 {
        return Err(anyhow!("comparison.last_evaluations = 0: expected at least 1"));
    }
    comparison.score.check()?;
    Ok(())
}
