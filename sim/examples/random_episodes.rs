//! Episodes under a random policy, for comparison with other simulators:
//! `random_episodes ENV EPISODES [STEPS_PER_TICK [ITERATIONS [SWEEPS [CONTACT_HZ CONTACT_RATIO [LIMIT_HZ LIMIT_RATIO]]]]]`.
//!
//! Actions are even in -1 to 1. One JSON line: returns, lengths, mean and standard deviation of each observation, and env steps
//! per second of this thread. `benches/compare/locomotion.py` puts Gymnasium's beside it.
#![allow(clippy::print_stdout)]

use surefoot_core::Stream;
use surefoot_core::clock::Stopwatch;
use surefoot_sim::{EnvConfig, EnvContext, Softness, Stepping};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, episodes, rest @ ..] = args.as_slice() else {
        return Err("usage: random_episodes ENV EPISODES [STEPPING]".into());
    };
    let numbers: Vec<f64> = rest.iter().map(|a| a.parse()).collect::<Result<_, _>>()?;
    let soft = |at: usize| {
        let frequency_hz = *numbers.get(at).filter(|hz| **hz > 0.0)?;
        Some(Softness { frequency_hz, damping_ratio: *numbers.get(at + 1)? })
    };
    let stepping = numbers.first().map(|steps| Stepping {
        solver_iterations: numbers.get(1).map_or(1, |n| *n as usize),
        sweeps: numbers.get(2).map_or(1, |n| *n as usize),
        contacts: soft(3),
        limits: soft(5),
        ..Stepping::new(*steps as usize)
    });
    let config = EnvConfig::default_of(name).ok_or("no such environment")?;
    let mut env = config.build(&EnvContext { stepping })?;
    let dim = env.spec().observation_dim();
    let mut observation = vec![0.0; dim];
    let (mut action, mut executed) = (vec![0.0; env.spec().action_dim()], vec![0.0; env.spec().action_dim()]);
    let (mut returns, mut lengths) = (Vec::new(), Vec::new());
    let (mut sum, mut squares, mut steps) = (vec![0.0; dim], vec![0.0; dim], 0_u64);
    let watch = Stopwatch::start();
    for seed in 0..episodes.parse()? {
        let mut random = Stream::new(seed, "random policy", 0);
        env.reset(seed, &mut observation)?;
        let (mut total, mut length) = (0.0, 0_u32);
        loop {
            action.iter_mut().for_each(|a| *a = random.uniform(-1.0, 1.0) as f32);
            let outcome = env.step(&action, &mut observation, &mut executed)?;
            total += f64::from(outcome.reward);
            length += 1;
            for (i, o) in observation.iter().enumerate() {
                sum[i] += f64::from(*o);
                squares[i] += f64::from(*o).powi(2);
            }
            if outcome.end.is_last() {
                break;
            }
        }
        steps += u64::from(length);
        returns.push(total);
        lengths.push(length);
    }
    // What one env step of a walker is made of.
    let own = match name.as_str() {
        "half_cheetah" | "ant" => 5,
        _ => 4,
    };
    let physics_steps = stepping.map_or(own, |s| s.steps_per_tick);
    let rate = steps as f64 / watch.elapsed().as_secs_f64();
    let n = steps as f64;
    let mean: Vec<f64> = sum.iter().map(|s| s / n).collect();
    let std: Vec<f64> = squares.iter().zip(&mean).map(|(s, m)| (s / n - m * m).max(0.0).sqrt()).collect();
    println!(
        "{{\"env\":\"{name}\",\"returns\":{returns:?},\"lengths\":{lengths:?},\"mean\":{mean:?},\"std\":{std:?},\"env_steps_per_sec\":{rate:.0},\"physics_steps\":{physics_steps}}}"
    );
    Ok(())
}
