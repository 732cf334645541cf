//! Converts a dataset of any format: `cargo run -p surefoot-datasets --example convert -- FROM TO [FORMAT]`, into the native one by default.

#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use surefoot_datasets::{convert, open};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut path = |what: &str| args.next().map(PathBuf::from).ok_or_else(|| format!("give {what}"));
    let (from, to) = (path("the dataset to read")?, path("the dataset to write")?);
    let format = args.next().unwrap_or_else(|| "robomimic".into());
    let written = convert(&*open(&from)?, &format, &to)?;
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
