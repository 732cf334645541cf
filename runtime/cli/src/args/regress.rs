//! Arguments of `regress`.

use std::path::PathBuf;

use clap::Args;
use surefoot_engine::Shard;

/// Arguments of `regress`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 passed, 1 regressed, 4 inconclusive (too few episodes), 5 not comparable (contract, scenario or target of the
golden file differs, or there is none). A single limit violation is a regression.
Episodes that were run stay under --to: an interrupted suite goes on with the same command, and one that was run by the
same program with the same settings costs nothing.
Examples:
  surefoot regress configs/suites/surefoot.toml                     is it what it was?
  surefoot regress configs/suites/surefoot.toml --bless             what it is now is right: golden files and their diff
  surefoot regress big.toml --shard 2/4 --to part2                  one of four machines, and when all are through:
  surefoot regress big.toml --merge part1 part2 part3 part4 --junit junit.xml --markdown summary.md")]
pub struct RegressArgs {
    /// The suite, a TOML file: scenarios and how each is judged.
    pub suite: PathBuf,
    /// Make golden what comes out now, and say what that changes.
    #[arg(long, conflicts_with_all = ["shard", "merge"])]
    pub bless: bool,
    /// Run one of n parts, such as 2/4, and judge nothing: for --merge.
    #[arg(long, value_name = "I/N", conflicts_with = "merge")]
    pub shard: Option<Shard>,
    /// Take the episodes of these directories, and run none.
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub merge: Vec<PathBuf>,
    /// Only the scenarios whose name contains this.
    #[arg(long, value_name = "PART")]
    pub only: Option<String>,
    /// Episodes at once, at most; by default as many as there are cores. Changes nothing but the time it takes.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Where episodes, report.json, report.html, report.md and junit.xml stand; by default regress/NAME.
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Write the JUnit XML here as well.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write the Markdown here as well.
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
}
