//! Writing Minari: what its own library loads, with what it has no place for in `infos` and in the attributes of the episodes.

use std::path::Path;

use hdf5_pure::{Datatype, FileBuilder, GroupBuilder};
use serde_json::json;
use surefoot_core::{DataError, EnvSpec, Episode, Field, StepEnd};

use super::minari::{DATA, METADATA, NAME};
use super::minari_metadata::{SCHEMA, SPEC};
use crate::durable::put_directory;
use crate::encode::{attributes_of, flag_type, int};
use crate::input::hash_of_files;
use crate::open::{OpenOptions, open_with};
use crate::writer::{Recording, Written, check, same};

/// The newest version of the layout that this follows.
const MINARI_VERSION: &str = "0.5.4";

pub(super) fn write(
    path: &Path,
    recording: &Recording,
    episodes: &mut dyn Iterator<Item = Result<Episode, DataError>>,
) -> Result<Written, DataError> {
    let episodes = episodes.collect::<Result<Vec<_>, _>>()?;
    check(path, recording, &episodes)?;
    check_chains(path, recording.spec.observation_dim(), &episodes)?;
    let unencodable = |e: Box<dyn std::error::Error>| DataError::Malformed {
        path: path.to_owned(),
        format: NAME,
        reason: format!("these episodes cannot be encoded: {e}"),
        hint: "names and attributes must be plain text without NUL bytes",
    };
    let data = encode(recording, &episodes).map_err(unencodable)?;
    let metadata = metadata(path, recording, &episodes).map_err(|e| unencodable(e.into()))?;
    let names = [format!("data/{DATA}"), format!("data/{METADATA}")];
    let files = [(names[0].as_str(), data.as_slice()), (names[1].as_str(), metadata.as_bytes())];
    put_directory(path, &files, &|temporary| read_back(temporary, path, recording, &episodes))?;
    let hashes = files.map(|(name, bytes)| (name, blake3::hash(bytes).to_hex().to_string()));
    let mut lost = Vec::new();
    if !recording.masks.is_empty() {
        lost.push("masks".to_owned());
    }
    Ok(Written {
        path: path.to_owned(),
        bytes: (data.len() + metadata.len()) as u64,
        hash: hash_of_files(hashes.iter().map(|(name, hash)| (*name, hash.as_str()))),
        episodes: episodes.len(),
        steps: episodes.iter().map(Episode::len).sum(),
        lost,
    })
}

/// Minari keeps one row of observations for what a step led to and what the next was taken on: they must be the same.
fn check_chains(path: &Path, dim: usize, episodes: &[Episode]) -> Result<(), DataError> {
    for (i, e) in episodes.iter().enumerate() {
        let (led_to, taken_on) = (e.next_observation.chunks(dim), e.observation.chunks(dim).skip(1));
        let same = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits());
        if let Some(t) = led_to.zip(taken_on).position(|(a, b)| !same(a, b)) {
            return Err(DataError::Shape {
                path: path.to_owned(),
                item: format!("episode {i} ({}) next_observation[{t}]", e.name),
                expected: format!("observation[{}], for Minari stores both as one", t + 1),
                found: "another row; write another format, or repair the episode".into(),
            });
        }
    }
    Ok(())
}

fn encode(recording: &Recording, episodes: &[Episode]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let (o, a) = (recording.spec.observation_dim(), recording.spec.action_dim());
    let flag = flag_type()?;
    let mut file = FileBuilder::new();
    for (i, e) in episodes.iter().enumerate() {
        let Episode { observation, next_observation, action, proposed, reward, end, human, .. } = e;
        let n = e.len() as u64;
        let name = format!("episode_{i}");
        let mut group = file.create_group(&name);
        group.set_attr("id", int(i as u64));
        group.set_attr("total_steps", int(n));
        for (key, value) in attributes_of(e, &name) {
            group.set_attr(&key, value);
        }
        let mut rows = observation.clone();
        rows.extend(&next_observation[next_observation.len() - o..]);
        group.create_dataset("observations").with_f32_data(&rows).with_shape(&[n + 1, o as u64]);
        group.create_dataset("actions").with_f32_data(action).with_shape(&[n, a as u64]);
        group.create_dataset("rewards").with_f32_data(reward).with_shape(&[n]);
        let mut ends = end.clone();
        if let Some(last) = ends.last_mut().filter(|e| !e.is_last()) {
            *last = StepEnd::Truncated;
        }
        for (key, which) in [("terminations", StepEnd::Terminated), ("truncations", StepEnd::Truncated)] {
            flags(&mut group, key, &flag, ends.iter().map(|e| *e == which));
        }
        // Minari's infos have a row more than its steps, as its observations do.
        let mut infos = group.create_group("infos");
        if !proposed.is_empty() {
            let mut rows = proposed.clone();
            rows.resize(rows.len() + a, 0.0);
            infos.create_dataset("actions_proposed").with_f32_data(&rows).with_shape(&[n + 1, a as u64]);
        }
        if !human.is_empty() {
            flags(&mut infos, "interventions", &flag, human.iter().copied().chain([false]));
        }
        group.add_group(infos.finish());
        file.add_group(group.finish());
    }
    Ok(file.finish()?)
}

fn flags(group: &mut GroupBuilder, name: &str, kind: &Datatype, values: impl Iterator<Item = bool>) {
    let values: Vec<u8> = values.map(u8::from).collect();
    group.create_dataset(name).with_enum_u8_data(kind.clone(), &values).with_shape(&[values.len() as u64]);
}

/// A box as Minari serialises it; Python's JSON knows infinities, so they stand there bare.
fn space(fields: &[Field], bounds: impl Fn(&Field) -> (Option<f32>, Option<f32>)) -> String {
    let list = |numbers: Vec<String>| numbers.join(", ");
    let number =
        |bound: Option<f32>, unbounded: &str| bound.map_or(unbounded.to_owned(), |x| json!(x).to_string());
    let low = list(fields.iter().map(|f| number(bounds(f).0, "-Infinity")).collect());
    let high = list(fields.iter().map(|f| number(bounds(f).1, "Infinity")).collect());
    let n = fields.len();
    format!(r#"{{"type": "Box", "dtype": "float32", "shape": [{n}], "low": [{low}], "high": [{high}]}}"#)
}

/// A name that Minari takes: `name-v<number>`.
fn dataset_id(path: &Path) -> String {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' }).collect();
    let name = name.trim_start_matches(['.', '-']).to_owned();
    let versioned =
        name.rsplit_once("-v").is_some_and(|(_, v)| !v.is_empty() && v.chars().all(|c| c.is_ascii_digit()));
    if versioned { name } else { format!("{}-v0", if name.is_empty() { "dataset" } else { &name }) }
}

fn metadata(path: &Path, recording: &Recording, episodes: &[Episode]) -> Result<String, serde_json::Error> {
    let spec: &EnvSpec = &recording.spec;
    let mut metadata = json!({
        "dataset_id": dataset_id(path),
        "data_format": "hdf5",
        "jpeg_encoding": true,
        "minari_version": MINARI_VERSION,
        "total_episodes": episodes.len(),
        "total_steps": episodes.iter().map(Episode::len).sum::<usize>(),
        "observation_space": space(&spec.observation, |f| (f.low, f.high)),
        // Actions are normalised; what -1 and 1 stand for is in the spec.
        "action_space": space(&spec.action, |_| recording.stated.then_some((-1.0, 1.0)).unzip()),
        "algorithm_name": recording.producer,
        SCHEMA: 1,
    });
    if recording.stated {
        metadata[SPEC] = serde_json::to_string(spec)?.into();
    }
    serde_json::to_string_pretty(&metadata)
}

/// Reads what was written and compares it with what was meant, bit for bit.
fn read_back(
    temporary: &Path,
    path: &Path,
    recording: &Recording,
    episodes: &[Episode],
) -> Result<(), DataError> {
    let options = OpenOptions { format: Some(NAME.into()), ..OpenOptions::default() };
    let source = open_with(temporary, &options)?;
    let mut whole = source.len() == episodes.len() && source.meta().spec.as_ref() == recording.stated_spec();
    for (i, meant) in episodes.iter().enumerate() {
        whole &= same(&source.episode(i)?, meant);
    }
    if whole {
        return Ok(());
    }
    Err(DataError::Malformed {
        path: path.to_owned(),
        format: NAME,
        reason: "after writing, it does not read back as it was; it was not kept".into(),
        hint: "the disk or the memory may be failing; please report this with the data if it happens again",
    })
}
