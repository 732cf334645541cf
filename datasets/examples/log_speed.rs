//! How fast logs are read and decoded, and how fast they become episodes, file cache warm.
//!
//! `cargo run --release -p surefoot-datasets --example log_speed -- LOG [CONTRACT]`; `benches/compare/mcap_reader.py` runs it beside the Python
//! reader on the same file.

#![allow(clippy::print_stdout)]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use surefoot_core::RobotContract;
use surefoot_core::clock::Stopwatch;
use surefoot_datasets::import::{Plan, import};
use surefoot_datasets::streams::{LogOptions, open_log};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = PathBuf::from(arguments.next().ok_or("give the log to read")?);
    let contract = arguments.next().map(|c| RobotContract::read(Path::new(&c))).transpose()?;
    let log = open_log(&path, &LogOptions::default())?;
    let megabytes = log.bytes() as f64 / 1e6;
    for what in ["read", "decode", "import"] {
        let mut best = f64::INFINITY;
        let mut messages = 0_u64;
        for _ in 0..5 {
            let watch = Stopwatch::start();
            messages = 0;
            if what == "import" {
                let Some(contract) = &contract else { break };
                let plan = Plan::new(contract)?;
                let imported =
                    import(&plan, std::slice::from_ref(&path), &LogOptions::of(contract), false, &|_| {})?;
                messages = imported.report.logs.iter().flat_map(|l| &l.streams).map(|s| s.messages).sum();
            } else {
                let mut unreadable = None;
                log.read(&|_| true, &mut |message| {
                    messages += 1;
                    if what == "decode"
                        && let Err(why) = message.with_value(|value| {
                            std::hint::black_box(value);
                        })
                    {
                        unreadable.get_or_insert(why);
                    }
                    Ok(ControlFlow::Continue(()))
                })?;
                if let Some(why) = unreadable {
                    return Err(why.into());
                }
            }
            best = best.min(watch.elapsed().as_secs_f64());
        }
        if messages > 0 {
            let (rate, count) = (megabytes / best, messages as f64 / best / 1e3);
            println!(
                "{what:8} {messages:8} messages  {best:8.3} s  {rate:8.1} MB/s  {count:8.1} k messages/s"
            );
        }
    }
    Ok(())
}
