//! The comparison as a table in Markdown, for a terminal, a pull request or a document.

use std::fmt::Write as _;

use super::{Comparison, Estimate, ScoreConfig};

/// The table, and a line on how it was made.
#[must_use]
pub fn table(comparison: &Comparison) -> String {
    let Comparison { name: _, config, contenders } = comparison;
    let cell = |e: &Option<Estimate>| e.map_or("–".to_owned(), |e| percent_with_interval(&e));
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
            percent_with_interval(&c.last),
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
    let what = match &config.score {
        ScoreConfig::Success => "success, %".to_owned(),
        ScoreConfig::Returns(scales) => {
            let scales: Vec<String> = scales
                .iter()
                .map(|(task, s)| format!("{task}: 0 is a return of {}, 100 one of {}", s.zero, s.one))
                .collect();
            format!("normalised return ({})", scales.join("; "))
        }
    };
    let _ = writeln!(
        out,
        "\nScore: {what}. Interquartile means over {runs} runs of each with bootstrap 95 % intervals (2000 resamples of seeds); last: the mean of the last {} evaluations; worst in the first {} env steps online; regret: 100 minus the mean score online.",
        config.last_evaluations, config.switch_env_steps
    );
    out
}

/// `43.0 [37.2, 50.1]`, of parts of one.
pub(super) fn percent_with_interval(e: &Estimate) -> String {
    format!("{:.1} [{:.1}, {:.1}]", 100.0 * e.value, 100.0 * e.low, 100.0 * e.high)
}
