//! `pen`: a hand with the palm up turns a pen that lies on it to a direction in space that is drawn for every episode, with four fingers of three
//! joints.
//!
//! | | |
//! |---|---|
//! | observation | joint positions from rest, joint velocities; position and velocity of the pen's centre, its axis and the axis' rate, the target axis, axis to target |
//! | action | set-points of the joints, from rest |
//! | reward | sparse: -1 for every step that ends without success, 0 for the one that reaches it; dense: minus the angle to the target (rad, at most 1); a drop costs `max_steps` in both |
//! | success | the pen's axis is within `tolerance_rad` of the target's and turns by `still_rad_per_sec` at most |
//! | termination | success; the pen's centre is below `dropped_height_m` |
//! | truncation | `max_steps` |
//!
//! The pen is moved by contacts alone. A drop costs as much as an episode of failing steps: else
//! dropping the pen at once would be the second best that one can do with a reward that is negative until the goal.

use std::sync::Arc;

use nalgebra::{Quaternion, UnitQuaternion, Vector3};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::safety::CommandState;
use surefoot_core::{
    Env, EnvError, EnvSpec, Field, Marker, MarkerShape, RobotContract, RobotEnv, RobotState, Stream, Task,
    TaskOutcome,
};

use crate::model::{DerivedLimits, Model};
use crate::randomisation::Randomisation;
use crate::render::View;
use crate::set_point::{SetPoint, servo_contract};
use crate::tasks::{EnvContext, Shaping, build_error, check_bounds, check_ranges};
use crate::world::{RapierWorld, Softness, Stepping};

const MODEL: &str = include_str!("../../models/pen.xml");
const VIEW: View =
    View { eye: [0.26, -0.30, 0.30], target: [0.0, 0.0, 0.01], field_of_view_rad: 0.60, floor_z: -0.20 };
/// Contacts as stiff as the step allows, as with the arm's fingers.
const STEPPING: Stepping =
    Stepping { contacts: Some(Softness { frequency_hz: 180.0, damping_ratio: 5.0 }), ..Stepping::new(4) };
/// Servos lag their set-points by what the fingers press with.
const TRACKING_TOLERANCE_RAD: f64 = 0.5;

/// Abduction, proximal and distal joint of each finger where actions are 0, rad.
pub(crate) const REST: [f64; 3] = [0.0, 0.5, 1.7];
/// Set-point of an action of 1, from there, rad.
pub(crate) const REACH: [f64; 3] = [0.6, 0.5, 0.7];
/// Where an episode begins: tips 34 mm beside the palm's middle line, 10 mm over the palm, rad.
const START: [f64; 3] = [0.0, 0.62, 2.1];
/// Half the pen's width and length, m; as in the model.
const PEN_HALF_WIDTH: f64 = 0.0075;
const PEN_HALF_LENGTH: f64 = 0.07;
/// Farthest that the pen may start from where the fingers have room for it, m and rad.
const MOST_OFFSET: f64 = 0.006;
const MOST_YAW: f64 = 0.25;
/// Angles above this are worth the same, rad.
const FAR: f64 = 1.0;

const PEN: [(&str, &str); 13] = [
    ("x", "m"),
    ("y", "m"),
    ("z", "m"),
    ("qw", "1"),
    ("qx", "1"),
    ("qy", "1"),
    ("qz", "1"),
    ("vx", "m/s"),
    ("vy", "m/s"),
    ("vz", "m/s"),
    ("wx", "rad/s"),
    ("wy", "rad/s"),
    ("wz", "rad/s"),
];

/// Configuration of [`pen`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PenConfig {
    /// Steps after which an episode is truncated.
    pub max_steps: usize,
    /// What a step is worth.
    pub reward: Shaping,
    /// Angle between the pen's axis and the target's that counts as there, rad.
    pub tolerance_rad: f64,
    /// Rate of the pen's axis up to which it counts as turned there, and not as passing by, rad/s.
    pub still_rad_per_sec: f64,
    /// Smallest and largest yaw of the target, to either side, rad.
    pub target_yaw_rad: [f64; 2],
    /// Largest tilt of the target out of the palm's plane, to either side, rad.
    pub target_tilt_rad: f64,
    /// Largest yaw of the pen at the start, to either side, rad.
    pub start_yaw_rad: f64,
    /// Largest distance of the pen's centre from the palm's at the start, along each axis, m.
    pub start_offset_m: f64,
    /// Height of the pen's centre over the palm below which it is dropped, m.
    pub dropped_height_m: f64,
    /// What is drawn for every episode.
    #[serde(skip_serializing_if = "Randomisation::is_none")]
    pub randomisation: Randomisation,
}

impl Default for PenConfig {
    fn default() -> Self {
        Self {
            max_steps: 100,
            reward: Shaping::Sparse,
            tolerance_rad: 0.1,
            still_rad_per_sec: 0.5,
            target_yaw_rad: [0.35, 1.05],
            target_tilt_rad: 0.4,
            start_yaw_rad: 0.15,
            start_offset_m: 0.004,
            dropped_height_m: -0.02,
            randomisation: Randomisation::default(),
        }
    }
}

impl PenConfig {
    /// Builds the environment.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, context: &EnvContext) -> Result<Box<dyn Env>, EnvError> {
        self.check()?;
        let error = |e: &dyn std::fmt::Display| build_error("pen", e);
        let model = Model::parse("pen", MODEL).map_err(|e| error(&e))?;
        let contract = contract(&model)?;
        let task = PenTask::new(self.clone(), &contract)?;
        let stepping = context.stepping.unwrap_or(STEPPING);
        let world = RapierWorld::new(contract, Arc::new(model), stepping).map_err(|e| error(&e))?;
        let world = world.with_view(VIEW).with_randomisation(&self.randomisation);
        let env = RobotEnv::new(Box::new(task), Box::new(world), TRACKING_TOLERANCE_RAD)?;
        self.randomisation.around(Box::new(env))
    }

    fn check(&self) -> Result<(), EnvError> {
        let Self {
            max_steps,
            reward: _,
            tolerance_rad,
            still_rad_per_sec,
            target_yaw_rad,
            target_tilt_rad,
            start_yaw_rad,
            start_offset_m,
            dropped_height_m,
            randomisation: _,
        } = self;
        check_ranges("pen", *max_steps, &[("target_yaw_rad", *target_yaw_rad)])?;
        let bounds = [
            ("tolerance_rad", *tolerance_rad, 1e-3, 1.0),
            ("still_rad_per_sec", *still_rad_per_sec, 1e-3, 100.0),
            ("target_yaw_rad[1]", target_yaw_rad[1], 0.0, std::f64::consts::PI),
            ("target_tilt_rad", *target_tilt_rad, 0.0, std::f64::consts::FRAC_PI_2),
            ("start_yaw_rad", *start_yaw_rad, 0.0, MOST_YAW),
            ("start_offset_m", *start_offset_m, 0.0, MOST_OFFSET),
            ("dropped_height_m", *dropped_height_m, -0.1, 0.0),
        ];
        check_bounds("pen", &bounds)?;
        let nearest = start_yaw_rad + tolerance_rad;
        if target_yaw_rad[0] <= nearest {
            let what = format!(
                "target_yaw_rad[0] must be above start_yaw_rad + tolerance_rad = {nearest}, or the pen is there before anything is done, \
                 found {}",
                target_yaw_rad[0]
            );
            return Err(build_error("pen", what));
        }
        Ok(())
    }
}

fn contract(model: &Model) -> Result<RobotContract, EnvError> {
    let limits =
        DerivedLimits { control_hz: 100.0, policy_hz: 20.0, max_velocity: 6.0, max_acceleration: 150.0 };
    servo_contract("pen", model, &limits, "pen", &PEN)
}

/// The pen as the channels have it, in world axes.
struct Pen {
    center: Vector3<f64>,
    velocity: Vector3<f64>,
    /// From its end to its tip, unit length.
    axis: Vector3<f64>,
    /// How fast the axis turns: rolling about itself does not count. 1/s.
    axis_rate: Vector3<f64>,
}

impl Pen {
    fn of(state: &RobotState) -> Self {
        let c: [f64; PEN.len()] = std::array::from_fn(|i| state.channels[i]);
        let axis = UnitQuaternion::from_quaternion(Quaternion::new(c[3], c[4], c[5], c[6])) * Vector3::x();
        Self {
            center: Vector3::new(c[0], c[1], c[2]),
            velocity: Vector3::new(c[7], c[8], c[9]),
            axis,
            axis_rate: Vector3::new(c[10], c[11], c[12]).cross(&axis),
        }
    }
}

/// The task over any hand with these joints that sees the pen; the target is the task's own.
struct PenTask {
    config: PenConfig,
    spec: EnvSpec,
    set_point: SetPoint,
    target: Vector3<f64>,
}

impl PenTask {
    fn new(config: PenConfig, contract: &RobotContract) -> Result<Self, EnvError> {
        let ticks_per_step = contract.ticks_per_step().map_err(|e| build_error("pen", e))?;
        let step_secs = 1.0 / contract.policy_hz;
        let joints = &contract.joints;
        let axes = |what: &str, unit: &str, most: f32| {
            ["x", "y", "z"].map(|axis| Field::bounded(format!("{what}{axis}"), unit, -most, most))
        };
        let mut observation: Vec<Field> = joints
            .iter()
            .map(|j| Field::bounded(format!("{}_from_rest", j.name), "rad", -4.0, 4.0))
            .chain(joints.iter().map(|j| Field::bounded(format!("{}_rate", j.name), "rad/s", -60.0, 60.0)))
            .collect();
        observation.extend(axes("pen_", "m", 2.0));
        observation.extend(axes("pen_v", "m/s", 20.0));
        observation.extend(axes("axis_", "1", 1.0));
        observation.extend(axes("axis_rate_", "1/s", 300.0));
        observation.extend(axes("target_axis_", "1", 1.0));
        observation.extend(axes("axis_to_target_", "1", 2.0));
        let action = joints.iter().zip(REACH.iter().cycle()).map(|(j, reach)| {
            Field::bounded(format!("{}_set_point", j.name), "rad", -*reach as f32, *reach as f32)
        });
        let spec = EnvSpec {
            name: "pen".to_owned(),
            observation,
            action: action.collect(),
            step_secs,
            max_steps: config.max_steps,
            reward_range: Some((-(config.max_steps as f32), 0.0)),
            contract_hash: Some(contract.hash()),
        };
        let set_point = SetPoint::new(step_secs, ticks_per_step);
        Ok(Self { config, spec, set_point, target: Vector3::x() })
    }
}

impl Task for PenTask {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, stream: &mut Stream, initial: &mut RobotState) {
        let c = &self.config;
        let yaw = stream.uniform(c.target_yaw_rad[0], c.target_yaw_rad[1]);
        let yaw = if stream.unit() < 0.5 { -yaw } else { yaw };
        let tilt = stream.uniform(-c.target_tilt_rad, c.target_tilt_rad);
        self.target = Vector3::new(tilt.cos() * yaw.cos(), tilt.cos() * yaw.sin(), tilt.sin());
        let half_yaw = stream.uniform(-c.start_yaw_rad, c.start_yaw_rad) / 2.0;
        let offset = [0, 1].map(|_| stream.uniform(-c.start_offset_m, c.start_offset_m));
        initial.channels.fill(0.0);
        initial.channels[..4].copy_from_slice(&[offset[0], offset[1], PEN_HALF_WIDTH, half_yaw.cos()]);
        initial.channels[6] = half_yaw.sin();
        for (position, at) in initial.position.iter_mut().zip(START.iter().cycle()) {
            *position = *at;
        }
    }

    fn desired(&mut self, _: &RobotState, command: CommandState<'_>, action: &[f32], desired: &mut [f64]) {
        for (i, out) in desired.iter_mut().enumerate() {
            let joint = i % REST.len();
            let target = REST[joint] + REACH[joint] * f64::from(action[i].clamp(-1.0, 1.0));
            *out = self.set_point.velocity(target, command.position[i]);
        }
    }

    fn executed(&self, before: &[f64], after: &[f64], _: &[f64], _: f64, action: &mut [f32]) {
        for (i, a) in action.iter_mut().enumerate() {
            let joint = i % REST.len();
            let target = self.set_point.target(before[i], after[i]);
            *a = (((target - REST[joint]) / REACH[joint]) as f32).clamp(-1.0, 1.0);
        }
    }

    fn observe(&mut self, state: &RobotState, observation: &mut [f32]) {
        let Pen { center, velocity, axis, axis_rate } = Pen::of(state);
        let pen = [center, velocity, axis, axis_rate, self.target, self.target - axis];
        let row = state.position.iter().zip(REST.iter().cycle()).map(|(p, rest)| p - rest);
        let row = row.chain(state.velocity.iter().copied());
        let row = row.chain(pen.iter().flat_map(|v| v.iter().copied()));
        observation.iter_mut().zip(row).for_each(|(o, value)| *o = value as f32);
    }

    fn outcome(&mut self, state: &RobotState, _executed: &[f32]) -> TaskOutcome {
        let c = &self.config;
        let pen = Pen::of(state);
        let angle = pen.axis.angle(&self.target);
        let dropped = pen.center.z < c.dropped_height_m;
        let success = !dropped && angle <= c.tolerance_rad && pen.axis_rate.norm() <= c.still_rad_per_sec;
        let reward = if dropped {
            -(c.max_steps as f32)
        } else {
            match c.reward {
                Shaping::Sparse => -f32::from(u8::from(!success)),
                Shaping::Dense => -angle.min(FAR) as f32,
            }
        };
        TaskOutcome { reward, terminated: dropped || success, success }
    }

    /// Where tip and end of the pen would be, over the palm's middle and as high as it takes.
    fn markers(&self) -> Vec<Marker> {
        [(1.0, 0.008), (-1.0, 0.005)]
            .map(|(side, radius)| {
                let at = self.target * (side * (PEN_HALF_LENGTH + 0.015));
                let height = PEN_HALF_WIDTH + PEN_HALF_LENGTH * self.target.z.abs();
                let center = [at.x as f32, at.y as f32, (at.z + height) as f32];
                Marker { center, shape: MarkerShape::Ball(radius), rgb: [60, 170, 90] }
            })
            .to_vec()
    }
}
