//! Arguments of `collect` and `list`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Arguments of `collect`.
#[derive(Debug, Args)]
#[command(after_help = "\
The same file and seed give the same bytes, whatever the number of threads. Ctrl-C leaves nothing behind.
Examples:
  surefoot collect configs/ad/dark_room.toml --to dark_room.hdf5
  surefoot collect configs/ad/bandit.toml --to bandit.hdf5 family.adversarial_bandit.train_tasks=500
  surefoot data info dark_room.hdf5")]
pub struct CollectArgs {
    /// What is collected, a TOML file.
    pub config: PathBuf,
    /// Overrides, as in `source.0.episodes=100`.
    pub overrides: Vec<String>,
    /// The file to write (HDF5); it must not exist.
    #[arg(long)]
    pub to: PathBuf,
    /// Seed of the histories; the same as `seed=...`.
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: Option<u64>,
    /// Threads; all cores by default.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Compute what every task family's returns are to be compared with: of random actions, of whoever knows the task, and of random
    /// search by episode.
    #[arg(long)]
    pub references: bool,
    /// What to list; everything that is built in where nothing is named.
    #[command(subcommand)]
    pub what: Option<ListCommand>,
}

/// What can be looked at beside what is built in.
#[derive(Debug, Subcommand)]
pub enum ListCommand {
    /// A model's joints, actuators and contacts, and every element of the file that is not simulated.
    Model {
        /// MJCF or URDF file.
        file: PathBuf,
    },
}
