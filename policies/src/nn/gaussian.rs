//! Diagonal Gaussians with a state-independent deviation.

use std::f64::consts::PI;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

/// `log N(action; mean, exp(log_std))`, summed over the action: `[batch]`. Differentiable in `mean` (`[batch, action_dim]`) and
/// `log_std` (`[action_dim]`); `action` are the rows of `mean`.
///
/// # Errors
/// When the shapes do not fit.
pub fn log_prob(mean: &Tensor, log_std: &Tensor, action: &[f32]) -> Result<Tensor> {
    mean.apply_op2(log_std, LogProb { action: action.to_vec() })
}

struct LogProb {
    action: Vec<f32>,
}

impl CustomOp2 for LogProb {
    fn name(&self) -> &'static str {
        "log_prob"
    }

    fn cpu_fwd(
        &self,
        mean: &CpuStorage,
        mean_layout: &Layout,
        log_std: &CpuStorage,
        log_std_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (n, dim) = mean_layout.shape().dims2()?;
        let (mean, log_std) = (contiguous(mean, mean_layout)?, contiguous(log_std, log_std_layout)?);
        if log_std.len() != dim || self.action.len() != mean.len() {
            bail!("log_prob: {n} rows of {dim} do not fit {} deviations or the actions", log_std.len());
        }
        let constant = log_std.iter().sum::<f32>() + (0.5 * dim as f64 * (2.0 * PI).ln()) as f32;
        let precision = precision(log_std);
        let log_prob = |(action, mean): (&[f32], &[f32])| {
            let row = action.iter().zip(mean).zip(&precision);
            -0.5 * row.map(|((a, m), p)| ((a - m) * p).powi(2)).sum::<f32>() - constant
        };
        let rows = self.action.chunks_exact(dim).zip(mean.chunks_exact(dim));
        let log_prob: Vec<f32> = rows.map(log_prob).collect();
        Ok((CpuStorage::F32(log_prob), Shape::from(n)))
    }

    fn bwd(
        &self,
        mean: &Tensor,
        log_std: &Tensor,
        _log_prob: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dims = mean.dims();
        let mean_row: Vec<f32> = mean.flatten_all()?.to_vec1()?;
        let precision = precision(&log_std.to_vec1()?);
        let gradient: Vec<f32> = gradient.to_vec1()?;
        let mut of_mean = Vec::with_capacity(mean_row.len());
        let dim = precision.len();
        let mut of_log_std = vec![0.0; dim];
        let rows = self.action.chunks_exact(dim).zip(mean_row.chunks_exact(dim));
        for ((action, mean), g) in rows.zip(gradient) {
            let row = action.iter().zip(mean).zip(&precision).zip(&mut of_log_std);
            for (((a, m), p), of_log_std) in row {
                let z = (a - m) * p;
                of_mean.push(g * z * p);
                *of_log_std += g * (z * z - 1.0);
            }
        }
        let of_mean = Tensor::from_vec(of_mean, dims, mean.device())?;
        Ok((Some(of_mean), Some(Tensor::new(of_log_std, log_std.device())?)))
    }
}

/// `exp(-log_std)`.
fn precision(log_std: &[f32]) -> Vec<f32> {
    log_std.iter().map(|s| (-s).exp()).collect()
}

/// A contiguous tensor's numbers.
///
/// # Errors
/// When they are not contiguous or not `f32`.
pub(crate) fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((from, to)) = layout.contiguous_offsets() else { bail!("rows must be contiguous") };
    Ok(&storage.as_slice::<f32>()?[from..to])
}

/// Entropy in nats for these logarithms of deviations.
#[must_use]
pub fn entropy(log_std: &[f32]) -> f64 {
    log_std.iter().map(|s| f64::from(*s) + 0.5 * (2.0 * PI * std::f64::consts::E).ln()).sum()
}

/// Mean of `KL(old, new)` over rows, nats: each with means `[n * action_dim]` and logarithms of deviations `[action_dim]`.
#[must_use]
pub fn divergence(old: (&[f32], &[f32]), new: (&[f32], &[f32])) -> f64 {
    let dim = old.1.len().max(1);
    let rows = (old.0.len() / dim).max(1) as f64;
    let pairs = old.0.chunks_exact(dim).zip(new.0.chunks_exact(dim));
    let row = |(before, after): (&[f32], &[f32])| {
        let numbers = before.iter().zip(after).zip(old.1.iter().zip(new.1));
        let one = |((m, n), (s, t)): ((&f32, &f32), (&f32, &f32))| {
            let [m, n, s, t] = [m, n, s, t].map(|x| f64::from(*x));
            t - s + ((2.0 * s).exp() + (m - n).powi(2)) / (2.0 * (2.0 * t).exp()) - 0.5
        };
        numbers.map(one).sum::<f64>()
    };
    pairs.map(row).sum::<f64>() / rows
}

/// `mean + exp(log_std) noise`, inside `[-1, 1]`: what the robot would execute. All rows of `log_std.len()`.
#[must_use]
pub fn sample(mean: &[f32], log_std: &[f32], noise: &[f32]) -> Vec<f32> {
    let std: Vec<f32> = log_std.iter().map(|s| s.exp()).collect();
    let rows = mean.chunks_exact(std.len().max(1)).zip(noise.chunks_exact(std.len().max(1)));
    rows.flat_map(|(mean, noise)| {
        mean.iter().zip(noise).zip(&std).map(|((m, n), s)| (m + s * n).clamp(-1.0, 1.0))
    })
    .collect()
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
        let mean = Tensor::full(mean, (n as usize, 1), &Device::Cpu).unwrap();
        let log_std_t = Tensor::new(&[log_std], &Device::Cpu).unwrap();
        let log_p: Vec<f32> = log_prob(&mean, &log_std_t, &xs).unwrap().to_vec1().unwrap();
        let mass: f64 = log_p.iter().map(|l| f64::from(*l).exp() * width).sum();
        let nats: f64 = log_p.iter().map(|l| -f64::from(*l).exp() * f64::from(*l) * width).sum();
        assert!((mass - 1.0).abs() < 1e-5, "mass {mass}");
        assert!((nats - entropy(&[log_std])).abs() < 1e-4, "entropy {nats}");
    }

    #[test]
    fn gradients_equal_those_of_candles_own_operations() {
        use candle_core::Var;
        let mean = Var::new(&[[0.1_f32, -0.4], [0.7, 0.2], [0.0, -0.9]], &Device::Cpu).unwrap();
        let log_std = Var::new(&[-1.0_f32, -2.5], &Device::Cpu).unwrap();
        let action = Tensor::new(&[[0.2_f32, -0.3], [0.5, 0.25], [0.3, -1.0]], &Device::Cpu).unwrap();
        let weights = Tensor::new(&[0.5_f32, 2.0, 0.0], &Device::Cpu).unwrap();
        let z = (&action - mean.as_tensor()).unwrap().broadcast_mul(&log_std.neg().unwrap().exp().unwrap());
        let theirs = (z.unwrap().sqr().unwrap().sum(1).unwrap() * -0.5).unwrap();
        let constant = (log_std.sum_all().unwrap() + (2.0 * PI).ln()).unwrap();
        let theirs = theirs.broadcast_sub(&constant).unwrap();
        let rows: Vec<f32> = action.flatten_all().unwrap().to_vec1().unwrap();
        let ours = log_prob(&mean, &log_std, &rows).unwrap();
        let gradients = |l: &Tensor| {
            let g = (l * &weights).unwrap().sum_all().unwrap().backward().unwrap();
            let mut all: Vec<f32> = g.get(&mean).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            all.extend(g.get(&log_std).unwrap().to_vec1::<f32>().unwrap());
            all.extend(l.to_vec1::<f32>().unwrap());
            all
        };
        for (a, b) in gradients(&ours).iter().zip(gradients(&theirs)) {
            assert!((a - b).abs() < 1e-4 * b.abs().max(1.0), "{a} {b}");
        }
    }

    #[test]
    fn samples_have_the_stated_mean_and_deviation_and_stay_in_bounds() {
        let (mean, noise) = ([0.5, -0.5], [1.0, 100.0]);
        let out = sample(&mean, &[(0.1_f32).ln(), (0.1_f32).ln()], &noise);
        assert!((out[0] - 0.6).abs() < 1e-6);
        assert_eq!(out[1], 1.0);
    }
}
