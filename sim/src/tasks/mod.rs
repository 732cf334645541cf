//! Environments: a task in a world. One file and one registry line each.

pub mod cart_pole;
pub mod pendulum;
pub mod push;
pub mod reach;

use surefoot_core::{Env, EnvError};

use crate::families;

/// What every environment is built in.
#[derive(Clone, Copy, Debug, Default)]
pub struct EnvContext {}

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
        /// Slide a puck to a target; what its mass and the board's friction are is not seen.
        Shuffleboard(families::shuffleboard::ShuffleboardConfig) = "shuffleboard",
    }
}

/// Wraps what went wrong in building `env`.
pub(crate) fn build_error(env: &str, error: impl std::fmt::Display) -> EnvError {
    EnvError::Build { env: env.to_owned(), reason: error.to_string() }
}
