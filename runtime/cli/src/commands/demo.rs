//! `surefoot demo`: the whole journey on the tabletop push task.

use super::demo_adapt;
use crate::args::DemoArgs;
use crate::commands::train::{Surroundings, on_interrupt, start};
use crate::composition::put_aside_if_damaged;
use crate::config;
use crate::failure::CommandResult;
use crate::output::Output;

/// The experiment that the demo runs; it is also a file to learn from.
const CONFIG: &str = include_str!("../../../../configs/push.toml");

/// Runs the verb.
pub fn run(args: &DemoArgs, output: Output) -> CommandResult {
    if args.adapt {
        return demo_adapt::run(args, output);
    }
    let data = args.data.join(format!("push-demonstrations-s{}.hdf5", args.seed));
    let quoted = toml::Value::String(data.display().to_string());
    let mut overrides = vec![format!("seed={}", args.seed), format!("data.0.path={quoted}")];
    overrides.extend(args.overrides.iter().cloned());
    let loaded = config::parse(CONFIG, "configs/push.toml", &overrides)?;
    if let Some((aside, damage)) = put_aside_if_damaged(&data)? {
        output.note(&format!("{damage}\nwarning: kept as {}, recording anew", aside.display()));
    }
    start(&loaded, &args.runs, None, Surroundings::alone(output), &on_interrupt()?, output)?.print(output);
    Ok(())
}
