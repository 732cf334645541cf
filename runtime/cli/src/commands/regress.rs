//! `surefoot regress`: is what runs now what ran before, or at least not worse?

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use surefoot_core::clock::Stopwatch;
use surefoot_engine::EngineError;
use surefoot_engine::regression::{self, Judged, Role, Runner, Suite, Told, Verdict};
use surefoot_engine::run_dir::write_atomic;

use crate::args::RegressArgs;
use crate::commands::train::on_interrupt;
use crate::composition;
use crate::config::load_suite;
use crate::failure::{CommandResult, Failure, usage};
use crate::output::Output;

/// Runs the verb.
pub fn run(args: &RegressArgs, output: Output) -> CommandResult {
    let RegressArgs { suite, bless, shard, merge, only, threads, to, junit, markdown } = args;
    let config = load_suite(suite)?;
    let mut suite = composition::regression_suite(&config, suite)?;
    if let Some(only) = only {
        suite.scenarios.retain(|s| s.name.contains(only.as_str()));
        if suite.scenarios.is_empty() {
            let names: Vec<&str> = config.scenario.iter().map(|s| s.name.as_str()).collect();
            return Err(usage(anyhow!("--only {only}: expected part of one of {}", names.join(", "))));
        }
    }
    composition::check_suite(&suite)?;
    let directory = to.clone().unwrap_or_else(|| PathBuf::from("regress").join(&suite.name));
    // A directory that cannot be written to is known before the first episode costs time.
    std::fs::create_dir_all(&directory).with_context(|| {
        format!("cannot create {}\n\nhint: choose another with --to", directory.display())
    })?;
    write_atomic(&directory.join("suite.toml"), toml::to_string_pretty(&config)?.as_bytes())?;
    if let Some(missing) = merge.iter().find(|d| !d.join("episodes").is_dir()) {
        return Err(usage(anyhow!(
            "--merge {}: expected a directory with episodes of a suite",
            missing.display()
        )));
    }
    let interrupt = on_interrupt()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let program = program_hash()?;
    let stopwatch = Stopwatch::start();
    let mut ran = 0;
    let mut told = |told: Told<'_>| tell(told, &mut ran, output);
    let mut runner = Runner {
        directory: &directory,
        merged: merge,
        threads: threads.map_or(cores, usize::from),
        program: &program,
        interrupt: &interrupt,
        told: &mut told,
    };
    let again = |error: EngineError| match error {
        EngineError::Interrupted => Failure::Interrupted("the same command goes on from here".into()),
        other => other.into(),
    };
    if let Some(shard) = shard {
        let blocks = runner.shard(&suite.scenarios, *shard).map_err(again)?;
        output.note(&format!(
            "part {} of {} is in {}: {blocks} blocks",
            shard.index,
            shard.of,
            directory.display()
        ));
        return Ok(());
    }
    let judged = suite.judge(&mut runner, *bless, &composition::version()).map_err(again)?;
    output.note(&format!("{ran} episodes run in {:.1} s", stopwatch.elapsed().as_secs_f64()));
    write_reports(&judged, &directory, [junit.as_deref(), markdown.as_deref()])?;
    say(&judged, &suite, &directory, *bless, output)
}

fn tell(told: Told<'_>, ran: &mut usize, output: Output) {
    match told {
        Told::Block { scenario, role, episodes, kept } => {
            if !kept {
                let before = (episodes - 1) / regression::BLOCK * regression::BLOCK;
                *ran += episodes - before;
            }
            let side = if role == Role::Baseline { " (baseline)" } else { "" };
            let kept = if kept { ", kept" } else { "" };
            output.note(&format!("{scenario}{side}: {episodes} episodes{kept}"));
            if output.json() {
                let side = role.name();
                output.value(&serde_json::json!({ "event": "episodes", "scenario": scenario, "side": side, "episodes": episodes }));
            }
        }
        Told::Note(text) => output.note(&format!("note: {text}")),
    }
}

/// Another build is another program: its episodes are not this one's.
fn program_hash() -> Result<String, Failure> {
    let path = std::env::current_exe().context("cannot find this program")?;
    let mut hasher = blake3::Hasher::new();
    let file = std::fs::File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    std::io::copy(&mut std::io::BufReader::with_capacity(1 << 20, file), &mut hasher)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn write_reports(judged: &Judged, directory: &Path, also: [Option<&Path>; 2]) -> CommandResult {
    let junit = regression::junit(&judged.report)?;
    let markdown = regression::markdown(&judged.report);
    let mut json = serde_json::to_vec_pretty(&judged.report)?;
    json.push(b'\n');
    let page = regression::page(judged)?;
    for (name, bytes) in [
        ("report.json", json.as_slice()),
        ("report.html", page.as_bytes()),
        ("report.md", markdown.as_bytes()),
        ("junit.xml", junit.as_bytes()),
    ] {
        write_atomic(&directory.join(name), bytes)?;
    }
    for (path, text) in also.into_iter().zip([&junit, &markdown]) {
        if let Some(path) = path {
            write_atomic(path, text.as_bytes())?;
        }
    }
    Ok(())
}

fn say(judged: &Judged, suite: &Suite, directory: &Path, bless: bool, output: Output) -> CommandResult {
    let report = &judged.report;
    if output.json() {
        output.value(&serde_json::json!({ "event": "regression", "report": report }));
    } else {
        output.text(&regression::terminal(report));
    }
    output.note(&format!("report {}", directory.join("report.html").display()));
    if bless {
        output.note(&format!("golden files {}", suite.golden.display()));
    }
    let what = format!("{}: {}", report.name, report.words());
    match report.verdict {
        Verdict::Passed => Ok(()),
        Verdict::Regressed => Err(anyhow!("regressed: {what}").into()),
        Verdict::Inconclusive => Err(Failure::Inconclusive(what)),
        Verdict::NotComparable => Err(Failure::NotComparable(what)),
    }
}
