//! Not one allocation in a control tick, with any envelope.

mod arm;

use surefoot_safety::{JointLimits, SafetyChain, Scaling, SoftJointLimits};

fn count(chain: &mut SafetyChain, start: &[f64]) -> u64 {
    assert_eq!(chain.arm(start), Ok(()));
    let inputs: Vec<Vec<f64>> = [0.5, 1e9, -1e9, f64::NAN, -0.3, f64::INFINITY]
        .iter()
        .map(|w| (0..start.len()).map(|j| if j % 2 == 0 { *w } else { -w }).collect())
        .collect();
    let mut sum = 0.0;
    let counted = allocation_counter::measure(|| {
        for tick in 0..1200_usize {
            let _ = chain.set_speed_scale(if tick < 600 { 1.0 } else { 0.3 });
            let command = chain.admit(&inputs[tick / 40 % inputs.len()]);
            let plan = command.stop_plan();
            sum += command.effort().iter().sum::<f64>();
            if plan.ticks() > 0 {
                sum += plan.at(plan.ticks(), 0).0;
            }
            chain.brake();
        }
    });
    assert!(sum.is_finite());
    counted.count_total
}

#[test]
fn no_envelope_allocates_in_a_tick() {
    let limits = arm::limits(500.0);
    let soft = |l: &JointLimits| {
        let (min, max) = (l.min_position() + 0.1, l.max_position() - 0.1);
        l.with_soft_limits(SoftJointLimits { min_position: min, max_position: max, k_position: 1.0 }).unwrap()
    };
    for scaling in [Scaling::PerJoint, Scaling::Synchronized] {
        let plain: Vec<JointLimits> = limits
            .iter()
            .map(|l| {
                soft(&JointLimits::new(l.min_position(), l.max_position(), l.max_velocity(), 10.0).unwrap())
            })
            .collect();
        let mut braking = SafetyChain::motion(plain.clone(), scaling, 0.01).unwrap();
        assert_eq!(count(&mut braking, &arm::HOME), 0);
        let with_jerk: Vec<JointLimits> = limits.iter().map(soft).collect();
        let mut certified = SafetyChain::motion(with_jerk, scaling, 0.01).unwrap();
        assert_eq!(count(&mut certified, &arm::HOME), 0);
        let model = arm::in_a_cell(&limits).unwrap();
        let chain = SafetyChain::motion(limits.clone(), scaling, 0.01).unwrap();
        assert_eq!(count(&mut chain.with_clearance(Box::new(model)).unwrap(), &arm::HOME), 0);
    }
    let effort = limits.iter().map(|l| l.with_max_effort(20.0).unwrap()).collect();
    assert_eq!(count(&mut SafetyChain::effort(effort, 0.01).unwrap(), &arm::HOME), 0);
}
