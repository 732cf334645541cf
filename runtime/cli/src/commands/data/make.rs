//! `surefoot data convert|merge|split|filter`: other datasets out of what there is.

use std::path::Path;

use anyhow::anyhow;
use surefoot_core::EpisodeSource;
use surefoot_datasets::history::{
    HISTORY_FORMATS, HistoryFormat, ImportedHistories, WrittenHistories, history_format, import_histories,
};
use surefoot_datasets::{FORMATS, Filter, Stoppable, Subset, Written};
use surefoot_engine::Interrupt;

use super::import::{say_leftovers, stopped};
use super::read_as;
use crate::args::{ConvertArgs, FilterArgs, SplitArgs};
use crate::commands::train::on_interrupt;
use crate::failure::{CommandResult, usage};
use crate::output::Output;

/// One dataset, or several as one, in another format.
pub fn convert(args: &ConvertArgs, output: Output) -> CommandResult {
    let ConvertArgs { files, to, to_format, format } = args;
    if let Some(layout) = HISTORY_FORMATS.iter().find(|f| Some(f.name) == format.as_deref()) {
        return histories(layout, args, output);
    }
    match surefoot_datasets::open_files(files, &read_as(format.as_deref())?) {
        Ok(source) => write(&*source, to_format.as_deref(), to, &on_interrupt()?, output),
        Err(error) => {
            let layout = files.first().filter(|_| format.is_none());
            // What it is not is said in the words of those who looked first.
            match layout.and_then(|path| history_format(path, None).ok().flatten()) {
                Some(layout) => histories(layout, args, output),
                None => Err(error.into()),
            }
        }
    }
}

/// Learning histories of another project, as ours.
fn histories(layout: &'static HistoryFormat, args: &ConvertArgs, output: Output) -> CommandResult {
    let ConvertArgs { files, to, to_format, format: _ } = args;
    if let Some(asked) = to_format {
        return Err(usage(anyhow!(
            "--as {asked:?}: {} files hold learning histories, which are written in one format alone; leave it out",
            layout.name
        )));
    }
    say_leftovers(to, output);
    let interrupt = on_interrupt()?;
    let imported = import_histories(layout, files, to, &|| interrupt.requested()).map_err(stopped)?;
    let ImportedHistories { format, written, notes } = imported;
    let WrittenHistories { path, bytes, hash, histories, steps } = written;
    if output.json() {
        output.value(&serde_json::json!({
            "event": "written", "what": "histories", "path": path, "format": format, "bytes": bytes,
            "blake3": hash, "histories": histories, "steps": steps, "notes": notes,
        }));
        return Ok(());
    }
    for note in &notes {
        output.note(&format!("note: {note}"));
    }
    output.line(&format!("{}: {histories} histories, {steps} steps, from {format}", path.display()));
    Ok(())
}

/// Two datasets of whole episodes.
pub fn split(args: &SplitArgs, output: Output) -> CommandResult {
    let SplitArgs { file, train, valid, valid_share, seed, to_format, format } = args;
    if !(*valid_share > 0.0 && *valid_share < 1.0) {
        return Err(usage(anyhow!("--valid-share {valid_share}: expected more than 0 and less than 1")));
    }
    let source = surefoot_datasets::open_with(file, &read_as(format.as_deref())?)?;
    if source.len() < 2 {
        return Err(anyhow!("{}: {} episodes cannot be divided in two", file.display(), source.len()).into());
    }
    // Before the first half is written: a half alone is no split.
    if let Some(there) = [train, valid].into_iter().find(|path| path.exists()) {
        let hint = "hint: choose another name";
        return Err(anyhow!("{} exists and is not overwritten\n\n{hint}", there.display()).into());
    }
    let (first, second) = surefoot_datasets::divide(&*source, *valid_share, *seed)?;
    let interrupt = on_interrupt()?;
    write(&first, to_format.as_deref(), train, &interrupt, output)?;
    write(&second, to_format.as_deref(), valid, &interrupt, output)
}

/// The episodes for which everything asked for holds.
pub fn filter(args: &FilterArgs, output: Output) -> CommandResult {
    let FilterArgs {
        file,
        to,
        mask,
        success,
        source,
        interventions,
        min_steps,
        max_steps,
        min_return,
        max_return,
        finite,
        to_format,
        format,
    } = args;
    let filter = Filter {
        mask: mask.clone(),
        success: *success,
        source: source.clone(),
        interventions: *interventions,
        min_steps: *min_steps,
        max_steps: *max_steps,
        min_return: *min_return,
        max_return: *max_return,
        finite: *finite,
    };
    let source = surefoot_datasets::open_with(file, &read_as(format.as_deref())?)?;
    let taken = surefoot_datasets::select(&*source, &filter)?;
    if taken.is_empty() {
        let all = source.len();
        return Err(
            anyhow!("{}: none of {all} episodes is taken; nothing was written", file.display()).into()
        );
    }
    write(&Subset::new(&*source, taken)?, to_format.as_deref(), to, &on_interrupt()?, output)
}

/// The format that was asked for, or the one that the name of the target ends in, or the native one.
pub fn format_of<'a>(asked: Option<&'a str>, to: &Path) -> &'a str {
    let extension = to.extension().map(|e| e.to_string_lossy().to_lowercase());
    let named = FORMATS.iter().find(|f| f.write.is_some() && extension.as_deref() == Some(f.name));
    asked.or_else(|| named.map(|f| f.name)).unwrap_or("robomimic")
}

fn write(
    source: &dyn EpisodeSource,
    format: Option<&str>,
    to: &Path,
    interrupt: &Interrupt,
    output: Output,
) -> CommandResult {
    let format = format_of(format, to);
    let writable: Vec<&str> = FORMATS.iter().filter(|f| f.write.is_some()).map(|f| f.name).collect();
    if !writable.contains(&format) {
        return Err(usage(anyhow!("--as {format:?}: expected one of {}", writable.join(", "))));
    }
    say_leftovers(to, output);
    let stop = || interrupt.requested();
    let written = surefoot_datasets::convert(&Stoppable::new(source, &stop), format, to).map_err(stopped)?;
    let Written { path, bytes, hash, episodes, steps, lost } = written;
    if output.json() {
        output.value(&serde_json::json!({
            "event": "written", "what": "dataset", "path": path, "format": format, "bytes": bytes,
            "blake3": hash, "episodes": episodes, "steps": steps, "lost": lost,
        }));
        return Ok(());
    }
    for note in &source.meta().notes {
        output.note(&format!("note: {note}"));
    }
    for lost in &lost {
        output.note(&format!("note: {format} cannot hold {lost}"));
    }
    output.line(&format!("{}: {episodes} episodes, {steps} steps, {format}", path.display()));
    Ok(())
}
