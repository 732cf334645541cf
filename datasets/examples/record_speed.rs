//! What it costs to record an episode: `cargo run --release -p surefoot-datasets --example record_speed -- DIRECTORY [EPISODES] [STEPS]`
//!
//! The directory must not exist, or be a recording that this program made. In memory (`/dev/shm`) the time is that of encoding, writing and
//! reading back; what comes on top on a disk is that of flushing.

#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use surefoot_core::clock::Stopwatch;
use surefoot_core::{EnvSpec, Episode, Field, StepEnd, Stream};
use surefoot_datasets::{EpisodeRecorder, Recording, open};

const OBSERVATION: usize = 32;
const ACTION: usize = 7;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let directory = PathBuf::from(args.next().ok_or("give the directory to record to")?);
    let episodes: usize = args.next().map_or(Ok(200), |n| n.parse())?;
    let steps: usize = args.next().map_or(Ok(100), |n| n.parse())?;
    let fields =
        |name: &str, n: usize| (0..n).map(|i| Field::unbounded(format!("{name}{i}"), "rad")).collect();
    let spec = EnvSpec {
        name: "record_speed".into(),
        observation: fields("q", OBSERVATION),
        action: fields("v", ACTION),
        step_secs: 0.05,
        max_steps: steps,
        reward_range: None,
        contract_hash: None,
    };
    let mut stream = Stream::new(0, "record_speed", 0);
    let mut rows = |n: usize| {
        let mut rows = vec![0.0; n];
        stream.fill_normal(&mut rows);
        rows
    };
    let mut end = vec![StepEnd::Running; steps];
    end[steps - 1] = StepEnd::Truncated;
    let path = rows((steps + 1) * OBSERVATION);
    let executed: Vec<f32> = rows(steps * ACTION).iter().map(|x| x.clamp(-1.0, 1.0)).collect();
    let mut episode = Episode {
        observation: path[..steps * OBSERVATION].to_vec(),
        next_observation: path[OBSERVATION..].to_vec(),
        action: executed,
        proposed: rows(steps * ACTION),
        reward: rows(steps),
        human: vec![false; steps],
        end,
        success: Some(true),
        ..Episode::default()
    };
    let mut recorder = EpisodeRecorder::create(&directory, Recording::new(spec))?;
    let mut millis = Vec::with_capacity(episodes);
    for i in 0..episodes {
        episode.name = format!("episode_{i}");
        let watch = Stopwatch::start();
        recorder.record(&episode)?;
        millis.push(watch.elapsed().as_secs_f64() * 1e3);
    }
    recorder.finish()?;
    millis.sort_by(f64::total_cmp);
    let at = |share: f64| (millis[((millis.len() - 1) as f64 * share) as usize] * 1e3).round() / 1e3;
    let watch = Stopwatch::start();
    let source = open(&directory)?;
    let open_millis = (watch.elapsed().as_secs_f64() * 1e6).round() / 1e3;
    let bytes = std::fs::metadata(directory.join("ep_000000.hdf5"))?.len();
    let report = serde_json::json!({
        "steps": steps, "episodes": source.len(), "bytes_per_episode": bytes,
        "record_ms": { "median": at(0.5), "p99": at(0.99), "max": at(1.0) }, "open_ms": open_millis,
    });
    println!("{report}");
    Ok(())
}
