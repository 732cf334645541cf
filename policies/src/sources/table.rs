//! Rows of choices as indices of a table.

use surefoot_core::{Field, Stream};

use super::{SourceContext, SourceError};

/// Entries of a table at most.
const MAX_ENTRIES: usize = 1 << 24;

/// Numbers the rows of some fields that are all choices.
#[derive(Clone, Debug)]
pub(super) struct Codes {
    choices: Vec<usize>,
}

impl Codes {
    fn new(fields: &[Field]) -> Result<Self, String> {
        let mut choices = Vec::with_capacity(fields.len());
        for field in fields {
            choices.push(field.choices.ok_or_else(|| format!("{}, a quantity", field.name))? as usize);
        }
        let count = choices.iter().try_fold(1_usize, |n, c| n.checked_mul(*c));
        match count.filter(|n| *n <= MAX_ENTRIES) {
            Some(_) => Ok(Self { choices }),
            None => Err(format!("more than {MAX_ENTRIES} rows")),
        }
    }

    /// Actions that are all choices, at most so many combinations of them.
    pub(super) fn of_actions(
        source_name: &'static str,
        context: &SourceContext,
        most: usize,
    ) -> Result<Self, SourceError> {
        let spec = context.spec();
        let codes = Self::new(&spec.action).and_then(|codes| match codes.count() {
            n if n <= most => Ok(codes),
            n => Err(format!("{n} combinations of them, more than {most}")),
        });
        codes.map_err(|found| SourceError::Family {
            source_name,
            family: spec.name.clone(),
            needs: "actions that are choices",
            found,
        })
    }

    /// Rows that there are.
    pub(super) fn count(&self) -> usize {
        self.choices.iter().product()
    }

    /// The number of a row. A choice that is none counts as the nearest.
    pub(super) fn index(&self, row: &[f32]) -> usize {
        let digit = |n: usize, x: f32| (x as usize).min(n.saturating_sub(1));
        self.choices.iter().zip(row).fold(0, |index, (n, x)| index * n + digit(*n, *x))
    }

    /// The row of a number.
    pub(super) fn write(&self, mut index: usize, row: &mut [f32]) {
        for (n, x) in self.choices.iter().zip(row).rev() {
            *x = (index % n) as f32;
            index /= n;
        }
    }
}

/// Choices of each number of an action, at most so many together.
pub(super) fn choices_of_actions(
    source_name: &'static str,
    context: &SourceContext,
    most: usize,
) -> Result<Vec<usize>, SourceError> {
    let spec = context.spec();
    let choices: Option<Vec<usize>> = spec.action.iter().map(|f| f.choices.map(|n| n as usize)).collect();
    let found = match choices {
        Some(choices) => match choices.iter().fold(0_usize, |sum, n| sum.saturating_add(*n)) {
            n if (1..=most).contains(&n) && !choices.contains(&0) => return Ok(choices),
            n => format!("{n} of them, expected 1 to {most}"),
        },
        None => "a quantity".into(),
    };
    let (family, needs) = (spec.name.clone(), "actions that are choices");
    Err(SourceError::Family { source_name, family, needs, found })
}

/// Observations and actions of a task whose fields are all choices.
pub(super) fn codes(source_name: &'static str, context: &SourceContext) -> Result<[Codes; 2], SourceError> {
    let spec = context.spec();
    let of = |fields: &[Field]| {
        Codes::new(fields).map_err(|found| SourceError::Family {
            source_name,
            family: spec.name.clone(),
            needs: "observations and actions that are choices, few enough for a table",
            found,
        })
    };
    let codes = [of(&spec.observation)?, of(&spec.action)?];
    let entries = codes[0].count().saturating_mul(codes[1].count());
    if entries > MAX_ENTRIES {
        let (family, needs) = (spec.name.clone(), "few enough choices for a table");
        let found = format!("a table of {entries} numbers, more than {MAX_ENTRIES}");
        return Err(SourceError::Family { source_name, family, needs, found });
    }
    Ok(codes)
}

/// The arms of a bandit: one action field of choices, and nothing to see that changes.
pub(super) fn arms(source_name: &'static str, context: &SourceContext) -> Result<usize, SourceError> {
    let [observations, actions] = codes(source_name, context)?;
    if observations.count() == 1 && actions.choices.len() == 1 {
        return Ok(actions.count());
    }
    Err(SourceError::Family {
        source_name,
        family: context.spec().name.clone(),
        needs: "a bandit: one action, and nothing to see",
        found: format!(
            "{} observations and {} numbers in an action",
            observations.count(),
            actions.choices.len()
        ),
    })
}

/// Index of the largest value; one of the largest, evenly, where there are several.
pub(super) fn argmax(values: impl Iterator<Item = f64>, stream: &mut Stream) -> usize {
    let (mut best, mut most, mut ties) = (0, f64::NEG_INFINITY, 0);
    for (index, value) in values.enumerate() {
        if value > most {
            (best, most, ties) = (index, value, 1);
        } else if value == most {
            ties += 1;
            if stream.below(ties) == 0 {
                best = index;
            }
        }
    }
    best
}
