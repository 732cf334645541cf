//! A clone of the policy that recorded the data, learned beside another policy that is kept near it (BRAC; Wu, Tucker, Nachum 2019,
//! arXiv 1911.11361): `Lb = -mean w log pi_b(a|s)`, and the divergence `KL(pi, pi_b)` by the policy's own samples. `w` is 1, or comes of the
//! action's advantage, so that it clones what was better than the policy (ABM; Siegel et al. 2020, arXiv 2002.08396).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::LearnError;

use super::actor::PolicyNet;
use super::compute::Start;
use super::critic::{Judgement, Judging, taken_value};
use super::inputs::{BatchRows, tensor};
use super::max_entropy::{LogScale, PolicyLoss};
use super::mlp::Pass;
use super::params::{Gradients, gradient_norm};
use super::squashed::{Sampled, SquashedActorConfig, SquashedNet};
use super::trainable::Trainable;
use super::weights::{WeightMode, Weighting};
use super::{Context, mean, mean_of, positive, require};

const NAME: &str = "behaviour";
/// Bounds of the logarithm of a penalty that learns.
const LOG_PENALTY: [f64; 2] = [-5.0, 10.0];

/// What of the data is cloned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Prior {
    /// All of it alike.
    #[default]
    Data,
    /// Each action by its advantage over the policy's, `min_j Q_j(s, a) - min_j Q_j(s, a_pi)`.
    Advantage(AdvantagePrior),
}

/// How advantages weigh.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdvantagePrior {
    /// From advantages to weights.
    pub weight: WeightMode,
    /// Divides advantages.
    pub temperature: f64,
    /// Weights above this are cut to it.
    pub weight_clip: f64,
}

impl Default for AdvantagePrior {
    fn default() -> Self {
        Self { weight: WeightMode::Binary, temperature: 1.0, weight_clip: 20.0 }
    }
}

/// How far a policy is kept near the data's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BehaviourPenaltyConfig {
    /// Weight of the divergence from the data's policy (the paper's alpha); where it learns, at the start.
    pub penalty: f64,
    /// Divergence that is allowed, nats (ABM's epsilon): the penalty grows while there is more, and shrinks while there is less. Absent: it stays.
    pub max_divergence: Option<f64>,
    /// Adam's learning rate of the penalty's logarithm, where it learns.
    pub penalty_learning_rate: f64,
    /// What of the data is cloned.
    pub prior: Prior,
    /// Whether targets count the divergence at the next step too (BRAC-v), or the policy's loss alone (BRAC-p).
    pub in_targets: bool,
    /// Adam's learning rate of the clone, whose network is that of the policy.
    pub learning_rate: f64,
}

impl Default for BehaviourPenaltyConfig {
    fn default() -> Self {
        Self {
            penalty: 0.1,
            max_divergence: None,
            penalty_learning_rate: 1e-3,
            prior: Prior::Data,
            in_targets: true,
            learning_rate: 3e-4,
        }
    }
}

/// The clone.
#[derive(Clone, Debug)]
pub struct BehaviourClone {
    net: SquashedNet,
    trained: Trainable,
    penalty: f64,
    /// The penalty instead, and the divergence that it works towards.
    multiplier: Option<(LogScale, f64)>,
    weighting: Option<Weighting>,
    in_targets: bool,
}

/// The clone at `s`, on its way to an update.
#[derive(Debug)]
pub struct ClonePass {
    pass: Pass,
    output: Vec<f32>,
    /// Mean of `log pi_b(a|s)`.
    pub log_likelihood: f64,
}

/// What an update of the clone will do.
#[derive(Debug)]
pub struct CloneStep {
    gradients: Gradients,
    /// Of the gradients.
    pub norm: f64,
    /// Mean weight of the data's actions, where they are weighed.
    pub weight_mean: Option<f64>,
}

impl BehaviourClone {
    /// A seeded one for a policy of these settings.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn new(
        config: BehaviourPenaltyConfig,
        policy: &SquashedActorConfig,
        dims: [usize; 2],
        start: &Start,
        learner: &'static str,
    ) -> Result<Self, LearnError> {
        let BehaviourPenaltyConfig {
            penalty,
            max_divergence,
            penalty_learning_rate,
            prior,
            in_targets,
            learning_rate,
        } = config;
        let check = |ok, key, reason| require(learner, ok, key, reason);
        check(penalty >= 0.0 && penalty.is_finite(), "behaviour.penalty", "must not be negative")?;
        check(positive(learning_rate), "behaviour.learning_rate", "must be positive")?;
        check(max_divergence.is_none_or(positive), "behaviour.max_divergence", "must be positive")?;
        let learns = max_divergence.is_none() || (positive(penalty) && positive(penalty_learning_rate));
        check(
            learns,
            "behaviour.penalty",
            "and penalty_learning_rate must be positive where the penalty learns",
        )?;
        let weighting = match prior {
            Prior::Data => None,
            Prior::Advantage(AdvantagePrior { weight, temperature, weight_clip }) => {
                check(positive(temperature), "behaviour.prior.advantage.temperature", "must be positive")?;
                check(positive(weight_clip), "behaviour.prior.advantage.weight_clip", "must be positive")?;
                Some(Weighting { mode: weight, temperature, advantage_clip: None, weight_clip })
            }
        };
        let multiplier = max_divergence
            .map(|most| {
                LogScale::new("log_penalty", penalty, penalty_learning_rate).map(|scale| (scale, most))
            })
            .transpose()?;
        let net = SquashedNet::new(NAME, policy, dims, start, learner)?;
        let trained = Trainable::new(NAME, net.params().clone(), learning_rate);
        Ok(Self { net, trained, penalty, multiplier, weighting, in_targets })
    }

    /// Weight of the divergence.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn penalty(&self) -> Result<f64, LearnError> {
        self.multiplier.as_ref().map_or(Ok(self.penalty), |(scale, _)| scale.get())
    }

    /// Whether the penalty learns.
    #[must_use]
    pub const fn learns_penalty(&self) -> bool {
        self.multiplier.is_some()
    }

    /// Whether it has to know what critics say of the policy's actions.
    #[must_use]
    pub const fn weighs(&self) -> bool {
        self.weighting.is_some()
    }

    /// What targets lose by the divergence of these samples at `s'`, `[batch]`; nothing where they do not count it.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn target_penalty(
        &self,
        next_observation: &[f32],
        observation_dim: usize,
        raw: &[f32],
        sampled: &Sampled,
    ) -> Result<Option<Vec<f32>>, LearnError> {
        if !self.in_targets {
            return Ok(None);
        }
        let there = tensor(next_observation.to_vec(), observation_dim).context("behaviour")?;
        let (theirs, _) = self.net.raw_log_prob(&self.net.infer(&there)?, raw);
        let apart = sampled.log_prob.iter().zip(theirs).map(|(ours, theirs)| ours - theirs);
        let penalty = self.penalty()? as f32;
        Ok(Some(apart.map(|apart| penalty * apart).collect()))
    }

    /// The clone over these rows.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn forward(&self, rows: &BatchRows, observation_dim: usize) -> Result<ClonePass, LearnError> {
        let here = tensor(rows.observation.clone(), observation_dim).context("behaviour")?;
        let (pass, output) = self.net.forward(&here)?;
        let log_likelihood = mean_of(&self.net.log_prob(&output, &rows.action));
        Ok(ClonePass { pass, output, log_likelihood })
    }

    /// Adds `-penalty * mean log pi_b(a_pi|s)` to a policy's loss in which `penalty * mean log pi(a_pi|s)` is already; gives the mean
    /// divergence. `output` and `noise` are those of `policy`, `log_prob` of its samples.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn attract(
        &self,
        clone: &ClonePass,
        policy: &SquashedNet,
        (output, noise): (&[f32], &[f32]),
        log_prob: &[f32],
        loss: &mut PolicyLoss,
    ) -> Result<f64, LearnError> {
        let penalty = self.penalty()?;
        let raw = policy.raw_sample(output, noise);
        let (theirs, of_raw) = self.net.raw_log_prob(&clone.output, &raw);
        loss.loss -= penalty * mean_of(&theirs);
        let factor = -penalty / theirs.len().max(1) as f64;
        let of_raw: Vec<f32> = of_raw.iter().map(|g| (factor * f64::from(*g)) as f32).collect();
        let of_output = policy.raw_gradient(output, noise, &of_raw);
        loss.gradient.iter_mut().zip(of_output).for_each(|(sum, g)| *sum += g);
        let apart = log_prob.iter().zip(&theirs).map(|(ours, theirs)| f64::from(*ours) - f64::from(*theirs));
        Ok(mean(apart))
    }

    /// The gradient of its own loss over `n` rows. `judgements` are of the data's actions, and of one action of the policy where it weighs them.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn learn(
        &self,
        clone: &ClonePass,
        rows: &BatchRows,
        judgements: &[Judgement],
        n: usize,
    ) -> Result<CloneStep, LearnError> {
        let factor = -1.0 / n.max(1) as f64;
        let mut of_output = self.net.log_prob_gradient(&clone.output, &rows.action, factor);
        let mut weight_mean = None;
        if let Some(weighting) = &self.weighting {
            let q = taken_value(judgements, Judging::Min);
            let ours: Vec<&Vec<f32>> = judgements.iter().filter_map(|j| j.policy.first()).collect();
            let advantage: Vec<f32> = q.iter().zip(Judging::Min.of(&ours)).map(|(q, v)| q - v).collect();
            let weights = weighting.weights(&advantage);
            let row = (of_output.len() / n.max(1)).max(1);
            for (gradient, w) in of_output.chunks_exact_mut(row).zip(&weights) {
                gradient.iter_mut().for_each(|g| *g *= w);
            }
            weight_mean = Some(mean_of(&weights));
        }
        let gradient = clone.pass.pull(of_output).context("behaviour gradient")?;
        let gradients = Gradients::from([(NAME.to_owned(), gradient)]);
        let norm = gradient_norm(&gradients);
        Ok(CloneStep { gradients, norm, weight_mean })
    }

    /// One optimiser step; a penalty that learns steps by the divergence of the policy, where there is one.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn step(&mut self, step: CloneStep, divergence: Option<f64>) -> Result<(), LearnError> {
        self.trained.step(&step.gradients)?;
        step.gradients.into_values().for_each(|g| self.net.recycle(g));
        if let (Some((scale, most)), Some(divergence)) = (&mut self.multiplier, divergence) {
            let penalty = scale.get()?;
            scale.step(-penalty * (divergence - *most))?;
            scale.clamp(LOG_PENALTY[0], LOG_PENALTY[1])?;
        }
        Ok(())
    }

    /// For a checkpoint.
    pub fn trained(&self) -> impl Iterator<Item = &Trainable> {
        std::iter::once(&self.trained).chain(self.multiplier.iter().map(|(scale, _)| scale.trained()))
    }

    /// For a checkpoint that is loaded.
    pub fn trained_mut(&mut self) -> impl Iterator<Item = &mut Trainable> {
        let multiplier = self.multiplier.iter_mut().map(|(scale, _)| scale.trained_mut());
        std::iter::once(&mut self.trained).chain(multiplier)
    }
}
