//! A gait that was learned: one matrix from the normalised observation to the action, as augmented random search finds it (Mania et al.
//! 2018, arXiv:1803.07055, algorithm 2, "V2").
//!
//! ```text
//! action = clamp(W (observation - mean) / spread + C [sin(2 pi hz t), cos(2 pi hz t), 1], -1, 1)      C, where it has a clock
//! ```
//!
//! | | |
//! |---|---|
//! | `W` | `[action_dim, observations]` |
//! | `mean`, `spread` | `[observations]`, of what the search saw |
//! | `C` | `[action_dim, 3]` |
//!
//! `cargo run --release -p surefoot-sim --example search_linear_gait ENV` finds them again; a gait with a clock begins as one of sines, which
//! `search_swinging_gait ENV` finds.

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
    /// What swings by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<Clock>,
}

/// What a gait adds to its actions by the time alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// Strides a second.
    pub hz: f64,
    /// For each action what the sine counts, the cosine, and what is always added.
    pub weights: Vec<[f64; 3]>,
}

/// How an episode is demonstrated.
#[derive(Clone, Copy, Debug)]
pub struct GaitManner {
    /// Standard deviation of the noise on each action, in units of the action.
    pub action_noise: f64,
    /// Share of episodes that fail on purpose: it lets go after a while.
    pub failure_share: f64,
    /// Steps within which it lets go then.
    pub lets_go_within: usize,
}

impl LinearGait {
    /// One action from the observations it looks at, `[observations]` to `[action_dim]`, so many seconds into the episode.
    pub fn act(&self, secs: f64, observation: impl Fn(usize) -> f64, mut write: impl FnMut(usize, f64)) {
        let swing = self.clock.as_ref().map(|clock| {
            let (sine, cosine) = (std::f64::consts::TAU * clock.hz * secs).sin_cos();
            (&clock.weights, [sine, cosine, 1.0])
        });
        for (a, row) in self.weights.iter().enumerate() {
            let terms = row.iter().enumerate();
            let mut sum: f64 = terms.map(|(o, w)| w * (observation(o) - self.mean[o]) / self.spread[o]).sum();
            if let Some((weights, swing)) = &swing {
                sum += weights[a].iter().zip(swing).map(|(w, s)| w * s).sum::<f64>();
            }
            write(a, sum.clamp(-1.0, 1.0));
        }
    }

    /// As a file, four digits a number, with this comment above.
    #[must_use]
    pub fn written(&self, comment: &str) -> String {
        let row = |numbers: &[f64]| {
            let numbers: Vec<String> = numbers.iter().map(|x| format!("{x:.4}")).collect();
            format!("[{}]", numbers.join(", "))
        };
        let names: Vec<String> = self.observations.iter().map(|name| format!("{name:?}")).collect();
        let weights: String = self.weights.iter().map(|w| format!("    {},\n", row(w))).collect();
        let clock = self.clock.iter().map(|clock| {
            let weights: String = clock.weights.iter().map(|w| format!("    {},\n", row(w))).collect();
            format!("\n[clock]\nhz = {:.4}\nweights = [\n{weights}]\n", clock.hz)
        });
        format!(
            "# {comment}\nobservations = [{}]\nmean = {}\nspread = {}\nweights = [\n{weights}]\n{}",
            names.join(", "),
            row(&self.mean),
            row(&self.spread),
            clock.collect::<String>()
        )
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
        let clock = gait.clock.iter().map(|c| ("rows of the clock", gait.weights.len(), c.weights.len()));
        for (what, expected, found) in shapes.into_iter().chain(rows).chain(clock) {
            if expected != found {
                return Err(PolicyError::Shape { what, expected, found });
            }
        }
        Ok(Box::new(Walking {
            slots: (0..context.slots).map(|_| Slot::new(manner, 0)).collect(),
            observation_dim: context.spec.observation_dim(),
            action_dim: context.spec.action_dim(),
            step_secs: context.spec.step_secs,
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
        let lets_go_at = if fails { noise.below(manner.lets_go_within) } else { usize::MAX };
        Self { noise, lets_go_at, step: 0 }
    }
}

struct Walking {
    gait: LinearGait,
    indices: Vec<usize>,
    manner: GaitManner,
    observation_dim: usize,
    action_dim: usize,
    step_secs: f64,
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
                    slot.step as f64 * self.step_secs,
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
