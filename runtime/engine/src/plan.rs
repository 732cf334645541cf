//! The list of stages that a run works through, and what cannot be run.

use surefoot_core::{Learner, PhaseKind};

use crate::EngineError;
use crate::evaluation::EvalConfig;
use crate::phases::{OfflineConfig, OnlineConfig, PhaseConfig, Schedule};
use crate::results::StageKind;
use crate::state::{LearnerId, StagePlan};
use crate::trainer::{Baseline, TrainingConfig};

/// Worlds side by side, at most: each takes memory, and results do not depend on their number.
pub const MAX_WORLDS: usize = 1024;
/// Episodes of one evaluation or recording, at most: they are held in memory.
pub const MAX_EPISODES: usize = 100_000;
/// Films of a stage, at most: they are held in memory and embedded in the report.
pub const MAX_FILMS: usize = 16;

/// Refuses what cannot be run, by key: all that can be told without data.
///
/// # Errors
/// [`EngineError::Config`] with the first such key.
pub fn check_plan(
    phases: &[PhaseConfig],
    learner: &dyn Learner,
    baselines: &[Baseline],
    evaluation: &EvalConfig,
    training: &TrainingConfig,
    has_env: bool,
) -> Result<(), EngineError> {
    let refuse = |key: &str, expected: &str, found: String| {
        Err(EngineError::Config { key: key.into(), expected: expected.into(), found })
    };
    let TrainingConfig {
        holdout_fraction,
        worlds,
        log_every_updates,
        checkpoint_every_updates: _,
        keep_checkpoints: _,
        films,
    } = training;
    let goes_by = |key: String, offline: &OfflineConfig, learner: &dyn Learner| {
        let known = learner.heldout_metrics();
        match &offline.early_stop {
            Some(stop) if !known.contains(&stop.metric.as_str()) => Err(EngineError::Config {
                key: format!("{key}.early_stop.metric"),
                expected: format!("a held-out metric of {} ({})", learner.name(), known.join(", ")),
                found: format!("{:?}", stop.metric),
            }),
            _ => Ok(()),
        }
    };
    for (i, phase) in phases.iter().enumerate() {
        phase.check(i)?;
        let kind = match phase {
            PhaseConfig::Offline(offline) => {
                goes_by(format!("phase[{i}].offline"), offline, learner)?;
                "offline"
            }
            PhaseConfig::Online(_) => "online",
        };
        phase.drawing().0.fits(&format!("phase[{i}].{kind}"), learner)?;
        if let PhaseConfig::Online(online) = phase {
            on_policy(&format!("phase[{i}].online"), online, learner)?;
        }
        if !has_env && matches!(phase, PhaseConfig::Online(_)) {
            let key = format!("phase[{i}].online");
            return refuse(&key, "an environment to act in", "recordings only".into());
        }
    }
    if phases.is_empty() && baselines.is_empty() {
        return refuse("phase", "at least one phase", "none".into());
    }
    for baseline in baselines {
        let Baseline { name, learner, offline } = baseline;
        offline.check(&format!("baseline.{name}"))?;
        goes_by(format!("baseline.{name}"), offline, &**learner)?;
        offline.sampling.fits(&format!("baseline.{name}"), &**learner)?;
        let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let taken = ["offline", "online"].contains(&name.as_str())
            || baselines.iter().filter(|b| b.name == *name).count() > 1;
        if !plain || taken {
            return refuse("baseline", "an unused name of letters, digits and `_`", format!("{name:?}"));
        }
    }
    if !(0.0..1.0).contains(holdout_fraction) {
        return refuse("training.holdout_fraction", "0 to below 1", holdout_fraction.to_string());
    }
    if *log_every_updates == 0 {
        return refuse("training.log_every_updates", "at least 1", "0".into());
    }
    if has_env && !(1..=MAX_WORLDS).contains(worlds) {
        return refuse("training.worlds", &format!("1 to {MAX_WORLDS}"), worlds.to_string());
    }
    if *films > MAX_FILMS {
        return refuse("training.films", &format!("at most {MAX_FILMS}"), films.to_string());
    }
    if has_env && !(1..=MAX_EPISODES).contains(&evaluation.episodes) {
        return refuse("eval.episodes", &format!("1 to {MAX_EPISODES}"), evaluation.episodes.to_string());
    }
    Ok(())
}

/// Refuses a phase in which a learner on policy would not learn from what its own policy did.
fn on_policy(key: &str, phase: &OnlineConfig, learner: &dyn Learner) -> Result<(), EngineError> {
    let Some(steps) = learner.sample_plan(PhaseKind::Online).waits_for() else { return Ok(()) };
    let name = learner.name();
    if !matches!(phase.schedule, Schedule::Lockstep) {
        let expected = format!("lockstep, as {name} learns from what its present policy alone did");
        return Err(EngineError::setting(format!("{key}.schedule"), &expected, "another"));
    }
    if phase.offline_ratio >= 1.0 {
        let expected = format!("below 1, as {name} learns from fresh episodes");
        return Err(EngineError::setting(format!("{key}.offline_ratio"), &expected, &phase.offline_ratio));
    }
    if phase.replay_capacity < 2 * steps {
        let expected = format!("at least {}, twice the fresh steps of an update of {name}", 2 * steps);
        return Err(EngineError::setting(
            format!("{key}.replay_capacity"),
            &expected,
            &phase.replay_capacity,
        ));
    }
    Ok(())
}

/// The key of the first stage that needs held-out demonstrations.
pub(crate) fn early_stopping(phases: &[PhaseConfig], baselines: &[Baseline]) -> Option<String> {
    let baseline = baselines.iter().find(|b| b.offline.early_stop.is_some());
    let phase = || phases.iter().position(|p| matches!(p, PhaseConfig::Offline(c) if c.early_stop.is_some()));
    baseline
        .map(|b| format!("baseline.{}.early_stop", b.name))
        .or_else(|| phase().map(|i| format!("phase[{i}].offline.early_stop")))
}

/// Stages in order, with unique names.
pub(crate) fn plan(phases: &[PhaseConfig], baselines: &[Baseline], learner: &dyn Learner) -> Vec<StagePlan> {
    let fresh = learner.sample_plan(PhaseKind::Online).waits_for().map(|steps| steps as u64);
    let mut stages: Vec<StagePlan> = baselines
        .iter()
        .enumerate()
        .map(|(i, b)| StagePlan {
            name: b.name.clone(),
            kind: StageKind::Baseline,
            algorithm: b.learner.name().to_owned(),
            learner: LearnerId::Baseline(i),
            phase: PhaseConfig::Offline(b.offline.clone()),
            fresh_env_steps: None,
        })
        .collect();
    let (mut offline, mut online) = (0, 0);
    for phase in phases {
        let (kind, word, count) = match phase {
            PhaseConfig::Offline(_) => (StageKind::Offline, "offline", &mut offline),
            PhaseConfig::Online(_) => (StageKind::Online, "online", &mut online),
        };
        *count += 1;
        stages.push(StagePlan {
            name: if *count == 1 { word.to_owned() } else { format!("{word}_{count}") },
            kind,
            algorithm: learner.name().to_owned(),
            learner: LearnerId::Main,
            phase: phase.clone(),
            fresh_env_steps: fresh.filter(|_| matches!(phase, PhaseConfig::Online(_))),
        });
    }
    stages
}
