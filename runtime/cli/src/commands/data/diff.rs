//! `surefoot data diff`: what differs between two datasets.

use anyhow::anyhow;
use serde::Serialize;
use surefoot_core::Episode;

use super::read_as;
use crate::args::DiffArgs;
use crate::failure::{CommandResult, usage};
use crate::output::Output;

/// Differences that are listed; the rest is counted.
const LISTED: usize = 20;

/// One thing that differs.
#[derive(Debug, Serialize)]
struct Difference {
    /// Number of the episode; `None` for the whole dataset.
    episode: Option<usize>,
    what: String,
    left: String,
    right: String,
}

/// Runs the verb.
pub fn run(args: &DiffArgs, output: Output) -> CommandResult {
    let DiffArgs { left, right, tolerance } = args;
    if !(tolerance.is_finite() && *tolerance >= 0.0) {
        return Err(usage(anyhow!("--tolerance {tolerance}: expected 0 or more")));
    }
    let options = read_as(None)?;
    let (a, b) =
        (surefoot_datasets::open_with(left, &options)?, surefoot_datasets::open_with(right, &options)?);
    let mut found = Vec::new();
    let mut whole = |what: &str, left: String, right: String| {
        if left != right {
            found.push(Difference { episode: None, what: what.to_owned(), left, right });
        }
    };
    whole("episodes", a.len().to_string(), b.len().to_string());
    let (x, y) = (a.meta(), b.meta());
    whole("numbers in an observation", x.observation_dim.to_string(), y.observation_dim.to_string());
    whole("numbers in an action", x.action_dim.to_string(), y.action_dim.to_string());
    let known = |v: &Option<String>| v.clone().unwrap_or_else(|| "not stated".into());
    whole("environment", known(&x.env), known(&y.env));
    whole("robot contract", known(&x.contract_hash), known(&y.contract_hash));
    if (x.observation_dim, x.action_dim) == (y.observation_dim, y.action_dim) {
        for i in 0..a.len().min(b.len()) {
            episodes(i, &a.episode(i)?, &b.episode(i)?, *tolerance, &mut found);
        }
    }
    if output.json() {
        output.value(&serde_json::json!({
            "event": "diff", "left": left, "right": right, "tolerance": tolerance, "differences": found,
        }));
    } else {
        for Difference { episode, what, left, right } in found.iter().take(LISTED) {
            let place = episode.map_or(String::new(), |i| format!("episode {i}: "));
            output.line(&format!("{place}{what}: {left} | {right}"));
        }
        if found.len() > LISTED {
            output.line(&format!("and {} more", found.len() - LISTED));
        }
    }
    if found.is_empty() {
        if !output.json() {
            output.line(&format!("the same {} episodes", a.len()));
        }
        return Ok(());
    }
    Err(anyhow!("{} differences between {} and {}", found.len(), left.display(), right.display()).into())
}

fn episodes(i: usize, a: &Episode, b: &Episode, tolerance: f64, found: &mut Vec<Difference>) {
    let mut differ = |what: String, left: String, right: String| {
        found.push(Difference { episode: Some(i), what, left, right });
    };
    if a.len() != b.len() {
        return differ("steps".into(), a.len().to_string(), b.len().to_string());
    }
    let columns = [
        ("observation", &a.observation, &b.observation),
        ("next observation", &a.next_observation, &b.next_observation),
        ("action", &a.action, &b.action),
        ("proposed action", &a.proposed, &b.proposed),
        ("reward", &a.reward, &b.reward),
    ];
    for (what, left, right) in columns {
        if left.len() != right.len() {
            differ(what.to_owned(), format!("{} numbers", left.len()), format!("{} numbers", right.len()));
            continue;
        }
        let near = |x: f32, y: f32| {
            let both_nan = x.is_nan() && y.is_nan();
            tolerance > 0.0 && (both_nan || f64::from(x - y).abs() <= tolerance)
        };
        let apart = |(x, y): (&f32, &f32)| x.to_bits() != y.to_bits() && !near(*x, *y);
        let mut places = left.iter().zip(right).enumerate().filter(|(_, pair)| apart(*pair));
        if let Some((at, (x, y))) = places.next() {
            let more = places.count();
            let width = (left.len() / a.len().max(1)).max(1);
            let place = format!("{what}, step {}, number {}", at / width, at % width);
            let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            differ(place, x.to_string(), format!("{y}{more}"));
        }
    }
    if let Some(t) = a.end.iter().zip(&b.end).position(|(x, y)| x != y) {
        differ(format!("end of step {t}"), format!("{:?}", a.end[t]), format!("{:?}", b.end[t]));
    }
    if a.human != b.human {
        let count = |e: &Episode| match e.human.iter().filter(|h| **h).count() {
            _ if e.human.is_empty() => "not stated".to_owned(),
            n => format!("{n} steps"),
        };
        differ("driven by a person".into(), count(a), count(b));
    }
    if a.success != b.success {
        let word = |s: Option<bool>| s.map_or("unknown".to_owned(), |s| s.to_string());
        differ("success".into(), word(a.success), word(b.success));
    }
}
