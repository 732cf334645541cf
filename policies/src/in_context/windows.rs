//! Tokens of one history that follow one another, with the actions that followed them.

use surefoot_core::StepEnd;

use super::shape::TokenShape;
use super::tokens::{Before, Masked, Token};

/// Tokens with the actions that followed them. Its rows are used again for the next window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    observation_dim: usize,
    action_dim: usize,
    observations: Vec<f32>,
    /// Bins of the step before, zeros where there is none.
    actions: Vec<u32>,
    /// Reward and end of the step before.
    before: Vec<Option<(f32, StepEnd)>>,
    steps: Vec<usize>,
    masked: Vec<Masked>,
    returns_to_go: Vec<f32>,
    targets: Vec<u32>,
    weights: Vec<f32>,
}

impl Window {
    /// Without tokens.
    #[must_use]
    pub fn new(shape: &TokenShape) -> Self {
        Self { observation_dim: shape.observation.len(), action_dim: shape.action.len(), ..Self::default() }
    }
    /// Tokens.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.steps.len()
    }
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
    /// Token `i`.
    #[must_use]
    pub fn token(&self, i: usize) -> Token<'_> {
        let before = self.before[i].map_or(Before::Nothing, |(reward, end)| Before::Step {
            action: &self.actions[i * self.action_dim..(i + 1) * self.action_dim],
            reward,
            end,
        });
        Token {
            observation: &self.observations[i * self.observation_dim..(i + 1) * self.observation_dim],
            before,
            step: self.steps[i],
            masked: self.masked[i],
            return_to_go: self.returns_to_go[i],
        }
    }
    /// The bins of the action that followed token `i`.
    #[must_use]
    pub fn target(&self, i: usize) -> &[u32] {
        &self.targets[i * self.action_dim..(i + 1) * self.action_dim]
    }
    /// How much its prediction counts.
    #[must_use]
    pub fn weight(&self, i: usize) -> f32 {
        self.weights[i]
    }
    /// How much all predictions count.
    #[must_use]
    pub fn total_weight(&self) -> f64 {
        self.weights.iter().map(|w| f64::from(*w)).sum()
    }
    /// Removes all tokens.
    pub fn clear(&mut self) {
        self.observations.clear();
        self.actions.clear();
        self.before.clear();
        self.steps.clear();
        self.masked.clear();
        self.returns_to_go.clear();
        self.targets.clear();
        self.weights.clear();
    }
    /// Adds a token and what followed it.
    pub fn push(&mut self, token: Token<'_>, target: &[u32], weight: f32) {
        self.observations.extend_from_slice(token.observation);
        match token.before {
            Before::Nothing => {
                self.actions.extend(std::iter::repeat_n(0, self.action_dim));
                self.before.push(None);
            }
            Before::Step { action, reward, end } => {
                self.actions.extend_from_slice(action);
                self.before.push(Some((reward, end)));
            }
        }
        self.steps.push(token.step);
        self.masked.push(token.masked);
        self.returns_to_go.push(token.return_to_go);
        self.targets.extend_from_slice(target);
        self.weights.push(weight);
    }
}
