//! `dark_room_hard`: a [dark room](super::dark_room) of 17 x 17 cells whose goal pays once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Env, EnvError, TaskFamily};

use super::FamilyContext;
use super::dark_room::{DarkRooms, Rules};
use crate::tasks::EnvContext;

const SIZE: usize = 17;
const HORIZON: usize = 20;

fn rules() -> Result<Rules, EnvError> {
    Rules::new("dark_room_hard", SIZE, HORIZON, true)
}

/// Configuration of one room: `[env.dark_room_hard]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DarkRoomHardConfig {
    /// The goal's cell, `[x, y]` from the corner.
    pub goal: [usize; 2],
}

impl Default for DarkRoomHardConfig {
    fn default() -> Self {
        Self { goal: [13, 4] }
    }
}

impl DarkRoomHardConfig {
    /// Builds the environment.
    ///
    /// # Errors
    /// When the goal is not in the room.
    pub fn build(&self, _context: &EnvContext) -> Result<Box<dyn Env>, EnvError> {
        let Self { goal } = self;
        rules()?.room(&goal.map(|x| x as f32))
    }
}

/// Configuration of the family: `[family.dark_room_hard]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DarkRoomHardFamilyConfig {
    /// Goals that are kept for judging, as many near as far; all others but the centre are trained on.
    pub test_goals: usize,
    /// Which ones: another seed is another split.
    pub split_seed: u64,
}

impl Default for DarkRoomHardFamilyConfig {
    fn default() -> Self {
        Self { test_goals: 58, split_seed: 0 }
    }
}

impl DarkRoomHardFamilyConfig {
    /// Builds the family.
    ///
    /// # Errors
    /// When there are not as many goals.
    pub fn build(&self, _context: &FamilyContext) -> Result<Box<dyn TaskFamily>, EnvError> {
        let Self { test_goals, split_seed } = self;
        Ok(Box::new(DarkRooms::new(rules()?, *test_goals, *split_seed)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use surefoot_core::TaskSplit;

    #[test]
    fn every_goal_can_be_reached_and_pays_once() {
        let family = DarkRoomHardFamilyConfig::default().build(&FamilyContext {}).unwrap();
        let splits = [TaskSplit::Train, TaskSplit::TestIn].map(|s| family.tasks(s));
        assert_eq!(splits.each_ref().map(Vec::len), [230, 58]);
        assert!(splits.iter().flatten().all(|t| t.optimal_return == 1.0 && t.random_return < 0.5));
    }
}
