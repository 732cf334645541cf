//! Aggregates over runs of several tasks with several seeds, with bootstrap intervals (Agarwal et al. 2021, arXiv 2108.13264).

use serde::{Deserialize, Serialize};
use surefoot_core::Stream;

/// Resamples of a bootstrap.
const RESAMPLES: u64 = 2_000;
/// Part of the resamples that an interval holds.
const CONFIDENCE: f64 = 0.95;

/// An aggregate with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The aggregate.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The scores of one contender: for each task, one of each seed.
pub type Scores = Vec<Vec<f64>>;

/// The interquartile mean: a quarter of the runs (rounded down) is left out at either end. Of fewer than four it is the mean.
#[must_use]
pub fn interquartile_mean(scores: &[f64]) -> f64 {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    let cut = sorted.len() / 4;
    let middle = sorted.get(cut..sorted.len() - cut).unwrap_or_default();
    middle.iter().sum::<f64>() / middle.len().max(1) as f64
}

/// The interquartile mean over all tasks and seeds; the bootstrap draws seeds anew within each task.
#[must_use]
pub fn aggregate(scores: &Scores, purpose: &str) -> Estimate {
    estimate(&[scores], purpose, |drawn| {
        interquartile_mean(&drawn.iter().flatten().flatten().copied().collect::<Vec<_>>())
    })
}

/// How often a run of `x` beats one of `y` on the same task, ties half: the mean over tasks.
#[must_use]
pub fn probability_of_improvement(x: &Scores, y: &Scores, purpose: &str) -> Estimate {
    estimate(&[x, y], purpose, |drawn| match drawn {
        [x, y] => {
            let of_task = |(x, y): (&Vec<f64>, &Vec<f64>)| {
                let beats = |x: &f64, y: &f64| if x > y { 1.0 } else { f64::from(u8::from(x == y)) * 0.5 };
                let wins: f64 = x.iter().map(|x| y.iter().map(|y| beats(x, y)).sum::<f64>()).sum();
                wins / (x.len() * y.len()).max(1) as f64
            };
            let tasks = x.len().min(y.len()).max(1) as f64;
            x.iter().zip(y).map(of_task).sum::<f64>() / tasks
        }
        _ => f64::NAN,
    })
}

/// A statistic of numbers with its percentile interval; of paired differences, the paired bootstrap.
#[must_use]
pub fn bootstrap(of: &[f64], purpose: &str, statistic: impl Fn(&[f64]) -> f64) -> Estimate {
    estimate(&[&vec![of.to_vec()]], purpose, |drawn| {
        statistic(drawn.first().and_then(|s| s.first()).map_or(&[], Vec::as_slice))
    })
}

/// A statistic of some contenders' scores with its percentile interval.
fn estimate(of: &[&Scores], purpose: &str, statistic: impl Fn(&[Scores]) -> f64) -> Estimate {
    let own: Vec<Scores> = of.iter().map(|s| (*s).clone()).collect();
    let value = statistic(&own);
    let mut stream = Stream::new(0, purpose, 0);
    let mut drawn = own.clone();
    let mut values: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            for (to, from) in drawn.iter_mut().flatten().zip(own.iter().flatten()) {
                for x in to.iter_mut() {
                    *x = from.get(stream.below(from.len())).copied().unwrap_or(f64::NAN);
                }
            }
            statistic(&drawn)
        })
        .collect();
    values.sort_by(f64::total_cmp);
    let at = |part: f64| {
        let index = (part * (values.len().saturating_sub(1)) as f64).round() as usize;
        values.get(index).copied().unwrap_or(value)
    };
    let tail = (1.0 - CONFIDENCE) / 2.0;
    Estimate { value, low: at(tail), high: at(1.0 - tail) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interquartile_mean_leaves_a_quarter_out_at_either_end() {
        // scipy.stats.trim_mean(x, 0.25).
        assert_eq!(interquartile_mean(&[100.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(interquartile_mean(&[5.0, 1.0, 9.0]), 5.0);
        assert_eq!(interquartile_mean(&[8.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, -50.0]), 4.0);
        assert_eq!(interquartile_mean(&[]), 0.0);
    }

    #[test]
    fn improvement_counts_wins_and_half_of_ties() {
        let p = |x: &[f64], y: &[f64]| {
            probability_of_improvement(&vec![x.to_vec()], &vec![y.to_vec()], "p").value
        };
        assert_eq!(p(&[2.0, 3.0], &[1.0, 1.0]), 1.0);
        assert_eq!(p(&[1.0, 1.0], &[1.0, 1.0]), 0.5);
        assert_eq!(p(&[1.0, 3.0], &[2.0, 2.0]), 0.5);
    }

    #[test]
    fn intervals_hold_the_truth_about_as_often_as_they_say() {
        // Twelve runs of mean 0.5 each time. A percentile bootstrap of few runs is somewhat narrow.
        let mut stream = Stream::new(7, "coverage", 0);
        let mut covered = 0;
        for _ in 0..200 {
            let scores: Vec<f64> = (0..12).map(|_| 0.5 + 0.1 * stream.normal()).collect();
            let e = aggregate(&vec![scores], "coverage");
            assert!(e.low <= e.value && e.value <= e.high);
            covered += u32::from(e.low <= 0.5 && 0.5 <= e.high);
        }
        assert!((165..=198).contains(&covered), "{covered} of 200");
    }

    #[test]
    fn the_same_scores_give_the_same_interval() {
        let scores = vec![vec![0.1, 0.4, 0.9], vec![0.3, 0.2, 0.8]];
        assert_eq!(aggregate(&scores, "a"), aggregate(&scores, "a"));
    }
}
