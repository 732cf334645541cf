//! The command line of actors and their learner.

use std::path::PathBuf;

use clap::Args;

use super::OperatorInput;

/// Where actors and learner find each other.
#[derive(Clone, Debug, Args)]
pub struct MeetingArgs {
    /// Connect here: a learner that listens, or a zenoh router. May be given more than once.
    #[arg(long, value_name = "ENDPOINT")]
    pub connect: Vec<String>,
    /// A zenoh session file (JSON5) to begin from: certificates, access control.
    #[arg(long, value_name = "FILE")]
    pub session: Option<PathBuf>,
    /// First part of every key: fleets under different ones know nothing of each other.
    #[arg(long, default_value = "surefoot")]
    pub namespace: String,
}

/// Arguments of `learn`.
#[derive(Debug, Args)]
#[command(after_help = "\
An online phase of the experiment must have `schedule = { fleet = {} }`. Every episode that an actor was told of as kept
stands in the run directory; a learner that was killed goes on from there with `surefoot learn RUN`, bit for bit.
Examples:
  surefoot learn configs/push_fleet.toml --listen tcp/0.0.0.0:7447
  surefoot learn runs/push_fleet-s0-20260203T040506Z --listen tcp/0.0.0.0:7447
  surefoot learn configs/push_fleet.toml --replay runs/push_fleet-s0-20260203T040506Z")]
pub struct LearnArgs {
    /// The experiment, a TOML file; or the directory of a run, which goes on.
    pub what: PathBuf,
    /// Overrides of a new run, as in `learner.awac.temperature=0.5 seed=3`.
    pub overrides: Vec<String>,
    /// Listen here for actors, as in tcp/0.0.0.0:7447; port 0 lets the system choose. May be given more than once.
    #[arg(long, value_name = "ENDPOINT")]
    pub listen: Vec<String>,
    /// Where they meet.
    #[command(flatten)]
    pub meeting: MeetingArgs,
    /// Refuse larger episodes, MiB.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub max_episode_mib: u64,
    /// Learn once more from the episodes that this run's actors sent, without any network: the same bits.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["listen", "connect", "session"])]
    pub replay: Option<PathBuf>,
    /// Where run directories are made.
    #[arg(long, default_value = "runs")]
    pub runs: PathBuf,
    /// Use exactly this run directory; it must not exist.
    #[arg(long)]
    pub run_dir: Option<PathBuf>,
    /// Start from this checkpoint of a run instead of the newest.
    #[arg(long)]
    pub checkpoint: Option<String>,
}

/// Arguments of `act`.
#[derive(Debug, Args)]
#[command(after_help = "\
Finished episodes are on this disk (`--spool`) before anything else, and leave it when the learner has them on its own. While no
learner answers, the newest policy goes on acting until the spool is full; then the actor holds. It may be killed at any
moment and started again with the same spool.
Exit codes: 0 the learner has finished or `--episodes` were acknowledged, 2 the learner refuses this actor (another contract, a
name in use), 1 the robot is lost or cannot be attached, 3 it is in a latched stop, 130 interrupted.
Examples:
  surefoot act --connect tcp/learner:7447 --name sim-1 --spool spool-1 --worlds 4
  surefoot act --connect tcp/learner:7447 --name arm-1 --spool spool-arm --robot arm.toml --operator keyboard")]
pub struct ActArgs {
    /// Where they meet.
    #[command(flatten)]
    pub meeting: MeetingArgs,
    /// The run, where more than one learner answers.
    #[arg(long)]
    pub run: Option<String>,
    /// This actor's name; every actor has its own.
    #[arg(long)]
    pub name: String,
    /// Directory for finished episodes; every actor has its own.
    #[arg(long)]
    pub spool: PathBuf,
    /// Hold when so much waits in the spool, MiB.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub spool_mib: u64,
    /// Environment; the learner's own, with its settings, when absent.
    #[arg(long)]
    pub env: Option<String>,
    /// Worlds side by side.
    #[arg(long, default_value_t = 1)]
    pub worlds: usize,
    /// End when so many episodes were driven and acknowledged.
    #[arg(long)]
    pub episodes: Option<u64>,
    /// In real time, through the whole control loop; otherwise on simulated time, as fast as it goes.
    #[arg(long)]
    pub realtime: bool,
    /// Act on the robot of this contract (with [link]) over zenoh, in real time, on a session of its own beside the learner's.
    /// Otherwise on a simulated one in this process.
    #[arg(long, value_name = "CONTRACT")]
    pub robot: Option<PathBuf>,
    /// A person beside the robot: may take over, mark and stop; each episode waits for their start.
    #[arg(long, value_enum, default_value_t)]
    pub operator: OperatorInput,
}
