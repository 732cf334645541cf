//! An empty square room of cells: how one moves in it, and what a random walk finds there, exactly.

use surefoot_core::{EnvSpec, Field};

/// Moves: left, right, up, down, and staying.
pub(super) const MOVES: [[i32; 2]; 5] = [[-1, 0], [1, 0], [0, -1], [0, 1], [0, 0]];

/// A cell, `[x, y]` from the corner.
pub(super) type Cell = [usize; 2];

/// A square room of `size` cells a side, walls around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub size: usize,
}

impl Grid {
    /// What is seen and done in it: the own cell, and a move.
    pub(super) fn spec(self, name: &str, max_steps: usize, most_reward: f32) -> EnvSpec {
        EnvSpec {
            name: name.to_owned(),
            observation: vec![Field::choice("x", self.size as u32), Field::choice("y", self.size as u32)],
            action: vec![Field::choice("move", MOVES.len() as u32)],
            step_secs: 1.0,
            max_steps,
            reward_range: Some((0.0, most_reward)),
            contract_hash: None,
        }
    }

    pub(super) const fn cells(self) -> usize {
        self.size * self.size
    }
    pub(super) const fn index(self, [x, y]: Cell) -> usize {
        y * self.size + x
    }
    pub(super) const fn cell(self, index: usize) -> Cell {
        [index % self.size, index / self.size]
    }
    pub(super) const fn centre(self) -> Cell {
        [self.size / 2, self.size / 2]
    }
    /// Where a move leads; against a wall it leads nowhere.
    pub(super) fn step(self, [x, y]: Cell, action: usize) -> Cell {
        let [dx, dy] = MOVES[action];
        let go = |at: usize, by: i32| at.saturating_add_signed(by as isize).min(self.size - 1);
        [go(x, dx), go(y, dy)]
    }

    /// The cell that parameters name.
    pub(super) fn named(self, params: &[f32]) -> Option<Cell> {
        let [x, y] = params else { return None };
        let inside = |v: f32| (v >= 0.0 && v.fract() == 0.0 && v < self.size as f32).then_some(v as usize);
        Some([inside(*x)?, inside(*y)?])
    }

    /// One step of a walk of uniformly random moves, on the chances to be in each cell.
    pub(super) fn walk(self, chances: &[f64]) -> Vec<f64> {
        let mut next = vec![0.0; self.cells()];
        for (index, chance) in chances.iter().enumerate().filter(|(_, c)| **c > 0.0) {
            for action in 0..MOVES.len() {
                next[self.index(self.step(self.cell(index), action))] += chance / MOVES.len() as f64;
            }
        }
        next
    }

    /// The chance that a random walk from each cell comes to `target` within `t` moves, for `t` from 0 to `most`: `[most + 1][cells]`.
    /// A walk that begins on the target has not come there yet.
    pub(super) fn hits_within(self, target: Cell, most: usize) -> Vec<Vec<f64>> {
        let target = self.index(target);
        let mut all = vec![vec![0.0; self.cells()]];
        for t in 0..most {
            let before = &all[t];
            let chance = |index: usize| -> f64 {
                let to = (0..MOVES.len()).map(|a| self.index(self.step(self.cell(index), a)));
                to.map(|to| if to == target { 1.0 } else { before[to] }).sum::<f64>() / MOVES.len() as f64
            };
            let next = (0..self.cells()).map(chance).collect();
            all.push(next);
        }
        all
    }
}

/// Moves between two cells.
pub(super) const fn distance(a: Cell, b: Cell) -> usize {
    a[0].abs_diff(b[0]) + a[1].abs_diff(b[1])
}

/// The move that leads from one cell towards another: along x first.
pub(super) const fn towards(from: Cell, to: Cell) -> usize {
    if from[0] > to[0] {
        0
    } else if from[0] < to[0] {
        1
    } else if from[1] > to[1] {
        2
    } else if from[1] < to[1] {
        3
    } else {
        4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walls_hold_and_towards_arrives() {
        let grid = Grid { size: 9 };
        assert_eq!([0, 2].map(|a| grid.step([0, 0], a)), [[0, 0]; 2]);
        assert_eq!([1, 3].map(|a| grid.step([8, 8], a)), [[8, 8]; 2]);
        for from in (0..81).map(|i| grid.cell(i)) {
            for to in (0..81).map(|i| grid.cell(i)) {
                let mut at = from;
                for _ in 0..distance(from, to) {
                    at = grid.step(at, towards(at, to));
                }
                assert_eq!((at, towards(at, to)), (to, 4));
            }
        }
    }

    #[test]
    fn forward_and_backward_chains_agree() {
        let grid = Grid { size: 5 };
        // The chance to have come to a corner within 7 moves, by making it a trap.
        let (target, start) = ([4, 4], [2, 2]);
        let mut chances = vec![0.0; 25];
        chances[grid.index(start)] = 1.0;
        let mut found = 0.0;
        for t in 1..=7 {
            chances = grid.walk(&chances);
            found += std::mem::take(&mut chances[grid.index(target)]);
            let backward = grid.hits_within(target, 7)[t][grid.index(start)];
            assert!((found - backward).abs() < 1e-15, "{t}: {found} and {backward}");
        }
    }
}
