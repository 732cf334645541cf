//! What is put back between two episodes, and by whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};
use surefoot_core::{Robot, RobotContract, RobotError, RobotState, Stamp, Task, World};
use surefoot_safety::SafeCommand;

/// Puts the scene back between two episodes.
pub trait Scene: Send {
    /// Whether the robot must be disarmed meanwhile.
    fn wants_disarmed(&self) -> bool;
    /// Begins to put it back; `seed` draws the initial state where it is drawn, and is the one that the control loop's task is drawn from.
    fn reset(&mut self, seed: u64);
    /// Whether it is done.
    fn is_ready(&self) -> bool;
}

/// A scene that stays as it is, or that a person puts back before giving the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct StandingScene;

impl Scene for StandingScene {
    fn wants_disarmed(&self) -> bool {
        false
    }
    fn reset(&mut self, _seed: u64) {}
    fn is_ready(&self) -> bool {
        true
    }
}

/// A world in which a scene can be put back from another thread, while its robot is read by the control loop.
pub struct ResettableRobot {
    world: Box<dyn World>,
    orders: Consumer<RobotState>,
    done: Arc<AtomicU64>,
    /// Stamps go on over a reset: a world begins again at zero.
    last: Stamp,
    offset: Stamp,
}

/// The other end: draws initial states as the task's own environment does.
pub struct SimulatedScene {
    task: Box<dyn Task>,
    initial: RobotState,
    orders: Producer<RobotState>,
    asked: u64,
    done: Arc<AtomicU64>,
}

/// A world and the means to put it back.
#[must_use]
pub fn resettable(world: Box<dyn World>, task: Box<dyn Task>) -> (ResettableRobot, SimulatedScene) {
    let (orders, incoming) = RingBuffer::new(1);
    let done = Arc::new(AtomicU64::new(0));
    let initial = RobotState::zeros(world.contract());
    let robot = ResettableRobot {
        world,
        orders: incoming,
        done: done.clone(),
        last: Stamp::default(),
        offset: Stamp::default(),
    };
    (robot, SimulatedScene { task, initial, orders, asked: 0, done })
}

impl Robot for ResettableRobot {
    fn contract(&self) -> &RobotContract {
        self.world.contract()
    }

    fn read(&mut self, state: &mut RobotState) -> Result<Stamp, RobotError> {
        let put_back = self.orders.pop().ok();
        if let Some(initial) = &put_back {
            self.world.reset(initial)?;
        }
        let stamp = self.world.read(state)?;
        if put_back.is_some() {
            let period_nanos = (self.world.contract().control_secs() * 1e9).round() as i64;
            self.offset = Stamp {
                nanos: (self.last.nanos + period_nanos - stamp.nanos).max(0),
                seq: (self.last.seq + 1).saturating_sub(stamp.seq),
            };
            self.done.fetch_add(1, Ordering::Release);
        }
        self.last = Stamp { nanos: stamp.nanos + self.offset.nanos, seq: stamp.seq + self.offset.seq };
        Ok(self.last)
    }

    fn write(&mut self, command: SafeCommand<'_>) -> Result<(), RobotError> {
        self.world.write(command)
    }

    fn without_command(&mut self) -> Result<(), RobotError> {
        self.world.without_command()
    }

    fn stop(&mut self) -> Result<(), RobotError> {
        self.world.stop()
    }

    fn acknowledge(&mut self) -> Result<(), RobotError> {
        self.world.acknowledge()
    }
}

impl Scene for SimulatedScene {
    fn wants_disarmed(&self) -> bool {
        true
    }

    fn reset(&mut self, seed: u64) {
        self.task.begin_episode(seed, &mut self.initial);
        // A full ring means that an order is under way already: then that one counts.
        if self.orders.push(self.initial.clone()).is_ok() {
            self.asked += 1;
        }
    }

    fn is_ready(&self) -> bool {
        self.done.load(Ordering::Acquire) >= self.asked
    }
}
