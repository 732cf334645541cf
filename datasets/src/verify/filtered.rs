//! Recorded actions held against a robot's safety filter: what would it have changed?

use std::fmt;
use std::ops::ControlFlow;

use serde::Serialize;
use surefoot_core::contract::{CommandKind, JointContract};
use surefoot_core::safety::{SafetyChain, Verdict};
use surefoot_core::{DatasetMeta, Episode, EpisodeSource, Field, RobotContract};

use super::{JointActions, Lints, VerifyOptions};
use crate::pass::pass;
use crate::table::{number, percent, write_table};

/// Share of the ticks that may be changed without a warning.
const MAX_CHANGED_SHARE: f64 = 0.05;

/// Step times that differ by less are the same.
const SAME_STEP: f64 = 0.01;

/// What a share of changed commands is a share of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterBasis {
    /// Control ticks: the robot's safety filter was run on the recorded joint actions.
    FilteredTicks,
    /// Steps: the recording keeps what was proposed beside what was executed.
    RecordedSteps,
}

/// What was changed of one joint, or of one number of the action row.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ChangedChannel {
    /// The joint's name, or the number's.
    pub name: String,
    /// Unit of the largest change.
    pub unit: String,
    /// Ticks or steps in which it was changed.
    pub changed: usize,
    /// Largest change of a finite number.
    pub largest_change: f64,
}

/// What the filter would have changed, or did change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FilterReport {
    /// The robot.
    pub robot: String,
    /// What was counted.
    pub basis: FilterBasis,
    /// How the action row was read, where the filter was run.
    pub actions: Option<JointActions>,
    /// Episodes that were judged.
    pub episodes: usize,
    /// Episodes that start where the filter cannot.
    pub not_started: usize,
    /// Ticks or steps that were judged.
    pub judged: usize,
    /// Those in which anything was changed.
    pub changed: usize,
    /// By joint, or by number of the action row.
    pub channels: Vec<ChangedChannel>,
}

impl FilterReport {
    /// Changed ones among those that were judged.
    #[must_use]
    pub fn changed_share(&self) -> f64 {
        self.changed as f64 / self.judged.max(1) as f64
    }
}

impl fmt::Display for FilterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { robot, basis, actions, episodes, not_started, judged, changed, channels } = self;
        let share = percent(*changed, *judged);
        match basis {
            FilterBasis::FilteredTicks => writeln!(
                f,
                "safety filter of {robot} on {} of {episodes} episodes: {changed} of {judged} control ticks changed ({share})",
                match actions {
                    Some(JointActions::Positions) => "joint positions",
                    _ => "joint velocities",
                }
            )?,
            FilterBasis::RecordedSteps => writeln!(
                f,
                "executed against proposed, as recorded in {episodes} episodes: {changed} of {judged} steps changed ({share})"
            )?,
        }
        if *not_started > 0 {
            writeln!(f, "{not_started} episodes start outside the limits and were left out")?;
        }
        let rows: Vec<Vec<String>> = channels
            .iter()
            .map(|c| {
                let change = format!("{} {}", number(c.largest_change), c.unit);
                vec![c.name.clone(), c.changed.to_string(), percent(c.changed, *judged), change]
            })
            .collect();
        write_table(f, &["joint", "changed", "share", "largest change"], &rows)
    }
}

/// Where a joint's numbers stand in the rows, and how they are scaled.
#[derive(Clone, Debug, PartialEq)]
struct JointColumns {
    /// Place in the action row.
    action: usize,
    /// What -1 and 1 stand for, where actions are normalised.
    bounds: Option<(f64, f64)>,
    /// Place in the observation row.
    position: Option<usize>,
}

/// How a dataset's rows are those of a robot's joints.
#[derive(Clone, Debug, PartialEq)]
struct JointMap {
    actions: JointActions,
    joints: Vec<JointColumns>,
}

/// Keys of an observation that hold a robot's joint positions, and nothing else.
const POSITION_KEYS: [&str; 8] = [
    "joint_positions",
    "joint_position",
    "joint_pos",
    "robot0_joint_pos",
    "joint_states",
    "qpos",
    "observations/qpos",
    "observation.state",
];

/// Whether a name is that of the joint, with nothing or a word of `words` behind it.
fn is_of(name: &str, joint: &str, words: Option<&[&str]>) -> bool {
    match name.strip_prefix(joint) {
        Some("") => true,
        Some(rest) => match (rest.strip_prefix(['_', '.', '/']), words) {
            (Some(word), Some(words)) => words.contains(&word),
            (Some(_), None) => true,
            (None, _) => false,
        },
        None => false,
    }
}

fn of_joint(fields: &[Field], joint: &str, words: Option<&[&str]>) -> Option<usize> {
    // The plain name first: `elbow` before `elbow_target`.
    let plain = fields.iter().position(|f| f.name == joint);
    plain.or_else(|| fields.iter().position(|f| is_of(&f.name, joint, words)))
}

const AS_POSITION: [&str; 3] = ["position", "pos", "qpos"];

impl JointMap {
    /// By the names in the dataset's spec, or in order where the caller says what the actions are.
    fn new(
        meta: &DatasetMeta,
        contract: &RobotContract,
        actions: Option<JointActions>,
    ) -> Result<Self, String> {
        let joints = &contract.joints;
        let spec = meta.spec.as_ref();
        let fields = spec.map_or(&[][..], |s| &s.action);
        let named: Option<Vec<usize>> = joints.iter().map(|j| of_joint(fields, &j.name, None)).collect();
        let (places, by_unit) = match named.filter(|places| !places.is_empty()) {
            Some(places) => {
                let unit = |suffix: &str| {
                    places.iter().zip(joints).all(|(at, j)| fields[*at].unit == format!("{}{suffix}", j.unit))
                };
                let by_unit = if unit("") {
                    Some(JointActions::Positions)
                } else if unit("/s") {
                    Some(JointActions::Velocities)
                } else {
                    None
                };
                (places, by_unit)
            }
            None if actions.is_some() && meta.action_dim == joints.len() => {
                ((0..joints.len()).collect(), None)
            }
            None => {
                let names: Vec<&str> = fields.iter().map(|f| f.name.as_str()).collect();
                let found = if names.is_empty() {
                    format!("a row of {} without names", meta.action_dim)
                } else {
                    names.join(", ")
                };
                let wanted: Vec<&str> = joints.iter().map(|j| j.name.as_str()).collect();
                return Err(format!(
                    "this needs joint actions: the robot's joints are {}, the dataset's actions are {found}",
                    wanted.join(", ")
                ));
            }
        };
        let Some(actions) = actions.or(by_unit) else {
            return Err("the actions' units do not say whether they are positions or velocities".into());
        };
        let observed = spec.map_or(&[][..], |s| &s.observation);
        let by_name: Option<Vec<usize>> =
            joints.iter().map(|j| of_joint(observed, &j.name, Some(&AS_POSITION))).collect();
        let positions = by_name.filter(|p| !p.is_empty()).or_else(|| {
            let mut at = 0;
            for (key, width) in &meta.observation_keys {
                if POSITION_KEYS.contains(&key.as_str()) && *width == joints.len() {
                    return Some((at..at + width).collect());
                }
                at += width;
            }
            None
        });
        if positions.is_none() && actions == JointActions::Velocities {
            return Err("no observation holds the joints' positions, which is where an episode starts".into());
        }
        let columns = places.iter().enumerate().map(|(i, at)| JointColumns {
            action: *at,
            bounds: fields
                .get(*at)
                .and_then(|f| f.low.zip(f.high))
                .map(|(l, h)| (f64::from(l), f64::from(h))),
            position: positions.as_ref().and_then(|p| p.get(i).copied()),
        });
        Ok(Self { actions, joints: columns.collect() })
    }

    /// The actions of a step in the joints' units.
    fn action(&self, row: &[f32], out: &mut Vec<f64>) {
        out.clear();
        out.extend(self.joints.iter().map(|j| {
            let x = row.get(j.action).copied().map_or(f64::NAN, f64::from);
            j.bounds.map_or(x, |(low, high)| low + 0.5 * (x + 1.0) * (high - low))
        }));
    }

    /// Where the first step starts.
    fn start(&self, episode: &Episode) -> Vec<f64> {
        let mut start = Vec::new();
        self.action(&episode.action, &mut start);
        for (at, j) in start.iter_mut().zip(&self.joints) {
            if let Some(position) = j.position {
                *at = episode.observation.get(position).copied().map_or(f64::NAN, f64::from);
            }
        }
        start
    }
}

/// What happened in one episode.
#[derive(Default)]
struct Judged {
    ticks: usize,
    changed: usize,
    by_joint: Vec<(usize, f64)>,
    /// Why the chain could not start.
    not_started: Option<String>,
}

fn run(
    chain: &mut SafetyChain,
    map: &JointMap,
    episode: &Episode,
    dim: usize,
    hold: usize,
    tick_secs: f64,
) -> Judged {
    let mut judged = Judged { by_joint: vec![(0, 0.0); map.joints.len()], ..Judged::default() };
    if let Err(error) = chain.arm(&map.start(episode)) {
        judged.not_started = Some(error.to_string());
        return judged;
    }
    let mut desired = Vec::with_capacity(map.joints.len());
    for row in episode.action.chunks_exact(dim.max(1)) {
        map.action(row, &mut desired);
        if map.actions == JointActions::Positions {
            // The velocity that is there when the next action comes.
            for (x, from) in desired.iter_mut().zip(chain.state().position) {
                *x = (*x - from) / (hold as f64 * tick_secs);
            }
        }
        for _ in 0..hold {
            let command = chain.admit(&desired);
            judged.ticks += 1;
            if command.verdict() == Verdict::Passed {
                continue;
            }
            judged.changed += 1;
            for ((count, largest), (asked, given)) in
                judged.by_joint.iter_mut().zip(desired.iter().zip(command.velocity()))
            {
                if asked != given {
                    *count += 1;
                    let change = (asked - given).abs();
                    *largest = if change.is_finite() { largest.max(change) } else { *largest };
                }
            }
        }
    }
    judged
}

/// Every episode that can be read and has steps, in order.
fn each_episode<T: Send>(
    source: &dyn EpisodeSource,
    judge: impl Fn(&Episode) -> T + Sync,
    mut take: impl FnMut(String, T),
) {
    pass(
        source,
        0..source.len(),
        |_, episode| episode.ok().filter(|e| !e.is_empty()).map(|e| (e.name.clone(), judge(&e))),
        |judged| {
            if let Some((name, judged)) = judged {
                take(name, judged);
            }
            ControlFlow::<()>::Continue(())
        },
    );
}

/// Control ticks that an action holds.
fn hold_ticks(meta: &DatasetMeta, contract: &RobotContract) -> Result<usize, String> {
    let ticks = contract.ticks_per_step().map_err(|e| e.to_string())?;
    let expected = ticks as f64 * contract.control_secs();
    match meta.spec.as_ref().map(|s| s.step_secs).filter(|s| *s > 0.0) {
        Some(found) if (found / expected - 1.0).abs() > SAME_STEP => Err(format!(
            "the robot acts every {expected} s, the dataset was recorded every {found} s: resample it"
        )),
        _ => Ok(ticks),
    }
}

impl Lints {
    pub(super) fn filtered(
        &mut self,
        source: &dyn EpisodeSource,
        contract: &RobotContract,
        look: &VerifyOptions<'_>,
    ) -> Option<FilterReport> {
        let meta = source.meta();
        if let Some(hash) = meta.contract_hash.as_ref().filter(|hash| **hash != contract.hash()) {
            let short = |hash: &str| hash.chars().take(12).collect::<String>();
            let message =
                format!("recorded under contract {}, held against {}", short(hash), short(&contract.hash()));
            let mend =
                "name the contract that it was recorded under, unless its limits were changed on purpose";
            self.warning("other_contract", "robot_contract_hash".into(), message, mend);
        }
        let mapped = JointMap::new(meta, contract, look.actions)
            .and_then(|map| Ok((map, hold_ticks(meta, contract)?)))
            .and_then(|mapped| {
                if contract.command == CommandKind::Effort {
                    return Err("the robot takes efforts, and its filter bounds no motion".into());
                }
                contract.safety_chain().map_err(|e| e.to_string())?;
                Ok(mapped)
            });
        let report = match mapped {
            Ok((map, hold)) => self.simulate(source, contract, &map, hold),
            Err(why) => match recorded(source, contract) {
                Some(report) => report,
                None => {
                    let mend = "give `--actions positions` or `velocities` if the action row is the robot's joints in its order; \
                                actions in task space cannot be judged without the robot's model";
                    self.warning("filter_not_judged", "actions".into(), why, mend);
                    return None;
                }
            },
        };
        let limit = look.max_changed_share.unwrap_or(MAX_CHANGED_SHARE);
        if report.changed_share() > limit {
            let worst = report.channels.iter().max_by_key(|c| c.changed);
            let place = worst.map_or_else(String::new, |c| c.name.clone());
            let message = format!(
                "the safety filter changes {} of the recorded actions, {} most often",
                percent(report.changed, report.judged),
                place
            );
            let mend = "learning from what a robot was not allowed to do teaches it to try: slow the demonstrations down, \
                        or widen the limits if they are tighter than the robot's";
            self.warning("safety_filter_changes", place, message, mend);
        }
        Some(report)
    }

    fn simulate(
        &mut self,
        source: &dyn EpisodeSource,
        contract: &RobotContract,
        map: &JointMap,
        hold: usize,
    ) -> FilterReport {
        let channel = |j: &JointContract| ChangedChannel {
            name: j.name.clone(),
            unit: format!("{}/s", j.unit),
            ..ChangedChannel::default()
        };
        let mut report = FilterReport {
            robot: contract.name.clone(),
            basis: FilterBasis::FilteredTicks,
            actions: Some(map.actions),
            episodes: 0,
            not_started: 0,
            judged: 0,
            changed: 0,
            channels: contract.joints.iter().map(channel).collect(),
        };
        let mut first_outside = None;
        let dim = source.meta().action_dim;
        let judge = |episode: &Episode| {
            let chain = contract.safety_chain().ok();
            chain.map(|mut chain| run(&mut chain, map, episode, dim, hold, contract.control_secs()))
        };
        each_episode(source, judge, |name, judged| {
            let Some(Judged { ticks, changed, by_joint, not_started }) = judged else { return };
            if let Some(why) = not_started {
                report.not_started += 1;
                first_outside.get_or_insert((name, why));
                return;
            }
            report.episodes += 1;
            report.judged += ticks;
            report.changed += changed;
            for (channel, (count, largest)) in report.channels.iter_mut().zip(by_joint) {
                channel.changed += count;
                channel.largest_change = channel.largest_change.max(largest);
            }
        });
        if let Some((name, why)) = first_outside {
            let message = format!("{} episodes start where the robot must not be: {why}", report.not_started);
            let mend = "check zero points, signs and units of the joints, or the contract's limits";
            self.warning("start_outside_limits", name, message, mend);
        }
        report
    }
}

/// What the recording itself says was changed; `None` where it keeps no proposals.
fn recorded(source: &dyn EpisodeSource, contract: &RobotContract) -> Option<FilterReport> {
    let meta = source.meta();
    let dim = meta.action_dim;
    let fields = meta.spec.as_ref().map_or(&[][..], |s| &s.action);
    let channel = |i: usize| ChangedChannel {
        name: fields.get(i).map_or_else(|| format!("action[{i}]"), |f| f.name.clone()),
        unit: "of [-1, 1]".into(),
        ..ChangedChannel::default()
    };
    let mut report = FilterReport {
        robot: contract.name.clone(),
        basis: FilterBasis::RecordedSteps,
        actions: None,
        episodes: 0,
        not_started: 0,
        judged: 0,
        changed: 0,
        channels: (0..dim).map(channel).collect(),
    };
    let judge = |episode: &Episode| -> Option<Judged> {
        if episode.proposed.len() != episode.action.len() {
            return None;
        }
        let mut judged = Judged { by_joint: vec![(0, 0.0); dim], ..Judged::default() };
        for (asked, given) in
            episode.proposed.chunks_exact(dim.max(1)).zip(episode.action.chunks_exact(dim.max(1)))
        {
            judged.ticks += 1;
            judged.changed += usize::from(asked != given);
            for ((count, largest), (asked, given)) in judged.by_joint.iter_mut().zip(asked.iter().zip(given))
            {
                let change = f64::from((asked - given).abs());
                *count += usize::from(asked != given);
                *largest = if change.is_finite() { largest.max(change) } else { *largest };
            }
        }
        Some(judged)
    };
    each_episode(source, judge, |_, judged| {
        let Some(judged) = judged else { return };
        report.episodes += 1;
        report.judged += judged.ticks;
        report.changed += judged.changed;
        for (channel, (count, largest)) in report.channels.iter_mut().zip(judged.by_joint) {
            channel.changed += count;
            channel.largest_change = channel.largest_change.max(largest);
        }
    });
    (report.episodes > 0).then_some(report)
}
