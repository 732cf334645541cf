//! Episodes of several policies side by side, as a page that needs nothing else.

use base64::Engine as _;
use maud::{Markup, html};

use super::animation::animation;
use super::chart::number;
use super::document;
use super::page::SAFETY_NOTICE;
use crate::rollout::Film;
use crate::{EngineError, EpisodeSeeds};

/// What one policy did, an episode for each seed.
#[derive(Clone, Debug)]
pub struct FilmColumn {
    /// Who acted.
    pub title: String,
    /// Its episodes, in the order of the seeds.
    pub films: Vec<Film>,
}

/// The page: a column for each policy, a row for each seed, all from the same start.
///
/// # Errors
/// When pictures cannot be made into an animation.
pub fn films_page(
    title: &str,
    env: &str,
    columns: &[FilmColumn],
    seeds: &[EpisodeSeeds],
) -> Result<String, EngineError> {
    let mut rows = Vec::with_capacity(seeds.len());
    for (i, seed) in seeds.iter().enumerate() {
        let shown =
            columns.iter().map(|column| column.films.get(i).map(|film| cell(film, seed.reset)).transpose());
        rows.push(shown.collect::<Result<Vec<Option<Markup>>, EngineError>>()?);
    }
    let content = html! {
        header {
            h1 { (title) }
            p.soft { (env) ", without exploration. Each row starts from the same state; the episodes were not chosen by outcome." }
        }
        section {
            div.films style={ "grid-template-columns: repeat(" (columns.len()) ", minmax(0, 1fr))" } {
                @for column in columns {
                    div.head.online { (column.title) }
                }
                @for shown in rows.iter().flatten() {
                    @match shown {
                        Some(shown) => (shown),
                        None => div {},
                    }
                }
            }
        }
        footer { (SAFETY_NOTICE) }
    };
    Ok(document(title, &content).into_string())
}

fn cell(film: &Film, seed: u64) -> Result<Markup, EngineError> {
    let gif = animation(&film.frames, film.frame_secs)?;
    let uri = format!("data:image/gif;base64,{}", base64::engine::general_purpose::STANDARD.encode(gif));
    Ok(html! {
        figure {
            img src=(uri) alt={ (film.steps) " steps" };
            figcaption {
                @if film.success { span.badge.good { "solved" } } @else { span.badge.bad { "not solved" } }
                (film.steps) " steps, return " (number(film.episode_return)) br;
                "seed " (format!("{seed:016x}"))
            }
        }
    })
}
