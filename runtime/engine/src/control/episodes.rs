//! From ticks to what is learned from: episodes of transitions with the executed action and who drove.
//!
//! A pure function of the ticks, so a recording of them gives a learner the same input as the run did. The task is drawn from the
//! seed that the ticks carry and asked in every tick in which the loop asked it, so it is the loop's task in goal and memory. An episode is the time
//! in which somebody drives, from the first tick of a driver to the task's end or to the loop's leaving that mode; taking over and
//! handing back stay inside it, and cut the step in which they happen short.

use surefoot_core::{
    ContractError, Episode, EpisodeBuilder, Outcome, RobotContract, RobotState, StepEnd, Task,
};
use surefoot_safety::{CommandState, SafetyCounts, Verdict};

use crate::control::mode::{Driver, Mode};
use crate::control::request::Label;
use crate::control::tick::Tick;
use crate::rollout::EpisodeCost;

/// An episode, and which of its steps a person drove.
#[derive(Clone, Debug, PartialEq)]
pub struct DrivenEpisode {
    /// Transitions, with executed and proposed actions and who drove. A limit or a stop truncates; only the task terminates.
    pub episode: Episode,
    /// The mode that ended it, where not the task did.
    pub ended_by: Option<Mode>,
    /// What it cost, and the limit that ended it.
    pub cost: EpisodeCost,
    /// Version of the last policy that acted in it; 0 where none did.
    pub policy_version: u64,
}

/// A step that was made of ticks.
#[derive(Clone, Debug, PartialEq)]
pub struct MadeStep {
    /// Beginning of its first tick, ns of the loop's clock.
    pub began_nanos: i64,
    /// Beginning of the tick that shows what came of it, ns.
    pub ended_nanos: i64,
    /// What was proposed, `[action_dim]`.
    pub proposed: Vec<f32>,
    /// What was executed, `[action_dim]`.
    pub executed: Vec<f32>,
    /// What followed, `[observation_dim]`.
    pub next_observation: Vec<f32>,
    /// Reward.
    pub reward: f32,
    /// How it left the episode.
    pub end: StepEnd,
    /// Whether a person drove.
    pub human: bool,
}

/// What came of the tick that was taken last, for those who write it down while it happens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress<'a> {
    /// An episode began, with this observation, `[observation_dim]`.
    pub began: Option<&'a [f32]>,
    /// A step was made.
    pub step: Option<&'a MadeStep>,
}

struct Driving {
    builder: EpisodeBuilder,
    human: Vec<bool>,
    driver: Driver,
    /// Ticks of the present step.
    step_ticks: u64,
    counts: SafetyCounts,
    cost: EpisodeCost,
    policy_version: u64,
}

/// Builds episodes tick by tick.
pub struct EpisodesFromTicks {
    task: Box<dyn Task>,
    period_secs: f64,
    ticks_per_step: u64,
    state: RobotState,
    /// Commanded positions and velocities of the last tick, `[joints]`.
    commanded: (Vec<f64>, Vec<f64>),
    /// What the task wrote into its arguments and nobody needs: the robot has been moved already.
    initial: RobotState,
    desired: Vec<f64>,
    /// Commanded positions before the present step, and after its last tick.
    before: Vec<f64>,
    after: Vec<f64>,
    observation: Vec<f32>,
    next_observation: Vec<f32>,
    proposed: Vec<f32>,
    executed: Vec<f32>,
    driving: Option<Driving>,
    /// Of the last tick.
    began: bool,
    stepped: bool,
    made: MadeStep,
    /// Beginning of the present step, ns.
    step_nanos: i64,
    /// After the task has ended the rest of the drive belongs to no episode.
    over: bool,
    episodes: u64,
    max_steps: usize,
    last_tick: Option<u64>,
}

impl EpisodesFromTicks {
    /// For the task and the robot that the ticks are of.
    ///
    /// # Errors
    /// When the contract's rates are unusable.
    pub fn new(task: Box<dyn Task>, contract: &RobotContract) -> Result<Self, ContractError> {
        let (joints, observation, actions) =
            (contract.joints.len(), task.spec().observation_dim(), task.spec().action_dim());
        Ok(Self {
            period_secs: contract.control_secs(),
            ticks_per_step: contract.ticks_per_step()? as u64,
            state: RobotState::zeros(contract),
            commanded: (vec![0.0; joints], vec![0.0; joints]),
            initial: RobotState::zeros(contract),
            desired: vec![0.0; joints],
            before: vec![0.0; joints],
            after: vec![0.0; joints],
            observation: vec![0.0; observation],
            next_observation: vec![0.0; observation],
            proposed: vec![0.0; actions],
            executed: vec![0.0; actions],
            driving: None,
            began: false,
            stepped: false,
            made: MadeStep {
                began_nanos: 0,
                ended_nanos: 0,
                proposed: vec![0.0; actions],
                executed: vec![0.0; actions],
                next_observation: vec![0.0; observation],
                reward: 0.0,
                end: StepEnd::Running,
                human: false,
            },
            step_nanos: 0,
            over: false,
            episodes: 0,
            max_steps: task.spec().max_steps.max(1),
            last_tick: None,
            task,
        })
    }

    /// What came of the tick that was taken last. An episode's last step is as it was judged; only where ticks are missing is the last
    /// whole step found to have been the last when the next tick comes.
    #[must_use]
    pub fn progress(&self) -> Progress<'_> {
        Progress {
            began: self.began.then_some(self.observation.as_slice()),
            step: self.stepped.then_some(&self.made),
        }
    }

    /// Takes a tick; gives an episode when one has ended with it.
    pub fn push(&mut self, tick: &Tick) -> Option<DrivenEpisode> {
        let ended = self.take(tick);
        self.commanded.0.copy_from_slice(&tick.command_position);
        self.commanded.1.copy_from_slice(&tick.command_velocity);
        ended
    }

    fn take(&mut self, tick: &Tick) -> Option<DrivenEpisode> {
        (self.began, self.stepped) = (false, false);
        let gap = self.last_tick.is_some_and(|last| tick.tick != last + 1);
        self.last_tick = Some(tick.tick);
        if gap && self.driving.is_some() {
            // Ticks are missing: what happened in them is not known, so the episode ends with the last whole step.
            let cut = self.cut();
            self.over = matches!(tick.mode, Mode::Running(_));
            tick.state(&mut self.state);
            return cut;
        }
        tick.state(&mut self.state);
        let driver = match tick.mode {
            Mode::Running(driver) => Some(driver),
            _ => None,
        };
        let ended = match (&self.driving, driver) {
            (Some(_), None) => {
                // The command of this tick was the drive's last one.
                self.ask(tick);
                self.count(tick);
                self.end(Some(tick.mode), tick.mark, tick.now_nanos)
            }
            (Some(driving), Some(driver))
                if driving.step_ticks == self.ticks_per_step || driving.driver != driver =>
            {
                let last = driving.human.len() + 1 >= self.max_steps;
                let judged = self.step(last, driver, tick.now_nanos);
                if judged || last { self.end(None, None, tick.now_nanos) } else { None }
            }
            _ => None,
        };
        match driver {
            None => self.over = false,
            Some(driver) if self.driving.is_none() && !self.over => self.begin(driver, tick.seed),
            Some(_) => {}
        }
        self.ask(tick);
        if let Some(driving) = &mut self.driving {
            // The state was read at the beginning of this tick, and what was commanded in it follows.
            if driving.step_ticks == 0 {
                self.step_nanos = tick.now_nanos;
                for ((before, p), v) in
                    self.before.iter_mut().zip(&tick.command_position).zip(&tick.command_velocity)
                {
                    *before = p - v * self.period_secs;
                }
            }
            driving.step_ticks += 1;
            // What was decided in this step: with a declared delay it comes into force later.
            let decided = if driving.driver == Driver::Policy { &tick.policy_action } else { &tick.action };
            self.proposed.copy_from_slice(decided);
            self.after.copy_from_slice(&tick.command_position);
            self.count(tick);
        }
        ended
    }

    /// The task is asked what the loop asked it in this tick, for what it remembers of it.
    fn ask(&mut self, tick: &Tick) {
        if self.driving.is_some() && tick.driver.is_some() {
            let (position, velocity) = &self.commanded;
            let command = CommandState { position, velocity, period_secs: self.period_secs };
            self.task.desired(&self.state, command, &tick.action, &mut self.desired);
        }
    }

    fn count(&mut self, tick: &Tick) {
        if let Some(Driving { counts, cost, policy_version, .. }) = &mut self.driving {
            counts.ticks += u64::from(tick.commanded);
            // Where nobody drives the stop plan is followed: that is no refusal of a command.
            let driven = tick.driver.is_some();
            counts.adjusted += u64::from(driven && tick.verdict == Verdict::Adjusted);
            counts.stops += u64::from(driven && tick.verdict == Verdict::Stopped);
            counts.violations += tick.violations;
            cost.path += tick.command_velocity.iter().map(|v| v.abs() * self.period_secs).sum::<f64>();
            cost.limit = cost.limit.or(tick.limit);
            *policy_version = (*policy_version).max(tick.policy_version);
        }
    }

    /// Ends the episode after its last whole step.
    fn cut(&mut self) -> Option<DrivenEpisode> {
        let mut driven = self.driving.take()?.finish(None)?;
        if let Some(end) = driven.episode.end.last_mut() {
            *end = StepEnd::Truncated;
        }
        Some(driven)
    }

    fn begin(&mut self, driver: Driver, seed: u64) {
        let name = format!("drive_{}", self.episodes);
        self.task.begin_episode(seed, &mut self.initial);
        self.task.observe(&self.state, &mut self.observation);
        self.driving = Some(Driving {
            builder: EpisodeBuilder::new(name, word(driver), seed),
            human: Vec::new(),
            driver,
            step_ticks: 0,
            counts: SafetyCounts::default(),
            cost: EpisodeCost { interventions: u64::from(driver == Driver::Human), ..EpisodeCost::default() },
            policy_version: 0,
        });
        self.episodes += 1;
        self.began = true;
    }

    /// Ends the present step at the state of this tick. True when the task is over.
    fn step(&mut self, truncated: bool, next: Driver, now_nanos: i64) -> bool {
        let Some(driving) = &mut self.driving else { return false };
        let step_secs = driving.step_ticks as f64 * self.period_secs;
        // Motion robots only: there is no effort to tell of.
        self.task.executed(&self.before, &self.after, &[], step_secs, &mut self.executed);
        let judged = self.task.outcome(&self.state, &self.executed);
        self.task.observe(&self.state, &mut self.next_observation);
        let outcome = Outcome {
            reward: judged.reward,
            end: StepEnd::from_flags(judged.terminated, truncated),
            success: judged.success,
            safety: std::mem::take(&mut driving.counts),
            ..Outcome::default()
        };
        driving.builder.push(
            &self.observation,
            &self.proposed,
            &self.executed,
            &self.next_observation,
            outcome,
        );
        let human = driving.driver == Driver::Human;
        driving.human.push(human);
        let made = &mut self.made;
        made.proposed.copy_from_slice(&self.proposed);
        made.executed.copy_from_slice(&self.executed);
        made.next_observation.copy_from_slice(&self.next_observation);
        (made.began_nanos, made.ended_nanos) = (self.step_nanos, now_nanos);
        (made.reward, made.end, made.human) = (outcome.reward, outcome.end, human);
        self.stepped = true;
        driving.cost.interventions += u64::from(next == Driver::Human && driving.driver != next);
        driving.driver = next;
        driving.step_ticks = 0;
        std::mem::swap(&mut self.observation, &mut self.next_observation);
        judged.terminated
    }

    /// Ends the episode; a step that has begun is cut short at the state of this tick. A person's verdict outranks the task's: a
    /// success terminates with the best reward that the task pays, where it says which that is; a failure truncates, for what
    /// would have followed was only not waited for.
    fn end(&mut self, by: Option<Mode>, mark: Option<Label>, now_nanos: i64) -> Option<DrivenEpisode> {
        let begun = self.driving.as_ref().is_some_and(|d| d.step_ticks > 0);
        if by.is_some() && begun {
            let driver = self.driving.as_ref().map_or(Driver::Policy, |d| d.driver);
            self.step(true, driver, now_nanos);
        }
        self.over = by.is_none();
        let mut driven = self.driving.take()?.finish(by)?;
        let e = &mut driven.episode;
        if let (Some(mark), Some(end), Some(reward)) = (mark, e.end.last_mut(), e.reward.last_mut()) {
            e.success = Some(mark == Label::Success);
            *end = match mark {
                Label::Success => StepEnd::Terminated,
                Label::Failure => StepEnd::Truncated,
            };
            if let (Label::Success, Some((_, best))) = (mark, self.task.spec().reward_range) {
                *reward = best;
            }
            (self.made.reward, self.made.end) = (*reward, *end);
            e.attributes.insert("marked".into(), "by a person".into());
        }
        Some(driven)
    }
}

impl Driving {
    /// The episode, unless it has no step.
    fn finish(self, ended_by: Option<Mode>) -> Option<DrivenEpisode> {
        let Self { builder, human, cost, policy_version, .. } = self;
        let mut episode = Episode { human, ..builder.finish() };
        if let Some(reached) = cost.limit {
            episode.attributes.insert("limit".into(), reached.limit.name().into());
        }
        if policy_version > 0 {
            episode.attributes.insert("policy_version".into(), policy_version.to_string());
        }
        (!episode.is_empty()).then_some(DrivenEpisode { episode, ended_by, cost, policy_version })
    }
}

const fn word(driver: Driver) -> &'static str {
    match driver {
        Driver::Policy => "policy",
        Driver::Human => "human",
    }
}
