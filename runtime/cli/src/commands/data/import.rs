//! `surefoot data import`: raw logs to episodes, by a robot contract.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use indicatif::{ProgressBar, ProgressStyle};
use surefoot_core::{DataError, EpisodeSource, RobotContract};
use surefoot_datasets::import::{Plan, Watch, import_spooled};
use surefoot_datasets::streams::LogOptions;
use surefoot_datasets::{FORMATS, Recording, Stoppable, convert_as, leftovers};

use super::make::format_of;
use crate::args::ImportArgs;
use crate::commands::train::on_interrupt;
use crate::failure::{CommandResult, Failure, usage};
use crate::output::Output;

/// Runs the verb.
pub fn run(args: &ImportArgs, output: Output) -> CommandResult {
    let ImportArgs { sources, robot, to, to_format, skip_unreadable, strict, valid_share, seed } = args;
    let to_format = format_of(to_format.as_deref(), to);
    let contract = RobotContract::read(robot).map_err(usage)?;
    let plan = Plan::new(&contract)
        .map_err(|e| usage(anyhow!(e).context(format!("robot contract {}", robot.display()))))?;
    let writable = || FORMATS.iter().filter(|f| f.write.is_some());
    if !writable().any(|f| f.name == to_format) {
        let known: Vec<&str> = writable().map(|f| f.name).collect();
        return Err(usage(anyhow!("--as {to_format:?}: expected one of {}", known.join(", "))));
    }
    if to.exists() {
        let path = to.display();
        return Err(anyhow!("{path} exists and is not overwritten\n\nhint: choose another name").into());
    }
    if !(0.0..1.0).contains(valid_share) {
        return Err(usage(anyhow!("--valid-share {valid_share}: expected 0 to 1")));
    }
    say_leftovers(to, output);
    let interrupt = on_interrupt()?;
    let stop = || interrupt.requested();
    let bar = progress_bar(sources, output);
    let progress = |bytes: u64| {
        if let Some(bar) = &bar {
            bar.inc(bytes);
        }
    };
    let watch = Watch { progress: &progress, stop: &stop };
    let outcome = import_spooled(&plan, sources, &LogOptions::of(&contract), *skip_unreadable, watch, to);
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let imported = outcome.map_err(stopped)?;
    let report = &imported.report;
    if output.json() {
        output.value(&serde_json::json!({ "event": "imported", "report": report }));
    } else {
        output.note(report.to_string().trim_end());
    }
    if imported.is_empty() {
        return Err(anyhow!(
            "no episode came of {} logs; nothing was written\n\nhint: the report says which streams had gaps and how steps \
             were dropped",
            sources.len()
        )
        .into());
    }
    let mut recording = Recording::new(imported.spec.clone());
    recording.import_hash = contract.import_hash();
    if *valid_share > 0.0 {
        recording = recording.with_split(imported.len(), *valid_share, *seed);
    }
    let written =
        convert_as(&Stoppable::new(&imported, &stop), &recording, to_format, to).map_err(stopped)?;
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

/// Says what a program left that was killed while it wrote the same thing.
pub fn say_leftovers(to: &Path, output: Output) {
    for left in leftovers(to) {
        output.note(&format!(
            "note: {} is what was written for {} when a program was killed, or one that still writes: if none does, remove it",
            left.display(),
            to.display()
        ));
    }
}

/// A reading or writing that a person ended is no failure of it.
pub fn stopped(error: DataError) -> Failure {
    match error {
        DataError::Interrupted => Failure::Interrupted(
            "nothing was written, and nothing is left behind; run it again to begin anew".into(),
        ),
        other => other.into(),
    }
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
