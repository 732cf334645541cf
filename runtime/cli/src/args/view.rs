//! Arguments of `view`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Arguments of `view`.
#[derive(Debug, Args)]
#[command(after_help = "\
Whoever acts is a run directory, a checkpoint of one, a directory with policy.json and policy.safetensors, or a scripted demonstrator
(`demonstrator:NAME`; `surefoot list` has the names). Example:
  surefoot view runs/push-s0-20260203T040506Z demonstrator:push --to push.html
  surefoot view demonstrator:random --env push --episodes 1 --to random.html --pictures random
  surefoot view demonstrator:door --env door --show contacts,limits --to door.html
  surefoot view demonstrator:ant --env ant --episodes 1 --to ant.html --mcap ant.mcap")]
pub struct ViewArgs {
    /// Who acts: a column each, from the same starts.
    #[arg(required = true, num_args = 1..)]
    pub policies: Vec<String>,
    /// Environment, where it cannot be taken from the first policy's run.
    #[arg(long)]
    pub env: Option<String>,
    /// The page; the file must not exist.
    #[arg(long)]
    pub to: PathBuf,
    /// Episodes, a row each.
    #[arg(long, default_value_t = 3)]
    pub episodes: usize,
    /// First evaluation seed; the default is the one that training reports with.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Env steps between two pictures.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub every: u64,
    /// Width of a picture, pixels; its height is three quarters of it.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(32..=1920))]
    pub width: u64,
    /// Show beside the world: contacts with their forces (a line of 4 cm for 1 N, growing with the root), joints at a limit of position or speed.
    #[arg(long, value_delimiter = ',', value_name = "WHAT")]
    pub show: Vec<Shown>,
    /// Write the pictures as ROS 2 messages too, a topic for each policy, for Rerun (`rerun FILE`) or Foxglove; it must not exist.
    #[arg(long, value_name = "FILE.mcap")]
    pub mcap: Option<PathBuf>,
    /// Write each picture into this directory too (PNG); it must not exist.
    #[arg(long)]
    pub pictures: Option<PathBuf>,
}

/// What pictures show beside the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shown {
    /// Where bodies push each other, and with what force.
    Contacts,
    /// Joints within 1 % of a limit of position (red) or speed (orange), by name.
    Limits,
}
