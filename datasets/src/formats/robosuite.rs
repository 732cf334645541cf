//! robosuite: the `demo.hdf5` of its teleoperation script, which holds simulator states and actions and nothing else.
//!
//! Demos count from 1. Files of version 0.3 have no `actions` but joint velocities and gripper actuations, zero-width arrays, and
//! a file name where later ones hold the robot's XML. No rewards are recorded: they read as NaN, and the files are fit for
//! imitation. Nothing follows the last state, so its step is left out.

use std::collections::BTreeMap;

use surefoot_core::DataError;

use super::Format;
use super::demonstrations::{Demonstrations, Observed, demo_names};
use crate::h5::ChildKind;
use crate::input::Input;
use crate::open::{OpenOptions, Opened};

const NAME: &str = "robosuite";

/// The registry line.
pub const FORMAT: Format = Format {
    name: NAME,
    summary: "robosuite demo.hdf5: states and actions of teleoperated demonstrations, for imitation",
    sniff,
    open,
    write: None,
};

fn sniff(input: &Input) -> Result<bool, DataError> {
    let Input::Hdf5(container) = input else { return Ok(false) };
    let Some(first) = demo_names(container, NAME)?.into_iter().next() else { return Ok(false) };
    let children =
        container.file().children(&format!("data/{first}")).map_err(|e| container.error(NAME, e))?;
    Ok(children.get("states") == Some(&ChildKind::Dataset))
}

fn open(input: Input, options: &OpenOptions) -> Result<Opened, DataError> {
    Demonstrations::open(input.into_hdf5(options.backend)?, options, NAME, actions, Observed::BeforeAction)
}

/// `actions`, or what version 0.3 recorded in their place.
fn actions(children: &BTreeMap<String, ChildKind>) -> Vec<String> {
    let names: &[&str] = if children.contains_key("actions") {
        &["actions"]
    } else if children.contains_key("joint_velocities") {
        &["joint_velocities", "gripper_actuations"]
    } else {
        &[]
    };
    names.iter().filter(|n| children.contains_key(**n)).map(|n| (*n).to_owned()).collect()
}
