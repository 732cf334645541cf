//! Actions that are set-points of joints, over robots that are commanded in velocities.
//!
//! In every control tick the commanded position goes the same share of the way that is left, `velocity = (target - position) / step`,
//! so after the `n` ticks of a policy step a part `1 - (1 - 1/n)^n` of the way is done: a first-order lag with the step as its time
//! constant. That is turned around exactly to say which target an executed motion amounts to, whatever the safety chain made of it.

use surefoot_core::contract::ChannelContract;
use surefoot_core::safety::Scaling;
use surefoot_core::{EnvError, RobotContract};

use crate::model::{DerivedLimits, Model};
use crate::tasks::build_error;

/// The contract of a robot whose joints have servos of their own: one that brakes does not slow the others. Channels are named `prefix_component`.
pub(crate) fn servo_contract(
    env: &str,
    model: &Model,
    limits: &DerivedLimits,
    prefix: &str,
    components: &[(&str, &str)],
) -> Result<RobotContract, EnvError> {
    let channel = |(component, unit): &(&str, &str)| ChannelContract {
        name: format!("{prefix}_{component}"),
        unit: (*unit).to_owned(),
    };
    let channels = components.iter().map(channel).collect();
    let mut contract = model.contract(env, limits, channels).map_err(|e| build_error(env, e))?;
    contract.scaling = Scaling::PerJoint;
    Ok(contract)
}

/// The lag of set-points of one robot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SetPoint {
    step_secs: f64,
    /// Part of the way that is done in a step.
    share: f64,
}

impl SetPoint {
    /// For policy steps of `ticks` control ticks.
    #[must_use]
    pub fn new(step_secs: f64, ticks: usize) -> Self {
        let ticks = ticks.max(1) as f64;
        Self { step_secs, share: 1.0 - (1.0 - 1.0 / ticks).powf(ticks) }
    }

    /// The velocity toward `target` from a commanded position, per second.
    #[must_use]
    pub const fn velocity(&self, target: f64, position: f64) -> f64 {
        (target - position) / self.step_secs
    }

    /// The target that a step from `before` to `after` amounts to.
    #[must_use]
    pub const fn target(&self, before: f64, after: f64) -> f64 {
        before + (after - before) / self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_found_again_from_what_was_done() {
        for ticks in 1..8_u8 {
            let set_point = SetPoint::new(0.1, usize::from(ticks));
            let (before, target) = (0.3, -0.5);
            let mut position = before;
            for _ in 0..ticks {
                position += set_point.velocity(target, position) * 0.1 / f64::from(ticks);
            }
            assert!((set_point.target(before, position) - target).abs() < 1e-12, "{ticks}");
            assert!((position - target).abs() <= 0.38 * 0.8, "{ticks}");
        }
    }
}
