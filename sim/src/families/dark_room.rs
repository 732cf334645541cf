//! `dark_room`: a room in which nothing is seen but one's own cell, with a goal in one of its cells.
//!
//! | | |
//! |---|---|
//! | observation | own cell: x, y (choices) |
//! | action | left, right, up, down, stay (a choice) |
//! | reward | 1 at each step that ends on the goal; with `once`, at the first of them alone |
//! | start | the centre |
//! | truncation | after `horizon` steps; the task never terminates |
//! | hidden | the goal: `params = [x, y]` |
//!
//! "In-context Reinforcement Learning with Algorithm Distillation" (arXiv 2210.14215), section 4.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::env::{check_row, choose};
use surefoot_core::{
    Env, EnvError, EnvSpec, FamilyTask, Outcome, SourceAlgorithm, StepEnd, Stream, TaskFamily, TaskSplit,
};

use super::grid::{Cell, Grid, distance, towards};
use super::{FamilyContext, draw_stratified};
use crate::tasks::{EnvContext, build_error};

/// Largest side of a room: what exact references cost grows with its fourth power.
const MAX_SIZE: usize = 33;

/// Configuration of one [room](self): `[env.dark_room]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DarkRoomConfig {
    /// Cells of a side.
    pub size: usize,
    /// Steps of an episode.
    pub horizon: usize,
    /// Whether the goal pays once in an episode, instead of at every step on it.
    pub once: bool,
    /// The goal's cell, `[x, y]` from the corner.
    pub goal: [usize; 2],
}

impl Default for DarkRoomConfig {
    fn default() -> Self {
        Self { size: 9, horizon: 20, once: false, goal: [7, 2] }
    }
}

impl DarkRoomConfig {
    /// Builds the environment.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, _context: &EnvContext) -> Result<Box<dyn Env>, EnvError> {
        let Self { size, horizon, once, goal } = self;
        Rules::new("dark_room", *size, *horizon, *once)?.room(&goal.map(|x| x as f32))
    }
}

/// Configuration of the [family](self): `[family.dark_room]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DarkRoomFamilyConfig {
    /// Cells of a side.
    pub size: usize,
    /// Steps of an episode.
    pub horizon: usize,
    /// Whether the goal pays once in an episode, instead of at every step on it.
    pub once: bool,
    /// Goals that are kept for judging, as many near as far; all others but the centre are trained on.
    pub test_goals: usize,
    /// Which ones: another seed is another split.
    pub split_seed: u64,
}

impl Default for DarkRoomFamilyConfig {
    fn default() -> Self {
        Self { size: 9, horizon: 20, once: false, test_goals: 16, split_seed: 0 }
    }
}

impl DarkRoomFamilyConfig {
    /// Builds the family.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, _context: &FamilyContext) -> Result<Box<dyn TaskFamily>, EnvError> {
        let Self { size, horizon, once, test_goals, split_seed } = self;
        let rules = Rules::new("dark_room", *size, *horizon, *once)?;
        Ok(Box::new(DarkRooms::new(rules, *test_goals, *split_seed)?))
    }
}

/// What is the same in all rooms of a family.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    grid: Grid,
    once: bool,
    spec: EnvSpec,
}

impl Rules {
    pub(super) fn new(name: &str, size: usize, horizon: usize, once: bool) -> Result<Self, EnvError> {
        if !(2..=MAX_SIZE).contains(&size) {
            return Err(build_error(name, format!("size = {size}: expected 2 to {MAX_SIZE} cells")));
        }
        if horizon == 0 {
            return Err(build_error(name, "horizon must be at least 1, found 0"));
        }
        let grid = Grid { size };
        Ok(Self { grid, once, spec: grid.spec(name, horizon, 1.0) })
    }

    pub(super) fn room(&self, params: &[f32]) -> Result<Box<dyn Env>, EnvError> {
        let size = self.grid.size;
        let goal = self.grid.named(params).ok_or_else(|| {
            let reason = format!("goal = {params:?}: expected two whole numbers from 0 to {}", size - 1);
            build_error(&self.spec.name, reason)
        })?;
        let at = self.grid.centre();
        Ok(Box::new(DarkRoom { rules: self.clone(), goal, at, steps: 0, paid: false }))
    }

    /// Return of an episode that has the goal `steps` moves away, none of them wasted.
    fn return_after(&self, steps: usize) -> f64 {
        let horizon = self.spec.max_steps;
        match (steps <= horizon, self.once) {
            (false, _) => 0.0,
            (true, true) => 1.0,
            // On the goal already: every step stays there. Otherwise the last move on the way pays, too.
            (true, false) => (horizon + 1 - steps.max(1)) as f64,
        }
    }

    fn optimal_return(&self, goal: Cell) -> f64 {
        self.return_after(distance(self.grid.centre(), goal))
    }

    /// Mean return of random moves, for every goal.
    fn random_returns(&self) -> Vec<f64> {
        let (grid, horizon) = (self.grid, self.spec.max_steps);
        let centre = grid.index(grid.centre());
        if self.once {
            return (0..grid.cells())
                .map(|g| grid.hits_within(grid.cell(g), horizon)[horizon][centre])
                .collect();
        }
        let mut chances = vec![0.0; grid.cells()];
        chances[centre] = 1.0;
        let mut sums = vec![0.0; grid.cells()];
        for _ in 0..horizon {
            chances = grid.walk(&chances);
            sums.iter_mut().zip(&chances).for_each(|(sum, c)| *sum += c);
        }
        sums
    }

    /// What walking at random until the goal is found, and then going straight to it, brings in the first `episodes` episodes for one
    /// goal: the mean return, and the chance that the goal is known before.
    fn search(&self, goal: Cell, episodes: usize) -> Vec<[f64; 2]> {
        let horizon = self.spec.max_steps;
        let centre = self.grid.index(self.grid.centre());
        let within: Vec<f64> = self.grid.hits_within(goal, horizon).iter().map(|row| row[centre]).collect();
        let while_searching: f64 =
            (1..=horizon).map(|t| (within[t] - within[t - 1]) * self.return_after(t)).sum();
        let optimal = self.optimal_return(goal);
        let mut unknown = 1.0;
        let mut all = Vec::with_capacity(episodes);
        for _ in 0..episodes {
            all.push([(1.0 - unknown) * optimal + unknown * while_searching, 1.0 - unknown]);
            unknown *= 1.0 - within[horizon];
        }
        all
    }
}

/// One room.
struct DarkRoom {
    rules: Rules,
    goal: Cell,
    at: Cell,
    steps: usize,
    paid: bool,
}

impl DarkRoom {
    fn observe(&self, observation: &mut [f32]) {
        observation.copy_from_slice(&self.at.map(|x| x as f32));
    }
}

impl Env for DarkRoom {
    fn spec(&self) -> &EnvSpec {
        &self.rules.spec
    }

    fn reset(&mut self, _seed: u64, observation: &mut [f32]) -> Result<(), EnvError> {
        check_row("observation", 2, observation.len())?;
        (self.at, self.steps, self.paid) = (self.rules.grid.centre(), 0, false);
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
        let success = self.at == self.goal;
        let pays = success && !(self.rules.once && self.paid);
        self.paid |= pays;
        let end = if self.steps >= self.rules.spec.max_steps { StepEnd::Truncated } else { StepEnd::Running };
        Ok(Outcome { reward: f32::from(u8::from(pays)), end, success, ..Outcome::default() })
    }
}

/// Rooms that differ in their goals.
pub(super) struct DarkRooms {
    rules: Rules,
    /// Goals of the splits.
    train: Vec<Cell>,
    test: Vec<Cell>,
    random: Vec<f64>,
}

impl DarkRooms {
    pub(super) fn new(rules: Rules, test_goals: usize, split_seed: u64) -> Result<Self, EnvError> {
        let grid = rules.grid;
        let centre = grid.centre();
        let reachable = |c: &Cell| rules.optimal_return(*c) > 0.0 && *c != centre;
        let goals: Vec<Cell> = (0..grid.cells()).map(|i| grid.cell(i)).filter(reachable).collect();
        if test_goals == 0 || test_goals >= goals.len() {
            let reason =
                format!("test_goals = {test_goals}: expected 1 to {}", goals.len().saturating_sub(1));
            return Err(build_error(&rules.spec.name, reason));
        }
        let mut stream = Stream::new(split_seed, "dark_room_split", 0);
        let (train, test) = draw_stratified(&goals, |c| distance(*c, centre), test_goals, &mut stream);
        let random = rules.random_returns();
        Ok(Self { rules, train, test, random })
    }

    fn goals(&self, split: TaskSplit) -> &[Cell] {
        match split {
            TaskSplit::Train => &self.train,
            TaskSplit::TestIn => &self.test,
            TaskSplit::TestOod => &[],
        }
    }
}

/// Episodes that a ceiling is given for.
const CEILING_EPISODES: usize = 201;

impl TaskFamily for DarkRooms {
    fn spec(&self) -> &EnvSpec {
        &self.rules.spec
    }

    fn tasks(&self, split: TaskSplit) -> Vec<FamilyTask> {
        let task = |goal: &Cell| FamilyTask {
            id: self.rules.grid.index(*goal) as u64,
            split,
            params: goal.map(|x| x as f32).to_vec(),
            random_return: self.random[self.rules.grid.index(*goal)] as f32,
            optimal_return: self.rules.optimal_return(*goal) as f32,
        };
        self.goals(split).iter().map(task).collect()
    }

    fn env(&self, params: &[f32]) -> Result<Box<dyn Env>, EnvError> {
        self.rules.room(params)
    }

    fn search_ceiling(&self) -> Option<Vec<f32>> {
        let goals: Vec<Cell> = self.train.iter().chain(&self.test).copied().collect();
        let optimal: f64 = goals.iter().map(|g| self.rules.optimal_return(*g)).sum();
        let mut shares = vec![0.0; CEILING_EPISODES];
        for goal in &goals {
            for (sum, [mean, _]) in shares.iter_mut().zip(self.rules.search(*goal, CEILING_EPISODES)) {
                *sum += mean / optimal;
            }
        }
        Some(shares.into_iter().map(|x| x as f32).collect())
    }

    fn oracle(&self, params: &[f32]) -> Option<Box<dyn SourceAlgorithm>> {
        Some(Box::new(Knows { goal: self.rules.grid.named(params)? }))
    }
}

/// Goes straight to the goal.
struct Knows {
    goal: Cell,
}

impl SourceAlgorithm for Knows {
    fn reset(&mut self, _seed: u64) {}
    fn act(&mut self, observation: &[f32], action: &mut [f32]) {
        let at = [observation[0], observation[1]].map(|x| x as usize);
        action[0] = towards(at, self.goal) as f32;
    }
    fn observe(&mut self, _next_observation: &[f32], _outcome: &Outcome) {}
    fn updates(&self) -> u32 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(config: &DarkRoomFamilyConfig) -> DarkRooms {
        let rules = Rules::new("dark_room", config.size, config.horizon, config.once).unwrap();
        DarkRooms::new(rules, config.test_goals, config.split_seed).unwrap()
    }

    fn mean(values: impl Iterator<Item = f64> + Clone) -> f64 {
        values.clone().sum::<f64>() / values.count() as f64
    }

    /// Rounded to the digits that a table prints.
    fn digits(value: f64, places: usize) -> String {
        format!("{value:.places$}")
    }

    #[test]
    fn references_of_the_nine_by_nine_room_to_their_printed_digits() {
        let rooms = family(&DarkRoomFamilyConfig::default());
        let (rules, grid) = (&rooms.rules, rooms.rules.grid);
        let all = (0..81).map(|i| grid.cell(i));
        let others = all.clone().filter(|c| *c != grid.centre());
        for goal in others.clone() {
            assert_eq!(rules.optimal_return(goal), (21 - distance(goal, grid.centre())) as f64);
        }
        assert_eq!(rules.optimal_return(grid.centre()), 20.0);
        assert_eq!(digits(mean(others.clone().map(|g| rules.optimal_return(g))), 2), "16.50");
        assert_eq!(digits(mean(all.clone().map(|g| rules.optimal_return(g))), 2), "16.54");
        let mut histogram = [0; 9];
        all.clone().for_each(|g| histogram[distance(g, grid.centre())] += 1);
        assert_eq!(histogram, [1, 4, 8, 12, 16, 16, 12, 8, 4]);

        let random = |g: Cell| rooms.random[grid.index(g)];
        let random_mean = mean(others.clone().map(random));
        assert_eq!(digits(random_mean, 3), "0.235");
        assert_eq!(digits(random_mean / 16.5 * 100.0, 1), "1.4");
        assert_eq!(digits(mean(all.map(random)), 3), "0.247");
        assert_eq!(digits(random([0, 0]), 2), "0.04");

        let hit = |g: Cell| grid.hits_within(g, 20)[20][grid.index(grid.centre())];
        assert_eq!(digits(mean(others.clone().map(hit)), 3), "0.120");
        assert_eq!(
            digits(mean(others.clone().filter(|g| distance(*g, grid.centre()) >= 6).map(hit)), 3),
            "0.035"
        );
        assert_eq!(digits(hit([8, 0]), 3), "0.017");

        let optimal: f64 = others.clone().map(|g| rules.optimal_return(g)).sum();
        let searches: Vec<_> =
            others.clone().map(|g| (rules.optimal_return(g), rules.search(g, 201))).collect();
        let known = |k: usize| 100.0 * mean(searches.iter().map(|(_, s)| s[k][1]));
        // Of the goals that are known before an episode alone: what is found in it counts from the next on.
        let share = |k: usize| 100.0 * searches.iter().map(|(best, s)| best * s[k][1]).sum::<f64>() / optimal;
        // The fifth episode, the tenth, ...
        let at = [5, 10, 20, 30, 40, 100, 200].map(|nth| nth - 1);
        assert_eq!(at.map(|k| digits(share(k), 1)), ["37.6", "58.4", "77.4", "86.1", "90.8", "98.6", "99.8"]);
        assert_eq!(
            at.map(|k| digits(known(k), 0)),
            ["35", "56", "75", "84", "90", "98", "100"],
            "99.8 is 100"
        );
        let ceiling = rooms.search_ceiling().unwrap();
        assert!(
            at.iter().all(|k| 100.0 * f64::from(ceiling[*k]) >= share(*k)),
            "what is found counts at once"
        );
        assert!(ceiling[0] > random_mean as f32 / 16.5 && ceiling.windows(2).all(|w| w[0] < w[1]));
    }

    #[test]
    fn splits_are_stratified_and_another_seed_is_another_split() {
        let near = |split: &[Cell]| split.iter().filter(|c| distance(**c, [4, 4]) <= 4).count();
        let mut splits = Vec::new();
        for split_seed in 0..3 {
            let rooms = family(&DarkRoomFamilyConfig { split_seed, ..DarkRoomFamilyConfig::default() });
            assert_eq!((rooms.train.len(), rooms.test.len()), (64, 16));
            assert_eq!((near(&rooms.train), near(&rooms.test)), (32, 8), "half of the goals are near");
            assert!(!rooms.train.contains(&[4, 4]) && !rooms.test.contains(&[4, 4]));
            splits.push(rooms.test);
        }
        assert!(splits[0] != splits[1] && splits[1] != splits[2]);
    }

    #[test]
    fn the_goal_pays_at_each_step_or_once() {
        for (once, expected) in [(false, [0.0, 1.0, 1.0, 0.0, 1.0]), (true, [0.0, 1.0, 0.0, 0.0, 0.0])] {
            let config = DarkRoomConfig { once, goal: [6, 4], ..DarkRoomConfig::default() };
            let mut room = config.build(&EnvContext::default()).unwrap();
            let (mut o, mut e) = ([0.0; 2], [0.0]);
            room.reset(0, &mut o).unwrap();
            assert_eq!(o, [4.0, 4.0]);
            let rewards = [1.0, 1.0, 4.0, 0.0, 1.0].map(|a| room.step(&[a], &mut o, &mut e).unwrap().reward);
            assert_eq!(rewards, expected);
        }
    }

    #[test]
    fn an_action_that_is_no_choice_is_an_error_that_names_it() {
        let mut room = DarkRoomConfig::default().build(&EnvContext::default()).unwrap();
        let (mut o, mut e) = ([0.0; 2], [0.0]);
        room.reset(0, &mut o).unwrap();
        for (action, found) in [(5.0, "5"), (0.5, "0.5"), (f32::NAN, "NaN"), (-1.0, "-1")] {
            let said = room.step(&[action], &mut o, &mut e).unwrap_err().to_string();
            let expected = "expected a whole number from 0 to 4";
            assert_eq!(said, format!("environment dark_room: action move is {found}, {expected}"));
        }
        assert!(room.step(&[0.0, 0.0], &mut o, &mut e).is_err());
        let outside = DarkRoomConfig { goal: [9, 0], ..DarkRoomConfig::default() };
        let said = outside.build(&EnvContext::default()).err().unwrap().to_string();
        assert!(said.contains("expected two whole numbers from 0 to 8"), "{said}");
    }
}
