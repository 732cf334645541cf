//! Dataset formats: one file and one line in [`FORMATS`] each.

use std::path::Path;

use surefoot_core::{DataError, Episode};

use crate::input::Input;
use crate::open::{OpenOptions, Opened};
use crate::writer::{Recording, Written};

pub mod aloha;
mod columns;
pub mod csv;
pub mod d4rl;
mod demo_header;
mod demonstrations;
pub mod droid;
pub mod jsonl;
pub mod lerobot;
pub mod libero;
pub mod mcap;
pub mod mcap_episodes;
mod mcap_episodes_write;
pub mod minari;
mod minari_metadata;
mod minari_write;
pub mod recording;
pub mod robomimic;
pub mod robosuite;
pub mod rosbag;
pub mod rosbag2_sqlite;
pub mod shards;
mod single_episode;
mod successors;

pub(crate) use demo_header::{AMBIGUOUS_DONE, BAD_ENV_ARGS};
pub(crate) use demonstrations::demo_number;
pub(crate) use recording::INCOMPLETE;

/// Writes episodes, one after the other as they come, to a new file or directory; an existing one is an error. Nothing is left behind on
/// failure. What the format cannot hold is told in [`Written::lost`].
pub type WriteFn =
    fn(&Path, &Recording, &mut dyn Iterator<Item = Result<Episode, DataError>>) -> Result<Written, DataError>;

/// A dataset format.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Registry name.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Whether a file or directory looks like one; reads little. The first of [`FORMATS`] that says yes is used.
    pub sniff: fn(&Input) -> Result<bool, DataError>,
    /// Opens it as one.
    pub open: fn(Input, &OpenOptions) -> Result<Opened, DataError>,
    /// Writes a new dataset of it, where it can be written.
    pub write: Option<WriteFn>,
}

/// Every format, in the order in which a file or directory is held against them.
pub const FORMATS: &[Format] = &[
    recording::FORMAT,
    // LIBERO's files are robomimic's in all but their meaning.
    libero::FORMAT,
    robomimic::FORMAT,
    robosuite::FORMAT,
    d4rl::FORMAT,
    minari::FORMAT,
    aloha::FORMAT,
    droid::FORMAT,
    lerobot::FORMAT,
    mcap_episodes::FORMAT,
    // Last: any directory with HDF5 files in it.
    shards::FORMAT,
];
