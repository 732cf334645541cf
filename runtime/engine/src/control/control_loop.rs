//! One control period: read, judge, arbitrate, filter, write, record.
//!
//! ```text
//! observe: Robot::read -> age, gap and finite checks -> requests -> the step's outcome and an observation to the policy (every policy period)
//! command: newest due action -> arbitration (emergency stop > person > policy > hold) -> Task::desired -> fade and hand-over
//!          -> SafetyChain::admit -> Robot::write -> tracking check -> Tick
//! ```
//! Time is given from outside, so the same code runs on simulated time, bit-reproducibly, and on a real-time thread. Beyond the
//! robot's own I/O a period does not allocate, lock, log or make a system call. A loop judges and never guesses: what it did
//! and why stands in its ticks.

use surefoot_core::contract::CommandKind;
use surefoot_core::recycled::{self, Receiver, Sender};
use surefoot_core::{ContractError, Robot, RobotState, Task};
use surefoot_safety::{LimitMonitor, SafetyChain, SafetyCounts, Verdict};

use crate::EngineError;
use crate::control::budget::DriveBudget;
use crate::control::config::ControlConfig;
use crate::control::mode::{Cause, Driver, Mode, Rest, Supervisor};
use crate::control::ports::{ControlPorts, EmergencySwitch, HumanAction, PolicyInput, PolicyOutput};
use crate::control::request::{Label, Refusal, Request};
use crate::control::steps::Steps;
use crate::control::tick::Tick;
use crate::control::watch::{ObservationWatch, OverrunWatch, TrackingWatch};
use crate::limits::LimitReached;

/// Why a loop cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The robot's contract is unusable.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// A setting is unusable.
    #[error(transparent)]
    Config(#[from] EngineError),
    /// A robot without motion set-points: braking it is its own controller's business.
    #[error(
        "robot {robot} takes efforts: the control loop commands positions and velocities only, because only those can be braked for certain"
    )]
    Effort {
        /// Name of the robot.
        robot: String,
    },
    /// The task is of another robot.
    #[error("task {task} and robot {robot} differ: {what}: expected {expected}, found {found}")]
    Task {
        /// Name of the task.
        task: String,
        /// Name of the robot.
        robot: String,
        /// In what.
        what: &'static str,
        /// By the task.
        expected: String,
        /// By the robot.
        found: String,
    },
}

/// Places in the queues of observations and actions.
const ACTIONS: usize = 16;
/// How far inside its limits recovery brings a joint, as a part of its range.
pub(super) const RECOVERY_MARGIN: f64 = 0.005;
/// Places in the queue of requests.
const REQUESTS: usize = 64;

/// The owner of a robot.
pub struct ControlLoop {
    pub(super) robot: Box<dyn Robot>,
    pub(super) task: Box<dyn Task>,
    pub(super) chain: SafetyChain,
    pub(super) monitor: LimitMonitor,
    pub(super) config: ControlConfig,
    pub(super) period_secs: f64,
    pub(super) ticks_per_step: u64,
    pub(super) delay_ticks: u64,
    pub(super) supervisor: Supervisor,
    pub(super) observation_watch: ObservationWatch,
    pub(super) tracking: TrackingWatch,
    pub(super) overruns: OverrunWatch,
    pub(super) requests: Receiver<Request>,
    pub(super) emergency: EmergencySwitch,
    pub(super) observations: Sender<PolicyInput>,
    pub(super) actions: Receiver<PolicyOutput>,
    pub(super) human: Receiver<HumanAction>,
    pub(super) ticks: Sender<Tick>,
    pub(super) tick: u64,
    pub(super) now: i64,
    pub(super) jitter: i64,
    pub(super) missed: u32,
    pub(super) incoming: RobotState,
    pub(super) state: RobotState,
    /// What the task of the last drive was drawn from, and that of the next one will be.
    pub(super) seed: u64,
    pub(super) next_seed: u64,
    /// Room for the initial state that a task draws; putting the scene into it is not the loop's.
    pub(super) initial: RobotState,
    pub(super) desired: Vec<f64>,
    /// Velocity from which a new driver takes over, and ticks left of the hand-over.
    pub(super) handover_from: Vec<f64>,
    pub(super) handover_left: u64,
    /// Whether the present driver has yet to say its first word.
    pub(super) first_word: bool,
    /// Tick at which the present driver took over.
    pub(super) driving_since: u64,
    /// Answers that are not due yet, oldest first.
    pub(super) pending: Vec<PolicyOutput>,
    pub(super) active: PolicyOutput,
    /// The policy's newest answer, whether it is in force yet or not.
    pub(super) newest_action: Vec<f32>,
    /// When the active action, a person's or a policy's, came into force; `None` before the first.
    pub(super) active_since: Option<i64>,
    pub(super) human_action: HumanAction,
    pub(super) human_since: Option<i64>,
    pub(super) not_finite_commands: u32,
    pub(super) failed_reads: u32,
    pub(super) failed_writes: u32,
    pub(super) starting_ticks: u64,
    pub(super) refusal: Option<(Request, Refusal)>,
    pub(super) mark: Option<Label>,
    pub(super) budget: DriveBudget,
    /// The steps of the episode that is going on, as the policy hears of them.
    pub(super) steps: Steps,
    pub(super) limit: Option<LimitReached>,
    pub(super) observed: bool,
    /// Whether the last command was rest and planned nothing but rest.
    pub(super) at_rest: bool,
    pub(super) latency: i64,
    /// What the witness counted in this period.
    pub(super) violations: u64,
}

impl ControlLoop {
    /// A loop over a robot, idle until it is asked to arm. `recorded_ticks` is how many ticks the reader may be behind.
    ///
    /// # Errors
    /// When contract, settings and task do not fit together.
    pub fn new(
        robot: Box<dyn Robot>,
        task: Box<dyn Task>,
        config: ControlConfig,
        recorded_ticks: usize,
    ) -> Result<(Self, ControlPorts), ControlError> {
        config.check("control")?;
        let contract = robot.contract();
        let spec = task.spec();
        if contract.command == CommandKind::Effort {
            return Err(ControlError::Effort { robot: contract.name.clone() });
        }
        if let Some(hash) = spec.contract_hash.as_ref().filter(|hash| **hash != contract.hash()) {
            return Err(ControlError::Task {
                task: spec.name.clone(),
                robot: contract.name.clone(),
                what: "robot contract hash",
                expected: hash.clone(),
                found: contract.hash(),
            });
        }
        let chain = contract.safety_chain()?;
        let period_secs = contract.control_secs();
        let ticks_per_step = contract.ticks_per_step()? as u64;
        let (joints, actions) = (contract.joints.len(), spec.action_dim());
        let observation_dim = spec.observation_dim();
        let emergency = EmergencySwitch::default();
        let (request_sender, requests) = recycled::queue(REQUESTS, || Request::Hold);
        let (observations, observation_receiver) = recycled::queue(ACTIONS, || PolicyInput {
            observation: vec![0.0; observation_dim],
            executed: vec![0.0; actions],
            ..PolicyInput::default()
        });
        // Answers that wait for the declared delay need places as well.
        let places = ACTIONS + contract.action_delay_ticks / ticks_per_step.max(1) as usize;
        let output = || PolicyOutput { action: vec![0.0; actions], ..PolicyOutput::default() };
        let (action_sender, action_receiver) = recycled::queue(places, output);
        let (human_sender, human) = recycled::queue(ACTIONS, || vec![0.0; actions]);
        let (ticks, tick_receiver) = recycled::queue(recorded_ticks.max(2), || Tick::new(contract, spec));
        let window = (config.overrun_window_secs / period_secs).ceil() as usize;
        let made = Self {
            monitor: LimitMonitor::new(chain.limits(), period_secs),
            incoming: RobotState::zeros(contract),
            state: RobotState::zeros(contract),
            seed: 0,
            next_seed: 0,
            initial: RobotState::zeros(contract),
            delay_ticks: contract.action_delay_ticks as u64,
            chain,
            period_secs,
            ticks_per_step,
            supervisor: Supervisor::default(),
            observation_watch: ObservationWatch::default(),
            tracking: TrackingWatch::default(),
            overruns: OverrunWatch::new(window.min(1_000_000)),
            requests,
            emergency: emergency.clone(),
            observations,
            actions: action_receiver,
            human,
            ticks,
            tick: 0,
            now: i64::MIN,
            jitter: 0,
            missed: 0,
            desired: vec![0.0; joints],
            handover_from: vec![0.0; joints],
            handover_left: 0,
            first_word: true,
            driving_since: 0,
            pending: Vec::with_capacity(places),
            active: output(),
            newest_action: vec![0.0; actions],
            active_since: None,
            human_action: vec![0.0; actions],
            human_since: None,
            not_finite_commands: 0,
            failed_reads: 0,
            failed_writes: 0,
            starting_ticks: 0,
            refusal: None,
            mark: None,
            budget: DriveBudget::new(config.episode, spec.max_steps, ticks_per_step, period_secs),
            steps: Steps::new(joints, actions, spec.max_steps),
            limit: None,
            observed: false,
            at_rest: true,
            latency: 0,
            violations: 0,
            config,
            robot,
            task,
        };
        let ports = ControlPorts {
            emergency,
            requests: request_sender,
            observations: observation_receiver,
            actions: action_sender,
            human: human_sender,
            ticks: tick_receiver,
        };
        Ok((made, ports))
    }

    /// The present mode.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.supervisor.mode()
    }
    /// Ticks so far.
    #[must_use]
    pub const fn tick_count(&self) -> u64 {
        self.tick
    }
    /// Control period, s.
    #[must_use]
    pub const fn period_secs(&self) -> f64 {
        self.period_secs
    }
    /// What an independent witness counted since arming, on this side of the link.
    #[must_use]
    pub const fn counts(&self) -> SafetyCounts {
        self.monitor.counts()
    }
    /// Ticks that nobody fetched in time.
    #[must_use]
    pub const fn dropped_ticks(&self) -> u64 {
        self.ticks.dropped()
    }
    /// The robot, between two periods.
    pub fn robot(&mut self) -> &mut dyn Robot {
        &mut *self.robot
    }

    /// How long the policy took for the answer that came in this period, ns; 0 where none came.
    #[must_use]
    pub const fn policy_latency_nanos(&self) -> i64 {
        self.latency
    }

    /// Brakes for a reason from outside the loop: a limit of the session, the end of the program.
    pub fn brake_for(&mut self, rest: Rest, cause: Cause) {
        self.supervisor.brake(rest, cause, 0.0, 0.0);
    }

    /// Follows a request at once, as if it had come through the queue.
    ///
    /// # Errors
    /// Why it is not followed.
    pub fn obey(&mut self, request: Request) -> Result<(), Refusal> {
        self.follow(request)
    }

    /// Leaves the robot to its own stop: nothing more is commanded.
    pub fn abandon(&mut self) {
        // There is nobody left to tell.
        let _ = self.robot.stop();
    }

    /// One whole period at `now_nanos` of a monotonic clock.
    pub fn step(&mut self, now_nanos: i64) {
        self.observe(now_nanos, 0, 0);
        self.command();
    }

    /// First half of a period. `jitter_nanos` is how late it begins, `overruns` how many deadlines passed unused before it.
    pub fn observe(&mut self, now_nanos: i64, overruns: u32, jitter_nanos: i64) {
        self.tick += 1;
        self.supervisor.begin_tick(self.tick);
        (self.jitter, self.missed) = (jitter_nanos, overruns);
        if now_nanos <= self.now {
            let back = (self.now.saturating_sub(now_nanos)) as f64 * 1e-9;
            self.supervisor.brake(Rest::ProtectiveStop, Cause::ClockJump, back, 0.0);
        }
        self.now = self.now.max(now_nanos);
        let (in_a_row, share) = self.overruns.judge(overruns);
        if in_a_row > self.config.max_overruns_in_a_row {
            let limit = f64::from(self.config.max_overruns_in_a_row);
            self.supervisor.brake(Rest::ProtectiveStop, Cause::Overruns, f64::from(in_a_row), limit);
        } else if share > self.config.max_overrun_share {
            self.supervisor.brake(
                Rest::ProtectiveStop,
                Cause::Overruns,
                share,
                self.config.max_overrun_share,
            );
        }
        self.read();
        self.follow_requests();
        self.publish();
    }

    /// Second half of a period.
    pub fn command(&mut self) {
        self.latency = self.take_actions();
        let driver = self.arbitrate();
        let mut verdict = Verdict::Passed;
        let mut delta = 0.0_f64;
        let mut reasons = 0;
        let commanded = self.mode().is_armed() && self.mode() != Mode::EmergencyStop;
        let speed_scale = self.chain.speed_scale();
        if commanded {
            // Nobody drives: the stop plan is followed to its end, and rest is kept.
            let stopping = driver.is_none() && !self.at_rest && self.supervisor.mode() != Mode::Recovery;
            let command = if stopping { self.chain.brake() } else { self.chain.admit(&self.desired) };
            let before = self.monitor.counts().violations;
            self.monitor.observe(&command);
            self.violations = self.monitor.counts().violations - before;
            self.at_rest = command.stop_plan().ticks() == 0 && command.velocity().iter().all(|v| *v == 0.0);
            verdict = command.verdict();
            reasons = command.reasons().bits();
            for (desired, executed) in self.desired.iter().zip(command.velocity()) {
                delta = delta.max((desired - executed).abs());
            }
            if matches!(self.supervisor.mode(), Mode::Running(_)) {
                let scaled = speed_scale < 1.0;
                self.limit = self.budget.observe(verdict, driver.is_some() && !scaled, command.velocity());
            }
            let written = self.robot.write(command).is_ok();
            self.count_write(written);
        } else {
            let passed = self.robot.without_command().is_ok();
            self.count_write(passed);
        }
        if verdict == Verdict::Stopped && driver.is_some() {
            self.not_finite_commands = self.not_finite_commands.saturating_add(1);
            let (count, limit) = (self.not_finite_commands, self.config.max_not_finite_commands);
            let rest = if count >= limit { Rest::ProtectiveStop } else { Rest::Holding };
            self.supervisor.brake(rest, Cause::CommandNotFinite, f64::from(count), f64::from(limit));
        }
        if let Some(LimitReached { limit: _, found, allowed }) = self.limit {
            self.supervisor.brake(Rest::Holding, Cause::EpisodeLimit, found, allowed);
        }
        self.check_tracking();
        self.settle();
        self.follow_step();
        self.record(driver, commanded, verdict, reasons, delta);
    }

    /// The robot's own stop.
    pub(super) fn stop_robot(&mut self) {
        let stopped = self.robot.stop().is_ok();
        self.count_write(stopped);
    }

    fn record(
        &mut self,
        driver: Option<Driver>,
        commanded: bool,
        verdict: Verdict,
        reasons: u16,
        delta: f64,
    ) {
        let Some(mut tick) = self.ticks.lend() else { return };
        tick.set_state(&self.state, self.observation_watch.stamp());
        (tick.tick, tick.now_nanos, tick.mode, tick.seed) = (self.tick, self.now, self.mode(), self.seed);
        for (slot, transition) in tick
            .transitions
            .iter_mut()
            .zip(self.supervisor.transitions().iter().map(|t| Some(*t)).chain(std::iter::repeat(None)))
        {
            *slot = transition;
        }
        self.supervisor.forget_transitions(tick.transitions.len());
        tick.refusal = self.refusal.take();
        (tick.mark, tick.limit) = (self.mark.take(), self.limit.take());
        tick.driver = driver;
        tick.policy_version = if driver == Some(Driver::Policy) { self.active.version } else { 0 };
        tick.observation_age_nanos = self.observation_watch.age_nanos(self.now).unwrap_or(i64::MAX);
        (tick.policy_latency_nanos, tick.jitter_nanos, tick.overruns) =
            (self.latency, self.jitter, self.missed);
        tick.violations = std::mem::take(&mut self.violations);
        (tick.verdict, tick.reasons, tick.filter_delta, tick.commanded) =
            (verdict, reasons, delta, commanded);
        match driver {
            Some(Driver::Policy) => tick.action.copy_from_slice(&self.active.action),
            Some(Driver::Human) => tick.action.copy_from_slice(&self.human_action),
            None => tick.action.fill(0.0),
        }
        tick.policy_action.copy_from_slice(&self.newest_action);
        tick.desired.copy_from_slice(&self.desired);
        tick.command_position.copy_from_slice(self.chain.state().position);
        tick.command_velocity.copy_from_slice(self.chain.state().velocity);
        self.ticks.send(tick);
    }
}
