//! `surefoot export`: a trained policy for other runtimes.

use anyhow::anyhow;
use surefoot_policies::onnx;

use crate::args::ExportArgs;
use crate::commands::eval;
use crate::failure::{CommandResult, usage};
use crate::new_file::NewFile;
use crate::output::Output;

/// Runs the verb.
pub fn run(args: &ExportArgs, output: Output) -> CommandResult {
    if args.to.extension().is_none_or(|e| e != "onnx") {
        return Err(usage(anyhow!(
            "--to {}: expected a name that ends in .onnx\n\nhint: policy.safetensors in a checkpoint is read by Python as it is",
            args.to.display()
        )));
    }
    let (artifact, _) = eval::read_policy(&args.policy)?;
    let model = onnx::to_onnx(&artifact)?;
    let path = NewFile::create(&args.to)?.write_whole(&model)?;
    output.written("model", &path);
    output.note(
        "note: the model has no safety chain; what acts on a robot by it needs limits of its own (docs/exporting.md)",
    );
    Ok(())
}
