//! Named parameters in a fixed order, and their files.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{CpuStorage, Device, InplaceOp2, Layout, Tensor, Var};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use surefoot_core::LearnError;

use super::{Context, kernels};

/// Values of named arrays: shape and row-major numbers.
pub type Arrays = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Gradients of flat parameters by name.
pub type Gradients = BTreeMap<String, Vec<f32>>;

/// Euclidean norm of gradients.
#[must_use]
pub fn gradient_norm(gradients: &Gradients) -> f64 {
    gradients.values().map(|g| f64::from(kernels::sum_of_squares(g))).sum::<f64>().sqrt()
}

/// A named array inside a flat parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Full name.
    pub name: String,
    /// Its shape.
    pub dims: Vec<usize>,
    /// Where it starts.
    pub at: usize,
    /// Whether it stands there by columns: `[out, in]` outside, `[in, out]` in the parameter.
    pub by_columns: bool,
}

/// `[rows, columns]` to `[columns, rows]`.
#[must_use]
pub fn transposed(values: &[f32], dims: [usize; 2]) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    kernels::transpose(values, dims, &mut out);
    out
}

impl Part {
    /// Its place in the parameter.
    pub(crate) fn range(&self) -> Range<usize> {
        self.at..self.at + self.dims.iter().product::<usize>()
    }

    /// From its numbers in the parameter to those of the array, or back.
    pub(crate) fn turned(&self, values: &[f32], back: bool) -> Vec<f32> {
        match (self.by_columns, self.dims.as_slice()) {
            (true, &[out, input]) if back => transposed(values, [out, input]),
            (true, &[out, input]) => transposed(values, [input, out]),
            _ => values.to_vec(),
        }
    }
}

/// Trainable parameters by name: each is one flat `Var` of named parts. `Var`s are shared handles: a network and this set see
/// the same numbers.
#[derive(Clone, Debug, Default)]
pub struct Params {
    entries: BTreeMap<String, (Var, Vec<Part>)>,
}

impl Params {
    /// Makes a flat parameter of `values`; `parts` say what is in it.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn add(&mut self, name: &str, parts: Vec<Part>, values: &[f32]) -> candle_core::Result<Var> {
        let var = Var::from_tensor(&Tensor::from_slice(values, values.len(), &Device::Cpu)?)?;
        self.entries.insert(name.to_owned(), (var.clone(), parts));
        Ok(var)
    }

    /// All flat parameters in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.entries.iter().map(|(name, (var, _))| (name.as_str(), var))
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.entries.values().flat_map(|(_, parts)| parts)
    }

    /// Adds every part's values under `prefix`.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn export(&self, prefix: &str, to: &mut Arrays) -> Result<(), LearnError> {
        for (var, parts) in self.entries.values() {
            let values: Vec<f32> = var.to_vec1().context("parameter export")?;
            for part in parts {
                let array = (part.dims.clone(), part.turned(&values[part.range()], false));
                to.insert(format!("{prefix}{}", part.name), array);
            }
        }
        Ok(())
    }

    /// Checks that `from` holds every part under `prefix` in the right shape, without changing anything.
    ///
    /// # Errors
    /// [`LearnError::State`] naming the first difference.
    pub fn check(&self, prefix: &str, from: &Arrays) -> Result<(), LearnError> {
        for part in self.parts() {
            check_array(&format!("{prefix}{}", part.name), &part.dims, from)?;
        }
        Ok(())
    }

    /// Takes every part's values from under `prefix`; call [`check`](Self::check) first.
    ///
    /// # Errors
    /// When an array is missing or has another shape.
    pub fn import(&self, prefix: &str, from: &Arrays) -> Result<(), LearnError> {
        for (var, parts) in self.entries.values() {
            let mut values = vec![0.0; var.elem_count()];
            for part in parts {
                let array = check_array(&format!("{prefix}{}", part.name), &part.dims, from)?;
                values[part.range()].copy_from_slice(&part.turned(array, true));
            }
            let tensor = Tensor::from_vec(values, var.dims(), &Device::Cpu).context("parameter import")?;
            var.set(&tensor).context("parameter import")?;
        }
        Ok(())
    }

    /// All flat parameters by name.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn values(&self) -> Result<Gradients, LearnError> {
        let values = |(name, var): (&str, &Var)| Ok((name.to_owned(), var.to_vec1()?));
        self.iter().map(values).collect::<candle_core::Result<_>>().context("parameters")
    }

    /// Takes these values, by name; what they do not name stands still.
    ///
    /// # Errors
    /// When a length does not fit.
    pub fn set_values(&self, values: &Gradients) -> Result<(), LearnError> {
        for (name, (var, _)) in &self.entries {
            let Some(values) = values.get(name) else { continue };
            let tensor = Tensor::from_slice(values, var.dims(), &Device::Cpu).context("parameter step")?;
            var.set(&tensor).context("parameter step")?;
        }
        Ok(())
    }

    /// Adds `factor` times `direction`, by name; what it does not name stands still.
    ///
    /// # Errors
    /// When a length does not fit.
    pub fn shift(&self, direction: &Gradients, factor: f64) -> Result<(), LearnError> {
        let mut values = self.values()?;
        for (name, values) in &mut values {
            for (x, d) in values.iter_mut().zip(direction.get(name).into_iter().flatten()) {
                *x = (f64::from(*x) + factor * f64::from(*d)) as f32;
            }
        }
        self.set_values(&values)
    }

    /// `self <- self + rate (other - self)`, by name.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn average_towards(&self, other: &Self, rate: f64) -> Result<(), LearnError> {
        let step = Average { rate: rate as f32 };
        for ((ours, _), (theirs, _)) in self.entries.values().zip(other.entries.values()) {
            ours.inplace_op2(theirs, &step).context("parameter average")?;
        }
        Ok(())
    }
}

struct Average {
    rate: f32,
}

impl InplaceOp2 for Average {
    fn name(&self) -> &'static str {
        "average"
    }
    fn cpu_fwd(
        &self,
        ours: &mut CpuStorage,
        _: &Layout,
        theirs: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<()> {
        let theirs = theirs.as_slice::<f32>()?;
        match ours {
            CpuStorage::F32(ours) => kernels::average_towards(ours, theirs, self.rate),
            _ => candle_core::bail!("parameters are f32"),
        }
        Ok(())
    }
}

/// The values of `name` if they have the shape `dims` and are finite.
///
/// # Errors
/// [`LearnError::State`] otherwise.
pub fn check_array<'a>(name: &str, dims: &[usize], from: &'a Arrays) -> Result<&'a [f32], LearnError> {
    let state =
        |expected: String, found: String| LearnError::State { what: name.to_owned(), expected, found };
    let Some((shape, values)) = from.get(name) else {
        return Err(state(format!("an array of shape {dims:?}"), "none".into()));
    };
    if shape != dims {
        return Err(state(format!("shape {dims:?}"), format!("shape {shape:?}")));
    }
    if values.iter().any(|x| !x.is_finite()) {
        return Err(state("finite numbers".into(), "NaN or an infinity".into()));
    }
    Ok(values)
}

/// Arrays as safetensors bytes, in the order of their names.
///
/// # Errors
/// What the format cannot hold.
pub fn to_safetensors(arrays: &Arrays) -> Result<Vec<u8>, String> {
    let bytes: BTreeMap<&str, (Vec<usize>, Vec<u8>)> = arrays
        .iter()
        .map(|(name, (shape, values))| {
            (name.as_str(), (shape.clone(), values.iter().flat_map(|x| x.to_le_bytes()).collect()))
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, (shape, data))| TensorView::new(Dtype::F32, shape.clone(), data).map(|v| (*name, v)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| e.to_string())?;
    safetensors::serialize(views, None).map_err(|e| e.to_string())
}

/// Arrays from safetensors bytes. Damaged or truncated bytes are an error.
///
/// # Errors
/// What was wrong with them.
pub fn from_safetensors(bytes: &[u8]) -> Result<Arrays, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let mut arrays = Arrays::new();
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(format!("{name} holds {:?}, expected F32", view.dtype()));
        }
        let values =
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        arrays.insert(name, (view.shape().to_vec(), values));
    }
    Ok(arrays)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrays() -> Arrays {
        Arrays::from([
            ("a".into(), (vec![2, 2], vec![1.0, -2.0, 0.5, f32::MIN_POSITIVE])),
            ("b".into(), (vec![1], vec![3.0])),
        ])
    }

    #[test]
    fn what_stands_by_columns_is_exported_by_rows_and_comes_back() {
        let part = |name: &str, dims: &[usize], at, by_columns| Part {
            name: name.into(),
            dims: dims.to_vec(),
            at,
            by_columns,
        };
        let parts = vec![part("w", &[2, 3], 0, true), part("b", &[2], 6, false)];
        let mut params = Params::default();
        let var = params.add("net", parts, &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0, 7.0, 8.0]).unwrap();
        let mut arrays = Arrays::new();
        params.export("", &mut arrays).unwrap();
        assert_eq!(arrays["w"], (vec![2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        assert_eq!(arrays["b"], (vec![2], vec![7.0, 8.0]));
        let before: Vec<f32> = var.to_vec1().unwrap();
        var.set(&var.zeros_like().unwrap()).unwrap();
        params.import("", &arrays).unwrap();
        assert_eq!(var.to_vec1::<f32>().unwrap(), before);
    }

    #[test]
    fn safetensors_round_trip_keeps_every_bit() {
        let bytes = to_safetensors(&arrays()).unwrap();
        assert_eq!(from_safetensors(&bytes).unwrap(), arrays());
    }

    #[test]
    fn cut_or_damaged_safetensors_are_errors_and_never_panic() {
        let bytes = to_safetensors(&arrays()).unwrap();
        for cut in 0..bytes.len() {
            assert!(from_safetensors(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for i in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[i] ^= 0xff;
            let _ = from_safetensors(&damaged);
        }
        assert!(from_safetensors(&[0xff; 64]).is_err());
    }

    #[test]
    fn a_missing_array_another_shape_and_nan_are_named() {
        let text = |r: Result<&[f32], LearnError>| r.unwrap_err().to_string();
        assert!(
            text(check_array("c", &[1], &arrays())).contains("c: expected an array of shape [1], found none")
        );
        assert!(text(check_array("a", &[4], &arrays())).contains("expected shape [4], found shape [2, 2]"));
        let nan = Arrays::from([("a".into(), (vec![1], vec![f32::NAN]))]);
        assert!(text(check_array("a", &[1], &nan)).contains("NaN"));
    }
}
