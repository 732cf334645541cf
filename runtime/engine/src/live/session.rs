//! One episode after the other on one robot: prepares the scene, arms, runs, gathers what happened, and keeps it.

use std::collections::VecDeque;

use surefoot_core::{ActMode, EpisodeSink, ResetScope, Robot, RobotContract, Task};

use crate::Interrupt;
use crate::control::{
    Cause, DrivenEpisode, Driver, EpisodesFromTicks, Mode, Refusal, Request, Rest, Tick, Versioned,
};
use crate::live::config::{LiveConfig, Start};
use crate::live::error::LiveError;
use crate::live::operator::{Operator, OperatorEvent};
use crate::live::running_loop::{LoopEnd, RunningLoop};
use crate::live::scene::Scene;
use crate::live::tick_sink::TickSink;
use crate::rollout::EpisodeSeeds;

/// Ticks that show the robot before anything is asked of it.
const FIRST_LOOK_TICKS: u64 = 3;
/// Ticks after which something is asked for again.
const ASK_AGAIN_TICKS: u64 = 25;
/// Ticks in which a robot without an operator must be ready to run.
const READY_TICKS: u64 = 5_000;
/// A robot without an operator that tells no state for so long before it runs is given up, s.
const UNSEEN_SECS: f64 = 3.0;
/// A state that is older than this is none, ns.
const UNSEEN_NANOS: i64 = 1_000_000_000;
/// Time of a drive in which a person's verdict may be on the one before, s: as long as it takes to see and to press.
const EARLY_SECS: f64 = 1.0;
/// A state is fresh that is at most so many control periods old.
const FRESH_PERIODS: f64 = 3.0;
/// Drives that end before their first step, in a row, before the session gives up.
const EMPTY_DRIVES: u32 = 3;

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
    /// Episodes that were kept there before: names go on from here.
    pub recorded: u64,
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
    /// What it is to the policy: [`ResetScope::Episode`] where the task of the last order goes on, which a policy that learns in context then
    /// remembers. A policy that was offered since begins a new task in any case.
    pub scope: ResetScope,
    /// Speed scale, 1 to 100 %.
    pub speed_percent: u8,
}

/// What came of an order. Episodes are kept already, where there is a place for them.
#[derive(Clone, Debug, PartialEq)]
pub enum Driven {
    /// The robot is at rest again.
    Episodes {
        /// What was driven for the order: more than one where a person paused in between, and none where the session was asked
        /// to end before it began.
        ordered: Vec<DrivenEpisode>,
        /// What a person drove while nothing was ordered.
        unordered: Vec<DrivenEpisode>,
    },
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
    start: Start,
    ticks_per_step: u64,
    /// Ticks of a drive in which a person's verdict is taken to be on the one before.
    early_ticks: u64,
    /// Ticks without a state after which a robot is given up, and how many there were in a row.
    unseen_limit: u64,
    unseen: u64,
    /// Of the last tick.
    observation_age_nanos: i64,
    /// A state that is at most so old was told just now.
    fresh_nanos: i64,
    mode: Mode,
    tick: u64,
    running_since: u64,
    asked: Option<(Request, u64)>,
    /// A person's requests that found the queue full.
    waiting: VecDeque<Request>,
    refusal: Option<(Request, Refusal)>,
    cause: Option<Cause>,
    /// The robot stood still because of a stop or a person's hold, or has not moved yet: nothing but a person's start moves it on.
    stopped: bool,
    may_start: bool,
    started: bool,
    quit: bool,
    order: Option<Order>,
    ordered: Vec<DrivenEpisode>,
    unordered: Vec<DrivenEpisode>,
    unordered_drives: u64,
}

impl Session {
    /// Starts the robot's control loop, idle.
    ///
    /// # Errors
    /// When robot, task and settings do not fit together, or the system gives no thread.
    pub fn new(parts: SessionParts, config: &LiveConfig, first: Versioned) -> Result<Self, LiveError> {
        let SessionParts { robot, task, reader_task, scene, mut operator, episodes, recorded, ticks } = parts;
        let contract: RobotContract = robot.contract().clone();
        let reader = EpisodesFromTicks::new(reader_task, &contract)?;
        let run = RunningLoop::start(robot, task, config, first)?;
        operator.connect(run.emergency());
        Ok(Self {
            run,
            reader,
            scene,
            operator,
            episodes,
            ticks,
            start: config.start,
            ticks_per_step: contract.ticks_per_step()? as u64,
            early_ticks: (EARLY_SECS / contract.control_secs()).ceil() as u64,
            unseen_limit: (UNSEEN_SECS / contract.control_secs()).ceil() as u64,
            unseen: 0,
            observation_age_nanos: 0,
            fresh_nanos: (FRESH_PERIODS * contract.control_secs() * 1e9) as i64,
            mode: Mode::Idle,
            tick: 0,
            running_since: 0,
            asked: None,
            waiting: VecDeque::new(),
            refusal: None,
            cause: None,
            stopped: true,
            may_start: false,
            started: false,
            quit: false,
            order: None,
            ordered: Vec::new(),
            unordered: Vec::new(),
            unordered_drives: recorded,
        })
    }

    /// Offers a policy for the next episode. `false` when too many are under way.
    #[must_use]
    pub fn offer(&mut self, policy: Versioned) -> bool {
        self.run.offer(policy)
    }

    /// Drives one episode, and ends with the robot at rest. A person may take over, pause, stop and mark it on the way. After a stop
    /// or a person's hold, nothing moves before their start.
    ///
    /// # Errors
    /// When the robot cannot be driven, or what happened cannot be kept.
    pub fn drive(&mut self, order: &Order, interrupt: &Interrupt) -> Result<Driven, LiveError> {
        let attended = self.operator.attends();
        let mut stage = Stage::Preparing;
        let (mut put_back, mut ready_at, mut empty) = (false, None, 0);
        (self.started, self.may_start) = (false, false);
        self.order = Some(order.clone());
        // Whoever begins to drive, and by whichever way, does it like this.
        self.run.next_drive(order.seeds.noise, order.mode, order.scope);
        self.waiting.extend([Request::Seed(order.seeds.reset), Request::SpeedPercent(order.speed_percent)]);
        let since = self.tick;
        loop {
            if self.quit || interrupt.requested() {
                return self.cut_off();
            }
            self.look()?;
            let moving = matches!(self.mode, Mode::Running(_) | Mode::Paused(_) | Mode::Braking(_));
            if !self.ordered.is_empty() && !moving {
                return Ok(self.episodes());
            }
            if self.mode.is_latched() {
                (stage, put_back, ready_at) = (Stage::Preparing, false, None);
                if !self.operator.attends() {
                    if !self.unordered.is_empty() {
                        return Ok(self.episodes());
                    }
                    return Ok(Driven::Stopped { mode: self.mode, cause: self.cause });
                }
            }
            if stage != Stage::Running && !attended && self.tick > since + READY_TICKS {
                return Err(LiveError::NotReady { mode: self.mode, refusal: self.refusal });
            }
            if stage != Stage::Running && !attended && self.unseen > self.unseen_limit {
                return Err(LiveError::Unseen { secs: UNSEEN_SECS });
            }
            self.may_start = (stage, self.mode) == (Stage::Arming, Mode::Holding);
            stage = match (stage, self.mode) {
                // A person took over: that is a drive like any other.
                (Stage::Arming, Mode::Running(_)) | (_, Mode::Running(Driver::Human)) => Stage::Running,
                (Stage::Preparing, Mode::Running(Driver::Policy)) => {
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
                    let waits = attended && (self.stopped || self.start == Start::Attended);
                    if self.started || !waits {
                        self.stopped = false;
                        self.ask(Request::Run);
                    }
                    stage
                }
                (Stage::Running, Mode::Holding | Mode::Idle) => {
                    empty += 1;
                    if empty >= EMPTY_DRIVES && !attended {
                        return Err(LiveError::NotReady { mode: self.mode, refusal: self.refusal });
                    }
                    (put_back, ready_at, self.started) = (false, None, false);
                    Stage::Preparing
                }
                _ => stage,
            };
        }
    }

    /// The session is to end: the robot comes to rest, and what was driven until then is not lost.
    fn cut_off(&mut self) -> Result<Driven, LiveError> {
        let since = self.tick;
        while matches!(self.mode, Mode::Running(_) | Mode::Paused(_) | Mode::Braking(_))
            && self.tick <= since + READY_TICKS
        {
            self.ask(Request::Hold);
            self.look()?;
        }
        let nothing = self.ordered.is_empty() && self.unordered.is_empty();
        Ok(if nothing { Driven::Interrupted } else { self.episodes() })
    }

    fn episodes(&mut self) -> Driven {
        self.order = None;
        let (ordered, unordered) = (std::mem::take(&mut self.ordered), std::mem::take(&mut self.unordered));
        Driven::Episodes { ordered, unordered }
    }

    /// Takes in what has happened; an episode that ended waits until the robot is at rest.
    fn look(&mut self) -> Result<(), LiveError> {
        self.run.wait()?;
        while let Some(event) = self.operator.next() {
            match event {
                // A start that was given before there was anything to start is none.
                OperatorEvent::Start => self.started |= self.may_start,
                OperatorEvent::Quit => self.quit = true,
                OperatorEvent::Request(request) => self.hear(request),
            }
        }
        while let Some(request) = self.waiting.front() {
            if !self.run.ask(*request) {
                break;
            }
            self.waiting.pop_front();
        }
        while let Some(tick) = self.run.tick() {
            let taken = self.take(&tick);
            self.run.give_back(tick);
            taken?;
        }
        Ok(())
    }

    /// From here on a start that was given before is none.
    const fn stop_starting(&mut self) {
        (self.stopped, self.started, self.may_start) = (true, false, false);
    }

    /// A person's request.
    fn hear(&mut self, request: Request) {
        if matches!(request, Request::Hold | Request::ProtectiveStop | Request::EmergencyStop) {
            self.stop_starting();
        }
        let early = self.start == Start::AfterStops && self.tick < self.running_since + self.early_ticks;
        if early && matches!(request, Request::Mark(_)) {
            // It was meant for the episode that has just ended.
            self.operator.refused(request, Refusal::Early);
        } else {
            self.waiting.push_back(request);
        }
    }

    fn take(&mut self, tick: &Tick) -> Result<(), LiveError> {
        let driven = self.reader.push(tick);
        let kept = match &mut self.ticks {
            Some(sink) => sink.keep(tick, &self.reader.progress()),
            None => Ok(()),
        };
        let before = std::mem::replace(&mut self.mode, tick.mode);
        self.tick = tick.tick;
        self.observation_age_nanos = tick.observation_age_nanos;
        self.unseen = if tick.observation_age_nanos > UNSEEN_NANOS { self.unseen + 1 } else { 0 };
        if let Some((request, why)) = tick.refusal {
            self.refusal = tick.refusal;
            if self.operator.attends() && is_a_persons(request) {
                self.operator.refused(request, why);
            }
        }
        for transition in tick.transitions.iter().flatten() {
            let stops = transition.to.is_latched()
                || matches!(transition.to, Mode::Braking(Rest::ProtectiveStop | Rest::EmergencyStop));
            if stops {
                self.stop_starting();
                if transition.cause != Cause::Settled {
                    self.cause = Some(transition.cause);
                }
            }
        }
        if before != self.mode {
            self.operator.show(self.mode);
            (self.asked, self.may_start) = (None, false);
            if matches!(self.mode, Mode::Running(_)) && !matches!(before, Mode::Running(_)) {
                self.running_since = self.tick;
            }
        }
        if matches!(self.mode, Mode::Running(Driver::Human))
            && (before != self.mode || self.tick.is_multiple_of(self.ticks_per_step))
        {
            let operator = &mut self.operator;
            self.run.give_human(|action| operator.action(action));
        }
        if let Some(driven) = driven {
            if matches!(self.mode, Mode::Running(_)) {
                self.ask(Request::Hold);
            }
            self.keep(driven)?;
        }
        // An episode that has ended is kept in any case.
        kept.map_err(|source| LiveError::Tick { source })
    }

    fn keep(&mut self, mut driven: DrivenEpisode) -> Result<(), LiveError> {
        let e = &mut driven.episode;
        match &self.order {
            Some(order) => {
                e.name.clone_from(&order.name);
                if !self.ordered.is_empty() {
                    e.name = format!("{}_{}", order.name, self.ordered.len() + 1);
                }
            }
            None => {
                self.unordered_drives += 1;
                // Nobody has put the scene back.
                e.seed = None;
                e.name = format!("unordered_{}", self.unordered_drives);
            }
        }
        // Before the episode, so that it is never without its ticks; when that fails, the episode is kept all the same.
        let flushed = match &mut self.ticks {
            Some(sink) => sink.episode(e).and_then(|()| sink.flush()),
            None => Ok(()),
        };
        if let Some(sink) = &mut self.episodes {
            sink.record(e)?;
        }
        flushed.map_err(|source| LiveError::Tick { source })?;
        if self.order.is_some() {
            self.ordered.push(driven);
        } else {
            self.unordered.push(driven);
        }
        Ok(())
    }

    /// Asks for something, not more often than it can be answered.
    fn ask(&mut self, request: Request) {
        let asked =
            self.asked.is_some_and(|(asked, at)| asked == request && self.tick < at + ASK_AGAIN_TICKS);
        if !asked && self.waiting.is_empty() && self.run.ask(request) {
            self.asked = Some((request, self.tick));
        }
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

    /// Takes what a person has driven since the last order, which would otherwise come with the next one.
    pub fn unordered(&mut self) -> Vec<DrivenEpisode> {
        std::mem::take(&mut self.unordered)
    }

    /// Whether a person is there, who looks at stops and starts the robot again.
    #[must_use]
    pub fn attended(&self) -> bool {
        self.operator.attends()
    }

    /// Waits until the robot tells its state, as it does at once where the link is alive: whoever has nothing more to order would not
    /// notice otherwise that the last episode ended because the robot was gone.
    ///
    /// # Errors
    /// [`LiveError::Unseen`] when it tells none; otherwise as [`drive`](Self::drive).
    pub fn wait_until_seen(&mut self, interrupt: &Interrupt) -> Result<(), LiveError> {
        while self.observation_age_nanos > self.fresh_nanos && !interrupt.requested() {
            if self.unseen > self.unseen_limit {
                return Err(LiveError::Unseen { secs: UNSEEN_SECS });
            }
            self.rest()?;
        }
        Ok(())
    }

    /// The latched stop that the robot is in, and why.
    #[must_use]
    pub fn latched(&self) -> Option<(Mode, Option<Cause>)> {
        self.mode.is_latched().then_some((self.mode, self.cause))
    }

    /// Whether a person asked to end the session.
    #[must_use]
    pub const fn quit(&self) -> bool {
        self.quit
    }

    /// Says that no more episodes and ticks will be kept.
    ///
    /// # Errors
    /// When that could not be written down.
    pub fn finish(&mut self) -> Result<(), LiveError> {
        if let Some(sink) = &mut self.ticks {
            sink.finish().map_err(|source| LiveError::Tick { source })?;
        }
        Ok(self.episodes.as_mut().map_or(Ok(()), |sink| sink.finish())?)
    }

    /// Brings the robot to rest and ends its loop.
    #[must_use]
    pub fn close(self) -> LoopEnd {
        self.run.stop()
    }
}

/// Whether it is asked for by people alone, so that its refusal is theirs to hear.
const fn is_a_persons(request: Request) -> bool {
    !matches!(
        request,
        Request::Arm
            | Request::Disarm
            | Request::Run
            | Request::Hold
            | Request::SpeedPercent(_)
            | Request::Seed(_)
    )
}
