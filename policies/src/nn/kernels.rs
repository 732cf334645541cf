//! Loops over slices, compiled for the processor they run on (AVX-512 or AVX2 where there is one). Every sum has a fixed order,
//! so a result does not depend on the width of the vectors.

use pulp::Arch;

/// Lanes of a sum: enough to keep wide vectors busy.
const LANES: usize = 16;

fn dispatch<R>(run: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(run)
}

#[inline(always)]
fn relu(x: f32) -> f32 {
    // `max` would turn a NaN into 0 and hide it.
    if x < 0.0 { 0.0 } else { x }
}

#[inline(always)]
fn sum(values: impl Fn(usize) -> f32, n: usize) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let whole = n / LANES * LANES;
    let mut i = 0;
    while i < whole {
        for (l, lane) in lanes.iter_mut().enumerate() {
            *lane += values(i + l);
        }
        i += LANES;
    }
    let mut total = 0.0;
    for lane in lanes {
        total += lane;
    }
    for i in whole..n {
        total += values(i);
    }
    total
}

/// `y += bias` for every row.
pub fn add_bias(y: &mut [f32], bias: &[f32]) {
    dispatch(|| {
        for row in y.chunks_exact_mut(bias.len()) {
            for (y, b) in row.iter_mut().zip(bias) {
                *y += b;
            }
        }
    });
}

/// `y <- relu(y + bias)` for every row.
pub fn add_bias_relu(y: &mut [f32], bias: &[f32]) {
    dispatch(|| {
        for row in y.chunks_exact_mut(bias.len()) {
            for (y, b) in row.iter_mut().zip(bias) {
                *y = relu(*y + b);
            }
        }
    });
}

/// `y <- tanh(y + bias)` for every row.
pub fn add_bias_tanh(y: &mut [f32], bias: &[f32]) {
    for row in y.chunks_exact_mut(bias.len()) {
        for (y, b) in row.iter_mut().zip(bias) {
            *y = (*y + b).tanh();
        }
    }
}

/// `gradient <- gradient (1 - y^2)`, the way back through `y = tanh(x)`.
pub fn tanh_backward(gradient: &mut [f32], y: &[f32]) {
    dispatch(|| {
        for (g, y) in gradient.iter_mut().zip(y) {
            *g *= 1.0 - y * y;
        }
    });
}

/// `gradient <- gradient` where `y > 0`, else 0: the way back through `y = relu(x)`.
pub fn relu_backward(gradient: &mut [f32], y: &[f32]) {
    dispatch(|| {
        for (g, y) in gradient.iter_mut().zip(y) {
            *g = if *y > 0.0 { *g } else { 0.0 };
        }
    });
}

/// `sums[j] = sum_i rows[i][j]`.
pub fn column_sums(rows: &[f32], sums: &mut [f32]) {
    dispatch(|| {
        sums.fill(0.0);
        for row in rows.chunks_exact(sums.len()) {
            for (s, x) in sums.iter_mut().zip(row) {
                *s += x;
            }
        }
    });
}

/// Scale and shift of a layer normalisation, `[dim]` each.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// `[dim]`.
    pub scale: &'a [f32],
    /// `[dim]`.
    pub shift: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
}

/// `normal <- (x - mean(x)) / std(x)` of every row of `x = normal + bias`, in place; writes `relu(normal scale + shift)` to `y` and
/// `1 / std` of every row.
pub fn norm_relu(normal: &mut [f32], bias: &[f32], norm: Norm<'_>, y: &mut [f32], inverse_std: &mut [f32]) {
    let dim = bias.len();
    dispatch(|| {
        let rows = normal.chunks_exact_mut(dim).zip(y.chunks_exact_mut(dim));
        for ((row, out), inverse_std) in rows.zip(inverse_std.iter_mut()) {
            for (x, b) in row.iter_mut().zip(bias) {
                *x += b;
            }
            let mean = sum(|i| row[i], dim) / dim as f32;
            for x in row.iter_mut() {
                *x -= mean;
            }
            let variance = sum(|i| row[i] * row[i], dim) / dim as f32;
            let inverse = 1.0 / (variance + norm.epsilon).sqrt();
            for x in row.iter_mut() {
                *x *= inverse;
            }
            let parts = row.iter().zip(norm.scale).zip(norm.shift);
            for (out, ((x, scale), shift)) in out.iter_mut().zip(parts) {
                *out = relu(x * scale + shift);
            }
            *inverse_std = inverse;
        }
    });
}

/// The way back through the normalisation, in place; the gradient is already back through the ReLU. Writes the gradients of
/// `scale` and `shift`.
pub fn norm_backward(
    gradient: &mut [f32],
    normal: &[f32],
    inverse_std: &[f32],
    scale: &[f32],
    [scale_gradient, shift_gradient]: [&mut [f32]; 2],
) {
    let dim = scale.len();
    dispatch(|| {
        scale_gradient.fill(0.0);
        shift_gradient.fill(0.0);
        let rows = gradient.chunks_exact_mut(dim).zip(normal.chunks_exact(dim)).zip(inverse_std);
        for ((g, x), inverse) in rows {
            for (s, (g, x)) in scale_gradient.iter_mut().zip(g.iter().zip(x)) {
                *s += g * x;
            }
            for ((s, g), scale) in shift_gradient.iter_mut().zip(g.iter_mut()).zip(scale) {
                *s += *g;
                *g *= scale;
            }
            let mean = sum(|i| g[i], dim) / dim as f32;
            let along = sum(|i| g[i] * x[i], dim) / dim as f32;
            for (g, x) in g.iter_mut().zip(x) {
                *g = inverse * (*g - mean - x * along);
            }
        }
    });
}

/// `sum x^2`.
#[must_use]
pub fn sum_of_squares(x: &[f32]) -> f32 {
    dispatch(|| sum(|i| x[i] * x[i], x.len()))
}

/// `a <- a + rate (b - a)`.
pub fn average_towards(a: &mut [f32], b: &[f32], rate: f32) {
    dispatch(|| {
        for (a, b) in a.iter_mut().zip(b) {
            *a += rate * (b - *a);
        }
    });
}

/// The numbers of an Adam step, bias corrections included.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Learning rate, corrected.
    pub rate: f32,
    /// Added to the root of the second moment, corrected.
    pub epsilon: f32,
    /// L2 weight decay.
    pub weight_decay: f32,
}

/// One Adam step on `x` with its moments.
pub fn adam(x: &mut [f32], gradient: &[f32], [first, second]: [&mut [f32]; 2], step: AdamStep) {
    dispatch(|| {
        let AdamStep { beta1, beta2, rate, epsilon, weight_decay } = step;
        let moments = first.iter_mut().zip(second.iter_mut());
        for ((x, g), (first, second)) in x.iter_mut().zip(gradient).zip(moments) {
            let g = g + weight_decay * *x;
            *first = beta1 * *first + (1.0 - beta1) * g;
            *second = beta2 * *second + (1.0 - beta2) * g * g;
            *x -= rate * *first / (second.sqrt() + epsilon);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_right_at_every_length() {
        for n in 0..70 {
            let x: Vec<f32> = (0..n).map(|i| i as f32 - 3.0).collect();
            let expected: f32 = x.iter().map(|x| x * x).sum();
            assert_eq!(sum_of_squares(&x), expected, "{n}");
        }
    }

    #[test]
    fn relu_keeps_nan() {
        let mut y = [f32::NAN, -1.0, 2.0];
        add_bias_relu(&mut y, &[0.0; 3]);
        assert!(y[0].is_nan() && y[1] == 0.0 && y[2] == 2.0);
    }
}
