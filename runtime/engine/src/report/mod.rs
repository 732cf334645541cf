//! The report: one HTML file that needs nothing else, made from a run directory alone.

mod animation;
pub(crate) mod chart;
mod episode;
mod films;
mod history;
mod page;

use std::path::{Path, PathBuf};

use base64::Engine as _;
use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use animation::animation;
pub use episode::{EpisodeChannel, episode_page};
pub use films::{FilmColumn, films_page};
pub(crate) use page::SAFETY_NOTICE;

use crate::EngineError;
use crate::results::Results;
use crate::run_dir::{RunInfo, read_config, read_info, read_json, write_atomic};
use history::History;

/// A page of this title that needs nothing else: what all of them stand in.
pub(crate) fn document(title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · surefoot" }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body { main { (content) } }
        }
    }
}

/// A filmed episode, ready to be put into a page.
struct Animation {
    stage: usize,
    film: usize,
    data_uri: String,
}

/// Everything that a report is made of.
struct Source {
    info: RunInfo,
    config: String,
    results: Results,
    history: History,
    animations: Vec<Animation>,
    directory: String,
}

/// Writes `report.html` into a run directory from what stands there, whether the run has finished or not. Returns its path.
///
/// # Errors
/// When a file of the run is missing or damaged, or the report cannot be written.
pub fn write_report(run: &Path) -> Result<PathBuf, EngineError> {
    let results: Results = read_json(&run.join("results.json"), "the results of a run")?;
    let history = History::read(run, &results)?;
    let mut animations = Vec::new();
    for (stage, result) in results.stages.iter().enumerate() {
        for (film, f) in result.films.iter().enumerate() {
            let path = run.join(&f.file);
            let gif = std::fs::read(&path).map_err(EngineError::io("read", &path))?;
            let data_uri =
                format!("data:image/gif;base64,{}", base64::engine::general_purpose::STANDARD.encode(gif));
            animations.push(Animation { stage, film, data_uri });
        }
    }
    let source = Source {
        info: read_info(run)?,
        config: read_config(run)?,
        directory: run.display().to_string(),
        results,
        history,
        animations,
    };
    let path = run.join("report.html");
    write_atomic(&path, page::page(&source).into_string().as_bytes())?;
    Ok(path)
}
