//! ALOHA and ACT: one file for each episode, `observations/{qpos, qvel, effort} [T, 14]`, `action [T, 14]`, images.
//!
//! A directory of `episode_<i>.hdf5` opens as one dataset. Images are raw, JPEG padded with zeros to one length (the true lengths stand in
//! `compress_len`, as float32), or JPEG in fixed or variable-length text: all are named in a note and none is read. Mobile robots record a
//! `base_action` beside the arms' action; it joins the row when it is chosen as an action key.

use surefoot_core::DataError;

use super::Format;
use super::columns::Columns;
use super::single_episode::{self, Layout};
use crate::h5::ChildKind;
use crate::input::Input;
use crate::open::{OpenOptions, Opened};

const NAME: &str = "aloha";

/// The registry line.
pub const FORMAT: Format = Format {
    name: NAME,
    summary: "ALOHA/ACT HDF5: one episode a file (or a directory of them), qpos, qvel, effort and action, for imitation",
    sniff,
    open,
    write: None,
};

fn sniff(input: &Input) -> Result<bool, DataError> {
    let Input::Hdf5(container) = input else { return Ok(false) };
    let columns = Columns { container, format: NAME };
    let root = columns.children("")?;
    Ok(root.get("action") == Some(&ChildKind::Dataset)
        && root.get("observations") == Some(&ChildKind::Group)
        && columns.children("observations")?.get("qpos") == Some(&ChildKind::Dataset))
}

fn open(input: Input, options: &OpenOptions) -> Result<Opened, DataError> {
    let container = input.into_hdf5(options.backend)?;
    let columns = Columns { container: &container, format: NAME };
    let root = columns.children("")?;
    let attributes = columns.attributes("")?;
    let mut notes = Vec::new();
    if root.contains_key("base_action") && options.action_keys.is_none() {
        notes.push("base_action is recorded, and not in the action row unless chosen".into());
    }
    if attributes.get("sim").and_then(|a| a.as_flag()) == Some(false) {
        notes.push(
            "recorded on a real robot: ACT's own loader pairs each observation with the action of the step before, for the commands \
             were one step ahead; here both are as recorded"
                .into(),
        );
    }
    if root.contains_key("compress_len") {
        notes.push("images are JPEG, padded with zeros to one length".into());
    }
    let layout = Layout {
        format: NAME,
        observations: "observations".into(),
        is_default: |key| !key.starts_with("images/"),
        actions: String::new(),
        action_keys: vec!["action".into()],
        notes,
    };
    single_episode::open(container, options, layout)
}
