//! A robot that follows its set-points exactly, and the plainest task for any robot: to measure a machine, to rehearse a
//! contract before the robot is connected, and to test with.

use surefoot_safety::{CommandState, SafeCommand};

use crate::clock::MonotonicClock;
use crate::{EnvSpec, Field, Robot, RobotContract, RobotError, RobotState, Stamp, Stream, Task, TaskOutcome};

/// Is where it was commanded to be.
#[derive(Clone, Debug)]
pub struct IdealRobot {
    contract: RobotContract,
    state: RobotState,
    samples: u64,
    /// Stamps samples; simulated time, one control period a sample, where there is none.
    clock: Option<MonotonicClock>,
}

impl IdealRobot {
    /// At the middle of its position limits, in simulated time.
    #[must_use]
    pub fn new(contract: RobotContract) -> Self {
        let mut state = RobotState::zeros(&contract);
        for (p, joint) in state.position.iter_mut().zip(&contract.joints) {
            *p = 0.5 * (joint.min_position + joint.max_position);
        }
        Self { contract, state, samples: 0, clock: None }
    }

    /// The same at these joint positions, inside the limits or not; missing ones stay.
    #[must_use]
    pub fn at(mut self, position: &[f64]) -> Self {
        for (now, p) in self.state.position.iter_mut().zip(position) {
            *now = *p;
        }
        self
    }

    /// The same in real time.
    #[must_use]
    pub fn live(mut self) -> Self {
        self.clock = Some(MonotonicClock::start());
        self
    }
}

impl Robot for IdealRobot {
    fn contract(&self) -> &RobotContract {
        &self.contract
    }

    fn read(&mut self, state: &mut RobotState) -> Result<Stamp, RobotError> {
        self.samples += 1;
        state.position.copy_from_slice(&self.state.position);
        state.velocity.copy_from_slice(&self.state.velocity);
        state.channels.copy_from_slice(&self.state.channels);
        let simulated = || (self.samples as f64 * self.contract.control_secs() * 1e9).round() as i64;
        let nanos = self.clock.map_or_else(simulated, |clock| clock.now_nanos());
        Ok(Stamp { nanos, seq: self.samples })
    }

    fn write(&mut self, command: SafeCommand<'_>) -> Result<(), RobotError> {
        self.state.position.copy_from_slice(command.position());
        self.state.velocity.copy_from_slice(command.velocity());
        Ok(())
    }

    fn without_command(&mut self) -> Result<(), RobotError> {
        self.state.velocity.fill(0.0);
        Ok(())
    }

    fn stop(&mut self) -> Result<(), RobotError> {
        self.without_command()
    }
}

/// Joint velocities as actions, joint positions as observations; 1 is a joint's velocity limit. Never rewarded, never over.
#[derive(Clone, Debug)]
pub struct JointVelocityTask {
    spec: EnvSpec,
    max_velocity: Vec<f64>,
}

impl JointVelocityTask {
    /// For a robot, with episodes of at most `max_steps`.
    ///
    /// # Errors
    /// When the contract's rates or limits are unusable.
    pub fn new(contract: &RobotContract, max_steps: usize) -> Result<Self, crate::ContractError> {
        let steps = contract.ticks_per_step()?;
        let joints = contract.joints.iter();
        let position = |j: &crate::contract::JointContract| {
            Field::bounded(j.name.clone(), j.unit.clone(), j.min_position as f32, j.max_position as f32)
        };
        let velocity = |j: &crate::contract::JointContract| {
            let (name, unit) = (format!("{}_velocity", j.name), format!("{}/s", j.unit));
            Field::bounded(name, unit, -j.max_velocity as f32, j.max_velocity as f32)
        };
        Ok(Self {
            spec: EnvSpec {
                name: "joint_velocity".into(),
                observation: joints.clone().map(position).collect(),
                action: joints.clone().map(velocity).collect(),
                step_secs: steps as f64 * contract.control_secs(),
                max_steps,
                reward_range: Some((0.0, 0.0)),
                contract_hash: Some(contract.hash()),
            },
            max_velocity: joints.map(|j| j.max_velocity).collect(),
        })
    }
}

impl Task for JointVelocityTask {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, _stream: &mut Stream, _initial: &mut RobotState) {}

    fn desired(&mut self, _: &RobotState, _: CommandState<'_>, action: &[f32], desired: &mut [f64]) {
        for ((d, a), max) in desired.iter_mut().zip(action).zip(&self.max_velocity) {
            *d = f64::from(*a) * max;
        }
    }

    fn executed(&self, before: &[f64], after: &[f64], _: &[f64], step_secs: f64, action: &mut [f32]) {
        let moved = before.iter().zip(after).map(|(before, after)| (after - before) / step_secs);
        for ((a, velocity), max) in action.iter_mut().zip(moved).zip(&self.max_velocity) {
            *a = (velocity / max).clamp(-1.0, 1.0) as f32;
        }
    }

    fn observe(&mut self, state: &RobotState, observation: &mut [f32]) {
        for (o, p) in observation.iter_mut().zip(&state.position) {
            *o = *p as f32;
        }
    }

    fn outcome(&mut self, _: &RobotState, _: &[f32]) -> TaskOutcome {
        TaskOutcome::default()
    }
}
