//! `surefoot rollout`: a trained policy drives a robot through the whole control loop, startup guard, watchdogs and robot-side
//! filter included; a simulated one in this process, or the robot of a contract over zenoh.

use anyhow::anyhow;
use surefoot_core::{ActMode, Episode, ResetScope};
use surefoot_engine::control::{Cause, ControlConfig, DrivenEpisode, Mode, Versioned};
use surefoot_engine::live::{
    Driven, LiveClock, LiveConfig, LiveError, LoopEnd, Order, Session, SessionParts, TickSink,
};
use surefoot_engine::{EpisodeSeeds, EvalConfig, Evaluation, Interrupt, MAX_EPISODES};

use crate::args::{OperatorInput, RolloutArgs};
use crate::commands::eval::{Trained, locate_and_read};
use crate::commands::train::on_interrupt;
use crate::composition::{self, Around, InContext};
use crate::config;
use crate::failure::{CommandResult, Failure, usage};
use crate::output::Output;
use crate::summary;
use crate::ticks::{self, TickRecorder};

/// Runs the verb.
pub fn run(args: &RolloutArgs, output: Output) -> CommandResult {
    check_episodes(args.episodes)?;
    if let Some(secs) = args.handover_secs.filter(|secs| !(0.0..=60.0).contains(secs)) {
        return Err(usage(anyhow!("--handover-secs {secs}: expected 0 to 60")));
    }
    let attended = args.operator != OperatorInput::None;
    let realtime = args.realtime || args.robot.is_some();
    if attended && !realtime {
        return Err(usage(anyhow!("--operator: a person needs real time\n\nhint: add --realtime")));
    }
    let Trained { artifact, env, eval, policy_dir } = locate_and_read(&args.policy, args.env.as_deref())?;
    let seeds = EvalConfig { episodes: args.episodes, seed: args.seed.unwrap_or(eval.seed) }.seeds();
    let (env, mut control) = config::driven_env_with(env, &args.overrides)?;
    control.handover_secs = args.handover_secs.unwrap_or(control.handover_secs);
    artifact.card.check(&composition::env_spec(&env)?)?;
    let (policy, in_context) = InContext::load(&artifact, &args.memory)?;
    composition::check_operator(args.operator, args.robot.as_deref())?;
    let interrupt = on_interrupt()?;
    let episodes = args.record.as_deref().map(|to| composition::recorder(to, &env)).transpose()?;
    let clock = if realtime { LiveClock::Real } else { LiveClock::Simulated };
    let ticks = args.ticks.clone().or_else(|| args.record.as_deref().map(ticks::next_file));
    let ticks = ticks.map(|to| ticks::create(&to, &env, clock, output)).transpose()?;
    let counts = ticks.as_ref().map(TickRecorder::counts);
    let ticks = ticks.map(|recorder| Box::new(recorder) as Box<dyn TickSink>);
    let around = Around { operator: args.operator, episodes, ticks };
    let (parts, link) = composition::robot(&env, args.robot.as_deref(), clock, around, output)?;
    let policy = Versioned { version: 1, policy };
    let goes_on = in_context.as_ref().is_some_and(InContext::goes_on);
    let forgets = args.memory.forget_between_episodes;
    let orders = Orders { name: "rollout", seeds: &seeds, goes_on, forgets, control };
    let driven = drive(parts, clock, policy, &orders, &interrupt, output);
    let link = link.map(|status| status.report());
    if let Some(link) = &link {
        output.note(&link.to_string());
    }
    let DrivenAll { episodes, ended_by, stopped, gone, mut end, interrupted } = driven?;
    // What was learnt is kept, however it ended.
    let remembered = in_context.map(|in_context| in_context.end(end.policy.take())).transpose()?;
    if interrupted {
        return Err(Failure::Interrupted(format!("{} episodes were driven", episodes.len())));
    }
    let e = Evaluation::of(&episodes);
    let recorded = counts.and_then(|counts| counts.lock().ok().map(|counts| *counts));
    let lost = end.dropped_ticks.max(recorded.map_or(0, |r| r.missing));
    if output.json() {
        output.value(&serde_json::json!({
            "event": "rolled_out", "policy": policy_dir, "evaluation": e, "ended_by": ended_by,
            "cadence": end.cadence, "violations": end.counts.violations, "dropped_ticks": end.dropped_ticks,
            "recorded_ticks": recorded, "link": link, "in_context": remembered,
        }));
    } else {
        output.line(&summary::judgement(&e));
        if let Some(remembered) = &remembered {
            output.line(&remembered.to_string());
        }
        if let Some(report) = end.cadence {
            output.line(&report.to_string());
        }
    }
    if let Some(why) = stopped {
        return Err(Failure::SafetyStop(why));
    }
    if let Some(gone) = gone {
        return Err(gone.into());
    }
    complete(args.strict, lost)
}

/// With `--strict`, ticks that were lost are a failure.
fn complete(strict: bool, lost: u64) -> CommandResult {
    if strict && lost > 0 {
        let hint = "hint: record to a faster disk, or leave --strict out";
        return Err(anyhow!("the ticks are INCOMPLETE: {lost} were lost\n\n{hint}").into());
    }
    Ok(())
}

/// Refuses numbers of episodes that mean nothing.
///
/// # Errors
/// A usage error.
pub fn check_episodes(episodes: usize) -> CommandResult {
    if (1..=MAX_EPISODES).contains(&episodes) {
        return Ok(());
    }
    Err(usage(anyhow!("--episodes {episodes}: expected 1 to {MAX_EPISODES}")))
}

/// What came of driving.
pub struct DrivenAll {
    /// Finished episodes.
    pub episodes: Vec<Episode>,
    /// The mode that ended each, where not the task did.
    pub ended_by: Vec<Option<Mode>>,
    /// The latched stop that the robot was left in, in words.
    pub stopped: Option<String>,
    /// The robot told no state any more when all was done.
    pub gone: Option<LiveError>,
    /// How the loop ended.
    pub end: LoopEnd,
    /// Whether somebody asked to end before all was done.
    pub interrupted: bool,
}

/// Episodes to be driven.
pub struct Orders<'a> {
    /// Their names begin with this.
    pub name: &'a str,
    /// One for each.
    pub seeds: &'a [EpisodeSeeds],
    /// Whether the policy remembers episodes of this task already.
    pub goes_on: bool,
    /// Whether each episode is a new task to it.
    pub forgets: bool,
    /// What the control loop reacts to.
    pub control: ControlConfig,
}

/// Drives one episode for each seed, and brings the robot to rest. To a policy that learns in context they are episodes of one task,
/// unless it is to forget between them.
///
/// # Errors
/// When the robot cannot be driven, or what happened cannot be kept.
pub fn drive(
    parts: SessionParts,
    clock: LiveClock,
    policy: Versioned,
    orders: &Orders<'_>,
    interrupt: &Interrupt,
    output: Output,
) -> Result<DrivenAll, Failure> {
    let recorded = usize::try_from(parts.recorded).unwrap_or(usize::MAX);
    let Orders { name, seeds, goes_on, forgets, control } = orders;
    let config = LiveConfig { clock, control: control.clone(), ..LiveConfig::default() };
    let mut session = Session::new(parts, &config, policy)?;
    let (mut episodes, mut ended_by, mut interrupted) = (Vec::new(), Vec::new(), false);
    for (index, seeds) in seeds.iter().enumerate() {
        let new_task = *forgets || (index == 0 && !goes_on);
        let order = Order {
            name: format!("{name}_{}", recorded.saturating_add(index)),
            seeds: *seeds,
            mode: ActMode::Exploit,
            scope: if new_task { ResetScope::Task } else { ResetScope::Episode },
            speed_percent: 100,
        };
        let driven = match session.drive(&order, interrupt)? {
            Driven::Episodes { ordered, unordered } => ordered.into_iter().chain(unordered),
            Driven::Interrupted => {
                interrupted = true;
                break;
            }
            Driven::Stopped { .. } => break,
        };
        for driven in driven {
            tell(&driven, output);
            ended_by.push(driven.ended_by);
            episodes.push(driven.episode);
        }
    }
    // Also one in the last episode is one.
    let told = |(mode, cause): (Mode, Option<Cause>)| {
        let why = cause.map_or(String::new(), |cause| format!(" ({cause:?})"));
        format!("{mode:?}{why} after {} episodes", episodes.len())
    };
    let stopped = session.latched().map(told);
    let gone = if stopped.is_none() { session.wait_until_seen(interrupt).err() } else { None };
    session.finish()?;
    let end = session.close();
    if let Some(granted) = &end.granted {
        granted.refusals().for_each(|line| output.note(&format!("note: {line}; see `surefoot doctor`")));
    }
    Ok(DrivenAll { episodes, ended_by, stopped, gone, end, interrupted })
}

fn tell(driven: &DrivenEpisode, output: Output) {
    let DrivenEpisode { episode: e, ended_by, cost, .. } = driven;
    let by_hand = e.human.iter().filter(|h| **h).count();
    output.note(&format!(
        "  {}: {} in {} steps, return {:.2}{}{}{}",
        e.seed.map_or_else(|| e.name.clone(), |seed| format!("seed {seed}")),
        if e.success == Some(true) { "success" } else { "no success" },
        e.len(),
        e.episode_return(),
        ended_by.map_or(String::new(), |mode| format!(", ended by {mode:?}")),
        cost.limit.map_or(String::new(), |l| format!(", limit {}", l.limit.name())),
        if by_hand > 0 { format!(", {by_hand} by hand") } else { String::new() },
    ));
}
