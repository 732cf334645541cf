//! `[import]` of a robot contract: what the topics of a recording mean, and how episodes are cut from it.
//!
//! Plain data: nothing in it is run. `surefoot-datasets` gives it its meaning and checks it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How observations, actions and episodes are made from a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportContract {
    /// What the policy will see, in this order.
    pub observation: Vec<ObservationSource>,
    /// What the policy will do, in this order.
    pub action: Vec<ActionSource>,
    /// When the action of a step is read.
    pub action_shift: ActionShift,
    /// Rewards; without this no reward is recorded, and the data is fit for imitation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward: Option<RewardSource>,
    /// What happened when.
    #[serde(default)]
    pub events: EventSources,
    /// How episodes are cut.
    pub episodes: EpisodeCut,
    /// Where success is known from.
    #[serde(default)]
    pub success: SuccessFrom,
    /// Whether an episode that is labelled as a success or a failure ended the task: then there is no value beyond it. Others are
    /// truncated.
    #[serde(default = "yes")]
    pub labelled_episodes_terminate: bool,
    /// How far behind the newest message an older one may still come, s; later ones are dropped and counted.
    #[serde(default = "reorder_secs")]
    pub max_reorder_secs: f64,
    /// How tables (CSV, JSON lines, LeRobot) say what time it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TableContract>,
}

const fn yes() -> bool {
    true
}

const fn reorder_secs() -> f64 {
    2.0
}

/// Which clock a stream is laid on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Timeline {
    /// The stamp in the message's header: when it was measured. Messages without one are dropped and counted.
    Header,
    /// When the recorder received it.
    Receive,
}

/// Which sample stands for a moment. None of them looks into the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlignStrategy {
    /// The newest one, however old.
    Hold,
    /// The newest one, if it is not older than `tolerance_ms`; otherwise there is a gap.
    Asof,
    /// The newest one, if it arrived within the step before the moment; otherwise there is a gap.
    Drop,
}

/// How a stream is laid on the policy's steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Align {
    /// Which sample stands for a moment.
    pub strategy: AlignStrategy,
    /// Which clock.
    pub timeline: Timeline,
    /// How old a sample may be, ms: with `asof`, and only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance_ms: Option<f64>,
}

/// A change of units that can be undone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnitOperator {
    /// Degrees to radians.
    DegToRad,
    /// Radians to degrees.
    RadToDeg,
    /// Millimetres to metres.
    MmToM,
    /// The other direction.
    Negate,
    /// Times this.
    Scale(f64),
    /// Plus this.
    Offset(f64),
    /// Times these, one for each selected number: signs, gear ratios.
    ScaleEach(Vec<f64>),
    /// Plus these, one for each selected number: zero positions.
    OffsetEach(Vec<f64>),
    /// The range `from` becomes the range `to`, and what lies outside it goes on in the same line: grippers.
    Range {
        /// Recorded ends.
        from: [f64; 2],
        /// The same ends in the new unit.
        to: [f64; 2],
    },
}

/// Some numbers of a topic, as a part of the observation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObservationSource {
    /// Name. `{}` in it stands for the last word of each selected path; without it, several numbers are called `name.word`.
    pub name: String,
    /// Topic.
    pub topic: String,
    /// Type of its messages; another one is an error.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub message_type: Option<String>,
    /// How it is laid on the policy's steps.
    pub align: Align,
    /// Paths in the message, in order: `position.shoulder`, `data[3]`, `points[0].positions.shoulder`, `twist.linear.x`. `position.*`
    /// stands for every joint of the contract by name, `data[*]` for every joint by place.
    pub select: Vec<String>,
    /// Changes of units, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apply: Vec<UnitOperator>,
    /// Unit of the outcome: SI, or `1`.
    pub unit: String,
}

/// What an action is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionDefinition {
    /// What the topic commands.
    Commanded,
    /// What the topic says one step later: a state that was reached, taken as the command that led there.
    NextState,
    /// The difference of the topic from now to one step later.
    Delta,
    /// The command less the present value of the observation of this name.
    RelativeTo(String),
}

/// When the action of a step is read.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionShift {
    /// At the end of the step: the command that came after the observation.
    Next,
    /// At its beginning: the command that was in force.
    Hold,
    /// This long after the observation, ms: a lag that was measured.
    AfterMs(f64),
}

/// What the ends -1 and 1 of an action stand for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionBounds {
    /// The joint's position limits.
    Position,
    /// Its velocity limit, both ways.
    Velocity,
    /// Its effort limit, both ways.
    Effort,
    /// The way it can make in one step at its velocity limit, both ways.
    Step,
    /// These, one for each selected number.
    Range {
        /// What -1 stands for.
        low: Vec<f64>,
        /// What 1 stands for.
        high: Vec<f64>,
    },
}

/// Some numbers of a topic, as a part of the action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionSource {
    /// Name, as of an observation.
    pub name: String,
    /// Topic.
    pub topic: String,
    /// Type of its messages; another one is an error.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub message_type: Option<String>,
    /// How it is laid on the policy's steps.
    pub align: Align,
    /// Paths in the message, as of an observation.
    pub select: Vec<String>,
    /// Changes of units, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apply: Vec<UnitOperator>,
    /// Unit of the outcome.
    pub unit: String,
    /// What it is.
    pub definition: ActionDefinition,
    /// What its ends stand for.
    pub bounds: ActionBounds,
}

/// Where rewards come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RewardSource {
    /// A topic: the reward of a step is its value at the end of the step.
    Topic {
        /// Topic.
        topic: String,
        /// Path of the number.
        select: String,
        /// How it is laid on the policy's steps.
        align: Align,
    },
    /// From the label: `success` in the last step of a successful episode, `otherwise` in every other. An episode without a label
    /// has no reward.
    Label {
        /// In the last step of a success.
        success: f32,
        /// Everywhere else.
        otherwise: f32,
    },
}

/// When a message is an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventTrigger {
    /// When it is on and the one before was not: buttons. Before the first message it was not.
    #[default]
    Rising,
    /// Whenever it is on: a topic that speaks only when something happens.
    Message,
    /// When its value is another than that of the one before: counters, episode numbers.
    Change,
}

/// One kind of event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventSource {
    /// Topic.
    pub topic: String,
    /// Path of the number or text.
    pub select: String,
    /// Which clock.
    pub timeline: Timeline,
    /// When a message is an event.
    #[serde(default)]
    pub trigger: EventTrigger,
    /// It is on above this.
    #[serde(default = "half")]
    pub above: f64,
    /// It is on when it is this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<String>,
}

const fn half() -> f64 {
    0.5
}

/// Everything that can happen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EventSources {
    /// An episode begins; one that was open ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_episode: Option<EventSource>,
    /// The episode ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_episode: Option<EventSource>,
    /// An episode begins where none is open, and ends where one is: one button for both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toggle_episode: Option<EventSource>,
    /// The task is solved; the episode ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success: Option<EventSource>,
    /// The task failed; the episode ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<EventSource>,
    /// A person drives for as long as it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intervention: Option<EventSource>,
}

/// Where one episode ends and another begins.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EpisodeSplit {
    /// A file, or a part of it with a clock of its own, is one.
    File,
    /// By the events.
    Events,
    /// Where every stream was silent for longer than this, s.
    GapSecs(f64),
    /// Where nothing moved for longer than this, s (see `still`).
    IdleSecs(f64),
}

/// What counts as standing still.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stillness {
    /// Name of the observation that is looked at.
    pub observation: String,
    /// Each of its numbers changes by less than this, in its unit per second.
    pub below_per_sec: f64,
}

/// How episodes are cut from a log. A gap in any stream always cuts: nothing is ever made up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EpisodeCut {
    /// Where one ends and another begins.
    pub split: EpisodeSplit,
    /// Shorter ones are dropped and counted, steps.
    #[serde(default = "two")]
    pub min_steps: usize,
    /// Longer ones are cut into several, steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<usize>,
    /// What counts as standing still; for `idle_secs` and `trim_idle_keep_secs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub still: Option<Stillness>,
    /// Cuts the still beginning and end of each episode down to this, s: idle starts teach a policy to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trim_idle_keep_secs: Option<f64>,
}

const fn two() -> usize {
    2
}

/// Where it is known from whether an episode was a success. What is not known stays unknown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SuccessFrom {
    /// Nowhere.
    #[default]
    Unknown,
    /// The events `success` and `failure`; an episode with neither is unknown.
    Events,
    /// A table beside the log, named as the log with this behind it: `episode,success`, episodes counted from 0 in the log.
    Sidecar(String),
    /// The last reward, when it is above this; otherwise a failure.
    LastRewardAbove(f64),
}

/// How a table says what time it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableContract {
    /// Column of the time; its rows must not go back within an episode.
    pub time: String,
    /// Its unit.
    pub time_unit: TimeUnit,
    /// Column that numbers the episodes, each with a clock of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub episode: Option<String>,
}

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum TimeUnit {
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "ms")]
    Millis,
    #[serde(rename = "us")]
    Micros,
    #[serde(rename = "ns")]
    Nanos,
}
