//! `surefoot act`: acts for a learner elsewhere. Episodes go to the spool on this disk, and from there to the learner; policies
//! come from the learner, and act between episodes only.

mod robot;
mod worlds;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use surefoot_bridges::fleet::wire::Refusal;
use surefoot_bridges::fleet::{ActingPolicy, ActorConfig, ActorLink, Situation};
use surefoot_core::{EnvSpec, Episode};
use surefoot_engine::fleet::{ActingTerms, label};
use surefoot_engine::{EpisodeCost, EpisodeSeeds, Interrupt, MAX_WORLDS};

use crate::args::{ActArgs, OperatorInput};
use crate::composition;
use crate::config::{self, EnvConfig};
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
    let named = args.env.as_deref().map(|name| config::local_env(name, &[])).transpose()?;
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
    if in_real_time(args) && args.worlds != 1 {
        return Err(usage(anyhow!("--worlds {}: one robot acts in real time", args.worlds)));
    }
    if args.operator != OperatorInput::None && !in_real_time(args) {
        return Err(usage(anyhow!("--operator: a person needs real time\n\nhint: add --realtime")));
    }
    composition::check_operator(args.operator, args.robot.as_deref())?;
    args.robot.as_deref().map_or(Ok(()), composition::check_link)?;
    if args.meeting.connect.is_empty() && args.meeting.session.is_none() {
        return Err(usage(anyhow!(
            "nothing says where the learner is\n\nhint: --connect tcp/HOST:7447, where `surefoot learn --listen` or a router listens"
        )));
    }
    Ok(())
}

/// Robots know no other time.
const fn in_real_time(args: &ActArgs) -> bool {
    args.realtime || args.robot.is_some()
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
        if in_real_time(self.args) {
            robot::drive(self, &env, &spec)
        } else {
            worlds::roll_out(self, composition::worlds(&env, self.args.worlds)?, &spec)
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

    /// Passes a moment in which nothing moves.
    fn idle(&mut self) -> Result<Option<End>, Failure> {
        self.wait();
        Ok(None)
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

    /// Waits until an episode may begin, and gives what is to act then. `wait` passes a moment, and says whether acting has ended in it.
    fn may_begin(
        &mut self,
        spec: &EnvSpec,
        present: Option<&Acting>,
        mut wait: impl FnMut(&mut Self) -> Result<Option<End>, Failure>,
    ) -> Result<ControlFlow<End, Acting>, Failure> {
        loop {
            let situation = self.look();
            if let Some(end) = self.ended(&situation) {
                return Ok(ControlFlow::Break(end));
            }
            // A learner that is gone asks for nothing: what it has not taken yet waits in the spool.
            let hold = situation.full || (situation.hold && situation.connected);
            if let Some(offered) = self.link.policy().filter(|_| !hold) {
                let is = |other: &Arc<ActingPolicy>| Arc::ptr_eq(other, &offered);
                let rejected = self.rejected.as_ref().is_some_and(is);
                match present {
                    Some(present) if rejected || is(&present.offered) => {
                        return Ok(ControlFlow::Continue(present.clone()));
                    }
                    None if rejected => {}
                    _ => match accept(&offered, spec) {
                        Ok(terms) => return Ok(ControlFlow::Continue(Acting { offered, terms })),
                        Err(failure) => {
                            self.reject(&offered, &failure.text());
                            continue;
                        }
                    },
                }
            }
            if let Some(end) = wait(self)? {
                return Ok(ControlFlow::Break(end));
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

    fn seeds(&self, terms: &ActingTerms, first: u64, n: u64) -> Vec<EpisodeSeeds> {
        let spool = self.link.spool_id().to_string();
        (first..first + n).map(|number| terms.seeds(&self.args.name, &spool, number)).collect()
    }

    /// Brings what is left to the learner, and says how it went.
    fn end(mut self, acted: Result<End, Failure>) -> CommandResult {
        match &acted {
            // Acknowledged is what was asked for: as long as that takes.
            Ok(End::Enough) => {
                while !self.link.drain(LOOK) {
                    let situation = self.look();
                    if self.interrupt.requested() || situation.refused.is_some() {
                        break;
                    }
                }
            }
            Ok(End::Refused(_)) => {}
            Ok(End::Finished) => {
                let _ = self.link.drain(LAST_DRAIN);
            }
            Ok(End::Interrupted | End::Stopped(_)) | Err(_) => {
                let _ = self.link.drain(DRAIN);
            }
        }
        let situation = self.link.situation();
        let left = situation.spooled.0;
        self.tell_acted(&situation);
        let go_on = format!(
            "{left} episodes wait in {}; start the actor again to {}",
            self.args.spool.display(),
            if left > 0 { "bring them" } else { "go on" }
        );
        match acted? {
            End::Refused(refusal) => Err(usage(anyhow!("the learner refuses this actor: {refusal}"))),
            End::Stopped(why) => Err(Failure::SafetyStop(format!("{why}; look at the robot. {go_on}"))),
            End::Interrupted => Err(Failure::Interrupted(go_on)),
            End::Enough if self.interrupt.requested() => Err(Failure::Interrupted(go_on)),
            End::Enough => match situation.refused {
                Some(refusal) => Err(usage(anyhow!("the learner refuses this actor: {refusal}"))),
                None => Ok(()),
            },
            End::Finished => Ok(()),
        }
    }

    fn tell_acted(&self, situation: &Situation) {
        let Situation { acknowledged, duplicates, set_aside, spooled: (left, _), .. } = situation;
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
                if *set_aside > 0 { format!(", {set_aside} set aside in it") } else { String::new() }
            ));
        }
    }
}

/// How to act with a policy of this task.
fn accept(offered: &ActingPolicy, spec: &EnvSpec) -> Result<ActingTerms, Failure> {
    offered.policy.card.check(spec)?;
    let terms = serde_json::from_value(offered.terms.clone());
    Ok(terms.context("the learner's terms are of another version of surefoot")?)
}
