//! D4RL: one flat run of transitions, `observations [N, O]`, `actions [N, A]`, `rewards`, `terminals`, and mostly `timeouts`.
//!
//! An episode ends where a terminal or a timeout is set; where both are, the terminal wins. Without `next_observations` a row's
//! successor is the row after it, inside the episode: a terminal's successor is never looked at, and a timeout's last row is
//! left out, for what followed it was not recorded. The rows after the last end are an episode that the recording cut off.
//! `timeouts` mean what the file's maker meant: in maze2d they mark a reached goal.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use surefoot_core::{DataError, DatasetMeta, Episode, EpisodeSource, StepEnd};

use super::Format;
use super::columns::{Columns, row_dim};
use crate::durable::{exists, put_with};
use crate::flat::{FlatArray, Kind, write_flat};
use crate::h5::{ChildKind, Container};
use crate::input::{Input, hash_file};
use crate::open::{OpenOptions, Opened, open_with};
use crate::writer::{Recording, Written, check_count, check_episode};

const NAME: &str = "d4rl";

/// The registry line.
pub const FORMAT: Format = Format {
    name: NAME,
    summary: "D4RL HDF5: flat observations, actions, rewards, terminals and timeouts; read and written",
    sniff,
    open,
    write: Some(write),
};

/// Bytes of rows that are read at once.
const BLOCK_BYTES: usize = 8 << 20;

/// Blocks of rows in memory at most: neighbouring episodes are read side by side.
const MAX_BLOCKS: usize = 4;

/// Rows of the large arrays.
#[derive(Debug)]
struct Block {
    observation: Vec<f32>,
    next_observation: Option<Vec<f32>>,
    action: Vec<f32>,
    reward: Vec<f32>,
}

#[derive(Debug)]
struct D4rl {
    container: Arc<Container>,
    meta: DatasetMeta,
    /// First row of each episode and its end.
    episodes: Vec<(usize, usize)>,
    end: Vec<StepEnd>,
    recorded_next: bool,
    block_rows: usize,
    /// Blocks that were read of late, by their numbers.
    blocks: Mutex<Vec<(usize, Arc<Block>)>>,
}

fn sniff(input: &Input) -> Result<bool, DataError> {
    let Input::Hdf5(container) = input else { return Ok(false) };
    let root = container.file().children("").map_err(|e| container.error(NAME, e))?;
    Ok(["observations", "actions", "rewards", "terminals"]
        .iter()
        .all(|name| root.get(*name) == Some(&ChildKind::Dataset)))
}

fn open(input: Input, options: &OpenOptions) -> Result<Opened, DataError> {
    let container = input.into_hdf5(options.backend)?;
    let fail = |e| container.error(NAME, e);
    let wrong = |item: &str, expected: String, found: String| DataError::Shape {
        path: container.path().to_owned(),
        item: item.to_owned(),
        expected,
        found,
    };
    if let Some(keys) = options.observation_keys.as_ref().or(options.action_keys.as_ref()) {
        let found = "one row without keys".to_owned();
        return Err(wrong("observations", format!("the keys {}", keys.join(", ")), found));
    }
    let root = container.file().children("").map_err(fail)?;
    let has = |name: &str| root.get(name) == Some(&ChildKind::Dataset);
    let info = |name: &str| container.file().info(name).map_err(fail);
    let columns = Columns { container: &container, format: NAME };
    let dim = |item: &str| row_dim(&container, item, [columns.width(item)?].into_iter());
    let observation_dim = dim("observations")?;
    let action_dim = dim("actions")?;
    let rows = info("observations")?.rows();
    let expect = |name: &str, width: Option<usize>| -> Result<(), DataError> {
        let found = info(name)?;
        if found.rows() == rows && width.is_none_or(|w| w == found.width()) {
            return Ok(());
        }
        let expected = width.map_or_else(|| format!("{rows} rows"), |w| format!("{rows} rows of {w}"));
        Err(wrong(name, expected, format!("{} rows of {}", found.rows(), found.width())))
    };
    expect("actions", None)?;
    expect("rewards", Some(1))?;
    expect("terminals", Some(1))?;
    let recorded_next = has("next_observations");
    if recorded_next {
        expect("next_observations", Some(observation_dim))?;
    }
    let flags = |name: &str| -> Result<Vec<bool>, DataError> {
        Ok(container.file().read_f32(name).map_err(fail)?.data.into_iter().map(|x| x != 0.0).collect())
    };
    let terminals = flags("terminals")?;
    let mut notes = Vec::new();
    let timeouts = if has("timeouts") {
        expect("timeouts", Some(1))?;
        flags("timeouts")?
    } else {
        notes.push(
            "no timeouts are recorded: time limits do not show, and rows on both sides of one are joined; D4RL's own files of \
             this kind cut at the environment's step limit"
                .into(),
        );
        vec![false; rows]
    };
    let mut end: Vec<StepEnd> =
        terminals.iter().zip(&timeouts).map(|(te, ti)| StepEnd::from_flags(*te, *ti)).collect();
    if let Some(last) = end.last_mut().filter(|e| !e.is_last()) {
        *last = StepEnd::Truncated;
        notes.push("the last episode has no end: the recording stopped in it".into());
    }
    let mut episodes = Vec::new();
    let (mut start, mut dropped) = (0, 0);
    for (row, e) in end.iter().enumerate() {
        if e.is_last() {
            dropped += usize::from(*e == StepEnd::Truncated && !recorded_next);
            episodes.push((start, row + 1));
            start = row + 1;
        }
    }
    if !recorded_next {
        notes.push(format!("no next_observations: the last row of {dropped} truncated episodes is left out"));
    }
    let env = ["metadata/env", "env"]
        .iter()
        .find_map(|item| container.file().read_text(item).ok().and_then(|a| a.data.into_iter().next()));
    let file = container.path().file_name().map(|n| n.to_string_lossy().into_owned());
    if [&env, &file].into_iter().flatten().any(|name| name.contains("maze2d")) {
        notes.push(
            "in maze2d files a timeout marks a reached goal, not a time limit: the run goes on behind it"
                .into(),
        );
    }
    let meta = DatasetMeta {
        path: container.path().to_owned(),
        format: NAME,
        env,
        observation_keys: vec![("observations".into(), observation_dim)],
        observation_dim,
        action_dim,
        hash: container.hash().to_owned(),
        notes,
        ..DatasetMeta::default()
    };
    let row_bytes = 4 * (observation_dim * (1 + usize::from(recorded_next)) + action_dim + 1);
    let source = D4rl {
        container: Arc::clone(&container),
        meta,
        episodes,
        end,
        recorded_next,
        block_rows: (BLOCK_BYTES / row_bytes.max(1)).max(1),
        blocks: Mutex::default(),
    };
    Ok(Opened::hdf5(source, container, String::new(), Vec::new()))
}

impl D4rl {
    /// A block of rows, from memory where it was read of late.
    fn block(&self, number: usize) -> Result<Arc<Block>, DataError> {
        let lock = || self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, block)) = lock().iter().find(|(n, _)| *n == number) {
            return Ok(Arc::clone(block));
        }
        let from = number * self.block_rows;
        let rows = from..(from + self.block_rows).min(self.end.len());
        let file = self.container.file();
        let read =
            |name: &str| file.read_f32_rows(name, rows.clone()).map_err(|e| self.container.error(NAME, e));
        let block = Arc::new(Block {
            observation: read("observations")?,
            next_observation: if self.recorded_next { Some(read("next_observations")?) } else { None },
            action: read("actions")?,
            reward: read("rewards")?,
        });
        // Two threads may both have read; they read the same.
        let mut blocks = lock();
        if blocks.len() >= MAX_BLOCKS {
            blocks.remove(0);
        }
        blocks.push((number, Arc::clone(&block)));
        Ok(block)
    }

    /// Rows `from..to` of a column, rows of `width`.
    fn rows(
        &self,
        from: usize,
        to: usize,
        width: usize,
        column: impl Fn(&Block) -> &[f32],
    ) -> Result<Vec<f32>, DataError> {
        let mut rows = Vec::with_capacity(to.saturating_sub(from) * width);
        let mut at = from;
        while at < to {
            let number = at / self.block_rows;
            let (begin, end) = (number * self.block_rows, (number + 1) * self.block_rows);
            let block = self.block(number)?;
            let stop = to.min(end);
            let part = column(&block).get((at - begin) * width..(stop - begin) * width);
            rows.extend_from_slice(part.unwrap_or_default());
            at = stop;
        }
        Ok(rows)
    }
}

impl EpisodeSource for D4rl {
    fn meta(&self) -> &DatasetMeta {
        &self.meta
    }

    fn len(&self) -> usize {
        self.episodes.len()
    }

    fn episode(&self, index: usize) -> Result<Episode, DataError> {
        let Some(&(start, stop)) = self.episodes.get(index) else {
            return Err(DataError::Shape {
                path: self.meta.path.clone(),
                item: "episode index".into(),
                expected: format!("fewer than {}", self.episodes.len()),
                found: index.to_string(),
            });
        };
        let (o, a) = (self.meta.observation_dim, self.meta.action_dim);
        let observations = |from, to| self.rows(from, to, o, |b| &b.observation);
        let mut end = self.end[start..stop].to_vec();
        let mut last = stop;
        let next_observation = if self.recorded_next {
            self.rows(start, stop, o, |b| b.next_observation.as_deref().unwrap_or_default())?
        } else if end.last() == Some(&StepEnd::Truncated) {
            last = stop - 1;
            end.pop();
            if let Some(e) = end.last_mut() {
                *e = StepEnd::Truncated;
            }
            observations((start + 1).min(last + 1), last + 1)?
        } else {
            // Nobody looks beyond a terminal: its own observation will do.
            let mut next = observations(start + 1, stop)?;
            next.extend(observations(stop - 1, stop)?);
            next
        };
        Ok(Episode {
            name: format!("episode_{index}"),
            observation: observations(start, last)?,
            next_observation,
            action: self.rows(start, last, a, |b| &b.action)?,
            reward: self.rows(start, last, 1, |b| &b.reward)?,
            end,
            ..Episode::default()
        })
    }
}

/// Everything that followed a step is written as `next_observations`, so no step is lost; the names of the two bounds are in the header of
/// none of D4RL's files, and neither are they here. Columns wait on the disk until the last episode is there.
fn write(
    path: &Path,
    recording: &Recording,
    episodes: &mut dyn Iterator<Item = Result<Episode, DataError>>,
) -> Result<Written, DataError> {
    if path.exists() {
        return Err(exists(path));
    }
    let (o, a) = (recording.spec.observation_dim(), recording.spec.action_dim());
    let array = |name, kind, width| FlatArray::new(path, name, kind, width);
    let mut columns = Flat {
        observation: array("observations", Kind::F32, o)?,
        next_observation: array("next_observations", Kind::F32, o)?,
        action: array("actions", Kind::F32, a)?,
        reward: array("rewards", Kind::F32, 0)?,
        terminal: array("terminals", Kind::Flag, 0)?,
        timeout: array("timeouts", Kind::Flag, 0)?,
    };
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let (mut digests, mut steps, mut held) = (Vec::new(), 0, Held::default());
    for e in episodes {
        let e = e?;
        check_episode(path, recording, digests.len(), &e)?;
        columns.push(&e).map_err(io)?;
        held.add(&e);
        digests.push(digest(&e));
        steps += e.len();
    }
    check_count(path, recording, digests.len())?;
    put_with(path, false, |temporary| {
        columns.write(temporary, &recording.spec.name).map_err(io)?;
        read_back(temporary, path, &digests)
    })?;
    let (hash, bytes) = hash_file(path)?;
    let (path, episodes) = (path.to_owned(), digests.len());
    Ok(Written { path, bytes, hash, episodes, steps, lost: held.lost(recording) })
}

/// The arrays of a file.
struct Flat {
    observation: FlatArray,
    next_observation: FlatArray,
    action: FlatArray,
    reward: FlatArray,
    terminal: FlatArray,
    timeout: FlatArray,
}

impl Flat {
    fn push(&mut self, e: &Episode) -> std::io::Result<()> {
        self.observation.floats(&e.observation)?;
        self.next_observation.floats(&e.next_observation)?;
        self.action.floats(&e.action)?;
        self.reward.floats(&e.reward)?;
        // An unmarked last step was cut off: without a mark, the next episode would go on with it.
        let last = e.len().saturating_sub(1);
        let is = |which: StepEnd| {
            let marked = e.end.iter().enumerate();
            marked.map(move |(t, end)| {
                *end == which || which == StepEnd::Truncated && t == last && !end.is_last()
            })
        };
        self.terminal.flags(is(StepEnd::Terminated))?;
        self.timeout.flags(is(StepEnd::Truncated))
    }

    fn write(self, to: &Path, env: &str) -> std::io::Result<()> {
        let Self { observation, next_observation, action, reward, terminal, timeout } = self;
        write_flat(to, vec![observation, next_observation, action, reward, terminal, timeout], env)
    }
}

/// What the episodes held that has no place in the format.
#[derive(Default)]
struct Held {
    proposed: bool,
    human: bool,
    success: bool,
    source: bool,
    seed: bool,
    attributes: bool,
}

impl Held {
    fn add(&mut self, e: &Episode) {
        self.proposed |= !e.proposed.is_empty();
        self.human |= !e.human.is_empty();
        self.success |= e.success.is_some();
        self.source |= e.source.is_some();
        self.seed |= e.seed.is_some();
        self.attributes |= !e.attributes.is_empty();
    }

    fn lost(self, recording: &Recording) -> Vec<String> {
        let Self { proposed, human, success, source, seed, attributes } = self;
        [
            (true, "names, units and bounds of the rows"),
            (proposed, "proposed actions"),
            (human, "who drove at each step"),
            (success, "success of the episodes"),
            (source, "source of the episodes"),
            (seed, "reset seeds"),
            (attributes, "attributes of the episodes"),
            (!recording.masks.is_empty(), "masks"),
            (true, "names of the episodes, and what the safety chain did"),
        ]
        .into_iter()
        .filter(|(held, _)| *held)
        .map(|(_, what)| what.to_owned())
        .collect()
    }
}

/// Of what the format keeps of an episode.
fn digest(e: &Episode) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for column in [&e.observation, &e.next_observation, &e.action, &e.reward] {
        hasher.update(&(column.len() as u64).to_le_bytes());
        for part in column.chunks(1024) {
            let bytes: Vec<u8> = part.iter().flat_map(|x| x.to_le_bytes()).collect();
            hasher.update(&bytes);
        }
    }
    hasher.update(&[u8::from(e.end.last() == Some(&StepEnd::Terminated))]);
    hasher.finalize()
}

/// Reads what was written and compares it with what was meant, bit for bit.
fn read_back(temporary: &Path, path: &Path, meant: &[blake3::Hash]) -> Result<(), DataError> {
    let options = OpenOptions { format: Some(NAME.into()), ..OpenOptions::default() };
    let source = open_with(temporary, &options)?;
    let mut same = source.len() == meant.len();
    for (i, meant) in meant.iter().enumerate() {
        same &= digest(&source.episode(i)?) == *meant;
    }
    if same {
        return Ok(());
    }
    Err(DataError::Malformed {
        path: path.to_owned(),
        format: NAME,
        reason: "after writing, it does not read back as it was; the file was not kept".into(),
        hint: "the disk or the memory may be failing; please report this with the data if it happens again",
    })
}
