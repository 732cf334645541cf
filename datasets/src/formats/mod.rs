//! Dataset formats: one file and one line in [`FORMATS`] each.

use surefoot_core::DataError;

use crate::input::Input;
use crate::open::{OpenOptions, Opened};

pub mod d4rl;
mod demo_header;
mod demonstrations;
pub mod recording;
pub mod robomimic;
pub mod robosuite;
pub mod shards;

pub(crate) use demo_header::{AMBIGUOUS_DONE, BAD_ENV_ARGS};
pub(crate) use demonstrations::demo_number;
pub(crate) use recording::INCOMPLETE;

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
}

/// Every format, in the order in which a file or directory is held against them.
pub const FORMATS: &[Format] = &[
    recording::FORMAT,
    robomimic::FORMAT,
    robosuite::FORMAT,
    d4rl::FORMAT,
    // Last: any directory with HDF5 files in it.
    shards::FORMAT,
];
