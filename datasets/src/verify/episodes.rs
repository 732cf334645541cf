//! Episodes: empty, repeated, missing, or not joined up.

use std::collections::{BTreeMap, BTreeSet};

use super::{Lints, first_of, some};
use crate::formats::demo_number;
use crate::survey::{Brief, Survey};
use crate::table::percent;

impl Lints {
    pub(super) fn episodes(&mut self, briefs: &[Brief]) {
        let empty: Vec<String> = briefs.iter().filter(|b| b.len == 0).map(|b| b.name.clone()).collect();
        if !empty.is_empty() {
            let message = format!("{} episodes hold no step that can be learned from", empty.len());
            self.warning("empty_episode", some(&empty), message, "remove them");
        }
        let mut seen: BTreeMap<[u8; 32], &str> = BTreeMap::new();
        let mut twins = Vec::new();
        for b in briefs.iter().filter(|b| b.len > 0) {
            match seen.get(b.digest.as_bytes()) {
                Some(first) => twins.push(format!("{} = {first}", b.name)),
                None => {
                    seen.insert(*b.digest.as_bytes(), &b.name);
                }
            }
        }
        if !twins.is_empty() {
            let message = format!("{} episodes repeat another, bit for bit", twins.len());
            let mend = "remove the copies: they weigh double, and leak between training and validation";
            self.warning("duplicate_episode", some(&twins), message, mend);
        }
        if !briefs.is_empty() && briefs.iter().all(|b| b.success.is_none()) {
            let mend = "set the attribute `success` of each episode to show success rates";
            self.info(
                "success_unknown",
                "episodes".into(),
                "no episode says whether it succeeded".into(),
                mend,
            );
        }
        let (steps, repeated) = briefs.iter().fold((0, 0), |(n, r), b| (n + b.len, r + b.repeated_rows));
        if repeated * 5 > steps {
            let message = format!("{} of all observations equal the one before", percent(repeated, steps));
            let mend = "the recorder may have run faster than the sensors: check its rate";
            self.warning("repeated_observation", "episodes".into(), message, mend);
        }
        let (at, duplicates) = briefs.iter().fold((None, 0), |(at, n), b| {
            (at.or((b.duplicate_rows > 0).then_some(&b.name)), n + b.duplicate_rows)
        });
        if let Some(at) = at.filter(|_| duplicates * 100 > steps) {
            let share = percent(duplicates, steps);
            let message = format!("{duplicates} steps ({share}) repeat the step before in every number");
            let mend =
                "the recorder wrote rows without new data, or the robot stood idle: cut or thin them out";
            self.warning("duplicate_row", format!("first in {at}"), message, mend);
        }
    }

    /// Names count from 0 or 1. An episode that cannot be read is not missing.
    pub(super) fn numbering(&mut self, survey: &Survey) {
        let numbers: Option<BTreeSet<u64>> = survey.briefs.iter().map(|b| demo_number(&b.name)).collect();
        let Some(numbers) = numbers.filter(|_| survey.failures.is_empty()) else { return };
        let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { return };
        let start = *first.min(&1);
        let missing = (last - start).saturating_sub(numbers.len() as u64 - 1);
        if missing > 0 {
            let gaps = (start..=*last).filter(|n| !numbers.contains(n)).map(|n| format!("demo_{n}"));
            let message = format!("{missing} numbers are missing in the names");
            let mend =
                "look whether episodes were removed on purpose, or are links that need `--features libhdf5`";
            self.warning("numbering_gap", first_of(gaps, missing), message, mend);
        }
    }

    pub(super) fn chains(&mut self, briefs: &[Brief]) {
        let broken: Vec<(&Brief, (usize, usize, f32))> =
            briefs.iter().filter_map(|b| Some((b, b.broken_chain?))).collect();
        if let Some((first, (_, row, _))) = broken.first() {
            let count: usize = broken.iter().map(|(_, (n, _, _))| n).sum();
            let largest = broken.iter().map(|(_, (_, _, d))| *d).fold(0.0, f32::max);
            let place = format!("{} next_observation[{row}]", first.name);
            let message = format!(
                "{count} steps in {} episodes do not lead to the following observation; largest difference {largest}",
                broken.len()
            );
            let mend =
                "steps are missing or shifted, or two episodes are joined: check the recorder's alignment";
            self.warning("broken_chain", place, message, mend);
        }
        let repeated: Vec<String> =
            briefs.iter().filter(|b| b.repeated_last).map(|b| b.name.clone()).collect();
        if !repeated.is_empty() {
            let message = format!(
                "in {} truncated episodes the last next observation repeats the last observation",
                repeated.len()
            );
            let mend =
                "it was not recorded, and learning would look there: remove the last step of these episodes";
            self.warning("repeated_last_observation", some(&repeated), message, mend);
        }
    }
}
