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
    /// One of this many, not a quantity: the number in a row is the index, `0..choices`, and is never scaled. Where `low` and `high`
    /// stand beside it, the indices are values spread evenly from `low` (0) to `high` (the last).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choices: Option<u32>,
}

/// A number that stands for none of the choices of its field.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{field} is {found}, expected a whole number from 0 to {}", choices.saturating_sub(1))]
pub struct NotAChoice {
    /// The field.
    pub field: String,
    /// How many choices there are.
    pub choices: u32,
    /// The number.
    pub found: f32,
}

impl Field {
    /// A bounded number.
    #[must_use]
    pub fn bounded(name: impl Into<String>, unit: impl Into<String>, low: f32, high: f32) -> Self {
        Self { name: name.into(), unit: unit.into(), low: Some(low), high: Some(high), choices: None }
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
        Self { name: name.into(), unit: unit.into(), low: None, high: None, choices: None }
    }
    /// One of `choices`.
    #[must_use]
    pub fn choice(name: impl Into<String>, choices: u32) -> Self {
        Self { choices: Some(choices), ..Self::unbounded(name, "1") }
    }
    /// One of `choices` values, evenly from `low` to `high`.
    #[must_use]
    pub fn bins(name: impl Into<String>, unit: impl Into<String>, low: f32, high: f32, choices: u32) -> Self {
        Self { choices: Some(choices), ..Self::bounded(name, unit, low, high) }
    }

    /// The index that `value` stands for; `None` where the field is a quantity.
    ///
    /// # Errors
    /// When the value is no index, or one beyond the last.
    pub fn index(&self, value: f32) -> Result<Option<usize>, NotAChoice> {
        let Some(choices) = self.choices else { return Ok(None) };
        if value >= 0.0 && value.fract() == 0.0 && f64::from(value) < f64::from(choices) {
            return Ok(Some(value as usize));
        }
        Err(NotAChoice { field: self.name.clone(), choices, found: value })
    }

    /// What the choice `index` is worth in the field's unit; `None` where choices have no values.
    #[must_use]
    pub fn value(&self, index: usize) -> Option<f64> {
        let (low, high, choices) = (self.low?, self.high?, self.choices?);
        let (low, high) = (f64::from(low), f64::from(high));
        let steps = f64::from(choices.saturating_sub(1).max(1));
        Some(low + (high - low) * index as f64 / steps)
    }
}

/// What an environment, a dataset or a policy speaks. Actions are normalised to `[-1, 1]`; `Field::low/high/unit` of an action
/// say what -1 and 1 stand for. An
/// action field with [`Field::choices`] holds an index instead.
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

    /// The first field, of observations or actions, that is a choice and no quantity.
    #[must_use]
    pub fn first_choice(&self) -> Option<&Field> {
        self.observation.iter().chain(&self.action).find(|f| f.choices.is_some())
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
                    .or_else(|| differ(format!("{row}[{i}] ({}) bounds", a.name), a.bounds(), b.bounds()))
                    .or_else(|| {
                        let choices = |f: &Field| f.choices.map_or_else(|| "none".into(), |n| n.to_string());
                        differ(format!("{row}[{i}] ({}) choices", a.name), choices(a), choices(b))
                    });
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
        other.action[0].choices = Some(5);
        let difference = spec().first_difference(&other).unwrap().to_string();
        assert_eq!(difference, "action[0] (tool_velocity_x) choices: expected none, found 5");
    }

    #[test]
    fn a_choice_is_an_index_and_nothing_else() {
        let arm = Field::choice("arm", 10);
        for index in 0..10 {
            assert_eq!(arm.index(index as f32), Ok(Some(index)));
        }
        for wrong in [-1.0, 0.5, 10.0, f32::NAN, f32::INFINITY] {
            let said = arm.index(wrong).unwrap_err().to_string();
            assert!(
                said.starts_with(&format!("arm is {wrong}, expected a whole number from 0 to 9")),
                "{said}"
            );
        }
        assert_eq!((arm.value(3), Field::bounded("v", "m/s", -1.0, 1.0).index(0.3)), (None, Ok(None)));
        let bins = Field::bins("velocity_x", "m/s", -0.5, 0.5, 9);
        assert_eq!([0, 4, 8].map(|i| bins.value(i)), [Some(-0.5), Some(0.0), Some(0.5)]);
    }

    #[test]
    fn quantities_are_written_as_before_there_were_choices() {
        let text = serde_json::to_string(&Field::bounded("v", "m/s", -1.0, 1.0)).unwrap();
        assert_eq!(text, r#"{"name":"v","unit":"m/s","low":-1.0,"high":1.0}"#);
        let field: Field = serde_json::from_str(&text).unwrap();
        assert_eq!(field.choices, None);
    }
}
