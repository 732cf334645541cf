//! Seeded initial values: every parameter draws from the stream of its own name, so that adding one changes no other.

use surefoot_core::Stream;

/// `n` numbers uniform in `[-bound, bound)`, a function of `(seed, name)`.
#[must_use]
pub fn uniform(seed: u64, name: &str, n: usize, bound: f64) -> Vec<f32> {
    let mut stream = Stream::new(seed, &format!("init/{name}"), 0);
    (0..n).map(|_| stream.uniform(-bound, bound) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_depend_on_seed_and_name_and_stay_in_bounds() {
        let a = uniform(1, "a", 100, 0.5);
        assert_eq!(a, uniform(1, "a", 100, 0.5));
        assert_ne!(a, uniform(1, "b", 100, 0.5));
        assert_ne!(a, uniform(2, "a", 100, 0.5));
        assert!(a.iter().all(|x| x.abs() <= 0.5) && a.iter().any(|x| x.abs() > 0.4));
    }
}
