//! `secant`: finds what to do for a target from how far the last attempts came.
//!
//! For tasks with one action of evenly spaced values `u`, and an observation of a target and of the last result `y`, both positive: it takes
//! `ln y = a + slope u`, through the attempts so far by least squares, and does what should bring the next target. The first attempt is a random
//! one; as long as all attempts were the same value, `slope` is `first_slope`. It is the secant method, on as many points as there are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Field, Outcome, SourceAlgorithm, Stream};

use super::{SourceContext, SourceError, within};

const NAME: &str = "secant";
/// Results below this are no information on a logarithm.
const LEAST_RESULT: f64 = 1e-3;

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SecantConfig {
    /// Slope until two different attempts are known. The lower, the bolder its second attempt.
    pub first_slope: f64,
    /// Attempts that count, the last ones.
    pub memory: usize,
    /// Share of random attempts.
    pub random_share: f64,
}

impl Default for SecantConfig {
    fn default() -> Self {
        Self { first_slope: 1.0, memory: 8, random_share: 0.0 }
    }
}

impl SecantConfig {
    /// Builds the learner.
    ///
    /// # Errors
    /// When a setting is out of range, or the task has no such action and observation.
    pub fn build(&self, context: &SourceContext) -> Result<Box<dyn SourceAlgorithm>, SourceError> {
        let Self { first_slope, memory, random_share } = *self;
        within(NAME, "first_slope", first_slope, [1e-3, 1e3])?;
        within(NAME, "memory", memory as f64, [1.0, 1e6])?;
        within(NAME, "random_share", random_share, [0.0, 1.0])?;
        let spec = context.spec();
        match (spec.observation.as_slice(), spec.action.as_slice()) {
            ([target, result], [action])
                if target.choices.or(result.choices).is_none() && action.value(0).is_some() =>
            {
                Ok(Box::new(Secant {
                    config: self.clone(),
                    action: action.clone(),
                    choices: action.choices.unwrap_or(1) as usize,
                    attempts: Vec::new(),
                    stream: Stream::new(0, NAME, 0),
                    at: 0,
                    updates: 0,
                }))
            }
            (seen, done) => Err(SourceError::Family {
                source_name: NAME,
                family: spec.name.clone(),
                needs: "a target and a result to see, and one action of evenly spaced values",
                found: format!("{} numbers seen, {} done", seen.len(), done.len()),
            }),
        }
    }
}

struct Secant {
    config: SecantConfig,
    action: Field,
    choices: usize,
    /// `u` and `ln y`.
    attempts: Vec<[f64; 2]>,
    stream: Stream,
    /// The choice of the attempt that is under way.
    at: usize,
    updates: u32,
}

impl Secant {
    /// `[a, slope]`; none before the first attempt.
    fn line(&self) -> Option<[f64; 2]> {
        let n = self.attempts.len() as f64;
        let mean = |axis: usize| self.attempts.iter().map(|p| p[axis]).sum::<f64>() / n;
        let [u, y] = [mean(0), mean(1)];
        let spread: f64 = self.attempts.iter().map(|p| (p[0] - u) * (p[0] - u)).sum();
        let product: f64 = self.attempts.iter().map(|p| (p[0] - u) * (p[1] - y)).sum();
        let slope = if spread > 1e-9 { product / spread } else { self.config.first_slope };
        // More brings more: anything else is noise.
        let slope = if slope > 1e-3 { slope } else { self.config.first_slope };
        (n > 0.0).then_some([y - slope * u, slope])
    }
}

impl SourceAlgorithm for Secant {
    fn reset(&mut self, seed: u64) {
        self.attempts.clear();
        (self.stream, self.updates) = (Stream::new(seed, NAME, 0), 0);
    }

    fn act(&mut self, observation: &[f32], action: &mut [f32]) {
        let explores = self.stream.unit() < self.config.random_share;
        self.at = match self.line().filter(|_| !explores) {
            Some([a, slope]) => {
                let wanted = (f64::from(observation[0]).max(LEAST_RESULT).ln() - a) / slope;
                let miss = |i: &usize| (self.action.value(*i).unwrap_or_default() - wanted).abs();
                (0..self.choices).min_by(|i, k| miss(i).total_cmp(&miss(k))).unwrap_or_default()
            }
            None => self.stream.below(self.choices),
        };
        action[0] = self.at as f32;
    }

    fn observe(&mut self, next_observation: &[f32], _outcome: &Outcome) {
        let result = f64::from(next_observation[1]).max(LEAST_RESULT);
        if self.attempts.len() >= self.config.memory {
            self.attempts.remove(0);
        }
        self.attempts.push([self.action.value(self.at).unwrap_or_default(), result.ln()]);
        self.updates += 1;
    }

    fn updates(&self) -> u32 {
        self.updates
    }
}
