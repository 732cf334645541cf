//! Writing histories as they come, in bounded memory.

use std::path::{Path, PathBuf};

use hdf5_pure::{AttrValue, DatasetBuilder, File, FileBuilder, GroupBuilder};
use surefoot_core::{DataError, HistoryError, HistoryMeta, HistorySource, LearningHistory, StepEnd};

use super::read::HistoryFile;
use super::{FORMAT, VERSION, as_bytes};
use crate::durable::{exists, put_with};
use crate::encode::{EncodeError, int, text};
use crate::input::hash_file;
use crate::writer::io_cause;

/// Histories on their way to the disk are held up to this many bytes.
const BATCH_BYTES: usize = 16 << 20;
/// Rows of a chunk, or fewer where they are more than so many bytes, as pictures are; shorter arrays are in one piece.
const CHUNK_ROWS: usize = 4096;
const CHUNK_BYTES: usize = 1 << 20;

/// What a file says of all its histories.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryHeader {
    /// Spec, family and tasks; the hash is that of the finished file and not looked at.
    pub meta: HistoryMeta,
    /// The program that wrote it, with its version.
    pub producer: String,
    /// How it was collected, JSON.
    pub collect_config: String,
}

impl HistoryHeader {
    /// A header of this program.
    #[must_use]
    pub fn new(meta: HistoryMeta, collect_config: String) -> Self {
        let producer = concat!("surefoot-datasets ", env!("CARGO_PKG_VERSION")).to_owned();
        Self { meta, producer, collect_config }
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenHistories {
    /// Where.
    pub path: PathBuf,
    /// Length of the file.
    pub bytes: u64,
    /// Blake3 of the file.
    pub hash: String,
    /// Histories.
    pub histories: usize,
    /// Steps of all of them.
    pub steps: usize,
}

/// Takes histories into a file that is being written.
pub struct HistoryWriter<'a> {
    path: &'a Path,
    meta: &'a HistoryMeta,
    file: File,
    /// Histories that are not in the file yet, by number.
    image: FileBuilder,
    waiting: Vec<usize>,
    held: usize,
    batch_bytes: usize,
    digests: Vec<blake3::Hash>,
    steps: usize,
}

/// Has `produce` give histories one after the other, and writes them as a new file; an existing one is an error. Some 16 MB of them are held at
/// once. The same histories give the same bytes.
///
/// # Errors
/// When the file exists, a history is not valid, `produce` fails, or the system refuses. Nothing is left behind then.
pub fn write_histories(
    path: &Path,
    header: &HistoryHeader,
    produce: impl FnOnce(&mut HistoryWriter<'_>) -> Result<(), DataError>,
) -> Result<WrittenHistories, DataError> {
    write_in_batches(path, header, BATCH_BYTES, produce)
}

pub(super) fn write_in_batches(
    path: &Path,
    header: &HistoryHeader,
    batch_bytes: usize,
    produce: impl FnOnce(&mut HistoryWriter<'_>) -> Result<(), DataError>,
) -> Result<WrittenHistories, DataError> {
    if path.exists() {
        return Err(exists(path));
    }
    let fail = |e: EncodeError| unencodable(path, &e);
    let (mut histories, mut steps) = (0, 0);
    put_with(path, false, |temporary| {
        let io = |source| DataError::Io { path: path.to_owned(), source };
        let bytes = encode_header(header).map_err(fail)?;
        std::fs::write(temporary, bytes).map_err(io)?;
        let file = File::open_rw(temporary).map_err(|e| fail(e.into()))?;
        let mut writer = HistoryWriter {
            path,
            meta: &header.meta,
            file,
            image: FileBuilder::new(),
            waiting: Vec::new(),
            held: 0,
            batch_bytes,
            digests: Vec::new(),
            steps: 0,
        };
        produce(&mut writer)?;
        if writer.digests.is_empty() {
            return Err(DataError::Shape {
                path: path.to_owned(),
                item: "histories".into(),
                expected: "at least one".into(),
                found: "none".into(),
            });
        }
        writer.commit().map_err(fail)?;
        let (digests, all) = (writer.digests, writer.steps);
        drop(writer.file);
        (histories, steps) = (digests.len(), all);
        let back = HistoryFile::open(temporary)?;
        let mut whole = back.len() == digests.len();
        for (index, digest) in digests.iter().enumerate().take(back.len()) {
            whole &= back.history(index)?.digest() == *digest;
        }
        let meta = HistoryMeta { hash: back.meta().hash.clone(), ..header.meta.clone() };
        if whole && *back.meta() == meta { Ok(()) } else { Err(damaged(path)) }
    })?;
    let (hash, bytes) = hash_file(path)?;
    Ok(WrittenHistories { path: path.to_owned(), bytes, hash, histories, steps })
}

impl HistoryWriter<'_> {
    /// Appends a history.
    ///
    /// # Errors
    /// When it is not valid or of no task of the header, or the system refuses.
    pub fn append(&mut self, history: &LearningHistory) -> Result<(), DataError> {
        let number = self.digests.len();
        let tasks = self.meta.tasks.len();
        let of_a_task = history.task < tasks;
        let no_such = || HistoryError::NoSuchTask { task: history.task as u64, tasks };
        history
            .validate(&self.meta.spec)
            .and_then(|()| of_a_task.then_some(()).ok_or_else(no_such))
            .map_err(|source| DataError::History {
                path: self.path.to_owned(),
                history: format!("history {number}"),
                source,
            })?;
        let mut group = self.image.create_group(&number.to_string());
        fill(&mut group, self.meta, history);
        self.image.add_group(group.finish());
        self.waiting.push(number);
        self.digests.push(history.digest());
        self.steps += history.len();
        self.held += history.len() * 4 * (self.meta.spec.observation_dim() + self.meta.spec.action_dim() + 4);
        if self.held >= self.batch_bytes {
            self.commit().map_err(|e| unencodable(self.path, &e))?;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), EncodeError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let image = File::from_bytes(std::mem::take(&mut self.image).finish()?)?;
        for number in self.waiting.drain(..) {
            self.file.copy_from(&image, &number.to_string(), &format!("histories/{number}"))?;
        }
        self.held = 0;
        Ok(self.file.commit()?)
    }
}

/// Of fixed length: a group whose texts are not cannot be copied from file to file.
fn fixed(value: &str) -> AttrValue {
    AttrValue::String(if value.is_empty() { " ".to_owned() } else { value.to_owned() })
}

fn encode_header(header: &HistoryHeader) -> Result<Vec<u8>, EncodeError> {
    let HistoryHeader { meta, producer, collect_config } = header;
    let HistoryMeta { spec, family, family_config, tasks, hash: _ } = meta;
    let mut file = FileBuilder::new();
    for (key, value) in [
        ("format", FORMAT),
        ("producer", producer),
        ("env_family", family),
        ("env_config_json", family_config),
        ("env_spec_json", &serde_json::to_string(spec)?),
        ("collect_json", collect_config),
        ("action_kind", kind(meta)),
    ] {
        file.set_attr(key, text(value));
    }
    file.set_attr("version", AttrValue::U32(VERSION));
    file.set_attr("dt", AttrValue::F64(spec.step_secs));
    file.set_attr("obs_dim", int(spec.observation_dim() as u64));
    file.set_attr("action_dim", int(spec.action_dim() as u64));
    let mut all = file.create_group("tasks");
    for (index, task) in tasks.iter().enumerate() {
        let mut group = all.create_group(&task.id.to_string());
        group.set_attr("index", int(index as u64));
        group.set_attr("split", text(task.split.name()));
        group.set_attr("random_return", AttrValue::F32(task.random_return));
        group.set_attr("optimal_return", AttrValue::F32(task.optimal_return));
        group.create_dataset("params").with_f32_data(&task.params).with_shape(&[task.params.len() as u64]);
        all.add_group(group.finish());
    }
    file.add_group(all.finish());
    let histories = file.create_group("histories").finish();
    file.add_group(histories);
    Ok(file.finish()?)
}

fn kind(meta: &HistoryMeta) -> &'static str {
    let choices = meta.spec.action.iter().filter(|f| f.choices.is_some()).count();
    match choices {
        0 => "continuous",
        n if n == meta.spec.action_dim() => "choice",
        _ => "mixed",
    }
}

fn fill(group: &mut GroupBuilder, meta: &HistoryMeta, history: &LearningHistory) {
    let LearningHistory {
        task,
        algorithm,
        algorithm_config,
        seed,
        stream,
        complete,
        observations,
        actions,
        rewards,
        ends,
        updates,
        phases,
        final_observations,
        expert_actions,
    } = history;
    let described = &meta.tasks[*task];
    let episodes: Vec<_> = history.episodes().collect();
    group.set_attr("task_id", AttrValue::U64(described.id));
    group.set_attr("algo", fixed(algorithm));
    group.set_attr("algo_config_json", fixed(algorithm_config));
    group.set_attr("seed", AttrValue::U64(*seed));
    group.set_attr("stream", AttrValue::U32(*stream));
    group.set_attr("n_steps", int(history.len() as u64));
    group.set_attr("n_episodes", int(episodes.len() as u64));
    group.set_attr("complete", AttrValue::U8(u8::from(*complete)));
    group.set_attr("score_improvement", AttrValue::F32(history.score_improvement(described)));
    group.set_attr("score_stability", AttrValue::F32(history.score_stability(described)));

    let n = history.len();
    // `bytes` of a row.
    let chunked = |dataset: &mut DatasetBuilder, rows: usize, width: Option<usize>, bytes: usize| {
        let shape = |rows: usize| std::iter::once(rows).chain(width).map(|x| x as u64).collect::<Vec<u64>>();
        dataset.with_shape(&shape(rows));
        let most = (CHUNK_BYTES / bytes.max(1)).clamp(1, CHUNK_ROWS);
        if rows >= most {
            dataset.with_chunks(&shape(most)).with_shuffle().with_deflate(1);
        }
    };
    let shaped = |dataset: &mut DatasetBuilder, rows: usize| chunked(dataset, rows, None, 1);
    let spec = &meta.spec;
    let mut rows = |name: &str, fields: &[surefoot_core::Field], numbers: &[f32], rows: usize| {
        let dataset = group.create_dataset(name);
        let bytes = match as_bytes(fields, numbers) {
            Some(bytes) => {
                dataset.with_u8_data(&bytes);
                fields.len()
            }
            None => {
                dataset.with_f32_data(numbers);
                4 * fields.len()
            }
        };
        chunked(dataset, rows, Some(fields.len()), bytes);
    };
    rows("obs", &spec.observation, observations, n);
    rows("action", &spec.action, actions, n);
    rows("final_obs", &spec.observation, final_observations, episodes.len());
    if let Some(expert) = expert_actions {
        rows("expert_action", &spec.action, expert, n);
    }
    let flags = |is: StepEnd| ends.iter().map(|e| u8::from(*e == is)).collect::<Vec<u8>>();
    shaped(group.create_dataset("reward").with_f32_data(rewards), n);
    shaped(group.create_dataset("terminated").with_u8_data(&flags(StepEnd::Terminated)), n);
    shaped(group.create_dataset("truncated").with_u8_data(&flags(StepEnd::Truncated)), n);
    let codes: Vec<u8> = phases.iter().map(|p| p.code()).collect();
    shaped(group.create_dataset("phase").with_u8_data(&codes), n);
    shaped(group.create_dataset("update").with_u32_data(updates), n);
    let numbers = |f: &dyn Fn(usize, usize) -> usize| -> Vec<u32> {
        let each = episodes.iter().enumerate().flat_map(|(e, range)| range.clone().map(move |t| (e, t)));
        each.map(|(e, t)| f(e, t) as u32).collect()
    };
    shaped(group.create_dataset("episode").with_u32_data(&numbers(&|e, _| e)), n);
    shaped(group.create_dataset("step").with_u32_data(&numbers(&|e, t| t - episodes[e].start)), n);
    let starts: Vec<u64> = episodes.iter().map(|e| e.start as u64).collect();
    let lengths: Vec<u32> = episodes.iter().map(|e| e.len() as u32).collect();
    shaped(group.create_dataset("ep_start").with_u64_data(&starts), episodes.len());
    shaped(group.create_dataset("ep_len").with_u32_data(&lengths), episodes.len());
    let returns = history.episode_returns();
    shaped(group.create_dataset("ep_return").with_f32_data(&returns), episodes.len());
}

fn unencodable(path: &Path, error: &EncodeError) -> DataError {
    if let Some(source) = io_cause(&**error) {
        return DataError::Io { path: path.to_owned(), source };
    }
    DataError::Malformed {
        path: path.to_owned(),
        format: FORMAT,
        reason: format!("these histories cannot be encoded: {error}"),
        hint: "names and settings must be plain text without NUL bytes, and settings shorter than 64 KB",
    }
}

fn damaged(path: &Path) -> DataError {
    DataError::Malformed {
        path: path.to_owned(),
        format: FORMAT,
        reason: "after writing, it does not read back as it was; the file was not kept".into(),
        hint: "the disk or the memory may be failing; please report this with the data if it happens again",
    }
}
