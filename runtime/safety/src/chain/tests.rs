//! Laws of the chain: total, idempotent, the worst verdict wins; comfort, speed scale, arming and recovery.

use proptest::prelude::*;

use super::*;
use crate::testing::{PERIODS, desired, jerk_limits};
use crate::{LimitMonitor, SoftJointLimits};

/// The same joint for each envelope: with its jerk limit, and without.
fn both(limits: &JointLimits) -> [JointLimits; 2] {
    let plain = JointLimits { max_jerk: None, ..*limits };
    [plain, *limits]
}

fn chain(limits: &JointLimits, h: f64) -> SafetyChain {
    SafetyChain::motion(vec![*limits], Scaling::PerJoint, h).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_command_is_finite_for_any_row_of_any_length(
        limits in prop::collection::vec(jerk_limits(), 1..4),
        rows in prop::collection::vec(prop::collection::vec(desired(), 0..6), 1..60),
        scaling in prop::sample::select(&[Scaling::PerJoint, Scaling::Synchronized][..]),
        jerk in any::<bool>(),
    ) {
        let limits: Vec<_> = limits.iter().map(|l| both(l)[usize::from(jerk)]).collect();
        let mut chain = SafetyChain::motion(limits.clone(), scaling, 0.02).unwrap();
        chain.arm(&vec![0.0; limits.len()]).unwrap();
        for row in &rows {
            let command = chain.admit(row);
            prop_assert!(command.position().iter().chain(command.velocity()).all(|x| x.is_finite()));
            if row.len() < limits.len() {
                prop_assert_eq!(command.verdict(), Verdict::Stopped);
            }
        }
    }

    /// What was admitted would be admitted again, and unchanged.
    #[test]
    fn admitting_is_idempotent(limits in jerk_limits(), period in prop::sample::select(&PERIODS[..]), inputs in prop::collection::vec(-6.0..6.0_f64, 1..60)) {
        for limits in both(&limits) {
            let (mut one, mut other) = (chain(&limits, period), chain(&limits, period));
            one.arm(&[0.0]).unwrap();
            other.arm(&[0.0]).unwrap();
            for w in &inputs {
                let admitted = one.admit(&[*w]).velocity()[0];
                let again = other.admit(&[admitted]).velocity()[0];
                match limits.max_jerk {
                    None => prop_assert_eq!(admitted.to_bits(), again.to_bits()),
                    // The acceleration is read back from the velocity with rounding, and the bisection has a resolution.
                    Some(jerk) => prop_assert!((admitted - again).abs() <= 1e-3 * jerk * period * period, "{admitted} then {again}"),
                }
                other.arm(&[0.0]).unwrap();
                one.arm(&[0.0]).unwrap();
                for w in &inputs[..inputs.len() / 2] {
                    one.admit(&[*w]);
                    other.admit(&[*w]);
                }
            }
        }
    }

    /// The speed falls to the scaled limit without breaking a limit on the way, and stays there while the scale holds.
    #[test]
    fn a_lower_speed_scale_is_reached_by_braking(limits in jerk_limits(), period in prop::sample::select(&PERIODS[..]), scale in 0.05..0.9_f64, sign in prop::sample::select(&[-1.0, 1.0][..])) {
        for limits in both(&limits) {
            let limits = JointLimits { min_position: -1e3, max_position: 1e3, ..limits };
            let mut chain = chain(&limits, period);
            let mut monitor = LimitMonitor::new(&[limits], period);
            chain.arm(&[0.0]).unwrap();
            monitor.arm(&[0.0]);
            let v = limits.max_velocity;
            for _ in 0..100 {
                monitor.observe(&chain.admit(&[sign * v]));
            }
            chain.set_speed_scale(scale).unwrap();
            let bound = chain.admit(&[sign * v]).stop_plan().ticks() + 4;
            monitor.arm_moving(chain.state().position, chain.state().velocity);
            let mut slow = false;
            for tick in 0..bound + 100 {
                let command = chain.admit(&[sign * v]);
                let (reached, plan) = (command.velocity()[0].abs(), command.stop_plan());
                // A joint that is still speeding up as the scale falls cannot but overshoot it.
                // (A braking plan is fastest at its start.)
                let ahead = if limits.max_jerk.is_some() { plan.ticks() } else { 0 };
                slow |= (0..=ahead).all(|t| plan.at(t, 0).1.abs() <= scale * v * (1.0 + 1e-12));
                prop_assert!(slow || tick < bound, "{reached} after {tick} ticks");
                prop_assert!(!slow || reached <= scale * v * (1.0 + 1e-12), "{reached} above {}", scale * v);
            }
        }
    }

    /// P7.
    #[test]
    fn recovery_moves_inward_only_and_slowly_until_inside(
        limits in jerk_limits(),
        period in prop::sample::select(&PERIODS[..]),
        outside in 0.001..0.3_f64,
        above in any::<bool>(),
        speed in 0.02..0.5_f64,
        inputs in prop::collection::vec(desired(), 1..100),
        hold in 1_usize..20,
    ) {
        for limits in both(&limits) {
            let start = if above { limits.max_position + outside } else { limits.min_position - outside };
            let mut chain = chain(&limits, period);
            let refused = matches!(chain.arm(&[start]), Err(SafetyError::OutsideLimits { .. }));
            prop_assert!(refused);
            chain.arm_recovery(&[start], speed).unwrap();
            let mut monitor = LimitMonitor::new(&[limits], period);
            monitor.arm(&[start]);
            let mut last = start;
            let inward = if above { -1.0 } else { 1.0 };
            let back = std::iter::repeat_n(inward * 1e9, 20_000);
            for w in inputs.iter().flat_map(|w| std::iter::repeat_n(*w, hold)).chain(back) {
                if !chain.is_recovering() {
                    break;
                }
                let command = chain.admit(&[w]);
                monitor.observe(&command);
                let p = command.position()[0];
                prop_assert!((p - last) * inward >= 0.0, "outward motion from {last} to {p}");
                prop_assert!((p - last).abs() <= speed * period * (1.0 + 1e-9) + 1e-15);
                last = p;
            }
            prop_assert!(!chain.is_recovering() && last >= limits.min_position && last <= limits.max_position);
            for w in &inputs {
                monitor.observe(&chain.admit(&[*w]));
            }
            prop_assert_eq!(monitor.counts().violations, 0);
        }
    }

    #[test]
    fn armed_in_motion_it_brakes_first_or_refuses(
        limits in jerk_limits(),
        period in prop::sample::select(&PERIODS[..]),
        start in 0.0..=1.0_f64,
        share in -1.2..1.2_f64,
    ) {
        for limits in both(&limits) {
            let p = limits.min_position + start * (limits.max_position - limits.min_position);
            let v = share * limits.max_velocity;
            let mut chain = chain(&limits, period);
            // Far from the ends every velocity within the limit can be stopped.
            let far = v * v / limits.max_deceleration + v.abs() * 2.0 * (period + limits.max_deceleration / limits.max_jerk.unwrap_or(f64::INFINITY));
            let stoppable = v.abs() <= limits.max_velocity && p - far > limits.min_position && p + far < limits.max_position;
            match chain.arm_moving(&[p], &[v]) {
                Err(e) => {
                    let expected = matches!(e, SafetyError::CannotStop { joint: 0, .. });
                    prop_assert!(!stoppable && expected, "{e} at {p} with {v}");
                }
                Ok(()) => {
                    let mut monitor = LimitMonitor::new(&[limits], period);
                    monitor.arm_moving(&[p], &[v]);
                    let mut last = v.abs();
                    while chain.is_stopping() {
                        let command = chain.admit(&[1e9]);
                        monitor.observe(&command);
                        prop_assert_eq!(command.verdict(), Verdict::Stopped);
                        prop_assert!(command.velocity()[0].abs() <= last + 1e-12);
                        last = command.velocity()[0].abs();
                    }
                    prop_assert_eq!(last, 0.0);
                    monitor.observe(&chain.admit(&[0.0]));
                    prop_assert_eq!(monitor.counts().violations, 0);
                }
            }
        }
    }

    #[test]
    fn soft_limits_slow_down_within_the_deceleration_limit_and_never_push(k in 0.5..2.5_f64, wanted in 0.1..5.0_f64) {
        let soft = SoftJointLimits { min_position: -0.8, max_position: 0.8, k_position: k };
        let limits = JointLimits::new(-1.0, 1.0, 2.0, 5.0).unwrap().with_soft_limits(soft).unwrap();
        let mut chain = chain(&limits, 0.01);
        chain.arm(&[0.0]).unwrap();
        let mut reasons = Reasons::NONE;
        for _ in 0..3000 {
            let before = chain.state().velocity[0];
            let command = chain.admit(&[wanted]);
            reasons = reasons.union(command.reasons());
            prop_assert!(command.position()[0] <= 0.8 + 1e-12);
            prop_assert!((command.velocity()[0] - before) / 0.01 >= -2.5 * 2.0 - 1e-9);
        }
        prop_assert!(reasons.contains(Reasons::SOFT_LIMIT) && chain.state().position[0] > 0.79);
        chain.arm(&[0.9]).unwrap();
        for _ in 0..10 {
            prop_assert_eq!(chain.admit(&[wanted]).velocity()[0], 0.0);
        }
    }
}

/// A filter of the user's own.
struct Fixed(Verdict, f64);

impl SafetyFilter for Fixed {
    fn filter(&mut self, _: CommandState<'_>, command: &mut [f64]) -> Verdict {
        command.fill(self.1);
        self.0
    }
    fn reset(&mut self) {}
    fn reasons(&self) -> Reasons {
        Reasons::NONE
    }
}

#[test]
fn the_worst_verdict_wins_in_any_order_and_the_envelope_is_last() {
    let limits = JointLimits::new(-1.0, 1.0, 1.0, 2.0).unwrap().with_max_jerk(50.0).unwrap();
    let verdicts = [Verdict::Passed, Verdict::Adjusted, Verdict::Stopped];
    for limits in both(&limits) {
        for one in verdicts {
            for other in verdicts {
                let mut chain = chain(&limits, 0.01)
                    .with_filter(Box::new(Fixed(one, 1e12)))
                    .with_filter(Box::new(Fixed(other, 0.0)));
                chain.arm(&[0.0]).unwrap();
                assert_eq!(chain.admit(&[0.0]).verdict(), one.max(other));
                let mut chain = self::chain(&limits, 0.01)
                    .with_filter(Box::new(Fixed(other, 0.0)))
                    .with_filter(Box::new(Fixed(one, 1e12)));
                chain.arm(&[0.0]).unwrap();
                let command = chain.admit(&[0.0]);
                assert_eq!(command.verdict(), one.max(other).max(Verdict::Adjusted));
                assert!(command.velocity()[0] <= 2.0 * 0.01 + 1e-12);
            }
        }
    }
}

#[test]
fn what_cannot_be_armed_is_refused_and_changes_nothing() {
    let limits = JointLimits::new(-1.0, 1.0, 1.0, 2.0).unwrap().with_max_jerk(50.0).unwrap();
    for limits in both(&limits) {
        let mut chain = chain(&limits, 0.01);
        chain.arm(&[0.5]).unwrap();
        let nan = |quantity| move |e: SafetyError| matches!(e, SafetyError::NotFinite { joint: 0, quantity: q, .. } if q == quantity);
        assert!(chain.arm(&[f64::NAN]).is_err_and(nan("position")));
        assert!(chain.arm_recovery(&[f64::INFINITY], 0.1).is_err_and(nan("position")));
        assert!(chain.arm_moving(&[0.0], &[f64::NAN]).is_err_and(nan("velocity")));
        assert!(matches!(chain.arm_moving(&[0.99], &[1.0]), Err(SafetyError::CannotStop { joint: 0, .. })));
        assert!(matches!(chain.arm_moving(&[0.0], &[1.1]), Err(SafetyError::CannotStop { .. })));
        assert!(matches!(chain.arm_recovery(&[2.0], 0.0), Err(SafetyError::NotPositive { .. })));
        assert!(matches!(chain.arm(&[]), Err(SafetyError::JointCount { expected: 1, found: 0 })));
        for scale in [0.0, -0.5, 1.1, f64::NAN] {
            assert!(matches!(chain.set_speed_scale(scale), Err(SafetyError::SpeedScale { .. })));
        }
        assert_eq!((chain.state().position, chain.speed_scale()), (&[0.5][..], 1.0));
        assert_eq!(chain.admit(&[0.0]).verdict(), Verdict::Passed);
    }
    let mut effort = SafetyChain::effort(vec![limits.with_max_effort(1.0).unwrap()], 0.01).unwrap();
    assert_eq!(effort.arm_moving(&[0.0], &[0.1]), Err(SafetyError::EffortChain));
    assert_eq!(effort.arm_recovery(&[0.0], 0.1), Err(SafetyError::EffortChain));
    assert_eq!(effort.brake().effort(), [0.0]);
}

#[test]
fn soft_limits_that_cannot_be_kept_are_refused() {
    let limits = JointLimits::new(-1.0, 1.0, 2.0, 5.0).unwrap();
    let soft = |min_position, max_position, k_position| {
        limits.with_soft_limits(SoftJointLimits { min_position, max_position, k_position })
    };
    assert!(matches!(soft(-1.1, 0.5, 1.0), Err(SafetyError::SoftOutsideHard { .. })));
    assert!(matches!(soft(0.5, 0.5, 1.0), Err(SafetyError::EmptyRange { .. })));
    assert!(matches!(soft(-0.5, f64::NAN, 1.0), Err(SafetyError::EmptyRange { .. })));
    assert!(matches!(soft(-0.5, 0.5, 0.0), Err(SafetyError::NotPositive { .. })));
    assert_eq!(soft(-0.5, 0.5, 2.6), Err(SafetyError::SoftGain { found: 2.6, largest: 2.5 }));
    let kept = soft(-0.5, 0.5, 2.5).unwrap();
    assert!(matches!(kept.with_max_deceleration(1.0), Err(SafetyError::SoftGain { largest: 0.5, .. })));
    let slow = SafetyChain::motion(vec![kept], Scaling::PerJoint, 0.5);
    assert!(matches!(slow, Err(SafetyError::SoftGain { largest: 2.0, .. })));
}

#[test]
fn limits_in_motion_are_exchanged_only_if_the_motion_can_still_be_stopped() {
    let limits = JointLimits::new(-10.0, 10.0, 2.0, 5.0).unwrap();
    for limits in both(&limits.with_max_jerk(500.0).unwrap()) {
        let mut chain = chain(&limits, 0.01);
        chain.arm(&[0.0]).unwrap();
        for _ in 0..100 {
            chain.admit(&[2.0]);
        }
        let p = chain.state().position[0];
        let near = JointLimits { max_position: p + 0.1, ..limits };
        assert!(matches!(chain.set_limits(vec![near], 0.01), Err(SafetyError::CannotStop { .. })));
        assert_eq!(chain.limits(), [limits]);
        let far = JointLimits { max_position: p + 1.0, ..limits };
        chain.set_limits(vec![far], 0.002).unwrap();
        for _ in 0..5000 {
            chain.admit(&[2.0]);
        }
        let stopped = chain.state().position[0];
        assert!(stopped <= p + 1.0 && stopped > p + 1.0 - 1e-6);
    }
}
