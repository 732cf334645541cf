//! Demonstration-augmented policy gradients (DAPG; Rajeswaran et al. 2018, arXiv 1709.10087): a clone of the demonstrations that goes on by natural
//! policy gradients (Kakade 2001; as in Rajeswaran et al. 2017, arXiv 1703.02660) on what it does itself, with the demonstrations' weight fading away.
//! Without that weight (`demonstration_weight = 0`, `offline_ratio = 0`) it is the natural policy gradient, the plain baseline on policy.
//!
//! Offline an update clones, `L = -mean_batch log pi(a|s)`, by Adam. Online it waits for `update_env_steps` of fresh episodes of the present policy, and one
//! update is, over those steps and the demonstrations that the phase's `offline_ratio` brings beside them, `d` the continuation (0 only after a termination):
//! ```text
//! delta_t = r_t + discount d_t V(s'_t) - V(s_t)      A_t = delta_t + discount gae_lambda A_{t+1}, within an episode
//! w = (A - mean A) / std A                                            for fresh steps
//! w = demonstration_weight demonstration_decay^k max_fresh w          for demonstrations, k natural steps before this one
//! g = mean_all w grad log pi(a|s)
//! x = (F + damping)^-1 g by conjugate gradients, F the Fisher matrix over the fresh states
//! theta <- theta + sqrt(2 kl_step / g.x) x, halved until the mean divergence over the fresh states is at most 1.5 kl_step
//! V is fitted to A_t + V(s_t), the TD(gae_lambda) return, by `value.epochs` passes of Adam
//! ```
//!
//! | tensor | shape |
//! |---|---|
//! | `actor/layerI`, `actor/log_std_parameter` | observation to `actor.hidden` to action; action |
//! | `value/layerI` | observation to `value.hidden` to 1 |
//!
//! | setting | default | source |
//! |---|---|---|
//! | `demonstration_weight`, `demonstration_decay` | 0.1, 0.95 | paper (its lambda_0, lambda_1); the authors' script has 0.01 and leaves out the maximum |
//! | `kl_step` | 0.025 | authors' code: half its `normalized_step_size` of 0.05 |
//! | `conjugate_gradient_steps`, `damping` | 10, 1e-4 | authors' code |
//! | `discount`, `gae_lambda` | 0.995, 0.97 | authors' code |
//! | `update_env_steps` | 4 000 | authors' script: 200 episodes of 200 |
//! | `actor` | 2x64, 1e-3, deviation 0.3 | authors' code: 2x32, tanh between layers, 1e-3, deviation 1 |
//! | `value` | 2x128, 1e-3, 5 x 128 | authors' code: 2x128, 1e-3, 2 x 64, and features of time |
//!
//! Differences from the paper: the mean is bounded by `tanh` and layers are ReLU; the gradient is of the executed action, which is clipped to its range
//! where the policy's noise leaves it; demonstrations are drawn with replacement instead of taken all; an episode that was cut off bootstraps; the value is fitted
//! to `TD(lambda)` returns instead of sums of rewards, without features of time; a step that turns out too long is halved, as in TRPO (arXiv 1502.05477,
//! appendix C): where the last layer is small, as at the start, the divergence grows faster than the Fisher matrix says. There is no importance ratio: where new weights were refused or taken
//! back by the phase's `promotion`, the next update learns from what the policy before did.
//!
//! Metrics, offline: `train/{actor_loss, actor_gradient_norm, log_likelihood, entropy, std_mean}`. Online: those (`actor_loss` is `-mean w log pi`),
//! `train/{advantage_mean, advantage_std}` before they are standardised, `train/kl` of the step taken, `train/step_size` (its factor), `train/halvings` of it, `train/demonstration_weight`,
//! `train/value_loss` over its passes, `train/value_explained` (the share of the returns' variance that the value explained before them).
//! `heldout/log_likelihood`.

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{
    Batch, Beside, Blobs, LearnError, Learner, Metrics, Normalizer, PhaseKind, Policy, PolicyArtifact,
    Returns, SamplePlan, Stream, TransitionSource,
};

use crate::LearnerContext;
use crate::nn::actor::{Actor, PolicyNet};
use crate::nn::gaussian_net::{ActorConfig, GaussianNet};
use crate::nn::generalized_advantage::generalized_advantage;
use crate::nn::inputs::{BatchRows, Inputs, tensor};
use crate::nn::natural_gradient::{dot, flattened, natural_gradient, unflattened};
use crate::nn::params::{Arrays, Gradients};
use crate::nn::size::refuse_batch;
use crate::nn::state::Counters;
use crate::nn::threads::Threads;
use crate::nn::value_baseline::{ValueBaseline, ValueConfig};
use crate::nn::weighted_likelihood::PolicyPass;
use crate::nn::{Context, gaussian, mean, mean_of, positive, require};

const NAME: &str = "dapg";
/// Added to the advantages' deviation.
const DEVIATION_FLOOR: f64 = 1e-6;
/// Added to a direction's slope.
const SLOPE_FLOOR: f64 = 1e-20;
/// A step may have this multiple of the divergence that was asked for.
const KL_SLACK: f64 = 1.5;
/// Halvings after which a step is not taken at all.
const MOST_HALVINGS: u32 = 20;
const NATURAL_STEPS: &str = "natural";

/// The policy network and how it clones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OnPolicyActorConfig {
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Smallest logarithm of the deviation.
    pub min_log_std: f64,
    /// Largest logarithm of the deviation.
    pub max_log_std: f64,
    /// Deviation at the start, between the two.
    pub initial_std: f64,
    /// Adam's learning rate while it clones.
    pub learning_rate: f64,
    /// L2 weight decay while it clones, added to the gradient.
    pub weight_decay: f64,
}

impl Default for OnPolicyActorConfig {
    fn default() -> Self {
        Self {
            hidden: vec![64, 64],
            min_log_std: -3.0,
            max_log_std: 0.0,
            initial_std: 0.3,
            learning_rate: 1e-3,
            weight_decay: 0.0,
        }
    }
}

impl OnPolicyActorConfig {
    /// What acts is what learns: no average of it, and no cap of its deviation.
    fn actor(&self) -> ActorConfig {
        let Self { hidden, min_log_std, max_log_std, initial_std, learning_rate, weight_decay } = self;
        ActorConfig {
            hidden: hidden.clone(),
            min_log_std: *min_log_std,
            max_log_std: *max_log_std,
            initial_std: *initial_std,
            learning_rate: *learning_rate,
            weight_decay: *weight_decay,
            average_rate: 1.0,
            max_explore_std: max_log_std.exp().max(1.0),
        }
    }
}

/// DAPG.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DapgConfig {
    /// The policy network.
    pub actor: OnPolicyActorConfig,
    /// The state value.
    pub value: ValueConfig,
    /// Discount per step.
    pub discount: f64,
    /// How far advantages look ahead, 0 to 1 (the paper's GAE lambda).
    pub gae_lambda: f64,
    /// Fresh steps that an online update waits for, at least.
    pub update_env_steps: usize,
    /// Divergence of the policy that an online update aims at, nats.
    pub kl_step: f64,
    /// Steps of the conjugate gradients.
    pub conjugate_gradient_steps: usize,
    /// Added to the Fisher matrix' diagonal.
    pub damping: f64,
    /// Weight of demonstrations at the first online update, beside the largest standardised advantage (the paper's `lambda_0`); 0 leaves them out.
    pub demonstration_weight: f64,
    /// By what that weight is multiplied at every online update (the paper's `lambda_1`).
    pub demonstration_decay: f64,
    /// Rows in an offline batch.
    pub offline_batch: usize,
    /// Actions of the data are clipped to `1 - demo_action_margin` in size.
    pub demo_action_margin: f64,
    /// Whether observations are standardised by the demonstrations.
    pub normalize_observations: bool,
    /// Added to each observation's deviation when standardising.
    pub observation_std_floor: f64,
}

impl Default for DapgConfig {
    fn default() -> Self {
        Self {
            actor: OnPolicyActorConfig::default(),
            value: ValueConfig::default(),
            discount: 0.995,
            gae_lambda: 0.97,
            update_env_steps: 4_000,
            kl_step: 0.025,
            conjugate_gradient_steps: 10,
            damping: 1e-4,
            demonstration_weight: 0.1,
            demonstration_decay: 0.95,
            offline_batch: 256,
            demo_action_margin: 1e-5,
            normalize_observations: true,
            observation_std_floor: 1e-3,
        }
    }
}

impl DapgConfig {
    /// Builds the learner.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn build(&self, context: &LearnerContext) -> Result<Box<dyn Learner>, LearnError> {
        Ok(Box::new(Dapg::new(self, context)?))
    }
}

/// The learner.
#[derive(Clone, Debug)]
pub struct Dapg {
    actor: Actor,
    value: ValueBaseline,
    inputs: Inputs,
    threads: Threads,
    config: DapgConfig,
    seed: u64,
    updates: u64,
    natural_steps: u64,
}

impl Dapg {
    /// A fresh learner.
    ///
    /// # Errors
    /// [`LearnError::Config`] naming the offending key.
    pub fn new(config: &DapgConfig, context: &LearnerContext) -> Result<Self, LearnError> {
        let DapgConfig {
            actor,
            value,
            discount,
            gae_lambda,
            update_env_steps,
            kl_step,
            conjugate_gradient_steps,
            damping,
            demonstration_weight,
            demonstration_decay,
            offline_batch,
            demo_action_margin,
            normalize_observations: _,
            observation_std_floor,
        } = config;
        let LearnerContext { spec, seed, threads, device: _ } = context;
        let start = &context.start()?;
        let check = |ok, key, reason: &str| require(NAME, ok, key, reason);
        check((0.0..1.0).contains(discount), "discount", "must be in [0, 1)")?;
        check((0.0..=1.0).contains(gae_lambda), "gae_lambda", "must be in [0, 1]")?;
        check(positive(*kl_step), "kl_step", "must be positive")?;
        check(
            (1..=1_000).contains(conjugate_gradient_steps),
            "conjugate_gradient_steps",
            "must be 1 to 1000",
        )?;
        check(positive(*damping), "damping", "must be positive")?;
        let weight = *demonstration_weight >= 0.0 && demonstration_weight.is_finite();
        check(weight, "demonstration_weight", "must not be negative")?;
        check((0.0..=1.0).contains(demonstration_decay), "demonstration_decay", "must be in [0, 1]")?;
        for (key, rows) in [("update_env_steps", *update_env_steps), ("offline_batch", *offline_batch)] {
            if let Some(reason) = refuse_batch(rows) {
                check(false, key, &reason)?;
            }
        }
        check((0.0..1.0).contains(demo_action_margin), "demo_action_margin", "must be in [0, 1)")?;
        check(*observation_std_floor > 0.0, "observation_std_floor", "must be positive")?;
        Ok(Self {
            actor: Actor::<GaussianNet>::new(&actor.actor(), context.dims(), start, NAME)?,
            value: ValueBaseline::new(value, spec.observation_dim(), start, NAME)?,
            inputs: Inputs {
                spec: spec.clone(),
                normalizer: Normalizer::default(),
                data_hashes: Vec::new(),
                action_bound: (1.0 - demo_action_margin) as f32,
            },
            threads: Threads::new(*threads)?,
            config: config.clone(),
            seed: *seed,
            updates: 0,
            natural_steps: 0,
        })
    }

    fn finite(&self, what: &'static str, value: f64) -> Result<f64, LearnError> {
        if value.is_finite() {
            Ok(value)
        } else {
            Err(LearnError::NotFinite { what, value, updates: self.updates })
        }
    }

    /// A step towards the data's actions.
    fn clone_data(&mut self, rows: &BatchRows, n: usize) -> Result<Metrics, LearnError> {
        let even = vec![1.0; n];
        let pass = PolicyPass::new(self.actor.net(), rows, self.inputs.spec.observation_dim())?;
        let loss = self.finite("train/actor_loss", pass.loss(&even))?;
        let (gradients, norm) = pass.gradient(&even, self.actor.net())?;
        self.finite("train/actor_gradient_norm", norm)?;
        self.actor.step(gradients)?;
        self.updates += 1;
        self.report(loss, norm, &pass)
    }

    fn report(&self, loss: f64, norm: f64, pass: &PolicyPass) -> Result<Metrics, LearnError> {
        let mut metrics = Metrics::new();
        metrics.push("train/actor_loss", loss);
        metrics.push("train/actor_gradient_norm", norm);
        metrics.push("train/log_likelihood", mean_of(&pass.log_prob_rows));
        self.actor.report(&mut metrics)?;
        Ok(metrics)
    }

    /// A natural step on what the policy did, which are the last rows.
    fn climb(&mut self, batch: &Batch, rows: &BatchRows) -> Result<Metrics, LearnError> {
        let DapgConfig { discount, gae_lambda, kl_step, conjugate_gradient_steps, damping, .. } = self.config;
        let [o, a] = [self.inputs.spec.observation_dim(), self.inputs.spec.action_dim()];
        let demonstrated = batch.n - batch.last.len();
        let observation = &rows.observation[demonstrated * o..];
        let v = self.value.values(observation)?;
        let next_v = self.value.values(&rows.next_observation[demonstrated * o..])?;
        let steps = (&batch.reward[demonstrated..], &batch.continuation[demonstrated..], &*batch.last);
        let advantage = generalized_advantage(steps, (&v, &next_v), discount, gae_lambda);
        let returns: Vec<f32> = advantage.iter().zip(&v).map(|(a, v)| (a + f64::from(*v)) as f32).collect();
        let advantage_mean = self.finite("train/advantage_mean", mean(advantage.iter().copied()))?;
        let variance = mean(advantage.iter().map(|a| (a - advantage_mean).powi(2)));
        let advantage_std = self.finite("train/advantage_std", variance.sqrt())?;
        let standardised = |a: &f64| ((a - advantage_mean) / (advantage_std + DEVIATION_FLOOR)) as f32;
        let fresh: Vec<f32> = advantage.iter().map(standardised).collect();
        let largest = fresh.iter().copied().fold(0.0_f32, f32::max);
        let fading = i32::try_from(self.natural_steps).unwrap_or(i32::MAX);
        let weight = self.config.demonstration_weight * self.config.demonstration_decay.powi(fading);
        let demonstration_weight = weight as f32 * largest;
        let weights = [vec![demonstration_weight; demonstrated], fresh].concat();

        let net = self.actor.net();
        let pass = PolicyPass::new(net, rows, o)?;
        let loss = self.finite("train/actor_loss", pass.loss(&weights))?;
        let (down, norm) = pass.gradient(&weights, net)?;
        self.finite("train/actor_gradient_norm", norm)?;
        let states = tensor(observation.to_vec(), o).context("natural gradient")?;
        let direction = natural_gradient(net, &states, &down, damping, conjugate_gradient_steps)?;
        let slope = dot(&flattened(&down), &direction);
        let step_size =
            self.finite("train/step_size", (2.0 * kl_step / (slope.abs() + SLOPE_FLOOR)).sqrt())?;
        let here =
            Here { mean: &pass.mean[demonstrated * a..], log_std: &net.log_std_row()?, states: &states };
        let Step { size: step_size, kl, halvings } =
            take_step(net, &unflattened(&direction, &down), step_size, kl_step, &here)?;

        let mut stream = Stream::new(self.seed, "dapg/value", self.updates);
        let return_mean = mean_of(&returns);
        let spread = mean(returns.iter().map(|r| (f64::from(*r) - return_mean).powi(2)));
        let value_loss = self.value.fit(observation, &returns, &mut stream, self.updates)?;
        self.updates += 1;
        self.natural_steps += 1;
        let mut metrics = self.report(loss, norm, &pass)?;
        metrics.push("train/advantage_mean", advantage_mean);
        metrics.push("train/advantage_std", advantage_std);
        metrics.push("train/kl", kl);
        metrics.push("train/step_size", step_size);
        metrics.push("train/halvings", f64::from(halvings));
        metrics.push("train/demonstration_weight", f64::from(demonstration_weight));
        metrics.push("train/value_loss", value_loss);
        metrics.push("train/value_explained", 1.0 - variance / spread.max(DEVIATION_FLOOR));
        Ok(metrics)
    }
}

/// The policy before a step, over the fresh states.
struct Here<'a> {
    mean: &'a [f32],
    log_std: &'a [f32],
    states: &'a Tensor,
}

/// A step that was taken.
struct Step {
    size: f64,
    kl: f64,
    halvings: u32,
}

/// Goes down `direction` by `size`, or by a half, a quarter, ... of it: the first that has at most `KL_SLACK` times the divergence that was asked for.
/// Where none has, the policy stays.
fn take_step(
    net: &GaussianNet,
    direction: &Gradients,
    size: f64,
    kl_step: f64,
    here: &Here<'_>,
) -> Result<Step, LearnError> {
    let start = net.values()?;
    for halvings in 0..MOST_HALVINGS {
        let size = size * 0.5_f64.powi(halvings as i32);
        // What learners have is the gradient of a loss, so the way is down.
        net.shift(direction, -size)?;
        let after = (net.infer_mean(here.states)?, net.log_std_row()?);
        let kl = gaussian::divergence((here.mean, here.log_std), (&after.0, &after.1));
        if kl <= KL_SLACK * kl_step {
            return Ok(Step { size, kl, halvings });
        }
        net.set_values(&start)?;
    }
    Ok(Step { size: 0.0, kl: 0.0, halvings: MOST_HALVINGS })
}

impl Learner for Dapg {
    fn name(&self) -> &'static str {
        NAME
    }

    fn sample_plan(&self, phase: PhaseKind) -> SamplePlan {
        let DapgConfig { offline_batch, update_env_steps, .. } = self.config;
        match phase {
            PhaseKind::Offline => SamplePlan::Transitions {
                batch: offline_batch,
                returns: Returns::OneStep,
                beside: Beside::default(),
            },
            PhaseKind::Online => SamplePlan::FreshEpisodes { steps: update_env_steps },
        }
    }

    fn fit(
        &mut self,
        demonstrations: &dyn TransitionSource,
        data_hashes: &[String],
    ) -> Result<(), LearnError> {
        let DapgConfig { normalize_observations, observation_std_floor, .. } = self.config;
        let floor = observation_std_floor as f32;
        self.inputs.fit(demonstrations, data_hashes, normalize_observations, floor, |_| {})
    }

    fn enter_phase(&mut self, _phase: PhaseKind) -> Result<(), LearnError> {
        Ok(())
    }

    fn update(&mut self, batch: &Batch) -> Result<Metrics, LearnError> {
        self.threads.clone().run(|| {
            let rows = self.inputs.rows(batch, self.updates)?;
            if batch.last.is_empty() { self.clone_data(&rows, batch.n) } else { self.climb(batch, &rows) }
        })
    }

    fn heldout_metrics(&self) -> &'static [&'static str] {
        &["heldout/log_likelihood"]
    }

    fn evaluate(&self, batch: &Batch) -> Result<Metrics, LearnError> {
        let rows = self.inputs.rows(batch, self.updates)?;
        let mut metrics = Metrics::new();
        let log_likelihood = self.actor.acting().log_likelihood(rows.observation, &rows.action)?;
        if let Some(log_likelihood) = log_likelihood {
            metrics.push("heldout/log_likelihood", log_likelihood);
        }
        Ok(metrics)
    }

    fn updates(&self) -> u64 {
        self.updates
    }

    fn policy(&self, slots: usize) -> Result<Box<dyn Policy>, LearnError> {
        Ok(crate::load_policy(&self.artifact()?, slots)?)
    }

    fn artifact(&self) -> Result<PolicyArtifact, LearnError> {
        self.actor.artifact(&self.inputs, NAME, self.updates, |_| Ok(()))
    }

    fn save(&self) -> Result<Blobs, LearnError> {
        let mut arrays = Arrays::new();
        self.actor.export(&mut arrays)?;
        let value = self.value.trained();
        value.export(&mut arrays)?;
        let mut counters = Counters::new(NAME, self.seed, &self.inputs);
        counters.updates = self.updates;
        counters.actor_steps = self.actor.steps();
        counters.other_steps.insert(value.name().to_owned(), value.steps());
        counters.other_steps.insert(NATURAL_STEPS.to_owned(), self.natural_steps);
        counters.save(&arrays)
    }

    fn load(&mut self, blobs: &Blobs) -> Result<(), LearnError> {
        let (counters, arrays) = Counters::load(blobs, NAME, &self.inputs)?;
        self.actor.check(&arrays)?;
        self.value.trained().check(&arrays)?;
        let steps = |name: &str| counters.other_steps.get(name).copied().unwrap_or_default();
        self.actor.import(&arrays, counters.actor_steps)?;
        let value_steps = steps(self.value.trained().name());
        self.natural_steps = steps(NATURAL_STEPS);
        self.value.trained_mut().import(&arrays, value_steps)?;
        (self.seed, self.updates) = counters.give_back(&mut self.inputs);
        Ok(())
    }
}
