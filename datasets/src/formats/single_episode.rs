//! Files that hold one episode each, with as many observations as actions and no rewards.

use std::path::Path;
use std::sync::Arc;

use surefoot_core::{DataError, DatasetMeta, Episode, EpisodeSource, StepEnd};

use super::columns::{Columns, further, left_out, row_dim, shape};
use super::successors::pair_with_following;
use crate::h5::{Attributes, Container};
use crate::open::{OpenOptions, Opened};

/// Where such a file keeps what.
pub(super) struct Layout {
    pub(super) format: &'static str,
    /// Group of the observations.
    pub(super) observations: String,
    /// Whether a low-dimensional key is part of the row unless others are chosen.
    pub(super) is_default: fn(&str) -> bool,
    /// Group of the action arrays; `""` is the root.
    pub(super) actions: String,
    /// Arrays in it that make the action row unless others are chosen.
    pub(super) action_keys: Vec<String>,
    /// What a user should know.
    pub(super) notes: Vec<String>,
}

#[derive(Debug)]
struct SingleEpisode {
    container: Arc<Container>,
    meta: DatasetMeta,
    name: String,
    attributes: Attributes,
    observations: String,
    actions: String,
    action_keys: Vec<(String, usize)>,
    rows: usize,
}

/// `episode_12.hdf5` -> `episode_12`; a `trajectory.h5` is named after its directory.
fn name_of(path: &Path) -> String {
    let text = |p: Option<&std::ffi::OsStr>| p.map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = text(path.file_stem());
    let parent = text(path.parent().and_then(Path::file_name));
    if stem == "trajectory" && !parent.is_empty() { parent } else { stem }
}

pub(super) fn open(
    container: Arc<Container>,
    options: &OpenOptions,
    layout: Layout,
) -> Result<Opened, DataError> {
    let Layout { format, observations, is_default, actions, action_keys, mut notes } = layout;
    let columns = Columns { container: &container, format };
    let known = columns.low_dim(&observations)?;
    let observation_keys = match &options.observation_keys {
        Some(names) => columns.chosen(&observations, names, &known)?,
        None => {
            let (row, others): (Vec<_>, Vec<_>) =
                known.keys.iter().cloned().partition(|(k, _)| is_default(k));
            if !others.is_empty() {
                let others: Vec<String> = others.into_iter().map(|(k, _)| k).collect();
                notes.push(format!("not in the observation row unless chosen: {}", others.join(", ")));
            }
            if !known.skipped.is_empty() {
                notes.push(left_out(&known.skipped));
            }
            row
        }
    };
    let observation_dim = row_dim(&container, &observations, observation_keys.iter().map(|(_, w)| *w))?;
    let names = options.action_keys.clone().unwrap_or(action_keys);
    let at = |key: &str| if actions.is_empty() { key.to_owned() } else { format!("{actions}/{key}") };
    let mut action_keys = Vec::with_capacity(names.len());
    for key in names {
        let width = columns.width(&at(&key))?;
        action_keys.push((key, width));
    }
    let joined: Vec<&str> = action_keys.iter().map(|(k, _)| k.as_str()).collect();
    let action_dim = row_dim(&container, &at(&joined.join("+")), action_keys.iter().map(|(_, w)| *w))?;
    let rows = match action_keys.first() {
        Some((key, _)) => columns.info(&at(key))?.rows(),
        None => 0,
    };
    notes.push("no rewards are recorded: they read as NaN, and are fit for imitation only".into());
    notes.push("what followed the last step of an episode is not recorded: that step is left out".into());
    let meta = DatasetMeta {
        path: container.path().to_owned(),
        format,
        observation_keys,
        observation_dim,
        action_dim,
        hash: container.hash().to_owned(),
        notes,
        ..DatasetMeta::default()
    };
    let attributes = columns.attributes("")?;
    let name = name_of(container.path());
    let source = SingleEpisode {
        container: Arc::clone(&container),
        meta,
        name,
        attributes,
        observations,
        actions,
        action_keys,
        rows,
    };
    Ok(Opened::hdf5(source, container, String::new(), Vec::new()))
}

impl EpisodeSource for SingleEpisode {
    fn meta(&self) -> &DatasetMeta {
        &self.meta
    }

    fn len(&self) -> usize {
        1
    }

    fn episode(&self, index: usize) -> Result<Episode, DataError> {
        if index > 0 {
            return Err(shape(&self.container, "episode index", "0, the only one", &index.to_string()));
        }
        let columns = Columns { container: &self.container, format: self.meta.format };
        let rows = self.rows;
        // Before anything is made of that length: arrays without columns may claim any number of rows.
        let action = columns.read(&self.actions, &self.action_keys, rows)?;
        let observation = columns.read(&self.observations, &self.meta.observation_keys, rows)?;
        let mut end = vec![StepEnd::Running; rows];
        if let Some(last) = end.last_mut() {
            *last = StepEnd::Truncated;
        }
        let text = |name: &str| self.attributes.get(name).and_then(|v| v.as_text()).map(str::to_owned);
        let mut episode = Episode {
            name: self.name.clone(),
            observation,
            action,
            reward: vec![f32::NAN; rows],
            end,
            success: self.attributes.get("success").and_then(|v| v.as_flag()),
            source: text("source"),
            attributes: further(&self.attributes, &["success", "source"]),
            ..Episode::default()
        };
        pair_with_following(&mut episode, self.meta.observation_dim, self.meta.action_dim);
        Ok(episode)
    }
}
