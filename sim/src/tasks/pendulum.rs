//! `pendulum`: swing up a pendulum whose motor is too weak to lift it directly.
//!
//! | | |
//! |---|---|
//! | observation | cosine and sine of the angle from upright, angular velocity |
//! | action | motor torque |
//! | reward | `-(angle^2 + 0.1 velocity^2 + 0.001 torque^2)`, with the velocity counted up to 8 rad/s |
//! | success | within 0.2 rad of upright and slower than 0.5 rad/s |
//! | truncation | `max_steps`; the task never terminates |

use std::f64::consts::{PI, TAU};
use std::path::Path;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::safety::CommandState;
use surefoot_core::{
    Env, EnvError, EnvSpec, Field, RobotContract, RobotEnv, RobotState, Stream, Task, TaskOutcome,
};

use crate::model::Model;
use crate::randomisation::Randomisation;
use crate::render::View;
use crate::tasks::{EnvContext, build_error};
use crate::world::{RapierWorld, Stepping};

const MODEL: &str = include_str!("../../models/pendulum.xml");
const CONTRACT: &str = include_str!("../../../configs/robots/pendulum.toml");
const STEPPING: Stepping = Stepping::new(2);
const VIEW: View =
    View { eye: [0.7, -2.4, 0.55], target: [0.0, 0.0, -0.06], field_of_view_rad: 0.62, floor_z: -0.72 };
/// Velocity up to which the reward counts it, rad/s.
const COUNTED_VELOCITY: f64 = 8.0;

/// Configuration of [`pendulum`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PendulumConfig {
    /// Steps after which an episode is truncated.
    pub max_steps: usize,
    /// Largest distance of the start from hanging down, rad.
    pub start_angle_rad: f64,
    /// Largest angular velocity at the start, rad/s.
    pub start_velocity_rad_per_sec: f64,
    /// What is drawn for every episode.
    #[serde(skip_serializing_if = "Randomisation::is_none")]
    pub randomisation: Randomisation,
}

impl Default for PendulumConfig {
    fn default() -> Self {
        Self {
            max_steps: 200,
            start_angle_rad: PI,
            start_velocity_rad_per_sec: 1.0,
            randomisation: Randomisation::default(),
        }
    }
}

impl PendulumConfig {
    /// Builds the environment.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, _context: &EnvContext) -> Result<Box<dyn Env>, EnvError> {
        let Self { max_steps, start_angle_rad, start_velocity_rad_per_sec, randomisation } = self;
        let ranges = [
            ("start_angle_rad", *start_angle_rad),
            ("start_velocity_rad_per_sec", *start_velocity_rad_per_sec),
        ];
        for (key, value) in ranges {
            if !(value.is_finite() && value >= 0.0) {
                return Err(build_error("pendulum", format!("{key} must not be negative, found {value}")));
            }
        }
        if *max_steps == 0 {
            return Err(build_error("pendulum", "max_steps must be at least 1, found 0"));
        }
        let world = world()?.with_randomisation(randomisation);
        let task = PendulumTask::new(self.clone(), &contract()?);
        randomisation.around(Box::new(RobotEnv::new(Box::new(task), Box::new(world), 0.0)?))
    }
}

fn contract() -> Result<RobotContract, EnvError> {
    RobotContract::parse(CONTRACT, Path::new("configs/robots/pendulum.toml"))
        .map_err(|e| build_error("pendulum", e))
}

fn world() -> Result<RapierWorld, EnvError> {
    let model = Model::parse("pendulum", MODEL).map_err(|e| build_error("pendulum", e))?;
    let world =
        RapierWorld::new(contract()?, Arc::new(model), STEPPING).map_err(|e| build_error("pendulum", e))?;
    Ok(world.with_view(VIEW))
}

/// The task over any robot with one driven hinge that hangs down at 0.
struct PendulumTask {
    config: PendulumConfig,
    spec: EnvSpec,
    max_effort: f64,
}

impl PendulumTask {
    fn new(config: PendulumConfig, contract: &RobotContract) -> Self {
        let max_effort = contract.joints[0].max_effort.unwrap_or(1.0);
        let lowest = -(PI * PI + 0.1 * COUNTED_VELOCITY * COUNTED_VELOCITY + 0.001 * max_effort * max_effort);
        let torque = max_effort as f32;
        let spec = EnvSpec {
            name: "pendulum".to_owned(),
            observation: vec![
                Field::bounded("cos_angle", "1", -1.0, 1.0),
                Field::bounded("sin_angle", "1", -1.0, 1.0),
                Field::unbounded("angular_velocity", "rad/s"),
            ],
            action: vec![Field::bounded("torque", "N m", -torque, torque)],
            step_secs: 1.0 / contract.policy_hz,
            max_steps: config.max_steps,
            reward_range: Some((lowest as f32, 0.0)),
            contract_hash: Some(contract.hash()),
        };
        Self { config, spec, max_effort }
    }
}

/// Angle from upright in `[-pi, pi)`.
fn from_upright(position: f64) -> f64 {
    position.rem_euclid(TAU) - PI
}

impl Task for PendulumTask {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, stream: &mut Stream, initial: &mut RobotState) {
        let (angle, velocity) = (self.config.start_angle_rad, self.config.start_velocity_rad_per_sec);
        initial.position[0] = stream.uniform(-angle, angle);
        initial.velocity[0] = stream.uniform(-velocity, velocity);
    }

    fn desired(&mut self, _: &RobotState, _: CommandState<'_>, action: &[f32], desired: &mut [f64]) {
        desired[0] = f64::from(action[0].clamp(-1.0, 1.0)) * self.max_effort;
    }

    fn executed(&self, _: &[f64], _: &[f64], effort: &[f64], _: f64, action: &mut [f32]) {
        action[0] = (effort[0] / self.max_effort) as f32;
    }

    fn observe(&mut self, state: &RobotState, observation: &mut [f32]) {
        let (sin, cos) = from_upright(state.position[0]).sin_cos();
        observation.copy_from_slice(&[cos as f32, sin as f32, state.velocity[0] as f32]);
    }

    fn outcome(&mut self, state: &RobotState, executed: &[f32]) -> TaskOutcome {
        let angle = from_upright(state.position[0]);
        let velocity = state.velocity[0].clamp(-COUNTED_VELOCITY, COUNTED_VELOCITY);
        let torque = f64::from(executed[0]) * self.max_effort;
        let cost = angle * angle + 0.1 * velocity * velocity + 0.001 * torque * torque;
        let success = angle.abs() < 0.2 && velocity.abs() < 0.5;
        TaskOutcome { reward: -cost as f32, terminated: false, success }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use surefoot_core::{Robot, World};

    const INERTIA: f64 = 0.27;
    const WEIGHT: f64 = 9.81 * 0.5;

    fn swing(angle: f64, secs: f64) -> Vec<(f64, f64)> {
        let mut world = world().unwrap();
        let ticks = (secs * world.contract().control_hz).round() as usize;
        let mut state = RobotState { position: vec![angle], velocity: vec![0.0], channels: vec![] };
        world.reset(&state).unwrap();
        let mut chain = world.contract().safety_chain().unwrap();
        chain.arm(&state.position).unwrap();
        let mut trace = Vec::new();
        for _ in 0..ticks {
            world.write(chain.admit(&[0.0])).unwrap();
            world.read(&mut state).unwrap();
            trace.push((state.position[0], state.velocity[0]));
        }
        trace
    }

    /// Period by the arithmetic-geometric mean: exact for any amplitude.
    fn closed_form_period(amplitude: f64) -> f64 {
        let (mut a, mut b) = (1.0_f64, (amplitude / 2.0).cos());
        for _ in 0..30 {
            (a, b) = ((a + b) / 2.0, (a * b).sqrt());
        }
        TAU / (WEIGHT / INERTIA).sqrt() / a
    }

    fn measured_period(trace: &[(f64, f64)]) -> f64 {
        // Downward passages through zero, interpolated.
        let passages: Vec<f64> = trace
            .windows(2)
            .enumerate()
            .filter(|(_, w)| w[0].0 > 0.0 && w[1].0 <= 0.0)
            .map(|(i, w)| (i as f64 + w[0].0 / (w[0].0 - w[1].0)) * 0.01)
            .collect();
        (passages[passages.len() - 1] - passages[0]) / (passages.len() - 1) as f64
    }

    #[test]
    fn the_period_is_the_closed_form_at_small_and_large_amplitude() {
        for amplitude in [0.1, 1.0, 2.5] {
            let period = measured_period(&swing(amplitude, 20.0));
            let exact = closed_form_period(amplitude);
            assert!((period / exact - 1.0).abs() < 2e-3, "{amplitude}: {period} against {exact}");
        }
    }

    #[test]
    fn energy_is_kept_over_twenty_seconds_of_free_swing() {
        let energy = |(q, v): (f64, f64)| 0.5 * INERTIA * v * v - WEIGHT * q.cos();
        let start = energy((2.0, 0.0));
        let worst = swing(2.0, 20.0).into_iter().map(|s| (energy(s) - start).abs()).fold(0.0, f64::max);
        // The height of the swing is 2 m g l; a semi-implicit step errs by a bounded, first-order amount.
        assert!(worst < 0.02 * 2.0 * WEIGHT, "{worst}");
        // No drift: the amplitude of the last seconds is that of the first.
        let peak = |from: usize, trace: &[(f64, f64)]| {
            trace[from..from + 300].iter().map(|s| s.0).fold(0.0, f64::max)
        };
        let trace = swing(2.0, 20.0);
        assert!((peak(0, &trace) - peak(1700, &trace)).abs() < 5e-3);
    }

    #[test]
    fn the_motor_cannot_lift_it_but_holds_part_of_the_weight() {
        let mut env =
            PendulumConfig { start_angle_rad: 0.0, start_velocity_rad_per_sec: 0.0, ..Default::default() }
                .build(&EnvContext::default())
                .unwrap();
        let (mut o, mut e) = ([0.0; 3], [0.0]);
        env.reset(1, &mut o).unwrap();
        let mut highest = -1.0_f32;
        for _ in 0..100 {
            let outcome = env.step(&[2.0], &mut o, &mut e).unwrap();
            assert_eq!(e, [1.0], "an action beyond 1 is executed as 1");
            assert_eq!(outcome.safety.violations, 0);
            highest = highest.max(o[0]);
        }
        assert!(highest < 0.0, "full torque alone must not lift it, reached cos {highest}");
        // A NaN is refused by the chain, not executed.
        let outcome = env.step(&[f32::NAN], &mut o, &mut e).unwrap();
        assert_eq!((outcome.safety.stops, e[0]), (5, 0.0));
    }
}
