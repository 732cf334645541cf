//! Whole lives: episode after episode of one task, beginning with nothing known.

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{
    ActMode, Env, EnvError, FamilyTask, Feedback, LearningHistory, Outcome, Policy, ResetScope, Rows,
    RowsMut, SourceAlgorithm, StepEnd, Stream, TaskFamily,
};

use crate::collecting::LifeError;
use crate::{EngineError, Interrupt};

/// What a point of a life's curve is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LifeCurve {
    /// An episode's return.
    #[default]
    Episode,
    /// A step's reward, times the steps of an episode so that it is on the same scale: for lives whose tries are steps.
    Step,
}

/// How lives are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LifeConfig {
    /// Episodes of a life.
    pub episodes: usize,
    /// Lives on each task.
    pub lives: usize,
    /// Where their randomness comes from: the same for every policy.
    pub seed: u64,
    /// What a point of the curve is.
    pub curve: LifeCurve,
}

impl Default for LifeConfig {
    fn default() -> Self {
        Self { episodes: 40, lives: 20, seed: 10_007, curve: LifeCurve::Episode }
    }
}

/// Somebody who lives: a policy or a learning algorithm.
pub trait Living: Send {
    /// Forgets everything; `seed` is all its randomness.
    fn begin(&mut self, seed: u64);
    /// A new episode of the same task.
    fn begin_episode(&mut self, seed: u64);
    /// Chooses an action.
    ///
    /// # Errors
    /// When it cannot.
    fn act(&mut self, observation: &[f32], action: &mut [f32]) -> Result<(), EngineError>;
    /// What followed, and what was executed of its action.
    fn observe(&mut self, next_observation: &[f32], executed: &[f32], outcome: &Outcome);
    /// Worlds that it lives in side by side.
    fn streams(&self) -> usize {
        1
    }
    /// The calls that follow are of this one of them.
    fn turn_to(&mut self, _stream: usize) {}
}

/// A policy, alone in its first slot.
pub struct PolicyLife {
    policy: Box<dyn Policy>,
    mode: ActMode,
}

impl PolicyLife {
    /// Acts in this mode.
    #[must_use]
    pub const fn new(policy: Box<dyn Policy>, mode: ActMode) -> Self {
        Self { policy, mode }
    }
}

impl Living for PolicyLife {
    fn begin(&mut self, seed: u64) {
        self.policy.reset(0, ResetScope::Task, seed);
    }
    fn begin_episode(&mut self, seed: u64) {
        self.policy.reset(0, ResetScope::Episode, seed);
    }
    fn act(&mut self, observation: &[f32], action: &mut [f32]) -> Result<(), EngineError> {
        let (o, a) = (observation.len(), action.len());
        Ok(self.policy.act(Rows::new(observation, o), self.mode, RowsMut::new(action, a))?)
    }
    fn observe(&mut self, _: &[f32], executed: &[f32], outcome: &Outcome) {
        self.policy.observe(&[Feedback { slot: 0, outcome: *outcome, executed: Some(executed) }]);
    }
}

/// A policy that is shown some episodes of somebody else's life on the same task before it acts.
pub struct PromptedLife {
    policy: PolicyLife,
    shown: LearningHistory,
}

impl PromptedLife {
    /// Shows all of `shown` at the beginning of each life.
    #[must_use]
    pub const fn new(policy: PolicyLife, shown: LearningHistory) -> Self {
        Self { policy, shown }
    }
}

impl Living for PromptedLife {
    fn begin(&mut self, seed: u64) {
        self.policy.begin(seed);
        let h = &self.shown;
        let [o, a] = [&h.observations, &h.actions].map(|rows| rows.len() / h.len().max(1));
        for i in 0..h.len() {
            let outcome = Outcome { reward: h.rewards[i], end: h.ends[i], ..Outcome::default() };
            let (seen, done) = (&h.observations[i * o..(i + 1) * o], &h.actions[i * a..(i + 1) * a]);
            self.policy.policy.remember(0, seen, done, &outcome);
            if outcome.end.is_last() {
                self.policy.begin_episode(seed);
            }
        }
    }
    fn begin_episode(&mut self, seed: u64) {
        self.policy.begin_episode(seed);
    }
    fn act(&mut self, observation: &[f32], action: &mut [f32]) -> Result<(), EngineError> {
        self.policy.act(observation, action)
    }
    fn observe(&mut self, next_observation: &[f32], executed: &[f32], outcome: &Outcome) {
        self.policy.observe(next_observation, executed, outcome);
    }
}

/// A source algorithm.
pub struct SourceLife(pub Box<dyn SourceAlgorithm>);

impl Living for SourceLife {
    fn begin(&mut self, seed: u64) {
        self.0.reset(seed);
    }
    fn begin_episode(&mut self, _: u64) {}
    fn act(&mut self, observation: &[f32], action: &mut [f32]) -> Result<(), EngineError> {
        if let Some(reason) = self.0.failure() {
            return Err(LifeError::Source { of: "the source".into(), reason: reason.to_owned() }.into());
        }
        self.0.act(observation, action);
        Ok(())
    }
    fn observe(&mut self, next_observation: &[f32], _: &[f32], outcome: &Outcome) {
        self.0.observe(next_observation, outcome);
    }
    fn streams(&self) -> usize {
        self.0.streams()
    }
    fn turn_to(&mut self, stream: usize) {
        self.0.turn_to(stream);
    }
}

/// Makes somebody for a task.
pub type MakeLiving<'a> = dyn Fn(&FamilyTask) -> Result<Box<dyn Living>, EngineError> + Sync + 'a;

/// What lives on a task brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// The task.
    pub task: FamilyTask,
    /// Mean return over lives, by episode (or by step, on the same scale).
    pub returns: Vec<f64>,
}

/// Where a life is in one of its worlds.
#[derive(Default)]
struct Place {
    observation: Vec<f32>,
    episode: usize,
    /// Steps of it so far.
    step: usize,
    total: f64,
}

/// The points of a life's curve, the mean over all worlds that are lived in.
fn live(
    living: &mut dyn Living,
    worlds: &mut [Box<dyn Env>],
    LifeConfig { episodes, lives: _, seed, curve }: LifeConfig,
    interrupt: &Interrupt,
) -> Result<Vec<f64>, EngineError> {
    let streams = worlds.len() as f64;
    let Some(spec) = worlds.first().map(|env| env.spec().clone()) else { return Ok(vec![0.0; episodes]) };
    let max_steps = spec.max_steps.max(1);
    // The steps of an episode that ended early bring nothing.
    let mut returns = vec![0.0; if curve == LifeCurve::Step { episodes * max_steps } else { episodes }];
    let (mut action, mut executed) = (vec![0.0; spec.action_dim()], vec![0.0; spec.action_dim()]);
    let place = |_| Place { observation: vec![0.0; spec.observation_dim()], ..Place::default() };
    let mut places: Vec<Place> = (0..worlds.len()).map(place).collect();
    living.begin(Stream::new(seed, "life", 0).bits());
    let mut going = episodes > 0;
    while going {
        going = false;
        for (stream, (place, env)) in places.iter_mut().zip(worlds.iter_mut()).enumerate() {
            if place.episode == episodes {
                continue;
            }
            let Place { observation, episode, step, total } = place;
            living.turn_to(stream);
            if *step == 0 {
                if interrupt.requested() {
                    return Err(EngineError::Interrupted);
                }
                let index = *episode as u64;
                let mut seeds = match stream {
                    0 => Stream::new(seed, "life_episode", index),
                    other => Stream::new(seed, &format!("life_episode/{other}"), index),
                };
                env.reset(seeds.bits(), observation)?;
                if *episode > 0 {
                    living.begin_episode(seeds.bits());
                }
                *total = 0.0;
            }
            living.act(observation, &mut action)?;
            let mut outcome = env.step(&action, observation, &mut executed)?;
            *step += 1;
            if *step == max_steps && outcome.end == StepEnd::Running {
                outcome.end = StepEnd::Truncated;
            }
            living.observe(observation, &executed, &outcome);
            *total += f64::from(outcome.reward);
            if curve == LifeCurve::Step {
                returns[*episode * max_steps + *step - 1] +=
                    f64::from(outcome.reward) * max_steps as f64 / streams;
            }
            if outcome.end.is_last() {
                if curve == LifeCurve::Episode {
                    returns[*episode] += *total / streams;
                }
                (*episode, *step) = (*episode + 1, 0);
            }
            going |= *episode < episodes;
        }
    }
    Ok(returns)
}

/// Lives `config.lives` lives on each of `tasks`, on the threads of the present pool; `make` makes somebody for a task. The result is a
/// function of the seeds alone.
///
/// # Errors
/// [`EngineError::Interrupted`], or what a world or a policy says.
pub fn judge(
    make: &MakeLiving<'_>,
    family: &dyn TaskFamily,
    tasks: &[FamilyTask],
    config: LifeConfig,
    interrupt: &Interrupt,
) -> Result<Vec<Judged>, EngineError> {
    let LifeConfig { episodes: _, lives, seed, curve: _ } = config;
    let of_task = |task: &FamilyTask| {
        let mut living = make(task)?;
        let worlds: Result<Vec<_>, EnvError> =
            (0..living.streams()).map(|_| family.env(&task.params)).collect();
        let mut worlds = worlds?;
        let mut sums: Vec<f64> = Vec::new();
        for life in 0..lives as u64 {
            let seed = Stream::new(seed, &format!("task {}", task.id), life).bits();
            let returns = live(&mut *living, &mut worlds, LifeConfig { seed, ..config }, interrupt)?;
            sums.resize(returns.len(), 0.0);
            sums.iter_mut().zip(returns).for_each(|(sum, r)| *sum += r);
        }
        let returns = sums.into_iter().map(|sum| sum / lives.max(1) as f64).collect();
        Ok(Judged { task: task.clone(), returns })
    };
    tasks.par_iter().map(of_task).collect()
}
