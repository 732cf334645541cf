//! One step, one token: `observation + action before + reward before + how the step before ended + step of the episode`; or three:
//! `action before`, `reward before + how the step before ended`, `observation + step of the episode`. At the beginning of a life, where nothing
//! came before, `begin` stands in its place.
//!
//! The same encoder reads the observation when it is the present one and when it has become a past one, so that attention can find
//! earlier visits of the same state.

use surefoot_core::StepEnd;

use super::config::{ModelConfig, TokenPart};
use super::kernels::{add_scaled, matvec};
use super::shape::{At, Entry, Layout, TokenShape};
use crate::nn::kernels;

/// Parts of a token that were left out in training, so that a policy can do without them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Masked {
    /// The observation.
    pub observation: bool,
    /// The action of the step before.
    pub action: bool,
    /// The reward of the step before.
    pub reward: bool,
}

/// What came before a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Before<'a> {
    /// Nothing: a life begins.
    Nothing,
    /// A step.
    Step {
        /// Bins of its action, `[action_dim]`.
        action: &'a [u32],
        /// Its reward, in units of the data's largest.
        reward: f32,
        /// How it ended.
        end: StepEnd,
    },
}

/// A step as the transformer reads it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token<'a> {
    /// What is seen, normalised, `[observation_dim]`.
    pub observation: &'a [f32],
    /// What came before.
    pub before: Before<'a>,
    /// Step of the episode.
    pub step: usize,
    /// What is left out.
    pub masked: Masked,
    /// What the rest of the episode is to bring, in units of the data's largest return of an episode; read where the model reads it.
    pub return_to_go: f32,
}

const fn end_row(end: StepEnd) -> usize {
    match end {
        StepEnd::Running => 0,
        StepEnd::Terminated => 1,
        StepEnd::Truncated => 2,
    }
}

/// Index of a choice; the nearest one where it is not one.
fn choice(x: f32, n: usize) -> usize {
    // A NaN becomes 0.
    x.round().clamp(0.0, (n - 1) as f32) as usize
}

/// Reads tokens with one set of parameters.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    /// Settings.
    pub model: &'a ModelConfig,
    /// What they are made of.
    pub shape: &'a TokenShape,
    /// Where its arrays are.
    pub layout: &'a Layout,
}

impl Tokens<'_> {
    /// Rows of the parameter that a part of a token adds up, but for quantities and the reward's size.
    fn rows(&self, token: Token<'_>, part: TokenPart, mut each: impl FnMut(std::ops::Range<usize>)) {
        let (d, at) = (self.model.width, &self.layout.tokens);
        let holds = |this: TokenPart| part == TokenPart::Whole || part == this;
        if holds(TokenPart::Observation) {
            self.observation_rows(token, &mut each);
        }
        if part == TokenPart::Observation {
            return;
        }
        let Before::Step { action, reward: _, end } = token.before else {
            each(at.begin.range());
            return;
        };
        if holds(TokenPart::Reward) {
            each(at.end.row(end_row(end), d));
        }
        if holds(TokenPart::Action) {
            if token.masked.action {
                each(at.masked[1].range());
            } else {
                for (table, bin) in at.actions.iter().zip(action) {
                    each(table.row(*bin as usize, d));
                }
            }
        }
        if self.model.rewards && holds(TokenPart::Reward) {
            each(if token.masked.reward { at.masked[2].range() } else { at.reward.bias.range() });
        }
    }

    fn observation_rows(&self, token: Token<'_>, each: &mut impl FnMut(std::ops::Range<usize>)) {
        let (d, at) = (self.model.width, &self.layout.tokens);
        if token.masked.observation {
            each(at.masked[0].range());
        } else {
            let values = self.shape.observation.iter().zip(token.observation);
            let choices = values.filter_map(|(e, x)| match e {
                Entry::Choice(n) => Some((*n, *x)),
                Entry::Quantity => None,
            });
            for ((n, x), table) in choices.zip(&at.choices) {
                each(table.row(choice(x, n), d));
            }
        }
        each(at.step.row(token.step.min(self.shape.steps - 1), d));
    }

    fn reward(&self, token: Token<'_>, part: TokenPart) -> Option<f32> {
        let held = matches!(part, TokenPart::Whole | TokenPart::Reward);
        match token.before {
            Before::Step { reward, .. } if held && self.model.rewards && !token.masked.reward => Some(reward),
            _ => None,
        }
    }

    /// What a return to go is multiplied with, where this part holds one: it stands beside the observation.
    fn return_to_go(&self, part: TokenPart) -> Option<At> {
        let held = matches!(part, TokenPart::Whole | TokenPart::Observation);
        self.layout.tokens.return_to_go.filter(|_| held)
    }

    /// Whether quantities that are seen are in this part.
    const fn quantities_are_in(token: Token<'_>, part: TokenPart) -> bool {
        matches!(part, TokenPart::Whole | TokenPart::Observation) && !token.masked.observation
    }

    fn quantities<'q>(&self, token: Token<'_>, row: &'q mut [f32]) -> &'q [f32] {
        let values = self.shape.observation.iter().zip(token.observation);
        let quantities = values.filter(|(e, _)| **e == Entry::Quantity).map(|(_, x)| *x);
        let mut n = 0;
        for (to, x) in row.iter_mut().zip(quantities) {
            *to = x;
            n += 1;
        }
        &row[..n]
    }

    /// Writes the row of a part of a token (`[width]`). `hidden` (`[width]`) and `quantities` (`[quantities]`) are what the way back needs.
    pub fn read(
        &self,
        theta: &[f32],
        (token, part): (Token<'_>, TokenPart),
        row: &mut [f32],
        hidden: &mut [f32],
        quantities: &mut [f32],
    ) {
        match self.layout.tokens.quantities {
            Some([first, second]) if Self::quantities_are_in(token, part) => {
                let x = self.quantities(token, quantities);
                matvec(x, first.weight.of(theta), first.bias.of(theta), hidden);
                // A NaN stays one.
                hidden.iter_mut().for_each(|h| *h = if *h < 0.0 { 0.0 } else { *h });
                matvec(hidden, second.weight.of(theta), second.bias.of(theta), row);
            }
            _ => row.fill(0.0),
        }
        self.rows(token, part, |range| kernels::add(row, &theta[range]));
        if let Some(reward) = self.reward(token, part) {
            add_scaled(row, self.layout.tokens.reward.weight.of(theta), reward);
        }
        if let Some(at) = self.return_to_go(part) {
            add_scaled(row, at.of(theta), token.return_to_go);
        }
    }

    /// Adds the gradient of the parameter, given that of the token's row and what [`read`](Self::read) left behind.
    pub fn read_backward(
        &self,
        theta: &[f32],
        (token, part): (Token<'_>, TokenPart),
        gradient: &[f32],
        [hidden, quantities]: [&[f32]; 2],
        scratch: &mut [f32],
        of_theta: &mut [f32],
    ) {
        self.rows(token, part, |range| kernels::add(&mut of_theta[range], gradient));
        if let Some(reward) = self.reward(token, part) {
            add_scaled(self.layout.tokens.reward.weight.of_mut(of_theta), gradient, reward);
        }
        if let Some(at) = self.return_to_go(part) {
            add_scaled(at.of_mut(of_theta), gradient, token.return_to_go);
        }
        if let (Some([first, second]), true) =
            (self.layout.tokens.quantities, Self::quantities_are_in(token, part))
        {
            let d = self.model.width;
            kernels::add(second.bias.of_mut(of_theta), gradient);
            for (i, h) in hidden.iter().enumerate() {
                add_scaled(&mut of_theta[second.weight.row(i, d)], gradient, *h);
            }
            kernels::row_products(second.weight.of(theta), gradient, scratch);
            kernels::relu_backward(scratch, hidden);
            kernels::add(first.bias.of_mut(of_theta), scratch);
            for (i, q) in quantities.iter().enumerate() {
                add_scaled(&mut of_theta[first.weight.row(i, d)], scratch, *q);
            }
        }
    }
}
