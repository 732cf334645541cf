//! What observations and actions mean: names, units, bounds, period.

use serde::{Deserialize, Serialize};

/// One number of an observation or action row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Name, unique in its row.
    pub name: String,
    /// SI unit, or `"1"`.
    pub unit: String,
    /// Smallest value it can take; absent where unbounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f32>,
    /// Largest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f32>,
}

impl Field {
    /// A bounded number.
    #[must_use]
    pub fn bounded(name: impl Into<String>, unit: impl Into<String>, low: f32, high: f32) -> Self {
        Self { name: name.into(), unit: unit.into(), low: Some(low), high: Some(high) }
    }
    fn bounds(&self) -> String {
        match (self.low, self.high) {
            (None, None) => "none".into(),
            (low, high) => {
                format!("[{}, {}]", low.unwrap_or(f32::NEG_INFINITY), high.unwrap_or(f32::INFINITY))
            }
        }
    }
    /// An unbounded number.
    #[must_use]
    pub fn unbounded(name: impl Into<String>, unit: impl Into<String>) -> Self {
        Self { name: name.into(), unit: unit.into(), low: None, high: None }
    }
}

/// What an environment, a dataset or a policy speaks. Actions are normalised to `[-1, 1]`; `Field::low/high/unit` of an action
/// say what -1 and 1 stand for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvSpec {
    /// Name of the environment, as in the registry.
    pub name: String,
    /// The observation row.
    pub observation: Vec<Field>,
    /// The action row, normalised: -1 is `low`, 1 is `high`.
    pub action: Vec<Field>,
    /// Time between two actions, s.
    pub step_secs: f64,
    /// Steps after which an episode is truncated.
    pub max_steps: usize,
    /// Smallest and largest reward of a step, where known.
    pub reward_range: Option<(f32, f32)>,
    /// Hash of the robot contract, where a robot is behind it.
    pub contract_hash: Option<String>,
}

/// The first thing in which two specs differ.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: expected {expected}, found {found}")]
pub struct SpecDifference {
    /// The item that differs.
    pub what: String,
    /// What the first spec says.
    pub expected: String,
    /// What the other says.
    pub found: String,
}

impl EnvSpec {
    /// Numbers in an observation row.
    #[must_use]
    pub const fn observation_dim(&self) -> usize {
        self.observation.len()
    }
    /// Numbers in an action row.
    #[must_use]
    pub const fn action_dim(&self) -> usize {
        self.action.len()
    }

    /// The first difference that would make a policy for `self` wrong on `other`, or `None`. The name, the episode length and
    /// the reward do not matter to an acting policy.
    #[must_use]
    pub fn first_difference(&self, other: &Self) -> Option<SpecDifference> {
        let differ = |what: String, expected: String, found: String| {
            (expected != found).then_some(SpecDifference { what, expected, found })
        };
        let rows =
            [("observation", &self.observation, &other.observation), ("action", &self.action, &other.action)];
        for (row, ours, theirs) in rows {
            let dims = differ(format!("{row} dimension"), ours.len().to_string(), theirs.len().to_string());
            if dims.is_some() {
                return dims;
            }
            for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
                let d = differ(format!("{row}[{i}] name"), a.name.clone(), b.name.clone())
                    .or_else(|| {
                        differ(format!("{row}[{i}] ({}) unit", a.name), a.unit.clone(), b.unit.clone())
                    })
                    .or_else(|| differ(format!("{row}[{i}] ({}) bounds", a.name), a.bounds(), b.bounds()));
                if d.is_some() {
                    return d;
                }
            }
        }
        differ("step_secs".into(), self.step_secs.to_string(), other.step_secs.to_string()).or_else(|| {
            let name = |h: &Option<String>| h.clone().unwrap_or_else(|| "none".into());
            differ("robot contract hash".into(), name(&self.contract_hash), name(&other.contract_hash))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> EnvSpec {
        EnvSpec {
            name: "push".into(),
            observation: vec![Field::unbounded("tool_x", "m")],
            action: vec![Field::bounded("tool_velocity_x", "m/s", -0.3, 0.3)],
            step_secs: 0.1,
            max_steps: 60,
            reward_range: None,
            contract_hash: None,
        }
    }

    #[test]
    fn the_first_difference_is_named() {
        assert_eq!(spec().first_difference(&spec()), None);
        let mut other = spec();
        other.action[0].unit = "mm/s".into();
        let difference = spec().first_difference(&other).unwrap().to_string();
        assert_eq!(difference, "action[0] (tool_velocity_x) unit: expected m/s, found mm/s");
        other = spec();
        other.action[0].high = None;
        let difference = spec().first_difference(&other).unwrap().to_string();
        assert_eq!(difference, "action[0] (tool_velocity_x) bounds: expected [-0.3, 0.3], found [-0.3, inf]");
        other = spec();
        other.step_secs = 0.05;
        assert_eq!(spec().first_difference(&other).unwrap().what, "step_secs");
        other = spec();
        other.name = "another task on the same robot".into();
        assert_eq!(spec().first_difference(&other), None);
    }
}
