//! Running a policy: whole episodes in many worlds at once.

use serde::{Deserialize, Serialize};
use surefoot_core::{
    ActMode, EnvError, Episode, EpisodeBuilder, Feedback, Frame, Policy, ResetScope, Rows, RowsMut, StepEnd,
    VecEnv,
};

use crate::limits::{EpisodeLimits, LimitReached, TrustRegion, clip_to_region};
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

/// What bounds the episodes of a rollout, besides the world's own `max_steps`.
pub struct Guard<'a> {
    /// Ends an episode as truncated.
    pub limits: EpisodeLimits,
    /// Moves proposed actions towards a reference policy's.
    pub trust_region: Option<TrustRegion<'a>>,
}

/// What an episode cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpisodeCost {
    /// The limit that ended it, if one did.
    pub limit: Option<LimitReached>,
    /// Way of all joints, rad and m.
    pub path: f64,
    /// Work of all joints, J, where efforts are known.
    pub energy_joules: Option<f64>,
    /// Steps whose action was moved into the trust region.
    pub clipped_steps: u64,
    /// Take-overs by a person.
    pub interventions: u64,
    /// Whether it says nothing of the policy that acts now: another one acted, or a person did.
    pub of_another: bool,
}

struct Running {
    index: usize,
    steps: usize,
    builder: EpisodeBuilder,
    limits: Option<EpisodeLimits>,
    cost: EpisodeCost,
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
    let finished = run(envs, policy, mode, seeds, source, None, watch)?;
    Ok(finished.into_iter().map(|(episode, _)| episode).collect())
}

/// As [`rollout`], inside limits. An episode that one of them ended says which in its attribute `limit`; `proposed` stays what the
/// policy proposed, before the trust region moved it.
///
/// # Errors
/// As [`rollout`].
pub fn guarded_rollout(
    envs: &mut VecEnv,
    policy: &mut dyn Policy,
    mode: ActMode,
    seeds: &[EpisodeSeeds],
    source: &str,
    guard: &mut Guard<'_>,
    watch: &mut Watch<'_>,
) -> Result<Vec<(Episode, EpisodeCost)>, EngineError> {
    run(envs, policy, mode, seeds, source, Some(guard), watch)
}

fn run(
    envs: &mut VecEnv,
    policy: &mut dyn Policy,
    mode: ActMode,
    seeds: &[EpisodeSeeds],
    source: &str,
    mut guard: Option<&mut Guard<'_>>,
    watch: &mut Watch<'_>,
) -> Result<Vec<(Episode, EpisodeCost)>, EngineError> {
    let (observation_dim, action_dim) = (envs.spec().observation_dim(), envs.spec().action_dim());
    let max_steps = envs.spec().max_steps.max(1);
    let limits = guard.as_ref().map(|g| g.limits);
    let mut region = guard.as_mut().and_then(|g| g.trust_region.as_mut());
    let slots =
        envs.len().min(policy.slots()).min(region.as_ref().map_or(usize::MAX, |r| r.reference.slots()));
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
    let mut reference = vec![0.0; if region.is_some() { slots * action_dim } else { 0 }];
    let mut active = vec![false; slots];
    let mut finished: Vec<Option<(Episode, EpisodeCost)>> = seeds.iter().map(|_| None).collect();
    let mut progress = RolloutProgress { episodes: seeds.len(), ..RolloutProgress::default() };
    let mut waiting = seeds.iter().enumerate();
    loop {
        for (slot, free) in running.iter_mut().enumerate().filter(|(_, r)| r.is_none()) {
            let Some((index, seed)) = waiting.next() else { break };
            let row = &mut observations[slot * observation_dim..(slot + 1) * observation_dim];
            row.copy_from_slice(envs.reset(slot, seed.reset)?);
            policy.reset(slot, ResetScope::Task, seed.noise);
            if let Some(region) = &mut region {
                region.reference.reset(slot, ResetScope::Task, seed.noise);
            }
            let builder = EpisodeBuilder::new(format!("{source}_{index}"), source, seed.reset);
            let mut limits = limits;
            if let Some(limits) = &mut limits {
                limits.begin();
            }
            *free = Some(Running { index, steps: 0, builder, limits, cost: EpisodeCost::default() });
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
        if let Some(region) = &mut region {
            region.reference.act(
                Rows::new(&observations[..(last + 1) * observation_dim], observation_dim),
                ActMode::Exploit,
                RowsMut::new(&mut reference[..(last + 1) * action_dim], action_dim),
            )?;
        }
        for (slot, r) in running.iter_mut().enumerate() {
            active[slot] = r.is_some();
            let Some(r) = r else { continue };
            let row = slot * action_dim..(slot + 1) * action_dim;
            let action = envs.action_mut(slot);
            action.copy_from_slice(&actions[row.clone()]);
            if let Some(region) = &region {
                r.cost.clipped_steps += u64::from(clip_to_region(action, &reference[row], region.radius));
            }
        }
        envs.step(&active)?;
        for (slot, place) in running.iter_mut().enumerate() {
            let Some(r) = place else { continue };
            let (next_observation, _, executed, mut outcome) = envs.last(slot);
            let proposed = &actions[slot * action_dim..(slot + 1) * action_dim];
            r.steps += 1;
            if !outcome.reward.is_finite() {
                let env = envs.spec().name.clone();
                let what = format!("the reward is {}", outcome.reward);
                return Err(EnvError::Diverged { env, step: r.steps, what }.into());
            }
            if r.steps >= max_steps && outcome.end == StepEnd::Running {
                outcome.end = StepEnd::Truncated;
            }
            r.cost.interventions += outcome.figures.interventions;
            if let Some(limits) = &mut r.limits {
                let reached = limits.observe(&outcome.safety, &outcome.figures);
                // An episode that is over anyway was not ended by a limit.
                if outcome.end == StepEnd::Running && reached.is_some() {
                    r.cost.limit = reached;
                    outcome.end = StepEnd::Truncated;
                }
                r.cost.path = limits.path();
                r.cost.energy_joules = limits.energy_joules();
            }
            let row = &mut observations[slot * observation_dim..(slot + 1) * observation_dim];
            r.builder.push(row, proposed, executed, next_observation, outcome);
            row.copy_from_slice(next_observation);
            let feedback = [Feedback { slot, outcome, executed: Some(executed) }];
            policy.observe(&feedback);
            if let Some(region) = &mut region {
                region.reference.observe(&feedback);
            }
            progress.env_steps += 1;
            if outcome.end.is_last()
                && let Some(r) = place.take()
            {
                let mut episode = r.builder.finish();
                if let Some(reached) = r.cost.limit {
                    episode.attributes.insert("limit".into(), reached.limit.name().into());
                }
                finished[r.index] = Some((episode, r.cost));
                progress.finished += 1;
            }
        }
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

/// Runs one episode without exploration in the first world of `envs` and draws it at the start, every `every` steps and at the end.
/// A world that cannot be drawn is not stepped: the film has no frames then.
///
/// # Errors
/// As [`rollout`].
pub fn film(
    envs: &mut VecEnv,
    policy: &mut dyn Policy,
    seeds: EpisodeSeeds,
    every: usize,
    (width, height): (usize, usize),
    interrupt: &Interrupt,
) -> Result<Film, EngineError> {
    let spec = envs.spec().clone();
    let every = every.max(1);
    let mut observation = envs.reset(0, seeds.reset)?.to_vec();
    policy.reset(0, ResetScope::Task, seeds.noise);
    let mut film = Film {
        frames: envs.render(0, width, height).into_iter().collect(),
        frame_secs: spec.step_secs * every as f64,
        steps: 0,
        episode_return: 0.0,
        success: false,
    };
    if film.frames.is_empty() {
        return Ok(film);
    }
    loop {
        if interrupt.requested() {
            return Err(EngineError::Interrupted);
        }
        policy.act(
            Rows::new(&observation, spec.observation_dim()),
            ActMode::Exploit,
            RowsMut::new(envs.action_mut(0), spec.action_dim()),
        )?;
        envs.step(&[true])?;
        let (next_observation, _, executed, outcome) = envs.last(0);
        observation.copy_from_slice(next_observation);
        policy.observe(&[Feedback { slot: 0, outcome, executed: Some(executed) }]);
        film.steps += 1;
        film.episode_return += f64::from(outcome.reward);
        film.success |= outcome.success;
        let last = outcome.end.is_last() || film.steps >= spec.max_steps.max(1);
        if last || film.steps.is_multiple_of(every) {
            film.frames.extend(envs.render(0, width, height));
        }
        if last {
            return Ok(film);
        }
    }
}
