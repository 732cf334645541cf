//! Environments: a task in a world. One file and one registry line each.

pub mod ant;
pub mod cart_pole;
pub mod door;
pub mod half_cheetah;
pub mod hopper;
mod locomotion;
pub mod model;
pub mod peg_insert;
pub mod pen;
pub mod pendulum;
pub mod push;
pub mod quadruped;
pub mod reach;
pub mod relocate;
pub mod walker2d;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Env, EnvError};

use crate::families;
use crate::world::Stepping;

/// What every environment is built in.
#[derive(Clone, Copy, Debug, Default)]
pub struct EnvContext {
    /// How a walker's world is stepped in place of its own way: for comparisons.
    pub stepping: Option<Stepping>,
}

surefoot_core::registry! {
    /// A choice of environment.
    pub enum EnvConfig: fn(&EnvContext) -> Result<Box<dyn Env>, EnvError> {
        /// Swing up a torque-limited pendulum; dense reward.
        Pendulum(pendulum::PendulumConfig) = "pendulum",
        /// Balance a pole on a cart; a reward of 1 a step.
        CartPole(cart_pole::CartPoleConfig) = "cart_pole",
        /// Bring the tool of a seven-joint arm to a place over the table; sparse or dense reward.
        Reach(reach::ReachConfig) = "reach",
        /// A seven-joint arm pushes a puck over a table into a goal region; sparse reward.
        Push(push::PushConfig) = "push",
        /// A seven-joint arm opens a latched door; sparse or dense reward.
        Door(door::DoorConfig) = "door",
        /// A seven-joint arm puts a peg into a hole; sparse or dense reward.
        PegInsert(peg_insert::PegInsertConfig) = "peg_insert",
        /// A seven-joint arm with two fingers brings a ball to a place over the table; sparse or dense reward.
        Relocate(relocate::RelocateConfig) = "relocate",
        /// A four-fingered hand turns a pen that lies on its palm; sparse or dense reward.
        Pen(pen::PenConfig) = "pen",
        /// A four-legged robot follows a commanded velocity; dense or sparse reward.
        Quadruped(quadruped::QuadrupedConfig) = "quadruped",
        /// Run with a planar cheetah; dense reward, as Gymnasium's HalfCheetah-v5.
        HalfCheetah(half_cheetah::HalfCheetahConfig) = "half_cheetah",
        /// Hop with a planar leg; dense reward, as Gymnasium's Hopper-v5.
        Hopper(hopper::HopperConfig) = "hopper",
        /// Walk with two planar legs; dense reward, as Gymnasium's Walker2d-v5.
        Walker2d(walker2d::Walker2dConfig) = "walker2d",
        /// Run with a four-legged ant; dense reward, as Gymnasium's Ant-v5.
        Ant(ant::AntConfig) = "ant",
        /// A model of one's own, with a task in named terms; without a path, the example of docs/worlds.md.
        Model(model::ModelConfig) = "model",
        /// Ten arms, one of which pays.
        AdversarialBandit(families::adversarial_bandit::AdversarialBanditConfig) = "adversarial_bandit",
        /// Arms that each pay with a chance of its own.
        BernoulliBandit(families::bernoulli_bandit::BernoulliBanditConfig) = "bernoulli_bandit",
        /// Find an invisible goal in a room of 9 x 9 cells.
        DarkRoom(families::dark_room::DarkRoomConfig) = "dark_room",
        /// Find an invisible goal in a room of 17 x 17 cells; a reward of 1 once.
        DarkRoomHard(families::dark_room_hard::DarkRoomHardConfig) = "dark_room_hard",
        /// Find an invisible key and then an invisible door.
        DarkKeyToDoor(families::dark_key_to_door::DarkKeyToDoorConfig) = "dark_key_to_door",
        /// Find an invisible disc over the table with the tool of a seven-joint arm.
        ReachDark(families::reach_dark::ReachDarkConfig) = "reach_dark",
        /// Hold the tool of a seven-joint arm over the puck; which joint each actuator moves is not seen.
        ActuatorScramble(families::actuator_scramble::ActuatorScrambleConfig) = "actuator_scramble",
        /// Slide a puck to a target; what its mass and the board's friction are is not seen.
        Shuffleboard(families::shuffleboard::ShuffleboardConfig) = "shuffleboard",
        /// Find an invisible platform in a round pool that is seen in first person, as pixels.
        Watermaze(families::watermaze::WatermazeConfig) = "watermaze",
    }
}

/// What a step of a task with a goal is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shaping {
    /// -1 until the goal is reached, 0 for the step that reaches it.
    #[default]
    Sparse,
    /// How far off the goal is, in the terms of the task; 0 at best.
    Dense,
}

/// Refuses an episode of no steps, and ranges that are not `[low, high]` with `low < high`.
pub(crate) fn check_ranges(env: &str, max_steps: usize, ranges: &[(&str, [f64; 2])]) -> Result<(), EnvError> {
    if max_steps == 0 {
        return Err(build_error(env, "max_steps must be at least 1, found 0"));
    }
    for (key, [low, high]) in ranges {
        if !(low.is_finite() && high.is_finite() && low < high) {
            let what = format!("{key} must be [low, high] with low < high, found [{low}, {high}]");
            return Err(build_error(env, what));
        }
    }
    Ok(())
}

/// Refuses a number that is not within its bounds: key, value, lowest, highest.
pub(crate) fn check_bounds(env: &str, numbers: &[(&str, f64, f64, f64)]) -> Result<(), EnvError> {
    for (key, value, low, high) in numbers {
        if !(low <= value && value <= high) {
            return Err(build_error(env, format!("{key} must be between {low} and {high}, found {value}")));
        }
    }
    Ok(())
}

/// Wraps what went wrong in building `env`.
pub(crate) fn build_error(env: &str, error: impl std::fmt::Display) -> EnvError {
    EnvError::Build { env: env.to_owned(), reason: error.to_string() }
}
