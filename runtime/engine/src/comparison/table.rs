//! The comparison as a table in Markdown, for a terminal, a pull request or a document.

use std::fmt::Write as _;

use super::{Comparison, Estimate, ReturnScale, ScoreConfig};

/// The table, and a line on how it was made.
#[must_use]
pub fn table(comparison: &Comparison) -> String {
    let Comparison { name: _, config, contenders } = comparison;
    let mut out = String::from(
        "| | offline | worst after the switch | last | regret | better than the first | violations |\n|---|---|---|---|---|---|---|\n",
    );
    for c in contenders {
        let violations: u64 = c.runs.iter().map(|r| r.violations).sum();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {violations} |",
            c.name,
            cell(&c.offline),
            cell(&c.after_switch),
            cell(&Some(c.last)),
            cell(&c.regret),
            cell(&c.improvement),
        );
    }
    for p in &config.published {
        let _ = writeln!(
            out,
            "| {} (published: {}) | – | – | {:.1} | – | – | – |",
            p.name,
            p.source,
            100.0 * p.score
        );
    }
    let runs = contenders.first().map_or(0, |c| c.runs.len());
    let what = score_words(&config.score);
    let _ = writeln!(
        out,
        "\nScore: {what}. Interquartile means over {runs} runs of each with bootstrap 95 % intervals (2000 resamples of seeds); last: the mean of the last {} evaluations; worst in the first {} env steps online; regret: 100 minus the mean score online.",
        config.last_evaluations, config.switch_env_steps
    );
    out
}

/// What a score is, in words.
pub(super) fn score_words(score: &ScoreConfig) -> String {
    let ScoreConfig::Returns(scales) = score else { return "success, %".to_owned() };
    let scale = |(task, s): (&String, &ReturnScale)| {
        format!("{task}: 0 is a return of {}, 100 one of {}", s.zero, s.one)
    };
    format!("normalised return ({})", scales.iter().map(scale).collect::<Vec<_>>().join("; "))
}

/// `43.0 [37.2, 50.1]`, of parts of one.
pub(super) fn cell(estimate: &Option<Estimate>) -> String {
    estimate.map_or("–".to_owned(), |Estimate { value, low, high }| {
        format!("{:.1} [{:.1}, {:.1}]", 100.0 * value, 100.0 * low, 100.0 * high)
    })
}
