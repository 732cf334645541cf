//! `quadruped`: a four-legged robot follows a velocity that is drawn for every episode, on twelve position servos.
//!
//! | | |
//! |---|---|
//! | observation | velocity and angular velocity of the torso in its own axes, the world's down in them, the command (forward, left, turning); joint positions from the stance, joint velocities |
//! | action | set-points of the joints, from the stance |
//! | reward | dense: `exp(-4 e^2) + 0.5 exp(-4 w^2) - effort_cost_weight * sum of servo torque^2`; sparse: -1 for every step off the command |
//! | success | at the end: on its feet, and its mean velocity since `settling_secs` is the command's within the tolerances |
//! | termination | the torso is below `fallen_height_m` or leans by more than 60 degrees |
//! | truncation | `max_steps` |
//!
//! `e` (m/s) and `w` (rad/s) are the errors of planar velocity and turning rate. A trot moves the torso to and fro in every stride: they
//! are errors of the velocity's running mean over 0.3 s. Torques are those of the servos' springs, N m. The safety chain stands between
//! set-points and servos: the robot is commanded in motion, unlike the walkers that motors drive.

use std::sync::Arc;

use nalgebra::{Quaternion, UnitQuaternion, Vector3};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::safety::CommandState;
use surefoot_core::{
    Env, EnvError, EnvSpec, Field, Marker, MarkerShape, RobotContract, RobotEnv, RobotState, Stream, Task,
    TaskOutcome,
};

use crate::model::{DerivedLimits, JointActuator, Model};
use crate::randomisation::Randomisation;
use crate::render::View;
use crate::set_point::{SetPoint, servo_contract};
use crate::tasks::{EnvContext, Shaping, build_error, check_bounds, check_ranges};
use crate::world::{RapierWorld, Stepping};

const MODEL: &str = include_str!("../../models/quadruped.xml");
const VIEW: View =
    View { eye: [0.9, -1.5, 0.75], target: [0.0, 0.0, 0.2], field_of_view_rad: 0.6, floor_z: 0.0 };
/// By measurement: half and twice as many steps and sub-steps give the same trot, with returns within 2 %.
const STEPPING: Stepping = Stepping::new(2);
/// Servos lag their set-points by what the legs carry; limits are far from where a gait goes.
const TRACKING_TOLERANCE_RAD: f64 = 0.5;

/// Abduction, thigh and knee of each leg when it stands, rad, and the height of the torso then, m.
pub(crate) const STANCE: [f64; 3] = [0.0, 0.75, -1.5];
const HEIGHT: f64 = 0.32;
/// Set-point of an action of 1, from the stance, rad.
pub(crate) const REACH: [f64; 3] = [0.4, 0.8, 0.8];
/// Time constant of the velocity that is judged, s.
const MEAN_SECS: f64 = 0.3;

const TORSO: [(&str, &str); 13] = [
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

/// Configuration of [`quadruped`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QuadrupedConfig {
    /// Steps after which an episode is truncated.
    pub max_steps: usize,
    /// What a step is worth.
    pub reward: Shaping,
    /// Lowest and highest commanded velocity forward, m/s.
    pub forward_m_per_sec: [f64; 2],
    /// To the left, m/s.
    pub left_m_per_sec: [f64; 2],
    /// Turning to the left, rad/s.
    pub turning_rad_per_sec: [f64; 2],
    /// Error of the planar velocity that counts as following, m/s.
    pub tolerance_m_per_sec: f64,
    /// Error of the turning rate that does, rad/s.
    pub tolerance_rad_per_sec: f64,
    /// Time from the start that does not count for success, s.
    pub settling_secs: f64,
    /// Cost of the sum of squared servo torques, 1/(N m)^2.
    pub effort_cost_weight: f64,
    /// Height of the torso below which it has fallen, m.
    pub fallen_height_m: f64,
    /// Spread of joint positions at the start, rad.
    pub start_noise_rad: f64,
    /// What is drawn for every episode.
    #[serde(skip_serializing_if = "Randomisation::is_none")]
    pub randomisation: Randomisation,
}

impl Default for QuadrupedConfig {
    fn default() -> Self {
        Self {
            max_steps: 200,
            reward: Shaping::Dense,
            forward_m_per_sec: [-0.3, 0.6],
            left_m_per_sec: [-0.2, 0.2],
            turning_rad_per_sec: [-0.6, 0.6],
            tolerance_m_per_sec: 0.15,
            tolerance_rad_per_sec: 0.2,
            settling_secs: 1.0,
            effort_cost_weight: 2e-4,
            fallen_height_m: 0.18,
            start_noise_rad: 0.05,
            randomisation: Randomisation::default(),
        }
    }
}

impl QuadrupedConfig {
    /// Builds the environment.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, context: &EnvContext) -> Result<Box<dyn Env>, EnvError> {
        self.check()?;
        let error = |e: &dyn std::fmt::Display| build_error("quadruped", e);
        let model = Model::parse("quadruped", MODEL).map_err(|e| error(&e))?;
        let contract = contract(&model)?;
        let stepping = context.stepping.unwrap_or(STEPPING);
        let task = QuadrupedTask::new(self.clone(), &model, &contract)?;
        let world = RapierWorld::new(contract, Arc::new(model), stepping).map_err(|e| error(&e))?;
        let world = world.with_view(VIEW).following("torso").with_randomisation(&self.randomisation);
        let env = RobotEnv::new(Box::new(task), Box::new(world), TRACKING_TOLERANCE_RAD)?;
        self.randomisation.around(Box::new(env))
    }

    fn check(&self) -> Result<(), EnvError> {
        let Self {
            max_steps,
            reward: _,
            forward_m_per_sec,
            left_m_per_sec,
            turning_rad_per_sec,
            tolerance_m_per_sec,
            tolerance_rad_per_sec,
            settling_secs,
            effort_cost_weight,
            fallen_height_m,
            start_noise_rad,
            randomisation: _,
        } = self;
        let ranges = [
            ("forward_m_per_sec", *forward_m_per_sec),
            ("left_m_per_sec", *left_m_per_sec),
            ("turning_rad_per_sec", *turning_rad_per_sec),
        ];
        check_ranges("quadruped", *max_steps, &ranges)?;
        let bounds = [
            ("tolerance_m_per_sec", *tolerance_m_per_sec, 1e-3, 10.0),
            ("tolerance_rad_per_sec", *tolerance_rad_per_sec, 1e-3, 10.0),
            ("settling_secs", *settling_secs, 0.0, 60.0),
            ("effort_cost_weight", *effort_cost_weight, 0.0, 1.0),
            ("fallen_height_m", *fallen_height_m, 0.0, HEIGHT - 0.05),
            ("start_noise_rad", *start_noise_rad, 0.0, 0.5),
        ];
        check_bounds("quadruped", &bounds)?;
        Ok(())
    }
}

fn contract(model: &Model) -> Result<RobotContract, EnvError> {
    let limits =
        DerivedLimits { control_hz: 100.0, policy_hz: 50.0, max_velocity: 20.0, max_acceleration: 1000.0 };
    servo_contract("quadruped", model, &limits, "torso", &TORSO)
}

/// The torso as the channels have it.
struct Torso {
    height: f64,
    /// In the torso's own axes, m/s and rad/s.
    velocity: Vector3<f64>,
    turning: Vector3<f64>,
    /// The world's down, in the torso's own axes.
    down: Vector3<f64>,
}

impl Torso {
    fn of(state: &RobotState) -> Self {
        let c: [f64; TORSO.len()] = std::array::from_fn(|i| state.channels[i]);
        let world_from_torso = UnitQuaternion::from_quaternion(Quaternion::new(c[3], c[4], c[5], c[6]));
        let own = |v: Vector3<f64>| world_from_torso.inverse_transform_vector(&v);
        Self {
            height: c[2],
            velocity: own(Vector3::new(c[7], c[8], c[9])),
            turning: own(Vector3::new(c[10], c[11], c[12])),
            down: own(-Vector3::z()),
        }
    }

    /// Forward, left, turning to the left.
    fn motion(&self) -> Vector3<f64> {
        Vector3::new(self.velocity.x, self.velocity.y, self.turning.z)
    }
}

/// The task over any robot with these joints that says how its torso moves.
struct QuadrupedTask {
    config: QuadrupedConfig,
    spec: EnvSpec,
    set_point: SetPoint,
    /// Of each joint's servo, N m/rad.
    stiffness: Vec<f64>,
    tick_secs: f64,
    ticks_per_step: usize,
    /// Forward, left (m/s), turning (rad/s).
    command: Vector3<f64>,
    ticks: usize,
    /// Running mean of the torso's motion, and its sum since it has settled with the number of ticks.
    mean: Vector3<f64>,
    sum: Vector3<f64>,
    summed: usize,
    /// Sum over the joints and the ticks of this step of the squared servo torque, (N m)^2.
    squared_torque: f64,
}

impl QuadrupedTask {
    fn new(config: QuadrupedConfig, model: &Model, contract: &RobotContract) -> Result<Self, EnvError> {
        let error = |e: &dyn std::fmt::Display| build_error("quadruped", e);
        let mut stiffness = Vec::new();
        for joint in &contract.joints {
            match model.actuator(&joint.name).map_err(|e| error(&e))? {
                JointActuator::Servo { stiffness: own, .. } => stiffness.push(own),
                JointActuator::Motor { .. } => {
                    return Err(error(&format!("joint {} has a motor, expected a servo", joint.name)));
                }
            }
        }
        let ticks_per_step = contract.ticks_per_step().map_err(|e| error(&e))?;
        let step_secs = 1.0 / contract.policy_hz;
        let own = |what: &str, unit: &str, most: f32| {
            ["x", "y", "z"].map(|axis| Field::bounded(format!("torso_own_{what}{axis}"), unit, -most, most))
        };
        let mut observation = own("v", "m/s", 20.0).to_vec();
        observation.extend(own("w", "rad/s", 50.0));
        observation.extend(own("down_", "1", 1.0));
        observation.extend([
            Field::bounded("command_forward", "m/s", -5.0, 5.0),
            Field::bounded("command_left", "m/s", -5.0, 5.0),
            Field::bounded("command_turning", "rad/s", -5.0, 5.0),
        ]);
        let joints = &contract.joints;
        observation.extend(
            joints.iter().map(|j| Field::bounded(format!("{}_from_stance", j.name), "rad", -4.0, 4.0)),
        );
        observation
            .extend(joints.iter().map(|j| Field::bounded(format!("{}_rate", j.name), "rad/s", -60.0, 60.0)));
        let action = joints.iter().zip(REACH.iter().cycle()).map(|(j, reach)| {
            Field::bounded(format!("{}_set_point", j.name), "rad", -*reach as f32, *reach as f32)
        });
        let spec = EnvSpec {
            name: "quadruped".to_owned(),
            observation,
            action: action.collect(),
            step_secs,
            max_steps: config.max_steps,
            reward_range: match config.reward {
                Shaping::Sparse => Some((-1.0, 0.0)),
                Shaping::Dense => None,
            },
            contract_hash: Some(contract.hash()),
        };
        Ok(Self {
            config,
            spec,
            set_point: SetPoint::new(step_secs, ticks_per_step),
            stiffness,
            tick_secs: contract.control_secs(),
            ticks_per_step,
            command: Vector3::zeros(),
            ticks: 0,
            mean: Vector3::zeros(),
            sum: Vector3::zeros(),
            summed: 0,
            squared_torque: 0.0,
        })
    }

    /// Whether a motion is the command's within the tolerances.
    fn follows(&self, motion: &Vector3<f64>) -> bool {
        let error = motion - self.command;
        error.xy().norm() <= self.config.tolerance_m_per_sec
            && error.z.abs() <= self.config.tolerance_rad_per_sec
    }
}

impl Task for QuadrupedTask {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, stream: &mut Stream, initial: &mut RobotState) {
        let c = &self.config;
        let ranges = [c.forward_m_per_sec, c.left_m_per_sec, c.turning_rad_per_sec];
        self.command = Vector3::from_fn(|i, _| stream.uniform(ranges[i][0], ranges[i][1]));
        for (position, at) in initial.position.iter_mut().zip(STANCE.iter().cycle()) {
            *position = at + stream.uniform(-c.start_noise_rad, c.start_noise_rad);
        }
        initial.channels.fill(0.0);
        initial.channels[2] = HEIGHT;
        initial.channels[3] = 1.0;
        (self.ticks, self.summed, self.squared_torque) = (0, 0, 0.0);
        (self.mean, self.sum) = (Vector3::zeros(), Vector3::zeros());
    }

    fn desired(
        &mut self,
        state: &RobotState,
        command: CommandState<'_>,
        action: &[f32],
        desired: &mut [f64],
    ) {
        if self.ticks.is_multiple_of(self.ticks_per_step) {
            self.squared_torque = 0.0;
        }
        let motion = Torso::of(state).motion();
        self.mean += (motion - self.mean) * (self.tick_secs / MEAN_SECS);
        if self.ticks as f64 * self.tick_secs >= self.config.settling_secs {
            self.sum += motion;
            self.summed += 1;
        }
        self.ticks += 1;
        for (i, out) in desired.iter_mut().enumerate() {
            let leg = i % STANCE.len();
            let target = STANCE[leg] + REACH[leg] * f64::from(action[i].clamp(-1.0, 1.0));
            *out = self.set_point.velocity(target, command.position[i]);
            self.squared_torque += (self.stiffness[i] * (command.position[i] - state.position[i])).powi(2);
        }
    }

    fn executed(&self, before: &[f64], after: &[f64], _: &[f64], _: f64, action: &mut [f32]) {
        for (i, a) in action.iter_mut().enumerate() {
            let leg = i % STANCE.len();
            let target = self.set_point.target(before[i], after[i]);
            *a = (((target - STANCE[leg]) / REACH[leg]) as f32).clamp(-1.0, 1.0);
        }
    }

    fn observe(&mut self, state: &RobotState, observation: &mut [f32]) {
        let Torso { height: _, velocity, turning, down } = Torso::of(state);
        let base = [velocity, turning, down, self.command];
        let positions = state.position.iter().zip(STANCE.iter().cycle()).map(|(p, stance)| p - stance);
        let row = base.iter().flat_map(|v| v.iter().copied()).chain(positions);
        let row = row.chain(state.velocity.iter().copied());
        observation.iter_mut().zip(row).for_each(|(o, value)| *o = value as f32);
    }

    fn outcome(&mut self, state: &RobotState, _executed: &[f32]) -> TaskOutcome {
        let c = &self.config;
        let torso = Torso::of(state);
        let fallen = torso.height < c.fallen_height_m || -torso.down.z < 0.5;
        let over = self.ticks >= c.max_steps * self.ticks_per_step;
        let success = over && !fallen && self.follows(&(self.sum / self.summed.max(1) as f64));
        let reward = match c.reward {
            Shaping::Sparse => -f32::from(u8::from(fallen || !self.follows(&self.mean))),
            Shaping::Dense => {
                let error = self.mean - self.command;
                let squared_torque = self.squared_torque / self.ticks_per_step as f64;
                let following =
                    (-4.0 * error.xy().norm_squared()).exp() + 0.5 * (-4.0 * error.z.powi(2)).exp();
                (following - c.effort_cost_weight * squared_torque) as f32
            }
        };
        TaskOutcome { reward, terminated: fallen, success }
    }

    /// The command is not to be seen in a picture; the floor's origin is, so that one sees that it walks.
    fn markers(&self) -> Vec<Marker> {
        let shape = MarkerShape::Box([0.05, 0.05, 0.0]);
        vec![Marker { center: [0.0; 3], shape, rgb: [60, 170, 90] }]
    }
}
