//! Attention over the tokens of the last `window` steps and a sink, forward and back, block of queries by block of queries.

use super::config::{ModelConfig, Positions};
use super::kernels::{Band, banded_softmax, banded_softmax_backward};
use super::products::{View, product};

/// Queries that go together: scores of a block are products of matrices, and few of them fall outside of the band.
const BLOCK: usize = 32;

/// What the way back needs of the way forward.
#[derive(Clone, Copy, Debug)]
pub struct Attended<'a> {
    /// `[n, 3 width]`: queries, keys, values, turned.
    pub inputs: &'a [f32],
    /// Key and value of the sink.
    pub sink: [&'a [f32]; 2],
    /// Of keys, block by block.
    pub shares: &'a [f32],
    /// Of the sink, `[heads, n]`.
    pub sinks: &'a [f32],
}

/// What attention needs besides its inputs: a function of the settings alone.
#[derive(Clone, Debug)]
pub struct AttentionTable {
    window: usize,
    width: usize,
    heads: usize,
    rotary: bool,
    /// `[heads, window]`: what is added to a score by age, from the oldest to the present step.
    penalty: Vec<f32>,
    /// Radians of each pair of numbers for one step.
    pub frequencies: Vec<f64>,
}

impl AttentionTable {
    /// Of these settings.
    #[must_use]
    pub fn new(model: &ModelConfig) -> Self {
        let ModelConfig { width, heads, positions, .. } = *model;
        let window = model.token_window();
        let rotary = positions == Positions::Rotary;
        let mut penalty = Vec::with_capacity(heads * window);
        for head in 1..=heads {
            // Slopes from 1/2 to 1/256, as in the paper.
            let slope = if rotary { 0.0 } else { (-8.0 * head as f64 / heads as f64).exp2() };
            penalty.extend((0..window).rev().map(|age| -(slope * age as f64) as f32));
        }
        let pairs = if rotary { model.head_width() / 2 } else { 0 };
        let frequencies = (0..pairs).map(|i| 10_000.0_f64.powf(-(i as f64) / pairs.max(1) as f64)).collect();
        Self { window, width, heads, rotary, penalty, frequencies }
    }

    /// What is added to a head's scores by age, the present step last.
    #[must_use]
    pub fn penalty(&self, head: usize) -> &[f32] {
        &self.penalty[head * self.window..(head + 1) * self.window]
    }

    /// Turns the queries and keys of one row (`[3 width]`) by its position; back with `-1` for `direction`.
    pub fn turn(&self, row: &mut [f32], position: u64, direction: f64) {
        if !self.rotary {
            return;
        }
        let head_width = self.width / self.heads;
        for (i, frequency) in self.frequencies.iter().enumerate() {
            // Reduced in f64: after an hour at 500 Hz an angle in f32 would be off by 0.06 rad.
            let angle = (position as f64 * frequency) % std::f64::consts::TAU;
            let (sin, cos) = angle.sin_cos();
            let (sin, cos) = ((direction * sin) as f32, cos as f32);
            for pair in row[..2 * self.width].chunks_exact_mut(head_width) {
                let (a, b) = (pair[2 * i], pair[2 * i + 1]);
                pair[2 * i] = a * cos - b * sin;
                pair[2 * i + 1] = a * sin + b * cos;
            }
        }
    }

    /// Numbers that the shares of `n` queries take.
    #[must_use]
    pub fn shares_len(&self, n: usize) -> usize {
        self.heads * self.blocks(n).map(|b| b.queries * b.band.keys).sum::<usize>()
    }

    fn blocks(&self, n: usize) -> impl Iterator<Item = Block> + use<> {
        let window = self.window;
        (0..n.div_ceil(BLOCK)).map(move |i| {
            let from = i * BLOCK;
            let to = (from + BLOCK).min(n);
            let first_key = (from + 1).saturating_sub(window);
            let band = Band { keys: to - first_key, first: from - first_key, window };
            Block { from, queries: to - from, first_key, band }
        })
    }

    /// What scores are multiplied with.
    #[must_use]
    pub fn scale(&self) -> f32 {
        1.0 / ((self.width / self.heads) as f32).sqrt()
    }

    /// `inputs` (`[n, 3 width]`: queries, keys, values, already turned) to `output` (`[n, width]`). Shares of keys
    /// ([`shares_len`](Self::shares_len)) and of the sink (`[heads, n]`) are what the way back needs.
    pub fn forward(
        &self,
        inputs: &[f32],
        sink: [&[f32]; 2],
        output: &mut [f32],
        shares: &mut [f32],
        sinks: &mut [f32],
    ) {
        let (d, stride, head_width) = (self.width, 3 * self.width, self.width / self.heads);
        let n = output.len() / d;
        let [sink_key, sink_value] = sink;
        let scale = self.scale();
        let mut at = 0;
        for head in 0..self.heads {
            let columns = head * head_width..(head + 1) * head_width;
            let (sink_key, sink_value) = (&sink_key[columns.clone()], &sink_value[columns]);
            let offset = head * head_width;
            for Block { from, queries, first_key, band } in self.blocks(n) {
                let block = &mut shares[at..at + queries * band.keys];
                at += block.len();
                let part = |row: usize, what: usize, rows: usize| {
                    View::part(&inputs[row * stride + what * d + offset..], rows, head_width, stride)
                };
                let (q, k, v) =
                    (part(from, 0, queries), part(first_key, 1, band.keys), part(first_key, 2, band.keys));
                product(block, band.keys, false, q, k.t(), scale);
                let sinks = &mut sinks[head * n + from..head * n + from + queries];
                for (i, s) in sinks.iter_mut().enumerate() {
                    let q = &inputs[(from + i) * stride + offset..][..head_width];
                    *s = scale * q.iter().zip(sink_key).map(|(q, k)| q * k).sum::<f32>();
                }
                banded_softmax(block, band, self.penalty(head), sinks);
                product(&mut output[from * d + offset..], d, false, View::rows(block, band.keys), v, 1.0);
                for (i, s) in sinks.iter().enumerate() {
                    let out = &mut output[(from + i) * d + offset..][..head_width];
                    out.iter_mut().zip(sink_value).for_each(|(o, v)| *o += s * v);
                }
            }
        }
    }

    /// The way back: `gradient` (`[n, width]`) to `of_inputs` (`[n, 3 width]`, replaced) and, added, the sink's. `scratch` is as
    /// long as a block's shares.
    pub fn backward(
        &self,
        Attended { inputs, sink, shares, sinks }: Attended<'_>,
        gradient: &[f32],
        of_inputs: &mut [f32],
        [of_sink_key, of_sink_value]: [&mut [f32]; 2],
        scratch: &mut Vec<f32>,
    ) {
        let (d, stride, head_width) = (self.width, 3 * self.width, self.width / self.heads);
        let n = gradient.len() / d;
        let [sink_key, sink_value] = sink;
        let scale = self.scale();
        of_inputs.fill(0.0);
        let mut at = 0;
        for head in 0..self.heads {
            let offset = head * head_width;
            let columns = offset..offset + head_width;
            let (sink_key, sink_value) = (&sink_key[columns.clone()], &sink_value[columns.clone()]);
            let (of_key, of_value) = (&mut of_sink_key[columns.clone()], &mut of_sink_value[columns]);
            for Block { from, queries, first_key, band } in self.blocks(n) {
                let block = &shares[at..at + queries * band.keys];
                at += block.len();
                scratch.resize(block.len(), 0.0);
                let part = |row: usize, what: usize, rows: usize| {
                    View::part(&inputs[row * stride + what * d + offset..], rows, head_width, stride)
                };
                let (q, k, v) =
                    (part(from, 0, queries), part(first_key, 1, band.keys), part(first_key, 2, band.keys));
                let g = View::part(&gradient[from * d + offset..], queries, head_width, d);
                product(scratch, band.keys, false, g, v.t(), 1.0);
                let sinks = &sinks[head * n + from..head * n + from + queries];
                let mut of_sinks = [0.0_f32; BLOCK];
                let of_sinks = &mut of_sinks[..queries];
                for (i, (of_sink, s)) in of_sinks.iter_mut().zip(sinks).enumerate() {
                    let g = &gradient[(from + i) * d + offset..][..head_width];
                    *of_sink = g.iter().zip(sink_value).map(|(g, v)| g * v).sum();
                    of_value.iter_mut().zip(g).for_each(|(of, g)| *of += s * g);
                }
                banded_softmax_backward(scratch, block, band, of_sinks, sinks);
                let ds = View::rows(scratch, band.keys);
                let place = |row: usize, what: usize| row * stride + what * d + offset;
                product(&mut of_inputs[place(from, 0)..], stride, true, ds, k, scale);
                product(&mut of_inputs[place(first_key, 1)..], stride, true, ds.t(), q, scale);
                product(
                    &mut of_inputs[place(first_key, 2)..],
                    stride,
                    true,
                    View::rows(block, band.keys).t(),
                    g,
                    1.0,
                );
                for (i, of_sink) in of_sinks.iter().enumerate() {
                    let q = &inputs[place(from + i, 0)..][..head_width];
                    let of_q = &mut of_inputs[place(from + i, 0)..][..head_width];
                    of_q.iter_mut().zip(sink_key).for_each(|(of, k)| *of += scale * of_sink * k);
                    of_key.iter_mut().zip(q).for_each(|(of, q)| *of += scale * of_sink * q);
                }
            }
        }
    }
}

/// Some queries that follow one another.
struct Block {
    from: usize,
    queries: usize,
    /// The oldest key that any of them sees.
    first_key: usize,
    band: Band,
}
