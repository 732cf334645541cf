//! The overshoot corpus: three joints driven into a position limit at full speed.
//!
//! `ros2_control`'s velocity limiter intersects `[-V, V]`, what reaches a position limit within one period, and what the
//! acceleration limit allows. Where the intersection is empty it exchanges the ends, and the joint passes the
//! hard limit by about `V^2 / 2A`. Its formulas are restated here, with its figure beside ours.

use surefoot_safety::{JointLimits, SafetyChain, Scaling};

struct Case {
    velocity: f64,
    acceleration: f64,
    period: f64,
    /// How far past the hard limit the exchanged interval goes, rad.
    theirs: f64,
}

const CORPUS: [Case; 3] = [
    Case { velocity: 2.0, acceleration: 5.0, period: 0.01, theirs: 0.380 },
    Case { velocity: 1.0, acceleration: 2.0, period: 0.002, theirs: 0.248 },
    Case { velocity: 2.62, acceleration: 10.0, period: 0.01, theirs: 0.310 },
];

const LIMIT: f64 = 1.0;

/// One period of the interval with exchanged ends.
fn exchanged_interval(case: &Case, position: f64, velocity: f64, desired: f64) -> f64 {
    let Case { velocity: v, acceleration: a, period: h, .. } = case;
    let lower = (-v).max((-LIMIT - position) / h).max(velocity - a * h);
    let upper = v.min((LIMIT - position) / h).min(velocity + a * h);
    let (lower, upper) = if lower > upper { (upper, lower) } else { (lower, upper) };
    desired.max(lower).min(upper)
}

#[test]
fn an_exchanged_interval_passes_the_limit() {
    for case in &CORPUS {
        let (mut p, mut v, mut farthest) = (0.0, 0.0, 0.0_f64);
        for _ in 0..5000 {
            v = exchanged_interval(case, p, v, case.velocity);
            p += v * case.period;
            farthest = farthest.max(p);
            if p > LIMIT && v < 0.0 {
                break;
            }
        }
        let past = farthest - LIMIT;
        assert!((past - case.theirs).abs() <= 0.01 * case.theirs, "{past} rad past the limit");
    }
}

#[test]
fn the_braking_and_the_certified_filter_stop_at_the_limit() {
    for case in &CORPUS {
        let limits = JointLimits::new(-LIMIT, LIMIT, case.velocity, case.acceleration).unwrap();
        let with_jerk = limits.with_max_jerk(50.0 * case.acceleration).unwrap();
        for limits in [limits, with_jerk] {
            let mut chain = SafetyChain::motion(vec![limits], Scaling::PerJoint, case.period).unwrap();
            chain.arm(&[0.0]).unwrap();
            let (mut last, mut fastest, mut steepest) = ((0.0, 0.0), 0.0_f64, 0.0_f64);
            for _ in 0..5000 {
                let p = chain.admit(&[case.velocity]).position()[0];
                assert!(p <= LIMIT, "{} rad past the limit", p - LIMIT);
                let v = (p - last.0) / case.period;
                steepest = steepest.max(((v - last.1) / case.period).abs());
                fastest = fastest.max(v);
                last = (p, v);
            }
            assert!(last.0 > LIMIT - 1e-6, "stopped early, at {}", last.0);
            assert!(fastest > case.velocity * (1.0 - 1e-6), "slowed early, to {fastest} rad/s");
            assert!(steepest <= case.acceleration * (1.0 + 1e-6), "{steepest} rad/s^2");
        }
    }
}
