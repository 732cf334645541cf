//! Multilayer perceptrons as one differentiable operation: all layers forward, all layers back, over one flat parameter.
//!
//! An eager graph of single operations spends most of its time on intermediate tensors; candle sees one node per network here,
//! and its autograd carries the gradients between networks and losses.

mod autograd;
mod passes;
mod tangent;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Storage, Tensor, Var, bail};

use super::compute::{Compute, Start};
use super::gaussian::contiguous;
use super::init::uniform;
use super::kernels;
use super::params::{Params, Part, transposed};
use autograd::Graph;
use passes::{Backward, Trace, WayBack, forward, tune_products};
pub use passes::{NORM_EPSILON, Workspace};

/// Bound of the last layer's initial weights: outputs start near zero.
const LAST_LAYER_BOUND: f64 = 3e-3;

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
    /// Weight `[input, output]` (so that the way forward, the most frequent, reads it as it stands) at this offset, bias `[output]` after it, then scale and shift where normalised.
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

    /// Numbers that it learns.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.layers().last().map_or(0, |l| l.end())
    }

    /// Initial values of the parameter, `[parameters]`: hidden weights uniform in `1 / sqrt(in)`, biases zero, scales one, the last layer near
    /// zero. Every part draws from the stream of its own name.
    #[must_use]
    pub fn initial(&self, seed: u64, name: &str) -> Vec<f32> {
        let layers = self.layers();
        let mut values = vec![0.0; layers.last().map_or(0, |l| l.end())];
        for (i, l) in layers.iter().enumerate() {
            let bound = if i + 1 == layers.len() { LAST_LAYER_BOUND } else { 1.0 / (l.input as f64).sqrt() };
            let weight = uniform(seed, &format!("{name}/layer{i}/weight"), l.output * l.input, bound);
            values[l.weight..l.bias()].copy_from_slice(&transposed(&weight, [l.output, l.input]));
            if l.normalised {
                values[l.scale()..l.shift()].fill(1.0);
            }
        }
        values
    }

    /// Rows `[n * input]` to rows `[n * output]` by this parameter, without tensors.
    #[must_use]
    pub fn infer_rows(&self, x: &[f32], theta: &[f32], workspace: &Workspace) -> Vec<f32> {
        forward(self, x, theta, workspace, None)
    }

    /// The gradient of the parameter, `[parameters]`: `of_output` makes the gradient of the output rows, `[n * output]`, of themselves.
    /// `tanh_output` is not looked at.
    pub fn gradient_of_rows(
        &self,
        x: &[f32],
        theta: &[f32],
        workspace: &Workspace,
        of_output: impl FnOnce(&[f32]) -> Vec<f32>,
    ) -> Vec<f32> {
        let mut trace = Trace::new();
        let y = forward(self, x, theta, workspace, Some(&mut trace));
        let gradient = of_output(&y);
        let layers = self.layers();
        let way = WayBack {
            layers: &layers,
            x,
            theta,
            workspace,
            trace: &trace,
            gradient: &gradient,
            of_input: false,
        };
        let of_theta = way.run(false).of_theta;
        trace.into_iter().flatten().for_each(|h| h.give(workspace));
        of_theta
    }

    /// The output's dimensions for an input of this layout.
    fn check(&self, x: &Layout) -> Result<(usize, usize)> {
        let (n, input) = x.shape().dims2()?;
        match (self.widths.first(), self.widths.last()) {
            (Some(&expected), Some(&output)) if self.widths.len() > 1 && input == expected => Ok((n, output)),
            _ => bail!("a network of widths {:?} was given rows of {input}", self.widths),
        }
    }

    /// Names, shapes and offsets: `NAME/layerI/{weight,bias}`, `NAME/normI/{scale,shift}`.
    fn parts(&self, name: &str) -> Vec<Part> {
        let mut parts = Vec::new();
        for (i, l) in self.layers().into_iter().enumerate() {
            parts.push(Part {
                name: format!("{name}/layer{i}/weight"),
                dims: vec![l.output, l.input],
                at: l.weight,
                by_columns: true,
            });
            let mut part =
                |name: String, dims: Vec<usize>, at| parts.push(Part { name, dims, at, by_columns: false });
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
    workspace: Arc<Workspace>,
    halves: bool,
    compute: Compute,
}

/// An output on its way to a loss.
#[derive(Debug)]
pub struct Pass {
    /// `[batch, output]`, differentiable once.
    pub output: Tensor,
    gradient: Arc<Mutex<Option<Vec<f32>>>>,
}

impl Pass {
    /// The gradient of the network's parameter, `[parameters]`, after `backward` of a loss; `None` before. It is handed over here
    /// because candle's own store would add it to zeros first, on threads of its own choosing.
    #[must_use]
    pub fn take_gradient(&self) -> Option<Vec<f32>> {
        lock(&self.gradient).take()
    }

    /// The gradient of the network's parameter for this gradient of the output, `[batch * output]`.
    ///
    /// # Errors
    /// When its length does not fit, or the pass was differentiated before.
    pub fn pull(&self, of_output: Vec<f32>) -> Result<Vec<f32>> {
        let of_output = Tensor::from_vec(of_output, self.output.dims(), self.output.device())?;
        (&self.output * of_output)?.sum_all()?.backward()?;
        Ok(self.take_gradient().unwrap_or_default())
    }
}

impl Mlp {
    /// With its [initial](MlpShape::initial) values.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn new(params: &mut Params, start: &Start, name: &str, shape: MlpShape) -> Result<Self> {
        let Start { seed, compute } = start;
        tune_products();
        let values = shape.initial(*seed, name);
        let theta = params.add(name, shape.parts(name), &values)?;
        Ok(Self { shape, theta, workspace: Arc::default(), halves: false, compute: compute.clone() })
    }

    /// The same network, whose gradients are sums over two halves of the batch: for one that learns beside an even number of others, so that
    /// two threads have the same to do. Whether it is so changes the rounding, the number of threads does not.
    #[must_use]
    pub fn in_halves(mut self) -> Self {
        self.halves = true;
        self
    }

    /// The parameter, `[parameters]`.
    #[must_use]
    pub const fn theta(&self) -> &Var {
        &self.theta
    }

    /// `[batch, input]` to `[batch, output]`.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Pass> {
        let gradient = Arc::default();
        let op = MlpOp {
            shape: self.shape.clone(),
            workspace: Arc::clone(&self.workspace),
            trace: Mutex::new(None),
            gradient: Arc::clone(&gradient),
            halves: self.halves,
            compute: self.compute.clone(),
            of_input: x.track_op() || x.is_variable(),
        };
        Ok(Pass { output: x.apply_op2(&self.theta, op)?, gradient })
    }

    /// The same without a gradient: `[batch, input]` to rows `[batch * output]`.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn infer(&self, x: &Tensor) -> Result<Vec<f32>> {
        self.shape.check(x.layout())?;
        let run = |x: &[f32], theta: &[f32]| match &self.compute {
            Compute::Fused => Ok(forward(&self.shape, x, theta, &self.workspace, None)),
            Compute::Autograd(device) => autograd::infer(&self.shape, x, theta, device),
        };
        read(x, |x| read(&self.theta, |theta| run(x, theta)))
    }

    /// How the output moves with the parameter: `d y / d theta * v` for `v` `[parameters]`, rows `[batch * output]`.
    ///
    /// # Errors
    /// When a shape does not fit, or layers are normalised.
    pub fn tangent(&self, x: &Tensor, v: &[f32]) -> Result<Vec<f32>> {
        self.shape.check(x.layout())?;
        read(x, |x| read(&self.theta, |theta| tangent::tangent(&self.shape, x, theta, v)))
    }

    /// Gives a gradient's memory back for the next one.
    pub fn recycle(&self, gradient: Vec<f32>) {
        self.workspace.give(gradient);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs on a contiguous tensor's numbers.
fn read<R>(tensor: &Tensor, run: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let (guard, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*guard else { bail!("a network needs rows on the CPU") };
    run(contiguous(storage, layout)?)
}

struct MlpOp {
    shape: MlpShape,
    workspace: Arc<Workspace>,
    trace: Mutex<Option<Way>>,
    gradient: Arc<Mutex<Option<Vec<f32>>>>,
    halves: bool,
    compute: Compute,
    of_input: bool,
}

/// A way forward that was gone.
enum Way {
    Fused(Trace),
    Autograd(Graph),
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
        theta_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let dims = self.shape.check(x_layout)?;
        let (x, theta) = (contiguous(x, x_layout)?, contiguous(theta, theta_layout)?);
        let (way, y) = match &self.compute {
            Compute::Fused => {
                let mut trace = Trace::new();
                let y = forward(&self.shape, x, theta, &self.workspace, Some(&mut trace));
                (Way::Fused(trace), y)
            }
            Compute::Autograd(device) => {
                let (graph, y) = Graph::new(&self.shape, x, theta, device, self.of_input)?;
                (Way::Autograd(graph), y)
            }
        };
        *lock(&self.trace) = Some(way);
        Ok((CpuStorage::F32(y), Shape::from(dims)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        theta: &Tensor,
        y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(way) = lock(&self.trace).take() else {
            bail!("a network's forward pass can be differentiated once");
        };
        let mut gradient: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
        let trace = match way {
            Way::Fused(trace) => trace,
            Way::Autograd(graph) => {
                let Backward { of_theta, of_x } = graph.back(gradient)?;
                *lock(&self.gradient) = Some(of_theta);
                return Ok((of_x.map(|g| Tensor::from_vec(g, x.dims(), x.device())).transpose()?, None));
            }
        };
        if self.shape.tanh_output {
            read(y, |y| {
                kernels::tanh_backward(&mut gradient, y);
                Ok(())
            })?;
        }
        let Backward { of_theta, of_x } = read(x, |rows| {
            read(theta, |theta| {
                let way = WayBack {
                    layers: &self.shape.layers(),
                    x: rows,
                    theta,
                    workspace: &self.workspace,
                    trace: &trace,
                    gradient: &gradient,
                    of_input: self.of_input,
                };
                Ok(way.run(self.halves))
            })
        })?;
        trace.into_iter().flatten().for_each(|h| h.give(&self.workspace));
        *lock(&self.gradient) = Some(of_theta);
        Ok((of_x.map(|g| Tensor::from_vec(g, x.dims(), x.device())).transpose()?, None))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::passes::BLOCK;
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
            for (widths, n) in [
                (vec![5, 3], 11),
                (vec![5, 33, 17, 2], 11),
                (vec![3, 8, 8, 8, 1], 11),
                (vec![4, 9, 2], 2 * BLOCK + 7),
            ] {
                let shape = MlpShape { widths: widths.clone(), layer_norm, tanh_output };
                let mut params = Params::default();
                let mut net = Mlp::new(&mut params, &1.into(), "net", shape.clone()).unwrap();
                if tanh_output {
                    net = net.in_halves();
                }
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
                let rows = uniform(3, "rows", n * widths[0], 2.0);
                let x = Var::from_tensor(&Tensor::from_slice(&rows, (n, widths[0]), &Device::Cpu).unwrap())
                    .unwrap();
                let loss = |y: &Tensor| (y.sqr().unwrap() + y).unwrap().sum_all().unwrap();
                let pass = net.forward(&x).unwrap();
                let ours = &pass.output;
                let theirs = eager(&shape, &vars, &x).unwrap();
                close(ours, &theirs);
                let inferred = Tensor::new(net.infer(&x).unwrap(), &Device::Cpu).unwrap();
                assert_eq!(
                    inferred.to_vec1::<f32>().unwrap(),
                    ours.flatten_all().unwrap().to_vec1::<f32>().unwrap()
                );
                let ours = loss(ours).backward().unwrap();
                let theirs = loss(&theirs).backward().unwrap();
                close(ours.get(&x).unwrap(), theirs.get(&x).unwrap());
                let flat = Tensor::new(pass.take_gradient().unwrap(), &Device::Cpu).unwrap();
                for part in shape.parts("net") {
                    let theirs = theirs.get(&vars[&part.name]).unwrap();
                    let theirs = if part.by_columns {
                        theirs.t().unwrap().contiguous().unwrap()
                    } else {
                        theirs.clone()
                    };
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
    fn the_tensor_librarys_way_gives_what_the_fused_way_gives() {
        for (layer_norm, tanh_output) in [(false, false), (true, false), (false, true)] {
            let shape = MlpShape { widths: vec![5, 33, 17, 2], layer_norm, tanh_output };
            let build = |compute| {
                let start = Start { seed: 1, compute };
                Mlp::new(&mut Params::default(), &start, "net", shape.clone()).unwrap()
            };
            let (ours, theirs) = (build(Compute::Autograd(Device::Cpu)), build(Compute::Fused));
            let x = Tensor::from_vec(uniform(3, "rows", 11 * 5, 2.0), (11, 5), &Device::Cpu).unwrap();
            let run = |net: &Mlp, x: &Tensor| {
                let pass = net.forward(x).unwrap();
                let loss = (pass.output.sqr().unwrap() + &pass.output).unwrap().sum_all().unwrap();
                let store = loss.backward().unwrap();
                let of_x = store.get(x).map(|g| g.flatten_all().unwrap());
                let of_theta = Tensor::new(pass.take_gradient().unwrap(), &Device::Cpu).unwrap();
                (pass.output, of_theta, of_x)
            };
            let var = Var::from_tensor(&x).unwrap();
            let ((y, of_theta, of_x), (z, others, of_others)) = (run(&ours, &var), run(&theirs, &var));
            close(&y, &z);
            close(&of_theta, &others);
            close(&of_x.unwrap(), &of_others.unwrap());
            // Rows that nobody asks a gradient of have none.
            assert!(run(&ours, &x).2.is_none());
            let inferred = Tensor::new(ours.infer(&x).unwrap(), &Device::Cpu).unwrap();
            close(&inferred, &z);
        }
    }

    #[test]
    fn a_second_backward_is_an_error() {
        let shape = MlpShape { widths: vec![2, 3, 1], layer_norm: true, tanh_output: false };
        let net = Mlp::new(&mut Params::default(), &1.into(), "net", shape).unwrap();
        let x = Tensor::zeros((4, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let pass = net.forward(&x).unwrap();
        let loss = pass.output.sum_all().unwrap();
        assert!(pass.take_gradient().is_none());
        assert!(loss.backward().is_ok());
        assert!(loss.backward().unwrap_err().to_string().contains("once"));
        assert!(net.forward(&Tensor::zeros((4, 3), candle_core::DType::F32, &Device::Cpu).unwrap()).is_err());
    }
}
