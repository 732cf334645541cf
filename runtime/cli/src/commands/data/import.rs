//! `surefoot data import`: raw logs to episodes, by a robot contract.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::anyhow;
use indicatif::{ProgressBar, ProgressStyle};
use surefoot_core::RobotContract;
use surefoot_datasets::import::{Plan, import};
use surefoot_datasets::streams::LogOptions;
use surefoot_datasets::{FORMATS, Recording};

use crate::args::ImportArgs;
use crate::failure::{CommandResult, Failure, usage};
use crate::output::Output;

/// Runs the verb.
pub fn run(args: &ImportArgs, output: Output) -> CommandResult {
    let ImportArgs { sources, robot, to, to_format, skip_unreadable, strict, valid_share, seed } = args;
    let contract = RobotContract::read(robot).map_err(usage)?;
    let plan = Plan::new(&contract)
        .map_err(|e| usage(anyhow!(e).context(format!("robot contract {}", robot.display()))))?;
    let writable = || FORMATS.iter().filter(|f| f.write.is_some());
    let Some(write) = writable().find(|f| f.name == to_format).and_then(|f| f.write) else {
        let known: Vec<&str> = writable().map(|f| f.name).collect();
        return Err(usage(anyhow!("--as {to_format:?}: expected one of {}", known.join(", "))));
    };
    if to.exists() {
        let path = to.display();
        return Err(anyhow!("{path} exists and is not overwritten\n\nhint: choose another name").into());
    }
    if !(0.0..1.0).contains(valid_share) {
        return Err(usage(anyhow!("--valid-share {valid_share}: expected 0 to 1")));
    }
    let bar = progress_bar(sources, output);
    let told = AtomicU64::new(0);
    let progress = |bytes: u64| {
        told.fetch_add(bytes, Ordering::Relaxed);
        if let Some(bar) = &bar {
            bar.inc(bytes);
        }
    };
    let outcome = import(&plan, sources, &LogOptions::of(&contract), *skip_unreadable, &progress);
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let imported = outcome?;
    let report = &imported.report;
    if output.json() {
        output.value(&serde_json::json!({ "event": "imported", "report": report }));
    } else {
        output.note(report.to_string().trim_end());
    }
    if imported.episodes.is_empty() {
        return Err(anyhow!(
            "no episode came of {} logs; nothing was written\n\nhint: the report says which streams had gaps and how steps \
             were dropped",
            sources.len()
        )
        .into());
    }
    let recording = Recording::new(imported.spec.clone());
    let recording = if *valid_share > 0.0 {
        recording.with_split(imported.episodes.len(), *valid_share, *seed)
    } else {
        recording
    };
    let written = write(to, &recording, &mut imported.episodes.into_iter().map(Ok))?;
    for lost in &written.lost {
        output.note(&format!("{to_format} has no place for {lost}"));
    }
    output.written("dataset", to);
    let incomplete = report.logs.iter().filter(|l| l.incomplete()).count();
    if incomplete > 0 {
        let message = format!("{incomplete} of {} logs are INCOMPLETE", sources.len());
        if *strict {
            return Err(Failure::Request(anyhow!("{message}; what could be read was written")));
        }
        output.note(&message);
    }
    Ok(())
}

/// A bar over the bytes of all sources, where one may be drawn.
fn progress_bar(sources: &[PathBuf], output: Output) -> Option<ProgressBar> {
    if !output.bars() {
        return None;
    }
    let size = |path: &PathBuf| -> u64 {
        if path.is_dir() {
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            entries.filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum()
        } else {
            path.metadata().map_or(0, |m| m.len())
        }
    };
    let bar = ProgressBar::new(sources.iter().map(size).sum());
    if let Ok(style) = ProgressStyle::with_template(
        "{bar:24} {percent:3} % {bytes} of {total_bytes}  {bytes_per_sec}  eta {eta}",
    ) {
        bar.set_style(style);
    }
    Some(bar)
}
