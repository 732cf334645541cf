//! LeRobot datasets, v2.1 and v3: parquet tables with a row for each frame, beside JSON that says what the columns are.
//!
//! ```text
//! meta/info.json                                fps, features, version
//! meta/episodes.jsonl, tasks.jsonl              v2.1: lengths and task sentences
//! meta/episodes/chunk-*/file-*.parquet, meta/tasks.parquet     v3: the same
//! data/chunk-*/*.parquet                        v2.1: a file for each episode; v3: many episodes in a file
//! videos/                                       not read; said in the notes
//! ```
//! Episodes are found by the column `episode_index`, never by position: a file that a cut-off recording left without a footer is
//! named as such, and no later episode moves into the place of a lost one. Timestamps are `frame_index / fps`, not measured.
//! Rewards are in `next.reward` where they are at all; `next.done` does not say whether the task or the recording ended, see
//! [`DoneMeans`]. Nothing follows the last frame, so its step is left out unless the task ended there.

mod columns;
mod frames;
mod info;
mod write;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use surefoot_core::{DataError, DatasetMeta, Episode, EpisodeSource, StepEnd};

use self::columns::{Columns, Numbers};
use self::info::{Extras, ExtrasOfEpisode, Feature, Info, TERMINATED};
use super::Format;
use crate::h5::{ArrayInfo, Element};
use crate::info::ArrayLine;
use crate::input::{Input, hash_file, hash_of_files};
use crate::open::{Arrays, DoneMeans, OpenOptions, Opened};

pub use frames::LOG;

const NAME: &str = "lerobot";

/// The registry line.
pub const FORMAT: Format = Format {
    name: NAME,
    summary: "LeRobot v2.1 and v3 (parquet): observation.*, action, next.reward; videos are left out; v3 is written",
    sniff,
    open,
    write: Some(write::write),
};

/// Tables in memory at most.
const MAX_TABLES: usize = 2;

/// A run of rows of one episode in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    file: usize,
    rows: Range<usize>,
}

/// A dataset with its index; tables are read when they are needed.
#[derive(Debug)]
struct LeRobot {
    root: PathBuf,
    info: Info,
    files: Vec<PathBuf>,
    bytes: u64,
    hash: String,
    /// By episode number.
    episodes: BTreeMap<i64, Vec<Place>>,
    tasks: BTreeMap<i64, String>,
    extras: Option<Extras>,
    problems: Vec<Problem>,
    tables: Mutex<Vec<(usize, Arc<Table>)>>,
}

/// Something that leaves other episodes readable.
#[derive(Debug)]
struct Problem {
    path: PathBuf,
    item: String,
    expected: String,
    found: String,
}

impl Problem {
    fn error(&self) -> DataError {
        let Self { path, item, expected, found } = self;
        DataError::Shape {
            path: path.clone(),
            item: item.clone(),
            expected: expected.clone(),
            found: found.clone(),
        }
    }
}

/// Columns of a file, by name.
#[derive(Debug, Default)]
struct Table {
    columns: BTreeMap<String, Numbers>,
}

fn sniff(input: &Input) -> Result<bool, DataError> {
    let Input::Directory(directory) = input else { return Ok(false) };
    Ok(is_dataset(&directory.path))
}

/// Whether a directory holds a LeRobot dataset.
fn is_dataset(path: &Path) -> bool {
    path.join("meta/info.json").is_file() && path.join("data").is_dir()
}

impl LeRobot {
    fn open(root: &Path) -> Result<Self, DataError> {
        let info = Info::read(root)?;
        let files = info::parquet_files(&root.join("data"))?;
        let indexed: Vec<Result<Indexed, DataError>> = files
            .par_iter()
            .map(|path| {
                let (hash, bytes) = hash_file(path)?;
                let runs = runs(&Columns::open(path)?.numbers("episode_index")?);
                Ok(Indexed { runs, hash, bytes })
            })
            .collect();
        let mut episodes: BTreeMap<i64, Vec<Place>> = BTreeMap::new();
        let (mut problems, mut hashes, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (file, found) in indexed.into_iter().enumerate() {
            let path = files.get(file).cloned().unwrap_or_default();
            match found {
                Ok(Indexed { runs, hash, bytes: length }) => {
                    for (episode, rows) in runs {
                        episodes.entry(episode).or_default().push(Place { file, rows });
                    }
                    let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                    hashes.push((name, hash));
                    bytes += length;
                }
                Err(DataError::Malformed { reason, .. }) => problems.push(Problem {
                    path,
                    item: "the file".into(),
                    expected: "a readable parquet file".into(),
                    found: reason,
                }),
                Err(DataError::Shape { item, expected, found, .. }) => {
                    problems.push(Problem { path, item, expected, found });
                }
                Err(error) => return Err(error),
            }
        }
        let meta = root.join("meta/info.json");
        let mut contradict = |item: String, expected: String, found: String| {
            problems.push(Problem { path: meta.clone(), item, expected, found });
        };
        if let Some(total) = info.total_episodes.filter(|n| *n != episodes.len() as u64) {
            contradict("total_episodes".into(), total.to_string(), format!("{} in the data", episodes.len()));
        }
        for (episode, length) in info::lengths(root)? {
            let found: usize = episodes.get(&episode).into_iter().flatten().map(|p| p.rows.len()).sum();
            if found as u64 != length {
                contradict(format!("length of episode {episode}"), length.to_string(), found.to_string());
            }
        }
        for (episode, places) in &episodes {
            if places.len() > 1 {
                let expected = "its frames in one place".into();
                contradict(format!("episode {episode}"), expected, format!("{} places", places.len()));
            }
        }
        let hash = hash_of_files(hashes.iter().map(|(n, h)| (n.as_str(), h.as_str())));
        let tasks = info::tasks(root)?;
        let extras = info::extras(root)?;
        let tables = Mutex::new(Vec::new());
        Ok(Self {
            root: root.to_owned(),
            info,
            files,
            bytes,
            hash,
            episodes,
            tasks,
            extras,
            problems,
            tables,
        })
    }

    /// The columns of a file, from memory where it was read of late.
    fn table(&self, file: usize) -> Result<Arc<Table>, DataError> {
        let lock = || self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, table)) = lock().iter().find(|(f, _)| *f == file) {
            return Ok(Arc::clone(table));
        }
        let path = self.files.get(file).cloned().unwrap_or_default();
        let columns = Columns::open(&path)?;
        let mut table = Table::default();
        for name in self.info.numeric() {
            if columns.has(name) {
                table.columns.insert(name.to_owned(), columns.numbers(name)?);
            }
        }
        let rows = table.columns.get("episode_index").map_or(0, Numbers::rows);
        for (name, column) in &table.columns {
            if column.rows() != rows {
                return Err(DataError::Shape {
                    path,
                    item: format!("column {name}"),
                    expected: format!("{rows} rows"),
                    found: column.rows().to_string(),
                });
            }
        }
        let table = Arc::new(table);
        let mut tables = lock();
        if tables.len() >= MAX_TABLES {
            tables.remove(0);
        }
        tables.push((file, Arc::clone(&table)));
        Ok(table)
    }
}

/// What a look into a file tells.
struct Indexed {
    runs: Vec<(i64, Range<usize>)>,
    hash: String,
    bytes: u64,
}

/// Where each run of equal numbers is.
fn runs(column: &Numbers) -> Vec<(i64, Range<usize>)> {
    let mut runs: Vec<(i64, Range<usize>)> = Vec::new();
    for row in 0..column.rows() {
        let episode = column.one(row).unwrap_or(f64::NAN) as i64;
        match runs.last_mut() {
            Some((last, rows)) if *last == episode => rows.end = row + 1,
            _ => runs.push((episode, row..row + 1)),
        }
    }
    runs
}

/// The dataset as episodes of what it holds, in its own units.
struct Source {
    dataset: LeRobot,
    meta: DatasetMeta,
    /// Numbers of the episodes.
    numbers: Vec<i64>,
    observation: Vec<String>,
    action: Vec<String>,
    done_means: DoneMeans,
}

fn open(input: Input, options: &OpenOptions) -> Result<Opened, DataError> {
    let directory = input.into_directory(NAME)?;
    let dataset = LeRobot::open(&directory.path)?;
    let features = &dataset.info.features;
    let chosen =
        |keys: &Option<Vec<String>>, default: &dyn Fn(&str) -> bool| -> Result<Vec<String>, DataError> {
            let Some(keys) = keys else {
                return Ok(dataset.info.numeric().filter(|n| default(n)).map(str::to_owned).collect());
            };
            for key in keys {
                if features.get(key).is_none_or(|f| !f.is_numeric()) {
                    return Err(DataError::Shape {
                        path: directory.path.clone(),
                        item: key.clone(),
                        expected: format!("one of {}", dataset.info.numeric().collect::<Vec<_>>().join(", ")),
                        found: "no such column of numbers".into(),
                    });
                }
            }
            Ok(keys.clone())
        };
    let observation = chosen(&options.observation_keys, &|n| n.starts_with("observation"))?;
    let action = chosen(&options.action_keys, &|n| n == "action" || n.starts_with("action."))?;
    let width = |names: &[String]| names.iter().filter_map(|n| features.get(n)).map(Feature::width).sum();
    let (observation_dim, action_dim): (usize, usize) = (width(&observation), width(&action));
    for (what, dim) in [("observation", observation_dim), ("action", action_dim)] {
        if !(1..=MAX_ROW_WIDTH).contains(&dim) {
            return Err(DataError::Shape {
                path: directory.path.join("meta/info.json"),
                item: format!("features of the {what}"),
                expected: format!("1 to {MAX_ROW_WIDTH} numbers in columns that are no videos"),
                found: dim.to_string(),
            });
        }
    }
    let mut notes = vec!["timestamps are frame numbers divided by the frame rate, not measured".to_owned()];
    if dataset.extras.is_none() {
        let note = "actions are in the dataset's own units; `surefoot data import` brings them to [-1, 1] by a robot contract";
        notes.push(note.to_owned());
    }
    let skipped: Vec<&str> =
        features.iter().filter(|(_, f)| f.is_picture()).map(|(name, _)| name.as_str()).collect();
    if !skipped.is_empty() {
        notes.push(format!("videos and pictures are left out: {}", skipped.join(", ")));
    }
    let has = |name: &str| features.contains_key(name);
    if has("next.done") && !has("next.success") && !has(TERMINATED) {
        notes.push(format!(
            "{}: next.done does not say whether the task or the recording ended",
            super::AMBIGUOUS_DONE
        ));
    }
    let arrays = features.iter().filter(|(_, f)| f.is_numeric()).map(|(name, f)| ArrayLine {
        path: name.clone(),
        info: ArrayInfo {
            shape: std::iter::once(dataset.info.total_frames as usize)
                .chain(Some(f.width()).filter(|w| *w > 1))
                .collect(),
            element: f.element(),
        },
    });
    let arrays = Arrays::Listed(arrays.collect());
    let whole_rows = options.observation_keys.is_none() && options.action_keys.is_none();
    let meta = DatasetMeta {
        path: directory.path.clone(),
        format: NAME,
        env: dataset.info.robot_type.clone(),
        observation_keys: observation
            .iter()
            .map(|n| (n.clone(), features.get(n).map_or(0, Feature::width)))
            .collect(),
        observation_dim,
        action_dim,
        hash: dataset.hash.clone(),
        notes,
        spec: whole_rows.then(|| dataset.extras.as_ref()?.spec.clone()).flatten(),
        contract_hash: dataset.extras.as_ref().and_then(|e| e.spec.as_ref()?.contract_hash.clone()),
        import_hash: dataset.extras.as_ref().and_then(|e| e.import_hash.clone()),
        masks: dataset.extras.as_ref().map(|e| e.masks.clone()).unwrap_or_default(),
        ..DatasetMeta::default()
    };
    let problems = dataset.problems.iter().map(Problem::error).collect();
    let numbers = dataset.episodes.keys().copied().collect();
    let bytes = dataset.bytes;
    let source = Source { dataset, meta, numbers, observation, action, done_means: options.done_means };
    Ok(Opened { source: Box::new(source), bytes, arrays, problems })
}

/// Numbers of a row at most, as for other formats.
const MAX_ROW_WIDTH: usize = 1 << 16;

impl EpisodeSource for Source {
    fn meta(&self) -> &DatasetMeta {
        &self.meta
    }

    fn len(&self) -> usize {
        self.numbers.len()
    }

    fn episode(&self, index: usize) -> Result<Episode, DataError> {
        let places = self.numbers.get(index).and_then(|n| self.dataset.episodes.get(n));
        let (Some(number), Some([place])) = (self.numbers.get(index), places.map(Vec::as_slice)) else {
            return Err(DataError::Shape {
                path: self.meta.path.clone(),
                item: format!("episode {index}"),
                expected: format!("one of {}, its frames in one place", self.numbers.len()),
                found: format!("{} places", places.map_or(0, Vec::len)),
            });
        };
        let table = self.dataset.table(place.file)?;
        let rows = |names: &[String], dim: usize| -> Result<Vec<f32>, DataError> {
            let mut out = Vec::with_capacity(dim.saturating_mul(place.rows.len()));
            for row in place.rows.clone() {
                for name in names {
                    let found = table.columns.get(name).and_then(|c| c.row(row)).unwrap_or_default();
                    out.extend(found.iter().map(|x| *x as f32));
                }
            }
            if out.len() == dim * place.rows.len() {
                return Ok(out);
            }
            Err(DataError::Shape {
                path: self.dataset.files.get(place.file).cloned().unwrap_or_default(),
                item: names.join(" + "),
                expected: format!("{dim} numbers in each row, as info.json says"),
                found: format!("{} in {} rows", out.len(), place.rows.len()),
            })
        };
        let features = &self.dataset.info.features;
        let (o, a) = (self.meta.observation_dim, self.meta.action_dim);
        let mut observation = rows(&self.observation, o)?;
        let mut action = rows(&self.action, a)?;
        let flags = |name: &str| -> Option<Vec<f64>> {
            let column = table.columns.get(name).filter(|c| c.width == 1)?;
            Some(place.rows.clone().map(|row| column.one(row).unwrap_or(f64::NAN)).collect())
        };
        let mut reward: Vec<f32> = flags("next.reward")
            .map_or_else(|| vec![f32::NAN; place.rows.len()], |r| r.into_iter().map(|x| x as f32).collect());
        let success = flags("next.success").map(|s| s.iter().any(|x| *x > 0.5));
        let done = flags("next.done").and_then(|d| d.last().copied()).is_some_and(|d| d > 0.5);
        let stated = flags(TERMINATED).map(|t| t.last().is_some_and(|t| *t > 0.5));
        let terminated = match (self.done_means, success) {
            _ if stated.is_some() => stated == Some(true),
            (DoneMeans::Truncated, _) | (DoneMeans::Auto, None) => false,
            (DoneMeans::Terminated, _) => done,
            (DoneMeans::Auto, Some(success)) => success && done,
        };
        let mut n = place.rows.len();
        let mut next_observation = observation.get(o..).unwrap_or_default().to_vec();
        if terminated {
            // Nobody looks beyond the end of the task: its own observation will do.
            next_observation.extend_from_slice(observation.get((n - 1) * o..).unwrap_or_default());
        } else {
            n -= 1;
            observation.truncate(n * o);
            action.truncate(n * a);
            reward.truncate(n);
        }
        let mut human: Vec<bool> =
            flags("is_intervention").map(|f| f.iter().map(|x| *x > 0.5).collect()).unwrap_or_default();
        human.truncate(n);
        let mut proposed = if features.contains_key("proposed_action") {
            rows(&["proposed_action".into()], a)?
        } else {
            Vec::new()
        };
        proposed.truncate(n * a);
        let mut end = vec![StepEnd::Running; n];
        if let Some(last) = end.last_mut() {
            *last = if terminated { StepEnd::Terminated } else { StepEnd::Truncated };
        }
        let task = flags("task_index").and_then(|t| t.first().copied());
        let task = task.and_then(|t| self.dataset.tasks.get(&(t as i64)));
        let attributes = task.map(|t| ("task".to_owned(), t.clone())).into_iter().collect();
        let name = format!("episode_{number}");
        let mut episode = Episode {
            name,
            observation,
            next_observation,
            action,
            proposed,
            reward,
            end,
            human,
            success,
            attributes,
            ..Episode::default()
        };
        let extras = self.dataset.extras.as_ref();
        if let Some(extra) = extras.and_then(|e| e.episodes.get(usize::try_from(*number).ok()?)) {
            let ExtrasOfEpisode { name, success, source, seed, safety, attributes } = extra.clone();
            episode = Episode { name, success, source, seed, safety, attributes, ..episode };
        }
        Ok(episode)
    }
}

/// How a feature of this type is stored.
fn element(dtype: &str) -> Element {
    match dtype {
        "float64" => Element::F64,
        "float32" => Element::F32,
        "bool" => Element::Bool,
        "int64" => Element::I64,
        "int32" => Element::I32,
        "int16" => Element::I16,
        "int8" => Element::I8,
        "uint8" => Element::U8,
        _ => Element::Other,
    }
}
