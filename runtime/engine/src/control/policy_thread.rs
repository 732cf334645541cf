//! The policy on a thread of its own, beside the control thread. It may be late, hang, or be wrong: the control loop fades its
//! motion out and brakes. New policies come in and old ones go out through rings, and change only when a drive begins; a
//! retired policy is dropped by whoever made it, never here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use rtrb::{Consumer, Producer, RingBuffer};
use surefoot_core::clock::MonotonicClock;
use surefoot_core::recycled::{Receiver, Sender};
use surefoot_core::{ActMode, Policy, ResetScope};

use crate::control::acting::Acting;
use crate::control::ports::{PolicyInput, PolicyOutput};

/// Between two looks at the queue of observations, ns.
const LOOK_NANOS: i64 = 200_000;
/// Policies under way in each direction.
const POLICIES: usize = 4;
/// How often, and how far apart, it is looked whether the thread has come to its end.
const LAST_LOOKS: u32 = 200;
const LAST_LOOK_NANOS: i64 = 5_000_000;

/// A policy for one robot, with the version that its actions carry.
pub struct Versioned {
    /// 1 and up; 0 stands for nobody.
    pub version: u64,
    /// For one slot.
    pub policy: Box<dyn Policy>,
}

impl From<Box<dyn Policy>> for Versioned {
    fn from(policy: Box<dyn Policy>) -> Self {
        Self { version: 1, policy }
    }
}

/// What the next drive is to be like.
struct NextDrive {
    /// Grows with each of them; written last.
    number: AtomicU64,
    seed: AtomicU64,
    explore: AtomicBool,
    new_task: AtomicBool,
}

/// The thread, and the rings to it.
pub struct PolicyThread {
    stop: Arc<AtomicBool>,
    next: Arc<NextDrive>,
    offered: Producer<Versioned>,
    retired: Consumer<Versioned>,
    thread: JoinHandle<Versioned>,
}

impl PolicyThread {
    /// Starts with a policy; `seed` is its noise.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        first: Versioned,
        mode: ActMode,
        seed: u64,
        observations: Receiver<PolicyInput>,
        actions: Sender<PolicyOutput>,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (offered, incoming) = RingBuffer::new(POLICIES);
        let (outgoing, retired) = RingBuffer::new(POLICIES);
        let next = Arc::new(NextDrive {
            number: AtomicU64::new(0),
            seed: AtomicU64::new(seed),
            explore: AtomicBool::new(mode == ActMode::Explore),
            new_task: AtomicBool::new(false),
        });
        let acting = Driving {
            acting: Acting::new(first, mode, seed),
            next: next.clone(),
            number: 0,
            observations,
            actions,
            incoming,
            outgoing,
        };
        let asked = stop.clone();
        let thread = std::thread::Builder::new().name("policy".into()).spawn(move || acting.run(&asked))?;
        Ok(Self { stop, next, offered, retired, thread })
    }

    /// Offers a policy for the next drive. `false` when the ring is full: the newest that came through is used then.
    #[must_use]
    pub fn offer(&mut self, policy: Versioned) -> bool {
        self.offered.push(policy).is_ok()
    }

    /// Noise and exploration from the next drive on, and whether it begins a new task.
    pub fn next_drive(&self, seed: u64, mode: ActMode, scope: ResetScope) {
        self.next.seed.store(seed, Ordering::Relaxed);
        self.next.explore.store(mode == ActMode::Explore, Ordering::Relaxed);
        self.next.new_task.store(scope == ResetScope::Task, Ordering::Relaxed);
        self.next.number.fetch_add(1, Ordering::Release);
    }

    /// A policy that is no longer used, to be dropped here.
    pub fn retired(&mut self) -> Option<Versioned> {
        self.retired.pop().ok()
    }

    /// Whether it has ended: it panicked, or its control loop is gone.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends the thread when it has heard all that was sent to it, and gives the policy back. `None` when it panicked, or does not come to
    /// its end in a second: a policy that hangs is left behind.
    #[must_use]
    pub fn stop(self) -> Option<Versioned> {
        self.stop.store(true, Ordering::Release);
        let clock = MonotonicClock::start();
        for _ in 0..LAST_LOOKS {
            if self.thread.is_finished() {
                return self.thread.join().ok();
            }
            clock.sleep_until(clock.now_nanos() + LAST_LOOK_NANOS);
        }
        None
    }
}

struct Driving {
    acting: Acting,
    next: Arc<NextDrive>,
    /// Of the drives that were told of.
    number: u64,
    observations: Receiver<PolicyInput>,
    actions: Sender<PolicyOutput>,
    incoming: Consumer<Versioned>,
    outgoing: Producer<Versioned>,
}

impl Driving {
    fn run(mut self, stop: &AtomicBool) -> Versioned {
        let clock = MonotonicClock::start();
        loop {
            // Asked before looking: what was sent before is heard in any case.
            let last = stop.load(Ordering::Acquire) || self.observations.is_finished();
            if let Some(input) = self.newest() {
                if input.wanted && !last {
                    self.answer(&input, &clock);
                }
                self.observations.give_back(input);
            }
            if last {
                return self.acting.into_policy();
            }
            clock.sleep_until(clock.now_nanos() + LOOK_NANOS);
        }
    }

    /// Hears everything that has come. Only the newest observation is worth an answer.
    fn newest(&mut self) -> Option<PolicyInput> {
        let mut newest: Option<PolicyInput> = None;
        while let Some(input) = self.observations.receive() {
            if let Some(older) = newest.take() {
                self.observations.give_back(older);
            }
            self.acting.hear(&input);
            if input.first {
                self.begin_drive();
            }
            self.acting.see(&input);
            newest = Some(input);
        }
        newest
    }

    fn answer(&mut self, input: &PolicyInput, clock: &MonotonicClock) {
        let Some(mut output) = self.actions.lend() else { return };
        self.acting.answer(input, &mut output);
        output.latency_nanos = (clock.now_nanos() - input.now_nanos).max(1);
        self.actions.send(output);
    }

    fn begin_drive(&mut self) {
        let number = self.next.number.load(Ordering::Acquire);
        if number != std::mem::replace(&mut self.number, number) {
            let explore = self.next.explore.load(Ordering::Relaxed);
            let mode = if explore { ActMode::Explore } else { ActMode::Exploit };
            let new_task = self.next.new_task.load(Ordering::Relaxed);
            let scope = if new_task { ResetScope::Task } else { ResetScope::Episode };
            self.acting.next_drive(self.next.seed.load(Ordering::Relaxed), mode, scope);
        }
        let mut newest = None;
        while let Ok(next) = self.incoming.pop() {
            self.retire(newest.replace(next));
        }
        let old = self.acting.begin(newest);
        self.retire(old);
    }

    fn retire(&mut self, old: Option<Versioned>) {
        if let Some(old) = old {
            // A full ring means that its reader is gone: then this is the last place that knows the policy.
            let _ = self.outgoing.push(old);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use surefoot_core::{IdealRobot, JointVelocityTask, PolicyError, RobotContract, Rows, RowsMut};

    use super::*;
    use crate::control::{ControlConfig, ControlLoop, ControlPorts, Driver, Mode, Request, Tick};

    const CONTRACT: &str = r#"
name = "slider"
control_hz = 100.0
policy_hz = 20.0
[[joints]]
name = "x"
unit = "m"
min_position = -1.0
max_position = 1.0
max_velocity = 0.5
max_acceleration = 2.0
"#;

    /// Says the same thing always; says nothing any more, or panics, after so many answers.
    struct Stubborn {
        action: f32,
        answers: u64,
        panics_after: u64,
    }

    impl Policy for Stubborn {
        fn slots(&self) -> usize {
            1
        }
        fn reset(&mut self, _: usize, _: ResetScope, _: u64) {}
        fn act(&mut self, _: Rows<'_>, _: ActMode, mut actions: RowsMut<'_>) -> Result<(), PolicyError> {
            self.answers += 1;
            assert!(self.answers <= self.panics_after, "a bug in a policy");
            actions.row(0).fill(self.action);
            Ok(())
        }
    }

    fn policy(version: u64, action: f32, panics_after: u64) -> Versioned {
        Versioned { version, policy: Box::new(Stubborn { action, answers: 0, panics_after }) }
    }

    struct Run {
        control: ControlLoop,
        requests: Sender<Request>,
        ticks: Receiver<Tick>,
        _human: Sender<Vec<f32>>,
        thread: PolicyThread,
        now: i64,
    }

    impl Run {
        fn new(first: Versioned) -> Self {
            let contract = RobotContract::parse(CONTRACT, Path::new("slider.toml")).unwrap();
            let task = JointVelocityTask::new(&contract, 100).unwrap();
            let robot = Box::new(IdealRobot::new(contract));
            let (control, ports) =
                ControlLoop::new(robot, Box::new(task), ControlConfig::default(), 16).unwrap();
            let ControlPorts { requests, observations, actions, human, ticks, .. } = ports;
            let thread = PolicyThread::start(first, ActMode::Exploit, 1, observations, actions).unwrap();
            Self { control, requests, ticks, _human: human, thread, now: 0 }
        }

        fn ask(&mut self, request: Request) {
            self.requests.lend().unwrap();
            self.requests.send(request);
        }

        /// Periods on simulated time; the thread is given the time it needs to answer each observation, while it lives.
        fn periods(&mut self, n: usize) -> Tick {
            let mut last = None;
            for _ in 0..n {
                self.now += 10_000_000;
                self.control.observe(self.now, 0, 0);
                self.control.command();
                while let Some(tick) = self.ticks.receive() {
                    last = Some(tick.clone());
                    self.ticks.give_back(tick);
                }
                // The policy works in another thread: let it.
                for _ in 0..200 {
                    std::thread::yield_now();
                }
            }
            last.unwrap()
        }

        fn until(&mut self, mode: Mode) -> Tick {
            for _ in 0..100_000 {
                let tick = self.periods(1);
                if tick.mode == mode {
                    return tick;
                }
            }
            panic!("never {mode:?}, but {:?}", self.control.mode());
        }
    }

    #[test]
    fn a_policy_that_panics_is_braked_for_and_the_loop_goes_on() {
        let mut run = Run::new(policy(1, 0.4, 3));
        run.periods(3);
        run.ask(Request::Arm);
        run.until(Mode::Holding);
        run.ask(Request::Run);
        run.until(Mode::Running(Driver::Policy));
        run.until(Mode::Holding);
        let still = run.periods(50);
        assert_eq!((still.mode, run.control.counts().violations), (Mode::Holding, 0));
        assert!(still.command_velocity.iter().all(|v| *v == 0.0));
        let _ = run.thread.stop();
    }

    /// Has drives begun until one is the policy's, and says whose. On a busy machine the thread may be too late for a whole drive: then it
    /// looks for new policies some time after that drive, and the next one shows it.
    fn driven_by(run: &mut Run) -> u64 {
        for _ in 0..1_000 {
            if run.control.mode() != Mode::Holding {
                run.ask(Request::Hold);
                run.until(Mode::Holding);
            }
            run.ask(Request::Run);
            let mut tick = run.until(Mode::Running(Driver::Policy));
            while tick.policy_version == 0 && run.control.mode() == Mode::Running(Driver::Policy) {
                tick = run.periods(1);
            }
            if tick.policy_version != 0 {
                return tick.policy_version;
            }
        }
        panic!("the policy never drove");
    }

    #[test]
    fn policies_change_when_a_drive_begins_and_come_back_to_be_dropped() {
        let mut run = Run::new(policy(1, 0.1, u64::MAX));
        run.periods(3);
        run.ask(Request::Arm);
        run.until(Mode::Holding);
        assert_eq!(driven_by(&mut run), 1);
        assert!(run.thread.offer(policy(2, -0.1, u64::MAX)) && run.thread.offer(policy(3, -0.2, u64::MAX)));
        for _ in 0..20 {
            let tick = run.periods(1);
            assert!(tick.policy_version <= 1, "not in the middle of a drive");
        }
        assert!(run.thread.retired().is_none());
        assert_eq!(driven_by(&mut run), 3);
        let mut retired: Vec<u64> = std::iter::from_fn(|| run.thread.retired()).map(|p| p.version).collect();
        retired.sort_unstable();
        assert_eq!(retired, [1, 2]);
        let _ = run.thread.stop();
    }
}
