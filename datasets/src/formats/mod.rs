//! Dataset formats: one file and one line in [`FORMATS`] each.

use std::sync::Arc;

use surefoot_core::DataError;

use crate::h5::Container;
use crate::open::{OpenOptions, Opened};

pub mod d4rl;
mod demo_header;
mod demonstrations;
pub mod robomimic;
pub mod robosuite;

pub(crate) use demo_header::{AMBIGUOUS_DONE, BAD_ENV_ARGS};
pub(crate) use demonstrations::demo_number;

/// Path of the group that holds the first episode, where the format has one.
pub(crate) fn first_demo(container: &Container, format: &'static str) -> Result<Option<String>, DataError> {
    Ok(demonstrations::demo_names(container, format)?.into_iter().next().map(|name| format!("data/{name}")))
}

/// A dataset format.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Registry name.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Whether a file looks like one. The first of [`FORMATS`] that says yes is used.
    pub sniff: fn(&Container) -> Result<bool, DataError>,
    /// Opens a file as one.
    pub open: fn(Arc<Container>, &OpenOptions) -> Result<Opened, DataError>,
}

/// Every format, in the order in which a file is held against them.
pub const FORMATS: &[Format] = &[robomimic::FORMAT, robosuite::FORMAT, d4rl::FORMAT];
