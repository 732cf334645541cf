//! `dark_key_to_door`: a dark room with an invisible key, and an invisible door that opens for who has the key.
//!
//! | | |
//! |---|---|
//! | observation | own cell: x, y (choices); whether one has the key is not seen |
//! | action | left, right, up, down, stay (a choice) |
//! | reward | 1 for the first step that ends on the key, and 1 for the first step after it that ends on the door |
//! | start | a random cell |
//! | truncation | after `horizon` steps |
//! | hidden | key and door: `params = [key_x, key_y, door_x, door_y]`; both may be in one cell |
//!
//! arXiv 2210.14215, section 4.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::env::{check_row, choose};
use surefoot_core::{
    Env, EnvError, EnvSpec, FamilyTask, Outcome, SourceAlgorithm, StepEnd, Stream, TaskFamily, TaskSplit,
};

use super::grid::{Cell, Grid, distance, towards};
use super::{FamilyContext, shuffle};
use crate::tasks::{EnvContext, build_error};

const NAME: &str = "dark_key_to_door";
/// Largest side: there are `size^4` tasks.
const MAX_SIZE: usize = 17;
/// Episodes that a ceiling is given for.
const CEILING_EPISODES: usize = 201;

/// Configuration of one [room](self): `[env.dark_key_to_door]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DarkKeyToDoorConfig {
    /// Cells of a side.
    pub size: usize,
    /// Steps of an episode.
    pub horizon: usize,
    /// The key's cell, `[x, y]` from the corner.
    pub key: [usize; 2],
    /// The door's cell.
    pub door: [usize; 2],
}

impl Default for DarkKeyToDoorConfig {
    fn default() -> Self {
        Self { size: 9, horizon: 50, key: [7, 2], door: [1, 5] }
    }
}

impl DarkKeyToDoorConfig {
    /// Builds the environment.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, _context: &EnvContext) -> Result<Box<dyn Env>, EnvError> {
        let Self { size, horizon, key, door } = self;
        let params = [key[0], key[1], door[0], door[1]].map(|x| x as f32);
        Rules::new(*size, *horizon)?.room(&params)
    }
}

/// Configuration of the [family](self): `[family.dark_key_to_door]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DarkKeyToDoorFamilyConfig {
    /// Cells of a side.
    pub size: usize,
    /// Steps of an episode.
    pub horizon: usize,
    /// Pairs of key and door that are trained on.
    pub train_tasks: usize,
    /// Pairs that are kept for judging.
    pub test_tasks: usize,
    /// Which ones: another seed is another split.
    pub split_seed: u64,
}

impl Default for DarkKeyToDoorFamilyConfig {
    fn default() -> Self {
        Self { size: 9, horizon: 50, train_tasks: 1024, test_tasks: 64, split_seed: 0 }
    }
}

impl DarkKeyToDoorFamilyConfig {
    /// Builds the family.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, _context: &FamilyContext) -> Result<Box<dyn TaskFamily>, EnvError> {
        let Self { size, horizon, train_tasks, test_tasks, split_seed } = self;
        let rules = Rules::new(*size, *horizon)?;
        let cells = rules.grid.cells();
        let all = cells * cells;
        let fits = train_tasks.checked_add(*test_tasks).is_some_and(|n| n <= all);
        if *train_tasks == 0 || *test_tasks == 0 || !fits {
            let reason = format!(
                "train_tasks = {train_tasks}, test_tasks = {test_tasks}: expected at least 1 of each and {all} together at most"
            );
            return Err(build_error(NAME, reason));
        }
        let mut order: Vec<usize> = (0..all).collect();
        shuffle(&mut order, &mut Stream::new(*split_seed, "key_to_door_split", 0));
        order.truncate(train_tasks + test_tasks);
        let test = order.split_off(*train_tasks);
        let hits = (0..cells).map(|c| rules.grid.hits_within(rules.grid.cell(c), *horizon)).collect();
        Ok(Box::new(KeysAndDoors { rules, train: order, test, hits }))
    }
}

#[derive(Clone, Debug)]
struct Rules {
    grid: Grid,
    spec: EnvSpec,
}

impl Rules {
    fn new(size: usize, horizon: usize) -> Result<Self, EnvError> {
        if !(2..=MAX_SIZE).contains(&size) {
            return Err(build_error(NAME, format!("size = {size}: expected 2 to {MAX_SIZE} cells")));
        }
        // From any start to the key and from there to the door.
        let farthest = 4 * (size - 1);
        if horizon < farthest.max(2) {
            let reason =
                format!("horizon = {horizon}: the farthest key and door take {} steps", farthest.max(2));
            return Err(build_error(NAME, reason));
        }
        let grid = Grid { size };
        Ok(Self { grid, spec: grid.spec(NAME, horizon, 1.0) })
    }

    fn places(&self, params: &[f32]) -> Option<[Cell; 2]> {
        let (key, door) = params.split_at_checked(2)?;
        Some([self.grid.named(key)?, self.grid.named(door)?])
    }

    fn room(&self, params: &[f32]) -> Result<Box<dyn Env>, EnvError> {
        let [key, door] = self.places(params).ok_or_else(|| {
            let most = self.grid.size - 1;
            build_error(
                NAME,
                format!("key and door = {params:?}: expected four whole numbers from 0 to {most}"),
            )
        })?;
        Ok(Box::new(KeyToDoor { rules: self.clone(), key, door, at: key, steps: 0, found: 0 }))
    }
}

struct KeyToDoor {
    rules: Rules,
    key: Cell,
    door: Cell,
    at: Cell,
    steps: usize,
    /// 0: nothing, 1: the key, 2: the door, too.
    found: u8,
}

impl KeyToDoor {
    fn observe(&self, observation: &mut [f32]) {
        observation.copy_from_slice(&self.at.map(|x| x as f32));
    }
}

impl Env for KeyToDoor {
    fn spec(&self) -> &EnvSpec {
        &self.rules.spec
    }

    fn reset(&mut self, seed: u64, observation: &mut [f32]) -> Result<(), EnvError> {
        check_row("observation", 2, observation.len())?;
        let mut stream = Stream::new(seed, "key_to_door_start", 0);
        self.at = self.rules.grid.cell(stream.below(self.rules.grid.cells()));
        (self.steps, self.found) = (0, 0);
        self.observe(observation);
        Ok(())
    }

    fn step(
        &mut self,
        action: &[f32],
        observation: &mut [f32],
        executed: &mut [f32],
    ) -> Result<Outcome, EnvError> {
        let index = choose(&self.rules.spec, action, observation, executed)?;
        self.at = self.rules.grid.step(self.at, index);
        self.steps += 1;
        self.observe(observation);
        let pays = match self.found {
            0 => self.at == self.key,
            1 => self.at == self.door,
            _ => false,
        };
        self.found += u8::from(pays);
        let end = if self.steps >= self.rules.spec.max_steps { StepEnd::Truncated } else { StepEnd::Running };
        let success = self.found == 2;
        Ok(Outcome { reward: f32::from(u8::from(pays)), end, success, ..Outcome::default() })
    }
}

struct KeysAndDoors {
    rules: Rules,
    /// `key * cells + door`.
    train: Vec<usize>,
    test: Vec<usize>,
    /// By target: the chance to come there within `t` random moves, from each cell.
    hits: Vec<Vec<Vec<f64>>>,
}

impl KeysAndDoors {
    /// Mean return of random moves.
    fn random_return(&self, key: usize, door: usize) -> f64 {
        let horizon = self.rules.spec.max_steps;
        let cells = self.rules.grid.cells() as f64;
        let within = |t: usize| self.hits[key][t].iter().sum::<f64>() / cells;
        let mut total = within(horizon);
        for t in 1..=horizon {
            total += (within(t) - within(t - 1)) * self.hits[door][horizon - t][key];
        }
        total
    }

    /// Mean share of the optimal return, by episode, of whoever walks at random for what is not known yet and straight to what is.
    fn ceiling(&self, key: usize, door: usize) -> Vec<f64> {
        let (grid, horizon) = (self.rules.grid, self.rules.spec.max_steps);
        let cells = grid.cells();
        let within = |t: usize| self.hits[key][t].iter().sum::<f64>() / cells as f64;
        let key_in_one = within(horizon);
        let both_in_one = self.random_return(key, door) - key_in_one;
        // The key is known: on it after so many moves, one of them at least, and then at random.
        let steps_to_key = |start: usize| distance(grid.cell(start), grid.cell(key)).max(1);
        let door_in_one =
            (0..cells).map(|s| self.hits[door][horizon - steps_to_key(s)][key]).sum::<f64>() / cells as f64;
        let (mut nothing, mut key_only) = (1.0, 0.0);
        let mut shares = Vec::with_capacity(CEILING_EPISODES);
        for _ in 0..CEILING_EPISODES {
            let both = 1.0 - nothing - key_only;
            let expected = 2.0 * both + key_only * (1.0 + door_in_one) + nothing * (key_in_one + both_in_one);
            shares.push(expected / 2.0);
            (nothing, key_only) = (
                nothing * (1.0 - key_in_one),
                key_only * (1.0 - door_in_one) + nothing * (key_in_one - both_in_one),
            );
        }
        shares
    }

    fn pairs(&self, split: TaskSplit) -> &[usize] {
        match split {
            TaskSplit::Train => &self.train,
            TaskSplit::TestIn => &self.test,
            TaskSplit::TestOod => &[],
        }
    }
}

impl TaskFamily for KeysAndDoors {
    fn spec(&self) -> &EnvSpec {
        &self.rules.spec
    }

    fn tasks(&self, split: TaskSplit) -> Vec<FamilyTask> {
        let cells = self.rules.grid.cells();
        let task = |pair: &usize| {
            let (key, door) = (pair / cells, pair % cells);
            let places = [key, door].map(|c| self.rules.grid.cell(c));
            FamilyTask {
                id: *pair as u64,
                split,
                params: places.as_flattened().iter().map(|x| *x as f32).collect(),
                random_return: self.random_return(key, door) as f32,
                optimal_return: 2.0,
            }
        };
        self.pairs(split).iter().map(task).collect()
    }

    fn env(&self, params: &[f32]) -> Result<Box<dyn Env>, EnvError> {
        self.rules.room(params)
    }

    fn search_ceiling(&self) -> Option<Vec<f32>> {
        let cells = self.rules.grid.cells();
        let mut mean = vec![0.0; CEILING_EPISODES];
        for pair in &self.test {
            for (sum, share) in mean.iter_mut().zip(self.ceiling(pair / cells, pair % cells)) {
                *sum += share / self.test.len() as f64;
            }
        }
        Some(mean.into_iter().map(|x| x as f32).collect())
    }

    fn oracle(&self, params: &[f32]) -> Option<Box<dyn SourceAlgorithm>> {
        let [key, door] = self.rules.places(params)?;
        Some(Box::new(Knows { key, door, has_key: false }))
    }
}

/// Goes to the key and then to the door.
struct Knows {
    key: Cell,
    door: Cell,
    has_key: bool,
}

impl SourceAlgorithm for Knows {
    fn reset(&mut self, _seed: u64) {
        self.has_key = false;
    }
    fn act(&mut self, observation: &[f32], action: &mut [f32]) {
        let at = [observation[0], observation[1]].map(|x| x as usize);
        action[0] = towards(at, if self.has_key { self.door } else { self.key }) as f32;
    }
    fn observe(&mut self, _next_observation: &[f32], outcome: &Outcome) {
        self.has_key = (self.has_key || outcome.reward > 0.0) && !outcome.end.is_last();
    }
    fn updates(&self) -> u32 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_6561_pairs_and_a_ceiling_that_rises_from_random_to_optimal() {
        let config = DarkKeyToDoorFamilyConfig { train_tasks: 6545, test_tasks: 16, ..Default::default() };
        let family = config.build(&FamilyContext {}).unwrap();
        let test = family.tasks(TaskSplit::TestIn);
        let random = test.iter().map(|t| t.random_return).sum::<f32>() / test.len() as f32;
        let ceiling = family.search_ceiling().unwrap();
        assert!((ceiling[0] - random / 2.0).abs() < 1e-5, "before anything is known it is a random walk");
        assert!(ceiling.windows(2).all(|w| w[1] >= w[0]));
        assert!(ceiling[200] > 0.99, "{}", ceiling[200]);
        let more = DarkKeyToDoorFamilyConfig { test_tasks: 17, ..config };
        assert!(more.build(&FamilyContext {}).err().unwrap().to_string().contains("6561 together at most"));
    }

    #[test]
    fn the_door_opens_for_who_has_the_key_and_both_pay_once() {
        let config = DarkKeyToDoorConfig { key: [1, 0], door: [0, 0], ..DarkKeyToDoorConfig::default() };
        let mut room = config.build(&EnvContext::default()).unwrap();
        let (mut o, mut e) = ([0.0; 2], [0.0]);
        room.reset(0, &mut o).unwrap();
        // To the corner, which is the door.
        for (axis, back) in [(0, 0.0), (1, 2.0)] {
            while o[axis] > 0.0 && o != [1.0, 0.0] {
                assert_eq!(room.step(&[back], &mut o, &mut e).unwrap().reward, 0.0);
            }
        }
        while o != [0.0, 0.0] {
            room.step(&[0.0], &mut o, &mut e).unwrap();
        }
        let mut walk = |moves: &[f32]| -> Vec<f32> {
            moves.iter().map(|a| room.step(&[*a], &mut o, &mut e).unwrap().reward).collect()
        };
        assert_eq!(walk(&[4.0, 1.0, 0.0, 1.0, 0.0]), [0.0, 1.0, 1.0, 0.0, 0.0]);
    }
}
