//! What values the rewards allow.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::Batch;

/// Whether values are kept within what the rewards allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QClamp {
    /// Targets stay within the sums of discounted rewards that are possible: by the environment's stated range, widened by what
    /// the data shows.
    #[default]
    RewardBounds,
    /// No bounds.
    Off,
}

/// Bounds on targets: known rewards, widened by every reward that is seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValueBounds {
    clamp: QClamp,
    discount: f64,
    reward_range: Option<(f32, f32)>,
}

impl ValueBounds {
    /// From the environment's stated range, where there is one.
    #[must_use]
    pub const fn new(clamp: QClamp, discount: f64, reward_range: Option<(f32, f32)>) -> Self {
        Self { clamp, discount, reward_range }
    }

    /// Smallest and largest reward promised or seen.
    #[must_use]
    pub const fn reward_range(&self) -> Option<(f32, f32)> {
        self.reward_range
    }

    /// Takes a saved range back.
    pub const fn restore(&mut self, reward_range: Option<(f32, f32)>) {
        self.reward_range = reward_range;
    }

    /// Widens the range so that it holds these rewards.
    pub fn widen(&mut self, rewards: &[f32]) {
        for r in rewards.iter().filter(|r| r.is_finite()) {
            let (low, high) = self.reward_range.unwrap_or((*r, *r));
            self.reward_range = Some((low.min(*r), high.max(*r)));
        }
    }

    /// `y = clamp(r + discount d v)`, `[batch]`, for these values `v` of the next step; `d` is 0 after a termination alone.
    #[must_use]
    pub fn targets(&self, batch: &Batch, next_value: &[f32]) -> Vec<f32> {
        let bounds = self.get();
        let rows = batch.reward.iter().zip(&batch.continuation).zip(next_value);
        rows.map(|((reward, continuation), q)| {
            let y = reward + self.discount as f32 * continuation * q;
            bounds.map_or(y, |(low, high)| y.clamp(low, high))
        })
        .collect()
    }

    /// These returns within the bounds.
    #[must_use]
    pub fn bounded(&self, mut returns: Vec<f32>) -> Vec<f32> {
        if let Some((low, high)) = self.get() {
            returns.iter_mut().for_each(|r| *r = r.clamp(low, high));
        }
        returns
    }

    /// The smallest sum of discounted rewards over any horizon, bounded targets or not.
    #[must_use]
    pub fn lowest(&self) -> f32 {
        let horizon = 1.0 / (1.0 - self.discount);
        self.reward_range.map_or(0.0, |(low, _)| (f64::from(low) * horizon).min(0.0) as f32)
    }

    /// Smallest and largest sum of discounted rewards over any horizon of at least one step, `None` where unbounded.
    #[must_use]
    pub fn get(&self) -> Option<(f32, f32)> {
        let bounds = |(low, high): (f32, f32)| {
            let horizon = 1.0 / (1.0 - self.discount);
            let (low, high) = (f64::from(low), f64::from(high));
            (low.min(low * horizon) as f32, high.max(high * horizon) as f32)
        };
        match self.clamp {
            QClamp::RewardBounds => self.reward_range.map(bounds),
            QClamp::Off => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_one_step_and_endless_episodes() {
        let get = |range| ValueBounds::new(QClamp::RewardBounds, 0.5, range).get();
        assert_eq!(get(Some((-1.0, 0.0))), Some((-2.0, 0.0)));
        assert_eq!(get(Some((0.0, 1.0))), Some((0.0, 2.0)));
        // An episode may end after one step, so a largest reward below zero bounds by itself.
        assert_eq!(get(Some((-3.0, -1.0))), Some((-6.0, -1.0)));
        assert_eq!(get(None), None);
    }

    #[test]
    fn rewards_beyond_the_promise_widen_it() {
        let mut bounds = ValueBounds::new(QClamp::RewardBounds, 0.0, Some((-1.0, 0.0)));
        bounds.widen(&[5.0, f32::NAN, -0.5]);
        assert_eq!(bounds.get(), Some((-1.0, 5.0)));
    }
}
