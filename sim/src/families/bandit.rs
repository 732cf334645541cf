//! Arms that pay 1 with a chance of their own: what the bandit families have in common.

use surefoot_core::env::{check_row, choose};
use surefoot_core::{
    Env, EnvError, EnvSpec, FamilyTask, Field, Outcome, SourceAlgorithm, StepEnd, Stream, TaskFamily,
    TaskSplit,
};

use crate::tasks::build_error;

const MAX_ARMS: usize = 1000;

/// What is seen and done: nothing, and an arm. An episode is `trials` pulls.
pub(super) fn spec(name: &str, arms: usize, trials: usize) -> Result<EnvSpec, EnvError> {
    if !(2..=MAX_ARMS).contains(&arms) {
        return Err(build_error(name, format!("arms = {arms}: expected 2 to {MAX_ARMS}")));
    }
    if trials == 0 {
        return Err(build_error(name, "trials must be at least 1, found 0"));
    }
    Ok(EnvSpec {
        name: name.to_owned(),
        observation: vec![Field::choice("nothing", 1)],
        action: vec![Field::choice("arm", arms as u32)],
        step_secs: 1.0,
        max_steps: trials,
        reward_range: Some((0.0, 1.0)),
        contract_hash: None,
    })
}

/// One bandit: `params` are the chances of its arms.
pub(super) fn bandit(spec: &EnvSpec, params: &[f32]) -> Result<Box<dyn Env>, EnvError> {
    let arms = spec.action[0].choices.unwrap_or_default() as usize;
    if params.len() != arms || params.iter().any(|p| !(0.0..=1.0).contains(p)) {
        let reason = format!("chances of its arms = {params:?}: expected {arms} numbers from 0 to 1");
        return Err(build_error(&spec.name, reason));
    }
    let stream = Stream::new(0, "bandit_pulls", 0);
    Ok(Box::new(Bandit { spec: spec.clone(), chances: params.to_vec(), stream, pulls: 0 }))
}

struct Bandit {
    spec: EnvSpec,
    chances: Vec<f32>,
    stream: Stream,
    pulls: usize,
}

impl Env for Bandit {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: u64, observation: &mut [f32]) -> Result<(), EnvError> {
        check_row("observation", 1, observation.len())?;
        observation[0] = 0.0;
        (self.stream, self.pulls) = (Stream::new(seed, "bandit_pulls", 0), 0);
        Ok(())
    }

    fn step(
        &mut self,
        action: &[f32],
        observation: &mut [f32],
        executed: &mut [f32],
    ) -> Result<Outcome, EnvError> {
        let index = choose(&self.spec, action, observation, executed)?;
        observation[0] = 0.0;
        self.pulls += 1;
        let pays = self.stream.unit() < f64::from(self.chances[index]);
        let end = if self.pulls >= self.spec.max_steps { StepEnd::Truncated } else { StepEnd::Running };
        Ok(Outcome { reward: f32::from(u8::from(pays)), end, success: pays, ..Outcome::default() })
    }
}

/// How many bandits of each split there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub train: usize,
    pub test_in: usize,
    pub test_ood: usize,
}

/// Draws the chances of a task's arms.
pub(super) type Draw = dyn Fn(TaskSplit, &mut Stream) -> Vec<f32> + Send + Sync;

/// Bandits whose chances are drawn.
pub(super) struct Bandits {
    pub spec: EnvSpec,
    pub counts: Counts,
    pub split_seed: u64,
    /// Chances of the arms of a task of a split.
    pub draw: Box<Draw>,
}

impl TaskFamily for Bandits {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn tasks(&self, split: TaskSplit) -> Vec<FamilyTask> {
        let Counts { train, test_in, test_ood } = self.counts;
        let (first, count) = match split {
            TaskSplit::Train => (0, train),
            TaskSplit::TestIn => (train, test_in),
            TaskSplit::TestOod => (train + test_in, test_ood),
        };
        let trials = self.spec.max_steps as f32;
        let task = |id: usize| {
            let mut stream = Stream::new(self.split_seed, "bandit_arms", id as u64);
            let params = (self.draw)(split, &mut stream);
            let mean = params.iter().sum::<f32>() / params.len() as f32;
            let best = params.iter().copied().fold(0.0, f32::max);
            let id = id as u64;
            FamilyTask { id, split, random_return: trials * mean, optimal_return: trials * best, params }
        };
        (first..first + count).map(task).collect()
    }

    fn env(&self, params: &[f32]) -> Result<Box<dyn Env>, EnvError> {
        bandit(&self.spec, params)
    }

    fn oracle(&self, params: &[f32]) -> Option<Box<dyn SourceAlgorithm>> {
        let best = params.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?.0;
        Some(Box::new(Knows { best }))
    }
}

/// Pulls the best arm.
struct Knows {
    best: usize,
}

impl SourceAlgorithm for Knows {
    fn reset(&mut self, _seed: u64) {}
    fn act(&mut self, _observation: &[f32], action: &mut [f32]) {
        action[0] = self.best as f32;
    }
    fn observe(&mut self, _next_observation: &[f32], _outcome: &Outcome) {}
    fn updates(&self) -> u32 {
        0
    }
}
