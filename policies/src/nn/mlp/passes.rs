//! All layers forward and all layers back, over slices.

use std::sync::Mutex;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::super::kernels::{self, Norm};
use super::super::threads::side_by_side;
use super::{LayerAt, MlpShape, lock};

/// Added to the variance in layer normalisation.
pub const NORM_EPSILON: f32 = 1e-5;

/// Buffers that are used again: fresh ones would cost page faults and zeroing at every update.
#[derive(Debug, Default)]
pub struct Workspace(Mutex<Vec<Vec<f32>>>);

impl Workspace {
    /// More would only be held by networks fed with ever new batch sizes.
    const MOST: usize = 64;

    /// `n` numbers of no particular value.
    pub(super) fn take(&self, n: usize) -> Vec<f32> {
        let mut free = lock(&self.0);
        let fitting = free.iter().position(|buffer| buffer.len() == n);
        fitting.map_or_else(|| vec![0.0; n], |i| free.swap_remove(i))
    }

    pub(super) fn give(&self, buffer: Vec<f32>) {
        let mut free = lock(&self.0);
        if free.len() == Self::MOST {
            free.remove(0);
        }
        free.push(buffer);
    }
}

/// Rows that go through all layers together: few enough to stay in the processor's cache on the way.
pub(super) const BLOCK: usize = 256;

/// What the way back needs of the way forward: per block of rows, per hidden layer.
pub(super) type Trace = Vec<Vec<HiddenTrace>>;

#[derive(Debug)]
pub(super) struct HiddenTrace {
    /// After the ReLU, `[rows, out]`.
    output: Vec<f32>,
    /// Normalised rows and the inverse of their deviations.
    norm: Option<(Vec<f32>, Vec<f32>)>,
}

impl HiddenTrace {
    pub(super) fn give(self, workspace: &Workspace) {
        workspace.give(self.output);
        if let Some((normal, inverse_std)) = self.norm {
            workspace.give(normal);
            workspace.give(inverse_std);
        }
    }
}

/// A product whose right side is wider than so many register tiles copies its left side in order first. At the sizes of our layers, which lie in the
/// second cache, that costs more than it brings.
const COLUMNS_UNPACKED: usize = 256;

/// Tells the library of matrix products how large ours are. It is a setting of the whole process, and changes no result.
pub(super) fn tune_products() {
    gemm::set_lhs_packing_threshold_single_thread(COLUMNS_UNPACKED);
}

pub(super) fn product(
    out: &mut [f32],
    [rows, columns]: [usize; 2],
    accumulate: Accum,
    left: MatRef<'_, f32>,
    right: MatRef<'_, f32>,
) {
    let out = MatMut::from_row_major_slice_mut(out, rows, columns);
    matmul(out, accumulate, left, right, 1.0, Par::Seq);
}

pub(super) fn forward(
    shape: &MlpShape,
    x: &[f32],
    theta: &[f32],
    workspace: &Workspace,
    mut trace: Option<&mut Trace>,
) -> Vec<f32> {
    let layers = shape.layers();
    let (Some(first), Some(last)) = (layers.first(), layers.last()) else { return Vec::new() };
    let mut y = Vec::with_capacity(x.len() / first.input * last.output);
    for rows in x.chunks(BLOCK * first.input) {
        let mut hidden: Vec<HiddenTrace> = Vec::with_capacity(layers.len());
        for l in &layers {
            let from = hidden.last().map_or(rows, |h| &h.output);
            let is_last = l.end() == theta.len();
            let out = layer(shape, *l, is_last, from, theta, workspace);
            if trace.is_none() {
                // The rows before are needed no more.
                hidden.drain(..).for_each(|h| h.give(workspace));
            }
            if is_last {
                y.extend_from_slice(&out.output);
                out.give(workspace);
            } else {
                hidden.push(out);
            }
        }
        if let Some(trace) = &mut trace {
            trace.push(hidden);
        }
    }
    y
}

fn layer(
    shape: &MlpShape,
    l: LayerAt,
    is_last: bool,
    from: &[f32],
    theta: &[f32],
    workspace: &Workspace,
) -> HiddenTrace {
    let n = from.len() / l.input;
    let weight = &theta[l.weight..l.bias()];
    let mut y = workspace.take(n * l.output);
    if l.output == 1 {
        kernels::row_products(from, weight, &mut y);
    } else {
        let weight = MatRef::from_row_major_slice(weight, l.input, l.output);
        let rows = MatRef::from_row_major_slice(from, n, l.input);
        product(&mut y, [n, l.output], Accum::Replace, rows, weight);
    }
    let bias = &theta[l.bias()..l.scale()];
    let mut norm = None;
    if is_last && shape.tanh_output {
        kernels::add_bias_tanh(&mut y, bias);
    } else if is_last {
        kernels::add_bias(&mut y, bias);
    } else if l.normalised {
        let scale = &theta[l.scale()..l.shift()];
        let parts = Norm { scale, shift: &theta[l.shift()..l.end()], epsilon: NORM_EPSILON };
        let (mut out, mut inverse_std) = (workspace.take(y.len()), workspace.take(n));
        kernels::norm_relu(&mut y, bias, parts, &mut out, &mut inverse_std);
        norm = Some((std::mem::replace(&mut y, out), inverse_std));
    } else {
        kernels::add_bias_relu(&mut y, bias);
    }
    HiddenTrace { output: y, norm }
}

/// Rows of a hidden layer, borrowed from their block.
#[derive(Clone, Copy)]
struct HiddenRows<'a> {
    output: &'a [f32],
    norm: Option<(&'a [f32], &'a [f32])>,
}

impl HiddenTrace {
    /// Its rows `from..to`, of `width` numbers each.
    fn rows(&self, from: usize, to: usize, width: usize) -> HiddenRows<'_> {
        let wide = from * width..to * width;
        HiddenRows {
            output: &self.output[wide.clone()],
            norm: self.norm.as_ref().map(|(normal, inverse_std)| (&normal[wide], &inverse_std[from..to])),
        }
    }
}

/// Gradients of the parameter, and of the input where asked for.
#[derive(Debug)]
pub(super) struct Backward {
    /// Of the parameter.
    pub of_theta: Vec<f32>,
    /// Of the input, where asked for.
    pub of_x: Option<Vec<f32>>,
}

/// What the way back starts from.
pub(super) struct WayBack<'a> {
    pub layers: &'a [LayerAt],
    pub x: &'a [f32],
    pub theta: &'a [f32],
    pub workspace: &'a Workspace,
    pub trace: &'a [Vec<HiddenTrace>],
    pub gradient: &'a [f32],
    pub of_input: bool,
}

impl WayBack<'_> {
    /// Of all rows. In two halves, each half has a sum of its own and the sums are added: on two threads where there are two, with the
    /// same bits on one.
    pub(super) fn run(&self, halves: bool) -> Backward {
        let rows = self.layers.last().map_or(0, |l| self.gradient.len() / l.output);
        let middle = rows.div_ceil(2);
        if !halves || middle == rows {
            return self.of_rows(0, rows);
        }
        let (mut first, second) = side_by_side(|| self.of_rows(0, middle), || self.of_rows(middle, rows));
        kernels::add(&mut first.of_theta, &second.of_theta);
        self.workspace.give(second.of_theta);
        if let (Some(of_x), Some(rest)) = (&mut first.of_x, second.of_x) {
            of_x.extend(rest);
        }
        first
    }

    /// Of rows `from..to`, block by block.
    fn of_rows(&self, from: usize, to: usize) -> Backward {
        let mut of_theta = self.workspace.take(self.theta.len());
        for l in self.layers {
            // The first block's matrix products write where they stand; the rest is summed up from zero.
            let summed = if l.output == 1 || from == to { l.weight } else { l.bias() };
            of_theta[summed..l.end()].fill(0.0);
        }
        let mut accumulate = Accum::Replace;
        let input = self.layers.first().map_or(0, |l| l.input);
        let mut of_x = self.of_input.then(|| Vec::with_capacity((to - from) * input));
        for (i, block) in self.trace.iter().enumerate() {
            let begin = from.max(i * BLOCK);
            let end = to.min((i + 1) * BLOCK);
            if begin < end {
                let hidden: Vec<HiddenRows<'_>> = block
                    .iter()
                    .zip(self.layers)
                    .map(|(h, l)| h.rows(begin - i * BLOCK, end - i * BLOCK, l.output))
                    .collect();
                self.of_block(begin, end, &hidden, accumulate, &mut of_theta, of_x.as_mut());
                accumulate = Accum::Add;
            }
        }
        Backward { of_theta, of_x }
    }

    fn of_block(
        &self,
        begin: usize,
        end: usize,
        hidden: &[HiddenRows<'_>],
        accumulate: Accum,
        of_theta: &mut [f32],
        of_x: Option<&mut Vec<f32>>,
    ) {
        let Self { layers, x, theta, workspace, trace: _, gradient, of_input } = self;
        let (Some(first), Some(last)) = (layers.first(), layers.last()) else { return };
        let n = end - begin;
        let x = &x[begin * first.input..end * first.input];
        let mut g = workspace.take(n * last.output);
        g.copy_from_slice(&gradient[begin * last.output..end * last.output]);
        for (i, l) in layers.iter().enumerate().rev() {
            let weight = &theta[l.weight..l.bias()];
            if let Some(hidden) = hidden.get(i) {
                kernels::relu_backward(&mut g, hidden.output);
                if let Some((normal, inverse_std)) = hidden.norm {
                    let scale = &theta[l.scale()..l.shift()];
                    let (of_scale, of_shift) = of_theta[l.scale()..l.end()].split_at_mut(l.output);
                    kernels::norm_backward(&mut g, normal, inverse_std, scale, [of_scale, of_shift]);
                }
            }
            kernels::add_column_sums(&g, &mut of_theta[l.bias()..l.scale()]);
            let from = if i == 0 { x } else { hidden[i - 1].output };
            let of_weight = &mut of_theta[l.weight..l.bias()];
            let mut next = workspace.take(if i > 0 || *of_input { n * l.input } else { 0 });
            if l.output == 1 {
                kernels::add_weighted_rows(from, &g, of_weight);
                kernels::outer_product(&g, weight, &mut next);
            } else {
                let g = MatRef::from_row_major_slice(&g, n, l.output);
                let rows = MatRef::from_column_major_slice(from, l.input, n);
                product(of_weight, [l.input, l.output], accumulate, rows, g);
                if !next.is_empty() {
                    // The product would turn it by single numbers.
                    let mut turned = workspace.take(weight.len());
                    kernels::transpose(weight, [l.input, l.output], &mut turned);
                    let weight = MatRef::from_row_major_slice(&turned, l.output, l.input);
                    product(&mut next, [n, l.input], Accum::Replace, g, weight);
                    workspace.give(turned);
                }
            }
            workspace.give(std::mem::replace(&mut g, next));
        }
        if let Some(of_x) = of_x {
            of_x.extend_from_slice(&g);
        }
        workspace.give(g);
    }
}
