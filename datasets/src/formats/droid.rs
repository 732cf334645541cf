//! DROID: `trajectory.h5`, one episode a file, with nested groups `observation/...` and `action/...`.
//!
//! A directory that holds a `trajectory.h5`, or directories that do, opens as well. The observation row is `robot_state`; clocks in
//! milliseconds, camera poses and the controller's flags join it when they are chosen. The action row is the commanded
//! `cartesian_velocity` and `gripper_position`, whose numbers are normalised; any of the other spaces can be chosen. Videos are separate
//! files, or whole MP4s inside: neither is read.

use std::path::PathBuf;

use surefoot_core::DataError;

use super::Format;
use super::columns::Columns;
use super::shards::open_list;
use super::single_episode::{self, Layout};
use crate::h5::{ChildKind, Container};
use crate::input::{Directory, Input};
use crate::open::{OpenOptions, Opened};

const NAME: &str = "droid";

const FILE: &str = "trajectory.h5";

/// Action spaces, the first one that is recorded in full is used.
const ACTIONS: [&[&str]; 3] = [
    &["cartesian_velocity", "gripper_position"],
    &["joint_velocity", "gripper_position"],
    &["cartesian_position", "gripper_position"],
];

/// The registry line.
pub const FORMAT: Format = Format {
    name: NAME,
    summary: "DROID trajectory.h5 (or directories of them): nested observation and action groups, for imitation",
    sniff,
    open,
    write: None,
};

/// The writer uses one name, the reader the other.
fn observation_group(container: &Container) -> Result<Option<&'static str>, DataError> {
    let root = Columns { container, format: NAME }.children("")?;
    Ok(["observation", "observations"].into_iter().find(|name| root.get(*name) == Some(&ChildKind::Group)))
}

fn sniff(input: &Input) -> Result<bool, DataError> {
    match input {
        Input::Hdf5(container) => {
            let root = Columns { container, format: NAME }.children("")?;
            Ok(root.get("action") == Some(&ChildKind::Group) && observation_group(container)?.is_some())
        }
        Input::Directory(directory) => Ok(!trajectories(directory)?.is_empty()),
        Input::File(_) => Ok(false),
    }
}

/// The files of a directory, or of the directories in it.
fn trajectories(directory: &Directory) -> Result<Vec<PathBuf>, DataError> {
    if let Some(path) = directory.file(FILE) {
        return Ok(vec![path]);
    }
    Ok(directory.names()?.iter().filter_map(|name| directory.file(&format!("{name}/{FILE}"))).collect())
}

fn open(input: Input, options: &OpenOptions) -> Result<Opened, DataError> {
    if let Input::Directory(directory) = &input {
        let options = OpenOptions { format: Some(NAME.into()), ..options.clone() };
        return open_list(&directory.path, &trajectories(directory)?, &options);
    }
    let container = input.into_hdf5(options.backend)?;
    let columns = Columns { container: &container, format: NAME };
    let observations = observation_group(&container)?.unwrap_or("observation").to_owned();
    let recorded = columns.children("action")?;
    let action_keys: Vec<String> = ACTIONS
        .iter()
        .find(|keys| keys.iter().all(|key| recorded.get(*key) == Some(&ChildKind::Dataset)))
        .map(|keys| keys.iter().map(|key| (*key).to_owned()).collect())
        .unwrap_or_default();
    let mut notes = Vec::new();
    if options.action_keys.is_none() {
        let others: Vec<&str> =
            recorded.keys().map(String::as_str).filter(|k| !action_keys.iter().any(|a| a == k)).collect();
        notes.push(format!(
            "the action row is {}; recorded beside it: {}",
            action_keys.join(" and "),
            others.join(", ")
        ));
    }
    let layout = Layout {
        format: NAME,
        observations,
        is_default: |key| key.starts_with("robot_state/"),
        actions: "action".into(),
        action_keys,
        notes,
    };
    single_episode::open(container, options, layout)
}
