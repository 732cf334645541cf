//! `dqn`: Q-learning by a small network, from a replay buffer, towards a target network.
//!
//! ```text
//! y_i  = r_i + discount * c_i * max_a Qt(s'_i, a)                        c_i: 0 only after a termination
//! y_i  = r_i + discount * c_i * Qt(s'_i, argmax_a Q(s'_i, a))            with `double`
//! L    = mean_i huber(Q(s_i, a_i) - y_i)                                 huber(x) = x^2 / 2 within 1, |x| - 1/2 beyond
//! ```
//! Every `steps_per_update` steps Adam makes one step down `L` over `batch` transitions, drawn evenly from the last `replay_steps`; every
//! `target_period_updates` updates `Qt <- Q`. The share of random actions falls in a straight line, episode by episode, from
//! `first_random_share` to `last_random_share`, over `random_episodes_share` of the episodes. Mnih et al., "Human-level control through deep
//! reinforcement learning" (2015), Algorithm 1; van Hasselt, Guez and Silver, "Deep Reinforcement Learning with Double Q-learning"
//! (arXiv 1509.06461), equation 4.
//!
//! | tensor | shape |
//! |---|---|
//! | inputs | `[batch, inputs]`: a choice is one 1 among zeros, a bounded quantity from -1 to 1 |
//! | `Q`, `Qt` | `[batch, actions]`: one number for each combination of an action's choices |
//!
//! Other than in the papers: one actor and a perceptron instead of convolutions; Adam instead of RMSProp; steps that were cut off by the clock
//! bootstrap. Algorithm distillation (arXiv 2210.14215, table 4) learns its watermaze by a *distributed* DQN with Q(lambda), 16 actors, batches of 8
//! sequences of 40 steps, a buffer of 1e5, lambda 0.75, discount 0.9, target period 50, Adam at 1e-4 and gradients clipped to 10; of these, discount
//! and clipping are the defaults here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Outcome, SourceAlgorithm, Stream};

use super::network::{Descent, Inputs, Network, check_hidden};
use super::table::{Codes, argmax};
use super::{SourceContext, SourceError, within};

const NAME: &str = "dqn";
/// Combinations of an action's choices at most: each is an output.
const MAX_ACTIONS: usize = 4096;

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DqnConfig {
    /// Numbers in each hidden layer.
    pub hidden: Vec<usize>,
    /// Of Adam.
    pub learning_rate: f64,
    /// Longer gradients are shortened to this.
    pub max_gradient_norm: f64,
    /// What a reward of the next step is worth now.
    pub discount: f64,
    /// Whether the present network chooses the action that the target network values.
    pub double: bool,
    /// Transitions of an update.
    pub batch: usize,
    /// Transitions that are kept: the last ones.
    pub replay_steps: usize,
    /// Steps before the first update.
    pub warm_up_steps: usize,
    /// Steps between two updates.
    pub steps_per_update: usize,
    /// Updates after which the target network becomes the present one.
    pub target_period_updates: u32,
    /// Share of random actions in the first episode.
    pub first_random_share: f64,
    /// Share of random actions from `random_episodes_share` of the episodes on.
    pub last_random_share: f64,
    /// Share of the episodes over which the share of random actions falls.
    pub random_episodes_share: f64,
}

impl Default for DqnConfig {
    fn default() -> Self {
        Self {
            hidden: vec![64, 64],
            learning_rate: 1e-3,
            max_gradient_norm: 10.0,
            discount: 0.9,
            double: true,
            batch: 32,
            replay_steps: 10_000,
            warm_up_steps: 100,
            steps_per_update: 1,
            target_period_updates: 50,
            first_random_share: 1.0,
            last_random_share: 0.0,
            random_episodes_share: 0.9,
        }
    }
}

impl DqnConfig {
    /// Builds the learner.
    ///
    /// # Errors
    /// When a setting is out of range, or actions are no choices.
    pub fn build(&self, context: &SourceContext) -> Result<Box<dyn SourceAlgorithm>, SourceError> {
        Ok(Box::new(self.learner(context)?))
    }

    fn learner(&self, context: &SourceContext) -> Result<Dqn, SourceError> {
        let Self {
            hidden,
            learning_rate,
            max_gradient_norm,
            discount,
            double: _,
            batch,
            replay_steps,
            warm_up_steps,
            steps_per_update,
            target_period_updates,
            first_random_share,
            last_random_share,
            random_episodes_share,
        } = self;
        let descent =
            Descent { learning_rate: *learning_rate, epsilon: 1e-8, max_gradient_norm: *max_gradient_norm };
        descent.check(NAME)?;
        check_hidden(NAME, hidden)?;
        within(NAME, "discount", *discount, [0.0, 1.0])?;
        within(NAME, "batch", *batch as f64, [1.0, 65_536.0])?;
        within(NAME, "replay_steps", *replay_steps as f64, [1.0, 1e7])?;
        within(NAME, "warm_up_steps", *warm_up_steps as f64, [0.0, 1e9])?;
        within(NAME, "steps_per_update", *steps_per_update as f64, [1.0, 1e9])?;
        within(NAME, "target_period_updates", f64::from(*target_period_updates), [1.0, 1e9])?;
        within(NAME, "first_random_share", *first_random_share, [0.0, 1.0])?;
        within(NAME, "last_random_share", *last_random_share, [0.0, *first_random_share])?;
        within(NAME, "random_episodes_share", *random_episodes_share, [0.0, 1.0])?;
        let spec = context.spec();
        let actions = Codes::of_actions(NAME, context, MAX_ACTIONS)?;
        let inputs = Inputs::new(NAME, &spec.name, &spec.observation)?;
        let mut learner = Dqn {
            fewer_per_episode: (first_random_share - last_random_share)
                / (random_episodes_share * context.episodes as f64).max(1.0),
            network: Network::new(inputs.len(), hidden, actions.count(), descent),
            target: Vec::new(),
            replay: Replay::new(spec.observation_dim(), *replay_steps),
            inputs,
            actions,
            exploring: Stream::new(0, NAME, 0),
            sampling: Stream::new(0, NAME, 1),
            seen: Vec::new(),
            chosen: 0,
            episode: 0,
            steps: 0,
            updates: 0,
            failure: None,
            config: self.clone(),
        };
        learner.reset(0);
        Ok(learner)
    }
}

/// The last transitions, in a ring.
struct Replay {
    dim: usize,
    capacity: usize,
    /// `[len, 2 * dim]`: an observation and the next one.
    rows: Vec<f32>,
    /// `[len]`: action, reward, continuation.
    rest: Vec<(usize, f32, f32)>,
    written: usize,
}

impl Replay {
    const fn new(dim: usize, capacity: usize) -> Self {
        Self { dim, capacity, rows: Vec::new(), rest: Vec::new(), written: 0 }
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.rest.clear();
        self.written = 0;
    }

    fn push(&mut self, seen: &[f32], next: &[f32], rest: (usize, f32, f32)) {
        let (at, width) = (self.written % self.capacity, 2 * self.dim);
        if at == self.rest.len() {
            self.rows.resize((at + 1) * width, 0.0);
            self.rest.push(rest);
        }
        self.rest[at] = rest;
        let (first, second) = self.rows[at * width..(at + 1) * width].split_at_mut(self.dim);
        first.copy_from_slice(seen);
        second.copy_from_slice(next);
        self.written += 1;
    }

    /// Observation and next observation.
    fn pair(&self, i: usize) -> (&[f32], &[f32]) {
        self.rows[i * 2 * self.dim..(i + 1) * 2 * self.dim].split_at(self.dim)
    }
}

struct Dqn {
    config: DqnConfig,
    /// By how much the share of random actions falls.
    fewer_per_episode: f64,
    network: Network,
    /// Parameter of the target network.
    target: Vec<f32>,
    replay: Replay,
    inputs: Inputs,
    actions: Codes,
    exploring: Stream,
    sampling: Stream,
    /// What was seen, `[observation_dim]`, and the action that was chosen, in the step that is under way.
    seen: Vec<f32>,
    chosen: usize,
    episode: u32,
    steps: usize,
    updates: u32,
    failure: Option<String>,
}

impl Dqn {
    fn random_share(&self) -> f64 {
        let share = self.config.first_random_share - self.fewer_per_episode * f64::from(self.episode);
        share.max(self.config.last_random_share)
    }

    /// The transitions of an update.
    fn draw(&mut self) -> Transitions {
        let mut drawn = Transitions::default();
        for _ in 0..self.config.batch {
            let i = self.sampling.below(self.replay.rest.len());
            let (seen, next) = self.replay.pair(i);
            self.inputs.append(seen, &mut drawn.x);
            self.inputs.append(next, &mut drawn.next);
            let (action, reward, continuation) = self.replay.rest[i];
            drawn.action.push(action);
            drawn.reward.push(reward);
            drawn.continuation.push(continuation);
        }
        drawn
    }

    /// `y`, `[batch]`.
    fn targets(&self, drawn: &Transitions) -> Vec<f32> {
        let n = self.actions.count();
        let values = self.network.infer_by(&self.target, &drawn.next);
        let choosing = if self.config.double { self.network.infer(&drawn.next) } else { values.clone() };
        let rows = values.chunks_exact(n).zip(choosing.chunks_exact(n));
        let best = rows.map(|(values, choosing)| values[first_largest(choosing)]);
        let rest = drawn.reward.iter().zip(&drawn.continuation);
        best.zip(rest).map(|(v, (r, c))| r + self.config.discount as f32 * c * v).collect()
    }

    fn update(&mut self, drawn: &Transitions) {
        let y = self.targets(drawn);
        let n = self.actions.count();
        let share = 1.0 / y.len() as f32;
        let of_output = |q: &[f32]| {
            let mut gradient = vec![0.0; q.len()];
            for (i, (action, y)) in drawn.action.iter().zip(&y).enumerate() {
                gradient[i * n + action] = share * (q[i * n + action] - y).clamp(-1.0, 1.0);
            }
            gradient
        };
        if let Err(norm) = self.network.descend(&drawn.x, of_output) {
            self.failure = Some(format!("its gradient became {norm} at update {}", self.updates));
            return;
        }
        self.updates += 1;
        if self.updates.is_multiple_of(self.config.target_period_updates) {
            self.target.clone_from(&self.network.theta);
        }
    }
}

/// Rows of an update.
#[derive(Default)]
struct Transitions {
    /// `[batch, inputs]`.
    x: Vec<f32>,
    /// `[batch, inputs]`.
    next: Vec<f32>,
    /// `[batch]`.
    action: Vec<usize>,
    reward: Vec<f32>,
    continuation: Vec<f32>,
}

fn first_largest(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, x) in row.iter().enumerate() {
        if *x > row[best] {
            best = i;
        }
    }
    best
}

impl SourceAlgorithm for Dqn {
    fn reset(&mut self, seed: u64) {
        self.network.reset(seed, NAME);
        self.target.clone_from(&self.network.theta);
        self.replay.clear();
        (self.exploring, self.sampling) = (Stream::new(seed, NAME, 0), Stream::new(seed, NAME, 1));
        (self.episode, self.steps, self.updates, self.failure) = (0, 0, 0, None);
    }

    fn act(&mut self, observation: &[f32], action: &mut [f32]) {
        self.seen.clear();
        self.seen.extend_from_slice(observation);
        self.chosen = if self.exploring.unit() < self.random_share() {
            self.exploring.below(self.actions.count())
        } else {
            let mut x = Vec::with_capacity(self.inputs.len());
            self.inputs.append(observation, &mut x);
            let values = self.network.infer(&x);
            argmax(values.iter().map(|x| f64::from(*x)), &mut self.exploring)
        };
        self.actions.write(self.chosen, action);
    }

    fn observe(&mut self, next_observation: &[f32], outcome: &Outcome) {
        let rest = (self.chosen, outcome.reward, outcome.end.continuation());
        self.replay.push(&self.seen, next_observation, rest);
        self.steps += 1;
        self.episode += u32::from(outcome.end.is_last());
        if self.steps > self.config.warm_up_steps && self.steps.is_multiple_of(self.config.steps_per_update) {
            let drawn = self.draw();
            self.update(&drawn);
        }
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
    use super::super::golden::{Golden, close, context};
    use super::*;

    /// Two updates, against `tests/golden/make_golden_sources.py`.
    #[test]
    fn targets_and_updates_are_those_of_the_equations() {
        let mut after = Vec::new();
        for case in Golden::read().dqn {
            let config = DqnConfig {
                hidden: vec![5],
                learning_rate: 0.01,
                max_gradient_norm: 0.3,
                discount: 0.8,
                double: case.double,
                ..DqnConfig::default()
            };
            let mut dqn = config.learner(&context(&[3])).unwrap();
            let numbers = dqn.network.theta.len();
            dqn.network.theta = (0..numbers).map(|i| (0.5 * (1.0 + 0.7 * i as f64).sin()) as f32).collect();
            dqn.target = (0..numbers).map(|i| (0.5 * (2.1 * i as f64).cos()) as f32).collect();
            let mut drawn = Transitions {
                action: case.action,
                reward: case.reward,
                continuation: case.continuation,
                ..Transitions::default()
            };
            case.seen.iter().for_each(|row| dqn.inputs.append(row, &mut drawn.x));
            case.after.iter().for_each(|row| dqn.inputs.append(row, &mut drawn.next));
            for targets in &case.targets {
                close(&dqn.targets(&drawn), targets);
                dqn.update(&drawn);
            }
            close(&dqn.network.theta, &case.theta);
            assert_eq!((dqn.updates, dqn.failure()), (2, None));
            after.push(dqn.network.theta.clone());
        }
        assert_ne!(after[0], after[1], "double is another target");
    }

    #[test]
    fn the_ring_keeps_the_last_steps_and_the_random_share_falls_to_its_end() {
        let mut replay = Replay::new(1, 3);
        for i in 0..5 {
            replay.push(&[i as f32], &[i as f32 + 1.0], (i, 0.0, 1.0));
        }
        assert_eq!(replay.rest.iter().map(|r| r.0).collect::<Vec<_>>(), [3, 4, 2]);
        assert_eq!((replay.pair(1), replay.rest.len()), ((&[4.0][..], &[5.0][..]), 3));
        let config = DqnConfig { last_random_share: 0.1, random_episodes_share: 0.5, ..DqnConfig::default() };
        let mut dqn = config.learner(&context(&[3])).unwrap();
        let shares: Vec<f64> = [0, 5, 10, 15]
            .into_iter()
            .map(|episode| {
                dqn.episode = episode;
                dqn.random_share()
            })
            .collect();
        assert_eq!(shares[0], 1.0);
        assert!((shares[1] - 0.55).abs() < 1e-12 && shares[2..].iter().all(|s| (s - 0.1).abs() < 1e-12));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let cases: [(DqnConfig, &str); 4] = [
            (DqnConfig { batch: 0, ..DqnConfig::default() }, "algorithm.dqn.batch = 0"),
            (DqnConfig { hidden: vec![0], ..DqnConfig::default() }, "algorithm.dqn.hidden = 0"),
            (
                DqnConfig { learning_rate: f64::NAN, ..DqnConfig::default() },
                "algorithm.dqn.learning_rate = NaN",
            ),
            (
                DqnConfig { last_random_share: 2.0, ..DqnConfig::default() },
                "algorithm.dqn.last_random_share = 2",
            ),
        ];
        for (config, expected) in cases {
            let said = config.build(&context(&[3])).err().unwrap().to_string();
            assert!(said.starts_with(expected), "{said}");
        }
        let said = DqnConfig::default().build(&context(&[80, 80])).err().unwrap().to_string();
        assert!(said.contains("6400 combinations of them, more than 4096"), "{said}");
    }
}
