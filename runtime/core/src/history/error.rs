//! Why a learning history cannot be learned from.

use crate::NotAChoice;

/// Why a history cannot be learned from.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// An array has another length than the others.
    #[error("{what}: expected {expected} numbers, found {found}")]
    Length {
        /// Which array.
        what: &'static str,
        /// By the number of steps, or of episodes, and the spec.
        expected: usize,
        /// Given.
        found: usize,
    },
    /// Nothing was lived through.
    #[error("it has no step")]
    Empty,
    /// The last episode has no end.
    #[error(
        "the episode that begins at step {start} has no end; a history holds whole episodes: leave it out, or mark its last step as truncated"
    )]
    OpenEpisode {
        /// Its first step.
        start: usize,
    },
    /// An episode is longer than the task lets it be.
    #[error(
        "the episode that begins at step {start} has {steps} steps, and an episode of this task at most {most}: is the end of an episode missing?"
    )]
    TooLong {
        /// Its first step.
        start: usize,
        /// Its length.
        steps: usize,
        /// By the spec.
        most: usize,
    },
    /// The learner went back to an earlier version.
    #[error(
        "update[{step}] is {found} after {before}: updates never go back, so these steps are out of order, or of two runs"
    )]
    UpdateWentBack {
        /// The step.
        step: usize,
        /// The version before.
        before: u32,
        /// The version at it.
        found: u32,
    },
    /// A number that is none.
    #[error("{what}[{step}] is {found}: {what} must be finite")]
    NotFinite {
        /// Which array.
        what: &'static str,
        /// The step, or the episode for final observations.
        step: usize,
        /// NaN or an infinity.
        found: f32,
    },
    /// Actions or observations of another coding.
    #[error("{what}[{step}]: {choice}: was this written with another coding?")]
    Coding {
        /// Which array.
        what: &'static str,
        /// The step, or the episode for final observations.
        step: usize,
        /// The number.
        choice: NotAChoice,
    },
    /// Episodes do not follow each other.
    #[error("episode[{step}] is {found} after {before}: the episodes are out of order, or one is missing")]
    EpisodeOrder {
        /// The step.
        step: usize,
        /// The episode before.
        before: u32,
        /// The episode at it.
        found: u32,
    },
    /// Steps of an episode do not follow each other.
    #[error(
        "step[{row}] is {found}, expected {expected}: there is a gap in the episode, or its steps are out of order"
    )]
    Gap {
        /// The row.
        row: usize,
        /// The step that belongs there.
        expected: u32,
        /// The step that is there.
        found: u32,
    },
    /// An episode goes on after its end, or the next begins before it.
    #[error(
        "the end of episode {episode} is not at its last step: expected at row {expected}, found {found}"
    )]
    EndElsewhere {
        /// The episode.
        episode: usize,
        /// Row of its last step.
        expected: usize,
        /// Where the mark is.
        found: String,
    },
    /// A history of more than one task.
    #[error("{what} {second} after {first}: a history is of one task; write one for each")]
    TwoTasks {
        /// What tells the tasks apart.
        what: &'static str,
        /// The first task.
        first: u64,
        /// The other one.
        second: u64,
    },
    /// The history names a task that is not described.
    #[error("it is of task {task}, and there is no such task: expected one of 0 to {}", tasks.saturating_sub(1))]
    NoSuchTask {
        /// The task.
        task: u64,
        /// How many there are.
        tasks: usize,
    },
    /// A number with no meaning.
    #[error("{what}[{step}] is {found}, expected {expected}")]
    Code {
        /// Which array.
        what: &'static str,
        /// The step.
        step: usize,
        /// What may stand there.
        expected: &'static str,
        /// What stands there.
        found: u8,
    },
}
