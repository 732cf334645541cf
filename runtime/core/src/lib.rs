//! The waist of surefoot: the words every part uses and the traits at which they meet.
//!
//! Object-safe traits over rows of `f32`; the caller owns every buffer. No tensor, physics, HDF5 or network library is in
//! this crate's tree. The laws that hold here:
//! 1. A step ends as [`StepEnd`]: `Running`, `Terminated` or `Truncated`. Only `Terminated` stops the bootstrap.
//! 2. A transition stores the *executed* action; the proposed one stands beside it. Learning uses the executed one.
//! 3. What acts carries its contract ([`PolicyCard`]); loading it against another names the first difference.
//! 4. Every random number comes from a [`seed::Stream`] of (seed, purpose, index).
//! 5. `env_steps`, `updates` and `ticks` are three counters.

pub mod action_delay;
pub mod batch;
pub mod clock;
pub mod contract;
pub mod dataset;
pub mod env;
pub mod env_batch;
pub mod episode;
pub mod faulty_robot;
pub mod fleet;
pub mod guarded_robot;
pub mod history;
pub mod history_learner;
pub mod ideal_robot;
pub mod learner;
pub mod metrics;
pub mod normalizer;
pub mod policy;
pub mod prioritized;
pub mod recycled;
pub mod registry;
pub mod replay;
pub mod returns;
pub mod robot;
pub mod robot_env;
pub mod ros;
pub mod rows;
pub mod seed;
pub mod spec;
pub mod step;
pub mod task;
pub mod task_family;
pub mod training_progress;
pub mod transitions;
pub mod vec_env;

pub use action_delay::ActionDelay;
pub use batch::Batch;
pub use contract::{ContractError, RobotContract};
pub use dataset::{DataError, DatasetMeta, EpisodeRows, EpisodeSink, EpisodeSource};
pub use env::{AroundWorld, Env, EnvError, Frame, Overlay, check_row};
pub use env_batch::{EnvBatch, WorldStep};
pub use episode::{Episode, EpisodeBuilder};
pub use faulty_robot::{Fault, FaultyRobot, ScheduledFault};
pub use fleet::{ActorStatus, EpisodeStore, Fleet, FleetError, PolicyOffer, RecordedFleet};
pub use guarded_robot::GuardedRobot;
pub use history::{
    FamilyTask, Histories, HistoryError, HistoryMeta, HistoryPhase, HistorySource, LearningHistory, TaskSplit,
};
pub use history_learner::HistoryLearner;
pub use ideal_robot::{IdealRobot, JointVelocityTask};
pub use learner::{Blobs, LearnError, Learner, PhaseKind, SamplePlan};
pub use metrics::Metrics;
pub use normalizer::{Moments, Normalizer};
pub use policy::{ActMode, Feedback, Policy, PolicyArtifact, PolicyCard, PolicyError, ResetScope};
pub use prioritized::{Prioritized, WeightTree};
pub use replay::ReplayBuffer;
pub use robot::{Robot, RobotError, RobotState, Stamp, World};
pub use robot_env::RobotEnv;
pub use rows::{Rows, RowsMut};
pub use seed::Stream;
pub use spec::{EnvSpec, Field, NotAChoice, SpecDifference};
pub use step::{Outcome, StepEnd, StepFigures};
pub use surefoot_safety as safety;
pub use task::{Marker, MarkerShape, Task, TaskOutcome};
pub use task_family::{SourceAlgorithm, TaskFamily};
pub use training_progress::{SuccessHistory, TrainingProgress};
pub use transitions::{Beside, Returns, TransitionSource};
pub use vec_env::VecEnv;
