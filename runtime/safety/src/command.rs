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
                    (p, v) = braked(p, v, decrement, period_secs);
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

    /// Appends the command and all of the plan: `[1 + ticks, joints]` set-points, period by period. In the time that it takes to write
    /// them, where asking for each with [`get`](Self::get) takes the square of that.
    ///
    /// Real-time safe where `rows` has room.
    pub fn extend_rows(&self, joints: usize, rows: &mut Vec<(f64, f64)>) {
        let ticks = self.ticks();
        let Plan::Braking { limits, period_secs, .. } = self.0 else {
            for tick in 0..=ticks {
                rows.extend((0..joints).map(|joint| self.at(tick, joint)));
            }
            return;
        };
        rows.extend((0..joints).map(|joint| self.at(0, joint)));
        for _ in 0..ticks {
            let before = rows.len() - joints;
            for joint in 0..joints {
                let (p, v) = rows[before + joint];
                let decrement = limits.get(joint).map_or(f64::NAN, |l| l.max_deceleration * period_secs);
                rows.push(braked(p, v, decrement, period_secs));
            }
        }
    }

    /// As [`get`](Self::get); NaN for a joint that the command does not have.
    #[must_use]
    pub fn at(&self, tick: usize, joint: usize) -> (f64, f64) {
        self.get(tick, joint).unwrap_or((f64::NAN, f64::NAN))
    }
}

/// One period of braking.
fn braked(position: f64, velocity: f64, decrement: f64, period_secs: f64) -> (f64, f64) {
    if velocity == 0.0 {
        return (position, velocity);
    }
    let v = if velocity > 0.0 { (velocity - decrement).max(0.0) } else { (velocity + decrement).min(0.0) };
    (position + v * period_secs, v)
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use crate::{JointLimits, SafetyChain, Scaling};

    #[test]
    fn all_rows_are_what_each_is() {
        let limits = JointLimits::new(-1.0, 1.0, 2.0, 5.0).unwrap();
        for limits in [limits, limits.with_max_jerk(300.0).unwrap()] {
            let mut chain = SafetyChain::motion(vec![limits; 2], Scaling::PerJoint, 0.01).unwrap();
            chain.arm(&[0.0, 0.1]).unwrap();
            for tick in 0..300 {
                let command = chain.admit(&[2.5 * wave(tick), -1.0]);
                let plan = command.stop_plan();
                let mut rows = vec![(9.0, 9.0)];
                plan.extend_rows(2, &mut rows);
                let each: Vec<_> = (0..=plan.ticks())
                    .flat_map(|t| (0..2).map(move |j| (t, j)))
                    .map(|(t, j)| plan.at(t, j))
                    .collect();
                assert_eq!(&rows[1..], each, "tick {tick}");
            }
        }
    }

    /// A triangle.
    fn wave(tick: i32) -> f64 {
        let phase = f64::from(tick % 80) / 40.0;
        if phase < 1.0 { phase } else { 1.5 - phase }
    }
}
