//! The robot's side of a link, in simulation: a watchdog and a second safety chain next to the actuators.
//!
//! Whatever reaches it, in whatever order, it follows inside the limits: a set-point through its own chain, and when a period
//! passes without one, the stop plan that the last command carried. So a link that dies, or a program that was killed,
//! brakes the robot without anyone's help.
//!
//! A command that is late is a command: it is followed, so many periods late. At first the robot, which braked while nothing
//! came, is not where the command expects it; it goes there as fast as it can still stop there, and then follows exactly.
//! That it lags behind is for the tracking error of whoever commands to find: here nobody knows what time it is there.

use surefoot_safety::braking::velocity_toward;
use surefoot_safety::{LimitMonitor, SafeCommand, SafetyChain, SafetyCounts};

use crate::clock::MonotonicClock;
use crate::{
    ContractError, Frame, Marker, Overlay, Robot, RobotContract, RobotError, RobotState, Stamp,
    TrainingProgress, World,
};

/// Nearer to where a command begins than this, rad or m, the robot is there: what is left is rounding.
const THERE: f64 = 1e-9;

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
    /// Per joint where to be after this period, and how fast.
    target: Vec<(f64, f64)>,
    desired: Vec<f64>,
    /// Rows of set-points `[plan_ticks + 1, joints]`: what follows if no other command comes.
    plan: Vec<(f64, f64)>,
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
            target: vec![(0.0, 0.0); joints],
            desired: vec![0.0; joints],
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

    /// One control period toward set-points that came over a link: `rows` is `[1 + stop plan, joints]`, position and velocity of each
    /// joint, period by period. The first row is where to be after this period; the others are played, one a period, while
    /// nothing else comes, and the last is kept. Nothing is believed of them: whatever they hold, this side's own chain decides.
    ///
    /// # Errors
    /// When the rows are of another number of joints, or the robot is lost.
    pub fn follow(&mut self, rows: &[(f64, f64)]) -> Result<(), RobotError> {
        let joints = self.target.len();
        if rows.is_empty() || !rows.len().is_multiple_of(joints.max(1)) {
            let reason = format!("set-points for {joints} joints were expected, {} numbers came", rows.len());
            return Err(RobotError::Lost { robot: self.world.contract().name.clone(), reason });
        }
        self.arm()?;
        self.plan.clear();
        self.plan.extend_from_slice(rows);
        self.target.copy_from_slice(&rows[..joints]);
        self.missed = 0;
        self.advance()
    }

    /// One control period of braking, as fast as the limits allow, from wherever it is: what a command that it lags behind had planned is
    /// not gone after any more.
    ///
    /// # Errors
    /// When the robot is lost.
    pub fn brake(&mut self) -> Result<(), RobotError> {
        self.missed += 1;
        self.plan.clear();
        if !self.armed {
            return self.advance();
        }
        let command = self.chain.brake();
        self.monitor.observe(&command);
        self.world.write(command)?;
        self.world.read(&mut self.state)?;
        self.monitor.observe_measured(&self.state.position, self.tracking_tolerance);
        Ok(())
    }

    /// Forgets where it was commanded to be: the next command is followed from where it is measured then. Only at rest; a robot that
    /// moves comes to rest first.
    pub fn disarm(&mut self) {
        if self.at_rest() {
            self.armed = false;
            self.plan.clear();
            self.missed = 0;
        }
    }

    /// The commanded state, as far as it is armed.
    #[must_use]
    pub fn commanded(&self) -> Option<surefoot_safety::CommandState<'_>> {
        self.armed.then(|| self.chain.state())
    }
    /// The limits that are kept.
    #[must_use]
    pub fn limits(&self) -> &[surefoot_safety::JointLimits] {
        self.chain.limits()
    }

    fn arm(&mut self) -> Result<(), RobotError> {
        if self.armed {
            return Ok(());
        }
        self.world.read(&mut self.state)?;
        let refused = |e: surefoot_safety::SafetyError| RobotError::Reset {
            robot: self.world.contract().name.clone(),
            reason: e.to_string(),
        };
        // Outside its limits it follows inward only.
        if self.chain.arm(&self.state.position).is_err() {
            let slowest = self.chain.limits().iter().map(|l| l.max_velocity()).fold(f64::INFINITY, f64::min);
            self.chain.arm_recovery(&self.state.position, slowest).map_err(refused)?;
        }
        self.monitor.arm(&self.state.position);
        self.armed = true;
        Ok(())
    }

    fn receive(&mut self, command: &SafeCommand<'_>) -> Result<(), RobotError> {
        let (expected, found) = (self.target.len(), command.position().len());
        if expected != found {
            return Err(RobotError::Lost {
                robot: self.world.contract().name.clone(),
                reason: format!("a command for {expected} joints was expected, one for {found} came"),
            });
        }
        self.arm()?;
        let set_points = command.position().iter().zip(command.velocity());
        for (target, (p, v)) in self.target.iter_mut().zip(set_points) {
            *target = (*p, *v);
        }
        let stop = command.stop_plan();
        let joints = self.target.len();
        self.plan.clear();
        stop.extend_rows(joints, &mut self.plan);
        self.missed = 0;
        Ok(())
    }

    /// One control period toward the target.
    fn advance(&mut self) -> Result<(), RobotError> {
        if !self.armed {
            return self.world.without_command().and_then(|()| self.world.read(&mut self.state).map(drop));
        }
        let h = self.period_secs;
        let joints = self.target.iter().zip(self.chain.state().position).zip(self.chain.limits());
        for (desired, (((position, velocity), now), limits)) in self.desired.iter_mut().zip(joints) {
            let behind = position - velocity * h - now;
            *desired = if behind.abs() <= THERE {
                (position - now) / h
            } else {
                velocity + velocity_toward(behind, limits, h)
            };
        }
        let command = self.chain.admit(&self.desired);
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
            for (target, now) in self.target.iter_mut().zip(self.chain.state().position) {
                *target = (*now, 0.0);
            }
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
    fn vary(&mut self, seed: u64) {
        self.world.vary(seed);
    }
    fn set_progress(&mut self, progress: Option<TrainingProgress<'_>>) -> Option<f64> {
        self.world.set_progress(progress)
    }

    fn reset(&mut self, initial: &RobotState) -> Result<(), RobotError> {
        self.world.reset(initial)?;
        self.armed = false;
        self.plan.clear();
        self.missed = 0;
        self.world.read(&mut self.state).map(drop)
    }

    fn set_overlay(&mut self, overlay: Overlay) {
        self.world.set_overlay(overlay);
    }

    fn render(&self, markers: &[Marker], width: usize, height: usize) -> Option<Frame> {
        self.world.render(markers, width, height)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{Fault, FaultyRobot, IdealRobot, ScheduledFault};

    impl World for IdealRobot {
        fn vary(&mut self, _seed: u64) {}
        fn reset(&mut self, _: &RobotState) -> Result<(), RobotError> {
            Ok(())
        }
    }

    const TICKS: usize = 400;
    const FROM: u64 = 50;

    /// What a robot does whose commands come late from tick `FROM` on: the set-points as they were commanded, and the robot's, `[ticks]`.
    fn followed(delay: usize, jerk: &str) -> (Vec<f64>, Vec<f64>) {
        let text = format!(
            "name = \"one\"\ncontrol_hz = 50.0\npolicy_hz = 10.0\n[[joints]]\nname = \"j\"\nunit = \"rad\"\n\
             min_position = -2.0\nmax_position = 2.0\nmax_velocity = 2.0\nmax_acceleration = 15.0\n{jerk}"
        );
        let contract = RobotContract::parse(&text, Path::new("one.toml")).unwrap();
        let mut chain = contract.safety_chain().unwrap();
        chain.arm(&[0.0]).unwrap();
        let mut state = RobotState::zeros(&contract);
        let guard = GuardedRobot::new(Box::new(IdealRobot::new(contract)), 1e-9).unwrap();
        let late = ScheduledFault { from: FROM, until: u64::MAX, fault: Fault::DelayedCommands(delay) };
        let mut robot = FaultyRobot::new(guard, vec![late], 1);
        let (mut commanded, mut executed) = (Vec::new(), Vec::new());
        for tick in 0..TICKS {
            robot.read(&mut state).unwrap();
            // As fast as the limits allow at times, reversals among it.
            let command = chain.admit(&[2.2 * (tick as f64 * 0.05).sin()]);
            commanded.push(command.position()[0]);
            robot.write(command).unwrap();
            executed.push(robot.inner().state().position[0]);
        }
        assert_eq!(robot.inner().counts().violations, 0, "{delay} ticks late");
        (commanded, executed)
    }

    #[test]
    fn rows_off_a_wire_are_followed_as_commands_are_and_nonsense_brakes() {
        let text = "name = \"one\"\ncontrol_hz = 50.0\npolicy_hz = 10.0\n[[joints]]\nname = \"j\"\nunit = \"rad\"\n\
             min_position = -2.0\nmax_position = 2.0\nmax_velocity = 2.0\nmax_acceleration = 15.0\n";
        let contract = RobotContract::parse(text, Path::new("one.toml")).unwrap();
        let mut chain = contract.safety_chain().unwrap();
        chain.arm(&[0.0]).unwrap();
        let guard = || GuardedRobot::new(Box::new(IdealRobot::new(contract.clone())), 1e-9).unwrap();
        let (mut written, mut followed) = (guard(), guard());
        for tick in 0..200 {
            let command = chain.admit(&[2.2 * (f64::from(tick) * 0.05).sin()]);
            let plan = command.stop_plan();
            let rows: Vec<_> = (0..=plan.ticks()).map(|t| plan.at(t, 0)).collect();
            if tick % 7 < 4 {
                written.write(command).unwrap();
                followed.follow(&rows).unwrap();
            } else {
                written.without_command().unwrap();
                followed.without_command().unwrap();
            }
            assert_eq!(written.state(), followed.state());
        }
        for nonsense in [f64::NAN, f64::INFINITY, -1e300, 1e300] {
            for _ in 0..20 {
                followed.follow(&[(nonsense, nonsense), (nonsense, 0.0)]).unwrap();
            }
            assert_eq!(followed.counts().violations, 0, "{nonsense}");
        }
        assert!(followed.follow(&[]).is_err());
        followed.follow(&[(-1.9, 0.0)]).unwrap();
        for _ in 0..20 {
            followed.follow(&[(-1.9, 0.0)]).unwrap();
        }
        assert!(!followed.at_rest(), "on its way, and far behind");
        for _ in 0..7 {
            followed.brake().unwrap();
        }
        assert!(followed.at_rest() && followed.counts().violations == 0, "ceil(V / (A h)) periods later");
        followed.disarm();
        assert_eq!(followed.commanded().is_some(), !followed.at_rest(), "disarmed only at rest");
    }

    #[test]
    fn late_commands_are_followed_late_inside_the_limits_and_without_hunting() {
        for (delay, jerk) in
            [0, 1, 2, 5, 10, 20].into_iter().flat_map(|d| [(d, ""), (d, "max_jerk = 800.0\n")])
        {
            let (commanded, executed) = followed(delay, jerk);
            let off = |tick: usize| (executed[tick] - commanded[tick - delay]).abs();
            let caught_up = (FROM as usize + delay..TICKS).find(|t| (*t..TICKS).all(|t| off(t) < 1e-6));
            let ticks = caught_up.map(|t| t - FROM as usize);
            assert!(
                ticks.is_some_and(|t| t <= delay + 5),
                "{delay} ticks late {jerk}: caught up after {ticks:?}"
            );
        }
    }
}
