//! One episode of a scenario in an environment, stepped as in training: run, recorded, summarised.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use surefoot_core::{
    ActMode, EnvError, EnvSpec, Feedback, Policy, ResetScope, RobotError, Rows, RowsMut, ScheduledFault,
    StepEnd, Stream,
};

use super::episode::{EpisodeEnd, EpisodeRecord, step_signals};
use super::scenario::Parts;
use super::tap::{SeenTicks, TappedEnv, TickRecord, tapped};
use super::trace::{Table, Trace};
use crate::{EngineError, EpisodeSeeds, Interrupt};

/// An environment with a policy in it, ready for one episode after another.
pub struct SteppedStage {
    env: TappedEnv,
    policy: Box<dyn Policy>,
    spec: EnvSpec,
    faulted: bool,
    /// A panic left it in a state that nobody knows.
    broken: bool,
}

impl SteppedStage {
    /// Builds both.
    ///
    /// # Errors
    /// When one cannot be built.
    pub fn new(parts: &dyn Parts, faults: &[ScheduledFault]) -> Result<Self, EngineError> {
        let env = tapped(parts.env()?, faults)?;
        let spec = env.env.spec().clone();
        let policy = parts.policy(&spec)?;
        Ok(Self { env, policy, spec, faulted: !faults.is_empty(), broken: false })
    }

    /// What the policy sees and does.
    pub const fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    /// Whether another one must be built for the next episode.
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Names of all signals.
    pub fn signals(&self) -> Vec<String> {
        let ticks = self.env.ticks.iter().flat_map(|ticks| ticks.signals.iter().cloned());
        ticks.chain(step_signals(&self.spec)).collect()
    }

    fn robot_is_finite(&self) -> bool {
        self.env.ticks.as_ref().is_some_and(TickRecord::robot_is_finite)
    }

    /// Runs one.
    ///
    /// # Errors
    /// What the policy says, a world of another shape or process, and [`EngineError::Interrupted`]. A robot that is lost and a world that
    /// diverges end the episode.
    pub fn run(
        &mut self,
        episode: usize,
        seeds: EpisodeSeeds,
        interrupt: &Interrupt,
    ) -> Result<(EpisodeRecord, Trace), EngineError> {
        let (observation_dim, action_dim) = (self.spec.observation_dim(), self.spec.action_dim());
        let mut record = EpisodeRecord { episode, seed: seeds.reset, ..EpisodeRecord::default() };
        let signals = step_signals(&self.spec);
        let mut steps =
            Table { begins_secs: 0.0, period_secs: self.spec.step_secs, signals, values: Vec::new() };
        let mut observation = vec![0.0; observation_dim];
        let (mut action, mut executed) = (vec![0.0; action_dim], vec![0.0; action_dim]);
        if let Some(ticks) = &self.env.ticks {
            ticks.begin(fault_seed(seeds));
        }
        self.policy.reset(0, ResetScope::Task, seeds.noise);
        let mut result = self.env.env.reset(seeds.reset, &mut observation).map(|()| StepEnd::Running);
        while matches!(result, Ok(StepEnd::Running)) {
            if interrupt.requested() {
                return Err(EngineError::Interrupted);
            }
            let rows = Rows::new(&observation, observation_dim);
            self.policy.act(rows, ActMode::Exploit, RowsMut::new(&mut action, action_dim))?;
            // Physics that explodes may panic before anybody reads a state.
            let step = AssertUnwindSafe(|| self.env.env.step(&action, &mut observation, &mut executed));
            let stepped = catch_unwind(step).unwrap_or_else(|panic| {
                self.broken = true;
                let what = format!("the simulation gave up: {}", panic_words(&*panic));
                Err(EnvError::Diverged { env: self.spec.name.clone(), step: record.steps + 1, what })
            });
            result = stepped.and_then(|outcome| {
                record.steps += 1;
                if !outcome.reward.is_finite() {
                    let what = format!("the reward is {}", outcome.reward);
                    return Err(EnvError::Diverged { env: self.spec.name.clone(), step: record.steps, what });
                }
                record.episode_return += f64::from(outcome.reward);
                record.path += outcome.figures.path;
                record.safety.add(&outcome.safety);
                if outcome.success {
                    record.success = true;
                    let secs = record.steps as f64 * self.spec.step_secs;
                    record.success_secs.get_or_insert(secs);
                }
                steps.values.extend(executed.iter().chain(&observation));
                steps.values.push(outcome.reward);
                self.policy.observe(&[Feedback { slot: 0, outcome, executed: Some(&executed) }]);
                let time_is_up = record.steps >= self.spec.max_steps.max(1);
                Ok(if outcome.end == StepEnd::Running && time_is_up {
                    StepEnd::Truncated
                } else {
                    outcome.end
                })
            });
        }
        record.end = match result {
            Ok(StepEnd::Terminated) => EpisodeEnd::Terminated,
            Ok(_) => EpisodeEnd::Truncated,
            Err(error) => {
                let end = match &error {
                    // A number that a fault took away on the way from a sound robot.
                    EnvError::Diverged { .. } if self.faulted && !self.broken && self.robot_is_finite() => {
                        EpisodeEnd::RobotLost
                    }
                    EnvError::Diverged { .. }
                    | EnvError::Robot(RobotError::NotFinite { .. } | RobotError::Diverged { .. }) => {
                        EpisodeEnd::Diverged
                    }
                    EnvError::Robot(_) | EnvError::Safety(_) => EpisodeEnd::RobotLost,
                    _ => return Err(error.into()),
                };
                record.failure = Some(error.to_string());
                record.success = false;
                record.success_secs = None;
                end
            }
        };
        let mut trace = Trace { ticks: Table::default(), steps };
        if let Some(ticks) = &self.env.ticks {
            let SeenTicks { table, first_command: _, violations } = ticks.take();
            record.safety.violations = violations;
            trace.ticks = table;
        }
        record.trace = trace.hash();
        Ok((record, trace))
    }
}

/// What an episode's faults are drawn from.
pub fn fault_seed(seeds: EpisodeSeeds) -> u64 {
    Stream::new(seeds.reset, "regression faults", 0).bits()
}

/// What a panic said.
pub fn panic_words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}
