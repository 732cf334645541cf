//! `surefoot data play`: an episode to look at.

use anyhow::anyhow;
use surefoot_core::{DatasetMeta, Episode};
use surefoot_engine::report::{EpisodeChannel, episode_page};

use super::read_as;
use crate::args::PlayArgs;
use crate::failure::{CommandResult, usage};
use crate::new_file::NewFile;
use crate::output::Output;

/// From low to high.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Runs the verb.
pub fn run(args: &PlayArgs, output: Output) -> CommandResult {
    let PlayArgs { file, episode: index, channel, html, width, format } = args;
    if !(8..=1000).contains(width) {
        return Err(usage(anyhow!("--width {width}: expected 8 to 1000")));
    }
    let source = surefoot_datasets::open_with(file, &read_as(format.as_deref())?)?;
    if *index >= source.len() {
        let all = source.len();
        return Err(anyhow!("{}: there is no episode {index}: it has {all}", file.display()).into());
    }
    let episode = source.episode(*index)?;
    let mut channels = channels(source.meta(), &episode);
    if let Some(part) = channel {
        channels.retain(|c| c.name.contains(part.as_str()));
        if channels.is_empty() {
            return Err(anyhow!("{}: no channel has {part:?} in its name", file.display()).into());
        }
    }
    let title = format!("{} of {}", episode.name, file.display());
    if let Some(path) = html {
        let page = episode_page(&title, &summary(&episode), &channels, &episode);
        let path = NewFile::create(path)?.write_whole(page.as_bytes())?;
        output.written("page", &path);
        return Ok(());
    }
    if output.json() {
        let rows: Vec<_> = channels
            .iter()
            .map(|c| serde_json::json!({ "name": c.name, "unit": c.unit, "values": c.values }))
            .collect();
        output.value(&serde_json::json!({
            "event": "episode", "name": episode.name, "steps": episode.len(), "success": episode.success,
            "return": episode.episode_return(), "channels": rows,
        }));
        return Ok(());
    }
    output.line(&title);
    output.line(&format!("  {}", summary(&episode)));
    let names = channels.iter().map(|c| c.name.chars().count()).max().unwrap_or(0);
    for c in &channels {
        let (low, high) = c.range().unwrap_or((f64::NAN, f64::NAN));
        let line = sparkline(&c.values, *width);
        output.line(&format!("  {:names$}  {line}  {low:.4} .. {high:.4} {}", c.name, c.unit));
    }
    if episode.human.contains(&true) {
        let driven: Vec<f32> = episode.human.iter().map(|h| f32::from(u8::from(*h))).collect();
        output.line(&format!("  {:names$}  {}", "driven by hand", sparkline(&driven, *width)));
    }
    Ok(())
}

fn summary(e: &Episode) -> String {
    let success = e.success.map_or("success unknown", |s| if s { "success" } else { "no success" });
    let source = e.source.as_deref().map_or(String::new(), |s| format!(", by {s}"));
    let end = e.end.last().map_or(String::new(), |end| format!(", {end:?}").to_lowercase());
    format!("{} steps{end}, return {:.3}, {success}{source}", e.len(), e.episode_return())
}

/// Every number of the rows, with its name where one is known.
fn channels(meta: &DatasetMeta, e: &Episode) -> Vec<EpisodeChannel> {
    let column = |rows: &[f32], dim: usize, i: usize| {
        rows.chunks_exact(dim.max(1)).filter_map(|row| row.get(i).copied()).collect::<Vec<f32>>()
    };
    let mut keyed: Vec<String> = Vec::new();
    for (key, n) in &meta.observation_keys {
        keyed.extend((0..*n).map(|i| if *n == 1 { key.clone() } else { format!("{key}[{i}]") }));
    }
    let mut channels = Vec::new();
    for i in 0..meta.observation_dim {
        let field = meta.spec.as_ref().and_then(|s| s.observation.get(i));
        let name = field.map(|f| f.name.clone()).or_else(|| keyed.get(i).cloned());
        channels.push(EpisodeChannel {
            name: name.unwrap_or_else(|| format!("observation[{i}]")),
            unit: field.map_or(String::new(), |f| f.unit.clone()),
            values: column(&e.observation, meta.observation_dim, i),
            proposed: Vec::new(),
        });
    }
    for i in 0..meta.action_dim {
        let field = meta.spec.as_ref().and_then(|s| s.action.get(i));
        let unit = meta.action_units.as_ref().and_then(|u| u.get(i));
        channels.push(EpisodeChannel {
            name: field.map_or_else(|| format!("action[{i}]"), |f| format!("action {}", f.name)),
            unit: field.map(|f| &f.unit).or(unit).cloned().unwrap_or_default(),
            values: column(&e.action, meta.action_dim, i),
            proposed: column(&e.proposed, meta.action_dim, i),
        });
    }
    let (name, unit) = ("reward".to_owned(), String::new());
    channels.push(EpisodeChannel { name, unit, values: e.reward.clone(), proposed: Vec::new() });
    channels
}

/// A line of `width` characters at most; each is the mean of its steps, and `?` where none of them is a number.
fn sparkline(values: &[f32], width: usize) -> String {
    let width = width.min(values.len()).max(1);
    let finite = || values.iter().copied().filter(|v| v.is_finite()).map(f64::from);
    let (low, high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    (0..width)
        .map(|i| {
            let (from, to) = (i * values.len() / width, (i + 1) * values.len() / width);
            let part: Vec<f64> =
                values[from..to].iter().filter(|v| v.is_finite()).map(|v| f64::from(*v)).collect();
            if part.is_empty() {
                return '?';
            }
            let mean = part.iter().sum::<f64>() / part.len() as f64;
            let share = if high > low { (mean - low) / (high - low) } else { 0.5 };
            LEVELS[((share * 8.0) as usize).min(7)]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_from_low_to_high_and_says_where_nothing_is_known() {
        assert_eq!(sparkline(&[0.0, 1.0], 10), "▁█");
        assert_eq!(sparkline(&[1.0, 1.0, 1.0, 1.0], 2), "▅▅");
        assert_eq!(sparkline(&[f32::NAN, 0.0, 1.0, f32::INFINITY], 4), "?▁█?");
        assert_eq!(sparkline(&[], 4), "?");
    }
}
