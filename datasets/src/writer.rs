//! Writing the native format: robomimic's layout with what it lacks beside it.
//!
//! ```text
//! /                       attrs: schema, producer
//! /data                   attrs: total, env_args (JSON), env_spec (JSON), action_names, action_units, observation_names,
//!                                observation_units, robot_contract_hash, import_hash
//! /data/demo_<i>          attrs: num_samples, episode_id, episode_name, success, source, seed, safety_*, further ones as text
//!   actions          [T, A] f32   executed, in [-1, 1]
//!   actions_proposed [T, A] f32   where it is known
//!   interventions    [T] bool     whether a person drove, where it is known
//!   obs/flat         [T, O] f32   next_obs/flat [T, O] f32; or an array for each key, in the order of data@observation_keys
//!   rewards          [T] f32      dones [T] i64: terminated or truncated, for readers that know only that
//!   terminations     [T] bool     truncations [T] bool: the truth
//! /mask/<name>            names of episodes, fixed-length ASCII
//! ```
//!
//! A file appears under its name only when it is whole: it is written beside it, read back and compared bit for bit, flushed to
//! the disk, and then renamed. The same episodes give the same bytes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::json;
use surefoot_core::{DataError, DatasetMeta, EnvSpec, Episode, EpisodeSource, Field, StepEnd, Stream};

use crate::durable::{exists, put};
use crate::encode::{EncodeError, encode};
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
    /// Keys of the observation row with their widths, in its order: each is an array of its own. All numbers of the row are one array,
    /// `flat`, where this is empty.
    pub observation_keys: Vec<(String, usize)>,
    /// Hash of the import section that it was made of logs by, where it was.
    pub import_hash: Option<String>,
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
            observation_keys: Vec::new(),
            import_hash: None,
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
        // Keys of nested groups become plain ones, as robomimic has them.
        let plain: Vec<(String, usize)> =
            meta.observation_keys.iter().map(|(key, width)| (key.replace('/', "_"), *width)).collect();
        let distinct: BTreeSet<&String> = plain.iter().map(|(key, _)| key).collect();
        let observation_keys = if distinct.len() == plain.len() { plain } else { Vec::new() };
        Self {
            masks: meta.masks.clone(),
            observation_keys,
            import_hash: meta.import_hash.clone(),
            stated: is_stated,
            ..Self::new(spec)
        }
    }

    /// The arrays of the observation row.
    pub(crate) fn keys(&self) -> Vec<(String, usize)> {
        let dim = self.spec.observation_dim();
        let widths: usize = self.observation_keys.iter().map(|(_, w)| w).sum();
        if widths == dim { self.observation_keys.clone() } else { vec![("flat".to_owned(), dim)] }
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
    let bytes = encode(recording, episodes, first_id).map_err(|e| unencodable(path, &e))?;
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

pub(crate) fn unencodable(path: &Path, error: &EncodeError) -> DataError {
    if let Some(source) = io_cause(&**error) {
        return DataError::Io { path: path.to_owned(), source };
    }
    DataError::Malformed {
        path: path.to_owned(),
        format: robomimic::FORMAT.name,
        reason: format!("these episodes cannot be encoded: {error}"),
        hint: "names and attributes must be plain text without NUL bytes",
    }
}

/// What the system said, where that is why something was not written.
pub(crate) fn io_cause(error: &(dyn std::error::Error + 'static)) -> Option<std::io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = match error.downcast_ref::<hdf5_pure::Error>() {
            Some(hdf5_pure::Error::Io(io)) => Some(io),
            _ => error.downcast_ref::<std::io::Error>(),
        };
        if let Some(io) = io {
            return Some(
                io.raw_os_error().map_or_else(|| io.kind().into(), std::io::Error::from_raw_os_error),
            );
        }
        next = error.source();
    }
    None
}

/// Every episode has the rows its length and the spec promise, and ends once; masks name episodes that are there.
pub(crate) fn check(path: &Path, recording: &Recording, episodes: &[Episode]) -> Result<(), DataError> {
    for (i, e) in episodes.iter().enumerate() {
        check_episode(path, recording, i, e)?;
    }
    check_count(path, recording, episodes.len())
}

/// There is an episode, and masks name such that are there.
pub(crate) fn check_count(path: &Path, recording: &Recording, episodes: usize) -> Result<(), DataError> {
    if episodes == 0 {
        return Err(DataError::Shape {
            path: path.to_owned(),
            item: "episodes".into(),
            expected: "at least one".into(),
            found: "none".into(),
        });
    }
    check_masks(path, recording, episodes)
}

pub(crate) fn check_episode(
    path: &Path,
    recording: &Recording,
    i: usize,
    e: &Episode,
) -> Result<(), DataError> {
    let (o, a) = (recording.spec.observation_dim(), recording.spec.action_dim());
    let wrong = |item: String, expected: String, found: String| {
        Err(DataError::Shape { path: path.to_owned(), item, expected, found })
    };
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
    match e.end.iter().position(|end| end.is_last()).filter(|t| t + 1 != n) {
        None => Ok(()),
        Some(t) => {
            wrong(format!("episode {i} end"), format!("an end at step {}", n - 1), format!("one at step {t}"))
        }
    }
}

pub(crate) fn check_masks(path: &Path, recording: &Recording, episodes: usize) -> Result<(), DataError> {
    let wrong = |item: String, expected: String, found: String| {
        Err(DataError::Shape { path: path.to_owned(), item, expected, found })
    };
    for (mask, members) in &recording.masks {
        if let Some(i) = members.iter().find(|i| **i >= episodes) {
            let expected = format!("episode numbers below {episodes}");
            return wrong(format!("mask/{mask}"), expected, i.to_string());
        }
        let mut seen = BTreeSet::new();
        if let Some(i) = members.iter().find(|i| !seen.insert(**i)) {
            return wrong(format!("mask/{mask}"), "every episode once".into(), format!("episode {i} twice"));
        }
    }
    Ok(())
}

pub(crate) fn damaged(path: &Path, what: &str) -> DataError {
    DataError::Malformed {
        path: path.to_owned(),
        format: robomimic::FORMAT.name,
        reason: format!("after writing, {what} does not read back as it was; the file was not kept"),
        hint: "the disk or the memory may be failing; please report this with the data if it happens again",
    }
}

pub(crate) fn read_header_back(
    temporary: &Path,
    path: &Path,
    recording: &Recording,
    episodes: usize,
) -> Result<Box<dyn EpisodeSource>, DataError> {
    let options = OpenOptions { format: Some(robomimic::FORMAT.name.into()), ..OpenOptions::default() };
    let source = open_with(temporary, &options)?;
    let meta = source.meta();
    let whole = source.len() == episodes
        && meta.spec.as_ref() == recording.stated_spec()
        && meta.observation_keys == recording.keys();
    if whole { Ok(source) } else { Err(damaged(path, "the header")) }
}

/// Reads what was written and compares it with what was meant, bit for bit.
fn read_back(
    temporary: &Path,
    path: &Path,
    recording: &Recording,
    episodes: &[Episode],
) -> Result<(), DataError> {
    let source = read_header_back(temporary, path, recording, episodes.len())?;
    for (i, expected) in episodes.iter().enumerate() {
        if !same(&source.episode(i)?, expected) {
            return Err(damaged(path, &format!("episode {i}")));
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
