//! AWAC updates on every device that this build has, side by side: the same learner, the same batches. Prints a table of updates per second and of how
//! far the losses are apart, relative to the fused way on the processor.
//!
//! `cargo run --release -p surefoot-policies --features cuda --example device_speed -- --obs 39 --act 28 --hidden 256,256`
//! `[--threads N] [--secs S] [--batches 256,1024,8192]`
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;

use surefoot_core::clock::Stopwatch;
use surefoot_core::{Batch, EnvSpec, Field, LearnError, Learner, Metrics, Stream};
use surefoot_policies::{Device, LearnerConfig, LearnerContext};

/// Updates whose losses are compared.
const COMPARED: u64 = 20;
/// Losses may be apart by this part of their size.
const TOLERANCE: f64 = 1e-3;

fn numbers(n: usize, stream: &mut Stream) -> Vec<f32> {
    let mut row = vec![0.0; n];
    stream.fill_normal(&mut row);
    row
}

fn batch(n: usize, obs: usize, act: usize, index: u64) -> Batch {
    let mut stream = Stream::new(0, "device speed", index);
    Batch {
        n,
        length: 1,
        observation_dim: obs,
        action_dim: act,
        observation: numbers(n * obs, &mut stream),
        action: numbers(n * act, &mut stream).iter().map(|a| a.clamp(-1.0, 1.0)).collect(),
        reward: numbers(n, &mut stream).iter().map(|r| r.clamp(-1.0, 0.0)).collect(),
        next_observation: numbers(n * obs, &mut stream),
        continuation: vec![1.0; n],
        ..Batch::default()
    }
}

fn losses(metrics: &Metrics) -> [f64; 2] {
    ["train/critic_loss", "train/actor_loss"].map(|name| metrics.get(name).unwrap_or(f64::NAN))
}

/// Losses of the first updates, and updates per second after them.
fn measure(
    learner: &mut dyn Learner,
    batches: &[Batch],
    secs: f64,
) -> Result<(Vec<[f64; 2]>, f64), LearnError> {
    let first = batches.iter().cycle().take(COMPARED as usize);
    let found = first.map(|b| learner.update(b).map(|m| losses(&m))).collect::<Result<_, _>>()?;
    let (watch, mut done) = (Stopwatch::start(), 0_u32);
    while watch.elapsed().as_secs_f64() < secs {
        for batch in batches {
            learner.update(batch)?;
            done += 1;
        }
    }
    Ok((found, f64::from(done) / watch.elapsed().as_secs_f64()))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let given: BTreeMap<&str, &str> =
        args.chunks_exact(2).map(|pair| (pair[0].trim_start_matches("--"), pair[1].as_str())).collect();
    let get = |key: &str, default| given.get(key).copied().unwrap_or(default);
    let list = |text: &str| text.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>();
    let (obs, act): (usize, usize) = (get("obs", "39").parse()?, get("act", "28").parse()?);
    let (threads, secs): (usize, f64) = (get("threads", "1").parse()?, get("secs", "5").parse()?);
    let hidden = list(get("hidden", "256,256"))?;

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
    let networks = serde_json::json!({ "hidden": hidden });
    let config: LearnerConfig =
        serde_json::from_value(serde_json::json!({ "awac": { "actor": networks, "critic": networks } }))?;
    let devices = [Device::Cpu, Device::CpuAutograd, Device::Cuda];
    println!("awac, obs {obs}, act {act}, hidden {hidden:?}, layer normalisation, {threads} thread(s)");
    println!("| batch | device | updates/s | beside cpu | losses apart |");
    println!("|---|---|---|---|---|");
    let mut agree = true;
    for n in list(get("batches", "256,1024,8192"))? {
        let batches: Vec<Batch> = (0..4).map(|k| batch(n, obs, act, k)).collect();
        let mut beside: Option<(Vec<[f64; 2]>, f64)> = None;
        for device in devices {
            let context = LearnerContext::new(spec.clone(), 0).with_threads(threads).on(device);
            let mut learner = match config.build(&context) {
                Ok(learner) => learner,
                Err(e) => {
                    println!("| {n} | {device:?} | {e} | | |");
                    continue;
                }
            };
            let (found, rate) = measure(&mut *learner, &batches, secs)?;
            let (first, reference) = beside.get_or_insert_with(|| (found.clone(), rate));
            let pairs = found.iter().flatten().zip(first.iter().flatten());
            let apart = pairs.map(|(a, b)| (a - b).abs() / b.abs().max(1e-3)).fold(0.0, f64::max);
            agree &= apart < TOLERANCE;
            println!("| {n} | {device:?} | {rate:.1} | {:.2} | {apart:.1e} |", rate / *reference);
        }
    }
    if !agree {
        return Err(format!("losses are further apart than {TOLERANCE} of their size").into());
    }
    Ok(())
}
