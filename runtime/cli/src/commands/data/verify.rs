//! `surefoot data verify`.

use anyhow::anyhow;
use surefoot_core::RobotContract;
use surefoot_datasets::{JointActions, LINTS, Severity, VerifyOptions, verify_with};

use super::{each, print};
use crate::args::VerifyArgs;
use crate::config::nearest;
use crate::failure::{CommandResult, usage};
use crate::output::Output;

/// Runs the verb.
pub(super) fn run(args: &VerifyArgs, output: Output) -> CommandResult {
    if args.lints {
        list(output);
        return Ok(());
    }
    if let Some(name) = args.allow.iter().find(|name| LINTS.iter().all(|l| l.name != **name)) {
        let hint = nearest(name, LINTS.iter().map(|l| l.name))
            .map_or(String::new(), |n| format!("\n\nhint: did you mean `{n}`?"));
        return Err(usage(anyhow!("--allow {name}: no finding has this name (see --lints){hint}")));
    }
    if !(0.0..=1.0).contains(&args.max_changed) {
        return Err(usage(anyhow!("--max-changed {}: expected a share from 0 to 1", args.max_changed)));
    }
    let contract = args.robot.as_deref().map(RobotContract::read).transpose().map_err(usage)?;
    let options = VerifyOptions {
        allow: args.allow.clone(),
        deny_warnings: args.deny_warnings,
        robot: contract.as_ref(),
        actions: args.actions.as_deref().map(|actions| match actions {
            "positions" => JointActions::Positions,
            _ => JointActions::Velocities,
        }),
        max_changed_share: Some(args.max_changed),
    };
    each(&args.files, args.format.as_deref(), |path, open| {
        let report = verify_with(path, open, &options);
        print(&report, output);
        Ok(report.passed())
    })
}

/// The names of all findings.
fn list(output: Output) {
    if output.json() {
        output.value(&LINTS);
        return;
    }
    for lint in LINTS {
        let severity = match lint.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        output.line(&format!("{:26} {severity:8} {}", lint.name, lint.summary));
    }
}
