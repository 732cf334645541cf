//! The comparison as one HTML page that needs nothing else.

use maud::{Markup, html};

use super::table::{cell, score_words};
use super::{Compared, Comparison, Estimate};
use crate::report::chart::{Chart, Curve, Interval, intervals, nice_ticks, number};
use crate::report::{SAFETY_NOTICE, document};

/// Colours, by the contender's place.
const CLASSES: [&str; 8] = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"];
/// The same as in the page's style, for a picture that stands alone.
const COLOURS: [&str; 8] =
    ["#0f766e", "#d97706", "#4f6bd8", "#b4418e", "#5a8f29", "#8a5a2b", "#c2410c", "#64748b"];
/// Part of the horizontal axis before the switch.
const OFFLINE_SHARE: f64 = 0.3;

fn class(place: usize) -> &'static str {
    CLASSES[place % CLASSES.len()]
}

/// The page.
#[must_use]
pub fn page(comparison: &Comparison) -> String {
    let Comparison { name, config, contenders } = comparison;
    let runs = contenders.first().map_or(0, |c| c.runs.len());
    let content = html! {
                header {
                    h1 { (name) }
                    p.soft { (contenders.len()) " contenders, " (runs) " runs of each. Score: " (score_words(&config.score)) "." }
                }
                section {
                    h2 { "How they end" }
                    p.soft.small {
                        "Mean of the last " (config.last_evaluations) " evaluations; interquartile mean over runs with bootstrap 95 % intervals over seeds."
                    }
                    div.wide { (intervals(&endings(contenders))) }
                }
                section {
                    h2 { "On the way" }
                    div.wide { (curves(contenders).draw()) }
                    div.legend { @for (i, c) in contenders.iter().enumerate() {
                        span.(class(i)) { span.key {} (c.name) }
                    } }
                }
                section { h2 { "Figures" } (figures(comparison)) }
                section { h2 { "Runs" } (every_run(contenders)) }
                footer { (SAFETY_NOTICE) }
    };
    document(name, &content).into_string()
}

/// The curves as an SVG file.
#[must_use]
pub fn picture(comparison: &Comparison) -> String {
    let colours: Vec<_> = CLASSES.into_iter().zip(COLOURS).collect();
    let contenders = comparison.contenders.iter().enumerate();
    let names: Vec<_> = contenders.map(|(i, c)| (class(i), c.name.as_str())).collect();
    curves(&comparison.contenders).file(&colours, &names)
}

fn endings(contenders: &[Compared]) -> Vec<Interval> {
    let row = |(i, c): (usize, &Compared)| Interval {
        class: class(i),
        label: c.name.clone(),
        note: c.improvement.map_or_else(
            || "the first".to_owned(),
            |e| format!("better than the first in {:.0} %", 100.0 * e.value),
        ),
        value: c.last.value,
        low: c.last.low,
        high: c.last.high,
        hollow: false,
    };
    contenders.iter().enumerate().map(row).collect()
}

fn curves(contenders: &[Compared]) -> Chart {
    let end = |online: bool| {
        let points = contenders.iter().flat_map(|c| &c.curve).filter(|p| p.online == online);
        points.map(|p| p.at).fold(0.0, f64::max)
    };
    let (offline, online) = (end(false), end(true));
    let share = match (offline > 0.0, online > 0.0) {
        (true, true) => OFFLINE_SHARE,
        (true, false) => 1.0,
        _ => 0.0,
    };
    let place = |is_online: bool, at: f64| {
        if is_online { share + (1.0 - share) * at / online.max(1.0) } else { share * at / offline.max(1.0) }
    };
    let mut drawn = Vec::new();
    for (i, contender) in contenders.iter().enumerate() {
        for phase in [false, true] {
            let here: Vec<(f64, Estimate)> = contender
                .curve
                .iter()
                .filter(|p| p.online == phase)
                .map(|p| (place(phase, p.at), p.score))
                .collect();
            if here.is_empty() {
                continue;
            }
            drawn.push(Curve {
                class: class(i),
                points: here.iter().map(|(x, e)| (*x, e.value)).collect(),
                band: here.iter().map(|(x, e)| (*x, e.low, e.high)).collect(),
                dots: here.len() < 12,
                faint: false,
            });
        }
    }
    let mut ticks = Vec::new();
    let mut spans = Vec::new();
    for (is_online, to, what) in [(false, offline, "offline: updates"), (true, online, "online: env steps")] {
        if to > 0.0 {
            let (from, until) = (place(is_online, 0.0), place(is_online, to));
            spans.push((from, until, what.to_owned()));
            let values = nice_ticks(0.0, to, ((until - from) * 8.0).round().max(1.0) as usize);
            let inside = values.into_iter().map(|v| (place(is_online, v), number(v)));
            ticks.extend(inside.filter(|(x, _)| from == 0.0 || *x > from + 1e-9));
        }
    }
    Chart {
        title: "Score".into(),
        size: (980.0, 380.0),
        range: None,
        percent: true,
        ticks,
        spans,
        curves: drawn,
    }
}

fn figures(comparison: &Comparison) -> Markup {
    html! {
        div.scroll { table {
            tr {
                th { "" } th { "offline" }
                th { "worst early" }
                th { "last" } th { "regret" } th { "better than the first" } th { "violations" }
            }
            @for (i, c) in comparison.contenders.iter().enumerate() {
                tr {
                    td.(class(i)) { span.key {} (c.name) }
                    td { (cell(&c.offline)) } td { (cell(&c.after_switch)) } td { (cell(&Some(c.last))) }
                    td { (cell(&c.regret)) } td { (cell(&c.improvement)) }
                    td { (c.runs.iter().map(|r| r.violations).sum::<u64>()) }
                }
            }
            @for p in &comparison.config.published {
                tr { td { (p.name) ", published" } td {} td {} td { (format!("{:.1}", 100.0 * p.score)) } td {} td {} td { (p.source) } }
            }
        } }
        p.soft.small { "In percent. Worst early: the worst evaluation in the first " (comparison.config.switch_env_steps) " env steps online. Regret: 100 minus the mean score over the env steps of online learning." }
    }
}

fn every_run(contenders: &[Compared]) -> Markup {
    let percent = |x: Option<f64>| x.map_or("–".to_owned(), |x| format!("{:.1}", 100.0 * x));
    html! {
        div.scroll { table {
            tr { th { "" } th { "task" } th { "seed" } th { "offline" } th { "best" } th { "last" } th { "regret" } }
            @for (i, c) in contenders.iter().enumerate() { @for run in &c.runs {
                tr {
                    td.(class(i)) { span.key {} (c.name) }
                    td { (run.task) } td { (run.seed) } td { (percent(run.offline)) } td { (percent(Some(run.best))) }
                    td { (percent(Some(run.last))) } td { (percent(run.regret)) }
                }
            } }
        } }
    }
}
