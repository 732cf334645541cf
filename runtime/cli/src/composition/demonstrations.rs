//! Demonstrations: recorded when they are missing, checked and loaded otherwise.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use surefoot_core::{ActMode, EnvSpec, Stream};
use surefoot_datasets::{LoadOptions, Recording};
use surefoot_engine::{DemonstrationSet, EpisodeSeeds, Interrupt, Watch, rollout};
use surefoot_sim::DemonstratorContext;

use crate::composition::loading::{Room, Rows, Take};
use crate::composition::worlds;
use crate::config::{DataConfig, EnvConfig, RecordConfig, RunConfig};
use crate::failure::Failure;
use crate::output::Output;

/// Worlds that a recording is made in.
const RECORDING_WORLDS: usize = 8;

/// Loaded demonstrations.
pub struct Demonstrations {
    /// One for each `[[data]]`, in order.
    pub sets: Vec<DemonstrationSet>,
    /// File -> blake3.
    pub hashes: BTreeMap<String, String>,
}

/// What of demonstrations a run's learners need.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Needs {
    /// Whether one of them learns from rewards.
    pub rewards: bool,
    /// Discount of the returns that are kept with the rows on the disk.
    pub discount: f32,
}

/// Loads every `[[data]]` of a config; records those that are missing and say how.
///
/// # Errors
/// When a file is missing, damaged, or of another task, and when rows cannot be kept where `[loading]` says.
pub fn load(
    config: &RunConfig,
    spec: &EnvSpec,
    needs: Needs,
    interrupt: &Interrupt,
    output: Output,
) -> Result<Demonstrations, Failure> {
    let mut sets = Vec::new();
    let mut hashes = BTreeMap::new();
    let mut room = Room::new(&config.loading);
    for (index, data) in config.data.iter().enumerate() {
        if data.record.is_some() && data.path.exists() {
            output.note(&format!("using {} as it is: it was recorded before", data.path.display()));
        }
        if let (false, Some(recording), Some(env)) = (data.path.exists(), &data.record, &config.env) {
            let seed = recording.seed.unwrap_or(config.seed);
            output.note(&format!(
                "recording {} demonstrations to {}",
                recording.episodes,
                data.path.display()
            ));
            record(env, recording, seed, &data.path, interrupt)?;
        }
        let (loaded, hash) = load_file((index, data), spec, needs, &mut room, output)?;
        sets.push(loaded);
        hashes.insert(data.path.display().to_string(), hash);
    }
    Ok(Demonstrations { sets, hashes })
}

fn load_file(
    (index, data): (usize, &DataConfig),
    spec: &EnvSpec,
    needs: Needs,
    room: &mut Room<'_>,
    output: Output,
) -> Result<(DemonstrationSet, String), Failure> {
    if !data.path.exists() {
        return Err(anyhow!(
            "demonstrations {} do not exist\n\nhint: give their path with data.0.path=FILE, or a record = {{ … }} to have them recorded",
            data.path.display()
        )
        .into());
    }
    let source = surefoot_datasets::open_with(&data.path, &data.open_options())?;
    // Without rewards an imitator learns as well; what stands in their place is looked at by none.
    let missing_reward = (!needs.rewards).then_some(0.0);
    let options = LoadOptions { mask: data.mask.clone(), missing_reward, ..LoadOptions::default() };
    let take = Take { data, source: &*source, spec, load: &options, discount: needs.discount };
    let Rows { rows, episodes, report } = room.take(&take, output).map_err(|failure| match failure {
        Failure::Request(e) if needs.rewards && format!("{e:#}").contains("`missing_reward`") => anyhow!(
            "data[{index}]: {} has no rewards, and a learner of this run learns from them\n\nhint: `[learner.bc]` imitates without rewards; otherwise record or convert the data with rewards (docs/importing-logs.md)",
            data.path.display()
        )
        .into(),
        other => other,
    })?;
    if episodes.is_empty() {
        return Err(anyhow!("data[{index}]: {} holds no episode", data.path.display()).into());
    }
    let solved = episodes.iter().filter(|e| e.success == Some(true)).count();
    output.note(&format!(
        "{}: {} episodes, {} steps, {solved} successful",
        data.path.display(),
        report.episodes,
        report.steps
    ));
    for note in &report.notes {
        output.note(&format!("  note: {note}"));
    }
    let set = DemonstrationSet::new(rows, episodes)?.with_weight(data.weight);
    Ok((set, source.meta().hash.clone()))
}

/// Records scripted demonstrations into a new file.
///
/// # Errors
/// When the demonstrator does not fit the environment, or the file cannot be written.
pub fn record(
    env: &EnvConfig,
    config: &RecordConfig,
    seed: u64,
    path: &Path,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let RecordConfig { demonstrator, episodes, seed: _ } = config;
    let mut envs = worlds(env, RECORDING_WORLDS)?;
    let spec = envs.spec().clone();
    let mut policy = demonstrator.build(&DemonstratorContext { spec: spec.clone(), slots: envs.len() })?;
    let seeds: Vec<EpisodeSeeds> = (0..*episodes as u64)
        .map(|i| {
            let mut stream = Stream::new(seed, "demonstration", i);
            EpisodeSeeds { reset: stream.bits(), noise: stream.bits() }
        })
        .collect();
    let mut watch = Watch { interrupt, progress: &mut |_| {} };
    let source = format!("scripted {}", demonstrator.name());
    let recorded = rollout(&mut envs, policy.as_mut(), ActMode::Explore, &seeds, &source, &mut watch)?;
    if let Some(parent) = path.parent().filter(|p| *p != Path::new("")) {
        std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    }
    let recording = Recording {
        env_kwargs: serde_json::to_value(env)?,
        ..Recording::new(spec).with_split(recorded.len(), 0.1, seed)
    };
    surefoot_datasets::write(path, &recording, &recorded)?;
    Ok(())
}

/// Puts a damaged recording aside, so that it can be recorded anew and nothing is lost. `None` when the file is sound or absent.
///
/// # Errors
/// When it cannot be renamed.
pub fn put_aside_if_damaged(path: &Path) -> Result<Option<(PathBuf, String)>, Failure> {
    if !path.exists() {
        return Ok(None);
    }
    let damage = surefoot_datasets::open(path)
        .and_then(|source| (0..source.len()).try_for_each(|i| source.episode(i).map(drop)))
        .err();
    let Some(damage) = damage else { return Ok(None) };
    let mut aside = path.with_extension("damaged.hdf5");
    let mut number = 1;
    while aside.exists() {
        number += 1;
        aside = path.with_extension(format!("damaged-{number}.hdf5"));
    }
    std::fs::rename(path, &aside).with_context(|| format!("cannot rename {}", path.display()))?;
    Ok(Some((aside, damage.to_string())))
}
