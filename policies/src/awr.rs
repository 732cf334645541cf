//! Advantage-weighted regression (AWR; Peng et al. 2019, arXiv 1910.00177): returns of the data minus a state value, no action
//! values.
//!
//! One update, all losses from the networks before it, `d` the continuation (0 only after a termination):
//! ```text
//! R  = clamp(sum of rewards + discount^steps * d * mean_j Vt_j(s_end))       over `returns`: by default to the end of the episode
//!   or clamp(R_t), R_t = r_t + discount * d_t * ((1 - lambda) mean_j Vt_j(s'_t) + lambda R_{t+1})      with `td_lambda`, R_{t+1} = Vt(s'_t) where a sequence ends
//! Lv = sum_j mean_batch (V_j(s) - R)^2
//! A  = R - mean_j V_j(s)                 w = min(weight(min(A, advantage_clip) / temperature), weight_clip)
//! Lp = -mean_batch (w * log pi(a|s))     no gradient through w
//! values and actor step, targets follow: Vt <- Vt + target_rate (V - Vt)
//! ```
//!
//! | tensor | shape |
//! |---|---|
//! | `actor/layerI`, `actor/log_std_parameter` | observation to `hidden` to action; action |
//! | `criticJ/layerI` (and `normI`), `target/criticJ` | observation to `critic.hidden` to 1: these critics judge states alone |
//!
//! | setting | default | source |
//! |---|---|---|
//! | `weight`, `temperature`, `weight_clip` | `whiten`, 1, 20 | authors' code, which standardises advantages; the paper has `exp` with 0.05 |
//! | `returns` | `monte_carlo` | the paper's form is `{ td_lambda = { lambda = 0.95 } }`, between this and `one_step` |
//! | `discount` | 0.99 | paper |
//! | rates, networks, batch | 3e-4, 2x256, 256 | those of the other learners; the authors' code: SGD with momentum, 5e-5 and 1e-2, 128-64, 256 |
//!
//! Differences from the paper: values and policy step together at every update with Adam, instead of 200 and 1 000 steps after
//! every 2 000 samples; TD(lambda) looks `steps` ahead at most, where a batch is sequences of so many steps that begin anywhere (the paper goes to the
//! end of the episode), and all of their steps are learned from; an episode that was cut off bootstraps from a target; values have layer normalisation and bounded targets, both options; several values are averaged (targets
//! over `critic.min_over` drawn ones, where given). Data of
//! all ages is in the buffer, as in the paper, and demonstrations beside it.
//!
//! Batches with `td_lambda` are of `offline_batch` or `online_batch` rows as well: that many divided by `steps` sequences.
//!
//! Importance weights of a batch (prioritised sampling) multiply each row's share in both losses.
//!
//! Metrics: AWAC's, with `critic_loss`, `q_mean` and `td_error` those of `V`. Held-out rows are judged by one step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Batch, LearnError, Learner, Metrics};

use crate::LearnerContext;
use crate::nn::actor::Actor;
use crate::nn::critic::{
    CriticConfig, Judged, Judgement, Judging, Weights, critic_loss, drawn_targets, taken_value,
};
use crate::nn::gaussian_net::{ActorConfig, GaussianNet};
use crate::nn::inputs::{BatchRows, tensor};
use crate::nn::off_policy::{
    Algorithm, DataSettings, Noise, NoisePlan, OffPolicy, Parts, ReturnSteps, loss_metrics, td_error,
};
use crate::nn::weighted_likelihood::PolicyPass;
use crate::nn::weights::{WeightMode, Weighting, effective_sample_size};
use crate::nn::{Context, require};

const NAME: &str = "awr";

/// Most steps of a sequence.
const MAX_STEPS: usize = 1_000;

/// Which returns actions are weighed by, and values learned from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AwrReturns {
    /// One reward, and the value after it.
    OneStep,
    /// At most this many rewards (2 to 1000), and the value after them.
    NStep(usize),
    /// All rewards to the end of the episode; one that was cut off bootstraps there.
    #[default]
    MonteCarlo,
    /// The mean of all of these, each longer one by `lambda` less (the paper's form).
    TdLambda(TdLambda),
}

/// Returns that trade bias for variance (Sutton, Barto, 2nd ed., equation 12.3, cut off behind `steps`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TdLambda {
    /// 0 is `one_step`, 1 sums up all rewards.
    pub lambda: f64,
    /// How far it looks ahead at most (2 to 1000): batches are sequences of so many steps.
    pub steps: usize,
}

impl Default for TdLambda {
    fn default() -> Self {
        Self { lambda: 0.95, steps: 32 }
    }
}

/// Advantage-weighted regression.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AwrConfig {
    /// The policy network.
    pub actor: ActorConfig,
    /// The state values: their layers, number, rates and bounds.
    pub critic: CriticConfig,
    /// Discount per step (the paper's gamma).
    pub discount: f64,
    /// Divides advantages (the paper's beta): smaller is greedier.
    pub temperature: f64,
    /// From advantages to weights.
    pub weight: WeightMode,
    /// Weights above this are cut to it.
    pub weight_clip: f64,
    /// Advantages above this are cut to it.
    pub advantage_clip: Option<f64>,
    /// Steps of the returns.
    pub returns: AwrReturns,
    /// Rows in an offline batch.
    pub offline_batch: usize,
    /// Rows in an online batch.
    pub online_batch: usize,
    /// Actions of the data are clipped to `1 - demo_action_margin` in size.
    pub demo_action_margin: f64,
    /// Whether observations are standardised by the demonstrations.
    pub normalize_observations: bool,
    /// Added to each observation's deviation when standardising.
    pub observation_std_floor: f64,
}

impl Default for AwrConfig {
    fn default() -> Self {
        Self {
            actor: ActorConfig::default(),
            critic: CriticConfig::default(),
            discount: 0.99,
            temperature: 1.0,
            weight: WeightMode::Whiten,
            weight_clip: 20.0,
            advantage_clip: None,
            returns: AwrReturns::MonteCarlo,
            offline_batch: 256,
            online_batch: 256,
            demo_action_margin: 1e-5,
            normalize_observations: true,
            observation_std_floor: 1e-3,
        }
    }
}

impl AwrConfig {
    /// Builds the learner.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn build(&self, context: &LearnerContext) -> Result<Box<dyn Learner>, LearnError> {
        Ok(Box::new(Awr::new(self, context)?))
    }
}

/// The learner.
pub type Awr = OffPolicy<ReturnWeighting>;

/// What makes it AWR.
#[derive(Clone, Debug)]
pub struct ReturnWeighting {
    weighting: Weighting,
    lambda: Option<TdLambda>,
    discount: f64,
}

/// `R_t` of sequences that follow one another, of these lengths; `next_value` is of the state behind each step.
fn lambda_returns(
    batch: &Batch,
    lengths: &[usize],
    next_value: &[f32],
    [discount, lambda]: [f64; 2],
) -> Vec<f32> {
    let mut returns = vec![0.0; batch.n];
    let mut end = batch.n;
    for length in lengths.iter().rev() {
        let mut beyond: Option<f64> = None;
        for t in (end - length..end).rev() {
            let value = f64::from(next_value[t]);
            let mixed = beyond.map_or(value, |beyond| (1.0 - lambda) * value + lambda * beyond);
            let sum = f64::from(batch.reward[t]) + discount * f64::from(batch.continuation[t]) * mixed;
            beyond = Some(sum);
            returns[t] = sum as f32;
        }
        end -= length;
    }
    returns
}

impl Awr {
    /// A fresh learner.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn new(config: &AwrConfig, context: &LearnerContext) -> Result<Self, LearnError> {
        let AwrConfig {
            actor,
            critic,
            discount,
            temperature,
            weight,
            weight_clip,
            advantage_clip,
            returns,
            offline_batch,
            online_batch,
            demo_action_margin,
            normalize_observations,
            observation_std_floor,
        } = config;
        let weighting = Weighting {
            mode: *weight,
            temperature: *temperature,
            advantage_clip: *advantage_clip,
            weight_clip: *weight_clip,
        };
        weighting.check(NAME)?;
        let (returns, lambda) = match *returns {
            AwrReturns::OneStep => (ReturnSteps::OneStep, None),
            AwrReturns::NStep(n) => (ReturnSteps::NStep(n), None),
            AwrReturns::MonteCarlo => (ReturnSteps::MonteCarlo, None),
            // Rewards come one by one.
            AwrReturns::TdLambda(lambda) => (ReturnSteps::OneStep, Some(lambda)),
        };
        if let Some(TdLambda { lambda, steps }) = lambda {
            let check = |ok, key, reason| require(NAME, ok, key, reason);
            check((0.0..=1.0).contains(&lambda), "returns.td_lambda.lambda", "must be in [0, 1]")?;
            check((2..=MAX_STEPS).contains(&steps), "returns.td_lambda.steps", "must be 2 to 1000")?;
        }
        let data = DataSettings {
            discount: *discount,
            returns,
            offline_batch: *offline_batch,
            online_batch: *online_batch,
            demo_action_margin: *demo_action_margin,
            normalize_observations: *normalize_observations,
            observation_std_floor: *observation_std_floor,
        };
        let dims = context.dims();
        let actor = Actor::<GaussianNet>::new(actor, dims, &context.start()?, NAME)?;
        let parts = Parts::judging([dims[0], 0], actor, critic, data, context, NAME)?;
        Ok(Self::of(parts, ReturnWeighting { weighting, lambda, discount: *discount }))
    }
}

/// `V_j` of the states, and their targets (those that were drawn) at the ends of the returns.
fn judge(parts: &Parts, rows: &BatchRows, drawn: &[usize]) -> Result<Vec<Judgement>, LearnError> {
    let dim = parts.dims()[0];
    let all = 0..parts.critics.count();
    let states = |rows: &[f32]| tensor(rows.to_vec(), dim).context("value");
    let judged = Judged {
        target: states(&rows.next_observation)?,
        target_by: if drawn.is_empty() { all.collect() } else { drawn.to_vec() },
        taken: states(&rows.observation)?,
        policy: Vec::new(),
    };
    parts.critics.judge(&judged, &parts.threads)
}

/// The mean value of these states, `[batch]`.
fn values(parts: &Parts, weights: Weights, rows: &[f32]) -> Result<Vec<f32>, LearnError> {
    let states = tensor(rows.to_vec(), parts.dims()[0]).context("value")?;
    let v = parts.critics.infer(weights, &states)?;
    Ok(Judging::Mean.of(&v.iter().collect::<Vec<_>>()))
}

impl Algorithm for ReturnWeighting {
    type Net = GaussianNet;
    const NAME: &'static str = NAME;
    const HELDOUT: &'static [&'static str] =
        &["heldout/log_likelihood", "heldout/td_error", "heldout/effective_sample_size"];

    fn noise(&self) -> NoisePlan {
        NoisePlan::default()
    }

    fn sequence_steps(&self) -> Option<usize> {
        self.lambda.map(|lambda| lambda.steps)
    }

    fn update(&mut self, parts: &mut Parts, batch: &Batch, noise: &Noise) -> Result<Metrics, LearnError> {
        let unrolled = self.lambda.map(|lambda| (lambda, batch.unrolled()));
        let batch = unrolled.as_ref().map_or(batch, |(_, (steps, _))| steps);
        let rows = parts.take_in(batch)?;
        let dim = parts.dims()[0];
        let (judgements, policy) = parts.threads.join(
            || judge(parts, &rows, &noise.target_critics),
            || PolicyPass::new(parts.actor.net(), &rows, dim),
        );
        let (judgements, policy) = (judgements?, policy?);
        let end = Judging::Mean.of(&drawn_targets(&judgements));
        let returns = match &unrolled {
            None => parts.bounds.targets(batch, &end),
            Some((TdLambda { lambda, .. }, (_, lengths))) => {
                parts.bounds.bounded(lambda_returns(batch, lengths, &end, [self.discount, *lambda]))
            }
        };
        let v = taken_value(&judgements, Judging::Mean);
        let advantage: Vec<f32> = returns.iter().zip(&v).map(|(r, v)| r - v).collect();
        let mut weights = self.weighting.weights(&advantage);
        let effective = effective_sample_size(&weights);
        // Importance weights, where there are any: none is the same as 1 for each, bit for bit.
        weights.iter_mut().zip(&batch.weight).for_each(|(w, importance)| *w *= importance);

        let value_loss = critic_loss(&judgements, &returns, &batch.weight);
        let actor_loss = policy.loss(&weights);
        parts.finite("train/critic_loss", value_loss)?;
        parts.finite("train/actor_loss", actor_loss)?;
        let norms = parts.descend(&judgements, &returns, &batch.weight, |parts| {
            policy.gradient(&weights, parts.actor.net()).map(Some)
        })?;

        if let Some((_, (_, lengths))) = &unrolled {
            parts.average_td_errors(lengths);
        }
        let mut metrics = loss_metrics(value_loss, Some(actor_loss), norms, &v, &returns);
        policy.report(&advantage, effective, &mut metrics);
        parts.actor.report(&mut metrics)?;
        Ok(metrics)
    }

    fn evaluate(
        &self,
        parts: &Parts,
        batch: &Batch,
        rows: &BatchRows,
        metrics: &mut Metrics,
    ) -> Result<(), LearnError> {
        let y = parts.bounds.targets(batch, &values(parts, Weights::Target, &rows.next_observation)?);
        let v = values(parts, Weights::Online, &rows.observation)?;
        let advantage: Vec<f32> = y.iter().zip(&v).map(|(y, v)| y - v).collect();
        metrics.push("heldout/td_error", td_error(&v, &y));
        let weights = self.weighting.weights(&advantage);
        metrics.push("heldout/effective_sample_size", effective_sample_size(&weights));
        Ok(())
    }
}
