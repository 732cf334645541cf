//! Choosing episodes: filters, and parts of a dataset as datasets of their own.

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{DataError, DatasetMeta, Episode, EpisodeSource};

/// Episodes decoded side by side; bounds the memory of a pass.
const BLOCK: usize = 64;

/// Which episodes to take: those for which all that is set here holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Of this mask.
    pub mask: Option<String>,
    /// Known to have succeeded, or known to have failed; an episode of which neither is known is in neither.
    pub success: Option<bool>,
    /// By this actor.
    pub source: Option<String>,
    /// With steps that a person drove, or with none; an episode of which that is not known is in neither.
    pub interventions: Option<bool>,
    /// At least so many steps.
    pub min_steps: Option<usize>,
    /// At most so many steps.
    pub max_steps: Option<usize>,
    /// With at least this return.
    pub min_return: Option<f64>,
    /// With at most this return.
    pub max_return: Option<f64>,
    /// Without NaN and infinities in observations and actions; rewards that are not recorded are no reason.
    pub finite: bool,
}

impl Filter {
    /// Whether an episode is to be taken; the mask is looked at elsewhere.
    fn takes(&self, e: &Episode) -> bool {
        let Self {
            mask: _,
            success,
            source,
            interventions,
            min_steps,
            max_steps,
            min_return,
            max_return,
            finite,
        } = self;
        let unrewarded = e.reward.iter().all(|r| r.is_nan());
        let rows = [&e.observation, &e.next_observation, &e.action];
        let sound = || rows.iter().all(|r| r.iter().all(|x| x.is_finite()));
        let rewarded = || unrewarded || e.reward.iter().all(|r| r.is_finite());
        // A return that is no number is neither large nor small.
        success.is_none_or(|s| e.success == Some(s))
            && source.as_ref().is_none_or(|s| e.source.as_ref() == Some(s))
            && interventions.is_none_or(|i| !e.human.is_empty() && e.human.contains(&true) == i)
            && min_steps.is_none_or(|n| e.len() >= n)
            && max_steps.is_none_or(|n| e.len() <= n)
            && min_return.is_none_or(|r| e.episode_return() >= r)
            && max_return.is_none_or(|r| e.episode_return() <= r)
            && (!finite || sound() && rewarded())
    }

    /// Whether only the mask matters, which no episode has to be read for.
    fn needs_no_episode(&self) -> bool {
        *self == Self { mask: self.mask.clone(), ..Self::default() }
    }
}

/// The members of a mask.
///
/// # Errors
/// When there is no such mask.
pub(crate) fn members(meta: &DatasetMeta, mask: &str) -> Result<Vec<usize>, DataError> {
    meta.masks.iter().find(|(name, _)| name == mask).map(|(_, members)| members.clone()).ok_or_else(|| {
        let known: Vec<&str> = meta.masks.iter().map(|(name, _)| name.as_str()).collect();
        let expected = if known.is_empty() { "no mask (the file has none)".into() } else { known.join(", ") };
        DataError::Mismatch { path: meta.path.clone(), what: "mask".into(), expected, found: mask.to_owned() }
    })
}

/// Indices of the episodes that a filter takes, in their order. Reads every episode once, a block of them at a time.
///
/// # Errors
/// When the mask is unknown or an episode cannot be read.
pub fn select(source: &dyn EpisodeSource, filter: &Filter) -> Result<Vec<usize>, DataError> {
    let mut indices = match &filter.mask {
        Some(mask) => members(source.meta(), mask)?,
        None => (0..source.len()).collect(),
    };
    if filter.needs_no_episode() {
        return Ok(indices);
    }
    let mut taken = Vec::with_capacity(indices.len());
    for block in indices.chunks_mut(BLOCK) {
        let found: Vec<Result<bool, DataError>> =
            block.par_iter().map(|i| Ok(filter.takes(&source.episode(*i)?))).collect();
        for (index, takes) in block.iter().zip(found) {
            if takes? {
                taken.push(*index);
            }
        }
    }
    Ok(taken)
}

/// Some episodes of a dataset, in any order, as a dataset.
pub struct Subset<'a> {
    source: &'a dyn EpisodeSource,
    indices: Vec<usize>,
    meta: DatasetMeta,
}

impl<'a> Subset<'a> {
    /// The episodes of these numbers. Masks keep their names and lose the members that are not there.
    ///
    /// # Errors
    /// When there is no episode of one of these numbers.
    pub fn new(source: &'a dyn EpisodeSource, indices: Vec<usize>) -> Result<Self, DataError> {
        let mut meta = source.meta().clone();
        if let Some(index) = indices.iter().find(|i| **i >= source.len()) {
            return Err(DataError::Shape {
                path: meta.path,
                item: "episode index".into(),
                expected: format!("fewer than {}", source.len()),
                found: index.to_string(),
            });
        }
        for (_, members) in &mut meta.masks {
            let set: std::collections::BTreeSet<usize> = members.iter().copied().collect();
            *members = (0..indices.len()).filter(|i| set.contains(&indices[*i])).collect();
        }
        meta.masks.retain(|(_, members)| !members.is_empty());
        meta.notes.push(format!("{} of {} episodes", indices.len(), source.len()));
        Ok(Self { source, indices, meta })
    }
}

impl EpisodeSource for Subset<'_> {
    fn meta(&self) -> &DatasetMeta {
        &self.meta
    }
    fn len(&self) -> usize {
        self.indices.len()
    }
    fn episode(&self, index: usize) -> Result<Episode, DataError> {
        match self.indices.get(index) {
            Some(i) => self.source.episode(*i),
            None => Err(DataError::Shape {
                path: self.meta.path.clone(),
                item: "episode index".into(),
                expected: format!("fewer than {}", self.indices.len()),
                found: index.to_string(),
            }),
        }
    }
}
