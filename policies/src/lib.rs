//! Learners and policies on candle: advantage-weighted actor-critic ([`awac`]), behaviour cloning ([`bc`]), what they are compared
//! with ([`awr`], [`bcq`], [`bear`], [`cql`], [`dapg`], [`iql`], [`sac`], [`td3_bc`]), the parts they share ([`nn`]), and the
//! algorithms whose learning is recorded ([`sources`]).
//!
//! A new algorithm is one file here and one line in [`LearnerConfig`]. Tensors stay inside this crate: rows of `f32` and
//! safetensors bytes cross its border.

pub mod awac;
pub mod awr;
pub mod bc;
pub mod bcq;
pub mod bear;
pub mod cql;
pub mod dapg;
pub mod in_context;
pub mod iql;
pub mod nn;
pub mod onnx;
pub mod sac;
pub mod sources;
pub mod td3_bc;

pub use nn::compute::Device;
pub use sources::{SourceConfig, SourceContext, SourceError};

use serde::Serialize;
use surefoot_core::{EnvSpec, LearnError, Learner, Policy, PolicyArtifact, PolicyError};

/// What a learner is built for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LearnerContext {
    /// What its policy will see and do.
    pub spec: EnvSpec,
    /// Where its initial weights and its noise come from.
    pub seed: u64,
    /// Threads that an update may use. Changes the speed and nothing else: results are the same bits for every number.
    pub threads: usize,
    /// What its networks run on.
    pub device: Device,
}

impl LearnerContext {
    /// A context on one thread.
    #[must_use]
    pub const fn new(spec: EnvSpec, seed: u64) -> Self {
        Self { spec, seed, threads: 1, device: Device::Cpu }
    }
    /// `[observation_dim, action_dim]`.
    #[must_use]
    pub const fn dims(&self) -> [usize; 2] {
        [self.spec.observation_dim(), self.spec.action_dim()]
    }
    /// The same on `threads` threads (at least one).
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }
    /// The same on another device.
    #[must_use]
    pub fn on(mut self, device: Device) -> Self {
        self.device = device;
        self
    }
    /// What its networks begin with.
    ///
    /// # Errors
    /// [`LearnError::Config`] where the device is not there.
    pub fn start(&self) -> Result<nn::compute::Start, LearnError> {
        Ok(nn::compute::Start { seed: self.seed, compute: self.device.compute()? })
    }
}

surefoot_core::registry! {
    /// A learner and its settings: `[learner.NAME]` in a run's configuration.
    pub enum LearnerConfig: fn(&LearnerContext) -> Result<Box<dyn Learner>, LearnError> {
        /// Advantage-weighted actor-critic.
        Awac(awac::AwacConfig) = "awac",
        /// Advantage-weighted regression.
        Awr(awr::AwrConfig) = "awr",
        /// Behaviour cloning.
        Bc(bc::BcConfig) = "bc",
        /// Batch-constrained Q-learning: the best of what a model of the data would do.
        Bcq(bcq::BcqConfig) = "bcq",
        /// BEAR: a policy whose actions stay near those of a model of the data.
        Bear(bear::BearConfig) = "bear",
        /// Conservative Q-learning, Cal-QL by an option.
        Cql(cql::CqlConfig) = "cql",
        /// Demonstration-augmented policy gradients, on policy; the natural policy gradient by an option.
        Dapg(dapg::DapgConfig) = "dapg",
        /// Implicit Q-learning.
        Iql(iql::IqlConfig) = "iql",
        /// Soft actor-critic, RLPD by its options.
        Sac(sac::SacConfig) = "sac",
        /// TD3+BC, ReBRAC by its options.
        Td3Bc(td3_bc::Td3BcConfig) = "td3_bc",
    }
}

/// Reads a deployable policy for `slots` robots.
///
/// # Errors
/// When the format, the architecture or a tensor is not what the card promises.
pub fn load_policy(artifact: &PolicyArtifact, slots: usize) -> Result<Box<dyn Policy>, PolicyError> {
    if in_context::artifact::is_in_context(&artifact.card) {
        return Ok(Box::new(in_context::InContextPolicy::from_artifact(artifact, slots)?));
    }
    if nn::candidate_policy::is_candidate_policy(&artifact.card) {
        return Ok(Box::new(nn::candidate_policy::CandidatePolicy::from_artifact(artifact, slots)?));
    }
    Ok(Box::new(nn::gaussian_policy::GaussianPolicy::from_artifact(artifact, slots)?))
}
