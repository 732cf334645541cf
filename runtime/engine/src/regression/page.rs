//! The report as one HTML page that needs nothing else.

use base64::Engine as _;
use maud::{Markup, html};
use surefoot_core::Frame;

use super::markdown::{blessing_lines, made_of, statistics_words};
use super::pictures::{Pictures, SignalCurve};
use super::suite::Judged;
use super::verdict::{ScenarioReport, Summary, Verdict};
use crate::EngineError;
use crate::report::chart::{Chart, Curve, Interval, intervals, number};
use crate::report::{SAFETY_NOTICE, animation, document};

const fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "good",
        Verdict::Regressed => "bad",
        Verdict::Inconclusive => "offline",
        Verdict::NotComparable => "baseline",
    }
}

/// The page.
///
/// # Errors
/// When a picture cannot be encoded.
pub fn page(judged: &Judged) -> Result<String, EngineError> {
    let Judged { report, pictures } = judged;
    let shown: Vec<Markup> = (report.scenarios.iter().zip(pictures))
        .map(|(scenario, pictures)| section(scenario, pictures))
        .collect::<Result<_, _>>()?;
    let content = html! {
        header {
            h1 { (report.name) ": " (report.verdict.words().to_lowercase()) }
            p.soft { "Regression suite, surefoot " (report.version) "." }
        }
        div.tiles {
            @for (verdict, count) in report.counts() {
                div.tile.(class(verdict)) { div.name { (verdict.words().to_lowercase()) } div.value { (count) } div.note { "scenarios" } }
            }
        }
        section {
            h2 { "Scenarios" }
            div.scroll { table {
                tr { th { "" } th { "level" } th { "verdict" } th { "success now" } th { "before" } th { "violations" } th { "filter active" } }
                @for s in &report.scenarios { (row(s)) }
            } }
            p.soft.small { "Success with Wilson 95 % intervals. A single limit violation fails a scenario, whatever else." }
        }
        @for markup in shown { (markup) }
        footer { (SAFETY_NOTICE) }
    };
    Ok(document(&report.name, &content).into_string())
}

fn row(s: &ScenarioReport) -> Markup {
    let of =
        |words: fn(&Summary) -> String, side: &Option<Summary>| side.as_ref().map_or("–".to_owned(), words);
    html! {
        tr {
            td.(class(s.verdict)) { span.key {} (s.name) }
            td { (s.level.name().replace('_', "-")) } td { (s.verdict.words().to_lowercase()) }
            td { (of(|x| x.solved.words(), &s.now)) } td { (of(|x| x.solved.words(), &s.baseline)) }
            td { (of(|x| x.safety.violations.to_string(), &s.now)) }
            td { (of(|x| format!("{:.2} %", 100.0 * x.filter_active), &s.now)) }
        }
    }
}

fn section(s: &ScenarioReport, pictures: &Pictures) -> Result<Markup, EngineError> {
    let moments: Vec<(&str, [Option<String>; 2])> = pictures
        .moments
        .iter()
        .map(|m| Ok((m.caption.as_str(), [still(m.golden.as_ref())?, still(m.now.as_ref())?])))
        .collect::<Result<_, EngineError>>()?;
    Ok(html! {
        section {
            h2 { span.badge.(class(s.verdict)) { (s.verdict.words().to_lowercase()) } (s.name) }
            @for reason in &s.reasons { p.notice.(class(s.verdict)) { (reason) } }
            @for line in blessing_lines(s) { p.notice { (line) } }
            @if let Some(drives) = s.drives() { p { (drives) } }
            @if let Some(statistics) = &s.statistics {
                div.wide { (intervals(&proportions(s))) }
                p.soft.small { (statistics_words(statistics)) }
            }
            @if !moments.is_empty() {
                div.films style="grid-template-columns: repeat(2, minmax(0, 1fr))" {
                    @for (caption, sides) in &moments { @for (side, picture) in ["before", "now"].iter().zip(sides) {
                        figure {
                            @if let Some(uri) = picture { img src=(uri) alt={ (side) ", " (caption) }; }
                            figcaption { (side) ": " (caption) @if picture.is_none() { " (cannot be drawn)" } }
                        }
                    } }
                }
            }
            @if let Some(curve) = &pictures.curve { div.wide { (signal(curve)) } p.soft.small { span.baseline { "Grey: before." } " Red: now. The line is where they part." } }
            (figures(s))
            @if !s.notes.is_empty() { details { summary { "Notes" } ul { @for note in &s.notes { li { (note) } } } } }
            p.soft.small.mono { (made_of(s)) }
        }
    })
}

fn proportions(s: &ScenarioReport) -> Vec<Interval> {
    let row = |(class, label, side): (&'static str, &str, &Option<Summary>)| {
        side.as_ref().map(|side| Interval {
            class,
            label: label.to_owned(),
            note: format!("{} episodes", side.solved.episodes),
            value: side.solved.successes as f64 / side.solved.episodes.max(1) as f64,
            low: side.solved.wilson.0,
            high: side.solved.wilson.1,
            hollow: class == "baseline",
        })
    };
    [("baseline", "before", &s.baseline), (class(s.verdict), "now", &s.now)]
        .into_iter()
        .filter_map(row)
        .collect()
}

fn figures(s: &ScenarioReport) -> Markup {
    let secs = |x: Option<f64>| x.map_or("–".to_owned(), |x| format!("{x:.2} s"));
    html! {
        div.scroll { table {
            tr { th { "" } th { "episodes" } th { "return (IQM)" } th { "time to success" } th { "steps" } th { "way of joints" } th { "stops" } th { "robot lost" } th { "diverged" } }
            @for (name, side) in [("before", &s.baseline), ("now", &s.now)] { @if let Some(x) = side {
                tr {
                    td { (name) } td { (x.solved.episodes) }
                    td { (number(x.solved.return_iqm.value)) " [" (number(x.solved.return_iqm.low)) ", " (number(x.solved.return_iqm.high)) "]" }
                    td { (secs(x.success_secs)) } td { (number(x.steps)) } td { (number(x.path)) } td { (x.safety.stops) } td { (x.lost) } td { (x.diverged) }
                }
            } }
        } }
    }
}

fn signal(curve: &SignalCurve) -> Markup {
    let rows = curve.golden.len().max(curve.now.len()).max(2) - 1;
    let place = |row: usize| row as f64 / rows as f64;
    let line = |class, values: &[f32]| Curve {
        class,
        points: values
            .iter()
            .enumerate()
            .filter(|(_, v)| v.is_finite())
            .map(|(i, v)| (place(i), f64::from(*v)))
            .collect(),
        band: Vec::new(),
        dots: false,
        faint: false,
    };
    let secs = |row: usize| format!("{:.2} s", row as f64 * curve.period_secs);
    let mut marks = vec![0, curve.at, rows];
    marks.dedup();
    Chart {
        title: curve.signal.clone(),
        size: (980.0, 240.0),
        range: None,
        percent: false,
        ticks: marks.into_iter().map(|row| (place(row), secs(row))).collect(),
        spans: vec![(place(curve.at), 1.0, String::new())],
        curves: vec![line("baseline", &curve.golden), line("bad", &curve.now)],
    }
    .draw()
}

fn still(frame: Option<&Frame>) -> Result<Option<String>, EngineError> {
    let Some(frame) = frame else { return Ok(None) };
    let gif = animation(std::slice::from_ref(frame), 1.0)?;
    Ok(Some(format!("data:image/gif;base64,{}", base64::engine::general_purpose::STANDARD.encode(gif))))
}
