//! What stands between an episode and its robot: a record of every control tick, an independent witness of the limits, and, where
//! asked for, faults.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use surefoot_core::contract::CommandKind;
use surefoot_core::safety::{LimitMonitor, SafeCommand};
use surefoot_core::{
    Env, EnvError, FaultyRobot, Frame, GuardedRobot, Marker, Overlay, Robot, RobotContract, RobotError,
    RobotState, ScheduledFault, Stamp, Task, TrainingProgress, World,
};

use super::trace::Table;

/// What a tap has seen since the last reset.
#[derive(Debug, Default)]
struct Tapped {
    /// `[ticks, signals]`.
    rows: Vec<f32>,
    /// Rows.
    ticks: usize,
    /// The row of the first command that reached the robot.
    first_command: Option<usize>,
    /// Limit violations at the robot itself.
    violations: u64,
    /// Where the next episode's faults come from.
    fault_seed: u64,
}

/// What a tap has seen of an episode.
pub struct SeenTicks {
    /// A row for each control tick.
    pub table: Table,
    /// The row of the first command that reached the robot.
    pub first_command: Option<usize>,
    /// Limit violations at the robot itself.
    pub violations: u64,
}

/// The record, from both sides.
#[derive(Clone, Debug, Default)]
struct Shared(Arc<Mutex<Tapped>>);

impl Shared {
    /// The record. A thread that panicked with it left whole rows.
    fn lock(&self) -> MutexGuard<'_, Tapped> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a tap has to tell, for whoever runs the episode.
#[derive(Clone, Debug)]
pub struct TickRecord {
    shared: Shared,
    /// Names in a row.
    pub signals: Vec<String>,
    /// Control period, s.
    pub period_secs: f64,
}

impl TickRecord {
    /// Says where the next episode's faults come from; it begins with the world's reset.
    pub fn begin(&self, fault_seed: u64) {
        self.shared.lock().fault_seed = fault_seed;
    }

    /// Whether the robot itself is one of numbers, whatever a link makes of it.
    pub fn robot_is_finite(&self) -> bool {
        self.shared.lock().rows.iter().rev().take(self.signals.len()).all(|x| x.is_finite())
    }

    /// The episode that has ended.
    pub fn take(&self) -> SeenTicks {
        let mut tapped = self.shared.lock();
        let (values, signals) = (std::mem::take(&mut tapped.rows), self.signals.clone());
        let table = Table { begins_secs: 0.0, period_secs: self.period_secs, signals, values };
        SeenTicks { table, first_command: tapped.first_command, violations: tapped.violations }
    }
}

/// Names of what a tap records in a row.
fn signals(contract: &RobotContract) -> Vec<String> {
    let joints = || contract.joints.iter().map(|j| j.name.as_str());
    joints()
        .map(|j| format!("position/{j}"))
        .chain(joints().map(|j| format!("velocity/{j}")))
        .chain(contract.channels.iter().map(|c| format!("channel/{}", c.name)))
        .chain(joints().map(|j| format!("command/{j}")))
        .collect()
}

/// A world that is listened to.
struct Tap {
    world: Box<dyn World>,
    monitor: LimitMonitor,
    /// Counted before the first command.
    before_command: u64,
    tracking_tolerance: f64,
    state: RobotState,
    shared: Shared,
}

impl Tap {
    fn new(world: Box<dyn World>, tracking_tolerance: f64, shared: Shared) -> Result<Self, EnvError> {
        let contract = world.contract();
        let chain = contract
            .safety_chain()
            .map_err(|e| EnvError::Build { env: contract.name.clone(), reason: e.to_string() })?;
        let monitor = LimitMonitor::new(chain.limits(), contract.control_secs());
        let state = RobotState::zeros(contract);
        Ok(Self { monitor, before_command: 0, tracking_tolerance, state, shared, world })
    }

    /// A tick has gone by: its record, whether the world is still one of numbers or not.
    fn record(&mut self, command: impl Fn(usize) -> f64) -> Result<(), RobotError> {
        let read = self.world.read(&mut self.state).map(drop);
        self.monitor.observe_measured(&self.state.position, self.tracking_tolerance);
        let mut shared = self.shared.lock();
        shared.violations = self.before_command + self.monitor.counts().violations;
        shared.ticks += 1;
        let RobotState { position, velocity, channels } = &self.state;
        let state = position.iter().chain(velocity).chain(channels).copied();
        shared.rows.extend(state.chain((0..position.len()).map(command)).map(|x| x as f32));
        read
    }
}

impl Robot for Tap {
    fn contract(&self) -> &RobotContract {
        self.world.contract()
    }

    fn read(&mut self, state: &mut RobotState) -> Result<Stamp, RobotError> {
        self.world.read(state)
    }

    fn write(&mut self, command: SafeCommand<'_>) -> Result<(), RobotError> {
        let first = {
            let mut shared = self.shared.lock();
            let (tick, first) = (shared.ticks, shared.first_command.is_none());
            shared.first_command.get_or_insert(tick);
            first
        };
        if first {
            // Commands begin where the robot stands then, which need not be where it was put.
            self.before_command = self.monitor.counts().violations;
            self.monitor.arm(&self.state.position);
        }
        self.monitor.observe(&command);
        let set_points = if command.effort().is_empty() { command.position() } else { command.effort() };
        let set_points = set_points.to_vec();
        self.world.write(command)?;
        self.record(|joint| set_points.get(joint).copied().unwrap_or(0.0))
    }

    fn without_command(&mut self) -> Result<(), RobotError> {
        self.world.without_command()?;
        self.record(|_| 0.0)
    }

    fn stop(&mut self) -> Result<(), RobotError> {
        self.world.stop()
    }

    fn acknowledge(&mut self) -> Result<(), RobotError> {
        self.world.acknowledge()
    }
}

impl World for Tap {
    fn vary(&mut self, seed: u64) {
        self.world.vary(seed);
    }
    fn set_progress(&mut self, progress: Option<TrainingProgress<'_>>) -> Option<f64> {
        self.world.set_progress(progress)
    }
    fn reset(&mut self, initial: &RobotState) -> Result<(), RobotError> {
        self.world.reset(initial)?;
        self.world.read(&mut self.state)?;
        self.monitor.arm(&self.state.position);
        self.before_command = 0;
        let mut shared = self.shared.lock();
        *shared = Tapped { fault_seed: shared.fault_seed, ..Tapped::default() };
        Ok(())
    }

    fn set_overlay(&mut self, overlay: Overlay) {
        self.world.set_overlay(overlay);
    }
    fn render(&self, markers: &[Marker], width: usize, height: usize) -> Option<Frame> {
        self.world.render(markers, width, height)
    }
}

/// A robot behind a bad link, whose schedule begins anew with every episode.
struct Faulted {
    robot: FaultyRobot<Box<dyn World>>,
    shared: Shared,
}

impl Robot for Faulted {
    fn contract(&self) -> &RobotContract {
        self.robot.contract()
    }
    fn read(&mut self, state: &mut RobotState) -> Result<Stamp, RobotError> {
        self.robot.read(state)
    }
    fn write(&mut self, command: SafeCommand<'_>) -> Result<(), RobotError> {
        self.robot.write(command)
    }
    fn without_command(&mut self) -> Result<(), RobotError> {
        self.robot.without_command()
    }
    fn stop(&mut self) -> Result<(), RobotError> {
        self.robot.stop()
    }
    fn acknowledge(&mut self) -> Result<(), RobotError> {
        self.robot.acknowledge()
    }
}

impl World for Faulted {
    fn vary(&mut self, seed: u64) {
        self.robot.vary(seed);
    }
    fn set_progress(&mut self, progress: Option<TrainingProgress<'_>>) -> Option<f64> {
        self.robot.set_progress(progress)
    }
    fn reset(&mut self, initial: &RobotState) -> Result<(), RobotError> {
        let seed = self.shared.lock().fault_seed;
        self.robot.restart(seed);
        self.robot.reset(initial)
    }
    fn set_overlay(&mut self, overlay: Overlay) {
        self.robot.set_overlay(overlay);
    }
    fn render(&self, markers: &[Marker], width: usize, height: usize) -> Option<Frame> {
        self.robot.render(markers, width, height)
    }
}

/// An environment that is listened to, and how: `None` for one without a robot.
pub struct TappedEnv {
    /// The environment.
    pub env: Box<dyn Env>,
    /// Its record.
    pub ticks: Option<TickRecord>,
}

/// A task and its robot, which is listened to.
pub struct TappedRobot {
    /// What is to be done.
    pub task: Box<dyn Task>,
    /// The robot, with faults on the link to it where there are any.
    pub world: Box<dyn World>,
    /// Its record.
    pub ticks: TickRecord,
}

/// What stands on the robot's own side of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RobotSide {
    /// A filter and a watchdog where there are faults and motion is what is commanded, nothing otherwise.
    AsFaulted,
    /// A filter and a watchdog in any case, as a robot has that a control loop drives.
    Guarded,
}

/// Puts a tap, and faults behind a filter and a watchdog of the robot's own side, between an environment and its robot.
///
/// # Errors
/// When there are faults and no robot, or faults that it cannot have.
pub fn tapped(env: Box<dyn Env>, faults: &[ScheduledFault]) -> Result<TappedEnv, EnvError> {
    let Some(tracking_tolerance) = env.tracking_tolerance() else {
        return match faults {
            [] => Ok(TappedEnv { env, ticks: None }),
            _ => Err(no_robot(&env.spec().name, "faults")),
        };
    };
    let mut ticks = None;
    let env = env.around_robot(&mut |world| {
        let (world, record) = tapped_world(world, tracking_tolerance, faults, RobotSide::AsFaulted)?;
        ticks = Some(record);
        Ok(world)
    })?;
    Ok(TappedEnv { env, ticks })
}

/// Takes an environment apart and puts a tap between its task and its robot with a filter and a watchdog of its own, and faults around them.
///
/// # Errors
/// When there is no robot, or faults that it cannot have.
pub fn tapped_robot(env: Box<dyn Env>, faults: &[ScheduledFault]) -> Result<TappedRobot, EnvError> {
    let name = env.spec().name.clone();
    let tracking_tolerance = env.tracking_tolerance();
    let Some(((task, world), tracking_tolerance)) = env.into_robot().zip(tracking_tolerance) else {
        return Err(no_robot(&name, "control_loop"));
    };
    let (world, ticks) = tapped_world(world, tracking_tolerance, faults, RobotSide::Guarded)?;
    Ok(TappedRobot { task, world, ticks })
}

fn no_robot(env: &str, key: &str) -> EnvError {
    let reason = format!("{key}: expected a world with a robot, found one without");
    EnvError::Build { env: env.to_owned(), reason }
}

fn tapped_world(
    world: Box<dyn World>,
    tracking_tolerance: f64,
    faults: &[ScheduledFault],
    side: RobotSide,
) -> Result<(Box<dyn World>, TickRecord), EnvError> {
    let contract = world.contract().clone();
    let build = |reason: String| EnvError::Build { env: contract.name.clone(), reason };
    for (i, fault) in faults.iter().enumerate() {
        fault.check(contract.joints.len()).map_err(|why| build(format!("faults[{i}]: {why}")))?;
    }
    let shared = Shared::default();
    let mut world: Box<dyn World> = Box::new(Tap::new(world, tracking_tolerance, shared.clone())?);
    // What reaches a robot over a bad link goes through its own filter, where motion is what is commanded.
    let guarded = side == RobotSide::Guarded || !faults.is_empty();
    if guarded && contract.command == CommandKind::Motion {
        world = Box::new(GuardedRobot::new(world, tracking_tolerance).map_err(|e| build(e.to_string()))?);
    }
    if !faults.is_empty() {
        let robot = FaultyRobot::new(world, faults.to_vec(), 0);
        world = Box::new(Faulted { robot, shared: shared.clone() });
    }
    let ticks = TickRecord { shared, signals: signals(&contract), period_secs: contract.control_secs() };
    Ok((world, ticks))
}
