//! The transformer as policy files: `policy.json` and `policy.safetensors`, as of every other policy.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{EnvSpec, LearnError, Normalizer, PolicyArtifact, PolicyCard, PolicyError};

use super::config::{ModelConfig, NAME};
use super::network::Network;
use super::shape::TokenShape;
use crate::nn::params::{Arrays, from_safetensors, to_safetensors};
use crate::nn::require;

/// The `kind` of the architecture on a policy card.
pub const KIND: &str = "in_context_transformer";

/// How the policy acts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Acting {
    /// Temperature of the draw when exploring; 0 takes the likeliest action.
    pub explore_temperature: f64,
    /// Temperature of the draw when exploiting. Imitating a learner means drawing as it drew: with 0 the policy does not search, and what
    /// it does not find it does not learn.
    pub exploit_temperature: f64,
    /// Control steps of a token: the action is held and rewards are summed over them, so that a fast loop's context still holds several
    /// episodes. Histories must have been recorded at the slower rate.
    pub token_stride: u32,
}

impl Default for Acting {
    fn default() -> Self {
        Self { explore_temperature: 1.0, exploit_temperature: 1.0, token_stride: 1 }
    }
}

impl Acting {
    /// Refuses what cannot be used.
    ///
    /// # Errors
    /// [`LearnError::Config`] with the first key.
    pub fn check(&self) -> Result<(), LearnError> {
        let Self { explore_temperature, exploit_temperature, token_stride } = self;
        let usable = |t: f64| t >= 0.0 && t.is_finite();
        require(NAME, usable(*explore_temperature), "acting.explore_temperature", "must be at least 0")?;
        require(NAME, usable(*exploit_temperature), "acting.exploit_temperature", "must be at least 0")?;
        require(NAME, *token_stride > 0, "acting.token_stride", "must be at least 1")
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Architecture {
    kind: String,
    model: ModelConfig,
    reward_scale: f32,
    /// Of those that read returns to go.
    #[serde(default = "one")]
    return_scale: f32,
    masks_trained: bool,
    acting: Acting,
}

const fn one() -> f32 {
    1.0
}

/// What policy files are made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The network.
    pub network: &'a Network,
    /// Its numbers.
    pub theta: &'a [f32],
    /// What it sees and does.
    pub spec: &'a EnvSpec,
    /// Applied to observations.
    pub normalizer: &'a Normalizer,
    /// Rewards are divided by it.
    pub reward_scale: f32,
    /// Returns to go are divided by it.
    pub return_scale: f32,
    /// Whether it has learnt to do without masked parts.
    pub masks_trained: bool,
    /// How it acts.
    pub acting: &'a Acting,
    /// Of the histories.
    pub data_hash: &'a str,
    /// Behind it.
    pub updates: u64,
}

/// Policy files.
///
/// # Errors
/// When something cannot be written down.
pub fn write(parts: &Parts<'_>) -> Result<PolicyArtifact, LearnError> {
    let failed = |reason| LearnError::Tensor { context: "policy artefact", reason };
    let architecture = Architecture {
        kind: KIND.into(),
        model: parts.network.model.clone(),
        reward_scale: parts.reward_scale,
        return_scale: parts.return_scale,
        masks_trained: parts.masks_trained,
        acting: parts.acting.clone(),
    };
    let mut arrays = Arrays::new();
    parts.network.layout.export("", parts.theta, &mut arrays);
    Ok(PolicyArtifact {
        card: PolicyCard {
            format: PolicyCard::FORMAT.into(),
            algorithm: "distill".into(),
            spec: parts.spec.clone(),
            normalizer: parts.normalizer.clone(),
            data_hashes: vec![parts.data_hash.to_owned()],
            updates: parts.updates,
            architecture: serde_json::to_value(&architecture).map_err(|e| failed(e.to_string()))?,
        },
        weights: to_safetensors(&arrays).map_err(failed)?,
    })
}

/// A transformer as its files say.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The network.
    pub network: Network,
    /// Its numbers.
    pub theta: Vec<f32>,
    /// Rewards are divided by it.
    pub reward_scale: f32,
    /// Returns to go are divided by it.
    pub return_scale: f32,
    /// Whether it has learnt to do without masked parts.
    pub masks_trained: bool,
    /// How it acts.
    pub acting: Acting,
}

/// Whether a card is one of an in-context policy.
#[must_use]
pub fn is_in_context(card: &PolicyCard) -> bool {
    card.architecture.get("kind").and_then(serde_json::Value::as_str) == Some(KIND)
}

/// Reads policy files.
///
/// # Errors
/// [`PolicyError::Artifact`] when the format, the architecture or an array is not what the card promises.
pub fn read(files: &PolicyArtifact) -> Result<Loaded, PolicyError> {
    let artifact = |what: &'static str, reason: String| PolicyError::Artifact { what, reason };
    let card = &files.card;
    if card.format != PolicyCard::FORMAT {
        return Err(artifact("format", format!("expected {}, found {}", PolicyCard::FORMAT, card.format)));
    }
    let Architecture { kind, model, reward_scale, return_scale, masks_trained, acting } =
        Architecture::deserialize(&card.architecture).map_err(|e| artifact("architecture", e.to_string()))?;
    if kind != KIND {
        return Err(artifact("architecture", format!("expected {KIND}, found {kind}")));
    }
    model.check().and_then(|()| acting.check()).map_err(|e| artifact("architecture", e.to_string()))?;
    for (name, scale) in [("reward_scale", reward_scale), ("return_scale", return_scale)] {
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(artifact("architecture", format!("{name} must be positive, found {scale}")));
        }
    }
    let dim = card.spec.observation_dim();
    crate::nn::policy_network::check_normalizer(&card.normalizer, dim)?;
    let shape = TokenShape::of(&card.spec, &model);
    if shape.logits() == 0 {
        return Err(artifact(
            "spec",
            "expected an action of at least one number with at least one choice".into(),
        ));
    }
    let arrays = from_safetensors(&files.weights).map_err(|reason| artifact("weights", reason))?;
    let network = Network::new(model, shape);
    let theta = network.layout.import("", &arrays).map_err(|e| artifact("weights", e.to_string()))?;
    Ok(Loaded { network, theta, reward_scale, return_scale, masks_trained, acting })
}
