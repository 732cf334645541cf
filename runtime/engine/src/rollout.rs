//! Running a policy: whole episodes in many worlds at once.

use surefoot_core::{
    ActMode, Env, EnvError, Episode, EpisodeBuilder, Feedback, Frame, Policy, ResetScope, Rows, RowsMut,
    StepEnd, VecEnv,
};

use crate::{EngineError, Interrupt};

/// Everything that an episode's randomness comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpisodeSeeds {
    /// The world's initial state.
    pub reset: u64,
    /// The policy's noise.
    pub noise: u64,
}

/// How far a rollout is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RolloutProgress {
    /// Steps taken in all worlds together.
    pub env_steps: u64,
    /// Episodes finished.
    pub finished: usize,
    /// Episodes asked for.
    pub episodes: usize,
}

/// What looks on while a rollout runs: may stop it, and hears how far it is after every step.
pub struct Watch<'a> {
    /// Stops the rollout between two steps.
    pub interrupt: &'a Interrupt,
    /// Called after every step.
    pub progress: &'a mut dyn FnMut(RolloutProgress),
}

struct Running {
    index: usize,
    steps: usize,
    builder: EpisodeBuilder,
}

/// Runs one episode per entry of `seeds` and returns them in that order. Free worlds take the next episode; each episode is a
/// function of the policy and its own seeds, whatever the number of worlds and threads.
///
/// A non-finite action is given to the world as it is: the safety chain brakes.
///
/// # Errors
/// [`EngineError::Interrupted`] when asked to stop (nothing is returned then); what the world or the policy says; and a world
/// that pays a reward that is not finite.
pub fn rollout(
    envs: &mut VecEnv,
    policy: &mut dyn Policy,
    mode: ActMode,
    seeds: &[EpisodeSeeds],
    source: &str,
    watch: &mut Watch<'_>,
) -> Result<Vec<Episode>, EngineError> {
    let (observation_dim, action_dim) = (envs.spec().observation_dim(), envs.spec().action_dim());
    let max_steps = envs.spec().max_steps.max(1);
    let slots = envs.len().min(policy.slots());
    if slots == 0 && !seeds.is_empty() {
        return Err(EngineError::Config {
            key: "worlds".into(),
            expected: "a policy with at least one slot".into(),
            found: "none".into(),
        });
    }
    let mut running: Vec<Option<Running>> = (0..slots).map(|_| None).collect();
    let mut observations = vec![0.0; slots * observation_dim];
    let mut actions = vec![0.0; slots * action_dim];
    let mut active = vec![false; slots];
    let mut feedback = Vec::with_capacity(slots);
    let mut finished: Vec<Option<Episode>> = seeds.iter().map(|_| None).collect();
    let mut progress = RolloutProgress { episodes: seeds.len(), ..RolloutProgress::default() };
    let mut waiting = seeds.iter().enumerate();
    loop {
        for (slot, free) in running.iter_mut().enumerate().filter(|(_, r)| r.is_none()) {
            let Some((index, seed)) = waiting.next() else { break };
            let row = &mut observations[slot * observation_dim..(slot + 1) * observation_dim];
            row.copy_from_slice(envs.reset(slot, seed.reset)?);
            policy.reset(slot, ResetScope::Task, seed.noise);
            let builder = EpisodeBuilder::new(format!("{source}_{index}"), source, seed.reset);
            *free = Some(Running { index, steps: 0, builder });
        }
        // The policy acts for a prefix of its slots; idle ones inside it get an answer that nobody uses.
        let Some(last) = running.iter().rposition(Option::is_some) else { break };
        if watch.interrupt.requested() {
            return Err(EngineError::Interrupted);
        }
        policy.act(
            Rows::new(&observations[..(last + 1) * observation_dim], observation_dim),
            mode,
            RowsMut::new(&mut actions[..(last + 1) * action_dim], action_dim),
        )?;
        for (slot, r) in running.iter().enumerate() {
            active[slot] = r.is_some();
            if r.is_some() {
                envs.action_mut(slot).copy_from_slice(&actions[slot * action_dim..(slot + 1) * action_dim]);
            }
        }
        envs.step(&active)?;
        feedback.clear();
        for (slot, place) in running.iter_mut().enumerate() {
            let Some(r) = place else { continue };
            let (next_observation, proposed, executed, mut outcome) = envs.last(slot);
            r.steps += 1;
            if !outcome.reward.is_finite() {
                let env = envs.spec().name.clone();
                return Err(EnvError::Diverged { env, step: r.steps, what: "the reward" }.into());
            }
            if r.steps >= max_steps && outcome.end == StepEnd::Running {
                outcome.end = StepEnd::Truncated;
            }
            let row = &mut observations[slot * observation_dim..(slot + 1) * observation_dim];
            r.builder.push(row, proposed, executed, next_observation, outcome);
            row.copy_from_slice(next_observation);
            feedback.push(Feedback { slot, outcome });
            progress.env_steps += 1;
            if outcome.end.is_last()
                && let Some(r) = place.take()
            {
                finished[r.index] = Some(r.builder.finish());
                progress.finished += 1;
            }
        }
        policy.observe(&feedback);
        (watch.progress)(progress);
    }
    Ok(finished.into_iter().flatten().collect())
}

/// A filmed episode.
#[derive(Clone, Debug)]
pub struct Film {
    /// Pictures in order; empty where the world cannot be drawn.
    pub frames: Vec<Frame>,
    /// Simulated time between two pictures, s.
    pub frame_secs: f64,
    /// Steps of the episode.
    pub steps: usize,
    /// Sum of rewards.
    pub episode_return: f64,
    /// Whether the task was solved.
    pub success: bool,
}

/// Runs one episode without exploration and draws the world at the start, every `every` steps and at the end.
///
/// # Errors
/// As [`rollout`].
pub fn film(
    env: &mut dyn Env,
    policy: &mut dyn Policy,
    seeds: EpisodeSeeds,
    every: usize,
    (width, height): (usize, usize),
    interrupt: &Interrupt,
) -> Result<Film, EngineError> {
    let spec = env.spec().clone();
    let every = every.max(1);
    let mut observation = vec![0.0; spec.observation_dim()];
    let mut action = vec![0.0; spec.action_dim()];
    let mut executed = vec![0.0; spec.action_dim()];
    env.reset(seeds.reset, &mut observation)?;
    policy.reset(0, ResetScope::Task, seeds.noise);
    let mut film = Film {
        frames: env.render(width, height).into_iter().collect(),
        frame_secs: spec.step_secs * every as f64,
        steps: 0,
        episode_return: 0.0,
        success: false,
    };
    loop {
        if interrupt.requested() {
            return Err(EngineError::Interrupted);
        }
        policy.act(
            Rows::new(&observation, observation.len()),
            ActMode::Exploit,
            RowsMut::new(&mut action, spec.action_dim()),
        )?;
        let outcome = env.step(&action, &mut observation, &mut executed)?;
        policy.observe(&[Feedback { slot: 0, outcome }]);
        film.steps += 1;
        film.episode_return += f64::from(outcome.reward);
        film.success |= outcome.success;
        let last = outcome.end.is_last() || film.steps >= spec.max_steps.max(1);
        if last || film.steps.is_multiple_of(every) {
            film.frames.extend(env.render(width, height));
        }
        if last {
            return Ok(film);
        }
    }
}
