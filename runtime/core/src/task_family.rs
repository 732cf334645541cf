//! Many tasks of one kind, and the algorithms that learn each of them anew: where learning histories come from.

use crate::{Env, EnvError, EnvSpec, FamilyTask, HistoryPhase, Outcome, TaskSplit};

/// Tasks that differ in hidden parameters alone: one spec for all, and nothing in an observation that tells which one it is.
pub trait TaskFamily: Send + Sync {
    /// What observations and actions mean, in every task.
    fn spec(&self) -> &EnvSpec;

    /// The tasks of a split, with their reference returns. The same configuration gives the same tasks.
    fn tasks(&self, split: TaskSplit) -> Vec<FamilyTask>;

    /// The world of one task.
    ///
    /// # Errors
    /// When there is no such task, or its world cannot be built.
    fn env(&self, params: &[f32]) -> Result<Box<dyn Env>, EnvError>;

    /// What nobody who has to search can exceed: mean share of the optimal return, by episode of a task's life; `None` where it is
    /// not known.
    fn search_ceiling(&self) -> Option<Vec<f32>> {
        None
    }

    /// Somebody who knows the task and acts as well as can be; `None` where nobody does. It learns nothing, but follows the episode
    /// through [`observe`](SourceAlgorithm::observe).
    fn oracle(&self, _params: &[f32]) -> Option<Box<dyn SourceAlgorithm>> {
        None
    }
}

/// A learning algorithm on one task, from its first step on. Called in turn: `act`, `observe`, `act`, ...; after an observation whose
/// outcome ends the episode, `act` begins the next one.
pub trait SourceAlgorithm: Send {
    /// A fresh learner on a fresh task; `seed` is all its randomness.
    fn reset(&mut self, seed: u64);
    /// Chooses an action (`[action_dim]`) for what it sees (`[observation_dim]`).
    fn act(&mut self, observation: &[f32], action: &mut [f32]);
    /// What followed its last action. At the end of an episode the observation is the last one of that episode.
    fn observe(&mut self, next_observation: &[f32], outcome: &Outcome);
    /// Version of what acts: how often it has changed what it would do.
    fn updates(&self) -> u32;

    /// Streams of experience that it learns from side by side, each from a world of its own. Most have one.
    fn streams(&self) -> usize {
        1
    }
    /// The calls that follow are of this stream, one below [`streams`](Self::streams). All streams make a step before one makes the next,
    /// until it has lived all its episodes.
    fn turn_to(&mut self, _stream: usize) {}
    /// What the next action is for.
    fn phase(&self) -> HistoryPhase {
        HistoryPhase::Online
    }
    /// Why it cannot go on learning; `None` while it can.
    fn failure(&self) -> Option<&str> {
        None
    }
}
