//! Prints info, statistics and findings of datasets: `cargo run -p surefoot-datasets --example inspect -- FILE...`

#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use surefoot_datasets::{OpenOptions, info, open, stats, verify};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1).map(PathBuf::from) {
        println!("{}", info(&path, &OpenOptions::default())?);
        println!("{}", stats(&*open(&path)?)?);
        println!("{}", verify(&path, &OpenOptions::default()));
    }
    Ok(())
}
