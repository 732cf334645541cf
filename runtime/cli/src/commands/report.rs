//! `surefoot report`: a run's report.html, made again from the run directory alone.

use surefoot_engine::report;

use crate::args::ReportArgs;
use crate::failure::CommandResult;
use crate::output::Output;

/// Runs the verb.
pub fn run(args: &ReportArgs, output: Output) -> CommandResult {
    report::write_report(&args.run)?;
    output.line(&args.run.join("report.html").display().to_string());
    Ok(())
}
