//! The transformer over one window of tokens, forward and back, by hand: pre-norm blocks, banded causal attention with a sink, ReLU.

use super::attention::{Attended, AttentionTable};
use super::config::{ModelConfig, TokenPart};
use super::kernels::{cross_entropy, layer_norm};
use super::products::{View, product};
use super::shape::{Layout, LinearAt, NormAt, TokenShape};
use super::tokens::{Before, Token, Tokens};
use super::windows::Window;
use crate::nn::kernels::{self, Norm};

/// Added to the variance in layer normalisation.
pub const NORM_EPSILON: f32 = 1e-5;

/// Settings and places: everything but the numbers.
#[derive(Clone, Debug)]
pub struct Network {
    /// Settings.
    pub model: ModelConfig,
    /// What tokens are made of.
    pub shape: TokenShape,
    /// Where arrays are.
    pub layout: Layout,
    /// What attention needs.
    pub attention: AttentionTable,
}

/// Normalised rows and what the way back needs of them.
#[derive(Clone, Debug, Default)]
struct NormTrace {
    normal: Vec<f32>,
    output: Vec<f32>,
    inverse_std: Vec<f32>,
}

impl NormTrace {
    fn resize(&mut self, n: usize, width: usize) {
        self.normal.resize(n * width, 0.0);
        self.output.resize(n * width, 0.0);
        self.inverse_std.resize(n, 0.0);
    }
    fn forward(&mut self, theta: &[f32], at: NormAt, x: &[f32]) {
        let parts = Norm { scale: at.scale.of(theta), shift: at.shift.of(theta), epsilon: NORM_EPSILON };
        layer_norm(x, parts, &mut self.normal, &mut self.output, &mut self.inverse_std);
    }
    /// Gradient of the output to that of the input, in place.
    fn backward(&self, theta: &[f32], at: NormAt, gradient: &mut [f32], of_theta: &mut [f32]) {
        let scale = at.scale.of(theta);
        // Scale and shift stand side by side.
        let both = at.scale.range().start..at.shift.range().end;
        let (of_scale, of_shift) = of_theta[both].split_at_mut(scale.len());
        kernels::norm_backward(gradient, &self.normal, &self.inverse_std, scale, [of_scale, of_shift]);
    }
}

#[derive(Clone, Debug, Default)]
struct BlockTrace {
    norm: NormTrace,
    /// Queries, keys, values, turned.
    inputs: Vec<f32>,
    shares: Vec<f32>,
    sinks: Vec<f32>,
    attended: Vec<f32>,
    feed_norm: NormTrace,
    /// After the ReLU.
    hidden: Vec<f32>,
}

/// Numbers of a pass, kept from one to the next: no pass after the first of its length allocates.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    token_hidden: Vec<f32>,
    token_quantities: Vec<f32>,
    x: Vec<f32>,
    blocks: Vec<BlockTrace>,
    norm: NormTrace,
    /// `[n, logits]` of `n` tokens: an action is predicted from the last one of each step.
    pub logits: Vec<f32>,
    gradient: Vec<f32>,
    branch: Vec<f32>,
    of_inputs: Vec<f32>,
    of_hidden: Vec<f32>,
    scratch: Vec<f32>,
}

/// What a window's loss is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSums {
    /// Sum of weighted cross-entropies.
    pub loss: f64,
    /// Sum of weights.
    pub weight: f64,
    /// Weight of the predictions whose target was the most likely one.
    pub right: f64,
    /// Weight of the predictions whose target is another one than the step before: those that are not right by copying it.
    pub changed: f64,
    /// Weight of these whose target was the most likely one.
    pub changed_right: f64,
}

impl LossSums {
    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        self.loss += other.loss;
        self.weight += other.weight;
        self.right += other.right;
        self.changed += other.changed;
        self.changed_right += other.changed_right;
    }
}

fn linear(theta: &[f32], at: LinearAt, x: &[f32], y: &mut [f32], accumulate: bool) {
    let bias = at.bias.of(theta);
    let (inputs, outputs) = (at.weight.of(theta).len() / bias.len(), bias.len());
    product(y, outputs, accumulate, View::rows(x, inputs), View::rows(at.weight.of(theta), outputs), 1.0);
}

/// Adds the gradients of weight and bias; `of_x` is replaced.
fn linear_backward(
    theta: &[f32],
    at: LinearAt,
    x: &[f32],
    gradient: &[f32],
    of_x: &mut [f32],
    of_theta: &mut [f32],
) {
    let outputs = at.bias.of(theta).len();
    let inputs = at.weight.of(theta).len() / outputs;
    kernels::add_column_sums(gradient, at.bias.of_mut(of_theta));
    let (x, gradient) = (View::rows(x, inputs), View::rows(gradient, outputs));
    product(at.weight.of_mut(of_theta), outputs, true, x.t(), gradient, 1.0);
    product(of_x, inputs, false, gradient, View::rows(at.weight.of(theta), outputs).t(), 1.0);
}

impl Network {
    /// Of these settings.
    #[must_use]
    pub fn new(model: ModelConfig, shape: TokenShape) -> Self {
        let layout = Layout::new(&model, &shape);
        let attention = AttentionTable::new(&model);
        Self { model, shape, layout, attention }
    }

    /// How it reads tokens.
    #[must_use]
    pub const fn tokens(&self) -> Tokens<'_> {
        Tokens { model: &self.model, shape: &self.shape, layout: &self.layout }
    }

    /// Token `i` of a window, and what it holds of its step.
    fn token<'w>(&self, window: &'w Window, i: usize) -> (Token<'w>, TokenPart) {
        let parts = self.model.tokens.parts();
        (window.token(i / parts.len()), parts[i % parts.len()])
    }

    /// Logits of every token of a window, into `pass.logits`.
    pub fn forward(&self, theta: &[f32], window: &Window, pass: &mut Pass) {
        let (n, d) = (window.len() * self.model.tokens.count(), self.model.width);
        let quantities = self.shape.quantities();
        pass.token_hidden.resize(n * d, 0.0);
        pass.token_quantities.resize(n * quantities, 0.0);
        pass.x.resize(n * d, 0.0);
        let tokens = self.tokens();
        for i in 0..n {
            tokens.read(
                theta,
                self.token(window, i),
                &mut pass.x[i * d..(i + 1) * d],
                &mut pass.token_hidden[i * d..(i + 1) * d],
                &mut pass.token_quantities[i * quantities..(i + 1) * quantities],
            );
        }
        pass.blocks.resize_with(self.model.layers, BlockTrace::default);
        for (at, trace) in self.layout.blocks.iter().zip(&mut pass.blocks) {
            trace.norm.resize(n, d);
            trace.feed_norm.resize(n, d);
            trace.inputs.resize(n * 3 * d, 0.0);
            trace.shares.resize(self.attention.shares_len(n), 0.0);
            trace.sinks.resize(self.model.heads * n, 0.0);
            trace.attended.resize(n * d, 0.0);
            trace.hidden.resize(n * self.model.feed_forward, 0.0);
            let BlockTrace { norm, inputs, shares, sinks, attended, feed_norm, hidden } = trace;
            norm.forward(theta, at.norm, &pass.x);
            linear(theta, at.inputs, &norm.output, inputs, false);
            kernels::add_bias(inputs, at.inputs.bias.of(theta));
            for (i, row) in inputs.chunks_exact_mut(3 * d).enumerate() {
                self.attention.turn(row, i as u64, 1.0);
            }
            let sink = at.sink.map(|s| s.of(theta));
            self.attention.forward(inputs, sink, attended, shares, sinks);
            linear(theta, at.output, attended, &mut pass.x, true);
            kernels::add_bias(&mut pass.x, at.output.bias.of(theta));
            feed_norm.forward(theta, at.feed_norm, &pass.x);
            linear(theta, at.up, &feed_norm.output, hidden, false);
            kernels::add_bias_relu(hidden, at.up.bias.of(theta));
            linear(theta, at.down, hidden, &mut pass.x, true);
            kernels::add_bias(&mut pass.x, at.down.bias.of(theta));
        }
        pass.norm.resize(n, d);
        pass.norm.forward(theta, self.layout.norm, &pass.x);
        pass.logits.resize(n * self.shape.logits(), 0.0);
        linear(theta, self.layout.head, &pass.norm.output, &mut pass.logits, false);
        kernels::add_bias(&mut pass.logits, self.layout.head.bias.of(theta));
    }

    /// Turns `pass.logits` into the loss's gradient: every prediction counts `scale` times its token's weight.
    pub fn loss(&self, window: &Window, smoothing: f32, scale: f32, pass: &mut Pass) -> LossSums {
        let mut sums = LossSums::default();
        let (dims, count) = (self.shape.action.len(), self.model.tokens.count());
        for (token, row) in pass.logits.chunks_exact_mut(self.shape.logits()).enumerate() {
            let i = token / count;
            let weight = if token % count + 1 == count { window.weight(i) } else { 0.0 };
            if weight == 0.0 {
                row.fill(0.0);
                continue;
            }
            let mut rest = row;
            let before = match window.token(i).before {
                Before::Step { action, .. } => action,
                Before::Nothing => &[],
            };
            for (dim, (bins, target)) in self.shape.action.iter().zip(window.target(i)).enumerate() {
                let (logits, after) = rest.split_at_mut(bins.count());
                rest = after;
                let (loss, right) =
                    cross_entropy(logits, *target as usize, smoothing, scale * weight / dims as f32);
                let weight = f64::from(weight) / dims as f64;
                sums.loss += weight * f64::from(loss);
                sums.right += if right { weight } else { 0.0 };
                sums.weight += weight;
                if before.get(dim).is_some_and(|b| b != target) {
                    sums.changed += weight;
                    sums.changed_right += if right { weight } else { 0.0 };
                }
            }
        }
        sums
    }

    /// Adds the gradient of the parameter to `of_theta`, after [`loss`](Self::loss).
    pub fn backward(&self, theta: &[f32], window: &Window, pass: &mut Pass, of_theta: &mut [f32]) {
        let (n, d) = (window.len() * self.model.tokens.count(), self.model.width);
        let Pass {
            token_hidden,
            token_quantities,
            blocks,
            norm,
            logits,
            gradient,
            branch,
            of_inputs,
            of_hidden,
            scratch,
            x: _,
        } = pass;
        gradient.resize(n * d, 0.0);
        branch.resize(n * d, 0.0);
        of_inputs.resize(n * 3 * d, 0.0);
        of_hidden.resize(n * self.model.feed_forward, 0.0);
        linear_backward(theta, self.layout.head, &norm.output, logits, gradient, of_theta);
        norm.backward(theta, self.layout.norm, gradient, of_theta);
        for (at, trace) in self.layout.blocks.iter().zip(blocks).rev() {
            let BlockTrace { norm, inputs, shares, sinks, attended, feed_norm, hidden } = trace;
            linear_backward(theta, at.down, hidden, gradient, of_hidden, of_theta);
            kernels::relu_backward(of_hidden, hidden);
            linear_backward(theta, at.up, &feed_norm.output, of_hidden, branch, of_theta);
            feed_norm.backward(theta, at.feed_norm, branch, of_theta);
            kernels::add(gradient, branch);

            linear_backward(theta, at.output, attended, gradient, branch, of_theta);
            let sink = at.sink.map(|s| s.of(theta));
            // Key and value of the sink stand side by side.
            let both = at.sink[0].range().start..at.sink[1].range().end;
            let (of_key, of_value) = of_theta[both].split_at_mut(d);
            self.attention.backward(
                Attended { inputs, sink, shares, sinks },
                branch,
                of_inputs,
                [of_key, of_value],
                scratch,
            );
            for (i, row) in of_inputs.chunks_exact_mut(3 * d).enumerate() {
                self.attention.turn(row, i as u64, -1.0);
            }
            linear_backward(theta, at.inputs, &norm.output, of_inputs, branch, of_theta);
            norm.backward(theta, at.norm, branch, of_theta);
            kernels::add(gradient, branch);
        }
        let tokens = self.tokens();
        let quantities = self.shape.quantities();
        for (i, gradient) in gradient.chunks_exact(d).enumerate() {
            let hidden = &token_hidden[i * d..(i + 1) * d];
            let quantities = &token_quantities[i * quantities..(i + 1) * quantities];
            tokens.read_backward(
                theta,
                self.token(window, i),
                gradient,
                [hidden, quantities],
                &mut branch[..d],
                of_theta,
            );
        }
    }
}
