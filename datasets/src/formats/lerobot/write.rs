//! Writing LeRobot v3: frames in parquet as LeRobot lays them out, and in `meta/surefoot.json` what it has no place for.
//!
//! LeRobot keeps a frame for each observation. What followed the last step of an episode that did not end in a terminal state becomes a
//! frame more, with the last action once again: readers that know `next.terminated` leave its step out. What followed a terminal
//! step is not kept, for nobody looks there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, FloatType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};
use serde_json::{Value as Json, json};
use surefoot_core::{DataError, Episode, Field, StepEnd};

use super::NAME;
use super::info::{EXTRAS, Extras, ExtrasOfEpisode, TERMINATED};
use crate::durable::{exists, put_directory, write_in};
use crate::input::{hash_file, hash_of_files};
use crate::open::{OpenOptions, open_with};
use crate::spool::{Spool, SpoolPlace};
use crate::writer::{Recording, Written, check_count, check_episode, same};

/// A new file begins where one has grown to this: LeRobot allows 100 MB, but a table is in memory while it is written or read.
const FILE_BYTES: usize = 8 << 20;

/// One column of a table.
enum Column {
    Bools(Vec<bool>),
    Integers(Vec<i64>),
    Floats(Vec<f32>),
    /// Lists of this many.
    Lists(usize, Vec<f32>),
    Texts(Vec<String>),
    /// Lists of one.
    TextLists(Vec<String>),
}

type Columns = Vec<(&'static str, Column)>;

pub(super) fn write(
    path: &Path,
    recording: &Recording,
    episodes: &mut dyn Iterator<Item = Result<Episode, DataError>>,
) -> Result<Written, DataError> {
    if path.exists() {
        return Err(exists(path));
    }
    // Which columns there are is known only when all episodes are: they wait on the disk.
    let spool = Spool::beside(path)?;
    let mut gathered = Gathered::default();
    for e in episodes {
        let e = e?;
        check_episode(path, recording, gathered.places.len(), &e)?;
        gathered.add(&e, recording.spec.observation_dim());
        gathered.places.push(spool.push(&e)?);
    }
    check_count(path, recording, gathered.places.len())?;
    let mut hashes = Vec::new();
    let mut bytes = 0;
    put_directory(path, |temporary| {
        for name in encode(path, temporary, recording, &gathered, &spool)? {
            let (hash, length) = hash_file(&temporary.join(&name))?;
            bytes += length;
            if name.starts_with("data/") {
                hashes.push((name, hash));
            }
        }
        read_back(temporary, path, &gathered, &spool)
    })?;
    let mut lost = Vec::new();
    if step_secs(recording) != recording.spec.step_secs {
        lost.push("that the time of a step is not known: LeRobot needs one, and 1 s is written".to_owned());
    }
    for (kept, any, what) in [
        (gathered.has.human, gathered.any_human, "who drove, for not every episode says it"),
        (gathered.has.proposed, gathered.any_proposed, "proposed actions, for not every episode has them"),
    ] {
        if any && !kept {
            lost.push(what.to_owned());
        }
    }
    if gathered.any_follows_a_terminal_step {
        lost.push("observations that followed a terminal step".to_owned());
    }
    Ok(Written {
        path: path.to_owned(),
        bytes,
        hash: hash_of_files(hashes.iter().map(|(n, h)| (n.as_str(), h.as_str()))),
        episodes: gathered.places.len(),
        steps: gathered.steps,
        lost,
    })
}

/// What has to be known of all episodes before the first is written.
#[derive(Default)]
struct Gathered {
    places: Vec<SpoolPlace>,
    steps: usize,
    has: Has,
    any_human: bool,
    any_proposed: bool,
    any_follows_a_terminal_step: bool,
    extras: Vec<ExtrasOfEpisode>,
}

impl Gathered {
    fn add(&mut self, e: &Episode, o: usize) {
        self.steps += e.len();
        let first = self.places.is_empty();
        let Has { reward, success, human, proposed } = &mut self.has;
        *reward |= e.reward.iter().any(|r| !r.is_nan());
        *success = (first || *success) && e.success.is_some();
        *human = (first || *human) && !e.human.is_empty();
        *proposed = (first || *proposed) && !e.proposed.is_empty();
        self.any_human |= !e.human.is_empty();
        self.any_proposed |= !e.proposed.is_empty();
        self.any_follows_a_terminal_step |= followed_a_terminal_step(e, o);
        self.extras.push(ExtrasOfEpisode::of(e));
    }

    /// The task sentences, numbered in their own order; episodes without one have the empty sentence.
    fn tasks(&self) -> BTreeMap<String, i64> {
        let sentences: std::collections::BTreeSet<String> =
            self.extras.iter().map(|e| e.attributes.get("task").cloned().unwrap_or_default()).collect();
        sentences.into_iter().zip(0..).collect()
    }
}

fn is_terminated(e: &Episode) -> bool {
    e.end.last() == Some(&StepEnd::Terminated)
}

fn followed_a_terminal_step(e: &Episode, o: usize) -> bool {
    is_terminated(e) && tail(&e.next_observation, o) != tail(&e.observation, o)
}

/// Time between two frames, s. LeRobot needs one; where it is not known, frames are counted by the second.
fn step_secs(recording: &Recording) -> f64 {
    let secs = recording.spec.step_secs;
    if secs.is_finite() && secs > 0.0 { secs } else { 1.0 }
}

/// The last row.
fn tail(rows: &[f32], width: usize) -> &[f32] {
    rows.get(rows.len().saturating_sub(width)..).unwrap_or_default()
}

/// Frames of an episode: its steps, and one more where it did not end in a terminal state.
fn frames(e: &Episode) -> usize {
    e.len() + usize::from(!is_terminated(e))
}

/// Writes all files into the directory `to`, and gives their names.
fn encode(
    path: &Path,
    to: &Path,
    recording: &Recording,
    gathered: &Gathered,
    spool: &Spool,
) -> Result<Vec<String>, DataError> {
    let unencodable = |e: &dyn std::fmt::Display| DataError::Malformed {
        path: path.to_owned(),
        format: NAME,
        reason: format!("these episodes cannot be encoded: {e}"),
        hint: "write another format, and report this with the data",
    };
    let spec = &recording.spec;
    let (o, a) = (spec.observation_dim(), spec.action_dim());
    let mut names = Vec::new();
    let mut put = |name: String, bytes: Result<Vec<u8>, ParquetError>| {
        write_in(to, &name, &bytes.map_err(|e| unencodable(&e))?)?;
        names.push(name);
        Ok::<(), DataError>(())
    };
    let tasks = gathered.tasks();
    let task_of = |e: &Episode| e.attributes.get("task").and_then(|t| tasks.get(t)).copied().unwrap_or(0);
    let has = &gathered.has;
    let (mut index, mut places, mut stats) = (0, Places::default(), Stats::default());
    let (mut number, mut size, mut table) = (0, 0, Frames::default());
    for (i, place) in gathered.places.iter().enumerate() {
        let e = spool.episode(*place)?;
        let (chunk, file) = (number / 1000, number % 1000);
        let from = index;
        table.episode(&e, i, &mut index, task_of(&e), step_secs(recording), (o, a));
        places.add(&e, i, (chunk, file), (from, index));
        size += frames(&e) * (2 * a + o + 16) * 4;
        if size >= FILE_BYTES || i + 1 == gathered.places.len() {
            let columns = std::mem::take(&mut table).columns((o, a), has);
            stats.add(&columns);
            let name = format!("data/chunk-{chunk:03}/file-{file:03}.parquet");
            put(name, parquet_of(columns, None))?;
            (number, size) = (number + 1, 0);
        }
    }
    put("meta/episodes/chunk-000/file-000.parquet".into(), parquet_of(places.columns(), None))?;
    let (sentences, numbers) = tasks.iter().map(|(t, n)| (t.clone(), *n)).unzip();
    let columns =
        vec![("task_index", Column::Integers(numbers)), ("__index_level_0__", Column::Texts(sentences))];
    put("meta/tasks.parquet".into(), parquet_of(columns, Some(PANDAS)))?;
    let mut features = serde_json::Map::new();
    let list = |fields: &[Field]| -> Json {
        json!({"dtype": "float32", "shape": [fields.len()], "names": fields.iter().map(|f| &f.name).collect::<Vec<_>>()})
    };
    let one = |dtype: &str| json!({"dtype": dtype, "shape": [1], "names": null});
    features.insert("observation.state".into(), list(&spec.observation));
    features.insert("action".into(), list(&spec.action));
    for (name, dtype, present) in [
        ("next.reward", "float32", has.reward),
        ("next.done", "bool", true),
        (TERMINATED, "bool", true),
        ("next.success", "bool", has.success),
        ("is_intervention", "bool", has.human),
        ("timestamp", "float32", true),
        ("frame_index", "int64", true),
        ("episode_index", "int64", true),
        ("index", "int64", true),
        ("task_index", "int64", true),
    ] {
        if present {
            features.insert(name.into(), one(dtype));
        }
    }
    if has.proposed {
        features.insert("proposed_action".into(), list(&spec.action));
    }
    let fps = 1.0 / step_secs(recording);
    // LeRobot wants a whole number where it is one.
    let fps = if (fps - fps.round()).abs() < 1e-6 { json!(fps.round() as i64) } else { json!(fps) };
    let info = json!({
        "codebase_version": "v3.0", "robot_type": spec.name, "total_episodes": gathered.places.len(), "total_frames": index,
        "total_tasks": tasks.len(), "chunks_size": 1000, "data_files_size_in_mb": 100, "video_files_size_in_mb": 200,
        "fps": fps, "splits": {"train": format!("0:{}", gathered.places.len())},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet", "video_path": null, "features": features,
    });
    let pretty = |json: &Json| -> Vec<u8> { format!("{json:#}\n").into_bytes() };
    put("meta/info.json".into(), Ok(pretty(&info)))?;
    put("meta/stats.json".into(), Ok(pretty(&stats.json())))?;
    let extras = Extras {
        producer: recording.producer.clone(),
        spec: recording.stated_spec().cloned(),
        import_hash: recording.import_hash.clone(),
        masks: recording.masks.clone(),
        episodes: gathered.extras.clone(),
    };
    let extras = serde_json::to_vec_pretty(&extras).map_err(|e| ParquetError::General(e.to_string()));
    put(EXTRAS.into(), extras)?;
    Ok(names)
}

/// What pandas needs to find the sentence of a task in its index.
const PANDAS: &str = r#"{"index_columns": ["__index_level_0__"], "column_indexes": [{"name": null, "field_name": null, "pandas_type": "unicode", "numpy_type": "object", "metadata": {"encoding": "UTF-8"}}], "columns": [{"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64", "metadata": null}, {"name": null, "field_name": "__index_level_0__", "pandas_type": "unicode", "numpy_type": "object", "metadata": null}], "pandas_version": "2.2.3"}"#;

/// Columns that there is something to write in.
#[derive(Clone, Copy, Default)]
struct Has {
    reward: bool,
    success: bool,
    human: bool,
    proposed: bool,
}

#[derive(Default)]
struct Frames {
    observation: Vec<f32>,
    action: Vec<f32>,
    proposed: Vec<f32>,
    reward: Vec<f32>,
    done: Vec<bool>,
    terminated: Vec<bool>,
    success: Vec<bool>,
    human: Vec<bool>,
    timestamp: Vec<f32>,
    frame: Vec<i64>,
    episode: Vec<i64>,
    index: Vec<i64>,
    task: Vec<i64>,
}

impl Frames {
    fn episode(
        &mut self,
        e: &Episode,
        number: usize,
        index: &mut i64,
        task: i64,
        step_secs: f64,
        (o, a): (usize, usize),
    ) {
        let n = frames(e);
        self.observation.extend(&e.observation);
        self.action.extend(&e.action);
        self.proposed.extend(&e.proposed);
        self.reward.extend(&e.reward);
        self.human.extend(&e.human);
        if n > e.len() {
            self.observation.extend(tail(&e.next_observation, o));
            self.action.extend(tail(&e.action, a));
            self.proposed.extend(tail(&e.proposed, if e.proposed.is_empty() { 0 } else { a }));
            self.reward.push(0.0);
            self.human.extend(e.human.last());
        }
        for k in 0..n {
            self.done.push(k + 1 == n);
            self.terminated.push(k + 1 == n && is_terminated(e));
            self.success.push(k + 1 == n && e.success == Some(true));
            self.timestamp.push((k as f64 * step_secs) as f32);
            self.frame.push(k as i64);
            self.episode.push(number as i64);
            self.index.push(*index);
            self.task.push(task);
            *index += 1;
        }
    }

    fn columns(self, (o, a): (usize, usize), has: &Has) -> Columns {
        let mut columns: Columns = vec![
            ("observation.state", Column::Lists(o, self.observation)),
            ("action", Column::Lists(a, self.action)),
            ("next.done", Column::Bools(self.done)),
            (TERMINATED, Column::Bools(self.terminated)),
            ("timestamp", Column::Floats(self.timestamp)),
            ("frame_index", Column::Integers(self.frame)),
            ("episode_index", Column::Integers(self.episode)),
            ("index", Column::Integers(self.index)),
            ("task_index", Column::Integers(self.task)),
        ];
        if has.reward {
            columns.push(("next.reward", Column::Floats(self.reward)));
        }
        if has.success {
            columns.push(("next.success", Column::Bools(self.success)));
        }
        if has.human {
            columns.push(("is_intervention", Column::Bools(self.human)));
        }
        if has.proposed {
            columns.push(("proposed_action", Column::Lists(a, self.proposed)));
        }
        columns
    }
}

/// Where each episode is.
#[derive(Default)]
struct Places {
    episode: Vec<i64>,
    task: Vec<String>,
    length: Vec<i64>,
    chunk: Vec<i64>,
    file: Vec<i64>,
    from: Vec<i64>,
    to: Vec<i64>,
}

impl Places {
    fn add(&mut self, e: &Episode, number: usize, (chunk, file): (usize, usize), (from, to): (i64, i64)) {
        self.episode.push(number as i64);
        self.task.push(e.attributes.get("task").cloned().unwrap_or_default());
        self.length.push(to - from);
        self.chunk.push(chunk as i64);
        self.file.push(file as i64);
        self.from.push(from);
        self.to.push(to);
    }

    fn columns(self) -> Columns {
        let zeros = vec![0; self.episode.len()];
        vec![
            ("episode_index", Column::Integers(self.episode)),
            ("tasks", Column::TextLists(self.task)),
            ("length", Column::Integers(self.length)),
            ("data/chunk_index", Column::Integers(self.chunk)),
            ("data/file_index", Column::Integers(self.file)),
            ("dataset_from_index", Column::Integers(self.from)),
            ("dataset_to_index", Column::Integers(self.to)),
            ("meta/episodes/chunk_index", Column::Integers(zeros.clone())),
            ("meta/episodes/file_index", Column::Integers(zeros)),
        ]
    }
}

/// `meta/stats.json`: least, largest, mean and deviation of each number of each column.
#[derive(Default)]
struct Stats(BTreeMap<&'static str, Vec<Spread>>);

#[derive(Clone, Copy)]
struct Spread {
    n: f64,
    sum: f64,
    squares: f64,
    min: f64,
    max: f64,
}

impl Stats {
    fn add(&mut self, columns: &Columns) {
        for (name, column) in columns {
            let (width, numbers): (usize, Box<dyn Iterator<Item = f64>>) = match column {
                Column::Lists(width, x) => (*width, Box::new(x.iter().map(|x| f64::from(*x)))),
                Column::Floats(x) => (1, Box::new(x.iter().map(|x| f64::from(*x)))),
                Column::Integers(x) => (1, Box::new(x.iter().map(|x| *x as f64))),
                Column::Bools(x) => (1, Box::new(x.iter().map(|x| f64::from(u8::from(*x))))),
                Column::Texts(_) | Column::TextLists(_) => continue,
            };
            let none = Spread { n: 0.0, sum: 0.0, squares: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY };
            let spreads = self.0.entry(name).or_insert_with(|| vec![none; width]);
            for (i, x) in numbers.enumerate().filter(|(_, x)| x.is_finite()) {
                if let Some(s) = spreads.get_mut(i % width.max(1)) {
                    s.n += 1.0;
                    s.sum += x;
                    s.squares += x * x;
                    s.min = s.min.min(x);
                    s.max = s.max.max(x);
                }
            }
        }
    }

    fn json(&self) -> Json {
        let each = |s: &[Spread], f: fn(&Spread) -> f64| -> Vec<f64> { s.iter().map(f).collect() };
        let columns = self.0.iter().map(|(name, s)| {
            let deviation = |s: &Spread| (s.squares / s.n - (s.sum / s.n).powi(2)).max(0.0).sqrt();
            let count = s.first().map_or(0.0, |s| s.n) as u64;
            let line = json!({
                "min": each(s, |s| s.min), "max": each(s, |s| s.max), "mean": each(s, |s| s.sum / s.n),
                "std": each(s, deviation), "count": [count],
            });
            ((*name).to_owned(), line)
        });
        Json::Object(columns.collect())
    }
}

fn list_of(name: &str, element: TypePtr) -> Result<TypePtr, ParquetError> {
    let inner = Type::group_type_builder("list")
        .with_repetition(Repetition::REPEATED)
        .with_fields(vec![element])
        .build()?;
    let list = Type::group_type_builder(name)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(Some(LogicalType::List))
        .with_fields(vec![Arc::new(inner)])
        .build()?;
    Ok(Arc::new(list))
}

fn leaf(name: &str, physical: Physical) -> Result<TypePtr, ParquetError> {
    let text = (physical == Physical::BYTE_ARRAY).then_some(LogicalType::String);
    let leaf = Type::primitive_type_builder(name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(text)
        .build()?;
    Ok(Arc::new(leaf))
}

/// A table as pyarrow lays it out: everything may be missing, nothing is.
fn parquet_of(columns: Columns, pandas: Option<&str>) -> Result<Vec<u8>, ParquetError> {
    let fields = columns
        .iter()
        .map(|(name, column)| match column {
            Column::Bools(_) => leaf(name, Physical::BOOLEAN),
            Column::Integers(_) => leaf(name, Physical::INT64),
            Column::Floats(_) => leaf(name, Physical::FLOAT),
            Column::Texts(_) => leaf(name, Physical::BYTE_ARRAY),
            Column::Lists(..) => list_of(name, leaf("element", Physical::FLOAT)?),
            Column::TextLists(_) => list_of(name, leaf("element", Physical::BYTE_ARRAY)?),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let schema = Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?);
    let pandas = pandas.map(|text| vec![KeyValue::new("pandas".to_owned(), text.to_owned())]);
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(pandas)
        .set_created_by(concat!("surefoot-datasets ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    for (_, column) in columns {
        let text = |t: String| ByteArray::from(t.into_bytes());
        match column {
            Column::Bools(x) => put::<BoolType>(&mut group, &x, None)?,
            Column::Integers(x) => put::<Int64Type>(&mut group, &x, None)?,
            Column::Floats(x) => put::<FloatType>(&mut group, &x, None)?,
            Column::Lists(width, x) => put::<FloatType>(&mut group, &x, Some(width))?,
            Column::Texts(x) => {
                put::<ByteArrayType>(&mut group, &x.into_iter().map(text).collect::<Vec<_>>(), None)?;
            }
            Column::TextLists(x) => {
                put::<ByteArrayType>(&mut group, &x.into_iter().map(text).collect::<Vec<_>>(), Some(1))?;
            }
        }
    }
    group.close()?;
    writer.close()?;
    Ok(bytes)
}

/// Writes the next column; in lists of `width` where one is given.
fn put<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, &mut Vec<u8>>,
    values: &[T::T],
    width: Option<usize>,
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General("more columns than the schema has".into()));
    };
    // Defined at every level; a repetition of 0 begins a row.
    let defined = vec![if width.is_some() { 3 } else { 1 }; values.len()];
    let repeated: Option<Vec<i16>> =
        width.map(|w| (0..values.len()).map(|i| i16::from(i % w.max(1) != 0)).collect());
    column.typed::<T>().write_batch(values, Some(&defined), repeated.as_deref())?;
    column.close()
}

/// Reads what was written and compares it with what was meant.
fn read_back(temporary: &Path, path: &Path, gathered: &Gathered, spool: &Spool) -> Result<(), DataError> {
    let damaged = |what: String| DataError::Malformed {
        path: path.to_owned(),
        format: NAME,
        reason: format!("after writing, {what} does not read back as it was; the dataset was not kept"),
        hint: "the disk or the memory may be failing; please report this with the data if it happens again",
    };
    let options = OpenOptions { format: Some(NAME.into()), ..OpenOptions::default() };
    let source = open_with(temporary, &options)?;
    if source.len() != gathered.places.len() {
        return Err(damaged("the number of episodes".into()));
    }
    let has = gathered.has;
    for (i, place) in gathered.places.iter().enumerate() {
        let mut meant = spool.episode(*place)?;
        if !has.human {
            meant.human.clear();
        }
        if !has.proposed {
            meant.proposed.clear();
        }
        if is_terminated(&meant) {
            let o = source.meta().observation_dim;
            let from = meant.next_observation.len().saturating_sub(o);
            meant.next_observation.truncate(from);
            meant.next_observation.extend_from_slice(tail(&meant.observation, o));
        }
        if !same(&source.episode(i)?, &meant) {
            return Err(damaged(format!("episode {i}")));
        }
    }
    Ok(())
}
