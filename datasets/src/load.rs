//! Taking episodes for learning: everything that would poison it is refused here, with its place in the file.

use std::ops::ControlFlow;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{DataError, DatasetMeta, EnvSpec, Episode, EpisodeSource};

use crate::pass::pass;
use crate::select::members;

/// What to do with an action outside `[-1, 1]`, which real recordings have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OutOfRange {
    /// Clip it and count it.
    #[default]
    Clip,
    /// Refuse the file.
    Reject,
}

/// How to take episodes for learning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoadOptions {
    /// Takes only the episodes of this mask; all when absent.
    pub mask: Option<String>,
    /// Takes at most this many episodes, the first ones.
    pub max_episodes: Option<usize>,
    /// Actions outside `[-1, 1]`.
    pub out_of_range: OutOfRange,
    /// The reward where none is recorded, for imitation; without it such a file is refused.
    pub missing_reward: Option<f32>,
}

/// What loading found and did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LoadReport {
    /// Episodes taken.
    pub episodes: usize,
    /// Steps of all of them.
    pub steps: usize,
    /// Numbers in the action rows that were clipped.
    pub clipped: usize,
    /// Numbers in all action rows.
    pub action_numbers: usize,
    /// Episodes whose rewards were filled in.
    pub filled_rewards: usize,
    /// What a user should know.
    pub notes: Vec<String>,
}

/// Episodes fit for learning.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// In the order of the file; actions in `[-1, 1]`, everything finite.
    pub episodes: Vec<Episode>,
    /// What was found and done.
    pub report: LoadReport,
}

/// Reads the given episodes, several at a time, in the order given.
///
/// # Errors
/// The first error in that order.
pub fn read_all(source: &dyn EpisodeSource, indices: &[usize]) -> Result<Vec<Episode>, DataError> {
    let read: Vec<Result<Episode, DataError>> = indices.par_iter().map(|i| source.episode(*i)).collect();
    read.into_iter().collect()
}

/// Loads the episodes of a dataset that fit `spec`.
///
/// # Errors
/// [`DataError::Mismatch`] when dimensions, names, units, bounds or the step time differ from the task's, when the mask is
/// unknown, when a reward is outside the task's range, and when an action is outside its range and that is refused;
/// [`DataError::NotFinite`] on NaN or infinity; [`DataError::Shape`] on ragged arrays.
pub fn load(source: &dyn EpisodeSource, spec: &EnvSpec, options: &LoadOptions) -> Result<Loaded, DataError> {
    let mut episodes = Vec::new();
    let report = load_each(source, spec, options, |episode| {
        episodes.push(episode);
        Ok(())
    })?;
    Ok(Loaded { episodes, report })
}

/// As [`load`], one episode after the other, of which none is kept: memory does not grow with the dataset. Empty episodes are left out.
///
/// # Errors
/// As [`load`], and the first that `take` returns.
pub fn load_each(
    source: &dyn EpisodeSource,
    spec: &EnvSpec,
    options: &LoadOptions,
    mut take: impl FnMut(Episode) -> Result<(), DataError>,
) -> Result<LoadReport, DataError> {
    let meta = source.meta();
    let mut report = LoadReport { notes: meta.notes.clone(), ..LoadReport::default() };
    check_spec(meta, spec, &mut report.notes)?;
    let mut indices = choose(source, options)?;
    indices.truncate(options.max_episodes.unwrap_or(usize::MAX));
    let mut settle_and_take = |index: usize, episode: Result<Episode, DataError>| {
        let mut episode = episode?;
        settle(meta, &mut episode, index, options, &mut report)?;
        check_rewards(meta, &episode, index, spec.reward_range)?;
        if !episode.is_empty() {
            report.episodes += 1;
            report.steps += episode.len();
            take(episode)?;
        }
        Ok(())
    };
    let failed = pass(
        source,
        indices.iter().copied(),
        |index, episode| (index, episode),
        |(index, episode)| match settle_and_take(index, episode) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        },
    );
    if let Some(error) = failed {
        return Err(error);
    }
    report.action_numbers = report.steps * meta.action_dim;
    if report.clipped > 0 {
        let share = 100.0 * report.clipped as f64 / report.action_numbers.max(1) as f64;
        report.notes.push(format!(
            "{} action numbers ({share:.2} %) were outside [-1, 1] and were clipped",
            report.clipped
        ));
    }
    Ok(report)
}

fn choose(source: &dyn EpisodeSource, options: &LoadOptions) -> Result<Vec<usize>, DataError> {
    let Some(mask) = &options.mask else { return Ok((0..source.len()).collect()) };
    members(source.meta(), mask)
}

fn check_spec(meta: &DatasetMeta, spec: &EnvSpec, notes: &mut Vec<String>) -> Result<(), DataError> {
    let mismatch = |what: String, expected: String, found: String| {
        Err(DataError::Mismatch { path: meta.path.clone(), what, expected, found })
    };
    for (what, expected, found) in [
        ("action dimension", spec.action_dim(), meta.action_dim),
        ("observation dimension", spec.observation_dim(), meta.observation_dim),
    ] {
        if expected != found {
            return mismatch(what.into(), expected.to_string(), found.to_string());
        }
    }
    if let Some(units) = &meta.action_units {
        if units.len() != spec.action_dim() {
            return mismatch(
                "number of action units".into(),
                spec.action_dim().to_string(),
                units.len().to_string(),
            );
        }
        for (i, (field, unit)) in spec.action.iter().zip(units).enumerate() {
            if field.unit != *unit {
                return mismatch(
                    format!("action[{i}] ({}) unit", field.name),
                    field.unit.clone(),
                    unit.clone(),
                );
            }
        }
    }
    if let Some(recorded) = &meta.spec {
        // Limits that changed since make another contract but not other data.
        let recorded = EnvSpec { contract_hash: spec.contract_hash.clone(), ..recorded.clone() };
        if let Some(d) = spec.first_difference(&recorded) {
            return mismatch(d.what, d.expected, d.found);
        }
    }
    if let (Some(recorded), Some(ours)) = (&meta.contract_hash, &spec.contract_hash)
        && recorded != ours
    {
        notes.push(
            "the robot contract changed since this was recorded; names, units and bounds still agree".into(),
        );
    }
    Ok(())
}

/// A reward may lie this far outside its range, relative to the range: it was rounded.
const REWARD_SLACK: f64 = 1e-6;

/// Whether a reward lies outside `(low, high)` by more than rounding.
pub(crate) fn is_reward_outside(reward: f32, (low, high): (f32, f32)) -> bool {
    let (low, high) = (f64::from(low), f64::from(high));
    let slack = REWARD_SLACK * (high - low).max(low.abs()).max(high.abs());
    let slack = if slack.is_finite() { slack } else { 0.0 };
    !(low - slack..=high + slack).contains(&f64::from(reward))
}

/// Learners bound their targets by the task's range, and would learn another value than the rewards say.
fn check_rewards(
    meta: &DatasetMeta,
    episode: &Episode,
    index: usize,
    range: Option<(f32, f32)>,
) -> Result<(), DataError> {
    let Some((low, high)) = range else { return Ok(()) };
    match episode.reward.iter().position(|r| is_reward_outside(*r, (low, high))) {
        None => Ok(()),
        Some(step) => Err(DataError::Mismatch {
            path: meta.path.clone(),
            what: format!("episode {index} ({}) step {step} reward", episode.name),
            expected: format!(
                "{low} to {high}, the task's `reward_range` (widen it, or leave it out; `surefoot data stats` shows all rewards)"
            ),
            found: episode.reward[step].to_string(),
        }),
    }
}

fn settle(
    meta: &DatasetMeta,
    episode: &mut Episode,
    index: usize,
    options: &LoadOptions,
    report: &mut LoadReport,
) -> Result<(), DataError> {
    let name = episode.name.clone();
    let item = |column: &str| format!("episode {index} ({name}) {column}");
    let unrewarded = !episode.reward.is_empty() && episode.reward.iter().all(|r| r.is_nan());
    if unrewarded {
        if let Some(reward) = options.missing_reward {
            episode.reward.fill(reward);
            report.filled_rewards += 1;
        } else {
            return Err(DataError::Shape {
                path: meta.path.clone(),
                item: item("rewards"),
                expected: "a reward for every step, or `missing_reward` for imitation".into(),
                found: "none recorded".into(),
            });
        }
    }
    let (o, a) = (meta.observation_dim, meta.action_dim);
    // Proposals are not learned from: whatever they were, the safety chain made an executed action of them.
    let columns: [(&str, &[f32], usize); 4] = [
        ("observation", &episode.observation, o),
        ("next_observation", &episode.next_observation, o),
        ("action", &episode.action, a),
        ("reward", &episode.reward, 1),
    ];
    for (column, rows, width) in columns {
        if let Some(at) = rows.iter().position(|x| !x.is_finite()) {
            let (path, row) = (meta.path.clone(), at / width.max(1));
            return Err(DataError::NotFinite { path, item: item(column), row, value: rows[at] });
        }
    }
    for (at, x) in episode.action.iter_mut().enumerate() {
        if x.abs() > 1.0 {
            if options.out_of_range == OutOfRange::Reject {
                return Err(DataError::Mismatch {
                    path: meta.path.clone(),
                    what: format!("episode {index} ({}) action[{}][{}]", episode.name, at / a, at % a),
                    expected: "a number in [-1, 1]".into(),
                    found: x.to_string(),
                });
            }
            *x = x.clamp(-1.0, 1.0);
            report.clipped += 1;
        }
    }
    Ok(())
}
