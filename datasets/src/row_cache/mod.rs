//! Datasets larger than memory: decoded once into a file of rows that can be sampled in bounded memory.
//!
//! A row is what [`surefoot_core::ReplayBuffer`] holds of a step, and the return from there: `observation, action, next_observation, reward,
//! continuation, return`, all `f32`, little-endian. Behind the rows stand the ends of runs without a break (`u64` each), what is kept of each
//! episode (steps, sum of rewards, flags: 24 bytes), a footer in JSON, its length (`u64`) and eight bytes that say what the file is. It is
//! written beside its name and renamed when whole.

mod read;

use std::fs::File;
use std::io::{BufWriter, Error as IoError, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use surefoot_core::returns::monte_carlo;
use surefoot_core::{DataError, EnvSpec, Episode, EpisodeRows, EpisodeSource, Moments, Normalizer};

use crate::load::{LoadOptions, LoadReport, load_each};

pub use read::{SequenceBatch, WindowSampler};

const MAGIC: [u8; 8] = *b"SFROWS02";

/// A footer is not longer than this.
const MAX_FOOTER_BYTES: u64 = 16 << 20;

/// Of what is kept of an episode.
const EPISODE_BYTES: u64 = 24;

/// How a cache is made and held.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheOptions {
    /// Discount of the returns, for each step.
    pub discount: f32,
    /// Bytes of rows that are held in memory, the first ones; the others are read when they are asked for.
    pub resident_bytes: u64,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self { discount: 0.99, resident_bytes: 1 << 30 }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Footer {
    /// Of the dataset, of what it was loaded for and how.
    key: String,
    /// Of the returns.
    discount: f32,
    observation_dim: usize,
    action_dim: usize,
    rows: u64,
    runs: u64,
    /// Mean and standard deviation of the observations.
    mean: Vec<f32>,
    std: Vec<f32>,
    notes: Vec<String>,
    episodes: usize,
    clipped: usize,
    filled_rewards: usize,
}

/// What stands where a cache is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheState {
    /// Nothing.
    Missing,
    /// The cache of this dataset, loaded in this way.
    Current,
    /// One of another dataset, of another version of it, or loaded in another way.
    OfOther,
    /// Something that is no whole cache of this version, and why.
    Damaged(String),
}

/// A file of rows, open for sampling. All sampling is by [`surefoot_core::Stream`]: the same seed gives the same rows, however many are resident.
#[derive(Debug)]
pub struct RowCache {
    file: File,
    path: PathBuf,
    footer: Footer,
    /// The row after the last of each run of steps that follow one another.
    ends: Vec<u64>,
    episodes: Vec<EpisodeRows>,
    /// The first rows.
    resident: Vec<f32>,
}

fn io(path: &Path) -> impl Fn(IoError) -> DataError {
    move |source| DataError::Io { path: path.to_owned(), source }
}

/// Numbers in a row.
const fn width(observation_dim: usize, action_dim: usize) -> usize {
    2 * observation_dim + action_dim + 3
}

fn key(source: &dyn EpisodeSource, spec: &EnvSpec, load: &LoadOptions, discount: f32) -> String {
    let mut hasher = blake3::Hasher::new();
    let parts = [
        MAGIC.to_vec(),
        source.meta().hash.as_bytes().to_vec(),
        serde_json::to_vec(spec).unwrap_or_default(),
        serde_json::to_vec(load).unwrap_or_default(),
        discount.to_le_bytes().to_vec(),
    ];
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(&part);
    }
    hasher.finalize().to_hex().to_string()
}

impl RowCache {
    /// Opens the cache at `path` if it is one of this dataset, loaded in this way; makes it anew otherwise.
    ///
    /// # Errors
    /// As [`crate::load`], and when the file cannot be written or read.
    pub fn open_or_build(
        path: &Path,
        source: &dyn EpisodeSource,
        spec: &EnvSpec,
        load: &LoadOptions,
        options: &CacheOptions,
    ) -> Result<Self, DataError> {
        match Self::state(path, source, spec, load, options) {
            CacheState::Current => Self::open(path, options),
            _ => Self::build(path, source, spec, load, options),
        }
    }

    /// What is there at `path`. Reads its end only.
    #[must_use]
    pub fn state(
        path: &Path,
        source: &dyn EpisodeSource,
        spec: &EnvSpec,
        load: &LoadOptions,
        options: &CacheOptions,
    ) -> CacheState {
        if !path.exists() {
            return CacheState::Missing;
        }
        match Self::open(path, &CacheOptions { resident_bytes: 0, ..options.clone() }) {
            Ok(cache) if cache.footer.key == key(source, spec, load, options.discount) => CacheState::Current,
            Ok(_) => CacheState::OfOther,
            Err(error) => CacheState::Damaged(error.to_string()),
        }
    }

    /// Makes the cache of a dataset at `path`, in the place of what is there.
    ///
    /// # Errors
    /// As [`open_or_build`](Self::open_or_build). What was there is then untouched.
    pub fn build(
        path: &Path,
        source: &dyn EpisodeSource,
        spec: &EnvSpec,
        load: &LoadOptions,
        options: &CacheOptions,
    ) -> Result<Self, DataError> {
        let key = key(source, spec, load, options.discount);
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let written = build(&temporary, source, spec, load, options.discount, key)
            .and_then(|()| std::fs::rename(&temporary, path).map_err(io(path)));
        if let Err(error) = written {
            // What is half written is of no use, and a failure to remove it tells less than the first one.
            let _ = std::fs::remove_file(&temporary);
            return Err(error);
        }
        Self::open(path, options)
    }

    /// Opens a cache, of whatever dataset.
    ///
    /// # Errors
    /// When it cannot be read, or is not whole.
    pub fn open(path: &Path, options: &CacheOptions) -> Result<Self, DataError> {
        crate::input::check_regular(path)?;
        let file = File::open(path).map_err(io(path))?;
        let bytes = file.metadata().map_err(io(path))?.len();
        let damaged = |reason: &str| DataError::Malformed {
            path: path.to_owned(),
            format: "row cache",
            reason: reason.to_owned(),
            hint: "remove it: it is made anew from the dataset",
        };
        let read_at = |at: u64, bytes: &mut [u8]| read::read_at(&file, at, bytes).map_err(io(path));
        let mut tail = [0; 16];
        let at = bytes.checked_sub(16).ok_or_else(|| damaged("it is too short"))?;
        read_at(at, &mut tail)?;
        let (length, magic) = tail.split_at(8);
        let length = length.iter().rev().fold(0_u64, |n, b| n << 8 | u64::from(*b));
        if magic != MAGIC || length > MAX_FOOTER_BYTES || length > at {
            return Err(damaged("it does not end as a row cache does"));
        }
        let mut text = vec![0; length as usize];
        read_at(at - length, &mut text)?;
        let footer: Footer = serde_json::from_slice(&text).map_err(|e| damaged(&e.to_string()))?;
        let row_bytes = width(footer.observation_dim, footer.action_dim) as u128 * 4;
        let table = footer.episodes as u128 * u128::from(EPISODE_BYTES);
        let expected = u128::from(footer.rows) * row_bytes + u128::from(footer.runs) * 8 + table;
        if footer.observation_dim.max(footer.action_dim) > 1 << 24 || expected != u128::from(at - length) {
            return Err(damaged("its length is not that of its rows"));
        }
        let (mut ends, mut episodes) = (vec![0; footer.runs as usize * 8], vec![0; table as usize]);
        read_at(at - length - episodes.len() as u64, &mut episodes)?;
        read_at(at - length - (episodes.len() + ends.len()) as u64, &mut ends)?;
        let ends: Vec<u64> = ends.as_chunks().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
        let episodes: Vec<EpisodeRows> = episodes.as_chunks().0.iter().map(decode_episode).collect();
        let rising = ends.windows(2).all(|w| w[0] < w[1]) && ends.first() != Some(&0);
        if !rising || ends.last().copied().unwrap_or(0) != footer.rows {
            return Err(damaged("the ends of its runs are not in order"));
        }
        if episodes.iter().map(|e| e.steps as u128).sum::<u128>() != u128::from(footer.rows) {
            return Err(damaged("its episodes do not have its rows"));
        }
        let mut cache = Self { file, path: path.to_owned(), footer, ends, episodes, resident: Vec::new() };
        cache.make_resident(options.resident_bytes)?;
        Ok(cache)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Rows.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.footer.rows as usize
    }
    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.footer.rows == 0
    }
    /// Rows that are in memory.
    #[must_use]
    pub const fn resident_rows(&self) -> usize {
        self.resident.len() / self.width()
    }
    /// What is kept of each episode, in the order of the rows.
    #[must_use]
    pub fn episodes(&self) -> &[EpisodeRows] {
        &self.episodes
    }
    /// Numbers in an observation.
    #[must_use]
    pub const fn observation_dim(&self) -> usize {
        self.footer.observation_dim
    }
    /// Numbers in an action.
    #[must_use]
    pub const fn action_dim(&self) -> usize {
        self.footer.action_dim
    }
    const fn width(&self) -> usize {
        width(self.footer.observation_dim, self.footer.action_dim)
    }
    /// The observations' mean and standard deviation, taken while the cache was made; `floor` is added to each deviation.
    #[must_use]
    pub fn normalizer(&self, floor: f32) -> Normalizer {
        let Footer { mean, std, .. } = &self.footer;
        Normalizer { mean: mean.clone(), std: std.iter().map(|s| s + floor).collect() }
    }
    /// What loading found and did.
    #[must_use]
    pub fn report(&self) -> LoadReport {
        let Footer { rows, action_dim, notes, episodes, clipped, filled_rewards, .. } = &self.footer;
        LoadReport {
            episodes: *episodes,
            steps: *rows as usize,
            clipped: *clipped,
            action_numbers: *rows as usize * action_dim,
            filled_rewards: *filled_rewards,
            notes: notes.clone(),
        }
    }
}

fn build(
    path: &Path,
    source: &dyn EpisodeSource,
    spec: &EnvSpec,
    load: &LoadOptions,
    discount: f32,
    key: String,
) -> Result<(), DataError> {
    let (o, a) = (source.meta().observation_dim, source.meta().action_dim);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(io(path))?);
    let mut moments = Moments::new(o);
    let mut ends: Vec<u64> = Vec::new();
    let mut kept: Vec<EpisodeRows> = Vec::new();
    let mut rows = 0;
    let report = load_each(source, spec, load, |episode| {
        moments.push_rows(&episode.observation);
        write_rows(&mut file, &episode, o, a, discount).map_err(io(path))?;
        for (t, end) in episode.end.iter().enumerate() {
            if end.is_last() || t + 1 == episode.len() {
                ends.push(rows + t as u64 + 1);
            }
        }
        rows += episode.len() as u64;
        kept.push(EpisodeRows::of(&episode));
        Ok(())
    })?;
    let Normalizer { mean, std } = Normalizer::of(&moments, 0.0);
    let LoadReport { episodes, steps: _, clipped, action_numbers: _, filled_rewards, notes } = report;
    let footer = Footer {
        key,
        discount,
        observation_dim: o,
        action_dim: a,
        rows,
        runs: ends.len() as u64,
        mean,
        std,
        notes,
        episodes,
        clipped,
        filled_rewards,
    };
    let text = serde_json::to_vec(&footer).map_err(|e| io(path)(IoError::new(ErrorKind::InvalidData, e)))?;
    let mut finish = || -> Result<(), IoError> {
        for end in &ends {
            file.write_all(&end.to_le_bytes())?;
        }
        for episode in &kept {
            file.write_all(&encode_episode(episode))?;
        }
        file.write_all(&text)?;
        file.write_all(&(text.len() as u64).to_le_bytes())?;
        file.write_all(&MAGIC)?;
        file.flush()?;
        file.get_ref().sync_all()
    };
    finish().map_err(io(path))
}

/// Steps, sum of rewards, and a number of flags: 1 terminated, 2 solved, 4 not solved.
fn encode_episode(episode: &EpisodeRows) -> [u8; EPISODE_BYTES as usize] {
    let EpisodeRows { steps, reward_sum, success, terminated } = episode;
    let success = match success {
        None => 0,
        Some(true) => 2,
        Some(false) => 4,
    };
    let mut bytes = [0; EPISODE_BYTES as usize];
    bytes[..8].copy_from_slice(&(*steps as u64).to_le_bytes());
    bytes[8..16].copy_from_slice(&reward_sum.to_le_bytes());
    bytes[16] = u8::from(*terminated) | success;
    bytes
}

fn decode_episode(bytes: &[u8; EPISODE_BYTES as usize]) -> EpisodeRows {
    let [steps, sum, flags] = *bytes.as_chunks::<8>().0 else { return EpisodeRows::default() };
    EpisodeRows {
        steps: u64::from_le_bytes(steps) as usize,
        reward_sum: f64::from_le_bytes(sum),
        success: match flags[0] & 6 {
            2 => Some(true),
            4 => Some(false),
            _ => None,
        },
        terminated: flags[0] & 1 == 1,
    }
}

fn write_rows(
    file: &mut impl Write,
    episode: &Episode,
    o: usize,
    a: usize,
    discount: f32,
) -> Result<(), IoError> {
    let returns = monte_carlo(&episode.reward, &episode.end, discount);
    let rows = episode
        .observation
        .chunks_exact(o)
        .zip(episode.action.chunks_exact(a))
        .zip(episode.next_observation.chunks_exact(o));
    let ends = episode.reward.iter().zip(&episode.end).zip(&returns);
    for (((observation, action), next), ((reward, end), to_go)) in rows.zip(ends) {
        for x in observation.iter().chain(action).chain(next).chain([reward, &end.continuation(), to_go]) {
            file.write_all(&x.to_le_bytes())?;
        }
    }
    Ok(())
}
