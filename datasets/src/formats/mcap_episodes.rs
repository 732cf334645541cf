//! Episodes in an MCAP file: what [`crate::mcap::episodes`] writes, be it as a dataset or while a robot is driven.
//!
//! Opening reads the file once, chunk by chunk, and keeps of each episode where it begins and how long it is; reading an episode
//! begins at its chunk. A file that was cut off reads as far as it got, with a note that begins with `incomplete`. Other topics
//! in the file are left out, and an MCAP file without episodes is a log: `import` makes episodes of that.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use surefoot_core::ros::RosMessage;
use surefoot_core::ros::messages::{Bool, Float32, Float32MultiArray, String as Text};
use surefoot_core::safety::SafetyCounts;
use surefoot_core::{DataError, DatasetMeta, EnvSpec, Episode, EpisodeSource, StepEnd};

use super::mcap::{Known, RECORD_HEAD, read_from};
use super::{Format, INCOMPLETE, mcap_episodes_write};
use crate::h5::{ArrayInfo, Element};
use crate::info::ArrayLine;
use crate::input::Input;
use crate::mcap::episodes::{
    ACTION, ACTION_PROPOSED, BEGIN, DATASET, END, EPISODE, EVENT, EpisodeRecord, INTERVENTION, MISSING,
    NEXT_OBSERVATION, OBSERVATION, REWARD, SCHEMA, TERMINATED, TICKS, TRUNCATED,
};
use crate::mcap::{MAGIC, metadata};
use crate::open::{Arrays, OpenOptions, Opened};
use crate::streams::{LogEnd, Message};

pub(super) const NAME: &str = "mcap";

/// The registry line.
pub const FORMAT: Format = Format {
    name: NAME,
    summary: "MCAP with episodes on ROS 2 topics, as a dataset or recorded with the ticks of a control loop; read and written",
    sniff,
    open,
    write: Some(mcap_episodes_write::write),
};

const TOPICS: [&str; 10] = [
    OBSERVATION,
    NEXT_OBSERVATION,
    ACTION,
    ACTION_PROPOSED,
    INTERVENTION,
    REWARD,
    TERMINATED,
    TRUNCATED,
    EVENT,
    EPISODE,
];

#[derive(Clone, Copy, Debug)]
struct Place {
    /// Of its chunk's content in the file.
    chunk: u64,
    /// Episodes that begin in that chunk before it.
    ordinal: u32,
    steps: u64,
}

struct Episodes {
    path: PathBuf,
    meta: DatasetMeta,
    places: Vec<Place>,
    known: Known,
}

/// An MCAP file whose first records say that there are episodes; any other is a log.
fn sniff(input: &Input) -> Result<bool, DataError> {
    let Input::File(file) = input else { return Ok(false) };
    let names = [DATASET.as_bytes(), TICKS.as_bytes()];
    let says = |name: &[u8]| file.head.windows(name.len()).any(|part| part == name);
    Ok(file.head.starts_with(&MAGIC) && names.into_iter().any(says))
}

fn wanted(topic: &str) -> bool {
    TOPICS.contains(&topic)
}

fn malformed(path: &Path, reason: String) -> DataError {
    DataError::Malformed {
        path: path.to_owned(),
        format: NAME,
        reason,
        hint: "convert or record it again; if surefoot wrote it like this, please report it with the file",
    }
}

fn open(input: Input, options: &OpenOptions) -> Result<Opened, DataError> {
    let file = input.into_file(NAME)?;
    let path = file.path.clone();
    for (keys, what) in [(&options.observation_keys, "observations"), (&options.action_keys, "actions")] {
        if let Some(keys) = keys {
            return Err(DataError::Shape {
                path,
                item: format!("keys of the {what}"),
                expected: "none to be chosen: each row is one topic".into(),
                found: keys.join(", "),
            });
        }
    }
    let (records, _) = metadata(&path)?;
    let last = |name: &str| records.iter().rev().find(|r| r.name == name).map(|r| &r.entries);
    let Some(about) = last(DATASET) else {
        return Err(DataError::Malformed {
            path,
            format: NAME,
            reason: format!("it holds messages and no episodes: the metadata record {DATASET} is not there"),
            hint: "a log becomes episodes by `surefoot data import LOG.mcap --robot CONTRACT.toml --to OUT.hdf5`",
        });
    };
    let (spec, mut meta) = describe(&path, about)?;
    let mut places = Vec::new();
    let mut known = Known::default();
    let mut begun: Option<(u64, u32)> = None;
    let mut counted = (0_u64, 0_u32);
    let mut rows = BTreeMap::<String, u64>::new();
    let mut text = Text::default();
    let end = read_from(&path, 0, &mut known, &wanted, &mut |message| {
        match rows.get_mut(message.topic) {
            Some(count) => *count += 1,
            None => {
                rows.insert(message.topic.to_owned(), 1);
            }
        }
        match message.topic {
            EVENT => {
                decode(&path, message, &mut text)?;
                if text.data == BEGIN {
                    let (chunk, ordinal) = &mut counted;
                    *ordinal = if *chunk == message.offset { ordinal.saturating_add(1) } else { 0 };
                    *chunk = message.offset;
                    begun = Some(counted);
                }
            }
            EPISODE => {
                let record = episode_record(&path, message, &mut text)?;
                let Some((chunk, ordinal)) = begun.take() else {
                    return Err(malformed(
                        &path,
                        format!("episode {} ends without having begun", record.name),
                    ));
                };
                places.push(Place { chunk, ordinal, steps: record.steps });
            }
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    })?;
    match (end, last(END).map(|entries| entries.get(MISSING))) {
        (LogEnd::Torn(why), _) => {
            let open = if begun.is_some() { "; the episode that had begun is left out" } else { "" };
            meta.notes.push(format!("{INCOMPLETE}: the file was cut off ({why}){open}"));
        }
        (_, None) => meta.notes.push(format!("{INCOMPLETE}: the recording was not finished")),
        (_, Some(Some(missing))) => meta.notes.push(format!("{INCOMPLETE}: {missing}")),
        (_, Some(None)) => {}
    }
    meta.hash = file.hash()?;
    let (o, a) = (spec.observation_dim(), spec.action_dim());
    let lines = rows.into_iter().map(|(topic, n)| {
        let (width, element) = match topic.as_str() {
            OBSERVATION | NEXT_OBSERVATION => (o, Element::F32),
            ACTION | ACTION_PROPOSED => (a, Element::F32),
            REWARD => (1, Element::F32),
            EVENT | EPISODE => (1, Element::Text),
            _ => (1, Element::Bool),
        };
        let shape = vec![usize::try_from(n).unwrap_or(usize::MAX), width];
        ArrayLine { path: topic, info: ArrayInfo { shape, element } }
    });
    let arrays = Arrays::Listed(lines.collect());
    let source = Episodes { path, meta, places, known };
    Ok(Opened { source: Box::new(source), bytes: file.bytes, arrays, problems: Vec::new() })
}

/// What the metadata says of all episodes.
fn describe(path: &Path, about: &BTreeMap<String, String>) -> Result<(EnvSpec, DatasetMeta), DataError> {
    let entry = |key: &str| {
        about
            .get(key)
            .ok_or_else(|| malformed(path, format!("the metadata record {DATASET} has no entry {key}")))
    };
    fn parse<T: serde::de::DeserializeOwned>(path: &Path, key: &str, text: &str) -> Result<T, DataError> {
        serde_json::from_str(text)
            .map_err(|e| malformed(path, format!("the entry {key} of the metadata record {DATASET}: {e}")))
    }
    let schema = entry("schema")?;
    if schema != SCHEMA {
        return Err(malformed(path, format!("its schema is {schema}, expected {SCHEMA}")));
    }
    let spec: EnvSpec = parse(path, "env_spec", entry("env_spec")?)?;
    let stated: bool = parse(path, "spec_is_stated", entry("spec_is_stated")?)?;
    let observation_keys: Vec<(String, usize)> = parse(path, "observation_keys", entry("observation_keys")?)?;
    let masks: Vec<(String, Vec<usize>)> = parse(path, "masks", entry("masks")?)?;
    let (o, a) = (spec.observation_dim(), spec.action_dim());
    let keys = observation_keys.iter().fold(0_usize, |sum, (_, width)| sum.saturating_add(*width));
    if keys != o {
        return Err(malformed(path, format!("its observation keys have {keys} numbers, its spec has {o}")));
    }
    let meta = DatasetMeta {
        path: path.to_owned(),
        format: NAME,
        env: Some(spec.name.clone()),
        contract_hash: spec.contract_hash.clone(),
        import_hash: about.get("import_hash").cloned(),
        observation_keys,
        observation_dim: o,
        action_dim: a,
        action_units: stated.then(|| spec.action.iter().map(|f| f.unit.clone()).collect()),
        spec: stated.then(|| spec.clone()),
        masks,
        ..DatasetMeta::default()
    };
    Ok((spec, meta))
}

fn decode<M: RosMessage>(path: &Path, message: &Message<'_>, into: &mut M) -> Result<(), DataError> {
    let wrong = |why: String| {
        malformed(path, format!("a message of {} at byte {}: {why}", message.topic, message.offset))
    };
    if message.schema != M::TYPE {
        return Err(wrong(format!("expected {}, found {}", M::TYPE, message.schema)));
    }
    let bytes = message.bytes().ok_or_else(|| wrong("its schema cannot be used".into()))?;
    into.decode(bytes).map_err(|e| wrong(e.to_string()))
}

fn episode_record(path: &Path, message: &Message<'_>, text: &mut Text) -> Result<EpisodeRecord, DataError> {
    decode(path, message, text)?;
    serde_json::from_str(&text.data).map_err(|e| malformed(path, format!("a message of {EPISODE}: {e}")))
}

/// What was read of an episode so far.
#[derive(Default)]
struct Gathered {
    observation: Vec<f32>,
    /// Of steps that were not followed by the next observation.
    next: BTreeMap<usize, Vec<f32>>,
    action: Vec<f32>,
    proposed: Vec<f32>,
    human: Vec<bool>,
    reward: Vec<f32>,
    terminated: Vec<bool>,
    truncated: Vec<bool>,
    row: Float32MultiArray,
    number: Float32,
    flag: Bool,
    text: Text,
}

impl Gathered {
    /// Takes a message in; gives the record that ends the episode.
    fn take(&mut self, path: &Path, message: &Message<'_>) -> Result<Option<EpisodeRecord>, DataError> {
        match message.topic {
            OBSERVATION | NEXT_OBSERVATION | ACTION | ACTION_PROPOSED => {
                decode(path, message, &mut self.row)?;
                let row = &self.row.data;
                match message.topic {
                    OBSERVATION => self.observation.extend_from_slice(row),
                    NEXT_OBSERVATION => {
                        // It stands behind the reward of its step.
                        self.next.insert(self.reward.len().saturating_sub(1), row.clone());
                    }
                    ACTION => self.action.extend_from_slice(row),
                    _ => self.proposed.extend_from_slice(row),
                }
            }
            REWARD => {
                decode(path, message, &mut self.number)?;
                self.reward.push(self.number.data);
            }
            INTERVENTION | TERMINATED | TRUNCATED => {
                decode(path, message, &mut self.flag)?;
                match message.topic {
                    INTERVENTION => &mut self.human,
                    TERMINATED => &mut self.terminated,
                    _ => &mut self.truncated,
                }
                .push(self.flag.data);
            }
            EPISODE => return episode_record(path, message, &mut self.text).map(Some),
            _ => {}
        }
        Ok(None)
    }

    fn finish(self, path: &Path, record: EpisodeRecord, o: usize, a: usize) -> Result<Episode, DataError> {
        let Self { mut observation, next, action, proposed, human, reward, terminated, truncated, .. } = self;
        let EpisodeRecord {
            name,
            steps,
            last,
            success,
            source,
            seed,
            safety_ticks,
            safety_adjusted,
            safety_stops,
            safety_violations,
            attributes,
        } = record;
        let n = usize::try_from(steps).unwrap_or(usize::MAX);
        let some = |found: usize, one: usize| if found == 0 { 0 } else { one };
        for (topic, found, rows, width) in [
            (OBSERVATION, observation.len(), n.saturating_add(1), o),
            (ACTION, action.len(), n, a),
            (ACTION_PROPOSED, proposed.len(), some(proposed.len(), n), a),
            (INTERVENTION, human.len(), some(human.len(), n), 1),
            (REWARD, reward.len(), n, 1),
            (TERMINATED, terminated.len(), n, 1),
            (TRUNCATED, truncated.len(), n, 1),
        ] {
            if Some(found) != rows.checked_mul(width) {
                return Err(DataError::Shape {
                    path: path.to_owned(),
                    item: format!("{topic} of {name}"),
                    expected: format!("{rows} rows of {width}"),
                    found: format!("{found} numbers"),
                });
            }
        }
        let mut next_observation = observation.get(o..).unwrap_or_default().to_vec();
        observation.truncate(n * o);
        for (step, row) in next {
            let place = next_observation.get_mut(step.saturating_mul(o)..).and_then(|rest| rest.get_mut(..o));
            match place.filter(|place| place.len() == row.len()) {
                Some(place) => place.copy_from_slice(&row),
                None => {
                    return Err(DataError::Shape {
                        path: path.to_owned(),
                        item: format!("{NEXT_OBSERVATION} of {name}"),
                        expected: format!("rows of {o} for {n} steps"),
                        found: format!("{} numbers for step {step}", row.len()),
                    });
                }
            }
        }
        let flags = terminated.iter().zip(&truncated);
        let mut end: Vec<StepEnd> = flags.map(|(a, b)| StepEnd::from_flags(*a, *b)).collect();
        if let Some(end) = end.last_mut() {
            // An unmarked last step is truncated, as in the native format.
            *end = if last.is_last() { last } else { StepEnd::Truncated };
        }
        Ok(Episode {
            name,
            observation,
            next_observation,
            action,
            proposed,
            reward,
            end,
            human,
            success,
            source,
            safety: SafetyCounts {
                ticks: safety_ticks,
                adjusted: safety_adjusted,
                stops: safety_stops,
                violations: safety_violations,
            },
            seed,
            attributes,
        })
    }
}

impl EpisodeSource for Episodes {
    fn meta(&self) -> &DatasetMeta {
        &self.meta
    }

    fn len(&self) -> usize {
        self.places.len()
    }

    fn episode(&self, index: usize) -> Result<Episode, DataError> {
        let Some(place) = self.places.get(index) else {
            return Err(DataError::Shape {
                path: self.path.clone(),
                item: "episode index".into(),
                expected: format!("fewer than {}", self.places.len()),
                found: index.to_string(),
            });
        };
        let path = &self.path;
        let mut known = self.known.clone();
        let (mut gathered, mut record) = (None::<Gathered>, None);
        let mut before = u64::from(place.ordinal);
        let mut text = Text::default();
        read_from(path, place.chunk.saturating_sub(RECORD_HEAD), &mut known, &wanted, &mut |message| {
            if message.topic == EVENT {
                decode(path, message, &mut text)?;
                if text.data == BEGIN {
                    // What began and did not end is no episode.
                    if before == 0 || gathered.is_some() {
                        gathered = Some(Gathered::default());
                    }
                    before = before.saturating_sub(1);
                }
            }
            if let Some(gathered) = &mut gathered {
                record = gathered.take(path, message)?;
            }
            Ok(if record.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        let (Some(gathered), Some(record)) = (gathered, record) else {
            return Err(malformed(
                path,
                format!("episode {index} is not where it was: the file has changed"),
            ));
        };
        if record.steps != place.steps {
            return Err(malformed(path, format!("episode {index} is not as it was: the file has changed")));
        }
        gathered.finish(path, record, self.meta.observation_dim, self.meta.action_dim)
    }
}
