//! One step at a time, token by token, over a ring of keys and values: the same numbers as the banded pass over the whole life.
//!
//! A layer's keys and values have seen up to `window` steps back each, so what a ring holds is what training saw, and memory reaches
//! `layers x window` steps. Entries are written at `position % window` and never moved; their age is a matter of arithmetic.

use super::config::TokenPart;
use super::kernels::{attention_weights, layer_norm, matvec, strided_products, weighted_sum};
use super::network::{NORM_EPSILON, Network};
use super::shape::NormAt;
use super::tokens::Token;
use crate::nn::kernels::{self, Norm};

/// What one robot has lived through, as the transformer remembers it.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    /// Tokens so far.
    pub position: u64,
    /// `[layers, 2, width, tokens of a window]`: keys and values, one ring for each number.
    pub rings: Vec<f32>,
}

impl Context {
    /// Empty.
    #[must_use]
    pub fn new(network: &Network) -> Self {
        let model = &network.model;
        Self { position: 0, rings: vec![0.0; model.layers * 2 * model.width * model.token_window()] }
    }
}

/// Buffers of a step.
#[derive(Clone, Debug)]
pub struct Decoder {
    x: Vec<f32>,
    normal: Vec<f32>,
    rows: Vec<f32>,
    token_quantities: Vec<f32>,
    inputs: Vec<f32>,
    attended: Vec<f32>,
    branch: Vec<f32>,
    hidden: Vec<f32>,
    scores: Vec<f32>,
    penalty: Vec<f32>,
    /// Of the last step, `[logits]`.
    pub logits: Vec<f32>,
}

fn norm(theta: &[f32], at: NormAt, x: &[f32], normal: &mut [f32], y: &mut [f32]) {
    let parts = Norm { scale: at.scale.of(theta), shift: at.shift.of(theta), epsilon: NORM_EPSILON };
    layer_norm(x, parts, normal, y, &mut [0.0]);
}

impl Decoder {
    /// For a network.
    #[must_use]
    pub fn new(network: &Network) -> Self {
        let model = &network.model;
        let zeros = |n: usize| vec![0.0; n];
        Self {
            x: zeros(model.width),
            normal: zeros(model.width),
            rows: zeros(model.width),
            token_quantities: zeros(network.shape.quantities()),
            inputs: zeros(3 * model.width),
            attended: zeros(model.width),
            branch: zeros(model.width),
            hidden: zeros(model.feed_forward),
            scores: zeros(model.token_window()),
            penalty: zeros(model.token_window()),
            logits: zeros(network.shape.logits()),
        }
    }

    /// Takes in a step and leaves the logits of its action. Real-time safe: does not allocate, lock or block.
    pub fn step(&mut self, network: &Network, theta: &[f32], token: Token<'_>, context: &mut Context) {
        for part in network.model.tokens.parts() {
            self.take_in(network, theta, (token, *part), context);
        }
        let Self { x, normal, rows, logits, .. } = self;
        norm(theta, network.layout.norm, x, normal, rows);
        matvec(rows, network.layout.head.weight.of(theta), network.layout.head.bias.of(theta), logits);
    }

    /// One token through all blocks.
    fn take_in(
        &mut self,
        network: &Network,
        theta: &[f32],
        token: (Token<'_>, TokenPart),
        context: &mut Context,
    ) {
        let model = &network.model;
        let (d, window, head_width) = (model.width, model.token_window(), model.head_width());
        let Self {
            x,
            normal,
            rows,
            token_quantities,
            inputs,
            attended,
            branch,
            hidden,
            scores,
            penalty,
            logits: _,
        } = self;
        network.tokens().read(theta, token, x, branch, token_quantities);
        let slot = (context.position % window as u64) as usize;
        // Slots fill up from the first on.
        let filled = context.position.saturating_add(1).min(window as u64) as usize;
        let scale = network.attention.scale();
        let rings = context.rings.chunks_exact_mut(2 * d * window);
        for (at, ring) in network.layout.blocks.iter().zip(rings) {
            norm(theta, at.norm, x, normal, rows);
            matvec(rows, at.inputs.weight.of(theta), at.inputs.bias.of(theta), inputs);
            network.attention.turn(inputs, context.position, 1.0);
            let (keys, values) = ring.split_at_mut(d * window);
            for (i, (key, value)) in inputs[d..2 * d].iter().zip(&inputs[2 * d..]).enumerate() {
                keys[i * window + slot] = *key;
                values[i * window + slot] = *value;
            }
            let [sink_key, sink_value] = at.sink.map(|s| s.of(theta));
            for head in 0..model.heads {
                let columns = head * head_width..(head + 1) * head_width;
                let ring = columns.start * window..columns.end * window;
                let query = &mut inputs[columns.clone()];
                query.iter_mut().for_each(|q| *q *= scale);
                let sink: f32 = query.iter().zip(&sink_key[columns.clone()]).map(|(q, k)| q * k).sum();
                let scores = &mut scores[..filled];
                weighted_sum(query, &keys[ring.clone()], window, scores);
                // By age: slots up to this one are the youngest, those behind it the oldest.
                let by_age = network.attention.penalty(head);
                let penalty = &mut penalty[..filled];
                penalty[..=slot].copy_from_slice(&by_age[window - 1 - slot..]);
                if filled > slot + 1 {
                    penalty[slot + 1..].copy_from_slice(&by_age[..window - 1 - slot]);
                }
                let share = attention_weights(scores, penalty, sink);
                let out = &mut attended[columns.clone()];
                strided_products(&values[ring], window, scores, out);
                for (o, v) in out.iter_mut().zip(&sink_value[columns]) {
                    *o += share * v;
                }
            }
            matvec(attended, at.output.weight.of(theta), at.output.bias.of(theta), branch);
            kernels::add(x, branch);
            norm(theta, at.feed_norm, x, normal, rows);
            matvec(rows, at.up.weight.of(theta), at.up.bias.of(theta), hidden);
            // A NaN stays one.
            hidden.iter_mut().for_each(|h| *h = if *h < 0.0 { 0.0 } else { *h });
            matvec(hidden, at.down.weight.of(theta), at.down.bias.of(theta), branch);
            kernels::add(x, branch);
        }
        context.position = context.position.saturating_add(1);
    }
}
