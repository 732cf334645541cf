//! `surefoot list`: what is built in.

use surefoot_datasets::FORMATS;
use surefoot_policies::LearnerConfig;
use surefoot_sim::DemonstratorConfig;

use crate::config::EnvConfig;
use crate::failure::CommandResult;
use crate::output::Output;

/// Prints the registries.
pub fn run(output: Output) -> CommandResult {
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
