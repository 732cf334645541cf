//! Algorithm distillation (Laskin et al. 2022, arXiv 2210.14215): a transformer that imitates learning algorithms, and so learns in
//! context, with frozen weights.
//!
//! [`Distiller`](distiller::Distiller) trains it on learning histories, [`InContextPolicy`](policy::InContextPolicy) is what acts. Forward
//! and backward passes are written by hand over slices: the tensor library's fused softmax and layer normalisation stop gradients.

pub mod artifact;
pub mod attention;
pub mod config;
pub mod data;
pub mod decode;
pub mod distiller;
pub mod kernels;
pub mod network;
pub mod policy;
mod products;
pub mod shape;
pub mod tokens;
pub mod windows;

pub use artifact::Acting;
pub use config::{ModelConfig, Positions, StepTokens};
pub use data::WindowConfig;
pub use distiller::{Distiller, DistillerConfig, OptimizerConfig};
pub use policy::InContextPolicy;
