//! Episodes on the disk while a dataset is made of them: written in any order, read again one at a time.
//!
//! The file has no name, so that a program that is killed leaves nothing behind. Each record has a checksum.

use std::collections::BTreeMap;
use std::io::{Error as IoError, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use surefoot_core::safety::SafetyCounts;
use surefoot_core::{DataError, Episode, StepEnd};

use crate::durable::Unnamed;

/// Where an episode is in a spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpoolPlace {
    offset: u64,
    bytes: usize,
    checksum: u32,
}

/// A file of episodes that is gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Spool {
    /// What the episodes are for; the spool is beside it.
    path: PathBuf,
    /// The file, and where it ends.
    file: Mutex<(Unnamed, u64)>,
}

/// What an episode holds besides columns of numbers, and their lengths.
#[derive(Serialize, Deserialize)]
struct Head {
    name: String,
    success: Option<bool>,
    source: Option<String>,
    safety: SafetyCounts,
    seed: Option<u64>,
    attributes: BTreeMap<String, String>,
    floats: [usize; 5],
    ends: usize,
    human: usize,
}

impl Spool {
    /// An empty spool beside `path`: on the same disk, which needs the room anyway.
    ///
    /// # Errors
    /// When it cannot be created.
    pub(crate) fn beside(path: &Path) -> Result<Self, DataError> {
        Ok(Self { path: path.to_owned(), file: Mutex::new((Unnamed::beside(path)?, 0)) })
    }

    fn io(&self) -> impl Fn(IoError) -> DataError {
        |source| DataError::Io { path: self.path.clone(), source }
    }

    /// Keeps an episode.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(crate) fn push(&self, episode: &Episode) -> Result<SpoolPlace, DataError> {
        let record = encode(episode).map_err(self.io())?;
        let checksum = crc32fast::hash(&record);
        let mut held = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (Unnamed { file, .. }, end) = &mut *held;
        let offset = *end;
        file.seek(SeekFrom::Start(offset)).and_then(|_| file.write_all(&record)).map_err(self.io())?;
        *end += record.len() as u64;
        Ok(SpoolPlace { offset, bytes: record.len(), checksum })
    }

    /// Reads an episode again.
    ///
    /// # Errors
    /// When the disk does not give it back as it was.
    pub(crate) fn episode(&self, place: SpoolPlace) -> Result<Episode, DataError> {
        let mut record = vec![0; place.bytes];
        {
            let mut held = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            let file = &mut held.0.file;
            file.seek(SeekFrom::Start(place.offset))
                .and_then(|_| file.read_exact(&mut record))
                .map_err(self.io())?;
        }
        let changed = || IoError::new(ErrorKind::InvalidData, "the temporary file beside it was changed");
        if crc32fast::hash(&record) != place.checksum {
            return Err(self.io()(changed()));
        }
        decode(&record).ok_or_else(|| self.io()(changed()))
    }
}

fn encode(e: &Episode) -> Result<Vec<u8>, IoError> {
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
    let columns = [observation, next_observation, action, proposed, reward];
    let head = Head {
        name: name.clone(),
        success: *success,
        source: source.clone(),
        safety: *safety,
        seed: *seed,
        attributes: attributes.clone(),
        floats: columns.map(Vec::len),
        ends: end.len(),
        human: human.len(),
    };
    let head = serde_json::to_vec(&head)?;
    let floats: usize = columns.iter().map(|c| c.len()).sum();
    let mut record = Vec::with_capacity(8 + head.len() + 4 * floats + end.len() + human.len());
    record.extend((head.len() as u64).to_le_bytes());
    record.extend(head);
    for column in columns {
        record.extend(column.iter().flat_map(|x| x.to_le_bytes()));
    }
    record.extend(end.iter().map(|end| match end {
        StepEnd::Running => 0,
        StepEnd::Terminated => 1,
        StepEnd::Truncated => 2,
    }));
    record.extend(human.iter().map(|h| u8::from(*h)));
    Ok(record)
}

fn decode(record: &[u8]) -> Option<Episode> {
    let (length, rest) = record.split_first_chunk()?;
    let (head, mut rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let Head { name, success, source, safety, seed, attributes, floats, ends, human } =
        serde_json::from_slice(head).ok()?;
    let mut take = |bytes: usize| {
        let (taken, left) = rest.split_at_checked(bytes)?;
        rest = left;
        Some(taken)
    };
    let mut column = |n: usize| -> Option<Vec<f32>> {
        let bytes = take(n.checked_mul(4)?)?;
        Some(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    };
    let [observation, next_observation, action, proposed, reward] = floats;
    let (observation, next_observation) = (column(observation)?, column(next_observation)?);
    let (action, proposed, reward) = (column(action)?, column(proposed)?, column(reward)?);
    let end = take(ends)?
        .iter()
        .map(|b| match b {
            0 => StepEnd::Running,
            1 => StepEnd::Terminated,
            _ => StepEnd::Truncated,
        })
        .collect();
    let human = take(human)?.iter().map(|b| *b != 0).collect();
    Some(Episode {
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
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn episode(i: u16) -> Episode {
        Episode {
            name: format!("episode {i}\n\u{1b}"),
            observation: vec![f32::from(i), f32::NAN, -0.0, f32::INFINITY],
            next_observation: vec![1.0; 4],
            action: vec![f32::from(i) / 3.0; 2],
            proposed: if i.is_multiple_of(2) { vec![0.5; 2] } else { Vec::new() },
            reward: vec![0.0, 1.0],
            end: vec![StepEnd::Running, if i > 2 { StepEnd::Terminated } else { StepEnd::Truncated }],
            human: vec![true, false],
            success: Some(i > 2),
            source: Some("human".into()),
            seed: Some(u64::MAX - u64::from(i)),
            attributes: [("log".to_owned(), "\u{fffd}\"".to_owned())].into(),
            ..Episode::default()
        }
    }

    #[test]
    fn episodes_come_back_in_any_order_and_nothing_is_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::beside(&directory.path().join("new.hdf5")).unwrap();
        let places: Vec<SpoolPlace> = (0..5).map(|i| spool.push(&episode(i)).unwrap()).collect();
        for i in [4, 0, 3, 1, 2] {
            let found = spool.episode(places[usize::from(i)]).unwrap();
            assert_eq!(format!("{found:?}"), format!("{:?}", episode(i)));
        }
        let wrong = SpoolPlace { offset: places[1].offset + 1, ..places[1] };
        assert!(spool.episode(wrong).unwrap_err().to_string().contains("was changed"));
        #[cfg(unix)]
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "it has no name");
        drop(spool);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
