//! The control loop in real time: a thread of its own, absolute deadlines on the monotonic clock, and what the system grants.
//!
//! A late period is worked at once; deadlines that have passed meanwhile are skipped whole, so the phase stays. The thread ends
//! by bringing the robot to rest, whether it was asked to or the loop panicked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::clock::MonotonicClock;

use crate::control::cadence::{Cadence, CadenceReport, PeriodTimes};
use crate::control::control_loop::ControlLoop;
use crate::control::mode::{Cause, Mode, Rest};
use crate::control::request::Request;

/// What is asked of the operating system. What it refuses is told, and the loop runs without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RealtimeConfig {
    /// Priority under `SCHED_FIFO`, 1 to 99; 0 asks for none.
    pub priority: u8,
    /// The processor core that the thread is kept on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core: Option<usize>,
    /// Whether the program's memory is locked, so that no tick waits for a page.
    pub lock_memory: bool,
}

impl Default for RealtimeConfig {
    fn default() -> Self {
        Self { priority: 80, core: None, lock_memory: true }
    }
}

/// What the system granted: `Ok` where asked for and given, or not asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Granted {
    /// `SCHED_FIFO`.
    pub scheduling: Result<(), String>,
    /// Affinity.
    pub affinity: Result<(), String>,
    /// Locked memory.
    pub memory: Result<(), String>,
}

impl Granted {
    /// One line for each thing that was refused.
    pub fn refusals(&self) -> impl Iterator<Item = String> + '_ {
        [("SCHED_FIFO", &self.scheduling), ("affinity", &self.affinity), ("locked memory", &self.memory)]
            .into_iter()
            .filter_map(|(what, granted)| granted.as_ref().err().map(|e| format!("without {what}: {e}")))
    }
}

/// Asks for what real time needs, for the calling thread (memory: for the program).
#[cfg(target_os = "linux")]
#[must_use]
pub fn ask_the_system(config: &RealtimeConfig) -> Granted {
    use nix::sched::{CpuSet, sched_setaffinity};
    use nix::sys::mman::{MlockAllFlags, mlockall};
    use nix::unistd::Pid;
    use thread_priority::{
        RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
        thread_native_id,
    };
    let RealtimeConfig { priority, core, lock_memory } = config;
    let memory = if *lock_memory {
        mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE).map_err(|e| e.to_string())
    } else {
        Ok(())
    };
    let affinity = core.map_or(Ok(()), |core| {
        let mut set = CpuSet::new();
        set.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set)).map_err(|e| e.to_string())
    });
    let scheduling = if *priority == 0 {
        Ok(())
    } else {
        ThreadPriority::try_from((*priority).min(99)).map_err(ToOwned::to_owned).and_then(|priority| {
            let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
            set_thread_priority_and_policy(thread_native_id(), priority, policy).map_err(|e| format!("{e:?}"))
        })
    };
    Granted { scheduling, affinity, memory }
}

/// Asks for what real time needs: nothing of it is offered here.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn ask_the_system(_config: &RealtimeConfig) -> Granted {
    let none = || Err("only on Linux".to_owned());
    Granted { scheduling: none(), affinity: none(), memory: none() }
}

/// How a control thread ended.
pub struct Ended {
    /// The loop, with its robot at rest or lost.
    pub control: ControlLoop,
    /// How it kept its rate.
    pub cadence: CadenceReport,
    /// What the system had granted.
    pub granted: Granted,
    /// Whether the loop panicked: the robot was stopped then, and the fault stands.
    pub panicked: bool,
}

/// A running control loop.
pub struct ControlThread {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Ended, hdrhistogram::CreationError>>>,
}

/// Whatever ends the program's interest in a robot, an error on its way up included, the robot is brought to rest first.
impl Drop for ControlThread {
    fn drop(&mut self) {
        self.ask_to_stop();
        if let Some(thread) = self.thread.take() {
            // There is nobody left to tell how it ended.
            let _ = thread.join();
        }
    }
}

impl ControlThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(control: ControlLoop, config: RealtimeConfig) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = stop.clone();
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || run(control, &config, &asked))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Whether it has ended by itself.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Asks the loop to bring the robot to rest and end, without waiting for it.
    pub fn ask_to_stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Leaves a thread behind that does not end: its robot's link hangs, and waiting for it would hang the program too.
    pub fn leave_behind(mut self) {
        self.ask_to_stop();
        self.thread = None;
    }

    /// Brings the robot to rest and gives everything back. `None` when the thread could not even be set up.
    #[must_use]
    pub fn stop(mut self) -> Option<Ended> {
        self.ask_to_stop();
        self.thread.take()?.join().ok()?.ok()
    }
}

fn run(
    mut control: ControlLoop,
    config: &RealtimeConfig,
    stop: &AtomicBool,
) -> Result<Ended, hdrhistogram::CreationError> {
    let period = (control.period_secs() * 1e9).round().max(1.0) as i64;
    let mut cadence = Cadence::new(period)?;
    let granted = ask_the_system(config);
    let clock = MonotonicClock::start();
    let mut deadline = clock.now_nanos() + period;
    let mut panicked = false;
    loop {
        clock.sleep_until(deadline);
        let began = clock.now_nanos();
        let late = (began - deadline).max(0);
        let overruns = u32::try_from(late / period).unwrap_or(u32::MAX);
        let worked = catch_unwind(AssertUnwindSafe(|| {
            if stop.load(Ordering::Relaxed) && control.come_to_rest() {
                return true;
            }
            control.observe(began, overruns, late);
            control.command();
            false
        }));
        match worked {
            Ok(true) => break,
            Ok(false) => {}
            Err(_) => {
                // The loop's state is not to be trusted any more; the robot's own stop is, as far as it goes.
                panicked = true;
                let _ = catch_unwind(AssertUnwindSafe(|| control.abandon()));
                break;
            }
        }
        let times = PeriodTimes {
            began,
            jitter: late,
            work: clock.now_nanos() - began,
            overruns,
            policy_latency: control.policy_latency_nanos(),
        };
        cadence.record(times);
        deadline += period * (i64::from(overruns) + 1);
    }
    Ok(Ended { control, cadence: cadence.report(), granted, panicked })
}

impl ControlLoop {
    /// Brakes, for good: true when the robot is at rest, and then it is disarmed and told to stop.
    pub(crate) fn come_to_rest(&mut self) -> bool {
        self.brake_for(Rest::Holding, Cause::Exit);
        let moving = matches!(
            self.mode(),
            Mode::Running(_) | Mode::Paused(_) | Mode::Braking(_) | Mode::Recovery | Mode::Starting
        );
        if !moving {
            let _refused_when_latched = self.obey(Request::Disarm);
            self.abandon();
        }
        !moving
    }
}
