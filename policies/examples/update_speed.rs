//! Times full AWAC updates, sampling from a replay buffer included. Prints one JSON object.
//!
//! `cargo run --release -p surefoot-policies --example update_speed -- --obs 39 --act 28 --hidden 256,256 --batch 256`
//! `[--threads N] [--secs S] [--layer_norm true] [--learner bc] [--critics 10]`
//!
//! For AWAC it tells, too, the arithmetic of an update (shared forwards counted once) per second beside what the matrix product alone does on one core at
//! the same sizes.
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
        if let Some(critics) = given.get("critics") {
            critic["count"] = serde_json::json!(critics.parse::<usize>()?);
        }
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
    let mut line = serde_json::json!({
        "peer": "surefoot", "learner": name, "threads": threads, "obs": obs, "act": act, "hidden": hidden,
        "batch": batch_rows, "updates_per_s": (rate * 10.0).round() / 10.0,
    });
    if name == "awac" {
        let critics: usize = get("critics", "2").parse()?;
        let gflops = rate * operations(batch_rows, [obs, act], &hidden, critics) / 1e9;
        let sgemm = sgemm_gflops(batch_rows.min(256), hidden.iter().copied().max().unwrap_or(1));
        line["gflops"] = serde_json::json!(gflops.round());
        line["sgemm_gflops_of_a_core"] = serde_json::json!(sgemm.round());
        line["share_of_sgemm"] =
            serde_json::json!((gflops / (sgemm * threads as f64) * 1000.0).round() / 1000.0);
    }
    println!("{line}");
    Ok(())
}

/// Floating-point operations of the products of an AWAC update: the policy at s and s' and back from s; each critic at (s, a), (s, pi(s)) and
/// its target at (s', a'), and back from (s, a).
fn operations(rows: usize, [obs, act]: [usize; 2], hidden: &[usize], critics: usize) -> f64 {
    let products = |input: usize, output: usize| {
        let widths: Vec<usize> = [&[input], hidden, &[output]].concat();
        let all: usize = widths.windows(2).map(|w| w[0] * w[1]).sum();
        // The way back leaves out the gradient of the input.
        (all, 2 * all - widths[0] * widths[1])
    };
    let ((actor, actor_back), (critic, critic_back)) = (products(obs, act), products(obs + act, 1));
    2.0 * (rows * (2 * actor + actor_back + critics * (3 * critic + critic_back))) as f64
}

/// Billions of operations a second of `[rows, width] x [width, width]`: the best of twenty tries.
fn sgemm_gflops(rows: usize, width: usize) -> f64 {
    let (a, b) = (vec![0.5_f32; rows * width], vec![0.25_f32; width * width]);
    let mut c = vec![0.0_f32; rows * width];
    let a = faer::MatRef::from_column_major_slice(&a, rows, width);
    let b = faer::MatRef::from_column_major_slice(&b, width, width);
    let tries = (0..20).map(|_| {
        let watch = Stopwatch::start();
        for _ in 0..50 {
            let c = faer::MatMut::from_column_major_slice_mut(&mut c, rows, width);
            faer::linalg::matmul::matmul(c, faer::Accum::Replace, a, b, 1.0, faer::Par::Seq);
        }
        std::hint::black_box(&c);
        50.0 * 2.0 * (rows * width * width) as f64 / watch.elapsed().as_secs_f64() / 1e9
    });
    tries.fold(0.0, f64::max)
}
