//! Times one action of a policy for one robot. Prints one JSON object.
//!
//! `cargo run --release -p surefoot-policies --example act_latency -- --obs 39 --act 28 --hidden 256,256 [--learner bcq]`
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;

use surefoot_core::clock::Stopwatch;
use surefoot_core::{ActMode, EnvSpec, Field, ResetScope, Rows, RowsMut};
use surefoot_policies::{LearnerConfig, LearnerContext};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let given: BTreeMap<&str, &str> =
        args.chunks_exact(2).map(|pair| (pair[0].trim_start_matches("--"), pair[1].as_str())).collect();
    let get = |key: &str, default| given.get(key).copied().unwrap_or(default);
    let (obs, act): (usize, usize) = (get("obs", "39").parse()?, get("act", "28").parse()?);
    let hidden = get("hidden", "256,256").split(',').map(str::parse).collect::<Result<Vec<usize>, _>>()?;
    let row = |n| (0..n).map(|i| Field::unbounded(format!("x{i}"), "1")).collect();
    let spec = EnvSpec {
        name: "latency".into(),
        observation: row(obs),
        action: row(act),
        step_secs: 0.1,
        max_steps: 100,
        reward_range: None,
        contract_hash: None,
    };
    let learner = get("learner", "bc");
    let config: LearnerConfig =
        serde_json::from_value(serde_json::json!({ learner: { "actor": { "hidden": hidden } } }))?;
    let mut policy = config.build(&LearnerContext::new(spec, 0))?.policy(1)?;
    policy.reset(0, ResetScope::Task, 0);
    let (observation, mut action) = (vec![0.1; obs], vec![0.0; act]);
    let n = if learner == "bcq" { 2_000 } else { 20_000 };
    let mut nanos: Vec<u128> = (0..n)
        .map(|_| {
            let watch = Stopwatch::start();
            policy
                .act(Rows::new(&observation, obs), ActMode::Explore, RowsMut::new(&mut action, act))
                .map(|()| watch.elapsed().as_nanos())
        })
        .collect::<Result<_, _>>()?;
    nanos.sort_unstable();
    let micros = |part: f64| nanos[((n - 1) as f64 * part) as usize] as f64 / 1e3;
    let line = serde_json::json!({
        "learner": learner, "obs": obs, "act": act, "hidden": hidden,
        "p50_us": micros(0.5), "p99_us": micros(0.99), "max_us": micros(1.0),
    });
    println!("{line}");
    Ok(())
}
