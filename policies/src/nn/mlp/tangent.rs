//! How outputs move with the parameters: the way forward of a derivative (Pearlmutter 1994, Neural Computation 6, 147).

use candle_core::{Result, bail};
use faer::{Accum, MatRef};

use super::MlpShape;
use super::passes::{BLOCK, product};

/// `d y / d theta * v`, rows of the output, for rows `x`, at `theta`; `y` is the network's output.
pub(super) fn tangent(shape: &MlpShape, x: &[f32], theta: &[f32], v: &[f32]) -> Result<Vec<f32>> {
    if shape.layer_norm {
        bail!("a network with layer normalisation has no tangent here");
    }
    if v.len() != theta.len() {
        bail!("a tangent of {} parameters was given {} numbers", theta.len(), v.len());
    }
    let layers = shape.layers();
    let Some(first) = layers.first() else { return Ok(Vec::new()) };
    let mut tangents = Vec::new();
    for rows in x.chunks(BLOCK * first.input) {
        let n = rows.len() / first.input;
        let (mut h, mut dh) = (rows.to_vec(), Vec::new());
        for (i, l) in layers.iter().enumerate() {
            let (weight, bias) = (&theta[l.weight..l.bias()], &theta[l.bias()..l.scale()]);
            let (of_weight, of_bias) = (&v[l.weight..l.bias()], &v[l.bias()..l.scale()]);
            let matrix = |values| MatRef::from_row_major_slice(values, l.input, l.output);
            let (mut y, mut dy) = (bias.repeat(n), of_bias.repeat(n));
            let size = [n, l.output];
            let from = MatRef::from_row_major_slice(&h, n, l.input);
            product(&mut y, size, Accum::Add, from, matrix(weight));
            product(&mut dy, size, Accum::Add, from, matrix(of_weight));
            if i > 0 {
                let moved = MatRef::from_row_major_slice(&dh, n, l.input);
                product(&mut dy, size, Accum::Add, moved, matrix(weight));
            }
            let last = i + 1 == layers.len();
            for (y, dy) in y.iter_mut().zip(&mut dy) {
                if last && shape.tanh_output {
                    *dy *= 1.0 - y.tanh().powi(2);
                } else if !last && *y <= 0.0 {
                    (*y, *dy) = (0.0, 0.0);
                }
            }
            (h, dh) = (y, dy);
        }
        tangents.extend(dh);
    }
    Ok(tangents)
}
