//! `ant`: run with a four-legged ant, as Gymnasium's Ant-v5.
//!
//! | | |
//! |---|---|
//! | observation | height and orientation of the torso (5), positions of the joints (8), velocity of the torso, its angular velocity in its own axes (6), velocities of the joints (8), and with `observe_contacts` the torque and force that contacts do to each of 13 parts, each up to 1 (78) |
//! | action | torque of each joint |
//! | reward | `forward_reward_weight` * velocity along x + `healthy_reward` while healthy - `ctrl_cost_weight` * square of the action - `contact_cost_weight` * square of the contacts |
//! | success | the torso has come `success_distance_m` far |
//! | termination | the torso is not within `healthy_height_m` |
//! | truncation | `max_steps` |

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Env, EnvError};

use crate::randomisation::Randomisation;
use crate::render::View;
use crate::tasks::EnvContext;
use crate::tasks::locomotion::{Floating, Health, Rewards, StartVelocity, Walker};
use crate::world::{Softness, Stepping};

const MODEL: &str = include_str!("../../models/ant.xml");
/// By measurement: see docs/worlds.md.
const STEPPING: Stepping =
    Stepping { limits: Some(Softness { frequency_hz: 15.0, damping_ratio: 1.0 }), ..Stepping::new(5) };
const VIEW: View =
    View { eye: [2.6, -3.4, 2.4], target: [0.0, 0.0, 0.4], field_of_view_rad: 0.7, floor_z: 0.0 };
/// In the order of Gymnasium's bodies.
const FELT: [&str; 13] = [
    "ball",
    "shoulder_1",
    "leg_1",
    "foot_1",
    "shoulder_2",
    "leg_2",
    "foot_2",
    "shoulder_3",
    "leg_3",
    "foot_3",
    "shoulder_4",
    "leg_4",
    "foot_4",
];

/// Configuration of [`ant`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AntConfig {
    /// Steps after which an episode is truncated.
    pub max_steps: usize,
    /// Reward for each m/s forward.
    pub forward_reward_weight: f64,
    /// Cost of the square of the action.
    pub ctrl_cost_weight: f64,
    /// Cost of the square of the contact forces and torques.
    pub contact_cost_weight: f64,
    /// Whether contacts are observed, and cost.
    pub observe_contacts: bool,
    /// Reward for each step that is healthy.
    pub healthy_reward: f64,
    /// Whether an episode ends when the robot is not.
    pub terminate_when_unhealthy: bool,
    /// Lowest and highest height of the torso, m.
    pub healthy_height_m: [f64; 2],
    /// Spread of the start, SI units.
    pub reset_noise_scale: f64,
    /// Way that counts as success, m.
    pub success_distance_m: f64,
    /// What is drawn for every episode.
    #[serde(skip_serializing_if = "Randomisation::is_none")]
    pub randomisation: Randomisation,
}

impl Default for AntConfig {
    fn default() -> Self {
        Self {
            max_steps: 1000,
            forward_reward_weight: 1.0,
            ctrl_cost_weight: 0.5,
            contact_cost_weight: 5e-4,
            observe_contacts: true,
            healthy_reward: 1.0,
            terminate_when_unhealthy: true,
            healthy_height_m: [0.2, 1.0],
            reset_noise_scale: 0.1,
            success_distance_m: 25.0,
            randomisation: Randomisation::default(),
        }
    }
}

impl AntConfig {
    /// Builds the environment.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, context: &EnvContext) -> Result<Box<dyn Env>, EnvError> {
        let Self {
            max_steps,
            forward_reward_weight,
            ctrl_cost_weight,
            contact_cost_weight,
            observe_contacts,
            healthy_reward,
            terminate_when_unhealthy,
            healthy_height_m,
            reset_noise_scale,
            success_distance_m,
            randomisation,
        } = self;
        let walker = Walker {
            name: "ant",
            model: MODEL,
            stepping: STEPPING,
            step_secs: 0.05,
            view: VIEW,
            velocity_clip: f64::INFINITY,
            start_velocity: StartVelocity::Normal,
            rewards: Rewards {
                forward: *forward_reward_weight,
                control_cost: *ctrl_cost_weight,
                healthy: *healthy_reward,
            },
            health: Health {
                height_m: *healthy_height_m,
                terminates: *terminate_when_unhealthy,
                ..Health::ALWAYS
            },
            max_steps: *max_steps,
            start_noise: *reset_noise_scale,
            success_distance_m: *success_distance_m,
            floating: Some(Floating {
                height_m: 0.75,
                felt: if *observe_contacts { FELT.to_vec() } else { Vec::new() },
                contact_cost_weight: *contact_cost_weight,
            }),
        };
        walker.build(context, randomisation)
    }
}
