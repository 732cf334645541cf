//! `a2c`: advantage actor-critic by a small network, with several actors of one learner. Each actor lives on the task in a world of its own, and its
//! stream is a history of its own.
//!
//! After `rollout_steps` steps of every actor, over all `N` of them together (`c`: 0 only after a termination; `l`: 1 at an episode's last step):
//! ```text
//! d_t = r_t + discount * c_t * V(s'_t) - V(s_t)
//! A_t = d_t + discount * gae_lambda * (1 - l_t) * A_{t+1}             generalised advantages; 0 behind the last step
//! R_t = A_t + V(s_t)
//! L   = 1/N sum_t [ -A_t log pi(a_t|s_t) - entropy_weight * H(pi(.|s_t)) + value_weight / 2 * (V(s_t) - R_t)^2 ]
//! ```
//! and Adam makes one step down `L`; no gradient goes through `A` and `R`. Mnih et al., "Asynchronous Methods for Deep Reinforcement Learning"
//! (arXiv 1602.01783), Algorithm S3, whose actors wait for each other here; Schulman et al., arXiv 1506.02438, equation 16.
//!
//! | tensor | shape |
//! |---|---|
//! | inputs | `[N, inputs]`: a choice is one 1 among zeros, a bounded quantity from -1 to 1 |
//! | outputs of the one network | `[N, logits + 1]`: the logits of every number of an action, one after the other, then `V` |
//!
//! Algorithm distillation learns its dark rooms by the asynchronous form (A3C; arXiv 2210.14215, table 3): 100 actors, lambda 0.95, discount 0.99,
//! entropy 0.01, a perceptron of 3 x 128, Adam at 1e-4 with epsilon 1e-6, 2000 histories, until it has converged. That is `{ actors = 100, hidden = [128, 128,
//! 128], learning_rate = 1e-4 }`; the defaults here learn faster, with fewer actors. Other than there: actors are in step, so that a life is
//! a function of its seed; steps that were cut off by the clock bootstrap; the length of a rollout and the weight of the value's loss are not
//! reported there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Outcome, SourceAlgorithm, Stream};

use super::network::{Descent, Inputs, Network, check_hidden};
use super::table::choices_of_actions;
use super::{SourceContext, SourceError, within};

const NAME: &str = "a2c";
/// Choices of all numbers of an action together at most: each is an output.
const MAX_LOGITS: usize = 4096;

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct A2cConfig {
    /// Worlds that it learns from side by side, each of which gives a history.
    pub actors: usize,
    /// Steps of each actor between two updates.
    pub rollout_steps: usize,
    /// Numbers in each hidden layer.
    pub hidden: Vec<usize>,
    /// Of Adam.
    pub learning_rate: f64,
    /// Added to the root of Adam's second moment.
    pub adam_epsilon: f64,
    /// Longer gradients are shortened to this.
    pub max_gradient_norm: f64,
    /// What a reward of the next step is worth now.
    pub discount: f64,
    /// From the advantage of one step (0) to that of the whole return (1).
    pub gae_lambda: f64,
    /// Weight of the policy's entropy, nats.
    pub entropy_weight: f64,
    /// Weight of the value's loss.
    pub value_weight: f64,
}

impl Default for A2cConfig {
    fn default() -> Self {
        Self {
            actors: 16,
            rollout_steps: 5,
            hidden: vec![64, 64],
            learning_rate: 5e-3,
            adam_epsilon: 1e-6,
            max_gradient_norm: 0.5,
            discount: 0.99,
            gae_lambda: 0.95,
            entropy_weight: 0.01,
            value_weight: 0.5,
        }
    }
}

impl A2cConfig {
    /// Builds the learner.
    ///
    /// # Errors
    /// When a setting is out of range, or actions are no choices.
    pub fn build(&self, context: &SourceContext) -> Result<Box<dyn SourceAlgorithm>, SourceError> {
        Ok(Box::new(self.learner(context)?))
    }

    fn learner(&self, context: &SourceContext) -> Result<A2c, SourceError> {
        let Self {
            actors,
            rollout_steps,
            hidden,
            learning_rate,
            adam_epsilon,
            max_gradient_norm,
            discount,
            gae_lambda,
            entropy_weight,
            value_weight,
        } = self;
        let descent = Descent {
            learning_rate: *learning_rate,
            epsilon: *adam_epsilon,
            max_gradient_norm: *max_gradient_norm,
        };
        descent.check(NAME)?;
        check_hidden(NAME, hidden)?;
        within(NAME, "actors", *actors as f64, [1.0, 1000.0])?;
        within(NAME, "rollout_steps", *rollout_steps as f64, [1.0, 100_000.0])?;
        within(NAME, "discount", *discount, [0.0, 1.0])?;
        within(NAME, "gae_lambda", *gae_lambda, [0.0, 1.0])?;
        within(NAME, "entropy_weight", *entropy_weight, [0.0, 1e6])?;
        within(NAME, "value_weight", *value_weight, [0.0, 1e6])?;
        let spec = context.spec();
        let choices = choices_of_actions(NAME, context, MAX_LOGITS)?;
        let logits: usize = choices.iter().sum();
        let inputs = Inputs::new(NAME, &spec.name, &spec.observation)?;
        let mut learner = A2c {
            network: Network::new(inputs.len(), hidden, logits + 1, descent),
            inputs,
            choices,
            rollouts: (0..*actors).map(|_| Rollout::default()).collect(),
            stream: 0,
            updates: 0,
            failure: None,
            config: self.clone(),
        };
        learner.reset(0);
        Ok(learner)
    }
}

/// What an actor did since the last update.
#[derive(Default)]
struct Rollout {
    /// Where its actions are drawn from.
    random: Option<Stream>,
    /// `[T, inputs]`.
    x: Vec<f32>,
    /// `[T, inputs]`: what followed.
    next: Vec<f32>,
    /// `[T, action_dim]`.
    actions: Vec<usize>,
    /// `[T]`.
    rewards: Vec<f32>,
    continuations: Vec<f32>,
    lasts: Vec<bool>,
}

impl Rollout {
    const fn len(&self) -> usize {
        self.rewards.len()
    }
    fn clear(&mut self) {
        let Self { random: _, x, next, actions, rewards, continuations, lasts } = self;
        [x, next, rewards, continuations].into_iter().for_each(Vec::clear);
        actions.clear();
        lasts.clear();
    }
}

struct A2c {
    config: A2cConfig,
    network: Network,
    inputs: Inputs,
    /// Of each number of an action.
    choices: Vec<usize>,
    /// Of each actor.
    rollouts: Vec<Rollout>,
    /// Whose turn it is.
    stream: usize,
    updates: u32,
    failure: Option<String>,
}

/// What all actors did since the last update.
#[derive(Default)]
struct Lived {
    /// `[N, inputs]`.
    x: Vec<f32>,
    /// `[N, action_dim]`.
    actions: Vec<usize>,
    /// `[N]`.
    advantages: Vec<f64>,
    returns: Vec<f64>,
}

/// Chances and logarithms of chances of some logits.
fn softmax(logits: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shifted = || logits.iter().map(|l| f64::from(l - most));
    let sum = shifted().map(f64::exp).sum::<f64>().ln();
    let logs: Vec<f64> = shifted().map(|l| l - sum).collect();
    (logs.iter().map(|l| l.exp()).collect(), logs)
}

impl A2cConfig {
    /// `A` and `R` of a rollout, given `V` at its observations and at those that followed.
    fn advantages(&self, rollout: &Rollout, here: &[f32], there: &[f32]) -> (Vec<f64>, Vec<f64>) {
        let Self { discount, gae_lambda, .. } = *self;
        let steps = rollout.len();
        let mut advantages = vec![0.0; steps];
        let mut behind = 0.0;
        for t in (0..steps).rev() {
            let c = f64::from(rollout.continuations[t]);
            let d = f64::from(rollout.rewards[t]) + discount * c * f64::from(there[t]) - f64::from(here[t]);
            let goes_on = if rollout.lasts[t] { 0.0 } else { 1.0 };
            behind = d + discount * gae_lambda * goes_on * behind;
            advantages[t] = behind;
        }
        let returns = advantages.iter().zip(here).map(|(a, v)| a + f64::from(*v)).collect();
        (advantages, returns)
    }

    /// Gradient of `L` by the outputs `[N, logits + 1]`; `choices` of each number of an action.
    fn of_outputs(&self, choices: &[usize], outputs: &[f32], lived: &Lived) -> Vec<f32> {
        let Self { entropy_weight, value_weight, .. } = *self;
        let Lived { actions, advantages, returns, .. } = lived;
        let share = 1.0 / advantages.len() as f64;
        let width = outputs.len() / advantages.len().max(1);
        let mut gradient = Vec::with_capacity(outputs.len());
        let rows = outputs.chunks_exact(width).zip(actions.chunks_exact(choices.len()));
        for ((row, taken), (advantage, target)) in rows.zip(advantages.iter().zip(returns)) {
            let mut first = 0;
            for (n, action) in choices.iter().zip(taken) {
                let (chances, logs) = softmax(&row[first..first + n]);
                let entropy = -chances.iter().zip(&logs).map(|(p, l)| p * l).sum::<f64>();
                for (i, (p, l)) in chances.iter().zip(&logs).enumerate() {
                    let chosen = if i == *action { 1.0 } else { 0.0 };
                    let of_policy = advantage * (p - chosen);
                    let of_entropy = entropy_weight * p * (l + entropy);
                    gradient.push((share * (of_policy + of_entropy)) as f32);
                }
                first += n;
            }
            let value = f64::from(row[first]);
            gradient.push((share * value_weight * (value - target)) as f32);
        }
        gradient
    }
}

impl A2c {
    fn update(&mut self) {
        let width = self.choices.iter().sum::<usize>() + 1;
        let values = |x: &[f32]| -> Vec<f32> {
            self.network.infer(x).chunks_exact(width).map(|row| row[width - 1]).collect()
        };
        let mut lived = Lived::default();
        for rollout in self.rollouts.iter().filter(|r| r.len() > 0) {
            let (here, there) = (values(&rollout.x), values(&rollout.next));
            let (advantages, returns) = self.config.advantages(rollout, &here, &there);
            lived.advantages.extend(advantages);
            lived.returns.extend(returns);
            lived.x.extend_from_slice(&rollout.x);
            lived.actions.extend_from_slice(&rollout.actions);
        }
        self.rollouts.iter_mut().for_each(Rollout::clear);
        let (config, choices) = (&self.config, &self.choices);
        let outcome = self.network.descend(&lived.x, |outputs| config.of_outputs(choices, outputs, &lived));
        match outcome {
            Ok(()) => self.updates += 1,
            Err(norm) => {
                self.failure = Some(format!("its gradient became {norm} at update {}", self.updates));
            }
        }
    }
}

impl SourceAlgorithm for A2c {
    fn reset(&mut self, seed: u64) {
        self.network.reset(seed, NAME);
        for (i, rollout) in self.rollouts.iter_mut().enumerate() {
            rollout.clear();
            rollout.random = Some(Stream::new(seed, NAME, i as u64));
        }
        (self.stream, self.updates, self.failure) = (0, 0, None);
    }

    fn streams(&self) -> usize {
        self.rollouts.len()
    }

    fn turn_to(&mut self, stream: usize) {
        self.stream = stream;
    }

    fn act(&mut self, observation: &[f32], action: &mut [f32]) {
        // Actors that are through with their lives do not come again: whoever comes first with a whole rollout finds all there is.
        if self.rollouts[self.stream].len() >= self.config.rollout_steps {
            self.update();
        }
        let rollout = &mut self.rollouts[self.stream];
        let first = rollout.x.len();
        self.inputs.append(observation, &mut rollout.x);
        let outputs = self.network.infer(&rollout.x[first..]);
        let mut logits = outputs.as_slice();
        for (number, n) in action.iter_mut().zip(&self.choices) {
            let (these, rest) = logits.split_at(*n);
            logits = rest;
            let mut left = rollout.random.as_mut().map_or(0.0, Stream::unit);
            let mut chosen = n - 1;
            for (i, p) in softmax(these).0.iter().enumerate() {
                left -= p;
                if left < 0.0 {
                    chosen = i;
                    break;
                }
            }
            rollout.actions.push(chosen);
            *number = chosen as f32;
        }
    }

    fn observe(&mut self, next_observation: &[f32], outcome: &Outcome) {
        let rollout = &mut self.rollouts[self.stream];
        self.inputs.append(next_observation, &mut rollout.next);
        rollout.rewards.push(outcome.reward);
        rollout.continuations.push(outcome.end.continuation());
        rollout.lasts.push(outcome.end.is_last());
    }

    fn updates(&self) -> u32 {
        self.updates
    }

    fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use surefoot_core::StepEnd;

    use super::super::golden::{Golden, close, context};
    use super::*;

    /// Two updates, against `tests/golden/make_golden_sources.py`.
    #[test]
    fn advantages_and_updates_are_those_of_the_equations() {
        let golden = Golden::read().a2c;
        let config = A2cConfig {
            actors: 2,
            hidden: vec![5],
            learning_rate: 0.01,
            discount: 0.9,
            gae_lambda: 0.7,
            entropy_weight: 0.05,
            ..A2cConfig::default()
        };
        let mut a2c = config.learner(&context(&[3, 2])).unwrap();
        a2c.network.theta =
            (0..a2c.network.theta.len()).map(|i| (0.4 * (2.0 + 0.9 * i as f64).sin()) as f32).collect();
        for found in &golden.found {
            let (mut advantages, mut returns) = (Vec::new(), Vec::new());
            for (rollout, meant) in a2c.rollouts.iter_mut().zip(&golden.rollouts) {
                meant.seen.iter().for_each(|row| a2c.inputs.append(row, &mut rollout.x));
                meant.after.iter().for_each(|row| a2c.inputs.append(row, &mut rollout.next));
                rollout.actions = meant.actions.concat();
                rollout.rewards.clone_from(&meant.rewards);
                rollout.continuations.clone_from(&meant.continuations);
                rollout.lasts.clone_from(&meant.lasts);
                let values = |x: &[f32]| -> Vec<f32> {
                    a2c.network.infer(x).chunks_exact(6).map(|row| row[5]).collect()
                };
                let of = config.advantages(rollout, &values(&rollout.x), &values(&rollout.next));
                advantages.extend(of.0.iter().map(|x| *x as f32));
                returns.extend(of.1.iter().map(|x| *x as f32));
            }
            close(&advantages, &found.advantages);
            close(&returns, &found.returns);
            a2c.update();
        }
        close(&a2c.network.theta, &golden.theta);
        assert_eq!((a2c.updates, a2c.failure()), (2, None));
    }

    #[test]
    fn an_update_comes_when_all_that_still_live_have_a_rollout() {
        let config = A2cConfig { actors: 3, rollout_steps: 2, ..A2cConfig::default() };
        let mut a2c = config.learner(&context(&[3, 2])).unwrap();
        let step = |a2c: &mut A2c, stream| {
            a2c.turn_to(stream);
            let mut action = [0.0; 2];
            a2c.act(&[1.0, 0.5], &mut action);
            assert!(action[0] < 3.0 && action[1] < 2.0 && action.iter().all(|x| x.fract() == 0.0));
            a2c.observe(&[2.0, 0.5], &Outcome { end: StepEnd::Truncated, ..Outcome::default() });
        };
        for round in 0..5 {
            for stream in 0..3 {
                step(&mut a2c, stream);
            }
            assert_eq!(a2c.updates, round / 2, "after {} steps of each", round + 1);
        }
        // The first is through with its life; those that are left go on learning.
        for _ in 0..4 {
            step(&mut a2c, 1);
            step(&mut a2c, 2);
        }
        assert_eq!(a2c.updates, 4);
    }

    #[test]
    fn actions_are_drawn_as_often_as_the_policy_says() {
        let (chances, logs) = softmax(&[1.0, 0.0, -2.0]);
        assert!((chances.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(
            (chances[0] / chances[1] - 1.0_f64.exp()).abs() < 1e-9
                && (logs[2] - chances[2].ln()).abs() < 1e-12
        );
        assert!(softmax(&[1e30, 0.0]).0[0] == 1.0);
        let mut a2c = A2cConfig::default().learner(&context(&[4])).unwrap();
        let mut counts = [0; 4];
        for _ in 0..2000 {
            let mut action = [0.0];
            a2c.act(&[0.0, 1.0], &mut action);
            a2c.rollouts[0].clear();
            counts[action[0] as usize] += 1;
        }
        // A fresh policy is nearly even.
        assert!(counts.iter().all(|n| (400..600).contains(n)), "{counts:?}");
    }
}
