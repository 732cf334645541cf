//! The command line.

mod collect;
mod data;
mod distill;
mod fleet;
mod regress;
mod serve_env;
mod view;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use surefoot_engine::Shard;

pub use collect::{CollectArgs, ListArgs, ListCommand};
pub use data::{
    ConvertArgs, DataCommand, DiffArgs, FilterArgs, ImportArgs, PlayArgs, RecordArgs, SplitArgs, VerifyArgs,
};
pub use distill::DistillArgs;
pub use fleet::{ActArgs, LearnArgs, MeetingArgs};

pub use regress::RegressArgs;
pub use serve_env::ServeEnvArgs;
pub use view::{Shown, ViewArgs};

/// Learn offline, step online, stay within limits.
///
/// surefoot takes a robot from teleoperation logs to a policy that keeps improving on the robot, without ever leaving its
/// safe envelope. It is a motion limiter, not a certified safety function: keep the vendor's safety controller and a
/// hardware emergency stop.
#[derive(Debug, Parser)]
#[command(name = "surefoot", version, arg_required_else_help = true, max_term_width = 110)]
#[command(after_help = "\
Exit codes: 0 ok, 1 the request failed, 2 usage or configuration, 3 safety stop (a limit of the
session was reached, or the robot is in a latched stop; nothing is lost, `surefoot resume` goes on),
4 inconclusive and 5 not comparable (of `regress`), 130 interrupted.
Results go to stdout, everything else to stderr.

Examples:
  surefoot demo                                 the whole journey in a few minutes
  surefoot demo --adapt                         a frozen policy finds out how an arm is wired by trying
  surefoot train configs/push.toml seed=3       any key of the file can be overridden
  surefoot data verify recordings/door.hdf5     is this worth learning from?")]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Clone, Copy, Debug, Args)]
pub struct GlobalArgs {
    /// Print newline-delimited JSON events on stdout.
    #[arg(long, global = true)]
    pub json: bool,
    /// Print nothing but results and errors.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Print plain progress lines even on a terminal.
    #[arg(long, global = true)]
    pub no_progress: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Demonstrations -> offline AWAC -> safe online fine-tuning -> report, on the tabletop push task.
    Demo(DemoArgs),
    /// Train from a config file.
    Train(TrainArgs),
    /// Continue an interrupted run, bit for bit.
    Resume(ResumeArgs),
    /// Train several learners with several seeds and compare them: curves, tables, intervals.
    Bench(BenchArgs),
    /// Run a suite of scenarios and compare it with golden files or a baseline policy: what changed, and is it worse?
    Regress(RegressArgs),
    /// Distil learning histories into a policy that learns in context, with frozen weights.
    Distill(DistillArgs),
    /// Evaluate a trained policy on fixed seeds.
    Eval(EvalArgs),
    /// Draw what policies do, side by side, as a page.
    View(ViewArgs),
    /// Let a trained policy drive a robot through the whole control loop.
    Rollout(RolloutArgs),
    /// Serve a simulated robot over zenoh, with a filter and a watchdog on its side of the link.
    Serve(ServeArgs),
    /// Record what a person does with a robot, episode by episode.
    Record(RecordRobotArgs),
    /// Act for a learner elsewhere: a robot, or simulated ones, whose episodes go to `surefoot learn`, and whose policies come from there.
    Act(ActArgs),
    /// Learn from actors on any machine: as `train`, with `surefoot act` acting.
    Learn(LearnArgs),
    /// Serve a simulated environment in lockstep: to `[env.served]` of another process, or to Python.
    ServeEnv(ServeEnvArgs),
    /// Make episodes of recorded control ticks once more: what a learner was given, bit for bit.
    Replay(ReplayArgs),
    /// Write a run's report.html again.
    Report(ReportArgs),
    /// Write a trained policy as an ONNX model.
    Export(ExportArgs),
    /// Have source algorithms learn every task of a family, and write their learning histories.
    Collect(CollectArgs),
    /// Look at recorded data.
    #[command(subcommand)]
    Data(DataCommand),
    /// What is built in: learners, environments, formats, demonstrators, task families, source algorithms; or what is in a model's file.
    List(ListArgs),
    /// Check, show or document configurations.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// What this machine, or a robot on the network, can promise a control loop, and what to change.
    Doctor(DoctorArgs),
    /// Print a shell's completion script.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Seed of everything: demonstrations, learning, exploration. Evaluation seeds stay the same.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: u64,
    /// Where run directories are made.
    #[arg(long, default_value = "runs")]
    pub runs: PathBuf,
    /// Where the demonstrations are recorded.
    #[arg(long, default_value = "data")]
    pub data: PathBuf,
    /// The other journey: learning histories -> a transformer -> arms whose actuators are plugged in anew, which it finds out by trying, through the
    /// control loop and with frozen weights. Exit code 1 when it does not.
    #[arg(long)]
    pub adapt: bool,
    /// Overrides, as in `learner.awac.temperature=0.5`; with --adapt as in `optimizer.updates=500`.
    pub overrides: Vec<String>,
}

/// Arguments of `train`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  surefoot train configs/push.toml seed=3 learner.awac.temperature=0.5")]
pub struct TrainArgs {
    /// The experiment, a TOML file.
    pub config: PathBuf,
    /// Overrides, as in `learner.awac.temperature=0.5 seed=3`.
    pub overrides: Vec<String>,
    /// Where run directories are made.
    #[arg(long, default_value = "runs")]
    pub runs: PathBuf,
    /// Use exactly this run directory; it must not exist.
    #[arg(long)]
    pub run_dir: Option<PathBuf>,
    /// A person beside the robot of a phase with `schedule = { async = {} }`: may take over, mark and stop.
    #[arg(long, value_enum, default_value_t)]
    pub operator: OperatorInput,
    /// The contract (with [link]) of the robot that such phases drive; the same as `robot.contract=...`. Otherwise they drive a
    /// simulated one in this process.
    #[arg(long)]
    pub robot: Option<PathBuf>,
}

/// Arguments of `resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The run directory.
    pub run: PathBuf,
    /// Start from this checkpoint instead of the newest (a name under `checkpoints/`).
    #[arg(long)]
    pub checkpoint: Option<String>,
    /// As in `train`.
    #[arg(long, value_enum, default_value_t)]
    pub operator: OperatorInput,
}

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// A run directory, a checkpoint of one, or a directory with policy.json and policy.safetensors.
    pub policy: PathBuf,
    /// Overrides of the environment, as in `env.push.max_steps=30`.
    pub overrides: Vec<String>,
    /// Environment, where it cannot be taken from the run's config.
    #[arg(long)]
    pub env: Option<String>,
    /// Episodes.
    #[arg(long, default_value_t = 100)]
    pub episodes: usize,
    /// First evaluation seed; the default is the one that training reports with.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Fail (exit code 1) when the success rate is below this.
    #[arg(long)]
    pub min_success: Option<f64>,
    /// Write an animation of the first episode here (GIF).
    #[arg(long)]
    pub film: Option<PathBuf>,
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
#[command(after_help = "\
Runs that are finished are taken as they are, interrupted ones go on, so the verb can be called again until it is through.
Example:
  surefoot bench configs/bench/push_learners.toml --to bench/push
  surefoot bench configs/bench/push_learners.toml --to bench/push --shard 1/2     beside another with 2/2; then --report-only
  surefoot bench configs/bench/push_learners.toml --to smoke phase.0.offline.updates=200 phase.1.online.env_steps=600")]
pub struct BenchArgs {
    /// The suite, a TOML file: contenders, seeds, what a score is.
    pub suite: PathBuf,
    /// Overrides for every run.
    pub overrides: Vec<String>,
    /// Where its runs, report.html, curves.svg, comparison.json and table.md stand; by default bench/NAME.
    #[arg(long)]
    pub to: Option<PathBuf>,
    /// Compare the runs that are finished, and start none.
    #[arg(long, conflicts_with = "shard")]
    pub report_only: bool,
    /// Run one of n parts, such as 2/4, and compare nothing: for as many processes as there are cores, or machines.
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(after_help = "\
The model takes `observation` [n, observation_dim] in the units of policy.json and gives `action` [n, action_dim] in [-1, 1],
without noise. Example:
  surefoot export runs/push-s0-20260203T040506Z --to push.onnx")]
pub struct ExportArgs {
    /// A run directory, a checkpoint of one, or a directory with policy.json and policy.safetensors.
    pub policy: PathBuf,
    /// The file to write; it must not exist.
    #[arg(long)]
    pub to: PathBuf,
}

/// Arguments of `rollout`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --robot the robot is a simulated one in this process, with a filter and a watchdog of its own.
Examples:
  surefoot rollout runs/push-s0-20260203T040506Z --episodes 5 --realtime
  surefoot serve push --listen tcp/127.0.0.1:7447 --write-contract robot.toml
  surefoot rollout runs/push-s0-20260203T040506Z --robot robot.toml
  surefoot rollout runs/actuator_scramble --context today.ctx env.actuator_scramble.wiring=[-2,1,4,-3]")]
pub struct RolloutArgs {
    /// A run directory, a checkpoint of one, or a directory with policy.json and policy.safetensors.
    pub policy: PathBuf,
    /// Overrides of the environment and of the control loop, as in `env.push.max_steps=30` and `control.startup_max_speed=2.0`.
    pub overrides: Vec<String>,
    /// Environment, where it cannot be taken from the run's config.
    #[arg(long)]
    pub env: Option<String>,
    /// Episodes.
    #[arg(long, default_value_t = 10)]
    pub episodes: usize,
    /// First seed; the default is the one that training reports with.
    #[arg(long)]
    pub seed: Option<u64>,
    /// In real time, control and policy on threads of their own; otherwise on simulated time, the same bits every time.
    #[arg(long)]
    pub realtime: bool,
    /// Drive the robot of this contract (with [link]) over zenoh, in real time.
    #[arg(long)]
    pub robot: Option<PathBuf>,
    /// A person beside the robot: may take over, mark and stop; each episode waits for their start.
    #[arg(long, value_enum, default_value_t)]
    pub operator: OperatorInput,
    /// Write every control tick here; the file must not exist. As MCAP with ROS 2 messages where the name ends in `.mcap`, otherwise one
    /// JSON object a line. See `surefoot replay`.
    #[arg(long)]
    pub ticks: Option<PathBuf>,
    /// Record every finished episode into this directory, each in a file of its own, and every tick beside them in `ticks-<n>.mcap`,
    /// unless --ticks names another file; a recording of the same task goes on.
    #[arg(long)]
    pub record: Option<PathBuf>,
    /// Fail (exit code 1) when a tick was lost on the way to its file; what could be kept is kept all the same.
    #[arg(long)]
    pub strict: bool,
    /// Time over which the policy's motion sets in when an episode begins, s. It holds back what a policy tries out in short episodes, and keeps
    /// the safety chain from having to. The default is that of `control.handover_secs`, 0.3.
    #[arg(long, value_name = "SECS")]
    pub handover_secs: Option<f64>,
    /// What a policy that learns in context remembers.
    #[command(flatten)]
    pub memory: MemoryArgs,
}

/// What a policy that learns in context remembers.
#[derive(Clone, Debug, Args)]
pub struct MemoryArgs {
    /// A policy that learns in context begins every episode as a new task. Otherwise the episodes are tries at one task.
    #[arg(long, conflicts_with = "context")]
    pub forget_between_episodes: bool,
    /// What a policy that learns in context remembers: taken from this file where it exists, written to it at the end.
    #[arg(long, value_name = "FILE")]
    pub context: Option<PathBuf>,
    /// Who acts while a policy that learns in context can make nothing of an observation: `hold`, or another policy. Without one the robot
    /// is braked.
    #[arg(long, value_name = "hold|POLICY")]
    pub fallback: Option<PathBuf>,
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
Ctrl-C brings the robot to rest and ends. It is a motion limiter, not a certified safety function.
Example:
  surefoot serve push --listen tcp/127.0.0.1:7447 --write-contract robot.toml
  surefoot rollout RUN --robot robot.toml            in another terminal
  surefoot serve push --connect tcp/ROUTER:7447 --write-contract robot.toml      behind a router")]
pub struct ServeArgs {
    /// The environment whose robot is served.
    pub env: String,
    /// Its settings, as in `env.push.randomisation.friction_scale=[0.8,1.2]`.
    pub overrides: Vec<String>,
    /// Names, timeouts and dialect are those of this contract's [link].
    #[arg(long)]
    pub robot: Option<PathBuf>,
    /// Where to listen; with port 0 the system chooses one, and it is printed [default: tcp/127.0.0.1:0, without --connect].
    #[arg(long, value_name = "ENDPOINT")]
    pub listen: Option<String>,
    /// Connect to a zenoh router instead, behind which the robot is met. May be given more than once.
    #[arg(long, value_name = "ENDPOINT")]
    pub connect: Vec<String>,
    /// What is spoken; the contract's, if there is one.
    #[arg(long, value_enum)]
    pub dialect: Option<DialectName>,
    /// First part of every key; the contract's, if there is one.
    #[arg(long)]
    pub namespace: Option<String>,
    /// Write the contract that attaches to this robot here; the file must not exist.
    #[arg(long)]
    pub write_contract: Option<PathBuf>,
    /// Write every control period of the robot's side here, one JSON object a line; the file must not exist.
    #[arg(long)]
    pub log: Option<PathBuf>,
    /// Rehearse a bad day: a TOML file with `[[faults]]`, each with `from`, `until` (control periods) and `fault`.
    #[arg(long)]
    pub faults: Option<PathBuf>,
}

/// Dialects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum DialectName {
    /// Ours.
    Native,
    /// ROS 2 with rmw_zenoh.
    RmwZenoh,
    /// ROS 2 behind zenoh-bridge-ros2dds.
    Ros2dds,
}

/// Arguments of `record`.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing moves but by the person: take over, drive, and say how it went (y, n); q ends.
Example:
  surefoot record push --robot robot.toml --to driven --operator panel")]
pub struct RecordRobotArgs {
    /// The environment whose task is recorded.
    pub env: String,
    /// Its settings, as in `env.push.max_steps=600`.
    pub overrides: Vec<String>,
    /// The contract (with [link]) of the robot.
    #[arg(long)]
    pub robot: PathBuf,
    /// The recording, a directory; one of the same task goes on.
    #[arg(long)]
    pub to: PathBuf,
    /// Where the person's input comes from.
    #[arg(long, value_enum, default_value = "keyboard")]
    pub operator: OperatorInput,
    /// Episodes, at most.
    #[arg(long, default_value_t = 1000)]
    pub episodes: usize,
    /// First seed of the scenes, where the robot is a simulated one.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// Where a person's input comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OperatorInput {
    /// Nobody is there: a latched stop ends the session.
    #[default]
    None,
    /// This terminal.
    Keyboard,
    /// A panel on the robot's network; needs --robot.
    Panel,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  surefoot rollout runs/push-s0-20260203T040506Z --realtime --record driven
  surefoot replay driven/ticks-0.mcap --against driven")]
pub struct ReplayArgs {
    /// Ticks, from `rollout --ticks`, `rollout --record` or a run with `record_ticks`: MCAP or JSON lines.
    pub ticks: PathBuf,
    /// Record the episodes into this directory.
    #[arg(long)]
    pub record: Option<PathBuf>,
    /// Compare with these recorded episodes; exit code 1 when a single bit differs.
    #[arg(long)]
    pub against: Option<PathBuf>,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run directory.
    pub run: PathBuf,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  surefoot doctor --hz 100,500,1000 --secs 60 --with-learner
  surefoot doctor --robot robot.toml            what is reachable, and what stands against arming")]
pub struct DoctorArgs {
    /// Look at the robot of this contract instead of at this machine: who publishes what, how fast, its clock, and what would stop
    /// you from arming it (exit code 1 if anything does). Nothing is commanded.
    #[arg(long, value_name = "CONTRACT", conflicts_with_all = ["hz", "with_learner"])]
    pub robot: Option<PathBuf>,
    /// Seconds for each rate; how long a robot is listened to.
    #[arg(long, default_value_t = 5)]
    pub secs: u32,
    /// Control rates to try.
    #[arg(long, value_delimiter = ',', default_value = "100,500,1000")]
    pub hz: Vec<u32>,
    /// Keep a learner busy meanwhile, as training beside a robot does.
    #[arg(long)]
    pub with_learner: bool,
}

/// Verbs of `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say whether a file is valid; exit code 2 when it is not.
    Check {
        /// The file.
        file: PathBuf,
        /// Overrides.
        overrides: Vec<String>,
        /// Which kind of file; found out from the file when absent.
        #[arg(long, value_enum)]
        kind: Option<SchemaKind>,
    },
    /// Print the file with every default filled in.
    Show {
        /// The file.
        file: PathBuf,
        /// Overrides.
        overrides: Vec<String>,
        /// Which kind of file; found out from the file when absent.
        #[arg(long, value_enum)]
        kind: Option<SchemaKind>,
    },
    /// Print the JSON schema of a file.
    Schema {
        /// Which kind of file.
        #[arg(value_enum, default_value_t = SchemaKind::Run)]
        kind: SchemaKind,
    },
}

/// Files that have a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaKind {
    /// An experiment (`configs/*.toml`).
    Run,
    /// A robot contract (`configs/robots/*.toml`).
    Robot,
    /// A suite of `surefoot bench` (`configs/bench/*.toml`).
    Bench,
    /// A suite of `surefoot regress` (`configs/suites/*.toml`).
    Suite,
    /// A distillation (`configs/distill/*.toml`).
    Distill,
    /// What `surefoot collect` collects (`configs/ad/*.toml`).
    Collect,
}
