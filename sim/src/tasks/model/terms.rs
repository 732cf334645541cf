//! What a task file says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::RobotContract;
use surefoot_core::contract::ChannelContract;

use super::quantity::{Quantity, channels_of};
use crate::model::Model;

/// A task file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelTask {
    /// Name of the environment.
    pub name: String,
    /// Steps after which an episode is truncated.
    pub max_steps: usize,
    /// Whether success ends an episode.
    #[serde(default = "yes")]
    pub success_ends: bool,
    /// Places that are drawn for every episode.
    #[serde(default)]
    pub places: Vec<Place>,
    /// How an episode starts.
    #[serde(default)]
    pub start: Start,
    /// What is observed, in order.
    pub observations: Vec<Quantity>,
    /// What is rewarded.
    pub rewards: Vec<Reward>,
    /// What ends an episode beside success; any of them.
    #[serde(default)]
    pub terminations: Vec<Condition>,
    /// What success is; all of them, and none is never.
    #[serde(default)]
    pub success: Vec<Condition>,
}

const fn yes() -> bool {
    true
}

/// A place that is drawn evenly from a box.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Name: other than those of bodies and sites.
    pub name: String,
    /// Lowest x, y, z, m.
    pub low_m: [f64; 3],
    /// Highest, m.
    pub high_m: [f64; 3],
    /// Radius with which pictures show it, m.
    #[serde(default = "small")]
    pub radius_m: f64,
}

const fn small() -> f64 {
    0.02
}

/// How an episode starts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Start {
    /// Key of the model's `<keyframe>`; absent: the pose in which the model is drawn.
    pub keyframe: Option<String>,
    /// Every joint starts within this of there, rad or m.
    pub position_noise: f64,
    /// Every joint starts with a velocity within this of zero, per second.
    pub velocity_noise: f64,
    /// Joints with a range of their own.
    pub joints: Vec<JointStart>,
    /// Free bodies with a range of their own.
    pub bodies: Vec<BodyStart>,
}

/// Where a joint starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JointStart {
    /// Name.
    pub joint: String,
    /// Lowest, rad or m.
    pub low: f64,
    /// Highest, rad or m.
    pub high: f64,
}

/// Where a free body starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BodyStart {
    /// Name.
    pub body: String,
    /// Lowest x, y, z, m.
    pub low_m: [f64; 3],
    /// Highest, m.
    pub high_m: [f64; 3],
}

/// What is done to each number before it is weighed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Shape {
    /// Nothing.
    #[default]
    Plain,
    /// Its absolute value.
    Absolute,
    /// Its square.
    Square,
    /// `exp(-(value / width)^2)`: 1 at zero, and less the farther away.
    Bell {
        /// Where it has fallen to 0.37, in the unit of the quantity.
        width: f64,
    },
    /// 1 within the range, 0 outside.
    Within {
        /// Lowest.
        low: f64,
        /// Highest.
        high: f64,
    },
}

/// A term of the reward.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reward {
    /// Name, for people.
    #[serde(default)]
    pub name: String,
    /// Factor.
    pub weight: f64,
    /// The quantity; of several numbers the sum.
    pub of: Quantity,
    /// What is done to each number first.
    #[serde(default)]
    pub shape: Shape,
}

/// Something that holds or does not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// The quantity.
    pub of: Quantity,
    /// Holds when every number is in this range.
    #[serde(default)]
    pub within: Option<[f64; 2]>,
    /// Holds when one number is beyond this range.
    #[serde(default)]
    pub outside: Option<[f64; 2]>,
}

/// Places by name.
#[derive(Clone, Debug, Default)]
pub struct Places(pub(super) Vec<Place>);

impl Places {
    /// # Errors
    /// When two have one name, or a range is empty.
    pub fn new(places: &[Place]) -> Result<Self, String> {
        for (i, place) in places.iter().enumerate() {
            if places[..i].iter().any(|p| p.name == place.name) {
                return Err(format!("two places are called {}", place.name));
            }
            check_box(&place.name, place.low_m, place.high_m)?;
        }
        Ok(Self(places.to_vec()))
    }

    pub fn index(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|p| p.name == name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|p| p.name.as_str())
    }
}

pub(super) fn check_box(of: &str, low: [f64; 3], high: [f64; 3]) -> Result<(), String> {
    if low.iter().zip(high).all(|(l, h)| l.is_finite() && h.is_finite() && *l <= h) {
        Ok(())
    } else {
        Err(format!("{of}: low_m {low:?} must not be above high_m {high:?}"))
    }
}

impl Shape {
    pub(super) fn of(self, value: f64) -> f64 {
        match self {
            Self::Plain => value,
            Self::Absolute => value.abs(),
            Self::Square => value * value,
            Self::Bell { width } => (-(value / width).powi(2)).exp(),
            Self::Within { low, high } => f64::from(u8::from(low <= value && value <= high)),
        }
    }
}

impl ModelTask {
    fn quantities(&self) -> impl Iterator<Item = &Quantity> {
        let conditions = self.terminations.iter().chain(&self.success).map(|c| &c.of);
        self.observations.iter().chain(self.rewards.iter().map(|r| &r.of)).chain(conditions)
    }

    /// Channels that a contract for this task needs beside its joints.
    pub fn channels(&self, model: &Model, bare: &RobotContract, places: &Places) -> Vec<ChannelContract> {
        let joints: Vec<&str> = bare.joints.iter().map(|j| j.name.as_str()).collect();
        let mut channels: Vec<ChannelContract> = Vec::new();
        let mut add = |channel: ChannelContract| {
            if channels.iter().all(|c| c.name != channel.name) {
                channels.push(channel);
            }
        };
        self.quantities().flat_map(|q| channels_of(q, &joints, places)).for_each(&mut add);
        for start in &self.start.bodies {
            let axes = ["x", "y", "z"].map(|a| format!("{}_{a}", start.body));
            axes.into_iter().for_each(|name| add(ChannelContract { name, unit: "m".to_owned() }));
        }
        for start in self.start.joints.iter().filter(|s| !joints.contains(&s.joint.as_str())) {
            if model.joint_index(&start.joint).is_ok() {
                add(ChannelContract { name: format!("{}_angle", start.joint), unit: "rad".to_owned() });
            }
        }
        channels
    }
}
