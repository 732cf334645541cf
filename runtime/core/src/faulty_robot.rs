//! A robot that wraps any other and injects faults, seeded, on a schedule of control ticks: what a link, a sensor or a joint does
//! on a bad day.

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_safety::{HeldCommand, SafeCommand};

use crate::{
    Frame, Marker, Overlay, Robot, RobotContract, RobotError, RobotState, Stamp, Stream, TrainingProgress,
    World,
};

/// Samples remembered and commands on their way, at least as many as the longest delay.
const HISTORY: usize = 64;

/// Something that goes wrong. Joints are indices in the contract's order.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Samples get lost with this probability.
    DroppedObservations(f64),
    /// Samples come this many ticks late (at most 63).
    DelayedObservations(usize),
    /// The last sample comes again and again.
    RepeatedObservations,
    /// Every other sample is overtaken by a newer one.
    ReorderedObservations,
    /// Stamps go on, values do not.
    FrozenObservations,
    /// A joint's position is NaN.
    NanObservations(usize),
    /// A joint's position is off by this much, rad or m.
    JumpingObservations(usize, f64),
    /// All positions carry normal noise of this deviation, rad or m.
    NoisyObservations(f64),
    /// Commands get lost with this probability.
    DroppedCommands(f64),
    /// Commands come this many ticks late (at most 63). Nothing comes until the first one is due, and what is on its way when the
    /// fault ends is overtaken and lost. [`Robot::stop`] is not late: what comes after it is.
    DelayedCommands(usize),
    /// A joint does not move, as far as can be measured.
    StuckJoint(usize),
    /// A joint does not move faster than this, as far as can be measured, rad/s or m/s.
    SaturatedJoint(usize, f64),
    /// A joint is knocked off by this much and swings back, rad or m.
    ContactImpulse(usize, f64),
    /// Neither reads nor writes get through.
    Lost,
    /// Reads fail.
    LostReads,
    /// Writes fail.
    LostWrites,
}

/// A fault between two control ticks (`from` included, `until` not), counted from the first read since the last reset.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduledFault {
    /// First tick.
    pub from: u64,
    /// The tick after the last.
    pub until: u64,
    /// What goes wrong.
    pub fault: Fault,
}

#[derive(Clone)]
struct Sample {
    stamp: Stamp,
    state: RobotState,
}

/// The wrapper. One read is one tick.
pub struct FaultyRobot<R> {
    inner: R,
    faults: Vec<ScheduledFault>,
    seed: u64,
    noise: Stream,
    ticks: u64,
    history: Vec<Sample>,
    delivered: Option<Sample>,
    /// Measured state when the present fault began.
    onset: Option<RobotState>,
    /// What was commanded in the last ticks, oldest first; empty for a tick without a command.
    on_the_way: VecDeque<HeldCommand>,
    /// Room for more.
    spare: Vec<HeldCommand>,
}

impl ScheduledFault {
    /// Refuses what no robot of `joints` joints can have.
    ///
    /// # Errors
    /// What was expected, and what was found.
    pub fn check(&self, joints: usize) -> Result<(), String> {
        let Self { from, until, fault } = self;
        if from >= until {
            return Err(format!("from = {from}, until = {until}: expected from below until"));
        }
        let joint = match fault {
            Fault::NanObservations(j)
            | Fault::JumpingObservations(j, _)
            | Fault::StuckJoint(j)
            | Fault::SaturatedJoint(j, _)
            | Fault::ContactImpulse(j, _) => Some(*j),
            _ => None,
        };
        if let Some(joint) = joint.filter(|j| *j >= joints) {
            return Err(format!("joint {joint}: expected 0 to {}", joints.saturating_sub(1)));
        }
        let probability = match fault {
            Fault::DroppedObservations(p) | Fault::DroppedCommands(p) => *p,
            _ => 0.0,
        };
        if !(0.0..=1.0).contains(&probability) {
            return Err(format!("probability {probability}: expected 0 to 1"));
        }
        let size = match fault {
            Fault::JumpingObservations(_, x)
            | Fault::NoisyObservations(x)
            | Fault::SaturatedJoint(_, x)
            | Fault::ContactImpulse(_, x) => *x,
            _ => 0.0,
        };
        if size.is_finite() { Ok(()) } else { Err(format!("{size}: expected a finite number")) }
    }
}

impl<R: Robot> FaultyRobot<R> {
    /// Wraps a robot; `seed` is where its bad luck comes from.
    #[must_use]
    pub fn new(inner: R, faults: Vec<ScheduledFault>, seed: u64) -> Self {
        Self {
            inner,
            faults,
            seed,
            noise: Stream::new(seed, "faults", 0),
            ticks: 0,
            history: Vec::with_capacity(HISTORY),
            delivered: None,
            onset: None,
            on_the_way: VecDeque::with_capacity(HISTORY),
            spare: Vec::new(),
        }
    }

    /// The robot inside.
    pub const fn inner(&self) -> &R {
        &self.inner
    }
    /// The robot inside, to do something to it that the link does not see.
    pub const fn inner_mut(&mut self) -> &mut R {
        &mut self.inner
    }
    /// Begins the schedule anew, with other luck, which every [`reset`](World::reset) from here on repeats: nothing of what came before is
    /// remembered.
    pub fn restart(&mut self, seed: u64) {
        self.seed = seed;
        self.noise = Stream::new(seed, "faults", 0);
        self.ticks = 0;
        self.history.clear();
        self.delivered = None;
        self.onset = None;
        self.spare.extend(self.on_the_way.drain(..));
    }
    /// Ticks since the schedule began.
    pub const fn ticks(&self) -> u64 {
        self.ticks
    }
    /// Adds a fault to the schedule.
    pub fn inject(&mut self, fault: ScheduledFault) {
        self.faults.push(fault);
    }

    fn active(&self) -> impl Iterator<Item = Fault> + '_ {
        // A tick is counted by its read; its write comes after.
        let now = self.ticks.saturating_sub(1);
        self.faults.iter().filter(move |f| (f.from..f.until).contains(&now)).map(|f| f.fault)
    }

    fn lost(&self, way: Fault) -> Result<(), RobotError> {
        if self.active().any(|f| f == Fault::Lost || f == way) {
            let robot = self.inner.contract().name.clone();
            return Err(RobotError::Lost { robot, reason: "injected fault".into() });
        }
        Ok(())
    }

    fn sample_of(&self, ago: usize) -> Option<&Sample> {
        self.history.len().checked_sub(1 + ago).map(|at| &self.history[at])
    }

    /// One control period of the robot: what the link lets through of this tick's command, or of an earlier one's.
    fn deliver(&mut self, command: Option<SafeCommand<'_>>) -> Result<(), RobotError> {
        let delay = self.active().find_map(|f| match f {
            Fault::DelayedCommands(ticks) => Some(ticks.min(HISTORY - 1)),
            _ => None,
        });
        let Some(delay) = delay else {
            self.spare.extend(self.on_the_way.drain(..));
            return execute(&mut self.inner, command);
        };
        let mut held = self.spare.pop().unwrap_or_default();
        match command {
            Some(command) => held.hold(&command),
            None => held.clear(),
        }
        self.on_the_way.push_back(held);
        // More than one is due where the delay became shorter: the newest counts.
        let mut due = None;
        while self.on_the_way.len() > delay {
            self.spare.extend(due.take());
            due = self.on_the_way.pop_front();
        }
        let done = execute(&mut self.inner, due.as_ref().and_then(HeldCommand::command));
        self.spare.extend(due);
        done
    }
}

fn execute(robot: &mut impl Robot, command: Option<SafeCommand<'_>>) -> Result<(), RobotError> {
    match command {
        Some(command) => robot.write(command),
        None => robot.without_command(),
    }
}

impl<R: Robot> Robot for FaultyRobot<R> {
    fn contract(&self) -> &RobotContract {
        self.inner.contract()
    }

    fn read(&mut self, state: &mut RobotState) -> Result<Stamp, RobotError> {
        self.ticks += 1;
        let stamp = self.inner.read(state)?;
        if self.history.len() == HISTORY {
            self.history.remove(0);
        }
        self.history.push(Sample { stamp, state: state.clone() });
        self.lost(Fault::LostReads)?;
        let faults: Vec<Fault> = self.active().collect();
        if faults.is_empty() {
            self.onset = None;
        }
        let onset = self.onset.get_or_insert_with(|| state.clone()).clone();
        let mut sample = Sample { stamp, state: state.clone() };
        for fault in faults {
            let again = self.delivered.clone().unwrap_or_else(|| sample.clone());
            match fault {
                Fault::DroppedObservations(probability) => {
                    if self.noise.unit() < probability {
                        sample = again;
                    }
                }
                Fault::DelayedObservations(ticks) => {
                    sample =
                        self.sample_of(ticks).or_else(|| self.history.first()).cloned().unwrap_or(sample);
                }
                Fault::RepeatedObservations => sample = again,
                Fault::ReorderedObservations => {
                    if self.ticks % 2 == 1 {
                        sample = self.sample_of(2).cloned().unwrap_or(sample);
                    }
                }
                Fault::FrozenObservations => sample.state = onset.clone(),
                Fault::NanObservations(joint) => sample.state.position[joint] = f64::NAN,
                Fault::JumpingObservations(joint, by) => sample.state.position[joint] += by,
                Fault::NoisyObservations(std) => {
                    for p in &mut sample.state.position {
                        *p += std * self.noise.normal();
                    }
                }
                Fault::StuckJoint(joint) => {
                    sample.state.position[joint] = onset.position[joint];
                    sample.state.velocity[joint] = 0.0;
                }
                Fault::SaturatedJoint(joint, speed) => {
                    let from =
                        self.delivered.as_ref().map_or(onset.position[joint], |d| d.state.position[joint]);
                    let reach = speed * self.inner.contract().control_secs();
                    let to = sample.state.position[joint];
                    sample.state.position[joint] = to.clamp(from - reach, from + reach);
                    sample.state.velocity[joint] = sample.state.velocity[joint].clamp(-speed, speed);
                }
                Fault::ContactImpulse(joint, by) => {
                    let began = self.faults.iter().filter(|f| f.fault == fault).map(|f| f.from).max();
                    let since = self.ticks.saturating_sub(1 + began.unwrap_or(0)) as f64;
                    let left = by * (-since * 0.1).exp() * (since * 0.5).cos();
                    sample.state.position[joint] += left;
                }
                Fault::DroppedCommands(_)
                | Fault::DelayedCommands(_)
                | Fault::Lost
                | Fault::LostReads
                | Fault::LostWrites => {}
            }
        }
        state.clone_from(&sample.state);
        let stamp = sample.stamp;
        self.delivered = Some(sample);
        Ok(stamp)
    }

    fn write(&mut self, command: SafeCommand<'_>) -> Result<(), RobotError> {
        if let Err(lost) = self.lost(Fault::LostWrites) {
            self.inner.without_command()?;
            return Err(lost);
        }
        let drop = self.active().find_map(|f| match f {
            Fault::DroppedCommands(probability) => Some(probability),
            _ => None,
        });
        if drop.is_some_and(|probability| self.noise.unit() < probability) {
            return self.deliver(None);
        }
        self.deliver(Some(command))
    }

    fn without_command(&mut self) -> Result<(), RobotError> {
        self.deliver(None)
    }

    fn stop(&mut self) -> Result<(), RobotError> {
        self.lost(Fault::LostWrites)?;
        self.inner.stop()
    }

    fn acknowledge(&mut self) -> Result<(), RobotError> {
        self.lost(Fault::LostWrites)?;
        self.inner.acknowledge()
    }
}

impl<W: World> World for FaultyRobot<W> {
    fn vary(&mut self, seed: u64) {
        self.inner.vary(seed);
    }
    fn set_progress(&mut self, progress: Option<TrainingProgress<'_>>) -> Option<f64> {
        self.inner.set_progress(progress)
    }

    fn reset(&mut self, initial: &RobotState) -> Result<(), RobotError> {
        self.restart(self.seed);
        self.inner.reset(initial)
    }

    fn set_overlay(&mut self, overlay: Overlay) {
        self.inner.set_overlay(overlay);
    }

    fn render(&self, markers: &[Marker], width: usize, height: usize) -> Option<Frame> {
        self.inner.render(markers, width, height)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::IdealRobot;

    const JOINT: &str =
        "name = \"one\"\ncontrol_hz = 50.0\npolicy_hz = 10.0\n[[joints]]\nname = \"j\"\nunit = \"rad\"
min_position = -9.0\nmax_position = 9.0\nmax_velocity = 2.0\nmax_acceleration = 100.0\n";

    /// Remembers what it was told, tick by tick.
    struct Recorder(RobotContract, Vec<Option<f64>>);

    impl Robot for Recorder {
        fn contract(&self) -> &RobotContract {
            &self.0
        }
        fn read(&mut self, _: &mut RobotState) -> Result<Stamp, RobotError> {
            Ok(Stamp::default())
        }
        fn write(&mut self, command: SafeCommand<'_>) -> Result<(), RobotError> {
            self.1.push(Some(command.velocity()[0]));
            Ok(())
        }
        fn without_command(&mut self) -> Result<(), RobotError> {
            self.1.push(None);
            Ok(())
        }
        fn stop(&mut self) -> Result<(), RobotError> {
            Ok(())
        }
    }

    /// Commands 1, 2, 3, ... (mm/s), one a tick, where `commanded`; what arrived in each tick.
    fn arrivals(
        faults: Vec<ScheduledFault>,
        ticks: u64,
        commanded: impl Fn(u64) -> bool,
    ) -> Vec<Option<f64>> {
        let contract = RobotContract::parse(JOINT, Path::new("one.toml")).unwrap();
        let mut chain = contract.safety_chain().unwrap();
        chain.arm(&[0.0]).unwrap();
        let mut state = RobotState::zeros(&contract);
        let mut robot = FaultyRobot::new(Recorder(contract, Vec::new()), faults, 1);
        for tick in 0..ticks {
            robot.read(&mut state).unwrap();
            let command = chain.admit(&[tick as f64 * 1e-3]);
            if commanded(tick) { robot.write(command) } else { robot.without_command() }.unwrap();
        }
        robot.inner.1.iter().map(|arrived| arrived.map(|v| (v * 1e3).round())).collect()
    }

    const fn late(from: u64, until: u64, ticks: usize) -> ScheduledFault {
        ScheduledFault { from, until, fault: Fault::DelayedCommands(ticks) }
    }

    #[test]
    fn a_delayed_command_comes_exactly_so_many_ticks_late_and_nothing_in_its_place() {
        for delay in [0, 1, 2, 7, 63] {
            let found = arrivals(vec![late(3, 100, delay)], 110, |tick| tick != 20);
            for (tick, arrived) in found.iter().enumerate() {
                let sent = if (3..100).contains(&tick) {
                    tick.checked_sub(delay).filter(|sent| *sent >= 3)
                } else {
                    Some(tick)
                };
                let expected = sent.filter(|sent| *sent != 20).map(|sent| sent as f64);
                assert_eq!(*arrived, expected, "delay {delay}, tick {tick}");
            }
        }
        // Longer than can be remembered is as long as can be remembered.
        assert_eq!(arrivals(vec![late(0, 200, 1000)], 64, |_| true)[63], Some(0.0));
    }

    #[test]
    fn a_schedule_that_begins_anew_is_as_new() {
        let contract = RobotContract::parse(JOINT, Path::new("one.toml")).unwrap();
        let mut chain = contract.safety_chain().unwrap();
        chain.arm(&[0.0]).unwrap();
        let mut state = RobotState::zeros(&contract);
        let faults = vec![
            ScheduledFault { from: 2, until: 30, fault: Fault::DroppedCommands(0.5) },
            ScheduledFault { from: 5, until: 30, fault: Fault::NoisyObservations(0.1) },
            late(10, 40, 3),
        ];
        let mut drive = |robot: &mut FaultyRobot<Recorder>| {
            let mut seen = Vec::new();
            for tick in 0..40 {
                state.position[0] = 0.0;
                robot.read(&mut state).unwrap();
                seen.push(state.position[0]);
                robot.write(chain.admit(&[f64::from(tick) * 1e-3])).unwrap();
            }
            (seen, std::mem::take(&mut robot.inner.1))
        };
        let mut fresh = |seed| {
            let mut robot = FaultyRobot::new(Recorder(contract.clone(), Vec::new()), faults.clone(), seed);
            let first = drive(&mut robot);
            robot.restart(seed + 1);
            (first, drive(&mut robot))
        };
        let ((first, second), (again, _)) = (fresh(1), fresh(2));
        assert_eq!(second.0, again.0);
        assert_ne!(first.0, second.0);
        let heard = |(_, commands): &(Vec<f64>, Vec<Option<f64>>)| {
            commands.iter().map(Option::is_some).collect::<Vec<_>>()
        };
        assert_eq!(heard(&second), heard(&again));
    }

    #[test]
    fn a_reset_begins_the_schedule_anew_with_the_same_luck() {
        let contract = RobotContract::parse(JOINT, Path::new("one.toml")).unwrap();
        let noisy = ScheduledFault { from: 3, until: 6, fault: Fault::NoisyObservations(0.1) };
        let mut robot = FaultyRobot::new(IdealRobot::new(contract.clone()), vec![noisy], 5);
        let initial = RobotState::zeros(&contract);
        let episode = |robot: &mut FaultyRobot<IdealRobot>| {
            robot.reset(&initial).unwrap();
            let mut state = initial.clone();
            let seen = (0..10).map(|_| {
                robot.read(&mut state).unwrap();
                state.position[0]
            });
            seen.collect::<Vec<_>>()
        };
        let first = episode(&mut robot);
        let faulty: Vec<usize> = (0..10).filter(|t| first[*t] != 0.0).collect();
        assert_eq!(faulty, [3, 4, 5]);
        assert_eq!(episode(&mut robot), first, "an episode does not depend on the one before");
        robot.restart(6);
        let other = episode(&mut robot);
        assert_ne!(other, first);
        assert_eq!(episode(&mut robot), other);
    }

    #[test]
    fn what_no_robot_can_have_is_refused() {
        let at = |fault| ScheduledFault { from: 0, until: 9, fault };
        assert_eq!(at(Fault::StuckJoint(1)).check(2), Ok(()));
        for fault in [
            Fault::StuckJoint(2),
            Fault::NanObservations(7),
            Fault::DroppedCommands(1.5),
            Fault::DroppedObservations(f64::NAN),
            Fault::NoisyObservations(f64::INFINITY),
        ] {
            assert!(at(fault).check(2).is_err(), "{fault:?}");
        }
        assert!(ScheduledFault { from: 9, until: 9, fault: Fault::Lost }.check(2).is_err());
    }

    #[test]
    fn a_delay_that_shrinks_lets_the_newest_through() {
        let found = arrivals(vec![late(0, 10, 5), late(10, 20, 2)], 20, |_| true);
        let expected =
            (0..20).map(|t| if t < 5 { None } else { Some(if t < 10 { t - 5 } else { t - 2 } as f64) });
        assert_eq!(found, expected.collect::<Vec<_>>());
    }
}
