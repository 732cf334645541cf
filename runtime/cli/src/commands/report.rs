//! `surefoot report`: a run's report.html, made again from the run directory alone.

use surefoot_engine::report;

use crate::args::ReportArgs;
use crate::commands::resume::is_run;
use crate::failure::CommandResult;
use crate::output::Output;

/// Runs the verb.
pub fn run(args: &ReportArgs, output: Output) -> CommandResult {
    is_run(&args.run)?;
    report::write_report(&args.run)?;
    output.written("report", &args.run.join("report.html"));
    Ok(())
}
