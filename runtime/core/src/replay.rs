//! Transitions to sample from.

use std::path::Path;

use crate::{Batch, DataError, Episode, Stream, TransitionSource};

/// A bounded ring of transitions, oldest overwritten first. Rows stand together: `observation, action, next_observation,
/// reward, continuation, last`, so that a sampled row is one run of memory. `last` is 1 where the next row does not follow.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayBuffer {
    observation_dim: usize,
    action_dim: usize,
    capacity: usize,
    written: u64,
    rows: Vec<f32>,
}

impl ReplayBuffer {
    /// An empty buffer. Memory grows with what is pushed, up to `capacity` rows (at least 1).
    #[must_use]
    pub fn new(observation_dim: usize, action_dim: usize, capacity: usize) -> Self {
        Self { observation_dim, action_dim, capacity: capacity.max(1), written: 0, rows: Vec::new() }
    }

    /// Numbers in a row.
    #[must_use]
    pub const fn width(&self) -> usize {
        2 * self.observation_dim + self.action_dim + 3
    }

    /// Rows held.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows.len() / self.width()
    }
    /// Whether it holds none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
    /// Rows ever pushed.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }
    /// Rows kept at most.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }
    /// Numbers in an observation.
    #[must_use]
    pub const fn observation_dim(&self) -> usize {
        self.observation_dim
    }
    /// Numbers in an action.
    #[must_use]
    pub const fn action_dim(&self) -> usize {
        self.action_dim
    }

    /// Adds every step of an episode whose rows have this buffer's dimensions.
    pub fn push_episode(&mut self, episode: &Episode) {
        self.push_steps(episode, |_| true);
    }

    /// Adds the steps of an episode that are `wanted`.
    pub fn push_steps(&mut self, episode: &Episode, wanted: impl Fn(usize) -> bool) {
        let (o, a) = (self.observation_dim, self.action_dim);
        let width = self.width();
        for t in (0..episode.len()).filter(|t| wanted(*t)) {
            let at = (self.written % self.capacity as u64) as usize * width;
            if at == self.rows.len() {
                self.rows.resize(at + width, 0.0);
            }
            let row = &mut self.rows[at..at + width];
            row[..o].copy_from_slice(&episode.observation[t * o..(t + 1) * o]);
            row[o..o + a].copy_from_slice(&episode.action[t * a..(t + 1) * a]);
            row[o + a..2 * o + a].copy_from_slice(&episode.next_observation[t * o..(t + 1) * o]);
            row[2 * o + a] = episode.reward[t];
            row[2 * o + a + 1] = episode.end[t].continuation();
            let follows = !episode.end[t].is_last() && t + 1 < episode.len() && wanted(t + 1);
            row[2 * o + a + 2] = if follows { 0.0 } else { 1.0 };
            self.written += 1;
        }
    }

    /// The observation of row `i`.
    #[must_use]
    pub fn observation(&self, i: usize) -> &[f32] {
        let at = i * self.width();
        &self.rows[at..at + self.observation_dim]
    }

    /// Appends row `i` to a batch.
    pub fn append_row(&self, i: usize, batch: &mut Batch) {
        let (o, a, width) = (self.observation_dim, self.action_dim, self.width());
        let row = &self.rows[i * width..(i + 1) * width];
        batch.observation.extend_from_slice(&row[..o]);
        batch.action.extend_from_slice(&row[o..o + a]);
        batch.next_observation.extend_from_slice(&row[o + a..2 * o + a]);
        batch.reward.push(row[2 * o + a]);
        batch.continuation.push(row[2 * o + a + 1]);
        batch.n += 1;
    }

    /// Appends the newest `n` rows in the order in which they were pushed, with their [`last`](Batch::last); fewer where fewer are held.
    pub fn append_newest(&self, n: usize, batch: &mut Batch) {
        let (rows, width) = (self.len(), self.width());
        let n = n.min(rows);
        for back in (1..=n).rev() {
            let i = ((self.written - back as u64) % self.capacity as u64) as usize;
            self.append_row(i, batch);
            // The newest row has no follower, whatever it says of itself.
            batch.last.push(if back == 1 { 1.0 } else { self.rows[(i + 1) * width - 1] });
        }
    }

    /// Appends `n` rows drawn uniformly with replacement; none if the buffer is empty.
    pub fn sample(&self, n: usize, stream: &mut Stream, batch: &mut Batch) {
        if self.is_empty() {
            return;
        }
        for _ in 0..n {
            self.append_row(stream.below(self.len()), batch);
        }
    }

    /// The raw rows, for a checkpoint: `[len, 2 * observation_dim + action_dim + 3]`.
    #[must_use]
    pub fn raw_rows(&self) -> &[f32] {
        &self.rows
    }

    /// Takes back raw rows and the count of rows ever pushed. `false` when they do not fit this buffer.
    #[must_use]
    pub fn restore(&mut self, rows: Vec<f32>, written: u64) -> bool {
        let n = rows.len() / self.width();
        let fits = rows.len().is_multiple_of(self.width()) && n as u64 == written.min(self.capacity as u64);
        if fits {
            self.rows = rows;
            self.written = written;
        }
        fits
    }
}

impl TransitionSource for ReplayBuffer {
    fn observation_dim(&self) -> usize {
        self.observation_dim
    }
    fn action_dim(&self) -> usize {
        self.action_dim
    }
    fn len(&self) -> usize {
        self.len()
    }
    fn following(&self, row: usize, at_most: usize) -> usize {
        let (width, rows) = (self.width(), self.len());
        if row >= rows {
            return 0;
        }
        // Where the oldest row stands that will be overwritten next, the newest is behind it.
        let newest = ((self.written + rows as u64 - 1) % rows as u64) as usize;
        let mut count = 0;
        while count < at_most {
            let at = (row + count) % rows;
            count += 1;
            if at == newest || self.rows[(at + 1) * width - 1] > 0.0 {
                break;
            }
        }
        count
    }
    fn scan(&self, first: usize, count: usize, take: &mut dyn FnMut(&[f32])) -> Result<(), DataError> {
        let (width, rows) = (self.width(), self.len());
        // A run that goes over the end of a full ring goes on at its beginning.
        let ring = rows == self.capacity && first < 2 * rows && count <= rows;
        if count > 0 && !ring && first + count > rows {
            return Err(DataError::no_row(Path::new("replay buffer"), first.max(rows), rows));
        }
        for i in first..first + count {
            let at = i % rows * width;
            take(&self.rows[at..at + width]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StepEnd;

    /// An episode whose numbers tell which step they are from.
    fn episode(steps: usize, first: f32) -> Episode {
        let rows = |offset: f32| (0..steps).flat_map(|t| [first + t as f32 + offset; 2]).collect();
        Episode {
            observation: rows(0.0),
            next_observation: rows(1.0),
            action: (0..steps).map(|t| first + t as f32).collect(),
            reward: vec![-1.0; steps],
            end: (0..steps).map(|t| StepEnd::from_flags(false, t + 1 == steps)).collect(),
            ..Episode::default()
        }
    }

    #[test]
    fn the_ring_keeps_the_newest_rows() {
        let mut buffer = ReplayBuffer::new(2, 1, 5);
        buffer.push_episode(&episode(3, 0.0));
        buffer.push_episode(&episode(4, 10.0));
        assert_eq!((buffer.len(), buffer.written()), (5, 7));
        let mut held: Vec<f32> = (0..5).map(|i| buffer.observation(i)[0]).collect();
        held.sort_by(f32::total_cmp);
        assert_eq!(held, [2.0, 10.0, 11.0, 12.0, 13.0]);
    }

    #[test]
    fn a_sampled_row_is_one_transition_and_truncation_bootstraps() {
        let mut buffer = ReplayBuffer::new(2, 1, 100);
        buffer.push_episode(&episode(6, 0.0));
        let mut batch = Batch::default();
        batch.clear(2, 1);
        buffer.sample(64, &mut Stream::new(0, "replay", 0), &mut batch);
        assert_eq!(batch.n, 64);
        for i in 0..64 {
            assert_eq!(batch.observation[2 * i], batch.action[i]);
            assert_eq!(batch.next_observation[2 * i], batch.action[i] + 1.0);
        }
        assert!(batch.continuation.iter().all(|c| *c == 1.0), "a truncated row must bootstrap");
    }

    #[test]
    fn the_newest_rows_come_in_order_over_the_rings_end_and_say_where_episodes_end() {
        let mut buffer = ReplayBuffer::new(2, 1, 8);
        buffer.push_episode(&episode(6, 0.0));
        buffer.push_episode(&episode(3, 10.0));
        buffer.push_episode(&episode(2, 20.0));
        let mut batch = Batch::default();
        batch.clear(2, 1);
        buffer.append_newest(5, &mut batch);
        assert_eq!(batch.action, [10.0, 11.0, 12.0, 20.0, 21.0]);
        assert_eq!(batch.last, [0.0, 0.0, 1.0, 0.0, 1.0]);
        assert_eq!((batch.n, batch.continuation.len()), (5, 5));
        batch.clear(2, 1);
        buffer.append_newest(100, &mut batch);
        assert_eq!((batch.n, batch.last.len(), batch.action[0]), (8, 8, 3.0));
        batch.clear(2, 1);
        assert!(batch.last.is_empty());
    }

    #[test]
    fn raw_rows_restore_bit_for_bit_and_misfits_are_refused() {
        let mut buffer = ReplayBuffer::new(2, 1, 5);
        buffer.push_episode(&episode(7, 0.0));
        let mut other = ReplayBuffer::new(2, 1, 5);
        assert!(other.restore(buffer.raw_rows().to_vec(), buffer.written()));
        assert_eq!(other, buffer);
        assert!(!ReplayBuffer::new(3, 1, 5).restore(buffer.raw_rows().to_vec(), buffer.written()));
        assert!(!ReplayBuffer::new(2, 1, 5).restore(buffer.raw_rows()[..7].to_vec(), 2));
    }
}
