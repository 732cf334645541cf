//! Demonstrator of any task that knows nothing of it: actions drawn evenly, each held for some steps so that the robot gets somewhere.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::policy::{ActMode, Policy, PolicyError, ResetScope};
use surefoot_core::{Rows, RowsMut, Stream};

use super::{DemonstratorContext, check_range, check_shapes};

/// Configuration of [`random`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RandomDemonstratorConfig {
    /// Most steps for which an action is held; how many is drawn evenly.
    pub hold_steps: usize,
    /// Largest size of an action, in units of the action.
    pub scale: f64,
}

impl Default for RandomDemonstratorConfig {
    fn default() -> Self {
        Self { hold_steps: 8, scale: 1.0 }
    }
}

impl RandomDemonstratorConfig {
    /// Builds the demonstrator.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, context: &DemonstratorContext) -> Result<Box<dyn Policy>, PolicyError> {
        let Self { hold_steps, scale } = self;
        check_range("hold_steps", *hold_steps as f64, 1.0, 1e6)?;
        check_range("scale", *scale, 0.0, 1.0)?;
        let action_dim = context.spec.action_dim();
        Ok(Box::new(RandomActions {
            config: self.clone(),
            observation_dim: context.spec.observation_dim(),
            action_dim,
            slots: (0..context.slots).map(|_| Slot::new(0, action_dim)).collect(),
        }))
    }
}

struct Slot {
    noise: Stream,
    action: Vec<f32>,
    left: usize,
}

impl Slot {
    fn new(seed: u64, action_dim: usize) -> Self {
        Self { noise: Stream::new(seed, "random demonstrator", 0), action: vec![0.0; action_dim], left: 0 }
    }
}

struct RandomActions {
    config: RandomDemonstratorConfig,
    observation_dim: usize,
    action_dim: usize,
    slots: Vec<Slot>,
}

impl Policy for RandomActions {
    fn slots(&self) -> usize {
        self.slots.len()
    }

    fn reset(&mut self, slot: usize, _scope: ResetScope, seed: u64) {
        self.slots[slot] = Slot::new(seed, self.action_dim);
    }

    fn act(
        &mut self,
        observations: Rows<'_>,
        _: ActMode,
        mut actions: RowsMut<'_>,
    ) -> Result<(), PolicyError> {
        check_shapes(&observations, &actions, self.observation_dim, self.action_dim, self.slots.len())?;
        let RandomDemonstratorConfig { hold_steps, scale } = self.config;
        for (i, Slot { noise, action, left }) in self.slots.iter_mut().enumerate().take(observations.len()) {
            if *left == 0 {
                *left = 1 + noise.below(hold_steps);
                action.iter_mut().for_each(|a| *a = noise.uniform(-scale, scale) as f32);
            }
            *left -= 1;
            actions.row(i).copy_from_slice(action);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::{EnvConfig, EnvContext};

    #[test]
    fn actions_are_held_within_their_size_and_follow_from_the_seed() {
        let env = EnvConfig::default_of("push").unwrap().build(&EnvContext::default()).unwrap();
        let context = DemonstratorContext { spec: env.spec().clone(), slots: 1 };
        let config = RandomDemonstratorConfig { hold_steps: 4, scale: 0.5 };
        let (o, a) = (env.spec().observation_dim(), env.spec().action_dim());
        let run = |seed| {
            let mut policy = config.build(&context).unwrap();
            policy.reset(0, ResetScope::Task, seed);
            let observation = vec![0.0; o];
            let step = |_| {
                let mut action = vec![0.0; a];
                policy
                    .act(Rows::new(&observation, o), ActMode::Explore, RowsMut::new(&mut action, a))
                    .unwrap();
                action
            };
            (0..200).map(step).collect::<Vec<_>>()
        };
        let (first, again, other) = (run(3), run(3), run(4));
        assert_eq!(first, again);
        assert_ne!(first, other);
        assert!(first.iter().flatten().all(|x| x.abs() <= 0.5));
        let changes = first.windows(2).filter(|w| w[0] != w[1]).count();
        assert!((50..140).contains(&changes), "200 steps in holds of 1 to 4: {changes}");
        for (hold_steps, scale) in [(0, 1.0), (1, 1.5), (1, f64::NAN)] {
            assert!(RandomDemonstratorConfig { hold_steps, scale }.build(&context).is_err());
        }
    }
}
