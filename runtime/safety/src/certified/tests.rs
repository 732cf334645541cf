//! Properties of the certified filter, over arbitrary limits, periods and inputs.

use proptest::prelude::*;

use super::backup::BackupStop;
use crate::testing::{Excess, PERIODS, Random, desired, jerk_limits};
use crate::{Clearance, JointLimits, LimitMonitor, Reasons, SafetyChain, SafetyError, Scaling, Verdict};

fn fr3() -> JointLimits {
    JointLimits::new(-2.75, 2.75, 2.62, 10.0).and_then(|l| l.with_max_jerk(500.0)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// P1.
    #[test]
    fn limits_hold_for_any_input(
        limits in jerk_limits(),
        start in 0.0..1.0_f64,
        period in prop::sample::select(&PERIODS[..]),
        inputs in prop::collection::vec(desired(), 1..200),
        hold in 1_usize..20,
    ) {
        let p0 = limits.min_position() + start * (limits.max_position() - limits.min_position());
        let mut chain = SafetyChain::motion(vec![limits], Scaling::PerJoint, period).unwrap();
        let mut monitor = LimitMonitor::new(&[limits], period);
        chain.arm(&[p0]).unwrap();
        monitor.arm(&[p0]);
        let mut excess = Excess::at_rest(p0);
        for w in inputs.iter().flat_map(|w| std::iter::repeat_n(*w, hold)) {
            let command = chain.admit(&[w]);
            monitor.observe(&command);
            excess.observe(&limits, command.position()[0], period);
        }
        excess.assert_none();
        prop_assert_eq!(monitor.counts().violations, 0);
    }

    /// P2: what can be reached and stopped from is executed bit for bit.
    #[test]
    fn feasible_commands_pass_bit_for_bit(
        limits in jerk_limits(),
        period in prop::sample::select(&PERIODS[..]),
        shares in prop::collection::vec(0.001..0.999_f64, 1..200),
    ) {
        let middle = f64::midpoint(limits.min_position(), limits.max_position());
        for scaling in [Scaling::PerJoint, Scaling::Synchronized] {
            let mut chain = SafetyChain::motion(vec![limits], scaling, period).unwrap();
            chain.arm(&[middle]).unwrap();
            let stop = BackupStop::new(0, &limits, period).unwrap();
            let mut plan = Vec::new();
            for share in &shares {
                let x = chain.certified().unwrap().now(0);
                let step = limits.max_jerk().unwrap() * period;
                let to = stop.accelerated(x, x.acceleration + step * (2.0 * share - 1.0));
                if stop.certify(x, to, limits.max_velocity(), &mut plan) {
                    let command = chain.admit(&[to.velocity]);
                    prop_assert_eq!(command.velocity()[0].to_bits(), to.velocity.to_bits());
                    prop_assert_eq!(command.verdict(), Verdict::Passed);
                } else {
                    chain.admit(&[to.velocity]);
                }
            }
        }
    }

    /// P3: among all accelerations of a fine grid from which the backup stop works, none is nearer to the one that was aimed at.
    #[test]
    fn no_certified_acceleration_is_nearer_to_the_desired_one(
        limits in jerk_limits(),
        period in prop::sample::select(&PERIODS[..]),
        warmup in prop::collection::vec(-6.0..6.0_f64, 0..100),
        toward in any::<bool>(),
    ) {
        let mut chain = SafetyChain::motion(vec![limits], Scaling::PerJoint, period).unwrap();
        chain.arm(&[f64::midpoint(limits.min_position(), limits.max_position())]).unwrap();
        for w in &warmup {
            chain.admit(&[*w]);
        }
        let x = chain.certified().unwrap().now(0);
        let stop = BackupStop::new(0, &limits, period).unwrap();
        // A whole step of jerk in one direction: what is aimed at is the end of the grid itself.
        let step = limits.max_jerk().unwrap() * period;
        let sign = if toward { 1.0 } else { -1.0 };
        let aim = (x.acceleration + sign * step).clamp(-limits.max_deceleration().min(limits.max_acceleration()), limits.max_deceleration().min(limits.max_acceleration()));
        chain.admit(&[x.velocity + aim * period]);
        let chosen = chain.certified().unwrap().now(0).acceleration;
        let distance = (chosen - aim).abs();
        let mut plan = Vec::new();
        for i in 0..=1000 {
            let a = x.acceleration + step * (2.0 * f64::from(i) / 1000.0 - 1.0);
            let certified = stop.certify(x, stop.accelerated(x, a), limits.max_velocity(), &mut plan);
            prop_assert!(
                !certified || (a - aim).abs() >= distance - 1e-3 * step,
                "acceleration {} is nearer to {} than {}, from {:?} {:?}", a, aim, chosen, x, limits
            );
        }
    }

    /// P4, and that an execution of the plan is the plan.
    #[test]
    fn the_stop_plan_ends_at_rest_inside_the_limits_in_time_and_is_what_is_executed(
        limits in jerk_limits(),
        period in prop::sample::select(&PERIODS[..]),
        inputs in prop::collection::vec(desired(), 1..100),
        hold in 1_usize..10,
    ) {
        let mut chain = SafetyChain::motion(vec![limits], Scaling::PerJoint, period).unwrap();
        chain.arm(&[f64::midpoint(limits.min_position(), limits.max_position())]).unwrap();
        let mut excess = Excess::at_rest(chain.state().position[0]);
        for w in inputs.iter().flat_map(|w| std::iter::repeat_n(*w, hold)) {
            excess.observe(&limits, chain.admit(&[w]).position()[0], period);
        }
        let plan = chain.brake().stop_plan();
        let steepest = limits.max_deceleration().max(limits.max_acceleration());
        let bound = (limits.max_velocity() / (limits.max_deceleration() * period)).ceil()
            + 2.0 * (steepest / (limits.max_jerk().unwrap() * period)).ceil();
        prop_assert!(plan.ticks() as f64 <= bound + 2.0, "{} ticks, bound {}", plan.ticks(), bound);
        let planned: Vec<(f64, f64)> = (0..=plan.ticks() + 2).map(|tick| plan.at(tick, 0)).collect();
        prop_assert_eq!(planned[plan.ticks()].1, 0.0);
        for (p, _) in &planned {
            excess.observe(&limits, *p, period);
        }
        excess.assert_none();
        for (p, v) in &planned[1..] {
            let command = chain.admit(&[f64::NAN]);
            prop_assert_eq!(command.position()[0].to_bits(), p.to_bits());
            prop_assert_eq!(command.velocity()[0].to_bits(), v.to_bits());
        }
    }

    /// P8: speeding up from rest, with like joints far from their limits, the executed command is a share of the desired one.
    #[test]
    fn synchronized_scaling_keeps_the_direction(
        limits in jerk_limits(),
        raw in prop::collection::vec(-10.0..10.0_f64, 2..6),
    ) {
        prop_assume!(raw.iter().any(|w| w.abs() > 0.2));
        let n = raw.len();
        let limits = JointLimits::new(-100.0, 100.0, 1.0 + limits.max_velocity(), limits.max_acceleration())
            .and_then(|l| l.with_max_jerk(limits.max_jerk().unwrap()))
            .unwrap();
        let mut chain = SafetyChain::motion(vec![limits; n], Scaling::Synchronized, 0.001).unwrap();
        chain.arm(&vec![0.0; n]).unwrap();
        let largest = (0..n).max_by(|a, b| raw[*a].abs().total_cmp(&raw[*b].abs())).unwrap();
        for _ in 0..5 {
            let command = chain.admit(&raw);
            let share = command.velocity()[largest] / raw[largest];
            prop_assert!((0.0..=1.0).contains(&share));
            for (w, d) in command.velocity().iter().zip(&raw) {
                prop_assert!((w - share * d).abs() <= 1e-9 * (1.0 + d.abs()), "{:?} is not along {:?}", command.velocity(), raw);
            }
        }
    }

    /// Several joints with different limits, synchronized, at changing speed scales.
    #[test]
    fn limits_hold_for_joints_that_are_scaled_together(
        limits in prop::collection::vec(jerk_limits(), 2..5),
        inputs in prop::collection::vec((desired(), desired(), desired(), desired(), 0.01..=1.0_f64), 1..60),
        hold in 1_usize..10,
    ) {
        let (n, h) = (limits.len(), 0.01);
        let mut chain = SafetyChain::motion(limits.clone(), Scaling::Synchronized, h).unwrap();
        let mut monitor = LimitMonitor::new(&limits, h);
        chain.arm(&vec![0.0; n]).unwrap();
        monitor.arm(&vec![0.0; n]);
        let mut fastest = vec![0.0_f64; n];
        for (a, b, c, d, scale) in inputs {
            chain.set_speed_scale(scale).unwrap();
            for _ in 0..hold {
                let command = chain.admit(&[a, b, c, d][..n]);
                monitor.observe(&command);
                let plan = command.stop_plan();
                for (j, fastest) in fastest.iter_mut().enumerate() {
                    let planned = (0..=plan.ticks()).map(|t| plan.at(t, j).1.abs()).fold(0.0, f64::max);
                    let allowed = fastest.max(scale * limits[j].max_velocity());
                    prop_assert!(planned <= allowed + 1e-12, "a lower speed scale lets no plan grow");
                    *fastest = planned;
                }
            }
        }
        prop_assert_eq!(monitor.counts().violations, 0);
    }

    /// P6: whatever limits and periods are accepted in motion, the present ones hold from then on.
    #[test]
    fn changed_limits_and_periods_are_kept_or_refused(
        limits in prop::collection::vec(jerk_limits(), 6),
        periods in prop::collection::vec(prop::sample::select(&PERIODS[..]), 6),
        inputs in prop::collection::vec(-5.0..5.0_f64, 6 * 20),
    ) {
        let mut chain = SafetyChain::motion(vec![limits[0]], Scaling::PerJoint, periods[0]).unwrap();
        chain.arm(&[0.0]).unwrap();
        let mut current = (limits[0], periods[0]);
        let mut x = chain.certified().unwrap().now(0);
        for (i, w) in inputs.iter().enumerate() {
            if i % 20 == 0 && chain.set_limits(vec![limits[i / 20]], periods[i / 20]).is_ok() {
                current = (limits[i / 20], periods[i / 20]);
            }
            chain.admit(&[*w]);
            let next = chain.certified().unwrap().now(0);
            let (l, h) = &current;
            prop_assert!(next.position >= l.min_position() && next.position <= l.max_position());
            prop_assert!(next.velocity.abs() <= l.max_velocity());
            prop_assert!((next.acceleration - x.acceleration).abs() <= l.max_jerk().unwrap() * h * (1.0 + 1e-9));
            x = next;
        }
    }
}

/// A million steps of adversarial input: alternating extremes, bursts and non-numbers.
#[test]
fn a_million_adversarial_steps_stay_inside() {
    let mut random = Random::new(7);
    let mut worst = Excess::at_rest(0.0);
    let mut steps = 0;
    while steps < 1_000_000 {
        let limits = random.jerk_limits();
        let h = PERIODS[random.below(PERIODS.len())];
        let mut chain = SafetyChain::motion(vec![limits], Scaling::PerJoint, h).unwrap();
        chain.arm(&[0.0]).unwrap();
        let mut excess = Excess::at_rest(0.0);
        for _ in 0..400 {
            let w = random.adversarial(&limits);
            for _ in 0..1 + random.below(30) {
                excess.observe(&limits, chain.admit(&[w]).position()[0], h);
                steps += 1;
            }
        }
        worst.include(&excess);
    }
    worst.assert_none();
}

#[test]
fn pushed_into_a_limit_it_ends_exactly_there() {
    for (jerk, h) in [(500.0, 0.01), (5000.0, 0.001)] {
        let limits = JointLimits::new(-2.75, 2.75, 2.62, 10.0).unwrap().with_max_jerk(jerk).unwrap();
        let mut chain = SafetyChain::motion(vec![limits], Scaling::PerJoint, h).unwrap();
        chain.arm(&[-2.0]).unwrap();
        let mut excess = Excess::at_rest(-2.0);
        let mut fastest = 0.0_f64;
        for _ in 0..20_000 {
            let command = chain.admit(&[1e9]);
            fastest = fastest.max(command.velocity()[0]);
            excess.observe(&limits, command.position()[0], h);
        }
        excess.assert_none();
        let p = chain.state().position[0];
        assert!(p <= 2.75 && p > 2.75 - 1e-6, "stopped at {p}");
        assert!(fastest > 2.62 - 1e-6, "the filter must not slow it earlier: {fastest}");
    }
}

/// A wish is reached, and held, without hunting around it.
#[test]
fn a_constant_velocity_is_reached_and_held() {
    for w in [0.5, -1.3, 2.62, 0.001] {
        let mut chain = SafetyChain::motion(vec![fr3()], Scaling::PerJoint, 0.01).unwrap();
        chain.arm(&[0.0]).unwrap();
        let mut ticks = 0;
        for tick in 0..60 {
            if chain.admit(&[w]).velocity()[0] != w {
                ticks = tick + 1;
            }
        }
        // Two ramps of the acceleration and the time at its limit.
        let ideal = (w.abs() / 10.0 + 10.0 / 500.0) / 0.01;
        assert!(f64::from(ticks) <= ideal + 4.0, "{w} rad/s held after {ticks} ticks");
    }
}

/// A wall in joint space: the sum of two joints must stay below a bound.
struct Wall {
    bound: f64,
    reach: [f64; 2],
}

impl Clearance for Wall {
    fn clearance(&mut self, position: &[f64]) -> f64 {
        self.bound - position[0] - position[1]
    }
    fn reach(&self) -> &[f64] {
        &self.reach
    }
}

#[test]
fn a_geometric_condition_holds_for_any_input() {
    let mut random = Random::new(11);
    for case in 0..200 {
        let limits = [random.jerk_limits(), random.jerk_limits()];
        let h = PERIODS[random.below(PERIODS.len())];
        let scaling = if case % 2 == 0 { Scaling::PerJoint } else { Scaling::Synchronized };
        let bound = 0.05;
        let mut chain = SafetyChain::motion(limits.to_vec(), scaling, h)
            .unwrap()
            .with_clearance(Box::new(Wall { bound, reach: [1.0; 2] }))
            .unwrap();
        chain.arm(&[0.0, 0.0]).unwrap();
        let mut monitor = LimitMonitor::new(&limits, h);
        monitor.arm(&[0.0, 0.0]);
        let mut near = f64::INFINITY;
        for _ in 0..100 {
            let wanted = [random.adversarial(&limits[0]), random.adversarial(&limits[1])];
            for _ in 0..1 + random.below(20) {
                let command = chain.admit(&wanted);
                monitor.observe(&command);
                let plan = command.stop_plan();
                for tick in 0..=plan.ticks() {
                    let clearance = bound - plan.at(tick, 0).0 - plan.at(tick, 1).0;
                    assert!(clearance >= 0.0, "clearance {clearance} in the plan");
                }
                near = near.min(bound - command.position()[0] - command.position()[1]);
            }
        }
        assert_eq!(monitor.counts().violations, 0);
        assert!(near >= 0.0);
    }
}

/// Without a jerk limit a condition still brings the certificate; pushed against the wall the robot comes to rest at it.
#[test]
fn a_robot_without_jerk_limits_stops_at_a_wall() {
    let limits = JointLimits::new(-3.0, 3.0, 2.0, 5.0).unwrap();
    let mut chain = SafetyChain::motion(vec![limits; 2], Scaling::PerJoint, 0.01)
        .unwrap()
        .with_clearance(Box::new(Wall { bound: 1.0, reach: [1.0; 2] }))
        .unwrap();
    chain.arm(&[0.0, 0.0]).unwrap();
    let mut reasons = Reasons::NONE;
    for _ in 0..2000 {
        reasons = reasons.union(chain.admit(&[2.0, 1.0]).reasons());
    }
    let p = chain.state().position;
    assert!(p[0] + p[1] <= 1.0 && p[0] + p[1] > 1.0 - 1e-3, "stopped at {p:?}");
    assert!(reasons.contains(Reasons::GEOMETRY));
    let wall = Wall { bound: 1.0, reach: [1.0; 2] };
    let mut chain = SafetyChain::motion(vec![limits; 2], Scaling::PerJoint, 0.01)
        .unwrap()
        .with_clearance(Box::new(wall))
        .unwrap();
    assert!(matches!(chain.arm(&[1.0, 1.0]), Err(SafetyError::NotClear { condition: 0, .. })));
    assert!(matches!(chain.arm_moving(&[0.9, 0.0], &[2.0, 0.0]), Err(SafetyError::NotClear { .. })));
}

#[test]
fn a_clearance_that_is_not_a_number_is_a_collision() {
    struct Broken;
    impl Clearance for Broken {
        fn clearance(&mut self, _: &[f64]) -> f64 {
            f64::NAN
        }
        fn reach(&self) -> &[f64] {
            &[1.0]
        }
    }
    let chain = SafetyChain::motion(vec![fr3()], Scaling::PerJoint, 0.01).unwrap();
    let mut chain = chain.with_clearance(Box::new(Broken)).unwrap();
    assert!(matches!(chain.arm(&[0.0]), Err(SafetyError::NotClear { .. })));
    for _ in 0..10 {
        assert_eq!(chain.admit(&[1.0]).velocity(), [0.0]);
    }
    let two = SafetyChain::motion(vec![fr3(); 2], Scaling::PerJoint, 0.01).unwrap();
    assert!(matches!(
        two.with_clearance(Box::new(Broken)),
        Err(SafetyError::JointCount { expected: 2, found: 1 })
    ));
    let effort = SafetyChain::effort(vec![fr3().with_max_effort(1.0).unwrap()], 0.01).unwrap();
    assert!(matches!(effort.with_clearance(Box::new(Broken)), Err(SafetyError::EffortChain)));
}

#[test]
fn a_jerk_limit_that_cannot_stop_in_useful_time_is_refused() {
    let slow = JointLimits::new(-1.0, 1.0, 1.0, 1.0).unwrap().with_max_jerk(1e-6).unwrap();
    let refused = SafetyChain::motion(vec![slow], Scaling::PerJoint, 0.001);
    assert!(matches!(refused, Err(SafetyError::StopTooLong { joint: 0, .. })));
}
