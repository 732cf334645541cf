//! An online phase that acts and learns side by side: a robot works through episodes by its control loop, on threads of its own,
//! while the learner updates, judges and promotes on this one.
//!
//! Policies change between episodes alone. The learner never waits for a tick, and a tick never for the learner: without an
//! order the robot holds still, so a learner that is slow, hangs or dies leaves a robot that stands.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use surefoot_core::{ActMode, Policy, PolicyArtifact, PolicyError};

use crate::control::Versioned;
use crate::events::{Activity, Event, Observer};
use crate::limits::RegionPolicy;
use crate::live::{Driven, LiveError, LoopEnd, Order, SessionParts, SessionThread};
use crate::online::Collected;
use crate::phases::{AsyncConfig, OnlineConfig, PhaseConfig, Schedule};
use crate::results::LimitCounts;
use crate::rollout::EpisodeSeeds;
use crate::trainer::Trainer;
use crate::{EngineError, Interrupt};

/// Makes the robot of an online phase, given the run directory and how the robot is driven.
pub type MakeLive = Box<dyn Fn(&Path, &AsyncConfig) -> Result<SessionParts, LiveError>>;

/// A robot that is being driven.
pub(crate) struct LiveLine {
    session: SessionThread,
    /// Orders under way, oldest first: whether each is a canary.
    ordered: VecDeque<bool>,
    /// Training episodes that came in while others were waited for.
    arrived: Collected,
    /// Whose turn it is next, among the training episodes.
    next_episode: u64,
    next_version: u64,
    /// What was offered last for training; `None` after a canary.
    offered: Option<Arc<PolicyArtifact>>,
    clipped: Arc<AtomicU64>,
}

/// What came of waiting.
enum Came {
    Training,
    Canary(Box<(surefoot_core::Episode, crate::EpisodeCost)>),
    LatchedStop,
}

impl Trainer {
    /// How the present stage shares time.
    pub(crate) fn schedule(&self) -> Result<Schedule, EngineError> {
        Ok(match self.stage_plan()?.phase {
            PhaseConfig::Online(config) => config.schedule,
            PhaseConfig::Offline(_) => Schedule::Lockstep,
        })
    }

    /// A policy for a robot, inside the trust region.
    fn for_robot(
        &self,
        config: &OnlineConfig,
        artifact: &PolicyArtifact,
        start: &PolicyArtifact,
        clipped: Arc<AtomicU64>,
    ) -> Result<Box<dyn Policy>, PolicyError> {
        let policy = (self.load_policy)(artifact, 1)?;
        match config.trust_region.radius(self.state.progress.env_steps) {
            None => Ok(policy),
            Some(radius) => {
                let reference = (self.load_policy)(start, 1)?;
                let dim = self.spec.action_dim();
                Ok(Box::new(RegionPolicy::new(policy, reference, radius, dim, clipped)))
            }
        }
    }

    /// The robot, driven from here on; the policy that acts is offered where it is not the one that was offered last.
    fn live_line(&mut self, config: &AsyncConfig) -> Result<&mut LiveLine, EngineError> {
        let (plan, online, line) = self.online()?;
        let clipped = self.live.as_ref().map_or_else(Arc::default, |live| live.clipped.clone());
        let offered = self.live.as_ref().and_then(|live| live.offered.as_ref());
        let offered = offered.is_some_and(|offered| Arc::ptr_eq(offered, &line.acting));
        let policy = (!offered)
            .then(|| self.for_robot(&online, &line.acting, &line.start, clipped.clone()))
            .transpose()?;
        if self.live.is_none() {
            let make = self.make_live.as_ref().ok_or_else(|| {
                let key = format!("phase.{}.schedule", plan.name);
                EngineError::setting(key, "a robot that a control loop can command", "none")
            })?;
            let parts = make(self.run.path(), config)?;
            let mut robot = config.robot.clone();
            // The phase's limits hold, whoever drives.
            robot.control.episode = online.limits;
            let policy = self.for_robot(&online, &line.acting, &line.start, clipped.clone())?;
            let session = SessionThread::start(parts, &robot, Versioned { version: 1, policy })?;
            let canaries = self.state.online.as_ref().map_or(0, |o| o.canaries);
            self.live = Some(LiveLine {
                session,
                ordered: VecDeque::new(),
                arrived: Collected::new(),
                next_episode: self.state.progress.episodes - canaries,
                next_version: 2,
                offered: Some(line.acting),
                clipped,
            });
        } else if let (Some(policy), Some(live)) = (policy, &mut self.live) {
            live.offer(policy);
            live.offered = Some(line.acting);
        }
        self.live.as_mut().ok_or_else(|| LiveError::Ended.into())
    }

    /// Takes in the training episodes that have ended, waits for one where none has, and keeps the robot busy.
    pub(crate) fn collect_live(
        &mut self,
        config: &AsyncConfig,
        interrupt: &Interrupt,
        observer: &mut dyn Observer,
    ) -> Result<(), EngineError> {
        let (plan, online, _) = self.online()?;
        self.keep_driving(config, &plan.name)?;
        self.show(Activity::Collecting, observer)?;
        let mut stopped = false;
        let live = self.live_line(config)?;
        while live.arrived.is_empty() && !stopped {
            stopped = matches!(live.wait(interrupt)?, Came::LatchedStop);
        }
        while !stopped && let Some(driven) = live.session.try_next()? {
            stopped = matches!(live.take(driven)?, Came::LatchedStop);
        }
        let collected = std::mem::take(&mut live.arrived);
        if !collected.is_empty() {
            let counts = self.book(&plan, &online, &collected, true, observer)?;
            self.judge_episodes(&plan, &online, &collected, observer)?;
            if counts != LimitCounts::default() {
                let env_steps = self.state.counters.env_steps;
                self.emit(&Event::LimitsActed { stage: plan.name.clone(), env_steps, counts }, observer)?;
            }
        }
        self.pace.acting_secs = self.pace.since.elapsed().as_secs_f64();
        if stopped {
            return self.latched_stop();
        }
        self.keep_driving(config, &plan.name)
    }

    /// Brings the robot of a phase to rest, where one is being driven.
    pub(crate) fn end_live(&mut self, observer: &mut dyn Observer) -> Result<(), EngineError> {
        let Some(end) = self.live.take().and_then(|live| live.session.stop()) else { return Ok(()) };
        let LoopEnd { cadence, granted: _, counts, dropped_ticks, mode, panicked: _ } = end;
        let violations = counts.violations;
        self.emit(&Event::RobotAtRest { mode, cadence, violations, dropped_ticks }, observer)
    }

    fn latched_stop(&mut self) -> Result<(), EngineError> {
        if let Some(online) = &mut self.state.online {
            online.session.latched_stop();
        }
        Ok(())
    }

    /// Orders as many training episodes as may be under way.
    fn keep_driving(&mut self, config: &AsyncConfig, stage: &str) -> Result<(), EngineError> {
        let ahead = config.episodes_ahead;
        let live = self.live_line(config)?;
        let wanted = ahead.saturating_sub(live.ordered.iter().filter(|canary| !**canary).count());
        let first = live.next_episode;
        let seeds = self.seeds(&format!("rollout/{stage}"), first, wanted);
        let live = self.live_line(config)?;
        for seeds in seeds {
            let name = format!("{stage}_{}", live.next_episode);
            live.next_episode += 1;
            live.order(Order { name, seeds, mode: ActMode::Explore, speed_percent: 100 }, false);
        }
        Ok(())
    }

    /// Drives a candidate slowly and without exploration. Training episodes that end meanwhile are kept for later.
    pub(crate) fn live_canaries(
        &mut self,
        config: &AsyncConfig,
        online: &OnlineConfig,
        candidate: &PolicyArtifact,
        seeds: &[EpisodeSeeds],
        interrupt: &Interrupt,
    ) -> Result<Collected, EngineError> {
        let (_, _, line) = self.online()?;
        let clipped = self.live_line(config)?.clipped.clone();
        let policy = self.for_robot(online, candidate, &line.start, clipped)?;
        let speed_percent = (online.promotion.canary_speed_scale * 100.0).round().clamp(1.0, 100.0) as u8;
        let live = self.live_line(config)?;
        live.offer(policy);
        for (i, seeds) in seeds.iter().enumerate() {
            let name = format!("canary_{i}");
            live.order(Order { name, seeds: *seeds, mode: ActMode::Exploit, speed_percent }, true);
        }
        live.offered = None;
        let mut canaries = Collected::new();
        while canaries.len() < seeds.len() {
            match live.wait(interrupt)? {
                Came::Training => {}
                Came::Canary(episode) => canaries.push(*episode),
                Came::LatchedStop => {
                    self.latched_stop()?;
                    break;
                }
            }
        }
        Ok(canaries)
    }
}

impl LiveLine {
    fn offer(&mut self, policy: Box<dyn Policy>) {
        self.session.offer(Versioned { version: self.next_version, policy });
        self.next_version += 1;
    }

    fn order(&mut self, order: Order, canary: bool) {
        self.ordered.push_back(canary);
        self.session.order(order);
    }

    fn wait(&mut self, interrupt: &Interrupt) -> Result<Came, EngineError> {
        let driven = self.session.next(interrupt)?;
        self.take(driven)
    }

    fn take(&mut self, driven: Driven) -> Result<Came, EngineError> {
        let canary = self.ordered.pop_front().unwrap_or(false);
        match driven {
            Driven::Interrupted => Err(EngineError::Interrupted),
            Driven::Stopped { .. } => Ok(Came::LatchedStop),
            Driven::Episode(driven) => {
                let mut cost = driven.cost;
                cost.clipped_steps = self.clipped.swap(0, Ordering::Relaxed);
                if canary {
                    return Ok(Came::Canary(Box::new((driven.episode, cost))));
                }
                self.arrived.push((driven.episode, cost));
                Ok(Came::Training)
            }
        }
    }
}
