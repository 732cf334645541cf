//! What stands between an episode and its robot: a record of every control tick, an independent witness of the limits, and, where
//! asked for, faults.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use surefoot_core::contract::CommandKind;
use surefoot_core::safety::{LimitMonitor, SafeCommand};
use surefoot_core::{
    Env, EnvError, FaultyRobot, Frame, GuardedRobot, Marker, Robot, RobotContract, RobotEnv, RobotError,
    RobotState, ScheduledFault, Stamp, World,
};

/// What a tap has seen since the last reset.
#[derive(Debug, Default)]
pub struct Tapped {
    /// `[ticks, signals]`.
    pub rows: Vec<f32>,
    /// Limit violations at the robot itself.
    pub violations: u64,
    /// Where the next episode's faults come from.
    pub fault_seed: u64,
}

/// The record, from both sides.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<Mutex<Tapped>>);

impl Shared {
    /// The record. A thread that panicked with it left whole rows.
    pub fn lock(&self) -> MutexGuard<'_, Tapped> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names of what a tap records in a row.
pub fn signals(contract: &RobotContract) -> Vec<String> {
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
        Ok(Self { monitor, tracking_tolerance, state: RobotState::zeros(contract), shared, world })
    }

    /// A tick has gone by: its record, whether the world is still one of numbers or not.
    fn record(&mut self, command: impl Fn(usize) -> f64) -> Result<(), RobotError> {
        let read = self.world.read(&mut self.state).map(drop);
        self.monitor.observe_measured(&self.state.position, self.tracking_tolerance);
        let mut shared = self.shared.lock();
        shared.violations = self.monitor.counts().violations;
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
    fn set_progress(&mut self, env_steps: Option<u64>) {
        self.world.set_progress(env_steps);
    }
    fn reset(&mut self, initial: &RobotState) -> Result<(), RobotError> {
        self.world.reset(initial)?;
        self.world.read(&mut self.state)?;
        self.monitor.arm(&self.state.position);
        let mut shared = self.shared.lock();
        shared.rows.clear();
        shared.violations = 0;
        Ok(())
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
    fn set_progress(&mut self, env_steps: Option<u64>) {
        self.robot.set_progress(env_steps);
    }
    fn reset(&mut self, initial: &RobotState) -> Result<(), RobotError> {
        let seed = self.shared.lock().fault_seed;
        self.robot.restart(seed);
        self.robot.reset(initial)
    }
    fn render(&self, markers: &[Marker], width: usize, height: usize) -> Option<Frame> {
        self.robot.render(markers, width, height)
    }
}

/// An environment that is listened to, and how: `None` for one without a robot.
pub struct TappedEnv {
    /// The environment.
    pub env: Box<dyn Env>,
    /// Its record, the names in a row of it, and its control period, s.
    pub tap: Option<(Shared, Vec<String>, f64)>,
}

/// Puts a tap, and faults behind a filter and a watchdog of the robot's own side, between an environment and its robot.
///
/// # Errors
/// When there are faults and no robot, or faults that it cannot have.
pub fn tapped(env: Box<dyn Env>, faults: &[ScheduledFault]) -> Result<TappedEnv, EnvError> {
    let name = env.spec().name.clone();
    let build = |reason: String| EnvError::Build { env: name.clone(), reason };
    let tolerance = env.tracking_tolerance();
    let Some(tolerance) = tolerance else {
        return match faults {
            [] => Ok(TappedEnv { env, tap: None }),
            _ => Err(build("faults: expected a world with a robot, found one without".into())),
        };
    };
    let Some((task, world)) = env.into_robot() else {
        return Err(build("it has limits and no robot".into()));
    };
    let contract = world.contract().clone();
    for (i, fault) in faults.iter().enumerate() {
        fault.check(contract.joints.len()).map_err(|why| build(format!("faults[{i}]: {why}")))?;
    }
    let shared = Shared::default();
    let tap = Tap::new(world, tolerance, shared.clone())?;
    let world: Box<dyn World> = if faults.is_empty() {
        Box::new(tap)
    } else {
        // What reaches a robot over a bad link goes through its own filter, where motion is what is commanded.
        let robot: Box<dyn World> = match contract.command {
            CommandKind::Motion => {
                Box::new(GuardedRobot::new(Box::new(tap), tolerance).map_err(|e| build(e.to_string()))?)
            }
            CommandKind::Effort => Box::new(tap),
        };
        Box::new(Faulted { robot: FaultyRobot::new(robot, faults.to_vec(), 0), shared: shared.clone() })
    };
    let env = Box::new(RobotEnv::new(task, world, tolerance)?);
    Ok(TappedEnv { env, tap: Some((shared, signals(&contract), contract.control_secs())) })
}
