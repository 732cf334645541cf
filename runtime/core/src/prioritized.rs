//! Drawing rows by weight.

use crate::Stream;

/// Weights of which one is drawn with a probability in proportion to it, and changed, in `log2(n)` steps each.
///
/// Sums are kept in a tree and recomputed upward from each change, so that they do not drift. Memory: 16 bytes for each weight, rounded up
/// to a power of two.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightTree {
    len: usize,
    /// Leaves from here on.
    leaves: usize,
    sums: Vec<f64>,
}

impl WeightTree {
    /// `n` weights of 0.
    #[must_use]
    pub fn new(n: usize) -> Self {
        let leaves = n.max(1).next_power_of_two();
        Self { len: n, leaves, sums: vec![0.0; 2 * leaves] }
    }
    /// These weights.
    #[must_use]
    pub fn of(weights: &[f64]) -> Self {
        let mut tree = Self::new(weights.len());
        for (leaf, weight) in tree.sums[tree.leaves..].iter_mut().zip(weights) {
            *leaf = if weight.is_finite() && *weight > 0.0 { *weight } else { 0.0 };
        }
        for at in (1..tree.leaves).rev() {
            tree.sums[at] = tree.sums[2 * at] + tree.sums[2 * at + 1];
        }
        tree
    }
    /// All weights.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.sums[self.leaves..self.leaves + self.len]
    }
    /// Number of weights.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Sum of all weights.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.sums[1]
    }
    /// Weight `i`; 0 where there is none.
    #[must_use]
    pub fn weight(&self, i: usize) -> f64 {
        if i < self.len { self.sums[self.leaves + i] } else { 0.0 }
    }
    /// Changes weight `i`. One that is negative or not finite counts as 0; an `i` beyond the last changes nothing.
    pub fn set(&mut self, i: usize, weight: f64) {
        if i >= self.len {
            return;
        }
        let mut at = self.leaves + i;
        self.sums[at] = if weight.is_finite() && weight > 0.0 { weight } else { 0.0 };
        while at > 1 {
            at /= 2;
            self.sums[at] = self.sums[2 * at] + self.sums[2 * at + 1];
        }
    }
    /// Draws one; `None` while all weights are 0.
    pub fn draw(&self, stream: &mut Stream) -> Option<usize> {
        let total = self.total();
        if !(total > 0.0 && total.is_finite()) {
            return None;
        }
        let mut rest = stream.unit() * total;
        let mut at = 1;
        while at < self.leaves {
            let left = self.sums[2 * at];
            // Rounding must not lead where there is no weight.
            at = if rest < left || self.sums[2 * at + 1] <= 0.0 {
                2 * at
            } else {
                rest -= left;
                2 * at + 1
            };
        }
        Some(at - self.leaves)
    }
}

/// Prioritised sampling: rows are drawn in proportion to `priority^alpha`, and weighted by how much more often than uniformly that is.
#[derive(Clone, Debug, PartialEq)]
pub struct Prioritized {
    tree: WeightTree,
    alpha: f64,
    largest: f64,
}

/// Added to each error, so that a row without error is drawn again.
const LEAST_PRIORITY: f64 = 1e-6;

impl Prioritized {
    /// `n` rows of priority 1. `alpha` 0 draws uniformly, 1 in proportion to the priorities.
    #[must_use]
    pub fn new(n: usize, alpha: f64) -> Self {
        Self { tree: WeightTree::of(&vec![1.0; n]), alpha, largest: 1.0 }
    }

    /// Rows.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.tree.len()
    }
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// Gives rows that are new, or new in the place of older ones, the largest priority so far, so that each is looked at soon. There are
    /// `n` rows from now on, no fewer than before.
    pub fn admit(&mut self, n: usize, rows: impl Iterator<Item = usize>) {
        if n > self.tree.len() {
            let mut weights = self.tree.weights().to_vec();
            weights.resize(n, 0.0);
            self.tree = WeightTree::of(&weights);
        }
        for i in rows {
            self.tree.set(i, self.largest.powf(self.alpha));
        }
    }

    /// Everything that draws depend on, for a checkpoint.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let numbers = std::iter::once(&self.largest).chain(self.tree.weights());
        numbers.flat_map(|x| x.to_le_bytes()).collect()
    }

    /// Takes [`to_bytes`](Self::to_bytes) back; `None` when they are something else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], alpha: f64) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        let numbers: Vec<f64> = numbers.iter().map(|b| f64::from_le_bytes(*b)).collect();
        let (largest, weights) = numbers.split_first()?;
        let sound = rest.is_empty() && numbers.iter().all(|x| x.is_finite() && *x >= 0.0);
        sound.then(|| Self { tree: WeightTree::of(weights), alpha, largest: *largest })
    }

    /// Draws `n` rows with replacement, and their importance weights `(rows * probability)^-beta`, scaled so that the largest of them is 1.
    /// Both are emptied first; nothing is drawn where there is no row.
    pub fn sample(
        &self,
        n: usize,
        beta: f64,
        stream: &mut Stream,
        rows: &mut Vec<usize>,
        weights: &mut Vec<f32>,
    ) {
        rows.clear();
        weights.clear();
        rows.extend((0..n).map_while(|_| self.tree.draw(stream)));
        let scale = self.tree.len() as f64 / self.tree.total();
        let of = |i: &usize| (self.tree.weight(*i) * scale).powf(-beta);
        let largest = rows.iter().map(of).fold(f64::MIN_POSITIVE, f64::max);
        weights.extend(rows.iter().map(|i| (of(i) / largest) as f32));
    }

    /// Sets the priorities of rows to the sizes of their errors. An error that is not finite gets the largest priority so far.
    pub fn update(&mut self, rows: &[usize], errors: &[f32]) {
        for (i, error) in rows.iter().zip(errors) {
            let error = f64::from(error.abs());
            let priority = if error.is_finite() { error + LEAST_PRIORITY } else { self.largest };
            self.largest = self.largest.max(priority);
            self.tree.set(*i, priority.powf(self.alpha));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_drawn_in_proportion_to_their_weights() {
        let mut tree = WeightTree::new(5);
        let weights = [1.0, 0.0, 3.0, 0.5, 5.5];
        for (i, w) in weights.iter().enumerate() {
            tree.set(i, *w);
        }
        tree.set(9, 100.0);
        tree.set(3, f64::NAN);
        tree.set(3, 0.5);
        assert_eq!(tree.total(), 10.0);
        let mut counts = [0_u32; 5];
        let mut stream = Stream::new(1, "weights", 0);
        for _ in 0..100_000 {
            counts[tree.draw(&mut stream).unwrap()] += 1;
        }
        for (count, weight) in counts.iter().zip(weights) {
            assert!((f64::from(*count) / 1e5 - weight / 10.0).abs() < 0.01, "{counts:?}");
        }
        assert_eq!(counts[1], 0);
        assert_eq!(WeightTree::new(0).draw(&mut stream), None);
        assert_eq!(WeightTree::new(3).draw(&mut stream), None);
    }

    #[test]
    fn sums_do_not_drift() {
        let mut tree = WeightTree::new(100);
        let mut stream = Stream::new(2, "weights", 0);
        for _ in 0..20_000 {
            tree.set(stream.below(100), stream.unit() * 1e6);
        }
        for i in 0..100 {
            tree.set(i, 0.0);
        }
        assert_eq!(tree.total(), 0.0);
    }

    #[test]
    fn saved_priorities_draw_the_same_and_new_rows_are_looked_at_soon() {
        let mut rows = Prioritized::new(5, 0.6);
        rows.update(&[0, 1, 2, 3], &[0.1, 3.0, 0.0, 2.0]);
        // Growth by one at a time goes through every shape of the tree.
        (5..40).for_each(|n| rows.admit(n + 1, std::iter::once(n)));
        rows.admit(40, [2].into_iter());
        let again = Prioritized::from_bytes(&rows.to_bytes(), 0.6).unwrap();
        assert_eq!((again.len(), &again), (40, &rows));
        assert_eq!(rows.tree.weight(39), (3.0 + LEAST_PRIORITY).powf(0.6));
        assert_eq!(rows.tree.weight(2), rows.tree.weight(39));
        let bytes = rows.to_bytes();
        for cut in [0, 7, bytes.len() - 1] {
            assert_eq!(Prioritized::from_bytes(&bytes[..cut], 0.6), None);
        }
        let nan: Vec<u8> = [1.0, f64::NAN].iter().flat_map(|x: &f64| x.to_le_bytes()).collect();
        assert_eq!(Prioritized::from_bytes(&nan, 0.6), None);
    }

    #[test]
    fn importance_weights_undo_the_priorities() {
        let mut rows = Prioritized::new(4, 1.0);
        rows.update(&[0, 1, 2, 3], &[1.0, 1.0, 1.0, -5.0]);
        let (mut drawn, mut weights) = (Vec::new(), Vec::new());
        rows.sample(40_000, 1.0, &mut Stream::new(0, "prioritized", 0), &mut drawn, &mut weights);
        let mass = |row: usize| -> f64 {
            drawn.iter().zip(&weights).filter(|(i, _)| **i == row).map(|(_, w)| f64::from(*w)).sum()
        };
        for row in 1..4 {
            assert!((mass(row) / mass(0) - 1.0).abs() < 0.05, "{row}: {} {}", mass(row), mass(0));
        }
        assert!(drawn.iter().filter(|i| **i == 3).count() > 20_000);
        assert!(weights.iter().all(|w| *w > 0.0 && *w <= 1.0));
        // Without alpha everything is uniform.
        let mut rows = Prioritized::new(4, 0.0);
        rows.update(&[0, 3], &[1.0, f32::NAN]);
        rows.sample(100, 0.5, &mut Stream::new(0, "prioritized", 0), &mut drawn, &mut weights);
        assert!(weights.iter().all(|w| *w == 1.0));
        Prioritized::new(0, 1.0).sample(3, 1.0, &mut Stream::new(0, "p", 0), &mut drawn, &mut weights);
        assert!(drawn.is_empty() && weights.is_empty());
    }
}
