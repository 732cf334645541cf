//! Episodes as ROS 2 messages: the topics that a dataset has in an MCAP file, and that a recorder writes while it goes on.
//!
//! | topic | type | when |
//! |---|---|---|
//! | `/observation` | `Float32MultiArray` | before each step, and after the last |
//! | `/action`, `/action_proposed` | `Float32MultiArray` | at the beginning of the step: what was executed, and what the policy wanted |
//! | `/intervention` | `Bool` | with the action: whether a person drove, where that is known |
//! | `/reward` | `Float32` | at the end of the step |
//! | `/terminated`, `/truncated` | `Bool` | at the end of the step |
//! | `/next_observation` | `Float32MultiArray` | at the end of a step whose successor is not the observation that follows |
//! | `/event` | `String` | `begin`, and at the end `success`, `failure`, or `end` where it is not known |
//! | `/mark` | `String` | a person's verdict, `success` or `failure` |
//! | `/episode` | `String` | at the end, as JSON: name, steps, seed, who acted, what the safety chain did, attributes |
//!
//! An episode that has no `/episode` message was not finished. What the numbers of a row are (names, units, bounds), the robot
//! contract's hash and the subsets stand in the metadata record [`DATASET`]; [`END`] says that nothing is missing.

use std::collections::BTreeMap;
use std::io::{Result as IoResult, Write};

use serde::{Deserialize, Serialize};
use surefoot_core::ros::RosMessage;
use surefoot_core::ros::messages::{Bool, Float32, Float32MultiArray, MultiArrayDimension, String as Text};
use surefoot_core::safety::SafetyCounts;
use surefoot_core::{Episode, StepEnd};

use super::{Channel, McapWriter};
use crate::writer::Recording;

/// Name of the metadata record that says what the rows are.
pub const DATASET: &str = "surefoot.dataset";
/// Name of the metadata record that says what recorded control ticks are of; it stands in front of [`DATASET`].
pub const TICKS: &str = "surefoot.ticks";
/// Name of the metadata record that a finished file ends with.
pub const END: &str = "surefoot.end";
/// Its entry that says what is missing, where something is.
pub const MISSING: &str = "incomplete";
/// The version of the topics and of [`DATASET`].
pub const SCHEMA: &str = "surefoot-mcap/1";

pub(crate) const OBSERVATION: &str = "/observation";
pub(crate) const NEXT_OBSERVATION: &str = "/next_observation";
pub(crate) const ACTION: &str = "/action";
pub(crate) const ACTION_PROPOSED: &str = "/action_proposed";
pub(crate) const INTERVENTION: &str = "/intervention";
pub(crate) const REWARD: &str = "/reward";
pub(crate) const TERMINATED: &str = "/terminated";
pub(crate) const TRUNCATED: &str = "/truncated";
pub(crate) const EVENT: &str = "/event";
pub(crate) const MARK: &str = "/mark";
pub(crate) const EPISODE: &str = "/episode";
pub(crate) const BEGIN: &str = "begin";

/// Where the times of a file come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamps {
    /// They were measured.
    Measured,
    /// The source has none: steps are laid one after the other, each as long as the spec says.
    Nominal,
}

/// What the metadata record [`DATASET`] says.
///
/// # Errors
/// When the spec cannot be put into words.
pub fn dataset_metadata(recording: &Recording, stamps: Stamps) -> IoResult<BTreeMap<String, String>> {
    let Recording { spec, env_kwargs, producer, masks, observation_keys: _, stated, import_hash } = recording;
    let masks: Vec<_> = masks.iter().filter(|(_, members)| !members.is_empty()).collect();
    let mut entries = BTreeMap::from([
        ("schema".to_owned(), SCHEMA.to_owned()),
        ("env_spec".to_owned(), serde_json::to_string(spec)?),
        ("spec_is_stated".to_owned(), stated.to_string()),
        ("env_kwargs".to_owned(), env_kwargs.to_string()),
        ("observation_keys".to_owned(), serde_json::to_string(&recording.keys())?),
        ("masks".to_owned(), serde_json::to_string(&masks)?),
        ("producer".to_owned(), producer.clone()),
    ]);
    let stamps = match stamps {
        Stamps::Measured => "measured",
        Stamps::Nominal => "nominal",
    };
    entries.insert("stamps".to_owned(), stamps.to_owned());
    // For people and other programs: the same once more, in plain words.
    if *stated {
        for (row, fields) in [("action", &spec.action), ("observation", &spec.observation)] {
            entries.insert(
                format!("{row}_names"),
                fields.iter().map(|f| &*f.name).collect::<Vec<_>>().join(", "),
            );
            entries.insert(
                format!("{row}_units"),
                fields.iter().map(|f| &*f.unit).collect::<Vec<_>>().join(", "),
            );
        }
    }
    if let Some(hash) = &spec.contract_hash {
        entries.insert("robot_contract_hash".to_owned(), hash.clone());
    }
    if let Some(hash) = import_hash {
        entries.insert("import_hash".to_owned(), hash.clone());
    }
    Ok(entries)
}

/// What `/episode` says at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EpisodeRecord {
    pub(crate) name: String,
    pub(crate) steps: u64,
    /// How the last step ended: what was recorded with it may have been judged otherwise since.
    pub(crate) last: StepEnd,
    pub(crate) success: Option<bool>,
    pub(crate) source: Option<String>,
    pub(crate) seed: Option<u64>,
    pub(crate) safety_ticks: u64,
    pub(crate) safety_adjusted: u64,
    pub(crate) safety_stops: u64,
    pub(crate) safety_violations: u64,
    pub(crate) attributes: BTreeMap<String, String>,
}

impl EpisodeRecord {
    fn of(e: &Episode) -> Self {
        let SafetyCounts { ticks, adjusted, stops, violations } = e.safety;
        Self {
            name: e.name.clone(),
            steps: e.len() as u64,
            last: e.end.last().copied().unwrap_or_default(),
            success: e.success,
            source: e.source.clone(),
            seed: e.seed,
            safety_ticks: ticks,
            safety_adjusted: adjusted,
            safety_stops: stops,
            safety_violations: violations,
            attributes: e.attributes.clone(),
        }
    }
}

/// A step, as it is written.
#[derive(Clone, Copy, Debug)]
pub struct StepRow<'a> {
    /// When it began and ended, ns.
    pub span_nanos: (u64, u64),
    /// What was executed, `[action_dim]`.
    pub action: &'a [f32],
    /// What was proposed, `[action_dim]`; `None` where that is not known.
    pub proposed: Option<&'a [f32]>,
    /// Whether a person drove, where that is known.
    pub human: Option<bool>,
    /// Reward.
    pub reward: f32,
    /// How it left the episode.
    pub end: StepEnd,
    /// What followed, `[observation_dim]`.
    pub next_observation: &'a [f32],
    /// The observation of the next step, where there is one.
    pub following: Option<&'a [f32]>,
}

/// Writes episodes to the topics of a file.
#[derive(Debug)]
pub struct EpisodeTopics {
    observation: Channel,
    next_observation: Channel,
    action: Channel,
    action_proposed: Channel,
    intervention: Channel,
    reward: Channel,
    terminated: Channel,
    truncated: Channel,
    event: Channel,
    mark: Channel,
    episode: Channel,
    row: Float32MultiArray,
    payload: Vec<u8>,
    episodes: u64,
    steps: u64,
}

impl EpisodeTopics {
    /// Declares the topics in a file. A topic that nothing is written to does not appear in it.
    ///
    /// # Errors
    /// When the file holds too many topics.
    pub fn declare<W: Write>(file: &mut McapWriter<W>) -> IoResult<Self> {
        fn topic<M: RosMessage, W: Write>(file: &mut McapWriter<W>, name: &str) -> IoResult<Channel> {
            file.topic(name, M::TYPE, M::DEFINITION)
        }
        Ok(Self {
            observation: topic::<Float32MultiArray, W>(file, OBSERVATION)?,
            next_observation: topic::<Float32MultiArray, W>(file, NEXT_OBSERVATION)?,
            action: topic::<Float32MultiArray, W>(file, ACTION)?,
            action_proposed: topic::<Float32MultiArray, W>(file, ACTION_PROPOSED)?,
            intervention: topic::<Bool, W>(file, INTERVENTION)?,
            reward: topic::<Float32, W>(file, REWARD)?,
            terminated: topic::<Bool, W>(file, TERMINATED)?,
            truncated: topic::<Bool, W>(file, TRUNCATED)?,
            event: topic::<Text, W>(file, EVENT)?,
            mark: topic::<Text, W>(file, MARK)?,
            episode: topic::<Text, W>(file, EPISODE)?,
            row: Float32MultiArray::default(),
            payload: Vec::new(),
            episodes: 0,
            steps: 0,
        })
    }

    /// Episodes and their steps that were written whole.
    #[must_use]
    pub const fn written(&self) -> (u64, u64) {
        (self.episodes, self.steps)
    }

    fn say<M: RosMessage, W: Write>(
        &mut self,
        file: &mut McapWriter<W>,
        channel: Channel,
        nanos: u64,
        message: &M,
    ) -> IoResult<()> {
        message.encode(&mut self.payload);
        file.message(channel, nanos, nanos, &self.payload)
    }

    fn row<W: Write>(
        &mut self,
        file: &mut McapWriter<W>,
        channel: Channel,
        nanos: u64,
        numbers: &[f32],
    ) -> IoResult<()> {
        fill_row(&mut self.row, numbers);
        self.row.encode(&mut self.payload);
        file.message(channel, nanos, nanos, &self.payload)
    }

    /// Begins an episode with its first observation, `[observation_dim]`. One that is open and was not ended is none.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn begin<W: Write>(
        &mut self,
        file: &mut McapWriter<W>,
        nanos: u64,
        observation: &[f32],
    ) -> IoResult<()> {
        self.say(file, self.event, nanos, &Text { data: BEGIN.to_owned() })?;
        self.row(file, self.observation, nanos, observation)
    }

    /// Adds a step.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn step<W: Write>(&mut self, file: &mut McapWriter<W>, step: &StepRow<'_>) -> IoResult<()> {
        let StepRow { span_nanos, action, proposed, human, reward, end, next_observation, following } = *step;
        let (began, ended) = span_nanos;
        self.row(file, self.action, began, action)?;
        if let Some(proposed) = proposed {
            self.row(file, self.action_proposed, began, proposed)?;
        }
        if let Some(data) = human {
            self.say(file, self.intervention, began, &Bool { data })?;
        }
        self.say(file, self.reward, ended, &Float32 { data: reward })?;
        self.say(file, self.terminated, ended, &Bool { data: end == StepEnd::Terminated })?;
        self.say(file, self.truncated, ended, &Bool { data: end == StepEnd::Truncated })?;
        let following = following.unwrap_or(next_observation);
        if !same_bits(following, next_observation) {
            self.row(file, self.next_observation, ended, next_observation)?;
        }
        self.row(file, self.observation, ended, following)
    }

    /// Ends the episode, which is `e`.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn end<W: Write>(&mut self, file: &mut McapWriter<W>, nanos: u64, e: &Episode) -> IoResult<()> {
        let label = match e.success {
            Some(true) => "success",
            Some(false) => "failure",
            None => "end",
        };
        if e.attributes.contains_key("marked") && e.success.is_some() {
            self.say(file, self.mark, nanos, &Text { data: label.to_owned() })?;
        }
        self.say(file, self.event, nanos, &Text { data: label.to_owned() })?;
        let data = serde_json::to_string(&EpisodeRecord::of(e))?;
        self.say(file, self.episode, nanos, &Text { data })?;
        self.episodes += 1;
        self.steps += e.len() as u64;
        Ok(())
    }

    /// Writes the metadata record [`END`], with what is missing where something is, and with further counts.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn close<W: Write>(
        &self,
        file: &mut McapWriter<W>,
        missing: Option<&str>,
        further: &[(&str, u64)],
    ) -> IoResult<()> {
        let mut entries = BTreeMap::from([
            ("episodes".to_owned(), self.episodes.to_string()),
            ("steps".to_owned(), self.steps.to_string()),
        ]);
        if let Some(missing) = missing {
            entries.insert(MISSING.to_owned(), missing.to_owned());
        }
        entries.extend(further.iter().map(|(name, count)| ((*name).to_owned(), count.to_string())));
        file.metadata(END, &entries)
    }
}

/// Puts a row of numbers into a message.
pub fn fill_row(message: &mut Float32MultiArray, numbers: &[f32]) {
    let size = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
    let dimensions = &mut message.layout.dim;
    dimensions.resize_with(1, MultiArrayDimension::default);
    if let Some(one) = dimensions.first_mut() {
        (one.size, one.stride) = (size, size);
    }
    message.data.clear();
    message.data.extend_from_slice(numbers);
}

pub(crate) fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits())
}
