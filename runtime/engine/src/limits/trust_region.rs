//! How far an action may be from what a reference policy would do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{ActMode, Feedback, Outcome, Policy, PolicyError, ResetScope, Rows, RowsMut};

use crate::EngineError;

/// The region around the policy that the phase began with. A proposed action outside is moved straight towards that policy's
/// action, without its noise, until it is on the edge. Distance is the root mean square over the action's numbers, in normalised
/// units: 2 is from one end of every number to the other, so a radius of 2 or more never acts on actions within `[-1, 1]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrustRegionConfig {
    /// Radius when the phase begins; 0: no region.
    pub start_radius: f64,
    /// Radius from `anneal_env_steps` on.
    pub end_radius: f64,
    /// Env steps of the phase over which the radius goes from the first to the second, evenly; 0: the second from the beginning.
    pub anneal_env_steps: u64,
}

impl Default for TrustRegionConfig {
    fn default() -> Self {
        Self { start_radius: 1.8, end_radius: 1.8, anneal_env_steps: 0 }
    }
}

impl TrustRegionConfig {
    /// Refuses values that mean nothing; `key` is the path of this table in the configuration.
    ///
    /// # Errors
    /// [`EngineError::Config`] with the first such key.
    pub fn check(&self, key: &str) -> Result<(), EngineError> {
        let Self { start_radius, end_radius, anneal_env_steps: _ } = self;
        if !(start_radius.is_finite() && *start_radius >= 0.0) {
            let key = format!("{key}.start_radius");
            return Err(EngineError::setting(key, "0 (no region) or more", start_radius));
        }
        if *start_radius > 0.0 && !(end_radius.is_finite() && *end_radius > 0.0) {
            return Err(EngineError::setting(format!("{key}.end_radius"), "a positive number", end_radius));
        }
        Ok(())
    }

    /// The radius after so many env steps of the phase; `None` where there is no region.
    #[must_use]
    pub fn radius(&self, env_steps: u64) -> Option<f64> {
        let Self { start_radius, end_radius, anneal_env_steps } = *self;
        if start_radius == 0.0 {
            return None;
        }
        let part =
            if env_steps >= anneal_env_steps { 1.0 } else { env_steps as f64 / anneal_env_steps as f64 };
        Some(start_radius + part * (end_radius - start_radius))
    }
}

/// A region around a reference policy, for one rollout.
pub struct TrustRegion<'a> {
    /// The reference. It is asked without noise, and must drive as many slots as the policy that acts.
    pub reference: &'a mut dyn Policy,
    /// See [`TrustRegionConfig`].
    pub radius: f64,
}

/// A policy that stays in the region: for a robot, whose control loop asks one policy alone.
pub struct RegionPolicy {
    policy: Box<dyn Policy>,
    reference: Box<dyn Policy>,
    radius: f64,
    clipped: Arc<AtomicU64>,
    row: Vec<f32>,
}

impl RegionPolicy {
    /// `policy`, never further than `radius` from `reference`; both for as many slots. `clipped` counts the actions that were moved.
    #[must_use]
    pub fn new(
        policy: Box<dyn Policy>,
        reference: Box<dyn Policy>,
        radius: f64,
        action_dim: usize,
        clipped: Arc<AtomicU64>,
    ) -> Self {
        let row = vec![0.0; action_dim * policy.slots()];
        Self { policy, reference, radius, clipped, row }
    }
}

impl Policy for RegionPolicy {
    fn slots(&self) -> usize {
        self.policy.slots().min(self.reference.slots())
    }

    fn reset(&mut self, slot: usize, scope: ResetScope, seed: u64) {
        self.policy.reset(slot, scope, seed);
        self.reference.reset(slot, scope, seed);
    }

    fn act(
        &mut self,
        observations: Rows<'_>,
        mode: ActMode,
        mut actions: RowsMut<'_>,
    ) -> Result<(), PolicyError> {
        let (n, dim) = (observations.len(), self.row.len() / self.policy.slots().max(1));
        self.policy.act(observations, mode, actions.reborrow())?;
        let rows = RowsMut::new(&mut self.row[..n * dim], dim);
        self.reference.act(observations, ActMode::Exploit, rows)?;
        for i in 0..n {
            let reference = &self.row[i * dim..(i + 1) * dim];
            if clip_to_region(actions.row(i), reference, self.radius) {
                self.clipped.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn observe(&mut self, feedback: &[Feedback<'_>]) {
        self.policy.observe(feedback);
        self.reference.observe(feedback);
    }

    fn remember(&mut self, slot: usize, observation: &[f32], action: &[f32], outcome: &Outcome) {
        self.policy.remember(slot, observation, action, outcome);
        self.reference.remember(slot, observation, action, outcome);
    }
}

/// Moves `action` into the region of `radius` around `reference` (both `[action_dim]`, normalised); says whether it moved.
/// Inside, and where a number is not finite (the safety chain brakes on it), every bit stays.
///
/// Real-time safe: does not allocate, lock or block.
pub fn clip_to_region(action: &mut [f32], reference: &[f32], radius: f64) -> bool {
    let squares: f64 = action.iter().zip(reference).map(|(a, r)| f64::from(a - r).powi(2)).sum();
    let distance = (squares / action.len().max(1) as f64).sqrt();
    if !(distance.is_finite() && distance > radius) {
        return false;
    }
    let scale = (radius / distance) as f32;
    for (a, r) in action.iter_mut().zip(reference) {
        *a = r + scale * (*a - r);
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_radius_is_annealed_evenly() {
        let config = TrustRegionConfig { start_radius: 0.2, end_radius: 1.0, anneal_env_steps: 100 };
        let radii = [0, 25, 100, 5000].map(|t| config.radius(t).unwrap());
        for (found, expected) in radii.iter().zip([0.2, 0.4, 1.0, 1.0]) {
            assert!((found - expected).abs() < 1e-12, "{radii:?}");
        }
        assert_eq!(TrustRegionConfig { anneal_env_steps: 0, ..config }.radius(0), Some(1.0));
        assert_eq!(TrustRegionConfig { start_radius: 0.0, ..config }.radius(9), None);
        assert!(TrustRegionConfig { end_radius: f64::NAN, ..config }.check("k").is_err());
    }

    #[test]
    fn what_is_not_finite_is_left_to_the_safety_chain() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut action = [bad, 0.5];
            assert!(!clip_to_region(&mut action, &[0.0, 0.0], 0.1));
            assert_eq!(action[1], 0.5);
        }
    }

    proptest! {
        #[test]
        fn actions_end_in_the_region_and_on_the_way_to_the_reference(
            pairs in prop::collection::vec((-1.0_f32..1.0, -1.0_f32..1.0), 1..8),
            radius in 0.01..2.0_f64,
        ) {
            let (before, reference): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let distance = |a: &[f32]| {
                let squares = a.iter().zip(&reference).map(|(a, r)| f64::from(a - r).powi(2));
                (squares.sum::<f64>() / a.len() as f64).sqrt()
            };
            let mut action = before.clone();
            let moved = clip_to_region(&mut action, &reference, radius);
            prop_assert_eq!(moved, distance(&before) > radius);
            if moved {
                prop_assert!((distance(&action) - radius).abs() < 1e-6);
                let between = action.iter().zip(&before).zip(&reference);
                prop_assert!(between.into_iter().all(|((a, b), r)| (a - b) * (a - r) <= 1e-6));
            } else {
                prop_assert_eq!(action, before);
            }
        }
    }
}
