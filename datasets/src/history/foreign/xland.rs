//! `xland_minigrid`: XLand-100B and XLand-Trivial-20B (arXiv 2406.08973).
//!
//! ```text
//! /<task>                attrs: benchmark-id, env-id, ruleset-id
//!   states               [streams, T, ...] u8     cells before the action: tile and colour in one byte
//!   actions              [streams, T]      u8     one of 6
//!   rewards              [streams, T]
//!   dones                [streams, T]             1 at an episode's last step
//!   expert_actions       [streams, T]      u8     may be missing
//! ```
//! A task of XLand-MiniGrid pays when its goal is reached, and ends with it: an episode whose last step paid terminated, another one was cut off
//! by the clock.

use std::sync::Arc;

use surefoot_core::{DataError, HistoryError, StepEnd};

use super::ends::by_flags;
use super::{
    Coding, ForeignHistories, HistoryFormat, Lived, Opened, Place, attributes, axes, check_extents,
    held_by_first, numbered, shape_error, text_of,
};
use crate::h5::{Attributes, Container};

const NAME: &str = "xland_minigrid";
/// Actions of XLand-MiniGrid: forward, left, right, pick up, put down, toggle.
const ACTIONS: u32 = 6;
/// A cell is a byte.
const CELLS: u32 = 256;

/// The layout.
pub(super) const FORMAT: HistoryFormat = HistoryFormat {
    name: NAME,
    summary: "XLand-MiniGrid datasets: streams of PPO on rule sets",
    sniff,
    open,
};

fn sniff(container: &Container) -> Result<bool, DataError> {
    let held = held_by_first(container, NAME)?;
    let has = |name: &str| held.iter().any(|h| h == name);
    Ok(["states", "actions", "rewards", "dones"].into_iter().all(has) && !has("next_states"))
}

fn open(container: Arc<Container>) -> Result<Opened, DataError> {
    let groups = numbered(&container, NAME)?;
    let mut places = Vec::new();
    let mut cells = None;
    for (task, group) in groups.iter().enumerate() {
        let info = |name: &str| {
            let item = format!("{group}/{name}");
            container.file().info(&item).map_err(|e| container.error(NAME, e))
        };
        let rewards = axes(&container, NAME, &format!("{group}/rewards"), 2)?;
        for name in ["states", "actions", "dones"] {
            let shape = info(name)?.shape;
            let flat = name != "states";
            if shape.get(..2) != Some(&rewards) || (flat && shape.len() != 2) {
                let expected =
                    format!("{rewards:?}{}, as its rewards", if flat { "" } else { " and more axes" });
                return Err(shape_error(
                    &container,
                    &format!("{group}/{name}"),
                    &expected,
                    &format!("{shape:?}"),
                ));
            }
        }
        let states = info("states")?.shape;
        let width = states.iter().skip(2).fold(1_usize, |n, d| n.saturating_mul(*d));
        let item = format!("{group}/states");
        check_extents(&container, &item, &states, &[states[0], width])?;
        let expected = *cells.get_or_insert(width);
        if width != expected {
            let expected = format!("{expected} cells, as in the tasks before");
            return Err(shape_error(&container, &item, &expected, &width.to_string()));
        }
        places.extend((0..rewards[0]).map(|s| Place { task, stream: s as u32, group: group.clone() }));
    }
    let Some(cells) = cells else {
        return Err(shape_error(&container, "/", "groups that are named by numbers", "none"));
    };
    Ok(Box::new(XLand { container, cells, places }))
}

struct XLand {
    container: Arc<Container>,
    cells: usize,
    places: Vec<Place>,
}

impl XLand {
    /// One stream of an array.
    fn row(&self, place: &Place, name: &str) -> Result<Vec<f32>, DataError> {
        let (item, stream) = (format!("{}/{name}", place.group), place.stream as usize);
        let rows = self.container.file().read_f32_rows(&item, stream..stream + 1);
        rows.map_err(|e| self.container.error(NAME, e))
    }
}

impl ForeignHistories for XLand {
    fn env(&self) -> String {
        let said = self.places.first().map(|p| attributes(&self.container, &p.group)).unwrap_or_default();
        text_of(&said, "env-id").unwrap_or_else(|| NAME.to_owned())
    }

    fn observation(&self) -> Vec<Coding> {
        vec![Coding::Choices(CELLS); self.cells]
    }

    fn action(&self) -> Vec<Coding> {
        vec![Coding::Choices(ACTIONS)]
    }

    fn places(&self) -> &[Place] {
        &self.places
    }

    fn read(&self, index: usize) -> Result<Lived, DataError> {
        let place = &self.places[index];
        let wrong = |source: HistoryError| {
            let history = format!("{}, stream {}", place.group, place.stream);
            DataError::History { path: self.container.path().to_owned(), history, source }
        };
        let rewards = self.row(place, "rewards")?;
        let paid = |t: usize| match rewards.get(t) {
            Some(r) if *r > 0.0 => StepEnd::Terminated,
            _ => StepEnd::Truncated,
        };
        let ends = by_flags(&self.row(place, "dones")?, paid).map_err(wrong)?;
        let held = self.container.file().children(&place.group).map_err(|e| self.container.error(NAME, e))?;
        let expert =
            held.contains_key("expert_actions").then(|| self.row(place, "expert_actions")).transpose()?;
        let (observations, actions) = (self.row(place, "states")?, self.row(place, "actions")?);
        Ok(Lived { observations, actions, rewards, ends, expert })
    }

    fn said(&self, index: usize) -> Attributes {
        self.places.get(index).map(|p| attributes(&self.container, &p.group)).unwrap_or_default()
    }
}
