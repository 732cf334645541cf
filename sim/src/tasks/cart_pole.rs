//! `cart_pole`: balance a pole on a cart by pushing the cart.
//!
//! | | |
//! |---|---|
//! | observation | cart position and velocity, pole angle from upright and angular velocity |
//! | action | force on the cart |
//! | reward | 1 for every step |
//! | termination | the pole leans more than `fall_angle_rad` or the cart leaves the track |
//! | success | the pole still stands when the time is over |
//! | truncation | `max_steps` |

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

const MODEL: &str = include_str!("../../models/cart_pole.xml");
const CONTRACT: &str = include_str!("../../../configs/robots/cart_pole.toml");
const STEPPING: Stepping = Stepping::new(2);
const VIEW: View =
    View { eye: [0.0, -5.4, 1.7], target: [0.0, 0.0, 0.25], field_of_view_rad: 0.50, floor_z: -0.27 };

/// Configuration of [`cart_pole`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CartPoleConfig {
    /// Steps after which an episode is truncated.
    pub max_steps: usize,
    /// Each number of the state starts within this of zero, SI units.
    pub start_spread: f64,
    /// Lean at which the pole counts as fallen, rad.
    pub fall_angle_rad: f64,
    /// Half the length of the track, m.
    pub track_m: f64,
    /// What is drawn for every episode.
    #[serde(skip_serializing_if = "Randomisation::is_none")]
    pub randomisation: Randomisation,
}

impl Default for CartPoleConfig {
    fn default() -> Self {
        Self {
            max_steps: 500,
            start_spread: 0.05,
            fall_angle_rad: 0.2095,
            track_m: 2.4,
            randomisation: Randomisation::default(),
        }
    }
}

impl CartPoleConfig {
    /// Builds the environment.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, _context: &EnvContext) -> Result<Box<dyn Env>, EnvError> {
        let Self { max_steps, start_spread, fall_angle_rad, track_m, randomisation } = self;
        let ranges = [
            ("start_spread", *start_spread, 1.0),
            ("fall_angle_rad", *fall_angle_rad, std::f64::consts::PI),
            ("track_m", *track_m, 2.4),
        ];
        for (key, value, most) in ranges {
            if !(value > 0.0 && value <= most) {
                let what = format!("{key} must be greater than zero and at most {most}, found {value}");
                return Err(build_error("cart_pole", what));
            }
        }
        if *max_steps == 0 {
            return Err(build_error("cart_pole", "max_steps must be at least 1, found 0"));
        }
        let task = CartPoleTask::new(self.clone(), &contract()?)?;
        let world = world()?.with_randomisation(randomisation);
        randomisation.around(Box::new(RobotEnv::new(Box::new(task), Box::new(world), 0.0)?))
    }
}

fn contract() -> Result<RobotContract, EnvError> {
    RobotContract::parse(CONTRACT, Path::new("configs/robots/cart_pole.toml"))
        .map_err(|e| build_error("cart_pole", e))
}

fn world() -> Result<RapierWorld, EnvError> {
    let model = Model::parse("cart_pole", MODEL).map_err(|e| build_error("cart_pole", e))?;
    let world =
        RapierWorld::new(contract()?, Arc::new(model), STEPPING).map_err(|e| build_error("cart_pole", e))?;
    Ok(world.with_view(VIEW))
}

/// The task over any robot with a driven slide that carries a free hinge.
struct CartPoleTask {
    config: CartPoleConfig,
    spec: EnvSpec,
    max_effort: f64,
    ticks: usize,
    max_ticks: usize,
}

impl CartPoleTask {
    fn new(config: CartPoleConfig, contract: &RobotContract) -> Result<Self, EnvError> {
        let max_effort = contract.joints[0].max_effort.unwrap_or(1.0);
        let force = max_effort as f32;
        let spec = EnvSpec {
            name: "cart_pole".to_owned(),
            observation: vec![
                Field::unbounded("cart_position", "m"),
                Field::unbounded("cart_velocity", "m/s"),
                Field::unbounded("pole_angle", "rad"),
                Field::unbounded("pole_velocity", "rad/s"),
            ],
            action: vec![Field::bounded("force", "N", -force, force)],
            step_secs: 1.0 / contract.policy_hz,
            max_steps: config.max_steps,
            reward_range: Some((1.0, 1.0)),
            contract_hash: Some(contract.hash()),
        };
        let ticks_per_step = contract.ticks_per_step().map_err(|e| build_error("cart_pole", e))?;
        let max_ticks = ticks_per_step * config.max_steps;
        Ok(Self { config, spec, max_effort, ticks: 0, max_ticks })
    }
}

impl Task for CartPoleTask {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, stream: &mut Stream, initial: &mut RobotState) {
        let spread = self.config.start_spread;
        for value in initial.position.iter_mut().chain(&mut initial.velocity) {
            *value = stream.uniform(-spread, spread);
        }
        self.ticks = 0;
    }

    fn desired(&mut self, _: &RobotState, _: CommandState<'_>, action: &[f32], desired: &mut [f64]) {
        self.ticks += 1;
        desired[0] = f64::from(action[0].clamp(-1.0, 1.0)) * self.max_effort;
        desired[1] = 0.0;
    }

    fn executed(&self, _: &[f64], _: &[f64], effort: &[f64], _: f64, action: &mut [f32]) {
        action[0] = (effort[0] / self.max_effort) as f32;
    }

    fn observe(&mut self, state: &RobotState, observation: &mut [f32]) {
        let row = [state.position[0], state.velocity[0], state.position[1], state.velocity[1]];
        observation.copy_from_slice(&row.map(|x| x as f32));
    }

    fn outcome(&mut self, state: &RobotState, _executed: &[f32]) -> TaskOutcome {
        let c = &self.config;
        let terminated = state.position[1].abs() > c.fall_angle_rad || state.position[0].abs() > c.track_m;
        TaskOutcome { reward: 1.0, terminated, success: !terminated && self.ticks >= self.max_ticks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use surefoot_core::{Robot, StepEnd, World};

    /// Equations of motion of a point cart and a uniform pole, integrated by RK4: an independent reference.
    fn reference(mut s: [f64; 4], force: impl Fn(f64) -> f64, secs: f64) -> [f64; 4] {
        let (cart, pole, half, inertia) = (1.0, 0.1, 0.5, 0.1 / 12.0);
        let rate = |s: &[f64; 4], f: f64| {
            let [_, v, q, w] = *s;
            let (sin, cos) = q.sin_cos();
            // Mass matrix [[M + m, m l cos], [m l cos, I + m l^2]] against forces.
            let (a, b, d) = (cart + pole, pole * half * cos, inertia + pole * half * half);
            let (f0, f1) = (f + pole * half * w * w * sin, pole * 9.81 * half * sin);
            let det = a * d - b * b;
            [v, (d * f0 - b * f1) / det, w, (a * f1 - b * f0) / det]
        };
        let h = 1e-4;
        for k in 0..(secs / h).round() as usize {
            let t = k as f64 * h;
            let add = |s: &[f64; 4], r: &[f64; 4], h: f64| std::array::from_fn(|i| s[i] + r[i] * h);
            let k1 = rate(&s, force(t));
            let k2 = rate(&add(&s, &k1, h / 2.0), force(t + h / 2.0));
            let k3 = rate(&add(&s, &k2, h / 2.0), force(t + h / 2.0));
            let k4 = rate(&add(&s, &k3, h), force(t + h));
            s = std::array::from_fn(|i| s[i] + h / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]));
        }
        s
    }

    #[test]
    fn it_moves_by_the_closed_form_equations() {
        let mut world = world().unwrap();
        let mut state = RobotState { position: vec![0.0, 0.3], velocity: vec![0.0; 2], channels: vec![] };
        world.reset(&state).unwrap();
        let mut chain = world.contract().safety_chain().unwrap();
        chain.arm(&state.position).unwrap();
        // The force is held for a tick, in the reference as well.
        let force = |t: f64| 4.0 * (5.0 * ((t + 1e-9) / 0.01).floor() * 0.01).sin();
        for k in 0..100 {
            world.write(chain.admit(&[force(f64::from(k) * 0.01), 0.0])).unwrap();
        }
        world.read(&mut state).unwrap();
        let exact = reference([0.0, 0.0, 0.3, 0.0], force, 1.0);
        let found = [state.position[0], state.velocity[0], state.position[1], state.velocity[1]];
        for (f, e) in found.iter().zip(exact) {
            assert!((f - e).abs() < 0.03, "{found:?} against {exact:?}");
        }
    }

    #[test]
    fn energy_is_kept_while_nothing_pushes() {
        let mut world = world().unwrap();
        let mut state = RobotState { position: vec![0.0, 2.5], velocity: vec![0.0; 2], channels: vec![] };
        world.reset(&state).unwrap();
        let mut chain = world.contract().safety_chain().unwrap();
        chain.arm(&state.position).unwrap();
        let energy = |s: &RobotState| {
            let (v, q, w) = (s.velocity[0], s.position[1], s.velocity[1]);
            let kinetic = 0.5 * 1.1 * v * v + 0.05 * v * w * q.cos() + 0.5 * (0.1 / 12.0 + 0.025) * w * w;
            kinetic + 0.1 * 9.81 * 0.5 * q.cos()
        };
        let start = energy(&state);
        let mut worst = 0.0_f64;
        for _ in 0..1000 {
            world.write(chain.admit(&[0.0, 0.0])).unwrap();
            world.read(&mut state).unwrap();
            worst = worst.max((energy(&state) - start).abs());
        }
        assert!(worst < 0.03 * 2.0 * 0.4905, "{worst}");
    }

    #[test]
    fn a_fallen_pole_terminates_and_a_balanced_one_succeeds() {
        let mut env = CartPoleConfig::default().build(&EnvContext::default()).unwrap();
        let (mut o, mut e) = ([0.0; 4], [0.0]);
        env.reset(0, &mut o).unwrap();
        let mut outcome = env.step(&[1.0], &mut o, &mut e).unwrap();
        while !outcome.end.is_last() {
            outcome = env.step(&[1.0], &mut o, &mut e).unwrap();
        }
        assert_eq!((outcome.end, outcome.success, outcome.reward), (StepEnd::Terminated, false, 1.0));
        for seed in 0..5 {
            env.reset(seed, &mut o).unwrap();
            let mut steps = 0;
            loop {
                let [x, v, q, w] = o;
                let push = (0.1 * x + 0.3 * v + 3.0 * q + 0.8 * w).clamp(-1.0, 1.0);
                outcome = env.step(&[push], &mut o, &mut e).unwrap();
                steps += 1;
                if outcome.end.is_last() {
                    break;
                }
            }
            assert_eq!((outcome.end, outcome.success, steps), (StepEnd::Truncated, true, 500), "seed {seed}");
        }
    }
}
