//! Learning histories from source algorithms: many lives side by side, each a function of its seed alone.

use rayon::prelude::*;
use surefoot_core::{Env, EnvError, LearningHistory, SourceAlgorithm, StepEnd, Stream, TaskFamily};

use crate::Interrupt;

/// Lives that are lived before those that are finished are handed on, for each thread.
const LIVES_PER_THREAD: usize = 8;

/// One learner's life on one task.
#[derive(Clone, Debug, PartialEq)]
pub struct Life {
    /// Index of the task.
    pub task: usize,
    /// Which of several lives on this task. A source of several streams numbers its histories on from `stream * streams`.
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

/// Why a life cannot be lived.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LifeError {
    /// The world failed.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// The learner failed.
    #[error("{of} cannot go on: {reason}\n\nhint: a smaller learning rate may keep it finite")]
    Source {
        /// Who, and where in its life.
        of: String,
        /// What it says.
        reason: String,
    },
    /// There is not one world for each stream of the learner.
    #[error("{algorithm} learns from {streams} streams at once, and there are {worlds} worlds for them")]
    Worlds {
        /// Its name.
        algorithm: String,
        /// What it needs.
        streams: usize,
        /// What it was given.
        worlds: usize,
    },
}

/// What a life begins with: somebody who learns, and a world for each of its streams.
pub struct Beginning {
    /// Worlds of one task.
    pub worlds: Vec<Box<dyn Env>>,
    /// Who learns it.
    pub source: Box<dyn SourceAlgorithm>,
}

impl Beginning {
    /// With as many worlds of this task as there are streams.
    ///
    /// # Errors
    /// When there is no such task, or its world cannot be built.
    pub fn new(
        source: Box<dyn SourceAlgorithm>,
        family: &dyn TaskFamily,
        params: &[f32],
    ) -> Result<Self, EnvError> {
        let worlds: Result<Vec<_>, EnvError> = (0..source.streams()).map(|_| family.env(params)).collect();
        Ok(Self { worlds: worlds?, source })
    }
}

/// One stream of a life.
struct Course {
    history: LearningHistory,
    observation: Vec<f32>,
    next: Vec<f32>,
    episode: usize,
    /// Steps of it so far.
    step: usize,
}

/// Lives a life to its end: one history for each stream of the source, in their order.
///
/// # Errors
/// When a world fails or the source does, or there is not one world for each stream.
pub fn live(
    life: &Life,
    worlds: &mut [Box<dyn Env>],
    source: &mut dyn SourceAlgorithm,
) -> Result<Vec<LearningHistory>, LifeError> {
    let Life { task, stream, seed, episodes, keep_every, source: _, algorithm, algorithm_config } = life;
    let (streams, keep_every) = (source.streams(), (*keep_every).max(1));
    if streams != worlds.len() || streams == 0 {
        return Err(LifeError::Worlds { algorithm: algorithm.clone(), streams, worlds: worlds.len() });
    }
    let [o, a] = [worlds[0].spec().observation_dim(), worlds[0].spec().action_dim()];
    let most = worlds[0].spec().max_steps;
    let (mut action, mut executed) = (vec![0.0; a], vec![0.0; a]);
    let course = |i: usize| Course {
        history: LearningHistory {
            task: *task,
            algorithm: algorithm.clone(),
            algorithm_config: algorithm_config.clone(),
            seed: *seed,
            stream: (*stream as usize * streams + i) as u32,
            complete: true,
            ..LearningHistory::default()
        },
        observation: vec![0.0; o],
        next: vec![0.0; o],
        episode: 0,
        step: 0,
    };
    let mut courses: Vec<Course> = (0..streams).map(course).collect();
    source.reset(Stream::new(*seed, "source", 0).bits());
    let mut going = *episodes > 0;
    while going {
        going = false;
        for (i, (course, env)) in courses.iter_mut().zip(worlds.iter_mut()).enumerate() {
            if course.episode == *episodes {
                continue;
            }
            let Course { history, observation, next, episode, step } = course;
            if *step == 0 {
                env.reset(episode_seed(*seed, i, *episode), observation)?;
            }
            source.turn_to(i);
            let phase = source.phase();
            source.act(observation, &mut action);
            // Some learn before they choose.
            let version = source.updates();
            let mut outcome = env.step(&action, next, &mut executed)?;
            *step += 1;
            if *step == most && !outcome.end.is_last() {
                outcome.end = StepEnd::Truncated;
            }
            source.observe(next, &outcome);
            if let Some(reason) = source.failure() {
                let stream = history.stream;
                let of = format!("{algorithm} (task {task}, stream {stream}, episode {episode})");
                return Err(LifeError::Source { of, reason: reason.to_owned() });
            }
            let kept = episode.is_multiple_of(keep_every);
            if kept {
                history.observations.extend_from_slice(observation);
                history.actions.extend_from_slice(&executed);
                history.rewards.push(outcome.reward);
                history.ends.push(outcome.end);
                history.updates.push(version);
                history.phases.push(phase);
            }
            std::mem::swap(observation, next);
            if outcome.end.is_last() {
                if kept {
                    history.final_observations.extend_from_slice(observation);
                }
                (*episode, *step) = (*episode + 1, 0);
            }
            going |= *episode < *episodes;
        }
    }
    Ok(courses.into_iter().map(|course| course.history).collect())
}

/// Seed of an episode of a stream.
fn episode_seed(seed: u64, stream: usize, episode: usize) -> u64 {
    match stream {
        0 => Stream::new(seed, "source_episode", episode as u64).bits(),
        other => Stream::new(seed, &format!("source_episode/{other}"), episode as u64).bits(),
    }
}

/// Lives all `lives` on `threads` threads and hands on their histories in order, whatever their number; a few for each thread are held at
/// once. `begin` makes a life's worlds and learner. Ends early, without an error, when `interrupt` asks for it: `false` then.
///
/// # Errors
/// The first error in the order of the lives.
pub fn collect<E: From<LifeError> + Send>(
    lives: &[Life],
    threads: usize,
    begin: impl Fn(&Life) -> Result<Beginning, E> + Sync,
    interrupt: &Interrupt,
    mut keep: impl FnMut(&Life, LearningHistory) -> Result<(), E>,
) -> Result<bool, E> {
    let threads = threads.max(1);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| {
        let reason = format!("no threads to step it on: {e}");
        LifeError::Env(EnvError::Build { env: "for collecting".into(), reason })
    })?;
    let one = |life: &Life| {
        let Beginning { mut worlds, mut source } = begin(life)?;
        Ok(live(life, &mut worlds, &mut *source)?)
    };
    for part in lives.chunks(LIVES_PER_THREAD * threads) {
        let lived: Vec<Option<Result<Vec<LearningHistory>, E>>> = pool
            .install(|| part.par_iter().map(|life| (!interrupt.requested()).then(|| one(life))).collect());
        for (life, histories) in part.iter().zip(lived) {
            let Some(histories) = histories else { return Ok(false) };
            for history in histories? {
                keep(life, history)?;
            }
        }
    }
    Ok(true)
}
