//! What a file of `data/demo_<i>` groups says beside its episodes: environment, totals, masks, and what it leaves unsaid.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use surefoot_core::{DataError, DatasetMeta, EnvSpec};

use super::columns::shape;
use super::demonstrations::{Demo, Observed};
use crate::h5::{Attributes, ChildKind, Container};
use crate::open::{DoneMeans, OpenOptions};

/// The environment's name, from `env_args` (robomimic) or `env` (robosuite).
pub(super) fn environment(data: &Attributes, notes: &mut Vec<String>) -> Option<String> {
    let args = data.get("env_args").and_then(|a| {
        let text = a.as_text().ok_or_else(|| "it is not one text".to_owned());
        let object =
            text.and_then(|t| serde_json::from_str::<Map<String, Value>>(t).map_err(|e| e.to_string()));
        object
            .map_err(|e| notes.push(format!("{BAD_ENV_ARGS}: data@env_args is not a JSON object: {e}")))
            .ok()
    });
    args.as_ref()
        .and_then(|v| v.get("env_name"))
        .and_then(Value::as_str)
        .or_else(|| ["env", "env_name"].iter().find_map(|k| data.get(*k).and_then(|a| a.as_text())))
        .map(str::to_owned)
}

/// Begins the note on `env_args` that cannot be understood.
pub(crate) const BAD_ENV_ARGS: &str = "bad_env_args";

/// Begins the note on `dones` that do not say what ended.
pub(crate) const AMBIGUOUS_DONE: &str = "ambiguous_done";

pub(super) fn spec_of(container: &Container, data: &Attributes) -> Result<Option<EnvSpec>, DataError> {
    let Some(text) = data.get("env_spec").and_then(|a| a.as_text()) else { return Ok(None) };
    serde_json::from_str(text)
        .map(Some)
        .map_err(|e| shape(container, "data@env_spec", "the JSON of an environment spec", &e.to_string()))
}

pub(super) fn note_gaps(demos: &[Demo], options: &OpenOptions, observed: Observed, meta: &mut DatasetMeta) {
    let lacking =
        |names: &[&str]| demos.iter().filter(|d| !names.iter().any(|n| d.children.contains_key(*n))).count();
    let of = demos.len();
    let no_reward = lacking(&["rewards"]);
    if no_reward > 0 {
        meta.notes.push(format!(
            "{no_reward} of {of} episodes have no rewards: they read as NaN, and are fit for imitation only"
        ));
    }
    let flags = lacking(&["terminations", "terminated", "truncations", "truncated"]);
    let none = lacking(&["terminations", "terminated", "truncations", "truncated", "dones"]);
    if flags > none {
        let read_as = match options.done_means {
            DoneMeans::Auto => "terminated where a 0/1 reward marks success, truncated elsewhere",
            DoneMeans::Terminated => "terminated",
            DoneMeans::Truncated => "truncated",
        };
        meta.notes.push(format!(
            "{AMBIGUOUS_DONE}: `dones` does not say whether the task or the recording ended ({} of {of} episodes); read as \
             {read_as}; choose with done_means",
            flags - none
        ));
    }
    if none > 0 {
        meta.notes.push(format!("{none} of {of} episodes mark no end: their last step reads as truncated"));
    }
    let no_next = lacking(&["next_obs"]);
    if observed == Observed::AfterAction {
        meta.notes.push(
            "observations were taken after their actions: each is paired with the following action, and the first action of every \
             episode is left out"
                .into(),
        );
    } else if no_next > 0 {
        meta.notes.push(format!(
            "{no_next} of {of} episodes do not record what followed their last step: it is left out unless it terminates"
        ));
    }
}

/// `total` against the sum of `num_samples`: links that cannot be followed are not listed, and this is where they show.
pub(super) fn check_totals(container: &Container, data: &Attributes, demos: &[Demo]) -> Vec<DataError> {
    let mut problems = Vec::new();
    let counts: Option<Vec<usize>> =
        demos.iter().map(|d| d.attributes.get("num_samples").and_then(|a| a.as_count())).collect();
    let total = data.get("total").and_then(|a| a.as_int());
    if let (Some(total), Some(counts)) = (total, counts) {
        let sum = counts.iter().fold(0_i128, |n, c| n + *c as i128);
        if sum != total {
            let found = format!(
                "{sum} in {} listed episodes; if some are soft or external links, rebuild with `--features libhdf5`",
                demos.len()
            );
            problems.push(shape(container, "data@total", &format!("{total} steps"), &found));
        }
    }
    let episodes = data.get("num_demos").and_then(|a| a.as_int());
    if let Some(n) = episodes.filter(|n| *n != demos.len() as i128) {
        problems.push(shape(container, "data@num_demos", &format!("{n} episodes"), &demos.len().to_string()));
    }
    problems
}

/// The header's rows against those of the arrays; a row whose keys the caller chose may differ from what was recorded.
pub(super) fn check_widths(
    container: &Container,
    options: &OpenOptions,
    meta: &DatasetMeta,
) -> Vec<DataError> {
    let spec = meta.spec.as_ref();
    let (observation, action) = (meta.observation_dim, meta.action_dim);
    let units = meta.action_units.as_ref().map(Vec::len);
    [
        ("env_spec: observation", spec.map(EnvSpec::observation_dim), observation, &options.observation_keys),
        ("env_spec: action", spec.map(EnvSpec::action_dim), action, &options.action_keys),
        ("action_units", units, action, &options.action_keys),
    ]
    .into_iter()
    .filter(|(_, _, _, keys)| keys.is_none())
    .filter_map(|(item, stated, found, _)| {
        let expected = format!("a row of {}", stated.filter(|n| *n != found)?);
        Some(shape(container, &format!("data@{item}"), &expected, &format!("arrays with rows of {found}")))
    })
    .collect()
}

pub(super) type Masks = Vec<(String, Vec<usize>)>;

pub(super) fn read_masks(
    container: &Container,
    format: &'static str,
    demos: &[Demo],
    problems: &mut Vec<DataError>,
) -> Result<Masks, DataError> {
    let fail = |e| container.error(format, e);
    if container.file().children("").map_err(fail)?.get("mask") != Some(&ChildKind::Group) {
        return Ok(Vec::new());
    }
    let index: BTreeMap<&str, usize> = demos.iter().enumerate().map(|(i, d)| (d.name.as_str(), i)).collect();
    let mut masks = Vec::new();
    for (mask, kind) in container.file().children("mask").map_err(fail)? {
        if kind != ChildKind::Dataset {
            continue;
        }
        let item = format!("mask/{mask}");
        let names = container.file().read_text(&item).map_err(fail)?.data;
        let (mut members, mut unknown) = (Vec::new(), Vec::new());
        for name in &names {
            match index.get(name.trim_end_matches('\0')) {
                Some(i) => members.push(*i),
                None => unknown.push(name.as_str()),
            }
        }
        if let Some(first) = unknown.first() {
            let found = match unknown.len() {
                1 => (*first).to_owned(),
                n => format!("{first} and {} more", n - 1),
            };
            problems.push(shape(container, &item, "names of episodes in data/", &found));
        }
        let listed = members.len();
        members.sort_unstable();
        members.dedup();
        if members.len() < listed {
            let found = format!("{} listed again", listed - members.len());
            problems.push(shape(container, &item, "every episode once", &found));
        }
        masks.push((mask, members));
    }
    Ok(masks)
}
