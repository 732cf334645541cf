//! The report as text: a table for a terminal, and Markdown for a pull request.

use std::fmt::Write as _;

use super::golden::short;
use super::scenario::MetricConfig;
use super::statistics::{POWER, StatisticalReport};
use super::verdict::{Blessing, ScenarioReport, SuiteReport, Summary, Verdict};
use crate::report::SAFETY_NOTICE;

const HEADINGS: [&str; 6] = ["scenario", "level", "verdict", "success now", "before", "violations"];

fn cells(s: &ScenarioReport) -> [String; 6] {
    let solved = |side: &Option<Summary>| side.as_ref().map_or("–".to_owned(), |s| s.solved.words());
    let violations = s.now.as_ref().map_or("–".to_owned(), |s| s.safety.violations.to_string());
    let level = s.level.name().replace('_', "-");
    [s.name.clone(), level, s.verdict.words().into(), solved(&s.now), solved(&s.baseline), violations]
}

/// For a terminal: a table, then why.
#[must_use]
pub fn terminal(report: &SuiteReport) -> String {
    let rows: Vec<[String; 6]> = report.scenarios.iter().map(cells).collect();
    let width = |column: usize| {
        let own = rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
        own.max(HEADINGS[column].chars().count())
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let line = |cells: [&str; 6]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(HEADINGS);
    for (row, scenario) in rows.iter().zip(&report.scenarios) {
        text += &line(std::array::from_fn(|i| row[i].as_str()));
        for reason in &scenario.reasons {
            let _ = writeln!(text, "  {reason}");
        }
        if let Some(drives) = scenario.drives() {
            let _ = writeln!(text, "  {drives}");
        }
        for note in blessing_lines(scenario) {
            let _ = writeln!(text, "  {note}");
        }
        // Of what passed, the report says what else is different.
        let told = scenario.verdict > Verdict::Passed && scenario.blessing.is_none();
        for note in scenario.notes.iter().filter(|_| told) {
            let _ = writeln!(text, "  note: {note}");
        }
    }
    let _ = writeln!(text, "{}: {} ({})", report.name, report.verdict.words(), report.words());
    text
}

/// What `--bless` did, a line each.
pub fn blessing_lines(scenario: &ScenarioReport) -> Vec<String> {
    match &scenario.blessing {
        None => Vec::new(),
        Some(Blessing::New) => vec!["golden: new".into()],
        Some(Blessing::Unchanged) => vec!["golden: unchanged".into()],
        Some(Blessing::Refused(why)) => vec![format!("golden: not written: {why}")],
        Some(Blessing::Changed(lines)) => std::iter::once("golden: rewritten".to_owned())
            .chain(lines.iter().map(|l| format!("  {l}")))
            .collect(),
    }
}

/// For a pull request.
#[must_use]
pub fn markdown(report: &SuiteReport) -> String {
    let mark = |verdict| match verdict {
        Verdict::Passed => "✅ passed",
        Verdict::Regressed => "❌ **regressed**",
        Verdict::Inconclusive => "❔ inconclusive",
        Verdict::NotComparable => "⚠️ not comparable",
    };
    let mut text = format!("### Regression suite `{}`: {}\n\n", report.name, mark(report.verdict));
    let _ = writeln!(text, "{}.\n", report.words());
    let _ = writeln!(text, "| {} |\n|{}", HEADINGS.join(" | "), "---|".repeat(HEADINGS.len()));
    for scenario in &report.scenarios {
        let [name, level, _, now, before, violations] = cells(scenario).map(|c| escape(&c));
        let verdict = mark(scenario.verdict);
        let _ = writeln!(text, "| {name} | {level} | {verdict} | {now} | {before} | {violations} |");
    }
    text += "\nSuccess with Wilson 95 % intervals.\n";
    for scenario in report.scenarios.iter().filter(|s| s.verdict > Verdict::Passed) {
        let _ = writeln!(text, "\n**{}**", escape(&scenario.name));
        for reason in &scenario.reasons {
            let _ = writeln!(text, "* {}", escape(reason));
        }
    }
    text += "\n<details><summary>Seeds, hashes, statistics</summary>\n\n";
    for scenario in &report.scenarios {
        let _ = writeln!(text, "* **{}**: {}", escape(&scenario.name), escape(&made_of(scenario)));
        let said = [scenario.drives(), scenario.statistics.as_ref().map(statistics_words)];
        for line in said.iter().flatten().chain(&scenario.notes) {
            let _ = writeln!(text, "  * {}", escape(line));
        }
    }
    let _ = writeln!(text, "\n</details>\n\nsurefoot {}. {SAFETY_NOTICE}", escape(&report.version));
    text
}

/// Seeds and hashes, in a line.
pub fn made_of(s: &ScenarioReport) -> String {
    let p = &s.provenance;
    format!(
        "seed {}, {} of {} episodes; policy {} {}, contract {}, scenario {}; {}, {}",
        s.seeds.seed,
        s.now.as_ref().map_or(0, |n| n.solved.episodes),
        s.seeds.episodes,
        p.policy,
        short(&p.policy_hash),
        p.contract_hash.as_deref().map_or("none", short),
        short(&p.scenario_hash),
        p.target,
        p.rustc
    )
}

/// The figures of a comparison, in a line.
pub fn statistics_words(s: &StatisticalReport) -> String {
    let metric = match s.config.metric {
        MetricConfig::Success => "success".to_owned(),
        MetricConfig::Returns { low, high } => format!("returns from {low} to {high}"),
    };
    let drop =
        s.minimum_detectable_drop.map_or_else(|| "none".to_owned(), |d| format!("{:.0} points", 100.0 * d));
    format!(
        "{metric}, {} of {} pairs, {} won, {} lost; e-values {:.3} (worse; {:.0} decides) and {:.3} (not worse by {:.0} points; {:.0} decides); McNemar p {:.4} (worse), {:.4} (two-sided); smallest drop found with probability {POWER}: {drop}",
        s.pairs,
        s.episodes,
        s.wins,
        s.losses,
        s.wealth_worse,
        1.0 / s.config.false_alarm,
        s.wealth_not_worse,
        100.0 * s.config.margin,
        1.0 / s.config.miss,
        s.mcnemar_worse,
        s.mcnemar_two_sided,
    )
}

/// Names must not make tables or markup.
fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ")
}
