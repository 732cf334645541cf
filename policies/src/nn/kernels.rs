//! Loops over slices, compiled for the processor they run on (AVX-512 or AVX2 where there is one). Every sum has a fixed order,
//! so a result does not depend on the width of the vectors.

use pulp::{Arch, Simd, WithSimd};

/// Lanes of a sum: enough to keep wide vectors busy.
pub(crate) const LANES: usize = 16;

/// A function item (inlined, unlike a closure) and its arguments.
struct Job<A, R> {
    arguments: A,
    body: R,
}

impl<A, O, R: FnOnce(A) -> O> WithSimd for Job<A, R> {
    type Output = O;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> O {
        (self.body)(self.arguments)
    }
}

/// `body` must be an `#[inline(always)]` function: it is compiled once per instruction set.
pub(crate) fn dispatch<A, O, R: FnOnce(A) -> O>(arguments: A, body: R) -> O {
    Arch::new().dispatch(Job { arguments, body })
}

#[inline(always)]
fn relu(x: f32) -> f32 {
    // `max` would turn a NaN into 0 and hide it.
    if x < 0.0 { 0.0 } else { x }
}

/// `sum a b`.
#[inline(always)]
pub(crate) fn dot((a, b): (&[f32], &[f32])) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// `sum a`.
#[inline(always)]
pub(crate) fn total(a: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let a = a.chunks_exact(LANES);
    let rest: f32 = a.remainder().iter().sum();
    for a in a {
        for (lane, a) in lanes.iter_mut().zip(a) {
            *lane += a;
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// `y += bias` for every row.
pub fn add_bias(y: &mut [f32], bias: &[f32]) {
    #[inline(always)]
    fn body((y, bias): (&mut [f32], &[f32])) {
        for row in y.chunks_exact_mut(bias.len()) {
            for (y, b) in row.iter_mut().zip(bias) {
                *y += b;
            }
        }
    }
    dispatch((y, bias), body);
}

/// `y <- relu(y + bias)` for every row.
pub fn add_bias_relu(y: &mut [f32], bias: &[f32]) {
    #[inline(always)]
    fn body((y, bias): (&mut [f32], &[f32])) {
        for row in y.chunks_exact_mut(bias.len()) {
            for (y, b) in row.iter_mut().zip(bias) {
                *y = relu(*y + b);
            }
        }
    }
    dispatch((y, bias), body);
}

/// `y <- tanh(y + bias)` for every row.
pub fn add_bias_tanh(y: &mut [f32], bias: &[f32]) {
    #[inline(always)]
    fn body((y, bias): (&mut [f32], &[f32])) {
        for row in y.chunks_exact_mut(bias.len()) {
            for (y, b) in row.iter_mut().zip(bias) {
                *y = tanh(*y + b);
            }
        }
    }
    dispatch((y, bias), body);
}

/// `sums += x`.
pub fn add(sums: &mut [f32], x: &[f32]) {
    #[inline(always)]
    fn body((sums, x): (&mut [f32], &[f32])) {
        for (s, x) in sums.iter_mut().zip(x) {
            *s += x;
        }
    }
    dispatch((sums, x), body);
}

/// `tanh(x)` to 5e-7 of its value, without branches: a ratio of polynomials in the range in which a float of 32 bits is not 1 yet.
/// The coefficients are a minimax fit that is in wide use (Eigen, XLA).
#[inline(always)]
fn tanh(x: f32) -> f32 {
    const END: f32 = 7.905_311;
    const ODD: [f32; 7] = [
        -2.760_768_5e-16,
        2.000_188e-13,
        -8.604_672e-11,
        5.122_297e-8,
        1.485_722_4e-5,
        6.372_619_3e-4,
        4.893_524_6e-3,
    ];
    const EVEN: [f32; 4] = [1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3];
    // Comparisons, unlike `min` and `max`, let a NaN through.
    let x = if x > END { END } else { x };
    let x = if x < -END { -END } else { x };
    let square = x * x;
    let mut odd = ODD[0];
    for c in &ODD[1..] {
        odd = odd * square + c;
    }
    let mut even = EVEN[0];
    for c in &EVEN[1..] {
        even = even * square + c;
    }
    x * odd / even
}

/// `gradient <- gradient (1 - y^2)`, the way back through `y = tanh(x)`.
pub fn tanh_backward(gradient: &mut [f32], y: &[f32]) {
    #[inline(always)]
    fn body((gradient, y): (&mut [f32], &[f32])) {
        for (g, y) in gradient.iter_mut().zip(y) {
            *g *= 1.0 - y * y;
        }
    }
    dispatch((gradient, y), body);
}

/// `gradient <- gradient` where `y > 0`, else 0: the way back through `y = relu(x)`.
pub fn relu_backward(gradient: &mut [f32], y: &[f32]) {
    #[inline(always)]
    fn body((gradient, y): (&mut [f32], &[f32])) {
        for (g, y) in gradient.iter_mut().zip(y) {
            *g = if *y > 0.0 { *g } else { 0.0 };
        }
    }
    dispatch((gradient, y), body);
}

/// `sums[j] += sum_i rows[i][j]`.
pub fn add_column_sums(rows: &[f32], sums: &mut [f32]) {
    #[inline(always)]
    fn body((rows, sums): (&[f32], &mut [f32])) {
        for row in rows.chunks_exact(sums.len()) {
            for (s, x) in sums.iter_mut().zip(row) {
                *s += x;
            }
        }
    }
    dispatch((rows, sums), body);
}

/// `y[i] = rows[i] . weight`: a layer with one output, where a matrix product would compute many and keep one.
pub fn row_products(rows: &[f32], weight: &[f32], y: &mut [f32]) {
    #[inline(always)]
    fn body((rows, weight, y): (&[f32], &[f32], &mut [f32])) {
        for (row, y) in rows.chunks_exact(weight.len()).zip(y) {
            *y = dot((row, weight));
        }
    }
    dispatch((rows, weight, y), body);
}

/// `sums += sum_i factors[i] rows[i]`.
pub fn add_weighted_rows(rows: &[f32], factors: &[f32], sums: &mut [f32]) {
    #[inline(always)]
    fn body((rows, factors, sums): (&[f32], &[f32], &mut [f32])) {
        for (row, factor) in rows.chunks_exact(sums.len()).zip(factors) {
            for (s, x) in sums.iter_mut().zip(row) {
                *s += factor * x;
            }
        }
    }
    dispatch((rows, factors, sums), body);
}

/// `out[i] = factors[i] row`.
pub fn outer_product(factors: &[f32], row: &[f32], out: &mut [f32]) {
    #[inline(always)]
    fn body((factors, row, out): (&[f32], &[f32], &mut [f32])) {
        for (out, factor) in out.chunks_exact_mut(row.len()).zip(factors) {
            for (out, x) in out.iter_mut().zip(row) {
                *out = factor * x;
            }
        }
    }
    dispatch((factors, row, out), body);
}

/// `[rows, columns]` to `[columns, rows]`, square by square, so that both stay in the processor's cache.
pub fn transpose(x: &[f32], [rows, columns]: [usize; 2], out: &mut [f32]) {
    const SIDE: usize = 16;
    #[inline(always)]
    fn body((x, [rows, columns], out): (&[f32], [usize; 2], &mut [f32])) {
        let mut square = [[0.0_f32; SIDE]; SIDE];
        for top in (0..rows).step_by(SIDE) {
            let height = SIDE.min(rows - top);
            for left in (0..columns).step_by(SIDE) {
                let width = SIDE.min(columns - left);
                for (row, to) in square.iter_mut().enumerate().take(height) {
                    let from = &x[(top + row) * columns + left..][..width];
                    // Of a size that is known, it is one vector.
                    match from.first_chunk::<SIDE>() {
                        Some(whole) => *to = *whole,
                        None => to[..width].copy_from_slice(from),
                    }
                }
                for column in 0..width {
                    let to = &mut out[(left + column) * rows + top..][..height];
                    for (to, row) in to.iter_mut().zip(&square) {
                        *to = row[column];
                    }
                }
            }
        }
    }
    dispatch((x, [rows, columns], out), body);
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
    type Arguments<'a> = (&'a mut [f32], &'a [f32], Norm<'a>, &'a mut [f32], &'a mut [f32]);
    #[inline(always)]
    fn body((normal, bias, norm, y, inverse_std): Arguments<'_>) {
        let dim = bias.len();
        let rows = normal.chunks_exact_mut(dim).zip(y.chunks_exact_mut(dim));
        for ((row, out), inverse_std) in rows.zip(inverse_std.iter_mut()) {
            for (x, b) in row.iter_mut().zip(bias) {
                *x += b;
            }
            let mean = total(row) / dim as f32;
            for x in row.iter_mut() {
                *x -= mean;
            }
            let variance = dot((row, row)) / dim as f32;
            let inverse = 1.0 / (variance + norm.epsilon).sqrt();
            let parts = norm.scale.iter().zip(norm.shift);
            for ((x, out), (scale, shift)) in row.iter_mut().zip(out.iter_mut()).zip(parts) {
                *x *= inverse;
                *out = relu(*x * scale + shift);
            }
            *inverse_std = inverse;
        }
    }
    dispatch((normal, bias, norm, y, inverse_std), body);
}

/// The way back through the normalisation, in place; the gradient is already back through the ReLU. Adds the gradients of `scale`
/// and `shift`.
pub fn norm_backward(
    gradient: &mut [f32],
    normal: &[f32],
    inverse_std: &[f32],
    scale: &[f32],
    sums: [&mut [f32]; 2],
) {
    type Arguments<'a> = (&'a mut [f32], &'a [f32], &'a [f32], &'a [f32], [&'a mut [f32]; 2]);
    #[inline(always)]
    fn body((gradient, normal, inverse_std, scale, [of_scale, of_shift]): Arguments<'_>) {
        let dim = scale.len();
        let rows = gradient.chunks_exact_mut(dim).zip(normal.chunks_exact(dim)).zip(inverse_std);
        for ((g, x), inverse) in rows {
            for (s, (g, x)) in of_scale.iter_mut().zip(g.iter().zip(x)) {
                *s += g * x;
            }
            for ((s, g), scale) in of_shift.iter_mut().zip(g.iter_mut()).zip(scale) {
                *s += *g;
                *g *= scale;
            }
            let mean = total(g) / dim as f32;
            let along = dot((g, x)) / dim as f32;
            for (g, x) in g.iter_mut().zip(x) {
                *g = inverse * (*g - mean - x * along);
            }
        }
    }
    dispatch((gradient, normal, inverse_std, scale, sums), body);
}

/// `sum x^2`.
#[must_use]
pub fn sum_of_squares(x: &[f32]) -> f32 {
    dispatch((x, x), dot)
}

/// `a <- a + rate (b - a)`.
pub fn average_towards(a: &mut [f32], b: &[f32], rate: f32) {
    #[inline(always)]
    fn body((a, b, rate): (&mut [f32], &[f32], f32)) {
        for (a, b) in a.iter_mut().zip(b) {
            *a += rate * (b - *a);
        }
    }
    dispatch((a, b, rate), body);
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
pub fn adam(x: &mut [f32], gradient: &[f32], moments: [&mut [f32]; 2], step: AdamStep) {
    type Arguments<'a> = (&'a mut [f32], &'a [f32], [&'a mut [f32]; 2], AdamStep);
    #[inline(always)]
    fn body((x, gradient, [first, second], step): Arguments<'_>) {
        let AdamStep { beta1, beta2, rate, epsilon, weight_decay } = step;
        let moments = first.iter_mut().zip(second.iter_mut());
        for ((x, g), (first, second)) in x.iter_mut().zip(gradient).zip(moments) {
            let g = g + weight_decay * *x;
            *first = beta1 * *first + (1.0 - beta1) * g;
            *second = beta2 * *second + (1.0 - beta2) * g * g;
            *x -= rate * *first / (second.sqrt() + epsilon);
        }
    }
    dispatch((x, gradient, moments, step), body);
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
    fn a_transpose_turns_every_number() {
        for [rows, columns] in [[1, 1], [3, 40], [40, 3], [16, 32], [33, 17]] {
            let x: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
            let mut out = vec![0.0; x.len()];
            transpose(&x, [rows, columns], &mut out);
            for (i, found) in out.iter().enumerate() {
                assert_eq!(*found, x[i % rows * columns + i / rows]);
            }
        }
    }

    #[test]
    fn tanh_is_close_everywhere_and_keeps_nan() {
        let mut worst = 0.0_f64;
        for i in -200_000..=200_000 {
            let x = i as f32 * 1e-4;
            let (found, exact) = (f64::from(tanh(x)), f64::from(x).tanh());
            worst = worst.max((found - exact).abs() / exact.abs().max(1e-9));
            assert!(found.abs() <= 1.0, "{x}: {found}");
        }
        assert!(worst < 5e-7, "{worst}");
        for (x, y) in [(f32::INFINITY, 1.0), (f32::NEG_INFINITY, -1.0), (1e30, 1.0)] {
            assert!((tanh(x) - y).abs() < 1e-6);
        }
        assert!(tanh(f32::NAN).is_nan());
        assert_eq!(tanh(0.0), 0.0);
    }

    #[test]
    fn relu_keeps_nan() {
        let mut y = [f32::NAN, -1.0, 2.0];
        add_bias_relu(&mut y, &[0.0; 3]);
        assert!(y[0].is_nan() && y[1] == 0.0 && y[2] == 2.0);
    }
}
