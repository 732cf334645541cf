//! Properties of the braking filter, over arbitrary limits, periods and inputs.

use proptest::prelude::*;

use super::*;
use crate::testing::desired;
use crate::{LimitMonitor, SafetyChain, SafetyError};

const PERIODS: [f64; 6] = [0.001, 0.002, 0.01, 0.02, 0.05, 0.1];

fn limits() -> impl Strategy<Value = JointLimits> {
    (-3.0..0.0_f64, 0.05..3.0_f64, 0.05..5.0_f64, 0.5..30.0_f64, 0.5..30.0_f64).prop_map(
        |(min, max, velocity, acceleration, deceleration)| {
            JointLimits::new(min, max, velocity, acceleration)
                .and_then(|l| l.with_max_deceleration(deceleration))
                .expect("ranges are valid")
        },
    )
}

/// Recomputes velocity and acceleration from the positions alone and checks every limit.
fn assert_within(limits: &JointLimits, last: (f64, f64), position: f64, h: f64) -> f64 {
    let velocity = (position - last.0) / h;
    let rounding = 4.0 * f64::EPSILON * position.abs().max(1.0) / h;
    assert!(
        position >= limits.min_position && position <= limits.max_position,
        "position {position} {limits:?}"
    );
    assert!(
        velocity.abs() <= limits.max_velocity * (1.0 + 1e-9) + rounding,
        "velocity {velocity} {limits:?}"
    );
    let acceleration = (velocity - last.1) / h;
    let speeding_up = velocity.abs() > last.1.abs() && velocity * last.1 >= 0.0;
    let allowed = if speeding_up {
        limits.max_acceleration
    } else {
        limits.max_acceleration.max(limits.max_deceleration)
    };
    assert!(
        acceleration.abs() <= allowed * (1.0 + 1e-9) + 2.0 * rounding / h,
        "acceleration {acceleration} > {allowed} {limits:?}"
    );
    velocity
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn limits_hold_for_any_input(
        limits in limits(),
        start in 0.0..1.0_f64,
        period in prop::sample::select(&PERIODS[..]),
        inputs in prop::collection::vec(desired(), 1..400),
        hold in 1_usize..20,
    ) {
        let p0 = limits.min_position + start * (limits.max_position - limits.min_position);
        let mut chain = SafetyChain::motion(vec![limits], Scaling::PerJoint, period).unwrap();
        let mut monitor = LimitMonitor::new(&[limits], period);
        chain.arm(&[p0]).unwrap();
        monitor.arm(&[p0]);
        let mut last = (p0, 0.0);
        for w in inputs.iter().flat_map(|w| std::iter::repeat_n(*w, hold)) {
            let command = chain.admit(&[w]);
            monitor.observe(&command);
            let p = command.position()[0];
            last = (p, assert_within(&limits, last, p, period));
        }
        prop_assert_eq!(monitor.counts().violations, 0);
    }

    #[test]
    fn feasible_commands_pass_bit_for_bit(
        limits in limits(),
        period in prop::sample::select(&PERIODS[..]),
        shares in prop::collection::vec(0.0..=1.0_f64, 1..200),
    ) {
        let middle = f64::midpoint(limits.min_position, limits.max_position);
        for scaling in [Scaling::PerJoint, Scaling::Synchronized] {
            let mut chain = SafetyChain::motion(vec![limits], scaling, period).unwrap();
            chain.arm(&[middle]).unwrap();
            for share in &shares {
                let s = chain.state();
                let (lo, hi) = admissible(&limits, s.position[0], s.velocity[0], period);
                let w = (lo + share * (hi - lo)).clamp(lo, hi);
                let command = chain.admit(&[w]);
                prop_assert_eq!(command.velocity()[0].to_bits(), w.to_bits());
                prop_assert_eq!(command.verdict(), Verdict::Passed);
            }
        }
    }

    /// The filter returns the point of a fine grid of *all* velocities that is nearest to the desired one among those from
    /// which a brute-force braking rollout stays inside.
    #[test]
    fn no_admissible_velocity_is_nearer_to_the_desired_one(
        limits in limits(),
        period in prop::sample::select(&PERIODS[..]),
        warmup in prop::collection::vec(-6.0..6.0_f64, 0..60),
        wanted in -6.0..6.0_f64,
    ) {
        let mut chain = SafetyChain::motion(vec![limits], Scaling::PerJoint, period).unwrap();
        chain.arm(&[f64::midpoint(limits.min_position, limits.max_position)]).unwrap();
        for w in &warmup {
            chain.admit(&[*w]);
        }
        let (p, v) = (chain.state().position[0], chain.state().velocity[0]);
        let chosen = chain.admit(&[wanted]).velocity()[0];
        let survives = |w: f64| {
            let change = if w.abs() > v.abs() && w * v >= 0.0 { limits.max_acceleration } else { limits.max_acceleration.min(limits.max_deceleration) };
            if (w - v).abs() > change * period || w.abs() > limits.max_velocity {
                return false;
            }
            let (mut p, mut w) = (p, w);
            loop {
                p += w * period;
                if p < limits.min_position || p > limits.max_position {
                    return false;
                }
                let next = if w > 0.0 { (w - limits.max_deceleration * period).max(0.0) } else { (w + limits.max_deceleration * period).min(0.0) };
                if next == 0.0 {
                    return true;
                }
                w = next;
            }
        };
        let distance = (chosen - wanted).abs();
        for i in 0..=2000 {
            let w = -limits.max_velocity + 2.0 * limits.max_velocity * f64::from(i) / 2000.0;
            prop_assert!(
                (w - wanted).abs() >= distance - 1e-9 || !survives(w),
                "grid velocity {w} is nearer to {wanted} than {chosen}, from p {p} v {v}"
            );
        }
    }

    #[test]
    fn non_finite_commands_brake_every_joint(
        limits in prop::collection::vec(limits(), 2..6),
        bad in prop::sample::select(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY][..]),
        which in any::<prop::sample::Index>(),
        scaling in prop::sample::select(&[Scaling::PerJoint, Scaling::Synchronized][..]),
    ) {
        let n = limits.len();
        let mut chain = SafetyChain::motion(limits, scaling, 0.01).unwrap();
        chain.arm(&vec![0.0; n]).unwrap();
        for _ in 0..10 {
            chain.admit(&vec![1.0; n]);
        }
        let before = chain.state().velocity.to_vec();
        let mut desired = vec![1.0; n];
        desired[which.index(n)] = bad;
        let command = chain.admit(&desired);
        prop_assert_eq!(command.verdict(), Verdict::Stopped);
        prop_assert!(command.reasons().contains(Reasons::NON_FINITE));
        for (after, before) in command.velocity().iter().zip(before) {
            prop_assert!(after.is_finite() && after.abs() <= before.abs());
        }
    }

    #[test]
    fn the_stop_plan_ends_at_rest_inside_the_limits_in_time(
        limits in limits(),
        period in prop::sample::select(&PERIODS[..]),
        inputs in prop::collection::vec(desired(), 1..100),
    ) {
        let mut chain = SafetyChain::motion(vec![limits], Scaling::PerJoint, period).unwrap();
        chain.arm(&[f64::midpoint(limits.min_position, limits.max_position)]).unwrap();
        for w in inputs {
            let plan = chain.admit(&[w]).stop_plan();
            let bound = (limits.max_velocity / (limits.max_deceleration * period)).ceil() as usize;
            prop_assert!(plan.ticks() <= bound);
            let mut last = plan.at(0, 0);
            for tick in 1..=plan.ticks() {
                let next = plan.at(tick, 0);
                assert_within(&limits, last, next.0, period);
                last = next;
            }
            prop_assert_eq!(last.1, 0.0);
        }
    }

    /// From any motion: if some share of the desired command is inside every joint's limits, the largest such share is executed.
    #[test]
    fn synchronized_scaling_keeps_the_direction_in_motion_wherever_it_can(
        limits in prop::collection::vec(limits(), 2..5),
        raw in prop::collection::vec(-4.0..4.0_f64, 5 * 30),
        wanted in prop::collection::vec(-6.0..6.0_f64, 5),
    ) {
        let n = limits.len();
        let h = 0.02;
        let mut chain = SafetyChain::motion(limits.clone(), Scaling::Synchronized, h).unwrap();
        chain.arm(&vec![0.0; n]).unwrap();
        for row in raw.chunks_exact(n).take(20) {
            chain.admit(row);
        }
        let boxes: Vec<(f64, f64)> = (0..n)
            .map(|i| admissible(&limits[i], chain.state().position[i], chain.state().velocity[i], h))
            .collect();
        let inside = |s: f64| (0..n).all(|i| s * wanted[i] >= boxes[i].0 && s * wanted[i] <= boxes[i].1);
        let best = (0..=1000).rev().map(|k| f64::from(k) / 1000.0).find(|s| inside(*s));
        let command = chain.admit(&wanted[..n]);
        if let Some(best) = best {
            let share = command.velocity()[0] / wanted[0];
            prop_assert!(share >= best - 1e-6, "share {} below {}", share, best);
            for (w, d) in command.velocity().iter().zip(&wanted) {
                prop_assert!((w - share * d).abs() <= 1e-9 * (1.0 + d.abs()), "direction lost");
            }
        }
        for (w, (lo, hi)) in command.velocity().iter().zip(&boxes) {
            prop_assert!(w >= lo && w <= hi);
        }
    }

    /// Scaled from rest the executed command is a share of the desired one.
    #[test]
    fn synchronized_scaling_keeps_the_direction(
        limits in prop::collection::vec(limits(), 2..7),
        raw in prop::collection::vec(-10.0..10.0_f64, 7),
    ) {
        let n = limits.len();
        let desired = &raw[..n];
        let mut chain = SafetyChain::motion(limits, Scaling::Synchronized, 0.01).unwrap();
        chain.arm(&vec![0.0; n]).unwrap();
        let command = chain.admit(desired);
        let largest = (0..n).max_by(|a, b| desired[*a].abs().total_cmp(&desired[*b].abs())).unwrap();
        let share = command.velocity()[largest] / desired[largest];
        prop_assert!((0.0..=1.0).contains(&share));
        for (w, d) in command.velocity().iter().zip(desired) {
            prop_assert!((w - share * d).abs() <= 1e-9 * (1.0 + d.abs()));
        }
    }

    #[test]
    fn the_inverse_braking_distance_inverts(
        d in 0.0..10.0_f64, decel in 0.1..50.0_f64, period in prop::sample::select(&PERIODS[..]),
    ) {
        let back = braking_distance(braking_velocity(d, decel, period), decel, period);
        prop_assert!((back - d).abs() <= 1e-12 * (1.0 + d));
    }

    #[test]
    fn a_target_is_reached_without_overshoot(
        limits in limits(), period in prop::sample::select(&PERIODS[..]), share in 0.0..1.0_f64,
    ) {
        let target = limits.min_position + share * (limits.max_position - limits.min_position);
        let start = f64::midpoint(limits.min_position, limits.max_position);
        let mut chain = SafetyChain::motion(vec![limits], Scaling::PerJoint, period).unwrap();
        chain.arm(&[start]).unwrap();
        for _ in 0..100_000 {
            let p = chain.state().position[0];
            if (target - p).abs() < 1e-9 {
                break;
            }
            let p = chain.admit(&[velocity_toward(target - p, &limits, period)]).position()[0];
            prop_assert!((p - start) * (target - start).signum() <= (target - start).abs() + 1e-9);
        }
        prop_assert!((chain.state().position[0] - target).abs() < 1e-6);
    }
}

/// A filter of the user's own that asks for nonsense cannot weaken the envelope, and the worst verdict wins.
#[test]
fn the_envelope_has_the_last_word() {
    struct Hostile(Verdict);
    impl SafetyFilter for Hostile {
        fn filter(&mut self, _: CommandState<'_>, command: &mut [f64]) -> Verdict {
            command.fill(1e12);
            self.0
        }
        fn reset(&mut self) {}
        fn reasons(&self) -> Reasons {
            Reasons::NONE
        }
    }
    let limits = JointLimits::new(-1.0, 1.0, 1.0, 2.0).unwrap();
    let mut chain = SafetyChain::motion(vec![limits], Scaling::PerJoint, 0.01)
        .unwrap()
        .with_filter(Box::new(Hostile(Verdict::Stopped)));
    chain.arm(&[0.0]).unwrap();
    let command = chain.admit(&[0.0]);
    assert_eq!(command.verdict(), Verdict::Stopped, "an Adjusted after a Stopped must not downgrade it");
    assert!(command.velocity()[0] <= 2.0 * 0.01 + 1e-12);
}

/// The cases in which a limiter that swaps an empty interval passes the hard limit by about V^2 / 2A (0.25 to 0.38 rad).
#[test]
fn driven_into_a_limit_at_full_speed_stops_exactly_there() {
    for (v, a, h) in [(2.0, 5.0, 0.01), (1.0, 2.0, 0.002), (2.62, 10.0, 0.01)] {
        let limits = JointLimits::new(-3.0, 1.0, v, a).unwrap();
        let mut chain = SafetyChain::motion(vec![limits], Scaling::PerJoint, h).unwrap();
        chain.arm(&[-2.9]).unwrap();
        let mut last = (-2.9, 0.0);
        let mut fastest = 0.0_f64;
        for _ in 0..20_000 {
            let p = chain.admit(&[v]).position()[0];
            let velocity = assert_within(&limits, last, p, h);
            fastest = fastest.max(velocity);
            last = (p, velocity);
        }
        assert!(last.0 <= 1.0 && last.0 > 1.0 - 1e-6, "stopped at {}", last.0);
        assert!((fastest - v).abs() < 1e-9, "the filter must not slow it earlier: {fastest}");
    }
}

/// A million steps of adversarial input in one run: alternating extremes, bursts and non-numbers.
#[test]
fn a_million_adversarial_steps_stay_inside() {
    let mut bits = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move || {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        bits
    };
    let mut steps = 0;
    while steps < 1_000_000 {
        let unit = |r: u64| (r >> 11) as f64 / (1_u64 << 53) as f64;
        let limits = JointLimits::new(
            -0.1 - 3.0 * unit(random()),
            0.1 + 3.0 * unit(random()),
            0.05 + 5.0 * unit(random()),
            0.5 + 30.0 * unit(random()),
        )
        .unwrap();
        let h = PERIODS[(random() % 6) as usize];
        let mut chain = SafetyChain::motion(vec![limits], Scaling::PerJoint, h).unwrap();
        chain.arm(&[0.0]).unwrap();
        let mut last = (0.0, 0.0);
        for _ in 0..2_000 {
            let w = match random() % 8 {
                0 => f64::NAN,
                1 => 1e9,
                2 => -1e9,
                3 => f64::from_bits(random()),
                4 => limits.max_velocity,
                5 => -limits.max_velocity,
                _ => 10.0 * unit(random()) - 5.0,
            };
            for _ in 0..1 + random() % 10 {
                let p = chain.admit(&[w]).position()[0];
                last = (p, assert_within(&limits, last, p, h));
                steps += 1;
            }
        }
    }
}

#[test]
fn unusable_limits_and_poses_are_refused() {
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(JointLimits::new(-1.0, 1.0, bad, 1.0).is_err());
        assert!(JointLimits::new(-1.0, 1.0, 1.0, bad).is_err());
        assert!(SafetyChain::motion(vec![], Scaling::PerJoint, bad).is_err());
    }
    assert!(JointLimits::new(1.0, -1.0, 1.0, 1.0).is_err());
    let limits = JointLimits::new(-1.0, 1.0, 1.0, 1.0).unwrap();
    let mut chain = SafetyChain::motion(vec![limits], Scaling::PerJoint, 0.01).unwrap();
    assert_eq!(
        chain.arm(&[1.5]).unwrap_err(),
        SafetyError::OutsideLimits { joint: 0, position: 1.5, min: -1.0, max: 1.0 }
    );
    assert!(chain.arm(&[f64::NAN]).is_err());
    assert!(chain.arm(&[0.0, 0.0]).is_err());
}

#[test]
fn admitting_does_not_allocate() {
    let limits = JointLimits::new(-1.0, 1.0, 1.0, 2.0).unwrap();
    let mut chain = SafetyChain::motion(vec![limits; 7], Scaling::Synchronized, 0.01).unwrap();
    chain.arm(&[0.0; 7]).unwrap();
    let counted = allocation_counter::measure(|| {
        for i in 0..1000 {
            chain.admit(&[f64::from(i % 7) - 3.0; 7]);
        }
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn the_effort_envelope_clamps_and_refuses_non_finite() {
    let limits = JointLimits::new(-1.0, 1.0, 1.0, 2.0).unwrap().with_max_effort(3.0).unwrap();
    let mut chain = SafetyChain::effort(vec![limits], 0.01).unwrap();
    chain.arm(&[0.0]).unwrap();
    assert_eq!(chain.admit(&[2.5]).effort(), [2.5]);
    assert_eq!(chain.admit(&[-9.0]).effort(), [-3.0]);
    let stopped = chain.admit(&[f64::NAN]);
    assert_eq!((stopped.effort(), stopped.verdict()), (&[0.0][..], Verdict::Stopped));
}
