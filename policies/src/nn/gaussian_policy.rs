//! Gaussian policies as they act: normaliser, dense forward, `tanh`, seeded noise. The mean is squashed and the noise is not
//! ([`GaussianNet`](super::gaussian_net::GaussianNet)), or both are ([`SquashedNet`](super::squashed::SquashedNet)).

use surefoot_core::{
    ActMode, Normalizer, Policy, PolicyArtifact, PolicyError, ResetScope, Rows, RowsMut, Stream,
};

use super::dense::{DenseLayer, DenseMlp};
use super::policy_network::{Head, PolicyNetwork};
use super::squashed::bounded_log_std;

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

impl GaussianPolicy {
    /// From its files, for `slots` robots.
    ///
    /// # Errors
    /// [`PolicyError::Artifact`] when the format, the architecture or a tensor is not what the card promises.
    pub fn from_artifact(files: &PolicyArtifact, slots: usize) -> Result<Self, PolicyError> {
        let PolicyNetwork { normalizer, layers, head } = PolicyNetwork::from_artifact(files)?;
        let layers = layers.into_iter().map(|l| DenseLayer::new(&l.weight, l.bias)).collect();
        Ok(Self {
            normalizer,
            network: DenseMlp::new(layers),
            head,
            action_dim: files.card.spec.action_dim(),
            observation: vec![0.0; files.card.spec.observation_dim()],
            noise: (0..slots as u64).map(|slot| Stream::new(0, "explore", slot)).collect(),
        })
    }
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
