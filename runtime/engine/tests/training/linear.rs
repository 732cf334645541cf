//! A small learner with a closed-form gradient: linear regression of actions, weighted by how much nearer they brought the
//! goal. With weight 1 for every row it is behaviour cloning.

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use surefoot_core::{
    ActMode, Batch, Beside, Blobs, LearnError, Learner, Metrics, Normalizer, PhaseKind, Policy,
    PolicyArtifact, PolicyCard, PolicyError, ResetScope, Returns, Rows, RowsMut, SamplePlan, Stream,
    TransitionSource,
};

use crate::point_robot::{Tripwire, spec};

const OBS: usize = 4;
const ACT: usize = 2;
const WEIGHTS: usize = ACT * (OBS + 1);

/// What is wrong with the policies that a learner hands out, while its updates are in a range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// One weight is NaN.
    Nan,
    /// It drives away from the goal.
    Backwards,
    /// Another network.
    Architecture,
}

pub struct Linear {
    pub fault: Option<(Fault, std::ops::Range<u64>)>,
    pub plan: SamplePlan,
    /// By how much each row of the last batch was off.
    errors: Vec<f32>,
    name: &'static str,
    temperature: f32,
    weights: Vec<f32>,
    momentum: Vec<f32>,
    updates: u64,
    hashes: Vec<String>,
    tripwire: Tripwire,
}

impl Linear {
    pub fn new(name: &'static str, temperature: f32, tripwire: Tripwire) -> Self {
        let (weights, momentum) = (vec![0.0; WEIGHTS], vec![0.0; WEIGHTS]);
        let plan =
            SamplePlan::Transitions { batch: 32, returns: Returns::OneStep, beside: Beside::default() };
        let (errors, hashes) = (Vec::new(), Vec::new());
        Self { fault: None, plan, errors, name, temperature, weights, momentum, updates: 0, hashes, tripwire }
    }

    fn error(&self, batch: &Batch, i: usize, axis: usize) -> f32 {
        predict(&self.weights, &batch.observation[i * OBS..(i + 1) * OBS], axis)
            - batch.action[i * ACT + axis]
    }

    fn weight(&self, batch: &Batch, i: usize) -> f32 {
        let far = |o: &[f32]| (o[0] - o[2]).hypot(o[1] - o[3]);
        let gain = far(&batch.observation[i * OBS..]) - far(&batch.next_observation[i * OBS..]);
        if self.temperature > 0.0 { (gain / self.temperature).exp().min(20.0) } else { 1.0 }
    }
}

fn predict(weights: &[f32], observation: &[f32], axis: usize) -> f32 {
    let w = &weights[axis * (OBS + 1)..(axis + 1) * (OBS + 1)];
    w[..OBS].iter().zip(observation).map(|(w, o)| w * o).sum::<f32>() + w[OBS]
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

impl Learner for Linear {
    fn name(&self) -> &'static str {
        self.name
    }
    fn sample_plan(&self, phase: PhaseKind) -> SamplePlan {
        match (self.plan, phase) {
            // There is nothing fresh to be had offline.
            (SamplePlan::FreshEpisodes { .. }, PhaseKind::Offline) => {
                SamplePlan::Transitions { batch: 32, returns: Returns::OneStep, beside: Beside::default() }
            }
            (plan, _) => plan,
        }
    }
    fn td_errors(&self) -> Option<&[f32]> {
        (self.temperature > 0.0).then_some(&self.errors)
    }
    fn fit(
        &mut self,
        _demonstrations: &dyn TransitionSource,
        data_hashes: &[String],
    ) -> Result<(), LearnError> {
        self.hashes = data_hashes.to_vec();
        Ok(())
    }
    fn enter_phase(&mut self, _phase: PhaseKind) -> Result<(), LearnError> {
        self.momentum.fill(0.0);
        Ok(())
    }
    fn update(&mut self, batch: &Batch) -> Result<Metrics, LearnError> {
        self.tripwire.count();
        // Each step of a sequence is a row of its own here; those behind its end do not count.
        let importance = |i: usize| batch.weight.get(i / batch.length).unwrap_or(&1.0);
        let held = |i: usize| batch.mask.get(i).unwrap_or(&1.0);
        let n = batch.n * batch.length;
        let weights: Vec<f32> = (0..n).map(|i| self.weight(batch, i) * importance(i) * held(i)).collect();
        self.errors = (0..batch.n).map(|i| self.error(batch, i * batch.length, 0).abs()).collect();
        let total: f32 = weights.iter().sum();
        let mut gradient = vec![0.0; WEIGHTS];
        let mut loss = 0.0;
        for (i, weight) in weights.iter().enumerate() {
            for axis in 0..ACT {
                let e = self.error(batch, i, axis) * weight / total;
                loss += f64::from(e * self.error(batch, i, axis));
                let row = &mut gradient[axis * (OBS + 1)..(axis + 1) * (OBS + 1)];
                for (g, o) in row.iter_mut().zip(&batch.observation[i * OBS..(i + 1) * OBS]) {
                    *g += e * o;
                }
                row[OBS] += e;
            }
        }
        for ((w, m), g) in self.weights.iter_mut().zip(&mut self.momentum).zip(&gradient) {
            *m = 0.9 * *m + g;
            *w -= 0.05 * *m;
        }
        self.updates += 1;
        let squares: f32 = weights.iter().map(|w| w * w).sum();
        let mut metrics = Metrics::new();
        metrics.push("train/actor_loss", loss);
        if !batch.last.is_empty() {
            metrics.push("train/fresh_rows", batch.last.len() as f64);
            metrics.push("train/fresh_ends", f64::from(batch.last.iter().sum::<f32>()));
            metrics.push("train/demonstrations", (batch.n - batch.last.len()) as f64);
        }
        metrics.push("train/effective_sample_size", f64::from(total * total / squares / batch.n as f32));
        Ok(metrics)
    }
    fn heldout_metrics(&self) -> &'static [&'static str] {
        &["heldout/log_likelihood"]
    }
    fn evaluate(&self, batch: &Batch) -> Result<Metrics, LearnError> {
        let squares: f64 = (0..batch.n)
            .flat_map(|i| (0..ACT).map(move |axis| f64::from(self.error(batch, i, axis)).powi(2)))
            .sum();
        let mut metrics = Metrics::new();
        metrics.push("heldout/log_likelihood", -0.5 * squares / batch.n as f64);
        Ok(metrics)
    }
    fn updates(&self) -> u64 {
        self.updates
    }
    fn policy(&self, slots: usize) -> Result<Box<dyn Policy>, LearnError> {
        let streams = (0..slots).map(|i| Stream::new(0, "linear", i as u64)).collect();
        Ok(Box::new(LinearPolicy { weights: self.weights.clone(), streams }))
    }
    fn artifact(&self) -> Result<PolicyArtifact, LearnError> {
        let mut weights = self.weights.clone();
        let mut architecture = serde_json::json!({ "linear": [OBS, ACT] });
        match self.fault.as_ref().filter(|(_, updates)| updates.contains(&self.updates)) {
            None => {}
            Some((Fault::Nan, _)) => weights[3] = f32::NAN,
            Some((Fault::Backwards, _)) => weights.iter_mut().for_each(|w| *w = -*w),
            Some((Fault::Architecture, _)) => architecture = serde_json::json!({ "linear": [OBS, 3] }),
        }
        let card = PolicyCard {
            format: PolicyCard::FORMAT.into(),
            algorithm: self.name.into(),
            spec: spec(),
            normalizer: Normalizer::default(),
            data_hashes: self.hashes.clone(),
            updates: self.updates,
            architecture,
        };
        let bytes = bytes(&weights);
        let tensor = TensorView::new(Dtype::F32, vec![ACT, OBS + 1], &bytes).unwrap();
        Ok(PolicyArtifact { card, weights: serialize([("weights", tensor)], None).unwrap() })
    }
    fn save(&self) -> Result<Blobs, LearnError> {
        Ok([
            ("weights".to_owned(), bytes(&self.weights)),
            ("momentum".to_owned(), bytes(&self.momentum)),
            ("updates".to_owned(), self.updates.to_le_bytes().to_vec()),
            ("hashes".to_owned(), self.hashes.join(" ").into_bytes()),
        ]
        .into())
    }
    fn load(&mut self, blobs: &Blobs) -> Result<(), LearnError> {
        let missing = |what: &str| LearnError::State {
            what: what.into(),
            expected: format!("{WEIGHTS} numbers"),
            found: "something else".into(),
        };
        let floats = |name: &str| {
            let bytes = blobs.get(name).filter(|b| b.len() == 4 * WEIGHTS).ok_or_else(|| missing(name))?;
            Ok::<_, LearnError>(
                bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
            )
        };
        let (weights, momentum) = (floats("weights")?, floats("momentum")?);
        let updates =
            blobs.get("updates").and_then(|b| b[..].try_into().ok()).ok_or_else(|| missing("updates"))?;
        let hashes = blobs.get("hashes").ok_or_else(|| missing("hashes"))?;
        self.weights = weights;
        self.momentum = momentum;
        self.updates = u64::from_le_bytes(updates);
        self.hashes = String::from_utf8_lossy(hashes).split_whitespace().map(Into::into).collect();
        Ok(())
    }
}

/// Makes a policy from its files.
pub fn load(artifact: &PolicyArtifact, slots: usize) -> Result<Box<dyn Policy>, PolicyError> {
    let damaged = |reason: String| PolicyError::Artifact { what: "weights", reason };
    let tensors = SafeTensors::deserialize(&artifact.weights).map_err(|e| damaged(e.to_string()))?;
    let tensor = tensors.tensor("weights").map_err(|e| damaged(e.to_string()))?;
    let weights = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let streams = (0..slots).map(|i| Stream::new(0, "linear", i as u64)).collect();
    Ok(Box::new(LinearPolicy { weights, streams }))
}

pub struct LinearPolicy {
    pub weights: Vec<f32>,
    pub streams: Vec<Stream>,
}

impl Policy for LinearPolicy {
    fn slots(&self) -> usize {
        self.streams.len()
    }
    fn reset(&mut self, slot: usize, _scope: ResetScope, seed: u64) {
        self.streams[slot] = Stream::new(seed, "explore", 0);
    }
    fn act(
        &mut self,
        observations: Rows<'_>,
        mode: ActMode,
        mut actions: RowsMut<'_>,
    ) -> Result<(), PolicyError> {
        for slot in 0..observations.len() {
            for axis in 0..ACT {
                let noise = match mode {
                    ActMode::Explore => 0.6 * self.streams[slot].normal() as f32,
                    ActMode::Exploit => 0.0,
                };
                actions.row(slot)[axis] = predict(&self.weights, observations.row(slot), axis) + noise;
            }
        }
        Ok(())
    }
}
