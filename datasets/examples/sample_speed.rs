//! How fast random transitions are drawn: from memory, and from a file of rows of which a part is held.
//!
//! `cargo run --release -p surefoot-datasets --example sample_speed -- DATASET CACHE [RESIDENT_MIB]...`

#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use surefoot_core::clock::Stopwatch;
use surefoot_core::{Batch, EnvSpec, Field, ReplayBuffer, Stream};
use surefoot_datasets::{CacheOptions, LoadOptions, RowCache, SequenceBatch, load_each, open};

const BATCH: usize = 256;
const BATCHES: usize = 4000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = PathBuf::from(args.next().ok_or("give the dataset to read")?);
    let rows = PathBuf::from(args.next().ok_or("give the file of rows to make")?);
    let source = open(&path)?;
    let meta = source.meta();
    let (o, a) = (meta.observation_dim, meta.action_dim);
    let spec = meta.spec.clone().unwrap_or_else(|| EnvSpec {
        name: "any".into(),
        observation: (0..o).map(|i| Field::unbounded(format!("o{i}"), "1")).collect(),
        action: (0..a).map(|i| Field::unbounded(format!("a{i}"), "1")).collect(),
        step_secs: 0.05,
        max_steps: 1000,
        reward_range: None,
        contract_hash: None,
    });
    let load = LoadOptions { missing_reward: Some(0.0), ..LoadOptions::default() };
    let mut batch = Batch::default();
    let mut held: Vec<u64> = args.map(|mib| mib.parse()).collect::<Result<_, _>>()?;
    if held.is_empty() {
        held.push(0);
    }
    for mib in held {
        let watch = Stopwatch::start();
        let options = CacheOptions { resident_bytes: mib << 20, ..CacheOptions::default() };
        let cache = RowCache::open_or_build(&rows, &*source, &spec, &load, &options)?;
        let opened = watch.elapsed().as_secs_f64();
        let mut rates = Vec::new();
        for mode in ["uniform", "five steps", "windows of 16"] {
            let mut stream = Stream::new(0, "sample_speed", 0);
            let windows = cache.windows(16);
            let mut sequences = SequenceBatch::default();
            let watch = Stopwatch::start();
            for _ in 0..BATCHES {
                batch.clear(o, a);
                match mode {
                    "uniform" => cache.sample(BATCH, &mut stream, &mut batch)?,
                    "five steps" => cache.sample_n_step(BATCH, 5, 0.99, &mut stream, &mut batch)?,
                    _ => windows.sample(BATCH, &mut stream, &mut sequences)?,
                }
            }
            let rate = (BATCH * BATCHES) as f64 / watch.elapsed().as_secs_f64();
            rates.push(format!("{mode}: {:.2} M/s", rate / 1e6));
        }
        let (all, resident) = (cache.len(), cache.resident_rows());
        println!("{resident} of {all} rows resident, opened in {opened:.2} s; {}", rates.join(", "));
    }
    if std::env::var_os("IN_MEMORY").is_some() {
        let mut buffer = ReplayBuffer::new(o, a, 1 << 30);
        load_each(&*source, &spec, &load, |episode| {
            buffer.push_episode(&episode);
            Ok(())
        })?;
        let mut stream = Stream::new(0, "sample_speed", 0);
        let watch = Stopwatch::start();
        for _ in 0..BATCHES {
            batch.clear(o, a);
            buffer.sample(BATCH, &mut stream, &mut batch);
        }
        let rate = (BATCH * BATCHES) as f64 / watch.elapsed().as_secs_f64();
        println!("ReplayBuffer of {} rows: {:.2} M/s", buffer.len(), rate / 1e6);
    }
    Ok(())
}
