//! Mean curves of runs that were evaluated at moments of their own.

use serde::{Deserialize, Serialize};

use super::statistics::{Estimate, aggregate};
use super::{RunScores, Way, by_task};

/// Points of a phase of a curve, at most.
const POINTS: usize = 60;

/// A point of a contender's curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeanPoint {
    /// Whether of online learning: `at` counts env steps there, updates before.
    pub online: bool,
    /// Where.
    pub at: f64,
    /// Interquartile mean over runs.
    pub score: Estimate,
}

/// The interquartile mean of runs, at every moment at which one of them was evaluated once all of them had begun.
pub(super) fn mean_curve(ways: &[Way], runs: &[RunScores], name: &str) -> Vec<MeanPoint> {
    let mut curve = Vec::new();
    for (online, points) in [
        (false, ways.iter().map(|w| w.offline.as_slice()).collect::<Vec<_>>()),
        (true, ways.iter().map(|w| w.online.as_slice()).collect()),
    ] {
        for at in moments(&points) {
            let scores: Vec<f64> = points.iter().filter_map(|p| interpolated(p, at)).collect();
            if scores.len() != runs.len() {
                continue;
            }
            let by_task = by_task(runs.iter().map(|run| run.task.as_str()).zip(scores));
            curve.push(MeanPoint { online, at, score: aggregate(&by_task, name) });
        }
    }
    curve
}

/// Where curves are evaluated, thinned out, the last one kept.
fn moments(curves: &[&[(f64, f64)]]) -> Vec<f64> {
    let begun = curves.iter().filter_map(|c| c.first()).map(|p| p.0).fold(f64::NEG_INFINITY, f64::max);
    let mut all: Vec<f64> =
        curves.iter().flat_map(|c| c.iter().map(|p| p.0)).filter(|x| *x >= begun).collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    let every = all.len().div_ceil(POINTS).max(1);
    all.reverse();
    let mut kept: Vec<f64> = all.into_iter().step_by(every).collect();
    kept.reverse();
    kept
}

/// A curve's height: straight between its points, level beyond its end; none before its beginning.
fn interpolated(points: &[(f64, f64)], at: f64) -> Option<f64> {
    let after = points.partition_point(|p| p.0 <= at);
    let before = points.get(after.checked_sub(1)?)?;
    let Some(next) = points.get(after) else { return Some(before.1) };
    Some(before.1 + (at - before.0) / (next.0 - before.0) * (next.1 - before.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_its_points_a_curve_is_straight_and_beyond_its_end_level() {
        let points = [(10.0, 0.0), (20.0, 1.0)];
        let at = [9.0, 10.0, 15.0, 20.0, 99.0].map(|x| interpolated(&points, x));
        assert_eq!(at, [None, Some(0.0), Some(0.5), Some(1.0), Some(1.0)]);
    }

    #[test]
    fn moments_begin_where_all_have_begun_and_keep_the_end() {
        let many: Vec<(f64, f64)> = (0..1000).map(|i| (f64::from(i), 0.0)).collect();
        let late = [(500.0, 0.0), (2000.0, 0.0)];
        let moments = moments(&[&many, &late]);
        assert!(moments.len() <= POINTS && moments[0] >= 500.0 && moments.last() == Some(&2000.0));
    }
}
