//! Rolls a demonstrator out and prints what came of it, one JSON line: `demonstrate [ENV] [EPISODES]`.
#![allow(clippy::print_stdout)]

use surefoot_core::{ActMode, ResetScope, Rows, RowsMut, clock::Stopwatch, safety::SafetyCounts};
use surefoot_sim::{DemonstratorConfig, DemonstratorContext, EnvConfig, EnvContext};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "push".to_owned());
    let mut env = EnvConfig::default_of(&name).ok_or("no such environment")?.build(&EnvContext::default())?;
    let spec = env.spec().clone();
    let context = DemonstratorContext { spec: spec.clone(), slots: 1 };
    let mut policy = DemonstratorConfig::default_of(&name).ok_or("no such demonstrator")?.build(&context)?;
    let episodes: u64 = args.next().map_or(Ok(200), |a| a.parse())?;
    let mut observation = vec![0.0; spec.observation_dim()];
    let (mut action, mut executed) = (vec![0.0; spec.action_dim()], vec![0.0; spec.action_dim()]);
    let (mut successes, mut steps, mut success_steps) = (0, 0_u64, 0_u64);
    let mut safety = SafetyCounts::default();
    let mut lag = 0.0;
    let watch = Stopwatch::start();
    for seed in 0..episodes {
        env.reset(seed, &mut observation)?;
        policy.reset(0, ResetScope::Task, seed);
        for step in 1.. {
            policy.act(
                Rows::new(&observation, observation.len()),
                ActMode::Explore,
                RowsMut::new(&mut action, spec.action_dim()),
            )?;
            let outcome = env.step(&action, &mut observation, &mut executed)?;
            lag += f64::from(action.iter().zip(&executed).map(|(a, e)| (a - e).abs()).fold(0.0, f32::max));
            safety.add(&outcome.safety);
            steps += 1;
            if outcome.success {
                successes += 1;
                success_steps += step;
            }
            if outcome.end.is_last() {
                break;
            }
        }
    }
    let secs = watch.elapsed().as_secs_f64();
    println!(
        "{{\"env\":\"{name}\",\"episodes\":{episodes},\"success\":{:.3},\"steps_to_success\":{:.1},\"steps_per_sec\":{:.0},\"adjusted\":{:.4},\"stops\":{},\"violations\":{},\"mean_action_gap\":{:.3}}}",
        f64::from(successes) / episodes as f64,
        success_steps as f64 / f64::from(successes.max(1)),
        steps as f64 / secs,
        safety.adjusted as f64 / safety.ticks as f64,
        safety.stops,
        safety.violations,
        lag / steps as f64
    );
    Ok(())
}
