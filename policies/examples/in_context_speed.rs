//! Times the in-context transformer: training updates (`--what train`), one action (`--what act`), or a million of them (`--what
//! endless`). Prints one JSON object.
//!
//! `cargo run --release -p surefoot-policies --example in_context_speed -- --what train --width 32 --heads 2 --feed_forward 128`
//! `[--layers 4] [--window 80] [--batch 64] [--threads N] [--secs S] [--steps 1000000]`
#![allow(clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};

use surefoot_core::clock::{Stopwatch, thread_cpu_nanos};
use surefoot_core::{
    ActMode, EnvSpec, FamilyTask, Feedback, Field, Histories, HistoryLearner, HistoryMeta, HistoryPhase,
    LearningHistory, Outcome, ResetScope, Rows, RowsMut, StepEnd, Stream, TaskSplit,
};
use surefoot_policies::in_context::{Distiller, DistillerConfig, ModelConfig, OptimizerConfig};

type Failure = Box<dyn std::error::Error>;

/// A room of 9 by 9 with five moves, lived through at random.
fn histories(count: usize, episodes: usize) -> Result<Histories, Failure> {
    let spec = EnvSpec {
        name: "room".into(),
        observation: vec![Field::choice("x", 9), Field::choice("y", 9)],
        action: vec![Field::choice("move", 5)],
        step_secs: 1.0,
        max_steps: 20,
        reward_range: Some((0.0, 1.0)),
        contract_hash: None,
    };
    let mut stream = Stream::new(0, "histories", 0);
    let all = (0..count).map(|_| {
        let mut h = LearningHistory { algorithm: "random".into(), complete: true, ..Default::default() };
        for e in 0..episodes {
            for t in 0..20 {
                h.observations.extend([stream.below(9) as f32, stream.below(9) as f32]);
                h.actions.push(stream.below(5) as f32);
                h.rewards.push(f32::from(u8::from(stream.below(20) == 0)));
                h.ends.push(if t == 19 { StepEnd::Truncated } else { StepEnd::Running });
                h.updates.push(e as u32);
                h.phases.push(HistoryPhase::Online);
            }
            h.final_observations.extend([0.0, 0.0]);
        }
        h
    });
    let task = FamilyTask {
        id: 0,
        split: TaskSplit::Train,
        params: vec![],
        random_return: 0.0,
        optimal_return: 1.0,
    };
    let meta = HistoryMeta {
        spec,
        family: "room".into(),
        family_config: "{}".into(),
        tasks: vec![task],
        hash: String::new(),
    };
    Ok(Histories::new(meta, all.collect())?)
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let given: BTreeMap<&str, &str> =
        args.chunks_exact(2).map(|pair| (pair[0].trim_start_matches("--"), pair[1].as_str())).collect();
    let text = |key: &str, default: &'static str| given.get(key).copied().unwrap_or(default);
    let number = |key: &str, default: &'static str| text(key, default).parse::<usize>();
    let threads = number("threads", "1")?;
    let model = ModelConfig {
        width: number("width", "32")?,
        layers: number("layers", "4")?,
        heads: number("heads", "2")?,
        feed_forward: number("feed_forward", "128")?,
        window: number("window", "80")?,
        ..ModelConfig::default()
    };
    let batch = number("batch", "64")?;
    let config = DistillerConfig {
        model: model.clone(),
        optimizer: OptimizerConfig { batch, ..OptimizerConfig::default() },
        ..DistillerConfig::default()
    };
    let data = histories(64, (model.window * 4).div_ceil(20).max(20))?;
    let mut distiller = Distiller::new(&config, &data, &BTreeSet::new(), 0, threads)?;
    let secs: f64 = text("secs", "5").parse()?;
    let mut report = serde_json::json!({
        "model": model, "parameters": distiller.parameters(), "batch": batch, "threads": threads,
    });
    match text("what", "train") {
        "train" => {
            distiller.update()?;
            let (clock, cpu, mut updates, mut tokens) = (Stopwatch::start(), thread_cpu_nanos(), 0_u64, 0);
            while clock.elapsed().as_secs_f64() < secs {
                distiller.update()?;
                updates += 1;
                tokens += distiller.tokens();
            }
            let wall = clock.elapsed().as_secs_f64();
            let busy = (thread_cpu_nanos() - cpu) as f64 * 1e-9;
            report["updates"] = updates.into();
            report["tokens_per_wall_s"] = (tokens as f64 / wall).into();
            if threads == 1 {
                report["tokens_per_cpu_s"] = (tokens as f64 / busy).into();
                report["cpu_s_per_update"] = (busy / updates as f64).into();
            }
        }
        what @ ("act" | "endless") => {
            let mut policy = distiller.policy(1)?;
            let steps = number("steps", if what == "act" { "20000" } else { "1000000" })?;
            // A million times would themselves grow: of an endless life every 64th is kept, in room that is there from the beginning.
            let every = if what == "act" { 1 } else { 64 };
            let mut times = vec![0_u64; steps / every + 1];
            times.fill(1);
            times.clear();
            let mut stream = Stream::new(0, "life", 0);
            let mut action = [0.0];
            let outcome = Outcome { reward: 0.5, ..Outcome::default() };
            let feedback = [Feedback { slot: 0, outcome, executed: None }];
            let mut resident = Vec::new();
            for t in 0..steps {
                let seen = [stream.below(9) as f32, stream.below(9) as f32];
                let clock = Stopwatch::start();
                policy.act(Rows::new(&seen, 2), ActMode::Explore, RowsMut::new(&mut action, 1))?;
                policy.observe(&feedback);
                // Full rings alone: a young life is faster.
                if t >= model.window && t % every == 0 {
                    times.push(clock.elapsed().as_nanos() as u64);
                }
                if t % 20 == 19 {
                    policy.reset(0, ResetScope::Episode, t as u64);
                }
                if t % (steps / 10).max(1) == 0 {
                    resident.push(resident_kib());
                }
            }
            times.sort_unstable();
            let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize] as f64 * 1e-3;
            report["steps"] = steps.into();
            report["micros"] = serde_json::json!({
                "min": at(0.0), "p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": at(1.0),
            });
            report["resident_kib_by_tenth"] = serde_json::json!(resident);
            report["ring_kib"] = (8 * model.layers * model.width * model.token_window() / 1024).into();
        }
        other => return Err(format!("--what {other}: expected train, act or endless").into()),
    }
    println!("{report}");
    Ok(())
}
