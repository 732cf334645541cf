//! Observations that hold those of the steps before, too: `[o(t), o(t-1), ..., o(t-k)]`, the first one standing in for what was before it.
//!
//! An environment remembers what arrived, with the noise and the delays that it had. A control loop, which begins with the task alone, remembers what the task
//! observed at the end of each step.

use surefoot_core::safety::CommandState;
use surefoot_core::{
    AroundWorld, Env, EnvError, EnvSpec, Field, Frame, Marker, Outcome, Overlay, RobotState, Stream, Task,
    TaskOutcome, TrainingProgress, World, check_row,
};

/// The spec with `steps` older observations behind the present one; their fields are called `NAME@1`, `NAME@2`, ...
fn remembering(spec: &EnvSpec, steps: usize) -> EnvSpec {
    let mut spec = spec.clone();
    let now = spec.observation.clone();
    let older =
        |step: usize| now.iter().map(move |f| Field { name: format!("{}@{step}", f.name), ..f.clone() });
    let past: Vec<Field> = (1..=steps).flat_map(older).collect();
    spec.observation.extend(past);
    spec
}

/// The observations of the last steps, the newest first.
#[derive(Debug)]
struct Past {
    rows: Vec<f32>,
    dim: usize,
}

impl Past {
    fn new(dim: usize, steps: usize) -> Self {
        Self { rows: vec![0.0; dim * steps], dim }
    }

    fn begin(&mut self, first: &[f32]) {
        self.rows.chunks_exact_mut(self.dim).for_each(|row| row.copy_from_slice(first));
    }

    fn push(&mut self, row: &[f32]) {
        let kept = self.rows.len() - self.dim;
        self.rows.copy_within(..kept, self.dim);
        self.rows[..self.dim].copy_from_slice(row);
    }
}

/// An environment with a memory.
pub struct RememberingEnv {
    inner: Box<dyn Env>,
    spec: EnvSpec,
    past: Past,
    /// The newest observation.
    now: Vec<f32>,
    steps: usize,
}

impl RememberingEnv {
    /// Of `steps` steps, at least one.
    pub fn new(inner: Box<dyn Env>, steps: usize) -> Self {
        let dim = inner.spec().observation_dim();
        Self {
            spec: remembering(inner.spec(), steps),
            past: Past::new(dim, steps),
            now: vec![0.0; dim],
            inner,
            steps,
        }
    }

    fn write(&self, observation: &mut [f32]) {
        let (now, past) = observation.split_at_mut(self.now.len());
        now.copy_from_slice(&self.now);
        past.copy_from_slice(&self.past.rows);
    }
}

impl Env for RememberingEnv {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: u64, observation: &mut [f32]) -> Result<(), EnvError> {
        check_row("observation", self.spec.observation_dim(), observation.len())?;
        self.inner.reset(seed, &mut self.now)?;
        self.past.begin(&self.now);
        self.write(observation);
        Ok(())
    }

    fn step(
        &mut self,
        action: &[f32],
        observation: &mut [f32],
        executed: &mut [f32],
    ) -> Result<Outcome, EnvError> {
        check_row("observation", self.spec.observation_dim(), observation.len())?;
        self.past.push(&self.now);
        let outcome = self.inner.step(action, &mut self.now, executed)?;
        self.write(observation);
        Ok(outcome)
    }

    fn set_speed_scale(&mut self, scale: f64) -> Result<(), EnvError> {
        self.inner.set_speed_scale(scale)
    }

    fn set_progress(&mut self, progress: Option<TrainingProgress<'_>>) -> Option<f64> {
        self.inner.set_progress(progress)
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
        let (task, world) = self.inner.into_robot()?;
        Some((Box::new(RememberingTask::new(task, self.steps)), world))
    }

    fn set_overlay(&mut self, overlay: Overlay) {
        self.inner.set_overlay(overlay);
    }

    fn render(&self, width: usize, height: usize) -> Option<Frame> {
        self.inner.render(width, height)
    }
}

/// A task with a memory.
struct RememberingTask {
    inner: Box<dyn Task>,
    spec: EnvSpec,
    past: Past,
    /// What was observed at the end of the last step.
    last: Vec<f32>,
    /// Whether anything was observed in this episode.
    begun: bool,
}

impl RememberingTask {
    fn new(inner: Box<dyn Task>, steps: usize) -> Self {
        let dim = inner.spec().observation_dim();
        Self {
            spec: remembering(inner.spec(), steps),
            past: Past::new(dim, steps),
            last: vec![0.0; dim],
            inner,
            begun: false,
        }
    }

    /// The first observation of an episode stands in for those before it.
    fn begin(&mut self) {
        self.past.begin(&self.last);
        self.begun = true;
    }
}

impl Task for RememberingTask {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, stream: &mut Stream, initial: &mut RobotState) {
        self.begun = false;
        self.inner.reset(stream, initial);
    }

    fn desired(
        &mut self,
        state: &RobotState,
        command: CommandState<'_>,
        action: &[f32],
        desired: &mut [f64],
    ) {
        self.inner.desired(state, command, action, desired);
    }

    fn executed(&self, before: &[f64], after: &[f64], effort: &[f64], step_secs: f64, action: &mut [f32]) {
        self.inner.executed(before, after, effort, step_secs, action);
    }

    fn observe(&mut self, state: &RobotState, observation: &mut [f32]) {
        let (now, past) = observation.split_at_mut(self.last.len());
        self.inner.observe(state, now);
        if !self.begun {
            self.last.copy_from_slice(now);
            self.begin();
        }
        past.copy_from_slice(&self.past.rows);
    }

    fn outcome(&mut self, state: &RobotState, executed: &[f32]) -> TaskOutcome {
        let outcome = self.inner.outcome(state, executed);
        if self.begun {
            self.past.push(&self.last);
        }
        self.inner.observe(state, &mut self.last);
        if !self.begun {
            // Nobody asked for the first one: what is left of an episode before must not stand in for it.
            self.begin();
        }
        outcome
    }

    fn markers(&self) -> Vec<Marker> {
        self.inner.markers()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EnvConfig, EnvContext};

    fn env(text: &str) -> Box<dyn Env> {
        let config: EnvConfig = toml::from_str(text).unwrap();
        config.build(&EnvContext::default()).unwrap()
    }

    /// Rows of an episode under the same actions.
    fn rows(env: &mut dyn Env, steps: usize) -> Vec<Vec<f32>> {
        let (o, a) = (env.spec().observation_dim(), env.spec().action_dim());
        let (mut row, mut executed) = (vec![0.0; o], vec![0.0; a]);
        env.reset(4, &mut row).unwrap();
        let mut rows = vec![row.clone()];
        for t in 0..steps {
            let action: Vec<f32> = (0..a).map(|i| ((t + i) as f32).sin()).collect();
            env.step(&action, &mut row, &mut executed).unwrap();
            rows.push(row.clone());
        }
        rows
    }

    #[test]
    fn what_is_remembered_is_what_was_seen() {
        let noise = "observation_noise = { \"*\" = 0.01 }, observation_delay_steps = [1, 1]";
        let plain = rows(&mut *env(&format!("push = {{ randomisation = {{ {noise} }} }}")), 9);
        let text = format!("push = {{ randomisation = {{ {noise}, observation_history_steps = 2 }} }}");
        let mut remembering = env(&text);
        let dim = plain[0].len();
        let names: Vec<&str> = remembering.spec().observation.iter().map(|f| f.name.as_str()).collect();
        assert!(names.len() == 3 * dim && names[dim] == format!("{}@1", names[0]));
        for (t, row) in rows(&mut *remembering, 9).iter().enumerate() {
            for age in 0..=2 {
                assert_eq!(
                    row[age * dim..(age + 1) * dim],
                    plain[t.saturating_sub(age)],
                    "step {t}, {age} ago"
                );
            }
        }
        // A second episode does not remember the first one.
        assert_eq!(rows(&mut *remembering, 2)[0][dim..2 * dim], plain[0]);
    }

    /// The task, as a control loop has it, remembers what it observed at the end of each step, however often it is asked.
    #[test]
    fn a_task_remembers_the_ends_of_steps() {
        let (mut plain, world) = env("reach = {}").into_robot().unwrap();
        let text = "reach = { randomisation = { observation_history_steps = 2 } }";
        let (mut task, _) = env(text).into_robot().unwrap();
        let (dim, whole) = (plain.spec().observation_dim(), task.spec().observation_dim());
        let mut initial = RobotState::zeros(world.contract());
        let action = vec![0.0; plain.spec().action_dim()];
        for episode in 0..2 {
            plain.begin_episode(episode, &mut initial);
            task.begin_episode(episode, &mut initial);
            let mut seen: Vec<Vec<f32>> = Vec::new();
            for step in 0..6_u8 {
                let mut state = initial.clone();
                state.position.iter_mut().for_each(|p| *p += 0.01 * f64::from(step));
                if step > 0 {
                    task.outcome(&state, &action);
                }
                let (mut row, mut now) = (vec![0.0; whole], vec![0.0; dim]);
                plain.observe(&state, &mut now);
                seen.push(now);
                for _ in 0..3 {
                    task.observe(&state, &mut row);
                    for age in 0..=2 {
                        let expected = &seen[usize::from(step).saturating_sub(age)];
                        assert_eq!(row[age * dim..(age + 1) * dim], **expected, "step {step}, {age} ago");
                    }
                }
            }
            assert_ne!(seen[0], seen[5]);
        }
        let mut row = vec![0.0; whole];
        let counted = allocation_counter::measure(|| {
            task.outcome(&initial, &action);
            task.observe(&initial, &mut row);
        });
        assert_eq!(counted.count_total, 0);
    }

    /// A loop whose policy is late may end a step before it has told of the episode's first state.
    #[test]
    fn a_step_that_ends_unobserved_does_not_remember_the_episode_before() {
        let text = "reach = { randomisation = { observation_history_steps = 2 } }";
        let (mut task, world) = env(text).into_robot().unwrap();
        let mut state = RobotState::zeros(world.contract());
        let action = vec![0.0; task.spec().action_dim()];
        let mut row = vec![0.0; task.spec().observation_dim()];
        task.begin_episode(0, &mut state);
        task.observe(&state, &mut row);
        task.begin_episode(1, &mut state);
        state.position.iter_mut().for_each(|p| *p += 0.1);
        task.outcome(&state, &action);
        task.observe(&state, &mut row);
        let dim = row.len() / 3;
        assert!(row[dim..2 * dim] == row[..dim] && row[2 * dim..] == row[..dim], "{row:?}");
    }

    #[test]
    fn too_long_a_memory_is_refused() {
        let config: EnvConfig =
            toml::from_str("push = { randomisation = { observation_history_steps = 1000 } }").unwrap();
        let refused = config.build(&EnvContext::default()).err().unwrap().to_string();
        assert!(refused.contains("observation_history_steps") && refused.contains("1000"), "{refused}");
    }
}
