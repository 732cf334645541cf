//! Source algorithms: what learns each task of a family anew, so that its history can be learned from. One file and one registry line
//! each.

pub mod a2c;
pub mod coverage;
pub mod dqn;
pub mod exp3;
#[cfg(test)]
mod golden;
pub mod learner;
mod network;
pub mod noisy_oracle;
pub mod secant;
pub mod sweep;
mod table;
pub mod tabular_q;
pub mod thompson;
pub mod ucb;
pub mod wiring_probe;

use std::sync::Arc;

use surefoot_core::{EnvSpec, SourceAlgorithm, TaskFamily};

/// What a source is built for: one life on one task.
#[derive(Clone)]
pub struct SourceContext {
    /// The family.
    pub family: Arc<dyn TaskFamily>,
    /// What is hidden of the task. For sources that know the task; those that learn it do not look.
    pub params: Vec<f32>,
    /// Episodes that it will live: what schedules go by.
    pub episodes: usize,
}

impl SourceContext {
    /// What is seen and done.
    #[must_use]
    pub fn spec(&self) -> &EnvSpec {
        self.family.spec()
    }
}

/// Why a source cannot learn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// A setting that cannot be used.
    #[error("algorithm.{source_name}.{key} {reason}")]
    Setting {
        /// The source.
        source_name: &'static str,
        /// Its key.
        key: &'static str,
        /// What it must be, and what it was.
        reason: String,
    },
    /// The task is not of the kind that this source learns.
    #[error("{source_name} cannot learn {family}: it needs {needs}, and there is {found}")]
    Family {
        /// The source.
        source_name: &'static str,
        /// The family.
        family: String,
        /// What it needs.
        needs: &'static str,
        /// What is there.
        found: String,
    },
}

surefoot_core::registry! {
    /// A source algorithm and its settings: `algorithm.NAME` of a `[[source]]`.
    pub enum SourceConfig: fn(&SourceContext) -> Result<Box<dyn SourceAlgorithm>, SourceError> {
        /// Advantage actor-critic, with several actors of one learner.
        A2c(a2c::A2cConfig) = "a2c",
        /// Visit every cell, nearest first, and then go where rewards were.
        Coverage(coverage::CoverageConfig) = "coverage",
        /// Q-learning by a small network.
        Dqn(dqn::DqnConfig) = "dqn",
        /// Exponential weights for exploration and exploitation of arms.
        Exp3(exp3::Exp3Config) = "exp3",
        /// Any learner of this program, from a replay buffer.
        Learner(learner::LearnerSourceConfig) = "learner",
        /// Somebody who knows the task, among random actions that become fewer.
        NoisyOracle(noisy_oracle::NoisyOracleConfig) = "noisy_oracle",
        /// What to do for a target, from how far the last attempts came.
        Secant(secant::SecantConfig) = "secant",
        /// Go over an arena cell by cell, and then where something paid.
        Sweep(sweep::SweepConfig) = "sweep",
        /// Q-learning on a table.
        TabularQ(tabular_q::TabularQConfig) = "tabular_q",
        /// Thompson sampling of arms that pay 0 or 1.
        Thompson(thompson::ThompsonConfig) = "thompson",
        /// Upper confidence bounds (UCB1) of arms.
        Ucb(ucb::UcbConfig) = "ucb",
        /// Try each actuator to see what it moves, and then drive the joints to where they should be.
        WiringProbe(wiring_probe::WiringProbeConfig) = "wiring_probe",
    }
}

impl SourceConfig {
    /// Who learns, as histories name it: the learner itself where any may be chosen.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Learner(config) => config.learner.name(),
            other => other.name(),
        }
    }
}

/// Refuses a number outside of `low..=high`.
fn within(
    source_name: &'static str,
    key: &'static str,
    value: f64,
    [low, high]: [f64; 2],
) -> Result<(), SourceError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    let reason = format!("= {value}: expected {low} to {high}");
    Err(SourceError::Setting { source_name, key, reason })
}
