//! Gaussian policies as they act: normaliser, dense forward, `tanh`, seeded noise. The mean is squashed and the noise is not
//! ([`GaussianNet`](super::gaussian_net::GaussianNet)), or both are ([`SquashedNet`](super::squashed::SquashedNet)).

use serde::{Deserialize, Serialize};
use surefoot_core::{
    ActMode, Normalizer, Policy, PolicyArtifact, PolicyCard, PolicyError, ResetScope, Rows, RowsMut, Stream,
};

use super::dense::{DenseLayer, DenseMlp};
use super::params::{Arrays, from_safetensors};
use super::squashed::bounded_log_std;

/// The `architecture` of a policy card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    kind: String,
    hidden: Vec<usize>,
    max_explore_std: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log_std_bounds: Option<[f64; 2]>,
}

impl Architecture {
    const TANH_MEAN: &'static str = "tanh_mean_gaussian";
    const SQUASHED: &'static str = "squashed_gaussian";
    /// Wider or deeper than any control thread could run: a damaged card, not a network.
    const MAX_WIDTH: usize = 1 << 16;

    /// `tanh(mlp(s))` with one deviation for all states: hidden widths and the cap of exploring deviations.
    #[must_use]
    pub fn tanh_mean(hidden: Vec<usize>, max_explore_std: f64) -> Self {
        Self { kind: Self::TANH_MEAN.into(), hidden, max_explore_std, log_std_bounds: None }
    }

    /// `tanh` of a Gaussian whose mean and deviation depend on the state.
    #[must_use]
    pub fn squashed(hidden: Vec<usize>, max_explore_std: f64, log_std_bounds: [f64; 2]) -> Self {
        Self { kind: Self::SQUASHED.into(), hidden, max_explore_std, log_std_bounds: Some(log_std_bounds) }
    }

    /// For a card.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let Self { kind, hidden, max_explore_std, log_std_bounds } = self;
        let mut json = serde_json::json!({
            "kind": kind, "hidden": hidden, "max_explore_std": max_explore_std,
        });
        if let Some(bounds) = log_std_bounds {
            json["log_std_bounds"] = serde_json::json!(bounds);
        }
        json
    }
}

/// Where the noise comes in.
#[derive(Clone, Debug)]
enum Head {
    /// After the `tanh`, `[action_dim]`.
    TanhMean { explore_std: Vec<f32> },
    /// Before it. The network's outputs are means, then what deviations are made of.
    Squashed { log_std_bounds: [f64; 2], max_explore_std: f32 },
}

/// A Gaussian policy for a control thread.
#[derive(Clone, Debug)]
pub struct GaussianPolicy {
    normalizer: Normalizer,
    network: DenseMlp,
    head: Head,
    action_dim: usize,
    observation: Vec<f32>,
    noise: Vec<Stream>,
}

const fn artifact(what: &'static str, reason: String) -> PolicyError {
    PolicyError::Artifact { what, reason }
}

impl GaussianPolicy {
    /// From its files, for `slots` robots.
    ///
    /// # Errors
    /// [`PolicyError::Artifact`] when the format, the architecture or a tensor is not what the card promises.
    pub fn from_artifact(files: &PolicyArtifact, slots: usize) -> Result<Self, PolicyError> {
        let card = &files.card;
        if card.format != PolicyCard::FORMAT {
            let reason = format!("expected {}, found {}", PolicyCard::FORMAT, card.format);
            return Err(artifact("format", reason));
        }
        let architecture = Architecture::deserialize(&card.architecture)
            .map_err(|e| artifact("architecture", e.to_string()))?;
        let Architecture { kind, hidden, max_explore_std, log_std_bounds } = architecture;
        let squashed = match (kind.as_str(), log_std_bounds) {
            (Architecture::TANH_MEAN, None) => None,
            (Architecture::SQUASHED, Some([low, high])) if low.is_finite() && low < high => Some([low, high]),
            _ => {
                let expected = [Architecture::TANH_MEAN, Architecture::SQUASHED].join(" or ");
                let found = format!("{kind} with bounds {log_std_bounds:?}");
                return Err(artifact("architecture", format!("expected {expected}, found {found}")));
            }
        };
        if hidden.iter().any(|h| *h == 0 || *h > Architecture::MAX_WIDTH) || max_explore_std.is_nan() {
            return Err(artifact("architecture", format!("widths {hidden:?} are not usable")));
        }
        let (observation_dim, action_dim) = (card.spec.observation_dim(), card.spec.action_dim());
        let normalizer = check_normalizer(&card.normalizer, observation_dim)?;
        let arrays = from_safetensors(&files.weights).map_err(|reason| artifact("weights", reason))?;
        let outputs = if squashed.is_some() { 2 * action_dim } else { action_dim };
        let widths: Vec<usize> =
            std::iter::once(observation_dim).chain(hidden).chain(std::iter::once(outputs)).collect();
        let mut layers = Vec::with_capacity(widths.len());
        for (i, pair) in widths.windows(2).enumerate() {
            let weight = take(&arrays, &format!("actor/layer{i}/weight"), &[pair[1], pair[0]])?;
            let bias = take(&arrays, &format!("actor/layer{i}/bias"), &[pair[1]])?;
            layers.push(DenseLayer::new(weight, bias.to_vec()));
        }
        let max_explore_std = max_explore_std as f32;
        let head = if let Some(log_std_bounds) = squashed {
            Head::Squashed { log_std_bounds, max_explore_std }
        } else {
            let log_std = take(&arrays, "actor/log_std", &[action_dim])?;
            Head::TanhMean { explore_std: log_std.iter().map(|s| s.exp().min(max_explore_std)).collect() }
        };
        Ok(Self {
            normalizer,
            network: DenseMlp::new(layers),
            head,
            action_dim,
            observation: vec![0.0; observation_dim],
            noise: (0..slots as u64).map(|slot| Stream::new(0, "explore", slot)).collect(),
        })
    }
}

fn check_normalizer(normalizer: &Normalizer, dim: usize) -> Result<Normalizer, PolicyError> {
    let Normalizer { mean, std } = normalizer;
    let lengths = mean.len() == std.len() && (mean.is_empty() || mean.len() == dim);
    if !lengths {
        let reason = format!("expected {dim} means and deviations, found {} and {}", mean.len(), std.len());
        return Err(artifact("normalizer", reason));
    }
    if mean.iter().any(|m| !m.is_finite()) || std.iter().any(|s| !s.is_finite() || *s <= 0.0) {
        return Err(artifact("normalizer", "means must be finite and deviations positive".into()));
    }
    Ok(normalizer.clone())
}

fn take<'a>(arrays: &'a Arrays, name: &str, dims: &[usize]) -> Result<&'a [f32], PolicyError> {
    super::params::check_array(name, dims, arrays).map_err(|e| artifact("weights", e.to_string()))
}

impl Policy for GaussianPolicy {
    fn slots(&self) -> usize {
        self.noise.len()
    }

    fn reset(&mut self, slot: usize, _scope: ResetScope, seed: u64) {
        if let Some(noise) = self.noise.get_mut(slot) {
            *noise = Stream::new(seed, "explore", 0);
        }
    }

    fn act(
        &mut self,
        observations: Rows<'_>,
        mode: ActMode,
        mut actions: RowsMut<'_>,
    ) -> Result<(), PolicyError> {
        let shape = |what, expected, found| {
            if expected == found { Ok(()) } else { Err(PolicyError::Shape { what, expected, found }) }
        };
        shape("observation dimension", self.observation.len(), observations.dim())?;
        shape("action dimension", self.action_dim, actions.dim())?;
        shape("action rows", observations.len(), actions.len())?;
        if observations.len() > self.noise.len() {
            let (expected, found) = (self.noise.len(), observations.len());
            return Err(PolicyError::Shape { what: "observation rows (at most)", expected, found });
        }
        for (i, noise) in self.noise.iter_mut().enumerate().take(observations.len()) {
            self.observation.copy_from_slice(observations.row(i));
            self.normalizer.apply(&mut self.observation);
            let (means, rest) = self.network.forward(&self.observation).split_at(self.action_dim);
            let mut deviation = |std: f32| match mode {
                ActMode::Exploit => 0.0,
                ActMode::Explore => std * noise.normal() as f32,
            };
            let row = actions.row(i).iter_mut().zip(means);
            // A NaN stays a NaN: the safety chain brakes on it.
            match &self.head {
                Head::TanhMean { explore_std } => {
                    for ((action, mean), std) in row.zip(explore_std) {
                        *action = (mean.tanh() + deviation(*std)).clamp(-1.0, 1.0);
                    }
                }
                Head::Squashed { log_std_bounds, max_explore_std } => {
                    for ((action, mean), raw) in row.zip(rest) {
                        let std = bounded_log_std(f64::from(*raw), *log_std_bounds).exp() as f32;
                        // Written so that a NaN is not capped.
                        let std = if std > *max_explore_std { *max_explore_std } else { std };
                        *action = (mean + deviation(std)).tanh();
                    }
                }
            }
        }
        Ok(())
    }
}
