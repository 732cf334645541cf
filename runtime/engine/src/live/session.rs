//! One episode after the other on one robot: prepares the scene, arms, runs, gathers what happened, and keeps it.

use std::collections::VecDeque;

use surefoot_core::{ActMode, ContractError, DataError, EpisodeSink, Robot, RobotContract, Task};

use crate::Interrupt;
use crate::control::{
    Cause, ControlError, DrivenEpisode, Driver, EpisodesFromTicks, Mode, Refusal, Request, Tick, Versioned,
};
use crate::live::config::LiveConfig;
use crate::live::operator::{Operator, OperatorEvent};
use crate::live::running_loop::{LoopEnd, RunningLoop};
use crate::live::scene::Scene;
use crate::rollout::EpisodeSeeds;

/// Ticks that show the robot before anything is asked of it.
const FIRST_LOOK_TICKS: u64 = 3;
/// Ticks after which something is asked for again.
const ASK_AGAIN_TICKS: u64 = 25;
/// Ticks in which a robot without an operator must be ready to run.
const READY_TICKS: u64 = 5_000;
/// Drives that end before their first step, in a row, before the session gives up.
const EMPTY_DRIVES: u32 = 3;

/// Why a session cannot go on. The robot is brought to rest in any case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// Robot, task and settings do not fit together.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The robot's contract is unusable.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The system gives no thread.
    #[error("cannot start a thread: {source}")]
    Thread {
        /// What the system says.
        source: std::io::Error,
    },
    /// The control thread has ended by itself; the robot was stopped.
    #[error("the control loop ended by itself: the robot was stopped")]
    Ended,
    /// The robot, or what is kept of it, could not be set up.
    #[error("{reason}")]
    Parts {
        /// Why.
        reason: String,
    },
    /// The robot cannot be made ready.
    #[error("the robot could not be driven: it is {mode:?}{}", refusal.map_or(String::new(), |(what, why)| format!(", and {what:?} was refused: {why}")))]
    NotReady {
        /// The mode that it stays in.
        mode: Mode,
        /// What was refused last.
        refusal: Option<(Request, Refusal)>,
    },
    /// A finished episode could not be kept.
    #[error("a finished episode could not be kept: {source}")]
    Record {
        /// What the recorder says.
        #[from]
        source: DataError,
    },
    /// A tick could not be kept.
    #[error("a tick could not be kept: {source}")]
    Tick {
        /// What the system says.
        source: std::io::Error,
    },
}

/// Where ticks are kept.
pub trait TickSink: Send {
    /// Keeps a tick.
    ///
    /// # Errors
    /// When it could not be kept.
    fn keep(&mut self, tick: &Tick) -> std::io::Result<()>;
}

/// What a session is made of.
pub struct SessionParts {
    /// The robot.
    pub robot: Box<dyn Robot>,
    /// For the control loop.
    pub task: Box<dyn Task>,
    /// The same task once more, for making episodes of ticks.
    pub reader_task: Box<dyn Task>,
    /// Puts the scene back.
    pub scene: Box<dyn Scene>,
    /// The person.
    pub operator: Box<dyn Operator>,
    /// Where finished episodes are kept, before anybody learns from them.
    pub episodes: Option<Box<dyn EpisodeSink>>,
    /// Where ticks are kept.
    pub ticks: Option<Box<dyn TickSink>>,
}

/// An episode to be driven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The episode's name.
    pub name: String,
    /// What its randomness comes from.
    pub seeds: EpisodeSeeds,
    /// Whether the policy explores.
    pub mode: ActMode,
    /// Speed scale, 1 to 100 %.
    pub speed_percent: u8,
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq)]
pub enum Driven {
    /// An episode; it is kept already, where there is a place for it.
    Episode(Box<DrivenEpisode>),
    /// Nothing: the session was asked to end.
    Interrupted,
    /// Nothing: a latched stop, and nobody there to look at it.
    Stopped {
        /// The mode.
        mode: Mode,
        /// Why.
        cause: Option<Cause>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Preparing,
    Arming,
    Running,
}

/// A robot that works through episodes.
pub struct Session {
    run: RunningLoop,
    reader: EpisodesFromTicks,
    scene: Box<dyn Scene>,
    operator: Box<dyn Operator>,
    episodes: Option<Box<dyn EpisodeSink>>,
    ticks: Option<Box<dyn TickSink>>,
    wait_for_start: bool,
    ticks_per_step: u64,
    mode: Mode,
    tick: u64,
    asked: Option<(Request, u64)>,
    refusal: Option<(Request, Refusal)>,
    cause: Option<Cause>,
    started: bool,
    quit: bool,
    order: Option<Order>,
    finished: VecDeque<DrivenEpisode>,
}

impl Session {
    /// Starts the robot's control loop, idle.
    ///
    /// # Errors
    /// When robot, task and settings do not fit together, or the system gives no thread.
    pub fn new(parts: SessionParts, config: &LiveConfig, first: Versioned) -> Result<Self, LiveError> {
        let SessionParts { robot, task, reader_task, scene, operator, episodes, ticks } = parts;
        let contract: RobotContract = robot.contract().clone();
        let reader = EpisodesFromTicks::new(reader_task, &contract)?;
        Ok(Self {
            run: RunningLoop::start(robot, task, config, first)?,
            reader,
            scene,
            operator,
            episodes,
            ticks,
            wait_for_start: config.wait_for_start,
            ticks_per_step: contract.ticks_per_step()? as u64,
            mode: Mode::Idle,
            tick: 0,
            asked: None,
            refusal: None,
            cause: None,
            started: false,
            quit: false,
            order: None,
            finished: VecDeque::new(),
        })
    }

    /// Offers a policy for the next episode. `false` when too many are under way.
    #[must_use]
    pub fn offer(&mut self, policy: Versioned) -> bool {
        self.run.offer(policy)
    }

    /// Drives one episode. A person may take over, pause, stop and mark it on the way; an episode that a pause cut in two comes
    /// as two.
    ///
    /// # Errors
    /// When the robot cannot be driven, or what happened cannot be kept.
    pub fn drive(&mut self, order: &Order, interrupt: &Interrupt) -> Result<Driven, LiveError> {
        let mut stage = Stage::Preparing;
        let (mut put_back, mut ready_at, mut empty) = (false, None, 0);
        self.started = false;
        self.order = Some(order.clone());
        let since = self.tick;
        loop {
            if let Some(done) = self.finished.pop_front() {
                return Ok(Driven::Episode(Box::new(done)));
            }
            if self.quit || interrupt.requested() {
                return Ok(Driven::Interrupted);
            }
            self.look()?;
            if self.mode.is_latched() && !self.operator.attends() && self.finished.is_empty() {
                return Ok(Driven::Stopped { mode: self.mode, cause: self.cause });
            }
            let waits = self.operator.attends() || self.wait_for_start;
            if stage != Stage::Running && !waits && self.tick > since + READY_TICKS {
                return Err(LiveError::NotReady { mode: self.mode, refusal: self.refusal });
            }
            stage = match (stage, self.mode) {
                // A person took over, or went on: that is a drive like any other.
                (_, Mode::Running(_)) if stage != Stage::Preparing || put_back => Stage::Running,
                (Stage::Preparing, Mode::Running(_)) => {
                    self.ask(Request::Hold);
                    stage
                }
                (Stage::Preparing, Mode::Idle | Mode::Holding)
                    if self.mode == Mode::Idle || !self.scene.wants_disarmed() =>
                {
                    if !put_back {
                        self.scene.reset(order.seeds.reset);
                        put_back = true;
                    }
                    if self.scene.is_ready() {
                        ready_at = ready_at.or(Some(self.tick));
                    }
                    let seen = ready_at.is_some_and(|ready| self.tick >= ready + FIRST_LOOK_TICKS);
                    if seen { Stage::Arming } else { stage }
                }
                (Stage::Preparing, Mode::Holding) => {
                    self.ask(Request::Disarm);
                    stage
                }
                (Stage::Arming, Mode::Idle) => {
                    self.ask(Request::Arm);
                    stage
                }
                (Stage::Arming, Mode::Holding) => {
                    if (self.started || !self.wait_for_start) && !self.is_asked(Request::Run) {
                        self.run.next_drive(order.seeds.noise, order.mode);
                        self.run.ask(Request::SpeedPercent(order.speed_percent));
                        self.ask(Request::Run);
                    }
                    stage
                }
                (Stage::Running, Mode::Holding | Mode::Idle) => {
                    empty += 1;
                    if empty >= EMPTY_DRIVES && !self.operator.attends() {
                        return Err(LiveError::NotReady { mode: self.mode, refusal: self.refusal });
                    }
                    put_back = false;
                    ready_at = None;
                    Stage::Preparing
                }
                _ => stage,
            };
        }
    }

    /// Takes in what has happened; an episode that ended waits in `finished` once the robot has come out of it.
    fn look(&mut self) -> Result<(), LiveError> {
        self.run.wait()?;
        while let Some(event) = self.operator.next() {
            match event {
                OperatorEvent::Start => self.started = true,
                OperatorEvent::Quit => self.quit = true,
                OperatorEvent::Request(request) => {
                    self.run.ask(request);
                }
            }
        }
        while let Some(tick) = self.run.tick() {
            let taken = self.take(&tick);
            self.run.give_back(tick);
            taken?;
        }
        Ok(())
    }

    fn take(&mut self, tick: &Tick) -> Result<(), LiveError> {
        if let Some(sink) = &mut self.ticks {
            sink.keep(tick).map_err(|source| LiveError::Tick { source })?;
        }
        let before = std::mem::replace(&mut self.mode, tick.mode);
        self.tick = tick.tick;
        self.refusal = tick.refusal.or(self.refusal);
        self.cause =
            tick.transitions.iter().flatten().map(|t| t.cause).find(|c| *c != Cause::Settled).or(self.cause);
        if before != self.mode {
            self.operator.show(self.mode);
            self.asked = None;
        }
        if matches!(self.mode, Mode::Running(Driver::Human))
            && (before != self.mode || self.tick.is_multiple_of(self.ticks_per_step))
        {
            let operator = &mut self.operator;
            self.run.give_human(|action| operator.action(action));
        }
        if let Some(mut driven) = self.reader.push(tick) {
            if matches!(self.mode, Mode::Running(_)) {
                self.ask(Request::Hold);
            }
            if let Some(order) = &self.order {
                driven.episode.name.clone_from(&order.name);
                driven.episode.seed = Some(order.seeds.reset);
            }
            if let Some(sink) = &mut self.episodes {
                sink.record(&driven.episode)?;
            }
            self.finished.push_back(driven);
        }
        Ok(())
    }

    /// Asks for something, not more often than it can be answered.
    fn ask(&mut self, request: Request) {
        if !self.is_asked(request) && self.run.ask(request) {
            self.asked = Some((request, self.tick));
        }
    }

    fn is_asked(&self, request: Request) -> bool {
        self.asked.is_some_and(|(asked, at)| asked == request && self.tick < at + ASK_AGAIN_TICKS)
    }

    /// Looks on while nothing is ordered: a policy is held, a person may drive.
    ///
    /// # Errors
    /// As [`drive`](Self::drive).
    pub fn rest(&mut self) -> Result<(), LiveError> {
        self.look()?;
        if self.mode == Mode::Running(Driver::Policy) {
            self.ask(Request::Hold);
        }
        Ok(())
    }

    /// Whether a person asked to end the session.
    #[must_use]
    pub const fn quit(&self) -> bool {
        self.quit
    }

    /// Says that no more episodes will be kept.
    ///
    /// # Errors
    /// When that could not be written down.
    pub fn finish(&mut self) -> Result<(), LiveError> {
        Ok(self.episodes.as_mut().map_or(Ok(()), |sink| sink.finish())?)
    }

    /// Brings the robot to rest and ends its loop.
    #[must_use]
    pub fn close(self) -> LoopEnd {
        self.run.stop()
    }
}
