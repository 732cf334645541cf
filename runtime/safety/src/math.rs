//! The functions of floating-point numbers that `core` does not have: those of `std`, or of `libm` on a machine without one. Root, floor and
//! ceiling are exact in both; sine and cosine may differ in the last bit.

#[cfg(feature = "std")]
mod functions {
    pub fn sqrt(x: f64) -> f64 {
        x.sqrt()
    }
    pub fn floor(x: f64) -> f64 {
        x.floor()
    }
    pub fn ceil(x: f64) -> f64 {
        x.ceil()
    }
    pub fn sin_cos(x: f64) -> (f64, f64) {
        x.sin_cos()
    }
}

#[cfg(not(feature = "std"))]
mod functions {
    pub use libm::{ceil, floor, sqrt};

    pub fn sin_cos(x: f64) -> (f64, f64) {
        libm::sincos(x)
    }
}

pub(crate) use functions::{ceil, floor, sin_cos, sqrt};
