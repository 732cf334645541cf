//! The robot's side of a link, in simulation: a watchdog and a second safety chain next to the actuators.
//!
//! Whatever reaches it, in whatever order, it follows inside the limits: a set-point through its own chain, and when a period
//! passes without one, the stop plan that the last command carried. So a link that dies, or a program that was killed,
//! brakes the robot without anyone's help.

use surefoot_safety::{LimitMonitor, SafeCommand, SafetyChain, SafetyCounts};

use crate::clock::MonotonicClock;
use crate::{ContractError, Frame, Marker, Robot, RobotContract, RobotError, RobotState, Stamp, World};

/// A world behind its own filter and watchdog. One [`write`](Robot::write) or
/// [`without_command`](Robot::without_command) is one control period.
pub struct GuardedRobot {
    world: Box<dyn World>,
    chain: SafetyChain,
    monitor: LimitMonitor,
    tracking_tolerance: f64,
    period_secs: f64,
    armed: bool,
    state: RobotState,
    target: Vec<f64>,
    /// Rows of positions `[plan_ticks + 1, joints]`: what follows if no other command comes.
    plan: Vec<f64>,
    missed: usize,
    /// Stamps samples in real time; the world's own time where there is none.
    clock: Option<MonotonicClock>,
}

impl GuardedRobot {
    /// Guards a world by its own contract. `tracking_tolerance` (rad or m) is how far measured positions may be beyond a limit
    /// that the commanded ones keep.
    ///
    /// # Errors
    /// When the contract is unusable.
    pub fn new(world: Box<dyn World>, tracking_tolerance: f64) -> Result<Self, ContractError> {
        let contract = world.contract();
        let chain = contract.safety_chain()?;
        let joints = contract.joints.len();
        Ok(Self {
            monitor: LimitMonitor::new(chain.limits(), contract.control_secs()),
            period_secs: contract.control_secs(),
            state: RobotState::zeros(contract),
            target: vec![0.0; joints],
            plan: Vec::new(),
            missed: 0,
            armed: false,
            clock: None,
            tracking_tolerance,
            chain,
            world,
        })
    }

    /// The same in real time: samples are stamped when they are read.
    #[must_use]
    pub fn live(mut self) -> Self {
        self.clock = Some(MonotonicClock::start());
        self
    }

    /// What an independent witness counted on this side of the link.
    #[must_use]
    pub const fn counts(&self) -> SafetyCounts {
        self.monitor.counts()
    }
    /// Periods since the last command.
    #[must_use]
    pub const fn missed(&self) -> usize {
        self.missed
    }
    /// Whether the set-points are at rest.
    #[must_use]
    pub fn at_rest(&self) -> bool {
        !self.armed || self.chain.state().velocity.iter().all(|v| *v == 0.0)
    }
    /// The state as it is, whatever a link makes of it.
    #[must_use]
    pub const fn state(&self) -> &RobotState {
        &self.state
    }

    fn receive(&mut self, command: &SafeCommand<'_>) -> Result<(), RobotError> {
        if !self.armed {
            self.world.read(&mut self.state)?;
            let refused = |e: surefoot_safety::SafetyError| RobotError::Reset {
                robot: self.world.contract().name.clone(),
                reason: e.to_string(),
            };
            // Outside its limits it follows inward only.
            if self.chain.arm(&self.state.position).is_err() {
                let slowest =
                    self.chain.limits().iter().map(|l| l.max_velocity()).fold(f64::INFINITY, f64::min);
                self.chain.arm_recovery(&self.state.position, slowest).map_err(refused)?;
            }
            self.monitor.arm(&self.state.position);
            self.armed = true;
        }
        self.target.copy_from_slice(command.position());
        let stop = command.stop_plan();
        let joints = self.target.len();
        self.plan.clear();
        for tick in 0..=stop.ticks() {
            self.plan.extend((0..joints).map(|joint| stop.at(tick, joint).0));
        }
        self.missed = 0;
        Ok(())
    }

    /// One control period toward the target.
    fn advance(&mut self) -> Result<(), RobotError> {
        if !self.armed {
            return self.world.without_command().and_then(|()| self.world.read(&mut self.state).map(drop));
        }
        for (target, now) in self.target.iter_mut().zip(self.chain.state().position) {
            *target = (*target - now) / self.period_secs;
        }
        let command = self.chain.admit(&self.target);
        self.monitor.observe(&command);
        self.world.write(command)?;
        self.world.read(&mut self.state)?;
        self.monitor.observe_measured(&self.state.position, self.tracking_tolerance);
        Ok(())
    }
}

impl Robot for GuardedRobot {
    fn contract(&self) -> &RobotContract {
        self.world.contract()
    }

    fn read(&mut self, state: &mut RobotState) -> Result<Stamp, RobotError> {
        let stamp = self.world.read(state)?;
        Ok(Stamp { nanos: self.clock.map_or(stamp.nanos, |clock| clock.now_nanos()), ..stamp })
    }

    fn write(&mut self, command: SafeCommand<'_>) -> Result<(), RobotError> {
        self.receive(&command)?;
        self.advance()
    }

    fn without_command(&mut self) -> Result<(), RobotError> {
        self.missed += 1;
        let joints = self.target.len();
        let rows = self.plan.len() / joints.max(1);
        if rows > 0 {
            let row = self.missed.min(rows - 1);
            self.target.copy_from_slice(&self.plan[row * joints..(row + 1) * joints]);
        } else if self.armed {
            self.target.copy_from_slice(self.chain.state().position);
        }
        self.advance()
    }

    fn stop(&mut self) -> Result<(), RobotError> {
        // What stops it is that no command follows: the plan of the last one is played, and ends at rest. A later command is
        // followed again, from rest and inside the limits.
        Ok(())
    }
}

impl World for GuardedRobot {
    fn reset(&mut self, initial: &RobotState) -> Result<(), RobotError> {
        self.world.reset(initial)?;
        self.armed = false;
        self.plan.clear();
        self.missed = 0;
        self.world.read(&mut self.state).map(drop)
    }

    fn render(&self, markers: &[Marker], width: usize, height: usize) -> Option<Frame> {
        self.world.render(markers, width, height)
    }
}
