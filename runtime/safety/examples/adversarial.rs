//! A long adversarial run: every filter, random limits and periods, inputs of a broken or hostile policy.
//!
//! ```text
//! cargo run --release -p surefoot-safety --example adversarial -- --steps 1000000000 --seed 1
//! ```
//!
//! Half of the steps go to the braking filter, half to the certified one; of both, some at changing speed scales. A hundredth as many more go
//! to the certified filter of a seven-joint arm between obstacles, at 100 Hz and 1 kHz. Prints the worst excess over each limit, recomputed
//! from the commanded positions alone, and exits with 1 if there is one. `runtime/safety/README.md` has the figures of 10^9 steps.
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[path = "../tests/arm/mod.rs"]
mod arm;

use std::process::ExitCode;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use surefoot_safety::{Clearance, JointLimits, LimitMonitor, Reasons, SafetyChain, SafetyError, Scaling};

const PERIODS: [f64; 6] = [0.001, 0.002, 0.01, 0.02, 0.05, 0.1];

struct Random(ChaCha8Rng);

impl Random {
    fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
    fn between(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * self.unit()
    }
    fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n
    }
    fn limits(&mut self, jerk: bool) -> Result<JointLimits, SafetyError> {
        let (a, d) = (self.between(0.5, 30.0), self.between(0.5, 30.0));
        let (min, max) = (self.between(-3.0, -0.1), self.between(0.1, 3.0));
        let limits = JointLimits::new(min, max, self.between(0.05, 5.0), a)?;
        let limits = if self.below(2) == 0 { limits } else { limits.with_max_deceleration(d)? };
        if jerk { limits.with_max_jerk(a * self.between(2.0, 200.0)) } else { Ok(limits) }
    }
    fn desired(&mut self, limits: &JointLimits) -> f64 {
        match self.below(10) {
            0 => f64::NAN,
            1 => 1e9,
            2 => -1e9,
            3 => f64::from_bits(self.0.next_u64()),
            4 => limits.max_velocity(),
            5 => -limits.max_velocity(),
            6 => f64::MIN_POSITIVE * self.unit(),
            _ => self.between(-5.0, 5.0),
        }
    }
}

/// The worst so far: position in rad, the others relative to their limits, beyond what rounding of a position explains.
#[derive(Debug, Default)]
struct Worst {
    position: f64,
    velocity: f64,
    acceleration: f64,
    jerk: f64,
    stop_ticks: usize,
    rollout_ticks: u64,
}

fn episode(random: &mut Random, jerk: bool, steps: u64, worst: &mut Worst) -> Result<u64, SafetyError> {
    let limits = random.limits(jerk)?;
    let h = PERIODS[random.below(6) as usize];
    let mut chain = SafetyChain::motion(vec![limits], Scaling::PerJoint, h)?;
    let start = random.between(limits.min_position(), limits.max_position());
    chain.arm(&[start])?;
    let steepest = limits.max_acceleration().max(limits.max_deceleration());
    let (mut p, mut v, mut a, mut done) = (start, 0.0, 0.0, 0);
    while done < steps {
        if random.below(20) == 0 {
            let scale = if random.below(2) == 0 { 1.0 } else { random.between(0.01, 1.0) };
            chain.set_speed_scale(scale)?;
        }
        let wanted = random.desired(&limits);
        for _ in 0..1 + random.below(30) {
            let command = chain.admit(&[wanted]);
            let position = command.position()[0];
            if done % 64 == 0 {
                worst.stop_ticks = worst.stop_ticks.max(command.stop_plan().ticks());
            }
            if let Some(filter) = chain.certified() {
                worst.rollout_ticks = worst.rollout_ticks.max(filter.rollout_ticks());
            }
            let velocity = (position - p) / h;
            let acceleration = (velocity - v) / h;
            let change = (acceleration - a) / h;
            let rounding = f64::EPSILON * position.abs().max(1.0);
            let over = |x: f64, limit: f64, noise: f64| {
                if x.is_nan() { x } else { ((x.abs() - noise) / limit - 1.0).max(0.0) }
            };
            worst.position =
                worst.position.max(position - limits.max_position()).max(limits.min_position() - position);
            worst.velocity = worst.velocity.max(over(velocity, limits.max_velocity(), 2.0 * rounding / h));
            worst.acceleration =
                worst.acceleration.max(over(acceleration, steepest, 4.0 * rounding / (h * h)));
            if let Some(limit) = limits.max_jerk() {
                worst.jerk = worst.jerk.max(over(change, limit, 8.0 * rounding / (h * h * h)));
            }
            if !position.is_finite() {
                worst.position = f64::INFINITY;
            }
            (p, v, a) = (position, velocity, acceleration);
            done += 1;
        }
    }
    Ok(done)
}

/// What the arm between obstacles came to.
#[derive(Debug)]
struct Cell {
    steps: u64,
    nearest: f64,
    violations: u64,
    at_obstacles: u64,
    evaluations: u64,
}

fn cell(random: &mut Random, steps: u64) -> Result<Cell, Box<dyn std::error::Error>> {
    let mut found = Cell { steps: 0, nearest: f64::INFINITY, violations: 0, at_obstacles: 0, evaluations: 0 };
    while found.steps < steps {
        let h = [0.001, 0.01][random.below(2) as usize];
        let scaling = [Scaling::PerJoint, Scaling::Synchronized][random.below(2) as usize];
        let limits = arm::limits(random.between(100.0, 5000.0));
        let mut witness = arm::in_a_cell(&limits)?;
        let chain = SafetyChain::motion(limits.clone(), scaling, h)?;
        let mut chain = chain.with_clearance(Box::new(arm::in_a_cell(&limits)?))?;
        let mut monitor = LimitMonitor::new(&limits, h);
        chain.arm(&arm::HOME)?;
        monitor.arm(&arm::HOME);
        let mut last = arm::HOME;
        for _ in 0..100 {
            let wanted: [f64; 7] = std::array::from_fn(|joint| random.desired(&limits[joint]));
            for _ in 0..1 + random.below(200) {
                let command = chain.admit(&wanted);
                monitor.observe(&command);
                found.at_obstacles += u64::from(command.reasons().contains(Reasons::GEOMETRY));
                let half_way: [f64; 7] =
                    std::array::from_fn(|j| f64::midpoint(last[j], command.position()[j]));
                found.nearest = found
                    .nearest
                    .min(witness.clearance(&half_way))
                    .min(witness.clearance(command.position()));
                last.copy_from_slice(command.position());
                found.evaluations = found.evaluations.max(chain.certified().map_or(0, |f| f.evaluations()));
                found.steps += 1;
            }
        }
        found.violations += monitor.counts().violations;
    }
    Ok(found)
}

fn option(name: &str, default: u64) -> Result<u64, String> {
    let mut arguments = std::env::args().skip_while(|a| a != name).skip(1);
    match arguments.next() {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| format!("{name} takes a whole number, found {text}")),
    }
}

fn main() -> ExitCode {
    let (steps, seed) = match (option("--steps", 10_000_000), option("--seed", 1)) {
        (Ok(steps), Ok(seed)) => (steps, seed),
        (Err(e), _) | (_, Err(e)) => {
            eprintln!("{e}");
            return ExitCode::from(2);
        }
    };
    let mut kept = true;
    for (name, jerk) in [("braking", false), ("certified", true)] {
        let mut random = Random(ChaCha8Rng::seed_from_u64(seed));
        let (mut done, mut worst) = (0, Worst::default());
        while done < steps / 2 {
            match episode(&mut random, jerk, 10_000.min(steps / 2), &mut worst) {
                Ok(n) => done += n,
                Err(e) => {
                    eprintln!("{e}");
                    return ExitCode::FAILURE;
                }
            }
        }
        println!("{name}: {done} steps, seed {seed}");
        println!("  past a position limit   {:.1e} rad", worst.position);
        println!("  over the velocity limit {:.1e} relative", worst.velocity);
        println!("  over the acceleration limit {:.1e} relative", worst.acceleration);
        println!("  over the jerk limit     {:.1e} relative", worst.jerk);
        println!(
            "  longest stop {} ticks, most states rolled out in a tick {}",
            worst.stop_ticks, worst.rollout_ticks
        );
        kept &= worst.position <= 0.0
            && worst.velocity <= 1e-9
            && worst.acceleration <= 1e-9
            && worst.jerk <= 1e-8;
    }
    match cell(&mut Random(ChaCha8Rng::seed_from_u64(seed)), steps / 100) {
        Ok(Cell { steps, nearest, violations, at_obstacles, evaluations }) => {
            println!("certified, seven joints between obstacles: {steps} steps, seed {seed}");
            println!("  least clearance {nearest:.1e} m, joint samples over a limit {violations}");
            println!(
                "  held back by an obstacle in {at_obstacles} steps, most evaluations in a tick {evaluations}"
            );
            kept &= nearest >= 0.0 && violations == 0;
        }
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::FAILURE;
        }
    }
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
