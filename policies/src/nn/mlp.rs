//! Multilayer perceptrons: `x W^T + b`, optional layer normalisation, ReLU.

use candle_core::{Tensor, Var};

use super::init::uniform;
use super::params::Params;

/// Bound of the last layer's initial weights: outputs start near zero.
const LAST_LAYER_BOUND: f64 = 3e-3;
/// Added to the variance in layer normalisation.
const NORM_EPSILON: f64 = 1e-5;

/// `x W^T + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[out, in]`.
    weight: Var,
    /// `[out]`.
    bias: Var,
}

impl Linear {
    fn new(
        params: &mut Params,
        seed: u64,
        name: &str,
        shape: [usize; 2],
        bound: f64,
    ) -> candle_core::Result<Self> {
        let weight_name = format!("{name}/weight");
        let values = uniform(seed, &weight_name, shape[0] * shape[1], bound);
        Ok(Self {
            weight: params.add(weight_name, &shape, values)?,
            bias: params.add(format!("{name}/bias"), &[shape[0]], vec![0.0; shape[0]])?,
        })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        x.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)
    }
}

/// Layer normalisation with scale and shift. Built of plain operations: candle's fused one stops gradients silently.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    scale: Var,
    shift: Var,
}

impl LayerNorm {
    fn new(params: &mut Params, name: &str, dim: usize) -> candle_core::Result<Self> {
        Ok(Self {
            scale: params.add(format!("{name}/scale"), &[dim], vec![1.0; dim])?,
            shift: params.add(format!("{name}/shift"), &[dim], vec![0.0; dim])?,
        })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let centred = x.broadcast_sub(&x.mean_keepdim(1)?)?; // [batch, dim]
        let variance = centred.sqr()?.mean_keepdim(1)?; // [batch, 1]
        let normal = centred.broadcast_div(&(variance + NORM_EPSILON)?.sqrt()?)?;
        normal.broadcast_mul(&self.scale)?.broadcast_add(&self.shift)
    }
}

/// Hidden layers with ReLU and a linear last layer.
#[derive(Clone, Debug)]
pub struct Mlp {
    hidden: Vec<(Linear, Option<LayerNorm>)>,
    last: Linear,
}

impl Mlp {
    /// `sizes` from input to output. Hidden weights start uniform in `1 / sqrt(in)`, biases at zero, the last layer near zero.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn new(
        params: &mut Params,
        seed: u64,
        name: &str,
        [input, output]: [usize; 2],
        hidden: &[usize],
        layer_norm: bool,
    ) -> candle_core::Result<Self> {
        let mut width = input;
        let mut layers = Vec::with_capacity(hidden.len());
        for (i, &out) in hidden.iter().enumerate() {
            let bound = 1.0 / (width as f64).sqrt();
            let layer = Linear::new(params, seed, &format!("{name}/layer{i}"), [out, width], bound)?;
            let norm =
                layer_norm.then(|| LayerNorm::new(params, &format!("{name}/norm{i}"), out)).transpose()?;
            layers.push((layer, norm));
            width = out;
        }
        let last_name = format!("{name}/layer{}", hidden.len());
        let last = Linear::new(params, seed, &last_name, [output, width], LAST_LAYER_BOUND)?;
        Ok(Self { hidden: layers, last })
    }

    /// `[batch, input]` to `[batch, output]`.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let mut x = x.clone();
        for (layer, norm) in &self.hidden {
            x = layer.forward(&x)?;
            if let Some(norm) = norm {
                x = norm.forward(&x)?;
            }
            x = x.relu()?;
        }
        self.last.forward(&x)
    }
}
