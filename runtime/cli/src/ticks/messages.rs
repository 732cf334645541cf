//! A tick as ROS 2 messages, and back, bit for bit.
//!
//! The rows of a tick are messages of types that every tool knows; the rest is one `surefoot_msgs/ControlTick`, which stands behind
//! them. Stamps are those of the file's wall clock; the exact ones of the loop's clock stand in the `ControlTick`.

use std::io::{Result as IoResult, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use surefoot_core::RobotContract;
use surefoot_core::ros::RosMessage;
use surefoot_core::ros::messages::{
    ControlTick, DiagnosticArray, DiagnosticStatus, Float32MultiArray, Float64MultiArray, Header, JointState,
    KeyValue, String as Text, Time,
};
use surefoot_core::safety::Verdict;
use surefoot_datasets::mcap::episodes::fill_row;
use surefoot_datasets::mcap::{Channel, McapWriter};
use surefoot_datasets::streams::Message;
use surefoot_engine::control::{Driver, Label, Mode, Refusal, Request, Tick, Transition};
use surefoot_engine::limits::LimitReached;

/// Measured positions and velocities of the joints.
const JOINT_STATES: &str = "/joint_states";
/// Measured channels, in the contract's order.
const CHANNELS: &str = "/channels";
/// The policy's newest action, also while a person drives.
const POLICY: &str = "/cmd_policy";
/// A person's action, while they drive.
const HUMAN: &str = "/cmd_human";
/// What the joints were asked to do: velocities before the safety chain.
const REFERENCE: &str = "/cmd_reference";
/// What they were told: positions and velocities behind the safety chain.
const EXECUTED: &str = "/cmd_executed";
/// What the safety chain did and why, when that changes.
const SAFETY: &str = "/safety/status";
/// The mode, when it changes.
const MODE: &str = "/mode";
/// All the rest of a period.
const CONTROL: &str = "/control_tick";

/// Topics that a tick is read from.
const READ: [&str; 6] = [JOINT_STATES, CHANNELS, POLICY, REFERENCE, EXECUTED, CONTROL];

/// Whether a tick is read from this topic.
pub fn wanted(topic: &str) -> bool {
    READ.contains(&topic)
}

/// What happens in few ticks.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Events {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    transitions: Vec<Transition>,
    /// Where it is another one than in the tick before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refusal: Option<(Request, Refusal)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mark: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<LimitReached>,
}

/// `holding`, `running:policy`, and nothing for `None`: a unit variant by its name, another one with what is in it.
fn word<T: Serialize>(value: &T) -> IoResult<String> {
    Ok(match serde_json::to_value(value)? {
        Json::String(word) => word,
        Json::Object(one) => one
            .into_iter()
            .map(|(name, inner)| format!("{name}:{}", inner.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(","),
        _ => String::new(),
    })
}

fn of_word<T: DeserializeOwned>(word: &str) -> Result<T, String> {
    let json = match word.split_once(':') {
        _ if word.is_empty() => Json::Null,
        Some((name, inner)) => serde_json::json!({ name: inner }),
        None => Json::String(word.to_owned()),
    };
    serde_json::from_value(json).map_err(|e| format!("{word:?}: {e}"))
}

/// How the clocks of a file relate, ns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clocks {
    /// From the loop's clock to the times of the messages.
    pub to_log: i64,
    /// From the loop's clock to the wall clock, as last compared; `None` on simulated time.
    pub to_wall: Option<i64>,
}

impl Clocks {
    /// A moment of the loop's clock as a time in the file.
    pub fn log(self, nanos: i64) -> u64 {
        u64::try_from(nanos.saturating_add(self.to_log)).unwrap_or(0)
    }
}

/// Writes ticks to the topics of a file.
pub struct TickTopics {
    joint_states: Channel,
    channels: Channel,
    policy: Channel,
    human: Channel,
    reference: Channel,
    executed: Channel,
    safety: Channel,
    mode: Channel,
    control: Channel,
    measured: JointState,
    asked: JointState,
    told: JointState,
    row: Float32MultiArray,
    further: Float64MultiArray,
    tick: ControlTick,
    payload: Vec<u8>,
    said: Option<(Mode, Option<Driver>, Verdict, u16)>,
    seed: u64,
}

fn copy<T: Copy>(to: &mut Vec<T>, from: &[T]) {
    to.clear();
    to.extend_from_slice(from);
}

impl TickTopics {
    /// Declares the topics in a file.
    pub fn declare<W: Write>(file: &mut McapWriter<W>, contract: &RobotContract) -> IoResult<Self> {
        fn topic<M: RosMessage, W: Write>(file: &mut McapWriter<W>, name: &str) -> IoResult<Channel> {
            file.topic(name, M::TYPE, M::DEFINITION)
        }
        let named = JointState {
            name: contract.joints.iter().map(|j| j.name.clone()).collect(),
            ..JointState::default()
        };
        Ok(Self {
            joint_states: topic::<JointState, W>(file, JOINT_STATES)?,
            channels: topic::<Float64MultiArray, W>(file, CHANNELS)?,
            policy: topic::<Float32MultiArray, W>(file, POLICY)?,
            human: topic::<Float32MultiArray, W>(file, HUMAN)?,
            reference: topic::<JointState, W>(file, REFERENCE)?,
            executed: topic::<JointState, W>(file, EXECUTED)?,
            safety: topic::<DiagnosticArray, W>(file, SAFETY)?,
            mode: topic::<Text, W>(file, MODE)?,
            control: topic::<ControlTick, W>(file, CONTROL)?,
            measured: named.clone(),
            asked: named.clone(),
            told: named,
            row: Float32MultiArray::default(),
            further: Float64MultiArray::default(),
            tick: ControlTick::default(),
            payload: Vec::new(),
            said: None,
            seed: 0,
        })
    }

    /// Writes a tick.
    pub fn write<W: Write>(&mut self, file: &mut McapWriter<W>, tick: &Tick, clocks: Clocks) -> IoResult<()> {
        let now = clocks.log(tick.now_nanos);
        let stamp = |nanos: i64| Time::from_nanos(nanos.saturating_add(clocks.to_log));
        let payload = &mut self.payload;
        let mut say = |channel: Channel, message: &dyn Fn(&mut Vec<u8>)| {
            message(payload);
            file.message(channel, now, now, payload)
        };
        self.measured.header.stamp = stamp(tick.stamp_nanos);
        copy(&mut self.measured.position, &tick.position);
        copy(&mut self.measured.velocity, &tick.velocity);
        say(self.joint_states, &|out| self.measured.encode(out))?;
        if !tick.channels.is_empty() {
            copy(&mut self.further.data, &tick.channels);
            say(self.channels, &|out| self.further.encode(out))?;
        }
        fill_row(&mut self.row, &tick.policy_action);
        say(self.policy, &|out| self.row.encode(out))?;
        if tick.driver == Some(Driver::Human) {
            fill_row(&mut self.row, &tick.action);
            say(self.human, &|out| self.row.encode(out))?;
        }
        self.asked.header.stamp = stamp(tick.now_nanos);
        copy(&mut self.asked.velocity, &tick.desired);
        say(self.reference, &|out| self.asked.encode(out))?;
        self.told.header.stamp = stamp(tick.now_nanos);
        copy(&mut self.told.position, &tick.command_position);
        copy(&mut self.told.velocity, &tick.command_velocity);
        say(self.executed, &|out| self.told.encode(out))?;
        let says = (tick.mode, tick.driver, tick.verdict, tick.reasons);
        if self.said != Some(says) {
            if self.said.is_none_or(|(_, driver, ..)| driver != tick.driver) {
                self.tick.driver = word(&tick.driver)?;
            }
            if self.said.is_none_or(|(.., verdict, _)| verdict != tick.verdict) {
                self.tick.verdict = word(&tick.verdict)?;
            }
            if self.said.is_none_or(|(mode, ..)| mode != tick.mode) {
                let data = word(&tick.mode)?;
                self.tick.mode.clone_from(&data);
                let text = Text { data };
                say(self.mode, &|out| text.encode(out))?;
            }
            let status = status(tick, &self.tick, stamp(tick.now_nanos));
            say(self.safety, &|out| status.encode(out))?;
            self.said = Some(says);
        }
        let seed = (std::mem::replace(&mut self.seed, tick.seed) != tick.seed).then_some(tick.seed);
        events(tick, seed, &mut self.tick.events)?;
        let ControlTick {
            tick: number,
            now_nanos,
            wall_nanos,
            stamp_nanos,
            stamp_seq,
            mode: _,
            driver: _,
            policy_version,
            observation_age_nanos,
            policy_latency_nanos,
            jitter_nanos,
            overruns,
            verdict: _,
            reasons,
            filter_delta,
            violations,
            commanded,
            action,
            events: _,
        } = &mut self.tick;
        *number = tick.tick;
        *now_nanos = tick.now_nanos;
        *wall_nanos = clocks.to_wall.map_or(0, |wall| tick.now_nanos.saturating_add(wall));
        *stamp_nanos = tick.stamp_nanos;
        *stamp_seq = tick.stamp_seq;
        *policy_version = tick.policy_version;
        *observation_age_nanos = tick.observation_age_nanos;
        *policy_latency_nanos = tick.policy_latency_nanos;
        *jitter_nanos = tick.jitter_nanos;
        *overruns = tick.overruns;
        *reasons = tick.reasons;
        *filter_delta = tick.filter_delta;
        *violations = tick.violations;
        *commanded = tick.commanded;
        copy(action, &tick.action);
        say(self.control, &|out| self.tick.encode(out))
    }
}

fn events(tick: &Tick, seed: Option<u64>, into: &mut String) -> IoResult<()> {
    into.clear();
    let events = Events {
        transitions: tick.transitions.iter().flatten().copied().collect(),
        seed,
        refusal: tick.refusal,
        mark: tick.mark,
        limit: tick.limit,
    };
    let Events { transitions, seed, refusal, mark, limit } = &events;
    let few = refusal.is_some() || mark.is_some() || limit.is_some();
    if !transitions.is_empty() || seed.is_some() || few {
        into.push_str(&serde_json::to_string(&events)?);
    }
    Ok(())
}

/// What a diagnostics panel shows.
fn status(tick: &Tick, words: &ControlTick, stamp: Time) -> DiagnosticArray {
    let level = match tick.verdict {
        _ if tick.mode.is_latched() => DiagnosticStatus::ERROR,
        Verdict::Passed => DiagnosticStatus::OK,
        Verdict::Adjusted => DiagnosticStatus::WARN,
        Verdict::Stopped => DiagnosticStatus::ERROR,
    };
    let value = |key: &str, value: String| KeyValue { key: key.to_owned(), value };
    DiagnosticArray {
        header: Header { stamp, ..Header::default() },
        status: vec![DiagnosticStatus {
            level,
            name: "surefoot: safety chain".to_owned(),
            message: words.verdict.clone(),
            values: vec![
                value("mode", words.mode.clone()),
                value("driver", words.driver.clone()),
                value("reasons", tick.reasons().names().collect::<Vec<_>>().join(", ")),
                value("filter_delta", tick.filter_delta.to_string()),
            ],
            ..DiagnosticStatus::default()
        }],
    }
}

/// Makes ticks of messages again.
pub struct TicksFromMessages {
    tick: Tick,
    joints: JointState,
    row: Float32MultiArray,
    further: Float64MultiArray,
    control: ControlTick,
}

impl TicksFromMessages {
    /// For ticks of this shape.
    pub fn new(shape: Tick) -> Self {
        Self {
            tick: shape,
            joints: JointState::default(),
            row: Float32MultiArray::default(),
            further: Float64MultiArray::default(),
            control: ControlTick::default(),
        }
    }

    /// Takes a message; gives a tick when it is whole.
    pub fn take(&mut self, message: &Message<'_>) -> Result<Option<&Tick>, String> {
        let bytes = message.bytes().ok_or_else(|| "its schema cannot be used".to_owned())?;
        let tick = &mut self.tick;
        match message.topic {
            JOINT_STATES | REFERENCE | EXECUTED => {
                decode(message, bytes, &mut self.joints)?;
                let JointState { position, velocity, .. } = &self.joints;
                match message.topic {
                    JOINT_STATES => {
                        copy(&mut tick.position, position);
                        copy(&mut tick.velocity, velocity);
                    }
                    REFERENCE => copy(&mut tick.desired, velocity),
                    _ => {
                        copy(&mut tick.command_position, position);
                        copy(&mut tick.command_velocity, velocity);
                    }
                }
            }
            CHANNELS => {
                decode(message, bytes, &mut self.further)?;
                copy(&mut tick.channels, &self.further.data);
            }
            POLICY => {
                decode(message, bytes, &mut self.row)?;
                copy(&mut tick.policy_action, &self.row.data);
            }
            CONTROL => {
                decode(message, bytes, &mut self.control)?;
                self.control()?;
                return Ok(Some(&self.tick));
            }
            _ => {}
        }
        Ok(None)
    }

    fn control(&mut self) -> Result<(), String> {
        let ControlTick {
            tick: number,
            now_nanos,
            wall_nanos: _,
            stamp_nanos,
            stamp_seq,
            mode,
            driver,
            policy_version,
            observation_age_nanos,
            policy_latency_nanos,
            jitter_nanos,
            overruns,
            verdict,
            reasons,
            filter_delta,
            violations,
            commanded,
            action,
            events,
        } = &self.control;
        let Events { transitions, seed, refusal, mark, limit } = if events.is_empty() {
            Events::default()
        } else {
            serde_json::from_str(events).map_err(|e| format!("events: {e}"))?
        };
        let tick = &mut self.tick;
        if transitions.len() > tick.transitions.len() {
            return Err(format!("{} transitions in one tick", transitions.len()));
        }
        tick.transitions.fill(None);
        for (slot, transition) in tick.transitions.iter_mut().zip(transitions) {
            *slot = Some(transition);
        }
        (tick.tick, tick.now_nanos, tick.stamp_nanos, tick.stamp_seq) =
            (*number, *now_nanos, *stamp_nanos, *stamp_seq);
        (tick.mode, tick.driver, tick.verdict) = (of_word(mode)?, of_word(driver)?, of_word(verdict)?);
        (tick.refusal, tick.mark, tick.limit) = (refusal, mark, limit);
        tick.seed = seed.unwrap_or(tick.seed);
        (tick.policy_version, tick.observation_age_nanos) = (*policy_version, *observation_age_nanos);
        (tick.policy_latency_nanos, tick.jitter_nanos, tick.overruns) =
            (*policy_latency_nanos, *jitter_nanos, *overruns);
        (tick.reasons, tick.filter_delta, tick.violations, tick.commanded) =
            (*reasons, *filter_delta, *violations, *commanded);
        copy(&mut tick.action, action);
        Ok(())
    }
}

fn decode<M: RosMessage>(message: &Message<'_>, bytes: &[u8], into: &mut M) -> Result<(), String> {
    if message.schema != M::TYPE {
        return Err(format!("expected {}, found {}", M::TYPE, message.schema));
    }
    into.decode(bytes).map_err(|e| e.to_string())
}
