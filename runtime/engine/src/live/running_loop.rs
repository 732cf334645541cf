//! A control loop that is running, on simulated time or in real time, seen from outside in one way.

use surefoot_core::clock::MonotonicClock;
use surefoot_core::recycled::{Receiver, Sender};
use surefoot_core::{ActMode, ResetScope, Robot, Task};
use surefoot_safety::SafetyCounts;

use crate::control::{
    CadenceReport, ControlLoop, ControlPorts, ControlThread, EmergencySwitch, Granted, HumanAction, Lockstep,
    Mode, PolicyThread, Request, Tick, Versioned,
};
use crate::live::config::{LiveClock, LiveConfig};
use crate::live::error::LiveError;

/// Ticks that may wait for their reader.
const TICK_QUEUE: usize = 4096;
/// Between two looks at a loop that runs in real time, ns.
const LOOK_NANOS: i64 = 1_000_000;
/// Without a tick for so long a loop hangs: its period is a hundredth of that at most.
const SILENCE_NANOS: i64 = 5_000_000_000;

/// A loop, its policy, and what makes time pass for them.
pub enum RunningLoop {
    /// By turns, one period each time that it is waited for.
    Simulated(Box<Lockstep>),
    /// On threads of their own.
    Real(Box<RealLoop>),
}

/// The parts of a loop that runs in real time.
pub struct RealLoop {
    control: ControlThread,
    policy: PolicyThread,
    requests: Sender<Request>,
    human: Sender<HumanAction>,
    ticks: Receiver<Tick>,
    emergency: EmergencySwitch,
    clock: MonotonicClock,
    /// When a tick last came.
    heard: i64,
    hangs: bool,
}

/// How a loop ended: its robot is at rest, or lost.
pub struct LoopEnd {
    /// How the period was kept; `None` on simulated time.
    pub cadence: Option<CadenceReport>,
    /// What the operating system granted; `None` on simulated time.
    pub granted: Option<Granted>,
    /// What an independent witness counted since the last arming.
    pub counts: SafetyCounts,
    /// Ticks that nobody fetched in time.
    pub dropped_ticks: u64,
    /// The mode that it was left in.
    pub mode: Mode,
    /// Whether the loop panicked; the robot was stopped.
    pub panicked: bool,
    /// The policy that acted last, with all that it remembers; `None` where it hangs or has died.
    pub policy: Option<Versioned>,
}

impl RunningLoop {
    /// Starts a loop, idle.
    ///
    /// # Errors
    /// When robot, task and settings do not fit together, or the system gives no thread.
    pub fn start(
        robot: Box<dyn Robot>,
        task: Box<dyn Task>,
        config: &LiveConfig,
        first: Versioned,
    ) -> Result<Self, LiveError> {
        let (control, ports) = ControlLoop::new(robot, task, config.control.clone(), TICK_QUEUE)?;
        let thread = |source| LiveError::Thread { source };
        match config.clock {
            LiveClock::Simulated => Ok(Self::Simulated(Box::new(Lockstep::new(control, ports, first, 0)))),
            LiveClock::Real => {
                let ControlPorts { emergency, requests, observations, actions, human, ticks } = ports;
                let policy = PolicyThread::start(first, ActMode::Exploit, 0, observations, actions);
                let policy = policy.map_err(thread)?;
                let control = ControlThread::start(control, config.realtime.clone()).map_err(thread)?;
                let clock = MonotonicClock::start();
                let heard = clock.now_nanos();
                Ok(Self::Real(Box::new(RealLoop {
                    control,
                    policy,
                    requests,
                    human,
                    ticks,
                    emergency,
                    clock,
                    heard,
                    hangs: false,
                })))
            }
        }
    }

    /// Asks for something; `false` when the queue is full.
    pub fn ask(&mut self, request: Request) -> bool {
        match self {
            Self::Simulated(run) => run.ask(request),
            Self::Real(run) => {
                let free = run.requests.lend().is_some();
                if free {
                    run.requests.send(request);
                }
                free
            }
        }
    }

    /// The emergency stop that waits for nobody.
    #[must_use]
    pub fn emergency(&self) -> EmergencySwitch {
        match self {
            Self::Simulated(run) => run.ports.emergency.clone(),
            Self::Real(run) => run.emergency.clone(),
        }
    }

    /// A person's action, written by `fill` into `[action_dim]`.
    pub fn give_human(&mut self, fill: impl FnOnce(&mut [f32])) {
        let human = match self {
            Self::Simulated(run) => &mut run.ports.human,
            Self::Real(run) => &mut run.human,
        };
        if let Some(mut action) = human.lend() {
            fill(&mut action);
            human.send(action);
        }
    }

    /// Noise and exploration from the next drive on, and whether it begins a new task.
    pub fn next_drive(&mut self, seed: u64, mode: ActMode, scope: ResetScope) {
        match self {
            Self::Simulated(run) => run.next_drive(seed, mode, scope),
            Self::Real(run) => run.policy.next_drive(seed, mode, scope),
        }
    }

    /// Offers a policy for the next drive; drops those that are no longer used. `false` when too many are under way.
    #[must_use]
    pub fn offer(&mut self, policy: Versioned) -> bool {
        match self {
            Self::Simulated(run) => run.offer(policy),
            Self::Real(run) => {
                while run.policy.retired().is_some() {}
                run.policy.offer(policy)
            }
        }
    }

    /// Lets time pass: one control period, or a moment.
    ///
    /// # Errors
    /// When the control thread has ended by itself, or its robot's link hangs.
    pub fn wait(&mut self) -> Result<(), LiveError> {
        match self {
            Self::Simulated(run) => run.period(),
            Self::Real(run) => {
                run.clock.sleep_until(run.clock.now_nanos() + LOOK_NANOS);
                if run.control.is_finished() {
                    return Err(LiveError::Ended);
                }
                if run.clock.now_nanos() - run.heard > SILENCE_NANOS {
                    run.hangs = true;
                    return Err(LiveError::Silent { secs: SILENCE_NANOS as f64 * 1e-9 });
                }
            }
        }
        Ok(())
    }

    /// The next tick, to be given back.
    pub fn tick(&mut self) -> Option<Tick> {
        match self {
            Self::Simulated(run) => run.ports.ticks.receive(),
            Self::Real(run) => {
                let tick = run.ticks.receive();
                if tick.is_some() {
                    run.heard = run.clock.now_nanos();
                }
                tick
            }
        }
    }

    /// Gives a tick back to be filled again.
    pub fn give_back(&mut self, tick: Tick) {
        match self {
            Self::Simulated(run) => run.ports.ticks.give_back(tick),
            Self::Real(run) => run.ticks.give_back(tick),
        }
    }

    /// Brings the robot to rest and ends the loop.
    #[must_use]
    pub fn stop(self) -> LoopEnd {
        match self {
            Self::Simulated(mut run) => {
                while !run.come_to_rest() {}
                let (control, policy) = run.into_parts();
                LoopEnd {
                    cadence: None,
                    granted: None,
                    counts: control.counts(),
                    dropped_ticks: control.dropped_ticks(),
                    mode: control.mode(),
                    panicked: false,
                    policy: Some(policy),
                }
            }
            Self::Real(run) => {
                let RealLoop { control, policy, hangs, .. } = *run;
                let ended = if hangs {
                    control.leave_behind();
                    None
                } else {
                    control.stop()
                };
                // After the loop, so that nothing of the last drive comes too late.
                let policy = policy.stop();
                match ended {
                    Some(ended) => LoopEnd {
                        counts: ended.control.counts(),
                        dropped_ticks: ended.control.dropped_ticks(),
                        mode: ended.control.mode(),
                        cadence: Some(ended.cadence),
                        granted: Some(ended.granted),
                        panicked: ended.panicked,
                        policy,
                    },
                    None => LoopEnd {
                        cadence: None,
                        granted: None,
                        counts: SafetyCounts::default(),
                        dropped_ticks: 0,
                        mode: Mode::Fault,
                        panicked: true,
                        policy,
                    },
                }
            }
        }
    }
}
