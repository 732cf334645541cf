//! One episode of a scenario through the control loop, on simulated time: the scene is put back, the robot armed and run, and whatever
//! ends the drive is looked at for a while more, for nothing may start again by itself.

use std::panic::{AssertUnwindSafe, catch_unwind};

use surefoot_core::contract::CommandKind;
use surefoot_core::{
    ActMode, EnvError, EnvSpec, Policy, ResetScope, RobotState, ScheduledFault, StepEnd, Task, World,
};

use super::drive::{ControlLoopConfig, DriveEnd, DriveRecord, ModeChange};
use super::episode::{EpisodeEnd, EpisodeRecord, step_signals};
use super::scenario::Parts;
use super::stepped::{fault_seed, panic_words};
use super::tap::{SeenTicks, TappedRobot, TickRecord, tapped_robot};
use super::trace::{Table, Trace};
use crate::control::{ControlError, ControlLoop, DrivenEpisode, EpisodesFromTicks, Lockstep, Mode, Request};
use crate::live::LiveError;
use crate::{EngineError, EpisodeSeeds, Interrupt};

/// Control periods that show the robot before anything is asked of it.
const FIRST_LOOK_TICKS: u64 = 3;
/// Control periods after which something is asked for again.
const ASK_AGAIN_TICKS: u64 = 25;
/// Time in which a robot must be ready to run, s.
const READY_SECS: f64 = 5.0;
/// Time for which the robot is looked at after the drive, s.
const WATCH_SECS: f64 = 1.0;
/// Ticks that may wait for their reader, which looks after every one.
const TICK_QUEUE: usize = 4;
/// Set-points that change by less than this in a period, rad or m, are at rest: what is left is rounding.
const STILL: f32 = 1e-6;

/// A robot, its task and a policy, ready for one drive.
pub struct DrivenStage {
    task: Box<dyn Task>,
    world: Box<dyn World>,
    reader: EpisodesFromTicks,
    policy: Box<dyn Policy>,
    ticks: TickRecord,
    spec: EnvSpec,
    config: ControlLoopConfig,
    onset: Option<u64>,
}

impl DrivenStage {
    /// Builds them.
    ///
    /// # Errors
    /// When one cannot be built, or the robot is none that a control loop can command.
    pub fn new(
        parts: &dyn Parts,
        faults: &[ScheduledFault],
        config: &ControlLoopConfig,
    ) -> Result<Self, EngineError> {
        config.check(faults)?;
        let TappedRobot { task, world, ticks } = tapped_robot(parts.env()?, faults)?;
        let (contract, spec) = (world.contract(), task.spec().clone());
        let live = |e: LiveError| EngineError::from(e);
        if contract.command == CommandKind::Effort {
            let robot = contract.name.clone();
            return Err(live(ControlError::Effort { robot }.into()));
        }
        let no_robot = || EnvError::Build { env: spec.name.clone(), reason: "it has no robot".into() };
        // Loop and reader of ticks have a copy of the task each.
        let (again, _) = parts.env()?.into_robot().ok_or_else(no_robot)?;
        let reader = EpisodesFromTicks::new(again, contract).map_err(|e| live(e.into()))?;
        let policy = parts.policy(&spec)?;
        let onset = config.onset(faults);
        Ok(Self { task, world, reader, policy, ticks, spec, config: config.clone(), onset })
    }

    /// What the policy sees and does.
    pub const fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    /// Names of all signals.
    pub fn signals(&self) -> Vec<String> {
        self.ticks.signals.iter().cloned().chain(step_signals(&self.spec)).collect()
    }

    /// Drives.
    ///
    /// # Errors
    /// When the scene cannot be put back, and [`EngineError::Interrupted`].
    pub fn run(
        self,
        episode: usize,
        seeds: EpisodeSeeds,
        interrupt: &Interrupt,
    ) -> Result<(EpisodeRecord, Trace), EngineError> {
        let Self { mut task, mut world, reader, policy, ticks, spec, config, onset } = self;
        let ControlLoopConfig { control, silent_policy, must_end: _ } = config;
        ticks.begin(fault_seed(seeds));
        let mut initial = RobotState::zeros(world.contract());
        task.begin_episode(seeds.reset, &mut initial);
        world.vary(seeds.reset);
        world.reset(&initial).map_err(EnvError::from)?;
        let (control, ports) =
            ControlLoop::new(Box::new(world), task, control, TICK_QUEUE).map_err(LiveError::from)?;
        let mut run = Lockstep::new(control, ports, policy, seeds.noise);
        run.next_drive(seeds.noise, ActMode::Exploit, ResetScope::Task);
        run.ask(Request::Seed(seeds.reset));
        let mut drive = Drive::new(reader, ticks.period_secs);
        let mut gave_up = None;
        while !drive.is_over() {
            if interrupt.requested() {
                return Err(EngineError::Interrupted);
            }
            if let Some(request) = drive.request() {
                run.ask(request);
            }
            let silent = silent_policy.iter().any(|periods| periods.contains(drive.ticks));
            // Physics that explodes may panic before anybody reads a state.
            let period = AssertUnwindSafe(|| if silent { run.period_without_policy() } else { run.period() });
            if let Err(panic) = catch_unwind(period) {
                gave_up = Some(format!("the simulation gave up: {}", panic_words(&*panic)));
                break;
            }
            drive.take(&mut run);
        }
        let SeenTicks { table, first_command, violations } = ticks.take();
        let moved_until = first_command.and_then(|first| last_motion(&table, first));
        let Drive { driven, changes, .. } = drive;
        let by_task = driven.as_ref().is_some_and(|d| d.ended_by.is_none());
        let made = DriveRecord::of(changes, by_task, moved_until, onset);
        let mut record = record(driven.as_ref(), &spec);
        (record.episode, record.seed) = (episode, seeds.reset);
        record.safety.violations = record.safety.violations.max(violations);
        let failure = match gave_up.or_else(|| not_finite(&table)) {
            Some(why) => Some((EpisodeEnd::Diverged, why)),
            None if made.end == DriveEnd::Fault => Some((EpisodeEnd::RobotLost, made.words())),
            None => None,
        };
        if let Some((end, why)) = failure {
            (record.end, record.failure) = (end, Some(why));
            (record.success, record.success_secs) = (false, None);
        }
        let begins_secs = made.began.unwrap_or(0) as f64 * table.period_secs;
        let trace = Trace { ticks: table, steps: steps(driven.as_ref(), &spec, begins_secs) };
        record.trace = trace.hash();
        record.drive = Some(made);
        Ok((record, trace))
    }
}

/// A drive that is going on, as it is seen from outside the loop.
struct Drive {
    reader: EpisodesFromTicks,
    /// Control periods so far.
    ticks: u64,
    mode: Mode,
    ran: bool,
    asked: Option<(Request, u64)>,
    changes: Vec<ModeChange>,
    driven: Option<DrivenEpisode>,
    /// Control periods in which it must have begun.
    ready_ticks: u64,
    watch_ticks: u64,
    /// The control period after which it was over.
    over: Option<u64>,
}

impl Drive {
    fn new(reader: EpisodesFromTicks, period_secs: f64) -> Self {
        let ticks = |secs: f64| (secs / period_secs).ceil() as u64;
        Self {
            reader,
            ticks: 0,
            mode: Mode::Idle,
            ran: false,
            asked: None,
            changes: Vec::new(),
            driven: None,
            ready_ticks: ticks(READY_SECS),
            watch_ticks: ticks(WATCH_SECS),
            over: None,
        }
    }

    /// What is asked of the loop before its next period, as a session without a person asks it.
    fn request(&mut self) -> Option<Request> {
        if self.over.is_some() {
            return None;
        }
        let wanted = match self.mode {
            Mode::Idle if !self.ran && self.ticks >= FIRST_LOOK_TICKS => Request::Arm,
            Mode::Holding if !self.ran => Request::Run,
            // The task has ended it.
            Mode::Running(_) if self.driven.is_some() => Request::Hold,
            _ => return None,
        };
        let again = self.asked.is_none_or(|(r, at)| r != wanted || self.ticks >= at + ASK_AGAIN_TICKS);
        again.then(|| {
            self.asked = Some((wanted, self.ticks));
            wanted
        })
    }

    /// Takes in what the period has brought.
    fn take(&mut self, run: &mut Lockstep) {
        self.ticks += 1;
        while let Some(tick) = run.ports.ticks.receive() {
            self.changes.extend(tick.transitions.iter().flatten().map(ModeChange::of));
            self.ran |= matches!(tick.mode, Mode::Running(_));
            self.mode = tick.mode;
            let driven = self.reader.push(&tick);
            // Nothing is asked to run a second time; what did so would show in the changes.
            self.driven = self.driven.take().or(driven);
            run.ports.ticks.give_back(tick);
        }
        let over = self.mode.is_latched()
            || (self.ran && matches!(self.mode, Mode::Holding | Mode::Idle))
            || (!self.ran && self.ticks >= self.ready_ticks);
        if over {
            self.over.get_or_insert(self.ticks);
        }
    }

    /// Whether it has been over for long enough.
    fn is_over(&self) -> bool {
        self.over.is_some_and(|over| self.ticks >= over + self.watch_ticks)
    }
}

/// The last control period in which the set-points of the robot's own side moved, from its first command on.
fn last_motion(table: &Table, first: usize) -> Option<u64> {
    let commands: Vec<usize> = (table.signals.iter().enumerate())
        .filter(|(_, name)| name.starts_with("command/"))
        .map(|(i, _)| i)
        .collect();
    let moved = |row: &usize| {
        let (before, now) = (table.row(row - 1), table.row(*row));
        // What is no number is no rest.
        !commands.iter().all(|c| (now[*c] - before[*c]).abs() <= STILL)
    };
    let last = (first + 1..table.rows()).rev().find(moved)?;
    // Still moving at the end: never at rest.
    (last + 1 < table.rows()).then_some(last as u64)
}

/// What of the robot's own last state is no number, in words.
fn not_finite(table: &Table) -> Option<String> {
    let last = table.row(table.rows().checked_sub(1)?);
    let mut signals = table.signals.iter().zip(last);
    signals.find(|(_, value)| !value.is_finite()).map(|(signal, value)| format!("{signal} is {value}"))
}

fn record(driven: Option<&DrivenEpisode>, spec: &EnvSpec) -> EpisodeRecord {
    let Some(DrivenEpisode { episode, cost, .. }) = driven else { return EpisodeRecord::default() };
    let success = episode.success == Some(true);
    let terminated = episode.end.last() == Some(&StepEnd::Terminated);
    EpisodeRecord {
        steps: episode.len(),
        end: if terminated { EpisodeEnd::Terminated } else { EpisodeEnd::Truncated },
        success,
        success_secs: success.then_some(episode.len() as f64 * spec.step_secs),
        episode_return: episode.episode_return(),
        path: cost.path,
        safety: episode.safety,
        ..EpisodeRecord::default()
    }
}

fn steps(driven: Option<&DrivenEpisode>, spec: &EnvSpec, begins_secs: f64) -> Table {
    let (actions, observations) = (spec.action_dim(), spec.observation_dim());
    let mut values = Vec::new();
    if let Some(DrivenEpisode { episode, .. }) = driven {
        for (t, reward) in episode.reward.iter().enumerate() {
            values.extend_from_slice(&episode.action[t * actions..(t + 1) * actions]);
            values.extend_from_slice(&episode.next_observation[t * observations..(t + 1) * observations]);
            values.push(*reward);
        }
    }
    Table { begins_secs, period_secs: spec.step_secs, signals: step_signals(spec), values }
}
