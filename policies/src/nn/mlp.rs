//! Multilayer perceptrons as one differentiable operation: all layers forward, all layers back, over one flat parameter.
//!
//! An eager graph of single operations spends most of its time on intermediate tensors; candle sees one node per network here,
//! and its autograd carries the gradients between networks and losses.

use std::sync::{Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Storage, Tensor, Var, bail};

use super::init::uniform;
use super::kernels::{self, Norm};
use super::params::{Params, Part};

/// Bound of the last layer's initial weights: outputs start near zero.
const LAST_LAYER_BOUND: f64 = 3e-3;
/// Added to the variance in layer normalisation.
const NORM_EPSILON: f32 = 1e-5;

/// Sizes and kinds of the layers: `x W^T + b`, normalisation where asked for, ReLU; then a last layer without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MlpShape {
    /// From input to output.
    pub widths: Vec<usize>,
    /// Layer normalisation before each ReLU.
    pub layer_norm: bool,
    /// `tanh` after the last layer.
    pub tanh_output: bool,
}

/// Where a layer's numbers stand in the flat parameter.
#[derive(Clone, Copy, Debug)]
struct LayerAt {
    input: usize,
    output: usize,
    /// Weight `[output, input]` at this offset, bias `[output]` after it, then scale and shift where normalised.
    weight: usize,
    normalised: bool,
}

impl LayerAt {
    const fn bias(self) -> usize {
        self.weight + self.output * self.input
    }
    const fn scale(self) -> usize {
        self.bias() + self.output
    }
    const fn shift(self) -> usize {
        self.scale() + self.output
    }
    const fn end(self) -> usize {
        self.scale() + if self.normalised { 2 * self.output } else { 0 }
    }
}

impl MlpShape {
    fn layers(&self) -> Vec<LayerAt> {
        let hidden = self.widths.len().saturating_sub(2);
        let mut at = 0;
        let place = |(i, pair): (usize, &[usize])| {
            let normalised = self.layer_norm && i < hidden;
            let layer = LayerAt { input: pair[0], output: pair[1], weight: at, normalised };
            at = layer.end();
            layer
        };
        self.widths.windows(2).enumerate().map(place).collect()
    }

    /// Names, shapes and offsets: `NAME/layerI/{weight,bias}`, `NAME/normI/{scale,shift}`.
    fn parts(&self, name: &str) -> Vec<Part> {
        let mut parts = Vec::new();
        for (i, l) in self.layers().into_iter().enumerate() {
            let mut part = |name: String, dims: Vec<usize>, at| parts.push(Part { name, dims, at });
            part(format!("{name}/layer{i}/weight"), vec![l.output, l.input], l.weight);
            part(format!("{name}/layer{i}/bias"), vec![l.output], l.bias());
            if l.normalised {
                part(format!("{name}/norm{i}/scale"), vec![l.output], l.scale());
                part(format!("{name}/norm{i}/shift"), vec![l.output], l.shift());
            }
        }
        parts
    }
}

/// A network and its parameter.
#[derive(Clone, Debug)]
pub struct Mlp {
    shape: MlpShape,
    /// `[parameters]`.
    theta: Var,
}

impl Mlp {
    /// Hidden weights start uniform in `1 / sqrt(in)`, biases at zero, scales at one, the last layer near zero. Every part draws
    /// from the stream of its own name.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn new(params: &mut Params, seed: u64, name: &str, shape: MlpShape) -> Result<Self> {
        let layers = shape.layers();
        let mut values = vec![0.0; layers.last().map_or(0, |l| l.end())];
        for (i, l) in layers.iter().enumerate() {
            let bound = if i + 1 == layers.len() { LAST_LAYER_BOUND } else { 1.0 / (l.input as f64).sqrt() };
            let weight = uniform(seed, &format!("{name}/layer{i}/weight"), l.output * l.input, bound);
            values[l.weight..l.bias()].copy_from_slice(&weight);
            if l.normalised {
                values[l.scale()..l.shift()].fill(1.0);
            }
        }
        let theta = params.add(name, shape.parts(name), &values)?;
        Ok(Self { shape, theta })
    }

    /// The parameter, `[parameters]`.
    #[must_use]
    pub const fn theta(&self) -> &Var {
        &self.theta
    }

    /// `[batch, input]` to `[batch, output]`, differentiable once.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.apply_op2(&self.theta, MlpOp { shape: self.shape.clone(), trace: Mutex::new(None) })
    }

    /// The same without a gradient: `[batch, input]` to rows `[batch * output]`.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn infer(&self, x: &Tensor) -> Result<Vec<f32>> {
        read(x, |x, at| read(&self.theta, |theta, _| forward(&self.shape, x, at, theta, None)))
    }
}

/// Runs on a contiguous tensor's storage and offset.
fn read<R>(tensor: &Tensor, run: impl FnOnce(&CpuStorage, usize) -> Result<R>) -> Result<R> {
    let (guard, layout) = tensor.storage_and_layout();
    match (&*guard, layout.contiguous_offsets()) {
        (Storage::Cpu(storage), Some((at, end))) if end == storage.as_slice::<f32>()?.len() => {
            run(storage, at)
        }
        _ => bail!("a network needs whole, contiguous rows on the CPU"),
    }
}

/// What the way back needs of the way forward, per hidden layer.
#[derive(Debug, Default)]
struct Trace {
    hidden: Vec<HiddenTrace>,
}

#[derive(Debug)]
struct HiddenTrace {
    /// After the ReLU, `[batch, out]`.
    output: CpuStorage,
    /// Normalised rows and the inverse of their deviations.
    norm: Option<(Vec<f32>, Vec<f32>)>,
}

/// A matrix inside a storage: shape, strides, offset.
fn matrix(shape: (usize, usize), stride: [usize; 2], at: usize) -> Layout {
    Layout::new(Shape::from(shape), stride.to_vec(), at)
}

fn take(storage: CpuStorage) -> Result<Vec<f32>> {
    match storage {
        CpuStorage::F32(values) => Ok(values),
        _ => bail!("expected f32"),
    }
}

fn forward(
    shape: &MlpShape,
    x: &CpuStorage,
    x_at: usize,
    theta: &CpuStorage,
    mut trace: Option<&mut Trace>,
) -> Result<Vec<f32>> {
    let layers = shape.layers();
    let input = layers.first().map_or(1, |l| l.input).max(1);
    let n = (x.as_slice::<f32>()?.len() - x_at) / input;
    let parameters = theta.as_slice::<f32>()?;
    let mut last: Option<CpuStorage> = None;
    for (i, l) in layers.iter().enumerate() {
        let weight = matrix((l.input, l.output), [1, l.input], l.weight);
        let (from, at) = match (&last, &trace) {
            (Some(storage), _) => (storage, 0),
            (None, Some(trace)) if i > 0 => (&trace.hidden[i - 1].output, 0),
            (None, _) => (x, x_at),
        };
        let rows = matrix((n, l.input), [l.input, 1], at);
        let mut y = take(from.matmul(theta, (1, n, l.output, l.input), &rows, &weight)?)?;
        let bias = &parameters[l.bias()..l.scale()];
        let mut norm = None;
        if i + 1 == layers.len() {
            if shape.tanh_output {
                kernels::add_bias_tanh(&mut y, bias);
            } else {
                kernels::add_bias(&mut y, bias);
            }
            return Ok(y);
        } else if l.normalised {
            let scale = &parameters[l.scale()..l.shift()];
            let shift = &parameters[l.shift()..l.end()];
            let mut inverse_std = Vec::with_capacity(n);
            let parts = Norm { scale, shift, epsilon: NORM_EPSILON };
            let out = kernels::norm_relu(&mut y, bias, parts, &mut inverse_std);
            norm = Some((std::mem::replace(&mut y, out), inverse_std));
        } else {
            kernels::add_bias_relu(&mut y, bias);
        }
        let output = CpuStorage::F32(y);
        last = match &mut trace {
            Some(trace) => {
                trace.hidden.push(HiddenTrace { output, norm });
                None
            }
            None => Some(output),
        };
    }
    bail!("a network needs at least one layer")
}

/// Gradients of the parameter, and of the input where asked for.
fn backward(
    shape: &MlpShape,
    x: (&CpuStorage, usize),
    theta: &CpuStorage,
    trace: &Trace,
    mut gradient: Vec<f32>,
    of_input: bool,
) -> Result<(Vec<f32>, Option<Vec<f32>>)> {
    let layers = shape.layers();
    let parameters = theta.as_slice::<f32>()?;
    let mut of_theta = vec![0.0; parameters.len()];
    for (i, l) in layers.iter().enumerate().rev() {
        let n = gradient.len() / l.output;
        if let Some(hidden) = trace.hidden.get(i) {
            kernels::relu_backward(&mut gradient, hidden.output.as_slice::<f32>()?);
            if let Some((normal, inverse_std)) = &hidden.norm {
                let scale = &parameters[l.scale()..l.shift()];
                let (of_scale, of_shift) = of_theta[l.scale()..l.end()].split_at_mut(l.output);
                kernels::norm_backward(&mut gradient, normal, inverse_std, scale, [of_scale, of_shift]);
            }
        }
        kernels::column_sums(&gradient, &mut of_theta[l.bias()..l.scale()]);
        let (from, at) = if i == 0 { x } else { (&trace.hidden[i - 1].output, 0) };
        let storage = CpuStorage::F32(gradient);
        let transposed = matrix((l.output, n), [1, l.output], 0);
        let rows = matrix((n, l.input), [l.input, 1], at);
        let of_weight = take(storage.matmul(from, (1, l.output, l.input, n), &transposed, &rows)?)?;
        of_theta[l.weight..l.bias()].copy_from_slice(&of_weight);
        if i == 0 && !of_input {
            return Ok((of_theta, None));
        }
        let rows = matrix((n, l.output), [l.output, 1], 0);
        let weight = matrix((l.output, l.input), [l.input, 1], l.weight);
        gradient = take(storage.matmul(theta, (1, n, l.input, l.output), &rows, &weight)?)?;
    }
    Ok((of_theta, Some(gradient)))
}

struct MlpOp {
    shape: MlpShape,
    trace: Mutex<Option<Trace>>,
}

impl CustomOp2 for MlpOp {
    fn name(&self) -> &'static str {
        "mlp"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        theta: &CpuStorage,
        _theta_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (n, input) = x_layout.shape().dims2()?;
        let (Some(&expected), Some(&output)) = (self.shape.widths.first(), self.shape.widths.last()) else {
            bail!("a network needs at least one layer");
        };
        let Some((at, end)) = x_layout.contiguous_offsets() else { bail!("rows must be contiguous") };
        if input != expected || end != x.as_slice::<f32>()?.len() {
            bail!("a network for rows of {expected} was given rows of {input}");
        }
        let mut trace = Trace::default();
        let y = forward(&self.shape, x, at, theta, Some(&mut trace))?;
        *self.trace.lock().unwrap_or_else(PoisonError::into_inner) = Some(trace);
        Ok((CpuStorage::F32(y), Shape::from((n, output))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        theta: &Tensor,
        y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(trace) = self.trace.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            bail!("a network's forward pass can be differentiated once");
        };
        let mut gradient: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
        if self.shape.tanh_output {
            read(y, |y, at| {
                kernels::tanh_backward(&mut gradient, &y.as_slice::<f32>()?[at..]);
                Ok(())
            })?;
        }
        let (of_theta, of_x) = read(x, |rows, at| {
            read(theta, |theta, _| backward(&self.shape, (rows, at), theta, &trace, gradient, x.track_op()))
        })?;
        let of_x = of_x.map(|g| Tensor::from_vec(g, x.dims(), x.device())).transpose()?;
        Ok((of_x, Some(Tensor::from_vec(of_theta, theta.dims(), theta.device())?)))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::nn::params::Arrays;

    /// The same network of candle's own operations.
    fn eager(
        shape: &MlpShape,
        parts: &std::collections::BTreeMap<String, Var>,
        x: &Tensor,
    ) -> Result<Tensor> {
        let mut x = x.clone();
        let layers = shape.widths.len() - 1;
        for i in 0..layers {
            let get = |part: &str| parts[&format!("net/{part}")].as_tensor().clone();
            let weight = get(&format!("layer{i}/weight"));
            x = x.matmul(&weight.t()?)?.broadcast_add(&get(&format!("layer{i}/bias")))?;
            if i + 1 < layers {
                if shape.layer_norm {
                    let centred = x.broadcast_sub(&x.mean_keepdim(1)?)?;
                    let variance = centred.sqr()?.mean_keepdim(1)?;
                    let normal = centred.broadcast_div(&(variance + f64::from(NORM_EPSILON))?.sqrt()?)?;
                    let scaled = normal.broadcast_mul(&get(&format!("norm{i}/scale")))?;
                    x = scaled.broadcast_add(&get(&format!("norm{i}/shift")))?;
                }
                x = x.relu()?;
            }
        }
        if shape.tanh_output { x.tanh() } else { Ok(x) }
    }

    #[test]
    fn forward_and_gradients_equal_candles_own() {
        for (layer_norm, tanh_output) in [(false, false), (true, false), (false, true), (true, true)] {
            for widths in [vec![5, 3], vec![5, 33, 17, 2], vec![3, 8, 8, 8, 1]] {
                let shape = MlpShape { widths: widths.clone(), layer_norm, tanh_output };
                let mut params = Params::default();
                let net = Mlp::new(&mut params, 1, "net", shape.clone()).unwrap();
                // Away from the special initial values.
                let theta: Vec<f32> = uniform(2, "theta", net.theta().elem_count(), 0.6);
                net.theta().set(&Tensor::new(theta, &Device::Cpu).unwrap()).unwrap();
                let mut arrays = Arrays::new();
                params.export("", &mut arrays).unwrap();
                let vars = arrays
                    .iter()
                    .map(|(name, (dims, values))| {
                        let tensor = Tensor::from_slice(values, dims.as_slice(), &Device::Cpu).unwrap();
                        (name.clone(), Var::from_tensor(&tensor).unwrap())
                    })
                    .collect();
                let n = 11;
                let rows = uniform(3, "rows", n * widths[0], 2.0);
                let x = Var::from_tensor(&Tensor::from_slice(&rows, (n, widths[0]), &Device::Cpu).unwrap())
                    .unwrap();
                let loss = |y: &Tensor| (y.sqr().unwrap() + y).unwrap().sum_all().unwrap();
                let ours = net.forward(&x).unwrap();
                let theirs = eager(&shape, &vars, &x).unwrap();
                close(&ours, &theirs);
                let inferred = Tensor::new(net.infer(&x).unwrap(), &Device::Cpu).unwrap();
                assert_eq!(
                    inferred.to_vec1::<f32>().unwrap(),
                    ours.flatten_all().unwrap().to_vec1::<f32>().unwrap()
                );
                let ours = loss(&ours).backward().unwrap();
                let theirs = loss(&theirs).backward().unwrap();
                close(ours.get(&x).unwrap(), theirs.get(&x).unwrap());
                let flat = ours.get(net.theta()).unwrap();
                for part in shape.parts("net") {
                    let theirs = theirs.get(&vars[&part.name]).unwrap();
                    let part = flat.narrow(0, part.at, theirs.elem_count()).unwrap();
                    close(&part, &theirs.flatten_all().unwrap());
                }
            }
        }
    }

    fn close(a: &Tensor, b: &Tensor) {
        let a: Vec<f32> = a.flatten_all().unwrap().to_vec1().unwrap();
        let b: Vec<f32> = b.flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(a.len(), b.len());
        let scale = b.iter().fold(1e-3_f32, |m, b| m.max(b.abs()));
        for (a, b) in a.iter().zip(&b) {
            assert!((a - b).abs() < 2e-5 * scale, "{a} {b}");
        }
    }

    #[test]
    fn a_second_backward_is_an_error() {
        let shape = MlpShape { widths: vec![2, 3, 1], layer_norm: true, tanh_output: false };
        let net = Mlp::new(&mut Params::default(), 1, "net", shape).unwrap();
        let x = Tensor::zeros((4, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let loss = net.forward(&x).unwrap().sum_all().unwrap();
        assert!(loss.backward().is_ok());
        assert!(loss.backward().unwrap_err().to_string().contains("once"));
        assert!(net.forward(&Tensor::zeros((4, 3), candle_core::DType::F32, &Device::Cpu).unwrap()).is_err());
    }
}
