//! Seeded streams: every random number is a function of (seed, purpose, index).
//!
//! Streams are cheap to make and stateless between uses: a checkpoint stores counters, never generator state.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rand_distr::{Beta, Distribution, StandardNormal};

/// A random stream.
#[derive(Clone, Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of `(seed, purpose, index)`. Different purposes or indices give unrelated streams.
    #[must_use]
    pub fn new(seed: u64, purpose: &str, index: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(&(purpose.len() as u64).to_le_bytes());
        hasher.update(purpose.as_bytes());
        hasher.update(&index.to_le_bytes());
        Self(ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()))
    }
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }
    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }
    /// Uniform in `[low, high)`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }
    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }
    /// Beta-distributed, in `[0, 1]`; the mean where a parameter is not above 0.
    pub fn beta(&mut self, alpha: f64, beta: f64) -> f64 {
        Beta::new(alpha, beta).map_or(alpha / (alpha + beta), |d| d.sample(&mut self.0))
    }
    /// Fills with standard normals.
    pub fn fill_normal(&mut self, out: &mut [f32]) {
        for x in out {
            *x = StandardNormal.sample(&mut self.0);
        }
    }
    /// Uniform in `0..n` (`n > 0`), by multiplication: the bias is below `n / 2^64`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_a_function_of_seed_purpose_and_index() {
        let draw = |seed, purpose, index| Stream::new(seed, purpose, index).bits();
        assert_eq!(draw(1, "reset", 2), draw(1, "reset", 2));
        assert_ne!(draw(1, "reset", 2), draw(1, "reset", 3));
        assert_ne!(draw(1, "reset", 2), draw(2, "reset", 2));
        assert_ne!(draw(1, "reset", 2), draw(1, "explore", 2));
    }

    #[test]
    fn moments_and_ranges_are_right() {
        let mut s = Stream::new(0, "test", 0);
        let n = 100_000;
        let (mut sum, mut square) = (0.0, 0.0);
        for _ in 0..n {
            let x = s.normal();
            sum += x;
            square += x * x;
            assert!(s.below(7) < 7);
            assert!((0.0..1.0).contains(&s.unit()));
        }
        assert!((sum / f64::from(n)).abs() < 0.02);
        assert!((square / f64::from(n) - 1.0).abs() < 0.03);
    }
}
