//! `actuator_scramble`: the seven-joint arm is to hold its tool over the puck, and somebody has plugged its actuators in anew: which joint a
//! velocity command moves, and which way, is hidden. The puck, and with it the goal, is seen.
//!
//! | | |
//! |---|---|
//! | observation | what each of four joints (1, 2, 4, 6) lacks to the pose with the tool upright over the puck, rad; their velocities, rad/s |
//! | action | velocities of the four actuators: one of 9 each, -0.8 to 0.8 rad/s (choices) |
//! | reward | `exp(-miss / 0.1 m)`, the miss of the tool at the end of the step |
//! | success | the miss is at most 3 cm |
//! | start | the same pose, at rest; the puck elsewhere each time |
//! | truncation | after `horizon` steps of 0.1 s |
//! | hidden | the wiring: `params = [2, -1, 4, -3]` is "the first actuator moves the second joint, the second one the first, backwards, ..." |
//!
//! There are `4! 2^4 = 384` wirings. Tasks of `test_in` are wirings of the same permutations as those of the training with other signs;
//! those of `test_ood` are of permutations that the training has never seen.
//!
//! The wiring stands between the actions and the safety chain, which knows the joints as they are: a robot that does not go where the chain
//! sends it is stopped, and is no task for a policy. What is executed of a choice is the choice.
//!
//! References: the arm as four joints that move as they are told, by the same arithmetic; means over the same puck places.

use std::sync::OnceLock;

use nalgebra::Vector3;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::safety::CommandState;
use surefoot_core::{
    Env, EnvError, EnvSpec, FamilyTask, Field, Outcome, RobotEnv, RobotState, SourceAlgorithm, Stream, Task,
    TaskFamily, TaskOutcome, TaskSplit,
};

use super::{FamilyContext, shuffle};
use crate::arm;
use crate::kinematics::Kinematics;
use crate::tasks::{EnvContext, build_error};

const NAME: &str = "actuator_scramble";
/// Actuators, and the joints that they can move (indices of the arm's).
const ACTUATORS: usize = 4;
const JOINTS: [usize; ACTUATORS] = [0, 1, 3, 5];
/// Where these joints start, and how far they may go, rad: the tool stays above the puck.
const START_RAD: [f64; ACTUATORS] = [0.0, 0.30, 1.75, 0.70];
const RANGE_RAD: [[f64; 2]; ACTUATORS] = [[-0.9, 0.9], [0.0, 0.56], [1.36, 2.10], [0.55, 1.25]];
/// Shoulder over the table, shoulder to elbow, elbow to wrist, wrist to tool, m.
const LINKS_M: [f64; 4] = [0.34, 0.42, 0.40, 0.28];
/// Height of the tool over the table where it is right, m.
const HEIGHT_M: f64 = 0.25;
/// Where the puck may be: its distance from the arm's axis, m, and its bearing, rad.
const PUCK_DISTANCE_M: [f64; 2] = [0.38, 0.58];
const PUCK_BEARING_RAD: f64 = 0.6;
/// Miss at which a reward is `1 / e`, m.
const REWARD_SCALE_M: f64 = 0.1;
const SUCCESS_M: f64 = 0.03;
const SPEED_RAD_PER_SEC: f64 = 0.8;
const CHOICES: u32 = 9;
/// Below that of every joint's limit, so that the safety chain has nothing to do, rad/s^2.
const ACCELERATION_RAD_PER_SEC2: f64 = 12.0;
/// Joints slow down toward the ends of their ranges with this time constant, s.
const EDGE_SECS: f64 = 0.12;
/// Whoever knows the wiring closes the gap with this one.
const APPROACH_SECS: f64 = 0.15;
/// Permutations that are kept from the training.
const HELD_OUT_PERMUTATIONS: usize = 4;
/// Episodes that the references are means of.
const REFERENCE_EPISODES: u64 = 400;

/// Configuration of one [wiring](self): `[env.actuator_scramble]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ActuatorScrambleConfig {
    /// Steps of an episode.
    pub horizon: usize,
    /// For each actuator the joint that it moves, 1 to 4, each once; negative where it moves it backwards.
    pub wiring: [i32; ACTUATORS],
}

impl Default for ActuatorScrambleConfig {
    fn default() -> Self {
        Self { horizon: 30, wiring: [2, -1, 4, -3] }
    }
}

impl ActuatorScrambleConfig {
    /// Builds the environment.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, _context: &EnvContext) -> Result<Box<dyn Env>, EnvError> {
        let Self { horizon, wiring } = self;
        scrambled(&spec(*horizon)?, &wiring.map(|w| w as f32))
    }
}

/// Configuration of the [family](self): `[family.actuator_scramble]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ActuatorScrambleFamilyConfig {
    /// Steps of an episode.
    pub horizon: usize,
    /// Wirings that are trained on. There are 320 of the permutations of the training, those that are kept for judging among them.
    pub train_tasks: usize,
    /// Wirings of each of both splits that are kept for judging: of the same permutations, and of others (64 at most).
    pub test_tasks: usize,
    /// Which ones: another seed is another split.
    pub split_seed: u64,
}

impl Default for ActuatorScrambleFamilyConfig {
    fn default() -> Self {
        Self { horizon: 30, train_tasks: 256, test_tasks: 32, split_seed: 0 }
    }
}

impl ActuatorScrambleFamilyConfig {
    /// Builds the family.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, _context: &FamilyContext) -> Result<Box<dyn TaskFamily>, EnvError> {
        let Self { horizon, train_tasks, test_tasks, split_seed } = *self;
        let mut stream = Stream::new(split_seed, "actuator_scramble_tasks", 0);
        let mut permutations = permutations();
        shuffle(&mut permutations, &mut stream);
        let trained = permutations.split_off(HELD_OUT_PERMUTATIONS);
        let mut outside = wirings(&permutations);
        let mut inside = wirings(&trained);
        shuffle(&mut outside, &mut stream);
        shuffle(&mut inside, &mut stream);
        let (most, outer) = (inside.len(), outside.len());
        if train_tasks == 0 || test_tasks == 0 || train_tasks + test_tasks > most || test_tasks > outer {
            let reason = format!(
                "train_tasks = {train_tasks} and test_tasks = {test_tasks}: expected at least 1 of each, {most} together at most, and {outer} \
                 to test at most"
            );
            return Err(build_error(NAME, reason));
        }
        let spec = spec(horizon)?;
        Ok(Box::new(Wirings { spec, inside, outside, train_tasks, test_tasks, references: OnceLock::new() }))
    }
}

/// All orders of the joints.
fn permutations() -> Vec<[usize; ACTUATORS]> {
    let mut all = Vec::new();
    for code in 0..ACTUATORS.pow(ACTUATORS as u32) {
        let order: [usize; ACTUATORS] = std::array::from_fn(|i| code / ACTUATORS.pow(i as u32) % ACTUATORS);
        if (0..ACTUATORS).all(|joint| order.contains(&joint)) {
            all.push(order);
        }
    }
    all
}

/// These orders with all signs, as parameters.
fn wirings(permutations: &[[usize; ACTUATORS]]) -> Vec<[f32; ACTUATORS]> {
    let signs = 0..1_usize << ACTUATORS;
    let signed = |order: &[usize; ACTUATORS], signs: usize| -> [f32; ACTUATORS] {
        std::array::from_fn(|i| {
            let joint = (order[i] + 1) as f32;
            if signs >> i & 1 == 1 { -joint } else { joint }
        })
    };
    permutations.iter().flat_map(|order| signs.clone().map(move |s| signed(order, s))).collect()
}

fn spec(horizon: usize) -> Result<EnvSpec, EnvError> {
    if horizon == 0 {
        return Err(build_error(NAME, "horizon must be at least 1, found 0"));
    }
    let contract = arm::contract()?;
    let joints = || JOINTS.iter().map(|j| contract.joints[*j].name.clone());
    let lacks = joints().map(|j| Field::bounded(format!("{j}_to_goal"), "rad", -3.2, 3.2));
    let rates = joints().map(|j| Field::bounded(format!("{j}_velocity"), "rad/s", -2.5, 2.5));
    let speed = SPEED_RAD_PER_SEC as f32;
    let action = |i| Field::bins(format!("actuator{i}_velocity"), "rad/s", -speed, speed, CHOICES);
    Ok(EnvSpec {
        name: NAME.to_owned(),
        observation: lacks.chain(rates).collect(),
        action: (1..=ACTUATORS).map(action).collect(),
        step_secs: 1.0 / contract.policy_hz,
        max_steps: horizon,
        reward_range: Some((0.0, 1.0)),
        contract_hash: Some(contract.hash()),
    })
}

/// For each actuator the joint that it moves, and the sign.
type Wiring = [(usize, f64); ACTUATORS];

fn read(params: &[f32]) -> Option<Wiring> {
    let params: [f32; ACTUATORS] = params.try_into().ok()?;
    let whole = params.iter().all(|w| w.fract() == 0.0 && (1.0..=ACTUATORS as f32).contains(&w.abs()));
    let wiring = whole.then(|| params.map(|w| (w.abs() as usize - 1, f64::from(w.signum()))))?;
    (0..ACTUATORS).all(|joint| wiring.iter().any(|(j, _)| *j == joint)).then_some(wiring)
}

fn scrambled(spec: &EnvSpec, params: &[f32]) -> Result<Box<dyn Env>, EnvError> {
    let wiring = read(params).ok_or_else(|| {
        let reason = format!("wiring = {params:?}: expected each of 1, 2, 3, 4 once, with a sign");
        build_error(NAME, reason)
    })?;
    let kinematics = arm::tool_motion()?.kinematics().clone();
    let task = Scrambled { spec: spec.clone(), kinematics, wiring, chosen: [0.0; ACTUATORS] };
    Ok(Box::new(RobotEnv::new(Box::new(task), Box::new(arm::world()?), arm::TRACKING_TOLERANCE_RAD)?))
}

/// The joints that hold the upright tool over the puck: a planar arm of two links below a turning shoulder, elbow up.
fn goal_pose(puck: [f64; 2]) -> [f64; ACTUATORS] {
    let [shoulder, upper, lower, tool] = LINKS_M;
    let reach = puck[0].hypot(puck[1]);
    let up = HEIGHT_M + tool - shoulder;
    let cos = (reach * reach + up * up - upper * upper - lower * lower) / (2.0 * upper * lower);
    let elbow = cos.clamp(-1.0, 1.0).acos();
    let tilt = reach.atan2(up) - (lower * elbow.sin()).atan2(upper + lower * elbow.cos());
    [puck[1].atan2(puck[0]), tilt, elbow, std::f64::consts::PI - tilt - elbow]
}

/// Where the tool is with these joints, the other ones at zero.
fn tool_at(joints: &[f64; ACTUATORS]) -> Vector3<f64> {
    let [shoulder, upper, lower, tool] = LINKS_M;
    let [bearing, tilt, elbow, wrist] = *joints;
    let (lower_at, tool_at) = (tilt + elbow, tilt + elbow + wrist);
    let reach = upper * tilt.sin() + lower * lower_at.sin() + tool * tool_at.sin();
    let up = shoulder + upper * tilt.cos() + lower * lower_at.cos() + tool * tool_at.cos();
    Vector3::new(reach * bearing.cos(), reach * bearing.sin(), up)
}

fn over(puck: [f64; 2]) -> Vector3<f64> {
    Vector3::new(puck[0], puck[1], HEIGHT_M)
}

fn reward(miss: f64) -> f64 {
    (-miss / REWARD_SCALE_M).exp()
}

fn draw_puck(stream: &mut Stream) -> [f64; 2] {
    let distance = stream.uniform(PUCK_DISTANCE_M[0], PUCK_DISTANCE_M[1]);
    let bearing = stream.uniform(-PUCK_BEARING_RAD, PUCK_BEARING_RAD);
    [distance * bearing.cos(), distance * bearing.sin()]
}

/// What the joints are asked to do for an action, rad/s; NaN where it is none of the choices, so that the chain brakes.
fn wired(spec: &EnvSpec, wiring: &Wiring, action: &[f32]) -> [f64; ACTUATORS] {
    let mut wanted = [0.0; ACTUATORS];
    for ((field, (joint, sign)), a) in spec.action.iter().zip(wiring).zip(action) {
        let index = field.index(*a).ok().flatten();
        wanted[*joint] = sign * index.and_then(|index| field.value(index)).unwrap_or(f64::NAN);
    }
    wanted
}

/// What a joint does in the next control period: within its range, and not more suddenly than it should.
fn next_velocity(joint: usize, at: f64, velocity: f64, wanted: f64, period_secs: f64) -> f64 {
    let [low, high] = RANGE_RAD[joint];
    let within = wanted.clamp((low - at) / EDGE_SECS, (high - at) / EDGE_SECS);
    let most = ACCELERATION_RAD_PER_SEC2 * period_secs;
    velocity + (within - velocity).clamp(-most, most)
}

/// The choices that close these gaps, for somebody who knows the wiring.
fn straight(spec: &EnvSpec, wiring: &Wiring, lacks: &[f64; ACTUATORS]) -> [f32; ACTUATORS] {
    std::array::from_fn(|i| {
        let (joint, sign) = wiring[i];
        let wanted = sign * lacks[joint] / APPROACH_SECS;
        let miss = |c: &usize| (spec.action[i].value(*c).unwrap_or_default() - wanted).abs();
        let best = (0..CHOICES as usize).min_by(|a, b| miss(a).total_cmp(&miss(b)));
        best.unwrap_or_default() as f32
    })
}

/// The task over any robot with this arm's joints and a puck.
struct Scrambled {
    spec: EnvSpec,
    kinematics: Kinematics,
    wiring: Wiring,
    chosen: [f32; ACTUATORS],
}

impl Task for Scrambled {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, stream: &mut Stream, initial: &mut RobotState) {
        self.chosen.fill(0.0);
        initial.position.fill(0.0);
        for (joint, start) in JOINTS.iter().zip(START_RAD) {
            initial.position[*joint] = start;
        }
        let [x, y] = draw_puck(stream);
        initial.channels.copy_from_slice(&[x, y, 0.0, 0.0]);
    }

    fn desired(&mut self, _: &RobotState, command: CommandState<'_>, action: &[f32], desired: &mut [f64]) {
        self.chosen.copy_from_slice(action);
        desired.fill(0.0);
        let wanted = wired(&self.spec, &self.wiring, action);
        for (i, joint) in JOINTS.iter().enumerate() {
            let (at, velocity) = (command.position[*joint], command.velocity[*joint]);
            desired[*joint] = next_velocity(i, at, velocity, wanted[i], command.period_secs);
        }
    }

    fn executed(&self, _: &[f64], _: &[f64], _: &[f64], _: f64, action: &mut [f32]) {
        action.copy_from_slice(&self.chosen);
    }

    fn observe(&mut self, state: &RobotState, observation: &mut [f32]) {
        let goal = goal_pose([state.channels[0], state.channels[1]]);
        let (lacks, rates) = observation.split_at_mut(ACTUATORS);
        for (i, joint) in JOINTS.iter().enumerate() {
            lacks[i] = (goal[i] - state.position[*joint]) as f32;
            rates[i] = state.velocity[*joint] as f32;
        }
    }

    fn outcome(&mut self, state: &RobotState, _executed: &[f32]) -> TaskOutcome {
        let tool = self.kinematics.pose(&state.position).translation.vector;
        let miss = tool.metric_distance(&over([state.channels[0], state.channels[1]]));
        TaskOutcome { reward: reward(miss) as f32, terminated: false, success: miss <= SUCCESS_M }
    }
}

/// Return of an episode of four joints that move as they are told.
fn episode(spec: &EnvSpec, seed: u64, mut act: impl FnMut(&[f64; ACTUATORS]) -> [f64; ACTUATORS]) -> f64 {
    let period_secs = 0.02;
    let ticks = (spec.step_secs / period_secs).round() as usize;
    let puck = draw_puck(&mut Stream::new(seed, "actuator_scramble_reference", 0));
    let (goal, over) = (goal_pose(puck), over(puck));
    let (mut joints, mut velocity) = (START_RAD, [0.0; ACTUATORS]);
    let mut total = 0.0;
    for _ in 0..spec.max_steps {
        let wanted = act(&std::array::from_fn(|i| goal[i] - joints[i]));
        for _ in 0..ticks {
            for i in 0..ACTUATORS {
                velocity[i] = next_velocity(i, joints[i], velocity[i], wanted[i], period_secs);
                joints[i] += velocity[i] * period_secs;
            }
        }
        total += reward(tool_at(&joints).metric_distance(&over));
    }
    total
}

struct Wirings {
    spec: EnvSpec,
    /// All wirings of the permutations of the training, and of the others.
    inside: Vec<[f32; ACTUATORS]>,
    outside: Vec<[f32; ACTUATORS]>,
    train_tasks: usize,
    test_tasks: usize,
    references: OnceLock<[f64; 2]>,
}

impl Wirings {
    /// Mean return of random choices, and of somebody who knows the wiring: the same whichever it is.
    fn references(&self) -> [f64; 2] {
        *self.references.get_or_init(|| {
            let straight_through: Wiring = std::array::from_fn(|i| (i, 1.0));
            let mut sums = [0.0; 2];
            for seed in 0..REFERENCE_EPISODES {
                let mut stream = Stream::new(seed, "actuator_scramble_random", 0);
                sums[0] += episode(&self.spec, seed, |_| {
                    let choices = [0.0; ACTUATORS].map(|_: f32| stream.below(CHOICES as usize) as f32);
                    wired(&self.spec, &straight_through, &choices)
                });
                sums[1] += episode(&self.spec, seed, |lacks| {
                    let choices = straight(&self.spec, &straight_through, lacks);
                    wired(&self.spec, &straight_through, &choices)
                });
            }
            sums.map(|sum| sum / REFERENCE_EPISODES as f64)
        })
    }
}

impl TaskFamily for Wirings {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn tasks(&self, split: TaskSplit) -> Vec<FamilyTask> {
        let (train, test) = (self.train_tasks, self.test_tasks);
        let (first, wirings) = match split {
            TaskSplit::Train => (0, &self.inside[..train]),
            TaskSplit::TestIn => (train, &self.inside[train..train + test]),
            TaskSplit::TestOod => (train + test, &self.outside[..test]),
        };
        let [random, optimal] = self.references();
        let task = |(i, params): (usize, &[f32; ACTUATORS])| FamilyTask {
            id: (first + i) as u64,
            split,
            params: params.to_vec(),
            random_return: random as f32,
            optimal_return: optimal as f32,
        };
        wirings.iter().enumerate().map(task).collect()
    }

    fn env(&self, params: &[f32]) -> Result<Box<dyn Env>, EnvError> {
        scrambled(&self.spec, params)
    }

    fn oracle(&self, params: &[f32]) -> Option<Box<dyn SourceAlgorithm>> {
        Some(Box::new(Knows { spec: self.spec.clone(), wiring: read(params)? }))
    }
}

/// Knows the wiring.
struct Knows {
    spec: EnvSpec,
    wiring: Wiring,
}

impl SourceAlgorithm for Knows {
    fn reset(&mut self, _seed: u64) {}
    fn act(&mut self, observation: &[f32], action: &mut [f32]) {
        let lacks = std::array::from_fn(|i| f64::from(observation[i]));
        action.copy_from_slice(&straight(&self.spec, &self.wiring, &lacks));
    }
    fn observe(&mut self, _next_observation: &[f32], _outcome: &Outcome) {}
    fn updates(&self) -> u32 {
        0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn family() -> Box<dyn TaskFamily> {
        ActuatorScrambleFamilyConfig::default().build(&FamilyContext {}).unwrap()
    }

    #[test]
    fn poses_are_those_of_the_arm_within_the_ranges_and_the_tool_stays_above_the_puck() {
        let kinematics = arm::tool_motion().unwrap().kinematics().clone();
        let pose = |joints: &[f64; ACTUATORS]| {
            let mut all = [0.0; 7];
            JOINTS.iter().zip(joints).for_each(|(j, q)| all[*j] = *q);
            kinematics.pose(&all)
        };
        let mut stream = Stream::new(0, "test", 0);
        for _ in 0..200 {
            let puck = draw_puck(&mut stream);
            let goal = goal_pose(puck);
            assert!((pose(&goal).translation.vector - over(puck)).norm() < 1e-9, "{goal:?}");
            assert!(((pose(&goal).rotation * Vector3::z()).z + 1.0).abs() < 1e-9, "upright");
            for (q, [low, high]) in goal.iter().zip(RANGE_RAD) {
                assert!((low..=high).contains(q), "{goal:?}");
            }
            let anywhere = RANGE_RAD.map(|[low, high]| stream.uniform(low, high));
            assert!((pose(&anywhere).translation.vector - tool_at(&anywhere)).norm() < 1e-9);
        }
        for corner in 0..1 << ACTUATORS {
            let joints = std::array::from_fn(|i| RANGE_RAD[i][corner >> i & 1]);
            assert!(tool_at(&joints).z > 0.05, "{joints:?}: {}", tool_at(&joints).z);
        }
    }

    #[test]
    fn no_permutation_of_the_last_split_is_one_of_the_training() {
        let family = family();
        let orders = |split| -> BTreeSet<Vec<i32>> {
            let order = |t: &FamilyTask| t.params.iter().map(|w| w.abs() as i32).collect();
            family.tasks(split).iter().map(order).collect()
        };
        let [train, inside, outside] = [TaskSplit::Train, TaskSplit::TestIn, TaskSplit::TestOod].map(orders);
        assert_eq!((train.len(), outside.len()), (20, 4));
        assert!(inside.is_subset(&train) && outside.is_disjoint(&train));
        let all: BTreeSet<Vec<i32>> = TaskSplit::ALL
            .iter()
            .flat_map(|s| family.tasks(*s))
            .map(|t| t.params.iter().map(|w| *w as i32).collect())
            .collect();
        assert_eq!(all.len(), 256 + 32 + 32, "each wiring once");
        for (train_tasks, test_tasks) in [(0, 1), (1, 0), (320, 1), (1, 65)] {
            let config = ActuatorScrambleFamilyConfig { train_tasks, test_tasks, ..Default::default() };
            assert!(config.build(&FamilyContext {}).is_err());
        }
    }

    #[test]
    fn a_wiring_is_each_joint_once_and_moves_what_it_says_inside_the_limits() {
        for wrong in [[1.0, 2.0, 3.0, 3.0], [0.0, 1.0, 2.0, 3.0], [1.5, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 5.0]]
        {
            assert!(read(&wrong).is_none(), "{wrong:?}");
        }
        let spec = spec(30).unwrap();
        let mut env = scrambled(&spec, &[2.0, -1.0, 4.0, -3.0]).unwrap();
        let (mut o, mut e) = ([0.0; 8], [0.0; 4]);
        env.reset(1, &mut o).unwrap();
        let before = o;
        // The second actuator alone, forward: the first joint goes backwards.
        let mut adjusted = 0;
        for _ in 0..3 {
            let outcome = env.step(&[4.0, 8.0, 4.0, 4.0], &mut o, &mut e).unwrap();
            assert_eq!((e, outcome.safety.violations), ([4.0, 8.0, 4.0, 4.0], 0));
            adjusted += outcome.safety.adjusted;
        }
        assert_eq!(adjusted, 0, "the chain has nothing to do");
        assert!(o[4] < -0.6 && o[0] - before[0] > 0.15, "{o:?}");
        assert!((1..4).all(|i| (o[i] - before[i]).abs() < 0.01 && o[4 + i].abs() < 0.05), "{o:?}");
        assert!(env.into_robot().is_some(), "a control loop can drive it");
    }
}
