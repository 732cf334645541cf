//! `surefoot config check|show|schema`.

use std::path::Path;

use anyhow::{Context, anyhow};
use surefoot_core::RobotContract;

use crate::args::{ConfigCommand, SchemaKind};
use crate::commands::train::Learners;
use crate::commands::{collect, distill};
use crate::composition;
use crate::config::{self, BenchConfig, CollectConfig, DistillConfig, RunConfig, SuiteConfig};
use crate::failure::{CommandResult, Failure, usage};
use crate::output::Output;

/// Runs the verb.
pub fn run(command: &ConfigCommand, output: Output) -> CommandResult {
    match command {
        ConfigCommand::Check { file, overrides, kind } => {
            match kind_of(file, *kind) {
                SchemaKind::Run => check_run(&config::load(file, overrides)?.config)?,
                SchemaKind::Robot => check_robot(&robot(file, overrides)?)?,
                SchemaKind::Suite => check_suite(file, overrides)?,
                SchemaKind::Distill => distill::check(file, overrides)?,
                SchemaKind::Collect => {
                    collect::build(&config::load_collect(file, overrides)?.0)?;
                }
                SchemaKind::Bench => {
                    let (_, contenders) = config::load_bench(file, overrides)?;
                    for run in contenders.iter().flat_map(|c| &c.runs) {
                        check_run(&run.loaded.config)?;
                    }
                }
            }
            if output.json() {
                output.value(&serde_json::json!({ "event": "checked", "path": file, "valid": true }));
            } else {
                output.note(&format!("{}: valid", file.display()));
            }
        }
        ConfigCommand::Show { file, overrides, kind } if kind_of(file, *kind) == SchemaKind::Robot => {
            let contract = robot(file, overrides)?;
            if output.json() {
                output.value(&contract);
            } else {
                output.text(&toml::to_string_pretty(&contract).context("cannot write the contract")?);
                output.note(&format!("hash {}", contract.hash()));
                if let Some(hash) = contract.import_hash() {
                    output.note(&format!("import hash {hash}"));
                }
            }
        }
        ConfigCommand::Show { file, overrides, kind } if kind_of(file, *kind) == SchemaKind::Bench => {
            let (suite, _) = config::load_bench(file, overrides)?;
            if output.json() {
                output.value(&suite);
            } else {
                output.text(&toml::to_string_pretty(&suite).context("cannot write the suite")?);
            }
        }
        ConfigCommand::Show { file, overrides, kind } if kind_of(file, *kind) == SchemaKind::Suite => {
            no_overrides(file, overrides)?;
            let suite = config::load_suite(file)?;
            if output.json() {
                output.value(&suite);
            } else {
                output.text(&toml::to_string_pretty(&suite).context("cannot write the suite")?);
            }
        }
        ConfigCommand::Show { file, overrides, kind } if kind_of(file, *kind) == SchemaKind::Distill => {
            let distillation = config::load_distill(file, overrides)?.config;
            if output.json() {
                output.value(&distillation);
            } else {
                output.text(&toml::to_string_pretty(&distillation).context("cannot write the distillation")?);
            }
        }
        ConfigCommand::Show { file, overrides, kind } if kind_of(file, *kind) == SchemaKind::Collect => {
            let (collect, resolved) = config::load_collect(file, overrides)?;
            if output.json() {
                output.value(&collect);
            } else {
                output.text(&resolved);
            }
        }
        ConfigCommand::Show { file, overrides, .. } => {
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

/// What a file is, where nobody says it: a robot has joints, a bench has contenders, a suite has scenarios, a distillation has histories, what
/// is collected is of a family, and an experiment has none of them.
fn kind_of(file: &Path, stated: Option<SchemaKind>) -> SchemaKind {
    stated.unwrap_or_else(|| {
        let table = std::fs::read_to_string(file).ok().and_then(|text| text.parse::<toml::Table>().ok());
        let has = |key: &str| table.as_ref().is_some_and(|t| t.contains_key(key) && !t.contains_key("phase"));
        match (has("joints"), has("contender"), has("scenario"), has("histories"), has("family")) {
            (true, ..) => SchemaKind::Robot,
            (_, true, ..) => SchemaKind::Bench,
            (_, _, true, ..) => SchemaKind::Suite,
            (.., true, _) => SchemaKind::Distill,
            (.., true) => SchemaKind::Collect,
            _ => SchemaKind::Run,
        }
    })
}

fn robot(file: &Path, overrides: &[String]) -> Result<RobotContract, Failure> {
    if !overrides.is_empty() {
        return Err(usage(anyhow!("{}: a robot contract takes no overrides", file.display())));
    }
    RobotContract::read(file).map_err(usage)
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

fn no_overrides(file: &Path, overrides: &[String]) -> CommandResult {
    match overrides {
        [] => Ok(()),
        _ => Err(usage(anyhow!("{}: a suite of regressions takes no overrides", file.display()))),
    }
}

/// Builds what the suite names, and runs nothing.
fn check_suite(file: &Path, overrides: &[String]) -> CommandResult {
    no_overrides(file, overrides)?;
    composition::check_suite(&composition::regression_suite(&config::load_suite(file)?, file)?)
}

/// The JSON schema of a kind of file, as it is checked in under `configs/schema/`.
pub fn schema(kind: SchemaKind) -> Result<String, serde_json::Error> {
    let schema = match kind {
        SchemaKind::Run => schemars::schema_for!(RunConfig),
        SchemaKind::Robot => schemars::schema_for!(RobotContract),
        SchemaKind::Bench => schemars::schema_for!(BenchConfig),
        SchemaKind::Suite => schemars::schema_for!(SuiteConfig),
        SchemaKind::Distill => schemars::schema_for!(DistillConfig),
        SchemaKind::Collect => schemars::schema_for!(CollectConfig),
    };
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checked_in_schemas_are_those_of_the_code() {
        for (kind, name) in [
            (SchemaKind::Run, "run"),
            (SchemaKind::Robot, "robot"),
            (SchemaKind::Bench, "bench"),
            (SchemaKind::Suite, "suite"),
            (SchemaKind::Distill, "distill"),
            (SchemaKind::Collect, "collect"),
        ] {
            let path = format!("{}/../../configs/schema/{name}.json", env!("CARGO_MANIFEST_DIR"));
            let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                checked_in == schema(kind).unwrap(),
                "{path} is stale: run `cargo run -- config schema {name} > configs/schema/{name}.json`"
            );
        }
    }

    #[test]
    fn robot_contracts_are_shown_whole_and_read_back_as_they_are() {
        let directory = format!("{}/../../configs/robots", env!("CARGO_MANIFEST_DIR"));
        let mut shown = 0;
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(kind_of(&path, None), SchemaKind::Robot, "{}", path.display());
            let contract = robot(&path, &[]).unwrap();
            check_robot(&contract).unwrap();
            let text = toml::to_string_pretty(&contract).unwrap();
            let again = RobotContract::parse(&text, &path).unwrap();
            assert_eq!((again.hash(), &again), (contract.hash(), &contract));
            assert!(text.contains("scaling = "), "a default is filled in: {text}");
            shown += 1;
        }
        assert!(shown > 0);
        let run = format!("{}/../../configs/push.toml", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(kind_of(Path::new(&run), None), SchemaKind::Run);
        assert!(robot(Path::new(&run), &["name=x".into()]).is_err());
    }

    #[test]
    fn every_suite_is_valid() {
        let directory = format!("{}/../../configs/bench", env!("CARGO_MANIFEST_DIR"));
        let mut checked = 0;
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(kind_of(&path, None), SchemaKind::Bench, "{}", path.display());
            let loaded = config::load_bench(&path, &[]);
            assert!(loaded.is_ok(), "{}: {:?}", path.display(), loaded.err());
            checked += 1;
        }
        assert!(checked > 0);
    }

    #[test]
    fn every_distillation_is_valid() {
        let directory = format!("{}/../../configs/distill", env!("CARGO_MANIFEST_DIR"));
        let mut checked = 0;
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(kind_of(&path, None), SchemaKind::Distill, "{}", path.display());
            let checking = distill::check(&path, &[]);
            assert!(checking.is_ok(), "{}: {:?}", path.display(), checking.err());
            checked += 1;
        }
        assert!(checked > 0);
    }

    #[test]
    fn every_suite_of_regressions_is_valid() {
        let directory = format!("{}/../../configs/suites", env!("CARGO_MANIFEST_DIR"));
        let mut checked = 0;
        for path in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if path.extension().is_some_and(|e| e == "toml") {
                assert_eq!(kind_of(&path, None), SchemaKind::Suite, "{}", path.display());
                let found = check_suite(&path, &[]);
                assert!(found.is_ok(), "{}: {:?}", path.display(), found.err());
                checked += 1;
            }
        }
        assert!(checked > 0);
    }

    #[test]
    fn every_collection_is_valid() {
        let directory = format!("{}/../../configs/ad", env!("CARGO_MANIFEST_DIR"));
        let mut checked = 0;
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(kind_of(&path, None), SchemaKind::Collect, "{}", path.display());
            let loaded = config::load_collect(&path, &[]).and_then(|(c, _)| collect::build(&c));
            assert!(loaded.is_ok(), "{}: {:?}", path.display(), loaded.err());
            checked += 1;
        }
        assert!(checked > 0);
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
