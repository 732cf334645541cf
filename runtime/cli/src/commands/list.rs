//! `surefoot list`: what is built in, or in a model's file.

use anyhow::anyhow;
use serde::Serialize;
use surefoot_core::{FamilyTask, TaskSplit};
use surefoot_datasets::FORMATS;
use surefoot_datasets::history::HISTORY_FORMATS;
use surefoot_policies::{LearnerConfig, SourceConfig};
use surefoot_sim::{DemonstratorConfig, FamilyConfig, FamilyContext, Model};

use crate::args::{ListArgs, ListCommand};
use crate::config::EnvConfig;
use crate::failure::CommandResult;
use crate::output::Output;

/// Episodes, counted from 1, that the share of random search is given for.
const EPISODES: [usize; 7] = [1, 5, 10, 20, 40, 100, 200];

/// Prints the registries, what is in a file, or what returns are to be compared with.
pub fn run(args: &ListArgs, output: Output) -> CommandResult {
    let ListArgs { what, references: asked } = args;
    if let Some(ListCommand::Model { file }) = what {
        let report = Model::read(file)?.report();
        if output.json() {
            output.value(&serde_json::json!({ "event": "model", "report": report }));
        } else {
            output.text(&report.to_string());
        }
        return Ok(());
    }
    if *asked {
        return references(output);
    }
    let formats: Vec<&str> = FORMATS.iter().map(|f| f.name).collect();
    let histories: Vec<&str> = HISTORY_FORMATS.iter().map(|f| f.name).collect();
    let envs = EnvConfig::names();
    let registries: [(&str, &[&str]); 7] = [
        ("learners", LearnerConfig::NAMES),
        ("environments", &envs),
        ("demonstrators", DemonstratorConfig::NAMES),
        ("formats", &formats),
        ("histories", &histories),
        ("families", FamilyConfig::NAMES),
        ("sources", SourceConfig::NAMES),
    ];
    if output.json() {
        let all: serde_json::Map<String, serde_json::Value> =
            registries.iter().map(|(kind, names)| ((*kind).to_owned(), serde_json::json!(names))).collect();
        output.value(&all);
    } else {
        for (kind, names) in registries {
            output.line(&format!("{kind:14} {}", names.join(" ")));
        }
    }
    Ok(())
}

/// What returns in a family are to be compared with.
#[derive(Serialize)]
struct References {
    family: &'static str,
    /// Tasks of each split.
    tasks: [usize; 3],
    /// Mean over all tasks.
    random_return: f64,
    /// Likewise.
    optimal_return: f64,
    /// Share of the optimal return, at [`EPISODES`].
    random_search: Option<Vec<f32>>,
}

fn references(output: Output) -> CommandResult {
    let mut lines = Vec::new();
    for name in FamilyConfig::NAMES {
        let config = FamilyConfig::default_of(name).ok_or_else(|| anyhow!("no defaults for {name}"))?;
        let family = config.build(&FamilyContext {})?;
        let splits = TaskSplit::ALL.map(|split| family.tasks(split));
        let all: Vec<&FamilyTask> = splits.iter().flatten().collect();
        let mean =
            |of: fn(&FamilyTask) -> f32| all.iter().map(|t| f64::from(of(t))).sum::<f64>() / all.len() as f64;
        let at = |ceiling: Vec<f32>| EPISODES.iter().filter_map(|e| ceiling.get(e - 1).copied()).collect();
        lines.push(References {
            family: name,
            tasks: splits.each_ref().map(Vec::len),
            random_return: mean(|t| t.random_return),
            optimal_return: mean(|t| t.optimal_return),
            random_search: family.search_ceiling().map(at),
        });
    }
    if output.json() {
        lines.iter().for_each(|line| output.value(line));
        return Ok(());
    }
    let episodes: Vec<String> = EPISODES.iter().map(|e| format!("{:>6}", format!("ep {e}"))).collect();
    output.line(&format!(
        "{:19} {:>14} {:>8} {:>8}  random search, share of optimal\n{:52}  {}",
        "family",
        "tasks",
        "random",
        "optimal",
        "",
        episodes.join(" ")
    ));
    for line in lines {
        let References { family, tasks, random_return, optimal_return, random_search } = line;
        let tasks = tasks.map(|n| n.to_string()).join("+");
        let shares = random_search.map_or_else(
            || "-".to_owned(),
            |shares| shares.iter().map(|s| format!("{s:6.3}")).collect::<Vec<_>>().join(" "),
        );
        output.line(&format!("{family:19} {tasks:>14} {random_return:8.3} {optimal_return:8.3}  {shares}"));
    }
    Ok(())
}
