//! Minari: `data/metadata.json` beside `data/main_data.hdf5` with `episode_<i>` groups.
//!
//! An episode has one observation more than actions, so that what followed the last step is always there; `terminations` and
//! `truncations` say how it ended. Observations and actions may be nested: dictionaries are groups, tuples groups of `_index_<j>`, and the
//! numbers in them stand side by side in the row, in the order of their names. Pictures are stored as JPEG (lists of bytes, or rows of
//! bytes where all happen to be equally long): they are named in a note and not read.

use std::sync::Arc;

use surefoot_core::{DataError, DatasetMeta, EnvSpec, Episode, EpisodeSource, StepEnd};

use super::Format;
use super::columns::{Columns, Held, LowDim, further, left_out, row_dim, shape};
use super::demonstrations::{OWN_PLACE, safety_of};
use super::minari_metadata::{Metadata, read_metadata};
use crate::h5::{Attributes, ChildKind, Container};
use crate::input::{Directory, Input};
use crate::open::{OpenOptions, Opened};

pub(super) const NAME: &str = "minari";

/// Name of the file that holds the episodes.
pub(super) const DATA: &str = "main_data.hdf5";
/// Name of the file beside it.
pub(super) const METADATA: &str = "metadata.json";

/// The registry line.
pub const FORMAT: Format = Format {
    name: NAME,
    summary: "Minari: a directory with metadata.json and main_data.hdf5 of episode_<i> groups; read and written",
    sniff,
    open,
    write: Some(super::minari_write::write),
};

#[derive(Debug)]
struct Group {
    name: String,
    attributes: Attributes,
}

struct Minari {
    container: Arc<Container>,
    meta: DatasetMeta,
    groups: Vec<Group>,
    /// Arrays of a row by their paths in an episode's group.
    observation: Vec<(String, usize)>,
    action: Vec<(String, usize)>,
    /// Written by this program: `infos` holds what it says.
    ours: bool,
}

/// `episode_12` -> 12: the names sort by number, not by letter.
fn episode_number(name: &str) -> Option<u64> {
    name.strip_prefix("episode_")?.parse().ok()
}

/// The directory of the two files, in a dataset's own directory or given itself.
fn data_directory(directory: &Directory) -> Option<Directory> {
    let inner = Directory { path: directory.path.join("data") };
    [inner, directory.clone()].into_iter().find(|d| d.file(METADATA).is_some() && d.file(DATA).is_some())
}

fn sniff(input: &Input) -> Result<bool, DataError> {
    match input {
        Input::Directory(directory) => Ok(data_directory(directory).is_some()),
        Input::Hdf5(container) => {
            let columns = Columns { container, format: NAME };
            let root = columns.children("")?;
            match root.iter().find(|(name, _)| episode_number(name).is_some()) {
                Some((name, ChildKind::Group)) => {
                    let children = columns.children(name)?;
                    Ok(["observations", "actions", "terminations"].iter().all(|k| children.contains_key(*k)))
                }
                _ => Ok(false),
            }
        }
        Input::File(_) => Ok(false),
    }
}

fn open(input: Input, options: &OpenOptions) -> Result<Opened, DataError> {
    let (container, metadata) = match input {
        Input::Directory(directory) => {
            let Some(data) = data_directory(&directory) else {
                return Err(DataError::Shape {
                    path: directory.path,
                    item: METADATA.into(),
                    expected: format!("{METADATA} and {DATA}, in it or in its data/"),
                    found: "not both; datasets of Minari's arrow variant are to be converted to hdf5 first"
                        .into(),
                });
            };
            let metadata = read_metadata(&data)?;
            (Arc::new(Container::open(&data.path.join(DATA), options.backend)?), metadata)
        }
        other => {
            let container = other.into_hdf5(options.backend)?;
            let beside = container.path().parent().map(|p| Directory { path: p.to_owned() });
            let metadata = beside.map(|d| read_metadata(&d)).transpose()?.flatten();
            (container, metadata)
        }
    };
    open_container(container, metadata, options)
}

fn open_container(
    container: Arc<Container>,
    metadata: Option<Metadata>,
    options: &OpenOptions,
) -> Result<Opened, DataError> {
    let columns = Columns { container: &container, format: NAME };
    let mut named: Vec<(u64, String)> = columns
        .children("")?
        .into_iter()
        .filter(|(_, kind)| *kind == ChildKind::Group)
        .filter_map(|(name, _)| Some((episode_number(&name)?, name)))
        .collect();
    named.sort();
    let mut groups = Vec::with_capacity(named.len());
    let mut held = Held::default();
    for (_, name) in named {
        let attributes = columns.attributes(&name)?;
        let counted = held.add(&name, std::iter::empty(), &attributes, &container);
        counted.map_err(|e| container.error(NAME, e))?;
        groups.push(Group { name, attributes });
    }
    let Some(first) = groups.first() else {
        return Err(shape(&container, "/", "at least one group episode_<number>", "none"));
    };
    let mut notes = Vec::new();
    let row = |part: &str, chosen: &Option<Vec<String>>, notes: &mut Vec<String>| -> Result<_, DataError> {
        let group = format!("{}/{part}", first.name);
        if columns.children(&first.name)?.get(part) != Some(&ChildKind::Group) {
            let width = columns.width(&group)?;
            if let Some(what) = columns.no_row(part, &group)? {
                return Err(shape(&container, &group, "a row of numbers per step", &what));
            }
            let known = LowDim { keys: vec![(part.to_owned(), width)], skipped: Vec::new() };
            return match chosen {
                Some(names) => columns.chosen(&first.name, names, &known),
                None => Ok(known.keys),
            };
        }
        let known = columns.low_dim(&group)?;
        if let Some(names) = chosen {
            return columns.chosen(&group, names, &known);
        }
        if !known.skipped.is_empty() {
            notes.push(left_out(&known.skipped));
        }
        Ok(known.keys)
    };
    let observation_keys = row("observations", &options.observation_keys, &mut notes)?;
    let action_keys = row("actions", &options.action_keys, &mut notes)?;
    let dim = |part: &str, keys: &[(String, usize)]| {
        row_dim(&container, &format!("{}/{part}", first.name), keys.iter().map(|(_, w)| *w))
    };
    let (observation_dim, action_dim) =
        (dim("observations", &observation_keys)?, dim("actions", &action_keys)?);
    let mut problems = Vec::new();
    let (mut env, mut spec, mut import_hash) = (None, None, None);
    let mut ours = false;
    match metadata {
        Some(metadata) => {
            problems = contradictions(&container, &metadata, &groups);
            notes.extend(metadata.notes());
            env = metadata.environment();
            spec = metadata.spec();
            import_hash.clone_from(&metadata.surefoot_import_hash);
            ours = metadata.is_ours();
        }
        None => {
            notes.push(format!("{METADATA} is not beside it: spaces, environment and totals are unknown"));
        }
    }
    let meta = DatasetMeta {
        path: container.path().to_owned(),
        format: NAME,
        env,
        contract_hash: spec.as_ref().and_then(|s: &EnvSpec| s.contract_hash.clone()),
        import_hash,
        action_units: spec.as_ref().map(|s| s.action.iter().map(|f| f.unit.clone()).collect()),
        observation_keys: observation_keys.clone(),
        observation_dim,
        action_dim,
        spec,
        hash: container.hash().to_owned(),
        notes,
        ..DatasetMeta::default()
    };
    problems.extend(super::demo_header::check_widths(&container, options, &meta));
    let paths = |part: &str, keys: Vec<(String, usize)>| -> Vec<(String, usize)> {
        keys.into_iter().map(|(k, w)| (if k == part { k } else { format!("{part}/{k}") }, w)).collect()
    };
    let group = first.name.clone();
    let source = Minari {
        container: Arc::clone(&container),
        meta,
        groups,
        observation: paths("observations", observation_keys),
        action: paths("actions", action_keys),
        ours,
    };
    Ok(Opened::hdf5(source, container, group, problems))
}

/// Totals that the metadata states and the file does not hold.
fn contradictions(container: &Container, metadata: &Metadata, groups: &[Group]) -> Vec<DataError> {
    let steps: Option<usize> = groups
        .iter()
        .map(|g| g.attributes.get("total_steps").and_then(|a| a.as_count()))
        .try_fold(0_usize, |n, steps| n.checked_add(steps?));
    [
        ("total_episodes", metadata.total_episodes, Some(groups.len())),
        ("total_steps", metadata.total_steps, steps),
    ]
    .into_iter()
    .filter_map(|(what, stated, found)| Some((what, stated?, found?)))
    .filter(|(_, stated, found)| *stated != *found as u64)
    .map(|(what, stated, found)| {
        shape(container, &format!("{METADATA}: {what}"), &stated.to_string(), &found.to_string())
    })
    .collect()
}

impl Minari {
    /// An array of `infos`, one number a row, where there is one of that length.
    fn info(&self, group: &str, key: &str, rows: usize) -> Result<Option<Vec<f32>>, DataError> {
        let columns = self.columns();
        let infos = format!("{group}/infos");
        if columns.children(group)?.get("infos") != Some(&ChildKind::Group)
            || columns.children(&infos)?.get(key) != Some(&ChildKind::Dataset)
        {
            return Ok(None);
        }
        let item = format!("{infos}/{key}");
        let info = columns.info(&item)?;
        if !info.element.is_numeric() || info.width() != 1 || info.rows() != rows {
            return Ok(None);
        }
        columns.vector(&item, rows).map(Some)
    }

    fn columns(&self) -> Columns<'_> {
        Columns { container: &self.container, format: NAME }
    }
}

impl EpisodeSource for Minari {
    fn meta(&self) -> &DatasetMeta {
        &self.meta
    }

    fn len(&self) -> usize {
        self.groups.len()
    }

    fn episode(&self, index: usize) -> Result<Episode, DataError> {
        let Some(Group { name, attributes }) = self.groups.get(index) else {
            let expected = format!("fewer than {}", self.groups.len());
            return Err(shape(&self.container, "episode index", &expected, &index.to_string()));
        };
        let columns = self.columns();
        let rewards = format!("{name}/rewards");
        let rows = columns.info(&rewards)?.rows();
        if let Some(steps) = attributes.get("total_steps").and_then(|a| a.as_count())
            && steps != rows
        {
            let expected = format!("{steps} rows (total_steps)");
            return Err(shape(&self.container, &rewards, &expected, &format!("{rows} rows")));
        }
        // Read first: a short file cannot claim many of them.
        let reward = columns.vector(&rewards, rows)?;
        let (o, width) = (self.meta.observation_dim, self.meta.action_dim);
        let mut observation = columns.read(name, &self.observation, rows + 1)?;
        let next_observation = observation.get(o..).unwrap_or_default().to_vec();
        observation.truncate(rows * o);
        let action = columns.read(name, &self.action, rows)?;
        let flags = |key: &str| columns.vector(&format!("{name}/{key}"), rows);
        let mut end: Vec<StepEnd> = flags("terminations")?
            .iter()
            .zip(&flags("truncations")?)
            .map(|(te, tr)| StepEnd::from_flags(*te != 0.0, *tr != 0.0))
            .collect();
        if let Some(last) = end.last_mut().filter(|end| !end.is_last()) {
            *last = StepEnd::Truncated;
        }
        let (mut proposed, mut human) = (Vec::new(), Vec::new());
        let mut success = attributes.get("success").and_then(|a| a.as_flag());
        if self.ours {
            let infos = columns.children(name)?.contains_key("infos");
            let known = if infos { columns.children(&format!("{name}/infos"))? } else { Default::default() };
            if known.contains_key("actions_proposed") {
                let keys = [("infos/actions_proposed".to_owned(), width)];
                proposed = columns.read(name, &keys, rows + 1)?;
                proposed.truncate(rows * width);
            }
            if known.contains_key("interventions") {
                human = columns.vector(&format!("{name}/infos/interventions"), rows + 1)?;
                human.truncate(rows);
            }
        } else if success.is_none() {
            // What Gymnasium's robots tell at each step.
            for key in ["success", "is_success"] {
                if let Some(flags) = self.info(name, key, rows + 1)? {
                    success = Some(flags.iter().any(|x| *x != 0.0));
                    break;
                }
            }
        }
        let count =
            |key: &str| attributes.get(key).and_then(|a| a.as_int()).and_then(|i| u64::try_from(i).ok());
        let text = |key: &str| attributes.get(key).and_then(|a| a.as_text()).map(str::to_owned);
        let mut own_place = OWN_PLACE.to_vec();
        own_place.extend(["id", "total_steps"]);
        Ok(Episode {
            name: text("episode_name").unwrap_or_else(|| name.clone()),
            observation,
            next_observation,
            action,
            proposed,
            reward,
            end,
            human: human.into_iter().map(|x: f32| x != 0.0).collect(),
            success,
            source: text("source"),
            safety: safety_of(attributes),
            seed: count("seed"),
            attributes: further(attributes, &own_place),
        })
    }
}
