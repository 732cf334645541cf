//! A policy that acts by the best of several candidates: what a model of the data's actions
//! ([`BehaviourVae`](super::behaviour_vae::BehaviourVae)) would do, moved a little, judged by a critic (Fujimoto, Meger, Precup 2019, arXiv
//! 1812.02900).
//! ```text
//! a_k = tanh(decoder(s, clip(z_k)))    b_k = clip(a_k + limit * tanh(perturbation(s, a_k)), -1, 1)    action = b_k of the largest critic(s, b_k)
//! ```
//!
//! Latents `z_k` are normal. Exploring draws all of them anew at every step, from the stream of the slot's seed. Without exploration they are drawn
//! once, when the slot is reset, from another stream of that seed, and are the same at every step of the episode: an action is then a function of
//! observation and seed alone.
//!
//! | tensor | shape |
//! |---|---|
//! | `behaviour/decoder/layerI` | observation + 2 x action to `decoder_hidden` to action |
//! | `actor/layerI` | observation + action to `perturbation_hidden` to action |
//! | `critic0/layerI` (and `normI`) | observation + action to `critic_hidden` to 1 |
//!
//! One action costs `candidates` passes of all three networks.

use serde::{Deserialize, Serialize};
use surefoot_core::{
    ActMode, Normalizer, Policy, PolicyArtifact, PolicyCard, PolicyError, ResetScope, Rows, RowsMut, Stream,
};

use super::behaviour_vae::latent_dim;
use super::dense::{DenseLayer, DenseMlp};
use super::params::{Arrays, from_safetensors};
use super::policy_network::{MAX_WIDTH, artifact, check_normalizer, take};

const KIND: &str = "best_of_candidates";
/// More than any control thread could judge in a period: a damaged card, or a slip in a configuration.
pub const MAX_CANDIDATES: usize = 10_000;

/// The `architecture` of its policy card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CandidateArchitecture {
    kind: String,
    /// Hidden widths of the decoder.
    pub decoder_hidden: Vec<usize>,
    /// Hidden widths of the perturbation.
    pub perturbation_hidden: Vec<usize>,
    /// Hidden widths of the critic.
    pub critic_hidden: Vec<usize>,
    /// Whether the critic's hidden layers are normalised.
    pub critic_layer_norm: bool,
    /// How far candidates are moved at most.
    pub limit: f32,
    /// Latents are clipped to this size.
    pub latent_clip: f32,
    /// How many are judged for an action.
    pub candidates: usize,
}

impl CandidateArchitecture {
    /// Of networks with these hidden widths: decoder, perturbation, critic.
    #[must_use]
    pub fn new(hidden: [&[usize]; 3], critic_layer_norm: bool, limit: f32, candidates: usize) -> Self {
        let [decoder_hidden, perturbation_hidden, critic_hidden] = hidden.map(<[usize]>::to_vec);
        let latent_clip = super::behaviour_vae::LATENT_CLIP;
        let kind = KIND.into();
        Self {
            kind,
            decoder_hidden,
            perturbation_hidden,
            critic_hidden,
            critic_layer_norm,
            limit,
            latent_clip,
            candidates,
        }
    }

    /// For a card.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let Self {
            kind,
            decoder_hidden,
            perturbation_hidden,
            critic_hidden,
            critic_layer_norm,
            limit,
            latent_clip,
            candidates,
        } = self;
        serde_json::json!({
            "kind": kind, "decoder_hidden": decoder_hidden, "perturbation_hidden": perturbation_hidden, "critic_hidden": critic_hidden,
            "critic_layer_norm": critic_layer_norm, "limit": limit, "latent_clip": latent_clip, "candidates": candidates,
        })
    }
}

/// Whether a card is that of such a policy.
#[must_use]
pub fn is_candidate_policy(card: &PolicyCard) -> bool {
    card.architecture.get("kind").and_then(|kind| kind.as_str()) == Some(KIND)
}

/// The noise of one robot.
#[derive(Clone, Debug)]
struct Slot {
    /// Of exploring.
    noise: Stream,
    /// Of an episode without exploration, `[candidates * latent]`.
    latents: Vec<f32>,
}

impl Slot {
    fn reset(&mut self, seed: u64, index: u64) {
        self.noise = Stream::new(seed, "explore", index);
        Stream::new(seed, "candidates", index).fill_normal(&mut self.latents);
    }
}

/// The policy for a control thread.
#[derive(Clone, Debug)]
pub struct CandidatePolicy {
    normalizer: Normalizer,
    decoder: DenseMlp,
    perturbation: DenseMlp,
    critic: DenseMlp,
    limit: f32,
    latent_clip: f32,
    slots: Vec<Slot>,
    /// `[candidates * latent]`, of the present action.
    latents: Vec<f32>,
    /// Observation, then a latent.
    encoded: Vec<f32>,
    /// Observation, then a candidate.
    pair: Vec<f32>,
    observation_dim: usize,
    action_dim: usize,
}

impl CandidatePolicy {
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
        let CandidateArchitecture {
            kind: _,
            decoder_hidden,
            perturbation_hidden,
            critic_hidden,
            critic_layer_norm,
            limit,
            latent_clip,
            candidates,
        } = CandidateArchitecture::deserialize(&card.architecture)
            .map_err(|e| artifact("architecture", e.to_string()))?;
        for hidden in [&decoder_hidden, &perturbation_hidden, &critic_hidden] {
            if hidden.iter().any(|h| *h == 0 || *h > MAX_WIDTH) {
                return Err(artifact("architecture", format!("widths {hidden:?} are not usable")));
            }
        }
        if !(1..=MAX_CANDIDATES).contains(&candidates) {
            let reason = format!("expected 1 to {MAX_CANDIDATES} candidates, found {candidates}");
            return Err(artifact("architecture", reason));
        }
        let usable = |x: f32| x.is_finite() && x >= 0.0;
        if !usable(limit) || !usable(latent_clip) {
            let reason =
                format!("expected a limit and a clip of at least 0, found {limit} and {latent_clip}");
            return Err(artifact("architecture", reason));
        }
        let (o, a) = (card.spec.observation_dim(), card.spec.action_dim());
        let latent = latent_dim(a);
        let normalizer = check_normalizer(&card.normalizer, o)?;
        let arrays = from_safetensors(&files.weights).map_err(|reason| artifact("weights", reason))?;
        let network = |name: &str, input: usize, hidden: Vec<usize>, output: usize, norm: bool| {
            let widths: Vec<usize> =
                std::iter::once(input).chain(hidden).chain(std::iter::once(output)).collect();
            dense(&arrays, name, &widths, norm)
        };
        let mut slots: Vec<Slot> = (0..slots)
            .map(|_| Slot { noise: Stream::new(0, "explore", 0), latents: vec![0.0; candidates * latent] })
            .collect();
        slots.iter_mut().zip(0..).for_each(|(slot, index)| slot.reset(0, index));
        Ok(Self {
            normalizer,
            decoder: network("behaviour/decoder", o + latent, decoder_hidden, a, false)?,
            perturbation: network("actor", o + a, perturbation_hidden, a, false)?,
            critic: network("critic0", o + a, critic_hidden, 1, critic_layer_norm)?,
            limit,
            latent_clip,
            slots,
            latents: vec![0.0; candidates * latent],
            encoded: vec![0.0; o + latent],
            pair: vec![0.0; o + a],
            observation_dim: o,
            action_dim: a,
        })
    }
}

/// The network `NAME/layerI` (and `NAME/normI` behind hidden layers) of these widths.
fn dense(arrays: &Arrays, name: &str, widths: &[usize], norm: bool) -> Result<DenseMlp, PolicyError> {
    let mut layers = Vec::with_capacity(widths.len());
    for (i, pair) in widths.windows(2).enumerate() {
        let part = |part: &str, dims: &[usize]| take(arrays, &format!("{name}/{part}"), dims);
        let weight = part(&format!("layer{i}/weight"), &[pair[1], pair[0]])?;
        let mut layer = DenseLayer::new(weight, part(&format!("layer{i}/bias"), &[pair[1]])?.to_vec());
        if norm && i + 2 < widths.len() {
            let scale = part(&format!("norm{i}/scale"), &[pair[1]])?.to_vec();
            layer = layer.normalised(scale, part(&format!("norm{i}/shift"), &[pair[1]])?.to_vec());
        }
        layers.push(layer);
    }
    Ok(DenseMlp::new(layers))
}

impl Policy for CandidatePolicy {
    fn slots(&self) -> usize {
        self.slots.len()
    }

    fn reset(&mut self, slot: usize, _scope: ResetScope, seed: u64) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.reset(seed, 0);
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
        shape("observation dimension", self.observation_dim, observations.dim())?;
        shape("action dimension", self.action_dim, actions.dim())?;
        shape("action rows", observations.len(), actions.len())?;
        if observations.len() > self.slots.len() {
            let (expected, found) = (self.slots.len(), observations.len());
            return Err(PolicyError::Shape { what: "observation rows (at most)", expected, found });
        }
        let (o, latent) = (self.observation_dim, latent_dim(self.action_dim));
        for (i, slot) in self.slots.iter_mut().enumerate().take(observations.len()) {
            match mode {
                ActMode::Explore => slot.noise.fill_normal(&mut self.latents),
                ActMode::Exploit => self.latents.copy_from_slice(&slot.latents),
            }
            let observation = &mut self.encoded[..o];
            observation.copy_from_slice(observations.row(i));
            self.normalizer.apply(observation);
            self.pair[..o].copy_from_slice(observation);
            let action = actions.row(i);
            let mut best: Option<f32> = None;
            for z in self.latents.chunks_exact(latent.max(1)) {
                for (e, z) in self.encoded[o..].iter_mut().zip(z) {
                    *e = z.clamp(-self.latent_clip, self.latent_clip);
                }
                let decoded = self.decoder.forward(&self.encoded);
                self.pair[o..].iter_mut().zip(decoded).for_each(|(a, u)| *a = u.tanh());
                let moved = self.perturbation.forward(&self.pair);
                for (a, u) in self.pair[o..].iter_mut().zip(moved) {
                    *a = (*a + self.limit * u.tanh()).clamp(-1.0, 1.0);
                }
                let value = self.critic.forward(&self.pair).first().copied().unwrap_or(f32::NAN);
                // The first one stands even where its value is a NaN, and then its numbers are what the safety chain brakes on.
                if best.is_none_or(|best| value > best) {
                    best = Some(value);
                    action.copy_from_slice(&self.pair[o..]);
                }
            }
        }
        Ok(())
    }
}
