//! Numbers and channels: what cannot be read, is not finite, out of range, saturated or frozen.

use surefoot_core::DataError;

use super::{Lints, some};
use crate::survey::{Channel, Survey};
use crate::table::percent;

impl Lints {
    pub(super) fn values(&mut self, survey: &Survey) {
        for failure in &survey.failures {
            let (code, mend) = if matches!(failure, DataError::Shape { .. }) {
                (
                    "ragged",
                    "make all arrays of the episode numbers and as long as its actions, or remove the episode",
                )
            } else {
                ("unreadable_episode", "copy the file again from its source, or remove the episode")
            };
            self.error(code, "an episode".into(), failure.to_string(), mend);
        }
        for (place, value, count) in &survey.non_finite {
            let message = format!("{count} values are not finite; the first is {value}");
            let mend = "remove the episodes, or cut them before the first such row";
            self.error(
                "not_finite",
                format!("{} {}[{}]", place.episode, place.array, place.row),
                message,
                mend,
            );
        }
    }

    /// `normalised`: whether format or spec promise actions in `[-1, 1]`.
    pub(super) fn channels(&mut self, survey: &Survey, normalised: bool) {
        let beyond: Vec<&Channel> = survey.action.iter().filter(|c| c.out_of_range > 0).collect();
        let numbers: usize = survey.action.iter().map(|c| c.count).sum();
        if !beyond.is_empty() {
            let count: usize = beyond.iter().map(|c| c.out_of_range).sum();
            let low = beyond.iter().map(|c| c.min).fold(f32::INFINITY, f32::min);
            let high = beyond.iter().map(|c| c.max).fold(f32::NEG_INFINITY, f32::max);
            let share = percent(count, numbers);
            let message = format!("{count} numbers ({share}) lie outside [-1, 1], from {low} to {high}");
            let names: Vec<String> = beyond.iter().map(|c| c.name.clone()).collect();
            if normalised {
                let mend =
                    "actions are normalised to [-1, 1]: rescale them, or let loading clip and count them";
                self.warning("action_out_of_range", some(&names), message, mend);
            } else {
                let mend =
                    "such actions have units of their own: scale them to [-1, 1] before learning from them";
                self.info("action_not_normalised", some(&names), message, mend);
            }
        }
        let saturated: usize = survey.action.iter().map(|c| c.saturated - c.out_of_range).sum();
        if saturated > 0 && (normalised || beyond.is_empty()) {
            let most: Vec<String> =
                survey.action.iter().filter(|c| c.saturated * 2 > c.count).map(|c| c.name.clone()).collect();
            let share = percent(saturated, numbers);
            let message = format!("{saturated} numbers ({share}) are exactly -1 or 1");
            if most.is_empty() {
                self.info(
                    "action_saturated",
                    "actions".into(),
                    message,
                    "nothing to do if the controller clips there",
                );
            } else {
                let message = format!("{message}; more than half of these channels");
                let mend =
                    "check the scale of the actions: a bang-bang or clipped channel teaches only its limits";
                self.warning("action_saturated", some(&most), message, mend);
            }
        }
        for (what, channels) in [("observation", &survey.observation), ("action", &survey.action)] {
            let frozen: Vec<String> = channels
                .iter()
                .filter(|c| c.is_frozen())
                .map(|c| format!("{} = {}", c.name, c.min))
                .collect();
            if !frozen.is_empty() {
                let message = format!("{} of {} {what} channels never change", frozen.len(), channels.len());
                let mend = "a dead sensor or an unused joint: leave the channel out, or make sure that it is constant online too";
                self.warning("frozen_channel", some(&frozen), message, mend);
            }
        }
        let long = survey.long_episodes;
        for (channel, held) in survey.observation.iter().zip(&survey.held) {
            if held.episodes > 0 && long >= 5 && held.episodes * 5 <= long {
                let first = held.first.clone().unwrap_or_default();
                let message = format!(
                    "{} stands still throughout {} of {long} episodes and moves in the others",
                    channel.name, held.episodes
                );
                let mend = "a sensor that was not connected or a topic that had stopped: look at these episodes, or remove them";
                self.warning("frozen_in_episode", first, message, mend);
            }
        }
    }
}
