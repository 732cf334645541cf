//! A task in a world, with the safety chain between: the environment that every simulated robot is trained in.

use surefoot_safety::{LimitMonitor, SafetyChain, Verdict};

use crate::env::check_row;
use crate::{
    ActionDelay, AroundWorld, Env, EnvError, EnvSpec, Frame, Outcome, Overlay, RobotState, StepEnd,
    StepFigures, Task, TrainingProgress, World,
};

/// `Task` over `World` with a chain that every command goes through.
pub struct RobotEnv {
    task: Box<dyn Task>,
    world: Box<dyn World>,
    chain: SafetyChain,
    monitor: LimitMonitor,
    ticks_per_step: usize,
    step_secs: f64,
    steps: usize,
    state: RobotState,
    desired: Vec<f64>,
    before: Vec<f64>,
    effort: Vec<f64>,
    tracking_tolerance: f64,
    delay: ActionDelay,
    control_secs: f64,
    /// Ticks in a row, up to now, in which the chain changed or refused a command.
    filter_run_ticks: u64,
    /// Whether the last command was refused.
    stopping: bool,
}

impl RobotEnv {
    /// Joins the parts; limits and rates come from the world's contract.
    ///
    /// # Errors
    /// When the contract is unusable.
    pub fn new(
        task: Box<dyn Task>,
        world: Box<dyn World>,
        tracking_tolerance: f64,
    ) -> Result<Self, EnvError> {
        let contract = world.contract();
        let env = || task.spec().name.clone();
        let build = |e: crate::ContractError| EnvError::Build { env: env(), reason: e.to_string() };
        let chain = contract.safety_chain().map_err(build)?;
        let ticks_per_step = contract.ticks_per_step().map_err(build)?;
        let joints = contract.joints.len();
        Ok(Self {
            monitor: LimitMonitor::new(chain.limits(), contract.control_secs()),
            step_secs: ticks_per_step as f64 * contract.control_secs(),
            control_secs: contract.control_secs(),
            filter_run_ticks: 0,
            stopping: false,
            state: RobotState::zeros(contract),
            delay: ActionDelay::new(contract.action_delay_ticks, ticks_per_step, task.spec().action_dim()),
            chain,
            ticks_per_step,
            steps: 0,
            desired: vec![0.0; joints],
            before: vec![0.0; joints],
            effort: vec![0.0; joints],
            tracking_tolerance,
            task,
            world,
        })
    }

    /// The state of the world after the last reset or step: for scripted demonstrators and tests.
    #[must_use]
    pub const fn state(&self) -> &RobotState {
        &self.state
    }

    fn check_finite(&self) -> Result<(), EnvError> {
        match self.state.first_not_finite(self.world.contract()) {
            None => Ok(()),
            Some(what) => {
                Err(EnvError::Diverged { env: self.task.spec().name.clone(), step: self.steps, what })
            }
        }
    }
}

impl Env for RobotEnv {
    fn spec(&self) -> &EnvSpec {
        self.task.spec()
    }

    fn reset(&mut self, seed: u64, observation: &mut [f32]) -> Result<(), EnvError> {
        check_row("observation", self.spec().observation_dim(), observation.len())?;
        let mut initial = RobotState::zeros(self.world.contract());
        self.task.begin_episode(seed, &mut initial);
        self.world.vary(seed);
        self.world.reset(&initial)?;
        self.world.read(&mut self.state)?;
        self.chain.arm(&self.state.position)?;
        self.monitor.arm(&self.state.position);
        self.delay.reset();
        self.steps = 0;
        self.filter_run_ticks = 0;
        self.stopping = false;
        self.check_finite()?;
        self.task.observe(&self.state, observation);
        Ok(())
    }

    fn step(
        &mut self,
        action: &[f32],
        observation: &mut [f32],
        executed: &mut [f32],
    ) -> Result<Outcome, EnvError> {
        check_row("action", self.spec().action_dim(), action.len())?;
        check_row("executed action", self.spec().action_dim(), executed.len())?;
        check_row("observation", self.spec().observation_dim(), observation.len())?;
        for (field, value) in self.spec().action.iter().zip(action) {
            let env = || self.spec().name.clone();
            field.index(*value).map_err(|choice| EnvError::Choice { env: env(), choice })?;
        }
        let counted = self.monitor.counts();
        self.before.copy_from_slice(self.chain.state().position);
        self.effort.fill(0.0);
        let mut figures = StepFigures::default();
        self.delay.decide(action);
        for tick in 0..self.ticks_per_step {
            let acting = self.delay.in_force(tick);
            self.task.desired(&self.state, self.chain.state(), acting, &mut self.desired);
            let command = self.chain.admit(&self.desired);
            self.monitor.observe(&command);
            for (sum, effort) in self.effort.iter_mut().zip(command.effort()) {
                *sum += effort / self.ticks_per_step as f64;
            }
            let verdict = command.verdict();
            self.filter_run_ticks = if verdict > Verdict::Passed { self.filter_run_ticks + 1 } else { 0 };
            figures.filter_run_ticks = figures.filter_run_ticks.max(self.filter_run_ticks);
            figures.stops += u64::from(verdict == Verdict::Stopped && !self.stopping);
            self.stopping = verdict == Verdict::Stopped;
            self.world.write(command)?;
            self.world.read(&mut self.state)?;
            let moving =
                if command.velocity().is_empty() { &self.state.velocity } else { command.velocity() };
            figures.path += moving.iter().map(|v| v.abs()).sum::<f64>() * self.control_secs;
            if !command.effort().is_empty() {
                let power = command.effort().iter().zip(&self.state.velocity).map(|(e, v)| (e * v).abs());
                *figures.energy_joules.get_or_insert(0.0) += power.sum::<f64>() * self.control_secs;
            }
            self.monitor.observe_measured(&self.state.position, self.tracking_tolerance);
        }
        self.steps += 1;
        self.check_finite()?;
        let after = self.chain.state().position;
        self.task.executed(&self.before, after, &self.effort, self.step_secs, executed);
        let judged = self.task.outcome(&self.state, executed);
        self.task.observe(&self.state, observation);
        let truncated = self.steps >= self.spec().max_steps;
        let now = self.monitor.counts();
        Ok(Outcome {
            reward: judged.reward,
            end: StepEnd::from_flags(judged.terminated, truncated),
            success: judged.success,
            safety: surefoot_safety::SafetyCounts {
                ticks: now.ticks - counted.ticks,
                adjusted: now.adjusted - counted.adjusted,
                stops: now.stops - counted.stops,
                violations: now.violations - counted.violations,
            },
            figures,
        })
    }

    fn set_speed_scale(&mut self, scale: f64) -> Result<(), EnvError> {
        Ok(self.chain.set_speed_scale(scale)?)
    }

    fn set_progress(&mut self, progress: Option<TrainingProgress<'_>>) -> Option<f64> {
        self.world.set_progress(progress)
    }

    fn tracking_tolerance(&self) -> Option<f64> {
        Some(self.tracking_tolerance)
    }

    fn around_robot(self: Box<Self>, around: AroundWorld<'_>) -> Result<Box<dyn Env>, EnvError> {
        let mut env = *self;
        env.world = around(env.world)?;
        Ok(Box::new(env))
    }

    fn into_robot(self: Box<Self>) -> Option<(Box<dyn Task>, Box<dyn World>)> {
        Some((self.task, self.world))
    }

    fn set_overlay(&mut self, overlay: Overlay) {
        self.world.set_overlay(overlay);
    }

    fn render(&self, width: usize, height: usize) -> Option<Frame> {
        self.world.render(&self.task.markers(), width, height)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use surefoot_safety::{CommandState, SafeCommand};

    use super::*;
    use crate::contract::CommandKind;
    use crate::{Field, Robot, RobotContract, RobotError, Stamp, Stream, TaskOutcome};

    /// One joint that follows motion exactly, or one of unit mass that is pushed.
    struct OneJoint {
        contract: RobotContract,
        state: RobotState,
    }

    impl Robot for OneJoint {
        fn contract(&self) -> &RobotContract {
            &self.contract
        }
        fn read(&mut self, state: &mut RobotState) -> Result<Stamp, RobotError> {
            state.clone_from(&self.state);
            Ok(Stamp::default())
        }
        fn write(&mut self, command: SafeCommand<'_>) -> Result<(), RobotError> {
            let secs = self.contract.control_secs();
            match command.effort().first() {
                Some(effort) => {
                    self.state.velocity[0] += effort * secs;
                    self.state.position[0] += self.state.velocity[0] * secs;
                }
                None => {
                    self.state.velocity[0] = command.velocity()[0];
                    self.state.position[0] = command.position()[0];
                }
            }
            Ok(())
        }
        fn stop(&mut self) -> Result<(), RobotError> {
            Ok(())
        }
    }

    impl World for OneJoint {
        fn vary(&mut self, _seed: u64) {}
        fn reset(&mut self, initial: &RobotState) -> Result<(), RobotError> {
            self.state.clone_from(initial);
            Ok(())
        }
    }

    struct Follow(EnvSpec);

    impl Task for Follow {
        fn spec(&self) -> &EnvSpec {
            &self.0
        }
        fn reset(&mut self, _stream: &mut Stream, _initial: &mut RobotState) {}
        fn desired(&mut self, _: &RobotState, _: CommandState<'_>, action: &[f32], desired: &mut [f64]) {
            desired[0] = f64::from(action[0]);
        }
        fn executed(&self, _: &[f64], _: &[f64], _: &[f64], _: f64, _action: &mut [f32]) {}
        fn observe(&mut self, state: &RobotState, observation: &mut [f32]) {
            observation[0] = state.position[0] as f32;
        }
        fn outcome(&mut self, _state: &RobotState, _executed: &[f32]) -> TaskOutcome {
            TaskOutcome::default()
        }
    }

    fn env(command: CommandKind) -> RobotEnv {
        delayed_env(command, 0)
    }

    fn delayed_env(command: CommandKind, action_delay_ticks: usize) -> RobotEnv {
        let text = "name = \"one\"\ncontrol_hz = 50.0\npolicy_hz = 10.0\n[[joints]]\nname = \"j\"\nunit = \"rad\"\n\
                    min_position = -1.0\nmax_position = 1.0\nmax_velocity = 1.0\nmax_acceleration = 100.0\nmax_effort = 5.0\n";
        let mut contract = RobotContract::parse(text, Path::new("one.toml")).unwrap();
        (contract.command, contract.action_delay_ticks) = (command, action_delay_ticks);
        let spec = EnvSpec {
            name: "follow".into(),
            observation: vec![Field::unbounded("x", "rad")],
            action: vec![Field::bounded("v", "rad/s", -1.0, 1.0)],
            step_secs: 0.1,
            max_steps: 100,
            reward_range: None,
            contract_hash: None,
        };
        let world = OneJoint { state: RobotState::zeros(&contract), contract };
        let mut env = RobotEnv::new(Box::new(Follow(spec)), Box::new(world), 1e-9).unwrap();
        env.reset(0, &mut [0.0]).unwrap();
        env
    }

    fn step(env: &mut RobotEnv, action: f32) -> StepFigures {
        env.step(&[action], &mut [0.0], &mut [0.0]).unwrap().figures
    }

    #[test]
    fn way_runs_and_stops_are_counted_over_steps() {
        let mut env = env(CommandKind::Motion);
        let calm = step(&mut env, 0.5);
        assert!((calm.path - 0.05).abs() < 1e-12, "0.5 rad/s for 0.1 s: {calm:?}");
        assert_eq!((calm.energy_joules, calm.filter_run_ticks, calm.stops), (None, 0, 0));
        // Too fast: every tick is adjusted, and the run goes on into the next step.
        assert_eq!([step(&mut env, 3.0).filter_run_ticks, step(&mut env, 3.0).filter_run_ticks], [5, 10]);
        assert_eq!(step(&mut env, 0.5).filter_run_ticks, 0);
        // Refused commands in a row are one stop, over the border of a step too.
        assert_eq!([step(&mut env, f32::NAN).stops, step(&mut env, f32::NAN).stops], [1, 0]);
        step(&mut env, 0.0);
        assert_eq!(step(&mut env, f32::NAN).stops, 1);
        env.reset(1, &mut [0.0]).unwrap();
        assert_eq!(step(&mut env, f32::NAN).filter_run_ticks, 5, "a reset begins anew");
    }

    #[test]
    fn an_action_moves_the_robot_after_the_declared_delay() {
        let mut env = delayed_env(CommandKind::Motion, 3);
        let way = |env: &mut RobotEnv, action| step(env, action).path;
        assert!((way(&mut env, 0.5) - 0.5 * 0.04).abs() < 1e-12, "two of five ticks");
        assert!((way(&mut env, -0.5) - 0.5 * 0.1).abs() < 1e-12);
        assert!((env.state().position[0] - (0.5 * 0.1 - 0.5 * 0.04)).abs() < 1e-12);
        env.reset(1, &mut [0.0]).unwrap();
        assert!((way(&mut env, 0.5) - 0.5 * 0.04).abs() < 1e-12, "nothing of the last episode is on its way");
    }

    #[test]
    fn work_is_effort_times_way_where_effort_is_commanded() {
        let mut env = env(CommandKind::Effort);
        let figures = step(&mut env, 2.0);
        // 2 N m on unit inertia, 0.02 s a tick: velocities 0.04, 0.08, ... 0.2 rad/s.
        let way: f64 = (1..=5).map(|k| 0.04 * f64::from(k) * 0.02).sum();
        assert!((figures.path - way).abs() < 1e-12, "{figures:?}");
        assert!((figures.energy_joules.unwrap() - 2.0 * way).abs() < 1e-12, "{figures:?}");
    }

    #[test]
    fn a_slowed_robot_goes_no_faster_than_its_scale() {
        let mut env = env(CommandKind::Motion);
        env.set_speed_scale(0.25).unwrap();
        step(&mut env, 1.0);
        assert!((step(&mut env, 1.0).path - 0.025).abs() < 1e-12, "a quarter of 1 rad/s for 0.1 s");
        assert!(env.set_speed_scale(0.0).is_err() && env.set_speed_scale(f64::NAN).is_err());
        env.set_speed_scale(1.0).unwrap();
        step(&mut env, 1.0);
        assert!((step(&mut env, 1.0).path - 0.1).abs() < 1e-9);
    }
}
