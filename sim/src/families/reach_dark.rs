//! `reach_dark`: the seven-joint arm moves its tool over the table, where an invisible disc pays. It is the dark room of a robot.
//!
//! | | |
//! |---|---|
//! | observation | tool position and velocity, in the plane |
//! | action | tool velocity, x and y: one of 9 each (choices) |
//! | reward | 1 at each step that ends with the tool in the disc |
//! | start | the middle of the arena, at rest |
//! | truncation | after `horizon` steps of 0.1 s |
//! | hidden | the disc's centre: `params = [x, y]`, m |
//!
//! Between the actions and the arm stands the safety chain. What is executed of a choice is the choice: the chain may slow the arm down, and there
//! is no other choice that this would be.

use std::sync::OnceLock;

use nalgebra::Vector3;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::safety::CommandState;
use surefoot_core::{
    Env, EnvError, EnvSpec, FamilyTask, Field, Marker, MarkerShape, Outcome, RobotEnv, RobotState,
    SourceAlgorithm, Stream, Task, TaskFamily, TaskOutcome, TaskSplit,
};

use super::FamilyContext;
use crate::arm;
use crate::tasks::{EnvContext, build_error};
use crate::tool_motion::ToolMotion;

const NAME: &str = "reach_dark";
/// Where the tool may be, m: lowest and highest x, and y.
const ARENA_M: [[f64; 2]; 2] = [[0.30, 0.62], [-0.30, 0.30]];
const HEIGHT_M: f64 = 0.12;
/// Radius of the disc, m.
const RADIUS_M: f64 = 0.04;
/// Discs of the training tasks are this near to the middle, as a share of the arena's half sides; beyond are those outside of it.
const INNER_SHARE: f64 = 0.75;
const SPEED_M_PER_SEC: f64 = 0.35;
const ACCELERATION_M_PER_SEC2: f64 = 6.0;
const CHOICES: u32 = 9;
/// The tool slows down toward the edge of the arena, and returns to its height, with these time constants, s.
const EDGE_SECS: f64 = 0.12;
const HEIGHT_SECS: f64 = 0.2;
/// Whoever knows the disc goes to it with this one.
const APPROACH_SECS: f64 = 0.15;
/// Where the puck rests meanwhile, out of the way, m.
const PUCK_REST: [f64; 2] = [0.55, 0.46];
/// Random episodes that the reference is a mean of.
const RANDOM_EPISODES: u64 = 1000;

const MIDDLE: [f64; 2] =
    [f64::midpoint(ARENA_M[0][0], ARENA_M[0][1]), f64::midpoint(ARENA_M[1][0], ARENA_M[1][1])];

/// Configuration of one [arena](self): `[env.reach_dark]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReachDarkConfig {
    /// Steps of an episode.
    pub horizon: usize,
    /// Centre of the disc, m.
    pub goal_m: [f64; 2],
}

impl Default for ReachDarkConfig {
    fn default() -> Self {
        Self { horizon: 40, goal_m: [0.54, 0.14] }
    }
}

impl ReachDarkConfig {
    /// Builds the environment.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, _context: &EnvContext) -> Result<Box<dyn Env>, EnvError> {
        let Self { horizon, goal_m } = self;
        arena(&spec(*horizon)?, &goal_m.map(|x| x as f32))
    }
}

/// Configuration of the [family](self): `[family.reach_dark]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReachDarkFamilyConfig {
    /// Steps of an episode.
    pub horizon: usize,
    /// Discs that are trained on.
    pub train_tasks: usize,
    /// Discs of each of both splits that are kept for judging: among those of the training, and around them.
    pub test_tasks: usize,
    /// Which ones: another seed is another split.
    pub split_seed: u64,
}

impl Default for ReachDarkFamilyConfig {
    fn default() -> Self {
        Self { horizon: 40, train_tasks: 256, test_tasks: 32, split_seed: 0 }
    }
}

impl ReachDarkFamilyConfig {
    /// Builds the family.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, _context: &FamilyContext) -> Result<Box<dyn TaskFamily>, EnvError> {
        let Self { horizon, train_tasks, test_tasks, split_seed } = *self;
        if train_tasks == 0 || test_tasks == 0 {
            return Err(build_error(NAME, "train_tasks and test_tasks must be at least 1"));
        }
        let spec = spec(horizon)?;
        let walks = OnceLock::new();
        Ok(Box::new(Arenas { spec, train_tasks, test_tasks, split_seed, walks }))
    }
}

fn spec(horizon: usize) -> Result<EnvSpec, EnvError> {
    if horizon == 0 {
        return Err(build_error(NAME, "horizon must be at least 1, found 0"));
    }
    let contract = arm::contract()?;
    let place = |name: &str, [low, high]: [f64; 2]| Field::bounded(name, "m", low as f32, high as f32);
    let rate = |name: &str| Field::bounded(name, "m/s", -5.0, 5.0);
    let speed = SPEED_M_PER_SEC as f32;
    let action = |name: &str| Field::bins(name, "m/s", -speed, speed, CHOICES);
    Ok(EnvSpec {
        name: NAME.to_owned(),
        observation: vec![
            place("tool_x", ARENA_M[0]),
            place("tool_y", ARENA_M[1]),
            rate("tool_vx"),
            rate("tool_vy"),
        ],
        action: vec![action("tool_velocity_x"), action("tool_velocity_y")],
        step_secs: 1.0 / contract.policy_hz,
        max_steps: horizon,
        reward_range: Some((0.0, 1.0)),
        contract_hash: Some(contract.hash()),
    })
}

fn read(params: &[f32]) -> Option<[f64; 2]> {
    let &[x, y] = params else { return None };
    let goal = [x, y].map(f64::from);
    let inside = |axis: usize| (ARENA_M[axis][0]..=ARENA_M[axis][1]).contains(&goal[axis]);
    (inside(0) && inside(1)).then_some(goal)
}

fn arena(spec: &EnvSpec, params: &[f32]) -> Result<Box<dyn Env>, EnvError> {
    let goal = read(params).ok_or_else(|| {
        let reason = format!("goal_m = {params:?}: expected x and y within {ARENA_M:?} m");
        build_error(NAME, reason)
    })?;
    let mut motion = arm::tool_motion()?;
    let middle = Vector3::new(MIDDLE[0], MIDDLE[1], HEIGHT_M);
    let start = motion.position_at(middle).map_err(|e| build_error(NAME, e))?.to_vec();
    let task = ReachDark { spec: spec.clone(), motion, start, goal, chosen: [0.0; 2] };
    Ok(Box::new(RobotEnv::new(Box::new(task), Box::new(arm::world()?), arm::TRACKING_TOLERANCE_RAD)?))
}

/// The velocity that an action asks for, m/s; NaN where it is none of the choices, so that the chain brakes.
fn wanted(spec: &EnvSpec, action: &[f32]) -> [f64; 2] {
    let of = |i: usize| {
        let index = spec.action[i].index(action[i]).ok().flatten();
        index.and_then(|index| spec.action[i].value(index)).unwrap_or(f64::NAN)
    };
    [of(0), of(1)]
}

/// What is left of it near the edge of the arena.
fn within_arena(wanted: [f64; 2], at: [f64; 2]) -> [f64; 2] {
    std::array::from_fn(|i| {
        let [low, high] = ARENA_M[i];
        wanted[i].clamp((low - at[i]) / EDGE_SECS, (high - at[i]) / EDGE_SECS)
    })
}

/// The choice that is nearest to a velocity.
fn nearest(spec: &EnvSpec, velocity: [f64; 2]) -> [f32; 2] {
    std::array::from_fn(|i| {
        let miss = |c: &usize| (spec.action[i].value(*c).unwrap_or_default() - velocity[i]).abs();
        let best = (0..CHOICES as usize).min_by(|a, b| miss(a).total_cmp(&miss(b)));
        best.unwrap_or_default() as f32
    })
}

fn straight(spec: &EnvSpec, goal: [f64; 2], at: [f64; 2]) -> [f32; 2] {
    nearest(spec, std::array::from_fn(|i| (goal[i] - at[i]) / APPROACH_SECS))
}

/// The task over any robot with this arm's joints.
struct ReachDark {
    spec: EnvSpec,
    motion: ToolMotion,
    /// Joint positions with the tool in the middle.
    start: Vec<f64>,
    goal: [f64; 2],
    chosen: [f32; 2],
}

impl Task for ReachDark {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, _stream: &mut Stream, initial: &mut RobotState) {
        self.chosen.fill(0.0);
        initial.position.copy_from_slice(&self.start);
        initial.channels.copy_from_slice(&[PUCK_REST[0], PUCK_REST[1], 0.0, 0.0]);
    }

    fn desired(&mut self, _: &RobotState, command: CommandState<'_>, action: &[f32], desired: &mut [f64]) {
        self.chosen.copy_from_slice(action);
        let at = self.motion.kinematics().pose(command.position).translation.vector;
        let [x, y] = within_arena(wanted(&self.spec, action), [at.x, at.y]);
        let wanted = Vector3::new(x, y, (HEIGHT_M - at.z) / HEIGHT_SECS);
        let velocity = self.motion.slewed(command, wanted, ACCELERATION_M_PER_SEC2);
        self.motion.joint_velocities(command.position, velocity, desired);
    }

    fn executed(&self, _: &[f64], _: &[f64], _: &[f64], _: f64, action: &mut [f32]) {
        action.copy_from_slice(&self.chosen);
    }

    fn observe(&mut self, state: &RobotState, observation: &mut [f32]) {
        let at = self.motion.kinematics().pose(&state.position).translation.vector;
        let rate = self.motion.kinematics().velocity(&state.position, &state.velocity);
        observation.copy_from_slice(&[at.x, at.y, rate.x, rate.y].map(|x| x as f32));
    }

    fn outcome(&mut self, state: &RobotState, _executed: &[f32]) -> TaskOutcome {
        let at = self.motion.kinematics().pose(&state.position).translation.vector;
        let success = (at.x - self.goal[0]).hypot(at.y - self.goal[1]) <= RADIUS_M;
        TaskOutcome { reward: f32::from(u8::from(success)), terminated: false, success }
    }

    fn markers(&self) -> Vec<Marker> {
        let center = [self.goal[0] as f32, self.goal[1] as f32, HEIGHT_M as f32];
        vec![Marker { center, shape: MarkerShape::Ball(RADIUS_M as f32), rgb: [60, 170, 90] }]
    }
}

/// Where the tool is after each step of an episode, as a point that moves as it is told: the arm follows to 2 cm.
fn path(spec: &EnvSpec, mut act: impl FnMut([f64; 2]) -> [f32; 2]) -> Vec<[f64; 2]> {
    let tick = 0.02;
    let ticks = (spec.step_secs / tick).round() as usize;
    let (mut at, mut velocity) = (MIDDLE, [0.0; 2]);
    let mut places = Vec::with_capacity(spec.max_steps);
    for _ in 0..spec.max_steps {
        let action = act(at);
        for _ in 0..ticks {
            let to = within_arena(wanted(spec, &action), at);
            let change: [f64; 2] = std::array::from_fn(|i| to[i] - velocity[i]);
            let (norm, most) = (change[0].hypot(change[1]), ACCELERATION_M_PER_SEC2 * tick);
            let share = if norm > most { most / norm } else { 1.0 };
            velocity = std::array::from_fn(|i| velocity[i] + share * change[i]);
            at = std::array::from_fn(|i| at[i] + velocity[i] * tick);
        }
        places.push(at);
    }
    places
}

fn paid(places: &[[f64; 2]], goal: [f64; 2]) -> usize {
    places.iter().filter(|p| (p[0] - goal[0]).hypot(p[1] - goal[1]) <= RADIUS_M).count()
}

struct Arenas {
    spec: EnvSpec,
    train_tasks: usize,
    test_tasks: usize,
    split_seed: u64,
    /// Places of all steps of random episodes.
    walks: OnceLock<Vec<[f64; 2]>>,
}

impl Arenas {
    fn random_return(&self, goal: [f64; 2]) -> f64 {
        let walks = self.walks.get_or_init(|| {
            let episode = |e: u64| {
                let mut stream = Stream::new(e, "reach_dark_random", 0);
                path(&self.spec, move |_| [0, 1].map(|_| stream.below(CHOICES as usize) as f32))
            };
            (0..RANDOM_EPISODES).flat_map(episode).collect()
        });
        paid(walks, goal) as f64 / RANDOM_EPISODES as f64
    }

    /// A disc among those of the training, or around them; never over the start.
    fn goal(&self, split: TaskSplit, id: usize) -> [f32; 2] {
        let mut stream = Stream::new(self.split_seed, "reach_dark_goals", id as u64);
        loop {
            // As a share of the half sides.
            let share = [0, 1].map(|_| stream.uniform(-1.0, 1.0));
            let outside = share.iter().any(|s| s.abs() > INNER_SHARE);
            let goal: [f64; 2] = std::array::from_fn(|i| MIDDLE[i] + share[i] * (ARENA_M[i][1] - MIDDLE[i]));
            let far = (goal[0] - MIDDLE[0]).hypot(goal[1] - MIDDLE[1]) > 1.5 * RADIUS_M;
            if far && outside == (split == TaskSplit::TestOod) {
                return goal.map(|x| x as f32);
            }
        }
    }
}

impl TaskFamily for Arenas {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn tasks(&self, split: TaskSplit) -> Vec<FamilyTask> {
        let (train, test) = (self.train_tasks, self.test_tasks);
        let (first, count) = match split {
            TaskSplit::Train => (0, train),
            TaskSplit::TestIn => (train, test),
            TaskSplit::TestOod => (train + test, test),
        };
        let task = |id: usize| {
            let params = self.goal(split, id);
            let goal = params.map(f64::from);
            FamilyTask {
                id: id as u64,
                split,
                params: params.to_vec(),
                random_return: self.random_return(goal) as f32,
                optimal_return: paid(&path(&self.spec, |at| straight(&self.spec, goal, at)), goal) as f32,
            }
        };
        (first..first + count).map(task).collect()
    }

    fn env(&self, params: &[f32]) -> Result<Box<dyn Env>, EnvError> {
        arena(&self.spec, params)
    }

    fn oracle(&self, params: &[f32]) -> Option<Box<dyn SourceAlgorithm>> {
        Some(Box::new(Knows { spec: self.spec.clone(), goal: read(params)? }))
    }
}

/// Goes straight to the disc.
struct Knows {
    spec: EnvSpec,
    goal: [f64; 2],
}

impl SourceAlgorithm for Knows {
    fn reset(&mut self, _seed: u64) {}
    fn act(&mut self, observation: &[f32], action: &mut [f32]) {
        let at = [observation[0], observation[1]].map(f64::from);
        action.copy_from_slice(&straight(&self.spec, self.goal, at));
    }
    fn observe(&mut self, _next_observation: &[f32], _outcome: &Outcome) {}
    fn updates(&self) -> u32 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arm_goes_where_the_point_goes_and_stays_inside_its_limits() {
        let spec = spec(40).unwrap();
        let mut env = arena(&spec, &[0.5, 0.2]).unwrap();
        let (mut o, mut e) = ([0.0; 4], [0.0; 2]);
        for seed in 0..3 {
            env.reset(seed, &mut o).unwrap();
            let mut random = Stream::new(seed, "test", 0);
            let mut actions = Vec::new();
            let places = path(&spec, |_| {
                actions.push([0, 1].map(|_| random.below(9) as f32));
                actions[actions.len() - 1]
            });
            for (action, place) in actions.iter().zip(&places) {
                let outcome = env.step(action, &mut o, &mut e).unwrap();
                assert_eq!((e, outcome.safety.violations), (*action, 0));
                let miss = (f64::from(o[0]) - place[0]).hypot(f64::from(o[1]) - place[1]);
                assert!(miss < 0.02, "{miss} m");
            }
        }
        assert!(
            env.step(&[9.0, 0.0], &mut o, &mut e).unwrap_err().to_string().contains("tool_velocity_x is 9")
        );
        assert!(env.into_robot().is_some(), "a control loop can drive it");
    }
}
