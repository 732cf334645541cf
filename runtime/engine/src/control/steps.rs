//! What the policy hears of the steps that the robot makes: reward, end and executed action, one control period after the step's last
//! command, beside the next observation.
//!
//! Steps are the ones that [`EpisodesFromTicks`](crate::control::EpisodesFromTicks) makes of the ticks afterwards: a step ends when a
//! policy period is over, when a driver takes over, and where the drive leaves it. An episode that is over is told of at once, and
//! nothing more is asked until the next drive: the robot comes to rest, and what happens on the way is in nobody's memory. Nothing is lost where the
//! policy is too slow to be told: what could not be sent is added to what follows.

use surefoot_core::{Outcome, StepEnd};

use crate::control::control_loop::ControlLoop;
use crate::control::mode::Mode;
use crate::control::request::Label;

/// The steps of a drive.
#[derive(Debug)]
pub(super) struct Steps {
    max_steps: u64,
    /// Whether an episode is going on.
    open: bool,
    /// Steps of it that have ended.
    ended: u64,
    /// Ticks of the present step.
    ticks: u64,
    /// Commanded positions before the present step, and after its last tick, `[joints]`.
    before: Vec<f64>,
    after: Vec<f64>,
    /// What the policy has not been told yet: that a drive began, and what steps brought.
    first: bool,
    stepped: bool,
    outcome: Outcome,
    /// `[action_dim]`.
    executed: Vec<f32>,
}

impl Steps {
    pub fn new(joints: usize, actions: usize, max_steps: usize) -> Self {
        Self {
            max_steps: max_steps.max(1) as u64,
            open: false,
            ended: 0,
            ticks: 0,
            before: vec![0.0; joints],
            after: vec![0.0; joints],
            first: false,
            stepped: false,
            outcome: Outcome::default(),
            executed: vec![0.0; actions],
        }
    }

    /// Somebody begins to drive.
    pub const fn begin(&mut self) {
        (self.open, self.first) = (true, true);
        (self.ended, self.ticks) = (0, 0);
    }

    /// Whether an episode is going on, so that the policy is asked for actions.
    pub const fn are_asked_for(&self) -> bool {
        self.open
    }

    /// A period in which somebody drove has ended with this command.
    fn commanded(&mut self, position: &[f64], velocity: &[f64], period_secs: f64) {
        if self.ticks == 0 {
            // As the reader of the ticks finds it out.
            for ((before, p), v) in self.before.iter_mut().zip(position).zip(velocity) {
                *before = p - v * period_secs;
            }
        }
        self.ticks += 1;
        self.after.copy_from_slice(position);
    }

    /// A step has ended; those that the policy has not been told of are one with it.
    fn add(&mut self, outcome: Outcome) {
        let untold = std::mem::replace(&mut self.stepped, true);
        let mut all = outcome;
        if untold {
            all.reward += self.outcome.reward;
            all.success |= self.outcome.success;
            if all.end == StepEnd::Running {
                all.end = self.outcome.end;
            }
        }
        self.outcome = all;
        self.ended += 1;
        self.ticks = 0;
    }
}

impl ControlLoop {
    /// At the beginning of each policy period: ends the step before, and asks the policy for the next action.
    pub(super) fn publish(&mut self) {
        let driving = matches!(self.mode(), Mode::Running(_)) && self.steps.open;
        if !driving || !(self.tick - self.driving_since).is_multiple_of(self.ticks_per_step) {
            return;
        }
        if self.steps.ticks > 0 {
            self.end_step(false, None);
        }
        self.tell(self.steps.open);
    }

    /// At the end of each period: the step goes on with its command, or the drive has ended.
    pub(super) fn follow_step(&mut self) {
        if !self.steps.open {
            return;
        }
        if matches!(self.mode(), Mode::Running(_)) {
            let now = self.chain.state();
            self.steps.commanded(now.position, now.velocity, self.period_secs);
            return;
        }
        if self.steps.ticks > 0 {
            self.end_step(true, self.mark);
            self.tell(false);
        }
        self.steps.open = false;
    }

    /// Ends the present step at the present state. A person's verdict outranks the task's, as in the episode that is made of the ticks.
    fn end_step(&mut self, left: bool, mark: Option<Label>) {
        let step_secs = self.steps.ticks as f64 * self.period_secs;
        let Steps { before, after, executed, .. } = &mut self.steps;
        self.task.executed(before, after, &[], step_secs, executed);
        let judged = self.task.outcome(&self.state, executed);
        let last = self.steps.ended + 1 >= self.steps.max_steps;
        let mut outcome = Outcome {
            reward: judged.reward,
            end: StepEnd::from_flags(judged.terminated, left || last),
            success: judged.success,
            ..Outcome::default()
        };
        match mark {
            Some(Label::Success) => {
                (outcome.end, outcome.success) = (StepEnd::Terminated, true);
                outcome.reward = self.task.spec().reward_range.map_or(outcome.reward, |(_, best)| best);
            }
            Some(Label::Failure) => (outcome.end, outcome.success) = (StepEnd::Truncated, false),
            None => {}
        }
        self.steps.open = !outcome.end.is_last();
        self.steps.add(outcome);
    }

    /// Tells the policy what is new; what cannot be told now stays for the next time.
    fn tell(&mut self, wanted: bool) {
        let Some(mut input) = self.observations.lend() else { return };
        (input.tick, input.now_nanos, input.wanted) = (self.tick, self.now, wanted);
        input.first = std::mem::take(&mut self.steps.first);
        input.stepped = std::mem::take(&mut self.steps.stepped);
        input.outcome = self.steps.outcome;
        input.executed.copy_from_slice(&self.steps.executed);
        self.task.observe(&self.state, &mut input.observation);
        self.observations.send(input);
    }
}
