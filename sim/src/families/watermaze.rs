//! `watermaze`: a round pool in which a platform lies that nobody sees. What is seen is the pool in first person, as pixels. It is Morris's
//! water maze, and the dark room of whoever has eyes.
//!
//! | | |
//! |---|---|
//! | observation | the picture, `[rows, columns, 3]` row by row: red, green, blue of a pixel, whole numbers from 0 to 255 |
//! | action | forward, backward, left, right, turn left, turn right, forward and turn left, forward and turn right (a choice) |
//! | reward | 1 at each step that ends with the body's middle on the platform |
//! | start | the middle, facing along x |
//! | truncation | after `horizon` steps of 0.25 s; the task never terminates |
//! | hidden | the platform's middle: `params = [x, y]`, m, drawn evenly over the ring from 0.5 m to 1.75 m |
//!
//! The task is that of "In-context Reinforcement Learning with Algorithm Distillation" (arXiv 2210.14215), section 4: DMLab's water maze with 8
//! actions, 50 steps, the middle as the start and pictures of 72 x 96 pixels. The paper leaves its sizes open, and here they are: a pool of
//! 2 m radius, a platform of 0.25 m, 1.6 % of the pool, as a goal is 1.2 % of the dark room; a body of 0.15 m; steps of 0.2 m
//! (0.8 m/s) and turns of 45 degrees (180 degrees/s); a turn while walking comes at the end of the step; a picture 90 degrees wide from 0.4 m over
//! the floor; a wall of 1.2 m with a panel of another colour in each of the eight directions. DMLab (`rooms_watermaze`) draws the
//! platform evenly over a disc and holds a player on it; here staying means to turn. Other than there, no platform lies under the start.
//!
//! The body is a ball in a rapier world, swept against the planks of the wall. The platform is in neither the world nor the picture.

use std::sync::{Arc, OnceLock};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::env::{check_row, choose};
use surefoot_core::{
    Env, EnvError, EnvSpec, FamilyTask, Field, Frame, Outcome, SourceAlgorithm, StepEnd, Stream, TaskFamily,
    TaskSplit,
};

use super::FamilyContext;
use super::round_pool::{
    CHOICES, FORWARD_AND_LEFT, RADIUS_M, RoundPool, STEP_M, Stand, TURN_LEFT, WALK, step_along,
};
use crate::tasks::{EnvContext, build_error};

const NAME: &str = "watermaze";
const PLATFORM_RADIUS_M: f32 = 0.25;
/// Nearest and farthest platform from the middle, m: none is under the start, and all of each is in the pool.
const PLATFORMS_M: [f32; 2] = [2.0 * PLATFORM_RADIUS_M, RADIUS_M - PLATFORM_RADIUS_M];
const STEP_SECS: f64 = 0.25;
/// Pixels of a side at most.
const MAX_SIDE: usize = 512;
/// Random episodes that references are means of.
const RANDOM_EPISODES: u64 = 4000;
/// Episodes that a ceiling is given for.
const CEILING_EPISODES: usize = 201;

/// Configuration of one [pool](self): `[env.watermaze]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WatermazeConfig {
    /// Steps of an episode.
    pub horizon: usize,
    /// Pixels from the upper edge of the picture to the lower one.
    pub rows: usize,
    /// Pixels from the left edge of the picture to the right one.
    pub columns: usize,
    /// The platform's middle, from that of the pool, m.
    pub platform_m: [f64; 2],
}

impl Default for WatermazeConfig {
    fn default() -> Self {
        Self { horizon: 50, rows: 72, columns: 96, platform_m: [-0.9, 0.8] }
    }
}

impl WatermazeConfig {
    /// Builds the environment.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, _context: &EnvContext) -> Result<Box<dyn Env>, EnvError> {
        let Self { horizon, rows, columns, platform_m } = self;
        let rules = Arc::new(Rules::new(*horizon, [*rows, *columns])?);
        Ok(Box::new(rules.pool(&platform_m.map(|x| x as f32))?))
    }
}

/// Configuration of the [family](self): `[family.watermaze]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WatermazeFamilyConfig {
    /// Steps of an episode.
    pub horizon: usize,
    /// Pixels from the upper edge of the picture to the lower one.
    pub rows: usize,
    /// Pixels from the left edge of the picture to the right one.
    pub columns: usize,
    /// Platforms that are trained on.
    pub train_tasks: usize,
    /// Platforms that are kept for judging.
    pub test_tasks: usize,
    /// Which ones: another seed is another split.
    pub split_seed: u64,
}

impl Default for WatermazeFamilyConfig {
    fn default() -> Self {
        Self { horizon: 50, rows: 72, columns: 96, train_tasks: 256, test_tasks: 32, split_seed: 0 }
    }
}

impl WatermazeFamilyConfig {
    /// Builds the family.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, _context: &FamilyContext) -> Result<Box<dyn TaskFamily>, EnvError> {
        let Self { horizon, rows, columns, train_tasks, test_tasks, split_seed } = *self;
        if train_tasks == 0 || test_tasks == 0 {
            return Err(build_error(NAME, "train_tasks and test_tasks must be at least 1"));
        }
        let rules = Arc::new(Rules::new(horizon, [rows, columns])?);
        let (walks, tasks) = (OnceLock::new(), OnceLock::new());
        Ok(Box::new(Watermazes { rules, train_tasks, test_tasks, split_seed, walks, tasks }))
    }
}

/// What is the same for all platforms.
struct Rules {
    spec: EnvSpec,
    pool: RoundPool,
    /// Rows and columns of the picture.
    size: [usize; 2],
}

impl Rules {
    fn new(horizon: usize, size: [usize; 2]) -> Result<Self, EnvError> {
        if horizon == 0 {
            return Err(build_error(NAME, "horizon must be at least 1, found 0"));
        }
        for (key, side) in ["rows", "columns"].into_iter().zip(size) {
            if !(1..=MAX_SIDE).contains(&side) {
                return Err(build_error(NAME, format!("{key} = {side}: expected 1 to {MAX_SIDE} pixels")));
            }
        }
        let [rows, columns] = size;
        let mut observation = Vec::with_capacity(rows * columns * 3);
        for row in 0..rows {
            for column in 0..columns {
                for color in ["red", "green", "blue"] {
                    observation.push(Field::bounded(format!("{color}_{row}_{column}"), "1", 0.0, 255.0));
                }
            }
        }
        let spec = EnvSpec {
            name: NAME.to_owned(),
            observation,
            action: vec![Field::choice("move", CHOICES as u32)],
            step_secs: STEP_SECS,
            max_steps: horizon,
            reward_range: Some((0.0, 1.0)),
            contract_hash: None,
        };
        Ok(Self { spec, pool: RoundPool::new(), size })
    }

    fn pool(self: &Arc<Self>, params: &[f32]) -> Result<Watermaze, EnvError> {
        let platform = read(params).ok_or_else(|| {
            let most = PLATFORMS_M[1];
            let reason =
                format!("platform_m = {params:?}: expected x and y, at most {most} m from the middle");
            build_error(NAME, reason)
        })?;
        Ok(Watermaze { rules: Arc::clone(self), platform, stand: Stand::START, steps: 0 })
    }
}

fn square_distance(a: [f32; 2], b: [f32; 2]) -> f32 {
    let [x, y] = [a[0] - b[0], a[1] - b[1]];
    x * x + y * y
}

fn is_on(at: [f32; 2], platform: [f32; 2]) -> bool {
    square_distance(at, platform) <= PLATFORM_RADIUS_M * PLATFORM_RADIUS_M
}

fn read(params: &[f32]) -> Option<[f32; 2]> {
    let &[x, y] = params else { return None };
    let most = PLATFORMS_M[1] * 1.000_01;
    (square_distance([x, y], [0.0; 2]) <= most * most).then_some([x, y])
}

/// One pool.
struct Watermaze {
    rules: Arc<Rules>,
    platform: [f32; 2],
    stand: Stand,
    steps: usize,
}

impl Env for Watermaze {
    fn spec(&self) -> &EnvSpec {
        &self.rules.spec
    }

    fn reset(&mut self, _seed: u64, observation: &mut [f32]) -> Result<(), EnvError> {
        check_row("observation", self.rules.spec.observation_dim(), observation.len())?;
        (self.stand, self.steps) = (Stand::START, 0);
        RoundPool::look(self.stand, self.rules.size, observation);
        Ok(())
    }

    fn step(
        &mut self,
        action: &[f32],
        observation: &mut [f32],
        executed: &mut [f32],
    ) -> Result<Outcome, EnvError> {
        let choice = choose(&self.rules.spec, action, observation, executed)?;
        self.stand = self.rules.pool.after(self.stand, choice);
        self.steps += 1;
        if !self.stand.at.iter().all(|x| x.is_finite()) {
            let (env, what) = (NAME.to_owned(), "the body's place".to_owned());
            return Err(EnvError::Diverged { env, step: self.steps, what });
        }
        RoundPool::look(self.stand, self.rules.size, observation);
        let success = is_on(self.stand.at, self.platform);
        let end = if self.steps >= self.rules.spec.max_steps { StepEnd::Truncated } else { StepEnd::Running };
        Ok(Outcome { reward: f32::from(u8::from(success)), end, success, ..Outcome::default() })
    }

    fn render(&self, width: usize, height: usize) -> Option<Frame> {
        if width == 0 || height == 0 {
            return None;
        }
        let mut pixels = vec![0.0; width * height * 3];
        RoundPool::look(self.stand, [height, width], &mut pixels);
        Some(Frame { width, height, rgb: pixels.into_iter().map(|p| p as u8).collect() })
    }
}

/// The first action of a shortest way to the platform, and its steps: 0 on it, where it turns. A way is of steps along one direction that
/// needs no turn, and then along a second one. Where that needs an eighth of a turn before, the turn takes a step, or comes with a step forward.
/// It ends a millimetre inside of the platform's edge, which is more than rounding.
fn towards(stand: Stand, platform: [f32; 2]) -> (usize, usize) {
    const MOST: usize = (2.0 * RADIUS_M / STEP_M) as usize;
    let off = [platform[0] - stand.at[0], platform[1] - stand.at[1]];
    let near = |way: [f32; 2]| square_distance(way, off) <= (PLATFORM_RADIUS_M - 1e-3).powi(2);
    if near([0.0; 2]) {
        return (TURN_LEFT, 0);
    }
    let mut best = (TURN_LEFT, usize::MAX);
    let ahead = step_along(stand.heading);
    for (quarter, eighth) in (0..4).flat_map(|q| (0..8).map(move |e| (q, e))) {
        let (first, second) = (step_along(stand.heading + 2 * quarter), step_along(stand.heading + eighth));
        let slants = eighth % 2 == 1;
        // A step forward of its own, for the turn that comes with it.
        for own in 0..=usize::from(slants && quarter != 0) {
            for a in 0..=MOST {
                let turns_on_its_way = own == 1 || quarter == 0 && a > 0;
                for b in own..=MOST {
                    let turn = usize::from(slants && b > 0 && !turns_on_its_way);
                    let steps = own + a + b + turn;
                    if steps >= best.1 {
                        break;
                    }
                    let way: [f32; 2] = std::array::from_fn(|i| {
                        own as f32 * ahead[i] + a as f32 * first[i] + b as f32 * second[i]
                    });
                    if !near(way) {
                        continue;
                    }
                    let action = match (a, slants && b > 0) {
                        (0, false) => WALK[eighth / 2],
                        (0, true) if own == 0 => TURN_LEFT,
                        (0, true) => FORWARD_AND_LEFT,
                        (1, true) if quarter == 0 => FORWARD_AND_LEFT,
                        _ => WALK[quarter],
                    };
                    best = (action, steps);
                }
            }
        }
    }
    best
}

/// Platforms that differ in where they are.
struct Watermazes {
    rules: Arc<Rules>,
    train_tasks: usize,
    test_tasks: usize,
    split_seed: u64,
    /// Places of all steps of random episodes.
    walks: OnceLock<Vec<[f32; 2]>>,
    tasks: OnceLock<Vec<FamilyTask>>,
}

/// What random episodes bring for a platform: the mean return; the share of them that find it; and the mean return of somebody who stays when
/// it is found.
struct Random {
    mean: f64,
    found: f64,
    while_searching: f64,
}

impl Watermazes {
    fn random(&self, platform: [f32; 2]) -> Random {
        let horizon = self.rules.spec.max_steps;
        let walks = self.walks.get_or_init(|| {
            let episode = |e: u64| {
                let mut stream = Stream::new(e, "watermaze_random", 0);
                let pool = &self.rules.pool;
                (0..horizon).scan(Stand::START, move |stand, _| {
                    *stand = pool.after(*stand, stream.below(CHOICES));
                    Some(stand.at)
                })
            };
            (0..RANDOM_EPISODES).flat_map(episode).collect()
        });
        let (mut paid, mut found, mut stayed) = (0, 0, 0);
        for walk in walks.chunks_exact(horizon) {
            paid += walk.iter().filter(|at| is_on(**at, platform)).count();
            if let Some(first) = walk.iter().position(|at| is_on(*at, platform)) {
                found += 1;
                stayed += horizon - first;
            }
        }
        let mean = |sum: usize| sum as f64 / RANDOM_EPISODES as f64;
        Random { mean: mean(paid), found: mean(found), while_searching: mean(stayed) }
    }

    /// What whoever knows the platform gets.
    fn optimal_return(&self, platform: [f32; 2]) -> usize {
        let mut stand = Stand::START;
        let mut step = || {
            stand = self.rules.pool.after(stand, towards(stand, platform).0);
            is_on(stand.at, platform)
        };
        (0..self.rules.spec.max_steps).filter(|_| step()).count()
    }

    fn platform(&self, id: usize) -> [f32; 2] {
        let mut stream = Stream::new(self.split_seed, "watermaze_platforms", id as u64);
        let [nearest, farthest] = PLATFORMS_M;
        loop {
            let at = [0, 1].map(|_| stream.uniform(f64::from(-farthest), f64::from(farthest)) as f32);
            if (nearest * nearest..=farthest * farthest).contains(&square_distance(at, [0.0; 2])) {
                return at;
            }
        }
    }

    fn knows(&self, platform: [f32; 2]) -> Knows {
        let scratch = vec![0.0; self.rules.spec.observation_dim()];
        Knows { rules: Arc::clone(&self.rules), platform, stand: Stand::START, meant: TURN_LEFT, scratch }
    }

    fn all(&self) -> &[FamilyTask] {
        let task = |id: usize| {
            let platform = self.platform(id);
            FamilyTask {
                id: id as u64,
                split: if id < self.train_tasks { TaskSplit::Train } else { TaskSplit::TestIn },
                params: platform.to_vec(),
                random_return: self.random(platform).mean as f32,
                optimal_return: self.optimal_return(platform) as f32,
            }
        };
        self.tasks.get_or_init(|| (0..self.train_tasks + self.test_tasks).map(task).collect())
    }
}

impl TaskFamily for Watermazes {
    fn spec(&self) -> &EnvSpec {
        &self.rules.spec
    }

    fn tasks(&self, split: TaskSplit) -> Vec<FamilyTask> {
        self.all().iter().filter(|t| t.split == split).cloned().collect()
    }

    fn env(&self, params: &[f32]) -> Result<Box<dyn Env>, EnvError> {
        Ok(Box::new(self.rules.pool(params)?))
    }

    fn search_ceiling(&self) -> Option<Vec<f32>> {
        let all = self.all();
        let share = 1.0 / all.iter().map(|t| f64::from(t.optimal_return)).sum::<f64>();
        let mut shares = vec![0.0; CEILING_EPISODES];
        for task in all {
            let Random { mean: _, found, while_searching } = self.random(read(&task.params)?);
            let mut unknown = 1.0;
            for sum in &mut shares {
                *sum +=
                    share * ((1.0 - unknown) * f64::from(task.optimal_return) + unknown * while_searching);
                unknown *= 1.0 - found;
            }
        }
        Some(shares.into_iter().map(|x| x as f32).collect())
    }

    fn oracle(&self, params: &[f32]) -> Option<Box<dyn SourceAlgorithm>> {
        Some(Box::new(self.knows(read(params)?)))
    }
}

/// Goes to the platform by the shortest way. It knows the start, and finds out by sight where each step has led, as other actions may be
/// executed than it chose.
struct Knows {
    rules: Arc<Rules>,
    platform: [f32; 2],
    stand: Stand,
    /// What it chose.
    meant: usize,
    scratch: Vec<f32>,
}

impl Knows {
    /// Where the action led whose picture is nearest to what is seen.
    fn found(&mut self, seen: &[f32]) -> Stand {
        let mut best = (f32::INFINITY, self.stand);
        // What it chose comes first, and is mostly it.
        let meant = self.meant;
        for action in std::iter::once(meant).chain((0..CHOICES).filter(|a| *a != meant)) {
            let stand = self.rules.pool.after(self.stand, action);
            RoundPool::look(stand, self.rules.size, &mut self.scratch);
            let miss: f32 = self.scratch.iter().zip(seen).map(|(a, b)| (a - b) * (a - b)).sum();
            if miss < best.0 {
                best = (miss, stand);
            }
            if miss == 0.0 {
                break;
            }
        }
        best.1
    }
}

impl SourceAlgorithm for Knows {
    fn reset(&mut self, _seed: u64) {
        self.stand = Stand::START;
    }
    fn act(&mut self, _observation: &[f32], action: &mut [f32]) {
        self.meant = towards(self.stand, self.platform).0;
        action[0] = self.meant as f32;
    }
    fn observe(&mut self, next_observation: &[f32], outcome: &Outcome) {
        self.stand = if outcome.end.is_last() { Stand::START } else { self.found(next_observation) };
    }
    fn updates(&self) -> u32 {
        0
    }
}

#[cfg(test)]
mod tests;
