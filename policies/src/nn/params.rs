//! Named parameters in a fixed order, and their files.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use surefoot_core::LearnError;

use super::Context;

/// Values of named arrays: shape and row-major numbers.
pub type Arrays = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Trainable parameters by name. `Var`s are shared handles: a network and this set see the same numbers.
#[derive(Clone, Debug, Default)]
pub struct Params {
    vars: BTreeMap<String, Var>,
}

impl Params {
    /// Makes a parameter of `values`.
    ///
    /// # Errors
    /// When the shape does not fit the values.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        values: Vec<f32>,
    ) -> candle_core::Result<Var> {
        let var = Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu)?)?;
        self.vars.insert(name.into(), var.clone());
        Ok(var)
    }

    /// All parameters in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.vars.iter().map(|(name, var)| (name.as_str(), var))
    }

    /// Adds every parameter's values under `prefix`.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn export(&self, prefix: &str, to: &mut Arrays) -> Result<(), LearnError> {
        for (name, var) in &self.vars {
            let values = var.flatten_all().and_then(|t| t.to_vec1()).context("parameter export")?;
            to.insert(format!("{prefix}{name}"), (var.dims().to_vec(), values));
        }
        Ok(())
    }

    /// Checks that `from` holds every parameter under `prefix` in the right shape, without changing anything.
    ///
    /// # Errors
    /// [`LearnError::State`] naming the first difference.
    pub fn check(&self, prefix: &str, from: &Arrays) -> Result<(), LearnError> {
        for (name, var) in &self.vars {
            check_array(&format!("{prefix}{name}"), var.dims(), from)?;
        }
        Ok(())
    }

    /// Takes every parameter's values from under `prefix`; call [`check`](Self::check) first.
    ///
    /// # Errors
    /// When an array is missing or has another shape.
    pub fn import(&self, prefix: &str, from: &Arrays) -> Result<(), LearnError> {
        for (name, var) in &self.vars {
            let values = check_array(&format!("{prefix}{name}"), var.dims(), from)?;
            let tensor = Tensor::from_slice(values, var.dims(), &Device::Cpu).context("parameter import")?;
            var.set(&tensor).context("parameter import")?;
        }
        Ok(())
    }

    /// Takes the values of another set with the same names and shapes.
    ///
    /// # Errors
    /// When they differ.
    pub fn copy_from(&self, other: &Self) -> Result<(), LearnError> {
        let mut arrays = Arrays::new();
        other.export("", &mut arrays)?;
        self.import("", &arrays)
    }

    /// `self <- self + rate (other - self)`, by name.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn average_towards(&self, other: &Self, rate: f64) -> Result<(), LearnError> {
        for (ours, theirs) in self.vars.values().zip(other.vars.values()) {
            let step = (theirs.as_tensor() - ours.as_tensor()).and_then(|d| d * rate);
            let next = step.and_then(|d| ours.as_tensor() + d).context("parameter average")?;
            ours.set(&next).context("parameter average")?;
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
