//! One file per verb.

mod act;
mod bench;
mod collect;
mod config;
mod data;
mod demo;
mod demo_adapt;
mod distill;
mod doctor;
mod eval;
mod export;
mod learn;
mod list;
mod record;
mod regress;
mod replay;
mod report;
mod resume;
mod rollout;
mod serve;
mod serve_env;
mod train;
mod view;

pub use eval::{locate_and_read, read_policy};

use clap::CommandFactory;

use crate::args::{Cli, Command};
use crate::failure::CommandResult;
use crate::output::Output;

/// Runs what was asked for.
pub fn run(cli: &Cli) -> CommandResult {
    let output = Output::new(cli.global);
    match &cli.command {
        Command::Demo(args) => demo::run(args, output),
        Command::Train(args) => train::run(args, output),
        Command::Resume(args) => resume::run(args, output),
        Command::Bench(args) => bench::run(args, output),
        Command::Regress(args) => regress::run(args, output),
        Command::Distill(args) => distill::run(args, output),
        Command::Eval(args) => eval::run(args, output),
        Command::View(args) => view::run(args, output),
        Command::Rollout(args) => rollout::run(args, output),
        Command::Serve(args) => serve::run(args, output),
        Command::Record(args) => record::run(args, output),
        Command::Act(args) => act::run(args, output),
        Command::Learn(args) => learn::run(args, output),
        Command::ServeEnv(args) => serve_env::run(args, output),
        Command::Replay(args) => replay::run(args, output),
        Command::Report(args) => report::run(args, output),
        Command::Export(args) => export::run(args, output),
        Command::Doctor(args) => doctor::run(args, output),
        Command::Collect(args) => collect::run(args, output),
        Command::Data(command) => data::run(command, output),
        Command::List(args) => list::run(args, output),
        Command::Config(command) => config::run(command, output),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "surefoot", &mut script);
            output.text(&String::from_utf8_lossy(&script));
            Ok(())
        }
    }
}
