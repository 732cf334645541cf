//! The same network by the tensor library's own operations, on any of its devices. Rows come from the processor and go back to it; parameters are
//! carried over at every pass, since optimisers work on the processor.

use candle_core::{Device, Result, Tensor, Var, bail};

use super::passes::{Backward, NORM_EPSILON};
use super::{LayerAt, MlpShape};

/// A way forward that can be gone back.
pub(super) struct Graph {
    output: Tensor,
    /// Of every layer, in the order of the flat parameter.
    parameters: Vec<Var>,
    input: Option<Var>,
}

impl Graph {
    /// Rows `[n, input]` through the network, and the output's rows; `of_input` if their gradient is wanted as well.
    pub fn new(
        shape: &MlpShape,
        x: &[f32],
        theta: &[f32],
        device: &Device,
        of_input: bool,
    ) -> Result<(Self, Vec<f32>)> {
        let parts = parts(shape, theta, device)?;
        let parameters = parts.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
        let x = rows(shape, x, device)?;
        let input = of_input.then(|| Var::from_tensor(&x)).transpose()?;
        let tensors: Vec<Tensor> = parameters.iter().map(|p| p.as_tensor().clone()).collect();
        let output = run(shape, input.as_ref().map_or(&x, |input| input.as_tensor()), &tensors)?;
        let y = output.flatten_all()?.to_vec1()?;
        Ok((Self { output, parameters, input }, y))
    }

    /// Gradients for this one of the output, `[n * output]`.
    pub fn back(&self, of_output: Vec<f32>) -> Result<Backward> {
        let of_output = Tensor::from_vec(of_output, self.output.dims(), self.output.device())?;
        let store = (&self.output * of_output)?.sum_all()?.backward()?;
        let gradient = |var: &Var| match store.get(var) {
            Some(gradient) => gradient.flatten_all(),
            None => bail!("a part of a network has no gradient"),
        };
        let parts = self.parameters.iter().map(gradient).collect::<Result<Vec<_>>>()?;
        let of_theta = Tensor::cat(&parts, 0)?.to_vec1()?;
        let of_x = self.input.as_ref().map(|input| gradient(input)?.to_vec1()).transpose()?;
        Ok(Backward { of_theta, of_x })
    }
}

/// Rows `[n, input]` through the network, without a gradient.
pub(super) fn infer(shape: &MlpShape, x: &[f32], theta: &[f32], device: &Device) -> Result<Vec<f32>> {
    let y = run(shape, &rows(shape, x, device)?, &parts(shape, theta, device)?)?;
    y.flatten_all()?.to_vec1()
}

fn rows(shape: &MlpShape, x: &[f32], device: &Device) -> Result<Tensor> {
    let input = shape.widths.first().copied().unwrap_or_default();
    Tensor::from_slice(x, (x.len() / input.max(1), input), device)
}

/// Weight, bias (and scale, shift) of every layer: copies on the device, one after the other as in the flat parameter.
fn parts(shape: &MlpShape, theta: &[f32], device: &Device) -> Result<Vec<Tensor>> {
    // One way over, then slices of it there.
    let flat = Tensor::from_slice(theta, theta.len(), device)?;
    let mut parts = Vec::new();
    for l in shape.layers() {
        let LayerAt { input, output, .. } = l;
        parts.push(flat.narrow(0, l.weight, input * output)?.reshape((input, output))?);
        parts.push(flat.narrow(0, l.bias(), output)?.reshape((1, output))?);
        if l.normalised {
            parts.push(flat.narrow(0, l.scale(), output)?.reshape((1, output))?);
            parts.push(flat.narrow(0, l.shift(), output)?.reshape((1, output))?);
        }
    }
    Ok(parts)
}

fn run(shape: &MlpShape, x: &Tensor, parts: &[Tensor]) -> Result<Tensor> {
    let layers = shape.layers();
    let mut parts = parts.iter();
    let mut next = || match parts.next() {
        Some(part) => Ok(part),
        None => bail!("a network has more layers than parameters"),
    };
    let mut x = x.clone();
    for (i, l) in layers.iter().enumerate() {
        x = x.matmul(next()?)?.broadcast_add(next()?)?;
        if l.normalised {
            let centred = x.broadcast_sub(&x.mean_keepdim(1)?)?;
            let variance = centred.sqr()?.mean_keepdim(1)?;
            let normal = centred.broadcast_div(&(variance + f64::from(NORM_EPSILON))?.sqrt()?)?;
            x = normal.broadcast_mul(next()?)?.broadcast_add(next()?)?;
        }
        if i + 1 < layers.len() {
            x = x.relu()?;
        } else if shape.tanh_output {
            x = x.tanh()?;
        }
    }
    Ok(x)
}
