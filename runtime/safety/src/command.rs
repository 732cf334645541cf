//! What a robot accepts: a command that went through a chain, with the plan for stopping after it.

use alloc::vec::Vec;

use crate::certified::Motion;
use crate::math::ceil;
use crate::{JointLimits, Reasons, Verdict};

/// A command that is safe to execute, and how to stop if no other follows. Only
/// [`SafetyChain::admit`](crate::SafetyChain::admit) makes one.
#[derive(Clone, Copy, Debug)]
pub struct SafeCommand<'a> {
    pub(crate) position: &'a [f64],
    pub(crate) velocity: &'a [f64],
    pub(crate) effort: &'a [f64],
    pub(crate) plan: StopPlan<'a>,
    pub(crate) verdict: Verdict,
    pub(crate) reasons: Reasons,
}

impl<'a> SafeCommand<'a> {
    /// Set-point positions at the end of this period, `[joints]`, rad or m. Empty for an effort command.
    #[must_use]
    pub const fn position(&self) -> &'a [f64] {
        self.position
    }
    /// Velocities that lead there, `[joints]`, rad/s or m/s. Empty for an effort command.
    #[must_use]
    pub const fn velocity(&self) -> &'a [f64] {
        self.velocity
    }
    /// Efforts, `[joints]`, N m or N. Empty for a motion command.
    #[must_use]
    pub const fn effort(&self) -> &'a [f64] {
        self.effort
    }
    /// What the chain did to the desired command.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }
    /// Why.
    #[must_use]
    pub const fn reasons(&self) -> Reasons {
        self.reasons
    }
    /// How to come to rest from here inside the limits if no other command follows.
    #[must_use]
    pub const fn stop_plan(&self) -> StopPlan<'a> {
        self.plan
    }
}

/// The braking tail of a command: computed where it is read, or the stored plan that was certified. Nothing is allocated.
#[derive(Clone, Copy, Debug)]
pub struct StopPlan<'a>(pub(crate) Plan<'a>);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Plan<'a> {
    /// Nothing moves by set-points.
    None,
    /// Brake at the deceleration limit.
    Braking { position: &'a [f64], velocity: &'a [f64], limits: &'a [JointLimits], period_secs: f64 },
    /// Per joint the states to go through, beginning with the command; the last one is rest.
    Stored(&'a [Vec<Motion>]),
}

impl StopPlan<'_> {
    /// Periods until every joint is at rest: at most `ceil(V / (D h))`, and `2 ceil(max(A, D) / (J h)) + 4` more with a jerk limit.
    #[must_use]
    pub fn ticks(&self) -> usize {
        match self.0 {
            Plan::None => 0,
            Plan::Braking { velocity, limits, period_secs, .. } => velocity
                .iter()
                .zip(limits)
                .map(|(v, l)| ceil(v.abs() / (l.max_deceleration * period_secs)) as usize)
                .max()
                .unwrap_or(0),
            Plan::Stored(plans) => plans.iter().map(|p| p.len().saturating_sub(1)).max().unwrap_or(0),
        }
    }

    /// Set-point `(position, velocity)` of a joint, `tick` periods after the command (0 is the command itself; after
    /// [`ticks`](Self::ticks) it is rest). `None` for a joint that the command does not have.
    #[must_use]
    pub fn get(&self, tick: usize, joint: usize) -> Option<(f64, f64)> {
        match self.0 {
            Plan::None => None,
            Plan::Braking { position, velocity, limits, period_secs } => {
                let (mut p, mut v) = (*position.get(joint)?, *velocity.get(joint)?);
                let decrement = limits.get(joint)?.max_deceleration * period_secs;
                for _ in 0..tick {
                    if v == 0.0 {
                        break;
                    }
                    v = if v > 0.0 { (v - decrement).max(0.0) } else { (v + decrement).min(0.0) };
                    p += v * period_secs;
                }
                Some((p, v))
            }
            Plan::Stored(plans) => {
                let plan = plans.get(joint)?;
                let x = plan.get(tick).or_else(|| plan.last())?;
                Some((x.position, x.velocity))
            }
        }
    }

    /// As [`get`](Self::get); NaN for a joint that the command does not have.
    #[must_use]
    pub fn at(&self, tick: usize, joint: usize) -> (f64, f64) {
        self.get(tick, joint).unwrap_or((f64::NAN, f64::NAN))
    }
}
