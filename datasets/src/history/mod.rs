//! Learning histories on the disk: what in-context policies are trained on.
//!
//! ```text
//! /                     attrs: format = "icrl-history", version, producer, env_family, env_config_json, env_spec_json, collect_json, dt,
//!                              obs_dim, action_dim, action_kind ("choice", "continuous", "mixed")
//! /tasks/<id>           attrs: index, split ("train", "test_in", "test_ood"), random_return, optimal_return
//!   params        [P] f32        what is hidden
//! /histories/<n>        attrs: task_id, algo, algo_config_json, seed, stream, n_steps, n_episodes, complete, score_improvement,
//!                              score_stability
//!   obs           [T, O]         u8 where every field is one of at most 256 choices, otherwise f32
//!   action        [T, A]         likewise
//!   reward        [T] f32        terminated, truncated [T] u8
//!   episode       [T] u32        counts from 0; step [T] u32: within its episode
//!   update        [T] u32        version of the learner that acted
//!   phase         [T] u8         0 offline, 1 online, 2 eval
//!   expert_action [T, A]         where somebody knew better
//!   ep_start      [E] u64        ep_len [E] u32, ep_return [E] f32, final_obs [E, O]
//! ```
//!
//! Arrays of 4096 rows and more are in chunks of that many rows, shuffled and deflated. Texts of `histories` are of fixed length. A file appears under its
//! name only when it is whole, see [`write_histories`]; it is read one history at a time, see [`HistoryFile`].

mod foreign;
mod info;
mod read;
mod write;

pub use foreign::{HISTORY_FORMATS, HistoryFormat, ImportedHistories, history_format, import_histories};
pub use info::{AlgorithmLine, HistoryInfo, SplitLine, history_info};
pub(crate) use read::holds_histories;
pub use read::{HistoryFile, is_history_file};
pub use write::{HistoryHeader, HistoryWriter, WrittenHistories, write_histories};

/// `format` of the root.
pub(crate) const FORMAT: &str = "icrl-history";
/// Version that is written, and the newest that is read.
pub(crate) const VERSION: u32 = 1;

use surefoot_core::Field;

/// Whether rows of these fields are written as bytes.
fn are_bytes(fields: &[Field]) -> bool {
    !fields.is_empty() && fields.iter().all(|f| f.choices.is_some_and(|n| n <= 256))
}

#[cfg(test)]
mod tests;
