//! The evidence as a table in Markdown and as one HTML page that needs nothing else.

use std::fmt::Write as _;

use maud::{Markup, html};
use surefoot_core::TaskSplit;

use super::evidence::{Evidence, EvidenceScale, GoalScore, SplitEvidence};
use super::lives::LifeCurve;
use crate::comparison::Estimate;
use crate::report::chart::{Chart, Curve, nice_ticks, number};
use crate::report::{SAFETY_NOTICE, document};

/// Colours, by the arm's place.
const CLASSES: [&str; 8] = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"];

const fn split_words(split: TaskSplit) -> &'static str {
    match split {
        TaskSplit::Train => "tasks of the training",
        TaskSplit::TestIn => "new tasks",
        TaskSplit::TestOod => "new tasks from outside of the training's range",
    }
}

const fn scale_words(scale: EvidenceScale) -> &'static str {
    match scale {
        EvidenceScale::Optimal => "return as a share of the optimal one, %",
        EvidenceScale::Source => "0 is a random policy's return, 100 the source's on the same tasks",
    }
}

const fn point_words(curve: LifeCurve) -> &'static str {
    match curve {
        LifeCurve::Episode => "episode",
        LifeCurve::Step => "step",
    }
}

fn cell(e: Estimate) -> String {
    format!("{:.1} [{:.1}, {:.1}]", 100.0 * e.value, 100.0 * e.low, 100.0 * e.high)
}

fn reached(arm: &SplitEvidence) -> String {
    arm.episodes_to_three_quarters.map_or("–".into(), |e| e.to_string())
}

fn splits(evidence: &Evidence) -> impl Iterator<Item = (TaskSplit, Vec<&SplitEvidence>)> {
    TaskSplit::ALL.into_iter().filter_map(|split| {
        let arms: Vec<&SplitEvidence> = evidence.arms.iter().filter(|a| a.split == split).collect();
        (!arms.is_empty()).then_some((split, arms))
    })
}

/// The table.
#[must_use]
pub fn evidence_table(evidence: &Evidence) -> String {
    let mut out = String::new();
    for (split, arms) in splits(evidence) {
        let goals = arms.first().map_or(0, |a| a.goals);
        let random = evidence.random.get(split.name()).copied().unwrap_or(0.0);
        let _ = writeln!(out, "{} ({goals}); random: {:.1}\n", split_words(split), 100.0 * random);
        let point = point_words(evidence.curve);
        let _ = writeln!(
            out,
            "| | seeds | early | late | gain | solved | {point}s to 75 % |\n|---|---|---|---|---|---|---|"
        );
        for arm in arms {
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {} | {:.0} % | {} |",
                arm.name,
                arm.seeds,
                cell(arm.early),
                cell(arm.late),
                cell(arm.gain),
                100.0 * arm.solved,
                reached(arm)
            );
        }
        out.push('\n');
    }
    let _ = writeln!(
        out,
        "Score: {}. Early: the first two {}s of a life, late: the last quarter; bootstrap 95 % intervals over tasks. Solved: tasks with a late score above 50.",
        scale_words(evidence.scale),
        point_words(evidence.curve)
    );
    out
}

/// The page; `notes` say how it was made.
#[must_use]
pub fn evidence_page(evidence: &Evidence, notes: &[String]) -> String {
    let Evidence { name, scale, curve, ceiling, random: _, arms: _ } = evidence;
    let point = point_words(*curve);
    let content = html! {
        header {
            h1 { (name) }
            p.soft { "Learning in context, with frozen weights. Score: " (scale_words(*scale)) "." }
            @for note in notes { p.soft { (note) } }
        }
        @for (split, arms) in splits(evidence) {
            section {
                h2 { (split_words(split)) }
                @if arms.iter().any(|a| a.curve.len() > 1) {
                    div.wide { (chart(&arms, ceiling.as_deref(), point).draw()) }
                    div.legend {
                        @for (i, arm) in arms.iter().enumerate() { span.(CLASSES[i % CLASSES.len()]) { span.key {} (arm.name) } }
                        @if ceiling.is_some() { span.soft { "faint: random steps until the goal is found, and then the best ones" } }
                    }
                }
                (figures(&arms, point))
                h3 { "By task" }
                (by_goal(&arms))
            }
        }
        footer { (SAFETY_NOTICE) }
    };
    document(name, &content).into_string()
}

fn chart(arms: &[&SplitEvidence], ceiling: Option<&[f32]>, point: &str) -> Chart {
    let episodes = arms.iter().map(|a| a.curve.len()).max().unwrap_or(1);
    let x = |e: usize| e as f64 / (episodes - 1).max(1) as f64;
    let mut curves = Vec::new();
    if let Some(ceiling) = ceiling {
        curves.push(Curve {
            class: "c7",
            points: ceiling.iter().take(episodes).enumerate().map(|(e, c)| (x(e), f64::from(*c))).collect(),
            band: Vec::new(),
            dots: false,
            faint: true,
        });
    }
    for (i, arm) in arms.iter().enumerate() {
        curves.push(Curve {
            class: CLASSES[i % CLASSES.len()],
            points: arm.curve.iter().enumerate().map(|(e, c)| (x(e), c.value)).collect(),
            band: arm.curve.iter().enumerate().map(|(e, c)| (x(e), c.low, c.high)).collect(),
            dots: episodes < 12,
            faint: false,
        });
    }
    let ticks = nice_ticks(0.0, episodes as f64, 8)
        .into_iter()
        // There is no half an episode, and a life of a few would have marks for them.
        .filter(|v| *v >= 1.0 && *v <= episodes as f64 && v.fract() == 0.0)
        .map(|v| (x(v as usize - 1), number(v)));
    Chart {
        title: format!("Score by {point}"),
        size: (980.0, 380.0),
        range: None,
        percent: true,
        ticks: ticks.collect(),
        spans: vec![(0.0, 1.0, format!("{point} of a life"))],
        curves,
    }
}

fn figures(arms: &[&SplitEvidence], point: &str) -> Markup {
    html! {
        div.scroll { table {
            tr { th { "" } th { "seeds" } th { "early" } th { "late" } th { "gain" } th { "solved" } th { (point) "s to 75 %" } }
            @for (i, arm) in arms.iter().enumerate() {
                tr {
                    td.(CLASSES[i % CLASSES.len()]) { span.key {} (arm.name) }
                    td { (arm.seeds) } td { (cell(arm.early)) } td { (cell(arm.late)) } td { (cell(arm.gain)) }
                    td { (format!("{:.0} %", 100.0 * arm.solved)) } td { (reached(arm)) }
                }
            }
        } }
        p.soft.small { "In percent. Early: the first two " (point) "s of a life, late: the last quarter; bootstrap 95 % intervals over tasks." }
    }
}

fn by_goal(arms: &[&SplitEvidence]) -> Markup {
    let goals = arms.first().map_or(&[][..], |a| &a.by_goal);
    let late = |arm: &SplitEvidence, goal: &GoalScore| {
        let same = arm.by_goal.iter().find(|g| g.task == goal.task && g.params == goal.params);
        same.map_or("–".into(), |g| format!("{:.0}", 100.0 * g.late))
    };
    html! {
        div.scroll { table {
            tr { th { "task" } @for goal in goals { th { (goal.task) } } }
            @for arm in arms { tr { td { (arm.name) } @for goal in goals { td { (late(arm, goal)) } } } }
        } }
    }
}
