//! `surefoot resume`: continue an interrupted run, bit for bit.

use std::path::Path;

use anyhow::anyhow;
use surefoot_engine::{RunDir, Trainer, run_dir};

use crate::args::ResumeArgs;
use crate::commands::train::{Learners, carry_on, configuration, on_interrupt, person_can_act, with_parts};
use crate::composition;
use crate::config;
use crate::failure::{CommandResult, usage};
use crate::output::Output;

/// Refuses a directory that is no run.
pub fn is_run(path: &Path) -> CommandResult {
    if path.join("run.json").is_file() {
        return Ok(());
    }
    Err(usage(anyhow!(
        "{} is no run directory: it has no run.json\n\nhint: runs stand in runs/, one directory each",
        path.display()
    )))
}

/// Runs the verb.
pub fn run(args: &ResumeArgs, output: Output) -> CommandResult {
    is_run(&args.run)?;
    let info = run_dir::read_info(&args.run)?;
    let run = RunDir::open(&args.run)?;
    let text = run_dir::read_config(&args.run)?;
    let loaded = config::parse(&text, &args.run.join("config.toml").display().to_string(), &[])?;
    person_can_act(&loaded.config, args.operator)?;
    let interrupt = on_interrupt()?;
    // A run continues on the data it began with: a missing file is not recorded anew here.
    let mut config = loaded.config;
    for data in &mut config.data {
        data.record = None;
    }
    let spec = composition::spec(&config)?;
    let learners = Learners::build(&config, &spec)?;
    let demonstrations = composition::load(&config, &spec, learners.needs(), &interrupt, output)?;
    for (path, hash) in &demonstrations.hashes {
        if info.datasets.get(path).is_some_and(|recorded| recorded != hash) {
            return Err(anyhow!(
                "{path} has changed since the run began: blake3 was {}, is {hash}\n\nhint: put the original file back, or start a new run",
                info.datasets[path]
            )
            .into());
        }
    }
    with_parts(&config, &spec, learners, demonstrations, (args.operator, output), |parts| {
        let trainer = Trainer::resume(parts, run, args.checkpoint.as_deref()).map_err(configuration)?;
        carry_on(trainer, &interrupt, output)
    })
}
