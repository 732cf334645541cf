//! `dicp`: the histories of "Distilling Reinforcement Learning Algorithms for In-Context Model-Based Planning" (ICLR 2025).
//!
//! ```text
//! /<env>
//!   states, next_states  [T, streams, observation_dim]      whole numbers in grids, quantities in Meta-World
//!   actions              [T, streams] (choices) or [T, streams, action_dim]
//!   rewards, dones       [T, streams]
//!   optimal_actions      [streams, T]                       may be missing
//! ```
//! Episodes are ended by the clock in all of these worlds, so they were cut off. `next_states` of a last step is the first of the next episode
//! there, and is not read.

use std::sync::{Arc, Mutex, PoisonError};

use surefoot_core::{DataError, StepEnd};

use super::ends::by_flags;
use super::{
    Coding, ForeignHistories, HistoryFormat, Lived, Opened, Place, attributes, axes, check_extents,
    held_by_first, numbered, numbers, shape_error,
};
use crate::h5::{Attributes, Container};

const NAME: &str = "dicp";

/// The layout.
pub(super) const FORMAT: HistoryFormat =
    HistoryFormat { name: NAME, summary: "DICP: streams of PPO or SAC, step by step", sniff, open };

fn sniff(container: &Container) -> Result<bool, DataError> {
    let held = held_by_first(container, NAME)?;
    let has = |name: &str| held.iter().any(|h| h == name);
    Ok(["states", "actions", "rewards", "dones", "next_states"].into_iter().all(has))
}

/// Widths of an environment's rows, and whether they are whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    observation: (usize, bool),
    action: (usize, bool),
}

fn open(container: Arc<Container>) -> Result<Opened, DataError> {
    let mut places = Vec::new();
    let mut layout = None;
    for (task, group) in numbered(&container, NAME)?.iter().enumerate() {
        let info = |name: &str| {
            let item = format!("{group}/{name}");
            container.file().info(&item).map_err(|e| container.error(NAME, e))
        };
        let rewards = axes(&container, NAME, &format!("{group}/rewards"), 2)?;
        let wrong = |name: &str, expected: &str, found: &[usize]| {
            let item = format!("{group}/{name}");
            shape_error(
                &container,
                &item,
                &format!("{rewards:?}{expected}, as its rewards"),
                &format!("{found:?}"),
            )
        };
        let dones = info("dones")?.shape;
        if dones != rewards {
            return Err(wrong("dones", "", &dones));
        }
        let (states, actions) = (info("states")?, info("actions")?);
        if states.shape.len() != 3 || states.shape[..2] != rewards[..] {
            return Err(wrong("states", " and the width of an observation", &states.shape));
        }
        let choices = actions.shape.len() == 2;
        if actions.shape.get(..2) != Some(&rewards) || actions.shape.len() > 3 {
            return Err(wrong("actions", " and, of quantities, the width of an action", &actions.shape));
        }
        if choices == actions.element.is_float() {
            let expected = "whole numbers [T, streams], or quantities [T, streams, action_dim]";
            let found = format!("{} {:?}", actions.element.name(), actions.shape);
            return Err(shape_error(&container, &format!("{group}/actions"), expected, &found));
        }
        check_extents(&container, &format!("{group}/states"), &states.shape, &states.shape[1..])?;
        check_extents(&container, &format!("{group}/actions"), &actions.shape, &actions.shape[1..])?;
        let here = Layout {
            observation: (states.shape[2], !states.element.is_float()),
            action: (actions.shape.get(2).copied().unwrap_or(1), choices),
        };
        let expected = *layout.get_or_insert(here);
        if here != expected {
            let expected = format!("rows as in the environments before ({expected:?})");
            return Err(shape_error(&container, group, &expected, &format!("{here:?}")));
        }
        places.extend((0..rewards[1]).map(|s| Place { task, stream: s as u32, group: group.clone() }));
    }
    let Some(layout) = layout else {
        return Err(shape_error(&container, "/", "groups that are named by numbers", "none"));
    };
    Ok(Box::new(Dicp { container, layout, places, held: Mutex::new(None) }))
}

/// All arrays of an environment: streams lie across their rows.
struct Held {
    group: String,
    streams: usize,
    states: Vec<f32>,
    actions: Vec<f32>,
    rewards: Vec<f32>,
    dones: Vec<f32>,
    optimal: Option<Vec<f32>>,
}

struct Dicp {
    container: Arc<Container>,
    layout: Layout,
    places: Vec<Place>,
    /// The environment that was read last.
    held: Mutex<Option<Held>>,
}

impl Dicp {
    fn hold(&self, group: &str) -> Result<Held, DataError> {
        let read = |name: &str| numbers(&self.container, NAME, &format!("{group}/{name}"));
        let rewards = read("rewards")?;
        let streams = rewards.info.width();
        let children = self.container.file().children(group).map_err(|e| self.container.error(NAME, e))?;
        let optimal = match children.contains_key("optimal_actions") {
            false => None,
            true => {
                let optimal = read("optimal_actions")?;
                let expected = [streams, rewards.info.rows()];
                if optimal.info.shape != expected {
                    let (item, found) =
                        (format!("{group}/optimal_actions"), format!("{:?}", optimal.info.shape));
                    return Err(shape_error(&self.container, &item, &format!("{expected:?}"), &found));
                }
                Some(optimal.data)
            }
        };
        Ok(Held {
            group: group.to_owned(),
            streams,
            states: read("states")?.data,
            actions: read("actions")?.data,
            rewards: rewards.data,
            dones: read("dones")?.data,
            optimal,
        })
    }
}

/// The rows of one of `streams` that lie side by side.
fn across(all: &[f32], streams: usize, stream: usize, width: usize) -> Vec<f32> {
    let rows = all.chunks_exact((streams * width).max(1));
    rows.flat_map(|row| row[stream * width..(stream + 1) * width].iter().copied()).collect()
}

impl ForeignHistories for Dicp {
    fn env(&self) -> String {
        NAME.to_owned()
    }

    fn observation(&self) -> Vec<Coding> {
        let (width, whole) = self.layout.observation;
        vec![if whole { Coding::Whole } else { Coding::Quantity }; width]
    }

    fn action(&self) -> Vec<Coding> {
        let (width, whole) = self.layout.action;
        vec![if whole { Coding::Whole } else { Coding::Quantity }; width]
    }

    fn places(&self) -> &[Place] {
        &self.places
    }

    fn read(&self, index: usize) -> Result<Lived, DataError> {
        let place = &self.places[index];
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = match &mut *held {
            Some(held) if held.group == place.group => held,
            other => other.insert(self.hold(&place.group)?),
        };
        let stream = place.stream as usize;
        let of = |all: &[f32], width: usize| across(all, held.streams, stream, width);
        let ends = by_flags(&of(&held.dones, 1), |_| StepEnd::Truncated).map_err(|source| {
            let history = format!("{}, stream {stream}", place.group);
            DataError::History { path: self.container.path().to_owned(), history, source }
        })?;
        let steps = ends.len();
        // One number a step: known of choices alone.
        let expert = held.optimal.as_ref().filter(|_| self.layout.action == (1, true));
        Ok(Lived {
            observations: of(&held.states, self.layout.observation.0),
            actions: of(&held.actions, self.layout.action.0),
            rewards: of(&held.rewards, 1),
            ends,
            expert: expert.map(|all| all[stream * steps..(stream + 1) * steps].to_vec()),
        })
    }

    fn said(&self, index: usize) -> Attributes {
        self.places.get(index).map(|p| attributes(&self.container, &p.group)).unwrap_or_default()
    }
}
