//! Observation scaling that travels with the policy.

use serde::{Deserialize, Serialize};

/// `(x - mean) / std`, per observation number. The identity when empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalizer {
    /// `[observation_dim]`, or empty for the identity.
    pub mean: Vec<f32>,
    /// `[observation_dim]`, every entry positive.
    pub std: Vec<f32>,
}

/// Mean and spread of rows that come one after the other and are not kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    count: u64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    /// Of no rows of `dim` numbers.
    #[must_use]
    pub fn new(dim: usize) -> Self {
        Self { count: 0, mean: vec![0.0; dim], squares: vec![0.0; dim] }
    }
    /// Rows taken in.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }
    /// Takes in `[n, dim]`.
    pub fn push_rows(&mut self, rows: &[f32]) {
        for row in rows.chunks_exact(self.mean.len().max(1)) {
            self.count += 1;
            // Welford's update; one division for a row.
            let share = 1.0 / self.count as f64;
            for ((mean, squares), x) in self.mean.iter_mut().zip(&mut self.squares).zip(row) {
                let delta = f64::from(*x) - *mean;
                *mean += delta * share;
                *squares += delta * (f64::from(*x) - *mean);
            }
        }
    }
}

impl Normalizer {
    /// Of the rows that `moments` took in; `floor` is added to each deviation, so that a constant channel stays finite.
    #[must_use]
    pub fn of(moments: &Moments, floor: f32) -> Self {
        let n = moments.count.max(1) as f64;
        Self {
            mean: moments.mean.iter().map(|m| *m as f32).collect(),
            std: moments.squares.iter().map(|s| (s / n).sqrt() as f32 + floor).collect(),
        }
    }

    /// Normalises one row in place. Real-time safe: does not allocate, lock or block.
    pub fn apply(&self, row: &mut [f32]) {
        for ((x, m), s) in row.iter_mut().zip(&self.mean).zip(&self.std) {
            *x = (*x - m) / s;
        }
    }

    /// Normalises `[n, dim]` in place.
    pub fn apply_rows(&self, rows: &mut [f32]) {
        if !self.mean.is_empty() {
            for row in rows.chunks_exact_mut(self.mean.len()) {
                self.apply(row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Stream;

    #[test]
    fn one_pass_agrees_with_two() {
        let mut stream = Stream::new(0, "moments", 0);
        // Far from zero, where sums of squares would lose everything.
        let observation: Vec<f32> =
            (0..3000).map(|i| 1e4 + (1 + i % 3) as f32 * stream.normal() as f32).collect();
        let mut moments = Moments::new(3);
        observation.chunks(300).for_each(|rows| moments.push_rows(rows));
        assert_eq!(moments.count(), 1000);
        let one = Normalizer::of(&moments, 1e-3);
        for i in 0..3 {
            let column = || observation.iter().skip(i).step_by(3).map(|x| f64::from(*x));
            let mean = column().sum::<f64>() / 1000.0;
            let std = (column().map(|x| (x - mean).powi(2)).sum::<f64>() / 1000.0).sqrt() + 1e-3;
            assert!((f64::from(one.mean[i]) - mean).abs() <= 1e-6 * mean.abs(), "{one:?} {mean}");
            assert!((f64::from(one.std[i]) - std).abs() <= 1e-6 * std, "{one:?} {std}");
        }
        assert_eq!(Normalizer::of(&Moments::new(2), 0.1).std, [0.1, 0.1]);
    }
}
