//! The names of all findings.

use serde::Serialize;

use super::Severity::{self, Error, Info, Warning};
use crate::formats::{AMBIGUOUS_DONE, BAD_ENV_ARGS, INCOMPLETE};

/// A kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Lint {
    /// Its name, which does not change.
    pub name: &'static str,
    /// How bad it is at most.
    pub severity: Severity,
    /// What it finds.
    pub summary: &'static str,
}

const fn lint(name: &'static str, severity: Severity, summary: &'static str) -> Lint {
    Lint { name, severity, summary }
}

/// Every kind of finding, by name.
pub const LINTS: &[Lint] = &[
    lint("action_not_normalised", Info, "actions beyond [-1, 1] in a format that does not promise it"),
    lint("action_out_of_range", Warning, "actions beyond [-1, 1] where the format promises it"),
    lint("action_saturated", Warning, "actions at exactly -1 or 1"),
    lint(AMBIGUOUS_DONE, Warning, "flags of ends that may mean an end of the task or of the recording"),
    lint(BAD_ENV_ARGS, Warning, "an environment header that is not JSON"),
    lint("broken_chain", Warning, "next observations that are not the following observations"),
    lint("clock_jump", Error, "times that run backwards or are not finite"),
    lint("constant_reward", Warning, "one reward throughout"),
    lint("contradiction", Error, "totals, masks and headers against the episodes"),
    lint("duplicate_episode", Warning, "episodes that repeat another bit for bit"),
    lint("duplicate_row", Warning, "steps that repeat the step before in every number"),
    lint("duplicate_stamp", Warning, "times that equal the one before"),
    lint("early_end", Warning, "ends before an episode's last step"),
    lint("empty_episode", Warning, "episodes without a step"),
    lint("filter_not_judged", Warning, "actions that cannot be held against the robot's safety filter"),
    lint("frozen_channel", Warning, "channels with one value throughout"),
    lint("frozen_in_episode", Warning, "channels that stand still in a few of the episodes"),
    lint(INCOMPLETE, Warning, "a recording that was cut off"),
    lint("no_reward", Warning, "episodes without rewards"),
    lint("not_finite", Error, "NaN and infinities"),
    lint("note", Info, "what reading the format brought up"),
    lint("numbering_gap", Warning, "numbers missing in the episodes' names"),
    lint("other_contract", Warning, "a recording made under another contract than the robot's"),
    lint("ragged", Error, "arrays of different lengths in an episode"),
    lint(
        "rate_drift",
        Warning,
        "an interval that changes from start to end of an episode or between episodes",
    ),
    lint("rate_mismatch", Warning, "times that come at another rate than the header says"),
    lint(
        "repeated_last_observation",
        Warning,
        "truncated episodes whose last next observation was not recorded",
    ),
    lint("repeated_observation", Warning, "observations that equal the one before"),
    lint("reward_out_of_range", Error, "rewards beyond the file's own range"),
    lint("safety_filter_changes", Warning, "actions that the robot's safety filter would have changed"),
    lint("start_outside_limits", Warning, "episodes that start outside the robot's limits"),
    lint("success_contradicts_reward", Warning, "success against rewards of two values"),
    lint("success_unknown", Info, "no episode says whether it succeeded"),
    lint("suspect_angle_unit", Warning, "joint angles that look like degrees"),
    lint("suspect_gripper_unit", Warning, "gripper openings that look like counts or percent"),
    lint("suspect_length_unit", Warning, "lengths that look like millimetres"),
    lint("time_gap", Warning, "intervals of more than three times the usual one"),
    lint("time_limit_as_termination", Warning, "time limits stored as terminations"),
    lint("unreadable", Error, "a file that cannot be opened"),
    lint("unreadable_episode", Error, "an episode that cannot be read"),
];

#[cfg(test)]
mod tests {
    use super::LINTS;

    #[test]
    fn names_are_sorted_and_differ() {
        assert!(LINTS.windows(2).all(|w| w[0].name < w[1].name), "{LINTS:?}");
    }
}
