//! What the walkers have in common: run along x on a floor, driven by motors at the joints.
//!
//! Observations, actions, rewards and terminations are those of Gymnasium's MuJoCo environments, version 5: joint positions but the
//! way along x, joint velocities; reward `forward_reward_weight * velocity + healthy_reward - ctrl_cost_weight * |action|^2`. The
//! velocity is the way of the torso in the step over the step's time.

use std::sync::Arc;

use surefoot_core::contract::ChannelContract;
use surefoot_core::safety::CommandState;
use surefoot_core::{
    Env, EnvError, EnvSpec, Field, RobotContract, RobotEnv, RobotState, Stream, Task, TaskOutcome,
};

use crate::model::{DerivedLimits, JointActuator, Model};
use crate::randomisation::Randomisation;
use crate::render::View;
use crate::tasks::{EnvContext, build_error};
use crate::world::{RapierWorld, Stepping};

/// How the velocities of a start are drawn; positions are always even within the noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartVelocity {
    Even,
    Normal,
}

/// What is the same in every episode of a walker.
pub struct Walker {
    pub name: &'static str,
    pub model: &'static str,
    pub stepping: Stepping,
    /// Time of a step, s.
    pub step_secs: f64,
    pub view: View,
    /// Largest velocity that is observed, rad/s or m/s.
    pub velocity_clip: f64,
    pub start_velocity: StartVelocity,
    pub rewards: Rewards,
    pub health: Health,
    pub max_steps: usize,
    /// Spread of the start.
    pub start_noise: f64,
    /// Way along x that counts as success, m.
    pub success_distance_m: f64,
    /// A floating base and the geoms and bodies whose contacts are observed; none: the base is the first three joints (x, height,
    /// pitch).
    pub floating: Option<Floating>,
}

/// A torso that no joint holds.
pub struct Floating {
    /// Height of the torso's start, m.
    pub height_m: f64,
    /// Bodies and geoms whose contact forces are observed, each as torque and force; empty: none.
    pub felt: Vec<&'static str>,
    pub contact_cost_weight: f64,
}

/// Weights of the reward.
#[derive(Clone, Copy, Debug)]
pub struct Rewards {
    pub forward: f64,
    pub control_cost: f64,
    pub healthy: f64,
}

/// Where an episode goes on; what is infinite does not matter.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    pub height_m: [f64; 2],
    pub pitch_rad: [f64; 2],
    /// Of every observed number but the height, before clipping.
    pub state: f64,
    pub terminates: bool,
}

impl Health {
    /// A walker that cannot fall.
    pub const ALWAYS: Self = Self {
        height_m: [f64::NEG_INFINITY, f64::INFINITY],
        pitch_rad: [f64::NEG_INFINITY, f64::INFINITY],
        state: f64::INFINITY,
        terminates: false,
    };
}

const TORSO: [&str; 13] = ["x", "y", "z", "qw", "qx", "qy", "qz", "vx", "vy", "vz", "wx", "wy", "wz"];
const WRENCH: [&str; 6] = ["tx", "ty", "tz", "fx", "fy", "fz"];

impl Walker {
    fn channels(&self) -> Vec<ChannelContract> {
        let Some(floating) = &self.floating else { return Vec::new() };
        let unit = |c: &str| match c.as_bytes() {
            [b'q', _] => "1",
            [b'v', _] => "m/s",
            [b'w', _] => "rad/s",
            [b't', _] => "N m",
            [b'f', _] => "N",
            _ => "m",
        };
        let channel = |subject: &str, c: &str| ChannelContract {
            name: format!("{subject}_{c}"),
            unit: unit(c).to_owned(),
        };
        let torso = TORSO.iter().map(|c| channel("torso", c));
        torso.chain(floating.felt.iter().flat_map(|s| WRENCH.map(|c| channel(s, c)))).collect()
    }

    /// Builds the environment.
    pub fn build(
        self,
        context: &EnvContext,
        randomisation: &Randomisation,
    ) -> Result<Box<dyn Env>, EnvError> {
        let error = |e: &dyn std::fmt::Display| build_error(self.name, e);
        let positive =
            [("success_distance_m", self.success_distance_m), ("max_steps", self.max_steps as f64)];
        for (key, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                return Err(build_error(
                    self.name,
                    format!("{key} must be greater than zero, found {value}"),
                ));
            }
        }
        let weights = [
            ("forward_reward_weight", self.rewards.forward),
            ("ctrl_cost_weight", self.rewards.control_cost),
            ("healthy_reward", self.rewards.healthy),
            ("reset_noise_scale", self.start_noise),
        ];
        for (key, value) in weights {
            if !(value.is_finite() && value >= 0.0) {
                return Err(build_error(self.name, format!("{key} must not be negative, found {value}")));
            }
        }
        let model = Model::parse(self.name, self.model).map_err(|e| error(&e))?;
        let hz = 1.0 / self.step_secs;
        let limits = DerivedLimits { control_hz: hz, policy_hz: hz, ..DerivedLimits::default() };
        let contract = model.contract(self.name, &limits, self.channels()).map_err(|e| error(&e))?;
        let world = RapierWorld::new(
            contract.clone(),
            Arc::new(model.clone()),
            context.stepping.unwrap_or(self.stepping),
        )
        .map_err(|e| error(&e))?;
        let world = world.with_view(self.view).following("torso").with_randomisation(randomisation);
        let task = Run::new(self, &model, &contract)?;
        randomisation.around(Box::new(RobotEnv::new(Box::new(task), Box::new(world), 0.0)?))
    }
}

/// The task of a walker.
struct Run {
    walker: Walker,
    spec: EnvSpec,
    /// Contract joint and effort of an action of 1, by actuator.
    drives: Vec<(usize, f64)>,
    start: Vec<f64>,
    /// Where the torso was before the step, m; not known after a reset.
    before: Option<f64>,
    origin: f64,
}

impl Run {
    fn new(walker: Walker, model: &Model, contract: &RobotContract) -> Result<Self, EnvError> {
        let mut drives = Vec::new();
        let mut action = Vec::new();
        for name in model.actuated_joints() {
            let joint = contract.joints.iter().position(|j| j.name == name);
            let (Some(joint), Ok(JointActuator::Motor { gear, .. })) = (joint, model.actuator(name)) else {
                return Err(build_error(walker.name, format!("joint {name} is not driven by a motor")));
            };
            drives.push((joint, gear));
            action.push(Field::bounded(format!("{name}_torque"), "N m", -gear as f32, gear as f32));
        }
        let start = contract
            .joints
            .iter()
            .map(|j| model.joint_index(&j.name).map_or(0.0, |index| model.joint_reference(index)));
        let mut observation = Vec::new();
        let (joints, channels) = (&contract.joints, &contract.channels);
        let position = |j: &surefoot_core::contract::JointContract| {
            Field::unbounded(format!("{}_position", j.name), &j.unit)
        };
        let velocity = |j: &surefoot_core::contract::JointContract| {
            Field::unbounded(format!("{}_velocity", j.name), format!("{}/s", j.unit))
        };
        let of_channel = |c: &ChannelContract| Field::unbounded(&c.name, &c.unit);
        if walker.floating.is_some() {
            observation.extend(channels[2..7].iter().map(of_channel));
            observation.extend(joints.iter().map(position));
            observation.extend(channels[7..10].iter().map(of_channel));
            observation.extend(["x", "y", "z"].map(|a| Field::unbounded(format!("torso_own_w{a}"), "rad/s")));
            observation.extend(joints.iter().map(velocity));
            observation.extend(channels[13..].iter().map(|c| Field::bounded(&c.name, &c.unit, -1.0, 1.0)));
        } else {
            observation.extend(joints[1..].iter().map(position));
            observation.extend(joints.iter().map(velocity));
        }
        let spec = EnvSpec {
            name: walker.name.to_owned(),
            observation,
            action,
            step_secs: walker.step_secs,
            max_steps: walker.max_steps,
            reward_range: None,
            contract_hash: Some(contract.hash()),
        };
        Ok(Self { start: start.collect(), walker, spec, drives, before: None, origin: 0.0 })
    }

    fn x(&self, state: &RobotState) -> f64 {
        if self.walker.floating.is_some() { state.channels[0] } else { state.position[0] }
    }

    fn healthy(&self, state: &RobotState) -> bool {
        let within = |value: f64, [low, high]: [f64; 2]| low < value && value < high;
        let Health { height_m, pitch_rad, state: most, terminates: _ } = self.walker.health;
        if self.walker.floating.is_some() {
            let z = state.channels[2];
            return state.is_finite() && height_m[0] <= z && z <= height_m[1];
        }
        let others = state.position[2..].iter().chain(&state.velocity);
        within(state.position[1], height_m)
            && within(state.position[2], pitch_rad)
            && others.into_iter().all(|value| value.abs() < most)
    }
}

/// `v` in axes that are turned by `q` (w, x, y, z) from the world's.
fn in_own_axes(q: [f64; 4], v: [f64; 3]) -> [f64; 3] {
    let q = nalgebra::UnitQuaternion::from_quaternion(nalgebra::Quaternion::new(q[0], q[1], q[2], q[3]));
    (q.inverse() * nalgebra::Vector3::from(v)).into()
}

impl Task for Run {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, stream: &mut Stream, initial: &mut RobotState) {
        let noise = self.walker.start_noise;
        let place = |stream: &mut Stream, at: f64| at + stream.uniform(-noise, noise);
        if let Some(floating) = &self.walker.floating {
            let torso = [0.0, 0.0, floating.height_m, 1.0, 0.0, 0.0, 0.0];
            for (channel, at) in initial.channels.iter_mut().zip(torso) {
                *channel = place(stream, at);
            }
        }
        for (position, at) in initial.position.iter_mut().zip(&self.start) {
            *position = place(stream, *at);
        }
        let mut speed = || match self.walker.start_velocity {
            StartVelocity::Even => stream.uniform(-noise, noise),
            StartVelocity::Normal => noise * stream.normal(),
        };
        if self.walker.floating.is_some() {
            initial.channels[7..13].fill_with(&mut speed);
        }
        initial.velocity.fill_with(&mut speed);
        self.origin = self.x(initial);
        self.before = None;
    }

    fn desired(&mut self, state: &RobotState, _: CommandState<'_>, action: &[f32], desired: &mut [f64]) {
        self.before = Some(self.x(state));
        desired.fill(0.0);
        for ((joint, gear), action) in self.drives.iter().zip(action) {
            desired[*joint] = f64::from(action.clamp(-1.0, 1.0)) * gear;
        }
    }

    fn executed(&self, _: &[f64], _: &[f64], effort: &[f64], _: f64, action: &mut [f32]) {
        for ((joint, gear), action) in self.drives.iter().zip(action) {
            *action = (effort[*joint] / gear) as f32;
        }
    }

    fn observe(&mut self, state: &RobotState, observation: &mut [f32]) {
        let clip = self.walker.velocity_clip;
        let velocity = state.velocity.iter().map(|v| v.clamp(-clip, clip));
        let mut write = |numbers: &mut dyn Iterator<Item = f64>| {
            observation.iter_mut().zip(numbers).for_each(|(o, value)| *o = value as f32);
        };
        if self.walker.floating.is_some() {
            let c = &state.channels;
            let own = in_own_axes([c[3], c[4], c[5], c[6]], [c[10], c[11], c[12]]);
            let felt = c[13..].iter().map(|f| f.clamp(-1.0, 1.0));
            let base = c[2..7].iter().chain(&state.position).chain(&c[7..10]).chain(&own).copied();
            write(&mut base.chain(velocity).chain(felt));
        } else {
            write(&mut state.position[1..].iter().copied().chain(velocity));
        }
    }

    fn outcome(&mut self, state: &RobotState, executed: &[f32]) -> TaskOutcome {
        let Rewards { forward, control_cost, healthy } = self.walker.rewards;
        let x = self.x(state);
        let speed = (x - self.before.unwrap_or(x)) / self.walker.step_secs;
        let is_healthy = self.healthy(state);
        let squared: f64 = executed.iter().map(|a| f64::from(*a).powi(2)).sum();
        let felt = self.walker.floating.as_ref().map_or(0.0, |f| {
            let squared: f64 = state.channels[13..].iter().map(|c| c.clamp(-1.0, 1.0).powi(2)).sum();
            f.contact_cost_weight * squared
        });
        let alive = if is_healthy { healthy } else { 0.0 };
        TaskOutcome {
            reward: (forward * speed + alive - control_cost * squared - felt) as f32,
            terminated: self.walker.health.terminates && !is_healthy,
            success: x - self.origin >= self.walker.success_distance_m,
        }
    }
}
