//! Regression suites: is what runs now what ran before, bit for bit, within an envelope, or at least not worse?
//!
//! A scenario is a world, a policy, seeds and faults. Its episodes run through the same safety chain as everything else, and are compared
//! with a golden file or with a baseline policy at one of three levels ([`LevelConfig`]). The verdict is one of four ([`Verdict`]),
//! and a single limit violation makes it *regressed* whatever else. Episodes are a task's, as in training, or drives through the control
//! loop with its modes and stops ([`ControlLoopConfig`]).

mod drive;
mod driven;
mod episode;
mod golden;
mod junit;
mod markdown;
mod page;
mod pictures;
mod runner;
mod scenario;
mod statistics;
mod stepped;
mod suite;
mod tap;
mod tolerance;
mod trace;
mod verdict;

pub use drive::{ControlLoopConfig, DriveEnd, DriveRecord, DriveSummary, ModeChange, MustEndConfig, Periods};
pub use episode::{EpisodeEnd, EpisodeRecord, Stage};
pub use golden::{FORMAT, GoldenDamage, Provenance, Recorded, short};
pub use junit::junit;
pub use markdown::{markdown, terminal};
pub use page::page;
pub use pictures::{Picture, Pictures, SignalCurve};
pub use runner::{BLOCK, Role, Runner, Told, blocks, roles};
pub use scenario::{
    BitExactConfig, LevelConfig, MetricConfig, NoiseConfig, Parts, Scenario, SeedsConfig, Side,
    StatisticalConfig,
};
pub use statistics::{
    Decision, Evidence, POWER, Proportion, StatisticalReport, mcnemar, minimum_detectable_drop,
};
pub use suite::{Judged, REPORT_FORMAT, Suite, check};
pub use tolerance::{Band, Divergence, ToleranceConfig, first_divergence};
pub use trace::{Table, Trace};
pub use verdict::{Blessing, ScenarioReport, SuiteReport, Summary, Verdict};

#[cfg(test)]
mod tests;
