//! Rolls a demonstrator out and prints what came of it, one JSON line: `demonstrate ENV [EPISODES [DEMONSTRATOR]]`, where a demonstrator
//! is what a configuration says of it: `demonstrate door 100 'door = { failure_share = 0.0 }'`, `demonstrate door 100 'random = {}'`.
//! `STEPS_PER_TICK ITERATIONS` after that step the world otherwise than the environment does.
#![allow(clippy::print_stdout)]

use surefoot_core::{ActMode, ResetScope, Rows, RowsMut, clock::Stopwatch, safety::SafetyCounts};
use surefoot_sim::{DemonstratorConfig, DemonstratorContext, EnvConfig, EnvContext, Stepping};

/// Wilson's interval of a proportion at 95 %.
fn wilson(successes: f64, n: f64) -> [f64; 2] {
    let z = 1.959_963_984_540_054_f64;
    let (p, squared) = (successes / n, z * z);
    let middle = (p + squared / (2.0 * n)) / (1.0 + squared / n);
    let half = z / (1.0 + squared / n) * (p * (1.0 - p) / n + squared / (4.0 * n * n)).sqrt();
    [(middle - half).max(0.0), (middle + half).min(1.0)]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "push".to_owned());
    let episodes: u64 = args.next().map_or(Ok(200), |a| a.parse())?;
    let demonstrator = match args.next() {
        Some(text) => toml::from_str(&text)?,
        None => DemonstratorConfig::default_of(&name).ok_or("no such demonstrator")?,
    };
    let stepping = match (args.next(), args.next()) {
        (Some(steps), Some(iterations)) => {
            Some(Stepping { solver_iterations: iterations.parse()?, ..Stepping::new(steps.parse()?) })
        }
        _ => None,
    };
    let mut env =
        EnvConfig::default_of(&name).ok_or("no such environment")?.build(&EnvContext { stepping })?;
    let spec = env.spec().clone();
    let context = DemonstratorContext { spec: spec.clone(), slots: 1 };
    let mut policy = demonstrator.build(&context)?;
    let mut observation = vec![0.0; spec.observation_dim()];
    let (mut action, mut executed) = (vec![0.0; spec.action_dim()], vec![0.0; spec.action_dim()]);
    let (mut successes, mut steps, mut success_steps) = (0_u32, 0_u64, 0_u64);
    let mut returns = Vec::new();
    let mut safety = SafetyCounts::default();
    let mut lag = 0.0;
    let watch = Stopwatch::start();
    for seed in 0..episodes {
        env.reset(seed, &mut observation)?;
        policy.reset(0, ResetScope::Task, seed);
        let mut sum = 0.0;
        for step in 1.. {
            policy.act(
                Rows::new(&observation, observation.len()),
                ActMode::Explore,
                RowsMut::new(&mut action, spec.action_dim()),
            )?;
            let outcome = env.step(&action, &mut observation, &mut executed)?;
            lag += f64::from(action.iter().zip(&executed).map(|(a, e)| (a - e).abs()).fold(0.0, f32::max));
            safety.add(&outcome.safety);
            sum += f64::from(outcome.reward);
            steps += 1;
            if outcome.end.is_last() {
                successes += u32::from(outcome.success);
                success_steps += if outcome.success { step } else { 0 };
                break;
            }
        }
        returns.push(sum);
    }
    let secs = watch.elapsed().as_secs_f64();
    let n = episodes as f64;
    let mean = returns.iter().sum::<f64>() / n;
    let spread = (returns.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0)).sqrt();
    let [low, high] = wilson(f64::from(successes), n);
    println!(
        "{{\"env\":\"{name}\",\"episodes\":{episodes},\"success\":{:.3},\"success_low\":{low:.3},\"success_high\":{high:.3},\
         \"return_mean\":{mean:.1},\"return_std\":{spread:.1},\"length_mean\":{:.1},\"steps_to_success\":{:.1},\"steps_per_sec\":{:.0},\
         \"adjusted\":{:.4},\"stops\":{},\"violations\":{},\"mean_action_gap\":{:.3}}}",
        f64::from(successes) / n,
        steps as f64 / n,
        success_steps as f64 / f64::from(successes.max(1)),
        steps as f64 / secs,
        safety.adjusted as f64 / safety.ticks as f64,
        safety.stops,
        safety.violations,
        lag / steps as f64
    );
    Ok(())
}
