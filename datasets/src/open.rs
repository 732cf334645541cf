//! Opening a dataset, whatever its format.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{DataError, EpisodeSource};

use crate::formats::shards::open_list;
use crate::formats::{FORMATS, Format};
use crate::h5::{Backend, ChildKind, Container};
use crate::history::holds_histories;
use crate::info::ArrayLine;
#[cfg(feature = "libhdf5")]
use crate::input::may_hold_hdf5;
use crate::input::{Input, PlainFile};
use crate::streams::looks_like_log;

/// What a `dones` flag means in a file that does not say: robomimic's own files use one flag for "the task ended" and for "the
/// recording ended".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DoneMeans {
    /// In an episode whose rewards are all 0 or 1, a done step with reward 1 is terminated, for there a reward is success; every
    /// other done step is truncated. Bootstrapping past a real end costs little; cutting it at a time limit teaches wrong values.
    #[default]
    Auto,
    /// The task ended: no value beyond.
    Terminated,
    /// The recording ended: the value beyond counts.
    Truncated,
}

/// How to read a dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OpenOptions {
    /// Registry name of the format; found out from the file when absent.
    pub format: Option<String>,
    /// Observation keys, in row order; all low-dimensional ones in name order when absent.
    pub observation_keys: Option<Vec<String>>,
    /// Action arrays, side by side in this order; the format's own when absent.
    pub action_keys: Option<Vec<String>>,
    /// What `dones` means where the file does not say.
    pub done_means: DoneMeans,
    /// Opens a file whose totals or masks contradict its episodes. `verify` does, to list all that is wrong.
    pub lenient: bool,
    /// Which code reads HDF5. With the feature `libhdf5` a file that the pure backend cannot read is tried with the C library, which
    /// may loop for ever on damaged bytes: that build is for files that one trusts.
    #[serde(skip)]
    pub backend: Backend,
}

/// Where the arrays of a dataset are to be found, for a listing.
#[derive(Clone, Debug)]
pub enum Arrays {
    /// Under a group of an HDF5 file, that of the first episode; `""` is the root.
    Hdf5 {
        /// The file.
        container: Arc<Container>,
        /// The group.
        group: String,
    },
    /// Columns, topics or whatever else stands for arrays in the format.
    Listed(Vec<ArrayLine>),
}

/// An open dataset with what contradicts itself in it.
pub struct Opened {
    /// The episodes.
    pub source: Box<dyn EpisodeSource>,
    /// Length of the files they are in.
    pub bytes: u64,
    /// What these hold.
    pub arrays: Arrays,
    /// Contradictions that leave episodes readable: totals, masks, numbering.
    pub problems: Vec<DataError>,
}

impl Opened {
    /// A dataset in one HDF5 file; `group` holds its first episode.
    pub(crate) fn hdf5(
        source: impl EpisodeSource + 'static,
        container: Arc<Container>,
        group: String,
        problems: Vec<DataError>,
    ) -> Self {
        let bytes = container.bytes();
        Self { source: Box::new(source), bytes, arrays: Arrays::Hdf5 { container, group }, problems }
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("meta", self.source.meta()).field("problems", &self.problems).finish()
    }
}

/// Opens a dataset of any known format.
///
/// # Errors
/// When it is not a regular file, cannot be read, is of no known format, or contradicts itself.
pub fn open(path: &Path) -> Result<Box<dyn EpisodeSource>, DataError> {
    open_with(path, &OpenOptions::default())
}

/// Opens a dataset of the format that `options` name, or of any known one.
///
/// # Errors
/// As [`open`], and when there is no format of that name.
pub fn open_with(path: &Path, options: &OpenOptions) -> Result<Box<dyn EpisodeSource>, DataError> {
    strict(open_any(path, options)?, options)
}

/// Opens several files, of one format and of the same rows, as one dataset in the order given.
///
/// # Errors
/// As [`open_with`] for each of them, and when they differ.
pub fn open_files(paths: &[PathBuf], options: &OpenOptions) -> Result<Box<dyn EpisodeSource>, DataError> {
    if let [path] = paths {
        return open_with(path, options);
    }
    let opened = open_list(paths.first().map_or(Path::new(""), PathBuf::as_path), paths, options)?;
    strict(opened, options)
}

fn strict(opened: Opened, options: &OpenOptions) -> Result<Box<dyn EpisodeSource>, DataError> {
    match opened.problems.into_iter().next() {
        Some(problem) if !options.lenient => Err(problem),
        _ => Ok(opened.source),
    }
}

pub(crate) fn open_any(path: &Path, options: &OpenOptions) -> Result<Opened, DataError> {
    let format = options.format.as_deref().map(|name| named(path, name)).transpose()?;
    let first = attempt(path, format, options);
    #[cfg(feature = "libhdf5")]
    if options.backend == Backend::Pure && !is_whole(&first) && may_hold_hdf5(path) {
        let second = attempt(path, format, &OpenOptions { backend: Backend::LibHdf5, ..options.clone() });
        if is_whole(&second) {
            return second;
        }
    }
    first
}

/// Whether nothing points to parts that a backend could not follow: links show in the totals, the rest in the first episode.
#[cfg(feature = "libhdf5")]
fn is_whole(opened: &Result<Opened, DataError>) -> bool {
    matches!(opened, Ok(o) if o.problems.is_empty() && (o.source.is_empty() || o.source.episode(0).is_ok()))
}

fn named(path: &Path, name: &str) -> Result<&'static Format, DataError> {
    FORMATS.iter().find(|f| f.name == name).ok_or_else(|| DataError::Shape {
        path: path.to_owned(),
        item: "name of its format".into(),
        expected: format!("one of {}, or none to have it found out", names()),
        found: name.to_owned(),
    })
}

fn attempt(path: &Path, format: Option<&'static Format>, options: &OpenOptions) -> Result<Opened, DataError> {
    let input = Input::open(path, options.backend)?;
    if let Some(format) = format {
        return (format.open)(input, options);
    }
    if let Input::Hdf5(container) = &input
        && holds_histories(container)
    {
        return Err(DataError::Malformed {
            path: path.to_owned(),
            format: "demonstration",
            reason: "it holds learning histories, and no demonstrations".into(),
            hint: "`surefoot data info` says what is in it",
        });
    }
    for f in FORMATS {
        if (f.sniff)(&input)? {
            return (f.open)(input, options);
        }
    }
    Err(unknown(&input))
}

fn names() -> String {
    FORMATS.iter().map(|f| f.name).collect::<Vec<_>>().join(", ")
}

/// A file for demonstrations, robomimic's or robosuite's, in which there is none.
fn holds_no_demonstration(container: &Container) -> bool {
    let children = |path| container.file().children(path).unwrap_or_default();
    children("").get("data") == Some(&ChildKind::Group)
        && !children("data").values().any(|kind| *kind == ChildKind::Group)
}

fn unknown(input: &Input) -> DataError {
    if looks_like_log(input.path()) {
        return DataError::Malformed {
            path: input.path().to_owned(),
            format: "dataset",
            reason: "it is a raw log, of which episodes are to be made first".into(),
            hint: "`surefoot data info` lists its topics; `surefoot data import LOG --robot CONTRACT.toml --to OUT.hdf5` makes a dataset of it",
        };
    }
    let known = names();
    let (reason, hint) = match input {
        Input::Hdf5(container) if holds_no_demonstration(container) => (
            "it is a dataset without episodes: its group data holds no demo_<number>".into(),
            "was the recording ended before its first episode, or were all episodes filtered out?",
        ),
        Input::Hdf5(container) => {
            let top = container.file().children("").map(|c| c.into_keys().take(8).collect::<Vec<_>>());
            let top = top.unwrap_or_default().join(", ");
            (
                format!("HDF5 of no known layout; at its top it holds [{top}], known are {known}"),
                "robomimic and robosuite files hold data/demo_0/actions, D4RL files hold observations, actions and rewards; \
                 name the layout with --format if you know it",
            )
        }
        Input::Directory(directory) => {
            let names: Vec<String> = directory.names().unwrap_or_default().into_iter().take(8).collect();
            (
                format!(
                    "it is a directory of no known layout; it holds [{}], known are {known}",
                    names.join(", ")
                ),
                "name a file in it, or the layout with --format if you know it",
            )
        }
        Input::File(PlainFile { head, .. }) => {
            let start: Vec<String> = head.iter().take(8).map(|b| format!("{b:02x}")).collect();
            (
                format!(
                    "it does not start as an HDF5 file does (89 48 44 46 ...) but with the bytes [{}], nor is it of another known \
                     format: {known}",
                    start.join(" ")
                ),
                "is this the right file, and was it copied whole?",
            )
        }
    };
    DataError::Malformed { path: input.path().to_owned(), format: "dataset", reason, hint }
}
