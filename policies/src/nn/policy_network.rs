//! What the files of a policy hold, checked against its card: the one reading for everything that acts by them or hands them on.

use serde::{Deserialize, Serialize};
use surefoot_core::{Normalizer, PolicyArtifact, PolicyCard, PolicyError};

use super::params::{Arrays, from_safetensors};

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

/// Wider than any control thread could run: a damaged card, not a network.
pub(super) const MAX_WIDTH: usize = 1 << 16;

impl Architecture {
    const TANH_MEAN: &'static str = "tanh_mean_gaussian";
    const SQUASHED: &'static str = "squashed_gaussian";

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

/// One layer of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// `[out, in]`.
    pub weight: Vec<f32>,
    /// `[out]`.
    pub bias: Vec<f32>,
}

/// From the last layer to an action.
#[derive(Clone, Debug, PartialEq)]
pub enum Head {
    /// `tanh` of the outputs, noise after it: deviations of exploring actions, `[action_dim]`.
    TanhMean {
        /// Capped deviations.
        explore_std: Vec<f32>,
    },
    /// Outputs are means, then what deviations are made of; noise, then `tanh`.
    Squashed {
        /// Bounds of the deviation's logarithm.
        log_std_bounds: [f64; 2],
        /// Largest deviation.
        max_explore_std: f32,
    },
}

/// The network of a policy: `head(layers(normalise(observation)))`, ReLU between layers.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyNetwork {
    /// Before the first layer.
    pub normalizer: Normalizer,
    /// From input to output.
    pub layers: Vec<Layer>,
    /// After the last one.
    pub head: Head,
}

pub(super) const fn artifact(what: &'static str, reason: String) -> PolicyError {
    PolicyError::Artifact { what, reason }
}

impl PolicyNetwork {
    /// From a policy's files.
    ///
    /// # Errors
    /// [`PolicyError::Artifact`] when the format, the architecture or a tensor is not what the card promises.
    pub fn from_artifact(files: &PolicyArtifact) -> Result<Self, PolicyError> {
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
        if hidden.iter().any(|h| *h == 0 || *h > MAX_WIDTH) || max_explore_std.is_nan() {
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
            layers.push(Layer { weight: weight.to_vec(), bias: bias.to_vec() });
        }
        let max_explore_std = max_explore_std as f32;
        let head = if let Some(log_std_bounds) = squashed {
            Head::Squashed { log_std_bounds, max_explore_std }
        } else {
            let log_std = take(&arrays, "actor/log_std", &[action_dim])?;
            Head::TanhMean { explore_std: log_std.iter().map(|s| s.exp().min(max_explore_std)).collect() }
        };
        Ok(Self { normalizer, layers, head })
    }
}

pub(crate) fn check_normalizer(normalizer: &Normalizer, dim: usize) -> Result<Normalizer, PolicyError> {
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

pub(super) fn take<'a>(arrays: &'a Arrays, name: &str, dims: &[usize]) -> Result<&'a [f32], PolicyError> {
    super::params::check_array(name, dims, arrays).map_err(|e| artifact("weights", e.to_string()))
}
