//! A gait that was learned: one matrix from the normalised observation to the action, as augmented random search finds it (Mania et al.
//! 2018, arXiv:1803.07055, algorithm 2, "V2").
//!
//! ```text
//! action = clamp(W (observation - mean) / spread, -1, 1)
//! ```
//!
//! | | |
//! |---|---|
//! | `W` | `[action_dim, observations]` |
//! | `mean`, `spread` | `[observations]`, of what the search saw |
//!
//! `cargo run --release -p surefoot-sim --example search_linear_gait ENV` finds them again.

use serde::{Deserialize, Serialize};
use surefoot_core::policy::{ActMode, Policy, PolicyError, ResetScope};
use surefoot_core::{Rows, RowsMut, Stream};

use super::{DemonstratorContext, check_manner, check_shapes};

/// What the search found, as it stands in a file of `sim/models/gaits/`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearGait {
    /// The observations that it looks at, by name.
    pub observations: Vec<String>,
    /// Their means.
    pub mean: Vec<f64>,
    /// Their standard deviations.
    pub spread: Vec<f64>,
    /// A row for each action.
    pub weights: Vec<Vec<f64>>,
}

/// Steps within which an episode that fails on purpose lets go.
const LETS_GO_WITHIN: usize = 400;

/// How an episode is demonstrated.
#[derive(Clone, Copy, Debug)]
pub struct GaitManner {
    /// Standard deviation of the noise on each action, in units of the action.
    pub action_noise: f64,
    /// Share of episodes that fail on purpose: it lets go after a while.
    pub failure_share: f64,
}

impl LinearGait {
    /// One action from the observations it looks at, `[observations]` to `[action_dim]`.
    pub fn act(&self, observation: impl Fn(usize) -> f64, mut write: impl FnMut(usize, f64)) {
        for (a, row) in self.weights.iter().enumerate() {
            let terms = row.iter().enumerate();
            let sum: f64 = terms.map(|(o, w)| w * (observation(o) - self.mean[o]) / self.spread[o]).sum();
            write(a, sum.clamp(-1.0, 1.0));
        }
    }

    /// The gait of a file as the demonstrator of its task.
    ///
    /// # Errors
    /// When the environment is another one than it was found for, or a number is out of range.
    pub fn demonstrator(
        file: &str,
        manner: GaitManner,
        context: &DemonstratorContext,
    ) -> Result<Box<dyn Policy>, PolicyError> {
        check_manner(manner.action_noise, None, manner.failure_share)?;
        let refuse = |reason: String| PolicyError::Setting { key: "gait", reason };
        let gait: Self = toml::from_str(file).map_err(|e| refuse(e.to_string()))?;
        let names: Vec<&str> = gait.observations.iter().map(String::as_str).collect();
        let indices = super::indices_of(&context.spec, &names)?;
        let shapes = [
            ("actions", context.spec.action_dim(), gait.weights.len()),
            ("means", indices.len(), gait.mean.len()),
            ("spreads", indices.len(), gait.spread.len()),
        ];
        let rows = gait.weights.iter().map(|row| ("weights of an action", indices.len(), row.len()));
        for (what, expected, found) in shapes.into_iter().chain(rows) {
            if expected != found {
                return Err(PolicyError::Shape { what, expected, found });
            }
        }
        Ok(Box::new(Walking {
            slots: (0..context.slots).map(|_| Slot::new(manner, 0)).collect(),
            observation_dim: context.spec.observation_dim(),
            action_dim: context.spec.action_dim(),
            gait,
            indices,
            manner,
        }))
    }
}

struct Slot {
    noise: Stream,
    lets_go_at: usize,
    step: usize,
}

impl Slot {
    fn new(manner: GaitManner, seed: u64) -> Self {
        let mut noise = Stream::new(seed, "linear gait demonstrator", 0);
        let fails = noise.unit() < manner.failure_share;
        let lets_go_at = if fails { noise.below(LETS_GO_WITHIN) } else { usize::MAX };
        Self { noise, lets_go_at, step: 0 }
    }
}

struct Walking {
    gait: LinearGait,
    indices: Vec<usize>,
    manner: GaitManner,
    observation_dim: usize,
    action_dim: usize,
    slots: Vec<Slot>,
}

impl Policy for Walking {
    fn slots(&self) -> usize {
        self.slots.len()
    }

    fn reset(&mut self, slot: usize, _scope: ResetScope, seed: u64) {
        self.slots[slot] = Slot::new(self.manner, seed);
    }

    fn act(
        &mut self,
        observations: Rows<'_>,
        _: ActMode,
        mut actions: RowsMut<'_>,
    ) -> Result<(), PolicyError> {
        check_shapes(&observations, &actions, self.observation_dim, self.action_dim, self.slots.len())?;
        for (i, slot) in self.slots.iter_mut().enumerate().take(observations.len()) {
            let (row, action) = (observations.row(i), actions.row(i));
            if slot.step < slot.lets_go_at {
                let noise = &mut slot.noise;
                self.gait.act(
                    |o| f64::from(row[self.indices[o]]),
                    |a, wanted| {
                        let noisy = wanted + self.manner.action_noise * noise.normal();
                        action[a] = noisy.clamp(-1.0, 1.0) as f32;
                    },
                );
            } else {
                action.fill(0.0);
            }
            slot.step += 1;
        }
        Ok(())
    }
}
