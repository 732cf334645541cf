//! Opening a dataset, whatever its format.

use std::path::Path;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{DataError, EpisodeSource};

use crate::formats::{FORMATS, Format};
use crate::h5::{Backend, Container};

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
    /// Which code reads HDF5. With the feature `libhdf5` a file that the pure backend cannot read is tried with the C library.
    #[serde(skip)]
    pub backend: Backend,
}

/// An open dataset with what contradicts itself in it.
pub struct Opened {
    /// The episodes.
    pub source: Box<dyn EpisodeSource>,
    /// The file they are in.
    pub container: Arc<Container>,
    /// Contradictions that leave episodes readable: totals, masks, numbering.
    pub problems: Vec<DataError>,
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
    let opened = open_any(path, options)?;
    match opened.problems.into_iter().next() {
        Some(problem) if !options.lenient => Err(problem),
        _ => Ok(opened.source),
    }
}

pub(crate) fn open_any(path: &Path, options: &OpenOptions) -> Result<Opened, DataError> {
    let format = options.format.as_deref().map(|name| named(path, name)).transpose()?;
    let first = attempt(path, format, options);
    #[cfg(feature = "libhdf5")]
    if options.backend == Backend::Pure && !is_whole(&first) {
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
    let container = Arc::new(Container::open(path, options.backend)?);
    let chosen = match format {
        Some(format) => format,
        None => {
            let mut found = None;
            for f in FORMATS {
                if (f.sniff)(&container)? {
                    found = Some(f);
                    break;
                }
            }
            found.ok_or_else(|| unknown(&container))?
        }
    };
    (chosen.open)(container, options)
}

fn names() -> String {
    FORMATS.iter().map(|f| f.name).collect::<Vec<_>>().join(", ")
}

fn unknown(container: &Container) -> DataError {
    let top: Vec<String> =
        container.file().children("").map(|c| c.into_keys().take(8).collect()).unwrap_or_default();
    DataError::Malformed {
        path: container.path().to_owned(),
        format: "dataset",
        reason: format!(
            "HDF5 of no known layout; at its top it holds [{}], known are {}",
            top.join(", "),
            names()
        ),
        hint: "robomimic and robosuite files hold data/demo_0/actions, D4RL files hold observations, actions and rewards; \
               name the layout with --format if you know it",
    }
}
