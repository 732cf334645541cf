//! `surefoot config check|show|schema`.

use surefoot_core::RobotContract;

use crate::args::{ConfigCommand, SchemaKind};
use crate::config::{self, RunConfig};
use crate::failure::{CommandResult, usage};
use crate::output::Output;

/// Runs the verb.
pub fn run(command: &ConfigCommand, output: Output) -> CommandResult {
    match command {
        ConfigCommand::Check { file, overrides, kind } => {
            match kind {
                SchemaKind::Run => drop(config::load(file, overrides)?),
                SchemaKind::Robot => drop(RobotContract::read(file).map_err(usage)?),
            }
            output.note(&format!("{}: valid", file.display()));
        }
        ConfigCommand::Show { file, overrides } => {
            output.text(&config::load(file, overrides)?.resolved);
        }
        ConfigCommand::Schema { kind } => output.text(&schema(*kind)?),
    }
    Ok(())
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
