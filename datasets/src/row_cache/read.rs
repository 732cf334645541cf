//! Sampling from a file of rows.

use std::fs::File;
use std::io::Error as IoError;

use surefoot_core::returns::discounted;
use surefoot_core::transitions::append_transitions;
use surefoot_core::{Batch, DataError, Returns, Stream, TransitionSource};

use super::{RowCache, io};

/// Bytes that are read at once when rows are made resident.
const PIECE_BYTES: usize = 1 << 20;

#[cfg(unix)]
pub(super) fn read_at(file: &File, at: u64, bytes: &mut [u8]) -> Result<(), IoError> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(not(unix))]
pub(super) fn read_at(file: &File, at: u64, bytes: &mut [u8]) -> Result<(), IoError> {
    use std::io::{Read, Seek, SeekFrom};
    use std::sync::{Mutex, PoisonError};
    // Two readers share one place in the file.
    static PLACE: Mutex<()> = Mutex::new(());
    let _held = PLACE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut file = file;
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(bytes)
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b))
}

/// `n` stretches of `length` steps each, none of which goes over an end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SequenceBatch {
    /// Stretches.
    pub n: usize,
    /// Steps of each.
    pub length: usize,
    /// `[n, length, observation_dim]`.
    pub observation: Vec<f32>,
    /// `[n, length, action_dim]`, executed.
    pub action: Vec<f32>,
    /// `[n, length]`.
    pub reward: Vec<f32>,
    /// `[n, length]`: 0 after a termination, 1 otherwise.
    pub continuation: Vec<f32>,
}

impl RowCache {
    pub(super) fn make_resident(&mut self, bytes: u64) -> Result<(), DataError> {
        let row_bytes = self.width() as u64 * 4;
        let rows = (bytes / row_bytes).min(self.footer.rows);
        let count = (rows * row_bytes / 4) as usize;
        self.resident.try_reserve_exact(count).map_err(|e| io(&self.path)(e.into()))?;
        let mut piece = vec![0; PIECE_BYTES.min(count * 4)];
        let mut at = 0;
        while at < count * 4 {
            let length = piece.len().min(count * 4 - at);
            let Some(part) = piece.get_mut(..length) else { break };
            read_at(&self.file, at as u64, part).map_err(io(&self.path))?;
            self.resident.extend(numbers(part));
            at += length;
        }
        Ok(())
    }

    /// Hands out `count` rows from `first` on.
    fn each_row(&self, first: usize, count: usize, take: &mut dyn FnMut(&[f32])) -> Result<(), DataError> {
        let width = self.width();
        let end = first.checked_add(count).filter(|end| *end <= self.len());
        let end = end.ok_or_else(|| DataError::no_row(&self.path, first.max(self.len()), self.len()))?;
        let held = self.resident.len() / width;
        let resident = self.resident.get(first.min(held) * width..end.min(held) * width);
        resident.unwrap_or_default().chunks_exact(width).for_each(&mut *take);
        if end <= held {
            return Ok(());
        }
        let (mut at, piece) = (first.max(held), (PIECE_BYTES / (width * 4)).max(1));
        let (mut bytes, mut row) = (Vec::new(), vec![0.0; width]);
        while at < end {
            let rows = piece.min(end - at);
            bytes.resize(rows * width * 4, 0);
            read_at(&self.file, (at * width * 4) as u64, &mut bytes).map_err(io(&self.path))?;
            for stored in bytes.chunks_exact(width * 4) {
                row.iter_mut().zip(numbers(stored)).for_each(|(x, read)| *x = read);
                take(&row);
            }
            at += rows;
        }
        Ok(())
    }

    /// The row after the last of the run that `row` is in.
    fn run_end(&self, row: usize) -> usize {
        let run = self.ends.partition_point(|end| *end <= row as u64);
        self.ends.get(run).map_or(self.len(), |end| *end as usize)
    }

    /// Appends these rows to a batch of the same dimensions.
    ///
    /// # Errors
    /// When one is not there, or the file cannot be read.
    pub fn append_rows(&self, rows: &[usize], batch: &mut Batch) -> Result<(), DataError> {
        self.append_n_step(rows, 1, 1.0, batch)
    }

    /// Appends `n` rows drawn uniformly with replacement; none if there is none. Draws the rows that a [`surefoot_core::ReplayBuffer`] with the
    /// same content would.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn sample(&self, n: usize, stream: &mut Stream, batch: &mut Batch) -> Result<(), DataError> {
        self.sample_n_step(n, 1, 1.0, stream, batch)
    }

    /// As [`sample`](Self::sample), with transitions over `steps` steps each, or fewer where an end comes before.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn sample_n_step(
        &self,
        n: usize,
        steps: usize,
        discount: f32,
        stream: &mut Stream,
        batch: &mut Batch,
    ) -> Result<(), DataError> {
        if self.is_empty() {
            return Ok(());
        }
        let rows: Vec<usize> = (0..n).map(|_| stream.below(self.len())).collect();
        self.append_n_step(&rows, steps, discount, batch)
    }

    /// Appends a transition over `steps` steps from each of these rows on, or over fewer where an end comes before: the reward is their
    /// discounted sum, the next observation that after the last of them, and the continuation `discount^(taken - 1)`, 0 after a termination.
    ///
    /// # Errors
    /// When a row is not there, or the file cannot be read.
    pub fn append_n_step(
        &self,
        rows: &[usize],
        steps: usize,
        discount: f32,
        batch: &mut Batch,
    ) -> Result<(), DataError> {
        append_transitions(self, rows, Returns::NStep { n: steps, discount }, batch)
    }

    /// The discounted returns from these rows to the ends of their episodes, `[rows]`; `out` is emptied first.
    ///
    /// # Errors
    /// When a row is not there, or the file cannot be read.
    pub fn returns(&self, rows: &[usize], out: &mut Vec<f32>) -> Result<(), DataError> {
        out.clear();
        for row in rows {
            self.each_row(*row, 1, &mut |step| out.extend(step.last()))?;
        }
        Ok(())
    }

    /// For drawing stretches of `length` steps (at least 1).
    #[must_use]
    pub fn windows(&self, length: usize) -> WindowSampler<'_> {
        let length = length.max(1);
        let mut counts = Vec::with_capacity(self.ends.len());
        let (mut start, mut total) = (0, 0);
        for end in &self.ends {
            total += (end - start + 1).saturating_sub(length as u64);
            counts.push(total);
            start = *end;
        }
        WindowSampler { cache: self, length, counts }
    }
}

impl TransitionSource for RowCache {
    fn observation_dim(&self) -> usize {
        self.footer.observation_dim
    }
    fn action_dim(&self) -> usize {
        self.footer.action_dim
    }
    fn len(&self) -> usize {
        self.len()
    }
    fn following(&self, row: usize, at_most: usize) -> usize {
        if row < self.len() { (self.run_end(row) - row).min(at_most) } else { 0 }
    }
    fn scan(&self, first: usize, count: usize, take: &mut dyn FnMut(&[f32])) -> Result<(), DataError> {
        self.each_row(first, count, take)
    }
    fn return_from(&self, row: usize, discount: f32) -> Result<f32, DataError> {
        if discount.to_bits() == self.footer.discount.to_bits() {
            let mut stored = 0.0;
            self.each_row(row, 1, &mut |step| stored = step.last().copied().unwrap_or_default())?;
            return Ok(stored);
        }
        // Another discount than that of the cache: the rest of the run is read.
        let (mut rewards, at) = (Vec::new(), 2 * self.observation_dim() + self.action_dim());
        self.each_row(row, self.following(row, usize::MAX), &mut |step| rewards.extend(step.get(at)))?;
        Ok(discounted(&rewards, discount))
    }
}

/// Draws stretches of steps that follow one another, each with the same probability.
#[derive(Debug)]
pub struct WindowSampler<'a> {
    cache: &'a RowCache,
    length: usize,
    /// Stretches in all runs up to each, itself included.
    counts: Vec<u64>,
}

impl WindowSampler<'_> {
    /// Different stretches.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts.last().map_or(0, |n| *n as usize)
    }
    /// Whether no run is long enough.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first row of a stretch.
    fn first_row(&self, window: u64) -> usize {
        let run = self.counts.partition_point(|count| *count <= window);
        let of = |list: &[u64]| run.checked_sub(1).and_then(|i| list.get(i).copied()).unwrap_or(0);
        (of(&self.cache.ends) + window - of(&self.counts)) as usize
    }

    /// Fills `batch` with `n` of them, drawn with replacement; with none if there is none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn sample(&self, n: usize, stream: &mut Stream, batch: &mut SequenceBatch) -> Result<(), DataError> {
        let SequenceBatch { n: filled, length, observation, action, reward, continuation } = batch;
        for column in [&mut *observation, &mut *action, &mut *reward, &mut *continuation] {
            column.clear();
        }
        (*filled, *length) = (0, self.length);
        if self.is_empty() {
            return Ok(());
        }
        let (o, a) = (self.cache.observation_dim(), self.cache.action_dim());
        for _ in 0..n {
            let first = self.first_row(stream.below(self.len()) as u64);
            self.cache.each_row(first, self.length, &mut |row| {
                observation.extend_from_slice(&row[..o]);
                action.extend_from_slice(&row[o..o + a]);
                reward.push(row[2 * o + a]);
                continuation.push(row[2 * o + a + 1]);
            })?;
            *filled += 1;
        }
        Ok(())
    }
}
