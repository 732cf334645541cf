//! What is run and how it is judged.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Env, EnvSpec, Policy, ScheduledFault, Stream};

use super::drive::ControlLoopConfig;
use super::episode::Stage;
use super::golden::Provenance;
use super::tolerance::ToleranceConfig;
use crate::{EngineError, EpisodeSeeds};

/// How strictly a scenario is compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LevelConfig {
    /// Every signal of every tick has the golden file's bits. For machines of one kind.
    BitExact(BitExactConfig),
    /// Every signal stays in an envelope around the golden file's. For another compiler or machine, or a rewrite that may round
    /// otherwise.
    Tolerance(ToleranceConfig),
    /// Behaviour may change, but not for the worse: paired episodes and a test.
    Statistical(StatisticalConfig),
}

impl LevelConfig {
    /// In a word.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::BitExact(_) => "bit_exact",
            Self::Tolerance(_) => "tolerance",
            Self::Statistical(_) => "statistical",
        }
    }
    /// Whether golden signals are needed.
    #[must_use]
    pub const fn traced(&self) -> bool {
        !matches!(self, Self::Statistical(_))
    }
}

/// There is nothing to choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BitExactConfig {}

/// What of an episode is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum MetricConfig {
    /// Whether it was solved.
    #[default]
    Success,
    /// Its return on a scale: `low` is worth 0, `high` is worth 1, what is beyond counts as the end.
    Returns {
        /// Of a bad episode.
        low: f64,
        /// Of a good one.
        high: f64,
    },
}

/// Where a policy's own noise comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoiseConfig {
    /// From the episode's seed, the same for both.
    #[default]
    Shared,
    /// From streams of their own, from equal starts: for policies whose noise is not used in the same way.
    Independent,
}

/// A test on paired episodes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StatisticalConfig {
    /// What is compared.
    pub metric: MetricConfig,
    /// The drop that must not be there: "passed" says that what is new is not worse by so much.
    pub margin: f64,
    /// Probability, at most, of calling worse what is not.
    pub false_alarm: f64,
    /// Probability, at most, of passing what is worse by the margin or more.
    pub miss: f64,
    /// The policies' own noise; `independent` needs a baseline policy.
    pub noise: NoiseConfig,
}

impl Default for StatisticalConfig {
    fn default() -> Self {
        Self {
            metric: MetricConfig::Success,
            margin: 0.15,
            false_alarm: 0.05,
            miss: 0.05,
            noise: NoiseConfig::Shared,
        }
    }
}

impl StatisticalConfig {
    /// Refuses numbers that no test can have.
    ///
    /// # Errors
    /// The key, what was expected and what was found.
    pub fn check(&self) -> Result<(), String> {
        let Self { metric, margin, false_alarm, miss, noise: _ } = self;
        for (key, value, low, high) in [
            ("margin", *margin, 0.0, 1.0),
            ("false_alarm", *false_alarm, 0.0, 0.5),
            ("miss", *miss, 0.0, 0.5),
        ] {
            if !(value > low && value < high) {
                return Err(format!("{key} = {value}: expected more than {low} and less than {high}"));
            }
        }
        match metric {
            MetricConfig::Returns { low, high } if !(low.is_finite() && high.is_finite() && low < high) => {
                Err(format!("metric.returns: expected finite low < high, found low = {low}, high = {high}"))
            }
            _ => Ok(()),
        }
    }
}

/// The episodes of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeedsConfig {
    /// What the episodes' seeds are made of.
    #[serde(default)]
    pub seed: u64,
    /// Episodes, at most: a statistical scenario stops as soon as it knows.
    pub episodes: usize,
}

impl SeedsConfig {
    /// The seeds of an episode. More episodes do not change the first ones.
    #[must_use]
    pub fn of(&self, episode: usize) -> EpisodeSeeds {
        let mut stream = Stream::new(self.seed, "regression", episode as u64);
        EpisodeSeeds { reset: stream.bits(), noise: stream.bits() }
    }
}

/// How one side of a comparison is made, as often as there are threads.
pub trait Parts: Send + Sync {
    /// A world.
    ///
    /// # Errors
    /// When it cannot be built.
    fn env(&self) -> Result<Box<dyn Env>, EngineError>;
    /// What acts in it, for one robot.
    ///
    /// # Errors
    /// When it cannot be built, or is for something else.
    fn policy(&self, spec: &EnvSpec) -> Result<Box<dyn Policy>, EngineError>;
}

/// What acts, and where it comes from.
pub struct Side {
    /// How it is made.
    pub parts: Box<dyn Parts>,
    /// What it was made of.
    pub provenance: Provenance,
}

/// A world, a policy, seeds and faults, and how they are judged.
pub struct Scenario {
    /// Name, unique in its suite, of letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// How it is judged.
    pub level: LevelConfig,
    /// Its episodes.
    pub seeds: SeedsConfig,
    /// What goes wrong in each of them.
    pub faults: Vec<ScheduledFault>,
    /// Through the control loop, where not as in training.
    pub control_loop: Option<ControlLoopConfig>,
    /// What is judged.
    pub now: Side,
    /// What it is compared with; the golden file where absent.
    pub baseline: Option<Side>,
}

impl Scenario {
    /// What an episode of one side is run on.
    ///
    /// # Errors
    /// When a world or a policy cannot be built.
    pub fn stage(&self, parts: &dyn Parts) -> Result<Stage, EngineError> {
        Stage::new(parts, &self.faults, self.control_loop.as_ref())
    }
}
