//! A command that is kept: for a link that is slow, a queue, a record.

use alloc::vec::Vec;

use crate::certified::Motion;
use crate::command::Plan;
use crate::{JointLimits, Reasons, SafeCommand, SafetyChain, StopPlan, Verdict};

/// A copy of a [`SafeCommand`] that outlives the borrow of its chain. It can be filled from a [`SafeCommand`] alone, so what it gives back was
/// made by a chain.
///
/// A command is safe to execute *when it was made*. Late, its set-point and its stop plan are still inside the position limits, but the
/// step to it from where the robot is by then may be any: whoever executes commands that were held must judge them with a
/// chain of its own, next to the robot.
///
/// ```
/// # use surefoot_safety::{HeldCommand, JointLimits, SafetyChain, Scaling};
/// let limits = JointLimits::new(-1.0, 1.0, 2.0, 5.0)?;
/// let mut chain = SafetyChain::motion(vec![limits], Scaling::PerJoint, 0.01)?;
/// chain.arm(&[0.0])?;
/// let mut held = HeldCommand::for_chain(&chain);
/// assert!(held.command().is_none());
/// held.hold(&chain.admit(&[0.04]));
/// chain.admit(&[0.08]);
/// assert_eq!(held.command().map(|c| c.velocity()[0]), Some(0.04));
/// # Ok::<(), surefoot_safety::SafetyError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct HeldCommand {
    position: Vec<f64>,
    velocity: Vec<f64>,
    effort: Vec<f64>,
    plan: HeldPlan,
    limits: Vec<JointLimits>,
    stored: Vec<Vec<Motion>>,
    verdict: Verdict,
    reasons: Reasons,
    full: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum HeldPlan {
    #[default]
    None,
    Braking {
        period_secs: f64,
    },
    Stored,
}

impl HeldCommand {
    /// Nothing yet, with room for every command of this chain.
    #[must_use]
    pub fn for_chain(chain: &SafetyChain) -> Self {
        let joints = chain.limits().len();
        let row = || Vec::with_capacity(joints);
        let ticks = chain.certified().map(|filter| filter.max_stop_ticks() + 1);
        Self {
            position: row(),
            velocity: row(),
            effort: row(),
            limits: Vec::with_capacity(joints),
            stored: ticks.map_or_else(Vec::new, |n| (0..joints).map(|_| Vec::with_capacity(n)).collect()),
            ..Self::default()
        }
    }

    /// Copies a command, bit for bit, in the place of what was held.
    ///
    /// Real-time safe for commands of the chain that it was made for; another's may need more room, which is then allocated.
    pub fn hold(&mut self, command: &SafeCommand<'_>) {
        let SafeCommand { position, velocity, effort, plan, verdict, reasons } = *command;
        for (row, from) in
            [(&mut self.position, position), (&mut self.velocity, velocity), (&mut self.effort, effort)]
        {
            row.clear();
            row.extend_from_slice(from);
        }
        self.plan = match plan.0 {
            Plan::None => HeldPlan::None,
            // The rest of it is the command.
            Plan::Braking { position: _, velocity: _, limits, period_secs } => {
                self.limits.clear();
                self.limits.extend_from_slice(limits);
                HeldPlan::Braking { period_secs }
            }
            Plan::Stored(plans) => {
                self.stored.resize_with(plans.len(), Vec::new);
                for (held, plan) in self.stored.iter_mut().zip(plans) {
                    held.clear();
                    held.extend_from_slice(plan);
                }
                HeldPlan::Stored
            }
        };
        (self.verdict, self.reasons, self.full) = (verdict, reasons, true);
    }

    /// Forgets what was held; the room for it stays.
    pub const fn clear(&mut self) {
        self.full = false;
    }

    /// What was held, as the chain made it; `None` before the first and after [`clear`](Self::clear).
    #[must_use]
    pub fn command(&self) -> Option<SafeCommand<'_>> {
        let (position, velocity) = (self.position.as_slice(), self.velocity.as_slice());
        let plan = match self.plan {
            HeldPlan::None => Plan::None,
            HeldPlan::Braking { period_secs } => {
                Plan::Braking { position, velocity, limits: &self.limits, period_secs }
            }
            HeldPlan::Stored => Plan::Stored(&self.stored),
        };
        self.full.then_some(SafeCommand {
            position,
            velocity,
            effort: &self.effort,
            plan: StopPlan(plan),
            verdict: self.verdict,
            reasons: self.reasons,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scaling;

    type Row = (Vec<f64>, Vec<f64>, Vec<f64>, Vec<(f64, f64)>, Verdict, Reasons);

    /// Everything that a command says.
    fn all_of(command: &SafeCommand<'_>) -> Row {
        let plan = command.stop_plan();
        let joints = command.position().len();
        let ahead = (0..=plan.ticks() + 1).flat_map(|t| (0..joints).map(move |j| plan.at(t, j))).collect();
        let row = <[f64]>::to_vec;
        let (p, v, e) = (row(command.position()), row(command.velocity()), row(command.effort()));
        (p, v, e, ahead, command.verdict(), command.reasons())
    }

    #[test]
    fn a_held_command_is_the_command_and_holding_it_allocates_nothing() {
        let plain = JointLimits::new(-1.0, 1.0, 2.0, 5.0).unwrap();
        let jerk = plain.with_max_jerk(200.0).unwrap();
        let effort = plain.with_max_effort(3.0).unwrap();
        let mut chains = [
            SafetyChain::motion(vec![plain; 2], Scaling::PerJoint, 0.01).unwrap(),
            SafetyChain::motion(vec![jerk; 2], Scaling::PerJoint, 0.01).unwrap(),
            SafetyChain::effort(vec![effort; 2], 0.01).unwrap(),
        ];
        let mut shared = HeldCommand::default();
        for chain in &mut chains {
            chain.arm(&[0.0, 0.1]).unwrap();
            let mut held = HeldCommand::for_chain(chain);
            assert!(held.command().is_none());
            for desired in [[0.3, -1e9], [1e9, 2.0], [f64::NAN, 0.0], [-0.2, 0.1]] {
                for _ in 0..30 {
                    let command = chain.admit(&desired);
                    shared.hold(&command);
                    let counted = allocation_counter::measure(|| held.hold(&command));
                    assert_eq!(counted.count_total, 0);
                    let expected = all_of(&command);
                    chain.brake();
                    assert_eq!(all_of(&held.command().unwrap()), expected);
                    assert_eq!(all_of(&shared.command().unwrap()), expected, "one place for many chains");
                }
            }
            held.clear();
            assert!(held.command().is_none());
        }
    }
}
