//! Writing the native format: robomimic's layout with what it lacks beside it.
//!
//! ```text
//! /                       attrs: schema, producer
//! /data                   attrs: total, env_args (JSON), env_spec (JSON), action_names, action_units, observation_names,
//!                                observation_units, robot_contract_hash
//! /data/demo_<i>          attrs: num_samples, episode_id, episode_name, success, source, seed, safety_*, further ones as text
//!   actions          [T, A] f32   executed, in [-1, 1]
//!   actions_proposed [T, A] f32   where it is known
//!   interventions    [T] bool     whether a person drove, where it is known
//!   obs/flat         [T, O] f32   next_obs/flat [T, O] f32
//!   rewards          [T] f32      dones [T] i64: terminated or truncated, for readers that know only that
//!   terminations     [T] bool     truncations [T] bool: the truth
//! /mask/<name>            names of episodes, fixed-length ASCII
//! ```
//!
//! A file appears under its name only when it is whole: it is written beside it, read back and compared bit for bit, flushed to
//! the disk, and then renamed. The same episodes give the same bytes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hdf5_pure::{AttrValue, Datatype, EnumTypeBuilder, FileBuilder, FormatError, make_i8_type};
use serde_json::json;
use surefoot_core::{DataError, DatasetMeta, EnvSpec, Episode, Field, StepEnd, Stream};

use crate::durable::{exists, put};
use crate::formats::robomimic;
use crate::open::{OpenOptions, open_with};

/// What a file says of all its episodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// The environment that was recorded.
    pub spec: EnvSpec,
    /// The environment's keyword arguments, for `env_args`.
    pub env_kwargs: serde_json::Value,
    /// The program that wrote it, with its version.
    pub producer: String,
    /// Named subsets: episode indices. An empty one is not written.
    pub masks: Vec<(String, Vec<usize>)>,
    /// Whether the spec states what the rows mean. If not, it counts their numbers only, and is not written: a made-up spec would
    /// contradict the true one later.
    pub stated: bool,
}

impl Recording {
    /// A recording of `spec` without subsets.
    #[must_use]
    pub fn new(spec: EnvSpec) -> Self {
        Self {
            spec,
            env_kwargs: json!({}),
            producer: concat!("surefoot-datasets ", env!("CARGO_PKG_VERSION")).to_owned(),
            masks: Vec::new(),
            stated: true,
        }
    }

    /// A recording like the dataset that says this of itself, for writing it again.
    #[must_use]
    pub fn of(meta: &DatasetMeta) -> Self {
        let unknown = |n: usize, name: &str| -> Vec<Field> {
            (0..n).map(|i| Field::unbounded(format!("{name}[{i}]"), "1")).collect()
        };
        let widths =
            |s: &&EnvSpec| (s.observation_dim(), s.action_dim()) == (meta.observation_dim, meta.action_dim);
        // A spec of other rows, those of keys that were not chosen, says nothing of these.
        let stated = meta.spec.as_ref().filter(widths).cloned();
        let is_stated = stated.is_some();
        let spec = stated.unwrap_or_else(|| EnvSpec {
            name: meta.env.clone().unwrap_or_else(|| "unknown".into()),
            observation: unknown(meta.observation_dim, "observation"),
            action: unknown(meta.action_dim, "action"),
            step_secs: 0.0,
            max_steps: 0,
            reward_range: None,
            contract_hash: meta.contract_hash.clone(),
        });
        Self { masks: meta.masks.clone(), stated: is_stated, ..Self::new(spec) }
    }

    /// The spec where it states what the rows mean.
    pub(crate) fn stated_spec(&self) -> Option<&EnvSpec> {
        self.stated.then_some(&self.spec)
    }

    /// Adds the masks `train` and `valid`: `valid_share` of `episodes` episodes, at least one of two or more, drawn by `seed`.
    #[must_use]
    pub fn with_split(mut self, episodes: usize, valid_share: f64, seed: u64) -> Self {
        let (train, valid) = split(episodes, valid_share, seed);
        self.masks.push(("train".into(), train));
        self.masks.push(("valid".into(), valid));
        self
    }
}

/// Draws `valid_share` of `episodes` indices, at least one of two or more. Gives `(train, valid)`, both sorted.
#[must_use]
pub fn split(episodes: usize, valid_share: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..episodes).collect();
    let mut stream = Stream::new(seed, "dataset_split", 0);
    for i in (1..episodes).rev() {
        order.swap(i, stream.below(i + 1));
    }
    let wanted = (episodes as f64 * valid_share.clamp(0.0, 1.0)).round() as usize;
    let n = if valid_share > 0.0 { wanted.clamp(1, episodes.saturating_sub(1).max(1)) } else { 0 };
    let mut train = order.split_off(if episodes < 2 { 0 } else { n });
    train.sort_unstable();
    order.sort_unstable();
    (train, order)
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where.
    pub path: PathBuf,
    /// Length of the file.
    pub bytes: u64,
    /// Blake3 of the file.
    pub hash: String,
    /// Episodes.
    pub episodes: usize,
    /// Steps of all of them.
    pub steps: usize,
    /// What the episodes held and the format cannot hold.
    pub lost: Vec<String>,
}

/// Writes episodes as a new file; an existing one is an error.
///
/// # Errors
/// When the file exists, an episode does not fit the spec, a step in the middle is an end, or the system refuses. Nothing is
/// left behind then.
pub fn write(path: &Path, recording: &Recording, episodes: &[Episode]) -> Result<Written, DataError> {
    write_file(path, recording, episodes, 0, false)
}

/// Writes episodes, replacing a file of that name once the new one is whole.
///
/// # Errors
/// As [`write`]; an existing file is left as it was.
pub fn overwrite(path: &Path, recording: &Recording, episodes: &[Episode]) -> Result<Written, DataError> {
    write_file(path, recording, episodes, 0, true)
}

/// Writes one episode as a new file, with `id` for its `episode_id`.
pub(crate) fn write_numbered(
    path: &Path,
    recording: &Recording,
    episode: &Episode,
    id: u64,
) -> Result<Written, DataError> {
    write_file(path, recording, std::slice::from_ref(episode), id, false)
}

fn write_file(
    path: &Path,
    recording: &Recording,
    episodes: &[Episode],
    first_id: u64,
    replace: bool,
) -> Result<Written, DataError> {
    check(path, recording, episodes)?;
    if !replace && path.exists() {
        return Err(exists(path));
    }
    let bytes = encode(recording, episodes, first_id).map_err(|e| DataError::Malformed {
        path: path.to_owned(),
        format: robomimic::FORMAT.name,
        reason: format!("these episodes cannot be encoded: {e}"),
        hint: "names and attributes must be plain text without NUL bytes",
    })?;
    put(path, &bytes, replace, &|temporary| read_back(temporary, path, recording, episodes))?;
    Ok(Written {
        path: path.to_owned(),
        bytes: bytes.len() as u64,
        hash: blake3::hash(&bytes).to_hex().to_string(),
        episodes: episodes.len(),
        steps: episodes.iter().map(Episode::len).sum(),
        lost: Vec::new(),
    })
}

/// Every episode has the rows its length and the spec promise, and ends once.
pub(crate) fn check(path: &Path, recording: &Recording, episodes: &[Episode]) -> Result<(), DataError> {
    let (o, a) = (recording.spec.observation_dim(), recording.spec.action_dim());
    let wrong = |item: String, expected: String, found: String| {
        Err(DataError::Shape { path: path.to_owned(), item, expected, found })
    };
    if episodes.is_empty() {
        return wrong("episodes".into(), "at least one".into(), "none".into());
    }
    for (i, e) in episodes.iter().enumerate() {
        let n = e.len();
        if n == 0 {
            return wrong(format!("episode {i}"), "at least one step".into(), "none".into());
        }
        let columns = [
            ("observation", e.observation.len(), o),
            ("next_observation", e.next_observation.len(), o),
            ("action", e.action.len(), a),
            ("end", e.end.len(), 1),
            ("proposed", if e.proposed.is_empty() { n * a } else { e.proposed.len() }, a),
            ("human", if e.human.is_empty() { n } else { e.human.len() }, 1),
        ];
        for (column, found, width) in columns {
            if found != n * width {
                let expected = format!("{n} rows of {width}");
                return wrong(format!("episode {i} {column}"), expected, format!("{found} numbers"));
            }
        }
        if let Some(t) = e.end.iter().position(|end| end.is_last()).filter(|t| t + 1 != n) {
            return wrong(
                format!("episode {i} end"),
                format!("an end at step {}", n - 1),
                format!("one at step {t}"),
            );
        }
    }
    for (mask, members) in &recording.masks {
        if let Some(i) = members.iter().find(|i| **i >= episodes.len()) {
            let expected = format!("episode numbers below {}", episodes.len());
            return wrong(format!("mask/{mask}"), expected, i.to_string());
        }
        let mut seen = BTreeSet::new();
        if let Some(i) = members.iter().find(|i| !seen.insert(**i)) {
            return wrong(format!("mask/{mask}"), "every episode once".into(), format!("episode {i} twice"));
        }
    }
    Ok(())
}

pub(crate) fn int(value: u64) -> AttrValue {
    i64::try_from(value).map_or(AttrValue::U64(value), AttrValue::I64)
}

pub(crate) fn text(value: &str) -> AttrValue {
    AttrValue::VarLenString(value.to_owned())
}

/// What an episode says of itself, as attributes of its group, which is called `group`.
pub(crate) fn attributes_of(e: &Episode, group: &str) -> Vec<(String, AttrValue)> {
    let Episode { name, success, source, safety, seed, attributes, .. } = e;
    let mut all = Vec::new();
    let mut set = |key: &str, value: AttrValue| all.push((key.to_owned(), value));
    if name != group {
        set("episode_name", text(name));
    }
    if let Some(success) = success {
        set("success", int(u64::from(*success)));
    }
    if let Some(source) = source {
        set("source", text(source));
    }
    if let Some(seed) = seed {
        set("seed", int(*seed));
    }
    for (key, count) in [
        ("safety_ticks", safety.ticks),
        ("safety_adjusted", safety.adjusted),
        ("safety_stops", safety.stops),
        ("safety_violations", safety.violations),
    ] {
        set(key, int(count));
    }
    for (key, value) in attributes {
        set(key, text(value));
    }
    all
}

/// Booleans as h5py writes them.
pub(crate) fn flag_type() -> Result<Datatype, FormatError> {
    EnumTypeBuilder::with_base(make_i8_type()).value("FALSE", 0).value("TRUE", 1).build()
}

fn encode(
    recording: &Recording,
    episodes: &[Episode],
    first_id: u64,
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let Recording { spec, env_kwargs, producer, masks, stated } = recording;
    let (o, a) = (spec.observation_dim() as u64, spec.action_dim() as u64);
    let mut file = FileBuilder::new();
    file.set_attr("schema", text(robomimic::SCHEMA));
    file.set_attr("producer", text(producer));
    let mut data = file.create_group("data");
    let steps: usize = episodes.iter().map(Episode::len).sum();
    data.set_attr("total", int(steps as u64));
    // Type 2 is a Gymnasium environment in robomimic's numbering.
    let env_args = json!({ "env_name": spec.name, "env_version": "", "type": 2, "env_kwargs": env_kwargs });
    data.set_attr("env_args", text(&env_args.to_string()));
    if *stated {
        data.set_attr("env_spec", text(&serde_json::to_string(spec)?));
    }
    for (row, fields) in [("action", &spec.action), ("observation", &spec.observation)] {
        if !stated {
            break;
        }
        let names = fields.iter().map(|f| f.name.clone()).collect();
        let units = fields.iter().map(|f| f.unit.clone()).collect();
        data.set_attr(&format!("{row}_names"), AttrValue::VarLenStringArray(names));
        data.set_attr(&format!("{row}_units"), AttrValue::VarLenStringArray(units));
    }
    if let Some(hash) = &spec.contract_hash {
        data.set_attr("robot_contract_hash", text(hash));
    }
    let flag = flag_type()?;
    for (i, e) in episodes.iter().enumerate() {
        let Episode { observation, next_observation, action, proposed, reward, end, human, .. } = e;
        let n = e.len() as u64;
        let group = format!("demo_{i}");
        let mut demo = data.create_group(&group);
        demo.set_attr("num_samples", int(n));
        demo.set_attr("episode_id", int(first_id.saturating_add(i as u64)));
        for (key, value) in attributes_of(e, &group) {
            demo.set_attr(&key, value);
        }
        demo.create_dataset("actions").with_f32_data(action).with_shape(&[n, a]);
        if !proposed.is_empty() {
            demo.create_dataset("actions_proposed").with_f32_data(proposed).with_shape(&[n, a]);
        }
        demo.create_dataset("rewards").with_f32_data(reward).with_shape(&[n]);
        let flags = |is: fn(&StepEnd) -> bool| end.iter().map(|e| u8::from(is(e))).collect::<Vec<u8>>();
        let dones: Vec<i64> = end.iter().map(|e| i64::from(e.is_last())).collect();
        demo.create_dataset("dones").with_i64_data(&dones).with_shape(&[n]);
        let terminations = flags(|e| *e == StepEnd::Terminated);
        let truncations = flags(|e| *e == StepEnd::Truncated);
        demo.create_dataset("terminations").with_enum_u8_data(flag.clone(), &terminations).with_shape(&[n]);
        demo.create_dataset("truncations").with_enum_u8_data(flag.clone(), &truncations).with_shape(&[n]);
        if !human.is_empty() {
            let human: Vec<u8> = human.iter().map(|h| u8::from(*h)).collect();
            demo.create_dataset("interventions").with_enum_u8_data(flag.clone(), &human).with_shape(&[n]);
        }
        for (key, rows) in [("obs", observation), ("next_obs", next_observation)] {
            let mut group = demo.create_group(key);
            group.create_dataset("flat").with_f32_data(rows).with_shape(&[n, o]);
            demo.add_group(group.finish());
        }
        data.add_group(demo.finish());
    }
    file.add_group(data.finish());
    let mut group = file.create_group("mask");
    let mut any = false;
    for (mask, members) in masks.iter().filter(|(_, members)| !members.is_empty()) {
        let names: Vec<String> = members.iter().map(|i| format!("demo_{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        group.create_dataset(mask).with_ascii_strings(&names).map_err(|e: FormatError| e.to_string())?;
        any = true;
    }
    if any {
        file.add_group(group.finish());
    }
    Ok(file.finish()?)
}

/// Reads what was written and compares it with what was meant, bit for bit.
fn read_back(
    temporary: &Path,
    path: &Path,
    recording: &Recording,
    episodes: &[Episode],
) -> Result<(), DataError> {
    let damaged = |what: String| DataError::Malformed {
        path: path.to_owned(),
        format: robomimic::FORMAT.name,
        reason: format!("after writing, {what} does not read back as it was; the file was not kept"),
        hint: "the disk or the memory may be failing; please report this with the data if it happens again",
    };
    let options = OpenOptions { format: Some(robomimic::FORMAT.name.into()), ..OpenOptions::default() };
    let source = open_with(temporary, &options)?;
    if source.len() != episodes.len() || source.meta().spec.as_ref() != recording.stated_spec() {
        return Err(damaged("the header".into()));
    }
    for (i, expected) in episodes.iter().enumerate() {
        if !same(&source.episode(i)?, expected) {
            return Err(damaged(format!("episode {i}")));
        }
    }
    Ok(())
}

/// Equal in every bit, NaN included. An unmarked last step is read as truncated.
pub(crate) fn same(found: &Episode, meant: &Episode) -> bool {
    let bits =
        |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits());
    let mut end = meant.end.clone();
    if let Some(last) = end.last_mut().filter(|e| !e.is_last()) {
        *last = StepEnd::Truncated;
    }
    bits(&found.observation, &meant.observation)
        && bits(&found.next_observation, &meant.next_observation)
        && bits(&found.action, &meant.action)
        && bits(&found.proposed, &meant.proposed)
        && bits(&found.reward, &meant.reward)
        && found.end == end
        && found.human == meant.human
        && found.name == meant.name
        && found.success == meant.success
        && found.source == meant.source
        && found.safety == meant.safety
        && found.seed == meant.seed
        && found.attributes == meant.attributes
}
