//! `coverage`: goes to the nearest cell that it has not been to, until everything that pays is found; then straight there.
//!
//! For rooms of cells with moves left, right, up, down and stay, where a reward depends on the cell, and on which rewards of the episode came
//! before. What is known of a room is where the first, the second, ... reward of an episode was; a cell that was visited before the second reward
//! could be had tells nothing of it, so each of them has a map of its own. It is R-max (Brafman and Tennenholtz, 2002) with the walls known.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Outcome, SourceAlgorithm, Stream};

use super::{SourceContext, SourceError};

const NAME: &str = "coverage";
/// Choices of a move: left, right, up, down, stay.
const MOVES: u32 = 5;
const MAX_REWARDS: usize = 8;

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CoverageConfig {
    /// Rewards of an episode that are looked for in turn, each in a place of its own: 2 for a key and a door. A place that pays at every step
    /// is one.
    pub places: usize,
}

impl Default for CoverageConfig {
    fn default() -> Self {
        Self { places: 1 }
    }
}

impl CoverageConfig {
    /// Builds the searcher.
    ///
    /// # Errors
    /// When a setting is out of range, or the task is no room of cells.
    pub fn build(&self, context: &SourceContext) -> Result<Box<dyn SourceAlgorithm>, SourceError> {
        let Self { places } = *self;
        if !(1..=MAX_REWARDS).contains(&places) {
            let reason = format!("= {places}: expected 1 to {MAX_REWARDS}");
            return Err(SourceError::Setting { source_name: NAME, key: "places", reason });
        }
        let spec = context.spec();
        let size = match (spec.observation.as_slice(), spec.action.as_slice()) {
            ([x, y], [step]) if step.choices == Some(MOVES) => x.choices.zip(y.choices),
            _ => None,
        };
        let Some((width, height)) = size else {
            let found = format!("{} numbers seen, {} done", spec.observation.len(), spec.action.len());
            let needs = "a room of cells: x and y to see, and one of 5 moves to do, all choices";
            return Err(SourceError::Family { source_name: NAME, family: spec.name.clone(), needs, found });
        };
        let size = [width as i32, height as i32];
        let maps = vec![Map::new(size); places];
        Ok(Box::new(Coverage { size, maps, stream: Stream::new(0, NAME, 0), got: 0, at: [0, 0], updates: 0 }))
    }
}

type Cell = [i32; 2];

/// What is known of where one of the rewards is.
#[derive(Clone, Debug)]
struct Map {
    visited: Vec<bool>,
    place: Option<Cell>,
}

impl Map {
    fn new([width, height]: [i32; 2]) -> Self {
        Self { visited: vec![false; (width * height).max(0) as usize], place: None }
    }
}

struct Coverage {
    size: [i32; 2],
    /// One for each reward of an episode.
    maps: Vec<Map>,
    stream: Stream,
    /// Rewards of this episode so far.
    got: usize,
    at: Cell,
    updates: u32,
}

impl Coverage {
    fn index(&self, [x, y]: Cell) -> usize {
        (y * self.size[0] + x).max(0) as usize
    }

    /// The nearest other cell that the map has not: one of the nearest, evenly. Where one stands comes last: looking there costs a step that
    /// leads nowhere.
    fn unvisited(&mut self, map: usize) -> Option<Cell> {
        let here = (!self.maps[map].visited[self.index(self.at)]).then_some(self.at);
        let (mut nearest, mut best, mut ties) = (i32::MAX, here, 0);
        for y in 0..self.size[1] {
            for x in 0..self.size[0] {
                let way = (x - self.at[0]).abs() + (y - self.at[1]).abs();
                if way == 0 || way > nearest || self.maps[map].visited[self.index([x, y])] {
                    continue;
                }
                ties = if way < nearest { 1 } else { ties + 1 };
                nearest = way;
                if self.stream.below(ties) == 0 {
                    best = Some([x, y]);
                }
            }
        }
        best
    }

    fn target(&mut self) -> Option<Cell> {
        // After the last reward it stays where that was: there may be more.
        let map = self.got.min(self.maps.len() - 1);
        self.maps[map].place.or_else(|| self.unvisited(map))
    }
}

impl SourceAlgorithm for Coverage {
    fn reset(&mut self, seed: u64) {
        self.maps = vec![Map::new(self.size); self.maps.len()];
        (self.stream, self.got, self.updates) = (Stream::new(seed, NAME, 0), 0, 0);
    }

    fn act(&mut self, observation: &[f32], action: &mut [f32]) {
        self.at = [observation[0] as i32, observation[1] as i32];
        let target = self.target().unwrap_or(self.at);
        let ways = [0, 1].map(|axis| target[axis] - self.at[axis]);
        let axis = match ways {
            [0, 0] => None,
            [_, 0] => Some(0),
            [0, _] => Some(1),
            _ => Some(self.stream.below(2)),
        };
        // Left, right, up, down, stay.
        action[0] = axis.map_or(4.0, |axis| (2 * axis + usize::from(ways[axis] > 0)) as f32);
    }

    fn observe(&mut self, next_observation: &[f32], outcome: &Outcome) {
        let came = [next_observation[0] as i32, next_observation[1] as i32];
        let map = self.got.min(self.maps.len() - 1);
        let cell = self.index(came);
        let known = &mut self.maps[map];
        if !known.visited[cell] {
            known.visited[cell] = true;
            self.updates += 1;
        }
        if outcome.reward > 0.0 {
            known.place.get_or_insert(came);
            self.got += 1;
        }
        if outcome.end.is_last() {
            self.got = 0;
        }
    }

    fn updates(&self) -> u32 {
        self.updates
    }
}
