//! How fast a dataset is opened and all its episodes are read, file cache warm.
//!
//! `cargo run --release -p surefoot-datasets --example load_speed -- FILE`; one core with `RAYON_NUM_THREADS=1 taskset -c 0`.

#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use surefoot_core::clock::Stopwatch;
use surefoot_datasets::{open, read_all};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = PathBuf::from(std::env::args().nth(1).ok_or("give the file to read")?);
    let mut seconds = Vec::new();
    let (mut numbers, mut steps) = (0, 0);
    for _ in 0..8 {
        let watch = Stopwatch::start();
        let source = open(&path)?;
        let indices: Vec<usize> = (0..source.len()).collect();
        let episodes = read_all(&*source, &indices)?;
        seconds.push(watch.elapsed().as_secs_f64());
        steps = episodes.iter().map(surefoot_core::Episode::len).sum();
        numbers = episodes
            .iter()
            .map(|e| e.observation.len() + e.next_observation.len() + e.action.len() + e.reward.len())
            .sum();
    }
    // The first run warms the cache.
    let mut seconds = seconds.split_off(1);
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    // As stored: 4 bytes a number, and one byte for each of the two end flags.
    let bytes = numbers * 4 + steps * 2;
    let report = serde_json::json!({
        "file": path.file_name().map(|n| n.to_string_lossy().into_owned()),
        "seconds": (median * 1e4).round() / 1e4,
        "bytes": bytes,
        "gb_per_s": (bytes as f64 / median / 1e6).round() / 1e3,
        "threads": rayon::current_num_threads(),
        "runs": seconds.len(),
    });
    println!("{report}");
    Ok(())
}
