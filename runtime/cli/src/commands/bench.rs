//! `surefoot bench`: learners side by side, over seeds and tasks.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use surefoot_engine::comparison::{Comparison, Contender, page, picture, table};
use surefoot_engine::run_dir::{read_config, read_json, write_atomic};
use surefoot_engine::{Interrupt, Results};

use crate::args::BenchArgs;
use crate::commands::resume;
use crate::commands::train::{Learners, Surroundings, no_actors, on_interrupt, start};
use crate::composition;
use crate::config::{BenchContender, BenchRun, load_bench};
use crate::failure::{CommandResult, Failure, usage};
use crate::output::Output;

/// Runs the verb.
pub fn run(args: &BenchArgs, output: Output) -> CommandResult {
    let (suite, contenders) = load_bench(&args.suite, &args.overrides)?;
    let directory = args.to.clone().unwrap_or_else(|| PathBuf::from("bench").join(&suite.name));
    // All of it is checked before the first run costs time.
    let mut pending = Vec::new();
    for (number, run) in contenders.iter().flat_map(|c| &c.runs).enumerate() {
        let path = directory.join(&run.directory);
        let ours = args.shard.is_none_or(|shard| shard.has(number));
        if ours && results(&path, run)?.is_none_or(|r| !r.finished) {
            no_actors(&run.loaded.config, "learn")?;
            let spec = composition::spec(&run.loaded.config)?;
            Learners::build(&run.loaded.config, &spec)?.check(&run.loaded.config)?;
            pending.push((run, path));
        }
    }
    if !args.report_only {
        let interrupt = on_interrupt()?;
        let count = pending.len();
        for (i, (run, path)) in pending.into_iter().enumerate() {
            output.note(&format!("run {} of {count}: {}", i + 1, run.directory));
            see_through(run, &path, &interrupt, output)?;
        }
    }
    if let Some(shard) = args.shard {
        let again = "when the others are, call it with --report-only";
        output.note(&format!("part {} of {} is through; {again}", shard.index, shard.of));
        return Ok(());
    }
    let comparison =
        Comparison::of(&suite.name, &finished(&contenders, &directory, output)?, suite.comparison)
            .map_err(usage)?;
    let json = serde_json::to_vec_pretty(&comparison)?;
    let table = table(&comparison);
    for (name, bytes) in [
        ("comparison.json", json.as_slice()),
        ("table.md", table.as_bytes()),
        ("report.html", page(&comparison).as_bytes()),
        ("curves.svg", picture(&comparison).as_bytes()),
    ] {
        write_atomic(&directory.join(name), bytes)?;
    }
    if output.json() {
        output.value(&serde_json::json!({ "event": "compared", "comparison": comparison }));
    } else {
        output.text(&table);
    }
    output.note(&format!("report {}", directory.join("report.html").display()));
    Ok(())
}

/// What a run has found so far; none where it was not begun. A run with other settings is another run.
fn results(path: &Path, run: &BenchRun) -> Result<Option<Results>, Failure> {
    if !path.exists() {
        return Ok(None);
    }
    resume::is_run(path)?;
    if read_config(path)? != run.loaded.resolved {
        return Err(usage(anyhow!(
            "{} holds a run with other settings\n\nhint: `surefoot config show` says what they are; compare into another directory with --to, or remove it",
            path.display()
        )));
    }
    let found = path.join("results.json");
    if !found.exists() {
        return Ok(None);
    }
    Ok(Some(read_json(&found, "the results of a run")?))
}

/// Begins a run, or goes on with it.
fn see_through(run: &BenchRun, path: &Path, interrupt: &Interrupt, output: Output) -> CommandResult {
    let surroundings = Surroundings::alone(output);
    let again = |error| match error {
        Failure::Interrupted(_) => {
            Failure::Interrupted(format!("state is saved; the same command goes on with {}", path.display()))
        }
        other => other,
    };
    if path.exists() {
        resume::go_on(path, None, |_| Ok(surroundings), interrupt, output).map_err(again)?;
    } else {
        start(&run.loaded, Path::new(""), Some(path), surroundings, interrupt, output).map_err(again)?;
    }
    Ok(())
}

/// The runs that have come to their end. All of them must have, but for those of a report on the way.
fn finished(
    contenders: &[BenchContender],
    directory: &Path,
    output: Output,
) -> Result<Vec<Contender>, Failure> {
    let mut all = Vec::new();
    for BenchContender { name, runs } in contenders {
        let mut done = Vec::new();
        for run in runs {
            match results(&directory.join(&run.directory), run)? {
                Some(r) if r.finished => done.push(r),
                _ => output.note(&format!("note: {} is not finished and is left out", run.directory)),
            }
        }
        if !done.is_empty() {
            all.push(Contender { name: name.clone(), runs: done });
        }
    }
    Ok(all)
}
