//! From any format into any that can be written: whole datasets, parts of them, several as one.

use std::collections::VecDeque;
use std::path::Path;

use rayon::prelude::*;
use surefoot_core::{DataError, Episode, EpisodeSource};

use crate::formats::FORMATS;
use crate::select::Subset;
use crate::writer::{Recording, Written, split};

/// Episodes decoded side by side ahead of the writer; bounds the memory of a conversion.
const AHEAD: usize = 8;

/// Every episode in order, decoded a few at a time.
pub(crate) struct ReadAhead<'a> {
    source: &'a dyn EpisodeSource,
    next: usize,
    ready: VecDeque<Result<Episode, DataError>>,
}

impl<'a> ReadAhead<'a> {
    pub(crate) fn new(source: &'a dyn EpisodeSource) -> Self {
        Self { source, next: 0, ready: VecDeque::new() }
    }
}

impl Iterator for ReadAhead<'_> {
    type Item = Result<Episode, DataError>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() {
            let stop = (self.next + AHEAD).min(self.source.len());
            let block: Vec<_> = (self.next..stop).into_par_iter().map(|i| self.source.episode(i)).collect();
            self.ready.extend(block);
            self.next = stop;
        }
        self.ready.pop_front()
    }
}

/// Writes a dataset as a new one of the named format. Values stay as they are: nothing is clipped, rescaled or made up, and the names,
/// units and bounds of the rows are stated where the source states them.
///
/// # Errors
/// When the format is unknown or cannot be written, the target exists, an episode cannot be read or does not fit the format, or the
/// system refuses. Nothing is left behind then.
pub fn convert(source: &dyn EpisodeSource, format: &str, to: &Path) -> Result<Written, DataError> {
    // What learning cannot use, no format keeps.
    convert_as(source, &Recording::of(source.meta()), format, to)
}

/// As [`convert`], where `recording` says what the file tells of the episodes.
///
/// # Errors
/// As [`convert`].
pub fn convert_as(
    source: &dyn EpisodeSource,
    recording: &Recording,
    format: &str,
    to: &Path,
) -> Result<Written, DataError> {
    let writable = FORMATS.iter().filter_map(|f| Some((f.name, f.write?)));
    let Some((_, write)) = writable.clone().find(|(name, _)| *name == format) else {
        return Err(DataError::Shape {
            path: to.to_owned(),
            item: "name of its format".into(),
            expected: format!("one of {}", writable.map(|(name, _)| name).collect::<Vec<_>>().join(", ")),
            found: format.to_owned(),
        });
    };
    write(to, recording, &mut ReadAhead::new(source))
}

/// Divides a dataset in two: `valid_share` of its episodes, at least one of two or more, drawn by `seed`, are the second.
///
/// # Errors
/// Never, as long as the source keeps its length.
pub fn divide<'a>(
    source: &'a dyn EpisodeSource,
    valid_share: f64,
    seed: u64,
) -> Result<(Subset<'a>, Subset<'a>), DataError> {
    let (train, valid) = split(source.len(), valid_share, seed);
    Ok((Subset::new(source, train)?, Subset::new(source, valid)?))
}
