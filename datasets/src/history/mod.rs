//! Learning histories on the disk: what in-context policies are trained on.
//!
//! ```text
//! /                     attrs: format = "icrl-history", version, producer, env_family, env_config_json, env_spec_json, collect_json, dt,
//!                              obs_dim, action_dim, action_kind ("choice", "continuous", "mixed")
//! /tasks/<id>           attrs: index, split ("train", "test_in", "test_ood"), random_return, optimal_return
//!   params        [P] f32        what is hidden
//! /histories/<n>        attrs: task_id, algo, algo_config_json, seed, stream, n_steps, n_episodes, complete, score_improvement,
//!                              score_stability
//!   obs           [T, O]         u8 where every field is one of at most 256 choices or a quantity within 0 to 255, and every number is a
//!                                whole one (a picture); otherwise f32
//!   action        [T, A]         likewise
//!   reward        [T] f32        terminated, truncated [T] u8
//!   episode       [T] u32        counts from 0; step [T] u32: within its episode
//!   update        [T] u32        version of the learner that acted
//!   phase         [T] u8         0 offline, 1 online, 2 eval
//!   expert_action [T, A]         where somebody knew better
//!   ep_start      [E] u64        ep_len [E] u32, ep_return [E] f32, final_obs [E, O]
//! ```
//!
//! Arrays of 4096 rows and more are in chunks of that many rows, shuffled and deflated; of a megabyte where that is fewer. Texts of `histories` are of fixed length. A file appears under its
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

/// Rows of these fields as bytes, where they are that to the bit: indices of few choices, and pictures.
fn as_bytes(fields: &[Field], rows: &[f32]) -> Option<Vec<u8>> {
    let of_bytes = |f: &Field| match (f.choices, f.low, f.high) {
        (Some(n), ..) => n <= 256,
        (None, Some(low), Some(high)) => low >= 0.0 && high <= 255.0,
        _ => false,
    };
    if fields.is_empty() || !fields.iter().all(of_bytes) {
        return None;
    }
    let byte = |x: &f32| Some(*x as u8).filter(|b| f32::from(*b).to_bits() == x.to_bits());
    rows.iter().map(byte).collect()
}

#[cfg(test)]
mod tests;
