//! A drive through the control loop: how it is to be done, what the loop did, and whether it ended as it must.
//!
//! Ticks are control periods, counted as faults are: from 0, the first one after the scene was put back.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::ScheduledFault;

use super::episode::EpisodeRecord;
use crate::EngineError;
use crate::control::{Cause, ControlConfig, Mode, Transition};

/// Control periods from `from` (included) to `until` (not).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Periods {
    /// The first.
    pub from: u64,
    /// The one after the last.
    pub until: u64,
}

impl Periods {
    /// Whether a period is one of them.
    #[must_use]
    pub const fn contains(&self, tick: u64) -> bool {
        self.from <= tick && tick < self.until
    }
}

/// A scenario whose robot is driven through the control loop, on simulated time: armed, run, and stopped by what the loop finds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ControlLoopConfig {
    /// What the loop reacts to.
    pub control: ControlConfig,
    /// When the policy says nothing, as one that hangs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub silent_policy: Vec<Periods>,
    /// How each drive must end, whatever a golden file says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub must_end: Option<MustEndConfig>,
}

/// How each drive must end. One that does not fails the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MustEndConfig {
    /// What ends it.
    #[serde(rename = "in")]
    pub end: DriveEnd,
    /// Why the loop reacted; any cause when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Control periods from the beginning of the first fault within which the loop reacts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_ticks: Option<u64>,
    /// Control periods from there within which the robot's own set-points are at rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_rest_within_ticks: Option<u64>,
}

/// What ends a drive.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum DriveEnd {
    /// The task, or its time limit: nothing stopped it.
    #[default]
    Task,
    /// The loop came to rest, and holds still; it could be told to run again.
    Holding,
    /// A latched stop that a person must acknowledge.
    ProtectiveStop,
    /// A latched stop that a person must reset.
    EmergencyStop,
    /// The robot does not answer; latched.
    Fault,
    /// It never began: the robot was not found ready.
    NotReady,
}

/// A change of mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeChange {
    /// Control period.
    pub tick: u64,
    /// The mode that it led to.
    pub to: Mode,
    /// Why.
    pub cause: Cause,
}

impl ModeChange {
    /// Of a transition, whose ticks are counted from 1.
    #[must_use]
    pub const fn of(transition: &Transition) -> Self {
        Self { tick: transition.tick.saturating_sub(1), to: transition.to, cause: transition.cause }
    }

    /// Whether the loop reacts to something: it brakes or stops, and nobody asked it to.
    const fn is_reaction(&self) -> bool {
        !matches!(self.cause, Cause::Requested | Cause::Settled)
            && (matches!(self.to, Mode::Braking(_)) || self.to.is_latched())
    }

    fn words(&self, with_tick: bool) -> String {
        let at = if with_tick { format!(" in control period {}", self.tick) } else { String::new() };
        format!("{} by {}{at}", word(self.to), word(self.cause))
    }
}

/// What the control loop did in an episode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriveRecord {
    /// What ended it.
    pub end: DriveEnd,
    /// The control period in which the policy began to drive.
    pub began: Option<u64>,
    /// Why the loop braked or stopped first, where nobody asked it to.
    pub cause: Option<Cause>,
    /// Control periods from the beginning of the first fault to that, the one of the fault included.
    pub reaction_ticks: Option<u64>,
    /// Control periods from there until the robot's own set-points were at rest, for good.
    pub rest_ticks: Option<u64>,
    /// All changes of mode, in order.
    pub changes: Vec<ModeChange>,
}

impl ControlLoopConfig {
    /// Refuses values that mean nothing. `faults` are the scenario's.
    ///
    /// # Errors
    /// [`EngineError::Config`] with the first such key.
    pub fn check(&self, faults: &[ScheduledFault]) -> Result<(), EngineError> {
        let Self { control, silent_policy, must_end } = self;
        control.check("control_loop.control")?;
        if let Some((i, Periods { from, until })) =
            silent_policy.iter().enumerate().find(|(_, p)| p.from >= p.until)
        {
            let key = format!("control_loop.silent_policy[{i}]");
            let found = format!("from = {from}, until = {until}");
            return Err(EngineError::setting(key, "from below until", &found));
        }
        if let Some(MustEndConfig { end: _, cause: _, within_ticks, at_rest_within_ticks }) = must_end
            && (within_ticks.is_some() || at_rest_within_ticks.is_some())
            && self.onset(faults).is_none()
        {
            let expected = "a fault or a silent_policy, from which ticks are counted";
            return Err(EngineError::setting("control_loop.must_end".into(), expected, "neither"));
        }
        Ok(())
    }

    /// The control period in which the first trouble begins.
    #[must_use]
    pub fn onset(&self, faults: &[ScheduledFault]) -> Option<u64> {
        let silences = self.silent_policy.iter().map(|p| p.from);
        faults.iter().map(|f| f.from).chain(silences).min()
    }
}

impl MustEndConfig {
    /// What of it a drive does not keep, in words.
    #[must_use]
    pub fn broken_by(&self, drive: &DriveRecord) -> Option<String> {
        let Self { end, cause, within_ticks, at_rest_within_ticks } = self;
        if *end != drive.end || cause.is_some_and(|cause| Some(cause) != drive.cause) {
            let why = cause.map_or(String::new(), |cause| format!(" by {}", word(cause)));
            return Some(format!("expected {}{why}, found {}", word(end), drive.words()));
        }
        let late = |allowed: Option<u64>, took: Option<u64>, what: &str| {
            let allowed = allowed.filter(|allowed| took.is_none_or(|took| took > *allowed))?;
            let took = took.map_or_else(|| "never".to_owned(), |took| format!("after {took}"));
            Some(format!("expected {what} within {allowed} control periods of the fault, found {took}"))
        };
        late(*within_ticks, drive.reaction_ticks, "a reaction")
            .or_else(|| late(*at_rest_within_ticks, drive.rest_ticks, "rest"))
    }
}

impl DriveRecord {
    /// Of the changes of mode, the end of the commanded motion (a control period) and where the trouble began.
    #[must_use]
    pub fn of(changes: Vec<ModeChange>, by_task: bool, moved_until: Option<u64>, onset: Option<u64>) -> Self {
        let running = |c: &&ModeChange| matches!(c.to, Mode::Running(_));
        let began = changes.iter().find(running).map(|c| c.tick);
        let reaction = changes.iter().find(|c| c.is_reaction());
        let end = match changes.last().map(|c| c.to) {
            Some(Mode::ProtectiveStop) => DriveEnd::ProtectiveStop,
            Some(Mode::EmergencyStop) => DriveEnd::EmergencyStop,
            Some(Mode::Fault) => DriveEnd::Fault,
            _ if by_task => DriveEnd::Task,
            _ if began.is_some() => DriveEnd::Holding,
            _ => DriveEnd::NotReady,
        };
        let since = |tick: u64| onset.map(|onset| (tick + 1).saturating_sub(onset));
        Self {
            end,
            began,
            cause: reaction.map(|c| c.cause),
            // What came before the fault was no reaction to it.
            reaction_ticks: reaction.and_then(|c| since(c.tick)).filter(|ticks| *ticks > 0),
            rest_ticks: moved_until.and_then(since),
            changes,
        }
    }

    /// How it ended, in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self.cause {
            Some(cause) => format!("{} by {}", word(self.end), word(cause)),
            None => word(self.end),
        }
    }

    /// Where the loop first did something else than the golden one, in words; `ticks`: when it did counts as well.
    #[must_use]
    pub fn first_difference(&self, now: &Self, ticks: bool) -> Option<String> {
        let same = |a: &ModeChange, b: &ModeChange| {
            a.to == b.to && a.cause == b.cause && (!ticks || a.tick == b.tick)
        };
        let longer = self.changes.len().max(now.changes.len());
        let words = |change: Option<&ModeChange>| {
            change.map_or_else(|| "no further change of mode".to_owned(), |c| c.words(ticks))
        };
        let pairs = (0..longer).map(|i| (self.changes.get(i), now.changes.get(i)));
        let found = pairs
            .filter(|(a, b)| !a.zip(*b).is_some_and(|(a, b)| same(a, b)))
            .map(|(a, b)| format!("the control loop: golden {}, now {}", words(a), words(b)))
            .next();
        let rest = |ticks: Option<u64>| ticks.map_or_else(|| "never".to_owned(), |t| format!("after {t}"));
        found.or_else(|| {
            let [a, b] = [self.rest_ticks, now.rest_ticks];
            (ticks && a != b).then(|| format!("at rest: golden {}, now {} control periods", rest(a), rest(b)))
        })
    }
}

/// What control loops did in the episodes of one side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriveSummary {
    /// Episodes by how they ended.
    pub ends: BTreeMap<String, usize>,
    /// Fewest and most control periods from the beginning of the first fault to the loop's reaction.
    pub reaction_ticks: Option<[u64; 2]>,
    /// Fewest and most control periods from there until the robot's own set-points were at rest.
    pub rest_ticks: Option<[u64; 2]>,
}

impl DriveSummary {
    /// Of episodes; `None` where no loop drove.
    #[must_use]
    pub fn of(episodes: &[&EpisodeRecord]) -> Option<Self> {
        let drives: Vec<&DriveRecord> = episodes.iter().filter_map(|e| e.drive.as_ref()).collect();
        let mut ends = BTreeMap::new();
        for drive in &drives {
            *ends.entry(drive.words()).or_insert(0) += 1;
        }
        let range = |of: fn(&DriveRecord) -> Option<u64>| {
            let ticks = || drives.iter().filter_map(|d| of(d));
            ticks().min().zip(ticks().max()).map(|(fewest, most)| [fewest, most])
        };
        let (reaction_ticks, rest_ticks) = (range(|d| d.reaction_ticks), range(|d| d.rest_ticks));
        (!drives.is_empty()).then_some(Self { ends, reaction_ticks, rest_ticks })
    }

    /// In a line.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { ends, reaction_ticks, rest_ticks } = self;
        let ends: Vec<String> = ends.iter().map(|(end, count)| format!("{count} {end}")).collect();
        let range = |[fewest, most]: [u64; 2]| {
            if fewest == most { fewest.to_string() } else { format!("{fewest} to {most}") }
        };
        let reaction = reaction_ticks
            .map_or(String::new(), |ticks| format!(", {} control periods after the fault", range(ticks)));
        let rest = rest_ticks.map_or(String::new(), |ticks| format!(", at rest after {}", range(ticks)));
        format!("driven: {}{reaction}{rest}", ends.join(", "))
    }
}

/// A mode or a cause as records have it: `braking (protective_stop)`.
fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(serde_json::Value::Object(of)) => {
            let words: Vec<String> =
                of.iter().map(|(k, v)| format!("{k} ({})", v.as_str().unwrap_or_default())).collect();
            words.join(" ")
        }
        Ok(other) => other.to_string(),
        Err(why) => why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use surefoot_core::Fault;

    use super::*;
    use crate::control::{Driver, Rest};

    const RUN: ModeChange =
        ModeChange { tick: 15, to: Mode::Running(Driver::Policy), cause: Cause::Requested };
    const BRAKE: ModeChange =
        ModeChange { tick: 69, to: Mode::Braking(Rest::ProtectiveStop), cause: Cause::TrackingError };
    const STOP: ModeChange = ModeChange { tick: 75, to: Mode::ProtectiveStop, cause: Cause::Settled };

    fn stopped() -> DriveRecord {
        DriveRecord::of(vec![RUN, BRAKE, STOP], false, Some(74), Some(60))
    }

    #[test]
    fn a_drive_is_summed_up_from_its_changes_of_mode() {
        let drive = stopped();
        assert_eq!((drive.end, drive.began), (DriveEnd::ProtectiveStop, Some(15)));
        assert_eq!((drive.cause, drive.reaction_ticks), (Some(Cause::TrackingError), Some(10)));
        assert_eq!(drive.rest_ticks, Some(15));
        assert_eq!(drive.words(), "protective_stop by tracking_error");
        let of = |changes: &[ModeChange], by_task| DriveRecord::of(changes.to_vec(), by_task, None, None).end;
        let hold = ModeChange { tick: 90, to: Mode::Holding, cause: Cause::Settled };
        assert_eq!(of(&[RUN, hold], true), DriveEnd::Task);
        assert_eq!(of(&[RUN, hold], false), DriveEnd::Holding);
        assert_eq!(of(&[RUN, BRAKE, STOP], true), DriveEnd::ProtectiveStop, "a stop outranks the task");
        assert_eq!(of(&[], false), DriveEnd::NotReady);
        // A reaction to something else before the fault.
        assert_eq!(DriveRecord::of(vec![RUN, BRAKE, STOP], false, None, Some(70)).reaction_ticks, None);
    }

    #[test]
    fn what_a_drive_must_do_is_told_where_it_does_not() {
        let must = |end, cause, within_ticks, at_rest_within_ticks| {
            MustEndConfig { end, cause, within_ticks, at_rest_within_ticks }.broken_by(&stopped())
        };
        let stop = DriveEnd::ProtectiveStop;
        assert_eq!(must(stop, Some(Cause::TrackingError), Some(10), Some(15)), None);
        assert_eq!(must(stop, None, None, None), None);
        let said = must(DriveEnd::Holding, None, None, None).unwrap();
        assert_eq!(said, "expected holding, found protective_stop by tracking_error");
        let said = must(stop, Some(Cause::PolicyLate), None, None).unwrap();
        assert!(said.contains("expected protective_stop by policy_late"), "{said}");
        assert!(must(stop, None, Some(9), None).unwrap().contains("a reaction within 9"));
        assert!(must(stop, None, None, Some(14)).unwrap().contains("rest within 14"));
        let never = DriveRecord { rest_ticks: None, ..stopped() };
        let rest =
            MustEndConfig { end: stop, cause: None, within_ticks: None, at_rest_within_ticks: Some(99) };
        assert!(rest.broken_by(&never).unwrap().ends_with("found never"));
    }

    #[test]
    fn the_first_other_change_of_mode_is_told_and_its_tick_only_where_it_counts() {
        let later = ModeChange { tick: 70, ..BRAKE };
        let now = DriveRecord::of(vec![RUN, later, STOP], false, Some(74), Some(60));
        assert_eq!(stopped().first_difference(&now, false), None);
        let said = stopped().first_difference(&now, true).unwrap();
        assert!(said.contains("in control period 69") && said.contains("in control period 70"), "{said}");
        let fewer = DriveRecord::of(vec![RUN, BRAKE], false, Some(74), Some(60));
        let said = stopped().first_difference(&fewer, false).unwrap();
        assert!(said.contains("golden protective_stop by settled, now no further"), "{said}");
        let slower = DriveRecord { rest_ticks: Some(16), ..stopped() };
        assert_eq!(stopped().first_difference(&slower, false), None);
        assert!(stopped().first_difference(&slower, true).unwrap().contains("golden after 15, now after 16"));
        assert_eq!(stopped().first_difference(&stopped(), true), None);
    }

    #[test]
    fn drives_are_summed_up_in_a_line() {
        let record = |drive| EpisodeRecord { drive, ..EpisodeRecord::default() };
        let slower = DriveRecord { reaction_ticks: Some(12), ..stopped() };
        let all = [record(Some(stopped())), record(Some(slower))];
        let line = DriveSummary::of(&all.iter().collect::<Vec<_>>()).unwrap().line();
        let expected = "driven: 2 protective_stop by tracking_error, 10 to 12 control periods after the fault, at rest after 15";
        assert_eq!(line, expected);
        assert_eq!(DriveSummary::of(&[&record(None)]), None);
    }

    #[test]
    fn what_a_loop_cannot_be_asked_is_refused() {
        let fault = ScheduledFault { from: 3, until: 9, fault: Fault::FrozenObservations };
        let must = MustEndConfig {
            end: DriveEnd::Holding,
            cause: None,
            within_ticks: Some(4),
            at_rest_within_ticks: None,
        };
        let with = |silent_policy: &[Periods]| ControlLoopConfig {
            silent_policy: silent_policy.to_vec(),
            must_end: Some(must),
            ..ControlLoopConfig::default()
        };
        let silence = Periods { from: 2, until: 8 };
        assert!(with(&[]).check(&[fault]).is_ok() && with(&[silence]).check(&[]).is_ok());
        assert_eq!(with(&[silence]).onset(&[fault]), Some(2));
        let said = with(&[]).check(&[]).unwrap_err().to_string();
        assert!(said.contains("must_end") && said.contains("silent_policy"), "{said}");
        let said = with(&[Periods { from: 8, until: 8 }]).check(&[]).unwrap_err().to_string();
        assert!(said.contains("silent_policy[0]"), "{said}");
        let mut slack = with(&[silence]);
        slack.control.max_tracking_error = 0.0;
        assert!(
            slack.check(&[]).unwrap_err().to_string().contains("control_loop.control.max_tracking_error")
        );
    }
}
