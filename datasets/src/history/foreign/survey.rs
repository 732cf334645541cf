//! One look at everything, before anything is written: what rows mean, how long episodes are, what they brought.

use surefoot_core::{DataError, EnvSpec, FamilyTask, Field, HistoryError, HistoryMeta, StepEnd, TaskSplit};

use super::{Coding, Lived, Sources, Stream};

/// Choices of a field at most.
const MOST_CHOICES: u32 = 1 << 16;

/// Of one column.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Column {
    coding: Coding,
    least: f32,
    most: f32,
}

impl Column {
    const fn new(coding: Coding) -> Self {
        Self { coding, least: f32::INFINITY, most: f32::NEG_INFINITY }
    }

    /// Choices that a field of it has; none of a quantity.
    fn choices(&self) -> Option<u32> {
        match self.coding {
            Coding::Choices(n) => Some(n),
            Coding::Whole => Some(self.most.max(0.0) as u32 + 1),
            Coding::Quantity => None,
        }
    }

    /// Largest size, at least 1: what 1 stands for in a row of actions.
    fn size(&self) -> f32 {
        self.most.max(-self.least).max(1.0)
    }
}

/// Steps that belong to whole episodes, and how many these are.
pub(super) fn whole_part(ends: &[StepEnd]) -> (usize, usize) {
    let steps = ends.iter().rposition(|e| e.is_last()).map_or(0, |last| last + 1);
    (steps, ends[..steps].iter().filter(|e| e.is_last()).count())
}

/// What all streams together show.
#[derive(Debug, Default)]
pub(super) struct Survey {
    observation: Vec<Column>,
    action: Vec<Column>,
    longest_episode: usize,
    rewards: Option<[f32; 2]>,
    /// Of each task, lowest and highest return.
    returns: Vec<[f32; 2]>,
    left_out: usize,
    without_an_end: usize,
    streams: usize,
}

impl Survey {
    /// Looks at a stream.
    pub(super) fn take_in(&mut self, stream: &Stream<'_>, lived: &Lived) -> Result<(), DataError> {
        let Lived { observations, actions, rewards, ends, expert } = lived;
        let codings = [stream.file.observation(), stream.file.action()];
        for (columns, codings, what) in
            [(&mut self.observation, &codings[0], "observation"), (&mut self.action, &codings[1], "action")]
        {
            if columns.is_empty() {
                *columns = codings.iter().map(|c| Column::new(*c)).collect();
            }
            let known: Vec<Coding> = columns.iter().map(|c| c.coding).collect();
            if known != **codings {
                return Err(DataError::Mismatch {
                    path: stream.path.to_owned(),
                    what: format!("its {what} row"),
                    expected: format!("{} columns, {:?}, as in the files before", known.len(), known.first()),
                    found: format!("{}, {:?}", codings.len(), codings.first()),
                });
            }
        }
        let (steps, [o, a]) = (rewards.len(), self.dims());
        for (what, expected, found) in [
            ("observations", steps * o, observations.len()),
            ("actions", steps * a, actions.len()),
            ("ends", steps, ends.len()),
            ("expert_actions", steps * a, expert.as_ref().map_or(steps * a, Vec::len)),
        ] {
            if expected != found {
                return Err(stream.wrong(HistoryError::Length { what, expected, found }));
            }
        }
        if let Some((step, found)) = rewards.iter().enumerate().find(|(_, r)| !r.is_finite()) {
            return Err(stream.wrong(HistoryError::NotFinite { what: "rewards", step, found: *found }));
        }
        look("observations", &mut self.observation, observations).map_err(|e| stream.wrong(e))?;
        look("actions", &mut self.action, actions).map_err(|e| stream.wrong(e))?;
        if let Some(expert) = expert {
            look("expert_actions", &mut self.action, expert).map_err(|e| stream.wrong(e))?;
        }
        self.count(stream.task, rewards, ends);
        Ok(())
    }

    fn count(&mut self, task: usize, rewards: &[f32], ends: &[StepEnd]) {
        let (whole, episodes) = whole_part(ends);
        self.streams += 1;
        self.left_out += ends.len() - whole;
        self.without_an_end += usize::from(episodes == 0);
        if self.returns.len() <= task {
            self.returns.resize(task + 1, [f32::INFINITY, f32::NEG_INFINITY]);
        }
        let (mut total, mut steps) = (0.0_f64, 0);
        for (reward, end) in rewards[..whole].iter().zip(ends) {
            total += f64::from(*reward);
            steps += 1;
            let [low, high] = self.rewards.get_or_insert([*reward; 2]);
            (*low, *high) = (low.min(*reward), high.max(*reward));
            if end.is_last() {
                let [low, high] = &mut self.returns[task];
                (*low, *high) = (low.min(total as f32), high.max(total as f32));
                self.longest_episode = self.longest_episode.max(steps);
                (total, steps) = (0.0, 0);
            }
        }
    }

    /// `[observation_dim, action_dim]`.
    pub(super) fn dims(&self) -> [usize; 2] {
        [self.observation.len(), self.action.len()]
    }

    /// Tasks.
    pub(super) fn tasks(&self) -> usize {
        self.returns.len()
    }

    /// Brings the quantities of rows of actions into `[-1, 1]`.
    pub(super) fn scale(&self, actions: &mut [f32]) {
        for row in actions.chunks_exact_mut(self.action.len().max(1)) {
            for (x, column) in row.iter_mut().zip(&self.action) {
                if column.coding == Coding::Quantity {
                    *x /= column.size();
                }
            }
        }
    }

    /// What the file that is made of it says of itself.
    pub(super) fn meta(&self, sources: &Sources) -> Result<HistoryMeta, DataError> {
        let format = sources.format.name;
        let Some((path, first)) = sources.files.first() else {
            return Err(nothing(std::path::Path::new(""), "at least one file"));
        };
        if self.streams == self.without_an_end {
            return Err(nothing(path, "at least one episode that ends"));
        }
        let field = |name: &str, i: usize, column: &Column, size: f32| {
            let name = format!("{name}{i}");
            match column.choices() {
                Some(n) => Field::choice(name, n),
                None if name.starts_with("action") => Field::bounded(name, "1", -size, size),
                None => Field::unbounded(name, "1"),
            }
        };
        let fields = |name: &str, columns: &[Column]| {
            columns.iter().enumerate().map(|(i, c)| field(name, i, c, c.size())).collect()
        };
        let spec = EnvSpec {
            name: first.env(),
            observation: fields("observation", &self.observation),
            action: fields("action", &self.action),
            step_secs: 1.0,
            max_steps: self.longest_episode,
            reward_range: self.rewards.map(|[low, high]| (low, high)),
            contract_hash: None,
        };
        let task = |(id, [low, high]): (usize, &[f32; 2])| {
            // A task of which no episode ended has no history either.
            let [low, high] = if low <= high { [*low, *high] } else { [0.0, 1.0] };
            FamilyTask {
                id: id as u64,
                split: TaskSplit::Train,
                params: vec![id as f32],
                random_return: low,
                // Where all episodes brought the same there was nothing to learn.
                optimal_return: if high > low { high } else { low + 1.0 },
            }
        };
        let config = serde_json::json!({
            "imported_from": format,
            "references": "lowest and highest return of an episode in the files",
        });
        Ok(HistoryMeta {
            spec,
            family: format.to_owned(),
            family_config: config.to_string(),
            tasks: self.returns.iter().enumerate().map(task).collect(),
            hash: String::new(),
        })
    }

    /// What a user should know.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = vec![
            "the files do not say versions of the learner, the period, or what tasks are worth: versions are 0, the period 1 s, and the reference returns of a task the lowest and the highest that are there".to_owned(),
            "what was seen after an episode's last action is not in the files; the last observation stands in its place".to_owned(),
        ];
        if self.left_out > 0 {
            notes.push(format!("{} steps behind the last end of an episode were left out", self.left_out));
        }
        if self.without_an_end > 0 {
            notes.push(format!("{} streams without a whole episode were left out", self.without_an_end));
        }
        let scaled = self.action.iter().filter(|c| c.coding == Coding::Quantity && c.size() > 1.0).count();
        if scaled > 0 {
            notes.push(format!(
                "{scaled} numbers of an action go beyond 1 and were divided by their largest size"
            ));
        }
        notes
    }
}

fn nothing(path: &std::path::Path, expected: &str) -> DataError {
    let (item, expected) = ("histories".to_owned(), expected.to_owned());
    DataError::Shape { path: path.to_owned(), item, expected, found: "none".into() }
}

/// Widens the columns by rows that are finite and of their coding.
fn look(what: &'static str, columns: &mut [Column], rows: &[f32]) -> Result<(), HistoryError> {
    for (step, row) in rows.chunks_exact(columns.len().max(1)).enumerate() {
        for (i, (x, column)) in row.iter().zip(columns.iter_mut()).enumerate() {
            if !x.is_finite() {
                return Err(HistoryError::NotFinite { what, step, found: *x });
            }
            let most = match column.coding {
                Coding::Choices(n) => Some(n),
                Coding::Whole => Some(MOST_CHOICES),
                Coding::Quantity => None,
            };
            if let Some(most) = most {
                let index = Field::choice(format!("column {i}"), most).index(*x);
                index.map_err(|choice| HistoryError::Coding { what, step, choice })?;
            }
            (column.least, column.most) = (column.least.min(*x), column.most.max(*x));
        }
    }
    Ok(())
}
