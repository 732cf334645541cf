//! Rewards, ends and success, each against the others.

use surefoot_core::StepEnd;

use super::{Lints, some};
use crate::survey::{Brief, Survey};

impl Lints {
    pub(super) fn rewards(&mut self, survey: &Survey) {
        if let (Some((low, high)), Some((place, value, count))) =
            (survey.reward_range, &survey.reward_outside)
        {
            let message = format!(
                "{count} of {} rewards lie outside the file's own range, {low} to {high}; the first is {value}",
                survey.reward.count
            );
            let place = format!("{} {}[{}]", place.episode, place.array, place.row);
            let mend =
                "correct the rewards or `reward_range` in data@env_spec: learning bounds its targets by it";
            self.error("reward_out_of_range", place, message, mend);
        }
        let without = survey.briefs.iter().filter(|b| b.unrewarded).count();
        if without > 0 {
            let message = format!("{without} of {} episodes have no rewards", survey.briefs.len());
            let mend = "fit for imitation; for reinforcement learning, label rewards first";
            self.warning("no_reward", "rewards".into(), message, mend);
        }
        if survey.reward.is_frozen() {
            let message = format!("every reward is {}", survey.reward.min);
            let mend = "no value can be learned from a constant reward: check the labels";
            self.warning("constant_reward", "rewards".into(), message, mend);
        }
    }

    pub(super) fn ends(&mut self, briefs: &[Brief]) {
        let early: Vec<String> = briefs.iter().filter(|b| b.early_ends > 0).map(|b| b.name.clone()).collect();
        if !early.is_empty() {
            let message = format!("{} episodes are marked as ended before their last step", early.len());
            let mend = "split them there, or correct the flags: what follows an end is another episode";
            self.warning("early_end", some(&early), message, mend);
        }
        let lens: Vec<usize> = briefs.iter().map(|b| b.len).collect();
        let same = lens.iter().all(|n| Some(n) == lens.first());
        if briefs.len() >= 5 && same && briefs.iter().all(|b| b.last == Some(StepEnd::Terminated)) {
            let message = format!("all {} episodes terminate after {} steps", briefs.len(), lens[0]);
            let mend = "this looks like a time limit: store it as truncation, or values beyond it are lost";
            self.warning("time_limit_as_termination", "ends".into(), message, mend);
        }
    }

    /// Where rewards take two values, the larger one is success.
    pub(super) fn success(&mut self, survey: &Survey) {
        let Some(&[a, b]) = survey.reward_values.as_deref() else { return };
        let top = a.max(b);
        let wrong = |b: &&Brief| match b.success {
            Some(true) => b.best_reward.is_some_and(|r| r < top),
            Some(false) => b.terminal_reward == Some(top),
            None => false,
        };
        let names: Vec<String> = survey.briefs.iter().filter(wrong).map(|b| b.name.clone()).collect();
        if !names.is_empty() {
            let message = format!(
                "{} episodes say they succeeded and never get the reward {top}, or failed and end with it",
                names.len()
            );
            let mend = "correct the attribute `success` or the rewards: they tell different stories";
            self.warning("success_contradicts_reward", some(&names), message, mend);
        }
    }
}
