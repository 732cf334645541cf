//! robomimic: `data/demo_<i>/{actions, rewards, dones, obs/<key>, next_obs/<key>}`, masks, and the flags that it lacks.
//!
//! Files with `terminations`/`truncations` (or `dones` beside `truncated`) say how an episode ends; robomimic's own `dones` does
//! not, see [`crate::DoneMeans`].

use std::collections::BTreeMap;
use std::path::Path;

use surefoot_core::{DataError, Episode};

use super::Format;
use super::demonstrations::{Demonstrations, Observed, demo_names};
use crate::batches::write_all;
use crate::h5::ChildKind;
use crate::input::Input;
use crate::open::{OpenOptions, Opened};
use crate::writer::{Recording, Written};

const NAME: &str = "robomimic";

/// The version of the layout that [`crate::write`] writes.
pub const SCHEMA: &str = "surefoot-robomimic/1";

/// The registry line.
pub const FORMAT: Format = Format {
    name: NAME,
    summary: "robomimic HDF5 (also mimicgen, LIBERO, IsaacLab): data/demo_<i> with observations; read and written",
    sniff,
    open,
    write: Some(write),
};

fn sniff(input: &Input) -> Result<bool, DataError> {
    let Input::Hdf5(container) = input else { return Ok(false) };
    let Some(first) = demo_names(container, NAME)?.into_iter().next() else { return Ok(false) };
    let path = format!("data/{first}");
    let fail = |e| container.error(NAME, e);
    let observed = container.file().children(&path).map_err(fail)?.get("obs") == Some(&ChildKind::Group);
    Ok(observed
        || container.file().attributes(&path, ChildKind::Group).map_err(fail)?.contains_key("num_samples"))
}

fn open(input: Input, options: &OpenOptions) -> Result<Opened, DataError> {
    let actions: fn(&BTreeMap<String, ChildKind>) -> Vec<String> =
        |children| if children.contains_key("actions") { vec!["actions".into()] } else { Vec::new() };
    Demonstrations::open(input.into_hdf5(options.backend)?, options, NAME, actions, Observed::BeforeAction)
}

fn write(
    path: &Path,
    recording: &Recording,
    episodes: &mut dyn Iterator<Item = Result<Episode, DataError>>,
) -> Result<Written, DataError> {
    write_all(path, recording, episodes)
}
