//! The command line of `distill`.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `distill`.
#[derive(Debug, Args)]
#[command(after_help = "\
The policy stands in RUN/policy and is taken by eval, rollout and serve. What is given may be a run directory, which goes
on bit for bit. With --arms runs that are finished are taken as they are and interrupted ones go on, so the verb can be
called again until it is through.
Examples:
  surefoot distill configs/distill/bandit.toml
  surefoot distill configs/distill/dark_room.toml optimizer.updates=2000 --threads 2
  surefoot distill configs/distill/dark_room.toml --arms --seeds 0,1,2 --splits --to bench/dark_room")]
pub struct DistillArgs {
    /// The distillation, a TOML file; or the directory of a run, which goes on.
    pub what: PathBuf,
    /// Overrides, as in `model.window=160 seed=3`.
    pub overrides: Vec<String>,
    /// Where run directories are made.
    #[arg(long, default_value = "runs")]
    pub runs: PathBuf,
    /// Use exactly this run directory; it must not exist.
    #[arg(long, conflicts_with = "arms")]
    pub run_dir: Option<PathBuf>,
    /// Threads; all of the machine's when absent. Changes the speed and nothing else.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Train the arms of the file as well, and put all side by side with the source and somebody who knows the task.
    #[arg(long)]
    pub arms: bool,
    /// Seeds of the arms.
    #[arg(long, value_delimiter = ',', default_value = "0", requires = "arms")]
    pub seeds: Vec<u64>,
    /// Train and judge each seed on a split of the tasks of its own: the family's `split_seed` is the seed.
    #[arg(long, requires = "arms")]
    pub splits: bool,
    /// Where arms, evidence.json, table.md and report.html stand; by default bench/NAME.
    #[arg(long, requires = "arms")]
    pub to: Option<PathBuf>,
    /// Put finished runs side by side, and start none.
    #[arg(long, requires = "arms")]
    pub report_only: bool,
}
