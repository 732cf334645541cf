//! Where names become things: environments, demonstrations and learners out of a config.

mod demonstrations;
mod fleet;
mod histories;
mod in_context;
mod link;
mod live;
mod loading;
mod regression;

use anyhow::{Context, anyhow};
use surefoot_bridges::EnvContext as LinkContext;
use surefoot_core::{Env, EnvError, EnvSpec, EpisodeSource, Field, Learner, VecEnv};
use surefoot_engine::Baseline;
use surefoot_policies::{Device, LearnerConfig, LearnerContext};
use surefoot_sim::EnvContext;

pub use demonstrations::{Demonstrations, Needs, load, put_aside_if_damaged, record};
pub use fleet::{endpoints, episodes_ahead, make_fleet};
pub use histories::{Learnt, family, kept_back, learnt, unfit};
pub use in_context::InContext;
pub use link::{check_link, contract_for, link_failure, linked_robot, robot_contract};
pub use live::{Around, TaskAndWorld, check_operator, make_live, recorder, robot, robot_parts};
pub use regression::{check_suite, suite as regression_suite, version};

use crate::config::{EnvConfig, RecordedConfig, RunConfig};
use crate::failure::{Failure, usage};

/// Builds one world of this process.
///
/// # Errors
/// When its configuration cannot be used, or the environment is in another process.
pub fn local_env(config: &EnvConfig) -> Result<Box<dyn Env>, EnvError> {
    match config {
        EnvConfig::Local(config) => config.build(&EnvContext::default()),
        EnvConfig::Linked(config) => Err(EnvError::Build {
            env: config.name().to_owned(),
            reason: "its worlds are in another process: there is no robot here to drive or to serve".into(),
        }),
    }
}

/// Builds several worlds side by side; behind a link there may be fewer than asked for.
///
/// # Errors
/// When their configuration cannot be used or their process is not there.
pub fn worlds(config: &EnvConfig, count: usize) -> Result<VecEnv, EnvError> {
    match config {
        EnvConfig::Local(_) => {
            VecEnv::new((0..count.max(1)).map(|_| local_env(config)).collect::<Result<_, _>>()?)
        }
        EnvConfig::Linked(linked) => Ok(VecEnv::of(linked.build(&LinkContext { worlds: count.max(1) })?)),
    }
}

/// What policies see and do in an environment.
///
/// # Errors
/// As [`worlds`].
pub fn env_spec(config: &EnvConfig) -> Result<EnvSpec, EnvError> {
    Ok(worlds(config, 1)?.spec().clone())
}

/// Builds a learner for a spec. Its results do not depend on the number of threads.
///
/// # Errors
/// When its configuration cannot be used.
pub fn learner(
    config: &LearnerConfig,
    spec: &EnvSpec,
    seed: u64,
    device: Device,
) -> Result<Box<dyn Learner>, Failure> {
    if let Some(field) = spec.first_choice() {
        return Err(usage(anyhow!(
            "[learner.{}] learns quantities, and {} of {} is one of {} choices\n\nhint: its learners are the sources of `surefoot collect`",
            config.name(),
            field.name,
            spec.name,
            field.choices.unwrap_or_default()
        )));
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let context = LearnerContext::new(spec.clone(), seed).with_threads(threads).on(device);
    config.build(&context).map_err(usage)
}

/// The baselines of a config, named after their learners (`bc`, `bc_2`, …).
///
/// # Errors
/// When a configuration cannot be used.
pub fn baselines(config: &RunConfig, spec: &EnvSpec) -> Result<Vec<Baseline>, Failure> {
    let mut baselines: Vec<Baseline> = Vec::new();
    for baseline in &config.baseline {
        let algorithm = baseline.learner.name();
        let same = baselines.iter().filter(|b| b.learner.name() == algorithm).count();
        baselines.push(Baseline {
            name: if same == 0 { algorithm.to_owned() } else { format!("{algorithm}_{}", same + 1) },
            learner: learner(&baseline.learner, spec, config.seed, config.device)?,
            offline: baseline.offline.clone(),
        });
    }
    Ok(baselines)
}

/// What policies of this run see and do: by the world, or by the recordings where there is none.
///
/// # Errors
/// When the world cannot be built or the recordings cannot be opened.
pub fn spec(config: &RunConfig) -> Result<EnvSpec, Failure> {
    match (&config.env, &config.recorded) {
        (Some(config), _) => env_spec(config).map_err(usage),
        (None, Some(recorded)) => {
            let data = config.data.first().ok_or_else(|| usage(anyhow!("[[data]] is empty")))?;
            let source = surefoot_datasets::open_with(&data.path, &data.open_options())?;
            recorded_spec(recorded, source.as_ref())
        }
        (None, None) => Err(usage(anyhow!("give either [env.NAME] or [recorded]"))),
    }
}

/// The spec of a task that is known from its recordings: fields are named after their keys.
fn recorded_spec(recorded: &RecordedConfig, source: &dyn EpisodeSource) -> Result<EnvSpec, Failure> {
    let meta = source.meta();
    let mut observation = Vec::new();
    for (key, width) in &meta.observation_keys {
        observation.extend((0..*width).map(|i| Field::unbounded(format!("{key}[{i}]"), "1")));
    }
    let unit = |i: usize| meta.action_units.as_ref().and_then(|u| u.get(i)).map_or("1", String::as_str);
    let action =
        (0..meta.action_dim).map(|i| Field::bounded(format!("action[{i}]"), unit(i), -1.0, 1.0)).collect();
    let mut max_steps = 0;
    let mut range: Option<(f32, f32)> = None;
    for index in 0..source.len() {
        let episode = source.episode(index).with_context(|| format!("episode {index}"))?;
        max_steps = max_steps.max(episode.len());
        for reward in episode.reward.iter().filter(|r| r.is_finite()) {
            let (low, high) = range.unwrap_or((*reward, *reward));
            range = Some((low.min(*reward), high.max(*reward)));
        }
    }
    let RecordedConfig { name, step_secs, reward_range } = recorded;
    Ok(EnvSpec {
        name: name.clone(),
        observation,
        action,
        step_secs: *step_secs,
        max_steps,
        reward_range: reward_range.or(range),
        contract_hash: meta.contract_hash.clone(),
    })
}
