//! The conservative penalty on critics (CQL; Kumar et al. 2020, arXiv 2006.04779, `CQL(H)` with importance sampling), bounded from
//! below where asked for (Cal-QL; Nakamoto et al. 2023, arXiv 2303.05479):
//! ```text
//! gap_j = mean_batch ( T log sum_k exp((B_k - log mu_k) / T) - Q_j(s, a) )
//! B_k   = Q_j(s, a_k), of actions of the policy max(Q_j(s, a_k), floor)        a_k drawn with density mu_k
//! L_j   = mean_batch (Q_j(s, a) - y)^2 + weight * gap_j
//! ```
//! Candidates are many more rows than the batch, so each critic takes them a few states at a time, forward and back, while they are in
//! the processor's cache.

use surefoot_core::LearnError;

use super::critic::{Critics, Judgement, Member};
use super::inputs::tensor;
use super::params::{Gradients, gradient_norm};
use super::threads::Threads;
use super::{Context, mean};

/// Rows of candidates that go forward and back together, at most.
const ROWS: usize = 256;

/// The actions that the penalty looks at, state by state.
#[derive(Debug)]
pub struct Candidates {
    per_state: usize,
    /// Numbers in a row.
    width: usize,
    /// Observations beside actions, `[batch * per_state * width]`.
    rows: Vec<f32>,
    /// Logarithms of the densities that they were drawn with, `[batch * per_state]`.
    log_density: Vec<f32>,
    /// Those of each state from this one on are the policy's.
    first_of_policy: usize,
}

impl Candidates {
    /// Of actions with their log-densities, each one for every state; `policy` come from the policy.
    #[must_use]
    pub fn new(
        observation: &[f32],
        [observation_dim, action_dim]: [usize; 2],
        others: &[(&[f32], &[f32])],
        policy: &[(&[f32], &[f32])],
    ) -> Self {
        let (per_state, width) = (others.len() + policy.len(), observation_dim + action_dim);
        let states = observation.len() / observation_dim.max(1);
        let mut rows = Vec::with_capacity(states * per_state * width);
        let mut log_density = Vec::with_capacity(states * per_state);
        for (i, o) in observation.chunks_exact(observation_dim.max(1)).enumerate() {
            for (action, density) in others.iter().chain(policy) {
                rows.extend_from_slice(o);
                rows.extend_from_slice(&action[i * action_dim..(i + 1) * action_dim]);
                log_density.push(density[i]);
            }
        }
        Self { per_state, width, rows, log_density, first_of_policy: others.len() }
    }
}

/// The penalty of an update.
#[derive(Debug)]
pub struct Penalty<'a> {
    /// The actions.
    pub candidates: &'a Candidates,
    /// What values of the policy's actions count at least, `[batch]`.
    pub floor: Option<&'a [f32]>,
    /// The soft maximum's temperature.
    pub temperature: f64,
    /// Of the gap in the loss.
    pub weight: f64,
}

/// What came of it.
#[derive(Debug)]
pub struct Conservative {
    /// Of the critics' whole losses, with their norms.
    pub gradients: Vec<(Gradients, f64)>,
    /// Mean of the critics' gaps.
    pub gap: f64,
    /// Part of the policy's actions that the floor bounds, mean of the critics.
    pub bounded: f64,
}

struct OfOne {
    gradients: (Gradients, f64),
    gap: f64,
    bounded: f64,
}

impl Penalty<'_> {
    /// `T log sum exp` of a state's candidates; their derivatives times `factor` go to `gradient`. How many are bounded comes with it.
    fn soft_maximum(&self, state: usize, q: &[f32], factor: f64, gradient: &mut Vec<f32>) -> (f64, usize) {
        let Candidates { per_state, log_density, first_of_policy, .. } = self.candidates;
        let density = &log_density[state * per_state..(state + 1) * per_state];
        let floor = self.floor.map(|f| f[state]);
        let mut bounded = Vec::with_capacity(q.len());
        let value = |(k, (q, density)): (usize, (&f32, &f32))| {
            // A NaN is not below: it must be seen.
            let below = floor.filter(|f| k >= *first_of_policy && q < f);
            bounded.push(below.is_some());
            (f64::from(below.unwrap_or(*q)) - f64::from(*density)) / self.temperature
        };
        let values: Vec<f64> = q.iter().zip(density).enumerate().map(value).collect();
        let top = values.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
        let shares: Vec<f64> = values.iter().map(|v| (v - top).exp()).collect();
        let sum: f64 = shares.iter().sum();
        let of_q =
            |(share, bounded): (&f64, &bool)| if *bounded { 0.0 } else { (factor * share / sum) as f32 };
        gradient.extend(shares.iter().zip(&bounded).map(of_q));
        (self.temperature * (top + sum.ln()), bounded.iter().filter(|b| **b).count())
    }

    fn of_critic(
        &self,
        j: usize,
        member: &Member,
        judgement: &Judgement,
        y: &[f32],
        importance: &[f32],
    ) -> Result<OfOne, LearnError> {
        let Candidates { per_state, width, rows, first_of_policy, .. } = self.candidates;
        let n = y.len() as f64;
        let counts = |i: usize| importance.get(i).map_or(1.0, |w| f64::from(*w));
        let of_taken = judgement.taken.iter().zip(y).enumerate().map(|(i, (q, y))| {
            (counts(i) * (2.0 * (f64::from(*q) - f64::from(*y)) - self.weight) / n) as f32
        });
        let mut sum = judgement.taken_pass.pull(of_taken.collect()).context("critic gradient")?;
        let states = (ROWS / per_state.max(&1)).max(1);
        let (mut soft, mut bounded) = (Vec::with_capacity(y.len()), 0);
        for rows in rows.chunks(states * per_state * width) {
            let x = tensor(rows.to_vec(), *width).context("critic of candidates")?;
            let pass = member.network.forward(&x).context("critic of candidates")?;
            let q = pass.output.flatten_all().and_then(|q| q.to_vec1::<f32>());
            let q = q.context("critic of candidates")?;
            let mut of_q = Vec::with_capacity(q.len());
            for q in q.chunks(*per_state) {
                let i = soft.len();
                let (value, below) = self.soft_maximum(i, q, counts(i) * self.weight / n, &mut of_q);
                soft.push(value);
                bounded += below;
            }
            let gradient = pass.pull(of_q).context("critic gradient")?;
            sum.iter_mut().zip(&gradient).for_each(|(s, g)| *s += g);
            member.network.recycle(gradient);
        }
        let apart = soft.iter().zip(&judgement.taken).enumerate();
        let gap = mean(apart.map(|(i, (soft, q))| counts(i) * (soft - f64::from(*q))));
        let of_policy = (per_state - first_of_policy) * y.len();
        let gradients = Gradients::from([(format!("critic{j}"), sum)]);
        let norm = gradient_norm(&gradients);
        Ok(OfOne { gradients: (gradients, norm), gap, bounded: bounded as f64 / of_policy.max(1) as f64 })
    }
}

impl Critics {
    /// Gradients of `mean importance (Q_j(s, a) - y)^2 + weight * gap_j` by critic; no `importance` is 1 for every row, of the gap
    /// too.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn conservative(
        &self,
        judgements: &[Judgement],
        y: &[f32],
        importance: &[f32],
        penalty: &Penalty<'_>,
        threads: &Threads,
    ) -> Result<Conservative, LearnError> {
        let jobs = self.members.iter().zip(judgements).enumerate().collect();
        let each = threads.map(jobs, |(j, (member, of))| penalty.of_critic(j, member, of, y, importance))?;
        let (gap, bounded) = (mean(each.iter().map(|c| c.gap)), mean(each.iter().map(|c| c.bounded)));
        Ok(Conservative { gradients: each.into_iter().map(|c| c.gradients).collect(), gap, bounded })
    }
}
