//! The Gaussian policy as it acts: normaliser, dense forward, `tanh`, seeded noise.

use serde::{Deserialize, Serialize};
use surefoot_core::{
    ActMode, Normalizer, Policy, PolicyArtifact, PolicyCard, PolicyError, ResetScope, Rows, RowsMut, Stream,
};

use super::dense::{DenseLayer, DenseMlp};
use super::params::{Arrays, from_safetensors};

/// The `architecture` of a policy card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    kind: String,
    hidden: Vec<usize>,
    max_explore_std: f64,
}

impl Architecture {
    const KIND: &'static str = "tanh_mean_gaussian";
    /// Wider or deeper than any control thread could run: a damaged card, not a network.
    const MAX_WIDTH: usize = 1 << 16;

    /// Hidden widths and the cap of exploring deviations.
    #[must_use]
    pub fn new(hidden: Vec<usize>, max_explore_std: f64) -> Self {
        Self { kind: Self::KIND.into(), hidden, max_explore_std }
    }

    /// For a card.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "kind": self.kind, "hidden": self.hidden, "max_explore_std": self.max_explore_std,
        })
    }
}

/// A Gaussian policy for a control thread.
#[derive(Clone, Debug)]
pub struct GaussianPolicy {
    normalizer: Normalizer,
    network: DenseMlp,
    explore_std: Vec<f32>,
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
        let Architecture { kind, hidden, max_explore_std } = architecture;
        if kind != Architecture::KIND {
            return Err(artifact("architecture", format!("expected {}, found {kind}", Architecture::KIND)));
        }
        if hidden.iter().any(|h| *h == 0 || *h > Architecture::MAX_WIDTH) || max_explore_std.is_nan() {
            return Err(artifact("architecture", format!("widths {hidden:?} are not usable")));
        }
        let (observation_dim, action_dim) = (card.spec.observation_dim(), card.spec.action_dim());
        let normalizer = check_normalizer(&card.normalizer, observation_dim)?;
        let arrays = from_safetensors(&files.weights).map_err(|reason| artifact("weights", reason))?;
        let widths: Vec<usize> =
            std::iter::once(observation_dim).chain(hidden).chain(std::iter::once(action_dim)).collect();
        let mut layers = Vec::with_capacity(widths.len());
        for (i, pair) in widths.windows(2).enumerate() {
            let weight = take(&arrays, &format!("actor/layer{i}/weight"), &[pair[1], pair[0]])?;
            let bias = take(&arrays, &format!("actor/layer{i}/bias"), &[pair[1]])?;
            layers.push(DenseLayer::new(weight, bias.to_vec()));
        }
        let log_std = take(&arrays, "actor/log_std", &[action_dim])?;
        Ok(Self {
            normalizer,
            network: DenseMlp::new(layers),
            explore_std: log_std.iter().map(|s| s.exp().min(max_explore_std as f32)).collect(),
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
        shape("action dimension", self.explore_std.len(), actions.dim())?;
        shape("action rows", observations.len(), actions.len())?;
        if observations.len() > self.noise.len() {
            let (expected, found) = (self.noise.len(), observations.len());
            return Err(PolicyError::Shape { what: "observation rows (at most)", expected, found });
        }
        for (i, noise) in self.noise.iter_mut().enumerate().take(observations.len()) {
            self.observation.copy_from_slice(observations.row(i));
            self.normalizer.apply(&mut self.observation);
            let mean = self.network.forward(&self.observation);
            let row = actions.row(i).iter_mut().zip(mean).zip(&self.explore_std);
            for ((action, mean), std) in row {
                let deviation = match mode {
                    ActMode::Exploit => 0.0,
                    ActMode::Explore => std * noise.normal() as f32,
                };
                // A NaN stays a NaN: the safety chain brakes on it.
                *action = (mean.tanh() + deviation).clamp(-1.0, 1.0);
            }
        }
        Ok(())
    }
}
