//! `surefoot learn`: a run whose episodes come from actors.

use anyhow::anyhow;

use crate::args::LearnArgs;
use crate::commands::resume::{self, is_run};
use crate::commands::train::{Surroundings, on_interrupt, start};
use crate::composition;
use crate::config::{self, RunConfig};
use crate::failure::{CommandResult, Failure, usage};
use crate::output::Output;

/// Runs the verb.
pub fn run(args: &LearnArgs, output: Output) -> CommandResult {
    let surroundings = |config: &RunConfig| -> Result<Surroundings, Failure> {
        let spec = composition::spec(config)?;
        let fleet = Some(composition::make_fleet(config, &spec, args, output)?);
        Ok(Surroundings { fleet, ..Surroundings::alone(output) })
    };
    if args.what.is_dir() {
        is_run(&args.what)?;
        if !args.overrides.is_empty() || args.run_dir.is_some() {
            return Err(usage(anyhow!("a run goes on with the settings that it began with")));
        }
        let interrupt = on_interrupt()?;
        resume::go_on(&args.what, args.checkpoint.as_deref(), surroundings, &interrupt, output)?
            .print(output);
        return Ok(());
    }
    if args.checkpoint.is_some() {
        return Err(usage(anyhow!("--checkpoint: name the directory of a run to go on with")));
    }
    let loaded = config::load(&args.what, &args.overrides)?;
    let surroundings = surroundings(&loaded.config)?;
    let interrupt = on_interrupt()?;
    start(&loaded, &args.runs, args.run_dir.as_deref(), surroundings, &interrupt, output)?.print(output);
    Ok(())
}
