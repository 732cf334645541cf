//! Diagonal Gaussians with a state-independent deviation.

use std::f64::consts::PI;

use candle_core::Tensor;

/// `log N(action; mean, exp(log_std))`, summed over the action: `[batch]`.
///
/// # Errors
/// When the shapes do not fit: `mean` and `action` are `[batch, action_dim]`, `log_std` is `[action_dim]`.
pub fn log_prob(mean: &Tensor, log_std: &Tensor, action: &Tensor) -> candle_core::Result<Tensor> {
    let dim = mean.dim(1)? as f64;
    let z = (action - mean)?.broadcast_mul(&log_std.neg()?.exp()?)?; // [batch, action_dim]
    let quadratic = (z.sqr()?.sum(1)? * 0.5)?; // [batch]
    let constant = (log_std.sum_all()? + 0.5 * dim * (2.0 * PI).ln())?;
    quadratic.broadcast_add(&constant)?.neg()
}

/// Entropy in nats for these logarithms of deviations.
#[must_use]
pub fn entropy(log_std: &[f32]) -> f64 {
    log_std.iter().map(|s| f64::from(*s) + 0.5 * (2.0 * PI * std::f64::consts::E).ln()).sum()
}

/// `mean + exp(log_std) noise`, inside `[-1, 1]`: what the robot would execute. Rows of `log_std.len()`.
pub fn sample_into(mean: &[f32], log_std: &[f32], noise: &[f32], out: &mut Vec<f32>) {
    out.clear();
    let dim = log_std.len().max(1);
    for (mean, noise) in mean.chunks_exact(dim).zip(noise.chunks_exact(dim)) {
        let row = mean.iter().zip(noise).zip(log_std);
        out.extend(row.map(|((m, n), s)| (m + s.exp() * n).clamp(-1.0, 1.0)));
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn density_integrates_to_one_and_its_entropy_agrees() {
        let (mean, log_std) = (0.3_f32, -1.2_f32);
        let (low, high, n) = (-6.0_f64, 6.0_f64, 24_000);
        let width = (high - low) / f64::from(n);
        let xs: Vec<f32> = (0..n).map(|i| (low + (f64::from(i) + 0.5) * width) as f32).collect();
        let x = Tensor::from_slice(&xs, (n as usize, 1), &Device::Cpu).unwrap();
        let mean = Tensor::full(mean, (n as usize, 1), &Device::Cpu).unwrap();
        let log_std_t = Tensor::new(&[log_std], &Device::Cpu).unwrap();
        let log_p: Vec<f32> = log_prob(&mean, &log_std_t, &x).unwrap().to_vec1().unwrap();
        let mass: f64 = log_p.iter().map(|l| f64::from(*l).exp() * width).sum();
        let nats: f64 = log_p.iter().map(|l| -f64::from(*l).exp() * f64::from(*l) * width).sum();
        assert!((mass - 1.0).abs() < 1e-5, "mass {mass}");
        assert!((nats - entropy(&[log_std])).abs() < 1e-4, "entropy {nats}");
    }

    #[test]
    fn samples_have_the_stated_mean_and_deviation_and_stay_in_bounds() {
        let (mean, noise) = ([0.5, -0.5], [1.0, 100.0]);
        let mut out = Vec::new();
        sample_into(&mean, &[(0.1_f32).ln(), (0.1_f32).ln()], &noise, &mut out);
        assert!((out[0] - 0.6).abs() < 1e-6);
        assert_eq!(out[1], 1.0);
    }
}
