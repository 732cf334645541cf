//! `shuffleboard`: a puck of unknown mass on a board of unknown friction is to slide to a target. rapier simulates the slide.
//!
//! | | |
//! |---|---|
//! | observation | distance of the target; distance at which the last puck came to rest (0 before the first shot) |
//! | action | the impulse, one of 48, in even steps of its logarithm (a choice) |
//! | reward | `exp(-miss / 0.1 m)`, once the puck is at rest |
//! | success | the miss is at most 5 cm |
//! | truncation | after `shots` shots, one a step, each at another target |
//! | hidden | `params = [friction, mass in kg]` |
//!
//! A puck that gets the impulse `J` slides `d = (J / m)^2 / (2 mu g)`, so that `m sqrt(mu)` is all there is to find out, and whoever knows it
//! plays `J = m sqrt(2 mu g d)`.

use nalgebra::Unit;
use rapier3d::dynamics::{CoefficientCombineRule, RigidBodyBuilder};
use rapier3d::geometry::ColliderBuilder;
use rapier3d::pipeline::PhysicsWorld;
use rapier3d::prelude::Vector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::env::{check_row, choose};
use surefoot_core::{
    Env, EnvError, EnvSpec, FamilyTask, Field, Outcome, SourceAlgorithm, StepEnd, Stream, TaskFamily,
    TaskSplit,
};

use super::FamilyContext;
use crate::tasks::{EnvContext, build_error};

const NAME: &str = "shuffleboard";
const GRAVITY: f64 = 9.81;
/// Nearest and farthest target, m.
const TARGET_M: [f64; 2] = [0.6, 1.6];
/// Choices of an impulse, and the least and largest, N s. Neighbours are 6.6 % apart: 13 % of a distance.
const IMPULSES: u32 = 48;
const IMPULSE_N_S: [f64; 2] = [0.2, 4.5];
/// Miss at which a reward is `1 / e`, m.
const REWARD_SCALE_M: f64 = 0.1;
const SUCCESS_M: f64 = 0.05;
/// Frictions and masses of the tasks.
const FRICTION: [f64; 2] = [0.05, 0.6];
const FRICTION_OUTSIDE: [f64; 2] = [0.6, 0.8];
const MASS_KG: [f64; 2] = [0.4, 0.8];
/// Time of a physics step, s.
const PHYSICS_SECS: f64 = 1.0 / 240.0;
/// Half the height of the puck, m.
const HALF_HEIGHT_M: f32 = 0.015;
/// Slower than this a puck is at rest, m/s.
const REST_M_PER_SEC: f32 = 1e-3;
/// No puck slides longer, s: 16 m/s on the smoothest board.
const LONGEST_SECS: f64 = 32.0;

/// Configuration of one [board](self): `[env.shuffleboard]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ShuffleboardConfig {
    /// Shots of an episode.
    pub shots: usize,
    /// Coefficient of friction between puck and board.
    pub friction: f64,
    /// Mass of the puck, kg.
    pub mass_kg: f64,
}

impl Default for ShuffleboardConfig {
    fn default() -> Self {
        Self { shots: 16, friction: 0.2, mass_kg: 0.6 }
    }
}

impl ShuffleboardConfig {
    /// Builds the environment.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, _context: &EnvContext) -> Result<Box<dyn Env>, EnvError> {
        let Self { shots, friction, mass_kg } = *self;
        board(&spec(shots)?, &[friction as f32, mass_kg as f32])
    }
}

/// Configuration of the [family](self): `[family.shuffleboard]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ShuffleboardFamilyConfig {
    /// Shots of an episode.
    pub shots: usize,
    /// Boards that are trained on, with a friction of 0.05 to 0.6.
    pub train_tasks: usize,
    /// Boards of each of both splits that are kept for judging: of the same frictions, and of 0.6 to 0.8.
    pub test_tasks: usize,
    /// Which ones: another seed is another split.
    pub split_seed: u64,
}

impl Default for ShuffleboardFamilyConfig {
    fn default() -> Self {
        Self { shots: 16, train_tasks: 256, test_tasks: 64, split_seed: 0 }
    }
}

impl ShuffleboardFamilyConfig {
    /// Builds the family.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, _context: &FamilyContext) -> Result<Box<dyn TaskFamily>, EnvError> {
        let Self { shots, train_tasks, test_tasks, split_seed } = *self;
        if train_tasks == 0 || test_tasks == 0 {
            return Err(build_error(NAME, "train_tasks and test_tasks must be at least 1"));
        }
        Ok(Box::new(Shuffleboards { spec: spec(shots)?, train_tasks, test_tasks, split_seed }))
    }
}

fn spec(shots: usize) -> Result<EnvSpec, EnvError> {
    if shots == 0 {
        return Err(build_error(NAME, "shots must be at least 1, found 0"));
    }
    let [low, high] = IMPULSE_N_S.map(|j| j.ln() as f32);
    Ok(EnvSpec {
        name: NAME.to_owned(),
        observation: vec![
            Field::bounded("target_distance", "m", TARGET_M[0] as f32, TARGET_M[1] as f32),
            Field::unbounded("last_rest_distance", "m"),
        ],
        action: vec![Field::bins("log_impulse", "ln(N s)", low, high, IMPULSES)],
        step_secs: 1.0,
        max_steps: shots,
        reward_range: Some((0.0, 1.0)),
        contract_hash: None,
    })
}

/// The impulse of a choice, N s.
fn impulse(choice: usize) -> f64 {
    let [low, high] = IMPULSE_N_S.map(f64::ln);
    (low + (high - low) * choice as f64 / f64::from(IMPULSES - 1)).exp()
}

fn reward(miss: f64) -> f64 {
    (-miss.abs() / REWARD_SCALE_M).exp()
}

/// How far a puck slides with this speed at first, m, by Coulomb's law.
fn coulomb(friction: f64, speed: f64) -> f64 {
    speed * speed / (2.0 * friction * GRAVITY)
}

/// How far it slides in rapier, m.
fn slide(friction: f64, mass_kg: f64, impulse_n_s: f64) -> f64 {
    let mut physics =
        PhysicsWorld { gravity: Vector::new(0.0, 0.0, -GRAVITY as f32), ..PhysicsWorld::default() };
    physics.integration_parameters.dt = PHYSICS_SECS as f32;
    let top = RigidBodyBuilder::fixed().build();
    let board = physics.bodies.insert(top);
    let surface = |collider: ColliderBuilder| {
        collider
            .friction(friction as f32)
            .friction_combine_rule(CoefficientCombineRule::Min)
            .restitution(0.0)
            .build()
    };
    let plane = ColliderBuilder::halfspace(Unit::new_unchecked(Vector::Z));
    physics.colliders.insert_with_parent(surface(plane), board, &mut physics.bodies);
    let body = RigidBodyBuilder::dynamic()
        .translation(Vector::new(0.0, 0.0, HALF_HEIGHT_M))
        .linvel(Vector::new((impulse_n_s / mass_kg) as f32, 0.0, 0.0))
        // A wide puck that is struck in its middle neither tips nor turns.
        .lock_rotations()
        .can_sleep(false)
        .build();
    let puck = physics.bodies.insert(body);
    let shape = ColliderBuilder::cuboid(0.04, 0.04, HALF_HEIGHT_M).mass(mass_kg as f32);
    physics.colliders.insert_with_parent(surface(shape), puck, &mut physics.bodies);
    for _ in 0..(LONGEST_SECS / PHYSICS_SECS) as usize {
        physics.step();
        if physics.bodies.get(puck).is_none_or(|b| b.linvel().x.abs() < REST_M_PER_SEC) {
            break;
        }
    }
    physics.bodies.get(puck).map_or(0.0, |b| f64::from(b.translation().x))
}

fn read(params: &[f32]) -> Option<[f64; 2]> {
    let &[friction, mass] = params else { return None };
    let good = |x: f32, [low, high]: [f64; 2]| (low..=high).contains(&f64::from(x));
    (good(friction, [0.005, 2.0]) && good(mass, [0.01, 100.0])).then(|| [friction, mass].map(f64::from))
}

fn board(spec: &EnvSpec, params: &[f32]) -> Result<Box<dyn Env>, EnvError> {
    let [friction, mass_kg] = read(params).ok_or_else(|| {
        let reason = format!("friction and mass_kg = {params:?}: expected 0.005 to 2, and 0.01 to 100 kg");
        build_error(NAME, reason)
    })?;
    let stream = Stream::new(0, "shuffleboard_targets", 0);
    let slides = [None; IMPULSES as usize];
    Ok(Box::new(Shuffleboard {
        spec: spec.clone(),
        friction,
        mass_kg,
        stream,
        shots: 0,
        seen: [0.0; 2],
        slides,
    }))
}

struct Shuffleboard {
    spec: EnvSpec,
    friction: f64,
    mass_kg: f64,
    stream: Stream,
    shots: usize,
    /// The target, and where the last puck came to rest, m.
    seen: [f64; 2],
    /// How far the puck slides, by choice, where that was found out: it is the same every time.
    slides: [Option<f64>; IMPULSES as usize],
}

impl Env for Shuffleboard {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: u64, observation: &mut [f32]) -> Result<(), EnvError> {
        check_row("observation", 2, observation.len())?;
        (self.stream, self.shots) = (Stream::new(seed, "shuffleboard_targets", 0), 0);
        self.seen = [self.stream.uniform(TARGET_M[0], TARGET_M[1]), 0.0];
        observation.copy_from_slice(&self.seen.map(|x| x as f32));
        Ok(())
    }

    fn step(
        &mut self,
        action: &[f32],
        observation: &mut [f32],
        executed: &mut [f32],
    ) -> Result<Outcome, EnvError> {
        let choice = choose(&self.spec, action, observation, executed)?;
        let (friction, mass_kg) = (self.friction, self.mass_kg);
        let rest = *self.slides[choice].get_or_insert_with(|| slide(friction, mass_kg, impulse(choice)));
        if !rest.is_finite() {
            let env = NAME.to_owned();
            return Err(EnvError::Diverged { env, step: self.shots, what: "the puck's place".into() });
        }
        let miss = rest - self.seen[0];
        self.shots += 1;
        self.seen = [self.stream.uniform(TARGET_M[0], TARGET_M[1]), rest];
        observation.copy_from_slice(&self.seen.map(|x| x as f32));
        let end = if self.shots >= self.spec.max_steps { StepEnd::Truncated } else { StepEnd::Running };
        let success = miss.abs() <= SUCCESS_M;
        Ok(Outcome { reward: reward(miss) as f32, end, success, ..Outcome::default() })
    }
}

/// The choice whose puck comes nearest to the target.
fn best([friction, mass_kg]: [f64; 2], target: f64) -> usize {
    let miss = |choice: &usize| (coulomb(friction, impulse(*choice) / mass_kg) - target).abs();
    (0..IMPULSES as usize).min_by(|a, b| miss(a).total_cmp(&miss(b))).unwrap_or_default()
}

/// Mean rewards of a shot over all targets, by Coulomb's law: of a random impulse, and of the best one.
fn references(hidden: [f64; 2]) -> [f64; 2] {
    const TARGETS: usize = 200;
    let [friction, mass_kg] = hidden;
    let mut sums = [0.0; 2];
    for i in 0..TARGETS {
        let target = TARGET_M[0] + (TARGET_M[1] - TARGET_M[0]) * (i as f64 + 0.5) / TARGETS as f64;
        let of = |choice: usize| reward(coulomb(friction, impulse(choice) / mass_kg) - target);
        sums[0] += (0..IMPULSES as usize).map(of).sum::<f64>() / f64::from(IMPULSES);
        sums[1] += of(best(hidden, target));
    }
    sums.map(|sum| sum / TARGETS as f64)
}

struct Shuffleboards {
    spec: EnvSpec,
    train_tasks: usize,
    test_tasks: usize,
    split_seed: u64,
}

impl TaskFamily for Shuffleboards {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn tasks(&self, split: TaskSplit) -> Vec<FamilyTask> {
        let (train, test) = (self.train_tasks, self.test_tasks);
        let (first, count, frictions) = match split {
            TaskSplit::Train => (0, train, FRICTION),
            TaskSplit::TestIn => (train, test, FRICTION),
            TaskSplit::TestOod => (train + test, test, FRICTION_OUTSIDE),
        };
        let shots = self.spec.max_steps as f64;
        let task = |id: usize| {
            let mut stream = Stream::new(self.split_seed, "shuffleboard_tasks", id as u64);
            let mut draw = |[low, high]: [f64; 2]| stream.uniform(low, high) as f32;
            let params = vec![draw(frictions), draw(MASS_KG)];
            let [random, optimal] = references([params[0], params[1]].map(f64::from));
            let (random_return, optimal_return) = ((random * shots) as f32, (optimal * shots) as f32);
            FamilyTask { id: id as u64, split, params, random_return, optimal_return }
        };
        (first..first + count).map(task).collect()
    }

    fn env(&self, params: &[f32]) -> Result<Box<dyn Env>, EnvError> {
        board(&self.spec, params)
    }

    fn oracle(&self, params: &[f32]) -> Option<Box<dyn SourceAlgorithm>> {
        Some(Box::new(Knows { hidden: read(params)? }))
    }
}

/// Knows friction and mass.
struct Knows {
    hidden: [f64; 2],
}

impl SourceAlgorithm for Knows {
    fn reset(&mut self, _seed: u64) {}
    fn act(&mut self, observation: &[f32], action: &mut [f32]) {
        action[0] = best(self.hidden, f64::from(observation[0])) as f32;
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
    fn a_puck_comes_to_rest_where_coulomb_says() {
        for (friction, mass_kg, impulse_n_s) in
            [(0.05, 0.4, 0.4), (0.2, 0.6, 1.2), (0.6, 0.8, 3.0), (0.8, 0.4, 1.9), (0.2, 0.6, 0.2)]
        {
            let (found, meant) =
                (slide(friction, mass_kg, impulse_n_s), coulomb(friction, impulse_n_s / mass_kg));
            // A physics step at the first speed is the error that is left.
            let error = impulse_n_s / mass_kg * PHYSICS_SECS;
            assert!((found - meant).abs() < error, "{friction} {mass_kg} {impulse_n_s}: {found} for {meant}");
        }
    }

    #[test]
    fn every_target_of_every_task_is_within_the_impulses() {
        for friction in [FRICTION[0], FRICTION_OUTSIDE[1]] {
            for mass_kg in MASS_KG {
                for target in TARGET_M {
                    let exact = mass_kg * (2.0 * friction * GRAVITY * target).sqrt();
                    assert!((IMPULSE_N_S[0]..IMPULSE_N_S[1]).contains(&exact), "{exact} N s");
                    let played = impulse(best([friction, mass_kg], target));
                    assert!((played / exact).ln().abs() < 0.035, "{played} for {exact}");
                }
            }
        }
    }
}
