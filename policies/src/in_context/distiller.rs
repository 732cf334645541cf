//! What makes an in-context policy of learning histories: windows, gradients on several threads, AdamW.

use std::collections::BTreeSet;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{
    Blobs, EnvSpec, HistoryLearner, HistorySource, LearnError, Metrics, Policy, PolicyArtifact, Stream,
};

use super::artifact::{self, Acting};
use super::config::{ModelConfig, NAME};
use super::data::{Draw, TrainingData, WindowConfig};
use super::kernels::scale;
use super::network::{LossSums, Network, Pass};
use super::policy::InContextPolicy;
use super::shape::{Layout, TokenShape};
use super::windows::Window;
use crate::nn::kernels::{self, AdamStep};
use crate::nn::params::{Arrays, check_array, from_safetensors, to_safetensors};
use crate::nn::threads::Threads;
use crate::nn::{positive, require};

/// How the transformer is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Updates in all: the learning rate falls over them.
    pub updates: u64,
    /// Windows of an update.
    pub batch: usize,
    /// Learning rate after the warm-up.
    pub learning_rate: f64,
    /// Learning rate at the end, after a cosine.
    pub final_learning_rate: f64,
    /// Updates over which the learning rate grows from 0.
    pub warm_up_updates: u64,
    /// Decoupled decay of matrices (AdamW).
    pub weight_decay: f64,
    /// Decay of the moments.
    pub betas: [f64; 2],
    /// Gradients longer than this are shortened to it.
    pub max_gradient_norm: f64,
    /// Part of a target's probability that goes to all actions alike.
    pub label_smoothing: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            updates: 5_000,
            batch: 64,
            learning_rate: 1e-3,
            final_learning_rate: 1e-4,
            warm_up_updates: 300,
            weight_decay: 0.01,
            betas: [0.9, 0.99],
            max_gradient_norm: 1.0,
            label_smoothing: 0.0,
        }
    }
}

impl OptimizerConfig {
    fn check(&self) -> Result<(), LearnError> {
        let Self {
            updates,
            batch,
            learning_rate,
            final_learning_rate,
            warm_up_updates: _,
            weight_decay,
            betas,
            max_gradient_norm,
            label_smoothing,
        } = self;
        let below_one = |x: &f64| (0.0..1.0).contains(x);
        require(NAME, *updates > 0, "optimizer.updates", "must be at least 1")?;
        require(NAME, *batch > 0, "optimizer.batch", "must be at least 1")?;
        require(NAME, positive(*learning_rate), "optimizer.learning_rate", "must be positive")?;
        let falls = positive(*final_learning_rate) && final_learning_rate <= learning_rate;
        let reason = "must be positive and at most optimizer.learning_rate";
        require(NAME, falls, "optimizer.final_learning_rate", reason)?;
        require(NAME, below_one(weight_decay), "optimizer.weight_decay", "must be at least 0 and below 1")?;
        require(NAME, betas.iter().all(below_one), "optimizer.betas", "must be at least 0 and below 1")?;
        require(NAME, positive(*max_gradient_norm), "optimizer.max_gradient_norm", "must be positive")?;
        require(
            NAME,
            below_one(label_smoothing),
            "optimizer.label_smoothing",
            "must be at least 0 and below 1",
        )
    }

    /// Of update `k`, counted from 0.
    #[must_use]
    pub fn rate(&self, k: u64) -> f64 {
        let (k, all, warm) = (k as f64, self.updates as f64, self.warm_up_updates as f64);
        if k < warm {
            return self.learning_rate * (k + 1.0) / warm;
        }
        let way = ((k - warm) / (all - warm).max(1.0)).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * way).cos());
        self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * cosine
    }
}

/// Everything that a distillation is a function of, besides its data and its seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DistillerConfig {
    /// The transformer.
    pub model: ModelConfig,
    /// Training windows.
    pub windows: WindowConfig,
    /// How it is trained.
    pub optimizer: OptimizerConfig,
    /// How the policy acts.
    pub acting: Acting,
}

impl DistillerConfig {
    /// Refuses what cannot be used.
    ///
    /// # Errors
    /// [`LearnError::Config`] with the first key.
    pub fn check(&self) -> Result<(), LearnError> {
        let Self { model, windows, optimizer, acting } = self;
        model.check()?;
        windows.check()?;
        optimizer.check()?;
        acting.check()
    }
}

/// Windows whose gradients are added up one after the other, apart from the other groups'.
#[derive(Clone, Debug)]
struct Group {
    gradient: Vec<f32>,
    pass: Pass,
    sums: LossSums,
}

/// A fixed number, whatever the number of threads: sums of gradients have one order.
const GROUPS: usize = 8;

/// Trains a transformer on learning histories.
pub struct Distiller {
    config: DistillerConfig,
    spec: EnvSpec,
    data_hash: String,
    seed: u64,
    network: Network,
    data: TrainingData,
    theta: Vec<f32>,
    moments: [Vec<f32>; 2],
    updates: u64,
    groups: Vec<Group>,
    windows: Vec<Window>,
    draw: Draw,
    threads: Threads,
}

const ARRAYS: &str = "learner.safetensors";
const COUNTERS: &str = "learner.json";
const FORMAT: &str = "surefoot-distiller/1";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counters {
    format: String,
    seed: u64,
    updates: u64,
    data_hash: String,
}

impl Distiller {
    /// Reads the histories of all tasks but those `without`, and begins.
    ///
    /// # Errors
    /// When a setting cannot be used or the histories cannot be read.
    pub fn new(
        config: &DistillerConfig,
        source: &dyn HistorySource,
        without: &BTreeSet<usize>,
        seed: u64,
        threads: usize,
    ) -> Result<Self, LearnError> {
        config.check()?;
        let DistillerConfig { model, windows, optimizer, acting: _ } = config;
        let meta = source.meta();
        let shape = TokenShape::of(&meta.spec, model);
        require(NAME, shape.logits() > 0, "spec", "must have an action")?;
        let tokens = windows.tokens.unwrap_or(2 * model.window);
        let data = TrainingData::read(source, &shape, windows, tokens, without)?;
        let theta = Layout::initial(model, &shape, seed).1;
        let group =
            Group { gradient: vec![0.0; theta.len()], pass: Pass::default(), sums: LossSums::default() };
        Ok(Self {
            spec: meta.spec.clone(),
            data_hash: meta.hash.clone(),
            seed,
            moments: [vec![0.0; theta.len()], vec![0.0; theta.len()]],
            theta,
            updates: 0,
            groups: vec![group; GROUPS.min(optimizer.batch)],
            windows: vec![Window::new(&shape); optimizer.batch],
            draw: Draw::default(),
            network: Network::new(model.clone(), shape),
            data,
            threads: Threads::new(threads)?,
            config: config.clone(),
        })
    }

    /// Numbers in the transformer.
    #[must_use]
    pub const fn parameters(&self) -> usize {
        self.theta.len()
    }

    /// Steps that windows are drawn from.
    #[must_use]
    pub const fn steps(&self) -> usize {
        self.data.steps
    }

    fn gradients(&mut self) -> LossSums {
        for (i, window) in self.windows.iter_mut().enumerate() {
            let mut stream = Stream::new(
                self.seed,
                "window",
                self.updates * self.config.optimizer.batch as u64 + i as u64,
            );
            self.data.draw(&mut stream, &mut self.draw, window);
        }
        let weight: f64 = self.windows.iter().map(Window::total_weight).sum();
        let each = (1.0 / weight.max(1.0)) as f32;
        let smoothing = self.config.optimizer.label_smoothing as f32;
        let (network, theta, windows) = (&self.network, &self.theta[..], &self.windows[..]);
        let count = self.groups.len();
        let work = |(g, group): (usize, &mut Group)| {
            let Group { gradient, pass, sums } = group;
            gradient.fill(0.0);
            *sums = LossSums::default();
            for window in &windows[g * windows.len() / count..(g + 1) * windows.len() / count] {
                network.forward(theta, window, pass);
                sums.add(network.loss(window, smoothing, each, pass));
                network.backward(theta, window, pass, gradient);
            }
        };
        let groups = &mut self.groups;
        if self.threads.count() > 1 {
            self.threads.run(|| groups.par_iter_mut().enumerate().with_max_len(1).for_each(work));
        } else {
            groups.iter_mut().enumerate().for_each(work);
        }
        let (first, rest) = groups.split_at_mut(1);
        let mut sums = LossSums::default();
        for group in first.iter().chain(rest.iter()) {
            sums.add(group.sums);
        }
        for group in rest {
            kernels::add(&mut first[0].gradient, &group.gradient);
        }
        sums
    }

    fn step(&mut self, norm: f64) {
        let OptimizerConfig { weight_decay, betas: [beta1, beta2], max_gradient_norm, .. } =
            self.config.optimizer;
        let rate = self.config.optimizer.rate(self.updates);
        let gradient = &mut self.groups[0].gradient;
        if norm > max_gradient_norm {
            scale(gradient, (max_gradient_norm / norm) as f32);
        }
        for range in self.network.layout.decayed() {
            scale(&mut self.theta[range.clone()], (1.0 - rate * weight_decay) as f32);
        }
        let t = (self.updates + 1).min(i32::MAX as u64) as i32;
        let second_correction = (1.0 - beta2.powi(t)).sqrt();
        let step = AdamStep {
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            rate: (rate * second_correction / (1.0 - beta1.powi(t))) as f32,
            epsilon: (1e-8 * second_correction) as f32,
            weight_decay: 0.0,
        };
        let [first, second] = &mut self.moments;
        kernels::adam(&mut self.theta, gradient, [first, second], step);
    }

    fn arrays(&self) -> Arrays {
        let mut arrays = Arrays::new();
        let layout = &self.network.layout;
        layout.export("model/", &self.theta, &mut arrays);
        for (name, values) in ["first", "second"].into_iter().zip(&self.moments) {
            arrays.insert(format!("adam/{name}"), (vec![values.len()], values.clone()));
        }
        arrays
    }
}

fn state(what: &str, expected: &str, found: impl Into<String>) -> LearnError {
    LearnError::State { what: what.into(), expected: expected.into(), found: found.into() }
}

impl HistoryLearner for Distiller {
    fn update(&mut self) -> Result<Metrics, LearnError> {
        let sums = self.gradients();
        let norm = f64::from(kernels::sum_of_squares(&self.groups[0].gradient)).sqrt();
        let loss = sums.loss / sums.weight.max(1.0);
        // Nothing has changed yet: what stands is the last good state.
        for (what, value) in [("the loss", loss), ("the gradient's norm", norm)] {
            if !value.is_finite() {
                return Err(LearnError::NotFinite { what, value, updates: self.updates });
            }
        }
        let rate = self.config.optimizer.rate(self.updates);
        self.step(norm);
        self.updates += 1;
        let mut metrics = Metrics::new();
        metrics.push("train/loss", loss);
        metrics.push("train/accuracy", sums.right / sums.weight.max(1.0));
        metrics.push("train/accuracy_of_changes", sums.changed_right / sums.changed.max(f64::MIN_POSITIVE));
        metrics.push("train/gradient_norm", norm);
        metrics.push("train/learning_rate", rate);
        Ok(metrics)
    }

    fn updates(&self) -> u64 {
        self.updates
    }

    fn planned_updates(&self) -> u64 {
        self.config.optimizer.updates
    }

    fn tokens(&self) -> u64 {
        let of_a_step = self.config.model.tokens.count() as u64;
        self.windows.iter().map(|w| w.len() as u64 * of_a_step).sum()
    }

    fn policy(&self, slots: usize) -> Result<Box<dyn Policy>, LearnError> {
        Ok(Box::new(InContextPolicy::from_artifact(&self.artifact()?, slots)?))
    }

    fn artifact(&self) -> Result<PolicyArtifact, LearnError> {
        artifact::write(&artifact::Parts {
            network: &self.network,
            theta: &self.theta,
            spec: &self.spec,
            normalizer: &self.data.normalizer,
            reward_scale: self.data.reward_scale,
            return_scale: self.data.return_scale,
            masks_trained: self.config.windows.token_mask > 0.0,
            acting: &self.config.acting,
            data_hash: &self.data_hash,
            updates: self.updates,
        })
    }

    fn save(&self) -> Result<Blobs, LearnError> {
        let failed = |reason| LearnError::Tensor { context: "distiller state", reason };
        let counters = Counters {
            format: FORMAT.into(),
            seed: self.seed,
            updates: self.updates,
            data_hash: self.data_hash.clone(),
        };
        let json = serde_json::to_vec_pretty(&counters).map_err(|e| failed(e.to_string()))?;
        let arrays = to_safetensors(&self.arrays()).map_err(failed)?;
        Ok(Blobs::from([(ARRAYS.into(), arrays), (COUNTERS.into(), json)]))
    }

    fn load(&mut self, blobs: &Blobs) -> Result<(), LearnError> {
        let blob = |name: &str| blobs.get(name).ok_or_else(|| state(name, "a file", "none"));
        let counters: Counters = serde_json::from_slice(blob(COUNTERS)?)
            .map_err(|e| state(COUNTERS, "the counters of a distillation", e.to_string()))?;
        let arrays = from_safetensors(blob(ARRAYS)?).map_err(|e| state(ARRAYS, "a safetensors file", e))?;
        let Counters { format, seed, updates, data_hash } = counters;
        for (what, expected, found) in [
            ("format", FORMAT, format.as_str()),
            ("seed", &self.seed.to_string(), &seed.to_string()),
            ("histories", &self.data_hash, &data_hash),
        ] {
            if expected != found {
                return Err(state(what, expected, found));
            }
        }
        let n = self.theta.len();
        let theta = self.network.layout.import("model/", &arrays)?;
        let first = check_array("adam/first", &[n], &arrays)?.to_vec();
        let second = check_array("adam/second", &[n], &arrays)?.to_vec();
        (self.theta, self.moments, self.updates) = (theta, [first, second], updates);
        Ok(())
    }
}
