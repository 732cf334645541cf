//! An ensemble of action values `Q_j(s, a)` with their slowly following targets. Each critic works on its own, so that they can
//! share out the threads.

use candle_core::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{LearnError, Stream};

use super::adam::Adam;
use super::compute::Start;
use super::input_pass::InputPass;
use super::mlp::{Mlp, MlpShape, Pass};
use super::params::{Arrays, Gradients, Params, gradient_norm};
use super::size::{refuse_hidden, refuse_parameters};
use super::threads::Threads;
use super::value_bounds::QClamp;
use super::{Context, mean, positive, require};

/// Most critics: each is a pass over the batch.
const MAX_CRITICS: usize = 64;

/// The critics and how they learn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CriticConfig {
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Critics; the smallest of their values counts.
    pub count: usize,
    /// Targets take the smallest of so many critics, drawn anew at each update (REDQ, RLPD); of all where absent.
    pub min_over: Option<usize>,
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
            min_over: None,
            layer_norm: true,
            learning_rate: 3e-4,
            target_rate: 5e-3,
            q_clamp: QClamp::default(),
            reset_optimizer_online: true,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    params: Params,
    pub(super) network: Mlp,
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
    pub(super) members: Vec<Member>,
    target_rate: f64,
    min_over: Option<usize>,
}

/// What one critic says of a batch.
#[derive(Debug)]
pub struct Judgement {
    /// `Qt_j` of the target's rows, `[batch]`; empty for a critic that was not drawn.
    pub target: Vec<f32>,
    /// `Q_j(s, a)`, `[batch]`.
    pub taken: Vec<f32>,
    pub(super) taken_pass: Pass,
    /// `Q_j(s, a_pi)`, `[batch]`, per policy action.
    pub policy: Vec<Vec<f32>>,
}

/// How one value comes of several critics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Judging {
    /// The smallest of all.
    #[default]
    Min,
    /// The first alone.
    First,
    /// The mean of all.
    Mean,
}

impl Judging {
    /// One number a row from one list per critic. A NaN wins: it must be seen.
    #[must_use]
    pub fn of(self, q: &[&Vec<f32>]) -> Vec<f32> {
        let Some((first, others)) = q.split_first() else { return Vec::new() };
        let mut judged = (*first).clone();
        let pairs = |judged: &mut Vec<f32>, put: fn(f32, f32) -> f32| {
            for other in others {
                judged.iter_mut().zip(*other).for_each(|(j, q)| *j = put(*j, *q));
            }
        };
        match self {
            Self::Min => pairs(&mut judged, |j, q| if j < q || j.is_nan() { j } else { q }),
            Self::First => {}
            Self::Mean => {
                pairs(&mut judged, |j, q| j + q);
                judged.iter_mut().for_each(|j| *j /= q.len() as f32);
            }
        }
        judged
    }

    /// The derivative of [`of`](Self::of) by each critic's value, times `factor`: one list per critic.
    #[must_use]
    pub fn gradient(self, q: &[&Vec<f32>], factor: f32) -> Vec<Vec<f32>> {
        let rows = q.first().map_or(0, |q| q.len());
        let mut gradient = vec![vec![0.0; rows]; q.len()];
        for i in 0..rows {
            match self {
                Self::Min => {
                    let smallest = (0..q.len()).min_by(|a, b| q[*a][i].total_cmp(&q[*b][i])).unwrap_or(0);
                    gradient[smallest][i] = factor;
                }
                Self::First => gradient[0][i] = factor,
                Self::Mean => gradient.iter_mut().for_each(|g| g[i] = factor / q.len() as f32),
            }
        }
        gradient
    }
}

/// `min Qt_j` of the target's rows over the critics that were drawn, `[batch]`.
#[must_use]
pub fn target_value(judgements: &[Judgement]) -> Vec<f32> {
    Judging::Min.of(&drawn_targets(judgements))
}

/// `Qt_j` of the target's rows, of the critics that were drawn.
#[must_use]
pub fn drawn_targets(judgements: &[Judgement]) -> Vec<&Vec<f32>> {
    judgements.iter().map(|j| &j.target).filter(|q| !q.is_empty()).collect()
}

/// `max_k (least min_j Qt_j + (1 - least) max_j Qt_j)` over the critics that were drawn, for targets' rows that are several times `n` states,
/// one time for each action `k`: `[n]`. A NaN wins: it must be seen.
#[must_use]
pub fn soft_clipped_maximum(judgements: &[Judgement], least: f32, n: usize) -> Vec<f32> {
    let drawn = drawn_targets(judgements);
    let (low, high) = (Judging::Min.of(&drawn), largest(drawn.iter().map(|q| q.as_slice())));
    let mixed = low.iter().zip(&high).map(|(min, max)| least * min + (1.0 - least) * max);
    largest(mixed.collect::<Vec<f32>>().chunks_exact(n.max(1)))
}

/// The largest of each row. A NaN wins: it must be seen.
fn largest<'a>(lists: impl Iterator<Item = &'a [f32]>) -> Vec<f32> {
    let mut largest: Vec<f32> = Vec::new();
    for list in lists {
        if largest.is_empty() {
            largest = list.to_vec();
        }
        largest.iter_mut().zip(list).for_each(|(m, x)| *m = if *m > *x || m.is_nan() { *m } else { *x });
    }
    largest
}

/// `Q(s, a)` of the data's actions, `[batch]`.
#[must_use]
pub fn taken_value(judgements: &[Judgement], judging: Judging) -> Vec<f32> {
    judging.of(&judgements.iter().map(|j| &j.taken).collect::<Vec<_>>())
}

/// `sum_j mean_batch importance (Q_j(s, a) - y)^2`; no `importance` is 1 for every row.
#[must_use]
pub fn critic_loss(judgements: &[Judgement], y: &[f32], importance: &[f32]) -> f64 {
    let squares = |j: &Judgement| {
        let rows = j.taken.iter().zip(y).enumerate();
        let counts = |i: usize| importance.get(i).map_or(1.0, |w| f64::from(*w));
        mean(rows.map(|(i, (q, y))| counts(i) * f64::from(q - y).powi(2)))
    };
    judgements.iter().map(squares).sum()
}

/// `|Q_j(s, a) - y|` of each row, the mean over all critics.
#[must_use]
pub fn td_errors(judgements: &[Judgement], y: &[f32]) -> Vec<f32> {
    let row = |(i, y): (usize, &f32)| {
        let errors = judgements.iter().map(|j| (j.taken[i] - y).abs());
        errors.sum::<f32>() / judgements.len().max(1) as f32
    };
    y.iter().enumerate().map(row).collect()
}

/// State-action rows `[batch, observation_dim + action_dim]`.
#[derive(Debug)]
pub struct Judged {
    /// What the targets judge: next observations with sampled actions, or the data's own.
    pub target: Tensor,
    /// The targets that judge it, in order.
    pub target_by: Vec<usize>,
    /// Observations with the data's actions.
    pub taken: Tensor,
    /// Observations with the policy's actions.
    pub policy: Vec<Tensor>,
}

impl Critics {
    /// Seeded critics for `[observation_dim, action_dim]`; targets start equal.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn new(
        config: &CriticConfig,
        dims: [usize; 2],
        start: &Start,
        learner: &'static str,
    ) -> Result<Self, LearnError> {
        let CriticConfig {
            hidden,
            count,
            min_over,
            layer_norm,
            learning_rate,
            target_rate,
            q_clamp: _,
            reset_optimizer_online: _,
        } = config;
        let check = |ok, key, reason: &str| require(learner, ok, key, reason);
        check(positive(*learning_rate), "critic.learning_rate", "must be positive")?;
        check(*target_rate > 0.0 && *target_rate <= 1.0, "critic.target_rate", "must be in (0, 1]")?;
        let shape = Self::shape(hidden, dims[0] + dims[1], *layer_norm);
        if let Some(reason) = refuse_hidden(hidden) {
            check(false, "critic.hidden", &reason)?;
        }
        check((1..=MAX_CRITICS).contains(count), "critic.count", "must be 1 to 64")?;
        check(
            min_over.is_none_or(|n| (1..=*count).contains(&n)),
            "critic.min_over",
            "must be 1 to critic.count",
        )?;
        if let Some(reason) = refuse_parameters(&shape, *count) {
            check(false, "critic.hidden", &reason)?;
        }
        let member = |j| {
            let build = || {
                let mut params = Params::default();
                let network = Mlp::new(&mut params, start, &format!("critic{j}"), shape.clone())?;
                Ok((params, network))
            };
            let (params, network) = build().context("critic")?;
            let (target_params, target) = build().context("target critic")?;
            let adam = Adam::new(&params, *learning_rate, 0.0);
            Ok(Member { params, network, target_params, target, adam })
        };
        let members = (0..*count).map(member).collect::<Result<_, LearnError>>()?;
        Ok(Self { members, target_rate: *target_rate, min_over: *min_over })
    }

    /// A value network over rows of `input`.
    #[must_use]
    pub fn shape(hidden: &[usize], input: usize, layer_norm: bool) -> MlpShape {
        MlpShape { widths: [&[input], hidden, &[1]].concat(), layer_norm, tanh_output: false }
    }

    /// The critics of an update's targets, in order: all, or `min_over` drawn ones.
    #[must_use]
    pub fn drawn(&self, stream: &mut Stream) -> Vec<usize> {
        let mut all: Vec<usize> = (0..self.members.len()).collect();
        if let Some(n) = self.min_over {
            for i in 0..n.min(all.len()) {
                let other = i + stream.below(all.len() - i);
                all.swap(i, other);
            }
            all.truncate(n);
            all.sort_unstable();
        }
        all
    }

    /// Everything an update needs of the present weights, by critic.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn judge(&self, rows: &Judged, threads: &Threads) -> Result<Vec<Judgement>, LearnError> {
        let one = |(j, m): (usize, &Member)| {
            let taken_pass = m.network.forward(&rows.taken)?;
            let drawn = rows.target_by.contains(&j);
            Ok(Judgement {
                target: if drawn { m.target.infer(&rows.target)? } else { Vec::new() },
                taken: taken_pass.output.flatten_all()?.to_vec1()?,
                taken_pass,
                policy: rows.policy.iter().map(|x| m.network.infer(x)).collect::<candle_core::Result<_>>()?,
            })
        };
        threads.map(self.members.iter().enumerate().collect(), |m| one(m).context("critic forward"))
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

    /// `Q_j(s, a)` of every critic, differentiable in the actions.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn judge_actions(&self, rows: &Tensor, threads: &Threads) -> Result<Vec<InputPass>, LearnError> {
        let one = |m: &Member| InputPass::new(&m.network, rows).context("critic of the policy");
        threads.map(self.members.iter().collect(), one)
    }

    /// `sum_j c_j dQ_j(s, a)/da`, rows of `action_dim`; `coefficients` are `c_j`, `[batch]` each.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn action_gradient(
        &self,
        passes: &[InputPass],
        coefficients: Vec<Vec<f32>>,
        action_dim: usize,
        threads: &Threads,
    ) -> Result<Vec<f32>, LearnError> {
        let one = |((m, p), c): ((&Member, &InputPass), Vec<f32>)| {
            let (unused, of_action) = p.pull(c, action_dim).context("critic of the policy")?;
            m.network.recycle(unused);
            Ok(of_action)
        };
        let by_critic = threads.map(self.members.iter().zip(passes).zip(coefficients).collect(), one)?;
        let mut by_critic = by_critic.into_iter();
        let mut sum = by_critic.next().unwrap_or_default();
        for other in by_critic {
            sum.iter_mut().zip(other).for_each(|(s, g)| *s += g);
        }
        Ok(sum)
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

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.members.len()
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

    /// Adds the weights of the first critic: what a policy acts by.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn deploy_first(&self, to: &mut Arrays) -> Result<(), LearnError> {
        self.members.first().map_or(Ok(()), |m| m.params.export("", to))
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
