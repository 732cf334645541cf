//! `surefoot config check|show|schema`.

use surefoot_core::RobotContract;

use crate::args::{ConfigCommand, SchemaKind};
use crate::commands::train::Learners;
use crate::composition;
use crate::config::{self, RunConfig};
use crate::failure::{CommandResult, usage};
use crate::output::Output;

/// Runs the verb.
pub fn run(command: &ConfigCommand, output: Output) -> CommandResult {
    match command {
        ConfigCommand::Check { file, overrides, kind } => {
            match kind {
                SchemaKind::Run => check_run(&config::load(file, overrides)?.config)?,
                SchemaKind::Robot => check_robot(&RobotContract::read(file).map_err(usage)?)?,
            }
            if output.json() {
                output.value(&serde_json::json!({ "event": "checked", "path": file, "valid": true }));
            } else {
                output.note(&format!("{}: valid", file.display()));
            }
        }
        ConfigCommand::Show { file, overrides } => {
            let loaded = config::load(file, overrides)?;
            if output.json() {
                output.value(&loaded.config);
            } else {
                output.text(&loaded.resolved);
            }
        }
        ConfigCommand::Schema { kind } => {
            let text = schema(*kind)?;
            if output.json() {
                output.value(&serde_json::from_str::<serde_json::Value>(&text)?);
            } else {
                output.text(&text);
            }
        }
    }
    Ok(())
}

/// Looks at the import section as well, where there is one.
fn check_robot(contract: &RobotContract) -> CommandResult {
    if contract.import.is_some() {
        surefoot_datasets::import::Plan::new(contract).map_err(usage)?;
    }
    Ok(())
}

/// Builds what can be built without data: the world, the learners.
fn check_run(config: &RunConfig) -> CommandResult {
    if config.env.is_none() {
        // Recordings say what a learner is built for; they are looked at when the run begins.
        return Ok(());
    }
    let spec = composition::spec(config)?;
    Learners::build(config, &spec)?.check(config)
}

/// The JSON schema of a kind of file, as it is checked in under `configs/schema/`.
pub fn schema(kind: SchemaKind) -> Result<String, serde_json::Error> {
    let schema = match kind {
        SchemaKind::Run => schemars::schema_for!(RunConfig),
        SchemaKind::Robot => schemars::schema_for!(RobotContract),
    };
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checked_in_schemas_are_those_of_the_code() {
        for (kind, name) in [(SchemaKind::Run, "run"), (SchemaKind::Robot, "robot")] {
            let path = format!("{}/../../configs/schema/{name}.json", env!("CARGO_MANIFEST_DIR"));
            let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                checked_in == schema(kind).unwrap(),
                "{path} is stale: run `cargo run -- config schema {name} > configs/schema/{name}.json`"
            );
        }
    }

    #[test]
    fn every_config_file_is_valid() {
        let directory = format!("{}/../../configs", env!("CARGO_MANIFEST_DIR"));
        let mut checked = 0;
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "toml") {
                let loaded = config::load(&path, &[]);
                assert!(loaded.is_ok(), "{}: {:?}", path.display(), loaded.err());
                checked += 1;
            }
        }
        assert!(checked > 0);
    }
}
