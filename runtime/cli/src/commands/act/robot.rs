//! Acting on a robot, in real time and through the whole control loop: the robot of a contract at the other end of a link, or a
//! simulated one in this process.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use surefoot_bridges::LinkStatus;
use surefoot_core::clock::Stopwatch;
use surefoot_core::{ActMode, EnvSpec, Policy, ResetScope};
use surefoot_engine::control::{Cause, ControlConfig, DrivenEpisode, Mode, Versioned};
use surefoot_engine::limits::RegionPolicy;
use surefoot_engine::live::{Driven, LiveClock, LiveConfig, Order, Session};

use super::{Acting, Actor, End, LOOK};
use crate::composition::{self, Around};
use crate::config::EnvConfig;
use crate::failure::{CommandResult, Failure};

/// A robot, and what acts on it.
struct OnRobot {
    session: Session,
    acting: Acting,
    /// The loop counts what it was offered; learners count updates, and a rollback goes back.
    versions: BTreeMap<u64, u64>,
    /// Steps of the present episode in which the trust region moved an action.
    clipped: Arc<AtomicU64>,
}

/// One episode after the other.
pub(super) fn drive(actor: &mut Actor<'_>, config: &EnvConfig, spec: &EnvSpec) -> Result<End, Failure> {
    let contract = actor.args.robot.as_deref();
    if let Some(contract) = contract {
        // Another robot's contract is not kept secret until there is a policy.
        composition::contract_for(config, contract)?;
    }
    let acting = match actor.may_begin(spec, None, Actor::idle)? {
        ControlFlow::Continue(acting) => acting,
        ControlFlow::Break(end) => return Ok(end),
    };
    let around = Around { operator: actor.args.operator, episodes: None, ticks: None };
    let (parts, status) = composition::robot(config, contract, LiveClock::Real, around, actor.output)?;
    let clipped = Arc::new(AtomicU64::new(0));
    let control = ControlConfig { episode: acting.terms.limits, ..ControlConfig::default() };
    let live = LiveConfig { clock: LiveClock::Real, control, ..LiveConfig::default() };
    let first = Versioned { version: 1, policy: for_robot(&acting, spec, &clipped)? };
    let versions = BTreeMap::from([(1, acting.offered.version)]);
    let mut robot = OnRobot { session: Session::new(parts, &live, first)?, acting, versions, clipped };
    let ended = robot.work(actor, spec);
    let loop_end = robot.session.close();
    if let Some(link) = status.as_ref().map(LinkStatus::report) {
        actor.output.note(&link.to_string());
    }
    if let Some(granted) = &loop_end.granted {
        granted
            .refusals()
            .for_each(|line| actor.output.note(&format!("note: {line}; see `surefoot doctor`")));
    }
    ended
}

impl OnRobot {
    fn work(&mut self, actor: &mut Actor<'_>, spec: &EnvSpec) -> Result<End, Failure> {
        loop {
            let present = self.acting.clone();
            match actor.may_begin(spec, Some(&present), |actor| self.look_on(actor))? {
                ControlFlow::Continue(next) => self.change_to(next, actor, spec),
                ControlFlow::Break(end) => return Ok(end),
            }
            if let Some(end) = self.episode(actor)? {
                return Ok(end);
            }
        }
    }

    /// Passes a moment without an order: the robot stands, a person may drive it, and it is watched.
    fn look_on(&mut self, actor: &mut Actor<'_>) -> Result<Option<End>, Failure> {
        let since = Stopwatch::start();
        while since.elapsed() < LOOK {
            self.session.rest()?;
        }
        let driven = self.session.unordered();
        self.keep(actor, driven)?;
        if self.session.quit() {
            return Ok(Some(End::Interrupted));
        }
        let stopped = self.session.latched().filter(|_| !self.session.attended());
        Ok(stopped.map(|(mode, cause)| stopped_in(actor, mode, cause)))
    }

    /// From the next episode on.
    fn change_to(&mut self, next: Acting, actor: &mut Actor<'_>, spec: &EnvSpec) {
        if Arc::ptr_eq(&next.offered, &self.acting.offered) {
            return;
        }
        match for_robot(&next, spec, &self.clipped) {
            Ok(policy) => {
                let version = self.versions.last_key_value().map_or(1, |(newest, _)| newest + 1);
                // The one before comes back over the loop's own ring, and is dropped on this thread.
                if self.session.offer(Versioned { version, policy }) {
                    self.versions.insert(version, next.offered.version);
                    self.acting = next;
                }
            }
            Err(failure) => actor.reject(&next.offered, &failure.text()),
        }
    }

    fn episode(&mut self, actor: &mut Actor<'_>) -> Result<Option<End>, Failure> {
        let number = actor.link.next_number();
        let seeds = self.acting.terms.seeds(&actor.args.name, &actor.link.spool_id().to_string(), number);
        let name = format!("{}_{number}", actor.args.name);
        // Each episode is to stand alone: it is learned from.
        let (mode, scope) = (ActMode::Explore, ResetScope::Task);
        let order = Order { name, seeds, mode, scope, speed_percent: 100 };
        match self.session.drive(&order, &actor.interrupt)? {
            Driven::Episodes { ordered, unordered } => {
                self.keep(actor, ordered.into_iter().chain(unordered))?;
                Ok(self.session.quit().then_some(End::Interrupted))
            }
            Driven::Interrupted => Ok(Some(End::Interrupted)),
            Driven::Stopped { mode, cause } => Ok(Some(stopped_in(actor, mode, cause))),
        }
    }

    fn keep(&self, actor: &mut Actor<'_>, driven: impl IntoIterator<Item = DrivenEpisode>) -> CommandResult {
        let mut kept = Ok(());
        for mut driven in driven {
            driven.cost.clipped_steps = self.clipped.swap(0, Ordering::Relaxed);
            let version = self.versions.get(&driven.policy_version).copied().unwrap_or(0);
            kept = kept.and(actor.keep(driven.episode, &driven.cost, version));
        }
        kept
    }
}

fn stopped_in(actor: &Actor<'_>, mode: Mode, cause: Option<Cause>) -> End {
    let why = cause.map_or(String::new(), |cause| format!(" ({cause:?})"));
    End::Stopped(format!("{mode:?}{why} after {} episodes", actor.driven))
}

/// A policy for one robot, inside the trust region.
fn for_robot(acting: &Acting, spec: &EnvSpec, clipped: &Arc<AtomicU64>) -> Result<Box<dyn Policy>, Failure> {
    let policy = surefoot_policies::load_policy(&acting.offered.policy, 1)?;
    let Some(radius) = acting.terms.radius else { return Ok(policy) };
    let reference = surefoot_policies::load_policy(&acting.offered.reference, 1)?;
    Ok(Box::new(RegionPolicy::new(policy, reference, radius, spec.action_dim(), Arc::clone(clipped))))
}
