//! Environments behind a link. One file and one registry line each.

pub mod gymnasium;
pub mod served;

use surefoot_core::{EnvBatch, EnvError};

/// What every environment is built in.
#[derive(Clone, Copy, Debug)]
pub struct EnvContext {
    /// Worlds that are wanted; a server may have fewer.
    pub worlds: usize,
}

surefoot_core::registry! {
    /// A choice of environment in another process.
    pub enum LinkedEnvConfig: fn(&EnvContext) -> Result<Box<dyn EnvBatch>, EnvError> {
        /// An environment of Gymnasium (MuJoCo, gymnasium-robotics, …), in a Python process; no safety chain guards it.
        Gymnasium(gymnasium::GymnasiumConfig) = "gymnasium",
        /// An environment that somebody serves in lockstep: `surefoot serve-env`, or `python -m surefoot_gym serve`.
        Served(served::ServedConfig) = "served",
    }
}

/// Wraps what went wrong in building `env`.
pub(crate) fn build_error(env: &str, error: impl std::fmt::Display) -> EnvError {
    EnvError::Build { env: env.to_owned(), reason: error.to_string() }
}
