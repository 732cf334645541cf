//! The policy's side of a control loop, the same on simulated time and on a thread of its own: it acts, and hears what followed.
//!
//! Every step is in a policy's memory once. What followed its own answer it observes; a step whose observation came too late to be
//! answered it remembers with what was executed meanwhile.

use surefoot_core::{ActMode, Feedback, ResetScope, Rows, RowsMut};

use crate::control::policy_thread::Versioned;
use crate::control::ports::{PolicyInput, PolicyOutput};

/// What came of the last observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// There was none in this drive.
    Nothing,
    /// It was answered.
    Answered,
    /// It was passed over.
    PassedOver,
}

/// A policy that drives.
pub(super) struct Acting {
    now: Versioned,
    mode: ActMode,
    seed: u64,
    drives: u64,
    /// What the next drive is to the policy.
    scope: ResetScope,
    last: Last,
    /// `[observation_dim]`.
    seen: Vec<f32>,
}

impl Acting {
    /// Its first drive is another episode of what it remembers, unless it is told otherwise.
    pub fn new(first: Versioned, mode: ActMode, seed: u64) -> Self {
        let (scope, last) = (ResetScope::Episode, Last::Nothing);
        Self { now: first, mode, seed, drives: 0, scope, last, seen: Vec::new() }
    }

    /// How the drives from the next one on are to be. A new task is one for the next of them: those that follow go on with it.
    pub const fn next_drive(&mut self, seed: u64, mode: ActMode, scope: ResetScope) {
        (self.seed, self.mode, self.scope, self.drives) = (seed, mode, scope, 0);
    }

    /// A drive begins, with another policy if there is one; gives the one before. A policy that has not acted yet begins a new task.
    pub fn begin(&mut self, next: Option<Versioned>) -> Option<Versioned> {
        let old = next.map(|next| {
            self.scope = ResetScope::Task;
            std::mem::replace(&mut self.now, next)
        });
        let scope = std::mem::replace(&mut self.scope, ResetScope::Episode);
        self.now.policy.reset(0, scope, self.seed.wrapping_add(self.drives));
        self.drives += 1;
        self.last = Last::Nothing;
        old
    }

    /// Takes in what the step before has brought.
    pub fn hear(&mut self, input: &PolicyInput) {
        let PolicyInput { stepped, outcome, executed, .. } = input;
        if *stepped {
            match std::mem::replace(&mut self.last, Last::Nothing) {
                Last::Answered => {
                    let feedback = Feedback { slot: 0, outcome: *outcome, executed: Some(executed) };
                    self.now.policy.observe(&[feedback]);
                }
                Last::PassedOver => self.now.policy.remember(0, &self.seen, executed, outcome),
                Last::Nothing => {}
            }
        }
    }

    /// Notes an observation that is not answered yet.
    pub fn see(&mut self, input: &PolicyInput) {
        if input.wanted {
            // Its length is the same every time: room is made once.
            self.seen.clear();
            self.seen.extend_from_slice(&input.observation);
            self.last = Last::PassedOver;
        }
    }

    /// Answers. What a policy cannot say is no number; the control loop brakes on it.
    pub fn answer(&mut self, input: &PolicyInput, output: &mut PolicyOutput) {
        let actions = output.action.len();
        let observation = Rows::new(&input.observation, input.observation.len());
        if self.now.policy.act(observation, self.mode, RowsMut::new(&mut output.action, actions)).is_err() {
            output.action.fill(f32::NAN);
        }
        self.last = Last::Answered;
        (output.from_tick, output.version) = (input.tick, self.now.version);
    }

    /// The policy that acts, at the end.
    pub fn into_policy(self) -> Versioned {
        self.now
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use surefoot_core::{Outcome, Policy, PolicyError, StepEnd};

    use super::*;

    /// Writes down what it is told.
    struct Ear(Arc<Mutex<Vec<String>>>);

    impl Policy for Ear {
        fn slots(&self) -> usize {
            1
        }
        fn reset(&mut self, _: usize, scope: ResetScope, seed: u64) {
            self.0.lock().unwrap().push(format!("reset {scope:?} {seed}"));
        }
        fn act(&mut self, o: Rows<'_>, _: ActMode, mut actions: RowsMut<'_>) -> Result<(), PolicyError> {
            self.0.lock().unwrap().push(format!("act {}", o.row(0)[0]));
            actions.row(0).fill(0.0);
            Ok(())
        }
        fn observe(&mut self, feedback: &[Feedback<'_>]) {
            let Feedback { outcome, executed, .. } = &feedback[0];
            self.0.lock().unwrap().push(format!("observe {} {executed:?}", outcome.reward));
        }
        fn remember(&mut self, _: usize, seen: &[f32], action: &[f32], outcome: &Outcome) {
            self.0.lock().unwrap().push(format!("remember {} {} {:?}", seen[0], action[0], outcome.end));
        }
    }

    fn input(at: f32, stepped: bool, wanted: bool) -> PolicyInput {
        let end = if wanted { StepEnd::Running } else { StepEnd::Truncated };
        let outcome = Outcome { reward: at, end, ..Outcome::default() };
        PolicyInput {
            wanted,
            stepped,
            outcome,
            executed: vec![10.0 + at],
            observation: vec![at],
            ..Default::default()
        }
    }

    #[test]
    fn a_step_that_was_answered_is_observed_and_one_that_was_passed_over_is_remembered() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let policy: Box<dyn Policy> = Box::new(Ear(heard.clone()));
        let mut acting = Acting::new(policy.into(), ActMode::Exploit, 7);
        let mut output = PolicyOutput { action: vec![0.0], ..PolicyOutput::default() };
        acting.next_drive(3, ActMode::Exploit, ResetScope::Task);
        acting.begin(None);
        acting.see(&input(0.0, false, true));
        acting.answer(&input(0.0, false, true), &mut output);
        for late in [input(1.0, true, true), input(2.0, true, true), input(3.0, true, false)] {
            acting.hear(&late);
            acting.see(&late);
        }
        acting.begin(None);
        // Nothing was seen in this drive before: there is nothing that this could be of.
        acting.hear(&input(4.0, true, true));
        let all = [
            "reset Task 3",
            "act 0",
            "observe 1 Some([11.0])",
            "remember 1 12 Running",
            "remember 2 13 Truncated",
            "reset Episode 4",
        ];
        assert_eq!(*heard.lock().unwrap(), all);
    }
}
