//! An ensemble of action values `Q_j(s, a)` with their slowly following targets.

use candle_core::Tensor;
use candle_core::backprop::GradStore;
use surefoot_core::LearnError;

use super::Context;
use super::adam::Adam;
use super::mlp::Mlp;
use super::params::{Arrays, Params};

/// Critics of one architecture.
#[derive(Clone, Debug)]
pub struct Ensemble {
    params: Params,
    members: Vec<Mlp>,
}

impl Ensemble {
    fn new(
        seed: u64,
        count: usize,
        input: usize,
        hidden: &[usize],
        layer_norm: bool,
    ) -> candle_core::Result<Self> {
        let mut params = Params::default();
        let members = (0..count)
            .map(|j| Mlp::new(&mut params, seed, &format!("critic{j}"), [input, 1], hidden, layer_norm))
            .collect::<candle_core::Result<_>>()?;
        Ok(Self { params, members })
    }

    /// `Q_j(s, a)` of every critic, `[batch]` each; `input` is `[batch, observation_dim + action_dim]`.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn forward(&self, input: &Tensor) -> candle_core::Result<Vec<Tensor>> {
        self.members.iter().map(|q| q.forward(input)?.squeeze(1)).collect()
    }

    /// Their parameters.
    #[must_use]
    pub const fn params(&self) -> &Params {
        &self.params
    }
}

/// Critics, targets and optimiser.
#[derive(Clone, Debug)]
pub struct Critic {
    online: Ensemble,
    target: Ensemble,
    target_rate: f64,
    adam: Adam,
}

impl Critic {
    /// Seeded critics; targets start equal.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn new(
        seed: u64,
        count: usize,
        input: usize,
        hidden: &[usize],
        layer_norm: bool,
        [learning_rate, target_rate]: [f64; 2],
    ) -> Result<Self, LearnError> {
        let build = || Ensemble::new(seed, count, input, hidden, layer_norm).context("critic");
        let online = build()?;
        let adam = Adam::new(&online.params, learning_rate, 0.0);
        Ok(Self { online, target: build()?, target_rate, adam })
    }

    /// The critics that learn.
    #[must_use]
    pub const fn online(&self) -> &Ensemble {
        &self.online
    }

    /// The critics that follow.
    #[must_use]
    pub const fn target(&self) -> &Ensemble {
        &self.target
    }

    /// One optimiser step of the critics.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn step(&mut self, gradients: &GradStore) -> Result<(), LearnError> {
        self.adam.step(&self.online.params, gradients)
    }

    /// Targets follow by `target_rate`.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn follow(&self) -> Result<(), LearnError> {
        self.target.params.average_towards(&self.online.params, self.target_rate)
    }

    /// Forgets the optimiser's moments.
    pub fn reset_optimizer(&mut self) {
        self.adam.reset();
    }

    /// Optimiser steps since the last reset.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.adam.steps()
    }

    /// Adds weights, targets and moments.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn export(&self, to: &mut Arrays) -> Result<(), LearnError> {
        self.online.params.export("", to)?;
        self.target.params.export("target/", to)?;
        self.adam.export("adam/", to);
        Ok(())
    }

    /// Checks what [`import`](Self::import) takes, without changing anything.
    ///
    /// # Errors
    /// [`LearnError::State`] naming the first difference.
    pub fn check(&self, from: &Arrays) -> Result<(), LearnError> {
        self.online.params.check("", from)?;
        self.target.params.check("target/", from)?;
        self.adam.check("adam/", from)
    }

    /// Takes everything back.
    ///
    /// # Errors
    /// When an array is missing or has another shape.
    pub fn import(&mut self, from: &Arrays, steps: u64) -> Result<(), LearnError> {
        self.online.params.import("", from)?;
        self.target.params.import("target/", from)?;
        self.adam.import("adam/", from, steps)
    }
}
