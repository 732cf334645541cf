//! A learner's state as files: `learner.safetensors` (weights, targets, moments) and `learner.json` (everything else).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use surefoot_core::{Blobs, LearnError, Normalizer};

use super::inputs::Inputs;
use super::params::{Arrays, from_safetensors, to_safetensors};

const ARRAYS: &str = "learner.safetensors";
const COUNTERS: &str = "learner.json";
const FORMAT: &str = "surefoot-learner/2";

/// Everything of a learner that is not an array.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    format: String,
    /// Registry name.
    pub learner: String,
    /// Where its noise comes from.
    pub seed: u64,
    /// Updates so far.
    pub updates: u64,
    /// Optimiser steps of the actor.
    pub actor_steps: u64,
    /// Optimiser steps of the critics since their last reset.
    pub critic_steps: u64,
    /// Optimiser steps of what only some learners have, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub other_steps: BTreeMap<String, u64>,
    /// Updates when the first online phase began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online_since: Option<u64>,
    /// Smallest and largest reward seen or promised.
    pub reward_range: Option<(f32, f32)>,
    /// Applied to observations.
    pub normalizer: Normalizer,
    /// Hashes of the data.
    pub data_hashes: Vec<String>,
}

impl Counters {
    /// Of a fresh learner over these inputs.
    #[must_use]
    pub fn new(learner: &str, seed: u64, inputs: &Inputs) -> Self {
        Self {
            format: FORMAT.into(),
            learner: learner.into(),
            seed,
            updates: 0,
            actor_steps: 0,
            critic_steps: 0,
            other_steps: BTreeMap::new(),
            online_since: None,
            reward_range: None,
            normalizer: inputs.normalizer.clone(),
            data_hashes: inputs.data_hashes.clone(),
        }
    }

    /// As files, with the arrays.
    ///
    /// # Errors
    /// When something cannot be written down.
    pub fn save(&self, arrays: &Arrays) -> Result<Blobs, LearnError> {
        let failed = |reason| LearnError::Tensor { context: "learner state", reason };
        let json = serde_json::to_vec_pretty(self).map_err(|e| failed(e.to_string()))?;
        let arrays = to_safetensors(arrays).map_err(failed)?;
        Ok(Blobs::from([(ARRAYS.into(), arrays), (COUNTERS.into(), json)]))
    }

    /// From files. Checks format, learner and normaliser; the caller checks the arrays.
    ///
    /// # Errors
    /// [`LearnError::State`] when a file is missing, damaged or of another learner.
    pub fn load(blobs: &Blobs, learner: &str, inputs: &Inputs) -> Result<(Self, Arrays), LearnError> {
        let state = |what: &str, expected: &str, found: String| LearnError::State {
            what: what.into(),
            expected: expected.into(),
            found,
        };
        let blob = |name: &str| blobs.get(name).ok_or_else(|| state(name, "a file", "none".into()));
        let counters: Self = serde_json::from_slice(blob(COUNTERS)?)
            .map_err(|e| state(COUNTERS, "a learner's counters", e.to_string()))?;
        let arrays = from_safetensors(blob(ARRAYS)?).map_err(|e| state(ARRAYS, "a safetensors file", e))?;
        if counters.format != FORMAT {
            return Err(state("format", FORMAT, counters.format));
        }
        if counters.learner != learner {
            return Err(state("learner", learner, counters.learner));
        }
        let Normalizer { mean, std } = &counters.normalizer;
        let dim = inputs.spec.observation_dim();
        let usable = mean.len() == std.len()
            && (mean.is_empty() || mean.len() == dim)
            && mean.iter().all(|m| m.is_finite())
            && std.iter().all(|s| s.is_finite() && *s > 0.0);
        if !usable {
            let expected = format!("{dim} finite means and positive deviations, or none");
            return Err(state(
                "normalizer",
                &expected,
                format!("{} means, {} deviations", mean.len(), std.len()),
            ));
        }
        Ok((counters, arrays))
    }

    /// Puts normaliser and data hashes back into the inputs; gives seed and updates.
    pub fn give_back(self, inputs: &mut Inputs) -> (u64, u64) {
        inputs.normalizer = self.normalizer;
        inputs.data_hashes = self.data_hashes;
        (self.seed, self.updates)
    }
}
