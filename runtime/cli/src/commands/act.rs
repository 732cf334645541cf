//! `surefoot act`: acts for a learner elsewhere. Episodes go to the spool on this disk, and from there to the learner; policies
//! come from the learner, and act between episodes only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::EnvConfig;
use anyhow::{Context, anyhow};
use surefoot_bridges::fleet::wire::Refusal;
use surefoot_bridges::fleet::{ActingPolicy, ActorConfig, ActorLink, Situation};
use surefoot_core::{ActMode, EnvSpec, Episode, Policy, VecEnv};
use surefoot_engine::control::{ControlConfig, Versioned};
use surefoot_engine::fleet::{ActingTerms, label};
use surefoot_engine::limits::{RegionPolicy, TrustRegion};
use surefoot_engine::live::{Driven, LiveClock, LiveConfig, Order, Session};
use surefoot_engine::{
    EngineError, EpisodeCost, EpisodeLimits, EpisodeSeeds, Guard, Interrupt, MAX_WORLDS, Watch,
    guarded_rollout,
};

use crate::args::{ActArgs, OperatorInput};
use crate::composition::{self, Around};
use crate::config::nearest;
use crate::failure::{CommandResult, Failure, usage};
use crate::output::Output;

/// Between two looks at a person's wish to end.
const LOOK: Duration = Duration::from_millis(50);
/// How long an actor that is asked to end brings what it holds to the learner.
const DRAIN: Duration = Duration::from_secs(5);
/// How long one whose learner has finished does so.
const LAST_DRAIN: Duration = Duration::from_secs(10);

/// Runs the verb.
pub fn run(args: &ActArgs, output: Output) -> CommandResult {
    check(args)?;
    let named = args.env.as_deref().map(env_of_name).transpose()?;
    let spec = named.as_ref().map(composition::env_spec);
    let interrupt = super::train::on_interrupt()?;
    let link = ActorLink::start(ActorConfig {
        endpoints: composition::endpoints(&[], &args.meeting),
        namespace: args.meeting.namespace.clone(),
        run: args.run.clone(),
        name: args.name.clone(),
        spool: args.spool.clone(),
        max_spool_bytes: args.spool_mib << 20,
        spec: spec.transpose().map_err(usage)?,
    })
    .map_err(usage)?;
    link.notes().iter().for_each(|note| output.note(&format!("note: {note}")));
    let mut actor = Actor { args, link, interrupt, output, told: None, rejected: None, seen: 0, driven: 0 };
    let acted = actor.act(named);
    actor.end(acted)
}

fn check(args: &ActArgs) -> CommandResult {
    if !(1..=MAX_WORLDS).contains(&args.worlds) {
        return Err(usage(anyhow!("--worlds {}: expected 1 to {MAX_WORLDS}", args.worlds)));
    }
    if args.realtime && args.worlds != 1 {
        return Err(usage(anyhow!("--worlds {}: one robot acts in real time", args.worlds)));
    }
    if args.operator != OperatorInput::None && !args.realtime {
        return Err(usage(anyhow!("--operator: a person needs real time\n\nhint: add --realtime")));
    }
    if args.meeting.connect.is_empty() && args.meeting.session.is_none() {
        return Err(usage(anyhow!(
            "nothing says where the learner is\n\nhint: --connect tcp/HOST:7447, where `surefoot learn --listen` or a router listens"
        )));
    }
    Ok(())
}

fn env_of_name(name: &str) -> Result<EnvConfig, Failure> {
    EnvConfig::default_of(name).ok_or_else(|| {
        let hint = nearest(name, EnvConfig::local_names().iter().copied())
            .map_or(String::new(), |n| format!("\n\nhint: did you mean `{n}`?"));
        usage(anyhow!("--env {name}: there is no such environment{hint}"))
    })
}

/// Why acting ended.
enum End {
    /// The learner needs nothing more.
    Finished,
    /// So many episodes were driven as were asked for.
    Enough,
    /// On request.
    Interrupted,
    /// The learner does not take this actor.
    Refused(Refusal),
    /// A latched stop, and nobody there.
    Stopped(String),
}

struct Actor<'a> {
    args: &'a ActArgs,
    link: ActorLink,
    interrupt: Interrupt,
    output: Output,
    /// What was told last of how things stand.
    told: Option<(bool, bool, bool, Option<String>)>,
    /// A policy that came whole and cannot act: what acted before goes on.
    rejected: Option<Arc<ActingPolicy>>,
    seen: u64,
    driven: u64,
}

/// What acts at present.
#[derive(Clone)]
struct Acting {
    offered: Arc<ActingPolicy>,
    terms: ActingTerms,
}

impl Actor<'_> {
    fn act(&mut self, named: Option<EnvConfig>) -> Result<End, Failure> {
        let welcome = loop {
            let situation = self.look();
            if let Some(end) = self.ended(&situation) {
                return Ok(end);
            }
            match situation.welcome {
                Some(welcome) => break welcome,
                None => self.wait(),
            }
        };
        let env: EnvConfig = match named {
            Some(env) => env,
            None => serde_json::from_value(welcome.task.clone())
                .context("the learner's world is not known here")?,
        };
        let spec = composition::env_spec(&env)?;
        if let Some(difference) = welcome.spec.first_difference(&spec) {
            return Err(usage(anyhow!("the learner's task is another one: {difference}")));
        }
        if self.args.realtime {
            self.drive(&env, &spec)
        } else {
            let envs = composition::worlds(&env, self.args.worlds)?;
            self.roll_out(envs, &spec)
        }
    }

    /// How things stand; told when that has changed.
    fn look(&mut self) -> Situation {
        let situation = self.link.situation();
        let now = (situation.connected, situation.hold, situation.full, situation.trouble.clone());
        if self.told.as_ref() != Some(&now) {
            self.tell(&situation);
            self.told = Some(now);
        }
        situation
    }

    fn tell(&self, s: &Situation) {
        let Situation { connected, hold, finished, spooled, full, acknowledged, .. } = s;
        if self.output.json() {
            self.output.value(&serde_json::json!({
                "event": "situation", "connected": connected, "hold": hold, "finished": finished, "full": full,
                "spooled_episodes": spooled.0, "spooled_bytes": spooled.1, "acknowledged": acknowledged,
                "duplicates": s.duplicates, "set_aside": s.set_aside, "policy_version": s.policy_version,
                "trouble": s.trouble, "run": s.welcome.as_ref().map(|w| &w.run),
            }));
        }
        let quiet = self.told.as_ref().is_some_and(|(was_connected, _, was_full, trouble)| {
            (*was_connected, *was_full, trouble) == (*connected, *full, &s.trouble)
        });
        if quiet {
            // Holding comes and goes with every round of the learner.
            return;
        }
        let state = match (connected, full, hold) {
            (_, true, _) => "the spool is full: holding until the learner has taken episodes",
            (false, ..) => "no learner",
            (true, _, true) => "holding: the learner has enough episodes for now",
            (true, ..) => "connected",
        };
        let trouble =
            s.trouble.as_ref().map_or(String::new(), |t| format!("; {}", t.lines().next().unwrap_or(t)));
        self.output.note(&format!("[{state}] {} episodes in the spool{trouble}", spooled.0));
    }

    fn wait(&mut self) {
        let mut seen = self.seen;
        self.link.wait(&mut seen, LOOK);
        self.seen = seen;
    }

    fn ended(&self, situation: &Situation) -> Option<End> {
        if let Some(refusal) = &situation.refused {
            return Some(End::Refused(refusal.clone()));
        }
        if self.interrupt.requested() {
            return Some(End::Interrupted);
        }
        if situation.finished {
            return Some(End::Finished);
        }
        self.args.episodes.is_some_and(|episodes| self.driven >= episodes).then_some(End::Enough)
    }

    /// Waits until an episode may begin, and gives what is to act then.
    fn may_begin(&mut self, spec: &EnvSpec, present: Option<&Acting>) -> Result<Acting, End> {
        loop {
            let situation = self.look();
            if let Some(end) = self.ended(&situation) {
                return Err(end);
            }
            // A learner that is gone asks for nothing: what it has not taken yet waits in the spool.
            let hold = situation.full || (situation.hold && situation.connected);
            let newest = self.link.policy();
            match newest {
                Some(offered) if !hold => {
                    let is = |other: &Arc<ActingPolicy>| Arc::ptr_eq(other, &offered);
                    let rejected = self.rejected.as_ref().is_some_and(is);
                    match present {
                        Some(present) if rejected || is(&present.offered) => return Ok(present.clone()),
                        None if rejected => self.wait(),
                        _ => match accept(&offered, spec) {
                            Ok(terms) => return Ok(Acting { offered, terms }),
                            Err(failure) => self.reject(&offered, &failure.text()),
                        },
                    }
                }
                _ => self.wait(),
            }
        }
    }

    /// What acted before goes on; without one there is nothing to do but to wait for another.
    fn reject(&mut self, offered: &Arc<ActingPolicy>, why: &str) {
        self.output.note(&format!("policy {} cannot act: {why}", offered.version));
        self.rejected = Some(Arc::clone(offered));
    }

    /// Keeps a finished episode. Nothing else is driven before it is on the disk.
    fn keep(&mut self, mut episode: Episode, cost: &EpisodeCost, version: u64) -> CommandResult {
        episode.name = format!("{}_{}", self.args.name, self.link.next_number());
        label(&mut episode, cost, version);
        let mut told = false;
        loop {
            match self.link.push(&episode) {
                Ok(number) => {
                    self.driven += 1;
                    self.tell_driven(&episode, number, version);
                    return Ok(());
                }
                Err(e) if self.interrupt.requested() => {
                    return Err(anyhow!("a finished episode could not be kept and is lost: {e}").into());
                }
                Err(e) => {
                    if !told {
                        self.output.note(&format!("holding: {e}"));
                        told = true;
                    }
                    self.wait();
                }
            }
        }
    }

    fn tell_driven(&self, episode: &Episode, number: u64, version: u64) {
        if self.output.json() {
            self.output.value(&serde_json::json!({
                "event": "driven", "number": number, "steps": episode.len(), "return": episode.episode_return(),
                "success": episode.success, "policy_version": version,
            }));
        }
    }

    /// Whole episodes in worlds of this program, on simulated time.
    fn roll_out(&mut self, mut envs: VecEnv, spec: &EnvSpec) -> Result<End, Failure> {
        let mut present: Option<Acting> = None;
        let mut policies: Option<(Box<dyn Policy>, Box<dyn Policy>)> = None;
        loop {
            let acting = match self.may_begin(spec, present.as_ref()) {
                Ok(acting) => acting,
                Err(end) => return Ok(end),
            };
            let same = present.as_ref().is_some_and(|p| Arc::ptr_eq(&p.offered, &acting.offered));
            if !same || policies.is_none() {
                let load = |artifact| surefoot_policies::load_policy(artifact, envs.len());
                match (load(&acting.offered.policy), load(&acting.offered.reference)) {
                    (Ok(policy), Ok(reference)) => policies = Some((policy, reference)),
                    (Err(e), _) | (_, Err(e)) => {
                        self.reject(&acting.offered, &e.to_string());
                        continue;
                    }
                }
            }
            let version = acting.offered.version;
            let terms = acting.terms.clone();
            present = Some(acting);
            let Some((policy, reference)) = &mut policies else { continue };
            let left = self.args.episodes.map_or(u64::MAX, |episodes| episodes - self.driven);
            let round = (envs.len() as u64).min(left);
            let first = self.link.next_number();
            let seeds = self.seeds(&terms, first, round);
            let region = terms.radius.map(|radius| TrustRegion { reference: &mut **reference, radius });
            let mut guard = Guard { limits: EpisodeLimits::new(terms.limits), trust_region: region };
            let mut watch = Watch { interrupt: &self.interrupt, progress: &mut |_| {} };
            let driven = guarded_rollout(
                &mut envs,
                &mut **policy,
                ActMode::Explore,
                &seeds,
                &terms.stage,
                &mut guard,
                &mut watch,
            );
            match driven {
                Err(EngineError::Interrupted) => return Ok(End::Interrupted),
                other => {
                    for (episode, cost) in other? {
                        self.keep(episode, &cost, version)?;
                    }
                }
            }
        }
    }

    fn seeds(&self, terms: &ActingTerms, first: u64, n: u64) -> Vec<EpisodeSeeds> {
        let spool = self.link.spool_id().to_string();
        (first..first + n).map(|number| terms.seeds(&self.args.name, &spool, number)).collect()
    }

    /// One episode after the other on a robot, through its control loop, in real time.
    fn drive(&mut self, env: &EnvConfig, spec: &EnvSpec) -> Result<End, Failure> {
        let mut acting = match self.may_begin(spec, None) {
            Ok(acting) => acting,
            Err(end) => return Ok(end),
        };
        let clipped = Arc::new(AtomicU64::new(0));
        // The loop counts what it was offered; learners count updates, and a rollback goes back.
        let mut versions = BTreeMap::from([(1, acting.offered.version)]);
        let operator = composition::operator(self.args.operator, self.output)?;
        let around = Around { operator, episodes: None, ticks: None };
        let parts = composition::simulated_robot(env, LiveClock::Real, around)?;
        let control = ControlConfig { episode: acting.terms.limits, ..ControlConfig::default() };
        let config = LiveConfig { clock: LiveClock::Real, control, ..LiveConfig::default() };
        let first = Versioned { version: 1, policy: for_robot(&acting, spec, &clipped)? };
        let mut session = Session::new(parts, &config, first)?;
        let end = loop {
            let next = match self.may_begin(spec, Some(&acting)) {
                Ok(next) => next,
                Err(end) => break Ok(end),
            };
            if !Arc::ptr_eq(&next.offered, &acting.offered) {
                let version = versions.last_key_value().map_or(1, |(newest, _)| newest + 1);
                match for_robot(&next, spec, &clipped) {
                    Ok(policy) => {
                        // The one before comes back over the loop's own ring, and is dropped on this thread.
                        if session.offer(Versioned { version, policy }) {
                            versions.insert(version, next.offered.version);
                            acting = next;
                        }
                    }
                    Err(failure) => self.reject(&next.offered, &failure.text()),
                }
            }
            let number = self.link.next_number();
            let seeds = acting.terms.seeds(&self.args.name, &self.link.spool_id().to_string(), number);
            let name = format!("{}_{number}", self.args.name);
            let order = Order { name, seeds, mode: ActMode::Explore, speed_percent: 100 };
            let driven = match session.drive(&order, &self.interrupt) {
                Ok(driven) => driven,
                Err(e) => break Err(e.into()),
            };
            let (ordered, unordered) = match driven {
                Driven::Episodes { ordered, unordered } => (ordered, unordered),
                Driven::Interrupted => break Ok(End::Interrupted),
                Driven::Stopped { mode, cause } => {
                    let why = cause.map_or(String::new(), |cause| format!(" ({cause:?})"));
                    break Ok(End::Stopped(format!("{mode:?}{why} after {} episodes", self.driven)));
                }
            };
            let mut kept = Ok(());
            for driven in ordered.into_iter().chain(unordered) {
                let mut cost = driven.cost;
                cost.clipped_steps = clipped.swap(0, Ordering::Relaxed);
                let version = versions.get(&driven.policy_version).copied().unwrap_or(0);
                kept = kept.and(self.keep(driven.episode, &cost, version));
            }
            if let Err(failure) = kept {
                break Err(failure);
            }
        };
        let _at_rest = session.close();
        end
    }

    /// Brings what is left to the learner, and says how it went.
    fn end(mut self, acted: Result<End, Failure>) -> CommandResult {
        let (end, at_most) = match acted {
            Ok(End::Enough) => (End::Enough, None),
            Ok(End::Finished) => (End::Finished, Some(LAST_DRAIN)),
            Ok(end @ (End::Interrupted | End::Stopped(_))) => (end, Some(DRAIN)),
            Ok(end @ End::Refused(_)) => (end, Some(Duration::ZERO)),
            Err(failure) => {
                let _ = self.link.drain(DRAIN);
                return Err(failure);
            }
        };
        match at_most {
            Some(at_most) => {
                let _ = self.link.drain(at_most);
            }
            // Acknowledged is what was asked for: as long as that takes.
            None => {
                while !self.link.drain(LOOK) {
                    let situation = self.look();
                    if self.interrupt.requested() || situation.refused.is_some() {
                        break;
                    }
                }
            }
        }
        let situation = self.link.situation();
        let Situation { spooled: (left, _), acknowledged, duplicates, set_aside, .. } = situation;
        if self.output.json() {
            self.output.value(&serde_json::json!({
                "event": "acted", "driven": self.driven, "acknowledged": acknowledged, "duplicates": duplicates,
                "set_aside": set_aside, "left_in_spool": left,
            }));
        } else {
            self.output.line(&format!(
                "{} episodes driven, {acknowledged} acknowledged, {left} left in {}{}",
                self.driven,
                self.args.spool.display(),
                if set_aside > 0 { format!(", {set_aside} set aside in it") } else { String::new() }
            ));
        }
        let go_on = || {
            format!(
                "{left} episodes wait in {}; start the actor again to bring them",
                self.args.spool.display()
            )
        };
        match end {
            End::Refused(refusal) => Err(usage(anyhow!("the learner refuses this actor: {refusal}"))),
            End::Stopped(why) => Err(Failure::SafetyStop(why)),
            End::Interrupted => Err(Failure::Interrupted(go_on())),
            End::Enough if self.interrupt.requested() => Err(Failure::Interrupted(go_on())),
            End::Enough => match situation.refused {
                Some(refusal) => Err(usage(anyhow!("the learner refuses this actor: {refusal}"))),
                None => Ok(()),
            },
            End::Finished => Ok(()),
        }
    }
}

/// How to act with a policy of this task.
fn accept(offered: &ActingPolicy, spec: &EnvSpec) -> Result<ActingTerms, Failure> {
    offered.policy.card.check(spec)?;
    let terms = serde_json::from_value(offered.terms.clone());
    Ok(terms.context("the learner's terms are of another version of surefoot")?)
}

/// A policy for one robot, inside the trust region.
fn for_robot(acting: &Acting, spec: &EnvSpec, clipped: &Arc<AtomicU64>) -> Result<Box<dyn Policy>, Failure> {
    let policy = surefoot_policies::load_policy(&acting.offered.policy, 1)?;
    let Some(radius) = acting.terms.radius else { return Ok(policy) };
    let reference = surefoot_policies::load_policy(&acting.offered.reference, 1)?;
    Ok(Box::new(RegionPolicy::new(policy, reference, radius, spec.action_dim(), Arc::clone(clipped))))
}
