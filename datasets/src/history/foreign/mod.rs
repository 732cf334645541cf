//! Learning histories of other projects, made histories of ours: one file and one line in [`HISTORY_FORMATS`] each.
//!
//! What these files do not say is not made up: the versions of the learner are all 0, the period is 1 s, all tasks are of the training, and their
//! reference returns are the lowest and the highest return of an episode that is there. What was seen after an episode's last action is missing in
//! all of them; the last observation stands in its place. Steps behind the last end of an episode are left out.

mod dicp;
mod ends;
mod survey;
mod vintix;
mod xland;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use surefoot_core::{DataError, HistoryError, HistoryPhase, LearningHistory, StepEnd};

use super::write::{HistoryHeader, WrittenHistories, write_histories};
use crate::h5::{Array, Attribute, Attributes, Backend, ChildKind, Container};
use crate::input::PlainFile;
use survey::{Survey, whole_part};

/// A layout of learning histories that others write.
#[derive(Clone, Copy, Debug)]
pub struct HistoryFormat {
    /// Registry name.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Whether an HDF5 file looks like one; reads little.
    sniff: fn(&Container) -> Result<bool, DataError>,
    /// Opens it as one.
    open: fn(Arc<Container>) -> Result<Opened, DataError>,
}

/// Every layout, in the order in which a file is held against them.
pub const HISTORY_FORMATS: &[HistoryFormat] = &[vintix::FORMAT, dicp::FORMAT, xland::FORMAT];

/// What the numbers of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    /// One of so many.
    Choices(u32),
    /// One of as many as the largest one says.
    Whole,
    /// A quantity.
    Quantity,
}

/// One learner's stream, as it stands in its file.
#[derive(Clone, Debug, Default)]
struct Lived {
    /// `[T, observation_dim]`.
    observations: Vec<f32>,
    /// `[T, action_dim]`.
    actions: Vec<f32>,
    /// `[T]`.
    rewards: Vec<f32>,
    /// `[T]`.
    ends: Vec<StepEnd>,
    /// `[T, action_dim]`, where somebody knew better.
    expert: Option<Vec<f32>>,
}

/// Where a stream stands in its file.
#[derive(Clone, Debug)]
struct Place {
    /// Index of the task among those of the file.
    task: usize,
    /// Number of the stream among those of the task.
    stream: u32,
    /// For people, and for the history's settings.
    group: String,
}

/// A file of another project.
trait ForeignHistories {
    /// Name of the environment, as far as the file says.
    fn env(&self) -> String;
    /// Of the observation row.
    fn observation(&self) -> Vec<Coding>;
    /// Of the action row.
    fn action(&self) -> Vec<Coding>;
    /// Every stream, in order.
    fn places(&self) -> &[Place];
    /// Reads one.
    fn read(&self, index: usize) -> Result<Lived, DataError>;
    /// What the file says of a stream beside its numbers.
    fn said(&self, index: usize) -> Attributes;
}

/// A file of another project, opened.
type Opened = Box<dyn ForeignHistories>;

/// What was imported.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedHistories {
    /// The layout that was read.
    pub format: &'static str,
    /// What was written.
    pub written: WrittenHistories,
    /// What a user should know.
    pub notes: Vec<String>,
}

/// The layout of a file: the one of this name, or the first that it looks like; `None` where it looks like none.
///
/// # Errors
/// When it cannot be read or is a damaged HDF5 file.
pub fn history_format(path: &Path, name: Option<&str>) -> Result<Option<&'static HistoryFormat>, DataError> {
    if let Some(name) = name {
        return Ok(HISTORY_FORMATS.iter().find(|f| f.name == name));
    }
    if !path.is_file() || !PlainFile::open(path)?.is_hdf5() {
        return Ok(None);
    }
    let container = Container::open(path, Backend::Pure)?;
    for format in HISTORY_FORMATS {
        if (format.sniff)(&container)? {
            return Ok(Some(format));
        }
    }
    Ok(None)
}

/// Files of another project, opened one after the other.
struct Sources {
    format: &'static HistoryFormat,
    files: Vec<(PathBuf, Opened)>,
    /// Tasks of the files before each.
    first_tasks: Vec<usize>,
}

impl Sources {
    fn open(format: &'static HistoryFormat, paths: &[PathBuf]) -> Result<Self, DataError> {
        let mut sources = Self { format, files: Vec::new(), first_tasks: Vec::new() };
        let mut tasks = 0;
        // Files beside each other are of one task where each has but one, as the trajectories of Vintix are.
        let mut last: Option<(PathBuf, usize)> = None;
        for path in paths {
            let file = (format.open)(Arc::new(Container::open(path, Backend::Pure)?))?;
            let count = file.places().iter().map(|p| p.task + 1).max().unwrap_or(0);
            let directory = path.parent().map(Path::to_path_buf).unwrap_or_default();
            let same = last.as_ref().filter(|(before, one)| *before == directory && *one == 1 && count == 1);
            let first = if same.is_some() { tasks - 1 } else { tasks };
            tasks = first + count;
            last = Some((directory, count));
            sources.first_tasks.push(first);
            sources.files.push((path.clone(), file));
        }
        Ok(sources)
    }

    /// Reads every stream in order: its file, its place, its task among all.
    fn each(
        &self,
        stop: &dyn Fn() -> bool,
        mut take: impl FnMut(&Stream<'_>, Lived) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        for ((path, file), first) in self.files.iter().zip(&self.first_tasks) {
            for (index, place) in file.places().iter().enumerate() {
                if stop() {
                    return Err(DataError::Interrupted);
                }
                let stream = Stream { path, file: &**file, index, place, task: first + place.task };
                take(&stream, file.read(index)?)?;
            }
        }
        Ok(())
    }
}

/// One stream among all files.
struct Stream<'a> {
    path: &'a Path,
    file: &'a dyn ForeignHistories,
    index: usize,
    place: &'a Place,
    task: usize,
}

impl Stream<'_> {
    fn wrong(&self, source: HistoryError) -> DataError {
        let Place { group, stream, .. } = self.place;
        let history = format!("{group}, stream {stream}");
        DataError::History { path: self.path.to_owned(), history, source }
    }
}

/// Writes the histories of `files`, which are of one layout, as a new file of ours. Each stream is read twice and held alone.
///
/// # Errors
/// When a file is not of this layout, is damaged, holds numbers that are not finite or of another coding, or differs from the others in
/// its rows; when the target exists, or the system refuses. Nothing is left behind then.
pub fn import_histories(
    format: &'static HistoryFormat,
    files: &[PathBuf],
    to: &Path,
    stop: &dyn Fn() -> bool,
) -> Result<ImportedHistories, DataError> {
    let sources = Sources::open(format, files)?;
    let mut survey = Survey::default();
    sources.each(stop, |stream, lived| survey.take_in(stream, &lived))?;
    let meta = survey.meta(&sources)?;
    let names: Vec<String> = files.iter().map(|p| p.display().to_string()).collect();
    let imported = serde_json::json!({ "imported": { "format": format.name, "files": names } });
    let header = HistoryHeader::new(meta, imported.to_string());
    let written = write_histories(to, &header, |writer| {
        let mut streams = vec![0_u32; survey.tasks()];
        sources.each(stop, |stream, lived| {
            let (steps, episodes) = whole_part(&lived.ends);
            if episodes == 0 {
                return Ok(());
            }
            let number = &mut streams[stream.task];
            let history = history(stream, lived, steps, *number, &survey);
            *number += 1;
            writer.append(&history)
        })
    })?;
    Ok(ImportedHistories { format: format.name, written, notes: survey.notes() })
}

/// The whole episodes of a stream.
fn history(stream: &Stream<'_>, lived: Lived, steps: usize, number: u32, survey: &Survey) -> LearningHistory {
    let Lived { mut observations, mut actions, mut rewards, mut ends, mut expert } = lived;
    let [o, a] = survey.dims();
    observations.truncate(steps * o);
    actions.truncate(steps * a);
    rewards.truncate(steps);
    ends.truncate(steps);
    survey.scale(&mut actions);
    if let Some(expert) = &mut expert {
        expert.truncate(steps * a);
        survey.scale(expert);
    }
    let lasts = ends.iter().enumerate().filter(|(_, e)| e.is_last());
    let final_observations = lasts.flat_map(|(t, _)| observations[t * o..(t + 1) * o].to_vec()).collect();
    let mut settings = serde_json::Map::new();
    settings.insert("file".into(), stream.path.display().to_string().into());
    settings.insert("group".into(), stream.place.group.clone().into());
    settings.insert("stream".into(), stream.place.stream.into());
    for (key, value) in stream.file.said(stream.index) {
        settings.insert(key, value.to_text().into());
    }
    LearningHistory {
        task: stream.task,
        algorithm: "unknown".into(),
        algorithm_config: serde_json::Value::Object(settings).to_string(),
        seed: 0,
        stream: number,
        complete: true,
        updates: vec![0; steps],
        phases: vec![HistoryPhase::Online; steps],
        observations,
        actions,
        rewards,
        ends,
        final_observations,
        expert_actions: expert,
    }
}

/// Streams of a task, and numbers of a row, at most.
const MOST: usize = 1 << 16;

/// Refuses an array that is empty along an axis, or has more than [`MOST`] numbers along one of these.
fn check_extents(container: &Container, item: &str, shape: &[usize], of: &[usize]) -> Result<(), DataError> {
    if shape.iter().all(|n| *n > 0) && of.iter().all(|n| *n <= MOST) {
        return Ok(());
    }
    let expected =
        format!("at least one number along each axis, and at most {MOST} streams and numbers of a row");
    Err(shape_error(container, item, &expected, &format!("{shape:?}")))
}

/// An array's extents, where it has this many axes.
fn axes(
    container: &Container,
    format: &'static str,
    item: &str,
    axes: usize,
) -> Result<Vec<usize>, DataError> {
    let shape = container.file().info(item).map_err(|e| container.error(format, e))?.shape;
    if shape.len() == axes {
        return Ok(shape);
    }
    Err(shape_error(container, item, &format!("{axes} axes"), &format!("{shape:?}")))
}

fn shape_error(container: &Container, item: &str, expected: &str, found: &str) -> DataError {
    let (path, item) = (container.path().to_owned(), item.to_owned());
    DataError::Shape { path, item, expected: expected.to_owned(), found: found.to_owned() }
}

/// All of an array.
fn numbers(container: &Container, format: &'static str, item: &str) -> Result<Array<f32>, DataError> {
    container.file().read_f32(item).map_err(|e| container.error(format, e))
}

/// What a group says of itself.
fn attributes(container: &Container, group: &str) -> Attributes {
    container.file().attributes(group, ChildKind::Group).unwrap_or_default()
}

fn text_of(said: &Attributes, key: &str) -> Option<String> {
    said.get(key).and_then(Attribute::as_text).map(str::to_owned)
}

/// The groups of the root that are named by numbers, in their order.
fn numbered(container: &Container, format: &'static str) -> Result<Vec<String>, DataError> {
    let children = container.file().children("").map_err(|e| container.error(format, e))?;
    let mut names: Vec<(u64, String)> = children
        .into_iter()
        .filter(|(_, kind)| *kind == ChildKind::Group)
        .filter_map(|(name, _)| Some((name.parse().ok()?, name)))
        .collect();
    names.sort();
    Ok(names.into_iter().map(|(_, name)| name).collect())
}

/// What the first numbered group holds, by name.
fn held_by_first(container: &Container, format: &'static str) -> Result<Vec<String>, DataError> {
    let Some(first) = numbered(container, format)?.into_iter().next() else { return Ok(Vec::new()) };
    let children = container.file().children(&first).map_err(|e| container.error(format, e))?;
    Ok(children.into_keys().collect())
}

#[cfg(test)]
mod tests;
