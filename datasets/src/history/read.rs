//! Reading histories, one at a time.

use std::collections::BTreeMap;
use std::path::Path;

use surefoot_core::{
    DataError, EnvSpec, FamilyTask, HistoryError, HistoryMeta, HistoryPhase, HistorySource, LearningHistory,
    StepEnd, TaskSplit,
};

use super::{FORMAT, VERSION};
use crate::h5::{Attribute, Attributes, Backend, ChildKind, Container, Hdf5Error};
use crate::input::PlainFile;

/// A file of histories, opened: what is known without reading any steps is held.
#[derive(Debug)]
pub struct HistoryFile {
    container: Container,
    meta: HistoryMeta,
    collect_config: String,
    producer: String,
    histories: Vec<Entry>,
}

/// What a history says of itself.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its group.
    pub group: String,
    /// Index of its task.
    pub task: usize,
    pub algorithm: String,
    pub algorithm_config: String,
    pub seed: u64,
    pub stream: u32,
    pub steps: usize,
    pub episodes: usize,
    pub complete: bool,
    pub improvement: f64,
    pub stability: f64,
}

/// Whether a file says of itself that it holds histories.
///
/// # Errors
/// When it cannot be read, or is a damaged HDF5 file.
pub fn is_history_file(path: &Path) -> Result<bool, DataError> {
    if !path.is_file() || !PlainFile::open(path)?.is_hdf5() {
        return Ok(false);
    }
    Ok(holds_histories(&Container::open(path, Backend::Pure)?))
}

/// Whether an open file says so.
pub(crate) fn holds_histories(container: &Container) -> bool {
    let root = container.file().attributes("", ChildKind::Group).unwrap_or_default();
    root.get("format").and_then(Attribute::as_text) == Some(FORMAT)
}

/// Attributes of a group, with what is wrong about them.
struct Said<'a> {
    container: &'a Container,
    group: &'a str,
    attributes: &'a Attributes,
}

impl<'a> Said<'a> {
    fn wrong(&self, key: &str, expected: &str) -> DataError {
        let found = self.attributes.get(key).map_or_else(|| "nothing".into(), Attribute::to_text);
        let item = format!("{}@{key}", self.group);
        DataError::Shape { path: self.container.path().to_owned(), item, expected: expected.into(), found }
    }
    fn get<T>(
        &self,
        key: &str,
        expected: &str,
        of: impl Fn(&'a Attribute) -> Option<T>,
    ) -> Result<T, DataError> {
        self.attributes.get(key).and_then(of).ok_or_else(|| self.wrong(key, expected))
    }
    fn text(&self, key: &str) -> Result<String, DataError> {
        self.get(key, "a text", Attribute::as_text)
            .map(|t| if t == " " { String::new() } else { t.to_owned() })
    }
    fn count(&self, key: &str) -> Result<usize, DataError> {
        self.get(key, "a count", Attribute::as_count)
    }
    fn number(&self, key: &str) -> Result<f64, DataError> {
        self.get(key, "a finite number", |a| match a {
            Attribute::Float(x) => Some(*x).filter(|x| x.is_finite()),
            other => other.as_int().map(|i| i as f64),
        })
    }
    /// Finite or not: a score of rewards that are beyond measure is, too.
    fn score(&self, key: &str) -> Result<f64, DataError> {
        self.get(key, "a number", |a| if let Attribute::Float(x) = a { Some(*x) } else { None })
    }
    fn unsigned(&self, key: &str) -> Result<u64, DataError> {
        self.get(key, "a whole number from 0 on", |a| a.as_int().and_then(|i| u64::try_from(i).ok()))
    }
}

impl HistoryFile {
    /// Opens a file and reads what it says of its tasks and histories.
    ///
    /// # Errors
    /// When it is not a whole file of histories, or of a newer version.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let container = Container::open(path, Backend::Pure)?;
        let fail = |e: Hdf5Error| container.error(FORMAT, e);
        let root = container.file().attributes("", ChildKind::Group).map_err(fail)?;
        let said = Said { container: &container, group: "", attributes: &root };
        if !holds_histories(&container) {
            return Err(DataError::Malformed {
                path: path.to_owned(),
                format: FORMAT,
                reason: format!("it does not say `format = \"{FORMAT}\"` of itself"),
                hint: "`surefoot data info` says what it is; `surefoot collect` makes learning histories",
            });
        }
        let version = said.count("version")?;
        if version == 0 || version > VERSION as usize {
            return Err(DataError::Malformed {
                path: path.to_owned(),
                format: FORMAT,
                reason: format!("it is of version {version}, and this program reads up to {VERSION}"),
                hint: "read it with the program that wrote it, or a newer one",
            });
        }
        let spec: EnvSpec = serde_json::from_str(&said.text("env_spec_json")?)
            .map_err(|e| said.wrong("env_spec_json", &format!("the spec of an environment ({e})")))?;
        for (key, dim) in [("obs_dim", spec.observation_dim()), ("action_dim", spec.action_dim())] {
            if said.count(key)? != dim {
                return Err(said.wrong(key, &format!("{dim}, as in env_spec_json")));
            }
        }
        let tasks = read_tasks(&container)?;
        let index: BTreeMap<u64, usize> = tasks.iter().enumerate().map(|(i, t)| (t.id, i)).collect();
        let histories = read_entries(&container, &index)?;
        let meta = HistoryMeta {
            spec,
            family: said.text("env_family")?,
            family_config: said.text("env_config_json")?,
            tasks,
            hash: container.hash().to_owned(),
        };
        let (collect_config, producer) = (said.text("collect_json")?, said.text("producer")?);
        Ok(Self { container, meta, collect_config, producer, histories })
    }

    /// How it was collected, JSON.
    #[must_use]
    pub fn collect_config(&self) -> &str {
        &self.collect_config
    }
    /// The program that wrote it.
    #[must_use]
    pub fn producer(&self) -> &str {
        &self.producer
    }
    /// Its length.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.container.bytes()
    }
    /// Reads every history once, for what is wrong with any of them.
    ///
    /// # Errors
    /// The first one.
    pub fn verify(&self) -> Result<(), DataError> {
        (0..self.len()).try_for_each(|index| self.history(index).map(drop))
    }
    pub(super) fn entries(&self) -> &[Entry] {
        &self.histories
    }

    fn wrong(&self, group: &str, source: HistoryError) -> DataError {
        DataError::History { path: self.container.path().to_owned(), history: group.to_owned(), source }
    }

    /// An array of one number a row, as `f64`: counters go beyond what an `f32` holds.
    fn column(&self, group: &str, name: &'static str, rows: usize) -> Result<Vec<f64>, DataError> {
        let path = format!("{group}/{name}");
        let data = self.container.file().read_f64(&path).map_err(|e| self.container.error(FORMAT, e))?.data;
        self.expect(group, name, rows, data.len())?;
        Ok(data)
    }

    /// Rows of `width` numbers.
    fn rows(
        &self,
        group: &str,
        name: &'static str,
        rows: usize,
        width: usize,
    ) -> Result<Vec<f32>, DataError> {
        let path = format!("{group}/{name}");
        let data = self.container.file().read_f32(&path).map_err(|e| self.container.error(FORMAT, e))?.data;
        self.expect(group, name, rows * width, data.len())?;
        Ok(data)
    }

    fn expect(
        &self,
        group: &str,
        what: &'static str,
        expected: usize,
        found: usize,
    ) -> Result<(), DataError> {
        let wrong = || self.wrong(group, HistoryError::Length { what, expected, found });
        if expected == found { Ok(()) } else { Err(wrong()) }
    }
}

fn read_tasks(container: &Container) -> Result<Vec<FamilyTask>, DataError> {
    let fail = |e: Hdf5Error| container.error(FORMAT, e);
    let mut tasks = BTreeMap::new();
    for name in container.file().children("tasks").map_err(fail)?.into_keys() {
        let group = format!("tasks/{name}");
        let attributes = container.file().attributes(&group, ChildKind::Group).map_err(fail)?;
        let said = Said { container, group: &group, attributes: &attributes };
        let id = name.parse().map_err(|_| DataError::Shape {
            path: container.path().to_owned(),
            item: "tasks".into(),
            expected: "groups that are named by the task's number".into(),
            found: name.clone(),
        })?;
        let split = said.text("split")?;
        let splits = "train, test_in or test_ood";
        let split = TaskSplit::ALL
            .into_iter()
            .find(|s| s.name() == split)
            .ok_or_else(|| said.wrong("split", splits))?;
        let params = container.file().read_f32(&format!("{group}/params")).map_err(fail)?.data;
        let [random_return, optimal_return] =
            [said.number("random_return")? as f32, said.number("optimal_return")? as f32];
        let task = FamilyTask { id, split, params, random_return, optimal_return };
        if tasks.insert(said.count("index")?, task).is_some() {
            return Err(said.wrong("index", "an index of its own"));
        }
    }
    Ok(tasks.into_values().collect())
}

fn read_entries(container: &Container, tasks: &BTreeMap<u64, usize>) -> Result<Vec<Entry>, DataError> {
    let fail = |e: Hdf5Error| container.error(FORMAT, e);
    let mut entries = BTreeMap::new();
    for name in container.file().children("histories").map_err(fail)?.into_keys() {
        let group = format!("histories/{name}");
        let number: u64 = name.parse().map_err(|_| DataError::Shape {
            path: container.path().to_owned(),
            item: "histories".into(),
            expected: "groups that are named by numbers".into(),
            found: name.clone(),
        })?;
        let attributes = container.file().attributes(&group, ChildKind::Group).map_err(fail)?;
        let said = Said { container, group: &group, attributes: &attributes };
        let wrong =
            |source| DataError::History { path: container.path().to_owned(), history: group.clone(), source };
        if let Some(Attribute::Ints(ids)) = attributes.get("task_id")
            && let Some(other) = ids.iter().find(|id| **id != ids[0])
        {
            let [first, second] = [ids[0], *other].map(|id| u64::try_from(id).unwrap_or_default());
            return Err(wrong(HistoryError::TwoTasks { what: "task_id", first, second }));
        }
        let id = said.unsigned("task_id")?;
        let no_such = || wrong(HistoryError::NoSuchTask { task: id, tasks: tasks.len() });
        let entry = Entry {
            task: *tasks.get(&id).ok_or_else(no_such)?,
            algorithm: said.text("algo")?,
            algorithm_config: said.text("algo_config_json")?,
            seed: said.unsigned("seed")?,
            stream: u32::try_from(said.unsigned("stream")?)
                .map_err(|_| said.wrong("stream", "at most 2^32 - 1"))?,
            steps: said.count("n_steps")?,
            episodes: said.count("n_episodes")?,
            complete: said.unsigned("complete")? != 0,
            improvement: said.score("score_improvement")?,
            stability: said.score("score_stability")?,
            group: group.clone(),
        };
        entries.insert(number, entry);
    }
    Ok(entries.into_values().collect())
}

/// A whole number from a file, checked.
fn whole(x: f64) -> Option<u32> {
    (x >= 0.0 && x.fract() == 0.0 && x <= f64::from(u32::MAX)).then_some(x as u32)
}

/// How each step left its episode, by the four arrays that say so; they must agree.
fn ends_of(
    episode: &[f64],
    step: &[f64],
    terminated: &[f64],
    truncated: &[f64],
) -> Result<Vec<StepEnd>, HistoryError> {
    let rows = episode.len();
    let flag = |what: &'static str, flags: &[f64], t: usize| match flags[t] {
        0.0 => Ok(false),
        1.0 => Ok(true),
        x => Err(HistoryError::Code { what, step: t, expected: "0 or 1", found: x.clamp(0.0, 255.0) as u8 }),
    };
    let (mut now, mut expected) = (0, 0);
    for (t, (e, s)) in episode.iter().zip(step).enumerate() {
        let e = whole(*e).unwrap_or(u32::MAX);
        if t > 0 && e == now + 1 {
            (now, expected) = (e, 0);
        } else if e != now {
            return Err(HistoryError::EpisodeOrder { step: t, before: now, found: e });
        }
        let found = whole(*s).unwrap_or(u32::MAX);
        if found != expected {
            return Err(HistoryError::Gap { row: t, expected, found });
        }
        expected += 1;
    }
    let mut ends = Vec::with_capacity(rows);
    for t in 0..rows {
        let end = StepEnd::from_flags(flag("terminated", terminated, t)?, flag("truncated", truncated, t)?);
        let last = t + 1 == rows || episode[t + 1] != episode[t];
        if end.is_last() != last {
            let found = if last { "none".to_owned() } else { format!("one at row {t}") };
            let behind = episode[t..].iter().take_while(|e| **e == episode[t]).count();
            return Err(HistoryError::EndElsewhere {
                episode: episode[t] as usize,
                expected: t + behind - 1,
                found,
            });
        }
        ends.push(end);
    }
    Ok(ends)
}

impl HistorySource for HistoryFile {
    fn meta(&self) -> &HistoryMeta {
        &self.meta
    }
    fn len(&self) -> usize {
        self.histories.len()
    }
    fn task_of(&self, index: usize) -> usize {
        self.histories.get(index).map_or(0, |e| e.task)
    }
    fn steps_of(&self, index: usize) -> usize {
        self.histories.get(index).map_or(0, |e| e.steps)
    }

    fn history(&self, index: usize) -> Result<LearningHistory, DataError> {
        let Some(entry) = self.histories.get(index) else {
            let (expected, found) = (format!("below {}", self.histories.len()), index.to_string());
            let path = self.container.path().to_owned();
            return Err(DataError::Shape { path, item: "history".into(), expected, found });
        };
        let Entry {
            group, task, algorithm, algorithm_config, seed, stream, steps, episodes, complete, ..
        } = entry;
        let (n, spec) = (*steps, &self.meta.spec);
        let (o, a) = (spec.observation_dim(), spec.action_dim());
        let column = |name| self.column(group, name, n);
        let ends =
            ends_of(&column("episode")?, &column("step")?, &column("terminated")?, &column("truncated")?)
                .map_err(|e| self.wrong(group, e))?;
        let count = |what: &'static str, step: usize, x: f64| {
            whole(x).ok_or_else(|| self.wrong(group, HistoryError::NotFinite { what, step, found: x as f32 }))
        };
        let updates: Result<Vec<u32>, DataError> =
            column("update")?.iter().enumerate().map(|(t, x)| count("update", t, *x)).collect();
        let phase = |(step, x): (usize, &f64)| {
            let code = whole(*x).and_then(|x| u8::try_from(x).ok());
            let found = code.unwrap_or(u8::MAX);
            let wrong = HistoryError::Code { what: "phase", step, expected: "0, 1 or 2", found };
            code.and_then(HistoryPhase::from_code).ok_or_else(|| self.wrong(group, wrong))
        };
        let phases: Result<Vec<HistoryPhase>, DataError> =
            column("phase")?.iter().enumerate().map(phase).collect();
        let children = self.container.file().children(group).map_err(|e| self.container.error(FORMAT, e))?;
        let expert = children.contains_key("expert_action");
        let history = LearningHistory {
            task: *task,
            algorithm: algorithm.clone(),
            algorithm_config: algorithm_config.clone(),
            seed: *seed,
            stream: *stream,
            complete: *complete,
            observations: self.rows(group, "obs", n, o)?,
            actions: self.rows(group, "action", n, a)?,
            rewards: self.rows(group, "reward", n, 1)?,
            ends,
            updates: updates?,
            phases: phases?,
            final_observations: self.rows(group, "final_obs", *episodes, o)?,
            expert_actions: if expert { Some(self.rows(group, "expert_action", n, a)?) } else { None },
        };
        history.validate(spec).map_err(|e| self.wrong(group, e))?;
        Ok(history)
    }
}
