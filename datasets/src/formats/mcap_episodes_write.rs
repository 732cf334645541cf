//! Writing a dataset as an MCAP file, of any length in bounded memory.

use std::fs::File;
use std::path::Path;

use surefoot_core::{DataError, Episode};

use crate::batches::digest;
use crate::durable::{exists, put_with};
use crate::input::hash_file;
use crate::mcap::episodes::{DATASET, EpisodeTopics, Stamps, StepRow, dataset_metadata};
use crate::mcap::{McapWriter, WriteOptions};
use crate::open::{OpenOptions, open_with};
use crate::writer::{Recording, Written, check_episode, check_masks};

use super::mcap_episodes::NAME;

/// A chunk is closed behind the episode with which it has so many bytes: reading a short one then decodes little else.
const EPISODES_BYTES: usize = 1 << 16;

/// When the first episode begins, ns: a stamp of 0 means "not stamped" to many.
const FIRST_NANOS: u64 = 1_000_000_000;

/// Between the end of an episode and the beginning of the next, ns.
const PAUSE_NANOS: u64 = 1_000_000_000;

/// Time of a step, ns, where the spec does not say.
const UNKNOWN_STEP_NANOS: u64 = 100_000_000;

pub(super) fn write(
    path: &Path,
    recording: &Recording,
    episodes: &mut dyn Iterator<Item = Result<Episode, DataError>>,
) -> Result<Written, DataError> {
    if path.exists() {
        return Err(exists(path));
    }
    let mut digests = Vec::new();
    let mut steps = 0;
    put_with(path, false, |temporary| {
        write_to(temporary, path, recording, episodes, &mut digests, &mut steps)?;
        read_back(temporary, path, recording, &digests)
    })?;
    let (hash, bytes) = hash_file(path)?;
    Ok(Written { path: path.to_owned(), bytes, hash, episodes: digests.len(), steps, lost: Vec::new() })
}

fn write_to(
    temporary: &Path,
    path: &Path,
    recording: &Recording,
    episodes: &mut dyn Iterator<Item = Result<Episode, DataError>>,
    digests: &mut Vec<blake3::Hash>,
    steps: &mut usize,
) -> Result<(), DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let file = File::create_new(temporary).map_err(io)?;
    let mut file = McapWriter::new(file, WriteOptions::default()).map_err(io)?;
    let about = dataset_metadata(recording, Stamps::Nominal).map_err(io)?;
    file.metadata(DATASET, &about).map_err(io)?;
    let mut topics = EpisodeTopics::declare(&mut file).map_err(io)?;
    let mut now = FIRST_NANOS;
    let step_nanos = step_nanos(recording.spec.step_secs);
    for e in episodes {
        let e = e?;
        check_episode(path, recording, digests.len(), &e)?;
        now = episode(&mut file, &mut topics, recording, &e, now, step_nanos).map_err(io)?;
        now = now.saturating_add(PAUSE_NANOS);
        if file.pending_bytes() >= EPISODES_BYTES {
            file.flush().map_err(io)?;
        }
        digests.push(digest(&e));
        *steps += e.len();
    }
    if digests.is_empty() {
        return Err(DataError::Shape {
            path: path.to_owned(),
            item: "episodes".into(),
            expected: "at least one".into(),
            found: "none".into(),
        });
    }
    check_masks(path, recording, digests.len())?;
    topics.close(&mut file, None, &[]).map_err(io)?;
    file.finish().map_err(io)?;
    Ok(())
}

fn step_nanos(secs: f64) -> u64 {
    let nanos = (secs * 1e9).round();
    if (1.0..1e18).contains(&nanos) { nanos as u64 } else { UNKNOWN_STEP_NANOS }
}

fn row(rows: &[f32], t: usize, width: usize) -> &[f32] {
    rows.get(t * width..(t + 1) * width).unwrap_or_default()
}

/// Writes one episode from `now` on, and gives the time of its end.
fn episode(
    file: &mut McapWriter<File>,
    topics: &mut EpisodeTopics,
    recording: &Recording,
    e: &Episode,
    mut now: u64,
    step_nanos: u64,
) -> std::io::Result<u64> {
    let (o, a) = (recording.spec.observation_dim(), recording.spec.action_dim());
    topics.begin(file, now, row(&e.observation, 0, o))?;
    for (t, (reward, end)) in e.reward.iter().zip(&e.end).enumerate() {
        let next = now.saturating_add(step_nanos);
        topics.step(
            file,
            &StepRow {
                span_nanos: (now, next),
                action: row(&e.action, t, a),
                proposed: (!e.proposed.is_empty()).then(|| row(&e.proposed, t, a)),
                human: e.human.get(t).copied(),
                reward: *reward,
                end: *end,
                next_observation: row(&e.next_observation, t, o),
                following: (t + 1 < e.len()).then(|| row(&e.observation, t + 1, o)),
            },
        )?;
        now = next;
    }
    topics.end(file, now, e)?;
    Ok(now)
}

/// Reads what was written and compares it with what was meant, bit for bit.
fn read_back(
    temporary: &Path,
    path: &Path,
    recording: &Recording,
    digests: &[blake3::Hash],
) -> Result<(), DataError> {
    let damaged = |what: &str| DataError::Malformed {
        path: path.to_owned(),
        format: NAME,
        reason: format!("after writing, {what} does not read back as it was; the file was not kept"),
        hint: "the disk or the memory may be failing; please report this with the data if it happens again",
    };
    let options = OpenOptions { format: Some(NAME.into()), ..OpenOptions::default() };
    let source = open_with(temporary, &options)?;
    let meta = source.meta();
    let whole = source.len() == digests.len()
        && meta.spec.as_ref() == recording.stated_spec()
        && meta.observation_keys == recording.keys()
        && meta.notes.is_empty();
    if !whole {
        return Err(damaged("the header"));
    }
    for (i, meant) in digests.iter().enumerate() {
        if digest(&source.episode(i)?) != *meant {
            return Err(damaged(&format!("episode {i}")));
        }
    }
    Ok(())
}
