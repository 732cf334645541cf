//! A variational autoencoder of the data's actions: what the behaviour that recorded them may do at a state (Fujimoto, Meger, Precup
//! 2019, arXiv 1812.02900, appendix; Kumar et al. 2019, arXiv 1906.00949).
//! ```text
//! (m, l) = encoder(s, a)     z = m + exp(l) noise     u = decoder(s, z)     l clipped to [-4, 15]
//! L = mean (tanh(u) - a)^2 + kl_weight * mean 0.5 (m^2 + exp(2 l) - 1 - 2 l)
//! ```
//! Samples decode normal latents that are clipped to `[-0.5, 0.5]`, as the authors' code does: actions that the behaviour is likely to take.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::LearnError;

use super::compute::Start;
use super::critic::Critics;
use super::input_pass::InputPass;
use super::inputs::{BatchRows, side_by_side};
use super::mlp::Mlp;
use super::params::{Arrays, Gradients, Params, gradient_norm};
use super::size::{refuse_hidden, refuse_parameters};
use super::trainable::Trainable;
use super::{Context, mean, positive, require};

const NAME: &str = "behaviour";
const ENCODER: &str = "behaviour/encoder";
const DECODER: &str = "behaviour/decoder";
/// Bounds of the logarithm of a latent's deviation.
const LOG_STD: [f32; 2] = [-4.0, 15.0];
/// Latents of samples are clipped to this size.
pub const LATENT_CLIP: f32 = 0.5;

/// The autoencoder and how it learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BehaviourConfig {
    /// Widths of the hidden layers of encoder and decoder.
    pub hidden: Vec<usize>,
    /// Weight of the latents' divergence from the normal distribution.
    pub kl_weight: f64,
    /// Adam's learning rate.
    pub learning_rate: f64,
}

impl Default for BehaviourConfig {
    fn default() -> Self {
        Self { hidden: vec![256, 256], kl_weight: 0.5, learning_rate: 1e-3 }
    }
}

/// Numbers in a latent, for actions of this dimension.
#[must_use]
pub const fn latent_dim(action_dim: usize) -> usize {
    2 * action_dim
}

/// The autoencoder.
#[derive(Clone, Debug)]
pub struct BehaviourVae {
    encoder: Mlp,
    decoder: Mlp,
    trained: Trainable,
    kl_weight: f64,
    dims: [usize; 2],
}

/// What an update of it will do.
#[derive(Debug)]
pub struct BehaviourLoss {
    /// The loss.
    pub loss: f64,
    gradients: Gradients,
    /// Of the gradients.
    pub norm: f64,
}

impl BehaviourVae {
    /// A seeded one for `[observation_dim, action_dim]`.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn new(
        config: &BehaviourConfig,
        dims: [usize; 2],
        start: &Start,
        learner: &'static str,
    ) -> Result<Self, LearnError> {
        let BehaviourConfig { hidden, kl_weight, learning_rate } = config;
        let check = |ok, key, reason: &str| require(learner, ok, key, reason);
        check(positive(*learning_rate), "behaviour.learning_rate", "must be positive")?;
        let weight = *kl_weight >= 0.0 && kl_weight.is_finite();
        check(weight, "behaviour.kl_weight", "must not be negative")?;
        let latent = latent_dim(dims[1]);
        let shape = |input, output| {
            let mut shape = Critics::shape(hidden, input, false);
            if let Some(last) = shape.widths.last_mut() {
                *last = output;
            }
            shape
        };
        let (encoder, decoder) = (shape(dims[0] + dims[1], 2 * latent), shape(dims[0] + latent, dims[1]));
        let refused = refuse_hidden(hidden)
            .or_else(|| refuse_parameters(&encoder, 1))
            .or_else(|| refuse_parameters(&decoder, 1));
        if let Some(reason) = refused {
            check(false, "behaviour.hidden", &reason)?;
        }
        let mut params = Params::default();
        let encoder = Mlp::new(&mut params, start, ENCODER, encoder).context("behaviour")?;
        let decoder = Mlp::new(&mut params, start, DECODER, decoder).context("behaviour")?;
        let trained = Trainable::new(NAME, params, *learning_rate);
        Ok(Self { encoder, decoder, trained, kl_weight: *kl_weight, dims })
    }

    /// The loss over these rows with this noise of latents, `[batch * latent]`, and its gradients.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn loss(&self, rows: &BatchRows, noise: &[f32]) -> Result<BehaviourLoss, LearnError> {
        let [o, a] = self.dims;
        let latent = latent_dim(a);
        let pairs = side_by_side(&rows.observation, &rows.action, self.dims).context("behaviour")?;
        let encoded = self.encoder.forward(&pairs).context("behaviour encoder")?;
        let output = encoded.output.flatten_all().and_then(|x| x.to_vec1::<f32>());
        let output = output.context("behaviour encoder")?;
        // Means and clipped logarithms of deviations, row by row.
        let row = |row: &[f32]| -> Vec<(f64, f64, bool)> {
            let (means, raw) = row.split_at(latent);
            let one = |(m, raw): (&f32, &f32)| {
                let clipped = if *raw < LOG_STD[0] { LOG_STD[0] } else { *raw };
                let clipped = if clipped > LOG_STD[1] { LOG_STD[1] } else { clipped };
                (f64::from(*m), f64::from(clipped), clipped == *raw)
            };
            means.iter().zip(raw).map(one).collect()
        };
        let latents: Vec<(f64, f64, bool)> = output.chunks_exact(2 * latent).flat_map(row).collect();
        let z = latents.iter().zip(noise).map(|((m, l, _), n)| (m + l.exp() * f64::from(*n)) as f32);
        let z: Vec<f32> = z.collect();
        let input = side_by_side(&rows.observation, &z, [o, latent]).context("behaviour")?;
        let decoded = InputPass::new(&self.decoder, &input).context("behaviour decoder")?;

        let numbers = rows.action.len() as f64;
        let squashed =
            || decoded.output.iter().zip(&rows.action).map(|(u, a)| (f64::from(u.tanh()), f64::from(*a)));
        let reconstruction = mean(squashed().map(|(t, a)| (t - a).powi(2)));
        let divergence =
            mean(latents.iter().map(|(m, l, _)| 0.5 * (m * m + (2.0 * l).exp() - 1.0 - 2.0 * l)));
        let of_u = squashed().map(|(t, a)| (2.0 * (t - a) * (1.0 - t * t) / numbers) as f32).collect();
        let (of_decoder, of_z) = decoded.pull(of_u, latent).context("behaviour gradient")?;
        let pull = self.kl_weight / latents.len().max(1) as f64;
        let mut of_output = Vec::with_capacity(output.len());
        let terms =
            latents.chunks_exact(latent).zip(of_z.chunks_exact(latent)).zip(noise.chunks_exact(latent));
        for ((latents, of_z), noise) in terms {
            of_output.extend(latents.iter().zip(of_z).map(|((m, ..), g)| (f64::from(*g) + pull * m) as f32));
            of_output.extend(latents.iter().zip(of_z).zip(noise).map(|(((_, l, free), g), n)| {
                let spread = l.exp();
                let g = f64::from(*g) * f64::from(*n) * spread + pull * (spread * spread - 1.0);
                // A clipped deviation does not depend on the network.
                if *free { g as f32 } else { 0.0 }
            }));
        }
        let of_encoder = encoded.pull(of_output).context("behaviour gradient")?;
        let gradients = Gradients::from([(ENCODER.to_owned(), of_encoder), (DECODER.to_owned(), of_decoder)]);
        let norm = gradient_norm(&gradients);
        Ok(BehaviourLoss { loss: reconstruction + self.kl_weight * divergence, gradients, norm })
    }

    /// Actions before squashing that the behaviour is likely to take at these observations, for normal latents `[batch * latent]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn sample(&self, observation: &[f32], latents: &[f32]) -> Result<Vec<f32>, LearnError> {
        let [o, a] = self.dims;
        let clipped: Vec<f32> = latents.iter().map(|z| z.clamp(-LATENT_CLIP, LATENT_CLIP)).collect();
        let input = side_by_side(observation, &clipped, [o, latent_dim(a)]).context("behaviour")?;
        self.decoder.infer(&input).context("behaviour decoder")
    }

    /// Adds the weights of the decoder: what a policy acts by.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn deploy_decoder(&self, to: &mut Arrays) -> Result<(), LearnError> {
        let mut all = Arrays::new();
        self.trained.params().export("", &mut all)?;
        to.extend(all.into_iter().filter(|(name, _)| name.starts_with(DECODER)));
        Ok(())
    }

    /// One optimiser step.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn step(&mut self, loss: BehaviourLoss) -> Result<(), LearnError> {
        self.trained.step(&loss.gradients)?;
        for (name, gradient) in loss.gradients {
            let network = if name == ENCODER { &self.encoder } else { &self.decoder };
            network.recycle(gradient);
        }
        Ok(())
    }

    /// For a checkpoint.
    #[must_use]
    pub const fn trained(&self) -> &Trainable {
        &self.trained
    }

    /// For a checkpoint that is loaded.
    pub const fn trained_mut(&mut self) -> &mut Trainable {
        &mut self.trained
    }
}
