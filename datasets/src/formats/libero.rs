//! LIBERO: robomimic's layout with observations that were taken *after* their actions.
//!
//! Its script plays every demonstration back and stores what each step returned, so `obs[t]` already shows what `actions[t]` did; read as
//! robomimic reads it, every action would be one step late. Here each observation is paired with the following action. Rewards and
//! `dones` are made up: 1 at the last step, for every demonstration succeeds.

use std::collections::BTreeMap;

use surefoot_core::DataError;

use super::Format;
use super::columns::Columns;
use super::demonstrations::{Demonstrations, Observed, demo_names};
use crate::h5::ChildKind;
use crate::input::Input;
use crate::open::{OpenOptions, Opened};

const NAME: &str = "libero";

/// The registry line.
pub const FORMAT: Format = Format {
    name: NAME,
    summary: "LIBERO HDF5: robomimic's layout with observations taken after their actions, which is undone",
    sniff,
    open,
    write: None,
};

fn sniff(input: &Input) -> Result<bool, DataError> {
    let Input::Hdf5(container) = input else { return Ok(false) };
    if demo_names(container, NAME)?.is_empty() {
        return Ok(false);
    }
    let attributes = Columns { container, format: NAME }.attributes("data")?;
    Ok(["bddl_file_name", "problem_info"].iter().any(|name| attributes.contains_key(*name))
        || attributes.get("tag").and_then(|t| t.as_text()).is_some_and(|t| t.starts_with("libero")))
}

fn open(input: Input, options: &OpenOptions) -> Result<Opened, DataError> {
    let actions: fn(&BTreeMap<String, ChildKind>) -> Vec<String> =
        |children| if children.contains_key("actions") { vec!["actions".into()] } else { Vec::new() };
    Demonstrations::open(input.into_hdf5(options.backend)?, options, NAME, actions, Observed::AfterAction)
}
