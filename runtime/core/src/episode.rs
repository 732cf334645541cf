//! A recorded episode, in columns.

use std::collections::BTreeMap;

use surefoot_safety::SafetyCounts;

use crate::{Outcome, StepEnd};

/// A reset-to-end record of `T` steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Episode {
    /// Name in its file, or made from its index.
    pub name: String,
    /// `[T, observation_dim]`.
    pub observation: Vec<f32>,
    /// `[T, observation_dim]`: what followed each step, the last one's too.
    pub next_observation: Vec<f32>,
    /// `[T, action_dim]`: what was *executed*.
    pub action: Vec<f32>,
    /// `[T, action_dim]`: what was proposed; empty where it is not known.
    pub proposed: Vec<f32>,
    /// `[T]`.
    pub reward: Vec<f32>,
    /// `[T]`.
    pub end: Vec<StepEnd>,
    /// `[T]`: whether a person drove (an intervention where a policy acted otherwise); empty where it is not known.
    pub human: Vec<bool>,
    /// Whether the task was solved; unknown stays unknown.
    pub success: Option<bool>,
    /// Who acted (`human`, `scripted`, a policy's name), where known.
    pub source: Option<String>,
    /// What the safety chain did.
    pub safety: SafetyCounts,
    /// The reset seed, where known.
    pub seed: Option<u64>,
    /// Further attributes of the file, as text.
    pub attributes: BTreeMap<String, String>,
}

impl Episode {
    /// Steps.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.reward.len()
    }
    /// Whether it has no step.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.reward.is_empty()
    }
    /// Sum of rewards.
    #[must_use]
    pub fn episode_return(&self) -> f64 {
        self.reward.iter().map(|r| f64::from(*r)).sum()
    }
}

/// Builds an [`Episode`] step by step.
#[derive(Debug)]
pub struct EpisodeBuilder {
    episode: Episode,
}

impl EpisodeBuilder {
    /// Starts an episode.
    #[must_use]
    pub fn new(name: String, source: &str, seed: u64) -> Self {
        let episode = Episode {
            name,
            source: Some(source.to_owned()),
            seed: Some(seed),
            success: Some(false),
            ..Episode::default()
        };
        Self { episode }
    }

    /// Adds a step.
    pub fn push(
        &mut self,
        observation: &[f32],
        proposed: &[f32],
        executed: &[f32],
        next_observation: &[f32],
        outcome: Outcome,
    ) {
        let e = &mut self.episode;
        e.observation.extend_from_slice(observation);
        e.proposed.extend_from_slice(proposed);
        e.action.extend_from_slice(executed);
        e.next_observation.extend_from_slice(next_observation);
        e.reward.push(outcome.reward);
        e.end.push(outcome.end);
        e.safety.add(&outcome.safety);
        if outcome.success {
            e.success = Some(true);
        }
    }

    /// The episode so far.
    #[must_use]
    pub fn finish(self) -> Episode {
        self.episode
    }
}
