//! Converts a dataset of any format into the native one: `cargo run -p surefoot-datasets --example convert -- FROM TO`

#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use surefoot_core::{EnvSpec, Field};
use surefoot_datasets::{Recording, open, read_all, write};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut paths = std::env::args().skip(1).map(PathBuf::from);
    let (from, to) =
        (paths.next().ok_or("give the file to read")?, paths.next().ok_or("give the file to write")?);
    let source = open(&from)?;
    let meta = source.meta();
    let fields =
        |name: &str, n: usize| (0..n).map(|i| Field::unbounded(format!("{name}[{i}]"), "1")).collect();
    let spec = meta.spec.clone().unwrap_or_else(|| EnvSpec {
        name: meta.env.clone().unwrap_or_else(|| "unknown".into()),
        observation: fields("observation", meta.observation_dim),
        action: fields("action", meta.action_dim),
        step_secs: 0.0,
        max_steps: 0,
        reward_range: None,
        contract_hash: meta.contract_hash.clone(),
    });
    let mut recording = Recording::new(spec);
    recording.masks = meta.masks.clone();
    let episodes = read_all(&*source, &(0..source.len()).collect::<Vec<_>>())?;
    let written = write(&to, &recording, &episodes)?;
    println!(
        "{} episodes, {} steps, {} bytes: {}",
        written.episodes,
        written.steps,
        written.bytes,
        written.path.display()
    );
    Ok(())
}
