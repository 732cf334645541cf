//! The command line of `surefoot data`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Verbs of `data`.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// What is in a file: format, keys, shapes, episodes.
    Info(DataArgs),
    /// Is it sound? Findings with severities; exit code 1 when there is an error.
    Verify(VerifyArgs),
    /// Ranges, returns, lengths, success, saturation.
    Stats(DataArgs),
    /// Record scripted demonstrations into a new file (robomimic layout).
    Record(RecordArgs),
    /// Make episodes of raw logs (MCAP, rosbag2, ROS 1 bags, CSV, JSON lines, LeRobot), by a robot contract.
    Import(ImportArgs),
    /// Write a dataset, or several as one, in another format.
    Convert(ConvertArgs),
    /// Join datasets of the same rows into one.
    Merge(ConvertArgs),
    /// Divide a dataset into one to learn from and one to judge by, in whole episodes.
    Split(SplitArgs),
    /// Keep the episodes for which everything asked for holds.
    Filter(FilterArgs),
    /// Look at an episode: channels on the terminal, or as a page.
    Play(PlayArgs),
    /// What differs between two datasets; exit code 1 when something does.
    Diff(DiffArgs),
}

/// Arguments of `data info` and `stats`.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// Files, or directories that are one dataset.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Read as this format instead of finding out.
    #[arg(long)]
    pub format: Option<String>,
}

/// Arguments of `data import`.
#[derive(Debug, Args)]
#[command(after_help = "\
What the topics mean, how they are aligned and how episodes are cut stands in the section [import] of the robot contract.
Example:
  surefoot data import bags/*.mcap --robot configs/robots/my_arm.toml --to demos.hdf5")]
pub struct ImportArgs {
    /// Logs: files, the directories that `ros2 bag record` makes, LeRobot datasets.
    #[arg(required = true)]
    pub sources: Vec<PathBuf>,
    /// The robot contract.
    #[arg(long)]
    pub robot: PathBuf,
    /// The dataset to write; it must not exist.
    #[arg(long)]
    pub to: PathBuf,
    /// The format to write (see `surefoot list`); without it the one that the target's name ends in, as in `out.mcap`, or robomimic.
    #[arg(long = "as", value_name = "FORMAT")]
    pub to_format: Option<String>,
    /// Go on without the logs that cannot be read, and say so.
    #[arg(long)]
    pub skip_unreadable: bool,
    /// Fail (exit code 1) when a log was cut off or could not be read; what could be read is written all the same.
    #[arg(long)]
    pub strict: bool,
    /// Share of the episodes that go into the mask `valid`; the others into `train`. 0 makes no masks.
    #[arg(long, default_value_t = 0.0)]
    pub valid_share: f64,
    /// Seed of that choice.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// Arguments of `data verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  surefoot data verify recordings/monday --deny-warnings --allow success_unknown
  surefoot data verify teleop.hdf5 --robot configs/robots/arm7.toml --actions velocities")]
pub struct VerifyArgs {
    /// Files, or directories that are one dataset.
    #[arg(required_unless_present = "lints")]
    pub files: Vec<PathBuf>,
    /// Read as this format instead of finding out.
    #[arg(long)]
    pub format: Option<String>,
    /// Overlook findings of this name; may be given again.
    #[arg(long, value_name = "NAME")]
    pub allow: Vec<String>,
    /// Warnings count as errors.
    #[arg(long)]
    pub deny_warnings: bool,
    /// Also tell what this robot's safety filter would have changed of the recorded actions.
    #[arg(long, value_name = "CONTRACT.toml")]
    pub robot: Option<PathBuf>,
    /// The action row is the robot's joints, in its order: positions (rad, m) or velocities (rad/s, m/s).
    #[arg(long, requires = "robot", value_parser = ["positions", "velocities"])]
    pub actions: Option<String>,
    /// Warn when the filter changes a larger share of the control ticks than this.
    #[arg(long, requires = "robot", default_value_t = 0.05)]
    pub max_changed: f64,
    /// List the names of all findings.
    #[arg(long)]
    pub lints: bool,
}

/// Arguments of `data record`.
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// The demonstrator and its environment (see `surefoot list`).
    pub demonstrator: String,
    /// The environment's settings, as in `env.door.randomisation.friction_scale=[0.8,1.2]`.
    pub overrides: Vec<String>,
    /// The file to write; it must not exist.
    #[arg(long)]
    pub to: PathBuf,
    /// Episodes.
    #[arg(long, default_value_t = 150)]
    pub episodes: usize,
    /// Seed.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// Arguments of `data convert` and `data merge`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  surefoot data merge recordings/monday recordings/tuesday --to week.hdf5
  surefoot data convert d4rl.hdf5 --to datasets/door/human-v0 --as minari
  surefoot data convert demos.hdf5 --to demos.mcap        ROS 2 messages: Foxglove, rerun and ros2 bag open it
  surefoot data convert xland-trivial-20b.hdf5 --to histories.hdf5      learning histories of others (see `surefoot list`)")]
pub struct ConvertArgs {
    /// Files, or directories that are one dataset: all together become one.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// The dataset to write; it must not exist.
    #[arg(long)]
    pub to: PathBuf,
    /// The format to write (see `surefoot list`); without it the one that the target's name ends in, as in `out.mcap`, or robomimic.
    #[arg(long = "as", value_name = "FORMAT")]
    pub to_format: Option<String>,
    /// Read as this format instead of finding out.
    #[arg(long)]
    pub format: Option<String>,
}

/// Arguments of `data split`.
#[derive(Debug, Args)]
pub struct SplitArgs {
    /// A file, or a directory that is one dataset.
    pub file: PathBuf,
    /// What to learn from; it must not exist.
    #[arg(long)]
    pub train: PathBuf,
    /// What to judge by; it must not exist.
    #[arg(long)]
    pub valid: PathBuf,
    /// Part of the episodes that is judged by.
    #[arg(long, default_value_t = 0.1)]
    pub valid_share: f64,
    /// Seed of the draw.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// The format to write (see `surefoot list`); without it the one that the target's name ends in, as in `out.mcap`, or robomimic.
    #[arg(long = "as", value_name = "FORMAT")]
    pub to_format: Option<String>,
    /// Read as this format instead of finding out.
    #[arg(long)]
    pub format: Option<String>,
}

/// Arguments of `data filter`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  surefoot data filter driven --to good.hdf5 --success true --min-steps 20 --finite")]
pub struct FilterArgs {
    /// A file, or a directory that is one dataset.
    pub file: PathBuf,
    /// The dataset to write; it must not exist.
    #[arg(long)]
    pub to: PathBuf,
    /// Of this mask.
    #[arg(long)]
    pub mask: Option<String>,
    /// Known to have succeeded (true) or failed (false).
    #[arg(long)]
    pub success: Option<bool>,
    /// By this actor.
    #[arg(long)]
    pub source: Option<String>,
    /// With steps that a person drove (true), or known to be without (false).
    #[arg(long)]
    pub interventions: Option<bool>,
    /// At least so many steps.
    #[arg(long)]
    pub min_steps: Option<usize>,
    /// At most so many steps.
    #[arg(long)]
    pub max_steps: Option<usize>,
    /// With at least this return.
    #[arg(long, allow_negative_numbers = true)]
    pub min_return: Option<f64>,
    /// With at most this return.
    #[arg(long, allow_negative_numbers = true)]
    pub max_return: Option<f64>,
    /// Without NaN and infinities.
    #[arg(long)]
    pub finite: bool,
    /// The format to write (see `surefoot list`); without it the one that the target's name ends in, as in `out.mcap`, or robomimic.
    #[arg(long = "as", value_name = "FORMAT")]
    pub to_format: Option<String>,
    /// Read as this format instead of finding out.
    #[arg(long)]
    pub format: Option<String>,
}

/// Arguments of `data play`.
#[derive(Debug, Args)]
pub struct PlayArgs {
    /// A file, or a directory that is one dataset.
    pub file: PathBuf,
    /// The episode, from 0.
    #[arg(long, default_value_t = 0)]
    pub episode: usize,
    /// Only channels whose name contains this.
    #[arg(long)]
    pub channel: Option<String>,
    /// Write a page with every channel here; the file must not exist.
    #[arg(long)]
    pub html: Option<PathBuf>,
    /// Characters of a line on the terminal.
    #[arg(long, default_value_t = 72)]
    pub width: usize,
    /// Read as this format instead of finding out.
    #[arg(long)]
    pub format: Option<String>,
}

/// Arguments of `data diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// A file, or a directory that is one dataset.
    pub left: PathBuf,
    /// Another.
    pub right: PathBuf,
    /// Numbers may differ by so much; 0 compares every bit.
    #[arg(long, default_value_t = 0.0)]
    pub tolerance: f64,
}
