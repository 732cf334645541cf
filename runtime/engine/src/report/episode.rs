//! One episode as a page that needs nothing else.

use maud::html;
use surefoot_core::Episode;

use super::chart::{Chart, Curve, thin_out};
use super::page::SAFETY_NOTICE;

/// Points of a curve, at most.
const POINTS: usize = 600;
const SIZE: (f64, f64) = (430.0, 170.0);

/// A number of an observation, an action or the reward, over the episode.
#[derive(Clone, Debug, PartialEq)]
pub struct EpisodeChannel {
    /// Name.
    pub name: String,
    /// Unit, where it is known.
    pub unit: String,
    /// `[T]`; executed, for an action.
    pub values: Vec<f32>,
    /// `[T]`: what was proposed, for an action; empty where it is not known.
    pub proposed: Vec<f32>,
}

impl EpisodeChannel {
    /// Smallest and largest value that is a number.
    #[must_use]
    pub fn range(&self) -> Option<(f64, f64)> {
        let finite = self.values.iter().filter(|v| v.is_finite()).map(|v| f64::from(*v));
        finite.fold(None, |range, v| {
            let (low, high) = range.unwrap_or((v, v));
            Some((low.min(v), high.max(v)))
        })
    }
}

/// The page: one chart for each channel; steps that a person drove are marked.
#[must_use]
pub fn episode_page(title: &str, summary: &str, channels: &[EpisodeChannel], episode: &Episode) -> String {
    let steps = episode.len().max(1);
    let at = |t: usize| t as f64 / steps as f64;
    let mut spans: Vec<(f64, f64, String)> = Vec::new();
    let mut driving = false;
    for (t, human) in episode.human.iter().enumerate() {
        match spans.last_mut() {
            Some((_, to, _)) if *human && driving => *to = at(t + 1),
            _ if *human => spans.push((at(t), at(t + 1), "by hand".to_owned())),
            _ => {}
        }
        driving = *human;
    }
    let ticks = vec![(0.0, "0".to_owned()), (1.0, steps.to_string())];
    let curve = |values: &[f32], class, faint| {
        let numbers = values.iter().enumerate().filter(|(_, v)| v.is_finite());
        let points: Vec<(f64, f64)> = numbers.map(|(t, v)| (at(t), f64::from(*v))).collect();
        Curve { class, points: thin_out(&points, POINTS), band: Vec::new(), dots: false, faint }
    };
    let chart = |c: &EpisodeChannel| Chart {
        title: if c.unit.is_empty() { c.name.clone() } else { format!("{} [{}]", c.name, c.unit) },
        size: SIZE,
        range: None,
        percent: false,
        ticks: ticks.clone(),
        spans: spans.clone(),
        curves: vec![curve(&c.proposed, "baseline", true), curve(&c.values, "online", false)],
    };
    let content = html! {
        header {
            h1 { (title) }
            p.soft { (summary) }
            @if !episode.proposed.is_empty() {
                p.soft { "Actions: executed, and fainter behind it what was proposed." }
            }
        }
        section { div.charts { @for c in channels { (chart(c).draw()) } } }
        footer { (SAFETY_NOTICE) }
    };
    super::document(title, &content).into_string()
}
