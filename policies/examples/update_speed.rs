//! Times full AWAC updates, sampling from a replay buffer included. Prints one JSON object.
//!
//! `cargo run --release -p surefoot-policies --example update_speed -- --obs 39 --act 28 --hidden 256,256 --batch 256`
//! `[--threads N] [--secs S] [--layer_norm true] [--learner bc]`
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;

use surefoot_core::clock::Stopwatch;
use surefoot_core::{Batch, EnvSpec, Episode, Field, ReplayBuffer, StepEnd, Stream};
use surefoot_policies::{LearnerConfig, LearnerContext};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let given: BTreeMap<&str, &str> =
        args.chunks_exact(2).map(|pair| (pair[0].trim_start_matches("--"), pair[1].as_str())).collect();
    let get = |key: &str, default| given.get(key).copied().unwrap_or(default);
    let (obs, act): (usize, usize) = (get("obs", "39").parse()?, get("act", "28").parse()?);
    let batch_rows: usize = get("batch", "256").parse()?;
    let threads: usize = get("threads", "1").parse()?;
    let secs: f64 = get("secs", "5").parse()?;
    let hidden = get("hidden", "256,256").split(',').map(str::parse).collect::<Result<Vec<usize>, _>>()?;

    let row = |n| (0..n).map(|i| Field::unbounded(format!("x{i}"), "1")).collect();
    let spec = EnvSpec {
        name: "speed".into(),
        observation: row(obs),
        action: row(act),
        step_secs: 0.1,
        max_steps: 100,
        reward_range: Some((-1.0, 0.0)),
        contract_hash: None,
    };
    let name = get("learner", "awac");
    let default = LearnerConfig::default_of(name).ok_or("no such learner")?;
    let mut json = serde_json::to_value(&default)?;
    json[name]["actor"]["hidden"] = serde_json::json!(hidden);
    if let Some(critic) = json[name].get_mut("critic") {
        critic["hidden"] = serde_json::json!(hidden);
        critic["layer_norm"] = serde_json::json!(get("layer_norm", "false").parse::<bool>()?);
    }
    let config: LearnerConfig = serde_json::from_value(json)?;
    let mut learner = config.build(&LearnerContext::new(spec, 0).with_threads(threads))?;

    let n = 100_000;
    let mut stream = Stream::new(0, "speed", 0);
    let mut normal = |n: usize| {
        let mut rows = vec![0.0; n];
        stream.fill_normal(&mut rows);
        rows
    };
    let episode = Episode {
        observation: normal(n * obs),
        next_observation: normal(n * obs),
        action: normal(n * act).iter().map(|a| a.clamp(-1.0, 1.0)).collect(),
        reward: normal(n).iter().map(|r| r.clamp(-1.0, 0.0)).collect(),
        end: vec![StepEnd::Running; n],
        ..Episode::default()
    };
    let mut buffer = ReplayBuffer::new(obs, act, n);
    buffer.push_episode(&episode);

    let mut batch = Batch::default();
    let mut updates = |count: usize| -> Result<(), surefoot_core::LearnError> {
        for _ in 0..count {
            batch.clear(obs, act);
            buffer.sample(batch_rows, &mut stream, &mut batch);
            learner.update(&batch)?;
        }
        Ok(())
    };
    updates(20)?;
    let watch = Stopwatch::start();
    let mut done = 0_u32;
    while watch.elapsed().as_secs_f64() < secs {
        updates(10)?;
        done += 10;
    }
    let rate = f64::from(done) / watch.elapsed().as_secs_f64();
    let line = serde_json::json!({
        "peer": "surefoot", "learner": name, "threads": threads, "obs": obs, "act": act, "hidden": hidden,
        "batch": batch_rows, "updates_per_s": (rate * 10.0).round() / 10.0,
    });
    println!("{line}");
    Ok(())
}
