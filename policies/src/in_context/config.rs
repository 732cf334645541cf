//! Settings of the transformer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::LearnError;

use crate::nn::require;

/// Who reports a refused setting.
pub const NAME: &str = "in_context";

/// How attention knows how long ago a token was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// A penalty that grows with age, another one for each head (Press et al. 2022, ALiBi).
    #[default]
    Alibi,
    /// Queries and keys turned by angles of their absolute position (Su et al. 2021). Angles are computed in `f64` and never re-based, so
    /// that a robot may run for weeks.
    Rotary,
}

/// What a step is for the transformer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepTokens {
    /// One token: what is seen, and the action, the reward and the end of the step before, in one sum.
    #[default]
    Merged,
    /// Three tokens: the action of the step before; its reward and end; what is seen (Laskin et al. 2022, section 3). Three times the work.
    Triplet,
}

impl StepTokens {
    /// Tokens of a step.
    #[must_use]
    pub const fn count(self) -> usize {
        self.parts().len()
    }
    /// What each of them holds. An action is predicted from the last one.
    #[must_use]
    pub const fn parts(self) -> &'static [TokenPart] {
        match self {
            Self::Merged => &[TokenPart::Whole],
            Self::Triplet => &[TokenPart::Action, TokenPart::Reward, TokenPart::Observation],
        }
    }
}

/// What a token holds of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenPart {
    /// All of it.
    Whole,
    /// The action of the step before.
    Action,
    /// Reward and end of the step before.
    Reward,
    /// What is seen, and the step of the episode.
    Observation,
}

/// The transformer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Numbers in a token.
    pub width: usize,
    /// Blocks.
    pub layers: usize,
    /// Attention heads; they divide `width`.
    pub heads: usize,
    /// Width of the feed-forward layers.
    pub feed_forward: usize,
    /// Steps that a layer looks back at, the present one included. At least two to four episodes, or there is nothing to learn from.
    pub window: usize,
    /// What a step is.
    pub tokens: StepTokens,
    /// How attention knows how long ago a token was.
    pub positions: Positions,
    /// Bins of an action that is a quantity, from -1 to 1.
    pub action_bins: usize,
    /// Whether rewards are read. Without them nothing can be learnt in context: a control.
    pub rewards: bool,
    /// Whether the return still to come in the episode is read as well, and the largest of the data asked for when acting: a Decision
    /// Transformer (Chen et al. 2021, arXiv 2106.01345). With a short window it imitates good episodes and does not learn: a control.
    pub returns_to_go: bool,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            width: 32,
            layers: 4,
            heads: 2,
            feed_forward: 128,
            window: 80,
            tokens: StepTokens::Merged,
            positions: Positions::Alibi,
            action_bins: 15,
            rewards: true,
            returns_to_go: false,
        }
    }
}

impl ModelConfig {
    /// Wider, deeper or longer than a control thread could run: a damaged file, not a model.
    const MOST: usize = 1 << 14;

    /// Numbers of a head.
    #[must_use]
    pub const fn head_width(&self) -> usize {
        self.width / self.heads
    }

    /// Tokens that a layer looks back at: those of `window` steps.
    #[must_use]
    pub const fn token_window(&self) -> usize {
        self.window * self.tokens.count()
    }

    /// Refuses what cannot be built.
    ///
    /// # Errors
    /// [`LearnError::Config`] with the first key.
    pub fn check(&self) -> Result<(), LearnError> {
        let Self {
            width,
            layers,
            heads,
            feed_forward,
            window,
            tokens: _,
            positions,
            action_bins,
            rewards: _,
            returns_to_go: _,
        } = self;
        let range = |n: &usize| (1..=Self::MOST).contains(n);
        let one = "must be at least 1 and at most 16384";
        require(NAME, range(width), "model.width", one)?;
        require(NAME, (1..=64).contains(layers), "model.layers", "must be at least 1 and at most 64")?;
        require(
            NAME,
            range(heads) && width.is_multiple_of(*heads),
            "model.heads",
            "must divide model.width",
        )?;
        require(NAME, range(feed_forward), "model.feed_forward", one)?;
        require(NAME, range(window), "model.window", one)?;
        require(
            NAME,
            (2..=256).contains(action_bins),
            "model.action_bins",
            "must be at least 2 and at most 256",
        )?;
        let even = *positions != Positions::Rotary || self.head_width().is_multiple_of(2);
        require(NAME, even, "model.positions", "rotary needs an even model.width / model.heads")
    }
}
