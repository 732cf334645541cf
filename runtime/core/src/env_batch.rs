//! Worlds that are stepped together: in this process on all cores, or by one message to the process that they live in.

use rayon::prelude::*;

use crate::{Env, EnvError, EnvSpec, Frame, Outcome, Overlay, TrainingProgress};

/// One world's part in a step of several.
#[derive(Clone, Debug, Default)]
pub struct WorldStep {
    /// Whether this world takes part; the rest is left alone where it does not.
    pub active: bool,
    /// In: `[action_dim]`, normalised.
    pub action: Vec<f32>,
    /// Out: `[action_dim]`, what was executed in fact.
    pub executed: Vec<f32>,
    /// Out: `[observation_dim]`. The last one of an episode is the final observation, never the next episode's first.
    pub observation: Vec<f32>,
    /// Out: what the step brought.
    pub outcome: Outcome,
}

impl WorldStep {
    /// Rows of the right lengths.
    #[must_use]
    pub fn new(spec: &EnvSpec) -> Self {
        Self {
            active: false,
            action: vec![0.0; spec.action_dim()],
            executed: vec![0.0; spec.action_dim()],
            observation: vec![0.0; spec.observation_dim()],
            outcome: Outcome::default(),
        }
    }
}

/// Several worlds of one spec. Each is a function of its own seed and actions, as an [`Env`] is, however they are stepped.
pub trait EnvBatch: Send {
    /// The spec of every world.
    fn spec(&self) -> &EnvSpec;

    /// Worlds, at least one.
    fn worlds(&self) -> usize;

    /// Starts an episode in one world, see [`Env::reset`].
    ///
    /// # Errors
    /// As [`Env::reset`].
    fn reset(&mut self, world: usize, seed: u64, observation: &mut [f32]) -> Result<(), EnvError>;

    /// Steps the active worlds of `steps`, which has an entry for each, see [`Env::step`].
    ///
    /// # Errors
    /// As [`Env::step`]: the first error by position, so that it does not depend on timing.
    fn step(&mut self, steps: &mut [WorldStep]) -> Result<(), EnvError>;

    /// Sets the speed scale of every world, see [`Env::set_speed_scale`].
    ///
    /// # Errors
    /// As [`Env::set_speed_scale`].
    fn set_speed_scale(&mut self, scale: f64) -> Result<(), EnvError>;

    /// Says to every world how far training has come, see [`Env::set_progress`].
    fn set_progress(&mut self, _progress: Option<TrainingProgress<'_>>) -> Option<f64> {
        None
    }

    /// What whoever uses these worlds should know, a sentence each.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Says what pictures of every world show, see [`Env::set_overlay`].
    fn set_overlay(&mut self, _overlay: Overlay) {}

    /// Draws a world, see [`Env::render`].
    fn render(&self, _world: usize, _width: usize, _height: usize) -> Option<Frame> {
        None
    }
}

/// Worlds in this process, stepped on all cores.
pub(crate) struct LocalWorlds {
    spec: EnvSpec,
    envs: Vec<Box<dyn Env>>,
}

impl LocalWorlds {
    pub(crate) fn new(envs: Vec<Box<dyn Env>>) -> Result<Self, EnvError> {
        let build = |env: String, reason: &str| EnvError::Build { env, reason: reason.to_owned() };
        let Some(first) = envs.first() else {
            return Err(build("vec_env".into(), "no worlds were given"));
        };
        let spec = first.spec().clone();
        if let Some(other) = envs.iter().find(|e| *e.spec() != spec) {
            return Err(build(other.spec().name.clone(), "its spec differs from the first world's"));
        }
        Ok(Self { spec, envs })
    }
}

impl EnvBatch for LocalWorlds {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn worlds(&self) -> usize {
        self.envs.len()
    }

    fn reset(&mut self, world: usize, seed: u64, observation: &mut [f32]) -> Result<(), EnvError> {
        self.envs[world].reset(seed, observation)
    }

    fn step(&mut self, steps: &mut [WorldStep]) -> Result<(), EnvError> {
        let one = |(env, step): (&mut Box<dyn Env>, &mut WorldStep)| {
            if step.active {
                step.outcome = env.step(&step.action, &mut step.observation, &mut step.executed)?;
            }
            Ok(())
        };
        // Errors are collected by position, so the one reported does not depend on timing.
        let results: Vec<Result<(), EnvError>> =
            self.envs.par_iter_mut().zip(steps).with_max_len(1).map(one).collect();
        results.into_iter().collect()
    }

    fn set_speed_scale(&mut self, scale: f64) -> Result<(), EnvError> {
        self.envs.iter_mut().try_for_each(|env| env.set_speed_scale(scale))
    }

    fn set_progress(&mut self, progress: Option<TrainingProgress<'_>>) -> Option<f64> {
        // They are alike, and so are the shares.
        self.envs.iter_mut().fold(None, |_, env| env.set_progress(progress))
    }

    fn set_overlay(&mut self, overlay: Overlay) {
        self.envs.iter_mut().for_each(|env| env.set_overlay(overlay));
    }

    fn render(&self, world: usize, width: usize, height: usize) -> Option<Frame> {
        self.envs[world].render(width, height)
    }
}
