//! Where networks are worked out: by the fused way over the processor's cache, or by the tensor library's own operations and automatic derivatives, on
//! the processor or an accelerator.

use candle_core::Device as TensorDevice;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::LearnError;

/// What a learner's networks run on, as a configuration says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// The processor, by the fused way: the same bits on every run and any number of threads.
    #[default]
    Cpu,
    /// The processor, by the tensor library's own operations: slower, and what `cuda` is compared with.
    CpuAutograd,
    /// The first CUDA device, in a build with the feature `cuda`. Parameters, optimisers and losses stay on the processor; whether two runs give the same
    /// bits is up to the device's library.
    Cuda,
}

impl Device {
    /// Whether it is the default.
    #[must_use]
    pub const fn is_cpu(&self) -> bool {
        matches!(self, Self::Cpu)
    }

    /// The device itself.
    ///
    /// # Errors
    /// [`LearnError::Config`] where this build or this machine has none.
    pub fn compute(self) -> Result<Compute, LearnError> {
        match self {
            Self::Cpu => Ok(Compute::Fused),
            Self::CpuAutograd => Ok(Compute::Autograd(TensorDevice::Cpu)),
            Self::Cuda => cuda().map(Compute::Autograd).map_err(|reason| LearnError::Config {
                learner: "of this run",
                key: "device",
                reason: format!("cannot be \"cuda\": {reason} (or take \"cpu\")"),
            }),
        }
    }
}

#[cfg(feature = "cuda")]
fn cuda() -> Result<TensorDevice, String> {
    TensorDevice::new_cuda(0).map_err(|e| format!("no CUDA device could be opened: {e}"))
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Result<TensorDevice, String> {
    Err("this program was built without it; build it with `--features cuda`".into())
}

/// How a network's products are done.
#[derive(Clone, Debug, Default)]
pub enum Compute {
    /// All layers in one operation on the processor.
    #[default]
    Fused,
    /// Layer by layer on this device.
    Autograd(TensorDevice),
}

/// What a new network begins with: its seed, and where it will be worked out.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Where its numbers come from.
    pub seed: u64,
    /// Where it runs.
    pub compute: Compute,
}

impl From<u64> for Start {
    /// The fused way.
    fn from(seed: u64) -> Self {
        Self { seed, compute: Compute::Fused }
    }
}
