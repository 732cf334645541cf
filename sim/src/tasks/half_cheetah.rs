//! `half_cheetah`: run with a planar cheetah, as Gymnasium's HalfCheetah-v5.
//!
//! | | |
//! |---|---|
//! | observation | positions of the joints but the way along x (8), velocities of all joints (9) |
//! | action | torque of each driven joint |
//! | reward | `forward_reward_weight` * velocity along x - `ctrl_cost_weight` * square of the action |
//! | success | the torso has come `success_distance_m` far |
//! | termination | never |
//! | truncation | `max_steps` |

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Env, EnvError};

use crate::randomisation::Randomisation;
use crate::render::View;
use crate::tasks::EnvContext;
use crate::tasks::locomotion::{Health, Rewards, StartVelocity, Walker};
use crate::world::{Softness, Stepping};

const MODEL: &str = include_str!("../../models/half_cheetah.xml");
/// By measurement: see docs/worlds.md.
const STEPPING: Stepping =
    Stepping { limits: Some(Softness { frequency_hz: 15.0, damping_ratio: 1.0 }), ..Stepping::new(5) };
const VIEW: View =
    View { eye: [0.0, -3.6, 1.5], target: [0.0, 0.0, 0.6], field_of_view_rad: 0.7, floor_z: 0.0 };

/// Configuration of [`half_cheetah`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HalfCheetahConfig {
    /// Steps after which an episode is truncated.
    pub max_steps: usize,
    /// Reward for each m/s forward.
    pub forward_reward_weight: f64,
    /// Cost of the square of the action.
    pub ctrl_cost_weight: f64,
    /// Spread of the start, SI units.
    pub reset_noise_scale: f64,
    /// Way that counts as success, m.
    pub success_distance_m: f64,
    /// What is drawn for every episode.
    #[serde(skip_serializing_if = "Randomisation::is_none")]
    pub randomisation: Randomisation,
}

impl Default for HalfCheetahConfig {
    fn default() -> Self {
        Self {
            max_steps: 1000,
            forward_reward_weight: 1.0,
            ctrl_cost_weight: 0.1,
            reset_noise_scale: 0.1,
            success_distance_m: 100.0,
            randomisation: Randomisation::default(),
        }
    }
}

impl HalfCheetahConfig {
    /// Builds the environment.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, context: &EnvContext) -> Result<Box<dyn Env>, EnvError> {
        let Self {
            max_steps,
            forward_reward_weight,
            ctrl_cost_weight,
            reset_noise_scale,
            success_distance_m,
            randomisation,
        } = self;
        let walker = Walker {
            name: "half_cheetah",
            model: MODEL,
            stepping: STEPPING,
            step_secs: 0.05,
            view: VIEW,
            velocity_clip: f64::INFINITY,
            start_velocity: StartVelocity::Normal,
            rewards: Rewards {
                forward: *forward_reward_weight,
                control_cost: *ctrl_cost_weight,
                healthy: 0.0,
            },
            health: Health::ALWAYS,
            max_steps: *max_steps,
            start_noise: *reset_noise_scale,
            success_distance_m: *success_distance_m,
            floating: None,
        };
        walker.build(context, randomisation)
    }
}
