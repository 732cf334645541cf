//! Writing a native file of any length: episodes go to the disk in batches as they come.

use std::path::Path;

use surefoot_core::{DataError, Episode, StepEnd};

use crate::durable::{exists, put_with};
use crate::encode::{Appender, EncodeError, encode};
use crate::input::hash_file;
use crate::writer::{
    Recording, Written, check, check_episode, check_masks, damaged, read_header_back, unencodable, write,
};

/// Episodes on their way to the disk are held up to this many bytes, and up to [`LARGEST`] times as many in a file that is
/// [`SHARE`] times as long: what a batch costs grows with the file, for the library looks through all of it.
const BATCH_BYTES: usize = 16 << 20;
const SHARE: usize = 16;
const LARGEST: usize = 4;

/// Bytes of an episode's columns.
pub(crate) fn size_of_episode(e: &Episode) -> usize {
    let numbers = e.observation.len() + e.next_observation.len() + e.action.len() + e.proposed.len();
    numbers * 4 + e.len() * 16
}

/// Writes episodes as they come as a new file; an existing one is an error. However many there are, some 16 MB of them are held at once
/// (64 MB in a file of gigabytes).
///
/// # Errors
/// As [`write`], and when an episode cannot be read. Nothing is left behind then.
pub fn write_all(
    path: &Path,
    recording: &Recording,
    episodes: &mut dyn Iterator<Item = Result<Episode, DataError>>,
) -> Result<Written, DataError> {
    write_batches(path, recording, episodes, BATCH_BYTES)
}

fn write_batches(
    path: &Path,
    recording: &Recording,
    episodes: &mut dyn Iterator<Item = Result<Episode, DataError>>,
    batch_bytes: usize,
) -> Result<Written, DataError> {
    let mut first = Vec::new();
    let mut held = 0;
    while held < batch_bytes {
        let Some(e) = episodes.next() else { return write(path, recording, &first) };
        first.push(e?);
        held += first.last().map_or(0, size_of_episode);
    }
    if path.exists() {
        return Err(exists(path));
    }
    // Masks are written last: they may name episodes that are still to come.
    let unmasked = Recording { masks: Vec::new(), ..recording.clone() };
    check(path, &unmasked, &first)?;
    let fail = |e: EncodeError| unencodable(path, &e);
    let mut digests: Vec<blake3::Hash> = first.iter().map(digest).collect();
    let mut steps: usize = first.iter().map(Episode::len).sum();
    let write = |temporary: &Path| -> Result<(), DataError> {
        let bytes = encode(&unmasked, &first, 0).map_err(fail)?;
        let io = |source| DataError::Io { path: path.to_owned(), source };
        std::fs::write(temporary, bytes).map_err(io)?;
        let mut file = Appender::open(temporary, recording, first.len(), steps as u64).map_err(fail)?;
        first.clear();
        let mut written = held;
        held = 0;
        for e in &mut *episodes {
            let e = e?;
            check_episode(path, recording, digests.len(), &e)?;
            file.append(&e).map_err(fail)?;
            digests.push(digest(&e));
            steps += e.len();
            held += size_of_episode(&e);
            if held >= (written / SHARE).clamp(batch_bytes, batch_bytes.saturating_mul(LARGEST)) {
                file.commit().map_err(fail)?;
                written += held;
                held = 0;
            }
        }
        check_masks(path, recording, digests.len())?;
        file.finish().map_err(fail)?;
        let source = read_header_back(temporary, path, recording, digests.len())?;
        for (i, meant) in digests.iter().enumerate() {
            if digest(&source.episode(i)?) != *meant {
                return Err(damaged(path, &format!("episode {i}")));
            }
        }
        Ok(())
    };
    put_with(path, false, write)?;
    let (hash, bytes) = hash_file(path)?;
    Ok(Written { path: path.to_owned(), bytes, hash, episodes: digests.len(), steps, lost: Vec::new() })
}

/// Of everything that an episode is; an unmarked last step is read as truncated.
pub(crate) fn digest(e: &Episode) -> blake3::Hash {
    let Episode {
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
        safety,
        seed,
        attributes,
    } = e;
    let mut end = end.clone();
    if let Some(last) = end.last_mut().filter(|e| !e.is_last()) {
        *last = StepEnd::Truncated;
    }
    let mut hasher = blake3::Hasher::new();
    for column in [observation, next_observation, action, proposed, reward] {
        hasher.update(&(column.len() as u64).to_le_bytes());
        for part in column.chunks(1024) {
            let bytes: Vec<u8> = part.iter().flat_map(|x| x.to_le_bytes()).collect();
            hasher.update(&bytes);
        }
    }
    let rest =
        format!("{name:?} {end:?} {human:?} {success:?} {source:?} {safety:?} {seed:?} {attributes:?}");
    hasher.update(rest.as_bytes());
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use surefoot_core::{EnvSpec, Field};

    use super::*;
    use crate::load::read_all;
    use crate::open::{OpenOptions, open_with};

    fn recording() -> Recording {
        let fields = |n: usize| (0..n).map(|i| Field::unbounded(format!("q{i}"), "rad")).collect();
        let spec = EnvSpec {
            name: "push".into(),
            observation: fields(3),
            action: fields(2),
            step_secs: 0.1,
            max_steps: 9,
            reward_range: None,
            contract_hash: None,
        };
        // Not in the order of the names.
        let observation_keys = vec![("z".to_owned(), 1), ("a".to_owned(), 2)];
        Recording { masks: vec![("late".into(), vec![5, 6])], observation_keys, ..Recording::new(spec) }
    }

    fn episode(i: usize) -> Episode {
        let n = 2 + i % 3;
        let rows =
            |width: usize, at: usize| (0..n * width).map(|k| (100 * i + k + at) as f32 / 7.0).collect();
        let mut end = vec![StepEnd::Running; n];
        end[n - 1] = if i.is_multiple_of(2) { StepEnd::Terminated } else { StepEnd::Truncated };
        let (observation, next_observation) = (rows(3, 0), rows(3, 3));
        let name = format!("episode {i}");
        Episode {
            name,
            observation,
            next_observation,
            action: rows(2, 50),
            reward: rows(1, 0),
            end,
            ..Episode::default()
        }
    }

    #[test]
    fn batches_make_the_same_dataset_as_one_piece() {
        let directory = tempfile::tempdir().unwrap();
        let episodes: Vec<Episode> = (0..7).map(episode).collect();
        let whole = directory.path().join("whole.hdf5");
        write(&whole, &recording(), &episodes).unwrap();
        let whole = open_with(&whole, &OpenOptions::default()).unwrap();
        assert_eq!(whole.meta().observation_keys, recording().observation_keys, "in the order of the row");
        assert_eq!(read_all(&*whole, &[0, 1, 2, 3, 4, 5, 6]).unwrap(), episodes);
        for (k, batch) in [1, 150, 400, 1 << 20].into_iter().enumerate() {
            let path = directory.path().join(format!("{k}.hdf5"));
            let mut iterator = episodes.iter().cloned().map(Ok);
            let written = write_batches(&path, &recording(), &mut iterator, batch).unwrap();
            assert_eq!((written.episodes, written.steps), (7, episodes.iter().map(Episode::len).sum()));
            let file = std::fs::read(&path).unwrap();
            assert_eq!(
                (written.bytes, written.hash),
                (file.len() as u64, blake3::hash(&file).to_hex().to_string())
            );
            let source = open_with(&path, &OpenOptions::default()).unwrap();
            assert_eq!(source.meta().masks, whole.meta().masks);
            assert_eq!(source.meta().spec, whole.meta().spec);
            assert_eq!(
                read_all(&*source, &[0, 1, 2, 3, 4, 5, 6]).unwrap(),
                episodes,
                "batches of {batch} bytes"
            );
            let again = directory.path().join(format!("{k} again.hdf5"));
            write_batches(&again, &recording(), &mut episodes.iter().cloned().map(Ok), batch).unwrap();
            assert_eq!(std::fs::read(again).unwrap(), file, "the same episodes give the same bytes");
        }
    }

    #[test]
    fn a_fault_in_a_later_batch_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new.hdf5");
        let mut broken: Vec<Episode> = (0..7).map(episode).collect();
        broken[5].action.pop();
        let attempt = |recording: &Recording, episodes: &[Episode]| {
            let error =
                write_batches(&path, recording, &mut episodes.iter().cloned().map(Ok), 1).unwrap_err();
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "{error}");
            error.to_string()
        };
        assert!(attempt(&recording(), &broken).contains("episode 5 action"));
        let sound: Vec<Episode> = (0..6).map(episode).collect();
        let error = attempt(&recording(), &sound);
        assert!(error.contains("mask/late: expected episode numbers below 6, found 6"), "{error}");
        std::fs::write(&path, "here already").unwrap();
        let mut iterator = sound.iter().cloned().map(Ok);
        let error = write_batches(&path, &recording(), &mut iterator, 1).unwrap_err().to_string();
        assert!(error.contains("there is a file of this name already"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"here already");
    }
}
