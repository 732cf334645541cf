//! Robot datasets: one file per format behind [`surefoot_core::EpisodeSource`], with info, verify and stats.

mod batches;
mod caught;
mod convert;
mod durable;
mod encode;
mod flat;
pub mod formats;
pub mod h5;
pub mod history;
pub mod import;
mod info;
pub mod input;
mod load;
mod log_info;
pub mod mcap;
mod open;
mod pass;
mod recorder;
pub mod ros;
mod row_cache;
mod select;
mod spool;
mod stats;
mod stoppable;
pub mod streams;
mod survey;
mod table;
mod verify;
mod writer;

pub use batches::write_all;
pub use caught::silence_caught_panics;
pub use convert::{convert, convert_as, divide};
pub use durable::leftovers;
pub use formats::{FORMATS, Format, WriteFn};
pub use h5::Backend;
pub use info::{ArrayLine, InfoReport, MaskLine, info};
pub use input::Input;
pub use load::{LoadOptions, LoadReport, Loaded, OutOfRange, load, load_each, read_all};
pub use log_info::{LogInfo, TopicLine, log_info};
pub use open::{Arrays, DoneMeans, OpenOptions, Opened, open, open_files, open_with};
pub use recorder::{EpisodeRecorder, RECORDING_SCHEMA, Recorded, Recovery, ShardLine};
pub use row_cache::{CacheOptions, CacheState, RowCache, SequenceBatch, WindowSampler};
pub use select::{Filter, Subset, select};
pub use stats::{SourceStats, Spread, StatsReport, stats};
pub use stoppable::Stoppable;
pub use survey::{Channel, Place};
pub use verify::{
    ChangedChannel, FilterBasis, FilterReport, Finding, JointActions, LINTS, Lint, Severity, VerifyOptions,
    VerifyReport, verify, verify_with,
};
pub use writer::{Recording, Written, overwrite, split, write};
