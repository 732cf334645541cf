//! Domain randomisation: what a simulated world does not know of the real one, drawn anew for every episode.
//!
//! Every number is a function of the episode's seed: the same seed gives the same world, on any thread and after any other
//! episode. Masses, friction, gains and damping are the world's ([`RapierWorld`](crate::RapierWorld)); delays and noise stand
//! between the world and the policy ([`VariedEnv`]).

use std::collections::{BTreeMap, VecDeque};

use rapier3d::pipeline::PhysicsWorld;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{
    AroundWorld, Env, EnvError, EnvSpec, Frame, Outcome, Overlay, Stream, Task, TrainingProgress, World,
};

use crate::curriculum::Curriculum;
use crate::model::Model;
use crate::observation_history::RememberingEnv;
use crate::tasks::build_error;
use crate::world::Handles;

/// Longest delay, env steps.
const MAX_DELAY_STEPS: usize = 100;
/// Longest memory of observations, env steps.
const MAX_HISTORY_STEPS: usize = 100;

/// What is drawn for every episode. Without this table nothing is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Randomisation {
    /// Lowest and highest factor on the mass and inertia of each moving body, drawn for each.
    pub mass_scale: [f64; 2],
    /// Lowest and highest factor on friction, one for the whole world.
    pub friction_scale: [f64; 2],
    /// Lowest and highest factor on what each actuator does: servo gains, motor efforts.
    pub gain_scale: [f64; 2],
    /// Lowest and highest factor on the damping of each joint.
    pub damping_scale: [f64; 2],
    /// Fewest and most env steps from an action to its effect, beside the contract's own delay.
    pub action_delay_steps: [usize; 2],
    /// Fewest and most env steps by which observations are late.
    pub observation_delay_steps: [usize; 2],
    /// Standard deviation of noise on each action, in units of the action (1 is the largest).
    pub action_noise: f64,
    /// Standard deviation of noise by name of the observation, in its own unit; `"*"` stands for all that are not named.
    pub observation_noise: BTreeMap<String, f64>,
    /// Steps whose observations stand behind the present one, for a policy that is to tell what was drawn.
    pub observation_history_steps: usize,
    /// Widens all of these in the course of training, but the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curriculum: Option<Curriculum>,
}

impl Default for Randomisation {
    fn default() -> Self {
        Self {
            mass_scale: [1.0; 2],
            friction_scale: [1.0; 2],
            gain_scale: [1.0; 2],
            damping_scale: [1.0; 2],
            action_delay_steps: [0; 2],
            observation_delay_steps: [0; 2],
            action_noise: 0.0,
            observation_noise: BTreeMap::new(),
            observation_history_steps: 0,
            curriculum: None,
        }
    }
}

impl Randomisation {
    /// Whether nothing is drawn.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Share of the stated width that ranges have when training has come so far, where there is a curriculum; `None`: outside of training.
    #[must_use]
    pub fn share(&self, progress: Option<TrainingProgress<'_>>) -> Option<f64> {
        self.curriculum.zip(progress).map(|(curriculum, progress)| curriculum.share(&progress))
    }

    /// As wide as it is when training has come so far; `None`: as stated.
    #[must_use]
    pub fn after(&self, progress: Option<TrainingProgress<'_>>) -> Self {
        let Some(share) = self.share(progress).filter(|share| *share < 1.0) else { return self.clone() };
        // Factors widen from 1, delays and noise from 0.
        let factor = |range: [f64; 2]| range.map(|end| 1.0 + share * (end - 1.0));
        let delay = |range: [usize; 2]| range.map(|end| (share * end as f64).floor() as usize);
        Self {
            mass_scale: factor(self.mass_scale),
            friction_scale: factor(self.friction_scale),
            gain_scale: factor(self.gain_scale),
            damping_scale: factor(self.damping_scale),
            action_delay_steps: delay(self.action_delay_steps),
            observation_delay_steps: delay(self.observation_delay_steps),
            action_noise: share * self.action_noise,
            observation_noise: self.observation_noise.iter().map(|(k, n)| (k.clone(), share * n)).collect(),
            observation_history_steps: self.observation_history_steps,
            curriculum: self.curriculum,
        }
    }

    pub(crate) fn draws_physics(&self) -> bool {
        [self.mass_scale, self.friction_scale, self.gain_scale, self.damping_scale]
            .iter()
            .any(|r| *r != [1.0; 2])
    }

    fn draws_link(&self) -> bool {
        self.action_noise != 0.0
            || self.observation_noise.values().any(|n| *n != 0.0)
            || self.action_delay_steps != [0; 2]
            || self.observation_delay_steps != [0; 2]
    }

    /// Refuses what cannot be drawn for an environment of this spec.
    fn check(&self, spec: &EnvSpec) -> Result<(), EnvError> {
        let Self {
            mass_scale,
            friction_scale,
            gain_scale,
            damping_scale,
            action_delay_steps,
            observation_delay_steps,
            action_noise,
            observation_noise,
            observation_history_steps,
            curriculum,
        } = self;
        let refuse = |what: String| Err(build_error(&spec.name, format!("randomisation: {what}")));
        for (key, [low, high], least) in [
            ("mass_scale", mass_scale, 1e-3),
            ("friction_scale", friction_scale, 0.0),
            ("gain_scale", gain_scale, 0.0),
            ("damping_scale", damping_scale, 0.0),
        ] {
            if !(*low >= least && low <= high && *high <= 1e3) {
                return refuse(format!(
                    "{key} must be [low, high] between {least} and 1000, low first, found [{low}, {high}]"
                ));
            }
        }
        for (key, [fewest, most]) in
            [("action_delay_steps", action_delay_steps), ("observation_delay_steps", observation_delay_steps)]
        {
            if fewest > most || *most > MAX_DELAY_STEPS {
                return refuse(format!(
                    "{key} must be [fewest, most], at most {MAX_DELAY_STEPS}, found [{fewest}, {most}]"
                ));
            }
        }
        if *observation_history_steps > MAX_HISTORY_STEPS {
            return refuse(format!(
                "observation_history_steps must be at most {MAX_HISTORY_STEPS}, found {observation_history_steps}"
            ));
        }
        let noises =
            observation_noise.iter().map(|(name, noise)| (format!("observation_noise.{name}"), *noise));
        for (key, noise) in noises.chain([("action_noise".to_owned(), *action_noise)]) {
            if !(noise.is_finite() && noise >= 0.0) {
                return refuse(format!("{key} must not be negative, found {noise}"));
            }
        }
        if let Some(Err(what)) = curriculum.as_ref().map(Curriculum::check) {
            return refuse(what);
        }
        let known = |name: &String| name == "*" || spec.observation.iter().any(|f| f.name == *name);
        if let Some(name) = observation_noise.keys().find(|name| !known(name)) {
            let names: Vec<&str> = spec.observation.iter().map(|f| f.name.as_str()).collect();
            return refuse(format!("no observation is called {name}: expected one of {}", names.join(", ")));
        }
        Ok(())
    }

    /// `env` with delays, noise and history, where any are asked for.
    ///
    /// # Errors
    /// When a number is out of range or names no observation.
    pub fn around(&self, env: Box<dyn Env>) -> Result<Box<dyn Env>, EnvError> {
        self.check(env.spec())?;
        let env = if self.draws_link() { Box::new(VariedEnv::new(env, self)) } else { env };
        let steps = self.observation_history_steps;
        Ok(if steps > 0 { Box::new(RememberingEnv::new(env, steps)) } else { env })
    }
}

/// What was drawn of a world for the present episode.
#[derive(Clone, Debug)]
pub struct DrawnPhysics {
    /// By the loader's bodies.
    mass: Vec<f32>,
    friction: f32,
    /// By the contract's joints.
    pub gain: Vec<f64>,
    /// By the loader's joints.
    damping: Vec<f32>,
    /// Damping of the model's own, by the loader's joints.
    stated_damping: Vec<f32>,
}

impl DrawnPhysics {
    /// The world as the model has it.
    pub fn none(model: &Model, driven: usize) -> Self {
        Self {
            mass: vec![1.0; model.robot.bodies.len()],
            friction: 1.0,
            gain: vec![1.0; driven],
            damping: vec![1.0; model.robot.joints.len()],
            stated_damping: model.robot.joints.iter().map(|j| j.damping_per_dof).collect(),
        }
    }

    /// Draws everything for the episode of `seed`; always in the same order, so one range does not move another's numbers.
    pub fn draw(&mut self, ranges: &Randomisation, seed: u64) {
        let fill =
            |purpose: &'static str, [low, high]: [f64; 2], values: &mut dyn Iterator<Item = &mut f32>| {
                let mut stream = Stream::new(seed, purpose, 0);
                values.for_each(|value| *value = stream.uniform(low, high) as f32);
            };
        fill("random masses", ranges.mass_scale, &mut self.mass.iter_mut());
        fill("random friction", ranges.friction_scale, &mut std::iter::once(&mut self.friction));
        fill("random damping", ranges.damping_scale, &mut self.damping.iter_mut());
        let mut stream = Stream::new(seed, "random gains", 0);
        let [low, high] = ranges.gain_scale;
        self.gain.iter_mut().for_each(|gain| *gain = stream.uniform(low, high));
    }

    /// Changes a freshly inserted world.
    pub fn apply(&self, physics: &mut PhysicsWorld, handles: &Handles) {
        for (handle, scale) in handles.bodies.iter().zip(&self.mass) {
            if let Some(body) = handle.and_then(|h| physics.bodies.get_mut(h))
                && body.is_dynamic()
            {
                // The loader gives all mass to bodies, none to colliders.
                let mut properties = body.mass_properties().local_mprops;
                properties.inv_mass /= scale;
                properties.inv_principal_inertia /= *scale;
                body.set_additional_mass_properties(properties, true);
            }
        }
        for handle in handles.colliders.iter().flatten() {
            if let Some(collider) = physics.colliders.get_mut(*handle) {
                collider.set_friction(collider.friction() * self.friction);
            }
        }
        for ((handle, scale), stated) in handles.joints.iter().zip(&self.damping).zip(&self.stated_damping) {
            if let Some((multibody, link)) = handle.and_then(|h| physics.multibody_joints.get_mut(h))
                && let Some((first, count)) =
                    multibody.link(link).map(|l| (l.assembly_id(), l.joint().ndofs()))
            {
                let own = &mut multibody.damping_mut().rows_mut(first, count);
                own.iter_mut().for_each(|d| *d += (scale - 1.0) * stated);
            }
        }
    }
}

/// An environment whose actions and observations are late and noisy.
pub struct VariedEnv {
    inner: Box<dyn Env>,
    stated: Randomisation,
    /// As wide as they are now.
    ranges: Randomisation,
    observation_std: Vec<f32>,
    noise: Stream,
    action_delay: usize,
    /// Actions that are on their way, the oldest first.
    actions: VecDeque<Vec<f32>>,
    /// True observations that are on their way, the oldest first.
    observations: VecDeque<Vec<f32>>,
    noisy_action: Vec<f32>,
}

impl VariedEnv {
    fn new(inner: Box<dyn Env>, ranges: &Randomisation) -> Self {
        Self {
            observation_std: Self::observation_std(inner.spec(), ranges),
            noisy_action: vec![0.0; inner.spec().action_dim()],
            inner,
            stated: ranges.clone(),
            ranges: ranges.clone(),
            noise: Stream::new(0, "link noise", 0),
            action_delay: 0,
            actions: VecDeque::new(),
            observations: VecDeque::new(),
        }
    }

    fn observation_std(spec: &EnvSpec, ranges: &Randomisation) -> Vec<f32> {
        let std = |name: &str| {
            let named = ranges.observation_noise.get(name).or_else(|| ranges.observation_noise.get("*"));
            named.copied().unwrap_or(0.0) as f32
        };
        spec.observation.iter().map(|f| std(&f.name)).collect()
    }

    /// Takes the true observation in and gives the one that has arrived, with noise.
    fn seen(&mut self, observation: &mut [f32]) {
        if let Some(mut arrived) = self.observations.pop_front() {
            arrived.iter_mut().zip(observation.iter_mut()).for_each(|(a, o)| std::mem::swap(a, o));
            self.observations.push_back(arrived);
        }
        for (value, std) in observation.iter_mut().zip(&self.observation_std) {
            if *std > 0.0 {
                *value += std * self.noise.normal() as f32;
            }
        }
    }
}

impl Env for VariedEnv {
    fn spec(&self) -> &EnvSpec {
        self.inner.spec()
    }

    fn reset(&mut self, seed: u64, observation: &mut [f32]) -> Result<(), EnvError> {
        self.inner.reset(seed, observation)?;
        let mut delays = Stream::new(seed, "random delays", 0);
        let mut draw = |[fewest, most]: [usize; 2]| fewest + delays.below(most - fewest + 1);
        self.action_delay = draw(self.ranges.action_delay_steps);
        let observation_delay = draw(self.ranges.observation_delay_steps);
        self.noise = Stream::new(seed, "link noise", 0);
        // Until the first action arrives the robot is asked for nothing; what was last seen is the start.
        self.actions = (0..self.action_delay).map(|_| vec![0.0; self.noisy_action.len()]).collect();
        self.observations = (0..observation_delay).map(|_| observation.to_vec()).collect();
        self.seen(observation);
        Ok(())
    }

    fn step(
        &mut self,
        action: &[f32],
        observation: &mut [f32],
        executed: &mut [f32],
    ) -> Result<Outcome, EnvError> {
        surefoot_core::check_row("action", self.noisy_action.len(), action.len())?;
        self.noisy_action.copy_from_slice(action);
        if self.ranges.action_noise > 0.0 {
            for a in &mut self.noisy_action {
                *a += (self.ranges.action_noise * self.noise.normal()) as f32;
            }
        }
        if let Some(mut arrived) = self.actions.pop_front() {
            std::mem::swap(&mut arrived, &mut self.noisy_action);
            self.actions.push_back(arrived);
        }
        let outcome = self.inner.step(&self.noisy_action, observation, executed)?;
        self.seen(observation);
        Ok(outcome)
    }

    fn set_speed_scale(&mut self, scale: f64) -> Result<(), EnvError> {
        self.inner.set_speed_scale(scale)
    }

    fn set_progress(&mut self, progress: Option<TrainingProgress<'_>>) -> Option<f64> {
        self.ranges = self.stated.after(progress);
        self.observation_std = Self::observation_std(self.inner.spec(), &self.ranges);
        self.inner.set_progress(progress);
        self.stated.share(progress)
    }

    fn tracking_tolerance(&self) -> Option<f64> {
        self.inner.tracking_tolerance()
    }

    fn around_robot(self: Box<Self>, around: AroundWorld<'_>) -> Result<Box<dyn Env>, EnvError> {
        let mut env = *self;
        env.inner = env.inner.around_robot(around)?;
        Ok(Box::new(env))
    }

    fn into_robot(self: Box<Self>) -> Option<(Box<dyn Task>, Box<dyn World>)> {
        self.inner.into_robot()
    }

    fn set_overlay(&mut self, overlay: Overlay) {
        self.inner.set_overlay(overlay);
    }

    fn render(&self, width: usize, height: usize) -> Option<Frame> {
        self.inner.render(width, height)
    }
}
