//! The file of `surefoot distill`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_engine::MAX_EPISODES;
use surefoot_engine::in_context::{EvidenceScale, LifeConfig};
use surefoot_policies::in_context::{Acting, DistillerConfig, ModelConfig, OptimizerConfig, WindowConfig};
use surefoot_policies::sources::SourceConfig;
use surefoot_sim::FamilyConfig;

use super::typed;
use crate::failure::{Failure, usage};

/// A distillation: a transformer trained on learning histories, judged on tasks that it has not seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DistillConfig {
    /// Begins the run directory's name.
    pub name: String,
    /// Seed of initial weights, of windows, and of histories that are lived for this run.
    #[serde(default)]
    pub seed: u64,
    /// What is learnt from.
    pub histories: HistoriesConfig,
    /// The transformer.
    #[serde(default)]
    pub model: ModelConfig,
    /// Training windows.
    #[serde(default)]
    pub windows: WindowConfig,
    /// How it is trained.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// How the policy acts.
    #[serde(default)]
    pub acting: Acting,
    /// How it is judged.
    #[serde(default)]
    pub evaluation: DistillEvaluation,
    /// What is trained besides with `--arms`: the same, but for some settings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arm: Vec<ArmConfig>,
}

/// Where learning histories come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum HistoriesConfig {
    /// A file of `surefoot collect`, relative to the working directory.
    File(PathBuf),
    /// Lived in memory when the run begins.
    Lived(Box<LivedConfig>),
}

/// Lives of a source algorithm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LivedConfig {
    /// The tasks.
    pub family: FamilyConfig,
    /// Who learns each of them anew.
    pub source: SourceConfig,
    /// Lives on each task of the training.
    pub per_task: usize,
    /// Episodes of a life.
    pub episodes: usize,
    /// Of which every so many-th is kept.
    #[serde(default = "one")]
    pub keep_every: usize,
}

const fn one() -> usize {
    1
}

/// How a distillation is judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DistillEvaluation {
    /// Tasks of the training that are kept back, to choose the checkpoint by.
    pub validation_tasks: usize,
    /// Lives on these.
    pub validation: LifeConfig,
    /// Updates between two judgements.
    pub every_updates: u64,
    /// Updates between two lines of metrics.
    pub log_every_updates: u64,
    /// Lives on new tasks, at the end.
    pub test: LifeConfig,
    /// What a score is.
    pub scale: EvidenceScale,
    /// Lives on new tasks that begin with being shown two episodes of the source's life on the same task, from these parts of it on.
    pub prompts: Vec<f64>,
}

impl Default for DistillEvaluation {
    fn default() -> Self {
        Self {
            validation_tasks: 8,
            validation: LifeConfig { lives: 4, seed: 20_011, ..LifeConfig::default() },
            every_updates: 500,
            log_every_updates: 50,
            test: LifeConfig::default(),
            scale: EvidenceScale::Optimal,
            prompts: Vec::new(),
        }
    }
}

/// A variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArmConfig {
    /// Name, of letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// What is other than in this file, as on the command line.
    pub overrides: Vec<String>,
}

impl DistillConfig {
    /// What the transformer is trained by.
    #[must_use]
    pub fn distiller(&self) -> DistillerConfig {
        DistillerConfig {
            model: self.model.clone(),
            windows: self.windows.clone(),
            optimizer: self.optimizer.clone(),
            acting: self.acting.clone(),
        }
    }
}

/// A distillation and the text it came from.
pub struct LoadedDistill {
    /// The distillation.
    pub config: DistillConfig,
    /// With every default filled in, without arms.
    pub resolved: String,
}

/// Reads a file and applies overrides.
///
/// # Errors
/// `Failure::Usage` with line, caret and suggestion, or with the override's key path.
pub fn load_distill(path: &Path, given: &[String]) -> Result<LoadedDistill, Failure> {
    parse_distill(&text_of(path)?, &path.display().to_string(), given)
}

fn text_of(path: &Path) -> Result<String, Failure> {
    let hint = || format!("cannot read config {}\n\nhint: examples are in configs/distill/", path.display());
    std::fs::read_to_string(path).with_context(hint).map_err(usage)
}

/// Parses a config's text; `origin` names it in messages.
///
/// # Errors
/// As [`load_distill`].
pub fn parse_distill(text: &str, origin: &str, given: &[String]) -> Result<LoadedDistill, Failure> {
    let config: DistillConfig = typed(text, origin, given)?;
    check(&config).map_err(|e| usage(e.context(origin.to_owned())))?;
    let alone = DistillConfig { arm: Vec::new(), ..config.clone() };
    let resolved = toml::to_string_pretty(&alone).context("cannot write the resolved config")?;
    Ok(LoadedDistill { config, resolved })
}

fn check(config: &DistillConfig) -> anyhow::Result<()> {
    let DistillConfig {
        name,
        seed: _,
        histories,
        model: _,
        windows: _,
        optimizer: _,
        acting: _,
        evaluation,
        arm,
    } = config;
    let plain =
        |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    for name in std::iter::once(name).chain(arm.iter().map(|a| &a.name)) {
        if !plain(name) {
            return Err(anyhow!("name = {name:?}: use letters, digits, '-', '_' and '.'"));
        }
    }
    let taken = ["ad", "source", "oracle"];
    let mut names: BTreeSet<&str> = taken.into();
    if let Some(again) = arm.iter().find(|a| !names.insert(&a.name)) {
        let name = &again.name;
        return Err(anyhow!("arm {name:?}: expected a name of its own, other than {}", taken.join(", ")));
    }
    if let HistoriesConfig::Lived(lived) = histories {
        let LivedConfig { family: _, source: _, per_task, episodes, keep_every } = &**lived;
        for (key, n) in [("per_task", per_task), ("episodes", episodes), ("keep_every", keep_every)] {
            if !(1..=1_000_000).contains(n) {
                return Err(anyhow!("histories.lived.{key} = {n}: 1 to 1000000"));
            }
        }
    }
    let DistillEvaluation {
        validation_tasks,
        validation,
        every_updates,
        log_every_updates,
        test,
        scale: _,
        prompts,
    } = evaluation;
    if *validation_tasks == 0 || *every_updates == 0 || *log_every_updates == 0 {
        return Err(anyhow!(
            "evaluation: validation_tasks, every_updates and log_every_updates must be at least 1"
        ));
    }
    if let Some(p) = prompts.iter().find(|p| !(0.0..=1.0).contains(*p)) {
        return Err(anyhow!("evaluation.prompts: {p}: expected parts of a life, from 0 to 1"));
    }
    for (key, lives) in [("validation", validation), ("test", test)] {
        let LifeConfig { episodes, lives, seed: _, curve: _ } = lives;
        if !(1..=MAX_EPISODES).contains(episodes) || !(1..=MAX_EPISODES).contains(lives) {
            return Err(anyhow!("evaluation.{key}: episodes and lives: 1 to {MAX_EPISODES}"));
        }
    }
    Ok(())
}

/// An arm's name, and the directory and settings of its run of each seed.
pub type ArmRuns = (String, Vec<(PathBuf, LoadedDistill)>);

/// The runs of all arms; with `splits`, each seed has a split of the tasks of its own.
///
/// # Errors
/// As [`load_distill`].
pub fn arms(path: &Path, given: &[String], seeds: &[u64], splits: bool) -> Result<Vec<ArmRuns>, Failure> {
    parse_arms(&text_of(path)?, &path.display().to_string(), given, seeds, splits)
}

/// The runs of all arms of a config's text; `origin` names it in messages.
///
/// # Errors
/// As [`load_distill`].
pub fn parse_arms(
    text: &str,
    origin: &str,
    given: &[String],
    seeds: &[u64],
    splits: bool,
) -> Result<Vec<ArmRuns>, Failure> {
    let config = parse_distill(text, origin, given)?.config;
    let family = match (&config.histories, splits) {
        (_, false) => None,
        (HistoriesConfig::Lived(lived), true) => Some(lived.family.name()),
        (HistoriesConfig::File(file), true) => {
            return Err(usage(anyhow!(
                "--splits: the histories of {} are of one split of the tasks\n\nhint: let them be lived (histories.lived), or distil one file for each split",
                file.display()
            )));
        }
    };
    let main = ArmConfig { name: "ad".into(), overrides: Vec::new() };
    let mut all = Vec::new();
    for ArmConfig { name, overrides } in std::iter::once(&main).chain(&config.arm) {
        let mut runs = Vec::new();
        for seed in seeds {
            let own_split = family.map(|f| format!("histories.lived.family.{f}.split_seed={seed}"));
            let of_seed = std::iter::once(format!("seed={seed}")).chain(own_split);
            let given: Vec<String> = overrides.iter().chain(given).cloned().chain(of_seed).collect();
            runs.push((PathBuf::from(format!("{name}-s{seed}")), parse_distill(text, origin, &given)?));
        }
        all.push((name.clone(), runs));
    }
    Ok(all)
}
