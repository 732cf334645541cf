//! D4RL: one flat run of transitions, `observations [N, O]`, `actions [N, A]`, `rewards`, `terminals`, and mostly `timeouts`.
//!
//! An episode ends where a terminal or a timeout is set; where both are, the terminal wins. Without `next_observations` a row's
//! successor is the row after it, inside the episode: a terminal's successor is never looked at, and a timeout's last row is
//! left out, for what followed it was not recorded. The rows after the last end are an episode that the recording cut off.
//! `timeouts` mean what the file's maker meant: in maze2d they mark a reached goal.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use hdf5_pure::FileBuilder;

use surefoot_core::{DataError, DatasetMeta, Episode, EpisodeSource, StepEnd};

use super::Format;
use super::columns::{Columns, row_dim};
use crate::durable::put;
use crate::encode::flag_type;
use crate::h5::{ChildKind, Container};
use crate::input::Input;
use crate::open::{OpenOptions, Opened, open_with};
use crate::writer::{Recording, Written, check};

const NAME: &str = "d4rl";

/// The registry line.
pub const FORMAT: Format = Format {
    name: NAME,
    summary: "D4RL HDF5: flat observations, actions, rewards, terminals and timeouts; read and written",
    sniff,
    open,
    write: Some(write),
};

/// The large arrays, read on first use.
#[derive(Debug)]
struct Loaded {
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
    columns: OnceLock<Loaded>,
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
    let source = D4rl {
        container: Arc::clone(&container),
        meta,
        episodes,
        end,
        recorded_next,
        columns: OnceLock::new(),
    };
    Ok(Opened::hdf5(source, container, String::new(), Vec::new()))
}

impl D4rl {
    fn columns(&self) -> Result<&Loaded, DataError> {
        if let Some(columns) = self.columns.get() {
            return Ok(columns);
        }
        let read = |name: &str| -> Result<Vec<f32>, DataError> {
            Ok(self.container.file().read_f32(name).map_err(|e| self.container.error(NAME, e))?.data)
        };
        let columns = Loaded {
            observation: read("observations")?,
            next_observation: if self.recorded_next { Some(read("next_observations")?) } else { None },
            action: read("actions")?,
            reward: read("rewards")?,
        };
        // Two threads may both have read; they read the same.
        Ok(self.columns.get_or_init(|| columns))
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
        let columns = self.columns()?;
        let (o, a) = (self.meta.observation_dim, self.meta.action_dim);
        let slice =
            |data: &[f32], from: usize, to: usize, width: usize| data[from * width..to * width].to_vec();
        let mut end = self.end[start..stop].to_vec();
        let mut last = stop;
        let next_observation = if let Some(next) = &columns.next_observation {
            slice(next, start, stop, o)
        } else if end.last() == Some(&StepEnd::Truncated) {
            last = stop - 1;
            end.pop();
            if let Some(e) = end.last_mut() {
                *e = StepEnd::Truncated;
            }
            slice(&columns.observation, (start + 1).min(last + 1), last + 1, o)
        } else {
            // Nobody looks beyond a terminal: its own observation will do.
            let mut next = slice(&columns.observation, start + 1, stop, o);
            next.extend(slice(&columns.observation, stop - 1, stop, o));
            next
        };
        Ok(Episode {
            name: format!("episode_{index}"),
            observation: slice(&columns.observation, start, last, o),
            next_observation,
            action: slice(&columns.action, start, last, a),
            reward: slice(&columns.reward, start, last, 1),
            end,
            ..Episode::default()
        })
    }
}

/// Everything that followed a step is written as `next_observations`, so no step is lost; the names of the two bounds are in the header of
/// none of D4RL's files, and neither are they here.
fn write(
    path: &Path,
    recording: &Recording,
    episodes: &mut dyn Iterator<Item = Result<Episode, DataError>>,
) -> Result<Written, DataError> {
    let episodes = episodes.collect::<Result<Vec<_>, _>>()?;
    check(path, recording, &episodes)?;
    let bytes = encode(recording, &episodes).map_err(|e| DataError::Malformed {
        path: path.to_owned(),
        format: NAME,
        reason: format!("these episodes cannot be encoded: {e}"),
        hint: "the name of the environment must be plain text without NUL bytes",
    })?;
    put(path, &bytes, false, &|temporary| read_back(temporary, path, &episodes))?;
    Ok(Written {
        path: path.to_owned(),
        bytes: bytes.len() as u64,
        hash: blake3::hash(&bytes).to_hex().to_string(),
        episodes: episodes.len(),
        steps: episodes.iter().map(Episode::len).sum(),
        lost: lost(recording, &episodes),
    })
}

fn encode(recording: &Recording, episodes: &[Episode]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let (o, a) = (recording.spec.observation_dim() as u64, recording.spec.action_dim() as u64);
    let column = |part: fn(&Episode) -> &[f32]| -> Vec<f32> {
        episodes.iter().flat_map(|e| part(e).iter().copied()).collect()
    };
    let rewards = column(|e| &e.reward);
    let n = rewards.len() as u64;
    let mut file = FileBuilder::new();
    file.create_dataset("observations").with_f32_data(&column(|e| &e.observation)).with_shape(&[n, o]);
    file.create_dataset("next_observations")
        .with_f32_data(&column(|e| &e.next_observation))
        .with_shape(&[n, o]);
    file.create_dataset("actions").with_f32_data(&column(|e| &e.action)).with_shape(&[n, a]);
    file.create_dataset("rewards").with_f32_data(&rewards).with_shape(&[n]);
    let flag = flag_type()?;
    let mut flags = |name: &str, which: StepEnd| {
        let mut ends: Vec<u8> = Vec::with_capacity(rewards.len());
        for e in episodes {
            ends.extend(e.end.iter().map(|end| u8::from(*end == which)));
            // An unmarked last step was cut off: without a mark, the next episode would go on with it.
            if which == StepEnd::Truncated
                && let (Some(flag), Some(StepEnd::Running)) = (ends.last_mut(), e.end.last())
            {
                *flag = 1;
            }
        }
        file.create_dataset(name).with_enum_u8_data(flag.clone(), &ends).with_shape(&[n]);
    };
    flags("terminals", StepEnd::Terminated);
    flags("timeouts", StepEnd::Truncated);
    let mut metadata = file.create_group("metadata");
    metadata.create_dataset("env").with_vlen_strings(&[&recording.spec.name]);
    file.add_group(metadata.finish());
    Ok(file.finish()?)
}

fn lost(recording: &Recording, episodes: &[Episode]) -> Vec<String> {
    let any = |held: fn(&Episode) -> bool| episodes.iter().any(held);
    let mut lost = vec!["names, units and bounds of the rows".to_owned()];
    let mut add = |held: bool, what: &str| {
        if held {
            lost.push(what.to_owned());
        }
    };
    add(any(|e| !e.proposed.is_empty()), "proposed actions");
    add(any(|e| !e.human.is_empty()), "who drove at each step");
    add(any(|e| e.success.is_some()), "success of the episodes");
    add(any(|e| e.source.is_some()), "source of the episodes");
    add(any(|e| e.seed.is_some()), "reset seeds");
    add(any(|e| !e.attributes.is_empty()), "attributes of the episodes");
    add(!recording.masks.is_empty(), "masks");
    add(true, "names of the episodes, and what the safety chain did");
    lost
}

/// Reads what was written and compares it with what was meant, bit for bit.
fn read_back(temporary: &Path, path: &Path, episodes: &[Episode]) -> Result<(), DataError> {
    let options = OpenOptions { format: Some(NAME.into()), ..OpenOptions::default() };
    let source = open_with(temporary, &options)?;
    let bits =
        |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits());
    let mut same = source.len() == episodes.len();
    for (i, meant) in episodes.iter().enumerate() {
        let found = source.episode(i)?;
        same &= bits(&found.observation, &meant.observation)
            && bits(&found.next_observation, &meant.next_observation)
            && bits(&found.action, &meant.action)
            && bits(&found.reward, &meant.reward)
            && found.end.last().map(|e| *e == StepEnd::Terminated)
                == meant.end.last().map(|e| *e == StepEnd::Terminated);
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
