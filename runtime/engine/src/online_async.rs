//! An online phase that acts and learns side by side: a robot works through episodes by its control loop, on threads of its own,
//! while the learner updates, judges and promotes on this one.
//!
//! Policies change between episodes alone. The learner never waits for a tick, and a tick never for the learner: without an
//! order the robot holds still, so a learner that is slow, hangs or dies leaves a robot that stands.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use surefoot_core::{ActMode, Policy, PolicyArtifact, PolicyError, ResetScope};

use crate::control::Versioned;
use crate::events::{Activity, Event, Observer};
use crate::limits::RegionPolicy;
use crate::live::{Driven, LiveError, LoopEnd, Order, SessionParts, SessionThread};
use crate::online::Collected;
use crate::phases::{AsyncConfig, OnlineConfig, PhaseConfig, Schedule};
use crate::results::LimitCounts;
use crate::rollout::{EpisodeCost, EpisodeSeeds};
use crate::state::StagePlan;
use crate::trainer::Trainer;
use crate::{EngineError, Interrupt};

/// Makes the robot of an online phase, given the run directory and how the robot is driven.
pub type MakeLive = Box<dyn Fn(&Path, &AsyncConfig) -> Result<SessionParts, LiveError>>;

/// A robot that is being driven.
pub(crate) struct LiveLine {
    session: SessionThread,
    /// Orders under way, oldest first: whether each is a canary.
    ordered: VecDeque<bool>,
    /// Training episodes that were not taken in yet.
    arrived: Collected,
    /// Canary episodes that were not judged yet.
    canaries: Collected,
    /// Whose turn it is next, among the training episodes.
    next_episode: u64,
    next_version: u64,
    /// Version of what was offered last.
    offered_version: u64,
    /// What was offered last for training; `None` after a canary.
    offered: Option<Arc<PolicyArtifact>>,
    clipped: Arc<AtomicU64>,
    /// Episodes of the stage at the last checkpoint.
    checkpointed_at: u64,
}

/// What came of waiting.
enum Came {
    /// Something for the learner, or for the judgement of a candidate.
    Episodes,
    LatchedStop,
    Interrupted,
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
            let recorded = parts.recorded;
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
                canaries: Collected::new(),
                // What was recorded and never learned from keeps its name and its seed.
                next_episode: (self.state.progress.episodes - canaries).max(recorded),
                next_version: 2,
                offered_version: 1,
                offered: Some(line.acting),
                clipped,
                checkpointed_at: self.state.progress.episodes,
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
        self.keep_driving(config, &online, &plan.name)?;
        self.show(Activity::Collecting, observer)?;
        let live = self.live_line(config)?;
        let mut came = Came::Episodes;
        while live.arrived.is_empty() && matches!(came, Came::Episodes) {
            came = live.wait(interrupt)?;
        }
        while matches!(came, Came::Episodes)
            && let Some(driven) = live.session.try_next()?
        {
            came = live.take(driven);
        }
        self.take_in(&plan, &online, observer)?;
        self.pace.acting_secs = self.pace.since.elapsed().as_secs_f64();
        match came {
            Came::Interrupted => return Err(EngineError::Interrupted),
            Came::LatchedStop => return self.latched_stop(),
            Came::Episodes => {}
        }
        self.keep_driving(config, &online, &plan.name)?;
        let episodes = self.state.progress.episodes;
        let since = episodes - self.live.as_ref().map_or(episodes, |live| live.checkpointed_at);
        if config.checkpoint_every_episodes > 0 && since >= config.checkpoint_every_episodes {
            self.checkpoint(false, observer)?;
            if let Some(live) = &mut self.live {
                live.checkpointed_at = episodes;
            }
        }
        Ok(())
    }

    /// Takes in the training episodes that have come.
    fn take_in(
        &mut self,
        plan: &StagePlan,
        online: &OnlineConfig,
        observer: &mut dyn Observer,
    ) -> Result<(), EngineError> {
        let collected = self.live.as_mut().map(|live| std::mem::take(&mut live.arrived)).unwrap_or_default();
        self.learn_from(plan, online, &collected, observer)
    }

    fn learn_from(
        &mut self,
        plan: &StagePlan,
        online: &OnlineConfig,
        collected: &Collected,
        observer: &mut dyn Observer,
    ) -> Result<(), EngineError> {
        if collected.is_empty() {
            return Ok(());
        }
        let counts = self.book(plan, online, collected, true, observer)?;
        self.judge_episodes(plan, online, collected, observer)?;
        if counts != LimitCounts::default() {
            let env_steps = self.state.counters.env_steps;
            self.emit(&Event::LimitsActed { stage: plan.name.clone(), env_steps, counts }, observer)?;
        }
        Ok(())
    }

    /// Brings the robot of a phase to rest, where one is being driven.
    pub(crate) fn end_live(&mut self, observer: &mut dyn Observer) -> Result<(), EngineError> {
        let Some(mut live) = self.live.take() else { return Ok(()) };
        let (end, left) = live.session.stop();
        // What was driven until then is learned from as well.
        for driven in left {
            let _ = live.take(driven);
        }
        let (plan, online, _) = self.online()?;
        let LiveLine { arrived, mut canaries, .. } = live;
        canaries.iter_mut().for_each(|(_, cost)| cost.of_another = true);
        self.learn_from(&plan, &online, &arrived, observer)?;
        if !canaries.is_empty() {
            self.book(&plan, &online, &canaries, false, observer)?;
        }
        let Some(end) = end else { return Ok(()) };
        let LoopEnd { cadence, granted: _, counts, dropped_ticks, mode, panicked: _, policy: _ } = end;
        let violations = counts.violations;
        self.emit(&Event::RobotAtRest { mode, cadence, violations, dropped_ticks }, observer)
    }

    fn latched_stop(&mut self) -> Result<(), EngineError> {
        if let Some(online) = &mut self.state.online {
            online.session.latched_stop();
        }
        Ok(())
    }

    /// Orders as many training episodes as may be under way, while the phase needs more.
    fn keep_driving(
        &mut self,
        config: &AsyncConfig,
        online: &OnlineConfig,
        stage: &str,
    ) -> Result<(), EngineError> {
        if self.state.progress.env_steps >= online.env_steps {
            return Ok(());
        }
        let live = self.live_line(config)?;
        let under_way = live.ordered.iter().filter(|canary| !**canary).count();
        let (first, wanted) = (live.next_episode, config.episodes_ahead.saturating_sub(under_way));
        let seeds = self.seeds(&format!("rollout/{stage}"), first, wanted);
        let live = self.live_line(config)?;
        for seeds in seeds {
            let name = format!("{stage}_{}", live.next_episode);
            live.next_episode += 1;
            // Each episode is to stand alone: it is learned from, and judged.
            let (mode, scope) = (ActMode::Explore, ResetScope::Task);
            live.order(Order { name, seeds, mode, scope, speed_percent: 100 }, false);
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
        let first = self.state.online.as_ref().map_or(0, |o| o.canaries);
        let live = self.live_line(config)?;
        live.offer(policy);
        for (i, seeds) in (first..).zip(seeds) {
            let name = format!("canary_{i}_of_{}", candidate.card.updates);
            let (seeds, mode, scope) = (*seeds, ActMode::Exploit, ResetScope::Task);
            live.order(Order { name, seeds, mode, scope, speed_percent }, true);
        }
        live.offered = None;
        // Fewer than were ordered speak against the candidate as well.
        while live.ordered.contains(&true) {
            match live.wait(interrupt)? {
                Came::Episodes => {}
                Came::Interrupted => return Err(EngineError::Interrupted),
                Came::LatchedStop => {
                    let canaries = std::mem::take(&mut live.canaries);
                    self.latched_stop()?;
                    return Ok(canaries);
                }
            }
        }
        Ok(std::mem::take(&mut live.canaries))
    }
}

impl LiveLine {
    fn offer(&mut self, policy: Box<dyn Policy>) {
        self.session.offer(Versioned { version: self.next_version, policy });
        self.offered_version = self.next_version;
        self.next_version += 1;
    }

    fn order(&mut self, order: Order, canary: bool) {
        self.ordered.push_back(canary);
        self.session.order(order);
    }

    fn wait(&mut self, interrupt: &Interrupt) -> Result<Came, EngineError> {
        let driven = self.session.next(interrupt)?;
        Ok(self.take(driven))
    }

    fn take(&mut self, driven: Driven) -> Came {
        let (ordered, unordered) = match driven {
            Driven::Interrupted => return Came::Interrupted,
            Driven::Stopped { .. } => return Came::LatchedStop,
            Driven::Episodes { ordered, unordered } => (ordered, unordered),
        };
        let canary = !ordered.is_empty() && self.ordered.pop_front().unwrap_or(false);
        let one = ordered.len() == 1;
        for driven in ordered {
            let mut cost = driven.cost;
            cost.clipped_steps = self.clipped.swap(0, Ordering::Relaxed);
            cost.of_another = driven.policy_version != self.offered_version || cost.interventions > 0;
            if canary {
                // Alone, whole, and to its own end or to a limit.
                let cut = driven.ended_by.is_some() && cost.limit.is_none();
                cost.of_another |= !one || cut;
                self.canaries.push((driven.episode, cost));
            } else {
                self.arrived.push((driven.episode, cost));
            }
        }
        for driven in unordered {
            self.arrived.push((driven.episode, EpisodeCost { of_another: true, ..driven.cost }));
        }
        Came::Episodes
    }
}
