//! `surefoot list`: what is built in, or in a model's file.

use surefoot_datasets::FORMATS;
use surefoot_policies::LearnerConfig;
use surefoot_sim::{DemonstratorConfig, Model};

use crate::args::ListCommand;
use crate::config::EnvConfig;
use crate::failure::CommandResult;
use crate::output::Output;

/// Prints the registries, or what is in a file.
pub fn run(what: Option<&ListCommand>, output: Output) -> CommandResult {
    if let Some(ListCommand::Model { file }) = what {
        let report = Model::read(file)?.report();
        if output.json() {
            output.value(&serde_json::json!({ "event": "model", "report": report }));
        } else {
            output.text(&report.to_string());
        }
        return Ok(());
    }
    let formats: Vec<&str> = FORMATS.iter().map(|f| f.name).collect();
    let envs = EnvConfig::names();
    let registries: [(&str, &[&str]); 4] = [
        ("learners", LearnerConfig::NAMES),
        ("environments", &envs),
        ("demonstrators", DemonstratorConfig::NAMES),
        ("formats", &formats),
    ];
    if output.json() {
        output.value(&serde_json::json!({
            "learners": registries[0].1, "environments": registries[1].1,
            "demonstrators": registries[2].1, "formats": registries[3].1,
        }));
    } else {
        for (kind, names) in registries {
            output.line(&format!("{kind:14} {}", names.join(" ")));
        }
    }
    Ok(())
}
