//! `vintix`: the trajectories of "Vintix: Action Model via In-Context Reinforcement Learning" (arXiv 2501.19400), one a file.
//!
//! ```text
//! /<first>-<last>             10 000 steps of the trajectory
//!   proprio_observation       [n, observation_dim] f32
//!   action                    [n, action_dim] f32
//!   reward                    [n] f32
//!   step_num                  [n] i32          of each step in its episode
//! ```
//! How an episode ended is not told, so it was cut off. Files of one directory are trajectories of one task.

use std::sync::Arc;

use surefoot_core::{DataError, HistoryError};

use super::ends::by_counting;
use super::{
    Coding, ForeignHistories, HistoryFormat, Lived, Opened, Place, attributes, axes, check_extents, numbers,
    shape_error,
};
use crate::h5::{Attributes, ChildKind, Container};

const NAME: &str = "vintix";

/// The layout.
pub(super) const FORMAT: HistoryFormat =
    HistoryFormat { name: NAME, summary: "Vintix: one trajectory a file, in groups of steps", sniff, open };

/// A group of steps: the first of them and the last, and its name.
type Part = ((u64, u64), String);

/// The groups of steps, in order.
fn parts(container: &Container) -> Result<Vec<Part>, DataError> {
    let children = container.file().children("").map_err(|e| container.error(NAME, e))?;
    let range = |name: &str| {
        let (first, last) = name.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    let groups = children.into_iter().filter(|(_, kind)| *kind == ChildKind::Group);
    let mut parts: Vec<Part> = groups.filter_map(|(name, _)| Some((range(&name)?, name))).collect();
    parts.sort();
    Ok(parts)
}

fn sniff(container: &Container) -> Result<bool, DataError> {
    let Some((_, first)) = parts(container)?.into_iter().next() else { return Ok(false) };
    let held = container.file().children(&first).map_err(|e| container.error(NAME, e))?;
    Ok(["proprio_observation", "action", "reward", "step_num"].iter().all(|name| held.contains_key(*name)))
}

fn open(container: Arc<Container>) -> Result<Opened, DataError> {
    let parts = parts(&container)?;
    let mut widths = None;
    let mut end: Option<u64> = None;
    for ((first, last), group) in &parts {
        // Whether the last step counts is not known: the next part begins with it, or behind it.
        if end.is_some_and(|end| *first != end && *first != end.saturating_add(1)) || last < first {
            let expected = format!("a part that begins at {}", end.unwrap_or_default());
            return Err(shape_error(&container, group, &expected, &format!("one from {first} to {last}")));
        }
        end = Some(*last);
        let rows = axes(&container, NAME, &format!("{group}/reward"), 1)?[0];
        let mut width = [0; 2];
        for (name, width) in ["proprio_observation", "action"].into_iter().zip(&mut width) {
            let item = format!("{group}/{name}");
            let shape = axes(&container, NAME, &item, 2)?;
            check_extents(&container, &item, &shape, &shape[1..])?;
            if shape[0] != rows {
                let expected = format!("{rows} rows, as its rewards");
                return Err(shape_error(&container, &item, &expected, &format!("{shape:?}")));
            }
            *width = shape[1];
        }
        let item = format!("{group}/step_num");
        let counted = axes(&container, NAME, &item, 1)?;
        if counted[0] != rows {
            let found = format!("{counted:?}");
            return Err(shape_error(&container, &item, &format!("{rows} rows, as its rewards"), &found));
        }
        let expected = *widths.get_or_insert(width);
        if width != expected {
            let expected = format!("rows of {expected:?} numbers, as in the parts before");
            return Err(shape_error(&container, group, &expected, &format!("{width:?}")));
        }
    }
    let Some(widths) = widths else {
        return Err(shape_error(&container, "/", "groups of steps, as in 0-10000", "none"));
    };
    let places = vec![Place { task: 0, stream: 0, group: "/".into() }];
    let parts = parts.into_iter().map(|(_, group)| group).collect();
    Ok(Box::new(Vintix { container, widths, parts, places }))
}

struct Vintix {
    container: Arc<Container>,
    /// Of an observation and an action.
    widths: [usize; 2],
    parts: Vec<String>,
    places: Vec<Place>,
}

impl ForeignHistories for Vintix {
    fn env(&self) -> String {
        // As the dataset names its directories.
        let directory = self.container.path().parent().and_then(|d| d.file_name());
        directory.map_or_else(|| NAME.to_owned(), |name| name.to_string_lossy().into_owned())
    }

    fn observation(&self) -> Vec<Coding> {
        vec![Coding::Quantity; self.widths[0]]
    }

    fn action(&self) -> Vec<Coding> {
        vec![Coding::Quantity; self.widths[1]]
    }

    fn places(&self) -> &[Place] {
        &self.places
    }

    fn read(&self, _index: usize) -> Result<Lived, DataError> {
        let mut lived = Lived::default();
        let mut counted = Vec::new();
        for group in &self.parts {
            let append = |name: &str, to: &mut Vec<f32>| -> Result<(), DataError> {
                to.extend(numbers(&self.container, NAME, &format!("{group}/{name}"))?.data);
                Ok(())
            };
            append("proprio_observation", &mut lived.observations)?;
            append("action", &mut lived.actions)?;
            append("reward", &mut lived.rewards)?;
            append("step_num", &mut counted)?;
        }
        lived.ends = by_counting(&counted).map_err(|source: HistoryError| {
            let (path, history) = (self.container.path().to_owned(), "step_num".to_owned());
            DataError::History { path, history, source }
        })?;
        Ok(lived)
    }

    fn said(&self, _index: usize) -> Attributes {
        attributes(&self.container, "")
    }
}
