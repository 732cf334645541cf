//! An ensemble of action values `Q_j(s, a)` with their slowly following targets. Each critic works on its own, so that they can
//! share out the threads.

use candle_core::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::LearnError;

use super::Context;
use super::adam::Adam;
use super::mlp::{Mlp, MlpShape, Pass};
use super::params::{Arrays, Gradients, Params, gradient_norm};
use super::threads::Threads;
use super::value_bounds::QClamp;

/// The critics and how they learn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CriticConfig {
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Critics; the smallest of their values counts.
    pub count: usize,
    /// Layer normalisation before each ReLU.
    pub layer_norm: bool,
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// How far targets follow at each update (the paper's tau).
    pub target_rate: f64,
    /// Bounds on targets.
    pub q_clamp: QClamp,
    /// Whether the optimiser starts anew when an online phase begins.
    pub reset_optimizer_online: bool,
}

impl Default for CriticConfig {
    fn default() -> Self {
        Self {
            hidden: vec![256, 256],
            count: 2,
            layer_norm: true,
            learning_rate: 3e-4,
            target_rate: 5e-3,
            q_clamp: QClamp::default(),
            reset_optimizer_online: true,
        }
    }
}

#[derive(Clone, Debug)]
struct Member {
    params: Params,
    network: Mlp,
    target_params: Params,
    target: Mlp,
    adam: Adam,
}

/// Which weights judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Those that learn.
    Online,
    /// Those that follow.
    Target,
}

/// Critics, targets and optimisers.
#[derive(Clone, Debug)]
pub struct Critics {
    members: Vec<Member>,
    target_rate: f64,
}

/// What one critic says of a batch.
#[derive(Debug)]
pub struct Judgement {
    /// `Qt_j(s', a')`, `[batch]`.
    pub next: Vec<f32>,
    /// `Q_j(s, a)`, `[batch]`.
    pub taken: Vec<f32>,
    taken_pass: Pass,
    /// `Q_j(s, a_pi)`, `[batch]`, per policy action.
    pub policy: Vec<Vec<f32>>,
}

/// State-action rows `[batch, observation_dim + action_dim]`.
#[derive(Debug)]
pub struct Judged {
    /// Next observations with sampled actions.
    pub next: Tensor,
    /// Observations with the data's actions.
    pub taken: Tensor,
    /// Observations with the policy's actions.
    pub policy: Vec<Tensor>,
}

impl Critics {
    /// Seeded critics; targets start equal.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn new(
        seed: u64,
        count: usize,
        shape: &MlpShape,
        [learning_rate, target_rate]: [f64; 2],
    ) -> Result<Self, LearnError> {
        let member = |j| {
            let build = || {
                let mut params = Params::default();
                let network = Mlp::new(&mut params, seed, &format!("critic{j}"), shape.clone())?;
                Ok((params, network))
            };
            let (params, network) = build().context("critic")?;
            let (target_params, target) = build().context("target critic")?;
            let adam = Adam::new(&params, learning_rate, 0.0);
            Ok(Member { params, network, target_params, target, adam })
        };
        Ok(Self { members: (0..count).map(member).collect::<Result<_, LearnError>>()?, target_rate })
    }

    /// Everything an update needs of the present weights, by critic.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn judge(&self, rows: &Judged, threads: &Threads) -> Result<Vec<Judgement>, LearnError> {
        let one = |m: &Member| {
            let taken_pass = m.network.forward(&rows.taken)?;
            Ok(Judgement {
                next: m.target.infer(&rows.next)?,
                taken: taken_pass.output.flatten_all()?.to_vec1()?,
                taken_pass,
                policy: rows.policy.iter().map(|x| m.network.infer(x)).collect::<candle_core::Result<_>>()?,
            })
        };
        threads.map(self.members.iter().collect(), |m| one(m).context("critic forward"))
    }

    /// `Q_j` of every critic for `[batch, observation_dim + action_dim]`, without gradients.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn infer(&self, weights: Weights, rows: &Tensor) -> Result<Vec<Vec<f32>>, LearnError> {
        let one = |m: &Member| match weights {
            Weights::Online => m.network.infer(rows),
            Weights::Target => m.target.infer(rows),
        };
        self.members.iter().map(|m| one(m).context("critic forward")).collect()
    }

    /// Gradients of `mean importance (Q_j(s, a) - y)^2` by critic, with their norms; no `importance` is 1 for every row.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn gradients(
        &self,
        judgements: &[Judgement],
        y: &[f32],
        importance: &[f32],
        threads: &Threads,
    ) -> Result<Vec<(Gradients, f64)>, LearnError> {
        let one = |(j, judgement): (usize, &Judgement)| {
            let pass = &judgement.taken_pass;
            let target = Tensor::from_slice(y, (y.len(), 1), &Device::Cpu).context("critic loss")?;
            let squares = (&pass.output - target).and_then(|d| d.sqr());
            let loss = squares.and_then(|squares| {
                if importance.is_empty() {
                    return squares.mean_all();
                }
                let importance = Tensor::from_slice(importance, (importance.len(), 1), &Device::Cpu)?;
                (squares * importance)?.mean_all()
            });
            loss.and_then(|l| l.backward()).context("critic gradient")?;
            let gradients: Gradients =
                pass.take_gradient().map(|g| (format!("critic{j}"), g)).into_iter().collect();
            let norm = gradient_norm(&gradients);
            Ok((gradients, norm))
        };
        threads.map(judgements.iter().enumerate().collect(), one)
    }

    /// One optimiser step of every critic, and its target follows.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn step(&mut self, gradients: Vec<(Gradients, f64)>, threads: &Threads) -> Result<(), LearnError> {
        let rate = self.target_rate;
        let one = |(m, (gradients, _)): (&mut Member, (Gradients, f64))| {
            m.adam.step(&m.params, &gradients)?;
            gradients.into_values().for_each(|g| m.network.recycle(g));
            m.target_params.average_towards(&m.params, rate)
        };
        threads.map(self.members.iter_mut().zip(gradients).collect(), one)?;
        Ok(())
    }

    /// Forgets the optimisers' moments.
    pub fn reset_optimizer(&mut self) {
        for m in &mut self.members {
            m.adam.reset();
        }
    }

    /// Optimiser steps since the last reset.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.members.first().map_or(0, |m| m.adam.steps())
    }

    /// Adds weights, targets and moments.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn export(&self, to: &mut Arrays) -> Result<(), LearnError> {
        for m in &self.members {
            m.params.export("", to)?;
            m.target_params.export("target/", to)?;
            m.adam.export("adam/", to);
        }
        Ok(())
    }

    /// Checks what [`import`](Self::import) takes, without changing anything.
    ///
    /// # Errors
    /// [`LearnError::State`] naming the first difference.
    pub fn check(&self, from: &Arrays) -> Result<(), LearnError> {
        for m in &self.members {
            m.params.check("", from)?;
            m.target_params.check("target/", from)?;
            m.adam.check("adam/", from)?;
        }
        Ok(())
    }

    /// Takes everything back.
    ///
    /// # Errors
    /// When an array is missing or has another shape.
    pub fn import(&mut self, from: &Arrays, steps: u64) -> Result<(), LearnError> {
        for m in &mut self.members {
            m.params.import("", from)?;
            m.target_params.import("target/", from)?;
            m.adam.import("adam/", from, steps)?;
        }
        Ok(())
    }
}
