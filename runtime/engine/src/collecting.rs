//! Learning histories from source algorithms: many lives side by side, each a function of its seed alone.

use rayon::prelude::*;
use surefoot_core::{Env, EnvError, HistoryPhase, LearningHistory, SourceAlgorithm, StepEnd, Stream};

use crate::Interrupt;

/// Lives that are lived before those that are finished are handed on, for each thread.
const LIVES_PER_THREAD: usize = 8;

/// One learner's life on one task.
#[derive(Clone, Debug, PartialEq)]
pub struct Life {
    /// Index of the task.
    pub task: usize,
    /// Which of several lives on this task.
    pub stream: u32,
    /// Of all its randomness, the task's included.
    pub seed: u64,
    /// Episodes that are lived.
    pub episodes: usize,
    /// Of which every so many-th is kept.
    pub keep_every: usize,
    /// Which source: an index of the caller's.
    pub source: usize,
    /// Its name.
    pub algorithm: String,
    /// Its settings, JSON.
    pub algorithm_config: String,
}

/// Lives a life to its end.
///
/// # Errors
/// When the world fails.
pub fn live(
    life: &Life,
    env: &mut dyn Env,
    source: &mut dyn SourceAlgorithm,
) -> Result<LearningHistory, EnvError> {
    let Life { task, stream, seed, episodes, keep_every, source: _, algorithm, algorithm_config } = life;
    let [o, a] = [env.spec().observation_dim(), env.spec().action_dim()];
    let most = env.spec().max_steps;
    let (mut observation, mut next) = (vec![0.0; o], vec![0.0; o]);
    let (mut action, mut executed) = (vec![0.0; a], vec![0.0; a]);
    let mut history = LearningHistory {
        task: *task,
        algorithm: algorithm.clone(),
        algorithm_config: algorithm_config.clone(),
        seed: *seed,
        stream: *stream,
        complete: true,
        ..LearningHistory::default()
    };
    source.reset(Stream::new(*seed, "source", 0).bits());
    for episode in 0..*episodes {
        let kept = episode.is_multiple_of((*keep_every).max(1));
        env.reset(Stream::new(*seed, "source_episode", episode as u64).bits(), &mut observation)?;
        for step in 1..=most {
            let version = source.updates();
            source.act(&observation, &mut action);
            let mut outcome = env.step(&action, &mut next, &mut executed)?;
            if step == most && !outcome.end.is_last() {
                outcome.end = StepEnd::Truncated;
            }
            source.observe(&next, &outcome);
            if kept {
                history.observations.extend_from_slice(&observation);
                history.actions.extend_from_slice(&executed);
                history.rewards.push(outcome.reward);
                history.ends.push(outcome.end);
                history.updates.push(version);
                history.phases.push(HistoryPhase::Online);
            }
            std::mem::swap(&mut observation, &mut next);
            if outcome.end.is_last() {
                break;
            }
        }
        if kept {
            history.final_observations.extend_from_slice(&observation);
        }
    }
    Ok(history)
}

/// What a life begins with: a world, and somebody who learns it.
pub type Beginning = (Box<dyn Env>, Box<dyn SourceAlgorithm>);

/// Lives all `lives` on `threads` threads and hands on their histories in order, whatever their number; a few for each thread are held at
/// once. `begin` makes a life's world and learner. Ends early, without an error, when `interrupt` asks for it: `false` then.
///
/// # Errors
/// The first error in the order of the lives.
pub fn collect<E: From<EnvError> + Send>(
    lives: &[Life],
    threads: usize,
    begin: impl Fn(&Life) -> Result<Beginning, E> + Sync,
    interrupt: &Interrupt,
    mut keep: impl FnMut(&Life, LearningHistory) -> Result<(), E>,
) -> Result<bool, E> {
    let threads = threads.max(1);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| EnvError::Build {
        env: "for collecting".into(),
        reason: format!("no threads to step it on: {e}"),
    })?;
    let one = |life: &Life| {
        let (mut env, mut source) = begin(life)?;
        Ok(live(life, &mut *env, &mut *source)?)
    };
    for part in lives.chunks(LIVES_PER_THREAD * threads) {
        let lived: Vec<Option<Result<LearningHistory, E>>> = pool
            .install(|| part.par_iter().map(|life| (!interrupt.requested()).then(|| one(life))).collect());
        for (life, history) in part.iter().zip(lived) {
            let Some(history) = history else { return Ok(false) };
            keep(life, history?)?;
        }
    }
    Ok(true)
}
