//! `sweep`: goes over an arena cell by cell, nearest first, until something pays; then there.
//!
//! For tasks that see a place first (two bounded numbers in metres) and do velocities (two numbers of evenly spaced values in m/s), and are paid where
//! something hidden is. It is `coverage` for a robot: a proportional controller goes to the middle of the nearest cell that was not visited, and,
//! once something paid, to the mean of all places that did.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Field, Outcome, SourceAlgorithm, Stream};

use super::{SourceContext, SourceError, within};

const NAME: &str = "sweep";
/// Time constant of an approach, s, in steps.
const APPROACH_STEPS: f64 = 1.5;
/// How near to the middle of a cell one must come along each axis, as a share of half its shorter side.
const INNER: f64 = 0.6;

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SweepConfig {
    /// Cells along each side: the middle of one is to be near enough to all of its corners for what pays there to be found.
    pub cells: usize,
}

impl Default for SweepConfig {
    fn default() -> Self {
        Self { cells: 12 }
    }
}

impl SweepConfig {
    /// Builds the searcher.
    ///
    /// # Errors
    /// When a setting is out of range, or the task has no such place and velocities.
    pub fn build(&self, context: &SourceContext) -> Result<Box<dyn SourceAlgorithm>, SourceError> {
        let Self { cells } = *self;
        within(NAME, "cells", cells as f64, [1.0, 1000.0])?;
        let spec = context.spec();
        let place = |f: &Field| f.low.zip(f.high).filter(|_| f.unit == "m" && f.choices.is_none());
        let velocity = |f: &Field| f.unit == "m/s" && f.value(0).is_some();
        let arena = match (spec.observation.as_slice(), spec.action.as_slice()) {
            ([x, y, ..], [vx, vy]) if velocity(vx) && velocity(vy) => place(x).zip(place(y)),
            _ => None,
        };
        let Some(arena) = arena else {
            return Err(SourceError::Family {
                source_name: NAME,
                family: spec.name.clone(),
                needs: "a bounded place (m, m) to see first, and two velocities (m/s) of evenly spaced values to do",
                found: format!("{} numbers seen, {} done", spec.observation.len(), spec.action.len()),
            });
        };
        let arena = [arena.0, arena.1].map(|(low, high)| [f64::from(low), f64::from(high)]);
        Ok(Box::new(Sweep {
            cells,
            arena,
            action: spec.action.clone(),
            approach_secs: APPROACH_STEPS * spec.step_secs,
            visited: vec![false; cells * cells],
            paid: None,
            stream: Stream::new(0, NAME, 0),
            target: None,
            updates: 0,
        }))
    }
}

struct Sweep {
    cells: usize,
    arena: [[f64; 2]; 2],
    action: Vec<Field>,
    approach_secs: f64,
    visited: Vec<bool>,
    /// Sum of the places that paid, and how many they were.
    paid: Option<([f64; 2], f64)>,
    stream: Stream,
    /// The cell it is on the way to.
    target: Option<usize>,
    updates: u32,
}

impl Sweep {
    fn side(&self, axis: usize) -> f64 {
        (self.arena[axis][1] - self.arena[axis][0]) / self.cells as f64
    }

    fn middle(&self, cell: usize) -> [f64; 2] {
        let index = [cell % self.cells, cell / self.cells];
        std::array::from_fn(|i| self.arena[i][0] + (index[i] as f64 + 0.5) * self.side(i))
    }

    /// One of the nearest cells that were not visited.
    fn nearest(&mut self, at: [f64; 2]) -> Option<usize> {
        let (mut best, mut least, mut ties) = (None, f64::INFINITY, 0);
        for cell in (0..self.visited.len()).filter(|c| !self.visited[*c]) {
            let middle = self.middle(cell);
            let way = (middle[0] - at[0]).hypot(middle[1] - at[1]);
            if way > least + 1e-9 {
                continue;
            }
            ties = if way < least - 1e-9 { 1 } else { ties + 1 };
            least = least.min(way);
            if self.stream.below(ties) == 0 {
                best = Some(cell);
            }
        }
        best
    }
}

impl SourceAlgorithm for Sweep {
    fn reset(&mut self, seed: u64) {
        self.visited.fill(false);
        (self.paid, self.target, self.updates) = (None, None, 0);
        self.stream = Stream::new(seed, NAME, 0);
    }

    fn act(&mut self, observation: &[f32], action: &mut [f32]) {
        let at = [observation[0], observation[1]].map(f64::from);
        let to = match self.paid {
            Some((sum, count)) => sum.map(|x| x / count),
            None => {
                if self.target.is_none_or(|cell| self.visited[cell]) {
                    self.target = self.nearest(at);
                }
                self.target.map_or(at, |cell| self.middle(cell))
            }
        };
        for (i, (number, field)) in action.iter_mut().zip(&self.action).enumerate() {
            let wanted = (to[i] - at[i]) / self.approach_secs;
            let miss = |c: &usize| (field.value(*c).unwrap_or_default() - wanted).abs();
            let choices = 0..field.choices.unwrap_or(1) as usize;
            *number = choices.min_by(|a, b| miss(a).total_cmp(&miss(b))).unwrap_or_default() as f32;
        }
    }

    fn observe(&mut self, next_observation: &[f32], outcome: &Outcome) {
        let at = [next_observation[0], next_observation[1]].map(f64::from);
        let index: [f64; 2] = std::array::from_fn(|i| {
            ((at[i] - self.arena[i][0]) / self.side(i)).floor().clamp(0.0, self.cells as f64 - 1.0)
        });
        let cell = index[1] as usize * self.cells + index[0] as usize;
        let middle = self.middle(cell);
        let near = INNER * self.side(0).min(self.side(1)) / 2.0;
        let inner = (0..2).all(|i| (at[i] - middle[i]).abs() <= near);
        if inner && !self.visited[cell] {
            self.visited[cell] = true;
            self.updates += 1;
            if self.visited.iter().all(|v| *v) {
                // It was overlooked.
                self.visited.fill(false);
            }
        }
        if outcome.reward > 0.0 {
            let (sum, count) = self.paid.get_or_insert(([0.0; 2], 0.0));
            sum.iter_mut().zip(at).for_each(|(s, x)| *s += x);
            *count += 1.0;
            self.updates += u32::from(*count == 1.0);
        }
        if outcome.end.is_last() {
            // The next episode begins elsewhere.
            self.target = None;
        }
    }

    fn updates(&self) -> u32 {
        self.updates
    }
}
