//! Dataset formats: one file and one line in [`FORMATS`] each.

use surefoot_core::DataError;

use crate::h5::Container;
use crate::open::{OpenOptions, Opened};

mod demonstrations;
pub mod robomimic;

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
    pub open: fn(Container, &OpenOptions) -> Result<Opened, DataError>,
}

/// Every format, in the order in which a file is held against them.
pub const FORMATS: &[Format] = &[robomimic::FORMAT];
