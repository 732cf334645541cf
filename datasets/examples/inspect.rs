//! Prints info, statistics and findings of datasets, or one of these:
//! `cargo run -p surefoot-datasets --example inspect -- [info|stats|verify] FILE...`

#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use surefoot_datasets::{OpenOptions, info, open, stats, verify};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let only = args.first().filter(|a| ["info", "stats", "verify"].contains(&a.as_str())).cloned();
    if only.is_some() {
        args.remove(0);
    }
    let wanted = |what: &str| only.as_deref().is_none_or(|only| only == what);
    for path in args.iter().map(PathBuf::from) {
        if wanted("info") {
            println!("{}", info(&path, &OpenOptions::default())?);
        }
        if wanted("stats") {
            println!("{}", stats(&*open(&path)?)?);
        }
        if wanted("verify") {
            println!("{}", verify(&path, &OpenOptions::default()));
        }
    }
    Ok(())
}
