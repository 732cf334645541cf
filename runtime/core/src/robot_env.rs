//! A task in a world, with the safety chain between: the environment that every simulated robot is trained in.

use surefoot_safety::{LimitMonitor, SafetyChain};

use crate::env::check_row;
use crate::{Env, EnvError, EnvSpec, Frame, Outcome, RobotState, StepEnd, Stream, Task, World};

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
            state: RobotState::zeros(contract),
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

    fn check_finite(&self, what: &'static str) -> Result<(), EnvError> {
        if self.state.is_finite() {
            Ok(())
        } else {
            Err(EnvError::Diverged { env: self.task.spec().name.clone(), step: self.steps, what })
        }
    }
}

impl Env for RobotEnv {
    fn spec(&self) -> &EnvSpec {
        self.task.spec()
    }

    fn reset(&mut self, seed: u64, observation: &mut [f32]) -> Result<(), EnvError> {
        check_row("observation", self.spec().observation_dim(), observation.len())?;
        let mut stream = Stream::new(seed, "reset", 0);
        let mut initial = RobotState::zeros(self.world.contract());
        self.task.reset(&mut stream, &mut initial);
        self.world.reset(&initial)?;
        self.world.read(&mut self.state)?;
        self.chain.arm(&self.state.position)?;
        self.monitor.arm(&self.state.position);
        self.steps = 0;
        self.check_finite("the initial state")?;
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
        let counted = self.monitor.counts();
        self.before.copy_from_slice(self.chain.state().position);
        self.effort.fill(0.0);
        for _ in 0..self.ticks_per_step {
            self.task.desired(&self.state, self.chain.state(), action, &mut self.desired);
            let command = self.chain.admit(&self.desired);
            self.monitor.observe(&command);
            for (sum, effort) in self.effort.iter_mut().zip(command.effort()) {
                *sum += effort / self.ticks_per_step as f64;
            }
            self.world.write(command)?;
            self.world.read(&mut self.state)?;
            self.monitor.observe_measured(&self.state.position, self.tracking_tolerance);
        }
        self.steps += 1;
        self.check_finite("the state")?;
        let after = self.chain.state().position;
        self.task.executed(&self.before, after, &self.effort, self.step_secs, executed);
        self.task.observe(&self.state, observation);
        let judged = self.task.outcome(&self.state, executed);
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
        })
    }

    fn render(&self, width: usize, height: usize) -> Option<Frame> {
        self.world.render(&self.task.markers(), width, height)
    }
}
