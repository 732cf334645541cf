//! A recording as a store: what was recorded is read again by its place in the order of recording, while recording goes on.

use surefoot_core::{DataError, Episode, EpisodeStore};

use super::manifest::shard_name;
use super::{EpisodeRecorder, MANIFEST};
use crate::formats::robomimic;
use crate::open::{OpenOptions, open_with};

impl EpisodeStore for EpisodeRecorder {
    fn count(&self) -> u64 {
        self.shards.len() as u64
    }

    fn append(&mut self, episode: &Episode) -> Result<(), DataError> {
        self.record(episode).map(|_| ())
    }

    fn read(&self, index: u64) -> Result<Episode, DataError> {
        let shard = usize::try_from(index).ok().and_then(|index| self.shards.get(index));
        let Some(shard) = shard else {
            return Err(DataError::Shape {
                path: self.directory.join(MANIFEST),
                item: "episode number".into(),
                expected: format!("fewer than {}", self.shards.len()),
                found: index.to_string(),
            });
        };
        let path = self.directory.join(shard_name(*shard));
        let options = OpenOptions { format: Some(robomimic::FORMAT.name.into()), ..OpenOptions::default() };
        let source = open_with(&path, &options)?;
        if source.len() != 1 {
            let (expected, found) = ("one episode".into(), source.len().to_string());
            return Err(DataError::Shape { path, item: "data".into(), expected, found });
        }
        source.episode(0)
    }
}
