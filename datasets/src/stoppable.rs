//! Datasets whose reading a person can end.

use surefoot_core::{DataError, DatasetMeta, Episode, EpisodeSource};

/// A dataset that gives no further episode once `stop` says so: whoever makes something of it stops cleanly, as for any episode that
/// cannot be read.
pub struct Stoppable<'s> {
    source: &'s dyn EpisodeSource,
    stop: &'s (dyn Fn() -> bool + Sync),
}

impl<'s> Stoppable<'s> {
    /// `source`, until `stop` says so.
    #[must_use]
    pub const fn new(source: &'s dyn EpisodeSource, stop: &'s (dyn Fn() -> bool + Sync)) -> Self {
        Self { source, stop }
    }
}

impl std::fmt::Debug for Stoppable<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stoppable").field("meta", self.source.meta()).finish_non_exhaustive()
    }
}

impl EpisodeSource for Stoppable<'_> {
    fn meta(&self) -> &DatasetMeta {
        self.source.meta()
    }

    fn len(&self) -> usize {
        self.source.len()
    }

    fn episode(&self, index: usize) -> Result<Episode, DataError> {
        if (self.stop)() { Err(DataError::Interrupted) } else { self.source.episode(index) }
    }
}
