//! `data/demo_<i>` groups: what robomimic and robosuite files have in common.

use std::collections::BTreeMap;
use std::sync::Arc;

use surefoot_core::safety::SafetyCounts;
use surefoot_core::{DataError, DatasetMeta, Episode, EpisodeSource, StepEnd};

use super::demo_header::{check_totals, check_widths, environment, note_gaps, read_masks, spec_of};
use crate::h5::{Array, ArrayInfo, Attributes, ChildKind, Container, Element, Hdf5Error, NUMBERS};
use crate::open::{DoneMeans, OpenOptions, Opened};

/// Longer attributes, such as robot models in XML, are not carried along with an episode.
const MAX_ATTRIBUTE_BYTES: usize = 4096;

/// Wider rows are images, or the claim of a damaged header.
const MAX_ROW_WIDTH: usize = 1 << 16;

/// Attributes of a demo that have their own place in an [`Episode`].
const OWN_PLACE: [&str; 11] = [
    "num_samples",
    "success",
    "source",
    "seed",
    "reset_seed",
    "episode_id",
    "episode_name",
    "safety_ticks",
    "safety_adjusted",
    "safety_stops",
    "safety_violations",
];

/// How a demo's observation row is made.
#[derive(Clone, Debug)]
enum Observation {
    /// `obs/<key>` side by side.
    Keys(Vec<(String, usize)>),
    /// `states`.
    States(usize),
}

#[derive(Debug)]
pub(super) struct Demo {
    /// Name of its group.
    pub(super) name: String,
    /// What the group holds.
    pub(super) children: BTreeMap<String, ChildKind>,
    /// The group's attributes.
    pub(super) attributes: Attributes,
}

/// An open file of `data/demo_<i>` groups.
#[derive(Debug)]
pub(super) struct Demonstrations {
    format: &'static str,
    container: Arc<Container>,
    meta: DatasetMeta,
    demos: Vec<Demo>,
    observation: Observation,
    /// Side by side, with their widths.
    action_keys: Vec<(String, usize)>,
    done_means: DoneMeans,
}

/// `demo_12` -> 12: the names sort by number, not by letter.
pub(crate) fn demo_number(name: &str) -> Option<u64> {
    name.strip_prefix("demo_")?.parse().ok()
}

/// Whether the file has at least one demo; its names come in numeric order.
pub(super) fn demo_names(container: &Container, format: &'static str) -> Result<Vec<String>, DataError> {
    let root = container.file().children("").map_err(|e| container.error(format, e))?;
    if root.get("data") != Some(&ChildKind::Group) {
        return Ok(Vec::new());
    }
    let children = container.file().children("data").map_err(|e| container.error(format, e))?;
    let mut names: Vec<(u64, String)> = children
        .into_iter()
        .filter(|(_, kind)| *kind == ChildKind::Group)
        .filter_map(|(name, _)| Some((demo_number(&name)?, name)))
        .collect();
    names.sort();
    Ok(names.into_iter().map(|(_, name)| name).collect())
}

impl Demonstrations {
    /// Opens; `default_actions` picks the action arrays from the names that a demo has.
    pub(super) fn open(
        container: Arc<Container>,
        options: &OpenOptions,
        format: &'static str,
        default_actions: fn(&BTreeMap<String, ChildKind>) -> Vec<String>,
    ) -> Result<Opened, DataError> {
        let names = demo_names(&container, format)?;
        let fail = |e| container.error(format, e);
        if names.is_empty() {
            return Err(shape(&container, "data", "at least one group demo_<number>", "none"));
        }
        let mut demos = Vec::with_capacity(names.len());
        for name in names {
            let path = format!("data/{name}");
            let children = container.file().children(&path).map_err(fail)?;
            let attributes = container.file().attributes(&path, ChildKind::Group).map_err(fail)?;
            demos.push(Demo { name, children, attributes });
        }
        let mut notes = Vec::new();
        let first = &demos[0];
        let names = options.action_keys.clone().unwrap_or_else(|| default_actions(&first.children));
        let group = format!("data/{}", first.name);
        if names.is_empty() {
            let found: Vec<&str> = first.children.keys().map(String::as_str).collect();
            return Err(shape(&container, &group, "an array of actions", &found.join(", ")));
        }
        let mut action_keys = Vec::with_capacity(names.len());
        for key in names {
            let item = format!("{group}/{key}");
            let width = numeric_width(&container, &item, &container.file().info(&item).map_err(fail)?)?;
            if width == 0 {
                notes.push(format!("{key} has no columns and adds nothing to the action"));
            }
            action_keys.push((key, width));
        }
        let names: Vec<&str> = action_keys.iter().map(|(key, _)| key.as_str()).collect();
        let item = format!("{group}/{}", names.join("+"));
        let action_dim = row_dim(&container, &item, action_keys.iter().map(|(_, w)| *w))?;
        let observation = choose_observation(&container, format, first, options, &mut notes)?;
        let (item, observation_keys) = match &observation {
            Observation::Keys(keys) => (format!("{group}/obs"), keys.clone()),
            Observation::States(width) => (format!("{group}/states"), vec![("states".to_owned(), *width)]),
        };
        let observation_dim = row_dim(&container, &item, observation_keys.iter().map(|(_, w)| *w))?;
        let data = container.file().attributes("data", ChildKind::Group).map_err(fail)?;
        let spec = spec_of(&container, &data)?;
        let mut meta = DatasetMeta {
            path: container.path().to_owned(),
            format,
            env: environment(&data, &mut notes),
            contract_hash: data
                .get("robot_contract_hash")
                .and_then(|a| a.as_text())
                .map(str::to_owned)
                .or_else(|| spec.as_ref().and_then(|s| s.contract_hash.clone())),
            observation_keys,
            observation_dim,
            action_dim,
            action_units: data.get("action_units").and_then(|a| a.as_texts()),
            spec,
            masks: Vec::new(),
            hash: container.hash().to_owned(),
            notes,
        };
        note_gaps(&demos, options, &mut meta);
        let mut problems = check_totals(&container, &data, &demos);
        problems.extend(check_widths(&container, options, &meta));
        meta.masks = read_masks(&container, format, &demos, &mut problems)?;
        let source = Self {
            format,
            container: Arc::clone(&container),
            meta,
            demos,
            observation,
            action_keys,
            done_means: options.done_means,
        };
        Ok(Opened::hdf5(source, container, group, problems))
    }

    fn fail(&self, error: Hdf5Error) -> DataError {
        self.container.error(self.format, error)
    }

    fn read(&self, demo: &Demo, key: &str) -> Result<Array<f32>, DataError> {
        self.container.file().read_f32(&format!("data/{}/{key}", demo.name)).map_err(|e| self.fail(e))
    }

    /// Reads arrays side by side into `[rows, sum of widths]`; every one must have `rows` rows.
    fn read_columns(
        &self,
        demo: &Demo,
        keys: &[(String, usize)],
        rows: usize,
    ) -> Result<Vec<f32>, DataError> {
        let mut columns = Vec::with_capacity(keys.len());
        for (key, width) in keys {
            let array = self.read(demo, key)?;
            let (found_rows, found_width) = (array.info.rows(), array.info.width());
            if (found_rows, found_width) != (rows, *width) {
                let item = format!("data/{}/{key}", demo.name);
                let expected = format!("{rows} rows of {width}");
                let found = format!("{found_rows} rows of {found_width}");
                return Err(shape(&self.container, &item, &expected, &found));
            }
            columns.push((array.data, found_width));
        }
        if let [(_, _)] = columns.as_slice() {
            return Ok(columns.swap_remove(0).0);
        }
        let width: usize = columns.iter().map(|(_, w)| w).sum();
        let mut out = Vec::with_capacity(rows * width);
        for row in 0..rows {
            for (data, w) in &columns {
                out.extend_from_slice(&data[row * w..(row + 1) * w]);
            }
        }
        Ok(out)
    }

    fn read_vector(&self, demo: &Demo, key: &str, rows: usize) -> Result<Option<Vec<f32>>, DataError> {
        if demo.children.get(key) != Some(&ChildKind::Dataset) {
            return Ok(None);
        }
        self.read_columns(demo, &[(key.to_owned(), 1)], rows).map(Some)
    }

    fn observation_keys(&self, group: &str) -> Vec<(String, usize)> {
        match &self.observation {
            Observation::Keys(keys) => keys.iter().map(|(k, w)| (format!("{group}/{k}"), *w)).collect(),
            Observation::States(width) => vec![("states".into(), *width)],
        }
    }

    fn rows(&self, demo: &Demo) -> Result<usize, DataError> {
        let key = &self.action_keys[0].0;
        let item = format!("data/{}/{key}", demo.name);
        let rows = self.container.file().info(&item).map_err(|e| self.fail(e))?.rows();
        match demo.attributes.get("num_samples").and_then(|a| a.as_count()) {
            Some(expected) if expected != rows => Err(shape(
                &self.container,
                &item,
                &format!("{expected} rows (num_samples)"),
                &format!("{rows} rows"),
            )),
            _ => Ok(rows),
        }
    }

    /// How each step ends.
    fn ends(&self, demo: &Demo, rows: usize, reward: &[f32]) -> Result<Vec<StepEnd>, DataError> {
        let flags = |keys: &[&str]| -> Result<Option<Vec<bool>>, DataError> {
            for key in keys {
                if let Some(v) = self.read_vector(demo, key, rows)? {
                    return Ok(Some(v.into_iter().map(|x| x != 0.0).collect()));
                }
            }
            Ok(None)
        };
        let terminations = flags(&["terminations", "terminated"])?;
        let truncations = flags(&["truncations", "truncated"])?;
        let (terminated, truncated) = match (terminations, truncations) {
            (Some(te), Some(tr)) => (te, tr),
            (Some(te), None) => (te, vec![false; rows]),
            // With a truncation flag beside it, `dones` says only "terminated".
            (None, Some(tr)) => (flags(&["dones"])?.unwrap_or_else(|| vec![false; rows]), tr),
            (None, None) => {
                let dones = flags(&["dones"])?.unwrap_or_else(|| vec![false; rows]);
                let sparse = reward.iter().all(|r| *r == 0.0 || *r == 1.0);
                let ended = |t: usize| match self.done_means {
                    DoneMeans::Terminated => true,
                    DoneMeans::Truncated => false,
                    DoneMeans::Auto => sparse && reward[t] == 1.0,
                };
                (0..rows).map(|t| (dones[t] && ended(t), dones[t] && !ended(t))).unzip()
            }
        };
        let mut ends: Vec<StepEnd> =
            terminated.iter().zip(&truncated).map(|(te, tr)| StepEnd::from_flags(*te, *tr)).collect();
        // Where the file marks no end, the recording ended.
        if let Some(last) = ends.last_mut().filter(|end| !end.is_last()) {
            *last = StepEnd::Truncated;
        }
        Ok(ends)
    }
}

impl EpisodeSource for Demonstrations {
    fn meta(&self) -> &DatasetMeta {
        &self.meta
    }

    fn len(&self) -> usize {
        self.demos.len()
    }

    fn episode(&self, index: usize) -> Result<Episode, DataError> {
        let Some(demo) = self.demos.get(index) else {
            let expected = format!("fewer than {}", self.demos.len());
            return Err(shape(&self.container, "episode index", &expected, &index.to_string()));
        };
        let mut rows = self.rows(demo)?;
        let mut action = self.read_columns(demo, &self.action_keys, rows)?;
        let mut proposed = match demo.children.get("actions_proposed") {
            Some(ChildKind::Dataset) => {
                let keys = [("actions_proposed".to_owned(), self.meta.action_dim)];
                self.read_columns(demo, &keys, rows)?
            }
            _ => Vec::new(),
        };
        let mut observation = self.read_columns(demo, &self.observation_keys("obs"), rows)?;
        // Missing rewards are unknown, not zero.
        let mut reward = self.read_vector(demo, "rewards", rows)?.unwrap_or_else(|| vec![f32::NAN; rows]);
        let mut end = self.ends(demo, rows, &reward)?;
        let human = self.read_vector(demo, "interventions", rows)?;
        let mut human: Vec<bool> = human.unwrap_or_default().into_iter().map(|x| x != 0.0).collect();
        let dim = self.meta.observation_dim;
        let recorded = matches!(self.observation, Observation::Keys(_))
            && demo.children.get("next_obs") == Some(&ChildKind::Group);
        let next_observation = if recorded {
            self.read_columns(demo, &self.observation_keys("next_obs"), rows)?
        } else {
            let mut next = observation.get(dim.min(observation.len())..).unwrap_or_default().to_vec();
            if end.last() == Some(&StepEnd::Terminated) {
                // Nobody looks beyond a termination: any row will do.
                next.extend_from_slice(observation.get((rows - 1) * dim..).unwrap_or_default());
            } else if rows > 0 {
                // What followed the last step was not recorded, and learning would look there.
                rows -= 1;
                observation.truncate(rows * dim);
                action.truncate(rows * self.meta.action_dim);
                proposed.truncate(rows * self.meta.action_dim);
                reward.truncate(rows);
                end.truncate(rows);
                human.truncate(rows);
                if let Some(last) = end.last_mut().filter(|end| !end.is_last()) {
                    *last = StepEnd::Truncated;
                }
            }
            next
        };
        let a = &demo.attributes;
        let count = |name: &str| a.get(name).and_then(|v| v.as_int()).and_then(|i| u64::try_from(i).ok());
        let text = |name: &str| a.get(name).and_then(|v| v.as_text()).map(str::to_owned);
        Ok(Episode {
            name: text("episode_name").unwrap_or_else(|| demo.name.clone()),
            observation,
            next_observation,
            action,
            proposed,
            reward,
            end,
            human,
            success: a.get("success").and_then(|v| v.as_flag()),
            source: text("source"),
            safety: SafetyCounts {
                ticks: count("safety_ticks").unwrap_or(0),
                adjusted: count("safety_adjusted").unwrap_or(0),
                stops: count("safety_stops").unwrap_or(0),
                violations: count("safety_violations").unwrap_or(0),
            },
            seed: count("seed").or_else(|| count("reset_seed")),
            attributes: a
                .iter()
                .filter(|(name, _)| !OWN_PLACE.contains(&name.as_str()))
                .map(|(name, value)| (name.clone(), value.to_text()))
                .filter(|(_, text)| text.len() <= MAX_ATTRIBUTE_BYTES)
                .collect(),
        })
    }
}

/// Numbers in a row of one array.
pub(super) fn numeric_width(container: &Container, item: &str, info: &ArrayInfo) -> Result<usize, DataError> {
    if info.element.is_numeric() {
        return Ok(info.width());
    }
    let (item, found) = (item.to_owned(), info.element);
    Err(container.error("hdf5", Hdf5Error::WrongType { item, expected: NUMBERS, found }))
}

/// Numbers in a row that learning can use, of arrays side by side. Arrays without columns may claim any number of rows.
pub(super) fn row_dim(
    container: &Container,
    item: &str,
    widths: impl Iterator<Item = usize>,
) -> Result<usize, DataError> {
    let dim = widths.fold(0, usize::saturating_add);
    if (1..=MAX_ROW_WIDTH).contains(&dim) {
        return Ok(dim);
    }
    let expected = format!("rows of 1 to {MAX_ROW_WIDTH} numbers");
    Err(shape(container, item, &expected, &format!("rows of {dim}")))
}

pub(super) fn shape(container: &Container, item: &str, expected: &str, found: &str) -> DataError {
    DataError::Shape {
        path: container.path().to_owned(),
        item: item.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
    }
}

fn choose_observation(
    container: &Container,
    format: &'static str,
    demo: &Demo,
    options: &OpenOptions,
    notes: &mut Vec<String>,
) -> Result<Observation, DataError> {
    let fail = |e| container.error(format, e);
    let group = format!("data/{}/obs", demo.name);
    if demo.children.get("obs") != Some(&ChildKind::Group) {
        if let Some(keys) = &options.observation_keys {
            return Err(shape(container, &group, &keys.join(", "), "no observations"));
        }
        if demo.children.get("states") != Some(&ChildKind::Dataset) {
            return Err(shape(container, &group, "observations, or states in their place", "neither"));
        }
        let item = format!("data/{}/states", demo.name);
        let width = numeric_width(container, &item, &container.file().info(&item).map_err(fail)?)?;
        notes.push("no observations are recorded; the simulator states stand in for them".into());
        return Ok(Observation::States(width));
    }
    let children = container.file().children(&group).map_err(fail)?;
    let names: Vec<String> =
        options.observation_keys.clone().unwrap_or_else(|| children.keys().cloned().collect());
    let (mut keys, mut skipped) = (Vec::new(), Vec::new());
    for name in names {
        if children.get(&name) != Some(&ChildKind::Dataset) {
            if options.observation_keys.is_some() {
                let found: Vec<&str> = children.keys().map(String::as_str).collect();
                return Err(shape(
                    container,
                    &format!("{group}/{name}"),
                    "present",
                    &format!("only {}", found.join(", ")),
                ));
            }
            skipped.push(format!("{name} (a group)"));
            continue;
        }
        let info = container.file().info(&format!("{group}/{name}")).map_err(fail)?;
        let image = info.shape.len() > 2 && (info.element == Element::U8 || info.shape.len() > 3);
        let image = image || info.width() > MAX_ROW_WIDTH;
        if image || !info.element.is_numeric() || info.width() == 0 {
            let extents: Vec<String> = info.shape.iter().map(ToString::to_string).collect();
            let what = format!("{name} ({} [{}])", info.element.name(), extents.join(", "));
            if options.observation_keys.is_some() && info.width() != 0 {
                return Err(shape(container, &format!("{group}/{name}"), "a row of numbers per step", &what));
            }
            skipped.push(what);
            continue;
        }
        keys.push((name, info.width()));
    }
    if !skipped.is_empty() {
        notes.push(format!("observation keys left out (images, text, empty): {}", skipped.join(", ")));
    }
    if keys.is_empty() {
        return Err(shape(container, &group, "at least one low-dimensional key", "none"));
    }
    Ok(Observation::Keys(keys))
}
