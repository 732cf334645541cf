//! Converts a dataset of any format: `cargo run -p surefoot-datasets --example convert -- FROM TO [FORMAT]`, into the native one by default.

#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use surefoot_core::{EnvSpec, Field};
use surefoot_datasets::{FORMATS, Recording, open};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut path = |what: &str| args.next().map(PathBuf::from).ok_or_else(|| format!("give {what}"));
    let (from, to) = (path("the dataset to read")?, path("the dataset to write")?);
    let format = args.next().unwrap_or_else(|| "robomimic".into());
    let write =
        FORMATS.iter().find(|f| f.name == format).and_then(|f| f.write).ok_or("cannot write that format")?;
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
    let written = write(&to, &recording, &mut (0..source.len()).map(|i| source.episode(i)))?;
    println!(
        "{} episodes, {} steps, {} bytes: {}",
        written.episodes,
        written.steps,
        written.bytes,
        written.path.display()
    );
    for what in written.lost {
        println!("not kept: {what}");
    }
    Ok(())
}
