//! `data/demo_<i>` groups: what robomimic and robosuite files have in common.

use std::collections::BTreeMap;
use std::sync::Arc;

use surefoot_core::safety::SafetyCounts;
use surefoot_core::{DataError, DatasetMeta, Episode, EpisodeSource, StepEnd};

use super::columns::{Columns, Held, further, left_out, row_dim, shape};
use super::demo_header::{check_totals, check_widths, environment, note_gaps, read_masks, spec_of};
use super::successors::{pair_with_following, pair_with_preceding};
use crate::h5::{Attributes, ChildKind, Container};
use crate::open::{DoneMeans, OpenOptions, Opened};

/// Attributes of a demo that have their own place in an [`Episode`].
pub(super) const OWN_PLACE: [&str; 11] = [
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
    observed: Observed,
}

/// When a step's observation was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Observed {
    /// Before its action, as everybody does.
    BeforeAction,
    /// After it: the observation of step `t` is what action `t` led to.
    AfterAction,
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
        observed: Observed,
    ) -> Result<Opened, DataError> {
        let names = demo_names(&container, format)?;
        let fail = |e| container.error(format, e);
        if names.is_empty() {
            return Err(shape(&container, "data", "at least one group demo_<number>", "none"));
        }
        let mut demos = Vec::with_capacity(names.len());
        let mut held = Held::default();
        for name in names {
            let path = format!("data/{name}");
            let children = container.file().children(&path).map_err(fail)?;
            let attributes = container.file().attributes(&path, ChildKind::Group).map_err(fail)?;
            held.add(&path, children.keys().map(String::as_str), &attributes, &container).map_err(fail)?;
            demos.push(Demo { name, children, attributes });
        }
        let columns = Columns { container: &container, format };
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
            let width = columns.width(&item)?;
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
            import_hash: data.get("import_hash").and_then(|a| a.as_text()).map(str::to_owned),
            observation_keys,
            observation_dim,
            action_dim,
            action_units: data.get("action_units").and_then(|a| a.as_texts()),
            spec,
            masks: Vec::new(),
            hash: container.hash().to_owned(),
            notes,
        };
        note_gaps(&demos, options, observed, &mut meta);
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
            observed,
        };
        Ok(Opened::hdf5(source, container, group, problems))
    }

    fn columns(&self) -> Columns<'_> {
        Columns { container: &self.container, format: self.format }
    }

    fn read_columns(
        &self,
        demo: &Demo,
        keys: &[(String, usize)],
        rows: usize,
    ) -> Result<Vec<f32>, DataError> {
        self.columns().read(&format!("data/{}", demo.name), keys, rows)
    }

    fn read_vector(&self, demo: &Demo, key: &str, rows: usize) -> Result<Option<Vec<f32>>, DataError> {
        if demo.children.get(key) != Some(&ChildKind::Dataset) {
            return Ok(None);
        }
        self.columns().vector(&format!("data/{}/{key}", demo.name), rows).map(Some)
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
        let rows = self.columns().info(&item)?.rows();
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

    /// Whether a person drove. With several people, as in robosuite's two-arm files, one of them is enough; where only the policy's part is
    /// recorded, the rest is theirs.
    fn human(&self, demo: &Demo, rows: usize) -> Result<Vec<bool>, DataError> {
        let any = |key: &str| -> Result<Option<Vec<bool>>, DataError> {
            if demo.children.get(key) != Some(&ChildKind::Dataset) {
                return Ok(None);
            }
            let item = format!("data/{}/{key}", demo.name);
            let width = self.columns().width(&item)?;
            let flags = self.columns().read("", &[(item, width)], rows)?;
            Ok(Some(flags.chunks(width.max(1)).map(|row| row.iter().any(|x| *x != 0.0)).collect()))
        };
        Ok(match (any("interventions")?, any("user_acting")?) {
            (Some(a), Some(b)) => a.iter().zip(&b).map(|(a, b)| *a || *b).collect(),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => any("policy_acting")?.unwrap_or_default().into_iter().map(|p| !p).collect(),
        })
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
        let rows = self.rows(demo)?;
        let action = self.read_columns(demo, &self.action_keys, rows)?;
        let proposed = match demo.children.get("actions_proposed") {
            Some(ChildKind::Dataset) => {
                let keys = [("actions_proposed".to_owned(), self.meta.action_dim)];
                self.read_columns(demo, &keys, rows)?
            }
            _ => Vec::new(),
        };
        let observation = self.read_columns(demo, &self.observation_keys("obs"), rows)?;
        // Missing rewards are unknown, not zero.
        let reward = self.read_vector(demo, "rewards", rows)?.unwrap_or_else(|| vec![f32::NAN; rows]);
        let end = self.ends(demo, rows, &reward)?;
        let recorded = matches!(self.observation, Observation::Keys(_))
            && demo.children.get("next_obs") == Some(&ChildKind::Group);
        let next_observation = if recorded {
            self.read_columns(demo, &self.observation_keys("next_obs"), rows)?
        } else {
            Vec::new()
        };
        let a = &demo.attributes;
        let count = |name: &str| a.get(name).and_then(|v| v.as_int()).and_then(|i| u64::try_from(i).ok());
        let text = |name: &str| a.get(name).and_then(|v| v.as_text()).map(str::to_owned);
        let mut episode = Episode {
            name: text("episode_name").unwrap_or_else(|| demo.name.clone()),
            observation,
            next_observation,
            action,
            proposed,
            reward,
            end,
            human: self.human(demo, rows)?,
            success: a.get("success").and_then(|v| v.as_flag()),
            source: text("source"),
            safety: safety_of(a),
            seed: count("seed").or_else(|| count("reset_seed")),
            attributes: further(a, &OWN_PLACE),
        };
        let (o, a) = (self.meta.observation_dim, self.meta.action_dim);
        match (recorded, self.observed) {
            (true, _) => {}
            (false, Observed::BeforeAction) => pair_with_following(&mut episode, o, a),
            (false, Observed::AfterAction) => pair_with_preceding(&mut episode, o, a),
        }
        Ok(episode)
    }
}

/// What the safety chain did, by an episode's attributes.
pub(super) fn safety_of(attributes: &Attributes) -> SafetyCounts {
    let count = |name: &str| {
        let count = attributes.get(name).and_then(|v| v.as_int()).and_then(|i| u64::try_from(i).ok());
        count.unwrap_or(0)
    };
    SafetyCounts {
        ticks: count("safety_ticks"),
        adjusted: count("safety_adjusted"),
        stops: count("safety_stops"),
        violations: count("safety_violations"),
    }
}

fn choose_observation(
    container: &Container,
    format: &'static str,
    demo: &Demo,
    options: &OpenOptions,
    notes: &mut Vec<String>,
) -> Result<Observation, DataError> {
    let columns = Columns { container, format };
    let group = format!("data/{}/obs", demo.name);
    if demo.children.get("obs") != Some(&ChildKind::Group) {
        if let Some(keys) = &options.observation_keys {
            return Err(shape(container, &group, &keys.join(", "), "no observations"));
        }
        if demo.children.get("states") != Some(&ChildKind::Dataset) {
            return Err(shape(container, &group, "observations, or states in their place", "neither"));
        }
        let width = columns.width(&format!("data/{}/states", demo.name))?;
        notes.push("no observations are recorded; the simulator states stand in for them".into());
        return Ok(Observation::States(width));
    }
    let known = columns.low_dim(&group)?;
    if let Some(names) = &options.observation_keys {
        return columns.chosen(&group, names, &known).map(Observation::Keys);
    }
    // A file that states the order of its row; one that states another row than it has is read by what it has.
    let stated = columns.attributes("data")?.get("observation_keys").and_then(|a| a.as_texts());
    if let Some(keys) = stated.and_then(|names| columns.chosen(&group, &names, &known).ok())
        && keys.len() == known.keys.len()
    {
        return Ok(Observation::Keys(keys));
    }
    if !known.skipped.is_empty() {
        notes.push(left_out(&known.skipped));
    }
    if known.keys.is_empty() {
        return Err(shape(container, &group, "at least one low-dimensional key", "none"));
    }
    Ok(Observation::Keys(known.keys))
}
