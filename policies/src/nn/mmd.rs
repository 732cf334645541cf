//! How far two sets of samples are apart: the maximum mean discrepancy (Gretton et al. 2012), by a few samples at each state
//! (Kumar et al. 2019, arXiv 1906.00949).
//! ```text
//! mmd = sqrt( mean k(x, x') + mean k(y, y') - 2 mean k(x, y) + 1e-6 )
//! laplacian: k = exp(-sum |x - y| / (2 bandwidth))     gaussian: k = exp(-sum (x - y)^2 / (2 bandwidth))
//! ```

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Keeps the root's derivative finite.
const FLOOR: f64 = 1e-6;

/// How near two samples are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kernel {
    /// By the sum of distances.
    #[default]
    Laplacian,
    /// By the sum of their squares.
    Gaussian,
}

impl Kernel {
    /// `k(x, y)`; `factor dk/dx` is added to `gradient`.
    fn add(self, bandwidth: f64, x: &[f32], y: &[f32], factor: f64, gradient: &mut [f64]) {
        let k = self.of(bandwidth, x, y);
        for ((x, y), g) in x.iter().zip(y).zip(gradient) {
            let d = f64::from(x - y);
            *g -= factor
                * k
                * match self {
                    Self::Laplacian if d == 0.0 => 0.0,
                    Self::Laplacian => d.signum() / (2.0 * bandwidth),
                    Self::Gaussian => d / bandwidth,
                };
        }
    }

    fn of(self, bandwidth: f64, x: &[f32], y: &[f32]) -> f64 {
        let apart = x.iter().zip(y).map(|(x, y)| f64::from(x - y));
        let sum: f64 = match self {
            Self::Laplacian => apart.map(f64::abs).sum(),
            Self::Gaussian => apart.map(|d| d * d).sum(),
        };
        (-sum / (2.0 * bandwidth)).exp()
    }
}

/// The discrepancy at each state and its derivative.
#[derive(Clone, Debug)]
pub struct Discrepancy {
    /// Mean over the batch.
    pub mean: f64,
    /// Of that mean by each of our samples, `[batch * dim]` each.
    pub gradient: Vec<Vec<f32>>,
}

/// Between our samples and theirs, `[batch * dim]` each.
#[must_use]
pub fn discrepancy(
    (kernel, bandwidth): (Kernel, f64),
    ours: &[Vec<f32>],
    theirs: &[Vec<f32>],
    dim: usize,
) -> Discrepancy {
    let (n, m) = (ours.len() as f64, theirs.len() as f64);
    let states = ours.first().map_or(0, Vec::len) / dim.max(1);
    let mut gradient: Vec<Vec<f32>> = ours.iter().map(|x| Vec::with_capacity(x.len())).collect();
    let mut sum = 0.0;
    for i in 0..states {
        let at = i * dim..(i + 1) * dim;
        let pairs = |a: &[Vec<f32>], b: &[Vec<f32>]| -> f64 {
            let of = |x: &Vec<f32>| -> f64 {
                b.iter().map(|y| kernel.of(bandwidth, &x[at.clone()], &y[at.clone()])).sum()
            };
            a.iter().map(of).sum()
        };
        let squared = pairs(ours, ours) / (n * n) + pairs(theirs, theirs) / (m * m)
            - 2.0 * pairs(ours, theirs) / (n * m);
        let root = (squared + FLOOR).sqrt();
        sum += root;
        let outer = 1.0 / (root * states as f64);
        for (x, out) in ours.iter().zip(&mut gradient) {
            let mut g = vec![0.0; dim];
            let mut add = |set: &[Vec<f32>], factor: f64| {
                for y in set {
                    kernel.add(bandwidth, &x[at.clone()], &y[at.clone()], factor, &mut g);
                }
            };
            add(ours, outer / (n * n));
            add(theirs, -outer / (n * m));
            out.extend(g.into_iter().map(|g| g as f32));
        }
    }
    Discrepancy { mean: sum / states.max(1) as f64, gradient }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_samples_are_not_apart_and_others_the_further_the_more() {
        for kernel in [Kernel::Laplacian, Kernel::Gaussian] {
            let at = |x: f32| vec![vec![x, 0.1, 0.3, -0.2], vec![x + 0.5, 0.0, 0.1, 0.2]];
            let of = |x| discrepancy((kernel, 1.0), &at(x), &at(0.0), 2).mean;
            assert!((of(0.0) - FLOOR.sqrt()).abs() < 1e-9);
            assert!(of(0.5) > of(0.1) && of(0.1) > of(0.0));
        }
    }

    #[test]
    fn the_written_out_derivative_equals_differences() {
        let ours = vec![vec![0.3_f32, -0.4, 1.0, 0.2], vec![-0.6, 0.1, 0.5, 0.5], vec![0.0, 0.9, -1.0, 0.7]];
        let theirs = vec![vec![0.1_f32, 0.2, 0.3, 0.4], vec![-0.2, -0.3, 0.8, 0.6]];
        for kernel in [Kernel::Laplacian, Kernel::Gaussian] {
            let of = |ours: &[Vec<f32>]| discrepancy((kernel, 0.7), ours, &theirs, 2);
            let found = of(&ours).gradient;
            for k in 0..3 {
                for i in 0..4 {
                    let moved = |by: f32| {
                        let mut moved = ours.clone();
                        moved[k][i] += by;
                        of(&moved).mean
                    };
                    let expected = (moved(5e-3) - moved(-5e-3)) / 1e-2;
                    assert!((f64::from(found[k][i]) - expected).abs() < 1e-3, "{kernel:?} {k} {i}");
                }
            }
        }
    }
}
