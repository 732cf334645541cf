//! The import section of a robot contract, checked and compiled.

use std::collections::BTreeMap;

use surefoot_core::contract::{
    ActionBounds, ActionDefinition, ActionShift, ActionSource, Align, AlignStrategy, EpisodeCut,
    EpisodeSplit, EventSource, ImportContract, JointContract, ObservationSource, RewardSource, SuccessFrom,
    Timeline, UnitOperator,
};
use surefoot_core::{EnvSpec, Field, RobotContract};

use super::align::{Grid, StreamRule};
use super::units::{Affine, compile};
use crate::streams::Selector;

/// Something in the import section that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: expected {expected}, found {found}")]
pub struct PlanError {
    /// The key, as in `import.action[0].bounds`.
    pub at: String,
    /// What would be right.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl PlanError {
    #[allow(clippy::needless_pass_by_value)]
    pub(super) fn new(at: &str, expected: impl Into<String>, found: impl ToString) -> Self {
        Self { at: at.to_owned(), expected: expected.into(), found: found.to_string() }
    }
}

/// A topic of which samples are taken.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    /// Key in the contract, for messages.
    pub at: String,
    pub topic: String,
    pub message_type: Option<String>,
    pub timeline: Timeline,
    pub selectors: Vec<Selector>,
    pub units: Vec<Affine>,
    pub rule: StreamRule,
}

/// How an action is made from its stream.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Making {
    /// The row of the moment itself.
    Now,
    /// The row of the next moment.
    Next,
    /// The next row less this one.
    Difference,
    /// The row of the moment (`next`: of the next one) less the observation columns from here on.
    Relative { column: usize, next: bool },
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct ActionPlan {
    pub stream: usize,
    pub making: Making,
    /// Middle and half width of the range that becomes `[-1, 1]`.
    pub range: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum EventKind {
    Start,
    End,
    Toggle,
    Success,
    Failure,
    Intervention,
}

#[derive(Clone, Debug)]
pub(super) struct EventPlan {
    pub kind: EventKind,
    pub source: EventSource,
    pub selector: Selector,
}

/// What the reward of a step is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum RewardPlan {
    /// Not recorded.
    None,
    /// A stream's row of the next moment.
    Stream(usize),
    /// Of the label.
    Label { success: f32, otherwise: f32 },
}

/// A checked import section: everything that does not depend on a log.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) streams: Vec<Stream>,
    /// Streams of the observation, in row order, and the first column of each.
    pub(super) observation: Vec<(usize, usize)>,
    pub(super) action: Vec<ActionPlan>,
    pub(super) reward: RewardPlan,
    pub(super) events: Vec<EventPlan>,
    pub(super) grid: Grid,
    pub(super) cut: EpisodeCut,
    /// Columns that tell whether anything moves, and how little is nothing, per step.
    pub(super) still: Option<(usize, usize, f64)>,
    pub(super) keep_steps: Option<usize>,
    pub(super) idle_steps: Option<usize>,
    pub(super) success: SuccessFrom,
    pub(super) labelled_episodes_terminate: bool,
    spec: EnvSpec,
    /// How actions are read, in words.
    words: Vec<String>,
}

/// Silence after which a grid ends where the contract says nothing of it, s.
const SILENCE_SECS: f64 = 5.0;

/// A selected number: its path, the word that stands for it in names, its joint where it is of one.
struct Selected {
    path: String,
    word: String,
    joint: Option<usize>,
}

impl Plan {
    /// Checks and compiles the import section of a contract.
    ///
    /// # Errors
    /// At the first key that cannot be meant.
    pub fn new(contract: &RobotContract) -> Result<Self, PlanError> {
        let Some(import) = &contract.import else {
            let name = &contract.name;
            return Err(PlanError::new(
                "import",
                "a section that says what the topics of a recording mean",
                format!("none in the contract of {name}"),
            ));
        };
        let ImportContract {
            observation,
            action,
            action_shift,
            reward,
            events,
            episodes,
            success,
            labelled_episodes_terminate,
            max_reorder_secs,
            table: _,
        } = import;
        let mut builder = Builder { contract, streams: Vec::new() };
        let mut fields = Vec::new();
        let mut columns = BTreeMap::new();
        let mut observed = Vec::new();
        for (i, source) in observation.iter().enumerate() {
            let at = format!("import.observation[{i}]");
            let first = fields.len();
            observed.push((builder.observation(&at, source, &mut fields)?, first));
            if columns.insert(source.name.clone(), (first, fields.len())).is_some() {
                return Err(PlanError::new(&at, "a name of its own", &source.name));
            }
        }
        if fields.is_empty() {
            return Err(PlanError::new("import.observation", "at least one source", "none"));
        }
        let mut actions = Vec::new();
        let mut action_fields = Vec::new();
        let mut words = Vec::new();
        for (i, source) in action.iter().enumerate() {
            let at = format!("import.action[{i}]");
            actions.push(builder.action(&at, source, *action_shift, &columns, &mut action_fields)?);
            words.push(describe(source, *action_shift));
        }
        if action_fields.is_empty() {
            return Err(PlanError::new("import.action", "at least one source", "none"));
        }
        for (what, row) in [("observation", &fields), ("action", &action_fields)] {
            let mut seen = std::collections::BTreeSet::new();
            if let Some(twice) = row.iter().find(|f| !seen.insert(f.name.as_str())) {
                return Err(PlanError::new(&format!("import.{what}"), "names that differ", &twice.name));
            }
        }
        let reward = builder.reward(reward.as_ref())?;
        let reward_range = match reward {
            RewardPlan::Label { success, otherwise } => {
                Some((success.min(otherwise), success.max(otherwise)))
            }
            _ => None,
        };
        let events = [
            (EventKind::Start, "start_episode", &events.start_episode),
            (EventKind::End, "end_episode", &events.end_episode),
            (EventKind::Toggle, "toggle_episode", &events.toggle_episode),
            (EventKind::Success, "success", &events.success),
            (EventKind::Failure, "failure", &events.failure),
            (EventKind::Intervention, "intervention", &events.intervention),
        ];
        let events = events
            .into_iter()
            .filter_map(|(kind, name, source)| Some((kind, name, source.as_ref()?)))
            .map(|(kind, name, source)| event(kind, name, source))
            .collect::<Result<Vec<_>, _>>()?;
        let step_secs = 1.0 / contract.policy_hz;
        let steps = |secs: f64, at: &str| -> Result<usize, PlanError> {
            positive(secs, at)?;
            Ok((secs / step_secs).round().max(1.0) as usize)
        };
        let reorder = *max_reorder_secs;
        if !(reorder.is_finite() && (0.0..=60.0).contains(&reorder)) {
            return Err(PlanError::new("import.max_reorder_secs", "0 to 60", reorder));
        }
        let silence = match episodes.split {
            EpisodeSplit::GapSecs(secs) => {
                positive(secs, "import.episodes.split.gap_secs")?;
                secs
            }
            _ => SILENCE_SECS,
        };
        if episodes.split == EpisodeSplit::Events && events.iter().all(|e| e.kind == EventKind::Intervention)
        {
            return Err(PlanError::new(
                "import.episodes.split",
                "events that begin or end an episode",
                "none in import.events",
            ));
        }
        let idle_steps = match episodes.split {
            EpisodeSplit::IdleSecs(secs) => Some(steps(secs, "import.episodes.split.idle_secs")?),
            _ => None,
        };
        let keep_steps = match episodes.trim_idle_keep_secs {
            Some(0.0) => Some(0),
            Some(secs) => Some(steps(secs, "import.episodes.trim_idle_keep_secs")?),
            None => None,
        };
        let still = match &episodes.still {
            Some(still) => {
                let at = "import.episodes.still";
                let Some((from, to)) = columns.get(&still.observation) else {
                    return Err(PlanError::new(at, known(&columns), &still.observation));
                };
                positive(still.below_per_sec, "import.episodes.still.below_per_sec")?;
                Some((*from, *to, still.below_per_sec * step_secs))
            }
            None if idle_steps.is_some() || keep_steps.is_some() => {
                return Err(PlanError::new(
                    "import.episodes.still",
                    "what counts as standing still",
                    "nothing",
                ));
            }
            None => None,
        };
        if episodes.min_steps == 0 || episodes.max_steps.is_some_and(|max| max < episodes.min_steps) {
            let found = format!("min_steps {}, max_steps {:?}", episodes.min_steps, episodes.max_steps);
            return Err(PlanError::new("import.episodes", "1 <= min_steps <= max_steps", found));
        }
        if *success == SuccessFrom::Events
            && !events.iter().any(|e| matches!(e.kind, EventKind::Success | EventKind::Failure))
        {
            return Err(PlanError::new("import.success", "import.events.success or .failure", "neither"));
        }
        if matches!(success, SuccessFrom::LastRewardAbove(_)) && !matches!(reward, RewardPlan::Stream(_)) {
            return Err(PlanError::new("import.success", "a reward from a topic", "none"));
        }
        if matches!(reward, RewardPlan::Label { .. }) && *success == SuccessFrom::Unknown {
            return Err(PlanError::new("import.reward", "import.success that labels come from", "unknown"));
        }
        Ok(Self {
            streams: builder.streams,
            observation: observed,
            action: actions,
            reward,
            events,
            grid: Grid {
                hz: contract.policy_hz,
                reorder_nanos: nanos(reorder),
                silence_nanos: nanos(silence),
            },
            cut: episodes.clone(),
            still,
            keep_steps,
            idle_steps,
            success: success.clone(),
            labelled_episodes_terminate: *labelled_episodes_terminate,
            spec: EnvSpec {
                name: contract.name.clone(),
                observation: fields,
                action: action_fields,
                step_secs,
                max_steps: 0,
                reward_range,
                contract_hash: Some(contract.hash()),
            },
            words,
        })
    }

    /// What the imported rows mean; `max_steps` is filled in when episodes are known.
    #[must_use]
    pub const fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    /// How each action is read, in words: people should see this once.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The topics that are read.
    #[must_use]
    pub fn topics(&self) -> std::collections::BTreeSet<&str> {
        self.streams
            .iter()
            .map(|s| s.topic.as_str())
            .chain(self.events.iter().map(|e| e.source.topic.as_str()))
            .collect()
    }
}

fn nanos(secs: f64) -> i64 {
    (secs * 1e9).round() as i64
}

fn positive(x: f64, at: &str) -> Result<(), PlanError> {
    if x.is_finite() && x > 0.0 { Ok(()) } else { Err(PlanError::new(at, "a positive number", x)) }
}

fn known(columns: &BTreeMap<String, (usize, usize)>) -> String {
    format!("one of {}", columns.keys().cloned().collect::<Vec<_>>().join(", "))
}

fn describe(source: &ActionSource, shift: ActionShift) -> String {
    let when = match shift {
        ActionShift::Next => "at the end of its step".to_owned(),
        ActionShift::Hold => "at the beginning of its step".to_owned(),
        ActionShift::AfterMs(ms) => format!("{ms} ms after its observation"),
    };
    let (name, topic) = (&source.name, &source.topic);
    match &source.definition {
        ActionDefinition::Commanded => format!("{name}: what {topic} commands, read {when}"),
        ActionDefinition::NextState => format!("{name}: what {topic} says one step later"),
        ActionDefinition::Delta => format!("{name}: how {topic} changes over the step"),
        ActionDefinition::RelativeTo(state) => {
            format!("{name}: what {topic} commands, read {when}, less the observed {state}")
        }
    }
}

fn event(kind: EventKind, name: &str, source: &EventSource) -> Result<EventPlan, PlanError> {
    let at = format!("import.events.{name}");
    let selector =
        Selector::parse(&source.select).map_err(|e| PlanError::new(&format!("{at}.select"), "a path", e))?;
    if !source.above.is_finite() {
        return Err(PlanError::new(&format!("{at}.above"), "a number", source.above));
    }
    Ok(EventPlan { kind, source: source.clone(), selector })
}

struct Builder<'c> {
    contract: &'c RobotContract,
    streams: Vec<Stream>,
}

impl Builder<'_> {
    fn observation(
        &mut self,
        at: &str,
        source: &ObservationSource,
        fields: &mut Vec<Field>,
    ) -> Result<usize, PlanError> {
        let ObservationSource { name, topic, message_type, align, select, apply, unit } = source;
        let selected = self.selected(at, select)?;
        fields.extend(selected.iter().map(|s| Field::unbounded(field_name(name, s, selected.len()), unit)));
        self.stream(at, topic, message_type.clone(), align, &selected, apply, 0, true)
    }

    fn action(
        &mut self,
        at: &str,
        source: &ActionSource,
        shift: ActionShift,
        columns: &BTreeMap<String, (usize, usize)>,
        fields: &mut Vec<Field>,
    ) -> Result<ActionPlan, PlanError> {
        let ActionSource { name, topic, message_type, align, select, apply, unit, definition, bounds } =
            source;
        let selected = self.selected(at, select)?;
        let after = match shift {
            ActionShift::AfterMs(ms) if !(ms.is_finite() && (0.0..=10_000.0).contains(&ms)) => {
                return Err(PlanError::new("import.action_shift.after_ms", "0 to 10000", ms));
            }
            ActionShift::AfterMs(ms) => nanos(ms * 1e-3),
            ActionShift::Next | ActionShift::Hold => 0,
        };
        let next = shift == ActionShift::Next;
        let (making, after) = match definition {
            ActionDefinition::Commanded => (if next { Making::Next } else { Making::Now }, after),
            ActionDefinition::NextState => (Making::Next, 0),
            ActionDefinition::Delta => (Making::Difference, 0),
            ActionDefinition::RelativeTo(state) => {
                let Some((from, to)) = columns.get(state) else {
                    return Err(PlanError::new(
                        &format!("{at}.definition.relative_to"),
                        known(columns),
                        state,
                    ));
                };
                if to - from != selected.len() {
                    let expected = format!("an observation of {} numbers", selected.len());
                    return Err(PlanError::new(&format!("{at}.definition.relative_to"), expected, to - from));
                }
                (Making::Relative { column: *from, next }, after)
            }
        };
        let at_bounds = format!("{at}.bounds");
        let count = selected.len();
        let range: Vec<(f64, f64)> = match bounds {
            ActionBounds::Range { low, high } => {
                if low.len() != count || high.len() != count {
                    let found = format!("{} and {}", low.len(), high.len());
                    return Err(PlanError::new(
                        &at_bounds,
                        format!("{count} numbers in low and high"),
                        found,
                    ));
                }
                low.iter().copied().zip(high.iter().copied()).collect()
            }
            limit => selected
                .iter()
                .map(|s| {
                    let joint = s.joint.and_then(|j| self.contract.joints.get(j)).ok_or_else(|| {
                        PlanError::new(&at_bounds, "range, for this is no joint of the contract", &s.path)
                    })?;
                    self.joint_range(joint, limit, unit, &at_bounds)
                })
                .collect::<Result<_, _>>()?,
        };
        for ((low, high), s) in range.iter().zip(&selected) {
            if !(low.is_finite() && high.is_finite() && low < high) {
                return Err(PlanError::new(
                    &at_bounds,
                    format!("low < high for {}", s.path),
                    format!("{low} and {high}"),
                ));
            }
            fields.push(Field::bounded(field_name(name, s, count), unit, *low as f32, *high as f32));
        }
        let range = range.into_iter().map(|(low, high)| (0.5 * (low + high), 0.5 * (high - low))).collect();
        let stream = self.stream(at, topic, message_type.clone(), align, &selected, apply, after, false)?;
        Ok(ActionPlan { stream, making, range })
    }

    fn joint_range(
        &self,
        joint: &JointContract,
        bounds: &ActionBounds,
        unit: &str,
        at: &str,
    ) -> Result<(f64, f64), PlanError> {
        let (expected, low, high) = match bounds {
            ActionBounds::Velocity => (format!("{}/s", joint.unit), -joint.max_velocity, joint.max_velocity),
            ActionBounds::Step => {
                let way = joint.max_velocity / self.contract.policy_hz;
                (joint.unit.clone(), -way, way)
            }
            ActionBounds::Effort => {
                let Some(effort) = joint.max_effort else {
                    return Err(PlanError::new(at, format!("max_effort of joint {}", joint.name), "none"));
                };
                (if joint.unit == "m" { "N" } else { "N m" }.to_owned(), -effort, effort)
            }
            ActionBounds::Position | ActionBounds::Range { .. } => {
                (joint.unit.clone(), joint.min_position, joint.max_position)
            }
        };
        if unit == expected {
            return Ok((low, high));
        }
        let expected = format!("unit {expected:?} for joint {}, after `apply`", joint.name);
        Err(PlanError::new(at, expected, format!("{unit:?}")))
    }

    fn reward(&mut self, reward: Option<&RewardSource>) -> Result<RewardPlan, PlanError> {
        match reward {
            None => Ok(RewardPlan::None),
            Some(RewardSource::Label { success, otherwise }) => {
                if !(success.is_finite() && otherwise.is_finite()) {
                    return Err(PlanError::new("import.reward.label", "numbers", "NaN or an infinity"));
                }
                Ok(RewardPlan::Label { success: *success, otherwise: *otherwise })
            }
            Some(RewardSource::Topic { topic, select, align }) => {
                let selected = self.selected("import.reward.topic", std::slice::from_ref(select))?;
                if selected.len() != 1 {
                    return Err(PlanError::new("import.reward.topic.select", "one number", selected.len()));
                }
                let stream =
                    self.stream("import.reward.topic", topic, None, align, &selected, &[], 0, false)?;
                Ok(RewardPlan::Stream(stream))
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn stream(
        &mut self,
        at: &str,
        topic: &str,
        message_type: Option<String>,
        align: &Align,
        selected: &[Selected],
        apply: &[UnitOperator],
        after_nanos: i64,
        anchors: bool,
    ) -> Result<usize, PlanError> {
        let Align { strategy, timeline, tolerance_ms } = *align;
        let at_tolerance = format!("{at}.align.tolerance_ms");
        let tolerance_nanos = match (strategy, tolerance_ms) {
            (AlignStrategy::Asof, Some(ms)) => {
                positive(ms, &at_tolerance)?;
                nanos(ms * 1e-3)
            }
            (AlignStrategy::Asof, None) => {
                return Err(PlanError::new(&at_tolerance, "how old a sample may be, with asof", "nothing"));
            }
            (AlignStrategy::Hold | AlignStrategy::Drop, Some(ms)) => {
                return Err(PlanError::new(&at_tolerance, "nothing: only asof has a tolerance", ms));
            }
            (AlignStrategy::Hold | AlignStrategy::Drop, None) => 0,
        };
        let selectors = selected
            .iter()
            .map(|s| {
                Selector::parse(&s.path).map_err(|e| PlanError::new(&format!("{at}.select"), "a path", e))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let units = compile(apply, selected.len(), at)?;
        let rule = StreamRule { width: selected.len(), strategy, tolerance_nanos, after_nanos, anchors };
        self.streams.push(Stream {
            at: at.to_owned(),
            topic: topic.to_owned(),
            message_type: message_type.map(|t| t.replace("/msg/", "/")),
            timeline,
            selectors,
            units,
            rule,
        });
        Ok(self.streams.len() - 1)
    }

    /// Puts the contract's joints in the place of `*`.
    fn selected(&self, at: &str, select: &[String]) -> Result<Vec<Selected>, PlanError> {
        if select.is_empty() {
            return Err(PlanError::new(&format!("{at}.select"), "at least one path", "none"));
        }
        let joints = &self.contract.joints;
        let mut all = Vec::new();
        for path in select {
            if let Some(stem) = path.strip_suffix(".*") {
                all.extend(joints.iter().enumerate().map(|(i, j)| Selected {
                    path: format!("{stem}.{}", j.name),
                    word: j.name.clone(),
                    joint: Some(i),
                }));
            } else if let Some(stem) = path.strip_suffix("[*]") {
                all.extend(joints.iter().enumerate().map(|(i, j)| Selected {
                    path: format!("{stem}[{i}]"),
                    word: j.name.clone(),
                    joint: Some(i),
                }));
            } else {
                // A joint's name may have dots: the longest one that the path ends with.
                let of = joints.iter().enumerate().filter(|(_, j)| {
                    path.strip_suffix(j.name.as_str())
                        .is_some_and(|stem| stem.is_empty() || stem.ends_with('.'))
                });
                let joint = of.max_by_key(|(_, j)| j.name.len());
                let word = match joint {
                    Some((_, j)) => j.name.clone(),
                    None => path.trim_end_matches(']').rsplit(['.', '[']).next().unwrap_or(path).to_owned(),
                };
                all.push(Selected { path: path.clone(), word, joint: joint.map(|(i, _)| i) });
            }
        }
        Ok(all)
    }
}

fn field_name(name: &str, selected: &Selected, count: usize) -> String {
    if name.contains("{}") {
        name.replace("{}", &selected.word)
    } else if count == 1 {
        name.to_owned()
    } else {
        format!("{name}.{}", selected.word)
    }
}
