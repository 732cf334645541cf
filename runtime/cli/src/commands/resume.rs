//! `surefoot resume`: continue an interrupted run, bit for bit.

use std::path::Path;

use anyhow::anyhow;
use surefoot_engine::{Interrupt, RunDir, Trainer, run_dir};

use crate::args::ResumeArgs;
use crate::commands::train::{
    Finished, Learners, Surroundings, carry_on, configuration, no_actors, on_interrupt, person_can_act,
    with_parts,
};
use crate::composition;
use crate::config::{self, RunConfig};
use crate::failure::{CommandResult, Failure, usage};
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
    let surroundings = |config: &RunConfig| -> Result<Surroundings, Failure> {
        person_can_act(config, args.operator)?;
        no_actors(config, "learn")?;
        Ok(Surroundings { input: args.operator, ..Surroundings::alone(output) })
    };
    go_on(&args.run, args.checkpoint.as_deref(), surroundings, &on_interrupt()?, output)?.print(output);
    Ok(())
}

/// Goes on with a run, from a checkpoint of it, and sees it to its end.
///
/// # Errors
/// When the run is in use, damaged, or not what it began as, and what comes of it.
pub fn go_on(
    path: &Path,
    checkpoint: Option<&str>,
    surroundings: impl FnOnce(&RunConfig) -> Result<Surroundings, Failure>,
    interrupt: &Interrupt,
    output: Output,
) -> Result<Finished, Failure> {
    let info = run_dir::read_info(path)?;
    let run = RunDir::open(path)?;
    let text = run_dir::read_config(path)?;
    let loaded = config::parse(&text, &path.join("config.toml").display().to_string(), &[])?;
    let surroundings = surroundings(&loaded.config)?;
    // A run continues on the data it began with: a missing file is not recorded anew here.
    let mut config = loaded.config;
    for data in &mut config.data {
        data.record = None;
    }
    let spec = composition::spec(&config)?;
    let learners = Learners::build(&config, &spec)?;
    let demonstrations = composition::load(&config, &spec, learners.needs(), interrupt, output)?;
    for (path, hash) in &demonstrations.hashes {
        if info.datasets.get(path).is_some_and(|recorded| recorded != hash) {
            return Err(anyhow!(
                "{path} has changed since the run began: blake3 was {}, is {hash}\n\nhint: put the original file back, or start a new run",
                info.datasets[path]
            )
            .into());
        }
    }
    with_parts(&config, &spec, learners, demonstrations, surroundings, |parts| {
        let trainer = Trainer::resume(parts, run, checkpoint).map_err(configuration)?;
        carry_on(trainer, interrupt, output)
    })
}
