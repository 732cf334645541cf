//! Parameters with an optimiser that only some learners have (a state value, a temperature, a target policy), saved with them.

use surefoot_core::LearnError;

use super::adam::Adam;
use super::params::{Arrays, Gradients, Params};

/// Parameters and, where they learn by gradients, their optimiser.
#[derive(Clone, Debug)]
pub struct Trainable {
    name: &'static str,
    prefix: &'static str,
    params: Params,
    adam: Option<Adam>,
}

impl Trainable {
    /// What learns with Adam at this rate.
    #[must_use]
    pub fn new(name: &'static str, params: Params, learning_rate: f64) -> Self {
        let adam = Some(Adam::new(&params, learning_rate, 0.0));
        Self { name, prefix: "", params, adam }
    }

    /// What only follows other parameters; its arrays are saved under `target/`.
    #[must_use]
    pub const fn target(name: &'static str, params: Params) -> Self {
        Self { name, prefix: "target/", params, adam: None }
    }

    /// For the counters of a checkpoint.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The parameters.
    #[must_use]
    pub const fn params(&self) -> &Params {
        &self.params
    }

    /// Optimiser steps since the last reset.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.adam.as_ref().map_or(0, Adam::steps)
    }

    /// One optimiser step.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn step(&mut self, gradients: &Gradients) -> Result<(), LearnError> {
        self.adam.as_mut().map_or(Ok(()), |adam| adam.step(&self.params, gradients))
    }

    /// Moves a part of the way to `other`.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn follow(&self, other: &Params, rate: f64) -> Result<(), LearnError> {
        self.params.average_towards(other, rate)
    }

    /// Forgets the optimiser's moments.
    pub fn reset_optimizer(&mut self) {
        if let Some(adam) = &mut self.adam {
            adam.reset();
        }
    }

    /// Adds parameters and moments.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn export(&self, to: &mut Arrays) -> Result<(), LearnError> {
        self.params.export(self.prefix, to)?;
        if let Some(adam) = &self.adam {
            adam.export("adam/", to);
        }
        Ok(())
    }

    /// Checks what [`import`](Self::import) takes, without changing anything.
    ///
    /// # Errors
    /// [`LearnError::State`] naming the first difference.
    pub fn check(&self, from: &Arrays) -> Result<(), LearnError> {
        self.params.check(self.prefix, from)?;
        self.adam.as_ref().map_or(Ok(()), |adam| adam.check("adam/", from))
    }

    /// Takes everything back.
    ///
    /// # Errors
    /// When an array is missing or has another shape.
    pub fn import(&mut self, from: &Arrays, steps: u64) -> Result<(), LearnError> {
        self.params.import(self.prefix, from)?;
        self.adam.as_mut().map_or(Ok(()), |adam| adam.import("adam/", from, steps))
    }
}
