//! The forward pass of a perceptron on the control thread: preallocated, plain `f32` loops.

use super::mlp::NORM_EPSILON;
use super::params::transposed;

/// One layer.
#[derive(Clone, Debug)]
pub struct DenseLayer {
    /// `[in, out]`: transposed from the learner's `[out, in]`, so that the inner loop runs over outputs and vectorises.
    weight: Vec<f32>,
    /// `[out]`.
    bias: Vec<f32>,
    /// Scale and shift of layer normalisation, `[out]` each.
    norm: Option<[Vec<f32>; 2]>,
}

impl DenseLayer {
    /// From a `[out, in]` weight and an `[out]` bias.
    #[must_use]
    pub fn new(weight: &[f32], bias: Vec<f32>) -> Self {
        let dims = [bias.len(), weight.len() / bias.len().max(1)];
        Self { weight: transposed(weight, dims), bias, norm: None }
    }

    /// The same with layer normalisation behind it, `[out]` each.
    #[must_use]
    pub fn normalised(mut self, scale: Vec<f32>, shift: Vec<f32>) -> Self {
        self.norm = Some([scale, shift]);
        self
    }

    fn forward(&self, x: &[f32], y: &mut [f32]) {
        y.copy_from_slice(&self.bias);
        for (x, row) in x.iter().zip(self.weight.chunks_exact(y.len())) {
            for (y, w) in y.iter_mut().zip(row) {
                *y += x * w;
            }
        }
        if let Some([scale, shift]) = &self.norm {
            let n = y.len().max(1) as f32;
            let mean = y.iter().sum::<f32>() / n;
            let variance = y.iter().map(|y| (y - mean) * (y - mean)).sum::<f32>() / n;
            let inverse_std = (variance + NORM_EPSILON).sqrt().recip();
            for ((y, scale), shift) in y.iter_mut().zip(scale).zip(shift) {
                *y = scale * ((*y - mean) * inverse_std) + shift;
            }
        }
    }
}

/// Layers with ReLU between them.
#[derive(Clone, Debug)]
pub struct DenseMlp {
    layers: Vec<DenseLayer>,
    /// Output of each layer.
    buffers: Vec<Vec<f32>>,
}

impl DenseMlp {
    /// Keeps one buffer per layer.
    #[must_use]
    pub fn new(layers: Vec<DenseLayer>) -> Self {
        let buffers = layers.iter().map(|l| vec![0.0; l.bias.len()]).collect();
        Self { layers, buffers }
    }

    /// `[input]` to `[output]`. Real-time safe: does not allocate, lock or block.
    pub fn forward(&mut self, input: &[f32]) -> &[f32] {
        let last = self.layers.len().saturating_sub(1);
        for (i, layer) in self.layers.iter().enumerate() {
            let (before, after) = self.buffers.split_at_mut(i);
            let x = before.last().map_or(input, Vec::as_slice);
            let y = &mut after[0];
            layer.forward(x, y);
            if i < last {
                for y in y.iter_mut() {
                    // `max` would turn a NaN into 0 and hide it from the safety chain.
                    *y = if *y < 0.0 { 0.0 } else { *y };
                }
            }
        }
        self.buffers.last().map_or(&[], Vec::as_slice)
    }
}
