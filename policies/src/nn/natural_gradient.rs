//! Natural gradients of a Gaussian policy (Kakade 2001; Rajeswaran et al. 2017, arXiv 1703.02660): `F^-1 g` by conjugate gradients, where the Fisher
//! matrix `F` is known by its products alone.
//! ```text
//! F = mean_s J^T diag(exp(-2 log_std)) J   over the mean's parameters, J = d mean(s) / d theta
//! F = 2 slope^2                            over the deviations', slope = d log_std / d parameter
//! ```
//! Nothing couples the two: the distribution is diagonal and its deviation is the same for all states.

use candle_core::Tensor;
use surefoot_core::LearnError;

use super::gaussian_net::GaussianNet;
use super::params::Gradients;

/// A squared residual below this is a solution.
const RESIDUAL: f64 = 1e-10;

/// Numbers of several parameters, one after the other in the order of their names.
#[must_use]
pub fn flattened(gradients: &Gradients) -> Vec<f64> {
    gradients.values().flatten().map(|x| f64::from(*x)).collect()
}

/// The same numbers by name again, as `like` has them.
#[must_use]
pub fn unflattened(flat: &[f64], like: &Gradients) -> Gradients {
    let mut rest = flat.iter();
    let take = |(name, values): (&String, &Vec<f32>)| {
        (name.clone(), rest.by_ref().take(values.len()).map(|x| *x as f32).collect())
    };
    like.iter().map(take).collect()
}

/// Inner product.
#[must_use]
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `x` with `A x = b` after at most so many steps, from 0; `product` is `A`, symmetric and positive (Nocedal, Wright, 2nd ed., algorithm 5.2). Where rounding
/// makes a direction's curvature no longer positive, what was found until then.
///
/// # Errors
/// What `product` says.
pub fn conjugate_gradient<E>(
    product: impl Fn(&[f64]) -> Result<Vec<f64>, E>,
    b: &[f64],
    steps: usize,
) -> Result<Vec<f64>, E> {
    let mut x = vec![0.0; b.len()];
    let (mut residual, mut direction) = (b.to_vec(), b.to_vec());
    let mut square = dot(&residual, &residual);
    for _ in 0..steps {
        if square < RESIDUAL {
            break;
        }
        let moved = product(&direction)?;
        let curvature = dot(&direction, &moved);
        if curvature.is_nan() || curvature <= 0.0 {
            break;
        }
        let step = square / curvature;
        x.iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
        residual.iter_mut().zip(&moved).for_each(|(r, m)| *r -= step * m);
        let next = dot(&residual, &residual);
        let turn = next / square;
        direction.iter_mut().zip(&residual).for_each(|(d, r)| *d = r + turn * *d);
        square = next;
    }
    Ok(x)
}

/// `(F + damping) x = gradient` over these observations `[n, observation_dim]`.
///
/// # Errors
/// When the tensor library fails.
pub fn natural_gradient(
    net: &GaussianNet,
    observation: &Tensor,
    gradient: &Gradients,
    damping: f64,
    steps: usize,
) -> Result<Vec<f64>, LearnError> {
    let product = |v: &[f64]| {
        let mut moved = flattened(&net.fisher_product(observation, &unflattened(v, gradient))?);
        moved.iter_mut().zip(v).for_each(|(m, v)| *m += damping * v);
        Ok(moved)
    };
    conjugate_gradient(product, &flattened(gradient), steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gaussian_net::ActorConfig;
    use crate::nn::inputs::tensor;

    #[test]
    fn conjugate_gradients_solve_what_elimination_solves() {
        let a = [[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]];
        let expected = [0.3, -1.2, 0.7];
        let times = |v: &[f64]| Ok::<_, ()>(a.iter().map(|row| dot(row, v)).collect::<Vec<f64>>());
        let b = times(&expected).unwrap();
        let x = conjugate_gradient(times, &b, 3).unwrap();
        assert!(x.iter().zip(expected).all(|(x, e)| (x - e).abs() < 1e-9), "{x:?}");
        // Fewer steps are nearer than none, and nothing is asked of a solution.
        let one = conjugate_gradient(times, &b, 1).unwrap();
        assert!(dot(&one, &b) > 0.0 && one != x);
        assert_eq!(conjugate_gradient(times, &[0.0; 3], 9).unwrap(), [0.0; 3]);
        let negative = |v: &[f64]| Ok::<_, ()>(v.iter().map(|v| -v).collect::<Vec<f64>>());
        assert_eq!(conjugate_gradient(negative, &[1.0, 2.0], 9).unwrap(), [0.0; 2]);
    }

    /// Mean divergence of the policy at parameters moved by `by * v` from that before.
    fn divergence(net: &GaussianNet, x: &Tensor, v: &Gradients, by: f64) -> f64 {
        let before = (net.infer_mean(x).unwrap(), net.log_std_row().unwrap());
        net.shift(v, by).unwrap();
        let after = (net.infer_mean(x).unwrap(), net.log_std_row().unwrap());
        net.shift(v, -by).unwrap();
        crate::nn::gaussian::divergence((&before.0, &before.1), (&after.0, &after.1))
    }

    #[test]
    fn a_fisher_product_is_the_divergences_curvature() {
        let config = ActorConfig { hidden: vec![9, 7], initial_std: 0.4, ..ActorConfig::default() };
        let net = GaussianNet::new(&config, [4, 3], &2.into(), "test").unwrap();
        let mut stream = surefoot_core::Stream::new(5, "fisher", 0);
        let mut normal =
            |n: usize, scale: f64| -> Vec<f32> { (0..n).map(|_| (scale * stream.normal()) as f32).collect() };
        // More rows than a block, and away from the small last layer of the start.
        let x = tensor(normal(4 * 300, 1.0), 4).unwrap();
        let like: Gradients = net.parameters().map(|(name, n)| (name.to_owned(), normal(n, 0.3))).collect();
        net.shift(&like, 1.0).unwrap();
        let v: Gradients = like.iter().map(|(name, l)| (name.clone(), normal(l.len(), 1.0))).collect();
        let product = net.fisher_product(&x, &v).unwrap();
        let quadratic = dot(&flattened(&v), &flattened(&product));
        let small = 2e-3;
        let sum = divergence(&net, &x, &v, small) + divergence(&net, &x, &v, -small);
        let curvature = sum / (small * small);
        assert!((quadratic / curvature - 1.0).abs() < 0.02, "{quadratic} {curvature}");
        // Symmetric.
        let w: Gradients = like.iter().map(|(name, l)| (name.clone(), normal(l.len(), 1.0))).collect();
        let other = net.fisher_product(&x, &w).unwrap();
        let (one, two) = (dot(&flattened(&w), &flattened(&product)), dot(&flattened(&v), &flattened(&other)));
        assert!((one - two).abs() < 1e-3 * quadratic.abs(), "{one} {two}");
    }
}
