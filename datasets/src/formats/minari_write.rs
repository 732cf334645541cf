//! Writing Minari: what its own library loads, with what it has no place for in `infos` and in the attributes of the episodes.

use std::path::Path;

use hdf5_pure::{Datatype, File, StagedGroup};
use serde_json::json;
use surefoot_core::{DataError, EnvSpec, Episode, Field, StepEnd};

use super::minari::{DATA, METADATA, NAME};
use super::minari_metadata::{SCHEMA, SPEC};
use crate::batches::{digest, size_of_episode};
use crate::durable::{put_directory, write_in};
use crate::encode::{attributes_of, flag_type, int};
use crate::input::{hash_file, hash_of_files};
use crate::open::{OpenOptions, open_with};
use crate::writer::{Recording, Written, check_count, check_episode, io_cause};

/// The newest version of the layout that this follows.
const MINARI_VERSION: &str = "0.5.4";

/// Episodes on their way to the disk are held up to this many bytes.
const BATCH_BYTES: usize = 16 << 20;

pub(super) fn write(
    path: &Path,
    recording: &Recording,
    episodes: &mut dyn Iterator<Item = Result<Episode, DataError>>,
) -> Result<Written, DataError> {
    let mut digests = Vec::new();
    let mut steps = 0;
    put_directory(path, |temporary| {
        let data = temporary.join("data");
        std::fs::create_dir(&data).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
        encode(path, &data.join(DATA), recording, episodes, &mut digests, &mut steps)?;
        check_count(path, recording, digests.len())?;
        let metadata = metadata(path, recording, digests.len(), steps).map_err(|e| unencodable(path, &e))?;
        write_in(&data, METADATA, metadata.as_bytes())?;
        read_back(temporary, path, recording, &digests)
    })?;
    let mut bytes = 0;
    let mut hashes = Vec::new();
    for name in [format!("data/{DATA}"), format!("data/{METADATA}")] {
        let (hash, length) = hash_file(&path.join(&name))?;
        bytes += length;
        hashes.push((name, hash));
    }
    let mut lost = Vec::new();
    if !recording.masks.is_empty() {
        lost.push("masks".to_owned());
    }
    Ok(Written {
        path: path.to_owned(),
        bytes,
        hash: hash_of_files(hashes.iter().map(|(name, hash)| (name.as_str(), hash.as_str()))),
        episodes: digests.len(),
        steps,
        lost,
    })
}

fn unencodable(path: &Path, error: &dyn std::fmt::Display) -> DataError {
    DataError::Malformed {
        path: path.to_owned(),
        format: NAME,
        reason: format!("these episodes cannot be encoded: {error}"),
        hint: "names and attributes must be plain text without NUL bytes",
    }
}

/// Minari keeps one row of observations for what a step led to and what the next was taken on: they must be the same.
fn check_chain(path: &Path, dim: usize, i: usize, e: &Episode) -> Result<(), DataError> {
    let (led_to, taken_on) = (e.next_observation.chunks(dim), e.observation.chunks(dim).skip(1));
    let same = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits());
    match led_to.zip(taken_on).position(|(a, b)| !same(a, b)) {
        None => Ok(()),
        Some(t) => Err(DataError::Shape {
            path: path.to_owned(),
            item: format!("episode {i} ({}) next_observation[{t}]", e.name),
            expected: format!("observation[{}], for Minari stores both as one", t + 1),
            found: "another row; write another format, or repair the episode".into(),
        }),
    }
}

/// Writes the episodes as they come to the file `to`.
fn encode(
    path: &Path,
    to: &Path,
    recording: &Recording,
    episodes: &mut dyn Iterator<Item = Result<Episode, DataError>>,
    digests: &mut Vec<blake3::Hash>,
    steps: &mut usize,
) -> Result<(), DataError> {
    let flag = flag_type().map_err(|e| unencodable(path, &e))?;
    let refused = |e: hdf5_pure::Error| match io_cause(&e) {
        Some(source) => DataError::Io { path: path.to_owned(), source },
        None => unencodable(path, &e),
    };
    let file = File::create(to).map_err(refused)?;
    let mut held = 0;
    for e in episodes {
        let e = e?;
        let i = digests.len();
        check_episode(path, recording, i, &e)?;
        check_chain(path, recording.spec.observation_dim(), i, &e)?;
        let name = format!("episode_{i}");
        file.root()
            .create_group_with(&name, |group| stage(group, &flag, recording, &e, i))
            .map_err(refused)?;
        digests.push(digest(&e));
        *steps += e.len();
        held += size_of_episode(&e);
        if held >= BATCH_BYTES {
            file.commit().map_err(refused)?;
            held = 0;
        }
    }
    file.commit().and_then(|()| file.close()).map_err(refused)
}

fn stage(group: &mut StagedGroup<'_>, flag: &Datatype, recording: &Recording, e: &Episode, i: usize) {
    let (o, a) = (recording.spec.observation_dim(), recording.spec.action_dim());
    let Episode { observation, next_observation, action, proposed, reward, end, human, .. } = e;
    let n = e.len() as u64;
    group.set_attr("id", int(i as u64));
    group.set_attr("total_steps", int(n));
    for (key, value) in attributes_of(e, &format!("episode_{i}")) {
        group.set_attr(&key, value);
    }
    let mut rows = observation.clone();
    rows.extend(&next_observation[next_observation.len() - o..]);
    let numbers = |group: &mut StagedGroup<'_>, name: &str, data: &[f32], shape: &[u64]| {
        group.create_dataset(name, |d| {
            d.with_f32_data(data).with_shape(shape);
        });
    };
    numbers(group, "observations", &rows, &[n + 1, o as u64]);
    numbers(group, "actions", action, &[n, a as u64]);
    numbers(group, "rewards", reward, &[n]);
    let mut ends = end.clone();
    if let Some(last) = ends.last_mut().filter(|e| !e.is_last()) {
        *last = StepEnd::Truncated;
    }
    for (key, which) in [("terminations", StepEnd::Terminated), ("truncations", StepEnd::Truncated)] {
        flags(group, key, flag, ends.iter().map(|e| *e == which));
    }
    // Minari's infos have a row more than its steps, as its observations do.
    group.create_group_with("infos", |infos| {
        if !proposed.is_empty() {
            let mut rows = proposed.clone();
            rows.resize(rows.len() + a, 0.0);
            numbers(infos, "actions_proposed", &rows, &[n + 1, a as u64]);
        }
        if !human.is_empty() {
            flags(infos, "interventions", flag, human.iter().copied().chain([false]));
        }
    });
}

fn flags(group: &mut StagedGroup<'_>, name: &str, kind: &Datatype, values: impl Iterator<Item = bool>) {
    let values: Vec<u8> = values.map(u8::from).collect();
    group.create_dataset(name, |d| {
        d.with_enum_u8_data(kind.clone(), &values).with_shape(&[values.len() as u64]);
    });
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

fn metadata(
    path: &Path,
    recording: &Recording,
    episodes: usize,
    steps: usize,
) -> Result<String, serde_json::Error> {
    let spec: &EnvSpec = &recording.spec;
    let mut metadata = json!({
        "dataset_id": dataset_id(path),
        "data_format": "hdf5",
        "jpeg_encoding": true,
        "minari_version": MINARI_VERSION,
        "total_episodes": episodes,
        "total_steps": steps,
        "observation_space": space(&spec.observation, |f| (f.low, f.high)),
        // Actions are normalised; what -1 and 1 stand for is in the spec.
        "action_space": space(&spec.action, |_| recording.stated.then_some((-1.0, 1.0)).unzip()),
        "algorithm_name": recording.producer,
        SCHEMA: 1,
    });
    if recording.stated {
        metadata[SPEC] = serde_json::to_string(spec)?.into();
    }
    if let Some(hash) = &recording.import_hash {
        metadata["surefoot_import_hash"] = hash.as_str().into();
    }
    serde_json::to_string_pretty(&metadata)
}

/// Reads what was written and compares it with what was meant, bit for bit.
fn read_back(
    temporary: &Path,
    path: &Path,
    recording: &Recording,
    meant: &[blake3::Hash],
) -> Result<(), DataError> {
    let options = OpenOptions { format: Some(NAME.into()), ..OpenOptions::default() };
    let source = open_with(temporary, &options)?;
    let mut whole = source.len() == meant.len() && source.meta().spec.as_ref() == recording.stated_spec();
    for (i, meant) in meant.iter().enumerate() {
        whole &= digest(&source.episode(i)?) == *meant;
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
