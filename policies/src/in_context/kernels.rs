//! Loops of the transformer over slices. As in [`nn::kernels`](crate::nn::kernels), every sum has a fixed order.

use crate::nn::kernels::{LANES, Norm, dispatch, dot, total};

/// `e^x` to 2e-7 of its value, without branches; 0 below -87. For `x <= 0`.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Adding it leaves the nearest integer in the last bits.
    const ROUND: f32 = 12_582_912.0;
    // Comparisons let a NaN through.
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, the first of few bits (Cephes).
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4_f32;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + c;
    }
    let p = p * r * r + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    p * f32::from_bits(exponent)
}

#[inline(always)]
fn largest(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = x.chunks_exact(LANES);
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let rest = chunks.remainder().iter().fold(f32::NEG_INFINITY, |m, x| larger(m, *x));
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, *x);
        }
    }
    lanes.iter().fold(rest, |m, x| larger(m, *x))
}

/// `scores <- softmax(scores + penalty, sink)`; returns the sink's share.
#[inline(always)]
fn attend((scores, penalty, sink): (&mut [f32], &[f32], f32)) -> f32 {
    for (s, p) in scores.iter_mut().zip(penalty) {
        *s += p;
    }
    let most = largest(scores);
    let most = if sink > most { sink } else { most };
    for s in scores.iter_mut() {
        *s = exp(*s - most);
    }
    let sink = exp(sink - most);
    let inverse = 1.0 / (total(scores) + sink);
    for s in scores.iter_mut() {
        *s *= inverse;
    }
    sink * inverse
}

/// One query: `scores <- softmax(scores + penalty)` with the sink beside them; returns the sink's share.
pub fn attention_weights(scores: &mut [f32], penalty: &[f32], sink: f32) -> f32 {
    dispatch((scores, penalty, sink), attend)
}

/// Which keys a row of queries sees, in a block of rows whose keys begin with the same one.
#[derive(Clone, Copy, Debug)]
pub struct Band {
    /// Keys in a row.
    pub keys: usize,
    /// The first query's own key.
    pub first: usize,
    /// Keys seen, the own one included.
    pub window: usize,
}

impl Band {
    /// Keys that query `i` of the block sees.
    #[inline(always)]
    const fn seen(self, i: usize) -> (usize, usize) {
        let own = self.first + i;
        let from = (own + 1).saturating_sub(self.window);
        (from, own + 1)
    }
}

/// A block of rows `[queries, band.keys]`: softmax over what each query sees, 0 elsewhere. `sinks` are scores of the sink and
/// become its shares. `penalty` ends with the one of age 0.
pub fn banded_softmax(scores: &mut [f32], band: Band, penalty: &[f32], sinks: &mut [f32]) {
    #[inline(always)]
    fn body((scores, band, penalty, sinks): (&mut [f32], Band, &[f32], &mut [f32])) {
        for (i, (row, sink)) in scores.chunks_exact_mut(band.keys).zip(sinks).enumerate() {
            let (from, to) = band.seen(i);
            row[..from].fill(0.0);
            row[to..].fill(0.0);
            *sink = attend((&mut row[from..to], &penalty[penalty.len() - (to - from)..], *sink));
        }
    }
    dispatch((scores, band, penalty, sinks), body);
}

/// The way back through [`banded_softmax`], in place: gradients of shares become gradients of scores.
pub fn banded_softmax_backward(
    gradient: &mut [f32],
    shares: &[f32],
    band: Band,
    sink_gradient: &mut [f32],
    sink_shares: &[f32],
) {
    type Arguments<'a> = (&'a mut [f32], &'a [f32], Band, &'a mut [f32], &'a [f32]);
    #[inline(always)]
    fn body((gradient, shares, band, sink_gradient, sink_shares): Arguments<'_>) {
        let rows = gradient.chunks_exact_mut(band.keys).zip(shares.chunks_exact(band.keys));
        for (i, ((g, p), (sg, sp))) in rows.zip(sink_gradient.iter_mut().zip(sink_shares)).enumerate() {
            let (from, to) = band.seen(i);
            let along = dot((&g[from..to], &p[from..to])) + *sg * sp;
            // Shares are 0 outside of what is seen.
            for (g, p) in g.iter_mut().zip(p) {
                *g = p * (*g - along);
            }
            *sg = sp * (*sg - along);
        }
    }
    dispatch((gradient, shares, band, sink_gradient, sink_shares), body);
}

/// `normal <- (x - mean(x)) / std(x)` of every row; writes `normal scale + shift` to `y` and `1 / std` of every row.
pub fn layer_norm(x: &[f32], norm: Norm<'_>, normal: &mut [f32], y: &mut [f32], inverse_std: &mut [f32]) {
    type Arguments<'a> = (&'a [f32], Norm<'a>, &'a mut [f32], &'a mut [f32], &'a mut [f32]);
    #[inline(always)]
    fn body((x, norm, normal, y, inverse_std): Arguments<'_>) {
        let dim = norm.scale.len();
        let out = normal.chunks_exact_mut(dim).zip(y.chunks_exact_mut(dim)).zip(inverse_std);
        for (x, ((normal, y), inverse_std)) in x.chunks_exact(dim).zip(out) {
            let mean = total(x) / dim as f32;
            for (n, x) in normal.iter_mut().zip(x) {
                *n = x - mean;
            }
            let inverse = 1.0 / (dot((normal, normal)) / dim as f32 + norm.epsilon).sqrt();
            let parts = norm.scale.iter().zip(norm.shift);
            for ((n, y), (scale, shift)) in normal.iter_mut().zip(y.iter_mut()).zip(parts) {
                *n *= inverse;
                *y = *n * scale + shift;
            }
            *inverse_std = inverse;
        }
    }
    dispatch((x, norm, normal, y, inverse_std), body);
}

/// Cross-entropy of one group of logits against `target` with label smoothing. `logits` become the gradient, times `weight`.
/// Returns the loss and whether the target was the largest.
pub fn cross_entropy(logits: &mut [f32], target: usize, smoothing: f32, weight: f32) -> (f32, bool) {
    #[inline(always)]
    fn body((logits, target, smoothing, weight): (&mut [f32], usize, f32, f32)) -> (f32, bool) {
        let n = logits.len() as f32;
        let most = largest(logits);
        let right = logits[target] == most;
        let mean = total(logits) / n;
        let at_target = logits[target];
        for l in logits.iter_mut() {
            *l = exp(*l - most);
        }
        let sum = total(logits);
        let log_sum = most + sum.ln();
        let loss = log_sum - (1.0 - smoothing) * at_target - smoothing * mean;
        let inverse = 1.0 / sum;
        for l in logits.iter_mut() {
            *l = weight * (*l * inverse - smoothing / n);
        }
        logits[target] -= weight * (1.0 - smoothing);
        (loss, right)
    }
    dispatch((logits, target, smoothing, weight), body)
}

/// `y <- x weight + bias`, one row; `weight` is `[in, out]` by rows.
pub fn matvec(x: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32]) {
    #[inline(always)]
    fn body((x, weight, bias, y): (&[f32], &[f32], &[f32], &mut [f32])) {
        y.copy_from_slice(bias);
        add_product((x, weight, y));
    }
    dispatch((x, weight, bias, y), body);
}

/// `y += x weight`, four rows of the weight at a time.
#[inline(always)]
fn add_product((x, weight, y): (&[f32], &[f32], &mut [f32])) {
    let n = y.len();
    let quads = x.chunks_exact(4);
    let rest = quads.remainder();
    let mut rows = weight.chunks_exact(4 * n);
    for (x, rows) in quads.zip(rows.by_ref()) {
        let (a, b) = rows.split_at(2 * n);
        let ((a, b), (c, d)) = (a.split_at(n), b.split_at(n));
        for (((y, a), b), (c, d)) in y.iter_mut().zip(a).zip(b).zip(c.iter().zip(d)) {
            *y += (x[0] * a + x[1] * b) + (x[2] * c + x[3] * d);
        }
    }
    for (x, row) in rest.iter().zip(rows.remainder().chunks_exact(n)) {
        for (y, w) in y.iter_mut().zip(row) {
            *y += x * w;
        }
    }
}

/// `y <- 0 + sum_i x_i rows_i` over rows of `stride` numbers of which the first `y.len()` count.
pub fn weighted_sum(x: &[f32], rows: &[f32], stride: usize, y: &mut [f32]) {
    #[inline(always)]
    fn body((x, rows, stride, y): (&[f32], &[f32], usize, &mut [f32])) {
        y.fill(0.0);
        let n = y.len();
        for (x, row) in x.iter().zip(rows.chunks(stride)) {
            for (y, w) in y.iter_mut().zip(&row[..n]) {
                *y += x * w;
            }
        }
    }
    dispatch((x, rows, stride, y), body);
}

/// `y_i <- rows_i . x` over rows of `stride` numbers of which the first `x.len()` count.
pub fn strided_products(rows: &[f32], stride: usize, x: &[f32], y: &mut [f32]) {
    #[inline(always)]
    fn body((rows, stride, x, y): (&[f32], usize, &[f32], &mut [f32])) {
        for (row, y) in rows.chunks(stride).zip(y) {
            *y = dot((&row[..x.len()], x));
        }
    }
    dispatch((rows, stride, x, y), body);
}

/// `y += x`, scaled.
pub fn add_scaled(y: &mut [f32], x: &[f32], scale: f32) {
    #[inline(always)]
    fn body((y, x, scale): (&mut [f32], &[f32], f32)) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += scale * x;
        }
    }
    dispatch((y, x, scale), body);
}

/// Every number times `scale`.
pub fn scale(x: &mut [f32], scale: f32) {
    #[inline(always)]
    fn body((x, scale): (&mut [f32], f32)) {
        for x in x {
            *x *= scale;
        }
    }
    dispatch((x, scale), body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_everywhere_and_keeps_nan() {
        let mut worst = 0.0_f64;
        for i in 0..870_000 {
            let x = -(i as f32) * 1e-4;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 2e-7, "{worst}");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e30) < 1e-37 && exp(f32::NEG_INFINITY) < 1e-37);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn products_are_right_at_every_size() {
        for (inputs, outputs) in [(1, 1), (3, 5), (4, 16), (7, 33), (32, 128)] {
            let x: Vec<f32> = (0..inputs).map(|i| (i as f32 * 0.7).sin()).collect();
            let w: Vec<f32> = (0..inputs * outputs).map(|i| (i as f32 * 0.3).cos()).collect();
            let bias: Vec<f32> = (0..outputs).map(|i| i as f32).collect();
            let mut y = vec![0.0; outputs];
            matvec(&x, &w, &bias, &mut y);
            for (o, y) in y.iter().enumerate() {
                let expected = bias[o] + (0..inputs).map(|i| x[i] * w[i * outputs + o]).sum::<f32>();
                assert!((y - expected).abs() < 1e-5 * expected.abs().max(1.0));
            }
        }
    }

    #[test]
    fn smoothed_cross_entropy_has_the_gradient_of_its_loss() {
        let logits = [0.3_f32, -1.2, 2.0, 0.1];
        let loss = |logits: &[f32]| cross_entropy(&mut logits.to_vec(), 3, 0.1, 1.0).0;
        let mut gradient = logits;
        cross_entropy(&mut gradient, 3, 0.1, 1.0);
        for i in 0..4 {
            let at = |h: f32| {
                let mut x = logits;
                x[i] += h;
                f64::from(loss(&x))
            };
            let numeric = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((f64::from(gradient[i]) - numeric).abs() < 1e-4, "{i}");
        }
    }
}
