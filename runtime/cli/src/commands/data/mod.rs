//! `surefoot data`: looking at recorded data, and making other datasets of it.

mod diff;
mod import;
mod make;
mod play;
mod verify;

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use surefoot_core::DataError;
use surefoot_datasets::history::{history_format, history_info, is_history_file};
use surefoot_datasets::streams::{LogOptions, looks_like_log};
use surefoot_datasets::{FORMATS, OpenOptions};
use surefoot_engine::MAX_EPISODES;
use surefoot_sim::DemonstratorConfig;

use crate::args::{DataCommand, RecordArgs};
use crate::commands::train::on_interrupt;
use crate::composition;
use crate::config::{self, EnvConfig, RecordConfig, nearest};
use crate::failure::{CommandResult, Failure, usage};
use crate::output::Output;

/// Runs the verb.
pub fn run(command: &DataCommand, output: Output) -> CommandResult {
    match command {
        DataCommand::Info(args) => each(&args.files, args.format.as_deref(), |path, options| {
            if options.format.is_none() && is_history_file(path)? {
                print(&history_info(path)?, output);
            } else if options.format.is_none() && is_log(path, options) {
                print(&surefoot_datasets::log_info(path, &LogOptions::default())?, output);
            } else {
                print(
                    &surefoot_datasets::info(path, options).map_err(|e| foreign(path, options, e))?,
                    output,
                );
            }
            Ok(true)
        }),
        DataCommand::Stats(args) => each(&args.files, args.format.as_deref(), |path, options| {
            print(&surefoot_datasets::stats(surefoot_datasets::open_with(path, options)?.as_ref())?, output);
            Ok(true)
        }),
        DataCommand::Verify(args) => verify::run(args, output),
        DataCommand::Record(args) => record(args, output),
        DataCommand::Import(args) => import::run(args, output),
        DataCommand::Convert(args) | DataCommand::Merge(args) => make::convert(args, output),
        DataCommand::Split(args) => make::split(args, output),
        DataCommand::Filter(args) => make::filter(args, output),
        DataCommand::Play(args) => play::run(args, output),
        DataCommand::Diff(args) => diff::run(args, output),
    }
}

/// Says of a file that is no dataset whether it holds learning histories of another project.
fn foreign(path: &Path, options: &OpenOptions, error: DataError) -> DataError {
    let layout = if options.format.is_none() { history_format(path, None).ok().flatten() } else { None };
    layout.map_or(error, |layout| DataError::Malformed {
        path: path.to_owned(),
        format: "dataset",
        reason: format!("it holds learning histories of another project ({})", layout.summary),
        hint: "`surefoot data convert FILE --to histories.hdf5` makes learning histories of it",
    })
}

/// Whether a path holds a raw log and no dataset: some directories look like both, and so does an MCAP file with episodes.
fn is_log(path: &Path, options: &OpenOptions) -> bool {
    looks_like_log(path) && surefoot_datasets::open_with(path, options).is_err()
}

fn print<T: serde::Serialize + std::fmt::Display>(report: &T, output: Output) {
    if output.json() {
        output.value(report);
    } else {
        output.line(report.to_string().trim_end());
    }
}

/// Runs over all files; one that fails does not keep the others from being looked at.
fn each(
    files: &[PathBuf],
    format: Option<&str>,
    look: impl Fn(&Path, &OpenOptions) -> Result<bool, DataError>,
) -> CommandResult {
    let options = read_as(format)?;
    let mut failed = Vec::new();
    for path in files {
        match look(path, &options) {
            Ok(true) => {}
            Ok(false) => failed.push(format!("{} has errors", path.display())),
            Err(error) => failed.push(error.to_string()),
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::Request(anyhow!("{}", failed.join("\nerror: ")))) }
}

/// How files are opened that are read as `format`, or as what they look like.
fn read_as(format: Option<&str>) -> Result<OpenOptions, Failure> {
    let names: Vec<&str> = FORMATS.iter().map(|f| f.name).collect();
    if let Some(name) = format.filter(|name| !names.contains(name)) {
        return Err(usage(anyhow!("unknown format {name:?}: expected one of {}", names.join(", "))));
    }
    Ok(OpenOptions { format: format.map(str::to_owned), ..OpenOptions::default() })
}

/// Records scripted demonstrations in the environment of the demonstrator's name.
fn record(args: &RecordArgs, output: Output) -> CommandResult {
    let name = &args.demonstrator;
    // `random` has no environment of its own: it is for `[[data]] record`.
    let own: Vec<&str> =
        DemonstratorConfig::NAMES.iter().copied().filter(|n| EnvConfig::default_of(n).is_some()).collect();
    let unknown = || {
        let hint = nearest(name, own.iter().copied())
            .map_or(String::new(), |n| format!("\n\nhint: did you mean `{n}`?"));
        usage(anyhow!("unknown demonstrator {name:?}: expected one of {}{hint}", own.join(", ")))
    };
    let demonstrator = DemonstratorConfig::default_of(name).ok_or_else(unknown)?;
    let env = config::env(name, &args.overrides)?;
    if args.to.exists() {
        return Err(anyhow!(
            "{} exists and is not overwritten\n\nhint: choose another name",
            args.to.display()
        )
        .into());
    }
    if !(1..=MAX_EPISODES).contains(&args.episodes) {
        return Err(usage(anyhow!("--episodes {}: expected 1 to {MAX_EPISODES}", args.episodes)));
    }
    let config = RecordConfig { demonstrator, episodes: args.episodes, seed: None };
    let interrupt = on_interrupt()?;
    composition::record(&env, &config, args.seed, &args.to, &interrupt).map_err(|e| {
        if interrupt.requested() { Failure::Interrupted("nothing was written".into()) } else { e }
    })?;
    output.written("recording", &args.to);
    Ok(())
}
