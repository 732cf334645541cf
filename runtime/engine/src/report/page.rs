//! The page: what came out first, then how it came about, then what it was made of.

use std::collections::BTreeSet;

use maud::{Markup, html};
use surefoot_safety::SafetyCounts;

use super::Source;
use super::chart::{Interval, intervals, minus, number};
use super::history::Judged;
use crate::evaluation::{Evaluation, wilson_interval};
use crate::results::{Results, StageKind, StageResult};

const SMALL: (f64, f64) = (330.0, 190.0);

/// What every reader of safety figures must know.
pub const SAFETY_NOTICE: &str = "surefoot is a motion limiter, not a certified safety function: a stop rated for the protection \
                                 of people must come from the robot. Keep the vendor's safety controller and a hardware \
                                 emergency stop.";

/// The whole page.
pub fn page(source: &Source) -> Markup {
    let results = &source.results;
    let title = format!("{} on {}, seed {}", results.name, results.env, results.seed);
    let content = html! {
        header {
            h1 { (title) }
            p.soft {
                (lead(results))
                @if !source.info.started.is_empty() { " Started " (source.info.started) "." }
                @if !results.finished { " The run has not finished." }
            }
        }
        (headline(results))
        (films(source))
        (curves(source))
        (safety(source))
        (training(source))
        (heldout(source))
        (made_of(source))
        footer { "Made by surefoot " (source.info.version) " from " span.mono { (source.directory) } }
    };
    super::document(&title, &content)
}

const fn class(kind: StageKind) -> &'static str {
    match kind {
        StageKind::Baseline => "baseline",
        StageKind::Offline => "offline",
        StageKind::Online => "online",
    }
}

/// `AWAC offline`, or a baseline's own name.
fn title(stage: &StageResult) -> String {
    let name = stage.name.replace('_', " ");
    let algorithm = stage.algorithm.to_uppercase();
    if stage.kind == StageKind::Baseline { name.to_uppercase() } else { format!("{algorithm} {name}") }
}

fn lead(results: &Results) -> String {
    let d = &results.demonstrations;
    let held = match d.heldout_episodes {
        0 => String::new(),
        n => format!(", {n} more held out"),
    };
    format!("Learned from {} demonstrations ({} steps){held}.", d.episodes, thousands(d.steps as u64))
}

fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(c);
    }
    out
}

fn evaluated(results: &Results) -> Vec<(&StageResult, &Evaluation)> {
    results.stages.iter().filter_map(|s| Some((s, s.evaluation.as_ref()?))).collect()
}

fn headline(results: &Results) -> Markup {
    let stages = evaluated(results);
    let demonstrations = results.demonstrations.successes.map(|(solved, known)| {
        let (low, high) = wilson_interval(solved, known);
        Interval {
            class: "baseline",
            label: "demonstrations".into(),
            note: format!("{solved} of {known} solved"),
            value: solved as f64 / known.max(1) as f64,
            low,
            high,
            hollow: true,
        }
    });
    let rows: Vec<Interval> = demonstrations
        .into_iter()
        .chain(stages.iter().map(|(s, e)| Interval {
            class: class(s.kind),
            label: title(s),
            note: format!("{} of {} solved", e.successes, e.episodes),
            value: e.success_rate,
            low: e.wilson_low,
            high: e.wilson_high,
            hollow: false,
        }))
        .collect();
    html! {
        @if !stages.is_empty() {
            section {
                h2 { "Success" }
                p.soft.small {
                    "Without exploration, on the same " (stages[0].1.episodes)
                    " fixed evaluation episodes for every policy; Wilson 95 % intervals."
                }
                div.tiles {
                    @for (s, e) in &stages {
                        div.tile.(class(s.kind)) {
                            div.name { (title(s)) }
                            div.value { (format!("{:.0} %", 100.0 * e.success_rate)) }
                            div.note { "return " (minus(format!("{:.1} ± {:.1}", e.return_mean, e.return_std))) ", " (format!("{:.0}", e.length_mean)) " steps" }
                        }
                    }
                    (safety_tile(results))
                }
                div.wide { (intervals(&rows)) }
                @if let Some(verdict) = verdict(&stages) { p.notice { (verdict) } }
            }
        }
    }
}

fn safety_tile(results: &Results) -> Markup {
    let all = total_safety(results);
    html! {
        @if all.ticks > 0 {
            div.tile.(if all.violations == 0 { "good" } else { "bad" }) {
                div.name { "Limit violations" }
                div.value { (thousands(all.violations)) }
                div.note { "in " (thousands(all.ticks)) " commands, training included" }
            }
        }
    }
}

fn total_safety(results: &Results) -> SafetyCounts {
    let mut all = SafetyCounts::default();
    for s in &results.stages {
        all.add(&s.training_safety);
    }
    // Every evaluation is on the curve, those at the end of a stage too.
    for p in &results.curve {
        all.add(&p.evaluation.safety);
    }
    all
}

/// What the intervals allow to be said about online against offline.
fn verdict(stages: &[(&StageResult, &Evaluation)]) -> Option<String> {
    let (_, offline) = stages.iter().rev().find(|(s, _)| s.kind == StageKind::Offline)?;
    let (_, online) = stages.iter().rev().find(|(s, _)| s.kind == StageKind::Online)?;
    let change = 100.0 * (online.success_rate - offline.success_rate);
    let moved = minus(format!("Online learning moved success by {change:+.0} points"));
    let apart = online.wilson_low > offline.wilson_high || online.wilson_high < offline.wilson_low;
    Some(if apart {
        format!("{moved}; the intervals do not overlap.")
    } else {
        format!("{moved}; the intervals overlap, so {} episodes do not tell the two apart.", online.episodes)
    })
}

fn films(source: &Source) -> Markup {
    let results = &source.results;
    let columns: BTreeSet<usize> = source.animations.iter().map(|a| a.stage).collect();
    let rows: BTreeSet<usize> = source.animations.iter().map(|a| a.film).collect();
    html! {
        @if !columns.is_empty() {
            section {
                h2 { "Before and after" }
                p.soft.small { "The first evaluation episodes, not chosen by outcome; each row starts from the same state." }
                div.films style={ "grid-template-columns: repeat(" (columns.len()) ", minmax(0, 1fr))" } {
                    @for column in &columns {
                        div.head.(class(results.stages[*column].kind)) { (title(&results.stages[*column])) }
                    }
                    @for row in &rows {
                        @for column in &columns {
                            (film(source, *column, *row))
                        }
                    }
                }
            }
        }
    }
}

fn film(source: &Source, stage: usize, film: usize) -> Markup {
    let shown = source.animations.iter().find(|a| a.stage == stage && a.film == film);
    let result = source.results.stages[stage].films.get(film);
    html! {
        @match shown.zip(result) {
            None => div {},
            Some((animation, f)) => figure {
                img src=(animation.data_uri) alt={ (title(&source.results.stages[stage])) ", evaluation episode " (f.episode) };
                figcaption {
                    @if f.success { span.badge.good { "solved" } } @else { span.badge.bad { "not solved" } }
                    (f.steps) " steps, return " (number(f.episode_return)) br;
                    span title={ "reset seed " (f.seed) } { "episode " (f.episode) " · seed " (format!("{:016x}", f.seed)) }
                }
            },
        }
    }
}

fn curves(source: &Source) -> Markup {
    let results = &source.results;
    let success = source.history.evaluations("Success", results, "rollout/success_rate", |e| Judged {
        value: e.success_rate,
        interval: Some((e.wilson_low, e.wilson_high)),
    });
    let returns = source.history.evaluations("Return", results, "rollout/return_mean", |e| Judged {
        value: e.return_mean,
        interval: None,
    });
    html! {
        @if let Some(mut chart) = success {
            @let () = { chart.range = Some((0.0, 1.0)); chart.percent = true; };
            section {
                h2 { "Learning" }
                p.soft.small {
                    "Dots: evaluations, with their 95 % interval. Thin line: training episodes, exploration included. "
                    "Dashed: the switch from demonstrations to acting."
                }
                div.stack.wide { (chart.draw()) @if let Some(chart) = returns { (chart.draw()) } }
            }
        }
    }
}

fn safety(source: &Source) -> Markup {
    let results = &source.results;
    let adjusted =
        source.history.metric("Commands adjusted in training", "safety/adjusted_ratio", (980.0, 200.0));
    let row = |stage: &StageResult, what: &str, counts: &SafetyCounts| {
        html! {
            @if counts.ticks > 0 {
                tr.(class(stage.kind)) {
                    td { span.key {} (title(stage)) ", " (what) }
                    td { (thousands(counts.ticks)) }
                    td { (format!("{:.2} %", 100.0 * counts.adjusted as f64 / counts.ticks as f64)) }
                    td { (thousands(counts.stops)) }
                    td { (thousands(counts.violations)) }
                }
            }
        }
    };
    html! {
        @if total_safety(results).ticks > 0 {
            section {
                h2 { "Safety" }
                p.soft.small {
                    "Every command, exploration included, went through the safety chain; a separate monitor recomputed "
                    "what was executed and looked for limit violations."
                }
                div.scroll {
                    table {
                        tr { th { "stage" } th { "commands" } th { "adjusted" } th { "stops" } th { "limit violations" } }
                        @for s in &results.stages {
                            (row(s, "training", &s.training_safety))
                            @if let Some(e) = &s.evaluation { (row(s, "evaluation", &e.safety)) }
                        }
                    }
                }
                (limits(results))
                @if let Some(mut chart) = adjusted {
                    @let () = chart.percent = true;
                    div.wide style="margin-top:16px" { (chart.draw()) }
                }
                p.notice { (SAFETY_NOTICE) }
            }
        }
    }
}

/// What the limits on learning did, stage by stage.
fn limits(results: &Results) -> Markup {
    html! {
        @for s in results.stages.iter().filter(|s| s.training_safety.ticks > 0) {
            @let words = s.limits.words();
            p.small {
                b { (title(s)) ", limits on learning: " }
                @if words.is_empty() { "none acted in " (thousands(s.episodes)) " training episodes." }
                @else { (words.join(", ")) ", of " (thousands(s.episodes)) " training episodes and " (thousands(s.env_steps)) " env steps." }
            }
        }
    }
}

fn training(source: &Source) -> Markup {
    let charts: Vec<_> = ["train/", "heldout/"]
        .iter()
        .flat_map(|group| source.history.names(group))
        .filter_map(|name| source.history.metric(&readable(&name), &name, SMALL))
        // Two ends of a stage are no curve; the table below has them.
        .filter(|chart| chart.curves.iter().map(|c| c.points.len()).sum::<usize>() > 4)
        .collect();
    html! {
        @if !charts.is_empty() {
            section {
                h2 { "Inside the learner" }
                div.charts { @for chart in &charts { (chart.draw()) } }
            }
        }
    }
}

/// `train/critic_loss` as `critic loss`, `heldout/td_error` as `held-out td error`.
fn readable(name: &str) -> String {
    let (group, rest) = name.split_once('/').unwrap_or(("", name));
    let rest = rest.replace('_', " ");
    if group == "heldout" { format!("held-out {rest}") } else { rest }
}

fn heldout(source: &Source) -> Markup {
    let stages: Vec<&StageResult> = source.results.stages.iter().filter(|s| !s.heldout.is_empty()).collect();
    let names: BTreeSet<&String> = stages.iter().flat_map(|s| s.heldout.keys()).collect();
    let kept = |s: &StageResult| match (s.kept_updates, s.stopped_early) {
        (Some(at), true) => format!("{} of {}, stopped early", thousands(at), thousands(s.updates)),
        (Some(at), false) if at < s.updates => format!("{} of {}", thousands(at), thousands(s.updates)),
        _ => thousands(s.updates),
    };
    html! {
        @if !stages.is_empty() {
            section {
                h2 { "Held-out demonstrations" }
                p.soft.small {
                    (source.results.demonstrations.heldout_episodes) " episodes ("
                    (thousands(source.results.demonstrations.heldout_steps as u64)) " steps) that no policy learned from."
                }
                div.scroll {
                    table {
                        tr { th { "stage" } th { "updates kept" } @for n in &names { th { (readable(n).replace("held-out ", "")) } } }
                        @for s in &stages {
                            tr.(class(s.kind)) {
                                td { span.key {} (title(s)) }
                                td { (kept(s)) }
                                @for n in &names { td { @match s.heldout.get(*n) { Some(v) => (number(*v)), None => "–" } } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn made_of(source: &Source) -> Markup {
    let info = &source.info;
    let again = format!("surefoot train {}/config.toml", source.directory);
    html! {
        section {
            h2 { "What it was made of" }
            dl {
                dt { "again" } dd.mono { (again) }
                @if !info.argv.is_empty() { dt { "started as" } dd.mono { (info.argv.join(" ")) } }
                dt { "program" } dd { "surefoot " (info.version) @if let Some(git) = &info.git { ", commit " span.mono { (git) } } }
                @if !info.host.is_empty() { dt { "machine" } dd { (info.host) } }
                @for (name, version) in &info.versions { dt { (name) } dd { (version) } }
                @for (file, hash) in &info.datasets { dt { "data" } dd { (file) " " span.mono.soft { "blake3 " (hash) } } }
                @if let Some(hash) = &info.contract_hash { dt { "robot contract" } dd { span.mono.soft { "blake3 " (hash) } } }
            }
            details {
                summary { "Resolved configuration" }
                pre { (source.config) }
            }
        }
    }
}
