//! Where the rows of demonstrations are: in memory, or in files of which a part is held.

use std::path::PathBuf;

use anyhow::anyhow;
use surefoot_core::{DataError, EnvSpec, EpisodeRows, EpisodeSource, ReplayBuffer, TransitionSource};
use surefoot_datasets::{CacheOptions, CacheState, LoadOptions, LoadReport, RowCache, load_each};

use crate::config::{CacheConfig, DataConfig, LoadingConfig};
use crate::failure::Failure;
use crate::output::Output;

/// Memory for rows where the system does not say how much is free.
const UNKNOWN_MEMORY_BYTES: u64 = 2 << 30;

/// A dataset that rows are taken of.
pub struct Take<'a> {
    /// What the config says of it.
    pub data: &'a DataConfig,
    /// Its episodes.
    pub source: &'a dyn EpisodeSource,
    /// The task.
    pub spec: &'a EnvSpec,
    /// How it is loaded.
    pub load: &'a LoadOptions,
    /// Of the returns.
    pub discount: f32,
}

/// The rows of a dataset.
pub struct Rows {
    /// In memory or not.
    pub rows: Box<dyn TransitionSource>,
    /// What is kept of each episode.
    pub episodes: Vec<EpisodeRows>,
    /// What loading found and did.
    pub report: LoadReport,
}

/// The memory that is left for rows.
pub struct Room<'a> {
    config: &'a LoadingConfig,
    left_bytes: u64,
}

impl<'a> Room<'a> {
    /// All that the config allows.
    pub fn new(config: &'a LoadingConfig) -> Self {
        let given = config.max_memory_mib.map(|mib| mib.saturating_mul(1 << 20));
        Self { config, left_bytes: given.unwrap_or_else(|| free_bytes() / 2) }
    }

    /// Takes the rows of a dataset.
    ///
    /// # Errors
    /// When it cannot be read, or rows cannot be written.
    pub fn take(&mut self, take: &Take<'_>, output: Output) -> Result<Rows, Failure> {
        let path = take.data.path.display();
        let most = match self.config.cache {
            CacheConfig::Memory => u64::MAX,
            CacheConfig::Auto => self.left_bytes,
            CacheConfig::Disk => 0,
        };
        if most > 0
            && let Some((rows, bytes)) = in_memory(take, most)?
        {
            self.left_bytes = self.left_bytes.saturating_sub(bytes);
            output.note(&format!("{path}: {} MiB of rows in memory", bytes.div_ceil(1 << 20)));
            return Ok(rows);
        }
        let (rows, file, held) = self.on_disk(take, output)?;
        self.left_bytes = self.left_bytes.saturating_sub(held);
        output.note(&format!(
            "{path}: rows are on the disk in {}, {} MiB of them in memory",
            file.display(),
            held.div_ceil(1 << 20)
        ));
        Ok(rows)
    }

    fn on_disk(&self, take: &Take<'_>, output: Output) -> Result<(Rows, PathBuf, u64), Failure> {
        let LoadingConfig { cache: _, directory, max_memory_mib: _ } = self.config;
        let Take { data, source, spec, load, discount } = take;
        let failed = |error: &dyn std::fmt::Display| {
            anyhow!(
                "loading.directory: rows of {} cannot be kept in {}: {error}\n\nhint: `loading.directory` = a directory with room that may be written to, or `loading.cache` = \"memory\"",
                data.path.display(),
                directory.display()
            )
        };
        std::fs::create_dir_all(directory).map_err(|e| failed(&e))?;
        // One file for each dataset: that of an older version is overwritten.
        let name = data.path.file_stem().map_or_else(Default::default, |n| n.to_string_lossy().into_owned());
        let place = blake3::hash(std::path::absolute(&data.path)?.as_os_str().as_encoded_bytes()).to_hex();
        let file = directory.join(format!("{name}-{}.rows", &place[..12]));
        let options = CacheOptions { discount: *discount, resident_bytes: self.left_bytes };
        let cache = match RowCache::state(&file, *source, spec, load, &options) {
            CacheState::Current => RowCache::open(&file, &options),
            state => {
                match &state {
                    CacheState::OfOther => output.note(&format!(
                        "{} is of another version of {}, or was loaded in another way: made anew",
                        file.display(),
                        data.path.display()
                    )),
                    CacheState::Damaged(why) => output.note(&format!("made anew: {why}")),
                    CacheState::Missing | CacheState::Current => {}
                }
                RowCache::build(&file, *source, spec, load, &options)
            }
        };
        let cache = cache.map_err(|e| match e {
            // What the disk of the rows refused; the dataset has a path of its own.
            DataError::Io { path, source } if path.starts_with(directory) => Failure::from(failed(&source)),
            other => other.into(),
        })?;
        let held = cache.resident_rows() as u64 * row_bytes(&cache);
        let (episodes, report) = (cache.episodes().to_vec(), cache.report());
        Ok((Rows { rows: Box::new(cache), episodes, report }, file, held))
    }
}

/// Of a row in memory, whether it is in a buffer or in the held part of a file.
fn row_bytes(rows: &dyn TransitionSource) -> u64 {
    (2 * rows.observation_dim() + rows.action_dim() + 3) as u64 * 4
}

/// All rows and their bytes; `None` where these are more than `most`.
fn in_memory(take: &Take<'_>, most: u64) -> Result<Option<(Rows, u64)>, DataError> {
    let Take { data: _, source, spec, load, discount: _ } = take;
    let mut rows = ReplayBuffer::new(spec.observation_dim(), spec.action_dim(), usize::MAX);
    let mut episodes = Vec::new();
    let mut full = false;
    let report = load_each(*source, spec, load, |episode| {
        full = full || (rows.len() + episode.len()) as u64 * row_bytes(&rows) > most;
        if full {
            return Err(DataError::no_row(&source.meta().path, 0, 0));
        }
        rows.push_episode(&episode);
        episodes.push(EpisodeRows::of(&episode));
        Ok(())
    });
    if full {
        return Ok(None);
    }
    let bytes = rows.len() as u64 * row_bytes(&rows);
    Ok(Some((Rows { rows: Box::new(rows), episodes, report: report? }, bytes)))
}

/// Memory that is free, by the system and by the limit of this process' control group.
fn free_bytes() -> u64 {
    let number = |text: &str| text.split_whitespace().find_map(|word| word.parse::<u64>().ok());
    let system = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
        Some(number(line)? << 10)
    });
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| number(&text));
    match (system, group) {
        (Some(system), Some(group)) => system.min(group),
        (Some(bytes), None) | (None, Some(bytes)) => bytes,
        (None, None) => UNKNOWN_MEMORY_BYTES,
    }
}
