//! Importing more than memory holds: episodes wait on the disk until all of them are known.

use std::path::{Path, PathBuf};

use surefoot_core::{DataError, DatasetMeta, EnvSpec, Episode, EpisodeSource};

use super::episodes::{Watch, import_each};
use super::plan::Plan;
use super::report::ImportReport;
use crate::spool::{Spool, SpoolPlace};
use crate::streams::LogOptions;

/// Imported episodes that are on the disk, in the order of their logs; gone when it is dropped.
#[derive(Debug)]
pub struct Spooled {
    spool: Spool,
    places: Vec<SpoolPlace>,
    meta: DatasetMeta,
    /// What was found, kept and dropped.
    pub report: ImportReport,
    /// Names, units and bounds of their rows.
    pub spec: EnvSpec,
}

/// Imports logs, several at a time, as [`import`](super::import) does, with the episodes on the disk beside `to` instead of in memory: that
/// takes as much room there, for as long as the outcome is held, as what is then written. The file has no name, so that nothing is left
/// of it however the program ends.
///
/// # Errors
/// As [`import`](super::import); when the disk is full; and [`DataError::Interrupted`] when `watch.stop` says so.
pub fn import_spooled(
    plan: &Plan,
    paths: &[PathBuf],
    options: &LogOptions,
    skip_unreadable: bool,
    watch: Watch<'_>,
    to: &Path,
) -> Result<Spooled, DataError> {
    let spool = Spool::beside(to)?;
    let (places, spec, report) =
        import_each(plan, paths, options, skip_unreadable, watch, &|e| spool.push(&e))?;
    let meta = DatasetMeta {
        path: to.to_owned(),
        format: "import",
        env: Some(spec.name.clone()),
        contract_hash: spec.contract_hash.clone(),
        observation_keys: vec![("flat".into(), spec.observation_dim())],
        observation_dim: spec.observation_dim(),
        action_dim: spec.action_dim(),
        action_units: Some(spec.action.iter().map(|f| f.unit.clone()).collect()),
        spec: Some(spec.clone()),
        ..DatasetMeta::default()
    };
    Ok(Spooled { spool, places, meta, report, spec })
}

impl EpisodeSource for Spooled {
    fn meta(&self) -> &DatasetMeta {
        &self.meta
    }

    fn len(&self) -> usize {
        self.places.len()
    }

    fn episode(&self, index: usize) -> Result<Episode, DataError> {
        let place = self.places.get(index).ok_or_else(|| DataError::Shape {
            path: self.meta.path.clone(),
            item: "episode index".into(),
            expected: format!("fewer than {}", self.places.len()),
            found: index.to_string(),
        })?;
        self.spool.episode(*place)
    }
}
