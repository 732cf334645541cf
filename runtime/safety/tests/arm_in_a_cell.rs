//! A seven-joint arm between obstacles, under adversarial inputs.

mod arm;

use surefoot_safety::{Clearance, LimitMonitor, Reasons, SafetyChain, Scaling};

#[test]
fn it_touches_nothing_for_any_input() {
    let limits = arm::limits(500.0);
    let mut witness = arm::in_a_cell(&limits).unwrap();
    assert!(witness.clearance(&arm::HOME) > 0.02, "{}", witness.clearance(&arm::HOME));
    let mut bits = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move || {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        bits
    };
    let cases = [
        (Scaling::PerJoint, 0.01, 40),
        (Scaling::Synchronized, 0.01, 40),
        (Scaling::PerJoint, 0.001, 1000),
        (Scaling::Synchronized, 0.001, 1000),
    ];
    for (scaling, h, hold) in cases {
        let model = Box::new(arm::in_a_cell(&limits).unwrap());
        let chain = SafetyChain::motion(limits.clone(), scaling, h).unwrap();
        let mut chain = chain.with_clearance(model).unwrap();
        let mut monitor = LimitMonitor::new(&limits, h);
        chain.arm(&arm::HOME).unwrap();
        monitor.arm(&arm::HOME);
        let (mut nearest, mut reasons, mut travelled) = (f64::INFINITY, Reasons::NONE, 0.0_f64);
        let mut last = arm::HOME.to_vec();
        for _ in 0..150 {
            let mut wanted = [0.0; 7];
            for w in &mut wanted {
                *w = match random() % 8 {
                    0 => 1e9,
                    1 => -1e9,
                    2 => f64::from_bits(random()),
                    k => 1.5 * (k as f64 - 5.0),
                };
            }
            for tick in 0..random() % hold {
                let command = chain.admit(&wanted);
                monitor.observe(&command);
                reasons = reasons.union(command.reasons());
                // Also half way between two ticks.
                let between: Vec<f64> =
                    last.iter().zip(command.position()).map(|(a, b)| f64::midpoint(*a, *b)).collect();
                nearest = nearest.min(witness.clearance(&between)).min(witness.clearance(command.position()));
                travelled += last.iter().zip(command.position()).map(|(a, b)| (a - b).abs()).sum::<f64>();
                last.copy_from_slice(command.position());
                let plan = command.stop_plan();
                for ahead in (0..=plan.ticks()).filter(|_| tick % 16 == 0) {
                    let position: [f64; 7] = std::array::from_fn(|joint| plan.at(ahead, joint).0);
                    nearest = nearest.min(witness.clearance(&position));
                }
                let filter = chain.certified().unwrap();
                assert!(filter.evaluations() <= filter.max_evaluations());
            }
        }
        assert!(nearest >= 0.0, "{nearest} m");
        assert!(nearest < 0.01, "the obstacles were never met: {nearest} m");
        assert!(reasons.contains(Reasons::GEOMETRY) && travelled > 10.0, "{travelled} rad");
        assert_eq!(monitor.counts().violations, 0);
    }
}
