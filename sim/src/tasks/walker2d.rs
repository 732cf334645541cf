//! `walker2d`: walk with two planar legs, as Gymnasium's Walker2d-v5.
//!
//! | | |
//! |---|---|
//! | observation | positions of the joints but the way along x (8), velocities of all joints (9), up to 10 |
//! | action | torque of each driven joint |
//! | reward | `forward_reward_weight` * velocity along x + `healthy_reward` while healthy - `ctrl_cost_weight` * square of the action |
//! | success | the torso has come `success_distance_m` far |
//! | termination | the torso is not within `healthy_height_m` or leans more than `healthy_pitch_rad` |
//! | truncation | `max_steps` |

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Env, EnvError};

use crate::randomisation::Randomisation;
use crate::render::View;
use crate::tasks::EnvContext;
use crate::tasks::locomotion::{Health, Rewards, StartVelocity, Walker};
use crate::world::{Softness, Stepping};

const MODEL: &str = include_str!("../../models/walker2d.xml");
/// By measurement: see docs/worlds.md.
const STEPPING: Stepping =
    Stepping { limits: Some(Softness { frequency_hz: 15.0, damping_ratio: 1.0 }), ..Stepping::new(4) };
const VIEW: View =
    View { eye: [0.0, -3.6, 1.5], target: [0.0, 0.0, 0.6], field_of_view_rad: 0.7, floor_z: 0.0 };

/// Configuration of [`walker2d`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Walker2dConfig {
    /// Steps after which an episode is truncated.
    pub max_steps: usize,
    /// Reward for each m/s forward.
    pub forward_reward_weight: f64,
    /// Cost of the square of the action.
    pub ctrl_cost_weight: f64,
    /// Reward for each step that is healthy.
    pub healthy_reward: f64,
    /// Whether an episode ends when the robot is not.
    pub terminate_when_unhealthy: bool,
    /// Lowest and highest height of the torso, m.
    pub healthy_height_m: [f64; 2],
    /// Lowest and highest lean of the torso, rad.
    pub healthy_pitch_rad: [f64; 2],
    /// Spread of the start, SI units.
    pub reset_noise_scale: f64,
    /// Way that counts as success, m.
    pub success_distance_m: f64,
    /// What is drawn for every episode.
    #[serde(skip_serializing_if = "Randomisation::is_none")]
    pub randomisation: Randomisation,
}

impl Default for Walker2dConfig {
    fn default() -> Self {
        Self {
            max_steps: 1000,
            forward_reward_weight: 1.0,
            ctrl_cost_weight: 1e-3,
            healthy_reward: 1.0,
            terminate_when_unhealthy: true,
            healthy_height_m: [0.8, 2.0],
            healthy_pitch_rad: [-1.0, 1.0],
            reset_noise_scale: 5e-3,
            success_distance_m: 8.0,
            randomisation: Randomisation::default(),
        }
    }
}

impl Walker2dConfig {
    /// Builds the environment.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, context: &EnvContext) -> Result<Box<dyn Env>, EnvError> {
        let Self {
            max_steps,
            forward_reward_weight,
            ctrl_cost_weight,
            healthy_reward,
            terminate_when_unhealthy,
            healthy_height_m,
            healthy_pitch_rad,
            reset_noise_scale,
            success_distance_m,
            randomisation,
        } = self;
        let walker = Walker {
            name: "walker2d",
            model: MODEL,
            stepping: STEPPING,
            step_secs: 0.008,
            view: VIEW,
            velocity_clip: 10.0,
            start_velocity: StartVelocity::Even,
            rewards: Rewards {
                forward: *forward_reward_weight,
                control_cost: *ctrl_cost_weight,
                healthy: *healthy_reward,
            },
            health: Health {
                height_m: *healthy_height_m,
                pitch_rad: *healthy_pitch_rad,
                state: f64::INFINITY,
                terminates: *terminate_when_unhealthy,
            },
            max_steps: *max_steps,
            start_noise: *reset_noise_scale,
            success_distance_m: *success_distance_m,
            floating: None,
        };
        walker.build(context, randomisation)
    }
}
