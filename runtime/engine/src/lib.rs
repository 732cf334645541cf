//! Phases, rollouts, evaluation, run directories, checkpoints, metrics and the report.
//!
//! A run is a list of stages (baselines, then offline and online phases) worked through by a [`Trainer`]. Its schedule is
//! *lockstep*: acting and learning take turns, whole episodes against whole blocks of updates, so that a run is a function of
//! its seed, its demonstrations and its configuration, whatever the number of threads and however often it was interrupted.

mod canaries;
pub mod checkpoint;
pub mod collecting;
pub mod comparison;
pub mod control;
mod demonstrations;
mod error;
pub mod evaluation;
pub mod events;
pub mod fleet;
pub mod in_context;
mod interrupt;
pub mod limits;
pub mod live;
pub mod metrics;
mod online;
mod online_async;
pub mod phases;
mod plan;
pub mod promotion;
pub mod regression;
pub mod report;
pub mod results;
mod resume;
pub mod rollout;
pub mod run_dir;
pub mod sampling;
mod sampling_config;
pub mod sequential;
mod shard;
mod stages;
mod state;
mod trainer;

pub use demonstrations::DemonstrationSet;
pub use error::{CheckpointDamage, EngineError};
pub use evaluation::{EvalConfig, Evaluation, evaluate, wilson_interval};
pub use events::{Activity, Event, Observer, Progress};
pub use fleet::{FleetConfig, MakeFleet};
pub use interrupt::Interrupt;
pub use limits::{EpisodeLimits, EpisodeLimitsConfig, SessionLimitsConfig, TrustRegionConfig};
pub use online_async::MakeLive;
pub use phases::{AsyncConfig, Better, EarlyStopConfig, OfflineConfig, OnlineConfig, PhaseConfig, Schedule};
pub use plan::{MAX_EPISODES, MAX_FILMS, MAX_WORLDS, check_plan};
pub use promotion::{CanarySuccess, ExploreWith, LoadPolicy, PromotionConfig, RollbackConfig};
pub use results::{LimitCounts, Results, StageKind, StageResult};
pub use rollout::{
    EpisodeCost, EpisodeSeeds, Film, Guard, RolloutProgress, Watch, film, guarded_rollout, rollout,
};
pub use run_dir::{RunDir, RunInfo};
pub use sampling::{BestEpisodesConfig, PrioritizedConfig, ReturnWeightConfig, SamplingConfig};
pub use shard::Shard;
pub use state::Counters;
pub use trainer::{Baseline, TrainEnd, Trainer, TrainerParts, TrainingConfig};
