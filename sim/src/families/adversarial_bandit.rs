//! `adversarial_bandit`: one arm pays, and which one it is has another distribution when judged than in training.
//!
//! | | |
//! |---|---|
//! | observation | nothing (a choice of one) |
//! | action | an arm, counted from 0 (a choice) |
//! | reward | 1 with the arm's chance, otherwise 0 |
//! | truncation | after `trials` pulls |
//! | hidden | the chances: `params`, one for each arm |
//!
//! In training, and in the test split of the same distribution, the paying arm is an odd one in a share `odd_share` of the tasks; in the split
//! outside of it an even one. Where arXiv 2210.14215 (section 4) leaves open how much arms pay, ranges are settings here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Env, EnvError, Stream, TaskFamily, TaskSplit};

use super::FamilyContext;
use super::bandit::{Bandits, Counts, bandit, spec};
use crate::tasks::{EnvContext, build_error};

const NAME: &str = "adversarial_bandit";

/// Configuration of one [bandit](self): `[env.adversarial_bandit]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdversarialBanditConfig {
    /// Arms.
    pub arms: usize,
    /// Pulls of an episode.
    pub trials: usize,
    /// The arm that pays, from 0.
    pub paying_arm: usize,
    /// Its chance to pay.
    pub paying_chance: f32,
    /// The others' chance to pay.
    pub other_chance: f32,
}

impl Default for AdversarialBanditConfig {
    fn default() -> Self {
        Self { arms: 10, trials: 100, paying_arm: 4, paying_chance: 0.9, other_chance: 0.1 }
    }
}

impl AdversarialBanditConfig {
    /// Builds the environment.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, _context: &EnvContext) -> Result<Box<dyn Env>, EnvError> {
        let Self { arms, trials, paying_arm, paying_chance, other_chance } = *self;
        let spec = spec(NAME, arms, trials)?;
        if paying_arm >= arms {
            return Err(build_error(NAME, format!("paying_arm = {paying_arm}: expected 0 to {}", arms - 1)));
        }
        let mut chances = vec![other_chance; arms];
        chances[paying_arm] = paying_chance;
        bandit(&spec, &chances)
    }
}

/// Configuration of the [family](self): `[family.adversarial_bandit]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdversarialBanditFamilyConfig {
    /// Arms.
    pub arms: usize,
    /// Pulls of an episode.
    pub trials: usize,
    /// Share of the tasks whose paying arm is odd, in training; outside of its distribution the share whose paying arm is even.
    pub odd_share: f64,
    /// Least and largest chance of the paying arm.
    pub paying_chance: [f64; 2],
    /// Least and largest chance of the others.
    pub other_chance: [f64; 2],
    /// Bandits that are trained on.
    pub train_tasks: usize,
    /// Bandits of each of both splits that are kept for judging.
    pub test_tasks: usize,
    /// Which ones: another seed is another split.
    pub split_seed: u64,
}

impl Default for AdversarialBanditFamilyConfig {
    fn default() -> Self {
        Self {
            arms: 10,
            trials: 100,
            odd_share: 0.95,
            paying_chance: [0.7, 0.95],
            other_chance: [0.05, 0.35],
            train_tasks: 5000,
            test_tasks: 200,
            split_seed: 0,
        }
    }
}

impl AdversarialBanditFamilyConfig {
    /// Builds the family.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn build(&self, _context: &FamilyContext) -> Result<Box<dyn TaskFamily>, EnvError> {
        let Self {
            arms,
            trials,
            odd_share,
            paying_chance,
            other_chance,
            train_tasks,
            test_tasks,
            split_seed,
        } = *self;
        let spec = spec(NAME, arms, trials)?;
        if train_tasks == 0 || test_tasks == 0 {
            return Err(build_error(NAME, "train_tasks and test_tasks must be at least 1"));
        }
        let share = |x: f64| (0.0..=1.0).contains(&x);
        if !share(odd_share) {
            return Err(build_error(NAME, format!("odd_share = {odd_share}: expected 0 to 1")));
        }
        let ordered = |[low, high]: [f64; 2]| share(low) && share(high) && low <= high;
        if !ordered(paying_chance) || !ordered(other_chance) || other_chance[1] >= paying_chance[0] {
            let reason = format!(
                "paying_chance = {paying_chance:?}, other_chance = {other_chance:?}: expected ranges within 0 to 1, the paying one above the other"
            );
            return Err(build_error(NAME, reason));
        }
        let draw = move |split: TaskSplit, stream: &mut Stream| {
            let odd = (stream.unit() < odd_share) != (split == TaskSplit::TestOod);
            let of_parity = if odd { arms / 2 } else { arms.div_ceil(2) };
            let paying = 2 * stream.below(of_parity) + usize::from(odd);
            let chance = |arm: usize, stream: &mut Stream| {
                let [low, high] = if arm == paying { paying_chance } else { other_chance };
                stream.uniform(low, high) as f32
            };
            (0..arms).map(|arm| chance(arm, stream)).collect()
        };
        let counts = Counts { train: train_tasks, test_in: test_tasks, test_ood: test_tasks };
        Ok(Box::new(Bandits { spec, counts, split_seed, draw: Box::new(draw) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paying_arm_is_odd_in_training_and_even_outside_of_it() {
        let family = AdversarialBanditFamilyConfig::default().build(&FamilyContext {}).unwrap();
        for (split, expected) in
            [(TaskSplit::Train, 0.95), (TaskSplit::TestIn, 0.95), (TaskSplit::TestOod, 0.05)]
        {
            let tasks = family.tasks(split);
            let odd = |params: &[f32]| (0..10).find(|i| params[*i] >= 0.7).unwrap() % 2 == 1;
            let share = tasks.iter().filter(|t| odd(&t.params)).count() as f64 / tasks.len() as f64;
            assert!((share - expected).abs() < 0.05, "{split:?}: {share}");
            assert!(tasks.iter().all(|t| t.params.iter().filter(|p| **p >= 0.7).count() == 1));
        }
    }

    #[test]
    fn ranges_that_overlap_are_refused() {
        let config = AdversarialBanditFamilyConfig { other_chance: [0.1, 0.8], ..Default::default() };
        let said = config.build(&FamilyContext {}).err().unwrap().to_string();
        assert!(said.contains("the paying one above the other"), "{said}");
    }
}
