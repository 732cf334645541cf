//! A network's pass that is differentiated by its input too.

use candle_core::{Result, Tensor, Var, bail};

use super::mlp::{Mlp, Pass};

/// An output on its way to a loss, with what went in.
#[derive(Debug)]
pub struct InputPass {
    /// Rows of the network's output.
    pub output: Vec<f32>,
    pass: Pass,
    input: Var,
}

impl InputPass {
    /// `[batch, input]` through the network.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn new(network: &Mlp, rows: &Tensor) -> Result<Self> {
        let input = Var::from_tensor(rows)?;
        let pass = network.forward(&input)?;
        Ok(Self { output: pass.output.flatten_all()?.to_vec1()?, pass, input })
    }

    /// The gradients of the network's parameter and of the input's last `columns`, rows, for this one of the output.
    ///
    /// # Errors
    /// When its length does not fit, or the pass was differentiated before.
    pub fn pull(&self, of_output: Vec<f32>, columns: usize) -> Result<(Vec<f32>, Vec<f32>)> {
        let output = &self.pass.output;
        let of_output = Tensor::from_vec(of_output, output.dims(), output.device())?;
        let store = (output * of_output)?.sum_all()?.backward()?;
        let Some(g) = store.get(&self.input) else { bail!("the network's input has no gradient") };
        let of_input = g.narrow(1, g.dim(1)? - columns, columns)?.flatten_all()?.to_vec1()?;
        Ok((self.pass.take_gradient().unwrap_or_default(), of_input))
    }
}
