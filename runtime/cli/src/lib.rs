//! The surefoot program: the one place that knows concrete environments, learners and formats.
//!
//! A library only so that the integration tests can run exactly this program; its one function is [`main`].

mod args;
mod commands;
mod composition;
mod config;
mod failure;
mod hold_still;
mod keyboard;
mod new_file;
mod output;
mod panel_operator;
mod progress;
mod summary;
mod ticks;

use std::process::ExitCode;

use clap::Parser;

/// Runs the program on the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    surefoot_datasets::silence_caught_panics();
    let cli = args::Cli::parse();
    match commands::run(&cli).and_then(|()| output::check_stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
