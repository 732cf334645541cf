//! What each filter costs: ns per joint and tick, for a seven-joint arm under changing commands. Every run is made five times and the
//! fastest time of each tick counts: the work of a tick is always the same, what else the machine does is not.
//!
//! ```text
//! cargo run --release -p surefoot-safety --example filter_speed
//! ```
#![allow(clippy::print_stdout)]
#![allow(clippy::disallowed_methods, reason = "this measures time and decides nothing by it")]

#[path = "../tests/arm/mod.rs"]
mod arm;

use std::error::Error;
use std::time::Instant;

use surefoot_safety::{JointLimits, SafetyChain, Scaling};

const TICKS: usize = 50_000;
const RUNS: usize = 5;

fn measure(name: &str, chain: &mut SafetyChain) -> Result<(), Box<dyn Error>> {
    let n = arm::HOME.len();
    let hold = (0.1 / chain.state().period_secs).round() as usize;
    let mut desired = vec![0.0; n];
    let (mut worst_ticks, mut sum_ticks, mut worst_evaluations, mut sum_evaluations) = (0, 0, 0, 0);
    let mut spent = 0;
    let mut seconds = vec![f64::INFINITY; TICKS];
    for run in 0..RUNS {
        chain.arm(&arm::HOME)?;
        for (tick, fastest) in seconds.iter_mut().enumerate() {
            // Changes ten times a second, and asks for more than the limits allow for half of the time.
            if tick % hold == 0 {
                for (joint, w) in desired.iter_mut().enumerate() {
                    *w = 4.0 * ((tick / hold) as f64 * 0.37 + joint as f64 * 1.3).sin();
                }
            }
            let start = Instant::now();
            std::hint::black_box(chain.admit(std::hint::black_box(&desired)));
            *fastest = fastest.min(start.elapsed().as_secs_f64());
            if let Some(filter) = chain.certified().filter(|_| run == 0) {
                worst_ticks = worst_ticks.max(filter.rollout_ticks());
                sum_ticks += filter.rollout_ticks();
                worst_evaluations = worst_evaluations.max(filter.evaluations());
                sum_evaluations += filter.evaluations();
                spent += u64::from(filter.evaluations() >= filter.max_evaluations());
            }
        }
    }
    let mean = |sum: u64| sum as f64 / TICKS as f64;
    seconds.sort_unstable_by(f64::total_cmp);
    let per_joint = |quantile: f64| seconds[(TICKS as f64 * quantile) as usize] * 1e9 / n as f64;
    let mean_ns = seconds.iter().sum::<f64>() * 1e9 / (TICKS * n) as f64;
    print!(
        "{name:<46} ns/joint: mean {mean_ns:6.0}, median {:6.0}, p99 {:6.0}; tick: p99 {:6.1} us, worst {:6.1} us",
        per_joint(0.5),
        per_joint(0.99),
        seconds[TICKS * 99 / 100] * 1e6,
        seconds[TICKS - 1] * 1e6,
    );
    if let Some(filter) = chain.certified() {
        print!(
            "; N {}, states per joint and tick {:.0} (worst {}), evaluations per tick {:.1} (worst {worst_evaluations}, all that it may in {spent} ticks)",
            filter.max_stop_ticks(),
            mean(sum_ticks) / n as f64,
            worst_ticks / n as u64,
            mean(sum_evaluations),
        );
    }
    println!();
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    for (scaling, name) in [(Scaling::PerJoint, "per joint"), (Scaling::Synchronized, "synchronized")] {
        let plain = arm::limits(500.0)
            .iter()
            .map(|l| {
                JointLimits::new(l.min_position(), l.max_position(), l.max_velocity(), l.max_acceleration())
            })
            .collect::<Result<Vec<_>, _>>()?;
        measure(&format!("braking, {name}, 100 Hz"), &mut SafetyChain::motion(plain, scaling, 0.01)?)?;
        for (jerk, h, hz) in [(500.0, 0.01, 100), (5000.0, 0.001, 1000)] {
            let limits = arm::limits(jerk);
            let mut chain = SafetyChain::motion(limits.clone(), scaling, h)?;
            measure(&format!("certified, {name}, {hz} Hz"), &mut chain)?;
            let model = Box::new(arm::in_a_cell(&limits)?);
            let mut chain = SafetyChain::motion(limits, scaling, h)?.with_clearance(model)?;
            measure(&format!("certified with geometry, {name}, {hz} Hz"), &mut chain)?;
        }
    }
    Ok(())
}
