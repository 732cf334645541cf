//! How the ranges of [`Randomisation`](crate::Randomisation) widen in the course of training: with the env steps that were taken, or with the
//! episodes that were solved.
//!
//! Either way the width is a function of the [`TrainingProgress`] alone, which is part of every checkpoint.

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::TrainingProgress;

/// Most episodes whose success is looked at together.
const MAX_EPISODES: usize = 10_000;

/// How ranges widen in training, from `start` of their width to all of it. Evaluations draw from the whole ranges.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Curriculum {
    /// Evenly over the run's first env steps.
    EnvSteps(EnvStepsCurriculum),
    /// By a step whenever enough of the last episodes were solved.
    Success(SuccessCurriculum),
}

/// Evenly over the run's first env steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvStepsCurriculum {
    /// Env steps of training, over all phases, after which the ranges are as wide as stated.
    pub all_after: u64,
    /// Share of the width that training begins with, 0 to 1.
    #[serde(default)]
    pub start: f64,
}

/// By a step whenever enough of the last `episodes` were solved. Episodes of another width say nothing of the present one: after each change
/// they are counted anew. Training episodes of the run count, over all phases and in the order of their seeds; canaries do not.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SuccessCurriculum {
    /// The last so many episodes are looked at.
    pub episodes: usize,
    /// Share of them solved from which on the ranges widen, above 0, at most 1.
    pub widen_at: f64,
    /// Share of them solved up to which the ranges narrow, down to `start`; absent: they never do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub narrow_at: Option<f64>,
    /// What a change adds to the share of the width, or takes from it.
    pub step: f64,
    /// Share of the width that training begins with, 0 to 1.
    pub start: f64,
}

impl Default for SuccessCurriculum {
    fn default() -> Self {
        Self { episodes: 50, widen_at: 0.8, narrow_at: None, step: 0.1, start: 0.0 }
    }
}

impl Curriculum {
    /// Share of the stated width that an episode draws from which begins now, 0 to 1.
    #[must_use]
    pub fn share(&self, progress: &TrainingProgress<'_>) -> f64 {
        match self {
            Self::EnvSteps(EnvStepsCurriculum { all_after, start }) => {
                let done = progress.env_steps as f64 / (*all_after).max(1) as f64;
                start + (1.0 - start) * done.min(1.0)
            }
            Self::Success(curriculum) => curriculum.share(progress.successes.iter()),
        }
    }

    /// Refuses numbers that mean nothing.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Self::EnvSteps(EnvStepsCurriculum { all_after, start }) => {
                if *all_after > 0 && (0.0..=1.0).contains(start) {
                    return Ok(());
                }
                Err(format!(
                    "curriculum.env_steps must have all_after above 0 and start between 0 and 1, found {all_after} and {start}"
                ))
            }
            Self::Success(SuccessCurriculum { episodes, widen_at, narrow_at, step, start }) => {
                let refuse = |what: String| Err(format!("curriculum.success must have {what}"));
                if !(1..=MAX_EPISODES).contains(episodes) {
                    return refuse(format!("1 to {MAX_EPISODES} episodes, found {episodes}"));
                }
                if !(*widen_at > 0.0 && *widen_at <= 1.0) {
                    return refuse(format!("widen_at above 0, at most 1, found {widen_at}"));
                }
                if let Some(narrow_at) = narrow_at.filter(|n| !(*n >= 0.0 && n < widen_at)) {
                    return refuse(format!(
                        "narrow_at from 0 to below widen_at = {widen_at}, found {narrow_at}"
                    ));
                }
                if !(*step >= 1e-3 && *step <= 1.0 && (0.0..=1.0).contains(start)) {
                    return refuse(format!(
                        "step between 0.001 and 1 and start between 0 and 1, found {step} and {start}"
                    ));
                }
                Ok(())
            }
        }
    }
}

impl SuccessCurriculum {
    /// Share of the width after these episodes, the first one first.
    fn share(&self, history: impl Iterator<Item = bool>) -> f64 {
        let Self { episodes, widen_at, narrow_at, step, start } = self;
        // Steps are counted, so that going up and down again ends where it began.
        let most = ((1.0 - start) / step).ceil() as u32;
        let mut steps = 0_u32;
        let (mut last, mut solved) = (VecDeque::with_capacity(*episodes), 0_usize);
        for success in history {
            if last.len() == *episodes {
                solved -= usize::from(last.pop_front() == Some(true));
            }
            last.push_back(success);
            solved += usize::from(success);
            if last.len() < *episodes {
                continue;
            }
            let rate = solved as f64 / *episodes as f64;
            let next = if rate >= *widen_at {
                (steps + 1).min(most)
            } else if narrow_at.is_some_and(|narrow_at| rate <= narrow_at) {
                steps.saturating_sub(1)
            } else {
                steps
            };
            if next != steps {
                steps = next;
                last.clear();
                solved = 0;
            }
        }
        if steps >= most { 1.0 } else { start + f64::from(steps) * step }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use surefoot_core::SuccessHistory;

    use super::*;

    fn after(curriculum: SuccessCurriculum, history: &[bool]) -> f64 {
        let successes: SuccessHistory = history.iter().copied().collect();
        // Env steps are nothing to it.
        let progress = TrainingProgress { env_steps: 3 * history.len() as u64, successes: &successes };
        Curriculum::Success(curriculum).share(&progress)
    }

    fn curricula() -> impl Strategy<Value = SuccessCurriculum> {
        let narrow = prop::option::of(0.0..0.9_f64);
        (1_usize..9, 0.1..1.0_f64, narrow, 0.05..1.0_f64, 0.0..1.0_f64).prop_map(
            |(episodes, widen_at, narrow, step, start)| {
                let narrow_at = narrow.map(|share| share * widen_at);
                SuccessCurriculum { episodes, widen_at, narrow_at, step, start }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        /// Stays between `start` and all, moves by one step at most, only towards what the last episodes say, and not before as many
        /// episodes of this width as are looked at.
        #[test]
        fn the_width_moves_by_one_step_towards_what_the_last_episodes_of_this_width_say(
            curriculum in curricula(),
            history in prop::collection::vec(any::<bool>(), 0..120),
        ) {
            prop_assert_eq!(Curriculum::Success(curriculum).check(), Ok(()));
            let SuccessCurriculum { episodes, widen_at, narrow_at, step, start } = curriculum;
            let mut changed = 0;
            let mut before = after(curriculum, &[]);
            prop_assert_eq!(before, start);
            for n in 1..=history.len() {
                let now = after(curriculum, &history[..n]);
                prop_assert!(now >= start && now <= 1.0);
                prop_assert!((now - before).abs() <= step + 1e-12);
                if now != before {
                    prop_assert!(n - changed >= episodes);
                    let solved = history[n - episodes..n].iter().filter(|s| **s).count();
                    let rate = solved as f64 / episodes as f64;
                    let narrows = narrow_at.is_some_and(|at| rate <= at);
                    prop_assert!(if now > before { rate >= widen_at } else { narrows }, "{} solved", rate);
                    changed = n;
                }
                prop_assert!(narrow_at.is_some() || now >= before, "without narrow_at it never narrows");
                before = now;
            }
        }
    }

    #[test]
    fn solved_episodes_widen_to_all_in_as_many_steps_as_there_are_and_no_sooner() {
        let curriculum =
            SuccessCurriculum { episodes: 4, step: 0.3, start: 0.2, ..SuccessCurriculum::default() };
        let shares: Vec<f64> = (0..=16).step_by(4).map(|n| after(curriculum, &vec![true; n])).collect();
        assert_eq!(shares, [0.2, 0.5, 0.8, 1.0, 1.0]);
        assert_eq!(after(curriculum, &[true; 3]), 0.2);
        assert_eq!(after(curriculum, &[false; 100]), 0.2);
        // 3 of 4 are not 80 %; the window slides until it holds four.
        assert_eq!(after(curriculum, &[false, true, true, true]), 0.2);
        assert_eq!(after(curriculum, &[false, true, true, true, true]), 0.5);
        let back = SuccessCurriculum { narrow_at: Some(0.25), ..curriculum };
        let [up, down] = [vec![true; 8], vec![false; 8]];
        assert_eq!(after(back, &[up.clone(), down.clone()].concat()), 0.2, "down as far as it began");
        assert_eq!(after(back, &[up.clone(), down, up].concat()), 0.8);
    }
}
